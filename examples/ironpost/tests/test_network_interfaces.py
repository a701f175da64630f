"""The sources that capture, on a pair of interfaces in a name space of its own; and the program in this very kernel.

These need root. What runs in the kernel needs clang and libbpf, too, and runs where it is asked for.
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
from attrs import evolve
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fsm_plugins import Receiver, Sender, State, channel
from fsm_plugins.orchestrator import PluginSpec
from fsm_plugins.supervision import Backoff, Policy, Supervisor
from ironpost.events import PacketEvent
from ironpost.network import (
    EbpfEngine,
    Interface,
    Packet,
    PortScans,
    SourceError,
    SynFloods,
    Threshold,
    Undecoded,
    Xdp,
    decode,
    libbpf,
    program,
    sources,
    xdp,
)
from ironpost.network.libbpf import Loaded, Refused, Ring

SYSTEM = pytest.mark.skipif(os.environ.get("SYSTEM_TESTS") != "1", reason="programs in the kernel: make test-system")
LIBC = ctypes.CDLL(None, use_errno=True)
NEW_NET = 0x40000000  # CLONE_NEWNET
DROP, PASS = 1, 2  # enum xdp_action
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout


class Pair:
    """Two interfaces, and whatever is sent on ``far`` is received on ``near``."""

    near, far = "near", "far"

    def __init__(self) -> None:
        for name in ("default", "all"):  # or the kernel would talk, too
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        ip("link", "add", self.near, "type", "veth", "peer", "name", self.far)
        for name in ("lo", self.near, self.far):
            ip("link", "set", name, "up")
        self.sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sender.bind((self.far, 0))

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.sender.send(frame)

    def attached(self) -> str:
        """In which mode there is a program on the near one, empty if there is none."""
        (link,) = json.loads(ip("-json", "link", "show", self.near))
        return {1: "native", 2: "generic"}[link["xdp"]["mode"]] if "xdp" in link else ""


@pytest.fixture
def pair() -> Iterator[Pair]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("interfaces need root, and ip of iproute2; see make test-system")
    with Path("/proc/thread-self/ns/net").open() as before:
        if LIBC.unshare(NEW_NET):
            pytest.skip(f"no name spaces here: {os.strerror(ctypes.get_errno())}")
        try:
            made = Pair()
        except (OSError, subprocess.CalledProcessError) as error:
            assert not LIBC.setns(before.fileno(), NEW_NET)
            pytest.skip(f"no pair of interfaces here: {error}")
        try:
            yield made
        finally:
            made.sender.close()
            assert not LIBC.setns(before.fileno(), NEW_NET)


@pytest.fixture(scope="module")
def image() -> bytes:
    try:
        compiled = program.compile_program()
        Loaded(compiled, "ironpost_all_v1", {}).close()
    except (program.CannotCompile, libbpf.Missing) as error:
        pytest.skip(str(error))
    except Refused as refused:
        if refused.log:
            raise
        pytest.skip(f"the kernel takes no programs from here: {refused}")
    return compiled


async def until(condition: Callable[[], bool]) -> None:
    """Let others have their turn until something is the case."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


def descriptors() -> set[str]:
    """Return what this process has open."""
    found = set()
    for each in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(f"{each} {os.readlink(f'/proc/self/fd/{each}')}")
    return {each for each in found if not each.endswith("/fd")}


# Frames.

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
V4 = (ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("10.0.0.2"))
V6 = (ipaddress.ip_address("2001:db8::1"), ipaddress.ip_address("2001:db8::2"))
HOP, ROUTING, FRAGMENT, ESP, AH, OPTIONS = 0, 43, 44, 50, 51, 60


def tcp(sport: int, dport: int, flags: int, words: int = 5) -> bytes:
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 2, words << 4, flags, 1000, 0, 0) + b"\1" * (
        4 * max(0, words - 5)
    )


def udp(sport: int, dport: int) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8, 0)


def frame(
    src: Address,
    dst: Address,
    protocol: int,
    inner: bytes,
    *,
    tags: tuple[int, ...] = (),
    options: int = 0,
    fragment: int = 0,
    padding: int = 0,
) -> bytes:
    link = b"\2" * 6 + b"\4" * 6 + b"".join(struct.pack("!HH", tag, 7) for tag in tags)
    if src.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45 + options, 0, 20 + 4 * options + len(inner), 0, fragment, 64, protocol, 0)
        packet = head + src.packed + dst.packed + b"\1" * (4 * options) + inner
        kind = 0x0800
    else:
        packet = struct.pack("!IHBB", 6 << 28, len(inner), protocol, 64) + src.packed + dst.packed + inner
        kind = 0x86DD
    return link + struct.pack("!H", kind) + packet + b"\0" * padding


