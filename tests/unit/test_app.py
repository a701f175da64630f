"""An application: what it makes of a configuration, and how it runs and ends."""

from __future__ import annotations

import asyncio
import logging
import textwrap
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fsm_plugins import (
    ConfigError,
    DeadlineExceeded,
    HookFailed,
    Plugin,
    PluginError,
    PluginFailed,
    PluginInfo,
    StopFailed,
)
from fsm_plugins.app import Application, Phase, read_blueprint
from fsm_plugins.observe import Observation, Target
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from fsm_plugins.testing import run

PLUGINS = """
import asyncio
from attrs import define, field
from attrs.validators import ge
from fsm_plugins import LIFECYCLE, Deadlines, Plugin, PluginInfo, Receiver, Sender

LOG = []

@define
class Source(Plugin):
    info = PluginInfo("source", "1.0.0")
    numbers: Sender[int]
    count: int = field(default=3, validator=ge(0))
    fail_in: str = ""
    crash_after: float = 0.0
    async def on_init(self):
        LOG.append(("init", self.info.name, asyncio.current_task().get_name()))
        if self.fail_in == "init":
            raise OSError("no device")
    async def on_start(self):
        if self.fail_in == "start":
            await asyncio.Event().wait()
        self.spawn(self._send())
    async def _send(self):
        for number in range(self.count):
            await self.numbers.send(number)
        if self.crash_after:
            await asyncio.sleep(self.crash_after)
            raise ConnectionError("reset")
        await asyncio.Event().wait()
    async def on_stop(self):
        LOG.append(("stop", self.info.name, asyncio.current_task().get_name()))
        if self.fail_in == "stop":
            raise OSError("device is gone")

@define
class Sink(Plugin):
    info = PluginInfo("sink", "1.0.0")
    deadlines = Deadlines(stop=3.0, start=4.0)
    numbers: Receiver[int]
    slow: float = 0.0
    async def on_start(self):
        LOG.append(("start", self.info.name, asyncio.current_task().get_name()))
        self.spawn(self._take())
    async def _take(self):
        async for number in self.numbers:
            await asyncio.sleep(self.slow)
            LOG.append(number)

class Raises(Plugin):
    info = PluginInfo("raises", "1.0.0")
    def __init__(self, **settings):
        raise LookupError("no such thing")

class Pausable(Plugin):
    info = PluginInfo("pausable", "1.0.0")
    lifecycle = LIFECYCLE.extend([
        ("pause", "running", "paused"), ("stop", "paused", "stopped"), ("fail", "paused", "failed"),
    ])

def build(interval: float) -> Plugin:
    return Sink(None, interval)
"""

APP = """
[app]
{app}
[channels.numbers]
capacity = 8
[plugins.sink]
use = "{module}:Sink"
settings = {{ {sink} }}
[plugins.source]
use = "{module}:Source"
settings = {{ {source} }}
"""


class Files:
    """A directory with a plugin module of its own name and a configuration."""

    def __init__(self, directory: Path, number: int) -> None:
        self.directory = directory
        self.module = f"plugins_for_app_{number}"
        (directory / f"{self.module}.py").write_text(PLUGINS)

    def config(self, text: str = APP, app: str = "", source: str = "", sink: str = "") -> Path:
        path = self.directory / "app.toml"
        app = f'plugin_path = ["."]\n{app}'
        path.write_text(text.format(module=self.module, app=app, source=source, sink=sink))
        return path

    @property
    def log(self) -> list[object]:
        import sys

        log: list[object] = sys.modules[self.module].LOG
        return log


_numbers = iter(range(10_000))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    import sys

    before = list(sys.path)
    yield Files(tmp_path, next(_numbers))
    sys.path[:] = before


def application(files: Files, **parts: str) -> Application:
    return Application.from_config(files.config(**parts), {})


def test_it_runs_in_order_and_drains(files: Files) -> None:
    """Producers first, every accepted message is received, and the receipts are clean."""
    app = application(files, source="count = 5")

    async def main() -> None:
        asyncio.get_running_loop().call_later(10, app.shutdown)
        await app.run(signals=False)

    run(main)
    assert [entry for entry in files.log if isinstance(entry, int)] == [0, 1, 2, 3, 4]
    assert [(receipt.name, receipt.clean, dict(receipt.undelivered)) for receipt in app.receipt()] == [
        ("source", True, {}),
        ("sink", True, {}),
    ]


def test_all_hooks_run_in_one_task(files: Files) -> None:
    """What a hook opens that belongs to its task, another hook can close."""
    app = application(files)

    async def main() -> None:
        await app.run(signals=False, seconds=1)

    run(main)
    tasks = {entry[2] for entry in files.log if isinstance(entry, tuple)}
    assert len(tasks) == 1


def test_a_failing_start_stops_the_others_and_raises(files: Files) -> None:
    """The error of the plugin that could not start reaches the caller."""
    app = application(files, source='fail_in = "init"')
    with pytest.raises(HookFailed, match="plugin 'source' failed in init: OSError: no device"):
        run(lambda: app.run(signals=False))
    assert [str(receipt) for receipt in app.receipt()] == [
        "source: stopped in 0.000 s; failed: OSError: no device",
        "sink: created in 0.000 s",
    ]


