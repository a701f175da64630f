"""The guard of one plugin: every call passes it, and it alone moves the plugin through its lifecycle.

A guarded call looks its move up, claims the plugin, runs the hook under its deadline, commits the new state and tells
the listeners. Looking up and claiming happen without giving way to the event loop, and so do committing and telling:
two callers cannot both find a move legal, and nobody sees a plugin between two states. Whatever a hook does (raise,
hang, swallow its cancellation, call back), the plugin ends in a state of its table, and the caller gets control back.

While a call is under way, ``flight`` holds the claim: the trigger alone for as long as the call has not had to wait, so
that a hook which never waits costs next to nothing; a `Flight` as soon as somebody else could have to know of it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from asyncio import get_running_loop
from collections.abc import Coroutine
from types import CoroutineType
from typing import Any, Final, TypeVar, cast

from fsm_plugins.channels import Receiver
from fsm_plugins.driving import Drive, Worker
from fsm_plugins.errors import DeadlineExceeded, HookFailed, InvalidState, PluginError, UnknownTrigger
from fsm_plugins.flight import Flight
from fsm_plugins.lifecycle import FAIL, Lifecycle, Move, State, TransitionHub
from fsm_plugins.lifecycle.machine import Admission, Model
from fsm_plugins.metadata import Deadlines, HealthStatus, PluginInfo
from fsm_plugins.ports import handles
from fsm_plugins.resting import drain, end_workers

__all__ = ["Guard", "describe"]

logger = logging.getLogger("fsm_plugins")

T = TypeVar("T")

HEALTH: Final = "health_check"

# What every guard without a worker shares; never changed.
_NO_WORKERS: Final[set[Worker[object]]] = set()


def describe(error: BaseException) -> str:
    """Return an exception in one line, as its type and its text.

    >>> describe(KeyError("x")), describe(TimeoutError())
    ("KeyError: 'x'", 'TimeoutError')
    """
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Failure(BaseException):
    """How a call failed: ``error`` is what its caller gets, ``cause`` is what the plugin remembers."""

    def __init__(self, error: BaseException, cause: BaseException) -> None:
        super().__init__(error, cause)
        self.error = error
        self.cause = cause


async def _awaited(answer: object, hook: str) -> object:
    """Await what a hook returned that is not a coroutine, if it can be awaited."""
    if not inspect.isawaitable(answer):
        raise TypeError(f"{hook} returned {answer!r}, which cannot be awaited; write 'async def {hook}(self)'")
    return await answer


class Guard:
    """The running state of one plugin, kept apart from its author's fields, and the calls that may change it.

    Attributes:
        plugin: whose hooks it runs.
        info, deadlines, lifecycle: those of the instance.
        state: where the plugin is.
        failure: what made it fail.
        flight: the claim of the call under way.
        workers: the plugin's tasks.
        hub: whom to tell of transitions; set while the plugin is registered.
        moved: when it moved last while somebody listened, in seconds since the epoch; 0 if it did not.
    """

    __slots__ = (
        "_health",
        "_machine",
        "_moves",
        "_since",
        "deadlines",
        "failure",
        "flight",
        "hub",
        "info",
        "lifecycle",
        "moved",
        "plugin",
        "state",
        "workers",
    )

    def __init__(self, plugin: Model, info: PluginInfo, deadlines: Deadlines, lifecycle: Lifecycle) -> None:
        self.plugin = plugin
        self.info = info
        self.deadlines = deadlines
        self.lifecycle = lifecycle
        self.state: State = lifecycle.initial
        self.failure: BaseException | None = None
        self.flight: str | Flight | None = None
        self.workers = _NO_WORKERS
        self.hub: TransitionHub | None = None
        self._machine = lifecycle.machine
        self._moves = self._machine.moves
        self._health: Flight | None = None
        self.moved = 0.0
        self._since: float | None = (
            None  # the time of the loop's clock when the call began, if somebody is to hear of it
        )

    # Calls.

    async def fire(self, trigger: str) -> None:
        """Make the move of ``trigger``; see `Plugin.fire`."""
        move = self._moves[self.state].get(trigger)
        if move is None or self.flight is not None or (hook := move.hook) is None:
            raise self.refusal(trigger)
        if self._health is not None and self.in_own_hook():
            raise InvalidState(self.info.name, self.state, self._machine.sources[trigger], HEALTH)
        if move.to_rest and self.workers:
            self.check_not_own_worker(trigger)
        admission = self._admit(trigger) if move.stock else None
        if admission is not None:
            move = admission.move
        failure: _Failure | None = None
        try:
            self.flight = trigger
            hub = self.hub
            self._since = None
            if hub is not None and hub.heard:
                # To ask for the running loop costs as much as two readings of a clock (a system call before 3.12).
                if hub.loop is None or not hub.loop.is_running():
                    hub.run_in(get_running_loop())
                self._since = hub.now()
            if move.to_rest:
                await self._come_to_rest(move, hook)
            else:
                if self._health is not None and (cancelled := await self._end_health_check()) is not None:
                    raise cancelled
                if (waiting := self._begin(hook)) is not None:
                    await self._drive(trigger, *waiting, self.deadlines.of(trigger))
            if self.flight is not trigger:
                self._check_interrupted()
            if admission is None:
                self.state = move.dest
            else:
                self._complete(admission)
        except BaseException as error:
            failure = error if isinstance(error, _Failure) else self._failure(trigger, error)
        try:
            if failure is not None:
                failed = self._commit_failure(failure.cause)
        finally:
            if self.flight is trigger:
                self.flight = None
            else:
                self._release()
        if failure is None:
            if self.hub is not None:
                self._tell(move, None, trigger)
            return
        if failed is not None:
            self._tell(failed, failure.cause, trigger)
        if isinstance(failure.error, HookFailed) and failure.error is not failure.cause:
            raise failure.error from failure.cause
        raise failure.error

    async def fail(self, cause: BaseException) -> None:
        """Fail the plugin, whatever is under way; see `Plugin.fail`."""
        while self.can(FAIL):
            if self.flight is None:
                self._fail_now(cause)
                return
            flight = self.take_flight()
            flight.interrupt(cause)
            await flight.ended()
            if self.failure is cause:
                return
        raise self.refusal(FAIL)

    async def health_check(self) -> HealthStatus:
        """Ask how the plugin is; see `Plugin.health_check`."""
        while (known := self.known_health()) is None:
            if self._health is None:
                return await self._ask_health()
            if self.in_own_hook():
                return HealthStatus.degraded(f"{HEALTH} is under way")
            shared = self._health
            await shared.ended()
            if shared.health is not None:
                return shared.health
        return known

    def spawn(self, coroutine: Coroutine[object, object, T], name: str | None) -> asyncio.Task[T]:
        """Start a worker; see `Plugin.spawn`."""
        asyncio.get_running_loop()  # where there is none, this raises before anything is changed
        # From these states nobody has to stop the plugin, so nobody would end the worker.
        idle = {self.lifecycle.initial} | self.lifecycle.rest | self.lifecycle.failures
        if self.flight is None and self.state in idle:
            coroutine.close()
            raise InvalidState(self.info.name, self.state, tuple(sorted(set(self.lifecycle.states) - idle)))
        label = name or getattr(coroutine, "__qualname__", "worker")
        worker = Worker(coroutine, f"{self.info.name}/{label}", self)
        if self.workers is _NO_WORKERS:
            self.workers = set()
        self.workers.add(cast("Worker[object]", worker))
        return worker.begin()

    # The claim.

    def refusal(self, trigger: str) -> InvalidState:
        """Return the error for a call of ``trigger`` that is illegal now."""
        name, sources = self.info.name, self._machine.sources.get(trigger)
        if sources is None:
            return UnknownTrigger(name, self.state, trigger, tuple(sorted(self._machine.sources)))
        return InvalidState(name, self.state, sources, None if self.flight is None else self.in_flight)

    @property
    def in_flight(self) -> str | None:
        """The trigger of the call under way."""
        return self.flight.trigger if isinstance(self.flight, Flight) else self.flight

    @property
    def coming_to_rest(self) -> bool:
        """Whether the call under way leads to rest."""
        move = self._moves[self.state].get(self.in_flight or "")
        return move is not None and move.to_rest

    @property
    def had_workers(self) -> bool:
        """Whether there has been a worker since it was last at rest."""
        return self.workers is not _NO_WORKERS

    def can(self, trigger: str) -> bool:
        """Whether the table has a move of ``trigger`` from the present state."""
        return trigger in self._moves[self.state]

    def take_flight(self) -> Flight:
        """Return the call under way as something that can be waited for and interrupted."""
        assert self.flight is not None
        if not isinstance(self.flight, Flight):
            self.flight = Flight(self.flight)
        return self.flight

    def _hold(self) -> Flight:
        """Return the call under way, which has to wait now, as `take_flight` does, and note who makes it."""
        flight = self.take_flight()
        flight.task = asyncio.current_task()
        return flight

    def _admit(self, trigger: str) -> Admission:
        """Let the callbacks and conditions of the machine have their say. Raises InvalidState if they refuse."""
        admission = self._machine.admit(trigger, self.plugin)
        # A callback may have made a call of its own, and an eager task of its may have brought that to its end.
        if admission is None or self.flight is not None or self.state != admission.move.source:
            raise self.refusal(trigger)
        return admission

    def _release(self) -> None:
        """Give the claim back, and let those go on who wait for that."""
        flight, self.flight = self.flight, None
        if isinstance(flight, Flight):
            flight.end()

    def check_not_own_worker(self, call: str) -> None:
        """Refuse ``call``, which waits for the end of the workers, to the workers."""
        if self.workers and asyncio.current_task() in {worker.task for worker in self.workers}:
            raise PluginError(
                f"a worker of plugin {self.info.name!r} called {call} on its own plugin, which would wait for that "
                "worker to end; let it return, call fail(cause), or let the one who runs the plugin stop it"
            )

    def in_own_hook(self) -> bool:
        """Whether the present task runs a hook of this plugin, and so must not wait for the end of that."""
        if self.flight is None and self._health is None:
            return False
        task = asyncio.current_task()
        if self._health is not None and self._health.task is task:
            return True
        caller = self.flight.task if isinstance(self.flight, Flight) else None
        if caller is not None:
            return caller is task
        # A call that has not had to wait yet: nobody else can be at it, unless eager tasks may be.
        return self.flight is not None and asyncio.get_running_loop().get_task_factory() is None

    # Hooks.

    def _begin(self, hook: str) -> tuple[Coroutine[object, object, object], object] | None:
        """Run a hook, if the plugin has it, up to its first wait.

        Returns None if it is done, else the coroutine and what it waits for.
        """
        method = getattr(self.plugin, hook, None)
        if method is None:
            return None
        called = method()
        coroutine = called if type(called) is CoroutineType else _awaited(called, hook)
        # A loop of at most one turn: send() tells the end by an exception, which takes as long as the rest of a call.
        for waits_for in coroutine.__await__():
            return coroutine, waits_for
        return None

    async def _drive(
        self, trigger: str, coroutine: Coroutine[object, object, object], waits_for: object, seconds: float
    ) -> None:
        """Carry on a hook that waits. Raises _Failure if it was cancelled or late, and what it raised itself."""
        flight = self._hold()
        drive = flight.drive = Drive(coroutine, self.deadlines.grace)
        if flight.cause is not None:
            drive.interrupt()
        raised: BaseException | None = None
        try:
            await drive.finish(waits_for, seconds)
        except BaseException as error:
            raised = error
        finally:
            flight.drive = None
        if drive.cancelled:
            cancelled = raised if isinstance(raised, asyncio.CancelledError) else asyncio.CancelledError()
            raise _Failure(cancelled, flight.cause or raised or cancelled)
        if drive.expired and flight.cause is None:
            deadline = self.deadlines.of(trigger)
            late = DeadlineExceeded(self.info.name, trigger, deadline, drive.place, drive.abandoned)
            late.__cause__ = raised
            raise _Failure(late, late)
        if raised is None:
            return
        if flight.cause is None or not isinstance(raised, Exception | asyncio.CancelledError):
            raise raised
        # It was interrupted, and that is why it fails; but what it made of the interruption must not be lost.
        if drive.abandoned:
            logger.error("plugin %r: %s ignored its cancellation at %s", self.info.name, trigger, drive.place)
        elif isinstance(raised, Exception):
            logger.error("plugin %r: %s, interrupted, raised %s", self.info.name, trigger, describe(raised))

    def _failure(self, trigger: str, error: BaseException) -> _Failure:
        """Return what becomes of an exception that a hook or a callback raised by itself."""
        if isinstance(error, Exception):
            return _Failure(HookFailed(self.info.name, trigger, describe(error)), error)
        return _Failure(error, error)

    def _interruption(self, flight: Flight) -> _Failure:
        assert flight.cause is not None
        return _Failure(HookFailed(self.info.name, flight.trigger, describe(flight.cause)), flight.cause)

    def _check_interrupted(self) -> None:
        """Raise _Failure if somebody said that the call under way must fail."""
        flight = self.take_flight()
        if flight.cause is not None:
            raise self._interruption(flight)

    # Commits.

    def _complete(self, admission: Admission) -> None:
        """Commit a move that callbacks take part in."""
        try:
            self._machine.complete(admission, self.plugin)
        except BaseException:
            if self.state != admission.move.source:  # it raised after the change of state, which therefore happened
                self._tell(admission.move, None, admission.move.trigger)
            raise

    def _commit_failure(self, cause: BaseException) -> Move | None:
        """Move to ``failed``, and return that move, to be told of once the claim is given back.

        In a state that the table does not let fail, only the cause is kept.
        """
        move = self._moves[self.state].get(FAIL)
        if move is None:
            self.failure = self.failure or cause
            return None
        self.failure = cause
        try:
            if move.stock:
                admission = self._machine.admit(FAIL, self.plugin)
                if admission is not None:
                    self._machine.complete(admission, self.plugin)
        except (Exception, asyncio.CancelledError):
            logger.exception("plugin %r: a callback of the machine raised on %r", self.info.name, FAIL)
        finally:
            # Neither a condition nor a callback keeps a broken plugin from being failed.
            self.state = move.dest
            for worker in self.workers:
                worker.task.cancel()
        return move

    def _fail_now(self, cause: BaseException) -> None:
        """Fail the plugin while no call is under way."""
        self._since = None
        self.flight = FAIL
        try:
            move = self._commit_failure(cause)
        finally:
            self._release()
        if move is not None:
            self._tell(move, cause, "")

    def _tell(self, move: Move, cause: BaseException | None, call: str) -> None:
        hub = self.hub
        if hub is not None and hub.heard:
            duration = 0.0 if self._since is None else hub.now() - self._since
            self.moved = at = hub.clock()
            hub.tell((self.info.name, move.trigger, move.source, move.dest, at, duration, cause, call))

    # Workers.

    def worker_crashed(self, worker: Worker[object], error: BaseException) -> None:
        """Fail the plugin; if a call is under way, fail that."""
        logger.error("plugin %r: worker %s crashed: %s", self.info.name, worker.name, describe(error), exc_info=error)
        if self.flight is None:
            if self.can(FAIL):
                self._fail_now(error)
            return
        flight = self.take_flight()
        if self.coming_to_rest:
            # A stop goes on, because it releases things; it reports the crash when it is done.
            flight.cause = flight.cause or error
        else:
            flight.interrupt(error)

    def worker_ended(self, worker: Worker[object]) -> None:
        """Forget a worker that is done."""
        self.workers.discard(worker)

    # Coming to rest.

    async def _come_to_rest(self, move: Move, hook: str) -> None:
        """Drain, run the hook, end the workers, close the ports, each whatever became of the one before.

        Raises the first thing that went wrong; a cancellation comes before all others.
        """
        name, trigger = self.info.name, move.trigger
        seconds, grace = self.deadlines.of(trigger), self.deadlines.grace
        ports = handles(self.plugin)
        # The time runs from when something first has to wait, and where nothing does the clock is not read.
        waits = self.workers or self._health is not None
        until = get_running_loop().time() + seconds if waits else None
        problems: list[_Failure] = []
        cancelled = await self._end_health_check() if self._health is not None else None

        if ports and self.workers and cancelled is None and move.source not in self.lifecycle.failures:
            inputs = [port for port in ports if isinstance(port, Receiver) and port.producers_gone and not port.closed]
            assert until is not None
            late, cancelled = await drain(inputs, self.workers, until, self._hold().alarm())
            if late:
                left = sum(len(port) for port in inputs)
                undrained = DeadlineExceeded(name, trigger, seconds, f"its inputs, with {left} messages left in them")
                problems.append(_Failure(undrained, undrained))
        try:
            if (waiting := self._begin(hook)) is not None:
                now = get_running_loop().time()
                if until is None:
                    until = now + seconds
                await self._drive(trigger, *waiting, max(until - now, grace))
        except BaseException as error:
            problems.append(error if isinstance(error, _Failure) else self._failure(trigger, error))
        if self.workers:
            self._hold()
            if until is None:
                until = get_running_loop().time() + seconds
            closed, cancelled_again = await end_workers(self.workers, until, grace)
            cancelled = cancelled or cancelled_again
            self.workers = _NO_WORKERS
            if closed:
                survived = DeadlineExceeded(name, trigger, seconds, ", ".join(closed), abandoned=True)
                problems.append(_Failure(survived, survived))
        for port in ports:
            port.close()

        if isinstance(self.flight, Flight) and self.flight.cause is not None:
            # What somebody said of the plugin is what it failed of, whatever else there was.
            told = self._interruption(self.flight)
            problems = [told, *(_Failure(problem.error, told.cause) for problem in problems)]
        if cancelled is not None:
            problems.insert(0, _Failure(cancelled, problems[0].cause if problems else cancelled))
        # Stable: an exception that must not be held back comes first, and what happened first comes next.
        problems.sort(key=lambda problem: isinstance(problem.error, Exception))
        for also in problems[1:]:
            logger.error("plugin %r: another problem in %s: %s", name, trigger, describe(also.error))
        if problems:
            raise problems[0]

    # Health.

    def known_health(self) -> HealthStatus | None:
        """Return how the plugin is if that can be known without asking it."""
        if self.state in self.lifecycle.failures:
            return HealthStatus.unhealthy(describe(self.failure) if self.failure else str(self.state))
        if self.state != State.RUNNING:
            return HealthStatus.degraded(f"not running: {self.state}")
        if self.flight is not None:
            return HealthStatus.degraded(f"{self.in_flight} is under way")
        return None

    async def _ask_health(self) -> HealthStatus:
        """Run the hook, and make a status of whatever it does."""
        flight = self._health = Flight(HEALTH)
        flight.task = asyncio.current_task()
        drive: Drive[object] | None = None
        seconds = self.deadlines.health
        answer: object
        try:
            try:
                called = cast("Any", self.plugin).on_health_check()
                coroutine = called if type(called) is CoroutineType else _awaited(called, "on_health_check")
                try:
                    waits_for = coroutine.send(None)
                except StopIteration as stop:
                    answer = stop.value
                else:
                    drive = flight.drive = Drive(coroutine, self.deadlines.grace)
                    if flight.cause is not None:
                        drive.interrupt()
                    answer = await drive.finish(waits_for, seconds)
            except (Exception, asyncio.CancelledError) as error:
                answer = HealthStatus.unhealthy(describe(error))
                if drive is not None and drive.cancelled:
                    raise
            if drive is not None and drive.cancelled:
                raise asyncio.CancelledError
            if drive is not None and drive.expired:
                answer = HealthStatus.unhealthy(f"no answer within {seconds:g} s")
            elif not isinstance(answer, HealthStatus):
                answer = HealthStatus.unhealthy(f"on_health_check returned {answer!r}, which is not a HealthStatus")
            # The plugin may have moved on meanwhile, and then the answer is about the past.
            flight.health = self.known_health() or answer
            return flight.health
        finally:
            self._health = None
            flight.end()

    async def _end_health_check(self) -> asyncio.CancelledError | None:
        """Interrupt a health check under way, so that one hook runs at a time; returns a cancellation met meanwhile."""
        flight, cancelled = self._health, None
        assert flight is not None
        self._hold()
        flight.interrupt(PluginError(f"{self.in_flight} comes first"))
        while self._health is flight:
            try:
                await flight.ended()
            except asyncio.CancelledError as error:
                cancelled = error
        return cancelled
