"""Bounded channels between tasks: many senders, one receiver, nothing lost.

What a channel promises, under any cancellation and any order of closing:

* **Bounded, in order.** It never holds more than ``capacity`` messages, and they are received in the order in which
  they were accepted.
* **Exactly once.** A ``send`` that was cancelled has not been accepted, a receive that was cancelled has taken nothing.
* **Close and drain.** Once every `Sender` is closed, the receiver gets what is left and then the end. Once the
  `Receiver` is closed, no sender gets anything in.
* **Progress.** Whoever waits is woken as soon as there is something to wake for. Senders are served in the order in
  which they began to wait, and nobody overtakes them.

The rules are those of the bounded ``mpsc`` channel of tokio (https://docs.rs/tokio/latest/tokio/sync/mpsc/). Channels
can be made without a running loop; the handles belong to one loop at a time and are not thread-safe.

Theory of operation
-------------------
All handles share one `_Channel`. Its *facts* are the queue, the slots promised to somebody, who waits, who is gone.
Whatever changes a fact calls `_Channel.settle`, which derives the rest: it promises free slots to the senders that
wait, wakes the receiver, and sets two gates. ``credit`` yields as many times as messages may be sent without looking at
anything else: an iterator is the cheapest counter to test and count down in one. ``ready`` is the queue while a message
may be taken without looking at anything else. So the common case is one test and one operation on a deque, and there is
one place where somebody can be woken or forgotten. The gates err on the side of being shut, never of being open.

A promised slot is not free: the sender that is woken finds it there, or hands it on if it was cancelled meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
from abc import abstractmethod
from collections import deque
from itertools import repeat
from operator import length_hint
from typing import Any, Final, Generic, Self, TypeVar

from attrs import Factory, define

from fsm_plugins.errors import ChannelClosed, ChannelError, ChannelFull

__all__ = ["Permit", "Receiver", "Sender", "channel"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

_MOST: Final = sys.maxsize  # what an iterator can yield
_NO_CREDIT: repeat[None] = repeat(None, 0)  # while a send has to look before it appends
_NOTHING: deque[Any] = deque(maxlen=0)  # while a receive has to look before it takes


def channel(capacity: int) -> tuple[Sender[T], Receiver[T]]:
    """Make a channel that holds up to ``capacity`` messages, and return its two ends.

    The type of the messages comes from the annotation of the ends.

    >>> packets: Sender[int]
    >>> numbers: Receiver[int]
    >>> packets, numbers = channel(4)
    >>> packets.try_send(1)
    >>> len(numbers), numbers.capacity
    (1, 4)

    Args:
        capacity: how many messages may be queued, at least 1.

    Raises:
        TypeError: ``capacity`` is not an integer.
        ValueError: ``capacity`` is less than 1.
    """
    shared: _Channel[T] = _Channel(_at_least_one("capacity", capacity))
    return Sender(shared), Receiver(shared)


def _at_least_one(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


@define(eq=False)
class _Channel(Generic[T]):
    """What the handles share."""

    capacity: int
    queue: deque[T] = Factory(deque)
    promised: int = 0  # slots that are kept: one for each permit, and for each sender that was woken to take its slot
    permits: int = 0
    senders: int = 0
    closed: bool = False  # by the receiver
    end_seen: bool = False  # by the receiver: it came back for more, and there was no more
    reader: asyncio.Future[None] | None = None  # who waits for a message, until its task has run
    waiting: deque[tuple[asyncio.Future[bool], Sender[T]]] = Factory(deque)  # the longest first
    watchers: list[asyncio.Future[None]] = Factory(list)
    credit: repeat[None] = _NO_CREDIT
    granted: int = 0  # how many times the present credit yielded when it was new
    sent: int = 0  # messages accepted, but for those on the present credit
    waits: int = 0  # sends that had to wait for room
    ready: deque[T] = Factory(lambda: _NOTHING)

    def finished(self) -> bool:
        """Return whether nothing is left, and nothing can come any more."""
        return not self.queue and not self.permits and (self.closed or not self.senders)

    def settle(self) -> None:
        """Serve whoever can be served, and set the gates. To be called after every change of a fact."""
        room = 0 if self.closed else self.capacity - len(self.queue) - self.promised
        waiting = self.waiting
        while waiting and room:
            waiter, _ = waiting.popleft()
            if not waiter.done():  # else it was cancelled, and its task has not run since
                waiter.set_result(True)
                self.promised += 1
                room -= 1
        reader = self.reader
        if reader is None:
            self.ready = _NOTHING if waiting else self.queue
        elif not reader.done():
            if self.queue or self.finished():
                reader.set_result(None)
            else:
                room = 0  # the next message has to wake it
        if self.granted:
            self.sent += self.granted - length_hint(self.credit)
            self.granted = 0
        if room:
            self.granted = room = room if room < _MOST else _MOST  # much faster than min
            self.credit = repeat(None, room)
        else:
            self.credit = _NO_CREDIT

    def take(self) -> T:
        """Take the oldest message for a receiver that found the gate shut, and serve whoever waits for its slot."""
        item = self.queue.popleft()
        waiting = self.waiting
        if not waiting:
            # With nothing left the gates stay shut: the receiver is about to come back and shut them, or a sender comes
            # first and settles.
            if self.queue:
                self.settle()
            return item
        waiter, _ = waiting.popleft()
        if waiter.done():
            self.settle()
        else:
            waiter.set_result(True)
            self.promised += 1
            if not waiting:
                self.ready = self.queue
        return item

    def accepted(self) -> int:
        """Return how many messages were accepted. What the credit has yielded is counted by what is left of it."""
        return self.sent + self.granted - length_hint(self.credit)

    def turn_away(self, sender: Sender[T] | None = None) -> None:
        """Wake the waiting sends of one sender, or of all, without a slot: they find out that they were closed."""
        for place in list(self.waiting):
            waiter, waits = place
            if sender is None or waits is sender:
                self.waiting.remove(place)
                if not waiter.done():
                    waiter.set_result(False)

    def notify(self) -> None:
        """Wake everyone in `Receiver.drained`, to look again."""
        for watcher in self.watchers:
            if not watcher.done():
                watcher.set_result(None)


_SHUT: _Channel[Any] = _Channel(0)  # where the gates of a handle are once it may not touch its channel


class _Handle:
    """What senders and receivers have in common."""

    __slots__ = ("__weakref__", "_channel", "_closed", "_gate")

    def __init__(self, channel: _Channel[Any]) -> None:
        self._channel = channel
        self._gate = channel
        self._closed = False

    @property
    def capacity(self) -> int:
        """How many messages the channel holds at most."""
        return self._channel.capacity

    @property
    def accepted(self) -> int:
        """How many messages the channel has accepted so far, from all senders."""
        return self._channel.accepted()

    @property
    def waits(self) -> int:
        """How many times a sender had to wait for room so far."""
        return self._channel.waits

    @property
    def closed(self) -> bool:
        """Whether this handle was closed."""
        return self._closed

    @abstractmethod
    def close(self) -> None:
        """Close this handle. To close it again does nothing."""

    def __len__(self) -> int:
        """Return how many messages are queued; also after closing, when it says what was left undelivered."""
        return len(self._channel.queue)

    def __bool__(self) -> bool:
        """Return True: an end of an empty channel is an end nevertheless."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<{type(self).__name__} {state}, {len(self)} of {self.capacity} messages>"


