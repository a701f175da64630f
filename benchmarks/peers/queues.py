"""The channels and what people would take in their place, each moved through as its own documentation shows.

A queue of the standard library has no end before Python 3.13, so its producers put a sentinel for the consumer to look
for; a channel is closed and drained. Whoever is not installed is left out.
"""

from __future__ import annotations

import asyncio
import importlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from attrs import frozen

from benchmarks._results import Role
from fsm_plugins.channels import Receiver, Sender, channel
from fsm_plugins.errors import ChannelClosed

__all__ = ["PACKAGES", "QUEUE", "Contender", "Ended", "Pair", "contenders"]

PACKAGES: Final = ("anyio", "aiochannel", "janus", "culsans")
QUEUE: Final = "asyncio.Queue"
STOP: Final = object()

Run = Callable[[int, int, int], Coroutine[Any, Any, int]]
"""Moves (messages, through a capacity, from so many producers); returns how many messages arrived."""


class Ended(Exception):
    """There are no more messages: the sign of a contender that has none of its own."""


@frozen
class Pair:
    """Both ends of one channel: what is awaited to send, to receive, and what ends it.

    Attributes:
        ends: the exceptions by which ``receive`` says that there are no more messages.
    """

    send: Callable[[Any], Awaitable[object]]
    receive: Callable[[], Awaitable[Any]]
    close: Callable[[], Awaitable[object]]
    ends: tuple[type[BaseException], ...] = ()
    sentinel: bool = False


@frozen
class Contender:
    """One way to pass messages on.

    Attributes:
        run: the measured traffic, in the contender's own idiom.
        pair: makes a channel of a capacity for one producer at a time; None where another row stands for it.
        one_to_one: True if it is for one producer only, False if it is shown for many only.
    """

    name: str
    role: Role
    run: Run
    pair: Callable[[int], Pair] | None = None
    note: str = ""
    one_to_one: bool | None = None


# Ours -----------------------------------------------------------------------------------------------------------------


async def _by_recv(receiver: Receiver[int]) -> int:
    count = 0
    try:
        while True:
            await receiver.recv()
            count += 1
    except ChannelClosed:
        return count


async def _by_iteration(receiver: Receiver[int]) -> int:
    count = 0
    async for _ in receiver:
        count += 1
    return count


def _by_batch(limit: int) -> Callable[[Receiver[int]], Awaitable[int]]:
    async def consume(receiver: Receiver[int]) -> int:
        count = 0
        try:
            while True:
                for _ in await receiver.recv_many(limit):
                    count += 1
        except ChannelClosed:
            return count

    return consume


