"""A drive is invisible: code that is driven does what it does when it is awaited."""

from __future__ import annotations

import asyncio
import contextlib
import math
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins.driving import Drive
from fsm_plugins.testing import run

# A program is a list of steps; nested steps are programs. Times are in tenths of a second.
times = st.integers(0, 9)
leaves = st.one_of(
    st.just(("yield",)),
    st.tuples(st.just("sleep"), times),
    st.just(("raise",)),
    st.just(("current task",)),
    st.just(("cancel own task",)),
    st.just(("await a cancelled future",)),
)
programs = st.recursive(
    st.lists(leaves, min_size=1, max_size=3),
    lambda inner: st.lists(
        st.one_of(
            leaves,
            st.tuples(st.just("timeout"), times, inner),
            st.tuples(st.just("catch"), inner),
            st.tuples(st.just("shield"), inner),
            st.tuples(st.just("task"), inner),
            st.tuples(st.just("group"), inner, inner),
            st.tuples(st.just("gather"), inner, inner),
            st.tuples(st.just("finally"), inner, inner),
        ),
        min_size=1,
        max_size=3,
    ),
    max_leaves=12,
)


class Log:
    """What each coroutine of a program saw, apart from each other."""

    def __init__(self) -> None:
        self.seen: dict[str, list[object]] = {}
        self._waits = 0

    def note(self, path: str, what: object) -> None:
        self.seen.setdefault(path, []).append((round(asyncio.get_running_loop().time(), 6), what))

    def unlike(self, path: str) -> float:
        """Return a small time of its own for each wait.

        A driven coroutine goes on one turn of the loop later than one that is awaited. That is no promise to anybody,
        so nothing may depend on the order of two things at one instant.
        """
        return (hash_of(path, len(self.seen.get(path, ()))) % 997 + 1) / 50_000


def hash_of(path: str, count: int) -> int:
    return zlib.crc32(f"{path} {count}".encode())


async def execute(program: list[Any], log: Log, path: str = "") -> str:
    """Run ``program``, noting what it sees."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(log.unlike(path))
    for number, step in enumerate(program):
        log.note(path, step[0])
        here = f"{path}.{number}"
        match step:
            case ("yield",):
                await asyncio.sleep(0)
                await asyncio.sleep(log.unlike(path))
            case ("sleep", time):
                await asyncio.sleep(time / 10 + log.unlike(path))
            case ("raise",):
                raise ValueError("raised")
            case ("current task",):
                task = asyncio.current_task()
                assert task is not None
                log.note(path, (task.get_name() if task.get_name() == "subject" else "inner", task.cancelling()))
            case ("cancel own task",):
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
            case ("await a cancelled future",):
                future = loop.create_future()
                future.cancel()
                await future
            case ("timeout", time, inner):
                async with asyncio.timeout(time / 10 + log.unlike(path)):
                    await execute(inner, log, path)
            case ("catch", inner):
                try:
                    await execute(inner, log, path)
                except (Exception, asyncio.CancelledError) as error:
                    log.note(path, type(error).__name__)
            case ("shield", inner):
                await asyncio.shield(execute(inner, log, here))
            case ("task", inner):
                await asyncio.create_task(execute(inner, log, here))
            case ("group", one, two):
                async with asyncio.TaskGroup() as group:
                    group.create_task(execute(one, log, here))
                    await execute(two, log, path)
            case ("gather", one, two):
                await asyncio.gather(execute(one, log, here + "a"), execute(two, log, here + "b"))
            case ("finally", inner, last):
                try:
                    await execute(inner, log, path)
                finally:
                    await execute(last, log, path)
    return "done"


async def drive(coroutine: Coroutine[Any, Any, str], grace: float = math.inf) -> str:
    """Await ``coroutine`` by way of a drive that never interferes."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration as stop:
        return str(stop.value)
    return await Drive(coroutine, grace).finish(waits_for, math.inf)


async def plain(coroutine: Coroutine[Any, Any, str]) -> str:
    return await coroutine


def observe(
    how: Callable[[Coroutine[Any, Any, str]], Coroutine[Any, Any, str]], program: list[Any], cancels: list[int]
) -> dict[str, list[object]]:
    """Run ``program`` in a task of its own, cancelled at the given times; return everything that can be seen of it."""
    log = Log()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        task = asyncio.create_task(how(execute(program, log)), name="subject")
        for time in cancels:
            # Off the program's own beat, so that the order of two things at one instant does not matter.
            loop.call_at(time / 10 + 0.05, task.cancel)
        await asyncio.wait([task])
        log.note("outcome", "cancelled" if task.cancelled() else repr(task.exception() or task.result()))
        log.note("outcome", task.cancelling())

    run(main)
    return log.seen


@settings(max_examples=600, deadline=None)
@given(program=programs, cancels=st.lists(times, max_size=3))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_driven_coroutine_behaves_as_an_awaited_one(program: list[Any], cancels: list[int]) -> None:
    """Same steps at the same times, same task, same outcome, under time-outs, groups, shields and cancellation."""
    assert observe(drive, program, cancels) == observe(plain, program, cancels)


@settings(max_examples=300, deadline=None)
@given(program=programs, cancels=st.lists(times, max_size=3), deadline=st.integers(0, 12))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_drive_gives_control_back_in_time(program: list[Any], cancels: list[int], deadline: int) -> None:
    """Whatever the coroutine does, its caller goes on within the deadline and the grace period."""

    async def stubborn() -> str:
        while True:
            try:
                await execute(program, Log())
                await asyncio.Event().wait()
            except (Exception, asyncio.CancelledError):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)

        async def call() -> None:
            coroutine = stubborn()
            driven = Drive(coroutine, 0.5)
            with pytest.raises(asyncio.CancelledError):
                await driven.finish(coroutine.send(None), deadline / 10 + 0.025)
            assert driven.abandoned
            assert driven.expired or driven.cancelled

        task = asyncio.create_task(call())
        for time in cancels:
            loop.call_at(time / 10 + 0.05, task.cancel)
        await asyncio.wait([task])
        assert loop.time() <= deadline / 10 + 0.025 + 0.5 + 1e-6
        if not task.cancelled():
            task.result()

    run(main)
