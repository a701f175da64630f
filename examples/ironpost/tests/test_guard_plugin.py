"""The guard as a plugin: what was accepted is reported or counted, what cannot be recorded is not done."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter, deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsm_plugins import HookFailed, Plugin, PluginInfo, Receiver, Sender, channel
from fsm_plugins.orchestrator import PluginSpec, plan
from ironpost.events import ActionEvent, AlertEvent, Severity
from ironpost.guard import Container, ContainerGuard, EngineError, Retries
from ironpost.guard.policies import Action

POLICIES = """
[[policy]]
name = "hold"
action = "pause"
severity = "medium"

[[policy]]
name = "end"
action = "kill"
severity = "critical"
containers = ["db"]
priority = 1
every = true
"""
WEB, DB = Container("a" * 64, "web-1", "nginx", "running"), Container("b" * 64, "db", "postgres", "running")
QUICK = Retries(attempts=3, seconds=30.0, first=0.0, longest=0.0)


class Fake:
    """An engine that fails as it is told to."""

    def __init__(self, *faults: EngineError | None, there: bool = True) -> None:
        self.faults = deque(faults)
        self.there = there
        self.acted: list[tuple[str, str]] = []
        self.hang = False
        self.closed = 0
        self.asked = asyncio.Event()
        self.end = asyncio.Event()

    async def list(self) -> list[Container]:
        if not self.there:
            raise EngineError("there is no engine")
        return [WEB, DB]

    async def inspect(self, container: str) -> Container | None:
        return None

    async def changes(self, since: float) -> AsyncGenerator[str, None]:
        await self.end.wait()
        raise EngineError("gone")
        yield ""

    async def act(self, container: str, action: Action) -> str:
        if self.hang:
            self.asked.set()
            await asyncio.Event().wait()
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            raise fault
        self.acted.append((container, action))
        return ""

    async def close(self) -> None:
        self.closed += 1


class Rig:
    """A guard with its ends."""

    def __init__(self, where: Path, fake: Fake, **given: Any) -> None:
        alerts: Receiver[AlertEvent]
        actions: Sender[ActionEvent]
        self.alerts: Sender[AlertEvent]
        self.actions: Receiver[ActionEvent]
        self.alerts, alerts = channel(1000)
        actions, self.actions = channel(1000)
        if "actions" in given:
            actions.close()
        path = where / "policies.toml"
        path.write_text(POLICIES)
        self.audit = where / "audit.jsonl"
        defaults: dict[str, Any] = {"policies": path, "audit": self.audit, "retries": QUICK, "actions": actions}
        self.plugin = ContainerGuard(alerts=alerts, **{**defaults, **given})
        self.plugin.client = self.engine = fake

    async def start(self) -> None:
        await self.plugin.init()
        await self.plugin.start()

    async def finish(self, *alerts: AlertEvent) -> list[ActionEvent]:
        """Send alerts, end the channel, and return what came of it."""
        for alert in alerts:
            await self.alerts.send(alert)
        self.alerts.close()
        await self.plugin.stop()
        return [event async for event in self.actions]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read_text().splitlines()]


def alert(container: str | None = "web-1", severity: Severity = Severity.HIGH, trace: str = "t1") -> AlertEvent:
    fields: dict[str, object] = {} if container is None else {"container": container}
    return AlertEvent(source="log-pipeline", rule="r", title="t", severity=severity, fields=fields, trace=trace)


def test_a_dry_run_is_the_default(tmp_path: Path) -> None:
    """It says so in the event and in the audit file, and does nothing."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake())
        await rig.start()
        cause = alert()
        (event,) = await rig.finish(cause)
        assert (event.trace, event.alert, event.policy, event.action) == ("t1", cause.id, "hold", "pause")
        assert (event.container, event.dry_run, event.outcome, event.detail) == ("web-1", True, "dry-run", "")
        assert rig.engine.acted == [] and rig.engine.closed == 1
        (line,) = rig.lines()
        assert line["phase"] == "dry-run" and line["id"] == event.id and line["dry_run"] is True
        assert rig.audit.stat().st_mode & 0o777 == 0o600

    asyncio.run(main())


def test_it_is_idle_when_no_alert_can_come_any_more(tmp_path: Path) -> None:
    """So an application that runs until it is idle comes to its end."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake())
        await rig.start()
        rig.alerts.close()
        await asyncio.wait(rig.plugin.workers)
        assert not rig.plugin.workers and rig.plugin.failure is None
        assert [event async for event in rig.actions] == []
        await rig.plugin.stop()

    asyncio.run(main())


def test_what_is_done_is_recorded_before_and_after(tmp_path: Path) -> None:
    """The intent, and the outcome, of each action."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake(), dry_run=False)
        await rig.start()
        events = await rig.finish(alert(), alert("db", Severity.CRITICAL))
        assert rig.engine.acted == [(WEB.id, "pause"), (DB.id, "kill")]
        assert [(each.container, each.outcome, each.dry_run) for each in events] == [
            ("web-1", "done", False),
            ("db", "done", False),
        ]
        assert [(line["phase"], line["container"]) for line in rig.lines()] == [
            ("intent", "web-1"),
            ("outcome", "web-1"),
            ("intent", "db"),
            ("outcome", "db"),
        ]

    asyncio.run(main())


