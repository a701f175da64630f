"""The numbers of a channel are what happened in it, whatever was sent, received, cancelled and closed."""

from __future__ import annotations

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from fsm_plugins import ChannelError, Receiver, Sender, channel
from fsm_plugins.testing import run

ACTIONS = st.lists(
    st.sampled_from(["try", "send", "cancel", "permit", "release", "recv", "many", "wait", "clone", "lease", "turn"]),
    max_size=60,
)


@given(capacity=st.integers(1, 4), actions=ACTIONS)
@example(capacity=2, actions=["try", "recv", "wait"])
@example(capacity=1, actions=["try", "send", "recv", "permit", "turn", "recv"])
def test_what_was_accepted_and_what_waited_is_counted(capacity: int, actions: list[str]) -> None:
    """Every message that is in the channel or was received, each once; and each send that found no room."""

    async def main() -> None:
        sender: Sender[int]
        owner: Receiver[int]
        sender, owner = channel(capacity)
        receiver = owner
        received: list[int] = []
        waiting: list[asyncio.Task[None]] = []
        readers: list[asyncio.Task[None]] = []
        had_to_wait = 0

        async def read() -> None:
            received.append(await receiver.recv())

        for number, action in enumerate(actions):
            readers = [reader for reader in readers if not reader.done()]
            try:
                if action == "try":
                    sender.try_send(number)
                elif action == "send":
                    task = asyncio.create_task(sender.send(number))
                    await asyncio.sleep(0)
                    had_to_wait += not task.done()
                    waiting.append(task)
                elif action == "cancel" and waiting:
                    waiting[-1].cancel()
                elif action in ("permit", "release") and len(owner) < capacity and all(w.done() for w in waiting):
                    async with asyncio.timeout(1):
                        permit = await sender.reserve()
                    permit.send(number) if action == "permit" else permit.release()
                elif action == "recv" and len(owner):
                    received.append(await receiver.recv())
                elif action == "many" and len(owner):
                    received += await receiver.recv_many(2)
                elif action == "wait" and not readers:
                    readers.append(asyncio.create_task(read()))
                    await asyncio.sleep(0)
                elif action == "clone":
                    old, sender = sender, sender.clone()
                    if all(task.done() for task in waiting):
                        old.close()
                elif action == "lease" and not readers:
                    if receiver is owner:
                        receiver = owner.lease()
                    else:
                        receiver.close()
                        receiver = owner
                elif action == "turn":
                    await asyncio.sleep(0)
            except (ChannelError, TimeoutError):
                pass
            assert sender.waits == had_to_wait
        for reader in readers:
            reader.cancel()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, *readers, return_exceptions=True)
        assert owner.accepted == sender.accepted == len(received) + len(owner)

    run(main)
