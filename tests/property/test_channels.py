"""C1 to C4: what the channels promise, against a model that knows nothing of how they work.

The model is synchronous. The code under test is wrapped so that it tells the model of each acceptance and each receipt
in the very step in which it happens, and the model says whether that was right. No real time passes: the loop is turned
by hand, a few iterations at a time, so that a lost wake-up is a failure and never a hang.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pytest
from attrs import Factory, define
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fsm_plugins.channels import Permit, Receiver, Sender, channel
from fsm_plugins.errors import ChannelClosed, ChannelError, ChannelFull

T = TypeVar("T")

# Strategies -----------------------------------------------------------------------------------------------------------

capacities = st.integers(1, 4)
limits = st.integers(1, 5)
picks = st.integers(0, 9)  # which one of those there are, counted round and round
turns = st.integers(0, 3)  # iterations of the loop
fates = st.sampled_from(["waits", "cancelled", "timed out"])
attempts = st.lists(st.tuples(turns, fates), min_size=1, max_size=12)


# Turning the loop by hand ---------------------------------------------------------------------------------------------


class Loop:
    """An event loop that runs when it is told to, and only as far as it is told to."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.loop = self.runner.get_loop()

    def turn(self, iterations: int = 1) -> None:
        for _ in range(iterations):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.loop.create_task(coroutine)

    def run(self, coroutine: Coroutine[Any, Any, T], iterations: int = 2000) -> T:
        """Run to the end of it, which has to come within so many iterations."""
        task = self.start(coroutine)
        for _ in range(iterations):
            self.turn()
            if task.done():
                return task.result()
        pytest.fail(f"still waiting after {iterations} iterations of the loop: {task}")


@contextmanager
def a_loop() -> Iterator[Loop]:
    loop = Loop()
    try:
        yield loop
    finally:
        loop.runner.close()


def ends(capacity: int) -> tuple[Sender[int], Receiver[int]]:
    return channel(capacity)


# The model ------------------------------------------------------------------------------------------------------------


@define(eq=False)
class Call:
    """One asynchronous call that was made on a handle, from the model's point of view."""

    handle: int
    task: asyncio.Task[None] | None = None
    began: int = -1  # the iteration in which it began
    expected: str = "nothing yet"
    dying: bool = False  # it was cancelled, or its handle was closed, and it has not come back yet


@define(eq=False)
class Model:
    """The text of the promise as plain code: who may do what, now."""

    capacity: int
    queue: list[int] = Factory(list)
    permits: int = 0
    senders: set[int] = Factory(set)
    closed: bool = False
    lease: int | None = None
    end_seen: bool = False
    line: list[Call] = Factory(list)  # those who wait to send, in the order in which they came
    reading: Call | None = None

    def free(self) -> int:
        return self.capacity - len(self.queue) - self.permits

    def ended(self) -> bool:
        return not self.queue and not self.permits and (self.closed or not self.senders)

    def sending(self, sender: int) -> str:
        """Say what has to become of a sender that comes now."""
        if self.closed or sender not in self.senders:
            return "closed"
        if self.free() > len(self.line):
            return "now"
        if self.free() <= sum(not call.dying for call in self.line):
            return "wait"
        return "either"  # a slot is in the hands of a call that is dying, and was handed on or not yet

    def receiving(self, receiver: int) -> str:
        """Say what has to become of a receiver that comes now; 0 is the owner, the others are leases."""
        if receiver not in (0, self.lease):
            return "closed"
        if (receiver == 0 and self.lease is not None) or self.reading is not None:
            return "error"
        if self.queue:
            return "now"
        return "closed" if self.ended() else "wait"


