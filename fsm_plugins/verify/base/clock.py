"""The event loop of a run: time that passes at once, as long as nothing outside the process has to be waited for.

While every task waits for a timer, the clock jumps to the next one. Sockets, threads and processes are real, and have
no part in that: while one of them may yet report, the clock does not jump but runs, ``pace`` times as fast as a real
one. What is found at such a pace is tried again at a calmer one before it is told, see ``exploring``.

A plugin that polls without ever sleeping would stop a clock that only jumps. So each turn of the loop takes a
millisecond once the loop has had nothing to wait for a few hundred times in a row.
"""

from __future__ import annotations

import asyncio
import functools
import os
import selectors
import socket
import stat
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeVar

from fsm_plugins.verify.base.leaks import NOT_THE_PLUGIN, busy_threads, has_cleanup

T = TypeVar("T")

__all__ = ["CALM", "PACE", "RunLoop", "Stuck"]

PACE: Final = 50.0
"""Seconds of the clock in one real second, while something real is under way."""
CALM: Final = 5.0
"""The same, for what was found and is tried again."""

_BUSY_TURNS: Final = 300
_PATIENCE: Final = 3.0  # real seconds; for what is real, when no timer is left


class Stuck(BaseException):
    """Nothing can ever happen any more: every task waits, and no timer is set.

    Not an ``Exception``, because nobody in the event loop is to handle it.
    """


class _Selector(selectors.DefaultSelector):
    """Decides how long to wait, in real time and on the clock."""

    def __init__(self, pace: float) -> None:
        super().__init__()
        self.now = 0.0
        self.pace = pace
        self.hurried = 0
        self.jobs = 0
        self.own: set[int] = set()
        self.met: set[str] = set()
        self.threads: frozenset[threading.Thread] = frozenset()
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # In this order: a thread that ends after the look has been heard of by the time of the select.
        idle = timeout is None or timeout > 0
        outside = idle and not self.hurried and self._outside()
        ready = super().select(0)
        if timeout is not None and timeout <= 0:
            self._turns += 1
            if self._turns > _BUSY_TURNS:
                self.now += 1e-3
            return ready
        self._turns = 0
        if ready:
            return ready
        if not outside:
            if timeout is None:
                raise Stuck
            self.now += timeout
            return ready
        wait = _PATIENCE if timeout is None else timeout / self.pace
        begin = time.monotonic()
        ready = super().select(wait)
        passed = (time.monotonic() - begin) * self.pace
        if timeout is None:
            if not ready:
                raise Stuck
            self.now += passed
        else:
            self.now += min(passed, timeout) if ready else timeout
        return ready

    def _outside(self) -> bool:
        """Whether something outside the loop may yet report to it."""
        if self.jobs:
            self.met.add("threads")
            return True
        for key in self.get_map().values():
            fd = key.fd
            if fd not in self.own and not _is_listening(fd):
                self.met.add(_kind(fd))
                return True
        if threads := busy_threads(self.threads, watchers=True):
            self.met.update("processes" if "waitpid-" in thread.name else "threads" for thread in threads)
            return True
        return False


def _is_listening(fd: int) -> bool:
    """Whether it is a socket that waits for callers: those of this process are ready at once."""
    if _kind(fd) != "sockets":
        return False
    with socket.socket(fileno=os.dup(fd)) as other:
        return bool(other.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _kind(fd: int) -> str:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return "files"
    return "sockets" if stat.S_ISSOCK(mode) else "pipes"


class RunLoop(asyncio.SelectorEventLoop):
    """The event loop of one run.

    Args:
        pace: how many seconds of its clock pass in a real one, while something real is under way.

    Attributes:
        errors: what nobody handled, as the texts of the loop's exception handler, with the exceptions described.
        dropped: the names of async generators that were thrown away while they had something to clean up.
    """

    def __init__(self, pace: float = PACE) -> None:
        self._paced = _Selector(pace)
        super().__init__(self._paced)
        self._paced.own.update(key.fd for key in self._paced.get_map().values())
        self._clock_resolution = 1e-6
        self.errors: list[dict[str, Any]] = []
        self.dropped: list[str] = []
        self.set_exception_handler(lambda _loop, context: self.errors.append(context))

    def time(self) -> float:
        """Return the time of the clock, in seconds; it begins at 0."""
        return self._paced.now

    def known_threads(self, threads: frozenset[threading.Thread]) -> None:
        """Tell which threads were there before."""
        self._paced.threads = threads

    def hurry(self, by: int) -> None:
        """Let the clock jump from here on (1), whatever is under way, or no longer (-1)."""
        self._paced.hurried += by

    @property
    def met(self) -> frozenset[str]:
        """The kinds of real things that were waited for."""
        return frozenset(self._paced.met)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run ``func`` in a thread, and keep in mind that it is under way."""
        future = super().run_in_executor(executor, func, *args)
        self._paced.jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _future: object) -> None:
        self._paced.jobs -= 1

    def open_generators(self) -> list[str]:
        """Return the names of the async generators that are still open and have something to clean up."""
        agens: list[AsyncGenerator[Any, Any]] = list(self._asyncgens)  # type: ignore[attr-defined]
        return [getattr(agen, "__qualname__", "?") for agen in agens if has_cleanup(agen)]

    def open_timers(self) -> list[str]:
        """Return the names of the functions that timers will call which nobody has cancelled.

        Those that a library sets for itself are not told of: they are not for the plugin to cancel.
        """
        names = []
        for handle in self._scheduled:  # type: ignore[attr-defined]
            called = handle._callback
            while isinstance(called, functools.partial):
                called = called.func
            code = getattr(getattr(called, "__func__", called), "__code__", None)
            if not handle.cancelled() and code is not None and not code.co_filename.startswith(NOT_THE_PLUGIN):
                names.append(str(getattr(called, "__qualname__", "a function")))
        return sorted(names)

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        if has_cleanup(agen):
            self.dropped.append(getattr(agen, "__qualname__", "?"))
        super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]
