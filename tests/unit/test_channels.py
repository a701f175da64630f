"""What each operation of a channel does, one example at a time.

No test waits for real time: the loop gets a bounded number of iterations, so what would hang fails.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from fsm_plugins.channels import Receiver, Sender, channel
from fsm_plugins.errors import ChannelClosed, ChannelError, ChannelFull

T = TypeVar("T")
Act = Callable[[Sender[int], Receiver[int]], object]


def run(main: Coroutine[Any, Any, T], iterations: int = 500) -> T:
    """Run to the end of ``main``, which has to come within so many iterations of the loop."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        for _ in range(iterations):
            loop.call_soon(loop.stop)
            loop.run_forever()
            if task.done():
                return task.result()
        pytest.fail(f"still waiting after {iterations} iterations of the loop: {task}")


async def steps(count: int = 3) -> None:
    """Let everybody else run."""
    for _ in range(count):
        await asyncio.sleep(0)


def ends(capacity: int, *queued: int) -> tuple[Sender[int], Receiver[int]]:
    """Return the ends of a channel of numbers, made without a loop, with some numbers in it."""
    sender: Sender[int]
    receiver: Receiver[int]
    sender, receiver = channel(capacity)
    for number in queued:
        sender.try_send(number)
    return sender, receiver


def spawn(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    return asyncio.get_running_loop().create_task(coroutine)


async def outcome(task: asyncio.Task[T]) -> T | type[BaseException]:
    """Return what the task returned, or the class of what it raised."""
    try:
        return await task
    except BaseException as error:
        return type(error)


# Making one -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [True, 1.0, "4", None])
def test_capacity_is_an_integer(capacity: object) -> None:
    """Anything but an integer is refused by name, also a bool."""
    with pytest.raises(TypeError, match="capacity must be an integer, got"):
        channel(capacity)  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [0, -3])
def test_capacity_is_at_least_one(capacity: int) -> None:
    """A channel that can hold nothing is refused."""
    with pytest.raises(ValueError, match=f"capacity must be at least 1, got {capacity}"):
        channel(capacity)


def test_large_capacities_cost_nothing() -> None:
    """Only messages take memory, not the room for them."""
    sender, receiver = ends(2**70, 1)
    assert (len(sender), receiver.capacity) == (1, 2**70)


def test_handles_say_what_they_are() -> None:
    """The repr has the state and the filling; an end is true also when the channel is empty."""
    sender, receiver = ends(4, 1)
    assert repr(sender) == "<Sender open, 1 of 4 messages>"
    receiver.close()
    assert repr(receiver) == "<Receiver closed, 1 of 4 messages>"
    empty, _ = ends(4)
    assert empty and len(empty) == 0


def test_nothing_is_kept_alive() -> None:
    """A channel that nobody has goes away with its messages, without the help of the cycle collector."""

    class Message:
        pass

    message = Message()
    gone = weakref.ref(message)
    sender: Sender[Message]
    receiver: Receiver[Message]
    sender, receiver = channel(4)
    gc.disable()
    try:
        sender.try_send(message)
        del message, sender, receiver
        assert gone() is None
    finally:
        gc.enable()


# Sending and receiving ------------------------------------------------------------------------------------------------


def test_messages_arrive_in_order() -> None:
    """What was sent first is received first."""

    async def main() -> list[int]:
        sender, receiver = ends(3, 1)
        await sender.send(2)
        await sender.send(3)
        return [await receiver.recv() for _ in range(3)]

    assert run(main()) == [1, 2, 3]


def test_try_send_says_that_it_is_full() -> None:
    """A full channel takes no more, and says how many it holds."""
    sender, _ = ends(2, 1, 2)
    with pytest.raises(ChannelFull, match="it holds 2 messages"):
        sender.try_send(3)
    assert len(sender) == 2


def test_send_waits_for_room() -> None:
    """A send to a full channel waits until a message is taken."""

    async def main() -> None:
        sender, receiver = ends(1, 1)
        sending = spawn(sender.send(2))
        await steps()
        assert not sending.done()
        assert await receiver.recv() == 1
        await sending
        assert await receiver.recv() == 2

    run(main())