def chain(headers: list[int], last: int, inner: bytes, offset: int) -> tuple[int, bytes]:
    """Put extension headers of IPv6 before what is inside."""
    for kind in reversed(headers):
        if kind in (HOP, OPTIONS):
            head = bytes([last, 1, 1, 12]) + b"\0" * 12
        elif kind == ROUTING:
            head = bytes([last, 2, 0, 1]) + b"\0" * 20
        elif kind == AH:
            head = bytes([last, 4, 0, 0]) + b"\0" * 20
        else:
            head = struct.pack("!BBHI", last, 0, offset << 3, 9)
        last, inner = kind, head + inner
    return last, inner


ports = st.integers(0, 65535)
transports = st.one_of(
    st.tuples(st.just(6), st.builds(tcp, ports, ports, st.integers(0, 255), st.integers(0, 15))),
    st.tuples(st.just(17), st.builds(udp, ports, ports)),
    st.tuples(st.sampled_from([1, 58, 2, 132, 59]), st.binary(max_size=12)),
)
tags = st.sampled_from([(), (), (0x8100,), (0x88A8,), (0x88A8, 0x8100), (0x8100, 0x8100)])
padding = st.integers(0, 10)


@st.composite
def frames4(draw: st.DrawFn) -> bytes:
    protocol, inner = draw(transports)
    source = draw(st.ip_addresses(v=4))
    options, fragment = draw(st.integers(0, 10)), draw(st.sampled_from([0, 0, 0x4000, 0x2000, 0x2001, 0x1FFF]))
    return frame(
        source, V4[1], protocol, inner, tags=draw(tags), options=options, fragment=fragment, padding=draw(padding)
    )


@st.composite
def frames6(draw: st.DrawFn, extended: bool = True) -> bytes:
    protocol, inner = draw(transports)
    headers = draw(st.lists(st.sampled_from([HOP, ROUTING, OPTIONS, AH]), max_size=4 if extended else 0))
    if extended and draw(st.booleans()):
        headers.append(FRAGMENT)  # last: the library of the parser stumbles over what comes after it
    protocol, inner = chain(headers, protocol, inner, draw(st.sampled_from([0, 0, 1, 8191])))
    return frame(draw(st.ip_addresses(v=6)), V6[1], protocol, inner, tags=draw(tags), padding=draw(padding))


# The program, run on frames that no interface has.