class Sender(_Handle, Generic[T_contra]):
    """A sending end. There may be many: `clone` makes another one, which is closed on its own.

    >>> async def main() -> list[str]:
    ...     lines: Sender[str]
    ...     received: Receiver[str]
    ...     lines, received = channel(2)
    ...     with lines:
    ...         await lines.send("one")
    ...         lines.try_send("two")
    ...     return [line async for line in received]
    >>> asyncio.run(main())
    ['one', 'two']
    """

    __slots__ = ()

    def __init__(self, channel: _Channel[T_contra]) -> None:
        super().__init__(channel)
        channel.senders += 1

    async def send(self, item: T_contra) -> None:
        """Send one message; wait in line while there is no room.

        If it is cancelled, the message was not sent.

        Raises:
            ChannelClosed: the receiver, or this sender, was closed.
        """
        gate = self._gate
        for _ in gate.credit:
            gate.queue.append(item)
            return
        promised = not self._has_room()
        if promised:
            await self._turn()
        gate.queue.append(item)
        gate.sent += 1
        if not promised or gate.reader is not None:  # a promise that is kept changes nothing for those who wait in line
            gate.settle()

    def try_send(self, item: T_contra) -> None:
        """Send one message now, or not at all.

        Raises:
            ChannelFull: every slot is filled, or promised to somebody who came before.
            ChannelClosed: the receiver, or this sender, was closed.
        """
        gate = self._gate
        for _ in gate.credit:
            gate.queue.append(item)
            return
        if not self._has_room():
            raise ChannelFull(self.capacity)
        gate.queue.append(item)
        gate.sent += 1
        gate.settle()

    async def reserve(self) -> Permit[T_contra]:
        """Wait for room as `send` does, and keep the slot for a message that is made later.

        >>> async def main() -> int:
        ...     numbers: Sender[int]
        ...     numbers, received = channel(1)
        ...     with await numbers.reserve() as permit:
        ...         permit.send(42)
        ...     return await received.recv()
        >>> asyncio.run(main())
        42

        Raises:
            ChannelClosed: the receiver, or this sender, was closed.
        """
        if not self._has_room():
            await self._turn()
        return Permit(self._channel)

    def clone(self) -> Sender[T_contra]:
        """Return another sender to the same channel.

        Raises:
            ChannelClosed: this sender was closed.
        """
        if self._closed:
            raise ChannelClosed("this sender was closed")
        return Sender(self._channel)

    def close(self) -> None:
        """Give up this sender; its sends that still wait end with `ChannelClosed`. To close it again does nothing.

        The channel ends when no sender is open and no permit is out.
        """
        if self._closed:
            return
        self._closed = True
        self._gate = _SHUT
        self._channel.senders -= 1
        self._channel.turn_away(self)
        self._channel.settle()

    def _has_room(self) -> bool:
        """Return whether a slot can be had now; raise if there never will be one."""
        channel = self._channel
        if self._closed or channel.closed:
            raise ChannelClosed("this sender was closed" if self._closed else "the receiver was closed")
        return len(channel.queue) + channel.promised < channel.capacity

    async def _turn(self) -> None:
        """Wait in line for a slot. On return there is a free one, which the caller fills or keeps at once."""
        channel = self._channel
        waiter: asyncio.Future[bool] = asyncio.Future()
        place = (waiter, self)
        channel.waiting.append(place)
        channel.waits += 1
        channel.ready = _NOTHING  # the next receive has to serve this one
        try:
            await waiter
            if self._closed or channel.closed:
                self._has_room()
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                channel.promised -= 1
            elif place in channel.waiting:
                channel.waiting.remove(place)
            channel.settle()
            raise
        channel.promised -= 1  # nothing else runs before the caller has it


