"""Policies that are edited while alerts come in: every alert is judged by one whole set of them, and none is lost."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import RUNNING, ConfigError, InvalidState, Receiver, Sender, channel
from ironpost.events import ActionEvent, AlertEvent, Severity
from ironpost.guard import Container, ContainerGuard
from ironpost.guard.policies import Action, load_policies

CONTAINERS = [Container(name * 64, name, "image", "running") for name in ("a", "b", "c")]

# What may stand in the file, what is told of it, and where.
BAD: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"[[policy]\n", "not TOML"),
    "no UTF-8": (b'name = "\xff"', "not TOML"),
    "no action": (b'[[policy]]\nname = "x"\n', "policy[0].action: missing"),
    "another key": (b'[[policy]]\nname = "x"\naction = "kill"\nactoin = 1\n', "policy[0].actoin: unknown key"),
    "half of it": (b'[[policy]]\nname = "x"\naction = "kill"\n[[policy]]\nname = "y"\nact', "not TOML"),
    "twice": (b'[[policy]]\nname = "x"\naction = "kill"\n' * 2, "policy[1].name: there is another policy 'x'"),
    "gone": (b"", "it cannot be read: No such file or directory"),
    "a directory": (b"", "it cannot be read: Is a directory"),
}


class Idle:
    """An engine that has three containers and nothing to do."""

    async def list(self) -> list[Container]:
        return CONTAINERS

    async def inspect(self, container: str) -> Container | None:
        return None

    async def changes(self, since: float) -> AsyncGenerator[str, None]:
        await asyncio.Event().wait()
        yield ""

    async def act(self, container: str, action: Action) -> str:
        return ""

    async def close(self) -> None: ...


def write(path: Path, version: int | str) -> None:
    """Put a version there: a good one has its number in the name of each policy, and acts on each container."""
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    if version == "a directory":
        path.mkdir()
    elif isinstance(version, str) and version != "gone":
        path.write_bytes(BAD[version][0])
    elif isinstance(version, int):
        path.write_text(
            "".join(
                f'[[policy]]\nname = "{version}/{each.name}"\naction = "pause"\nseverity = "info"\nevery = true\n'
                f'containers = ["{each.name}"]\n'
                for each in CONTAINERS
            )
        )


class Rig:
    """A guard that is held up in the middle of each alert, because its actions are read one by one."""

    def __init__(self, where: Path) -> None:
        self.alerts: Sender[AlertEvent]
        self.actions: Receiver[ActionEvent]
        alerts: Receiver[AlertEvent]
        actions: Sender[ActionEvent]
        self.alerts, alerts = channel(1000)
        actions, self.actions = channel(1)
        self.path = where / "policies.toml"
        write(self.path, 0)
        self.guard = ContainerGuard(
            alerts=alerts, actions=actions, policies=self.path, audit=where / "audit.jsonl", pause=0.0
        )
        self.guard.client = Idle()
        self.said: list[str] = []

    async def alert(self) -> str:
        event = AlertEvent(source="t", rule="r", title="t", severity=Severity.HIGH)
        await self.alerts.send(event)
        return event.id


STEPS = st.one_of(
    st.just(("edit", None)),
    st.sampled_from(sorted(BAD)).map(lambda bad: ("edit", bad)),
    st.booleans().map(lambda waits: ("reload", waits)),
    st.just(("alert", None)),
    st.integers(1, 4).map(lambda count: ("read", count)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_every_alert_is_judged_by_one_whole_set(steps: list[tuple[str, Any]]) -> None:
    """By one in force between when it was sent and when it was judged; a file that is wrong changes nothing."""

    async def main(where: Path) -> None:
        rig = Rig(where)
        guard = rig.guard
        handler = logging.Handler(logging.ERROR)
        handler.emit = lambda record: rig.said.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("ironpost.guard")
        logger.addHandler(handler)
        logger.propagate = False
        written: int | str = 0
        number = 0
        # What is to be expected, kept apart from the guard: the sets that may be in force now, and for each alert all
        # that may have been since it was sent.
        possible = {0}
        allowed: dict[str, set[int]] = {}
        judged: defaultdict[str, list[ActionEvent]] = defaultdict(list)
        refused = 0
        reloading: asyncio.Task[None] | None = None

        async def settle() -> None:
            nonlocal reloading, possible, refused
            if reloading is None:
                return
            await reloading
            reloading = None
            if isinstance(written, int):
                possible = {written}
                assert (await guard.health_check()).is_healthy
            else:
                refused += 1
                text, (_, told) = rig.said[-1], BAD[written]
                assert str(rig.path) in text and told in text
                health = await guard.health_check()
                assert not health.is_healthy and not health.is_unhealthy and told in health.reason
            assert len(rig.said) == refused

        async def read() -> None:
            event = await rig.actions.recv()
            judged[event.alert].append(event)

        try:
            await guard.init()
            await guard.start()
            for step, value in steps:
                if step == "edit":
                    await settle()
                    number += 1
                    written = number if value is None else value
                    write(rig.path, written)
                elif step == "reload":
                    await settle()
                    reloading = asyncio.create_task(guard.fire("reload"))
                    await asyncio.sleep(0)
                    if isinstance(written, int):
                        possible = possible | {written}
                        for sets in allowed.values():
                            sets.add(written)
                    if value:
                        await settle()
                elif step == "alert":
                    allowed[await rig.alert()] = set(possible)
                else:
                    for _ in range(min(value, 3 * len(allowed) - sum(map(len, judged.values())))):
                        await read()
            await settle()
            rig.alerts.close()
            while sum(map(len, judged.values())) < 3 * len(allowed):
                await read()
            assert guard.state == RUNNING
            await guard.stop()
        finally:
            logger.removeHandler(handler)
            logger.propagate = True

        assert list(judged) == list(allowed), "each is judged, in order"
        last = 0
        for alert, events in judged.items():
            (version,) = {int(event.policy.partition("/")[0]) for event in events}
            assert sorted(event.policy for event in events) == [f"{version}/{name}" for name in "abc"]
            assert version in allowed[alert]
            assert version >= last
            last = version
        assert guard.counts["alerts"] == guard.counts["acted"] == len(allowed)
        assert guard.counts["cut off"] == guard.counts["unreported"] == 0

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(asyncio.wait_for(main(Path(directory)), 60))


@pytest.mark.parametrize("bad", sorted(BAD))
def test_a_file_that_is_wrong_is_refused_with_its_place(tmp_path: Path, bad: str) -> None:
    """By the method, which raises, and with the name of the file."""

    async def main() -> None:
        rig = Rig(tmp_path)
        await rig.guard.init()
        before = rig.guard.rules
        write(rig.path, bad)
        with pytest.raises(ConfigError) as caught:
            await rig.guard.reload_policies()
        assert str(rig.path) in str(caught.value) and BAD[bad][1] in str(caught.value)
        assert rig.guard.rules is before
        write(rig.path, 7)
        assert await rig.guard.reload_policies() == rig.guard.rules == load_policies(rig.path) != before

    asyncio.run(main())


def test_what_was_read_last_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that takes long does not undo one that began after it."""

    async def main() -> None:
        rig = Rig(tmp_path)
        await rig.guard.init()
        order: Counter[str] = Counter()
        begun, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(path: Path) -> Any:
            found = load_policies(path)
            if not order["readings"]:
                order["readings"] += 1
                loop.call_soon_threadsafe(begun.set)
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)
            return found

        monkeypatch.setattr("ironpost.guard.plugin.load_policies", slow)
        first = asyncio.create_task(rig.guard.reload_policies())
        await begun.wait()
        write(rig.path, 5)
        second = asyncio.create_task(rig.guard.reload_policies())
        await asyncio.wait([second], timeout=0.05)
        go_on.set()
        await asyncio.gather(first, second)
        assert {policy.name for policy in rig.guard.rules.policies} == {"5/a", "5/b", "5/c"}

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_guard_that_does_not_run_cannot_be_reloaded(tmp_path: Path) -> None:
    """It reads its policies when it is initialised."""

    async def main() -> None:
        rig = Rig(tmp_path)
        with pytest.raises(InvalidState, match="expected=running"):
            await rig.guard.fire("reload")

    asyncio.run(main())
