"""What happens, for those who follow it over the network: the latest events, and a bounded queue for each follower.

A follower that does not keep up is dropped, and counted. Nobody else notices.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress

from attrs import asdict

from fsm_plugins.lifecycle import TransitionEvent
from fsm_plugins.observe.steps import Step, step_of
from fsm_plugins.supervision import SupervisionEvent

__all__ = ["Feed", "Follower"]


class Feed:
    """Hands events on to followers. It is a listener: ``target.subscribe(feed, feed)``.

    Args:
        recent: how many events are kept for those who come later.
        limit: how many events a follower may be behind.

    Attributes:
        dropped: how many followers were dropped because they did not keep up.
        followers: those that there are.
    """

    def __init__(self, *, recent: int = 256, limit: int = 1024) -> None:
        self.dropped = 0
        self.followers: set[Follower] = set()
        self._limit = limit
        self._recent: deque[tuple[int, Step | SupervisionEvent]] = deque(maxlen=recent)
        self._numbers = itertools.count(1)

    def __call__(self, event: TransitionEvent | SupervisionEvent) -> None:
        """Take an event, and hand it on."""
        # As a step: an exception that is kept keeps alive whatever it came through.
        entry = next(self._numbers), step_of(event) if isinstance(event, TransitionEvent) else event
        self._recent.append(entry)
        for follower in tuple(self.followers):
            if len(follower.waiting) >= self._limit:
                self.dropped += 1
                follower.close(dropped=True)
            else:
                follower.waiting.append(entry)
                follower.woken.set()

    def recent(self, after: int = 0) -> list[dict[str, object]]:
        """Return the latest events, those with a number above ``after``, as JSON has them."""
        return [_plain(*entry) for entry in self._recent if entry[0] > after]

    def follow(self, after: int | None = None) -> Follower:
        """Return a new follower.

        Args:
            after: the number of the event after which to begin, as far as that is still known; from now on, unless
                given.
        """
        follower = Follower(self, [] if after is None else [entry for entry in self._recent if entry[0] > after])
        self.followers.add(follower)
        return follower

    def close(self) -> None:
        """Send all followers home."""
        for follower in tuple(self.followers):
            follower.close()


class Follower:
    """Somebody who follows a feed.

    Attributes:
        waiting: the events that it has not taken yet.
        woken: set when there is something new for it.
        ended: set when it will get nothing more.
        dropped: whether that is because it did not keep up.
    """

    def __init__(self, feed: Feed, waiting: Iterable[tuple[int, Step | SupervisionEvent]]) -> None:
        self.waiting = deque(waiting)
        self.woken = asyncio.Event()
        self.ended = asyncio.Event()
        self.dropped = False
        self._feed = feed
        if self.waiting:
            self.woken.set()

    async def take(self, patience: float) -> bytes:
        """Return the events there are, in the format of server-sent events.

        Waits for ``patience`` seconds at most, and returns a comment then, so that a connection is seen to be alive.
        Returns nothing when it has ended.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.woken.wait()
        taken = list(self.waiting)
        self.waiting.clear()
        if self.ended.is_set():
            return b"".join(_sent(_plain(*entry)) for entry in taken)
        self.woken.clear()
        return b"".join(_sent(_plain(*entry)) for entry in taken) or b": nothing new\n\n"

    def close(self, *, dropped: bool = False) -> None:
        """End it. What it has not taken yet it can still take, unless it was dropped."""
        self._feed.followers.discard(self)
        self.dropped = dropped
        if dropped:
            self.waiting.clear()
        self.ended.set()
        self.woken.set()


def _plain(number: int, event: Step | SupervisionEvent) -> dict[str, object]:
    kind = "transition" if isinstance(event, Step) else "supervision"
    return {"id": number, "kind": kind, **{key: _text(value) for key, value in asdict(event).items()}}


def _text(value: object) -> object:
    return str(value) if isinstance(value, str) else value


def _sent(event: Mapping[str, object]) -> bytes:
    # ASCII, and so without anything that a reader of lines takes for the end of one.
    return f"id: {event['id']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n".encode()