def test_faults_that_may_pass_are_tried_again(tmp_path: Path) -> None:
    """As often as was said; a refusal is not."""
    again, never = EngineError("busy"), EngineError("refused", temporary=False)

    async def main() -> None:
        for faults, outcome, attempts in (
            ([again, again], "done", 3),
            ([again] * 3, "failed", 3),
            ([never], "failed", 1),
        ):
            rig = Rig(tmp_path, Fake(*faults), dry_run=False)
            await rig.start()
            (event,) = await rig.finish(alert())
            assert (event.outcome, rig.plugin.counts["attempts"]) == (outcome, attempts)
            assert event.detail == ("" if outcome == "done" else str(faults[-1]))

    asyncio.run(main())


def test_an_action_has_a_deadline(tmp_path: Path) -> None:
    """And the next alert is not held up any longer."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake(), dry_run=False, retries=Retries(seconds=0.02))
        rig.engine.hang = True
        await rig.start()
        (event,) = await rig.finish(alert())
        assert event.outcome == "failed" and event.detail == "cannot pause web-1: not done within 0.02 s"

    asyncio.run(main())


def test_without_an_engine_it_goes_on(tmp_path: Path) -> None:
    """In a dry run with what is named; it says so in its health, and fails nothing."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake(there=False))
        await rig.start()
        await rig.alerts.send(alert("web-9"))
        event = await rig.actions.recv()
        assert (event.container, event.outcome) == ("web-9", "dry-run")
        assert event.detail == "the engine cannot be asked whether there is such a container"
        health = await rig.plugin.health_check()
        assert health.is_degraded and health.reason == "no container engine: there is no engine"
        assert rig.plugin.containers == []
        assert await rig.finish(alert(None)) == []
        assert rig.plugin.counts["no container"] == 1 and rig.plugin.failure is None

    asyncio.run(main())


def test_a_real_engine_that_is_gone_is_tried_once(tmp_path: Path) -> None:
    """Over a socket that does not exist: the action fails, and says why."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake(), dry_run=False, engine=f"unix://{tmp_path}/none.sock")
        rig.plugin.client = None
        await rig.start()
        (event,) = await rig.finish(alert("web-1"))
        assert event.outcome == "failed" and "none.sock" in event.detail
        assert rig.plugin.counts["attempts"] == 1

    asyncio.run(main())


def test_the_same_is_not_done_twice_in_a_pause(tmp_path: Path) -> None:
    """But again after it, and again at once if it failed."""

    async def main() -> None:
        now = [0.0]
        rig = Rig(tmp_path, Fake(EngineError("no", temporary=False)), dry_run=False, pause=10.0)
        rig.plugin.clock = lambda: now[0]
        await rig.start()
        outcomes = []
        for time, acts in ((0.0, True), (1.0, True), (2.0, False), (10.9, False), (11.0, True)):
            now[0] = time
            await rig.alerts.send(alert())
            if acts:
                outcomes.append((await rig.actions.recv()).outcome)
            else:
                await asyncio.sleep(0)  # nothing in it waits
                assert len(rig.actions) == 0
        assert outcomes == ["failed", "done", "done"]
        assert rig.plugin.counts["done already"] == rig.plugin.counts["actions paused"] == 2
        await rig.finish()

    asyncio.run(main())


def test_what_cannot_be_recorded_is_not_done(tmp_path: Path) -> None:
    """It is reported, and the guard is unhealthy until it can be recorded again."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake(), dry_run=False)
        await rig.start()
        rig.audit.unlink()
        rig.audit.mkdir()
        await rig.alerts.send(alert())
        event = await rig.actions.recv()
        assert event.outcome == "failed" and "cannot be recorded: Is a directory" in event.detail
        assert rig.engine.acted == []
        health = await rig.plugin.health_check()
        assert health.is_unhealthy and "audit file cannot be written: Is a directory" in health.reason
        rig.audit.rmdir()
        await rig.alerts.send(alert())
        assert (await rig.actions.recv()).outcome == "done"
        assert (await rig.plugin.health_check()).is_healthy
        await rig.finish()
        assert rig.plugin.counts["not recorded"] == 1

    asyncio.run(main())


