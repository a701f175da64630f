"""A real plugin that does what it is told, and keeps a record of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fsm_plugins import (
    Abandoned,
    DeadlineExceeded,
    Deadlines,
    HookFailed,
    InvalidState,
    Plugin,
    PluginInfo,
    RegistryBusy,
    StopFailed,
)
from tests.property.model import DEADLINE, GRACE, SLOW


class Boom(Exception):
    """What hooks and workers raise."""


class Scripted(Plugin):
    """Behaves as ``behaviours`` says, for each trigger."""

    info = PluginInfo("scripted", "1.0.0")
    deadlines = Deadlines(init=DEADLINE["init"], start=DEADLINE["start"], stop=DEADLINE["stop"], grace=GRACE)

    def __init__(self, behaviours: Mapping[str, str], *, name: str) -> None:
        super().__init__(name=name)
        self.behaviours = behaviours
        self.attempts = {"init": 0, "start": 0, "stop": 0}
        self.hooks_under_way = 0
        self.most_hooks_at_once = 0

    async def on_init(self) -> None:
        await self._behave("init")

    async def on_start(self) -> None:
        await self._behave("start")

    async def on_stop(self) -> None:
        await self._behave("stop")

    async def _behave(self, trigger: str) -> None:
        self.attempts[trigger] += 1
        self.hooks_under_way += 1
        self.most_hooks_at_once = max(self.most_hooks_at_once, self.hooks_under_way)
        try:
            match self.behaviours[trigger]:
                case "raise":
                    raise Boom(f"boom in {trigger}")
                case "cancel itself":
                    raise asyncio.CancelledError
                case "slow":
                    await asyncio.sleep(SLOW)
                case "slow raise":
                    await asyncio.sleep(SLOW)
                    raise Boom(f"boom in {trigger}")
                case "hang":
                    await asyncio.Event().wait()
                case "absorb":
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        return
                case "swallow":
                    while True:
                        try:
                            await asyncio.Event().wait()
                        except asyncio.CancelledError:
                            continue
                case "callback":
                    for call in (self.init, self.start, self.stop):
                        try:
                            await call()
                        except InvalidState as refused:
                            assert refused.in_flight == trigger
                        else:
                            raise AssertionError("a hook could move its own plugin")
                    assert not (await self.health_check()).is_healthy
        finally:
            self.hooks_under_way -= 1


def failure_of(error: BaseException | None) -> str | None:
    """Name a plugin's failure in the words of the model."""
    match error:
        case None:
            return None
        case DeadlineExceeded():
            return "late"
        case Abandoned():
            return f"abandoned {error.state}"
        case asyncio.CancelledError():
            return "cancelled"
        case _:
            return str(error)


def outcome_of(task: asyncio.Task[None]) -> tuple[str, ...]:
    """Name the outcome of a call in the words of the model."""
    if task.cancelled():
        return ("cancelled",)
    match task.exception():
        case None:
            return ("done",)
        case InvalidState() as error:
            return ("refused", error.current, "|".join(error.expected), error.in_flight or "")
        case DeadlineExceeded() as error:
            return ("late", error.trigger)
        case HookFailed() as error:
            return ("failed", error.trigger, failure_of(error.__cause__) or "no cause")
        case StopFailed() as error:
            return ("stop failed", *(getattr(problem, "name", "?") for problem in error.exceptions))
        case RegistryBusy() as error:
            return ("busy", error.wanted.removesuffix("_all"), error.in_flight.removesuffix("_all"))
        case other:
            return (repr(other),)