class Channels(RuleBasedStateMachine):
    """Every operation, from many clones and both kinds of receivers, cancelled and closed at any moment."""

    @initialize(capacity=capacities)
    def make(self, capacity: int) -> None:
        self.loop = Loop()
        self.model = Model(capacity)
        first, owner = ends(capacity)
        self.senders = [first]
        self.receivers = [owner]
        self.permits: list[tuple[Permit[int], bool]] = []
        self.calls: list[Call] = []
        self.model.senders.add(0)
        self.now = 0
        self.events = 0
        self.next_item = 0
        self.wrong: list[str] = []

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            try:
                self.everybody_who_can_be_served_is()
            finally:
                self.loop.runner.close()

    # What the calls tell the model

    def check(self, right: bool, what: str) -> None:
        """Take note of what is wrong; it is raised by an invariant, since a task would keep it to itself."""
        if not right:
            self.wrong.append(f"{what}; {self.model}")

    def item(self) -> int:
        self.next_item += 1
        return self.next_item

    def begin(self, call: Call, expected: str) -> None:
        call.began, call.expected = self.now, expected
        self.events += 1

    async def slot(self, call: Call, get: Callable[[], Coroutine[Any, Any, T]], got: Callable[[T], None]) -> None:
        """Wait for a slot with ``send`` or ``reserve``."""
        model = self.model
        self.begin(call, model.sending(call.handle))
        model.line.append(call)
        try:
            result = await get()
        except ChannelClosed:
            self.check(model.sending(call.handle) == "closed", "C3: a sender was turned away from an open channel")
            model.line.remove(call)
        except asyncio.CancelledError:
            model.line.remove(call)
        else:
            before = model.line[: model.line.index(call)]
            model.line.remove(call)
            self.check(model.sending(call.handle) != "closed", "C3: a closed channel accepted a message")
            self.check(model.free() > 0, "C1: more than there is room for")
            if call.began == self.now:
                self.check(call.expected in ("now", "either"), f"C4: overtook those who wait, expected {call.expected}")
            else:
                self.check(call.expected in ("wait", "either"), f"C4: waited in vain, expected {call.expected}")
                self.check(all(c.dying or c.began == self.now for c in before), "C4: overtook one who came before")
            got(result)
        self.events += 1

    async def take(self, call: Call, get: Callable[[], Coroutine[Any, Any, list[int]]], limit: int) -> None:
        """Receive from 1 to ``limit`` messages; an empty list is the end of the loop."""
        model = self.model
        self.begin(call, model.receiving(call.handle))
        if call.expected == "wait":
            model.reading = call
        items: list[int] | None
        try:
            items = await get()
        except ChannelClosed:
            items = []
        except ChannelError:
            self.check(call.expected == "error", "a receiver was refused that should not have been")
            self.events += 1
            return
        except asyncio.CancelledError:
            items = None
        if model.reading is call:
            model.reading = None
        self.events += 1
        if items is None:
            return
        if call.handle not in (0, model.lease):
            self.check(not items, "a closed lease received")
        elif not items:
            self.check(model.ended(), "C3: the end came too early")
            model.end_seen = True
        else:
            self.check(call.expected != "error", "two received at the same time, or one through a lent handle")
            self.check((call.began == self.now) == (call.expected == "now"), "C4: the receiver waited in vain")
            due = model.queue[: min(limit, len(model.queue))]
            self.check(items == due, f"C1, C2: received {items} instead of {due}")
            del model.queue[: len(items)]

    # Calls that may wait

    def start(self, call: Call, coroutine: Coroutine[Any, Any, None]) -> None:
        call.task = self.loop.start(coroutine)
        self.calls.append(call)

    @rule(pick=picks, timed_out=st.booleans())
    def send(self, pick: int, timed_out: bool) -> None:
        number = pick % len(self.senders)
        call, item = Call(number), self.item()
        # A deadline that has passed already cancels in the iteration after the first.
        call.dying = timed_out

        async def get() -> None:
            if not timed_out:
                return await self.senders[number].send(item)
            try:
                async with asyncio.timeout(0):
                    return await self.senders[number].send(item)
            except TimeoutError:
                raise asyncio.CancelledError from None

        self.start(call, self.slot(call, get, lambda _: self.model.queue.append(item)))

    @rule(pick=picks)
    def reserve(self, pick: int) -> None:
        number = pick % len(self.senders)
        call = Call(number)

        def got(permit: Permit[int]) -> None:
            self.model.permits += 1
            self.permits.append((permit, True))

        self.start(call, self.slot(call, self.senders[number].reserve, got))

    @rule(pick=picks, limit=limits, how=st.sampled_from(["recv", "recv_many", "async for"]))
    def receive(self, pick: int, limit: int, how: str) -> None:
        number = self.receiver(pick)
        receiver = self.receivers[number]

        async def recv() -> list[int]:
            return [await receiver.recv()]

        async def iterate() -> list[int]:
            async for item in receiver:
                return [item]
            return []

        get = {"recv": recv, "recv_many": lambda: receiver.recv_many(limit), "async for": iterate}[how]
        call = Call(number)
        self.start(call, self.take(call, get, limit if how == "recv_many" else 1))

    @rule(pick=picks)
    def drained(self, pick: int) -> None:
        number = self.receiver(pick)

        async def wait() -> None:
            await self.receivers[number].drained()
            gone = self.receivers[number].closed
            self.check(self.model.end_seen or gone, "C3: drained before the end was seen")

        call = Call(number, expected="drained")
        self.start(call, wait())

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        if calls := [c for c in self.calls if c.task and not c.task.done()]:
            call = calls[pick % len(calls)]
            assert call.task is not None
            call.dying = True
            call.task.cancel()

    # Calls that do not wait

    @rule(pick=picks)
    def try_send(self, pick: int) -> None:
        number, item = pick % len(self.senders), self.item()
        expected = self.model.sending(number)
        try:
            self.senders[number].try_send(item)
        except ChannelClosed:
            assert expected == "closed"
        except ChannelFull:
            assert expected in ("wait", "either")
        else:
            assert expected in ("now", "either"), "C4: try_send overtook those who wait"
            self.model.queue.append(item)

    @precondition(lambda self: self.permits)
    @rule(pick=picks, use=st.booleans())
    def end_permit(self, pick: int, use: bool) -> None:
        number = pick % len(self.permits)
        permit, fresh = self.permits[number]
        self.permits[number] = (permit, False)
        if use and not fresh:
            with pytest.raises(ChannelError, match="before"):
                permit.send(0)
        elif use:
            item = self.item()
            permit.send(item)
            self.model.queue.append(item)
        else:
            permit.release()
        self.model.permits -= fresh

    @rule(pick=picks)
    def clone(self, pick: int) -> None:
        number = pick % len(self.senders)
        if number not in self.model.senders:
            with pytest.raises(ChannelClosed, match="this sender"):
                self.senders[number].clone()
        elif len(self.senders) < 5:
            self.model.senders.add(len(self.senders))
            self.senders.append(self.senders[number].clone())

    @rule(pick=picks)
    def close_sender(self, pick: int) -> None:
        number = pick % len(self.senders)
        self.senders[number].close()
        self.model.senders.discard(number)
        for call in self.model.line:
            call.dying |= call.handle == number

    @rule()
    def lend(self) -> None:
        model = self.model
        if model.closed or model.lease is not None or model.reading is not None:
            with pytest.raises(ChannelClosed if model.closed else ChannelError):
                self.receivers[0].lease()
        else:
            model.lease = len(self.receivers)
            self.receivers.append(self.receivers[0].lease())

    @precondition(lambda self: self.model.lease is not None)
    @rule()
    def close_lease(self) -> None:
        assert self.model.lease is not None
        self.receivers[self.model.lease].close()
        self.model.lease = None
        self.model.reading = None

    @precondition(lambda self: self.next_item > 8)
    @rule()
    def close_owner(self) -> None:
        model = self.model
        self.receivers[0].close()
        if model.lease is not None:
            model.reading = model.lease = None
        model.closed = True
        for call in model.line:
            call.dying = True

    def receiver(self, pick: int) -> int:
        """The one that may receive, as a rule; now and then any."""
        return (self.model.lease or 0) if pick < 8 else pick % len(self.receivers)

    # Time

    @rule(iterations=turns)
    def turn(self, iterations: int) -> None:
        for _ in range(iterations):
            self.now += 1
            self.loop.turn()

    @rule()
    def everybody_who_can_be_served_is(self) -> None:
        """C4: when the loop has nothing left to do, nobody waits for what is there."""
        idle = 0
        for _ in range(500):
            before = self.events
            self.turn(1)
            idle = idle + 1 if self.events == before else 0
            if idle == 6:
                break
        else:
            pytest.fail("the loop does not come to rest")
        model = self.model
        self.nothing_is_wrong()
        assert not any(call.dying for call in model.line), "C2: a cancelled or closed call did not come back"
        assert not model.line or not model.free(), "C4: a sender waits although there is room"
        assert model.reading is None or not (model.queue or model.ended()), "C4: the receiver waits for what is there"
        for call in self.calls:
            if call.expected == "drained" and (model.end_seen or self.receivers[call.handle].closed):
                assert call.task and call.task.done(), "C3: drained does not return"
        self.calls = [c for c in self.calls if c.task and not c.task.done()]

    # What holds after every step

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not self.wrong, self.wrong[0]
        for call in self.calls:
            if call.task and call.task.done() and not call.task.cancelled():
                assert call.task.exception() is None

    @invariant()
    def what_the_handles_say_is_so(self) -> None:
        model = self.model
        assert 0 <= len(model.queue) + model.permits <= model.capacity, "C1"
        for handle in (*self.senders, *self.receivers):
            assert len(handle) == len(model.queue)
            assert handle.capacity == model.capacity
        for number, sender in enumerate(self.senders):
            assert sender.closed == (number not in model.senders)
        assert self.receivers[0].closed == model.closed
        assert self.receivers[0].producers_gone == (not model.senders)
        for number, lease in enumerate(self.receivers[1:], 1):
            assert lease.closed == (number != model.lease)


