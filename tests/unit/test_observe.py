"""Logs, metrics, spans and targets: what is told is what is."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import asdict, define
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client.parser import text_string_to_metric_families

from fsm_plugins import (
    LIFECYCLE,
    RESTARTABLE,
    HealthStatus,
    NotFound,
    Plugin,
    PluginError,
    PluginInfo,
    PluginRegistry,
    Receiver,
    Sender,
)
from fsm_plugins.cli.control import _one_line
from fsm_plugins.config import read_config
from fsm_plugins.observe import (
    Feed,
    JsonFormatter,
    Observation,
    RegistryTarget,
    SupervisorTarget,
    configure,
    log_supervision,
    log_transition,
    observation_problems,
)
from fsm_plugins.observe.metrics import BUCKETS, Metrics
from fsm_plugins.observe.tracing import Tracing
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from fsm_plugins.supervision import Action, Policy, Restart, SupervisionEvent, Supervisor
from fsm_plugins.testing import run


class Clock(Plugin):
    info = PluginInfo("clock", "1.2.3")
    answer = HealthStatus.healthy()

    async def on_start(self) -> None:
        await asyncio.sleep(0.25)

    async def on_health_check(self) -> HealthStatus:
        return self.answer


class Pausable(Clock):
    lifecycle = LIFECYCLE.extend(
        [("pause", "running", "paused"), ("stop", "paused", "stopped"), ("fail", "paused", "failed")]
    )

    async def on_pause(self) -> None:
        raise OSError("line one\nline two")


@define
class Source(Plugin):
    info = PluginInfo("source", "1.0.0")
    numbers: Sender[int]


@define
class Sink(Plugin):
    info = PluginInfo("sink", "1.0.0")
    numbers: Receiver[int]


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return what a scrape says: the name and the labels -> the value, without what is zero."""
    text, content_type = metrics.text()
    assert content_type.startswith("text/plain")
    families = text_string_to_metric_families(text.decode())
    found = [sample for family in families for sample in family.samples]
    return {(s.name.removeprefix("fsm_plugins_"), *s.labels.values()): s.value for s in found if s.value}


# Metrics.


def test_metrics_are_what_happened() -> None:
    """Transitions, their seconds in the right bucket, failures by cause, and the state, one of those of the table."""

    async def main() -> None:
        registry = PluginRegistry(clock=lambda: 7.0)
        plugin = Pausable()
        registry.register(plugin)
        metrics = Metrics(RegistryTarget(registry), lambda: [("more", "Text.", 3.0)])
        metrics.start()
        metrics.start()
        await plugin.init()
        await plugin.start()
        found = samples(metrics)
        assert found["plugin_state", "clock", "running"] == 1
        assert found["plugin_health", "unknown", "clock"] == 1
        assert found["plugin_wanted", "clock"] == found["ready",] == found["live",] == 1
        assert found["transition_seconds_sum", "clock", "start"] == 0.25
        bounds = {float(key[1]) for key in found if key[0] == "transition_seconds_bucket" and key[3] == "start"}
        assert bounds == {bound for bound in (*BUCKETS, float("inf")) if bound >= 0.25}
        with pytest.raises(PluginError):
            await plugin.fire("pause")
        found = samples(metrics)
        transitions = {key[1:]: value for key, value in found.items() if key[0] == "transitions_total"}
        assert transitions == {
            ("initialized", "clock", "created", "init"): 1,
            ("running", "clock", "initialized", "start"): 1,
            ("failed", "clock", "running", "fail"): 1,
        }
        assert found["failures_total", "OSError", "clock"] == 1
        assert ("plugin_state", "clock", "running") not in found
        assert found["plugin_state", "clock", "failed"] == found["plugin_health", "unhealthy", "clock"] == 1
        assert ("ready",) not in found
        assert found["more_total",] == 3
        assert found["plugin_state_since_seconds", "clock"] == 7.0
        metrics.stop()
        await plugin.stop()
        assert samples(metrics)["transition_seconds_count", "clock", "start"] == 1
        assert ("transition_seconds_count", "clock", "stop") not in samples(metrics)

    run(main)


