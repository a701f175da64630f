"""Listeners hear of every transition, in order, when it is done; and nothing they do breaks one."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from fsm_plugins import HookFailed, Plugin, PluginInfo, PluginRegistry, RegistryBusy, TransitionEvent
from fsm_plugins.lifecycle import EventCells, Recorder
from fsm_plugins.testing import VirtualClockLoop, run


class Idle(Plugin):
    info = PluginInfo("idle", "1.0.0")


class Slow(Plugin):
    info = PluginInfo("slow", "1.0.0")

    async def on_init(self) -> None:
        await asyncio.sleep(1.5)


def watched(*plugins: Plugin, clock: Callable[[], float] = lambda: 7.0) -> tuple[PluginRegistry, list[TransitionEvent]]:
    registry, heard = PluginRegistry(clock=clock), list[TransitionEvent]()
    for plugin in plugins:
        registry.register(plugin)
    registry.subscribe(heard.append)
    return registry, heard


def test_an_event_tells_what_happened() -> None:
    """Who, by which trigger, from where to where, when, how long it took, in which call, and why if it failed."""

    async def main() -> None:
        plugin = Slow()
        _, heard = watched(plugin)
        await plugin.init()
        cause = OSError("disk")
        await plugin.fail(cause)
        assert heard == [
            TransitionEvent("slow", "init", plugin.lifecycle.initial, heard[0].dest, 7.0, 1.5, None, "init"),
            TransitionEvent("slow", "fail", heard[0].dest, plugin.state, 7.0, 0.0, cause, ""),
        ]
        assert str(heard[1]) == "slow: initialized -> failed (fail, 0.000 s): OSError('disk')"

    run(main)


def test_it_is_told_when_the_transition_is_done() -> None:
    """A listener sees the new state and the cause of a failure, and no call under way."""

    class Broken(Idle):
        async def on_start(self) -> None:
            raise OSError("port")

    async def main() -> None:
        plugin = Broken()
        registry, _ = watched(plugin)
        seen: list[object] = []
        registry.subscribe(lambda event: seen.append((plugin.state, plugin.failure, plugin._guard.in_flight)))
        await plugin.init()
        with pytest.raises(HookFailed) as failed:
            await plugin.start()
        assert seen == [("initialized", None, None), ("failed", failed.value.__cause__, None)]

    run(main)


def test_refusals_are_no_transitions() -> None:
    """And what does not move is not told."""

    async def main() -> None:
        plugin = Idle()
        registry, heard = watched(plugin)
        for call in (plugin.start, plugin.stop):
            with pytest.raises(Exception, match="invalid state"):
                await call()
        await plugin.health_check()
        await registry.stop_all()
        assert heard == []

    run(main)


def test_a_listener_that_raises_is_logged_and_the_others_hear(caplog: pytest.LogCaptureFixture) -> None:
    """The transition stands."""

    async def main() -> None:
        plugin = Idle()
        registry = PluginRegistry()
        registry.register(plugin)

        def broken(_event: TransitionEvent) -> None:
            raise asyncio.CancelledError if plugin.state == "running" else ValueError

        registry.subscribe(broken)
        heard: list[str] = []
        registry.subscribe(lambda event: heard.append(event.trigger))
        await plugin.init()
        await plugin.start()
        assert heard == ["init", "start"]
        assert plugin.state == "running"

    with caplog.at_level(logging.ERROR, "fsm_plugins"):
        run(main)
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        "a listener raised on the event 'idle: created -> initialized",
        "a listener raised on the event 'idle: initialized -> running",
    ]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("on", ["initialized", "failed", "stopped"])
def test_an_exit_from_a_listener_goes_through_when_all_have_heard(error: type[BaseException], on: str) -> None:
    """The plugin is free for the next call, the others have heard, and later events are told."""

    class Broken(Idle):
        async def on_start(self) -> None:
            raise OSError("port")

    async def main() -> None:
        plugin = Broken()
        registry = PluginRegistry()
        registry.register(plugin)

        def leave(event: TransitionEvent) -> None:
            if event.dest == on:
                raise error(3)

        registry.subscribe(leave)
        heard: list[str] = []
        registry.subscribe(lambda event: heard.append(event.dest))
        exits = 0
        for call in (registry.init_all, registry.start_all, registry.stop_all):
            try:
                await call()
            except error:
                exits += 1
            except HookFailed:
                assert plugin.state == "failed"
            assert plugin._guard.flight is None
        assert exits == 1
        assert heard == ["initialized", "failed", "stopped"]
        assert plugin.state == "stopped"

    run(main)


def test_listeners_may_come_and_go_at_any_time() -> None:
    """Each subscription is its own: ended twice or in the middle of an event, it ends itself and nothing else."""

    async def main() -> None:
        plugin = Idle()
        registry = PluginRegistry()
        registry.register(plugin)
        heard: list[str] = []

        def once(event: TransitionEvent) -> None:
            heard.append(f"once {event.trigger}")
            leave()
            leave()
            registry.subscribe(late)

        def late(event: TransitionEvent) -> None:
            heard.append(f"late {event.trigger}")

        def twice(event: TransitionEvent) -> None:
            heard.append(f"twice {event.trigger}")

        leave = registry.subscribe(once)
        leave_one = registry.subscribe(twice)
        registry.subscribe(twice)
        await plugin.init()
        leave_one()
        await plugin.start()
        assert heard == ["once init", "twice init", "twice init", "twice start", "late start"]

    run(main)


def test_a_listener_may_act_in_a_task() -> None:
    """A task that it starts finds the plugin free."""

    async def main() -> None:
        plugin = Idle()
        registry, heard = watched(plugin)
        tasks: list[asyncio.Task[None]] = []

        def stop_it(event: TransitionEvent) -> None:
            if event.dest == "running":
                tasks.append(asyncio.create_task(registry.stop_all()))

        registry.subscribe(stop_it)
        await registry.init_all()
        await registry.start_all()
        await tasks[0]
        assert [event.trigger for event in heard] == ["init", "start", "stop"]

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("dest", ["initialized", "running", "failed"])
def test_events_stay_in_order_when_listeners_start_eager_tasks(dest: str) -> None:
    """What a listener causes while it is told is told after that, to everybody."""

    class Breaking(Idle):
        async def on_start(self) -> None:
            if dest == "failed":
                raise OSError("port")

    async def main() -> None:
        plugin = Breaking()
        registry = PluginRegistry()
        registry.register(plugin)
        tasks: list[asyncio.Task[None]] = []
        heard: list[tuple[int, str]] = []
        registry.subscribe(lambda event: heard.append((1, event.dest)))
        registry.subscribe(
            lambda event: tasks.append(asyncio.create_task(registry.stop_all())) if event.dest == dest else None
        )
        registry.subscribe(lambda event: heard.append((2, event.dest)))
        with pytest.raises(Exception, match=r"abandoned|port"):
            await registry.init_all()
            await registry.start_all()
        await asyncio.gather(*tasks)
        order = [state for number, state in heard if number == 1]
        assert heard == [(number, state) for state in order for number in (1, 2)]
        assert order[-1] == plugin.state == "stopped"

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.get_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        runner.run(main())


def test_what_a_listener_causes_at_once_is_told_later() -> None:
    """When everybody has heard of what it is told of; so all hear the same story."""

    async def main() -> None:
        plugin = Idle()
        registry = PluginRegistry()
        registry.register(plugin)
        heard: list[tuple[int, str]] = []

        def stop_it(event: TransitionEvent) -> None:
            if event.dest == "running":
                with pytest.raises(StopIteration):  # the whole call, without a wait
                    plugin.stop().send(None)

        registry.subscribe(lambda event: heard.append((1, event.dest)))
        registry.subscribe(stop_it)
        registry.subscribe(lambda event: heard.append((2, event.dest)))
        await plugin.init()
        await plugin.start()
        assert heard == [(n, dest) for dest in ("initialized", "running", "stopped") for n in (1, 2)]

    run(main)


async def function(event: TransitionEvent) -> None: ...


class Asynchronous:
    async def __call__(self, event: TransitionEvent) -> None: ...

    async def method(self, event: TransitionEvent) -> None: ...


@pytest.mark.parametrize(
    "listener", [function, Asynchronous(), Asynchronous().method, functools.partial(function), None, "print"]
)
def test_what_would_never_run_is_refused(listener: Any) -> None:
    """Asynchronous functions, methods and objects, and what cannot be called."""
    with pytest.raises(TypeError, match="a listener is a plain function of one event"):
        PluginRegistry().subscribe(listener)


def test_whoever_is_registered_when_it_is_done_is_told() -> None:
    """A plugin that is registered in the middle of a call is heard from then on; one that left is not."""

    async def main() -> None:
        coming, going = Slow(name="coming"), Slow(name="going")
        registry, heard = watched(going)
        calls = [asyncio.create_task(plugin.init()) for plugin in (coming, going)]
        await asyncio.sleep(1)
        registry.register(coming)
        registry.unregister("going")
        await asyncio.gather(*calls)
        assert [event.plugin for event in heard] == ["coming"]

    run(main)


def test_a_listener_cannot_change_a_registry_in_the_middle_of_a_walk() -> None:
    """It is told so, and may do it later."""

    async def main() -> None:
        plugin, other = Idle(), Idle(name="other")
        registry = PluginRegistry()
        registry.register(plugin)
        refusals: list[RegistryBusy] = []

        def meddle(_event: TransitionEvent) -> None:
            for change in (lambda: registry.register(other), lambda: registry.unregister("idle")):
                try:
                    change()
                except RegistryBusy as busy:
                    refusals.append(busy)

        leave = registry.subscribe(meddle)
        await registry.init_all()
        leave()
        assert [(busy.wanted, busy.in_flight) for busy in refusals] == [
            ("register", "init_all"),
            ("unregister", "init_all"),
        ]
        registry.register(other)

    run(main)


def test_a_call_that_dies_with_its_loop_is_told_all_the_same() -> None:
    """A coroutine that is closed outside of any loop fails its plugin, and leaves it free."""
    plugin = Slow()
    registry, heard = watched(plugin)
    calls = []

    async def begin() -> None:
        call = plugin.init()
        call.send(None)
        calls.append(call)

    run(begin)
    calls[0].close()
    assert (plugin.state, plugin._guard.flight) == ("failed", None)
    assert isinstance(plugin.failure, GeneratorExit)
    assert [event.dest for event in heard] == ["failed"]
    run(registry.stop_all)
    assert plugin.state == "stopped"


# Recorders.


def test_a_recorder_hears_what_a_listener_hears() -> None:
    """The same fields in the same order, once each, as a plain tuple; alone, beside a listener, and until it ends."""

    async def main() -> None:
        plugin, alone = Idle(), list[EventCells]()
        registry = PluginRegistry(clock=lambda: 7.0)
        registry.register(plugin)
        end = registry.subscribe(Recorder(alone.append))
        await plugin.init()
        assert [type(cells) for cells in alone] == [tuple]
        assert TransitionEvent(*alone[0])[:2] == ("idle", "init")
        heard: list[TransitionEvent] = []
        registry.subscribe(heard.append)
        await plugin.start()
        end()
        await plugin.stop()
        assert alone[1:] == heard[:1]
        assert [event.trigger for event in heard] == ["start", "stop"]

    run(main)


@pytest.mark.parametrize("error", [ValueError("full"), asyncio.CancelledError(), SystemExit(3)])
def test_a_recorder_that_raises_breaks_nothing(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the plugin is where it was going, and the others are told."""

    def refuse(_: EventCells) -> None:
        raise error

    async def main() -> None:
        plugin, kept = Idle(), list[EventCells]()
        registry, heard = PluginRegistry(), list[TransitionEvent]()
        registry.register(plugin)
        for listener in (Recorder(refuse), Recorder(kept.append), heard.append):
            registry.subscribe(listener)
        await plugin.init()
        assert plugin.state == "initialized"
        assert kept == heard
        assert len(heard) == 1

    run(main)
    assert [record.getMessage()[:18] for record in caplog.records] == ["a recorder raised "]


def test_a_registry_goes_from_one_loop_to_the_next() -> None:
    """Durations are told by the clock of the loop that runs, not by that of the one before."""
    registry, heard = watched(Idle(), Slow())
    asyncio.run(registry["idle"].init())

    async def main() -> None:
        await registry["slow"].init()

    run(main)
    assert [(event.plugin, event.duration == 1.5) for event in heard] == [("idle", False), ("slow", True)]
