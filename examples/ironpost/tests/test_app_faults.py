"""What goes wrong while alerts come in: whatever was sent is received, and acted on or reported as not."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp import web
from attrs import define, field

from fsm_plugins import Plugin, PluginInfo, Receiver
from fsm_plugins.app import Application
from ironpost.events import ActionEvent
from ironpost.guard import ContainerGuard
from ironpost.logs import LogPipeline

RULES = r"""
rules:
  - id: burst
    title: A line of the burst
    severity: high
    match: {field: message, regex: '^harm to (?P<container>\S+)'}
    repeat: 0
    limit: {count: 100000, window: 1}
"""
POLICIES = '[[policy]]\nname = "hold"\naction = "pause"\n'


@define
class Told(Plugin):
    """Keeps the actions that it is told, and prints them, too, in a process of its own."""

    info = PluginInfo("told", "1.0.0")

    actions: Receiver[ActionEvent]
    aloud: bool = False
    seen: list[ActionEvent] = field(factory=list, init=False)
    more: asyncio.Event = field(factory=asyncio.Event, init=False)

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        async for action in self.actions:
            self.seen.append(action)
            self.more.set()
            if self.aloud:
                print(action.container, flush=True)

    async def until(self, count: int) -> None:
        """Wait for so many."""
        async with asyncio.timeout(60):
            while len(self.seen) < count:
                self.more.clear()
                await self.more.wait()


class Crash(Exception):
    """On purpose."""


async def crash_at(plugin: Plugin, done: Callable[[], int], count: int) -> None:
    """Crash when so much is done; end with the other workers."""
    own = asyncio.current_task()
    while done() < count:
        if all(worker is own or worker.done() for worker in plugin.workers):
            return
        await asyncio.sleep(0)
    raise Crash


@define
class CrashingPipeline(LogPipeline):
    """Crashes after every 40 alerts."""

    made: ClassVar[list[CrashingPipeline]] = []

    async def on_start(self) -> None:
        self.made.append(self)
        await super().on_start()
        self.spawn(crash_at(self, lambda: self.counts.sent, 40))


@define
class CrashingGuard(ContainerGuard):
    """Crashes after every 30 alerts, in the middle of the one that comes then."""

    made: ClassVar[list[CrashingGuard]] = []

    async def on_start(self) -> None:
        self.made.append(self)
        await super().on_start()
        self.spawn(crash_at(self, lambda: self.counts["alerts"], 30))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    CrashingPipeline.made.clear()
    CrashingGuard.made.clear()
    yield
    logging.disable(logging.NOTSET)


def names(begin: int, end: int) -> list[str]:
    return [f"c-{number:05}" for number in range(begin, end)]


def lines(begin: int, end: int) -> str:
    """Return lines of which each concerns a container of its own."""
    return "".join(f"2024-05-01T12:00:00.000Z gate app[1]: harm to {name}\n" for name in names(begin, end))


def write_app(directory: Path, pipeline: str = "log-pipeline", guard: str = "container-guard", **given: object) -> Path:
    """Write a configuration, in which a channel is soon full, and everything that it names but the log."""
    (directory / "rules.yaml").write_text(RULES, encoding="utf-8")
    (directory / "policies.toml").write_text(POLICIES, encoding="utf-8")
    settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
    config = directory / "app.toml"
    config.write_text(
        f"""
        [app.deadlines]
        stop = 60
        [supervisor]
        intensity = "unlimited"
        backoff = {{ initial = 0, cap = 0 }}
        [channels.alerts]
        capacity = 8
        [channels.actions]
        capacity = 8
        [plugins.log-pipeline]
        use = "{pipeline}"
        [plugins.log-pipeline.settings]
        files = ["{directory}/burst.log"]
        rules = ["{directory}/rules.yaml"]
        shipped_rules = false
        positions = "{directory}/positions.json"
        poll = 0.01
        rotate_wait = 0.2
        [plugins.container-guard]
        use = "{guard}"
        [plugins.container-guard.settings]
        policies = "{directory}/policies.toml"
        audit = "{directory}/audit.jsonl"
        engine = "unix://{directory}/engine.sock"
        {settings}
        [plugins.told]
        use = "{Told.__module__}:Told"
        """,
        encoding="utf-8",
    )
    return config


def application_of(config: Path, **environ: str) -> Application:
    return Application.from_config(config, {f"FSM_PLUGINS__PLUGINS__{key}": text for key, text in environ.items()})


def told_of(application: Application) -> Told:
    told = application.registry["told"]
    assert isinstance(told, Told)
    return told


def audit(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "audit.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_signal_in_the_middle_of_a_burst(tmp_path: Path) -> None:
    """What was read is acted on before the process ends, and the next one goes on with the rest: each line once."""
    total = 2000
    (tmp_path / "burst.log").write_text(lines(0, total), encoding="utf-8")
    config = write_app(tmp_path)
    text = config.read_text(encoding="utf-8").replace(f"{Told.__module__}:Told", "told:Told")
    config.write_text(f'[app]\nplugin_path = ["."]\n{text}', encoding="utf-8")
    (tmp_path / "told.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "fsm_plugins", "run", str(config), "--log-level", "error"]
    environ = {**os.environ, "FSM_PLUGINS__PLUGINS__TOLD__SETTINGS__ALOUD": "true"}

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(100)]
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    told = [line.strip() for line in (*first, *rest.splitlines()) if line.startswith("c-")]
    assert told == [action["container"] for action in audit(tmp_path)]
    assert 100 <= len(told) < total, "it was to be in the middle"

    environ["FSM_PLUGINS__PLUGINS__LOG_PIPELINE__SETTINGS__FOLLOW"] = "false"
    ran = subprocess.run(
        [*command, "--until-idle"], capture_output=True, text=True, env=environ, timeout=120, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [action["container"] for action in audit(tmp_path)] == names(0, total)


@pytest.mark.parametrize("crashing", ["log-pipeline", "container-guard", "both"])
def test_plugins_that_crash_again_and_again(crashing: str, tmp_path: Path) -> None:
    """No line and no alert is lost: an alert that a crash cut off is counted as that."""
    total = 600
    (tmp_path / "burst.log").write_text(lines(0, total), encoding="utf-8")
    here = {
        "log-pipeline": {"pipeline": f"{__name__}:CrashingPipeline"},
        "container-guard": {"guard": f"{__name__}:CrashingGuard"},
    }
    given = {key: use for name, each in here.items() if crashing in (name, "both") for key, use in each.items()}
    application = application_of(
        write_app(tmp_path, **given),
        LOG_PIPELINE__SETTINGS__FOLLOW="false",
    )
    asyncio.run(asyncio.wait_for(application.run(signals=False, until_idle=True), 120))

    pipelines: list[LogPipeline] = [*CrashingPipeline.made]
    guards: list[ContainerGuard] = [*CrashingGuard.made]
    if crashing == "log-pipeline":
        guard = application.registry["container-guard"]
        assert isinstance(guard, ContainerGuard)
        guards = [guard]
    if crashing == "container-guard":
        pipeline = application.registry["log-pipeline"]
        assert isinstance(pipeline, LogPipeline)
        pipelines = [pipeline]
    assert crashing == "container-guard" or len(pipelines) > 2
    assert crashing == "log-pipeline" or len(guards) > 10
    counts: Counter[str] = sum((guard.counts for guard in guards), Counter())
    sent = sum(pipeline.counts.sent for pipeline in pipelines)
    assert sum(pipeline.counts.lines for pipeline in pipelines) == sent == total
    assert counts["alerts"] == sent
    assert counts["actions"] + counts["cut off"] == sent
    assert counts["reported"] + counts["unreported"] == counts["actions"]
    assert len(told_of(application).seen) == counts["reported"]
    recorded = Counter(action["container"] for action in audit(tmp_path))
    assert max(recorded.values()) == 1
    assert counts["actions"] <= len(recorded) <= total
    assert not any(receipt.undelivered for receipt in application.receipt())


def test_a_log_that_is_rotated_while_it_is_read(tmp_path: Path) -> None:
    """And written to by who has it open still: each line once, in order."""
    log = tmp_path / "burst.log"
    log.write_text(lines(0, 600), encoding="utf-8")
    application = application_of(write_app(tmp_path))
    told = told_of(application)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(application.run(signals=False))
            with log.open("a", encoding="utf-8") as writer:
                await told.until(100)
                log.rename(tmp_path / "burst.log.1")
                log.write_text(lines(700, 800), encoding="utf-8")
                writer.write(lines(600, 700))
            await told.until(800)
            application.shutdown()

    asyncio.run(asyncio.wait_for(main(), 120))
    assert [action.container for action in told.seen] == names(0, 800)
    assert all(receipt.clean and not receipt.undelivered for receipt in application.receipt())


def test_an_engine_whose_socket_is_gone(tmp_path: Path) -> None:
    """What it did is done, what it could not be asked for is reported as failed, and nothing waits for it."""
    total, answered = 200, 20
    (tmp_path / "burst.log").write_text(lines(0, total), encoding="utf-8")
    config = write_app(tmp_path, dry_run=False)
    with config.open("a", encoding="utf-8") as file:
        file.write("[plugins.container-guard.settings.retries]\nattempts = 2\nseconds = 2\nfirst = 0\nlongest = 0\n")
    application = application_of(config, LOG_PIPELINE__SETTINGS__FOLLOW="false")
    guard = application.registry["container-guard"]
    assert isinstance(guard, ContainerGuard)
    paused: list[str] = []

    async def main() -> None:
        gone = asyncio.Event()

        async def version(_: web.Request) -> web.Response:
            return web.json_response({"ApiVersion": "1.41"})

        async def listed(_: web.Request) -> web.Response:
            each = {"Image": "image", "State": "running", "NetworkSettings": None}
            return web.json_response([{"Id": name * 8, "Names": [f"/{name}"], **each} for name in names(0, total)])

        async def events(request: web.Request) -> web.StreamResponse:
            stream = web.StreamResponse()
            await stream.prepare(request)
            await gone.wait()
            return stream

        async def pause(request: web.Request) -> web.Response:
            paused.append(request.match_info["id"][:7])
            if len(paused) == answered:
                gone.set()
            return web.Response(status=204)

        app = web.Application()
        app.router.add_get("/version", version)
        app.router.add_get("/v1.41/containers/json", listed)
        app.router.add_get("/v1.41/events", events)
        app.router.add_post("/v1.41/containers/{id}/pause", pause)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()

        async def leave() -> None:
            await gone.wait()
            await runner.cleanup()
            (tmp_path / "engine.sock").unlink(missing_ok=True)

        leaving = asyncio.create_task(leave())
        await application.run(signals=False, until_idle=True)
        await leaving

    asyncio.run(asyncio.wait_for(main(), 120))
    counts = guard.counts
    assert counts["alerts"] == counts["acted"] == counts["actions"] == counts["reported"] == total
    assert counts["done"] + counts["failed"] == total
    assert answered <= counts["done"] <= len(paused) < total
    outcomes = Counter((line["phase"], line["outcome"]) for line in audit(tmp_path))
    assert outcomes == {
        ("intent", "intent"): total,
        ("outcome", "done"): counts["done"],
        ("outcome", "failed"): counts["failed"],
    }
    assert [event.container for event in told_of(application).seen] == names(0, total)
    assert {event.container for event in told_of(application).seen if event.outcome == "done"} <= set(paused)