def test_a_duration_at_a_bound_is_within_it() -> None:
    """Upper bounds are inclusive, as Prometheus has them."""

    async def main() -> None:
        registry = PluginRegistry()
        registry.register(plugin := Clock())
        plugin.deadlines  # noqa: B018
        metrics = Metrics(RegistryTarget(registry))
        metrics.start()
        await plugin.init()
        event = next(iter(metrics._events))
        metrics._events.append(("x", *event[1:5], BUCKETS[3], *event[6:]))
        found = samples(metrics)
        assert (("transition_seconds_bucket", "0.1", "x", "init") in found, "0.1") == (True, str(BUCKETS[3]))
        assert ("transition_seconds_bucket", "0.01", "x", "init") not in found
        metrics.stop()

    run(main)


def test_events_are_counted_even_if_nobody_scrapes() -> None:
    """They do not pile up, and their exceptions are not kept."""

    async def main() -> None:
        registry = PluginRegistry()
        registry.register(plugin := Clock())
        metrics = Metrics(RegistryTarget(registry))
        metrics.start()
        await plugin.init()
        assert len(metrics._events) == 1
        await asyncio.sleep(1.5)
        assert not metrics._events
        metrics.stop()

    run(main)


def test_channels_are_counted() -> None:
    """What was accepted, what is there, and which sends had to wait."""

    async def main() -> None:
        orchestrator = Orchestrator([PluginSpec("source", Source), PluginSpec("sink", Sink)], {"numbers": 2})
        registry = orchestrator.build()
        source, sink = registry["source"], registry["sink"]
        assert isinstance(source, Source)
        assert isinstance(sink, Sink)
        metrics = Metrics(RegistryTarget(registry, orchestrator=orchestrator))
        source.numbers.try_send(1)
        await source.numbers.send(2)
        waiting = asyncio.create_task(source.numbers.send(3))
        await asyncio.sleep(0)
        await sink.numbers.recv()
        await waiting
        found = samples(metrics)
        assert found["channel_messages_total", "numbers"] == 3
        assert found["channel_blocked_sends_total", "numbers"] == 1
        assert found["channel_length", "numbers"] == found["channel_capacity", "numbers"] == 2
        for name in ("source", "sink"):
            orchestrator.release(name)

    run(main)


def test_two_applications_in_one_process_do_not_meet() -> None:
    """Each has a registry of its own, and the global one has nothing of them."""
    from prometheus_client import REGISTRY, generate_latest

    both = [Metrics(RegistryTarget(PluginRegistry(), name)) for name in "ab"]
    assert both[0].registry is not both[1].registry
    assert b"fsm_plugins" not in generate_latest(REGISTRY)
    assert both[0].text("application/openmetrics-text")[0].endswith(b"# EOF\n")


# Targets.


def test_a_registry_is_ready_when_all_run_and_none_is_unhealthy() -> None:
    """Health counts only for the state in which it was told; what was stopped on request is not missed."""

    async def main() -> None:
        registry = PluginRegistry(clock=iter(range(1, 100)).__next__)
        for name in ("one", "two"):
            registry.register(Clock(name=name))
        target = RegistryTarget(registry, "app", clock=lambda: 0.5)
        assert (target.live(), target.ready()) == (True, False)
        assert [plugin.since for plugin in target.status().plugins] == [0.5, 0.5]
        await target.start("one")
        assert not target.ready()
        await target.start("two")
        assert target.ready()
        assert [(p.since, p.runs, p.health) for p in target.status().plugins] == [(2, True, None), (4, True, None)]
        Clock.answer = HealthStatus.unhealthy("slow")
        target.note_health(await registry.health_check_all())
        assert not target.ready()
        assert target.status().plugins[0].health == HealthStatus.unhealthy("slow")
        await target.stop("one")
        await target.stop("two")
        assert target.ready()
        status = target.status().plugins[0]
        assert (status.state, status.wanted, status.runs) == ("stopped", False, False)
        assert status.health == HealthStatus.degraded("not running: stopped")
        with pytest.raises(PluginError, match="run the plugins under a supervisor"):
            await target.restart("one")
        for call in (target.start, target.stop, target.restart):
            with pytest.raises(NotFound):
                await call("three")

    try:
        run(main)
    finally:
        Clock.answer = HealthStatus.healthy()


