"""Lifecycles with states and triggers of one's own: everything that holds for the default one holds for them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import pathlib
import sys
from types import ModuleType
from typing import Any

import pytest
from transitions.core import Condition

from fsm_plugins import (
    LIFECYCLE,
    RESTARTABLE,
    DeadlineExceeded,
    Deadlines,
    DefinitionError,
    HealthStatus,
    HookFailed,
    InvalidState,
    Lifecycle,
    Plugin,
    PluginInfo,
    PluginRegistry,
    StopFailed,
    UnknownTrigger,
)
from fsm_plugins.testing import VirtualClockLoop, run

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "pause_resume.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pause_resume", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_example_does_what_it_says(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Paused, it does not tick; it is degraded; a second pause is refused; a paused plugin can be stopped."""
    run(example.main)
    assert capsys.readouterr().out.splitlines() == [
        "created -> initialized",
        "initialized -> running",
        "ticks: 3",
        "running -> paused",
        "degraded: not running: paused",
        "ticks while paused: 3",
        "invalid state for plugin 'ticker': current=paused, expected=running",
        "paused -> running",
        "ticks: 6",
        "running -> paused",
        "paused -> stopped",
    ]


def test_new_triggers_have_hooks_with_deadlines(example: ModuleType) -> None:
    """A pause that hangs is late after its own deadline, and fails the plugin, which can be stopped."""

    async def main() -> None:
        class Stuck(example.Ticker):  # type: ignore[misc,name-defined]
            async def on_pause(self) -> None:
                await asyncio.Event().wait()

        ticker = Stuck()
        await ticker.init()
        await ticker.start()
        with pytest.raises(DeadlineExceeded) as late:
            await ticker.fire("pause")
        assert (late.value.trigger, late.value.seconds) == ("pause", 2.0)
        assert ticker.state == "failed"
        await ticker.stop()
        assert ticker.state == "stopped"

    run(main)


def test_unknown_triggers_are_refused(example: ModuleType) -> None:
    """With those there are; and fail, which needs a cause, cannot be fired like the others."""

    async def main() -> None:
        ticker = example.Ticker()
        with pytest.raises(UnknownTrigger, match="did you mean 'pause'") as refused:
            await ticker.fire("paus")
        assert refused.value.known == ("fail", "init", "pause", "resume", "start", "stop")
        with pytest.raises(TypeError, match="fail needs a cause"):
            await ticker.fire("fail")
        with pytest.raises(TypeError, match="takes the exception"):
            await ticker.fail("because")
        assert ticker.state == "created"

    run(main)


class Phoenix(Plugin):
    """Can be started again, and notes what it does."""

    info = PluginInfo("phoenix", "1.0.0")
    lifecycle = RESTARTABLE

    def __init__(self, *, breaks_at: int = 0) -> None:
        self.breaks_at = breaks_at
        self.starts = self.stops = 0

    async def on_start(self) -> None:
        self.starts += 1
        self.spawn(asyncio.sleep(1000))
        if self.starts == self.breaks_at:
            raise OSError("port taken")

    async def on_stop(self) -> None:
        self.stops += 1


def test_a_restartable_plugin_starts_again_and_again() -> None:
    """Each time with fresh workers, and without anything left of the time before."""

    async def main() -> None:
        plugin = Phoenix()
        await plugin.init()
        for _ in range(50):
            await plugin.start()
            assert len(plugin._guard.workers) == 1
            await plugin.stop()
            assert len(asyncio.all_tasks()) == 1
        assert (plugin.starts, plugin.stops) == (50, 50)
        with pytest.raises(InvalidState):
            await plugin.stop()
        with pytest.raises(InvalidState):
            plugin.spawn(asyncio.sleep(1))

    run(main)


def test_a_second_start_that_breaks_is_released_by_stop() -> None:
    """Like the first: failed, then stopped, and then it may be started once more."""

    async def main() -> None:
        plugin, registry = Phoenix(breaks_at=2), PluginRegistry()
        registry.register(plugin)
        await plugin.init()
        await plugin.start()
        await plugin.stop()
        with pytest.raises(HookFailed, match="port taken"):
            await plugin.start()
        assert plugin.state == "failed"
        await registry.stop_all()
        assert (plugin.state, plugin.stops) == ("stopped", 2)
        await plugin.start()
        assert plugin.state == "running"
        await registry.stop_all()

    run(main)