def _ours(consume: Callable[[Receiver[int]], Awaitable[int]]) -> Run:
    async def produce(sender: Sender[int], messages: int) -> None:
        with sender:
            for i in range(messages):
                await sender.send(i)

    async def run(messages: int, capacity: int, producers: int) -> int:
        sender: Sender[int]
        receiver: Receiver[int]
        sender, receiver = channel(capacity)
        with sender:
            tasks = [asyncio.create_task(produce(sender.clone(), messages // producers)) for _ in range(producers)]
        count = await consume(receiver)
        await asyncio.gather(*tasks)
        return count

    return run


def _our_pair(capacity: int) -> Pair:
    sender: Sender[Any]
    receiver: Receiver[Any]
    sender, receiver = channel(capacity)

    async def close() -> None:
        sender.close()

    return Pair(sender.send, receiver.recv, close, (ChannelClosed,))


# The limit ------------------------------------------------------------------------------------------------------------


class ByHand:
    """A bounded channel for exactly one producer and one consumer, and nothing else.

    Nothing is lost or doubled when either is cancelled: a message is put down and taken up in one step, after the wait.
    """

    __slots__ = ("_arrived", "_capacity", "_closed", "_items", "_loop", "_room")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[Any] = deque()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    async def send(self, item: Any) -> None:
        """Put ``item`` down, as soon as there is room."""
        items = self._items
        while len(items) >= self._capacity:
            self._room = self._loop.create_future()
            await self._room
        items.append(item)
        if (arrived := self._arrived) is not None:
            self._arrived = None
            if not arrived.done():
                arrived.set_result(None)

    async def receive(self) -> Any:
        """Take the oldest item, as soon as there is one. Raises Ended."""
        items = self._items
        while not items:
            if self._closed:
                raise Ended
            self._arrived = self._loop.create_future()
            await self._arrived
        item = items.popleft()
        if (room := self._room) is not None:
            self._room = None
            if not room.done():
                room.set_result(None)
        return item

    def close(self) -> None:
        """Say that there will be no more."""
        self._closed = True
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class InLine(ByHand):
    """The same for many producers, who are served in the order in which they began to wait."""

    __slots__ = ("_line", "_promised", "producers")

    def __init__(self, capacity: int, producers: int) -> None:
        super().__init__(capacity)
        self._line: deque[asyncio.Future[None]] = deque()
        self._promised = 0
        self.producers = producers

    async def send(self, item: Any) -> None:
        """Put ``item`` down, when it is its turn."""
        items = self._items
        if len(items) + self._promised >= self._capacity:
            turn = self._loop.create_future()
            self._line.append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._promised -= 1
                    self._next()
                raise
            self._promised -= 1
        items.append(item)
        if (arrived := self._arrived) is not None:
            self._arrived = None
            if not arrived.done():
                arrived.set_result(None)

    async def receive(self) -> Any:
        """Take the oldest item, as soon as there is one. Raises Ended."""
        items = self._items
        while not items:
            if self._closed:
                raise Ended
            self._arrived = self._loop.create_future()
            await self._arrived
        item = items.popleft()
        if self._line:
            self._next()
        return item

    def _next(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                self._promised += 1
                return

    def close(self) -> None:
        """Say that this producer is done."""
        self.producers -= 1
        if not self.producers:
            super().close()


async def _limit_in_line(messages: int, capacity: int, producers: int) -> int:
    pipe = InLine(capacity, producers)

    async def produce(share: int) -> None:
        for i in range(share):
            await pipe.send(i)
        pipe.close()

    tasks = [asyncio.create_task(produce(messages // producers)) for _ in range(producers)]
    count = 0
    try:
        while True:
            await pipe.receive()
            count += 1
    except Ended:
        await asyncio.gather(*tasks)
        return count


async def _limit(messages: int, capacity: int, producers: int) -> int:
    assert producers == 1
    pipe = ByHand(capacity)

    async def produce() -> None:
        for i in range(messages):
            await pipe.send(i)
        pipe.close()

    task = asyncio.create_task(produce())
    count = 0
    try:
        while True:
            await pipe.receive()
            count += 1
    except Ended:
        await task
        return count


def _limit_pair(capacity: int) -> Pair:
    pipe = ByHand(capacity)

    async def close() -> None:
        pipe.close()

    return Pair(pipe.send, pipe.receive, close, (Ended,))


# The peers ------------------------------------------------------------------------------------------------------------


def _queue(make: Callable[[int], Any]) -> Run:
    """Return a run over anything with the interface of `asyncio.Queue`."""

    async def produce(queue: Any, messages: int) -> None:
        for i in range(messages):
            await queue.put(i)
        await queue.put(STOP)

    async def run(messages: int, capacity: int, producers: int) -> int:
        queue = make(capacity)
        tasks = [asyncio.create_task(produce(queue, messages // producers)) for _ in range(producers)]
        count, left = 0, producers
        while left:
            if await queue.get() is STOP:
                left -= 1
            else:
                count += 1
        await asyncio.gather(*tasks)
        return count

    return run


def _queue_pair(make: Callable[[int], Any]) -> Callable[[int], Pair]:
    def pair(capacity: int) -> Pair:
        queue = make(capacity)
        return Pair(queue.put, queue.get, lambda: queue.put(STOP), sentinel=True)

    return pair


def _anyio(anyio: Any) -> Contender:
    async def produce(stream: Any, messages: int) -> None:
        async with stream:
            for i in range(messages):
                await stream.send(i)

    async def run(messages: int, capacity: int, producers: int) -> int:
        sender, receiver = anyio.create_memory_object_stream(capacity)
        async with sender:
            tasks = [asyncio.create_task(produce(sender.clone(), messages // producers)) for _ in range(producers)]
        count = 0
        async with receiver:
            async for _ in receiver:
                count += 1
        await asyncio.gather(*tasks)
        return count

    def pair(capacity: int) -> Pair:
        sender, receiver = anyio.create_memory_object_stream(capacity)
        return Pair(sender.send, receiver.receive, sender.aclose, (anyio.EndOfStream,))

    return Contender("anyio memory stream", Role.PEER, run, pair, "gives way at every call")


def _aiochannel(aiochannel: Any) -> Contender:
    async def produce(pipe: Any, messages: int) -> None:
        for i in range(messages):
            await pipe.put(i)

    async def run(messages: int, capacity: int, producers: int) -> int:
        pipe = aiochannel.Channel(capacity)
        tasks = [asyncio.create_task(produce(pipe, messages // producers)) for _ in range(producers)]
        closing = asyncio.gather(*tasks)
        closing.add_done_callback(lambda _: pipe.close())
        count = 0
        async for _ in pipe:
            count += 1
        return count

    def pair(capacity: int) -> Pair:
        pipe = aiochannel.Channel(capacity)

        async def close() -> None:
            pipe.close()

        return Pair(pipe.put, pipe.get, close, (aiochannel.ChannelClosed,))

    return Contender("aiochannel", Role.PEER, run, pair, "one handle for both ends: whoever closes ends it for all")


def contenders() -> list[Contender]:
    """Return everybody who can take part here, ours first."""
    found = [
        Contender("recv", Role.OURS, _ours(_by_recv), _our_pair),
        Contender("async for", Role.OURS, _ours(_by_iteration)),
        Contender("recv_many(64)", Role.OTHER, _ours(_by_batch(64))),
        Contender("recv_many(1024)", Role.OTHER, _ours(_by_batch(1024))),
        Contender("by hand", Role.LIMIT, _limit, _limit_pair, "for one producer and one consumer", one_to_one=True),
        Contender("by hand, in line", Role.LIMIT, _limit_in_line, note="for many producers", one_to_one=False),
        Contender(
            QUEUE,
            Role.PEER,
            _queue(asyncio.Queue),
            _queue_pair(asyncio.Queue),
            "has no end before Python 3.13; a producer may overtake those who wait, which halves the waits",
        ),
    ]
    if anyio := _importable("anyio"):
        found.append(_anyio(anyio))
    if aiochannel := _importable("aiochannel"):
        found.append(_aiochannel(aiochannel))
    for name in ("janus", "culsans"):
        if module := _importable(name):
            make = _of_threads(module)
            found.append(Contender(name, Role.PEER, _queue(make), _queue_pair(make), "for threads and tasks at once"))
    return found


def _of_threads(module: Any) -> Callable[[int], Any]:
    return lambda capacity: module.Queue(capacity).async_q


def _importable(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
