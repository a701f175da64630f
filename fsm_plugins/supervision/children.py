"""What a supervisor knows of each of its plugins, and of those that are being restarted together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from attrs import Factory, define, frozen

from fsm_plugins.errors import ConfigError, HookFailed, NotReady, PermanentError
from fsm_plugins.lifecycle import State
from fsm_plugins.metadata import HealthStatus
from fsm_plugins.supervision.phases import MOVES, RECOVERING, UP
from fsm_plugins.supervision.policy import Backoff, Restart
from fsm_plugins.supervision.tree import Node, Uptime

__all__ = ["ChildState", "ChildStatus", "Recovery", "cause_of", "is_not_ready", "is_permanent", "summary"]


@frozen
class ChildStatus:
    """How a supervisor stands with one of its plugins.

    Attributes:
        name: the plugin.
        restart: when it is restarted.
        phase: whether it runs, comes back, was given up, or is left alone; see ``phases``.
        crashes: how often it failed, failed attempts to start it again included.
        failures: how often in a row, since it last ran for a stable period.
        restarts: how often it was started again.
        waiting: in how many seconds the next attempt will be; None if there is none to come.
        given_up: why it will not be started again; empty if it may be.
        health: what it said of itself the last time it was asked.
    """

    name: str
    restart: Restart
    phase: State
    crashes: int
    failures: int
    restarts: int
    waiting: float | None
    given_up: str
    health: HealthStatus | None

    @property
    def wanted(self) -> bool:
        """Whether it is to run: nobody stopped it, and it was not given up."""
        return self.phase in (UP, RECOVERING)


class Recovery:
    """Plugins that are stopped, and started again together.

    Attributes:
        pending: those that do not run again yet.
        due: when to start them, by the event loop's clock, in seconds.
        changed: set when there is something new: more plugins, fewer, another time.
        after: the tasks of recoveries whose plugins it took over, and that may still be at one of them.
        task: who carries it out.
    """

    __slots__ = ("after", "changed", "due", "pending", "task")

    def __init__(self) -> None:
        self.pending: set[str] = set()
        self.due = 0.0
        self.changed = asyncio.Event()
        self.after: set[asyncio.Task[None]] = set()
        self.task: asyncio.Task[None]


@define(eq=False)
class ChildState:
    """What the supervisor knows of one plugin; see `ChildStatus` for what is not described here.

    Attributes:
        node: the group it is in.
        uptime: when it was running.
        busy: how many calls the supervisor itself makes on it; what these come to is no news.
        stopping: how many of these bring it to rest.
        recovery: the one in which it is pending.
        waiters: callers of ``restart`` and the like.
        unhealthy: how many times in a row it was unhealthy.
        stops: how often the supervisor was asked to stop it.
        watched: the worker at whose end to see whether it is done.
    """

    name: str
    restart: Restart
    backoff: Backoff
    node: Node
    uptime: Uptime
    phase: State = UP
    crashes: int = 0
    failures: int = 0
    restarts: int = 0
    given_up: str = ""
    health: HealthStatus | None = None
    unhealthy: int = 0
    busy: int = 0
    stopping: int = 0
    stops: int = 0
    recovery: Recovery | None = None
    watched: asyncio.Task[object] | None = None
    waiters: list[asyncio.Future[None]] = Factory(list)

    @property
    def wanted(self) -> bool:
        """Whether it is to run."""
        return self.phase in (UP, RECOVERING)

    def move(self, trigger: str) -> None:
        """Take the move of the table of phases."""
        self.phase = MOVES[trigger, self.phase]

    def ask_for(self) -> None:
        """Take note that somebody wants it to run, whatever became of it."""
        self.move("ask_for")
        self.given_up = ""

    def withdraw(self) -> None:
        """Take it out of the recovery in which it is."""
        if self.recovery is not None:
            self.recovery.pending.discard(self.name)
            self.recovery.changed.set()
            self.recovery = None

    def settle(self, error: BaseException | None) -> None:
        """Tell those who wait for an attempt what it came to."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)

    def status(self, now: float) -> ChildStatus:
        """Return how it is, ``now`` by the event loop's clock."""
        waiting = None if self.recovery is None else max(0.0, self.recovery.due - now)
        return ChildStatus(
            self.name,
            self.restart,
            self.phase,
            self.crashes,
            self.failures,
            self.restarts,
            waiting,
            self.given_up,
            self.health,
        )


def summary(children: Collection[ChildState], running: Mapping[str, HealthStatus]) -> HealthStatus:
    """Return how a supervisor is: degraded while not all ``children`` run that should, or one of them is not well.

    Args:
        children: the plugins.
        running: what those that run said of themselves the last time they were asked.
    """
    given_up = ", ".join(child.name for child in children if child.given_up)
    waiting = ", ".join(child.name for child in children if child.recovery is not None)
    notes = [f"given up: {given_up}"] * bool(given_up) + [f"being restarted: {waiting}"] * bool(waiting)
    notes += [f"{name} is {health}" for name, health in running.items() if not health.is_healthy]
    return HealthStatus.degraded("; ".join(notes)) if notes else HealthStatus.healthy()


def cause_of(error: BaseException) -> BaseException:
    """Return what a hook or a factory raised, out of the error that a call of the plugin came to."""
    if type(error) is HookFailed and error.__cause__ is not None:
        error = error.__cause__
    while type(error) is ConfigError and error.__cause__ is not None:  # of a supervisor in a supervisor, say
        error = error.__cause__
    return error


def is_permanent(cause: BaseException) -> bool:
    """Whether it is no use to try again: a `PermanentError`, or a group with one in it, or a failure because of one.

    >>> is_permanent(ExceptionGroup("of a task group", [OSError(), PermanentError("no licence")]))
    True
    """
    if isinstance(cause, BaseExceptionGroup):
        return any(map(is_permanent, cause.exceptions))
    if type(cause) is HookFailed and cause.__cause__ is not None:  # of a plugin of a supervisor in this one
        return is_permanent(cause.__cause__)
    return isinstance(cause, PermanentError)


def is_not_ready(cause: BaseException) -> bool:
    """Whether to try again is all there is to do: a `NotReady`, or a group of nothing else.

    >>> is_not_ready(ExceptionGroup("of a task group", [OSError(), NotReady("no database yet")]))
    False
    """
    if isinstance(cause, BaseExceptionGroup):
        return all(map(is_not_ready, cause.exceptions))
    return isinstance(cause, NotReady)
