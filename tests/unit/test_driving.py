"""How a hook is carried from wait to wait: what it may wait for, and how long it is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from fsm_plugins import DeadlineExceeded, Deadlines, HookFailed, InvalidState, Plugin, PluginInfo
from fsm_plugins.plugin import identify
from fsm_plugins.testing import run


class Hooked(Plugin):
    info = PluginInfo("hooked", "1.0.0")
    deadlines = Deadlines(init=5, grace=1)


def with_hook(hook: Any) -> Plugin:
    made: Plugin = type("P", (Hooked,), {"on_init": hook})()
    return made


def line_of(error: DeadlineExceeded, function: Callable[..., Any]) -> int:
    """Return the line that was waiting, counted from the start of ``function``."""
    return int(error.where.split(":")[1].split()[0]) - function.__code__.co_firstlineno


async def _own_task(_self: Plugin) -> None:
    task = asyncio.current_task()
    assert task is not None
    await task


async def _foreign_future(_self: Plugin) -> None:
    loop = asyncio.new_event_loop()
    try:
        await loop.create_future()
    finally:
        loop.close()


async def _nonsense(_self: Plugin) -> None:
    @types.coroutine
    def wait() -> Iterator[object]:
        yield "nonsense"

    await wait()


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (_own_task, "RuntimeError: Task cannot await on itself"),
        (_foreign_future, "attached to a different loop"),
        (_nonsense, "RuntimeError: Task got bad yield: 'nonsense'"),
    ],
)
def test_what_a_task_cannot_wait_for_is_complained_of_at_once(hook: Any, said: str) -> None:
    """As it would be without a drive in between, and not at the deadline."""

    async def main() -> None:
        plugin = with_hook(hook)
        with pytest.raises(HookFailed) as failed:
            await plugin.init()
        assert said in failed.value.reason
        assert asyncio.get_running_loop().time() == 0

    run(main)


class Duck:
    """Looks like a future to asyncio, and is none."""

    _asyncio_future_blocking = False

    def __init__(self) -> None:
        self._future = asyncio.get_running_loop().create_future()

    def __await__(self) -> Generator[Any, Any, Any]:
        self._asyncio_future_blocking = True
        yield self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._future, name)


def test_what_looks_like_a_future_is_one() -> None:
    """The deadline ends the wait for it as for any other."""

    async def hang(_self: Plugin) -> None:
        await Duck()

    async def main() -> None:
        with pytest.raises(DeadlineExceeded) as late:
            await with_hook(hang).init()
        assert not late.value.abandoned
        assert asyncio.get_running_loop().time() == 5

    run(main)


@pytest.mark.parametrize("kind", ["coroutine of a generator", "future", "awaitable"])
def test_hooks_may_return_whatever_can_be_awaited(kind: str) -> None:
    """Also the coroutines that are generators; and it is awaited."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_later(2, done.set_result, None)

        @types.coroutine
        def generator(_self: Plugin) -> Iterator[None]:
            yield from done

        class Awaitable:
            def __await__(self) -> Generator[Any, Any, Any]:
                return (yield from done)

        hooks = {"coroutine of a generator": generator, "future": lambda _: done, "awaitable": lambda _: Awaitable()}
        plugin = with_hook(hooks[kind])
        await plugin.init()
        assert plugin.state == "initialized"
        assert loop.time() == 2

    run(main)


def _generator(_self: Plugin) -> Iterator[None]:
    yield


async def _asynchronous_generator(_self: Plugin) -> Any:
    yield


@pytest.mark.parametrize("hook", [lambda _: None, lambda _: 5, _generator, _asynchronous_generator])
def test_what_cannot_be_awaited_fails_with_the_remedy(hook: Any) -> None:
    """The text says what the hook returned, and what to write."""

    async def main() -> None:
        with pytest.raises(HookFailed, match="cannot be awaited; write 'async def on_init") as failed:
            await with_hook(hook).init()
        assert isinstance(failed.value.__cause__, TypeError)

    run(main)


async def _times_out_and_goes_on(_self: Plugin) -> None:
    try:
        async with asyncio.timeout(4.5):
            await asyncio.sleep(99)
    except TimeoutError:
        pass
    try:
        await asyncio.sleep(99)
    finally:
        await asyncio.sleep(0.9)