def test_c1_c2_c3_c4_hold_after_every_step_of_any_schedule() -> None:
    """Whatever is called, cancelled and closed in whatever order, the channel does what the model says."""
    run_state_machine_as_test(Channels, settings=settings(max_examples=400, stateful_step_count=50, deadline=None))


# One property for each promise ----------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(capacities, st.lists(st.integers(0, 12), min_size=1, max_size=4), st.lists(limits, min_size=1, max_size=5))
def test_c1_bounded_and_in_the_order_of_each_sender(capacity: int, shares: list[int], batches: list[int]) -> None:
    """Many senders never fill a channel beyond its capacity, and each one's messages arrive in its own order."""
    sender: Sender[tuple[int, int]]
    receiver: Receiver[tuple[int, int]]
    sender, receiver = channel(capacity)

    async def produce(mine: Sender[tuple[int, int]], name: int, share: int) -> None:
        with mine:
            for number in range(share):
                await mine.send((name, number))
                assert len(mine) <= capacity

    async def main() -> list[tuple[int, int]]:
        with sender:
            tasks = [asyncio.create_task(produce(sender.clone(), i, n)) for i, n in enumerate(shares)]
        received: list[tuple[int, int]] = []
        try:
            while True:
                received += await receiver.recv_many(batches[len(received) % len(batches)])
                assert 0 <= len(receiver) <= capacity
        except ChannelClosed:
            await asyncio.gather(*tasks)
            return received

    with a_loop() as loop:
        received = loop.run(main())
    for name, share in enumerate(shares):
        assert [number for who, number in received if who == name] == list(range(share))