class _Run(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("input", ctypes.c_char_p),
        ("output", ctypes.c_void_p),
        ("input_size", ctypes.c_uint32),
        ("output_size", ctypes.c_uint32),
        ("context_in", ctypes.c_void_p),
        ("context_out", ctypes.c_void_p),
        ("context_in_size", ctypes.c_uint32),
        ("context_out_size", ctypes.c_uint32),
        ("result", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
    )


class Bench:
    """A program that is attached to nothing, and shown one frame at a time."""

    def __init__(self, image: bytes, *, everything: bool = True, block: tuple[xdp.Network, ...] = ()) -> None:
        source = Xdp("none", block, all=everything, ring=1 << 16)
        self.loaded = source._load(image)
        self.reader: Ring = self.loaded.ring("records")
        self.source = source

    def show(self, raw: bytes) -> tuple[int, list[Packet]]:
        """Return what becomes of the frame, and what is recorded of it."""
        run = _Run(ctypes.sizeof(_Run), raw, None, len(raw))
        result = libbpf.library().bpf_prog_test_run_opts(self.loaded.fileno(), ctypes.byref(run))
        assert result == 0, os.strerror(-result)
        return run.result, [evolve(xdp.read_record(record, 0), time=0.0) for record in self.reader.take(100)]

    def counts(self) -> dict[str, int]:
        self.source._count(xdp._Held(self.loaded, self.reader, -1))
        counts = dict(self.source.counts)
        assert counts["seen"] == counts["blocked"] + counts["passed"]
        assert counts["passed"] == sum(counts[each] for each in ("recorded", "lost", "not IP", "malformed", "unneeded"))
        return counts

    def close(self) -> None:
        self.reader.close()
        self.loaded.close()


@pytest.fixture(scope="module")
def bench(image: bytes) -> Iterator[Bench]:
    made = Bench(image)
    yield made
    made.close()


def decoded(raw: bytes) -> list[Packet]:
    try:
        return [decode(1, 0.0, raw)]
    except Undecoded:
        return []


@SYSTEM
@FEW
@given(frames4() | frames6())
@example(frame(*V6, *chain([HOP, FRAGMENT], 6, tcp(1, 2, 2), 5)))
@example(frame(*V6, ESP, b"encrypted"))
@example(frame(*V4, 17, udp(1, 2)[:4], padding=30))
@example(frame(*V6, 17, udp(1, 2)[:4], padding=30))
def test_the_program_reads_frames_as_the_parser_does(bench: Bench, raw: bytes) -> None:
    """Ethernet with tags, IPv4 with options, IPv6 with extension headers, fragments and padding."""
    assert bench.show(raw) == (PASS, decoded(raw))
    bench.counts()


@SYSTEM
@FEW
@given(st.data())
def test_frames_cut_off_anywhere_are_read_as_the_parser_does(bench: Bench, data: st.DataObject) -> None:
    """Down to the Ethernet header, than which the kernel takes nothing shorter.

    Cut within an extension header, one of them may still say from whom it is when the other calls it malformed.
    """
    extended = data.draw(st.booleans())
    raw = data.draw(frames6() if extended else frames4() | frames6(extended=False))
    raw = raw[: data.draw(st.integers(14, len(raw)))]
    result, packets = bench.show(raw)
    expected = decoded(raw)
    assert result == PASS
    assert packets == expected or (extended and not (packets and expected))


@SYSTEM
@FEW
@given(st.data())
def test_frames_with_broken_bytes_are_read_as_the_parser_does(bench: Bench, data: st.DataObject) -> None:
    """Whatever the header of IPv4 says of its lengths, its offset and its protocol."""
    raw = bytearray(frame(*V4, 6, tcp(1, 2, 2) + b"x" * 30))
    for place, value in data.draw(st.lists(st.tuples(st.integers(14, len(raw) - 1), st.integers(0, 255)), max_size=6)):
        raw[place] = value
    assert bench.show(bytes(raw)) == (PASS, decoded(bytes(raw)))


@SYSTEM
@FEW
@given(st.binary(min_size=14, max_size=200), st.sampled_from([None, 0x0800, 0x86DD, 0x8100, 0x88A8]))
def test_any_frame_is_counted_once(bench: Bench, raw: bytes, kind: int | None) -> None:
    """And passed on."""
    if kind is not None:
        raw = raw[:12] + struct.pack("!H", kind) + raw[14:]
    before = bench.counts()
    result, packets = bench.show(raw)
    after = bench.counts()
    assert result == PASS and len(packets) <= 1
    assert after["seen"] == before["seen"] + 1 and after["recorded"] == before["recorded"] + len(packets)


@SYSTEM
def test_headers_behind_that_of_a_fragment(bench: Bench) -> None:
    """Which the parser calls malformed: they hide nothing from the program, and in a later fragment there are none."""
    for offset in (0, 9):
        raw = frame(*V6, *chain([FRAGMENT, OPTIONS, AH], 6, tcp(7, 22, 0x02), offset))
        (packet,) = bench.show(raw)[1]
        assert (packet.protocol, packet.dport, packet.opens) == (("tcp", 22, True) if not offset else ("60", 0, False))


@SYSTEM
def test_what_is_no_packet_has_a_reason(bench: Bench) -> None:
    """ARP is not IP; half a header is broken."""
    for raw, reason in (
        (b"\2" * 12 + b"\x08\x06" + b"\0" * 28, "not IP"),
        (frame(*V4, 6, tcp(1, 2, 2))[:30], "malformed"),
        (frame(*V6, 6, tcp(1, 2, 2))[:50], "malformed"),
        (frame(*V4, 6, tcp(1, 2, 2), tags=(0x8100,))[:16], "malformed"),
    ):
        before = bench.counts()
        assert bench.show(raw) == (PASS, [])
        assert bench.counts()[reason] == before[reason] + 1


networks = st.lists(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
        st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
    ).map(lambda pair: ipaddress.ip_network(pair, strict=False)),
    max_size=6,
)


