"""What a plugin at rest has left, and where its messages are."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from fsm_plugins.channels import Receiver, Sender
from fsm_plugins.guard import describe
from fsm_plugins.verify.base.leaks import Leak, attributes, found, held_locks, of_warning
from fsm_plugins.verify.plugins import accounts
from fsm_plugins.verify.plugins.judging import Judging
from fsm_plugins.verify.plugins.observing import InjectedFault
from fsm_plugins.verify.plugins.outcomes import DeclaredFailed
from fsm_plugins.verify.plugins.run_state import turns

__all__ = ["Aftermath"]

_SETTLE_TURNS: Final = 8

_GRACE: Final = 1.0  # seconds of the clock, for tasks that were cancelled

_REAL_PATIENCE: Final = 0.6  # real seconds, for what threads, processes and sockets take to end


class Aftermath(Judging):
    """A run that can tell what was left."""

    __slots__ = ()

    async def _look_for_leaks(self) -> None:
        """Tell what the plugin left, after everything that is just ending has had the time for it."""
        leaks: list[Leak] = []
        await turns(_SETTLE_TURNS)
        self.blocked.thread = 0  # from here on it is this module that waits
        for attempt in range(3):
            leaks = self._leaks()
            if not leaks:
                return
            if attempt == 0:
                gc.collect()  # what nobody holds any more closes itself; that it had to is told all the same
                if any(task.cancelling() for task in self._tasks()):
                    await asyncio.sleep(_GRACE)
            elif attempt == 1 and any(self._may_yet_end(leak) for leak in leaks):
                leaks = await self._after_a_while()
        self._tell(leaks)

    async def _after_a_while(self) -> list[Leak]:
        for _ in range(12):
            time.sleep(_REAL_PATIENCE / 12)  # noqa: ASYNC251 - what is waited for is outside of the loop
            await turns(4)
            leaks = self._leaks()
            if not any(self._may_yet_end(leak) for leak in leaks):
                break
        return leaks

    def _may_yet_end(self, leak: Leak) -> bool:
        """Whether real time may show that it is no leak; not if it has shown before that it is."""
        return (leak.slug in _SLOW or bool(self.loop.met)) and leak.slug not in self.known

    def _tasks(self) -> list[asyncio.Task[Any]]:
        own = {asyncio.current_task(self.loop), *self.drainers}
        return [task for task in asyncio.all_tasks(self.loop) if task not in own]

    def _leaks(self) -> list[Leak]:
        leaks = [Leak("leak-task", f"task of {_coroutine_name(task)}") for task in self._tasks()]
        leaks += [Leak("leak-async-generator", f"async generator {name}") for name in self.loop.open_generators()]
        leaks += [Leak("not-at-rest", f"timer for {name}") for name in self.loop.open_timers()]
        leaks += found(self.before, self.temporary)
        assert self.rig is not None
        for name, value in attributes(self.plugin):
            if isinstance(value, Sender | Receiver) and not value.closed:
                leaks.append(Leak("leak-channel-end", f"channel end {name}"))
        for port, sink in self.rig.sinks.items():
            if not sink.producers_gone and not any(leak.slug == "leak-channel-end" for leak in leaks):
                leaks.append(Leak("leak-channel-end", f"sender of {port}"))
        if self.plugin.state in self.plugin.lifecycle.rest:
            for name, held in held_locks(self.plugin).items():
                if held > self.locks.get(name, 0):
                    leaks.append(Leak("lock-held", f"lock {name}"))
        return sorted(leaks, key=lambda leak: (leak.slug, leak.what))

    def _tell(self, leaks: list[Leak]) -> None:
        for slug in dict.fromkeys(leak.slug for leak in leaks):
            named = Counter(leak.what for leak in leaks if leak.slug == slug)
            what = ", ".join(f"{count} {what}" for what, count in named.items())
            self.trouble(slug, f"{what} {_VERB.get(slug, 'leaked')}", "leak", "a plugin at rest leaves nothing")

    def tell_garbage(self, warned: Iterator[str]) -> None:
        """Tell what showed only when everything was thrown away."""
        leaks = [leak for text in warned if (leak := of_warning(text)) is not None]
        leaks += [Leak("leak-async-generator", f"async generator {name}") for name in self.loop.dropped]
        told = {trouble.slug for trouble in self.troubles}
        for context in self.loop.errors:
            message, error = context.get("message", ""), context.get("exception")
            if "never retrieved" in message or error is not None:
                if isinstance(error, InjectedFault | DeclaredFailed):
                    continue
                what = f"exception {describe(error)}" if error is not None else message
                leaks.append(Leak("unretrieved-exception", what))
            elif "was destroyed" in message and "leak-task" not in told:
                leaks.append(Leak("leak-task", "task that nobody kept"))
        self.loop.errors.clear()
        if self.state != str(self._initial):
            self._tell(
                sorted({leak for leak in leaks if leak.slug not in told}, key=lambda leak: (leak.slug, leak.what))
            )

    async def _settle_accounts(self) -> None:
        """Take note of where the messages are now."""
        assert self.rig is not None
        for drainer in self.drainers:
            drainer.cancel()
        await turns(2)
        for sink in self.rig.sinks.values():
            while len(sink):
                self._received(await sink.recv_many(sink.capacity))
        self.ledger.queued = sum(len(sender) for sender in self.rig.sources.values())
        if self.ledger.fed:
            for _, value in attributes(self.plugin):
                if not isinstance(value, Sender | Receiver):
                    self.ledger.kept.extend(accounts.marks(value))

    def _received(self, messages: list[object]) -> None:
        self.ledger.sent += len(messages)
        for message in messages:
            self.ledger.out.extend(accounts.marks(message))


_SLOW: Final = frozenset({"leak-thread", "leak-process"})

_VERB: Final = {
    "never-awaited": "never awaited",
    "unretrieved-exception": "never retrieved",
    "signal-handler-left": "left behind",
    "environment-changed": "left changed",
    "working-directory-changed": "left changed",
    "lock-held": "still held",
    "not-at-rest": "still set",
}


def _coroutine_name(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", "an unknown coroutine"))
