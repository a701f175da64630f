"""The plugin ``log-pipeline``: logs and packets in, alerts out.

A line has been handled when its alerts have been accepted by the output, and positions in files are saved up to what
has been handled and not beyond. So a stop loses nothing, and what a crash of the process can do is to repeat the lines
since positions were saved last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from attrs import Attribute, define, field
from attrs.validators import ge, gt

from fsm_plugins import (
    RELOADABLE,
    ChannelClosed,
    ConfigError,
    HealthStatus,
    Plugin,
    PluginInfo,
    PluginType,
    Problem,
    Receiver,
    Sender,
)
from ironpost.events import AlertEvent, PacketEvent
from ironpost.logs.engine import BadEntry, Counts, Engine
from ironpost.logs.follow import Follower
from ironpost.logs.positions import load_positions, save_positions
from ironpost.logs.receivers import Address, Inbox, Listener, listen
from ironpost.logs.rulefiles import SHIPPED, read_rules, rule_files
from ironpost.logs.rules import RuleSet
from ironpost.logs.sigma import Skipped, read_sigma
from ironpost.threads import Token, in_thread

__all__ = ["LogPipeline"]

logger = logging.getLogger("ironpost.logs")

SLICE: Final = 256
"""How many lines or messages are handled before other tasks have their turn; some milliseconds of work."""


def _addresses(_instance: object, _attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    for text in value:
        Address.parse(text)


@define
class LogPipeline(Plugin):
    """Reads logs and packets, applies rules, and sends alerts.

    Attributes:
        alerts: where alerts go; without a channel they are logged.
        packets: where packets come from, if anybody sends them.
        files: logs that are read. They need not be there yet.
        listen: where to receive syslog, such as ``udp://127.0.0.1:5514`` and ``tcp://127.0.0.1:5514``.
        rules: files with rules, and directories of them.
        shipped_rules: whether the rules that come with the application are used, too.
        sigma: files with Sigma rules, and directories of them at any depth.
        positions: a file that says how far the logs have been read; without it they are read anew at each start.
        follow: whether to wait for more at the end of a log. If not, the plugin is done when all is read.
        begin: where to begin a log that was never read: at its ``start`` or at its ``end``.
        poll: how often to look for more, in seconds.
        rotate_wait: how long to look for more in a log that was rotated away, in seconds.
        save_every: how often positions are saved at most, in seconds.
        bad_lines: how many lines that were not understood are kept for people to look at.
    """

    info = PluginInfo("log-pipeline", "0.1.0", "Parses logs and matches rules", PluginType.LOG_PIPELINE)
    lifecycle = RELOADABLE

    alerts: Sender[AlertEvent] | None
    packets: Receiver[PacketEvent] | None = None
    files: tuple[Path, ...] = ()
    listen: tuple[str, ...] = field(default=(), validator=_addresses)
    rules: tuple[Path, ...] = ()
    shipped_rules: bool = True
    sigma: tuple[Path, ...] = ()
    positions: Path | None = None
    follow: bool = True
    begin: Literal["start", "end"] = "start"
    poll: float = field(default=0.25, validator=gt(0))
    rotate_wait: float = field(default=5.0, validator=ge(0))
    save_every: float = field(default=1.0, validator=gt(0))
    bad_lines: int = field(default=100, validator=ge(1))

    _engine: Engine = field(init=False, repr=False)
    _skipped: tuple[Skipped, ...] = field(init=False, default=(), repr=False)
    _followers: list[Follower] = field(init=False, factory=list, repr=False)
    _inbox: Inbox = field(init=False, factory=Inbox, repr=False)
    _listeners: list[Listener] = field(init=False, factory=list, repr=False)
    _listening: list[Address] = field(init=False, factory=list, repr=False)
    _readers: list[asyncio.Task[None]] = field(init=False, factory=list, repr=False)
    _packet_reader: asyncio.Task[None] | None = field(init=False, default=None, repr=False)
    _stopping: asyncio.Event = field(init=False, factory=asyncio.Event, repr=False)
    _sending: asyncio.Lock = field(init=False, factory=asyncio.Lock, repr=False)
    _saving: asyncio.Lock = field(init=False, factory=asyncio.Lock, repr=False)
    _saved: float = field(init=False, default=0.0, repr=False)
    _unsaved: bool = field(init=False, default=False, repr=False)
    _trouble: str = field(init=False, default="", repr=False)
    _refused: str = field(init=False, default="", repr=False)
    _reading: asyncio.Lock = field(init=False, factory=asyncio.Lock, repr=False)

    def __attrs_post_init__(self) -> None:
        self._engine = Engine(self.info.name, RuleSet(), bad_lines=self.bad_lines)
        super().__attrs_post_init__()

    # What can be asked.

    @property
    def counts(self) -> Counts:
        """What became of everything."""
        return self._engine.counts

    @property
    def pending(self) -> int:
        """How many alerts wait to be sent."""
        return len(self._engine.pending)

    @property
    def dropped(self) -> int:
        """How many datagrams came faster than they were handled, and how many connections were too many."""
        return self._inbox.dropped

    @property
    def bad(self) -> Sequence[BadEntry]:
        """The newest lines that were not understood, the oldest first."""
        return tuple(self._engine.bad_lines)

    @property
    def rule_set(self) -> RuleSet:
        """The rules in force."""
        return self._engine.rules

    @property
    def skipped(self) -> Sequence[Skipped]:
        """The Sigma rules that are not used, and why."""
        return self._skipped

    @property
    def listening(self) -> Sequence[Address]:
        """The addresses that are listened on, with the ports that they have."""
        return tuple(self._listening)

    async def reload_rules(self) -> RuleSet:
        """Read the files of rules again, and put what is in them in force from the next line on; return it.

        What led up to an alert so far is kept for the rules that have not changed.

        Raises:
            ConfigError: with everything that is wrong in the files. The rules in force stay.
        """
        async with self._reading:  # so that what was read last is what counts
            try:
                rules, self._skipped = await in_thread(self._read_rules)
            except ConfigError as error:
                self._refused = " ".join(str(error).split())
                raise
            self._engine.rules, self._refused = rules, ""
        for skipped in self._skipped:
            logger.warning("Sigma rule not used: %s", skipped)
        logger.info("%s: %d rules, %d Sigma rules not used", self.info.name, len(rules), len(self._skipped))
        return rules

    # Hooks.

    async def on_init(self) -> None:
        problems = [Problem(str(path), "is a directory; name the files in it") for path in self.files if path.is_dir()]
        if len({path.absolute() for path in self.files}) < len(self.files):
            problems.append(Problem("files", "a log is named twice"))
        if not self.files and not self.listen and self.packets is None:
            problems.append(
                Problem("files", "there is nothing to read; name logs, or addresses in listen, or wire packets")
            )
        if problems:
            raise ConfigError(self.info.name, problems)
        self._engine = Engine(self.info.name, RuleSet(), bad_lines=self.bad_lines)
        await self.reload_rules()
        file = self.positions
        places = {} if file is None else await in_thread(lambda _token: load_positions(file))
        self._followers = [
            Follower(
                path,
                places.get(str(path.absolute())),
                begin=self.begin,
                wait=self.rotate_wait,
                follow=self.follow,
            )
            for path in self.files
        ]

    async def on_start(self) -> None:
        for text in self.listen:
            address, listener = await listen(Address.parse(text), self._inbox)
            self._listening.append(address)
            self._listeners.append(listener)
        self._readers = [self.spawn(self._read(follower), name=f"read {follower.path}") for follower in self._followers]
        if self._listeners:
            self._readers.append(self.spawn(self._receive(), name="receive"))
        if self.packets is not None:
            self._packet_reader = self.spawn(self._read_packets(self.packets), name="packets")
        if not self._listeners:
            self.spawn(self._close_at_the_end(), name="end")

    async def on_stop(self) -> None:
        self._stopping.set()
        for listener in self._listeners:
            await listener.close()
        self._inbox.close()
        if self._packet_reader is not None:
            self._packet_reader.cancel()  # what it has not received stays in the channel
        if self._tasks():
            await asyncio.wait(self._tasks())
        try:
            self._handle_inbox()
            await self._send()
            await self._save()
            if self._trouble:
                raise OSError(self._trouble)
        except ChannelClosed:
            pass
        finally:
            if lost := len(self._engine.pending):
                logger.error("%s: %d alerts could not be sent; their lines will be read again", self.info.name, lost)
                self._engine.give_up()
            for follower in self._followers:
                follower.close()

    async def on_reload(self) -> None:
        """Put what the files of rules say now in force. If there is anything wrong in them, that is told, and the rules
        stay."""
        try:
            await self.reload_rules()
        except ConfigError as error:
            logger.error("%s goes on with the rules it has: %s", self.info.name, error)

    async def on_health_check(self) -> HealthStatus:
        counts = self.counts
        if troubles := [follower.trouble for follower in self._followers if follower.trouble]:
            return HealthStatus.degraded("; ".join(troubles))
        if self._trouble:
            return HealthStatus.degraded(self._trouble)
        if self._refused:
            return HealthStatus.degraded(f"the rules are older than their files, which were refused: {self._refused}")
        if self.dropped:
            return HealthStatus.degraded(f"{self.dropped} datagrams or connections were dropped")
        if counts.lines >= 100 and counts.bad * 10 > counts.lines:
            last = self.bad[-1]
            return HealthStatus.degraded(
                f"{counts.bad} of {counts.lines} lines were not understood, the last from {last.origin}: {last.reason}"
            )
        return HealthStatus.healthy()

    # Workers.

    async def _read(self, follower: Follower) -> None:
        origin = str(follower.path)
        while not self._stopping.is_set():
            batch = await in_thread(lambda _token: follower.read())
            if batch is None:
                await self._save()
                if not self.follow:
                    return
                await self._pause(self.poll)
                continue
            while batch.lines and not self._stopping.is_set():
                lines = batch.lines[:SLICE]
                self._engine.lines(lines, origin)
                follower.done(batch, len(lines))
                self._unsaved = True
                await self._send()
            if time.monotonic() - self._saved >= self.save_every:
                await self._save()

    async def _receive(self) -> None:
        while await self._inbox.arrival():
            self._handle_inbox(SLICE)
            await self._send()

    def _handle_inbox(self, limit: int | None = None) -> None:
        for message in self._inbox.take(limit):
            if message.broken:
                self._engine.broken(message.data, message.origin, message.broken)
            else:
                self._engine.lines((message.data,), message.origin, message.time)

    async def _read_packets(self, packets: Receiver[PacketEvent]) -> None:
        while True:
            try:
                batch = await packets.recv_many(SLICE)
            except ChannelClosed:
                return
            self._engine.packets(batch)
            await self._send()

    async def _close_at_the_end(self) -> None:
        """When there is nothing more to read, there are no more alerts."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)
        if not self._stopping.is_set() and self.alerts is not None:
            self.alerts.close()

    def _tasks(self) -> list[asyncio.Task[None]]:
        readers = [*self._readers, *([self._packet_reader] if self._packet_reader is not None else [])]
        return [task for task in readers if not task.done()]

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until the plugin is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _send(self) -> None:
        """Send all pending alerts. On return there are none. If it is cancelled, what was not sent stays pending."""
        pending = self._engine.pending
        await asyncio.sleep(0)
        async with self._sending:
            while pending:
                if self.alerts is not None:
                    await self.alerts.send(pending[0])
                else:
                    logger.warning("%s", pending[0])
                self._engine.sent()

    async def _save(self) -> None:
        """Save the positions, if they have changed. They are those up to which all alerts have been sent."""
        file = self.positions
        if file is None or not self._unsaved:
            return
        async with self._saving:
            await self._send()
            places = {str(follower.path): place for follower in self._followers if (place := follower.place)}
            self._unsaved = False
            self._saved = time.monotonic()
            try:
                # Not left behind if this worker is cancelled: it would undo what the stop saves.
                await in_thread(lambda _token: save_positions(file, places))
            except OSError as error:  # to read on and repeat lines after a restart is better than not to read on
                self._unsaved = True
                self._trouble = f"positions cannot be saved: {error}"
            except BaseException:
                self._unsaved = True
                raise
            else:
                self._trouble = ""

    def _read_rules(self, token: Token) -> tuple[RuleSet, tuple[Skipped, ...]]:
        """Read all files of rules, in a thread."""
        files = rule_files([*([SHIPPED] if self.shipped_rules else []), *self.rules])
        own = read_rules(files, token.check)
        if not self.sigma:
            return RuleSet(own), ()
        sigma, skipped = read_sigma(rule_files(self.sigma, deep=True), token.check)
        taken = {rule.id: rule.origin for rule in own}
        if problems := [
            Problem(rule.origin, f"{rule.id!r} is the id of another rule, in {taken[rule.id]}")
            for rule in sigma
            if rule.id in taken
        ]:
            raise ConfigError("rules", problems)
        return RuleSet((*own, *sigma)), skipped