@SYSTEM
@settings(FEW, max_examples=40)
@given(networks, st.data())
def test_packets_from_blocked_networks_are_dropped(image: bytes, block: list[xdp.Network], data: st.DataObject) -> None:
    """Those and no others, whichever prefix is longest; the library of Python says which those are."""
    made = Bench(image, block=tuple(block))
    try:
        inside = [each[data.draw(st.integers(0, each.num_addresses - 1))] for each in block]
        beside = [each.network_address - 1 for each in block if int(each.network_address)]
        for source in [*inside, *beside, V4[0], V6[0]]:
            blocked = any(source in each for each in block)
            target = V4[1] if source.version == 4 else V6[1]
            raw = frame(source, target, 6, tcp(1, 2, 2))
            assert made.show(raw) == ((DROP, []) if blocked else (PASS, decoded(raw)))
        counts = made.counts()
        assert counts["recorded"] == counts["passed"] and (counts["blocked"] > 0) == bool(block)
    finally:
        made.close()


hosts = st.sampled_from([ipaddress.ip_address(f"10.0.0.{number}") for number in (1, 2, 3)])
few_ports = st.integers(1, 4)
Segment: TypeAlias = tuple[Address, Address, int, int, int]


def half_open_but(source: Address, target: Address, sport: int, dport: int, flags: int) -> list[Segment]:
    """Three connections are asked for, and something comes between."""
    first, second, third = ((*V4, port, 1, 0x02) for port in (1, 2, 3))
    return [first, second, (source, target, sport, dport, flags), third]


segments = st.tuples(
    hosts, hosts, few_ports, few_ports, st.sampled_from([0x02, 0x02, 0x10, 0x12, 0x18, 0x04, 0x14, 0x01, 0x00])
)


@SYSTEM
@settings(FEW, max_examples=60)
@given(st.lists(segments, max_size=60))
@example(half_open_but(*V4, 1, 1, 0x10))
@example(half_open_but(*V4, 1, 1, 0x14))
@example(half_open_but(V4[1], V4[0], 1, 1, 0x14))
def test_findings_do_not_need_the_records_that_are_left_out(image: bytes, conversation: list[Segment]) -> None:
    """The detectors find the same in what they need as in everything; an established connection is not recorded."""
    made = Bench(image, everything=False)

    def found(packets: list[tuple[float, Packet]]) -> list[tuple[float, str]]:
        detectors = (PortScans(Threshold(3, 50.0), 0.0), SynFloods(Threshold(3, 50.0), 0.0))
        observed = ((at, each.observe(evolve(packet, time=at))) for at, packet in packets for each in detectors)
        return [(at, finding.detail) for at, finding in observed if finding is not None]

    try:
        everything, needed = [], []
        for number, (source, target, sport, dport, flags) in enumerate(conversation):
            raw = frame(source, target, 6, tcp(sport, dport, flags))
            everything += [(float(number), packet) for packet in decoded(raw)]
            needed += [(float(number), packet) for packet in made.show(raw)[1]]
        assert found(needed) == found(everything)
        assert set(needed) <= set(everything)
        for _ in range(2):
            made.show(frame(*V4, 6, tcp(9, 9, 0x10)))
        assert made.show(frame(*V4, 6, tcp(9, 9, 0x10))) == made.show(frame(*V4, 17, udp(1, 2))) == (PASS, [])
        made.counts()
    finally:
        made.close()


# On an interface.

MODES: list[xdp.Mode] = ["native", "generic"]


async def gather(batches: AsyncGenerator[list[Packet], None], count: int) -> list[Packet]:
    found: list[Packet] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await anext(batches)
    return found


SENT = [
    frame(*V4, 6, tcp(40000, 22, 0x02)),
    frame(*V4, 6, tcp(40000, 22, 0x10) + b"hello"),
    frame(*V4, 17, udp(53, 5353)),
    frame(*V4, 1, b"\x08\0\0\0\0\0\0\0"),
    frame(*V6, 6, tcp(40000, 443, 0x02)),
    frame(*V6, *chain([HOP, FRAGMENT], 17, udp(1, 2), 7)),
    frame(*V4, 6, tcp(1, 2, 0x04), fragment=0x2000, options=3),
]


