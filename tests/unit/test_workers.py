"""Workers: the tasks that belong to a plugin, and end no later than it does."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from fsm_plugins import (
    DeadlineExceeded,
    Deadlines,
    HookFailed,
    InvalidState,
    Plugin,
    PluginError,
    PluginInfo,
    PluginRegistry,
    Receiver,
    Sender,
    channel,
)
from fsm_plugins.testing import VirtualClockLoop, run


class Idle(Plugin):
    info = PluginInfo("idle", "1.0.0")
    deadlines = Deadlines(init=5, start=5, stop=5, health=5, grace=1)


async def running(plugin: Plugin) -> None:
    await plugin.init()
    await plugin.start()


async def swallow() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


def left() -> set[str]:
    """Return the names of the tasks that belong to a plugin."""
    return {task.get_name() for task in asyncio.all_tasks() if "/" in task.get_name()}


def test_spawn_returns_the_task() -> None:
    """It can be awaited and has a result; it is named after the plugin and the function, or as one says."""

    async def main() -> None:
        plugin = Idle()
        await running(plugin)
        task = plugin.spawn(asyncio.sleep(1, "done"))
        assert task.get_name() == "idle/sleep"
        assert await task == "done"
        named = plugin.spawn(asyncio.sleep(1), name="second")
        assert named.get_name() == "idle/second"
        await plugin.stop()
        assert named.cancelled()

    run(main)


@pytest.mark.parametrize(
    "thing", [None, asyncio.sleep, 5, (number for number in [1]), "future", "asynchronous generator"]
)
def test_spawn_takes_coroutines_only(thing: Any) -> None:
    """Anything else is refused at once, and the plugin goes on as it was."""

    async def numbers() -> AsyncIterator[int]:
        yield 1

    async def main() -> None:
        plugin = Idle()
        await running(plugin)
        given: dict[object, Any] = {
            "future": asyncio.get_running_loop().create_future(),
            "asynchronous generator": numbers(),
        }
        what = given[thing] if isinstance(thing, str) else thing
        with pytest.raises(TypeError, match="spawn takes a coroutine"):
            plugin.spawn(what)
        assert plugin.state == "running"
        await plugin.stop()

    run(main)


@pytest.mark.parametrize("state", ["created", "failed", "stopped"])
def test_spawn_is_refused_where_nobody_would_end_the_worker(state: str) -> None:
    """InvalidState, the coroutine is closed without a warning, and no task is made."""

    async def main() -> None:
        plugin = Idle()
        if state != "created":
            await running(plugin)
            await (plugin.stop() if state == "stopped" else plugin.fail(ValueError("x")))
        coroutine = asyncio.sleep(1)
        with pytest.raises(InvalidState) as refused:
            plugin.spawn(coroutine)
        assert (refused.value.current, refused.value.expected) == (state, ("initialized", "running"))
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
        assert not left()

    run(main)


def test_spawn_needs_a_loop() -> None:
    """Without a running loop nothing is changed."""
    plugin = Idle()
    run(lambda: running(plugin))
    coroutine = asyncio.sleep(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        plugin.spawn(coroutine)
    coroutine.close()
    assert not plugin._guard.workers
    run(plugin.stop)


@pytest.mark.parametrize("crash", [ValueError, KeyError, GeneratorExit])
def test_a_crash_fails_a_running_plugin_at_once(crash: type[BaseException]) -> None:
    """The cause is the exception itself; the other workers are cancelled; stop releases what is left."""

    async def main() -> None:
        plugin = Idle()
        await running(plugin)
        other = plugin.spawn(asyncio.sleep(100))

        async def work() -> None:
            raise crash("x")

        task = plugin.spawn(work())
        await asyncio.wait([task, other])
        assert plugin.state == "failed"
        assert plugin.failure is task.exception()
        assert isinstance(plugin.failure, crash)
        assert other.cancelled()
        await plugin.stop()

    run(main)


@pytest.mark.parametrize("trigger", ["init", "start"])
def test_a_crash_during_a_hook_fails_the_call(trigger: str) -> None:
    """A start whose worker is gone before it is done has not started anything."""

    async def work() -> None:
        raise OSError("gone")

    class Early(Idle):
        async def _spawn(self) -> None:
            self.spawn(work())
            await asyncio.sleep(3)

    setattr(Early, f"on_{trigger}", Early._spawn)

    async def main() -> None:
        plugin = Early()
        if trigger == "start":
            await plugin.init()
        with pytest.raises(HookFailed) as failed:
            await plugin.fire(trigger)
        assert isinstance(failed.value.__cause__, OSError)
        assert plugin.failure is failed.value.__cause__
        assert asyncio.get_running_loop().time() < 3
        await plugin.stop()

    run(main)


def test_a_crash_during_stop_is_reported_when_everything_is_released() -> None:
    """The stop goes on to its end, and fails with the crash."""
    order = []

    class Crashing(Idle):
        async def on_start(self) -> None:
            self.spawn(self._work())

        async def _work(self) -> None:
            await asyncio.sleep(1)
            raise OSError("gone")

        async def on_stop(self) -> None:
            await asyncio.sleep(2)
            order.append("on_stop")

    async def main() -> None:
        plugin = Crashing()
        await running(plugin)
        with pytest.raises(HookFailed, match="OSError: gone"):
            await plugin.stop()
        assert order == ["on_stop"]
        assert plugin.state == "failed"

    run(main)


def test_a_worker_that_ends_or_is_cancelled_is_no_failure() -> None:
    """Only an exception is a crash."""

    async def main() -> None:
        plugin = Idle()
        await running(plugin)
        ended, cancelled = plugin.spawn(asyncio.sleep(1)), plugin.spawn(asyncio.sleep(9))
        await asyncio.sleep(2)
        cancelled.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ended.done() and cancelled.cancelled()
        assert plugin.state == "running"
        assert not plugin._guard.workers

    run(main)


def test_a_worker_cannot_stop_its_own_plugin() -> None:
    """It would wait for itself. It is told so, and may fail the plugin instead."""

    async def main() -> None:
        plugin = Idle()
        await running(plugin)
        told: list[str] = []

        async def work() -> None:
            try:
                await plugin.stop()
            except PluginError as refused:
                told.append(str(refused))
            await plugin.fail(ValueError("instead"))
            await asyncio.sleep(100)

        task = plugin.spawn(work())
        await asyncio.wait([task])
        assert told == [
            (
                "a worker of plugin 'idle' called stop on its own plugin, which would wait for that worker to end; "
                "let it return, call fail(cause), or let the one who runs the plugin stop it"
            )
        ]
        assert str(plugin.failure) == "instead"
        assert task.cancelled()
        await plugin.stop()

    run(main)


def test_a_worker_cannot_stop_the_registry_of_its_plugin() -> None:
    """It is refused before anything is stopped."""

    async def main() -> None:
        registry = PluginRegistry()
        names = ["a", "b", "c"]
        for name in names:
            registry.register(Idle(name=name))
        await registry.init_all()
        await registry.start_all()
        told: list[str] = []

        async def work() -> None:
            try:
                await registry.stop_all()
            except PluginError as refused:
                told.append(str(refused))

        await registry["b"].spawn(work())
        assert "called stop_all on its own plugin" in told[0]
        assert [plugin.state for plugin in registry] == ["running"] * 3
        await registry.stop_all()

    run(main)


@pytest.mark.parametrize("count", [1, 2000])
def test_workers_are_cancelled_and_awaited(count: int) -> None:
    """All of them, and their clean-up is done when stop returns."""

    async def main() -> None:
        plugin, cleaned = Idle(), []
        await running(plugin)

        async def work(number: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.5)
                cleaned.append(number)

        for number in range(count):
            plugin.spawn(work(number))
        await asyncio.sleep(0)
        await plugin.stop()
        assert sorted(cleaned) == list(range(count))
        assert not left()
        assert plugin.state == "stopped"

    run(main)


def test_a_worker_that_ignores_its_cancellation_is_closed_and_named() -> None:
    """At the deadline; the stop fails with the place where it was, and no task is left."""

    async def main() -> None:
        plugin = Idle()
        await running(plugin)
        plugin.spawn(swallow(), name="stubborn")
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded) as late:
            await plugin.stop()
        assert late.value.where.startswith("test_workers.py:")
        assert late.value.where.endswith("in swallow (worker idle/stubborn)")
        assert late.value.abandoned
        assert asyncio.get_running_loop().time() == 5
        assert not left()

    run(main)


def test_workers_that_are_born_while_others_are_closed_die_with_them() -> None:
    """Also while a third one waits for something that cannot be cancelled, and is left behind."""
    free: list[asyncio.Event] = []

    async def breed(plugin: Plugin) -> None:
        try:
            await swallow()
        finally:
            plugin.spawn(swallow(), name="child")

    async def cannot_be_cancelled() -> None:
        async def inner() -> None:
            event = asyncio.Event()
            free.append(event)
            while not event.is_set():
                try:
                    await event.wait()
                except asyncio.CancelledError:
                    continue

        await asyncio.create_task(inner())

    async def main() -> None:
        plugin = Idle()
        await running(plugin)
        plugin.spawn(breed(plugin), name="parent")
        plugin.spawn(cannot_be_cancelled(), name="third")
        await asyncio.sleep(0.1)
        with pytest.raises(DeadlineExceeded) as late:
            await plugin.stop()
        assert "worker idle/parent" in late.value.where and "worker idle/third" in late.value.where
        assert asyncio.get_running_loop().time() == pytest.approx(6.1)
        assert left() == {"idle/third"}
        free[0].set()
        await asyncio.sleep(0.1)
        assert not left()

    run(main)


class Reader(Idle):
    """Reads its port, for a while."""

    def __init__(self, port: Receiver[int], seconds: float) -> None:
        self.port, self.seconds = port, seconds
        self.got: list[int] = []

    async def on_start(self) -> None:
        self.spawn(self._read())

    async def _read(self) -> None:
        async for number in self.port:
            await asyncio.sleep(self.seconds)
            self.got.append(number)
            if number < 0:
                return


def numbers(*queued: int) -> tuple[Sender[int], Receiver[int]]:
    ends: tuple[Sender[int], Receiver[int]] = channel(8)
    for number in queued:
        ends[0].try_send(number)
    return ends


def test_inputs_are_drained_when_the_producers_are_gone() -> None:
    """What was accepted is processed before the workers are cancelled."""

    async def main() -> None:
        sender, port = numbers(1, 2, 3)
        plugin = Reader(port, 1.0)
        await running(plugin)
        sender.close()
        await plugin.stop()
        assert plugin.got == [1, 2, 3]
        assert port.closed

    run(main)


def test_inputs_are_not_drained_while_a_producer_lives_or_after_a_failure() -> None:
    """Then nobody knows that they come to an end, or that the plugin can still read."""

    async def main() -> None:
        for failed in (False, True):
            sender, port = numbers(1, 2, 3)
            plugin = Reader(port, 1.0)
            await running(plugin)
            if failed:
                sender.close()
                await plugin.fail(ValueError("x"))
            await plugin.stop()
            assert plugin.got == []
            assert port.closed

    run(main)


def test_a_failed_plugin_is_not_drained_by_workers_that_are_slow_to_end() -> None:
    """Its stop hook runs at once, and they are waited for after that."""
    times: list[float] = []

    class Slow(Reader):
        async def _read(self) -> None:
            try:
                await super()._read()
            finally:
                await asyncio.sleep(3)

        async def on_stop(self) -> None:
            times.append(asyncio.get_running_loop().time())

    async def main() -> None:
        sender, port = numbers(1, 2, 3)
        plugin = Slow(port, 1.0)
        await running(plugin)
        sender.close()
        await asyncio.sleep(0)
        await plugin.fail(ValueError("x"))
        await plugin.stop()
        assert times == [0]
        assert asyncio.get_running_loop().time() == 3

    run(main)


def test_a_drain_ends_with_the_last_worker_and_leaves_no_task() -> None:
    """A worker that returns early leaves nobody to read; the stop does not wait for its deadline."""

    async def main() -> None:
        sender, port = numbers(-1, 2)
        plugin = Reader(port, 1.0)
        await running(plugin)
        sender.close()
        before = asyncio.all_tasks()
        await plugin.stop()
        assert asyncio.all_tasks() <= before
        assert asyncio.get_running_loop().time() == 1.0
        assert plugin.state == "stopped"

    run(main)


def test_a_drain_that_takes_too_long_is_told() -> None:
    """With what was left; and the plugin is released all the same: hook and workers have the grace period."""
    released: list[float] = []

    class Releasing(Reader):
        async def _read(self) -> None:
            try:
                await super()._read()
            finally:
                await asyncio.sleep(0.7)
                released.append(asyncio.get_running_loop().time())

        async def on_stop(self) -> None:
            await asyncio.sleep(0.5)
            released.append(asyncio.get_running_loop().time())

    async def main() -> None:
        sender, port = numbers(1, 2, 3)
        plugin = Releasing(port, 2.0)
        await running(plugin)
        sender.close()
        with pytest.raises(DeadlineExceeded, match="waiting at its inputs, with 0 messages left in them"):
            await plugin.stop()
        assert plugin.got == [1, 2]
        assert released == [5.5, 6.2]
        assert port.closed
        assert not left()

    run(main)


@pytest.mark.parametrize("how", ["cancel", "fail"])
def test_a_drain_ends_when_the_stop_is_cancelled_or_failed(how: str) -> None:
    """At once, and the rest of the stop is done; its caller gets what ended it."""

    async def main() -> None:
        sender, port = numbers(1, 2, 3)
        plugin = Reader(port, 1.0)
        await running(plugin)
        sender.close()
        stop = asyncio.create_task(plugin.fire("stop"))
        await asyncio.sleep(1.5)
        if how == "cancel":
            stop.cancel()
        else:
            await plugin.fail(OSError("hurry"))
        await asyncio.wait([stop])
        assert asyncio.get_running_loop().time() == 1.5
        assert stop.cancelled() == (how == "cancel")
        assert how == "cancel" or isinstance(stop.exception(), HookFailed)
        assert plugin.state == "failed"
        assert plugin.got == [1]
        assert port.closed
        assert not left()

    run(main)


def eagerly(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` where every task begins at once."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.get_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        runner.run(main)


eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")


@eager
@pytest.mark.parametrize("move", ["stop", "stop_all", "fail", "crash", "return"])
def test_an_eager_worker_belongs_to_its_plugin_from_its_first_step(move: str) -> None:
    """What it does before ``spawn`` returns has the same effect as what it does later."""

    async def main() -> None:
        registry, plugin = PluginRegistry(), Idle()
        registry.register(plugin)
        await running(plugin)

        async def work() -> None:
            match move:
                case "stop" | "stop_all":
                    with pytest.raises(PluginError, match="own plugin"):
                        await (plugin.stop() if move == "stop" else registry.stop_all())
                case "fail":
                    await plugin.fail(ValueError("x"))
                case "crash":
                    raise ValueError("x")
                case "return":
                    return
            await asyncio.sleep(100)

        task = plugin.spawn(work())
        assert plugin.state == ("failed" if move in ("fail", "crash") else "running")
        for _ in range(3):
            await asyncio.sleep(0)
        assert task.done() == (move in ("fail", "crash", "return"))
        await plugin.stop()
        assert plugin.state == "stopped"
        assert not left()

    eagerly(main())


@eager
def test_an_eager_worker_that_crashes_in_on_start_fails_the_start() -> None:
    """Even if it does so before spawn returns."""

    async def work() -> None:
        raise OSError("gone")

    class Early(Idle):
        async def on_start(self) -> None:
            self.spawn(work())

    async def main() -> None:
        plugin = Early()
        await plugin.init()
        with pytest.raises(HookFailed, match="OSError: gone"):
            await plugin.start()
        assert plugin.state == "failed"

    eagerly(main())
