"""An event loop whose tasks run in the order that somebody chooses, on a clock that nobody waits for.

What it reorders, and what it does not
--------------------------------------

In asyncio a task goes on when its turn comes, and when that is depends on how many turns everything before it took:
on the network, on a library's internal waits, on the version of Python. So any task that is ready may be the next one.
A plain callback (``call_soon``, a done callback, a timer) is different: asyncio documents that callbacks run in the
order in which they were registered, and code relies on it. So callbacks keep their order among each other, and no task
goes on before a callback that was registered before the task became ready. A task may be delayed past a callback.

Time stands still while anything is ready, and then jumps to the next timer. Timers that are due run in the order of
their times, those of one time in the order in which they were set.

Everything is deterministic: tasks and futures are hashed by the order of their creation, so that the order in a set of
them (``asyncio.wait``, ``TaskGroup``) is the same in each run. What the loop cannot control (sockets, threads,
processes, signals) it refuses, and notes; see `Uncontrolled`.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import sys
import threading
from asyncio import events
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, TypeAlias, TypeVar

__all__ = ["CALLBACK", "STEPS_OF_TASKS", "Choose", "ControlledLoop", "ControlledTask", "Ending", "Uncontrolled"]

T = TypeVar("T")

CALLBACK: Final = 0
"""The number of the next plain callback among the options of a choice; tasks are numbered from 1."""

# The callbacks by which asyncio.Task is stepped and woken, by the name they have in the implementations in C (where
# the one for a step has no name) and in Python. Other methods of a task, such as cancel, are plain callbacks.
STEPS_OF_TASKS: Final = frozenset({"", "task_wakeup", "wakeup", "__step", "__wakeup", "__step_run_and_handle_result"})

PATIENCE: Final = 100
"""How many steps others may take while something is ready. A schedule that passes it over for longer is not fair, and
shows nothing: with a task that goes round for ever it would never end."""

Ending: TypeAlias = Literal["done", "stalled", "cut"]
"""How a run ended: all is done; nothing can ever happen any more; or it took too many steps, or was not fair."""


class Uncontrolled(RuntimeError):
    """Something was asked of the loop whose outcome does not depend on the schedule alone.

    Attributes:
        call: the method of the event loop.
        what: what it is for.
    """

    def __init__(self, call: str, what: str) -> None:
        super().__init__(call, what)
        self.call = call
        self.what = what

    def __str__(self) -> str:
        return (
            f"loop.{self.call} ({self.what}) cannot be controlled; try sample_schedules, which uses a real event loop"
        )


if TYPE_CHECKING:
    _Task = asyncio.Task[Any]
    _Future = asyncio.Future[Any]
    _Loop = Any  # most of what an event loop can do is refused here, by methods that are made in a loop at the end
else:
    _Task, _Future, _Loop = asyncio.Task, asyncio.Future, asyncio.AbstractEventLoop


class ControlledTask(_Task):
    """A task with a number, which is its hash."""

    number: int = -1

    def __hash__(self) -> int:
        return self.number


class _ControlledFuture(_Future):
    number: int = -1

    def __hash__(self) -> int:
        return self.number


class _Ready(NamedTuple):
    """Something that can run now; ``batch`` is the step that made it ready, ``number`` its task or `CALLBACK`."""

    batch: int
    number: int
    callback: Callable[..., object]
    args: tuple[Any, ...]
    context: contextvars.Context | None


Choose: TypeAlias = Callable[[list[int]], int]
"""Takes the numbers of what may run next, the one that asyncio would run first, and returns one of them."""


class ControlledLoop(_Loop):  # type: ignore[misc]
    """The loop. It can be used for any number of runs; each begins with `reset`.

    Attributes:
        tasks: every task of this run, by its number less one.
        errors: what would have been logged: the contexts given to ``call_exception_handler``.
        met: what was asked of the loop that it cannot control.
        twins: for a task that does what another one does, the number of that one. Of two twins that have not begun,
            only the first is an option, because the other choice differs in nothing but names.
        on_step: called with the number of a task (or `CALLBACK`) before each of its steps.

    >>> loop = ControlledLoop()
    >>> async def say(word: str) -> None:
    ...     print(word)
    >>> with loop.running():
    ...     loop.reset()
    ...     tasks = [loop.create_task(say("one")), loop.create_task(say("two"))]
    ...     loop.drive(tasks, choose=max)
    two
    one
    'done'
    """

    def __init__(self) -> None:
        self.on_step: Callable[[int], None] | None = None
        self.on_ready: Callable[[int], None] | None = None
        self._thread = threading.get_ident()
        self._factory: Callable[..., Any] | None = None
        self.reset()

    def reset(self) -> None:
        """Begin a new run, at time 0, with nothing to do."""
        self._now = 0.0
        self._ready: list[_Ready] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._steps = 0
        self._timer_number = 0
        self._future_number = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.met: list[Uncontrolled] = []
        self.twins: dict[int, int] = {}
        self.begun: set[int] = set()

    @contextmanager
    def running(self) -> Iterator[ControlledLoop]:
        """Make this the running loop of the thread.

        Raises:
            RuntimeError: another loop is running.
        """
        if events._get_running_loop() is not None:
            raise RuntimeError(
                "schedules cannot be explored from a running event loop; call it from a plain function, "
                "or in a thread: await asyncio.to_thread(...)"
            )
        generators: list[AsyncGenerator[Any, Any]] = []
        hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self)
        # A generator that is dropped half-way is closed by nobody in particular; its run is over by then.
        sys.set_asyncgen_hooks(firstiter=lambda _generator: None, finalizer=generators.append)
        try:
            yield self
        finally:
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(None)

    @property
    def steps(self) -> int:
        """How many steps this run has taken."""
        return self._steps

    # Running.

    def drive(self, tasks: Sequence[asyncio.Future[Any]], choose: Choose | None = None, limit: int = 10_000) -> Ending:
        """Run until ``tasks`` are done.

        Args:
            tasks: what to wait for.
            choose: decides where more than one thing may run next; without it, things run in the order of asyncio.
            limit: how many steps it may take.
        """
        ready = self._ready
        left = limit
        while True:
            for task in tasks:
                if not task.done():
                    break
            else:
                return "done"
            if not ready and not self._advance():
                return "stalled"
            left -= 1
            if left < 0:
                return "cut"
            if len(ready) == 1 or choose is None:
                entry = ready.pop(0)
            elif self._steps - ready[0].batch > PATIENCE:
                return "cut"
            else:
                entry = self._choose(choose)
            self._step(entry)

    def settle(self, limit: int = 10_000) -> bool:
        """Cancel every task that is not done, and run what is ready until all are; returns whether they are."""
        for _ in range(3):
            left = [task for task in self.tasks if not task.done()]
            for task in left:
                task.cancel()
            self.drive(left, limit=limit)
            for _ in range(limit):  # those that are done may have callbacks yet
                if not self._ready:
                    break
                self._step(self._ready.pop(0))
            if all(task.done() for task in self.tasks):
                return True
        for task in self.tasks:
            if not task.done():
                vars(task)["_log_destroy_pending"] = False
        return False

    def _choose(self, choose: Choose) -> _Ready:
        ready = self._ready
        options: list[_Ready] = []
        for entry in ready:
            options.append(entry)
            if entry.number == CALLBACK:
                break
        if self.twins:
            twins, begun = self.twins, self.begun
            options = [
                entry
                for entry in options
                if entry.number in begun or entry.number not in twins or twins[entry.number] in begun
            ]
        if len(options) > 1:
            # Tasks that one step made ready come in the order of their numbers: it may have gone through a set.
            options.sort(key=_order)
            number = choose([entry.number for entry in options])
            for entry in options:
                if entry.number == number:
                    break
        else:
            entry = options[0]
        ready.remove(entry)
        return entry

    def _step(self, entry: _Ready) -> None:
        self._steps += 1
        if self.on_step is not None:
            self.on_step(entry.number)
        self.begun.add(entry.number)
        if entry.context is None:
            entry.callback()
        else:
            entry.context.run(entry.callback, *entry.args)

    def _advance(self) -> bool:
        """Let time pass until a timer is due, and make those ready that are due then."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            return False
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle.cancelled():
                self._ready.append(_Ready(self._steps, CALLBACK, handle._run, (), None))
        return True

    # What asyncio asks of a loop.

    def call_soon(self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None) -> Any:
        task = getattr(callback, "__self__", None)
        if isinstance(task, ControlledTask) and getattr(callback, "__name__", "") in STEPS_OF_TASKS:
            if self.on_ready is not None:
                self.on_ready(task.number)
            if context is None:  # not "or": an empty context is false
                context = contextvars.copy_context()
            self._ready.append(_Ready(self._steps, task.number, callback, args, context))
            return None
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(_Ready(self._steps, CALLBACK, handle._run, (), None))
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread:
            # It is not that thread's fault, and nobody would see what is raised there.
            self.met.append(Uncontrolled("call_soon_threadsafe", "a thread"))
            return asyncio.Handle(callback, args, self, context)
        handle: asyncio.Handle = self.call_soon(callback, *args, context=context)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, handle))
        return handle

    def time(self) -> float:
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        future = _ControlledFuture(loop=self)
        self._future_number += 1
        future.number = self._future_number
        return future

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        if self._factory is not None:
            task: asyncio.Task[Any] = self._factory(self, coro, **kwargs)
            self.tasks.append(task)
            return task
        number = len(self.tasks) + 1
        made = ControlledTask.__new__(ControlledTask)
        made.number = number  # the constructor makes its first step ready
        self.tasks.append(made)
        if kwargs.get("name") is None:  # a TaskGroup of Python 3.13 says None for none
            kwargs["name"] = f"task {number}"
        made.__init__(coro, loop=self, **kwargs)  # type: ignore[misc]
        return made

    def set_task_factory(self, factory: Callable[..., Any] | None) -> None:
        self._factory = factory

    def get_task_factory(self) -> Any:
        return self._factory

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def get_exception_handler(self) -> None:
        return None

    def set_exception_handler(self, handler: object) -> None:
        self.refuse("set_exception_handler", "who hears of errors")

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        return None

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def close(self) -> None:
        return None

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        return None

    async def shutdown_asyncgens(self) -> None:
        return None

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        return None

    def run_until_complete(self, future: Coroutine[Any, Any, T] | asyncio.Future[T]) -> NoReturn:
        raise RuntimeError("this event loop is running already")

    def refuse(self, call: str, what: str) -> NoReturn:
        """Note that something was asked for that cannot be controlled, and raise `Uncontrolled`."""
        error = Uncontrolled(call, what)
        self.met.append(error)
        raise error


