"""Port scans and SYN floods, each found with a sliding window over the time that the packets say.

* A **port scan** is one source that tries at least so many different ports of one target within so many seconds.
* A **SYN flood** is one port with at least so many half-open connections that were asked for within so many seconds:
  asked for with a SYN, and not settled since by the client's ACK or a RST of either side.

What is found is raised once for the same source or target, and again when it still goes on after a pause; what falls
into the pause is counted. Time does not run backwards within a window: a packet that is late counts as of the latest
time seen. One that is late by more than the window begins a new time, and everything before it is forgotten: a single
packet with the date of another century cannot blind a detector.

The memory is that of the packets in one window, and never more than ``keys`` sources or targets.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter, OrderedDict
from typing import ClassVar, Final, Generic, TypeVar

from attrs import Factory, define, field, frozen
from attrs.validators import ge, gt

from ironpost.network.packets import Packet

__all__ = ["Detector", "Finding", "PortScans", "SynFloods", "Threshold"]

Key = TypeVar("Key")


@frozen
class Threshold:
    """How many, within how many seconds."""

    count: int = field(validator=ge(1))
    seconds: float = field(validator=gt(0))


@frozen
class Finding:
    """What a detector found.

    Attributes:
        kind: ``port-scan`` or ``syn-flood``.
        detail: what it is, in one line.
    """

    kind: str
    detail: str


@define
class _Watched:
    """One source or target: what is in its window, with the time of each, the oldest first."""

    entries: OrderedDict[tuple[object, ...], float] = Factory(OrderedDict)
    seen: float = -math.inf
    raised: float = -math.inf


@define
class Detector(Generic[Key]):
    """A sliding window for each key.

    Args:
        threshold: how many entries in how many seconds are a finding.
        pause: seconds in which the same is not raised again.
        keys: how many keys are watched at a time; of more, those that were quiet for longest are forgotten.

    Attributes:
        counts: ``raised``, ``suppressed`` (in a pause), ``forgotten`` (keys), ``new time``.
    """

    kind: ClassVar[str]

    threshold: Threshold
    pause: float = 60.0
    keys: int = 65536
    counts: Counter[str] = field(factory=Counter, init=False)
    _watched: OrderedDict[Key, _Watched] = field(factory=OrderedDict, init=False)
    _now: float = field(default=-math.inf, init=False)

    @abstractmethod
    def observe(self, packet: Packet) -> Finding | None:
        """Look at a packet; return what it completes."""

    def __len__(self) -> int:
        return sum(len(watched.entries) for watched in self._watched.values())

    def _advance(self, time: float) -> float:
        if time < self._now - self.threshold.seconds:
            self._watched.clear()
            self.counts["new time"] += 1
            self._now = time
        self._now = max(self._now, time)
        return self._now

    def _watch(self, key: Key, now: float) -> _Watched:
        """Return what is known of a key, and forget what is over."""
        while self._watched:
            oldest = next(iter(self._watched))
            if self._watched[oldest].seen > now - max(self.threshold.seconds, self.pause):
                break
            del self._watched[oldest]
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = _Watched()
            if len(self._watched) > self.keys:
                self._watched.popitem(last=False)
                self.counts["forgotten"] += 1
        else:
            self._watched.move_to_end(key)
        watched.seen = now
        return watched

    def _enter(self, watched: _Watched, entry: tuple[object, ...], now: float, most: int) -> bool:
        """Put an entry into the window; return whether there are enough of them, and it may be said."""
        entries = watched.entries
        entries.pop(entry, None)
        entries[entry] = now
        while next(iter(entries.values())) <= now - self.threshold.seconds or len(entries) > most:
            entries.popitem(last=False)
        if len(entries) < self.threshold.count:
            return False
        if watched.raised > now - self.pause:
            self.counts["suppressed"] += 1
            return False
        watched.raised = now
        self.counts["raised"] += 1
        return True


@define
class PortScans(Detector[tuple[str, str]]):
    """Watches each pair of source and target for the different ports that are tried.

    >>> scans = PortScans(Threshold(3, 10.0))
    >>> for second, port in enumerate([22, 80, 80, 443]):
    ...     found = scans.observe(Packet(second, "tcp", "10.0.0.1", "10.0.0.2", 40000, port, probes=True))
    >>> found
    Finding(kind='port-scan', detail='10.0.0.1 tried 3 ports of 10.0.0.2 within 10 s')
    """

    kind = "port-scan"

    def observe(self, packet: Packet) -> Finding | None:
        """Look at a packet; return the scan that it completes."""
        now = self._advance(packet.time)
        if not packet.probes:
            return None
        count, seconds = self.threshold.count, self.threshold.seconds
        watched = self._watch((packet.src, packet.dst), now)
        # Of more than enough ports only the latest can matter.
        if not self._enter(watched, (packet.dport,), now, count):
            return None
        return Finding(self.kind, f"{packet.src} tried {count} ports of {packet.dst} within {seconds:g} s")


_SPARE: Final = 4


@define
class SynFloods(Detector[tuple[str, int]]):
    """Watches each port of each target for connections that stay half-open.

    Up to four times the threshold is kept for a port: if more than that were open and most were settled within the
    window, fewer would be counted than there are.
    """

    kind = "syn-flood"

    def observe(self, packet: Packet) -> Finding | None:
        """Look at a packet; return the flood that it completes."""
        now = self._advance(packet.time)
        if packet.settles:
            self._settle((packet.dst, packet.dport), (packet.src, packet.sport))
            if "RST" in packet.flags:
                self._settle((packet.src, packet.sport), (packet.dst, packet.dport))
        if not packet.opens:
            return None
        count, seconds = self.threshold.count, self.threshold.seconds
        watched = self._watch((packet.dst, packet.dport), now)
        if not self._enter(watched, (packet.src, packet.sport), now, _SPARE * count):
            return None
        sources = len({entry[0] for entry in watched.entries})
        return Finding(
            self.kind,
            f"{len(watched.entries)} half-open connections to {packet.dst} port {packet.dport} within {seconds:g} s, "
            f"from {sources} address{'es' if sources > 1 else ''}",
        )

    def _settle(self, key: tuple[str, int], entry: tuple[str, int]) -> None:
        watched = self._watched.get(key)
        if watched is not None:
            watched.entries.pop(entry, None)
