"""The loop that runs tasks in a chosen order: what it reorders, what it does not, what it refuses."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsm_plugins.verify.base.loop import CALLBACK, ControlledLoop, Ending

ROOT = Path(__file__).parents[2]


def run(
    *works: Callable[[list[str]], Coroutine[object, object, object]], choose: Callable[[list[int]], int] | None = None
) -> tuple[Ending, list[str], ControlledLoop]:
    loop, said = ControlledLoop(), list[str]()
    with loop.running():
        tasks = [loop.create_task(work(said)) for work in works]
        try:
            ending = loop.drive(tasks, choose)
        finally:
            loop.settle()
    return ending, said, loop


def counting(name: str, times: int) -> Callable[[list[str]], Coroutine[object, object, None]]:
    async def work(said: list[str]) -> None:
        for turn in range(times):
            said.append(f"{name}{turn}")
            await asyncio.sleep(0)

    return work


def test_without_a_choice_the_order_is_that_of_asyncio() -> None:
    """Tasks take turns."""
    works = [counting("a", 2), counting("b", 3)]
    _, said, _ = run(*works)

    async def ordinary() -> list[str]:
        said: list[str] = []
        await asyncio.gather(*(work(said) for work in works))
        return said

    assert said == asyncio.run(ordinary()) == ["a0", "b0", "a1", "b1", "b2"]


def test_a_choice_decides_which_task_goes_on() -> None:
    """The latest task first."""
    assert run(counting("a", 2), counting("b", 2), choose=max)[1] == ["b0", "b1", "a0", "a1"]


@given(st.data())
def test_callbacks_keep_their_order_and_are_not_overtaken(data: st.DataObject) -> None:
    """Whatever is chosen: they run in the order of registration, and before a task that became ready after them."""

    async def work(said: list[str]) -> None:
        loop = asyncio.get_running_loop()
        for turn in range(3):
            loop.call_soon(said.append, f"callback {turn}")
            await asyncio.sleep(0)
            assert f"callback {turn}" in said

    def choose(options: list[int]) -> int:
        assert len(set(options)) == len(options) > 1
        assert options.count(CALLBACK) <= 1
        return data.draw(st.sampled_from(options))

    ending, said, _ = run(work, counting("x", 3), counting("y", 2), choose=choose)
    assert ending == "done"
    assert [entry for entry in said if entry.startswith("callback")] == ["callback 0", "callback 1", "callback 2"]
    assert [entry for entry in said if entry.startswith("x")] == ["x0", "x1", "x2"]


def test_a_callback_can_run_before_a_task_that_was_ready_earlier() -> None:
    """To delay a task is always possible."""

    async def work(said: list[str]) -> None:
        asyncio.get_running_loop().call_soon(said.append, "callback")
        await asyncio.sleep(0)

    def latest(options: list[int]) -> int:
        return CALLBACK if CALLBACK in options else options[0]

    assert run(work, counting("x", 1), choose=latest)[1] == ["callback", "x0"]
    assert run(work, counting("x", 1))[1] == ["x0", "callback"]


def test_time_jumps_to_the_next_timer_when_nothing_is_ready() -> None:
    """Timers run in the order of their times, and then in that in which they were set."""

    async def work(said: list[str]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(2, said.append, "late")
        loop.call_later(1, said.append, "first")
        loop.call_later(1, said.append, "second")
        loop.call_later(1, said.append, "never").cancel()
        async with asyncio.timeout(5):
            await asyncio.sleep(3600 / 1000)
        said.append(f"{loop.time()}")

    _, said, loop = run(work)
    assert said == ["first", "second", "late", "3.6"]
    assert loop.errors == []


def test_a_deadlock_is_seen() -> None:
    """Nothing is ready, and no timer is set."""

    async def work(_said: list[str]) -> None:
        await asyncio.Event().wait()

    assert run(work)[0] == "stalled"


def test_a_run_without_end_is_cut() -> None:
    """After as many steps as it may take."""

    async def work(_said: list[str]) -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    loop = ControlledLoop()
    with loop.running():
        assert loop.drive([loop.create_task(work([]))], limit=100) == "cut"
        assert loop.settle()


def test_the_order_of_sets_of_tasks_is_the_same_in_every_process() -> None:
    """Tasks and futures are hashed by the order of their creation, whatever the hash seed."""
    program = """
import asyncio
from fsm_plugins.verify.base.loop import ControlledLoop

async def main():
    async def work(i):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            said.append(i)
            raise
    try:
        async with asyncio.TaskGroup() as group:
            for i in range(40):
                group.create_task(work(i))
            await asyncio.sleep(1)
            raise ValueError
    except* ValueError:
        pass
    futures = {asyncio.get_running_loop().create_future() for _ in range(40)}
    said.extend([future.number for future in futures])

said = []
loop = ControlledLoop()
with loop.running():
    loop.drive([loop.create_task(main())])
print(said)
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(printed) == 1
    assert printed.pop().startswith("[0, 1, 2, 3")


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: asyncio.to_thread(print), "run_in_executor (a thread)"),
        (lambda: asyncio.open_connection("localhost", 1), "create_connection (a socket)"),
        (lambda: asyncio.create_subprocess_exec("true"), "subprocess_exec (a subprocess)"),
        (lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1), "getaddrinfo (name resolution)"),
    ],
)
def test_what_cannot_be_controlled_is_refused_and_noted(call: Callable[[], Awaitable[object]], what: str) -> None:
    """The error names the call, and so does what the loop has met, if the error is swallowed."""

    async def work(said: list[str]) -> None:
        try:
            await call()
        except RuntimeError as error:
            said.append(str(error))

    _, said, loop = run(work)
    assert said == [f"loop.{what} cannot be controlled; try sample_schedules, which uses a real event loop"]
    assert [str(error) for error in loop.met] == said


def test_a_task_keeps_its_context() -> None:
    """Also an empty one: what is set in it is there after a wait."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def work(said: list[str]) -> None:
        token = variable.set("set")
        await asyncio.sleep(0)
        said.append(variable.get("lost"))
        variable.reset(token)

    loop, said = ControlledLoop(), list[str]()
    with loop.running():
        loop.drive([loop.create_task(work(said), context=contextvars.Context())])
    assert said == ["set"]


def test_a_schedule_that_is_not_fair_is_cut() -> None:
    """A task that goes round for ever is not chosen for ever."""

    async def spin(_said: list[str]) -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    assert run(spin, counting("x", 1), choose=min)[0] == "cut"


def test_it_is_not_run_inside_of_another_loop() -> None:
    """The message says what to do."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match="from a plain function"), ControlledLoop().running():
            pass

    asyncio.run(main())


def test_a_callback_that_raises_is_noted_and_does_no_harm() -> None:
    """As in asyncio it goes to the exception handler."""

    async def work(said: list[str]) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        said.append("on")

    _, said, loop = run(work)
    assert said == ["on"]
    assert isinstance(loop.errors[0]["exception"], ZeroDivisionError)


def test_tasks_in_eager_mode_and_with_names() -> None:
    """A task factory of one's own is used; a name is kept."""

    async def work(said: list[str]) -> None:
        loop = asyncio.get_running_loop()
        said.append(asyncio.create_task(asyncio.sleep(0), name="mine").get_name())
        loop.set_task_factory(lambda loop, coro, **kwargs: asyncio.Task(coro, loop=loop, **kwargs))
        task = loop.create_task(asyncio.sleep(0))
        await task
        said.append(type(task).__name__)
        loop.set_task_factory(None)

    assert run(work)[1] == ["mine", "Task"]