def _order(entry: _Ready) -> tuple[int, int]:
    return entry.batch, entry.number or sys.maxsize


# The methods of a loop whose outcome the schedule does not decide, and what they are for.
_BEYOND_CONTROL: Final = {
    "a thread": ("run_in_executor", "set_default_executor"),
    "name resolution": ("getaddrinfo", "getnameinfo"),
    "a subprocess": ("subprocess_exec", "subprocess_shell"),
    "a signal": ("add_signal_handler", "remove_signal_handler"),
    "a pipe": ("connect_read_pipe", "connect_write_pipe"),
    "a file descriptor": ("add_reader", "remove_reader", "add_writer", "remove_writer", "sendfile"),
    "a socket": (
        "create_connection",
        "create_server",
        "create_unix_connection",
        "create_unix_server",
        "create_datagram_endpoint",
        "connect_accepted_socket",
        "start_tls",
        "sock_recv",
        "sock_recv_into",
        "sock_recvfrom",
        "sock_recvfrom_into",
        "sock_sendall",
        "sock_sendto",
        "sock_connect",
        "sock_accept",
        "sock_sendfile",
    ),
}


def _refusing(call: str, what: str) -> Callable[..., NoReturn]:
    def refused(self: ControlledLoop, *_args: object, **_kwargs: object) -> NoReturn:
        self.refuse(call, what)

    refused.__name__ = call
    return refused


for _what, _calls in _BEYOND_CONTROL.items():
    for _call in _calls:
        setattr(ControlledLoop, _call, _refusing(_call, _what))
