"""Sliding windows, against a naive count over everything that was seen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ironpost.network import Packet, PortScans, SynFloods, Threshold

Step = tuple[float, str, int, int]  # seconds since the step before, what, and two small numbers

steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 1.0, 2.0, 4.0, -0.5, -3.0, -50.0]),
        st.sampled_from(["syn", "syn", "syn", "ack", "rst", "answer", "udp"]),
        st.integers(0, 4),
        st.integers(0, 1),
    ),
    max_size=60,
)
# The first is repeated, and the second is over before the last.
AGAIN: list[Step] = [(0.0, "syn", 0, 0), (1.0, "syn", 1, 0), (1.0, "syn", 0, 0), (1.5, "syn", 2, 0)]
thresholds = st.builds(Threshold, st.integers(1, 4), st.sampled_from([1.0, 2.0, 4.0]))
pauses = st.sampled_from([0.0, 0.5, 3.0, 10.0])


def packets(moves: Sequence[Step]) -> list[Packet]:
    found, time = [], 1000.0
    for delta, what, port, host in moves:
        time += delta
        client, server = ("10.0.0.1", 1024 + port), (f"10.0.1.{host}", 80 + port)
        ends = (*client, *server) if what != "answer" else (*server, *client)
        src, sport, dst, dport = ends
        found.append(
            Packet(
                time,
                "udp" if what == "udp" else "tcp",
                src,
                dst,
                sport,
                dport,
                {"syn": ("SYN",), "rst": ("RST",), "answer": ("RST", "ACK")}.get(what, ()),
                probes=what == "syn",
                opens=what == "syn",
                settles=what in ("ack", "rst", "answer"),
            )
        )
    return found


class Naive:
    """Keeps everything, and counts anew each time."""

    def __init__(self, threshold: Threshold, pause: float) -> None:
        self.threshold, self.pause = threshold, pause
        self.now = float("-inf")
        self.seen: list[tuple[float, Packet]] = []
        self.raised: dict[object, float] = {}
        self.suppressed = 0

    def observe(self, packet: Packet) -> bool:
        if packet.time < self.now - self.threshold.seconds:
            self.now, self.seen, self.raised = packet.time, [], {}
        self.now = max(self.now, packet.time)
        self.seen.append((self.now, packet))
        key = self.key(packet)
        if key is None or self.count(key) < self.threshold.count:
            return False
        if self.raised.get(key, float("-inf")) > self.now - self.pause:
            self.suppressed += 1
            return False
        self.raised[key] = self.now
        return True

    @property
    def window(self) -> list[Packet]:
        return [packet for at, packet in self.seen if at > self.now - self.threshold.seconds]

    def key(self, packet: Packet) -> object:
        raise NotImplementedError

    def count(self, key: object) -> int:
        raise NotImplementedError


class NaiveScans(Naive):
    def key(self, packet: Packet) -> object:
        return (packet.src, packet.dst) if packet.probes else None

    def count(self, key: object) -> int:
        return len({packet.dport for packet in self.window if self.key(packet) == key})


class NaiveFloods(Naive):
    def key(self, packet: Packet) -> object:
        return (packet.dst, packet.dport) if packet.opens else None

    def count(self, key: object) -> int:
        half_open = set()
        for packet in self.window:
            if packet.opens and self.key(packet) == key:
                half_open.add((packet.src, packet.sport))
            if packet.settles and (packet.dst, packet.dport) == key:
                half_open.discard((packet.src, packet.sport))
            if "RST" in packet.flags and (packet.src, packet.sport) == key:
                half_open.discard((packet.dst, packet.dport))
        return len(half_open)


@given(steps, thresholds, pauses)
@example([(0.0, "syn", 0, 0), (2.0, "syn", 1, 0)], Threshold(2, 2.0), 0.0)
@example(AGAIN, Threshold(3, 2.0), 0.0)
def test_port_scans_are_those_of_a_naive_count(moves: list[Step], threshold: Threshold, pause: float) -> None:
    """At the same packets, whatever order and times they have; and what a pause swallows is counted."""
    run_both(PortScans(threshold, pause), NaiveScans(threshold, pause), packets(moves))


@given(steps, thresholds, pauses)
@example([(0.0, "syn", 0, 0), (0.0, "answer", 0, 0), (0.0, "syn", 1, 0)], Threshold(2, 2.0), 0.0)
@example([(0.0, "syn", 0, 0), (0.0, "rst", 0, 0), (0.0, "syn", 1, 0)], Threshold(2, 2.0), 0.0)
def test_syn_floods_are_those_of_a_naive_count(moves: list[Step], threshold: Threshold, pause: float) -> None:
    """Half-open connections only: what is acknowledged or reset does not count any more."""
    # All to one port, from five: then a flood comes about often.
    same = packets([(delta, what, port, 0) for delta, what, port, _ in moves])
    to_one = [
        Packet(
            each.time,
            each.protocol,
            each.src,
            each.dst,
            each.sport if each.src == "10.0.0.1" else 80,
            80 if each.dst != "10.0.0.1" else each.dport,
            each.flags,
            opens=each.opens,
            settles=each.settles,
        )
        for each in same
    ]
    detector, naive = SynFloods(threshold, pause), NaiveFloods(threshold, pause)
    for found in (to_one, packets(moves)):
        run_both(detector, naive, found)


def run_both(detector: PortScans | SynFloods, naive: Naive, found: list[Packet]) -> None:
    for packet in found:
        assert (detector.observe(packet) is not None) == naive.observe(packet), packet
    assert detector.counts["suppressed"] == naive.suppressed


def probe(time: float, src: str, port: int, dst: str = "b") -> Packet:
    return Packet(time, "tcp", src, dst, 1, port, ("SYN",), probes=True, opens=True)


def test_what_is_found_is_told_in_words() -> None:
    """Who, whom, how many, within what time."""
    scans, floods = PortScans(Threshold(2, 1.5)), SynFloods(Threshold(2, 3.0))
    assert scans.observe(probe(0.0, "a", 1)) is None
    assert str(getattr(scans.observe(probe(0.0, "a", 2)), "detail", "")) == "a tried 2 ports of b within 1.5 s"
    floods.observe(probe(0.0, "a", 80))
    found = floods.observe(probe(0.0, "c", 80))
    assert found is not None and found.kind == "syn-flood"
    assert found.detail == "2 half-open connections to b port 80 within 3 s, from 2 addresses"


def test_a_packet_of_another_century_does_not_blind_it() -> None:
    """After it, time begins anew, and what comes then is found."""
    scans = PortScans(Threshold(3, 10.0), pause=60.0)
    for time, port in ((0.0, 1), (4e9, 2), (1.0, 3), (1.0, 4)):
        assert scans.observe(probe(time, "a", port)) is None
    assert scans.observe(probe(1.0, "a", 5)) is not None
    assert scans.counts["new time"] == 1


@pytest.mark.parametrize("kind", [PortScans, SynFloods])
def test_the_memory_is_that_of_one_window(kind: type[PortScans | SynFloods]) -> None:
    """However long it runs, and however many sources there are; then those quiet for longest are forgotten."""
    detector = kind(Threshold(1000, 5.0), pause=5.0)
    for number in range(2000):
        detector.observe(probe(float(number), f"a{number % 7}", number % 100, f"b{number % 3}"))
        assert len(detector) <= 5
        assert len(detector._watched) <= 5
    small = kind(Threshold(1000, 5.0), keys=10)
    for number in range(1000):
        small.observe(probe(0.0, f"a{number}", number))
    assert len(small) == 10 and small.counts["forgotten"] == 990


def test_of_too_many_those_quiet_for_longest_are_forgotten() -> None:
    """A source that goes on is watched on, however many others come by."""
    scans = PortScans(Threshold(3, 100.0), keys=2)
    for port, src in enumerate("xyxz"):
        assert scans.observe(probe(float(port), src, port)) is None
    assert scans.observe(probe(4.0, "x", 99)) is not None


def test_a_flood_is_kept_within_bounds() -> None:
    """Of more than enough, the latest are kept, and it is still a flood."""
    floods = SynFloods(Threshold(10, 5.0), pause=0.0)
    found = [floods.observe(probe(0.0, f"a{number}", 80)) for number in range(10_000)]
    assert len(floods) == 40 and all(found[9:]) and not any(found[:9])


@pytest.mark.parametrize(("count", "seconds"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_thresholds_make_sense(count: int, seconds: float) -> None:
    """At least one, in some time."""
    with pytest.raises(ValueError, match="must be"):
        Threshold(count, seconds)