@pytest.mark.parametrize(("limit", "expected"), [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])])
def test_recv_many_takes_what_is_there(limit: int, expected: list[int]) -> None:
    """It takes up to the limit, leaves the rest in order, and does not wait for more."""

    async def main() -> None:
        _, receiver = ends(4, 0, 1, 2, 3)
        assert await receiver.recv_many(limit) == expected
        assert len(receiver) == 4 - len(expected)
        if len(receiver):
            assert await receiver.recv_many(9) == list(range(len(expected), 4))

    run(main())


def test_recv_many_waits_for_the_first() -> None:
    """On an empty channel it waits for one message, and takes what came with it."""

    async def main() -> list[int]:
        sender, receiver = ends(4)
        receiving = spawn(receiver.recv_many(4))
        await steps()
        sender.try_send(1)
        sender.try_send(2)
        return await receiving

    assert run(main()) == [1, 2]


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (2.5, TypeError)])
def test_recv_many_wants_a_limit(limit: int, error: type[Exception]) -> None:
    """A limit that would return nothing, or is no integer, is refused, and nothing is taken."""
    _, receiver = ends(1, 1)
    with pytest.raises(error, match="limit must be"):
        run(receiver.recv_many(limit))
    assert len(receiver) == 1


def test_recv_many_makes_room_for_all() -> None:
    """A batch wakes as many waiting senders as there are slots."""

    async def main() -> None:
        sender, receiver = ends(3, 1, 2, 3)
        sending = [spawn(sender.send(n)) for n in (4, 5, 6, 7)]
        await steps()
        assert await receiver.recv_many(3) == [1, 2, 3]
        with pytest.raises(ChannelFull):
            sender.try_send(8)  # each of the slots is promised
        await steps()
        assert [task.done() for task in sending] == [True, True, True, False]
        assert await receiver.recv_many(9) == [4, 5, 6]
        assert await receiver.recv_many(9) == [7]

    run(main())


def test_a_second_consumer_is_refused() -> None:
    """While one task waits for a message a second one gets an error; the first does not notice."""

    async def main() -> None:
        sender, receiver = ends(2)
        first = spawn(receiver.recv())
        await steps()
        for second in (receiver.recv(), receiver.recv_many(1), anext(receiver)):
            with pytest.raises(ChannelError, match="another task is receiving"):
                await second
        sender.try_send(1)
        sender.try_send(2)
        sender.clone().close()
        with pytest.raises(ChannelError, match="another task is receiving"):
            await receiver.recv()  # the message is promised to the first, though it did not run yet
        assert await first == 1
        assert await receiver.recv() == 2

    run(main())


def test_one_channel_serves_one_loop_after_another() -> None:
    """Nothing in a channel is tied to the loop in which it was used before."""
    sender, receiver = ends(1)
    for number in range(3):

        async def main(number: int = number) -> int:
            receiving = spawn(receiver.recv())
            await steps()
            await sender.send(number)
            return await receiving

        assert run(main()) == number


# Fairness -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["recv", "async for"])
def test_senders_are_served_in_the_order_they_came(how: str) -> None:
    """Of those who wait the first is served first."""

    async def main() -> list[int]:
        sender, receiver = ends(2, 0, 1)
        for number in range(2, 6):
            spawn(sender.clone().send(number))
        await steps()
        return [await (receiver.recv() if how == "recv" else anext(receiver)) for _ in range(6)]

    assert run(main()) == [0, 1, 2, 3, 4, 5]


def test_nobody_overtakes_those_who_wait() -> None:
    """A slot that came free belongs to who waits for it, though that task has not run yet."""

    async def main() -> None:
        sender, receiver = ends(1, 0)
        waiting = spawn(sender.send(1))
        await steps()
        await receiver.recv()
        with pytest.raises(ChannelFull):
            sender.try_send(2)
        late = spawn(sender.send(2))
        await steps()
        assert waiting.done() and not late.done()
        assert [await receiver.recv(), await receiver.recv()] == [1, 2]

    run(main())