def test_an_audit_file_that_was_cut_off_goes_on_in_a_new_line(tmp_path: Path) -> None:
    """What a crash left stays as it is; and the file may be moved away meanwhile."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake(), pause=0.0)
        rig.audit.write_text('{"phase": "int')
        await rig.start()
        await rig.alerts.send(alert())
        await rig.actions.recv()
        os.rename(rig.audit, tmp_path / "old")
        await rig.finish(alert())
        cut, whole, empty = (tmp_path / "old").read_text().split("\n")
        assert cut == '{"phase": "int' and json.loads(whole)["phase"] == "dry-run" and empty == ""
        assert len(rig.lines()) == 1

    asyncio.run(main())


def test_a_stop_that_cannot_wait_says_what_it_cut_off(tmp_path: Path) -> None:
    """In the audit file and in the counts."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake(), dry_run=False)
        rig.engine.hang = True
        await rig.start()
        await rig.alerts.send(alert())
        await rig.engine.asked.wait()
        await rig.plugin.stop()  # without the end of the channel there is no drain
        assert rig.plugin.counts["cut off"] == 1 and rig.engine.closed == 1
        assert [(line["phase"], line["outcome"]) for line in rig.lines()] == [
            ("intent", "intent"),
            ("outcome", "failed"),
        ]
        assert rig.lines()[1]["detail"] == "cut off by the end of the guard"

    asyncio.run(main())


def test_nobody_reads_the_actions(tmp_path: Path) -> None:
    """Without the port, and with a reader that is gone: they are done all the same."""

    async def main() -> None:
        for closed in (False, True):
            rig = Rig(tmp_path, Fake(), dry_run=False, **({} if closed else {"actions": None}))
            if closed:
                rig.actions.close()
            await rig.start()
            await rig.finish(alert())
            assert rig.engine.acted == [(WEB.id, "pause")]
            assert (rig.plugin.counts["unreported"], rig.plugin.counts["reported"]) == (1, 0)

    asyncio.run(main())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from([None, "web-1", "db", "other"]), st.sampled_from(Severity)), max_size=12),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from([None, "busy", "refused"]), max_size=8),
    st.sampled_from([0.0, 1000.0]),
)
def test_what_was_accepted_is_reported_or_counted(
    tmp_path: Path,
    given_alerts: list[tuple[str | None, Severity]],
    dry_run: bool,
    there: bool,
    faults: list[str | None],
    pause: float,
) -> None:
    """Every alert once, every action once; each event has the trace of its alert, and the lines in the audit file."""

    async def main() -> None:
        errors = [None if text is None else EngineError(text, temporary=text == "busy") for text in faults]
        rig = Rig(tmp_path, Fake(*errors, there=there), dry_run=dry_run, pause=pause)
        rig.audit.unlink(missing_ok=True)
        await rig.start()
        sent = [alert(name, severity, f"trace-{n}") for n, (name, severity) in enumerate(given_alerts)]
        events = await rig.finish(*sent)
        counts = rig.plugin.counts
        assert counts["alerts"] == len(sent)
        assert counts["alerts"] == sum(counts[kind] for kind in ("acted", "no policy", "no container", "done already"))
        assert counts["actions"] == len(events) == counts["reported"]
        assert Counter(event.outcome for event in events) == Counter(
            {kind: counts[kind] for kind in ("done", "dry-run", "failed") if counts[kind]}
        )
        assert counts["cut off"] == counts["unreported"] == 0
        traces = {each.id: each.trace for each in sent}
        assert all(event.trace == traces[event.alert] for event in events)
        assert all(event.dry_run == dry_run == (event.outcome == "dry-run") for event in events)
        assert len(rig.lines()) == len(events) * (1 if dry_run else 2)
        assert len(rig.engine.acted) == counts["done"]
        if pause:
            kept = Counter((event.container, event.action) for event in events if event.outcome != "failed")
            assert all(count == 1 for count in kept.values())

    asyncio.run(main())


def test_what_is_wrong_is_told_before_the_start(tmp_path: Path) -> None:
    """Policies that are none, and an audit file that cannot be written."""

    async def main() -> None:
        rig = Rig(tmp_path, Fake())
        (tmp_path / "policies.toml").write_text('[[policy]]\nname = "x"')
        with pytest.raises(HookFailed, match=r"policy\[0\].action: missing"):
            await rig.plugin.init()
        rig = Rig(tmp_path, Fake(), audit=tmp_path / "policies.toml" / "audit")
        with pytest.raises(HookFailed, match=r"toml/audit cannot be written .*; set 'audit' to another"):
            await rig.plugin.init()
        await rig.plugin.stop()

    asyncio.run(main())


class Source(Plugin):
    """Something that alerts."""

    info = PluginInfo("source", "1.0.0")
    alerts: Sender[AlertEvent]


def test_it_is_wired_without_its_optional_port(tmp_path: Path) -> None:
    """An application need not read the actions."""
    guard = PluginSpec("container-guard", ContainerGuard, settings={"policies": tmp_path, "audit": tmp_path})
    planned = plan([guard, PluginSpec("source", Source)], {"alerts": 1})
    assert not planned.problems
    assert planned.order == ("source", "container-guard")
    assert planned.ports["container-guard"] == {"alerts": "alerts", "actions": None}