async def _attempt(coroutine: Coroutine[Any, Any, T], iterations: int, fate: str) -> T | None:
    """Run it as a task that is cut short after so many iterations, if it is its fate; None if it was."""

    async def timed() -> T:
        async with asyncio.timeout(None) as deadline:
            asyncio.get_running_loop().call_soon(deadline.reschedule, 0)
            return await coroutine

    task = asyncio.create_task(timed() if fate == "timed out" else coroutine)
    for _ in range(iterations):
        await asyncio.sleep(0)
    if fate == "cancelled":
        task.cancel()
    try:
        return await task
    except (asyncio.CancelledError, TimeoutError):
        return None


@settings(max_examples=150, deadline=None)
@given(capacities, st.lists(attempts, min_size=1, max_size=3), attempts, limits)
def test_c2_exactly_once_under_any_cancellation(
    capacity: int, producers: list[list[tuple[int, str]]], takes: list[tuple[int, str]], limit: int
) -> None:
    """What was accepted is what was received and what is left; a call that was cut short did neither."""
    sender, receiver = ends(capacity)
    accepted: Counter[int] = Counter()
    received: Counter[int] = Counter()

    async def produce(mine: Sender[int], base: int, schedule: list[tuple[int, str]]) -> None:
        with mine:
            for number, (iterations, fate) in enumerate(schedule, base):

                async def send(number: int = number) -> bool:
                    await mine.send(number)
                    accepted[number] += 1  # in the very step in which it was accepted
                    return True

                await _attempt(send(), iterations, fate)

    async def take(many: bool) -> bool:
        received.update(await receiver.recv_many(limit) if many else [await receiver.recv()])
        return True

    async def consume() -> None:
        for number, (iterations, fate) in enumerate([*takes, *[(0, "waits")] * 40]):
            try:
                await _attempt(take(bool(number % 2)), iterations, fate)
            except ChannelClosed:
                return

    async def main() -> None:
        with sender:
            clones = [sender.clone() for _ in producers]
        schedules = zip(clones, producers, strict=True)
        await asyncio.gather(consume(), *(produce(c, 100 * i, s) for i, (c, s) in enumerate(schedules)))

    with a_loop() as loop:
        loop.run(main())
    assert max(received.values(), default=1) == 1
    assert accepted == received
    assert len(receiver) == 0


