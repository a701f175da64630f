"""The whole application with everything going wrong at once, at random moments.

Every plugin crashes again and again under the supervisor, the scanner in the middle of a scan, the guard in the middle
of an action; the log is rotated while it is read, by rename and by truncation; the socket
of the engine goes and comes back; rules and policies are reloaded; and somebody shuts down in the middle of it all, and
starts again. The law is that whatever was sent was received and is reported, always.

It is checked by what two witnesses saw on the way, what the engine did, and what the audit file says, and then what the
plugins count is held against that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from aiohttp import web
from attrs import define

from fsm_plugins import RUNNING, Plugin, PluginInfo, Receiver, Sender
from fsm_plugins.app import Application
from ironpost.events import ActionEvent, AlertEvent, PacketEvent
from ironpost.guard import ContainerGuard
from ironpost.logs import LogPipeline
from ironpost.network import EbpfEngine
from ironpost.sample import capture, packages
from ironpost.sbom import SbomScanner

LINES = 500
RULES = r"""
rules:
  - id: burst
    title: A line of the burst
    severity: high
    match: {field: message, regex: '^harm to (?P<container>c-\d+)'}
    repeat: 0
    limit: {count: 100000, window: 1}
"""
POLICIES = '[[policy]]\nname = "hold"\naction = "pause"\nseverity = "info"\n'


class Crash(Exception):
    """On purpose."""


class Misfortune:
    """When who crashes; shared by all plugins of one run, and all their instances."""

    random: ClassVar = Random(0)
    left: ClassVar[Counter[str]] = Counter()
    made: ClassVar[list[Plugin]] = []
    # Set before a shutdown: one that has failed by then is not restarted, so that who sends to it is not drained.
    calm: ClassVar = False

    @classmethod
    def begin(cls, seed: int, crashes: int) -> None:
        cls.random = Random(seed)
        cls.left = Counter(dict.fromkeys(("engine", "pipeline", "scanner", "guard"), crashes))
        cls.made = []

    @classmethod
    async def strike(cls, kind: str, plugin: Plugin) -> None:
        """Crash after a random number of turns of the loop, as often as is left, unless its work is done by then."""
        own = asyncio.current_task()
        if cls.left[kind]:
            for _ in range(int(cls.random.expovariate(1 / 150))):
                await asyncio.sleep(0)
            if cls.calm or all(worker is own or worker.done() for worker in plugin.workers):
                return
            cls.left[kind] -= 1
            raise Crash

    @classmethod
    def total(cls, kind: type[Plugin], count: str) -> int:
        """Return a count over all instances."""
        return sum(
            getattr(plugin.counts, count) if isinstance(plugin, LogPipeline) else plugin.counts[count]  # type: ignore[attr-defined]
            for plugin in cls.made
            if isinstance(plugin, kind)
        )


@define
class Engine(EbpfEngine):
    """Crashes."""

    async def on_start(self) -> None:
        Misfortune.made.append(self)
        await super().on_start()
        self.spawn(Misfortune.strike("engine", self))


@define
class Pipeline(LogPipeline):
    """Crashes."""

    async def on_start(self) -> None:
        Misfortune.made.append(self)
        await super().on_start()
        self.spawn(Misfortune.strike("pipeline", self))


@define
class Scanner(SbomScanner):
    """Crashes."""

    async def on_start(self) -> None:
        Misfortune.made.append(self)
        await super().on_start()
        self.spawn(Misfortune.strike("scanner", self))


@define
class Guard(ContainerGuard):
    """Crashes."""

    async def on_start(self) -> None:
        Misfortune.made.append(self)
        await super().on_start()
        self.spawn(Misfortune.strike("guard", self))


@define
class PacketWitness(Plugin):
    """Hands packets on, and notes them."""

    info = PluginInfo("packet-witness", "1.0.0")
    seen: ClassVar[list[PacketEvent]] = []

    captured: Receiver[PacketEvent]
    packets: Sender[PacketEvent]

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        async for packet in self.captured:
            self.seen.append(packet)
            await self.packets.send(packet)


@define
class AlertWitness(Plugin):
    """Hands alerts on, and notes them."""

    info = PluginInfo("alert-witness", "1.0.0")
    seen: ClassVar[list[AlertEvent]] = []

    found: Receiver[AlertEvent]
    alerts: Sender[AlertEvent]

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        async for alert in self.found:
            self.seen.append(alert)
            await self.alerts.send(alert)


@define
class Told(Plugin):
    """Notes actions."""

    info = PluginInfo("told", "1.0.0")
    seen: ClassVar[list[ActionEvent]] = []

    actions: Receiver[ActionEvent]

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        async for action in self.actions:
            self.seen.append(action)


def config_in(directory: Path) -> Path:
    (directory / "rules.yaml").write_text(RULES, encoding="utf-8")
    (directory / "policies.toml").write_text(POLICIES, encoding="utf-8")
    capture.write(directory)
    packages.write(directory)
    config = directory / "app.toml"
    config.write_text(
        f"""
        [app.deadlines]
        stop = 60
        [supervisor]
        intensity = "unlimited"
        backoff = {{ initial = 0, cap = 0 }}
        watchdog = 60
        [channels]
        captured = {{ capacity = 8 }}
        packets = {{ capacity = 8 }}
        found = {{ capacity = 4 }}
        alerts = {{ capacity = 4 }}
        actions = {{ capacity = 4 }}
        [plugins.engine]
        use = "{__name__}:Engine"
        outputs = {{ packets = "captured" }}
        settings = {{ source = "pcap", file = "capture.pcap" }}
        [plugins.packet-witness]
        use = "{__name__}:PacketWitness"
        [plugins.pipeline]
        use = "{__name__}:Pipeline"
        outputs = {{ alerts = "found" }}
        [plugins.pipeline.settings]
        files = ["burst.log"]
        rules = ["rules.yaml"]
        positions = "positions.json"
        poll = 0.01
        rotate_wait = 0.2
        [plugins.scanner]
        use = "{__name__}:Scanner"
        outputs = {{ alerts = "found" }}
        settings = {{ root = "project", advisories = "advisories" }}
        [plugins.alert-witness]
        use = "{__name__}:AlertWitness"
        [plugins.guard]
        use = "{__name__}:Guard"
        [plugins.guard.settings]
        policies = "policies.toml"
        audit = "audit.jsonl"
        engine = "unix://{directory}/engine.sock"
        dry_run = false
        retries = {{ attempts = 2, seconds = 5, first = 0, longest = 0 }}
        [plugins.told]
        use = "{__name__}:Told"
        """,
        encoding="utf-8",
    )
    return config


class Machine:
    """A container engine whose socket goes and comes back, and what it was made to do."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "engine.sock"
        self.paused: list[str] = []

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/version", self._version)
        app.router.add_get("/v1.41/containers/json", self._listed)
        app.router.add_get("/v1.41/events", self._events)
        app.router.add_post("/v1.41/containers/{id}/pause", self._pause)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.UnixSite(runner, str(self.socket)).start()
        try:
            yield
        finally:
            await runner.cleanup()
            self.socket.unlink(missing_ok=True)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41"})

    async def _listed(self, _: web.Request) -> web.Response:
        each = {"Image": "image", "State": "running", "NetworkSettings": None}
        names = [f"c-{number:05}" for number in range(LINES)]
        return web.json_response([{"Id": name * 8, "Names": [f"/{name}"], **each} for name in names])

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        await asyncio.Event().wait()
        return stream

    async def _pause(self, request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        self.paused.append(request.match_info["id"][:7])
        return web.Response(status=204)


async def write_log(directory: Path, random: Random) -> None:
    """Write the lines in pieces, and rotate the log between them, by rename or by a copy and truncation."""
    log, rotated, written = directory / "burst.log", 0, 0
    while written < LINES:
        count = random.randint(1, 40)
        with log.open("a", encoding="utf-8") as file:
            for number in range(written, min(written + count, LINES)):
                file.write(f"2024-05-01T12:00:00.000Z gate app[1]: harm to c-{number:05}\n")
                if random.random() < 0.05:
                    file.flush()  # perhaps in the middle of what is read
        written += count
        await asyncio.sleep(random.uniform(0, 0.05))
        # What was rotated away before the first look is no business of the pipeline.
        if random.random() < 0.3 and written < LINES and numbers():
            rotated += 1
            for number in range(rotated, 1, -1):
                (directory / f"burst.log.{number - 1}").rename(directory / f"burst.log.{number}")
            if random.random() < 0.5:
                log.rename(directory / "burst.log.1")
            else:
                shutil.copyfile(log, directory / "burst.log.1")
                log.write_bytes(b"")


async def come_and_go(machine: Machine, random: Random) -> None:
    while True:
        async with machine.served():
            await asyncio.sleep(random.uniform(0.05, 0.4))
        await asyncio.sleep(random.uniform(0, 0.15))


async def reload_now_and_then(application: Application, directory: Path, random: Random) -> None:
    while True:
        await asyncio.sleep(random.uniform(0, 0.1))
        if application.phase != "running":
            continue  # a first start refuses policies that are wrong
        good = random.random() < 0.5
        (directory / "new").write_text(POLICIES if good else "[[policy]]\n", encoding="utf-8")
        (directory / "new").replace(directory / "policies.toml")
        application.reload()
        await asyncio.sleep(0.02)
        (directory / "new").write_text(POLICIES, encoding="utf-8")  # who is restarted needs one that is right
        (directory / "new").replace(directory / "policies.toml")


def numbers() -> list[str]:
    return [str(alert.fields["container"]) for alert in AlertWitness.seen if alert.rule == "burst"]


def findings() -> set[tuple[object, object]]:
    return {(alert.fields["package"], alert.rule) for alert in AlertWitness.seen if alert.rule.startswith("SAMPLE-")}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    for witness in (PacketWitness, AlertWitness, Told):
        witness.seen.clear()
    yield
    logging.disable(logging.NOTSET)


def check(applications: list[Application], machine: Machine, audit: list[dict[str, Any]]) -> None:
    """Hold the law: what was sent is what was received and what was left over, from one end to the other."""
    left: Counter[str] = Counter()
    for application in applications:
        for receipt in application.receipt():
            left.update(receipt.undelivered)
    total = Misfortune.total

    # Packets: read, sent, seen, received.
    assert total(Engine, "packets") == sum(total(Engine, kind) for kind in ("reported", "unreported", "unsent"))
    sent = total(Engine, "reported") + total(Engine, "findings") - total(Engine, "findings unsent")
    assert sent == len(PacketWitness.seen) + left["captured"]
    assert len({packet.id for packet in PacketWitness.seen}) == len(PacketWitness.seen)
    assert len(PacketWitness.seen) == total(Pipeline, "packets") + left["packets"]

    # Lines: each once. Alerts: raised, sent, seen, received.
    assert sorted(numbers()) == [f"c-{number:05}" for number in range(LINES)]
    assert total(Pipeline, "lines") == total(Pipeline, "parsed") == LINES
    assert total(Pipeline, "raised") == sum(total(Pipeline, kind) for kind in ("sent", "repeated", "limited", "lost"))
    assert total(Scanner, "findings") == total(Scanner, "sent") + total(Scanner, "unsent")
    assert findings() == set(packages.FINDINGS)
    assert total(Pipeline, "sent") + total(Scanner, "sent") == len(AlertWitness.seen) + left["found"]
    assert len({alert.id for alert in AlertWitness.seen}) == len(AlertWitness.seen)
    assert len(AlertWitness.seen) == total(Guard, "alerts") + left["alerts"]
    ends = ("acted", "no policy", "no container", "done already")
    assert total(Guard, "alerts") == sum(total(Guard, kind) for kind in ends)

    # Actions: each is one that an alert which was seen asked for, recorded before it was done, and told or counted.
    alerts = {alert.id: alert for alert in AlertWitness.seen}
    assert total(Guard, "actions") == sum(total(Guard, kind) for kind in ("done", "failed"))
    assert total(Guard, "actions") == total(Guard, "reported") + total(Guard, "unreported")
    assert total(Guard, "reported") == len(Told.seen) + left["actions"]
    assert all(alerts[action.alert].fields["container"] == action.container for action in Told.seen)
    assert all(alerts[action.alert].trace == action.trace for action in Told.seen)
    asked = Counter((line["alert"], line["container"]) for line in audit if line["phase"] == "intent")
    ended = Counter((line["alert"], line["container"]) for line in audit if line["phase"] == "outcome")
    assert max(asked.values()) == 1 and max(ended.values()) == 1 and ended.keys() <= asked.keys()
    assert {(action.alert, action.container) for action in Told.seen} <= ended.keys()
    # What was cut off is in the audit file up to where it was.
    wanted = total(Guard, "actions") + total(Guard, "cut off")
    assert total(Guard, "actions") <= len(asked) <= wanted
    assert {container for _, container in asked} | {"cut off"} >= set(machine.paused)
    assert {action.container for action in Told.seen if action.outcome == "done"} <= set(machine.paused)
    # And every line has come to its end: acted on, or cut off, or left over in a channel.
    assert wanted + left["alerts"] + left["found"] >= LINES


@pytest.mark.parametrize("seed", range(4))
def test_everything_goes_wrong_at_once(seed: int, tmp_path: Path) -> None:
    """And whatever was sent was received, and is reported: packets, lines, alerts and actions."""
    random = Random(seed)
    Misfortune.begin(seed, crashes=8)
    config, machine = config_in(tmp_path), Machine(tmp_path)
    applications: list[Application] = []

    async def run_once(last: bool) -> None:
        Misfortune.calm = False
        (tmp_path / "policies.toml").write_text(POLICIES, encoding="utf-8")
        application = Application.from_config(config, {})
        applications.append(application)

        supervisor = application.supervisor
        assert supervisor is not None

        def all_done() -> bool:
            return len(numbers()) >= LINES and findings() == set(packages.FINDINGS) and not Misfortune.left["guard"]

        async def watch() -> None:
            if not last:
                await asyncio.sleep(random.uniform(0.2, 1.0))
            while last and not all_done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            Misfortune.calm = True
            while supervisor.recoveries or any(plugin.state != RUNNING for plugin in application.registry):  # noqa: ASYNC110
                await asyncio.sleep(0)
            application.shutdown()

        async with asyncio.TaskGroup() as group:
            others = [group.create_task(watch()), group.create_task(reload_now_and_then(application, tmp_path, random))]
            await application.run(signals=False)
            for other in others:
                other.cancel()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write_log(tmp_path, random))
            going = group.create_task(come_and_go(machine, random))
            for last in (False, False, True):
                await run_once(last)
            assert writing.done()
            going.cancel()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert not Misfortune.left["guard"] and sum(Misfortune.left.values()) < 3 * 8, "they were to crash again and again"
    audit = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    check(applications, machine, audit)