# Permits --------------------------------------------------------------------------------------------------------------


def test_a_permit_holds_a_slot() -> None:
    """A slot that is reserved is not there for others; the message takes it later."""

    async def main() -> None:
        sender, receiver = ends(2, 1)
        permit = await sender.reserve()
        with pytest.raises(ChannelFull):
            sender.try_send(2)
        assert len(sender) == 1
        permit.send(2)
        assert await receiver.recv_many(2) == [1, 2]

    run(main())


def test_a_permit_is_good_for_one_message() -> None:
    """Once used or released it sends nothing any more; to release it again does nothing."""

    async def main() -> None:
        sender, receiver = ends(1)
        with await sender.reserve() as used:
            used.send(1)
        assert await receiver.recv() == 1
        with await sender.reserve() as released:
            pass
        for permit in (used, released):
            permit.release()
            with pytest.raises(ChannelError, match="used or released before"):
                permit.send(2)
        sender.try_send(2)
        with pytest.raises(ChannelFull):
            sender.try_send(3)

    run(main())


def test_a_released_slot_goes_to_who_waits() -> None:
    """Releasing a permit wakes the next in line, and it wakes the receiver if nothing can come any more."""

    async def main() -> None:
        sender, receiver = ends(1)
        permit = await sender.reserve()
        reserving = spawn(sender.reserve())
        await steps()
        permit.release()
        second = await reserving
        receiving = spawn(receiver.recv())
        sender.close()
        await steps()
        assert not receiving.done()
        second.release()
        assert await outcome(receiving) is ChannelClosed

    run(main())


@pytest.mark.parametrize("close", [lambda s, r: s.close(), lambda s, r: r.close()], ids=["sender", "receiver"])
def test_a_permit_outlives_the_closing(close: Act) -> None:
    """What is sent with a permit from before the closing is received, and only then comes the end."""

    async def main() -> None:
        sender, receiver = ends(2, 1)
        permit = await sender.reserve()
        close(sender, receiver)
        assert await receiver.recv() == 1
        receiving = spawn(receiver.recv())
        await steps()
        assert not receiving.done()
        permit.send(2)
        assert await receiving == 2
        assert await outcome(spawn(receiver.recv())) is ChannelClosed

    run(main())


# Closing --------------------------------------------------------------------------------------------------------------


def test_when_every_sender_is_closed_the_receiver_drains_and_ends() -> None:
    """What is queued is received; then `recv` and `recv_many` raise, and ``async for`` ends, each time."""

    async def main() -> None:
        sender, receiver = ends(4, 1, 2, 3)
        sender.close()
        assert receiver.producers_gone
        assert await receiver.recv() == 1
        assert [n async for n in receiver] == [2, 3]
        assert [n async for n in receiver] == []
        for again in (receiver.recv(), receiver.recv_many(2)):
            with pytest.raises(ChannelClosed, match="every sender was closed, and every message has been received"):
                await again

    run(main())


def test_clones_are_closed_one_by_one() -> None:
    """The end comes with the last sender; to close one twice counts once."""

    async def main() -> None:
        sender, receiver = ends(2)
        receiving = spawn(receiver.recv())
        with sender.clone() as clone:
            sender.close()
            sender.close()
            await steps()
            assert (sender.closed, clone.closed, receiver.producers_gone) == (True, False, False)
            assert not receiving.done()
        assert receiver.producers_gone
        assert await outcome(receiving) is ChannelClosed

    run(main())


def test_a_closed_sender_says_that_it_is_closed() -> None:
    """The error tells that it is this handle that was closed, not the other end; a clone goes on."""

    async def main() -> None:
        sender, _ = ends(2)
        clone = sender.clone()
        sender.close()
        for waits in (sender.send(1), sender.reserve()):
            with pytest.raises(ChannelClosed, match="this sender was closed"):
                await waits
        with pytest.raises(ChannelClosed, match="this sender was closed"):
            sender.try_send(1)
        with pytest.raises(ChannelClosed, match="this sender was closed"):
            sender.clone()
        clone.try_send(1)

    run(main())