def test_what_a_plugin_said_before_it_was_started_again_is_forgotten() -> None:
    """Its health is unknown until it is asked."""

    class Again(Clock):
        lifecycle = RESTARTABLE
        answer = HealthStatus.unhealthy("slow")

    async def main() -> None:
        registry = PluginRegistry(clock=iter(range(1, 100)).__next__)
        registry.register(Again())
        target = RegistryTarget(registry)
        await target.start("clock")
        target.note_health(await registry.health_check_all())
        assert not target.ready()
        await target.stop("clock")
        await target.start("clock")
        assert target.ready()
        assert target.status().plugins[0].health is None

    run(main)


def test_a_failed_plugin_is_told_in_one_line() -> None:
    """Its failure, and that the application is not ready."""

    async def main() -> None:
        registry = PluginRegistry()
        registry.register(plugin := Pausable())
        target = RegistryTarget(registry)
        await target.start("clock")
        with pytest.raises(PluginError):
            await plugin.fire("pause")
        status = target.status()
        assert not status.ready
        assert status.plugins[0].failure == "OSError: line one line two"
        assert "paused" in status.plugins[0].states
        json.dumps(asdict(status))

    run(main)


class Flaky(Clock):
    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        await asyncio.sleep(10)
        raise ConnectionError("gone")


def test_a_supervisor_is_a_target() -> None:
    """Restarts are counted, both kinds of event are told, and control goes to the supervisor."""

    async def main() -> None:
        supervisor = Supervisor([PluginSpec("flaky", Flaky)], policy=Policy(intensity=100, period=600))
        target = SupervisorTarget(supervisor)
        heard: list[str] = []
        end = target.subscribe(lambda event: heard.append(event.trigger), lambda event: heard.append(event.action))
        metrics = Metrics(target)
        metrics.start()
        async with supervisor.running():
            assert target.ready()
            await asyncio.sleep(15)
            assert heard[:5] == ["init", "start", Action.FAILED, Action.BACKOFF, "fail"]
            assert target.status().plugins[0].restarts == samples(metrics)["restarts_total", "flaky"] == 1
            await target.stop("flaky")
            assert (target.status().plugins[0].wanted, target.ready()) == (False, True)
            await target.start("flaky")
            await target.restart("flaky")
            assert target.ready()
            end()
            heard.clear()
            await target.stop("flaky")
            assert not heard
        assert target.live()
        metrics.stop()

    run(main)


def test_a_supervisor_that_gave_up_is_not_live_and_a_plugin_that_was_given_up_is_missed() -> None:
    """Nobody takes an application for ready that lacks a plugin for good."""

    async def main() -> None:
        supervisor = Supervisor([PluginSpec("flaky", Flaky)], policy=Policy(restart=Restart.TEMPORARY))
        target = SupervisorTarget(supervisor)
        async with supervisor.running():
            await asyncio.sleep(15)
            status = target.status()
            assert (status.live, status.ready) == (True, False)
            assert status.plugins[0].failure == "given up: ConnectionError: gone"
        supervisor = Supervisor([PluginSpec("flaky", Flaky)], policy=Policy(intensity=0))
        target = SupervisorTarget(supervisor)
        with pytest.raises(PluginError):
            async with supervisor.running():
                await asyncio.sleep(15)
        assert not target.live()

    run(main)


# Spans.


