"""What is under way: calls and walks that others can wait for."""

from __future__ import annotations

import asyncio

from fsm_plugins.driving import Drive
from fsm_plugins.metadata import HealthStatus

__all__ = ["Ending", "Flight"]


class Ending:
    """Something that comes to an end, which others wait for. One of them that is cancelled harms nobody."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def ended(self) -> None:
        """Wait until it is over."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def end(self) -> None:
        """Let those go on who wait for the end."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class Flight(Ending):
    """A call under way that others can wait for and interrupt.

    Attributes:
        trigger: what was called.
        cause: why it must fail, once somebody has said so; the first cause counts.
        drive: its hook, while that waits.
        health: what a health check came to.
        task: who makes the call, once that has had to wait.
    """

    __slots__ = ("_alarm", "cause", "drive", "health", "task", "trigger")

    def __init__(self, trigger: str) -> None:
        super().__init__()
        self.trigger = trigger
        self.cause: BaseException | None = None
        self.drive: Drive[object] | None = None
        self.health: HealthStatus | None = None
        self.task: asyncio.Task[object] | None = None
        self._alarm: asyncio.Future[None] | None = None

    def interrupt(self, cause: BaseException) -> None:
        """Cancel what the call waits for, so that it ends soon, and fails with ``cause``."""
        if self.cause is None:
            self.cause = cause
        if self.drive is not None:
            self.drive.interrupt()
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    def alarm(self) -> asyncio.Future[None]:
        """Return a future that is done once the call is interrupted."""
        self._alarm = asyncio.get_running_loop().create_future()
        if self.cause is not None:
            self._alarm.set_result(None)
        return self._alarm