@pytest.mark.parametrize("told_by", ["deadline", "cancel", "fail"])
def test_a_time_out_of_its_own_costs_a_hook_nothing(told_by: str) -> None:
    """It gets its whole grace period, and the place that is told is where it waits now, not where it timed out."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        plugin = with_hook(_times_out_and_goes_on)
        if told_by != "deadline":
            identify(plugin, None, Deadlines(init=50, grace=1))
        call = asyncio.create_task(plugin.fire("init"))
        await asyncio.sleep(4.9)
        if told_by == "cancel":
            call.cancel()
        elif told_by == "fail":
            await plugin.fail(OSError("watchdog"))
        await asyncio.wait([call])
        assert loop.time() == pytest.approx(5.9 if told_by == "deadline" else 5.8)
        if told_by == "cancel":
            assert call.cancelled()
            return
        error = call.exception()
        if isinstance(error, DeadlineExceeded):
            assert not error.abandoned
            assert line_of(error, _times_out_and_goes_on) == 7
        assert isinstance(error, HookFailed)
        assert plugin.state == "failed"

    run(main)


async def _swallows(_self: Plugin) -> None:
    while True:
        try:
            await asyncio.sleep(99)
        except asyncio.CancelledError:
            await asyncio.sleep(0)


def test_a_hook_that_timed_out_by_itself_is_not_abandoned() -> None:
    """A cancellation that it arranged and dealt with is its own business, however long it goes on after that."""

    async def hook(_self: Plugin) -> None:
        for _ in range(3):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await asyncio.sleep(99)
        await asyncio.sleep(3)

    async def main() -> None:
        plugin = with_hook(hook)
        await plugin.init()
        assert (plugin.state, asyncio.get_running_loop().time()) == ("initialized", 4.5)

    run(main)


async def _cleans_up(self: Plugin) -> None:
    try:
        await asyncio.sleep(99)
    finally:
        await asyncio.sleep(0.9)
        vars(self)["clean"] = True


@pytest.mark.parametrize("first", [4.5, 5.5])
def test_a_hook_that_cleans_up_is_not_told_again(first: float) -> None:
    """Neither by its deadline nor by whoever fails the plugin: that would end the clean-up that was asked for."""

    async def main() -> None:
        plugin = with_hook(_cleans_up)
        call = asyncio.create_task(plugin.fire("init"))
        await asyncio.sleep(first)
        for _ in range(2):
            with contextlib.suppress(InvalidState):
                await plugin.fail(OSError("watchdog"))
                assert str(plugin.failure) == "watchdog"
            assert plugin.state == "failed"
        await asyncio.wait([call])
        assert isinstance(call.exception(), HookFailed)
        assert vars(plugin)["clean"]
        assert asyncio.get_running_loop().time() == pytest.approx(min(first, 5) + 0.9)

    run(main)


@pytest.mark.parametrize("first", [None, 1.0])
def test_a_hook_may_fail_its_own_plugin(first: float | None) -> None:
    """It is cancelled where it does so, at once, and the caller gets the cause."""

    async def give_up(self: Plugin) -> None:
        if first:
            await asyncio.sleep(first)
        await self.fail(OSError("hopeless"))
        raise AssertionError("not reached")

    async def main() -> None:
        plugin = with_hook(give_up)
        with pytest.raises(HookFailed) as failed:
            await plugin.init()
        assert failed.value.__cause__ is plugin.failure
        assert str(plugin.failure) == "hopeless"
        assert asyncio.get_running_loop().time() == (first or 0)

    run(main)


@pytest.mark.parametrize("cancels", [(1.0,), (1.0, 1.5), (4.5,), (1.0, 1.9, 2.0)])
def test_to_be_told_again_gives_no_second_grace_period(cancels: tuple[float, ...]) -> None:
    """It runs from the first time that still stands."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        plugin = with_hook(_swallows)
        call = asyncio.create_task(plugin.fire("init"))
        for time in cancels:
            loop.call_at(time, call.cancel)
        await asyncio.wait([call])
        assert call.cancelled()
        assert loop.time() == pytest.approx(cancels[0] + 1)

    run(main)


def test_hooks_may_use_all_that_asyncio_has() -> None:
    """Groups, time-outs, shields, asynchronous generators, nested tasks; and a deep stack."""

    async def numbers() -> Any:
        for number in range(3):
            await asyncio.sleep(0.1)
            yield number

    async def deep(depth: int) -> int:
        if depth:
            return await deep(depth - 1) + 1
        await asyncio.sleep(0.1)
        return 0

    async def hook(_self: Plugin) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0.5))
            assert [number async for number in numbers()] == [0, 1, 2]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.shield(asyncio.sleep(9))
        assert await deep(300) == 300
        assert await asyncio.gather(*(asyncio.sleep(0.1, number) for number in range(3))) == [0, 1, 2]

    async def main() -> None:
        plugin = with_hook(hook)
        await plugin.init()
        assert plugin.state == "initialized"
        assert asyncio.get_running_loop().time() == pytest.approx(0.8)

    run(main)