def test_a_closed_receiver_refuses_all_senders() -> None:
    """No message is accepted any more; what is queued can be received, and counted."""

    async def main() -> None:
        sender, receiver = ends(3, 1, 2)
        receiver.close()
        receiver.close()
        for use in (sender.send(3), sender.reserve()):
            with pytest.raises(ChannelClosed, match="the receiver was closed"):
                await use
        with pytest.raises(ChannelClosed, match="the receiver was closed"):
            sender.try_send(3)
        assert len(sender) == len(receiver) == 2
        assert [n async for n in receiver] == [1, 2]
        with pytest.raises(ChannelClosed, match="this receiver was closed, and nothing is left"):
            await receiver.recv()
        with pytest.raises(ChannelClosed):
            sender.try_send(3)

    run(main())


@pytest.mark.parametrize("granted", [False, True], ids=["waiting", "granted in the same iteration"])
@pytest.mark.parametrize("call", ["send", "reserve"])
@pytest.mark.parametrize("who", ["this sender", "the receiver"])
def test_closing_wakes_the_senders_that_wait(who: str, call: str, granted: bool) -> None:
    """They get `ChannelClosed`, which says who was closed; a slot one was granted is not lost."""

    async def main() -> None:
        sender, receiver = ends(1, 0)
        other = sender.clone()
        waiting: asyncio.Task[object] = spawn(sender.send(1) if call == "send" else sender.reserve())
        await steps()
        behind = spawn(other.send(2))
        await steps()
        if granted:
            await receiver.recv()
        (sender if who == "this sender" else receiver).close()
        with pytest.raises(ChannelClosed, match=f"{who} was closed"):
            await waiting
        if who == "the receiver":
            assert await outcome(behind) is ChannelClosed
        else:
            if not granted:
                await steps()
                assert not behind.done()
                assert await receiver.recv() == 0
            await behind
            assert await receiver.recv() == 2

    run(main())


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda s, r: s.close(), ChannelClosed),
        (lambda s, r: r.close(), ChannelClosed),
        (lambda s, r: (s.try_send(1), s.close()), 1),
        (lambda s, r: (s.try_send(1), r.close()), 1),
        (lambda s, r: (s.clone().close(), s.try_send(1)), 1),
    ],
    ids=["last sender", "receiver", "message then sender", "message then receiver", "one of two senders"],
)
def test_closing_while_the_receiver_waits(act: Act, expected: object) -> None:
    """The receiver that waits is woken, and gets a message that came before the closing."""

    async def main() -> None:
        sender, receiver = ends(1)
        receiving = spawn(receiver.recv())
        await steps()
        act(sender, receiver)
        assert await outcome(receiving) == expected

    run(main())


# Cancellation ---------------------------------------------------------------------------------------------------------


def test_a_cancelled_send_was_not_accepted() -> None:
    """The message of a send that was cancelled while it waited never arrives, and its place in line is gone."""

    async def main() -> None:
        sender, receiver = ends(1, 0)
        cut, waits = spawn(sender.send(1)), spawn(sender.send(2))
        await steps()
        cut.cancel()
        assert await outcome(cut) is asyncio.CancelledError
        assert await receiver.recv_many(5) == [0]
        await waits
        assert await receiver.recv_many(5) == [2]

    run(main())


@pytest.mark.parametrize("grant_first", [True, False], ids=["grant, cancel", "cancel, grant"])
@pytest.mark.parametrize("call", ["send", "reserve"])
def test_a_slot_granted_to_a_cancelled_sender_is_handed_on(call: str, grant_first: bool) -> None:
    """Cancelled and granted in the same iteration, in either order: the next in line gets the slot."""

    async def main() -> None:
        sender, receiver = ends(1, 0)
        cut: asyncio.Task[object] = spawn(sender.send(1) if call == "send" else sender.reserve())
        await steps()
        waits = spawn(sender.send(2))
        await steps()
        if grant_first:
            await receiver.recv()
            cut.cancel()
        else:
            cut.cancel()
            await receiver.recv()
        assert await outcome(cut) is asyncio.CancelledError
        await waits
        assert await receiver.recv() == 2
        sender.try_send(3)

    run(main())