@SYSTEM
@pytest.mark.parametrize("mode", MODES)
def test_both_sources_see_the_same(pair: Pair, image: bytes, mode: xdp.Mode) -> None:
    """Every packet, in order, with its time."""

    async def main() -> None:
        source, other = Xdp(pair.near, mode=mode), Interface(pair.near)
        await source.open()
        await other.open()
        pair.send(*SENT)
        async with aclosing(source.batches()) as mine, aclosing(other.batches()) as others:
            found = await gather(mine, len(SENT))
            seen = await gather(others, len(SENT))
        source.close()
        other.close()
        for ours, theirs, raw in zip(found, seen, SENT, strict=True):
            assert evolve(ours, time=0.0) == evolve(theirs, time=0.0) == decode(1, 0.0, raw)
            assert abs(ours.time - theirs.time) < 5
        assert source.counts["seen"] == source.counts["recorded"] == len(SENT)
        assert source.counts["unread"] == 0

    asyncio.run(main())


@SYSTEM
@pytest.mark.parametrize("mode", MODES)
def test_a_blocked_peer_is_not_heard(pair: Pair, image: bytes, mode: xdp.Mode) -> None:
    """Neither by a packet socket nor by a server, and again when the source is closed."""
    ip("address", "add", "10.0.0.2/24", "dev", pair.near)
    Path(f"/proc/sys/net/ipv4/conf/{pair.near}/rp_filter").write_text("0")
    address = json.loads(ip("-json", "link", "show", pair.near))[0]["address"]
    datagram = udp(9, 5000)[:4] + struct.pack("!HH", 8, 0)

    def to_server(source: str) -> bytes:
        raw = bytearray(frame(ipaddress.ip_address(source), V4[1], 17, datagram))
        raw[:6] = bytes.fromhex(address.replace(":", ""))
        words = struct.unpack("!10H", raw[14:34])
        total = sum(words)
        total = (total & 0xFFFF) + (total >> 16)
        raw[24:26] = struct.pack("!H", 0xFFFF - (total & 0xFFFF) - (total >> 16))
        return bytes(raw)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        source = Xdp(pair.near, tuple(xdp.read_networks(("10.0.0.128/25", "2001:db8::/32"))), mode)
        await source.open()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.setblocking(False)
            server.bind(("10.0.0.2", 5000))
            pair.send(to_server("10.0.0.200"), to_server("10.0.0.7"), frame(*V6, 17, udp(1, 2)))
            async with asyncio.timeout(20):
                assert (await loop.sock_recvfrom(server, 100))[1] == ("10.0.0.7", 9)
                async with aclosing(source.batches()) as batches:
                    assert [each.src for each in await gather(batches, 1)] == ["10.0.0.7"]
                source.close()
                assert source.counts["blocked"] == 2 and source.counts["passed"] == 1
                pair.send(to_server("10.0.0.200"))
                assert (await loop.sock_recvfrom(server, 100))[1] == ("10.0.0.200", 9)

    asyncio.run(main())


@SYSTEM
@pytest.mark.parametrize("mode", MODES)
def test_what_a_full_ring_loses_is_counted(pair: Pair, image: bytes, mode: xdp.Mode) -> None:
    """sent == received + lost, and the trouble says how many."""

    async def main() -> None:
        source = Xdp(pair.near, mode=mode, ring=4096)
        await source.open()
        pair.send(*[SENT[0]] * 500)
        async with aclosing(source.batches()) as batches:
            first = await gather(batches, 1)
            pair.send(*[SENT[0]] * 10)
            received = len(first) + len(await gather(batches, 10))
        pair.send(*[SENT[0]] * 20)  # nobody reads these
        source.close()
        counts = source.counts
        assert counts["seen"] == 530 == received + counts["lost"] + counts["unread"]
        assert 400 < counts["lost"] < 500 and counts["unread"] == 20
        assert source.trouble == f"{counts['lost']} packets came faster than they could be read"

    asyncio.run(main())


def engine(pair: Pair, capacity: int = 5000, **wanted: Any) -> tuple[EbpfEngine, Receiver[PacketEvent]]:
    sender: Sender[PacketEvent]
    packets: Receiver[PacketEvent]
    sender, packets = channel(capacity)
    return EbpfEngine(packets=sender, **{"source": "xdp", "interface": pair.near, **wanted}), packets


