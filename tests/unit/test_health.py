"""Health checks: an answer in time, whatever the hook does, and never a change of state."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from fsm_plugins import Deadlines, HealthStatus, InvalidState, Plugin, PluginInfo, PluginRegistry
from fsm_plugins.testing import VirtualClockLoop, run


class Patient(Plugin):
    """Answers after a while."""

    info = PluginInfo("patient", "1.0.0")
    deadlines = Deadlines(init=5, start=5, stop=5, health=5, grace=1)

    seconds = 0.0
    asked = 0

    async def on_health_check(self) -> HealthStatus:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        return HealthStatus.healthy()


async def running(plugin: Plugin) -> None:
    await plugin.init()
    await plugin.start()


def test_what_is_known_is_not_asked_for() -> None:
    """A plugin that is not running says so itself; a failed one tells its cause."""

    async def main() -> None:
        plugin = Patient()
        assert await plugin.health_check() == HealthStatus.degraded("not running: created")
        await plugin.init()
        assert await plugin.health_check() == HealthStatus.degraded("not running: initialized")
        await plugin.fail(OSError("disk"))
        assert await plugin.health_check() == HealthStatus.unhealthy("OSError: disk")
        await plugin.stop()
        assert await plugin.health_check() == HealthStatus.degraded("not running: stopped")
        assert plugin.asked == 0

    run(main)


def test_a_plugin_that_is_just_moved_is_degraded() -> None:
    """Its hook is not asked while another hook is at work."""

    async def main() -> None:
        class Slow(Patient):
            async def on_stop(self) -> None:
                await asyncio.sleep(1)

        plugin = Slow()
        await running(plugin)
        stop = asyncio.create_task(plugin.stop())
        await asyncio.sleep(0.5)
        assert await plugin.health_check() == HealthStatus.degraded("stop is under way")
        await stop
        assert plugin.asked == 0

    run(main)


async def _raise(_self: Plugin) -> Any:
    raise OSError("disk")


async def _hang(_self: Plugin) -> Any:
    await asyncio.Event().wait()


async def _swallow(_self: Plugin) -> Any:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def _cancel(_self: Plugin) -> Any:
    raise asyncio.CancelledError


async def _again(self: Plugin) -> Any:
    return await self.health_check()


async def _stop(self: Plugin) -> Any:
    await self.stop()


async def _wait_and_stop(self: Plugin) -> Any:
    await asyncio.sleep(1)
    await self.stop()


REFUSED = "InvalidState: invalid state for plugin 'patient': current=running, expected=failed|running"


@pytest.mark.parametrize(
    ("hook", "status", "seconds"),
    [
        (_raise, HealthStatus.unhealthy("OSError: disk"), 0),
        (_hang, HealthStatus.unhealthy("no answer within 5 s"), 5),
        (_swallow, HealthStatus.unhealthy("no answer within 5 s"), 6),
        (_cancel, HealthStatus.unhealthy("CancelledError"), 0),
        (_again, HealthStatus.degraded("health_check is under way"), 0),
        (_stop, HealthStatus.unhealthy(f"{REFUSED}, in_flight=health_check"), 0),
        (_wait_and_stop, HealthStatus.unhealthy(f"{REFUSED}, in_flight=health_check"), 1),
        (lambda _: asyncio.sleep(1, HealthStatus.healthy()), HealthStatus.healthy(), 1),
        (lambda _: None, None, 0),
        (lambda _: iter([1]), None, 0),
    ],
)
def test_whatever_the_hook_does_there_is_an_answer(hook: Any, status: HealthStatus | None, seconds: float) -> None:
    """In time, and the plugin goes on as it was."""

    async def main() -> None:
        plugin = type("Ill", (Patient,), {"on_health_check": hook})()
        await running(plugin)
        answer = await plugin.health_check()
        assert asyncio.get_running_loop().time() == pytest.approx(seconds)
        assert (answer == status) if status else answer.is_unhealthy and "on_health_check returned" in answer.reason
        assert (plugin.state, plugin.failure, plugin._guard._health) == ("running", None, None)
        await plugin.stop()

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_goes_through(error: type[BaseException]) -> None:
    """An exit is not made an answer; and the next one who asks is served."""

    async def hook(plugin: Patient) -> HealthStatus:
        plugin.asked += 1
        if plugin.asked == 1:
            raise error
        return HealthStatus.healthy()

    async def main() -> None:
        plugin = type("Exiting", (Patient,), {"on_health_check": hook})()
        await running(plugin)
        with pytest.raises(error):
            await plugin.health_check()
        assert (await plugin.health_check()).is_healthy

    run(main)


def test_those_who_ask_at_the_same_time_share_one_answer() -> None:
    """The hook runs once; if the one in whose task it runs is cancelled, another one asks anew."""

    async def main() -> None:
        plugin = Patient()
        plugin.seconds = 2.0
        await running(plugin)
        first, second, third = (asyncio.create_task(plugin.health_check()) for _ in range(3))
        await asyncio.sleep(1)
        assert plugin.asked == 1
        first.cancel()
        assert (await second).is_healthy and (await third).is_healthy
        assert first.cancelled()
        assert plugin.asked == 2
        assert asyncio.get_running_loop().time() == 3

    run(main)


@pytest.mark.parametrize("how", ["stop", "fail", "crash"])
def test_an_answer_is_never_about_the_past(how: str) -> None:
    """A plugin that moves on while it is asked is told as it is now."""

    async def crash() -> None:
        raise OSError("disk")

    async def main() -> None:
        plugin = Patient()
        plugin.seconds = 2.0
        await running(plugin)
        asked = asyncio.create_task(plugin.health_check())
        await asyncio.sleep(1)
        match how:
            case "stop":
                await plugin.stop()
            case "fail":
                await plugin.fail(OSError("disk"))
            case "crash":
                plugin.spawn(crash())
        expected = (
            HealthStatus.degraded("stop is under way") if how == "stop" else HealthStatus.unhealthy("OSError: disk")
        )
        assert await asked == expected
        # A stop does not wait for the answer, it ends the question.
        assert asyncio.get_running_loop().time() == (1 if how == "stop" else 2)

    run(main)


def test_a_stop_waits_for_the_end_of_a_check_that_it_interrupts() -> None:
    """One hook runs at a time, even if the one that is asked takes its time to end."""

    async def main() -> None:
        plugin = type("Stubborn", (Patient,), {"on_health_check": _swallow})()
        await running(plugin)
        asked = asyncio.create_task(plugin.health_check())
        await asyncio.sleep(0)
        await plugin.stop()
        assert asyncio.get_running_loop().time() == 1  # the grace period
        assert await asked == HealthStatus.degraded("stop is under way")

    run(main)


def test_the_entries_of_a_bulk_check_are_of_one_moment() -> None:
    """A plugin that failed after it gave its answer is not told as failed and healthy at once."""

    async def main() -> None:
        registry, quick, slow = PluginRegistry(), Patient(name="quick"), Patient(name="slow")
        slow.seconds = 3.0
        for plugin in (quick, slow):
            registry.register(plugin)
        await registry.init_all()
        await registry.start_all()
        checking = asyncio.create_task(registry.health_check_all())
        await asyncio.sleep(1)
        await quick.fail(OSError("disk"))
        assert await checking == [
            ("quick", "failed", HealthStatus.unhealthy("OSError: disk")),
            ("slow", "running", HealthStatus.healthy()),
        ]
        assert asyncio.get_running_loop().time() == 3

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_a_check_that_is_interrupted_before_its_first_wait_ends_all_the_same() -> None:
    """A hook may start an eager task that stops the plugin, and then go on to wait."""
    stops: list[asyncio.Task[None]] = []

    class Suicidal(Patient):
        async def on_health_check(self) -> HealthStatus:
            stops.append(asyncio.create_task(self.stop()))
            await asyncio.sleep(4)
            return HealthStatus.healthy()

    async def main() -> None:
        plugin = Suicidal()
        await running(plugin)
        assert await plugin.health_check() == HealthStatus.degraded("stop is under way")
        await stops[0]
        assert (plugin.state, asyncio.get_running_loop().time()) == ("stopped", 0)

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.get_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        runner.run(main())


def test_other_triggers_are_refused_to_the_hook_too() -> None:
    """And the refusal names the check as what is under way."""
    refusals: list[InvalidState] = []

    class Curious(Patient):
        async def on_health_check(self) -> HealthStatus:
            for trigger in ("init", "start", "stop"):
                try:
                    await self.fire(trigger)
                except InvalidState as refused:
                    refusals.append(refused)
            return HealthStatus.healthy()

    async def main() -> None:
        plugin = Curious()
        await running(plugin)
        assert (await plugin.health_check()).is_healthy
        assert [refused.in_flight for refused in refusals] == [None, None, "health_check"]

    run(main)


def test_a_bulk_check_asks_whoever_has_something_to_say() -> None:
    """A hook of the class, or one that an instance was given; who has none is healthy while it runs."""

    class Silent(Plugin):
        info = PluginInfo("silent", "1.0.0")

    class Says(Plugin):
        info = PluginInfo("says", "1.0.0")

        async def on_health_check(self) -> HealthStatus:
            return HealthStatus.degraded("of the class")

    async def of_the_instance() -> HealthStatus:
        return HealthStatus.degraded("of the instance")

    async def main() -> list[tuple[str, str]]:
        registry = PluginRegistry()
        told = Silent(name="told")
        object.__setattr__(told, "on_health_check", of_the_instance)
        for plugin in (Silent(), Says(), told, Silent(name="created")):
            registry.register(plugin)
        for name in ("silent", "says", "told"):
            await registry[name].init()
            await registry[name].start()
        return [(entry.name, str(entry.status)) for entry in await registry.health_check_all()]

    assert run(main) == [
        ("silent", "healthy"),
        ("says", "degraded: of the class"),
        ("told", "degraded: of the instance"),
        ("created", "degraded: not running: created"),
    ]
