"""Stepping other people's coroutines so that they cannot hold their caller for ever.

Cancellation in asyncio is a request: code may catch it and go on. A supervisor must be able to get its task back all
the same, so a hook is not awaited but *driven*: a `Drive` takes the hook's coroutine step by step, in the task of the
caller, and stands between the task and every future the hook waits for. So it can

- end the hook's wait when its deadline passes, or when somebody interrupts the call;
- tell a cancellation that came from outside from one that the hook arranged for itself (``asyncio.timeout``, a
  ``TaskGroup``), and remember the former even where the hook swallows it;
- abandon a hook that does not end within the grace period: it is closed, and never stepped again.

Staying in the caller's task, and not starting one for each hook, keeps ``asyncio.current_task()``, context variables
and tracebacks as the hook's author expects, and an empty hook cheap. The protocol between a task and what it waits for
is the one of ``asyncio.Task`` (see ``Task.__step`` in CPython's ``asyncio/tasks.py``).

Workers have tasks of their own, so `Worker` interferes less: it passes every future on, sees a crash at the moment it
happens, and can close a coroutine that refuses to end.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import types
from collections.abc import Coroutine, Generator
from typing import Generic, Protocol, TypeGuard, TypeVar, cast

__all__ = ["Drive", "Worker", "WorkerOwner", "where"]

logger = logging.getLogger("fsm_plugins")

T = TypeVar("T")

_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep


def where(coroutine: object) -> str:
    """Return the place where a suspended coroutine waits, as ``file.py:12 in function``; empty if that is unknown.

    Frames of asyncio itself are passed over: the reader wants the own line that waits.
    """
    place = ""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith(_ASYNCIO):
            place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return place


def _close(coroutine: Coroutine[object, object, object]) -> None:
    """Close ``coroutine``, whatever it does about it."""
    try:
        coroutine.close()
    except BaseException as error:
        # RuntimeError where it ignores GeneratorExit; otherwise what its clean-up raised.
        name = getattr(coroutine, "__qualname__", coroutine)
        logger.error("%s did not let itself be closed: %r", name, error)


class Drive(Generic[T]):
    """One coroutine on its way to the end, in the task of the caller.

    Attributes:
        expired: whether its deadline passed.
        abandoned: whether it was dropped because it did not end within the grace period.
        place: where it waited when it was first told to end.
    """

    __slots__ = (
        "_coroutine",
        "_grace",
        "_grace_timer",
        "_interrupted",
        "_level",
        "_loop",
        "_must_cancel",
        "_pending",
        "_task",
        "_waiter",
        "abandoned",
        "expired",
        "place",
    )

    def __init__(self, coroutine: Coroutine[object, object, T], grace: float) -> None:
        self._coroutine = coroutine
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._pending: asyncio.Future[object] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._grace_timer: asyncio.TimerHandle | None = None
        self._must_cancel = False
        self._interrupted = False
        self._level = 0
        self.expired = False
        self.abandoned = False
        self.place = ""

    @property
    def cancelled(self) -> bool:
        """Whether the caller's task was cancelled from outside, and that request still stands."""
        return self._level > 0 and self._task is not None and self._task.cancelling() >= self._level

    def interrupt(self) -> None:
        """End the coroutine's wait with a ``CancelledError``, without cancelling the task it runs in."""
        told = self.expired or self._interrupted
        self._forget_if_dealt_with()
        self._interrupted = True
        if not told:  # else it is cleaning up, and has its grace period for that
            self._cancel()

    @types.coroutine
    def finish(self, waits_for: object, seconds: float) -> Generator[object, None, T]:
        """Carry on a coroutine that has just yielded ``waits_for``; return what it returns, raise what it raises.

        After ``seconds`` it is cancelled. The attributes then say how it went: a coroutine can also swallow the
        cancellation and return. One that is abandoned ends with ``CancelledError``.
        """
        timer = self._loop.call_later(seconds, self._expire) if seconds < math.inf else None
        try:
            while True:
                error = yield from self._wait(waits_for)
                if self.abandoned:
                    raise asyncio.CancelledError
                try:
                    waits_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
                except StopIteration as stop:
                    value: T = stop.value
                    return value
        finally:
            if timer is not None:
                timer.cancel()
            if self._grace_timer is not None:
                self._grace_timer.cancel()
            _close(self._coroutine)

    def _wait(self, waits_for: object) -> Generator[object, None, BaseException | None]:
        """Wait as the coroutine asked. Returns what must be raised in it, or None."""
        error: BaseException | None = None
        if self._can_wait_for(waits_for):
            waits_for._asyncio_future_blocking = False
            self._pending = waits_for
            waits_for.add_done_callback(self._wake)
            if self._must_cancel and waits_for.cancel():
                self._must_cancel = False
            try:
                while not (waits_for.done() or self.abandoned):
                    self._waiter = self._loop.create_future()
                    try:
                        yield from self._waiter
                    except asyncio.CancelledError:
                        self._cancel_from_outside()
            finally:
                waits_for.remove_done_callback(self._wake)
                self._pending = self._waiter = None
            if waits_for.done():
                try:
                    waits_for.result()
                except BaseException as raised:
                    error = raised
        else:
            try:
                # None gives way for one turn of the loop. Anything else is for the task to complain about.
                yield waits_for
            except asyncio.CancelledError as raised:
                self._cancel_from_outside()
                self._must_cancel = False
                error = raised
            except Exception as raised:
                error = raised
        if self._must_cancel:
            self._must_cancel = False
            if not isinstance(error, asyncio.CancelledError):
                error = asyncio.CancelledError()
        return error

    def _can_wait_for(self, waits_for: object) -> TypeGuard[asyncio.Future[object]]:
        """Whether this is a future that a task would wait for; the task complains about the others."""
        return (
            asyncio.isfuture(waits_for)
            and waits_for._asyncio_future_blocking
            and waits_for.get_loop() is self._loop
            and waits_for is not self._task
        )

    def _wake(self, _done: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _cancel(self) -> None:
        if not self.place:
            self.place = where(self._coroutine)
        if self._pending is None or not self._pending.cancel():
            self._must_cancel = True
        if self._grace_timer is None and self._grace < math.inf:
            self._grace_timer = self._loop.call_later(self._grace, self._abandon)

    def _cancel_from_outside(self) -> None:
        assert self._task is not None
        requests = self._task.cancelling()
        if requests <= self._level:  # the one before has been taken back
            self._level = 0
        self._forget_if_dealt_with()
        self._level = min(self._level, requests) if self._level else requests
        self._cancel()

    def _forget_if_dealt_with(self) -> None:
        """Begin anew if all that the coroutine was told before was its own business, as with ``asyncio.timeout``."""
        if not (self.expired or self._interrupted or self.cancelled):
            self._level = 0
            self.place = ""
            if self._grace_timer is not None:
                self._grace_timer.cancel()
                self._grace_timer = None

    def _expire(self) -> None:
        told = self._interrupted
        self._forget_if_dealt_with()
        self.expired = True
        if not told:
            self._cancel()

    def _abandon(self) -> None:
        self._grace_timer = None
        if self.expired or self._interrupted or self.cancelled:
            self.abandoned = True
            self._wake()
        # Otherwise the coroutine had cancelled itself, as asyncio.timeout does, and dealt with it.


class WorkerOwner(Protocol):
    """Whose workers they are."""

    def worker_crashed(self, worker: Worker[object], error: BaseException) -> None:
        """Called at once when a worker raises anything but ``CancelledError``."""

    def worker_ended(self, worker: Worker[object]) -> None:
        """Called when the worker's task is done, however it ended."""


class Worker(Generic[T]):
    """A task that belongs to a plugin.

    Attributes:
        coroutine: what it runs.
        name: of its task.
        task: the task.
    """

    __slots__ = ("_killed", "_owner", "coroutine", "name", "task")

    def __init__(self, coroutine: Coroutine[object, object, T], name: str, owner: WorkerOwner) -> None:
        self.coroutine = coroutine
        self.name = name
        self._owner = owner
        self._killed = False
        self.task: asyncio.Task[T]

    def begin(self) -> asyncio.Task[T]:
        """Make the task. By then the owner has to know of the worker: an eager task runs at once."""
        self.task = asyncio.create_task(self._run(), name=self.name)
        self.task.add_done_callback(self._ended)
        return self.task

    def kill(self) -> None:
        """End the coroutine at its next step, even if it ignores cancellation."""
        self._killed = True
        self.task.cancel()

    async def _run(self) -> T:
        self.task = cast("asyncio.Task[T]", asyncio.current_task())  # an eager task is known before `begin` returns
        return await self._steps()

    @types.coroutine
    def _steps(self) -> Generator[object, None, T]:
        error: BaseException | None = None
        while True:
            try:
                waits_for = self.coroutine.send(None) if error is None else self.coroutine.throw(error)
            except StopIteration as stop:
                value: T = stop.value
                return value
            except asyncio.CancelledError:
                raise
            except BaseException as crash:
                self._owner.worker_crashed(cast("Worker[object]", self), crash)
                raise
            error = None
            try:
                yield waits_for
            except GeneratorExit:
                raise
            except BaseException as raised:
                error = raised
            if self._killed:
                raise asyncio.CancelledError

    def _ended(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # It was reported when it happened; asyncio need not complain that nobody asked.
        _close(self.coroutine)
        self._owner.worker_ended(cast("Worker[object]", self))