@SYSTEM
@pytest.mark.parametrize("report", ["all", "findings"])
def test_a_scan_is_found_from_the_interface_to_the_channel(
    pair: Pair, image: bytes, report: Literal["all", "findings"]
) -> None:
    """With the counts of the source in the account of the plugin."""

    async def main() -> None:
        plugin, packets = engine(pair, report=report, port_scan=Threshold(20, 60.0))
        await plugin.init()
        await plugin.start()
        pair.send(*(frame(*V4, 6, tcp(40000, port, 0x02)) for port in range(1, 31)))
        events: list[PacketEvent] = []
        async with asyncio.timeout(20):
            while not any(event.finding for event in events):
                events.append(await packets.recv())
        assert [event.finding for event in events if event.finding] == ["port-scan"]
        assert events[-1].detail == "10.0.0.1 tried 20 ports of 10.0.0.2 within 60 s"
        await until(lambda: plugin.counts["packets"] == 30)
        assert (await plugin.health_check()).is_healthy
        await plugin.stop()
        account = plugin.account()
        assert account["source: seen"] == account["source: recorded"] == account["packets"] == 30
        assert plugin.counts["reported"] == (30 if report == "all" else 0)

    asyncio.run(main())
    assert not pair.attached()


@SYSTEM
def test_a_program_compiled_beforehand_is_taken(pair: Pair, image: bytes, tmp_path: Path) -> None:
    """Without a compiler; and one of another kind is refused."""
    done = subprocess.run([sys.executable, "-m", "ironpost.network.program", tmp_path / "xdp.o"], env=environment())
    assert done.returncode == 0
    source = Xdp(pair.near, object=tmp_path / "xdp.o")
    other = Xdp(pair.near, object=tmp_path / "other.o")
    text = (tmp_path / "xdp.o").read_bytes()
    (tmp_path / "other.o").write_bytes(text.replace(b"ironpost_all_v1", b"ironpost_all_v0"))

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(tmp_path))
            with pytest.raises(SourceError, match="is no packet program of this version"):
                await other.open()
            with pytest.raises(SourceError, match="clang is missing"):
                await Xdp(pair.near).open()
            await source.open()
        assert pair.attached()
        source.close()

    asyncio.run(main())


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


# Whatever happens, the program is taken off, and nothing stays open.


