"""Lines and packets in, alerts out, and an account of every one of them.

The engine waits for nothing and knows no channels: it is given lines, and puts the alerts that they raise in
``pending``, from which somebody else sends them. So it can be tested and measured on its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import asdict, define, frozen

from ironpost.events import AlertEvent, LogEvent, PacketEvent
from ironpost.logs.formats import BadLine, Parsed, Parser, sound
from ironpost.logs.rules import Rule, RuleSet
from ironpost.logs.windows import Counting, Restraint

__all__ = ["BadEntry", "Counts", "Engine"]


@define
class Counts:
    """What became of everything. ``lines == parsed + bad`` and ``raised == sent + held back + lost + pending``.

    Attributes:
        lines: lines that were read, from all sources.
        parsed: those that were understood.
        bad: those that were not.
        packets: packet events that were received.
        matched: how often a rule held for an event.
        raised: alerts that rules gave rise to.
        sent: those that the output has accepted.
        repeated: those held back because there was a like one before.
        limited: those held back because there were too many of their rule.
        lost: those that could not be sent because nobody receives any more.
    """

    lines: int = 0
    parsed: int = 0
    bad: int = 0
    packets: int = 0
    matched: int = 0
    raised: int = 0
    sent: int = 0
    repeated: int = 0
    limited: int = 0
    lost: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return all counts by name."""
        return asdict(self)


@frozen
class BadEntry:
    """A line that was not understood.

    Attributes:
        origin: where it came from.
        reason: what is wrong with it.
        line: its beginning.
        time: when it was read, in seconds since the epoch.
    """

    origin: str
    reason: str
    line: str
    time: float


_KEPT: Final = 200
"""How much of a bad line is kept, in letters."""


