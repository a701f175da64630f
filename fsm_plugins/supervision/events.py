"""What a supervisor does and notices, as events."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

from attrs import frozen

__all__ = ["Action", "SupervisionEvent", "SupervisionListener"]


class Action(StrEnum):
    """What happened.

    Attributes:
        FAILED: a plugin failed. Each failure is told once.
        BACKOFF: it will be started again, after a delay.
        RESTARTED: it runs again, or it was started with another one that failed.
        GAVE_UP: it will not be started again, unless somebody asks for it.
        REQUESTED: somebody stopped it, and so it is left alone.
        EXHAUSTED: the limit of restarts is reached; everything stops.
        HEALTHY, DEGRADED, UNHEALTHY: what a plugin says of itself has changed.
        BLOCKED: the event loop has been blocked.
    """

    FAILED = "failed"
    BACKOFF = "backoff"
    RESTARTED = "restarted"
    GAVE_UP = "gave_up"
    REQUESTED = "requested"
    EXHAUSTED = "exhausted"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    BLOCKED = "blocked"


@frozen
class SupervisionEvent:
    """A supervisor did or noticed something.

    Attributes:
        plugin: which plugin it is about; the supervisor itself where it is about all of them.
        action: what happened.
        at: when, in seconds since the epoch, by the supervisor's clock.
        attempt: for failures and what follows from them, how many the plugin has had in a row.
        delay: for `Action.BACKOFF` how long it will wait, for `Action.BLOCKED` how long the loop was blocked, in
            seconds.
        reason: why, for people.

    >>> print(SupervisionEvent("x", Action.BACKOFF, 0.0, attempt=2, delay=0.2, reason="OSError: gone"))
    x: backoff of 0.200 s after failure 2: OSError: gone
    """

    plugin: str
    action: Action
    at: float
    attempt: int = 0
    delay: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        text = f"{self.plugin}: {self.action}"
        if self.delay:
            text += f" of {self.delay:.3f} s" if self.action is Action.BACKOFF else f" for {self.delay:.3f} s"
        if self.attempt:
            text += f" after failure {self.attempt}"
        return f"{text}: {self.reason}" if self.reason else text


SupervisionListener: TypeAlias = Callable[[SupervisionEvent], object]