def test_a_cancelled_send_leaves_nothing_behind() -> None:
    """Senders that give up time and again on a channel that stays full do not pile up in it."""

    async def main() -> None:
        sender, _ = ends(1, 0)
        clone = sender.clone()
        gone = weakref.ref(clone)
        cut = spawn(clone.send(1))
        await steps()
        cut.cancel()
        await outcome(cut)
        del clone, cut
        await steps()  # the loop lets go of the task
        gc.collect()
        assert gone() is None

    run(main())


def test_a_slot_granted_to_a_cancelled_sender_is_free_again() -> None:
    """With nobody behind it in line the slot is free."""

    async def main() -> None:
        sender, receiver = ends(1, 0)
        cut = spawn(sender.send(1))
        await steps()
        await receiver.recv()
        cut.cancel()
        await outcome(cut)
        sender.try_send(2)
        assert await receiver.recv_many(5) == [2]

    run(main())


@pytest.mark.parametrize("sent_first", [True, False], ids=["message, cancel", "cancel, message"])
@pytest.mark.parametrize("many", [False, True], ids=["recv", "recv_many"])
def test_a_cancelled_receive_takes_nothing(many: bool, sent_first: bool) -> None:
    """Cancelled in the iteration in which messages came, in either order: they are there for the next receive."""

    async def main() -> None:
        sender, receiver = ends(4)
        cut: asyncio.Task[object] = spawn(receiver.recv_many(4) if many else receiver.recv())
        await steps()
        if not sent_first:
            cut.cancel()
        sender.try_send(1)
        sender.try_send(2)
        cut.cancel()
        assert await outcome(cut) is asyncio.CancelledError
        assert await receiver.recv_many(4) == [1, 2]

    run(main())


