"""Producers, consumers and what is in between. The framework closes the ports; what is cloned is closed here."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from attrs import Factory, define, frozen

from fsm_plugins import ChannelClosed, ChannelFull, HealthStatus, Plugin, PluginInfo, PluginType, Receiver, Sender
from tests.zoo.specimen import Specimen


@define
class Producer(Plugin):
    """Sends for as long as somebody listens."""

    info = PluginInfo("producer", "1.0.0", "Counts", PluginType.LOG_PIPELINE)
    numbers: Sender[int]
    sent: int = 0

    async def on_start(self) -> None:
        self.spawn(self._produce())

    async def _produce(self) -> None:
        try:
            while True:
                await self.numbers.send(self.sent)
                self.sent += 1
        except ChannelClosed:
            return  # nobody wants to know any more


@define
class Consumer(Plugin):
    """Reads its input to the end, so that a stop which follows that of its producers loses nothing."""

    info = PluginInfo("consumer", "1.0.0", "Adds up")
    numbers: Receiver[int]
    total: int = 0

    async def on_start(self) -> None:
        self.spawn(self._consume())

    async def _consume(self) -> None:
        async for number in self.numbers:
            self.total += number


@define
class BatchConsumer(Plugin):
    """Takes what is there, and is done with it before it waits again."""

    info = PluginInfo("batch-consumer", "1.0.0", "Writes batches")
    rows: Receiver[int]
    batch: int = 4
    written: list[list[int]] = Factory(list)

    async def on_start(self) -> None:
        self.spawn(self._consume())

    async def _consume(self) -> None:
        while True:
            try:
                self.written.append(await self.rows.recv_many(self.batch))
            except ChannelClosed:
                return


@define
class FanIn(Plugin):
    """A clone of its output for each source; a ``with`` in the worker closes each."""

    info = PluginInfo("fan-in", "1.0.0", "Merges sources")
    merged: Sender[str]
    sources: tuple[str, ...] = ("syslog", "journal")

    async def on_start(self) -> None:
        for source in self.sources:
            self.spawn(self._read(source), name=f"fan-in/{source}")

    async def _read(self, source: str) -> None:
        with self.merged.clone() as own:
            while not self.merged.closed:
                with suppress(ChannelFull, ChannelClosed):
                    own.try_send(source)
                await asyncio.sleep(0.01)


@frozen(eq=False)
class Request:
    """A question, and where the answer goes."""

    number: int
    answer: asyncio.Future[int]


@define
class Responder(Plugin):
    """Answers requests. One whose asker has gone is not answered, and none is left without an answer."""

    info = PluginInfo("responder", "1.0.0", "Doubles numbers")
    requests: Receiver[Request]
    answered: int = 0

    async def on_start(self) -> None:
        self.spawn(self._answer())

    async def on_stop(self) -> None:
        self.requests.close()
        while len(self.requests):
            try:
                request = await self.requests.recv()
            except ChannelClosed:
                return
            request.answer.cancel()

    async def _answer(self) -> None:
        async for request in self.requests:
            if not request.answer.done():
                request.answer.set_result(2 * request.number)
                self.answered += 1


@define
class Forwarder(Plugin):
    """Reserves room before it takes: a message is at every moment in one channel or in the other."""

    info = PluginInfo("forwarder", "1.0.0", "Negates numbers")
    numbers: Receiver[int]
    negated: Sender[int]
    taken: int = 0
    delivered: int = 0

    async def on_start(self) -> None:
        self.spawn(self._forward())

    async def _forward(self) -> None:
        while True:
            try:
                with await self.negated.reserve() as permit:
                    number = await self.numbers.recv()
                    self.taken += 1
                    permit.send(-number)
                    self.delivered += 1
            except ChannelClosed:
                return


@define
class Tapped(Plugin):
    """A port that need not be connected."""

    info = PluginInfo("tapped", "1.0.0", "Shows what it does to whoever wants to see it")
    tap: Sender[str] | None = None
    ticks: int = 0

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        while True:
            self.ticks += 1
            if self.tap is not None and not self.tap.closed:
                with suppress(ChannelFull, ChannelClosed):  # a tap never holds up the work
                    self.tap.try_send(f"tick {self.ticks}")
            await asyncio.sleep(1.0)


@define
class Careful(Plugin):
    """Finishes the message in hand when it is cancelled: there is always room for one, as it was reserved."""

    info = PluginInfo("careful", "1.0.0", "Enriches, slowly, and loses nothing")
    rows: Receiver[int]
    enriched: Sender[int]
    taken: int = 0
    delivered: int = 0

    async def on_start(self) -> None:
        self.spawn(self._enrich())

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy()

    async def _enrich(self) -> None:
        while True:
            try:
                permit = await self.enriched.reserve()
            except ChannelClosed:
                return
            with permit:
                try:
                    row = await self.rows.recv()
                except ChannelClosed:
                    return
                self.taken += 1
                try:
                    await asyncio.sleep(0.01)  # look something up
                finally:
                    permit.send(row)
                    self.delivered += 1


class Announcer(Plugin):
    """Says goodbye through its port if there is room, and does not wait for it."""

    info = PluginInfo("announcer", "1.0.0", "Comes and goes")

    def __init__(self, events: Sender[str]) -> None:
        self.events = events

    async def on_start(self) -> None:
        await self.events.send("hello")

    async def on_stop(self) -> None:
        with suppress(ChannelFull, ChannelClosed):
            self.events.try_send("goodbye")


class OwnClone(Plugin):
    """Keeps a clone in an attribute, where the framework finds it; closes it all the same."""

    info = PluginInfo("own-clone", "1.0.0", "Has a second line")

    def __init__(self, lines: Sender[str]) -> None:
        self.lines = lines
        self.second: Sender[str] | None = None

    async def on_init(self) -> None:
        self.second = self.lines.clone()

    async def on_start(self) -> None:
        assert self.second is not None
        await self.second.send("ready")

    async def on_stop(self) -> None:
        if self.second is not None:
            self.second.close()
            self.second = None


def _balanced(plugin: Forwarder | Careful) -> bool:
    return plugin.state != "stopped" or plugin.taken == plugin.delivered


CORRECT = [
    Specimen(Producer),
    Specimen(Consumer, messages={"numbers": (1, 2, 3)}),
    Specimen(BatchConsumer, messages={"rows": tuple(range(7))}),
    Specimen(FanIn),
    Specimen(Responder),
    Specimen(Forwarder, messages={"numbers": (1, 2, 3)}, invariant=_balanced),
    Specimen(Tapped),
    Specimen(Careful, messages={"rows": (1, 2, 3)}, invariant=_balanced),
    Specimen(Announcer),
    Specimen(OwnClone),
]
