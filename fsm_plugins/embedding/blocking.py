"""An application in a thread, for a program that is not asynchronous.

Everything of the application is in that thread: plugins are made, run and stopped there, in one event loop. The facade
is what other threads use; each of its calls blocks until it has been done.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Final, Self, TypeVar, TypeVarTuple

from fsm_plugins.app import Application, Phase
from fsm_plugins.embedding.sources import Source, make
from fsm_plugins.errors import PluginError
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import State
from fsm_plugins.orchestrator import Receipt
from fsm_plugins.registry import PluginHealth

__all__ = ["BlockingApplication"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A signal that comes just before a thread falls asleep does not wake it, so that Ctrl-C would be heard only at the next
# one: nobody sleeps longer at a time than this, in seconds.
NAP: Final = 0.5


class BlockingApplication:
    """Runs an application in a thread for as long as a ``with`` block.

    When the block is entered, every plugin has been started; when it is left, every plugin has been stopped, and
    the thread and its event loop are gone. It can be entered again: each time it makes a new application.

    Signals are left to the program. A `KeyboardInterrupt` in the main thread leaves the block like any exception.

    Args:
        source: a TOML file, or a function that returns an application. It is called in the thread.

    ``with`` raises, when it is entered, what kept the plugins from running; nothing is left of them then:
        ConfigError: the application cannot be made.
        HookFailed, DeadlineExceeded: a plugin did not start.

    and when it is left, unless `wait` has raised it already, or the block raised itself, which gets a note of it:
        PluginFailed: a plugin failed, and the application ended because of that.
        StopFailed: plugins did not stop cleanly.

    >>> from fsm_plugins import Plugin, PluginInfo
    >>> from fsm_plugins.orchestrator import Orchestrator, PluginSpec
    >>> class Clock(Plugin):
    ...     info = PluginInfo("clock", "1.0.0")
    >>> with BlockingApplication(lambda: Application("clocks", Orchestrator([PluginSpec("utc", Clock)], {}))) as app:
    ...     print(app.status(), app.wait(timeout=0.01))
    {'utc': State('running')} False
    >>> app.receipt()[0].clean
    True
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._entered: _Run | None = None

    def __enter__(self) -> Self:
        with self._lock:
            if self._entered is not None and not self._entered.gone():
                raise PluginError("this application is running already; make another one to run it twice at a time")
            run = self._entered = _Run(self._source)
        try:
            run.begin()
            return self  # inside, so that there is no moment at which an interrupt would leave a thread behind
        except BaseException:
            run.end("its start was interrupted")
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run = self._run
        run.end("the block was left")
        if error is None:
            run.tell()
        elif run.error is not None and run.error is not error:
            error.add_note(f"and the application ended with: {describe(run.error)}")

    @property
    def application(self) -> Application:
        """The application that is running, or that ran last. It is not thread-safe: use it in what `call` runs.

        Raises:
            PluginError: the block was not entered, or no application could be made when it was.
        """
        if (application := self._run.application) is None:
            raise PluginError("there is no application: none could be made") from self._run.error
        return application

    def call(
        self, function: Callable[[*Ts], Coroutine[object, object, T]], *arguments: *Ts, timeout: float | None = None
    ) -> T:
        """Run the asynchronous ``function`` in the application's event loop, and return its result.

        Args:
            function: what it raises is raised here. It is cancelled if the application ends before it is done.
            arguments: for ``function``.
            timeout: how long to wait for it, in seconds; None for as long as it takes.

        Raises:
            TimeoutError: it was not done in time, and was cancelled.
            PluginError: the application has ended, or ends before it was done; or it is called in the thread of the
                application, which would wait for itself.
        """
        run = self._run
        future = run.submit(function, arguments)
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        try:
            _wait(done, timeout)
            return future.result(0)
        except CancelledError:
            cancelled = PluginError("the call was cancelled")
        except TimeoutError as error:
            if future.cancel():
                raise TimeoutError(f"the call was not done within {timeout:g} s, and was cancelled") from error
            raise  # it is what the function raised
        except BaseException:  # such as KeyboardInterrupt
            future.cancel()
            raise
        raise cancelled if run.accepting else run.ended("the call was cancelled, for the application has ended")

    def status(self) -> dict[str, State]:
        """Return the state of each plugin, in order. It does not wait for the event loop, even if that is blocked."""
        return {plugin.info.name: plugin.state for plugin in list(self.application.registry)}

    def health(self, *, timeout: float | None = None) -> list[PluginHealth]:
        """Return how each plugin is, in order. Takes, and raises, as `call` does."""
        return self.call(self.application.registry.health_check_all, timeout=timeout)

    def receipt(self) -> tuple[Receipt, ...]:
        """Return how each plugin ended, in order. To be called when the application has ended."""
        return self.application.receipt()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the application has ended by itself. Returns whether it has.

        Args:
            timeout: how long to wait, in seconds; None for as long as it takes.

        Raises:
            PluginFailed, StopFailed: it has ended because of that.
            PluginError: it is called in the thread of the application.
        """
        run = self._run
        run.check_outside("wait")
        if not run.gone(timeout):
            return False
        run.tell()
        return True

    def stop(self) -> None:
        """Stop every plugin and end the thread, as leaving the block does. To call it again does nothing.

        Raises:
            PluginFailed, StopFailed: as leaving the block does.
            PluginError: it is called in the thread of the application.
        """
        self._run.end("stop was called")
        self._run.tell()

    @property
    def _run(self) -> _Run:
        if self._entered is None:
            raise PluginError("the application does not run; enter it first: with BlockingApplication(...) as app:")
        return self._entered


class _Run:
    """One application in one thread.

    Attributes:
        application: set when it has been made.
        error: what it ended with.
        accepting: whether calls are taken.
    """

    def __init__(self, source: Source) -> None:
        # A program that is interrupted while it waits for the end may leave all the same: hence the daemon.
        self.thread = threading.Thread(target=self._main, name="fsm-plugins application", daemon=True)
        self.application: Application | None = None
        self.error: BaseException | None = None
        self.accepting = False
        self._source = source
        self._lock = threading.Lock()  # for the loop and what may be given to it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unwanted = False
        self._begun = threading.Event()
        self._gone = threading.Event()
        self._started = False
        self._told = False

    # In the thread of the caller.

    def begin(self) -> None:
        """Start the thread and wait until the plugins have been started; raise what is in their way."""
        self.thread.start()
        _wait(self._begun)
        if not self._started:
            self.gone(None)
            self.tell()
            raise PluginError("the application was shut down before its plugins were started")

    def end(self, reason: str) -> None:
        """Shut the application down and wait until the thread is gone."""
        self.check_outside("stop")
        with self._lock:
            self._unwanted = True
            if self._loop is not None and self.application is not None:
                self._loop.call_soon_threadsafe(self.application.shutdown, reason)
        if self.thread.ident is None:  # the machine would not let it start
            self._gone.set()
        self.gone(None)

    def gone(self, timeout: float | None = 0.0) -> bool:
        """Return whether the thread has ended, when it has or the time is up.

        Only at the end with ``join``: on Python 3.11 a thread whose ``join`` is interrupted is taken for one that has
        ended, whatever it does (https://github.com/python/cpython/issues/90882).
        """
        if not _wait(self._gone, timeout):
            return False
        if self.thread.ident is not None:
            self.thread.join()
        return True

    def tell(self) -> None:
        """Raise what the application ended with, once."""
        if self.error is not None and not self._told:
            self._told = True
            raise self.error

    def submit(self, function: Callable[[*Ts], Coroutine[object, object, T]], arguments: tuple[*Ts]) -> Future[T]:
        self.check_outside("call")

        async def call() -> T:
            return await function(*arguments)

        with self._lock:
            if self.accepting and self._loop is not None:
                return asyncio.run_coroutine_threadsafe(call(), self._loop)
        if not self._started:
            raise PluginError("the application has not been started yet")
        raise self.ended("the application has ended")

    def ended(self, text: str) -> PluginError:
        """Return an error for somebody who came too late, with what the application ended with as its cause."""
        self.gone(None)
        error = PluginError(text)
        error.__cause__ = self.error
        return error

    def check_outside(self, call: str) -> None:
        if threading.current_thread() is self.thread:
            raise PluginError(
                f"{call} was called in the thread of the application, which would wait for itself; await there instead"
            )

    # In the thread of the application.

    def _main(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # it is raised in the thread that waits
            self.error = error
        finally:
            self._gone.set()
            self._begun.set()

    async def _live(self) -> None:
        self.application = make(self._source)
        self.application.follow(self._follow)
        with self._lock:
            if self._unwanted:
                return
            self._loop = asyncio.get_running_loop()
        try:
            await self.application.run(signals=False)
        finally:
            with self._lock:
                self.accepting = False
                self._loop = None
            # Calls that were taken become tasks now, and are cancelled with the loop: each of them gets an answer.
            await asyncio.sleep(0)

    def _follow(self, phase: Phase) -> None:
        if phase == "running":
            self._started = self.accepting = True
            self._begun.set()


def _wait(event: threading.Event, timeout: float | None = None) -> bool:
    """Wait for ``event``, at most ``timeout`` seconds; return whether it came."""
    until = None if timeout is None else time.monotonic() + timeout
    while not event.wait(NAP if until is None else max(0.0, min(NAP, until - time.monotonic()))):
        if until is not None and time.monotonic() >= until:
            return False
    return True