def test_a_late_start_is_named(files: Files) -> None:
    """A start that hangs ends at its deadline, and says where it was."""
    app = application(files, source='fail_in = "start"', app="[app.deadlines]\nstart = 2")
    with pytest.raises(DeadlineExceeded, match=r"within its deadline of 2 s, waiting at plugins_for_app_\d+\.py:\d+"):
        run(lambda: app.run(signals=False))


def test_a_shutdown_during_the_start_is_no_error(files: Files) -> None:
    """Who asks for an end while plugins start gets one: the start is abandoned, what was started is stopped."""
    app = application(files, source='fail_in = "start"')

    async def main() -> None:
        asyncio.get_running_loop().call_later(1, app.shutdown)
        await app.run(signals=False)
        assert asyncio.get_running_loop().time() < 2

    run(main)
    assert [str(receipt.state) for receipt in app.receipt()] == ["stopped", "stopped"]


def test_a_shutdown_before_the_first_plugin_is_started_starts_none() -> None:
    """Whether it comes before the run, in its first phase, or while the observation of the plugins begins."""

    class Never(Plugin):
        info = PluginInfo("never", "1.0.0")

        async def on_init(self) -> None:
            pytest.fail("it was initialised")

    class Slow(Observation):
        async def start(self, target: Target) -> None:
            await asyncio.sleep(10)

    async def main(app: Application, when: str) -> None:
        if when == "before":
            app.shutdown()
        elif when == "starting":
            app.follow(lambda _: app.shutdown())
        else:
            asyncio.get_running_loop().call_later(5, app.shutdown)
        await app.run(signals=False)

    for when in ("before", "starting", "while it is observed"):
        observation = Slow() if when == "while it is observed" else None
        app = Application("never", Orchestrator([PluginSpec("one", Never)], {}), observation=observation)
        phases: list[Phase] = []
        app.follow(phases.append)
        run(partial(main, app, when))
        assert [str(plugin.state) for plugin in app.registry] == ["created"]
        assert "running" not in phases
        assert phases[-1] == "ended"
        with pytest.raises(PluginError, match="was run before; to run it again, make another one"):
            run(partial(app.run, signals=False))


def test_a_plugin_that_fails_stops_the_application(files: Files) -> None:
    """The default: nobody restarts it, so whoever runs the process has to know."""
    app = application(files, source="crash_after = 5.0")

    async def main() -> None:
        with pytest.raises(PluginFailed, match="'source' failed while it was running: ConnectionError: reset") as info:
            await app.run(signals=False)
        assert isinstance(info.value.__cause__, ConnectionError)
        assert asyncio.get_running_loop().time() == pytest.approx(5)

    run(main)
    source, sink = app.receipt()
    assert (source.clean, source.note) == (False, "failed: ConnectionError: reset")
    assert sink.clean