def test_every_move_is_a_span_with_its_times() -> None:
    """A failure is an error, with the exception."""

    async def main() -> None:
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        registry = PluginRegistry(clock=lambda: 100.0)
        registry.register(plugin := Pausable())
        registry.subscribe(Tracing(provider))
        await plugin.init()
        await plugin.start()
        with pytest.raises(PluginError):
            await plugin.fire("pause")
        init, start, fail = exporter.get_finished_spans()
        assert [span.name for span in (init, start, fail)] == ["clock.init", "clock.start", "clock.fail"]
        assert (start.start_time, start.end_time) == (99_750_000_000, 100_000_000_000)
        assert start.attributes is not None
        assert start.attributes["fsm_plugins.dest"] == "running"
        assert (start.status.status_code, fail.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
        assert fail.status.description == "OSError: line one\nline two"
        assert fail.events[0].name == "exception"

    run(main)


# Logs.


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Yield what the root logger writes as JSON lines."""
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    configure("info", "json", stream)
    try:
        yield stream
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]


def test_a_transition_is_logged_with_its_fields(logged: io.StringIO) -> None:
    """As JSON lines that any reader takes; a failure is a warning, with its cause."""

    async def main() -> None:
        registry = PluginRegistry()
        registry.register(plugin := Pausable())
        registry.subscribe(log_transition)
        await plugin.init()
        await plugin.start()
        with pytest.raises(PluginError):
            await plugin.fire("pause")

    run(main)
    init, start, fail = (line for line in lines(logged) if "plugin" in line)
    assert (init["level"], init["logger"], init["trigger"]) == ("INFO", "fsm_plugins", "init")
    assert (start["plugin"], start["source"], start["dest"], start["seconds"]) == (
        "clock",
        "initialized",
        "running",
        0.25,
    )
    assert "cause" not in start
    assert (fail["level"], fail["cause"]) == ("WARNING", "OSError: line one\nline two")


def test_a_supervisors_events_are_logged_with_their_fields(logged: io.StringIO) -> None:
    """What the supervisor logs as an error itself is not told twice."""
    for action in Action:
        log_supervision(SupervisionEvent("x", action, 0.0, attempt=2, delay=0.5, reason="why"))
    found = lines(logged)
    assert {line["action"] for line in found} == set(Action) - {Action.FAILED, Action.GAVE_UP, Action.EXHAUSTED}
    assert {line["action"] for line in found if line["level"] == "WARNING"} == {
        Action.UNHEALTHY,
        Action.DEGRADED,
        Action.BLOCKED,
    }
    assert found[0] | {"attempt": 2, "delay": 0.5, "reason": "why", "plugin": "x"} == found[0]


def test_no_field_breaks_the_log() -> None:
    """What is no JSON is told as text, whatever it is; every record is one line."""

    class Mute:
        def __str__(self) -> str:
            raise RuntimeError

    circle: list[object] = []
    circle.append(circle)
    for value in (
        float("nan"),
        float("inf"),
        circle,
        Mute(),
        {1: object()},
        {(1, 2): 3},
        b"x",
        "\ud800\n\u2028",
        {1, 2},
    ):
        record = logging.makeLogRecord({"msg": "m\nm", "thing": value})
        line = JsonFormatter().format(record)
        assert "\n" not in line
        line.encode()
        assert json.loads(line, parse_constant=pytest.fail)["message"] == "m\nm"
    try:
        raise ValueError("bad")
    except ValueError:
        record = logging.makeLogRecord({"msg": "m", "exc_info": sys.exc_info(), "stack_info": "stack"})
    found = json.loads(JsonFormatter().format(record))
    assert found["exception"].endswith("ValueError: bad")
    assert found["stack"] == "stack"


def test_logging_that_is_set_up_stays(logged: io.StringIO) -> None:
    """The embedder's handlers are the embedder's."""
    configure("debug", "text", io.StringIO())
    logging.getLogger("x").info("still here")
    assert lines(logged)[0]["message"] == "still here"


# The feed.


def test_a_follower_that_does_not_keep_up_is_dropped_and_counted() -> None:
    """The others get everything, and those that come later get what is still known."""

    async def main() -> None:
        feed = Feed(recent=3, limit=2)
        slow, quick = feed.follow(), feed.follow()
        got = b""
        for number in range(5):
            feed(SupervisionEvent("x", Action.HEALTHY, float(number), reason="\ud800\u2028\n"))
            got += await quick.take(1.0)
        assert (feed.dropped, slow.dropped, quick.dropped) == (1, True, False)
        assert await slow.take(1.0) == b""
        data = [json.loads(line[6:]) for line in got.split(b"\n") if line.startswith(b"data: ")]
        assert [event["id"] for event in data] == [1, 2, 3, 4, 5]
        assert data[0]["reason"] == "\ud800\u2028\n"
        assert [event["id"] for event in feed.recent()] == [3, 4, 5]
        assert (await feed.follow(after=4).take(1.0)).startswith(b"id: 5\n")
        assert (await quick.take(1.0)).startswith(b":")
        late = feed.follow(after=4)
        feed.close()
        assert (await late.take(1.0)).startswith(b"id: 5\n")  # the last events of all are told
        assert await late.take(1.0) == b""
        assert not feed.followers
        assert await quick.take(1.0) == b""

    run(main)


# The configuration.


def problems(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "app.toml"
    path.write_text(f"[observe]\n{text}")
    config, found = read_config(path, {})
    assert config is not None
    return {problem.where: problem.what for problem in [*found, *observation_problems(config)]}


def test_a_whole_observation_is_read(tmp_path: Path) -> None:
    """Paths are those next to the file; the token is the word in its file."""
    (tmp_path / "token").write_text("s3cret\n")
    path = tmp_path / "app.toml"
    path.write_text(
        '[observe]\nlog = "json"\nmetrics = true\nsocket = "s"\nhttp = "[::1]:0"\ntoken_file = "token"\n'
        '[observe.journal]\npath = "j"\nformat = "sqlite"\nmax_bytes = 4096\nkeep = 1\n'
    )
    config, found = read_config(path, {"FSM_PLUGINS__OBSERVE__LOG": "text"})
    assert config is not None
    assert not found
    observation = Observation.from_config(config)
    assert (observation.log, observation._token, observation._socket) == ("text", "s3cret", tmp_path / "s")
    assert observation.journal is not None
    assert (observation.journal.path, observation.journal._keep) == (tmp_path / "j", 1)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Types, values, files, and what has no effect."""
    (tmp_path / "empty").write_text(" \n")
    found = problems(
        tmp_path, 'log = "xml"\nmetrics = 1\nsocket = ""\nhttp = "9090"\njournal = { keep = 0, max_bytes = 1 }'
    )
    assert list(found) == [
        "observe.log",
        "observe.metrics",
        "observe.socket",
        "observe.http",
        "observe.journal.keep",
        "observe.journal.max_bytes",
        "observe.journal.path",
    ]
    assert found["observe.http"] == "expected an address such as '127.0.0.1:9090', got '9090'"
    found = problems(
        tmp_path, f'metrics = true\ntoken_file = "empty"\njournal = {{ path = "no/j" }}\nsocket_ = "{"s" * 9}"'
    )
    assert found["observe.token_file"].startswith("there is no token in it (it is empty)")
    assert "there is no directory" in found["observe.journal.path"]
    assert "did you mean 'socket'?" in found["observe.socket_"]
    found = problems(tmp_path, f'socket = "{"s" * 120}"')
    assert "bytes too long for a socket" in found["observe.socket"]
    found = problems(tmp_path, "metrics = true")
    assert found == {"observe.metrics": 'nobody could read them; add socket = "PATH" or http = "127.0.0.1:9090"'}
    found = problems(tmp_path, 'token_file = "none"\nhttp = "a:1"\nsocket = "."')
    assert "No such file" in found["observe.token_file"]
    assert "is a directory" in found["observe.socket"]


@pytest.mark.parametrize(
    "address", ["", ":1", "a", "a:", "a:b", "a:70000", "::1:80", "a b:1", "a:１", "[]:1", "\n:1", "1.2.3.4:-1"]
)
def test_what_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    """At load, with its place."""
    assert list(problems(tmp_path, f"http = {json.dumps(address)}")) == ["observe.http"]


@pytest.mark.parametrize(("key", "extra"), [('metrics = true\nhttp = "a:1"', "metrics"), ('socket = "s"', "web")])
def test_a_missing_extra_is_told_with_its_command(
    key: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At load, and not as a traceback in the middle."""
    monkeypatch.setattr("fsm_plugins.observe.observation.find_spec", lambda _: None)
    assert any(f"pip install 'fsm-plugins[{extra}]'" in what for what in problems(tmp_path, key).values())


def test_what_an_application_says_does_nothing_to_the_terminal() -> None:
    """A plugin's name and its failure are somebody else's text."""
    assert _one_line("a\x1b[2J\r\nb\u202e\x9b") == "a [2J  b  "