class _Memory:
    """What is remembered of one rule."""

    __slots__ = ("counting", "restraint", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.counting: Counting[str] | None = None if rule.threshold is None else Counting(rule.threshold)
        self.restraint = Restraint(rule.repeat, rule.limit)


class Engine:
    """Applies rules to events.

    Args:
        source: the name of the plugin, which its events bear.
        rules: what to look for.
        bad_lines: how many bad lines to keep; the newest ones.
        now: what the time is, in seconds since the epoch.

    Attributes:
        counts: what became of everything.
        bad_lines: the newest lines that were not understood.
        pending: the alerts that are to be sent, the oldest first.
    """

    def __init__(
        self, source: str, rules: RuleSet, *, bad_lines: int = 100, now: Callable[[], float] = time.time
    ) -> None:
        self.counts = Counts()
        self.bad_lines: deque[BadEntry] = deque(maxlen=bad_lines)
        self.pending: deque[AlertEvent] = deque()
        self._source = source
        self._now = now
        self._parse = Parser(now).parse
        self._rules = RuleSet()
        self._memories: dict[str, _Memory] = {}
        self.rules = rules

    @property
    def rules(self) -> RuleSet:
        """The rules in force. Another set can be put in at any time, from one event to the next.

        What led up to an alert so far is kept for every rule that stays as it was.
        """
        return self._rules

    @rules.setter
    def rules(self, rules: RuleSet) -> None:
        old = self._memories
        self._memories = {
            rule.id: old[rule.id] if rule.id in old and old[rule.id].rule == rule else _Memory(rule)
            for rule in rules.rules
        }
        self._rules = rules

    def lines(self, lines: Iterable[bytes], origin: str, received: float | None = None) -> None:
        """Take lines, without the newlines.

        Args:
            lines: in UTF-8; what is not is replaced.
            origin: the file or the address they came from.
            received: the time that counts for them, in seconds since the epoch, whatever time they claim to be of: who
                sends lines over the network can claim any. None for the time that is in them.
        """
        counts, parse, matching = self.counts, self._parse, self._rules.matching
        for raw in lines:
            line = str(raw, "utf-8", "replace")
            if line.endswith("\r"):
                line = line[:-1]
            counts.lines += 1
            try:
                parsed = parse(line)
            except BadLine as error:
                self.reject(origin, str(error), line)
                continue
            counts.parsed += 1
            rules = matching(parsed.fields)
            if rules:
                self._matched(rules, self._event(parsed, origin, received))

    def reject(self, origin: str, reason: str, line: str) -> None:
        """Count a line as bad, and keep it. Its reading has been counted."""
        self.counts.bad += 1
        self.bad_lines.append(BadEntry(origin, reason, line[:_KEPT], self._now()))

    def broken(self, data: bytes, origin: str, reason: str) -> None:
        """Take the beginning of a line that never became complete: it is read, and bad."""
        self.counts.lines += 1
        self.reject(origin, reason, str(data, "utf-8", "replace"))

    def packets(self, packets: Sequence[PacketEvent]) -> None:
        """Take packets. Their fields are those of the event; the chain of events goes on with theirs."""
        self.counts.packets += len(packets)
        for packet in packets:
            fields = _packet_fields(packet)
            rules = self._rules.matching(fields)
            if rules:
                event = LogEvent(
                    source=self._source,
                    trace=packet.trace,
                    time=packet.time,
                    format="packet",
                    fields=fields,
                    origin=packet.source,
                )
                self._matched(rules, event)

    def sent(self) -> None:
        """Take note that the first pending alert has been sent."""
        self.pending.popleft()
        self.counts.sent += 1

    def give_up(self) -> None:
        """Take note that the pending alerts will never be sent."""
        self.counts.lost += len(self.pending)
        self.pending.clear()

    def _event(self, parsed: Parsed, origin: str, received: float | None) -> LogEvent:
        when = parsed.time if received is None else received
        return LogEvent(source=self._source, time=when, format=parsed.format, fields=parsed.fields, origin=origin)

    def _matched(self, rules: Sequence[Rule], event: LogEvent) -> None:
        for rule in rules:
            self.counts.matched += 1
            fields = {**event.fields, **self._rules.extracted(rule, event.fields)}
            memory = self._memories[rule.id]
            traces: list[str] | None = [event.trace]
            if memory.counting is not None and rule.threshold is not None:
                group = tuple(map(fields.get, rule.threshold.by))
                traces = memory.counting.add(group, event.time, event.trace)
            if traces is not None:
                self._raise(rule, memory.restraint, event, fields, traces)

    def _raise(
        self, rule: Rule, restraint: Restraint, last: LogEvent, fields: dict[str, object], traces: list[str]
    ) -> None:
        counts = self.counts
        counts.raised += 1
        reason = restraint.check(tuple(map(fields.get, rule.alike)), last.time)
        if reason == "repeated":
            counts.repeated += 1
        elif reason == "limit":
            counts.limited += 1
        else:
            evidence = {"origin": last.origin, **fields}
            if len(traces) > 1:
                evidence["traces"] = tuple(traces)
            if restraint.held_back:
                evidence["held_back"] = restraint.held_back
            alert = AlertEvent(
                source=self._source,
                trace=last.trace,
                time=last.time,
                rule=rule.id,
                title=rule.title,
                severity=rule.severity,
                fields=evidence,
                count=len(traces),
            )
            self.pending.append(alert)


def _packet_fields(packet: PacketEvent) -> dict[str, object]:
    fields: dict[str, object] = {
        "protocol": sound(packet.protocol),
        "src": sound(packet.src),
        "dst": sound(packet.dst),
        "sport": packet.sport,
        "dport": packet.dport,
        "flags": tuple(map(sound, packet.flags)),
        "length": packet.length,
        "detail": sound(packet.detail),
        "message": sound(packet.detail)
        or sound(f"{packet.protocol} {packet.src}:{packet.sport} -> {packet.dst}:{packet.dport}"),
    }
    if packet.finding:
        fields["finding"] = sound(packet.finding)
    return fields