def test_a_trigger_may_lead_back_to_where_it_came_from() -> None:
    """A reflexive arc runs its hook and is told like any other."""

    async def main() -> None:
        log: list[str] = []

        class Reloading(Plugin):
            info = PluginInfo("reloading", "1.0.0")
            lifecycle = LIFECYCLE.extend([("reload", "running", "running")])

            async def on_reload(self) -> None:
                log.append(f"reload in {self.state}")

        plugin, registry = Reloading(), PluginRegistry()
        registry.register(plugin)
        registry.subscribe(lambda event: log.append(f"{event.trigger}: {event.source} -> {event.dest}"))
        await plugin.init()
        await plugin.start()
        await plugin.fire("reload")
        assert log[2:] == ["reload in running", "reload: running -> running"]

    run(main)


def test_a_second_state_of_rest() -> None:
    """Where ``stop`` leads decides: a parked plugin holds nothing, and stop_all leaves it alone."""
    lifecycle = Lifecycle(
        "created",
        [
            ("init", "created", "ready"),
            ("start", "ready", "running"),
            ("stop", "running", "ready"),
            ("stop", "failed", "gone"),
            *[("fail", state, "failed") for state in ("created", "ready", "running")],
        ],
    )

    async def main() -> None:
        stops = []

        class Parking(Plugin):
            info = PluginInfo("parking", "1.0.0")

            async def on_stop(self) -> None:
                stops.append(self.state)

        Parking.lifecycle = lifecycle
        plugin, registry = Parking(), PluginRegistry()
        registry.register(plugin)
        await plugin.init()
        await plugin.start()
        await registry.stop_all()
        await registry.stop_all()
        assert (plugin.state, stops) == ("ready", ["running"])
        await plugin.start()
        await plugin.fail(OSError())
        await registry.stop_all()
        assert (plugin.state, stops) == ("gone", ["running", "failed"])

    run(main)


@pytest.mark.parametrize(
    "arcs",
    [
        # What is broken must be released by stop itself, not by way of a trigger that nobody fires.
        [("init", "created", "up"), ("fail", "up", "failed"), ("recover", "failed", "up"), ("stop", "up", "down")],
        [("init", "created", "up"), ("sleep", "up", "asleep"), ("stop", "up", "down"), ("stop", "failed", "down")],
    ],
)
def test_stop_must_be_possible_at_most_by_way_of_fail(arcs: list[tuple[str, str, str]]) -> None:
    """stop_all goes no other way, so a lifecycle in which there is only another way is refused."""
    fails = [("fail", "created", "failed"), ("fail", "up", "failed"), ("fail", "asleep", "asleep")]
    named = {state for arc in arcs for state in arc[1:]}
    with pytest.raises(DefinitionError, match="could never be stopped, so add the arc"):
        Lifecycle("created", [*arcs, *(fail for fail in fails if fail[1] in named and fail not in arcs)])


def machine_of(*states: str) -> tuple[type[Plugin], Any]:
    """Return a plugin class with a machine of its own, to be given callbacks."""
    lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
    attributes = {"info": PluginInfo("called-back", "1.0.0"), "lifecycle": lifecycle}
    return type("CalledBack", (Plugin,), attributes), lifecycle.machine