class Permit(Generic[T_contra]):
    """A slot that is kept for one message. Use it as a ``with`` block, which releases it if nothing was sent.

    It outlives both ends: what is sent with a permit that was taken before the closing can still be received. A permit
    that is neither used nor released keeps the receiver waiting for its message.
    """

    __slots__ = ("_channel",)

    def __init__(self, channel: _Channel[T_contra]) -> None:
        self._channel: _Channel[T_contra] | None = channel
        channel.promised += 1
        channel.permits += 1
        channel.settle()

    def send(self, item: T_contra) -> None:
        """Send the one message, without waiting.

        Raises:
            ChannelError: the permit was used or released before.
        """
        if self._channel is None:
            raise ChannelError("this permit was used or released before; a permit is good for one message")
        self._channel.queue.append(item)
        self._channel.sent += 1
        self.release()

    def release(self) -> None:
        """Give the slot back. Does nothing if the permit was used or released before."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.promised -= 1
            channel.permits -= 1
            channel.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class Receiver(_Handle, Generic[T_co]):
    """The receiving end. There is one, and one task at a time may receive; `lease` lends it to somebody else.

    >>> async def main() -> list[list[int]]:
    ...     numbers: Sender[int]
    ...     received: Receiver[int]
    ...     numbers, received = channel(8)
    ...     for number in range(5):
    ...         await numbers.send(number)
    ...     return [await received.recv_many(3), await received.recv_many(3)]
    >>> asyncio.run(main())
    [[0, 1, 2], [3, 4]]
    """

    __slots__ = ("_lease", "_owner")

    def __init__(self, channel: _Channel[T_co], owner: Receiver[T_co] | None = None) -> None:
        super().__init__(channel)
        self._owner = owner
        self._lease: Receiver[T_co] | None = None
        channel.settle()

    @property
    def producers_gone(self) -> bool:
        """Whether every `Sender` was closed. A permit may still be out, and messages may be left."""
        return not self._channel.senders

    async def recv(self) -> T_co:
        """Receive one message; wait while there is none. If it is cancelled, no message was taken.

        Raises:
            ChannelClosed: the end: nothing is left, and nothing can come any more. Or this lease was closed.
            ChannelError: another task is receiving, or this end is lent.
        """
        if ready := self._gate.ready:
            return ready.popleft()  # type: ignore[no-any-return]
        if self._has_message() or await self._arrival():
            return self._channel.take()  # type: ignore[no-any-return]
        raise ChannelClosed(self._end())

    async def recv_many(self, limit: int) -> list[T_co]:
        """Receive what is there, from 1 to ``limit`` messages; wait while there is none.

        It is fastest with a limit of the capacity or more, which takes the whole queue in one step. If it is cancelled,
        no message was taken.

        Raises:
            TypeError, ValueError: ``limit`` is not an integer of at least 1.
            ChannelClosed, ChannelError: as `recv`.
        """
        _at_least_one("limit", limit)
        if not (self._gate.ready or self._has_message() or await self._arrival()):
            raise ChannelClosed(self._end())
        channel = self._channel
        queue = channel.queue
        if len(queue) <= limit:
            batch = list(queue)
            queue.clear()
        else:
            batch = list(map(deque.popleft, repeat(queue, limit)))
        if channel.ready is not queue:
            channel.settle()
        return batch

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        """Receive one message, as `recv`; the end of the channel ends the loop."""
        if ready := self._gate.ready:
            return ready.popleft()  # type: ignore[no-any-return]
        if self._has_message() or await self._arrival():
            return self._channel.take()  # type: ignore[no-any-return]
        raise StopAsyncIteration

    async def drained(self) -> None:
        """Wait until the reader has met the end: it came back for more when nothing was left and nothing could come.

        So with ``async for item in receiver: await process(item)`` all that was accepted has been processed. It does
        not matter whether the end is met through the owner or a lease. Returns as well when this handle is closed.
        """
        channel = self._channel
        while not (channel.end_seen or self._closed):
            watcher: asyncio.Future[None] = asyncio.Future()
            channel.watchers.append(watcher)
            try:
                await watcher
            finally:
                channel.watchers.remove(watcher)

    def lease(self) -> Receiver[T_co]:
        """Lend the receiving end: until the lease is closed it receives, and this handle does not.

        Closing a lease ends the lease and nothing else. What is queued stays, senders go on, and the next lease goes on
        where this one left off.

        >>> numbers: Sender[int]
        >>> owner: Receiver[int]
        >>> numbers, owner = channel(4)
        >>> numbers.try_send(1)
        >>> with owner.lease() as lease:
        ...     asyncio.run(lease.recv())
        1
        >>> numbers.try_send(2)
        >>> with owner.lease() as lease:
        ...     asyncio.run(lease.recv())
        2

        Raises:
            ChannelError: it is lent already, or a task is receiving, or this is a lease itself.
            ChannelClosed: this receiver was closed.
        """
        if self._owner is not None:
            raise ChannelError("a lease cannot be lent on; ask the owner of the channel")
        if self._closed:
            raise ChannelClosed("this receiver was closed")
        self._has_message()
        self._gate = _SHUT
        self._lease = Receiver(self._channel, owner=self)
        return self._lease

    def close(self) -> None:
        """Stop the senders, or end the lease if this is one. To close it again does nothing.

        Senders get `ChannelClosed` from now on, also those that wait; a lease is closed with its owner. What is queued,
        and what comes by permits that are out, can still be received by the owner; then it gets the end.
        """
        if self._closed:
            return
        channel = self._channel
        if self._owner is not None:
            self._gate = _SHUT
            self._owner._gate = channel
            self._owner._lease = None
            reader, channel.reader = channel.reader, None
            if reader is not None and not reader.done():
                reader.set_result(None)
        else:
            if self._lease is not None:
                self._lease.close()
            channel.closed = True
            channel.turn_away()
        self._closed = True
        channel.settle()
        channel.notify()

    def _has_message(self) -> bool:
        """Return whether there is a message to take; raise if it is not for this handle, or not now."""
        channel = self._channel
        if self._gate is not channel:
            if self._closed:
                raise ChannelClosed("this receiver was closed")
            raise ChannelError("this receiving end is lent; close the lease first")
        if channel.reader is not None:
            raise ChannelError("another task is receiving from this channel, and a channel has one consumer")
        return bool(channel.queue)

    async def _arrival(self) -> bool:
        """Wait for a message, which the caller takes at once. Return False at the end, which has then been seen."""
        channel = self._channel
        if not channel.finished():
            reader: asyncio.Future[None] = asyncio.Future()
            channel.reader = reader
            if channel.granted:
                channel.sent = channel.accepted()
                channel.granted = 0
            channel.credit = _NO_CREDIT  # the next message has to wake this task
            channel.ready = _NOTHING
            try:
                await reader
            finally:
                if channel.reader is reader:  # else this lease was closed, and another may receive already
                    channel.reader = None  # the gates stay shut, until somebody who has to look settles
            if self._has_message():
                return True
        channel.end_seen = True
        channel.notify()
        return False

    def _end(self) -> str:
        if self._closed:
            return "this receiver was closed, and nothing is left"
        return "every sender was closed, and every message has been received"
