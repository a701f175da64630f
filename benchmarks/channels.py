"""How fast the channels are, as a ratio to `asyncio.Queue` on the same machine in the same minute.

Run ``python benchmarks/channels.py``. Every scenario moves the same messages through every contender, the contenders
take turns, and what counts is the median of the repeats. Messages per second depend on the machine, ratios hardly do.

A queue has no end, so its producers put a sentinel for the consumer to look for; a channel is closed and drained.
Contenders other than the standard library take part if they happen to be installed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from fsm_plugins.channels import Receiver, Sender, channel
from fsm_plugins.errors import ChannelClosed

Run = Callable[[int], Awaitable[int]]
"""Moves that many messages, and returns how many arrived."""

STOP = object()
BASELINE = "asyncio.Queue"
# recv_many is held to its target where it takes the whole queue at once. With a limit of 64 it comes to about 3.8,
# because each message of a batch then leaves the deque one by one; that figure is printed, and not judged.
TARGETS = {"1:1, capacity 1024": {"recv": 2.5, "async for": 2.5, "recv_many(1024)": 4.0}}


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


async def _by_batch(receiver: Receiver[int], limit: int) -> int:
    count = 0
    try:
        while True:
            for _ in await receiver.recv_many(limit):
                count += 1
    except ChannelClosed:
        return count


def ours(consume: Callable[[Receiver[int]], Awaitable[int]], *, capacity: int, producers: int = 1) -> Run:
    """Return a run over one of our channels, which ends when every sender is closed and all is drained."""

    async def produce(sender: Sender[int], messages: int) -> None:
        with sender:
            for i in range(messages):
                await sender.send(i)

    async def run(messages: int) -> int:
        sender: Sender[int]
        receiver: Receiver[int]
        sender, receiver = channel(capacity)
        with sender:
            tasks = [asyncio.create_task(produce(sender.clone(), messages // producers)) for _ in range(producers)]
        count = await consume(receiver)
        await asyncio.gather(*tasks)
        return count

    return run


# The others -----------------------------------------------------------------------------------------------------------


def queue(make: Callable[[int], Any], *, capacity: int, producers: int = 1) -> Run:
    """Return a run over anything with the interface of `asyncio.Queue`."""

    async def produce(ends: Any, messages: int) -> None:
        for i in range(messages):
            await ends.put(i)
        await ends.put(STOP)

    async def consume(ends: Any) -> int:
        count, left = 0, producers
        while left:
            if await ends.get() is STOP:
                left -= 1
            else:
                count += 1
        return count

    async def run(messages: int) -> int:
        ends = make(capacity)
        tasks = [asyncio.create_task(produce(ends, messages // producers)) for _ in range(producers)]
        count = await consume(ends)
        await asyncio.gather(*tasks)
        return count

    return run


def anyio_stream(anyio: Any, *, capacity: int, producers: int = 1) -> Run:
    """Return a run over a pair of anyio memory object streams."""

    async def produce(stream: Any, messages: int) -> None:
        async with stream:
            for i in range(messages):
                await stream.send(i)

    async def run(messages: int) -> int:
        sender, receiver = anyio.create_memory_object_stream(capacity)
        async with sender:
            tasks = [asyncio.create_task(produce(sender.clone(), messages // producers)) for _ in range(producers)]
        count = 0
        async with receiver:
            async for _ in receiver:
                count += 1
        await asyncio.gather(*tasks)
        return count

    return run


def aiochannel_channel(aiochannel: Any, *, capacity: int, producers: int = 1) -> Run:
    """Return a run over an aiochannel channel."""

    async def produce(pipe: Any, messages: int) -> None:
        for i in range(messages):
            await pipe.put(i)

    async def run(messages: int) -> int:
        pipe = aiochannel.Channel(capacity)
        tasks = [asyncio.create_task(produce(pipe, messages // producers)) for _ in range(producers)]
        closing = asyncio.gather(*tasks)
        closing.add_done_callback(lambda _: pipe.close())
        count = 0
        async for _ in pipe:
            count += 1
        return count

    return run


def _importable(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def contenders(capacity: int, producers: int = 1) -> dict[str, Run]:
    """Return every run for one shape of traffic, the baseline first."""
    runs: dict[str, Run] = {
        BASELINE: queue(asyncio.Queue, capacity=capacity, producers=producers),
        "recv": ours(_by_recv, capacity=capacity, producers=producers),
        "async for": ours(_by_iteration, capacity=capacity, producers=producers),
        "recv_many(64)": ours(lambda r: _by_batch(r, 64), capacity=capacity, producers=producers),
        "recv_many(1024)": ours(lambda r: _by_batch(r, 1024), capacity=capacity, producers=producers),
    }
    if anyio := _importable("anyio"):
        runs["anyio"] = anyio_stream(anyio, capacity=capacity, producers=producers)
    if aiochannel := _importable("aiochannel"):
        runs["aiochannel"] = aiochannel_channel(aiochannel, capacity=capacity, producers=producers)
    if janus := _importable("janus"):
        runs["janus"] = queue(lambda n: janus.Queue(n).async_q, capacity=capacity, producers=producers)
    if culsans := _importable("culsans"):
        runs["culsans"] = queue(lambda n: culsans.Queue(n).async_q, capacity=capacity, producers=producers)
    return runs


# Measuring ------------------------------------------------------------------------------------------------------------


def measure(runs: dict[str, Run], *, messages: int, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Return (CPU seconds, wall seconds) of each repeat of each run. The runs take turns, to meet the same noise."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for repeat in range(-1, repeats):  # one round to warm up
        for name, run in runs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            arrived = asyncio.run(_completed(run(messages)))
            if arrived != messages:
                raise SystemExit(f"{name}: {arrived} of {messages} messages arrived")
            if repeat >= 0:
                seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return seconds


async def _completed(run: Awaitable[int]) -> int:
    return await run


def report(title: str, seconds: dict[str, list[tuple[float, float]]], messages: int) -> bool:
    """Print one table, and return whether the targets that belong to it are met."""
    print(f"\n{title}  ({messages} messages, {len(seconds[BASELINE])} repeats)")
    print(f"  {'':18}{'messages/s (min .. max)':>34}{'CPU ratio':>12}{'wall ratio':>12}")
    base_cpu, base_wall = (statistics.median(column) for column in zip(*seconds[BASELINE], strict=True))
    met = True
    for name, repeats in seconds.items():
        cpu, wall = zip(*repeats, strict=True)
        rate = f"{messages / statistics.median(wall):,.0f} ({messages / max(wall):,.0f} .. {messages / min(wall):,.0f})"
        ratio = base_cpu / statistics.median(cpu)
        line = f"  {name:18}{rate:>34}{ratio:>11.2f}x{base_wall / statistics.median(wall):>11.2f}x"
        if target := TARGETS.get(title, {}).get(name):
            met &= ratio >= target
            line += f"   {'PASS' if ratio >= target else f'short by {target - ratio:.2f}x'} (target {target}x)"
        print(line)
    return met


async def under_cancellation(messages: int, seed: int) -> tuple[int, int, int]:
    """Send and receive while both sides are cancelled and timed out at random.

    Returns:
        how many operations were cut short, and how many messages were lost and duplicated.
    """
    rng = random.Random(seed)
    sender: Sender[int]
    receiver: Receiver[int]
    sender, receiver = channel(4)
    accepted: list[int] = []
    received: list[int] = []
    cut_short = 0

    async def produce(mine: Sender[int], numbers: range) -> None:
        nonlocal cut_short
        with mine:
            for number in numbers:
                try:
                    async with asyncio.timeout(rng.choice([0, 0, 0.00002, None])):
                        await mine.send(number)
                        accepted.append(number)
                        await asyncio.sleep(0)
                except TimeoutError:
                    cut_short += 1

    async def take() -> None:
        received.extend(await receiver.recv_many(3) if rng.random() < 0.5 else [await receiver.recv()])

    async def consume() -> None:
        nonlocal cut_short
        while True:
            task = asyncio.create_task(take())
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            if rng.random() < 0.5:
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cut_short += 1
            except ChannelClosed:
                return

    with sender:
        clones = [sender.clone() for _ in range(4)]
    share = messages // len(clones)
    async with asyncio.timeout(60):
        producers = (produce(c, range(i * share, (i + 1) * share)) for i, c in enumerate(clones))
        await asyncio.gather(consume(), *producers)
    lost = Counter(accepted) - Counter(received)
    duplicated = Counter(received) - Counter(accepted)
    return cut_short, lost.total(), duplicated.total()


def main() -> int:
    """Run every scenario, and return 0 if all targets are met and nothing was lost."""
    parser = argparse.ArgumentParser(description="Compare the channels with asyncio.Queue.")
    parser.add_argument("--messages", type=int, default=100_000, help="messages in each repeat (default: 100000)")
    parser.add_argument("--repeats", type=int, default=7, help="repeats of each measurement (default: 7)")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}; ratios are to {BASELINE}, more is faster")

    met = True
    for title, capacity, producers, messages in [
        ("1:1, capacity 1024", 1024, 1, options.messages),
        ("1:1, capacity 1 (ping-pong)", 1, 1, options.messages // 5),
        ("4:1, capacity 64", 64, 4, options.messages),
    ]:
        seconds = measure(contenders(capacity, producers), messages=messages, repeats=options.repeats)
        met &= report(title, seconds, messages)

    cut_short, lost, duplicated = asyncio.run(under_cancellation(options.messages // 5, seed=1))
    print(f"\nunder cancellation: {cut_short} operations cut short, {lost} messages lost, {duplicated} duplicated")
    met &= cut_short > 0 and not lost and not duplicated
    print("PASS" if met else "SHORT")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
