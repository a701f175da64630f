"""The shipped core under layers L3 and L4: every call of a registry, every schedule of a few calls at a time.

The table is the one of the tests' own model, so that a change of the shipped table is noticed as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable

import pytest

from fsm_plugins import LIFECYCLE, RESTARTABLE, Deadlines, HealthStatus, Lifecycle, Plugin, PluginInfo, PluginRegistry
from fsm_plugins.verify.registries.space import expected_states, explore_registry
from fsm_plugins.verify.schedules.exploring import explore_schedules
from tests.property.model import TABLE

REFERENCE = Lifecycle("created", [(trigger, source, dest) for (trigger, source), dest in TABLE.items()])


class Counting(Plugin):
    """Counts how many of its hooks run at the same time."""

    info = PluginInfo("counting", "1.0.0")

    def __init__(self, name: str = "counting") -> None:
        super().__init__(name=name)
        self.under_way = 0
        self.most = 0

    async def on_init(self) -> None:
        await self.work()

    async def on_start(self) -> None:
        await self.work()

    async def on_stop(self) -> None:
        await self.work()

    async def on_health_check(self) -> HealthStatus:
        await self.work()
        return HealthStatus.healthy()

    async def work(self) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.wait()
        finally:
            self.under_way -= 1

    async def wait(self) -> None:
        await asyncio.sleep(0)


class Timed(Counting):
    """Waits for a future twice, with a clean-up that waits."""

    async def wait(self) -> None:
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(0)


class Absorbing(Counting):
    """Takes no notice of its cancellation."""

    async def wait(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)


class Raising(Counting):
    """Raises in every hook that it can reach, after a wait."""

    async def on_stop(self) -> None:
        await self.work()
        raise ValueError("boom")


class Working(Counting):
    """Has a worker."""

    async def on_start(self) -> None:
        self.spawn(self.pump())
        await self.work()

    async def pump(self) -> None:
        await asyncio.Event().wait()


class Hanging(Counting):
    """Is told to end, or never ends."""

    deadlines = Deadlines(start=math.inf, stop=math.inf)

    async def on_start(self) -> None:
        await asyncio.Event().wait()

    async def on_stop(self) -> None:
        if self.state == "running":
            await asyncio.Event().wait()


class HangingStop(Hanging):
    """Hangs in its stop only, so that it gets to run."""

    async def on_start(self) -> None:
        await self.work()


class Again(Counting):
    """Can be started again."""

    lifecycle = RESTARTABLE


def one_hook_at_a_time(subject: Counting | PluginRegistry) -> bool:
    plugins = [subject] if isinstance(subject, Plugin) else list(subject)
    return all(isinstance(plugin, Counting) and plugin.most <= 1 for plugin in plugins)


def registry(*kinds: Callable[[str], Plugin]) -> Callable[[], PluginRegistry]:
    def make() -> PluginRegistry:
        made = PluginRegistry(clock=lambda: 0.0)
        for name, kind in zip("ab", kinds, strict=False):
            made.register(kind(name))
        return made

    return make


def test_every_call_of_a_registry_does_what_the_model_says() -> None:
    """With one fault at a time, in every state of three plugins, by the table of the tests."""
    result = explore_registry(plugins=3, reference=REFERENCE)
    assert result.holds, result
    assert result.states == result.total == expected_states(3, 5, symmetric=True)


def test_every_call_of_a_registry_with_names_and_two_faults() -> None:
    """Names make a difference only to what things are called; two hooks may break in one call."""
    result = explore_registry(plugins=2, faults=2, symmetric=False, reference=REFERENCE)
    assert result.holds, result
    assert result.states == 61


def test_every_call_of_a_registry_of_restartable_plugins() -> None:
    """The same for the second shipped table."""
    extra = [("start", "stopped", "running"), ("fail", "stopped", "failed")]
    result = explore_registry(plugins=2, lifecycle=RESTARTABLE, reference=REFERENCE.extend(extra))
    assert result.holds, result


KINDS = [Counting, Timed, Absorbing, Raising, Working, Again]


@pytest.mark.parametrize("kind", KINDS)
def test_every_schedule_of_two_calls_of_a_plugin(kind: Callable[[], Plugin]) -> None:
    """All calls with each other and cancelled, from every state: no alarm, and no cell that is not complete."""
    result = explore_schedules(kind, invariant=one_hook_at_a_time, crashes=False)
    assert result.holds, result
    assert result.completed + len(result.unreached) == result.cells
    assert result.completed >= result.cells * 4 / 5  # Raising never gets to `stopped`


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Working])
def test_every_schedule_of_three_calls_of_a_plugin(kind: Callable[[], Plugin]) -> None:
    """The same with three at a time."""
    result = explore_schedules(kind, tasks=3, invariant=one_hook_at_a_time, crashes=False)
    assert result.holds, result
    assert result.completed + len(result.unreached) == result.cells


def test_every_schedule_of_three_calls_of_a_plugin_with_a_worker() -> None:
    """The same, without the one combination that departs; see the next test."""
    calls = ["init", "start", "stop", "health_check"]
    result = explore_schedules(Working, calls, tasks=3, invariant=one_hook_at_a_time, crashes=False)
    assert result.holds, result
    assert result.completed == result.cells


def test_a_plugin_can_be_failed_while_a_cancelled_stop_ends_its_workers() -> None:
    """`fail` awaits the end of the call under way; that it had been cancelled before makes no difference.

    Where the hook of the stop is the last thing to end, the cause given to `fail` becomes that of the plugin; where
    workers are ended after the hook, it does not, and the caller of `fail` is refused.
    """
    result = explore_schedules(Working, ["fail", "stop"], tasks=2, crashes=False, states=["running"])
    assert result.holds, result
    result = explore_schedules(Working, ["fail", "stop"], tasks=3, crashes=False, states=["running"])
    assert result.holds, result


def test_every_schedule_of_pairs_of_calls_of_a_registry() -> None:
    """Bulk calls with each other and with calls of a plugin, from the states in which they have something to do."""
    result = explore_schedules(
        registry(Counting, Timed),
        ["init_all", "start_all", "stop_all", "a.stop", "a.fail", "b.start", "b.fail", "b.unregister"],
        invariant=one_hook_at_a_time,
        states=[
            "created+created",
            "initialized+initialized",
            "running+initialized",
            "running+running",
            "failed+running",
        ],
        crashes=False,
    )
    assert result.holds, result
    assert result.completed == result.cells


def test_every_schedule_of_three_bulk_calls() -> None:
    """A start, a stop and a cancelled one."""
    result = explore_schedules(
        registry(Counting, Counting),
        ["init_all", "stop_all"],
        tasks=3,
        invariant=one_hook_at_a_time,
        states=["created+created", "initialized+initialized"],
        crashes=False,
    )
    assert result.holds, result


@pytest.mark.parametrize("call", ["a.fail", "stop_all"])
def test_a_hook_that_never_ends_is_interrupted(call: str) -> None:
    """There is no deadline that could end it, so nothing would ever happen if it were not told to end."""

    result = explore_schedules(registry(Hanging), ["a.start", call], tasks=None, states=["initialized"], crashes=False)
    assert result.holds, result


def test_a_hook_that_never_ends_is_interrupted_before_it_has_begun() -> None:
    """While a stop waits for the end of a health check, it can be told to fail already."""
    result = explore_schedules(
        HangingStop, ["health_check", "stop", "fail"], tasks=None, states=["running"], crashes=False
    )
    assert result.holds, result


def test_stop_all_waits_for_a_call_and_is_cancelled_meanwhile() -> None:
    """It goes on, and tells of the cancellation when all is done."""
    result = explore_schedules(
        registry(Counting), ["a.start", "stop_all"], tasks=3, states=["initialized"], crashes=False
    )
    assert result.holds, result
    result = explore_schedules(registry(Timed), ["a.stop", "stop_all"], tasks=3, states=["running"], crashes=False)
    assert result.holds, result


def test_bulk_health_checks_while_plugins_are_moved() -> None:
    """Each entry is of one moment, and a check ends when a plugin is moved."""
    result = explore_schedules(
        registry(Counting),
        ["health_check_all", "a.health_check", "a.stop", "a.fail", "a.unregister", "stop_all"],
        invariant=one_hook_at_a_time,
        states=["running", "initialized"],
        crashes=False,
    )
    assert result.holds, result


def test_the_shipped_table_is_the_one_of_the_model() -> None:
    """Told here once more, arc by arc, because the layers above are given the one of the tests."""
    assert set(LIFECYCLE.arcs) == set(REFERENCE.arcs)