def test_a_cancelled_receive_leaves_the_channel_as_it_was() -> None:
    """After it sends go on without a receiver, and another receive is woken by them."""

    async def main() -> None:
        sender, receiver = ends(2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await receiver.recv()
        sender.try_send(1)
        assert await receiver.recv() == 1
        receiving = spawn(receiver.recv())
        await steps()
        await sender.send(2)
        assert await receiving == 2

    run(main())


def test_timeouts_that_do_not_pass_change_nothing() -> None:
    """Every call can stand in a timeout, and one that passes leaves no trace."""

    async def main() -> list[int]:
        sender, receiver = ends(1)
        for number in range(3):
            async with asyncio.timeout(60):
                await sender.send(number)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await sender.send(99)
            async with asyncio.timeout(60):
                assert await receiver.recv() == number
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await receiver.recv_many(3)
        sender.close()
        return [n async for n in receiver]

    assert run(main()) == []


# Leases ---------------------------------------------------------------------------------------------------------------


def test_a_lease_receives_and_its_end_changes_nothing_else() -> None:
    """What is queued stays when a lease is closed, senders go on, and the next lease goes on from there."""

    async def main() -> None:
        sender, owner = ends(4, 1, 2)
        with owner.lease() as first:
            assert await first.recv() == 1
        assert first.closed and not owner.closed
        sender.try_send(3)
        with pytest.raises(ChannelClosed, match="this receiver was closed"):
            await first.recv()
        assert len(first) == len(owner) == 2
        second = owner.lease()
        sender.close()
        assert [n async for n in second] == [2, 3]
        second.close()
        second.close()
        assert [n async for n in owner] == []

    run(main())


def test_an_end_is_lent_once_at_a_time() -> None:
    """While it is lent the owner cannot receive nor lend it again, and a lease cannot be lent on."""

    async def main() -> None:
        sender, owner = ends(2, 1)
        lease = owner.lease()
        with pytest.raises(ChannelError, match="this receiving end is lent"):
            await owner.recv()
        with pytest.raises(ChannelError, match="this receiving end is lent"):
            await owner.recv_many(2)
        with pytest.raises(ChannelError, match="this receiving end is lent"):
            owner.lease()
        with pytest.raises(ChannelError, match="cannot be lent on"):
            lease.lease()
        lease.close()
        assert await owner.recv() == 1
        receiving = spawn(owner.recv())
        await steps()
        with pytest.raises(ChannelError, match="another task is receiving"):
            owner.lease()
        sender.try_send(2)
        assert await receiving == 2

    run(main())


@pytest.mark.parametrize("how", ["recv", "recv_many", "async for"])
@pytest.mark.parametrize("message", [False, True], ids=["empty", "message in the same iteration"])
def test_closing_a_lease_wakes_who_receives_on_it(how: str, message: bool) -> None:
    """The receive ends with `ChannelClosed` and has taken nothing; the next lease can receive at once."""

    async def main() -> None:
        sender, owner = ends(2)
        lease = owner.lease()
        call = {"recv": lease.recv, "recv_many": lambda: lease.recv_many(2), "async for": lease.__anext__}[how]
        receiving = asyncio.ensure_future(call())
        await steps()
        if message:
            sender.try_send(1)

        async def follow() -> int:
            return await owner.lease().recv()

        following = spawn(follow())  # it runs before the receive that is woken by the closing
        lease.close()
        await steps(1)
        with pytest.raises(ChannelClosed, match="this receiver was closed"):
            await receiving
        if not message:
            assert not following.done()
            await sender.send(1)
        assert await following == 1

    run(main())


def test_closing_the_owner_closes_the_lease() -> None:
    """The lease ends, senders are refused, and the owner can still receive what was left."""

    async def main() -> None:
        sender, owner = ends(2)
        lease = owner.lease()
        receiving = spawn(lease.recv())
        await steps()
        sender.try_send(1)
        owner.close()
        assert await outcome(receiving) is ChannelClosed
        assert lease.closed
        with pytest.raises(ChannelClosed):
            sender.try_send(2)
        with pytest.raises(ChannelClosed):
            owner.lease()
        assert await owner.recv_many(2) == [1]

    run(main())


# Drained --------------------------------------------------------------------------------------------------------------


def test_drained_waits_until_the_reader_came_back_for_more() -> None:
    """An empty channel without senders is not drained while the last message is still being processed."""

    async def main() -> None:
        sender, owner = ends(2, 1)
        lease = owner.lease()
        processed = asyncio.Event()

        async def work() -> None:
            async for _ in lease:
                await processed.wait()

        working, drained = spawn(work()), [spawn(owner.drained()), spawn(lease.drained())]
        await steps()
        sender.close()
        await steps()
        assert len(owner) == 0 and owner.producers_gone
        assert not any(task.done() for task in drained)
        processed.set()
        await asyncio.gather(working, *drained)
        await owner.drained()

    run(main())


@pytest.mark.parametrize("how", ["recv", "recv_many", "async for"])
def test_drained_is_met_by_every_way_to_receive(how: str) -> None:
    """`recv`, `recv_many` and ``async for`` all count as coming back for more."""

    async def main() -> None:
        sender, receiver = ends(2)
        sender.close()
        drained = spawn(receiver.drained())
        await steps()
        assert not drained.done()
        calls = {
            "recv": receiver.recv,
            "recv_many": lambda: receiver.recv_many(2),
            "async for": receiver.__anext__,
        }
        with pytest.raises((ChannelClosed, StopAsyncIteration)):
            await calls[how]()
        await drained

    run(main())


def test_drained_returns_when_its_handle_is_closed() -> None:
    """A lease that is closed is done, its owner is not; the owner is when it is closed."""

    async def main() -> None:
        sender, owner = ends(2, 1)
        lease = owner.lease()
        of_owner, of_lease, cut = spawn(owner.drained()), spawn(lease.drained()), spawn(owner.drained())
        await steps()
        cut.cancel()
        lease.close()
        await of_lease
        await steps()
        assert cut.cancelled() and not of_owner.done()
        owner.close()
        await of_owner
        assert (len(owner), sender.closed) == (1, False)

    run(main())