def test_conditions_refuse_and_callbacks_are_called_around_the_commit() -> None:
    """As the state machine library documents them; the hook runs between the conditions and the callbacks."""

    async def main() -> None:
        cls, machine = machine_of()
        log: list[str] = []
        allowed = [False]
        (arc,) = machine.get_transitions("start")
        arc.prepare = [lambda: log.append("prepare")]
        arc.add_callback("before", lambda: log.append(f"before in {plugin.state}"))
        arc.add_callback("after", lambda: log.append(f"after in {plugin.state}"))
        machine.get_state("initialized").add_callback("exit", lambda: log.append(f"exit in {plugin.state}"))
        machine.get_state("running").add_callback("enter", lambda: log.append(f"enter in {plugin.state}"))
        arc.conditions = [Condition(lambda: allowed[0])]
        plugin: Plugin = cls()
        await plugin.init()
        with pytest.raises(InvalidState):
            await plugin.start()
        assert (plugin.state, log) == ("initialized", ["prepare"])
        log.clear()
        allowed[0] = True
        await plugin.start()
        assert log == [
            "prepare",
            "before in initialized",
            "exit in initialized",
            "enter in running",
            "after in running",
        ]

    run(main)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
@pytest.mark.parametrize("trigger", ["init", "start", "stop", "fail"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_callback_that_raises_leaves_no_claim_behind(error: type[BaseException], trigger: str, when: str) -> None:
    """Whatever it raises and wherever, the plugin is in a state of its table, and can be stopped."""

    async def main() -> None:
        cls, machine = machine_of()

        def break_down() -> None:
            raise error("callback")

        plugin, registry = cls(), PluginRegistry()
        registry.register(plugin)
        for arc in machine.get_transitions(trigger):
            arc.add_callback(when, break_down)
        raised: list[BaseException] = []
        for call in ("init", "start", "fail"):
            try:
                await (plugin.fail(OSError("told")) if call == "fail" else plugin.fire(call))
            except BaseException as caught:
                raised.append(caught)
            assert plugin._guard.flight is None
        assert plugin.state == "failed"
        if trigger == "fail":
            # A failure cannot be kept from happening, and only what ends a program is let through.
            assert [type(one) for one in raised] == ([KeyboardInterrupt] if error is KeyboardInterrupt else [])
        for arc in machine.get_transitions(trigger):
            setattr(arc, when, [])
        await registry.stop_all()
        assert plugin.state == "stopped"

    run(main)


def test_a_stop_whose_callback_raises_is_a_problem_of_stop_all() -> None:
    """The plugin was released all the same."""

    async def main() -> None:
        cls, machine = machine_of()

        def break_down() -> None:
            raise ValueError("callback")

        machine.get_state("stopped").add_callback("enter", break_down)
        plugin, registry = cls(), PluginRegistry()
        registry.register(plugin)
        await registry.init_all()
        await registry.start_all()
        with pytest.raises(StopFailed) as failed:
            await registry.stop_all()
        assert str(failed.value.exceptions[0]) == "plugin 'called-back' failed in stop: ValueError: callback"
        assert plugin.state == "stopped"

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("trigger", ["start", "fail"])
@pytest.mark.parametrize("when", ["prepare", "before", "after"])
def test_a_callback_may_start_a_task_that_stops_everything(trigger: str, when: str) -> None:
    """Even an eager one: stop_all waits for the end of the call it was started in."""

    async def main() -> None:
        cls, machine = machine_of()
        plugin, registry = cls(), PluginRegistry()
        registry.register(plugin)
        stops: list[asyncio.Task[None]] = []
        for arc in machine.get_transitions(trigger):
            arc.add_callback(when, lambda: stops.append(asyncio.create_task(registry.stop_all())))
        await plugin.init()
        with contextlib.suppress(HookFailed, InvalidState):
            await (plugin.start() if trigger == "start" else plugin.fail(OSError("x")))
        await asyncio.gather(*stops)
        assert stops
        assert (plugin.state, plugin._guard.flight) == ("stopped", None)
        assert await plugin.health_check() == HealthStatus.degraded("not running: stopped")

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.get_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        runner.run(main())


def test_deadlines_of_new_triggers_default_to_30_seconds() -> None:
    """Where the class names none."""

    class Reloading(Plugin):
        info = PluginInfo("reloading", "1.0.0")
        lifecycle = LIFECYCLE.extend([("reload", "running", "running")])
        deadlines = Deadlines(start=1.0)

        async def on_reload(self) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        plugin = Reloading()
        await plugin.init()
        await plugin.start()
        with pytest.raises(DeadlineExceeded, match="within its deadline of 30 s"):
            await plugin.fire("reload")

    run(main)