def test_on_failure_continue_keeps_the_others_running(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged, and the rest goes on."""
    app = application(files, source="crash_after = 5.0", app='on_failure = "continue"')

    async def main() -> None:
        await app.run(signals=False, seconds=60)
        assert asyncio.get_running_loop().time() >= 60

    with caplog.at_level(logging.ERROR):
        run(main)
    assert "plugin 'source' failed: ConnectionError: reset" in caplog.text


def test_a_stop_that_fails_is_raised_after_everything_was_attempted(files: Files) -> None:
    """Every plugin is stopped; the receipt says which was not clean, and why."""
    app = application(files, source='fail_in = "stop"')
    with pytest.raises(StopFailed) as info:
        run(lambda: app.run(signals=False, seconds=1))
    assert [str(error) for error in info.value.exceptions] == [
        "plugin 'source' failed in stop: OSError: device is gone"
    ]
    assert [receipt.clean for receipt in app.receipt()] == [False, True]


def test_what_could_not_be_drained_is_told(files: Files) -> None:
    """A consumer that is too slow for its deadline is failed, and its receipt counts what was left."""
    app = application(files, source="count = 8", sink="slow = 1.0")
    with pytest.raises(StopFailed, match="sink"):
        run(lambda: app.run(signals=False, seconds=0.5))
    sink = app.receipt()[1]
    received = len([entry for entry in files.log if isinstance(entry, int)])
    # One was being processed when the time was up: it had been received, and its worker was cancelled.
    assert received + 1 + sink.undelivered["numbers"] == 8
    assert not sink.clean


def test_until_idle_ends_when_no_worker_is_left(files: Files) -> None:
    """Finite work ends the run by itself; here the source lingers, so only the time ends it."""
    app = application(files)

    async def main() -> None:
        await app.run(signals=False, until_idle=True, seconds=30)
        assert asyncio.get_running_loop().time() == pytest.approx(30)

    run(main)


def test_signals_need_the_main_thread(files: Files) -> None:
    """In another thread the error says what to do instead, and nothing is started."""
    app = application(files)
    errors: list[BaseException] = []

    def thread() -> None:
        try:
            asyncio.run(app.run())
        except PluginError as error:
            errors.append(error)

    runner = threading.Thread(target=thread)
    runner.start()
    runner.join()
    assert "call run(signals=False)" in str(errors[0])
    assert [plugin.state for plugin in app.registry] == ["created", "created"]


def test_every_kind_of_problem_is_in_one_report(files: Files) -> None:
    """File, environment, loading, settings, deadlines and wiring: all at once, each with its place."""
    text = textwrap.dedent("""
        [app]
        {app}
        nam = "x"
        [channels.numbers]
        capacity = 0
        [channels.unused]
        [plugins.sink]
        use = "{module}:Sink"
        inputs = {{ number = "numbers" }}
        settings = {{ slow = "very" }}
        [plugins.source]
        use = "{module}:Source"
        deadlines = {{ strat = 2, stop = -1 }}
        settings = {{ count = -1, numbers = 3 }}
        [plugins.gone]
        use = "{module}:Gone"
    """)
    blueprint = read_blueprint(
        files.config(text), {"FSM_PLUGINS__PLUGINS__SINC__SETTINGS__SLOW": "1", "FSM_PLUGINS_CONFIG": "x"}
    )
    places = [problem.where for problem in blueprint.problems]
    assert sorted(places) == sorted(
        [
            "app.nam",
            "channels.numbers.capacity",
            "plugins.sink.inputs.number",
            "plugins.sink.settings.slow",
            "plugins.source.deadlines.strat",
            "plugins.source.deadlines.stop",
            "plugins.source.settings.count",
            "plugins.source.settings.numbers",
            "plugins.gone.use",
            "FSM_PLUGINS__PLUGINS__SINC__SETTINGS__SLOW",
        ]
    )
    with pytest.raises(ConfigError) as info:
        Application.from_config(blueprint.source, {})
    assert str(info.value).startswith(f"{blueprint.source}: 9 problems\n  app.nam: unknown key (did you mean 'name'?)")


def test_a_missing_plugin_causes_no_further_complaints(files: Files) -> None:
    """What could not be loaded may be what is missing at a channel: one mistake, one problem."""
    text = APP.replace('use = "{module}:Source"', 'use = "{module}:Sourc"')
    blueprint = read_blueprint(files.config(text), {})
    assert [problem.where for problem in blueprint.problems] == ["plugins.source.use"]
    assert "did you mean 'Source'?" in blueprint.problems[0].what


def test_a_constructor_that_raises_is_a_problem_of_the_configuration(files: Files) -> None:
    """It is told with its plugin, and nothing is left of the others."""
    text = '[app]\n{app}\n[plugins.bad]\nuse = "{module}:Raises"\n'
    with pytest.raises(ConfigError, match=r"plugins\.bad: its constructor raised LookupError: no such thing"):
        Application.from_config(files.config(text), {})


def test_deadlines_are_merged_key_by_key(files: Files) -> None:
    """Class, then application, then plugin: the later one wins, and only for its own keys."""
    text = APP.replace("[plugins.sink]\n", "[plugins.sink]\ndeadlines = {{ stop = 1.5 }}\n")
    app = Application.from_config(files.config(text, app="[app.deadlines]\nstop = 9\ngrace = 0.25"), {})
    sink, source = app.registry["sink"].deadlines, app.registry["source"].deadlines
    assert (sink.start, sink.stop, sink.grace) == (4.0, 1.5, 0.25)
    assert (source.start, source.stop, source.grace) == (30.0, 9, 0.25)


@pytest.mark.parametrize(
    ("app", "problems"),
    [
        ("[app.deadlines]\npause = 2", []),
        ("[app.deadlines]\npaus = 2", ["app.deadlines.paus: no plugin has such a trigger in its lifecycle"]),
    ],
)
def test_a_deadline_for_all_plugins_has_to_suit_one_of_them(files: Files, app: str, problems: list[str]) -> None:
    """A trigger that only some lifecycles have may have a deadline for all; one that none has is a mistake."""
    text = APP + '[plugins.pausable]\nuse = "{module}:Pausable"\n'
    blueprint = read_blueprint(files.config(text, app=app), {})
    assert [str(problem).partition(" (did")[0] for problem in blueprint.problems] == problems


class _Parting(Plugin):
    """Its worker crashes when it is told to end."""

    info = PluginInfo("parting", "1.0.0")

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("closed under it")


def test_a_plugin_that_fails_as_it_is_stopped_is_no_failure_while_running(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, by what `run` raises; nobody says that the application stops because of it."""
    application = Application("app", Orchestrator([PluginSpec("parting", _Parting)], {}))
    with caplog.at_level(logging.INFO), pytest.raises(StopFailed, match="'parting'"):
        run(lambda: application.run(signals=False, seconds=1))
    assert application.phase == "ended"
    assert "'app' stops" not in caplog.text