@settings(max_examples=150, deadline=None)
@given(
    capacities,
    st.integers(1, 4),
    turns,
    turns,
    st.sampled_from(["senders", "receiver", "lease, then senders"]),
    st.booleans(),
)
def test_c3_whoever_closes_first_what_was_accepted_can_be_drained(
    capacity: int, producers: int, receive_after: int, close_after: int, who: str, permit: bool
) -> None:
    """However the closing falls among waiting calls, nothing hangs, nothing accepted is lost, and the end comes."""
    sender, receiver = ends(capacity)
    accepted: list[int] = []
    received: list[int] = []

    async def produce(mine: Sender[int], base: int) -> str:
        for number in range(base, base + 3):
            try:
                await mine.send(number)
            except ChannelClosed:
                return "closed"
            accepted.append(number)
        return "done"

    async def main() -> list[str]:
        held = await sender.reserve() if permit else None
        clones = [sender.clone() for _ in range(producers)]
        sending = [asyncio.create_task(produce(c, 10 * i)) for i, c in enumerate(clones)]
        for _ in range(receive_after):
            await asyncio.sleep(0)
        lease = receiver.lease()
        first = asyncio.create_task(lease.recv())
        for _ in range(close_after):
            await asyncio.sleep(0)
        lease.close()
        if who == "receiver":
            receiver.close()
        sender.close()
        for clone in clones if who != "receiver" else []:
            clone.close()
        drain = asyncio.create_task(receiver.drained())
        with suppress(ChannelClosed):
            received.append(await first)
        outcomes = await asyncio.gather(*sending)
        if held is not None:
            held.send(-1)
            accepted.append(-1)
        received.extend([item async for item in receiver])
        await drain
        with pytest.raises(ChannelClosed):
            await receiver.recv()
        return outcomes

    with a_loop() as loop:
        outcomes = loop.run(main())
    assert sorted(received) == sorted(accepted)
    assert outcomes.count("done") * 3 <= len(accepted)


@settings(max_examples=150, deadline=None)
@given(capacities, limits, st.lists(st.booleans(), min_size=1, max_size=8), st.booleans())
def test_c4_room_goes_to_those_who_wait_in_the_order_they_came(
    capacity: int, limit: int, cancelled: list[bool], early: bool
) -> None:
    """Those who wait are served first come first served, the cancelled hand on, and nobody slips in between."""
    sender, receiver = ends(capacity)
    accepted: list[int] = []

    async def send(number: int) -> None:
        await sender.send(number)
        accepted.append(number)

    async def main() -> None:
        for number in range(capacity):
            sender.try_send(-number)
        tasks = []
        for number in range(len(cancelled)):
            tasks.append(asyncio.create_task(send(number)))
            await asyncio.sleep(0)
        left = [number for number, gone in enumerate(cancelled) if not gone]
        cut = [task for task, gone in zip(tasks, cancelled, strict=True) if gone]
        if early:  # else in the iteration in which some of them were granted a slot
            for task in cut:
                task.cancel()
        for _ in range(capacity):
            await receiver.recv()
        if len(left) >= capacity:
            with pytest.raises(ChannelFull):
                sender.try_send(99)
        for task in cut:
            task.cancel()
        while len(accepted) < len(left):
            before = len(accepted)
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(accepted) > before, "there is room, and they wait"
            await receiver.recv_many(limit)
        assert accepted == left

    with a_loop() as loop:
        loop.run(main())