@SYSTEM
@pytest.mark.parametrize("mode", [*MODES, "auto"])
def test_nothing_is_left_by_a_stop_and_a_failed_start(pair: Pair, image: bytes, mode: xdp.Mode) -> None:
    """Neither on the interface nor in the process."""

    async def main() -> None:
        source = Xdp(pair.near, mode=mode)
        await source.open()
        assert pair.attached() == ("native" if mode == "auto" else mode)
        source.close()
        assert not pair.attached()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(libbpf, "_XDP", 999)
            with pytest.raises(SourceError):
                await Xdp(pair.near, mode=mode).open()
            patch.undo()
            patch.setattr(Ring, "__attrs_post_init__", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await Xdp(pair.near, mode=mode).open()
        plugin, _ = engine(pair, mode=mode)
        await plugin.init()
        assert pair.attached()
        await plugin.fail(ValueError("another could not start"))
        await plugin.stop()
        assert not pair.attached()

    before = descriptors()
    asyncio.run(main())
    assert descriptors() == before


@SYSTEM
def test_nothing_is_left_by_a_start_that_is_cancelled(pair: Pair, image: bytes, tmp_path: Path) -> None:
    """At any time: before it compiles, while it loads, and when it is attached already."""
    (tmp_path / "xdp.o").write_bytes(image)

    async def main() -> None:
        done = cancelled = 0
        for turn in range(40):
            plugin, _ = engine(pair, object=tmp_path / "xdp.o")
            starting = asyncio.create_task(plugin.init())
            await asyncio.sleep(0.0006 * turn)
            starting.cancel()
            try:
                await starting
                done += 1
            except asyncio.CancelledError:
                cancelled += 1
            await plugin.stop()
            assert not pair.attached()
        assert cancelled > 5

    before = descriptors()
    asyncio.run(main())
    assert descriptors() == before


KILLED = """
import asyncio, sys
from ironpost.network import Xdp

async def main():
    await Xdp(sys.argv[1], mode=sys.argv[2]).open()
    print("attached", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@SYSTEM
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_left_by_a_process_that_is_killed(pair: Pair, image: bytes, mode: xdp.Mode) -> None:
    """With SIGKILL, which nobody can handle."""
    command = [sys.executable, "-c", KILLED, pair.near, mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"attached\n"
        assert pair.attached()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    for _ in range(1000):  # the kernel releases what a process had after it told that it ended
        if not pair.attached():
            break
    assert not pair.attached()


@SYSTEM
@pytest.mark.parametrize("others", ["link", "native", "generic"])
@pytest.mark.parametrize("mode", [*MODES, "auto"])
def test_another_program_stays(pair: Pair, image: bytes, mode: xdp.Mode, others: str) -> None:
    """However it was attached, and whatever mode is wanted; it goes on seeing packets."""
    flags = {"native": 4, "generic": 2}
    first = Bench(image)
    index = socket.if_nametoindex(pair.near)
    if others == "link":
        first.loaded.attach(index, flags["generic" if mode == "generic" else "native"])
    else:
        assert libbpf.library().bpf_xdp_attach(index, first.loaded.fileno(), flags[others], None) == 0
    with pytest.raises(SourceError, match="another XDP program is attached to 'near', and stays; end what attached it"):
        asyncio.run(Xdp(pair.near, mode=mode).open())
    pair.send(SENT[0])
    for _ in range(1000):
        if first.counts()["seen"]:
            break
    assert first.counts()["seen"] == 1
    first.close()


@SYSTEM
def test_what_the_verifier_refuses_is_told(pair: Pair, image: bytes, tmp_path: Path) -> None:
    """With the end of its log, in one line."""
    text = program.SOURCE.read_text()
    check = "    if ((void *)(header + 20) > data_end)\n        return MALFORMED;\n    length"
    assert check in text
    (tmp_path / "xdp.c").write_text(text.replace(check, "    length"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "SOURCE", tmp_path / "xdp.c")
        with pytest.raises(
            SourceError, match=r"the kernel's verifier refused the program \(Linux .*\): .*invalid access"
        ):
            asyncio.run(Xdp(pair.near).open())
        (tmp_path / "xdp.c").write_text(text.replace("struct record record = {};", "struct recor record = {};"))
        with pytest.raises(SourceError, match=r"clang failed: .*xdp\.c:\d+:\d+: error: "):
            asyncio.run(Xdp(pair.near).open())


UNPRIVILEGED = """
import asyncio, ctypes, struct, sys
from ironpost.network import SourceError, Xdp

header, none = struct.pack("IiIII", 0x20080522, 0, 0, 0, 0), b"\\0" * 24
assert ctypes.CDLL(None).capset(header, none) == 0
try:
    asyncio.run(Xdp(sys.argv[1]).open())
except SourceError as error:
    print(error)
"""


@SYSTEM
def test_privilege_that_is_missing_is_told(pair: Pair, image: bytes) -> None:
    """In one line, with what to do."""
    command = [sys.executable, "-c", UNPRIVILEGED, pair.near]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert done.stdout.startswith("to watch by XDP needs CAP_BPF and CAP_NET_ADMIN; run as root"), done
    assert done.stderr == "" and done.stdout.count("\n") == 1


# The interface goes away, under either source.

SOURCES = [pytest.param("af_packet"), pytest.param("xdp", marks=SYSTEM)]
GONE = [("set", "near", "down"), ("delete", "near")]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("how", GONE, ids=lambda how: how[0])
def test_an_interface_that_goes_away_fails_the_plugin(
    pair: Pair, request: pytest.FixtureRequest, source: str, how: tuple[str, ...]
) -> None:
    """With what happened and what to do; what came before was reported, and nothing stays open."""
    if source == "xdp":
        request.getfixturevalue("image")

    async def main() -> None:
        plugin, packets = engine(pair, source=source)
        await plugin.init()
        await plugin.start()
        sent = [*SENT, b"\2" * 12 + b"\x08\x06" + b"\0" * 28]
        pair.send(*sent)
        ip("link", *how)
        await until(lambda: plugin.state == State.FAILED)
        error = str(plugin.failure)
        if how[0] == "set":
            assert "the interface 'near' is down; switch it on: ip link set dev near up" in error
        else:
            assert "the interface 'near' was removed" in error or "there is no interface 'near'; there are: lo" in error
        await plugin.stop()
        account = plugin.account()
        received = len(packets)
        assert account["packets"] == account["reported"] == received
        assert received + account.get("source: not IP", 0) == len(sent)
        # It cannot be started again before somebody has seen to it.
        again, _ = engine(pair, source=source)
        with pytest.raises(Exception, match=r"is down; switch it on|there is no interface 'near'"):
            await again.init()
        await again.stop()
        if how[0] == "set":
            ip("link", "set", "near", "up")
            once_more, _ = engine(pair, source=source)
            await once_more.init()
            await once_more.start()
            await once_more.stop()

    before = descriptors()
    asyncio.run(main())
    assert descriptors() == before


@SYSTEM
@pytest.mark.parametrize("how", GONE, ids=lambda how: how[0])
def test_what_was_recorded_before_the_interface_went_is_given(pair: Pair, image: bytes, how: tuple[str, ...]) -> None:
    """Though the source knows already that it is gone."""

    async def main() -> None:
        source = Xdp(pair.near)
        await source.open()
        pair.send(*SENT)
        ip("link", *how)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(xdp, "_LOOK", 0.0)
            async with aclosing(source.batches()) as batches:
                assert len(await gather(batches, len(SENT))) == len(SENT)
                with pytest.raises(SourceError, match=r"was removed|is down"):
                    await anext(batches)
        source.close()
        assert source.counts["unread"] == 0

    asyncio.run(main())


def test_what_a_packet_socket_loses_is_counted(pair: Pair) -> None:
    """sent == received + dropped + unread."""

    async def main() -> None:
        source = Interface(pair.near)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sources, "_BUFFER", 20_000)
            await source.open()
        pair.send(*[SENT[0]] * 500)
        async with aclosing(source.batches()) as batches:
            received = len(await anext(batches))
        pair.send(*[SENT[0]] * 7)
        source.close()
        assert source.counts["dropped by the kernel"] > 400 and source.counts["unread"] == 7
        assert received + source.counts["dropped by the kernel"] + source.counts["unread"] == 507

    asyncio.run(main())


@pytest.mark.parametrize("source", SOURCES)
def test_a_supervisor_brings_it_back_with_the_interface(
    pair: Pair, request: pytest.FixtureRequest, source: str
) -> None:
    """It tries while the interface is down, with the reason, and sees packets when it is up again."""
    if source == "xdp":
        request.getfixturevalue("image")
    made: list[EbpfEngine] = []

    def make(**settings: Any) -> EbpfEngine:
        made.append(EbpfEngine(packets=None, **settings))
        return made[-1]

    async def main() -> None:
        spec = PluginSpec("ebpf-engine", make, {"source": source, "interface": pair.near})
        policy = Policy(intensity=1000, period=1, backoff=Backoff(initial=0.05, factor=1, jitter=0))
        supervisor = Supervisor([spec], policy=policy)
        told: list[str] = []
        supervisor.subscribe(lambda event: told.append(str(event)))
        async with supervisor.running():
            pair.send(SENT[0])
            await until(lambda: made[0].counts["packets"] == 1)
            ip("link", "set", pair.near, "down")
            await until(lambda: len(made) > 3)
            ip("link", "set", pair.near, "up")
            await until(lambda: made[-1].state == State.RUNNING)
            pair.send(SENT[0])
            await until(lambda: made[-1].counts["packets"] == 1)
        assert any("the interface 'near' is down; switch it on: ip link set dev near up" in event for event in told)

    before = descriptors()
    asyncio.run(main())
    assert descriptors() == before and not pair.attached()


@pytest.mark.parametrize("kind", SOURCES)
def test_a_busy_interface_leaves_others_their_turn(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    """A source that always has more gives way after every batch, and no batch is longer than another may be."""
    if kind == "xdp":
        request.getfixturevalue("image")

    async def main() -> None:
        source = Interface(pair.near) if kind == "af_packet" else Xdp(pair.near)
        await source.open()
        pair.send(*[SENT[0]] * 2000)
        turns = found = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with aclosing(source.batches()) as batches:
            task = asyncio.create_task(other())
            async with asyncio.timeout(20):
                while found < 2000:
                    before = turns
                    batch = await anext(batches)
                    assert len(batch) <= sources.BATCH
                    assert not found or turns > before
                    found += len(batch)
            task.cancel()
        source.close()

    asyncio.run(main())
