"""How fast messages pass, beside a queue by hand and the queues that people would take.

Every scenario moves the same messages through every contender and counts those that arrive. Under noise, both sides are
cancelled and timed out at random, and every message that was accepted is looked for on the other side.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from attrs import astuple, evolve, frozen

from benchmarks._measure import REPEATS, Sample, Stopwatch, Taken, alternate, ratio
from benchmarks._results import Report, Series, Table, Target
from benchmarks._suites import alone
from benchmarks.peers.queues import PACKAGES, QUEUE, STOP, Contender, Pair, contenders

__all__ = ["benchmark", "main"]

CAPACITIES: Final = (1, 10, 100, 1_024, 10_000)
PRODUCERS: Final = (4, 64)
MESSAGES: Final = 40_000
FEWER: Final = 10_000
"""Where every message waits for the one before."""
NOISY: Final = 8_000
SEEDS: Final = 5


def _traffic(each: Contender, messages: int, capacity: int, producers: int) -> Callable[[], Taken]:
    async def run() -> Taken:
        with Stopwatch(messages) as watch:
            arrived = await each.run(messages, capacity, producers)
        assert arrived == messages, f"{each.name}: {arrived} of {messages} messages arrived"
        return watch.taken

    return lambda: asyncio.run(run())


def _round_trips(each: Contender) -> Callable[[], Taken]:
    """Return a measurement of requests that are answered, one at a time."""

    async def run() -> Taken:
        assert each.pair is not None
        requests, answers = each.pair(1), each.pair(1)

        async def answer() -> None:
            receive, send = requests.receive, answers.send
            for _ in range(FEWER):
                await send(await receive())

        server = asyncio.create_task(answer())
        send, receive = requests.send, answers.receive
        with Stopwatch(FEWER) as watch:
            for i in range(FEWER):
                await send(i)
                assert await receive() == i
        await server
        return watch.taken

    return lambda: asyncio.run(run())


def _drain(each: Contender) -> Callable[[], Taken]:
    """Return a measurement of a full channel that is closed and read to its end."""

    async def run() -> Taken:
        assert each.pair is not None
        pair = each.pair(FEWER + 1)
        for i in range(FEWER):
            await pair.send(i)
        received = 0
        with Stopwatch(FEWER) as watch:
            await pair.close()
            try:
                while (await pair.receive()) is not STOP:
                    received += 1
            except pair.ends:
                pass
        assert received == FEWER, f"{each.name}: {received} of {FEWER} messages were left"
        return watch.taken

    return lambda: asyncio.run(run())


# Noise ----------------------------------------------------------------------------------------------------------------


@frozen
class Noise:
    """What became of messages while both sides were cut short at random."""

    cut_short: int
    accepted: int
    lost: int
    doubled: int

    def __str__(self) -> str:
        return (
            f"{self.lost} of {self.accepted:,} accepted messages lost, {self.doubled} doubled "
            f"({self.cut_short:,} operations cut short)"
        )


async def _under_noise(pair: Pair, messages: int, seed: int) -> Noise:
    """Send and receive while both sides are cancelled and timed out at random."""
    rng = random.Random(seed)
    accepted: list[int] = []
    received: list[int] = []
    cut_short = 0

    async def produce() -> None:
        nonlocal cut_short
        for number in range(messages):
            try:
                async with asyncio.timeout(rng.choice([0, 0, 0.00002, None])):
                    await pair.send(number)
                    accepted.append(number)
                    await asyncio.sleep(0)
            except TimeoutError:
                cut_short += 1
        await pair.close()

    async def take() -> bool:
        item = await pair.receive()
        if item is STOP:
            return False
        received.append(item)
        return True

    async def consume() -> None:
        nonlocal cut_short
        more = True
        while more:
            task = asyncio.create_task(take())
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            if rng.random() < 0.5:
                task.cancel()
            try:
                more = await task
            except asyncio.CancelledError:
                cut_short += 1
            except pair.ends:
                return

    async with asyncio.timeout(60):
        await asyncio.gather(consume(), produce())
    lost, doubled = Counter(accepted) - Counter(received), Counter(received) - Counter(range(messages))
    return Noise(cut_short, len(accepted), lost.total(), doubled.total())


def _noise(each: Contender) -> str | Noise:
    """Return what became of the messages; or, where even the end was lost, that."""
    assert each.pair is not None
    make = each.pair

    async def run(seed: int) -> Noise:
        return await _under_noise(make(4), NOISY, seed)

    try:
        runs = [asyncio.run(run(seed)) for seed in range(SEEDS)]
    except TimeoutError:
        return "did not come to its end within a minute"
    return Noise(*(sum(column) for column in zip(*(astuple(run) for run in runs), strict=True)))


# The tables -----------------------------------------------------------------------------------------------------------


def _table(key: str, title: str, who: list[Contender], measured: dict[int, dict[str, Sample]], axis: str = "") -> Table:
    series = (
        Series(each.name, each.role, tuple(samples.get(each.name) for samples in measured.values()), each.note)
        for each in who
    )
    return Table(key, title, tuple(series), axis=axis, points=tuple(measured))


def benchmark() -> Report:
    """Measure everything."""
    everybody = contenders()
    noise = {each.name: _noise(each) for each in everybody if each.pair is not None}
    everybody = [evolve(each, note=_with_losses(each.note, noise.get(each.name))) for each in everybody]
    single = [each for each in everybody if each.one_to_one is not False]
    one = {
        capacity: alternate(
            {each.name: _traffic(each, FEWER if capacity == 1 else MESSAGES, capacity, 1) for each in single},
            REPEATS,
        )
        for capacity in CAPACITIES
    }
    crowd = [each for each in everybody if not each.one_to_one]
    many = {
        producers: alternate({each.name: _traffic(each, 38_400, 64, producers) for each in crowd}, REPEATS)
        for producers in PRODUCERS
    }
    paired = [each for each in everybody if each.pair is not None]
    trips = alternate({each.name: _round_trips(each) for each in paired}, REPEATS)
    drains = alternate({each.name: _drain(each) for each in paired}, REPEATS)
    base = one[1_024][QUEUE]
    mine = noise["recv"]
    assert isinstance(mine, Noise)
    return Report(
        "Channels: one message",
        [
            _table("channel-one", "One producer, one consumer, closed and drained", single, one, "capacity"),
            _table("channel-many", "Many producers, capacity 64, closed and drained", crowd, many, "producers"),
            _table("channel-round-trip", "A request and its answer, capacity 1", paired, {1: trips}),
            _table("channel-drain", "A full channel, from close to the end", paired, {1: drains}),
        ],
        [f"under cancellation, capacity 4: {name}: {told}" for name, told in noise.items()],
        [
            Target("recv, to asyncio.Queue, capacity 1,024", ratio(base, one[1_024]["recv"]), 2.5, at_least=True),
            Target("async for, to asyncio.Queue", ratio(base, one[1_024]["async for"]), 2.5, at_least=True),
            Target("recv_many(1024), to asyncio.Queue", ratio(base, one[1_024]["recv_many(1024)"]), 4, at_least=True),
            Target("messages lost or doubled under cancellation", mine.lost + mine.doubled, 0, ""),
        ],
    )


def _with_losses(note: str, noise: str | Noise | None) -> str:
    """Say in the note of a contender that it loses messages, or does not end, when it is cancelled."""
    if noise is None or (isinstance(noise, Noise) and not noise.lost and not noise.doubled):
        return note
    return f"{note}; under cancellation: {noise}" if note else f"under cancellation: {noise}"


def main() -> int:
    """Run this benchmark alone."""
    return alone("What a message costs.", benchmark, PACKAGES)


if __name__ == "__main__":
    raise SystemExit(main())
