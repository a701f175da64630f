"""Packets from files, from the connections of a machine, and what is made of any bytes at all."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import struct
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import dpkt  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ironpost.network import (
    Capture,
    Connection,
    Connections,
    Interface,
    Packet,
    PortScans,
    SourceError,
    Threshold,
    Undecoded,
    decode,
)
from ironpost.network.sources import Source, changes, list_connections
from ironpost.sample import capture as sample

FEW = sample.frames()[:3]


async def drain(source: Source) -> list[Packet]:
    await source.open()
    try:
        return [packet async for batch in source.batches() for packet in batch]
    finally:
        source.close()


# Frames.


def frame(src: str, dst: str, inner: bytes, protocol: int, version: int = 4) -> bytes:
    if version == 4:
        ip = dpkt.ip.IP(src=socket.inet_aton(src), dst=socket.inet_aton(dst), p=protocol, data=inner)
        ip.len = len(ip)
        kind = 0x0800
    else:
        addresses = (socket.inet_pton(socket.AF_INET6, each) for each in (src, dst))
        ip = struct.pack("!IHBB", 6 << 28, len(inner), protocol, 64) + b"".join(addresses) + inner
        kind = 0x86DD
    return bytes(dpkt.ethernet.Ethernet(src=b"\2" * 6, dst=b"\4" * 6, type=kind, data=bytes(ip)))


def tcp(sport: int, dport: int, flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 2, 5 << 4, flags, 1000, 0, 0)


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 255), st.sampled_from([4, 6]))
def test_tcp_is_what_the_header_says(sport: int, dport: int, flags: int, version: int) -> None:
    """The header is written by hand here; the roles follow from the flags."""
    src, dst = ("10.0.0.1", "10.0.0.2") if version == 4 else ("fe80::1", "2001:db8::2")
    raw = frame(src, dst, tcp(sport, dport, flags), 6, version)
    packet = decode(1, 12.5, raw)
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    assert packet.flags == tuple(name for bit, name in enumerate(names) if flags & 1 << bit)
    assert (packet.time, packet.protocol, packet.src, packet.dst) == (12.5, "tcp", src, dst)
    assert (packet.sport, packet.dport, packet.length) == (sport, dport, len(raw))
    on = set(packet.flags)
    assert packet.probes == on.isdisjoint({"ACK", "RST"})
    assert packet.opens == ("SYN" in on and on.isdisjoint({"ACK", "RST"}))
    assert packet.settles == ("RST" in on or ("ACK" in on and "SYN" not in on))
    assert decode(101, 12.5, raw[14:]) == decode(12, 12.5, raw[14:])


def test_other_protocols_and_fragments() -> None:
    """UDP has ports, ICMP and what has only a number have none, and a fragment has no header to read them from."""
    udp = decode(1, 0.0, frame("10.0.0.1", "10.0.0.2", struct.pack("!HHHH", 53, 5353, 8, 0), 17))
    assert (udp.protocol, udp.sport, udp.dport, udp.probes) == ("udp", 53, 5353, False)
    assert decode(1, 0.0, frame("10.0.0.1", "10.0.0.2", b"\x08\0\0\0\0\0\0\0", 1)).protocol == "icmp"
    assert decode(1, 0.0, frame("10.0.0.1", "10.0.0.2", b"x" * 8, 132)).protocol in ("132", "sctp")
    fragment = bytearray(frame("10.0.0.1", "10.0.0.2", tcp(1, 2, 2), 6))
    fragment[20:22] = struct.pack("!H", 100)  # the offset
    later = decode(1, 0.0, bytes(fragment))
    assert (later.protocol, later.sport, later.dport, later.probes) == ("tcp", 0, 0, False)
    options, piece = bytes([44, 0, 1, 4, 0, 0, 0, 0]), struct.pack("!BBHI", 6, 0, 9 << 3, 1)
    sixth = decode(1, 0.0, frame("fe80::1", "fe80::2", options + piece + tcp(1, 2, 2), 0, 6))
    assert (sixth.protocol, sixth.sport, sixth.dport, sixth.probes) == ("tcp", 0, 0, False)
    encrypted = bytearray(frame("fe80::1", "fe80::2", b"encrypted", 59, 6))
    encrypted[20] = 50
    assert decode(1, 0.0, bytes(encrypted)).protocol == "50"


@given(st.sampled_from([0, 1, 12, 101, 108, 113, 228, 229, 276, 147]), st.binary(max_size=120))
@example(1, b"")
@example(101, b"")
def test_any_frame_is_a_packet_or_a_reason(link: int, raw: bytes) -> None:
    """Without another exception."""
    try:
        decode(link, 0.0, raw)
    except Undecoded as reason:
        assert str(reason) in ("malformed", "not IP", "unknown link type")


@given(st.data())
def test_a_frame_with_broken_bytes_is_a_packet_or_a_reason(data: st.DataObject) -> None:
    """Real frames, cut off and changed anywhere: these get far into the decoder."""
    four = frame("10.0.0.1", "10.0.0.2", tcp(1, 2, 2) + b"x" * 30, 6)
    six = frame("fe80::1", "fe80::2", bytes([6, 1, 0, 0, 0, 0, 0, 0] * 3) + tcp(1, 2, 2), 0, 6)
    raw = bytearray(data.draw(st.sampled_from([four, six])))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=6)):
        raw[place] = value
    with suppress(Undecoded):
        decode(1, 0.0, bytes(raw[: data.draw(st.integers(0, len(raw)))]))


# Capture files.


def test_the_sample_capture_is_read_whole(tmp_path: Path) -> None:
    """Every frame, with its time, as pcap and as pcapng."""
    sample.write(tmp_path)
    found = asyncio.run(drain(Capture(tmp_path / "capture.pcap")))
    assert len(found) == len(sample.frames()) == sample.PACKETS
    assert found[0].time == pytest.approx(sample.frames()[0][0], abs=1e-5)
    with (tmp_path / "b.pcapng").open("wb") as file:
        writer = dpkt.pcapng.Writer(file)
        for at, raw in sample.frames():
            writer.writepkt(raw, ts=at)
    again = asyncio.run(drain(Capture(tmp_path / "b.pcapng")))
    assert [(each.src, each.dport) for each in again] == [(each.src, each.dport) for each in found]


def test_what_is_no_packet_is_counted(tmp_path: Path) -> None:
    """The frames are the packets and the reasons."""
    arp = b"\2" * 12 + b"\x08\x06" + b"\0" * 28
    frames = [frame("10.0.0.1", "10.0.0.2", tcp(1, 2, 2), 6), arp, b"\0" * 5, arp]
    with (tmp_path / "a.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for raw in frames:
            writer.writepkt(raw, ts=1.0)
    source = Capture(tmp_path / "a.pcap")
    assert len(asyncio.run(drain(source))) == 1
    assert source.counts == Counter({"not IP": 2, "malformed": 1})


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "units"), [(0xA1B2C3D4, 1_000_000), (0xA1B23C4D, 1_000_000_000)])
def test_pcap_of_either_order_and_precision(tmp_path: Path, order: str, magic: int, units: int) -> None:
    """With the length on the wire, of which less may have been captured."""
    raw = frame("10.0.0.1", "10.0.0.2", tcp(1, 2, 2), 6)
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    record = struct.pack(f"{order}IIII", 7, units // 4, len(raw), 1500)
    (tmp_path / "a.pcap").write_bytes(head + record + raw)
    (packet,) = asyncio.run(drain(Capture(tmp_path / "a.pcap")))
    assert (packet.time, packet.length, packet.opens) == (7.25, 1500, True)


def test_a_file_that_breaks_off_gives_what_there_is(tmp_path: Path) -> None:
    """And says so."""
    sample.write(tmp_path)
    whole = (tmp_path / "capture.pcap").read_bytes()
    (tmp_path / "cut.pcap").write_bytes(whole[: 24 + sum(16 + len(raw) for _, raw in sample.frames()[:10]) + 7])
    source = Capture(tmp_path / "cut.pcap")
    found = asyncio.run(drain(source))
    assert len(found) == 10
    assert source.counts == Counter({"broken off": 1})
    assert source.trouble.endswith("cut.pcap is broken: it breaks off in the header of a frame")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a" + b"\0" * 40])
def test_a_file_that_is_no_capture_is_refused(tmp_path: Path, content: bytes) -> None:
    """By name; so is one that is not there."""
    (tmp_path / "a.pcap").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.pcap is no pcap or pcapng file: "):
        asyncio.run(drain(Capture(tmp_path / "a.pcap")))
    with pytest.raises(SourceError, match=r"none\.pcap cannot be read: No such file"):
        asyncio.run(drain(Capture(tmp_path / "none.pcap")))


@given(st.data())
def test_any_file_is_a_capture_or_none(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Real captures of both kinds, cut off and changed anywhere: no other exception, and an end."""
    buffer = io.BytesIO()
    writer = data.draw(st.sampled_from([dpkt.pcap.Writer, dpkt.pcapng.Writer]))(buffer)
    for at, raw in FEW:
        writer.writepkt(raw, ts=at)
    content = bytearray(buffer.getvalue())
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=6)):
        content[place] = value
    path = tmp_path_factory.mktemp("fuzz") / "a.pcap"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    source = Capture(path)
    try:
        asyncio.run(drain(source))
    except SourceError as error:
        assert "a.pcap" in str(error)


# Connections.

ports = st.sampled_from([22, 80, 40000, 40001])
sockets = st.builds(
    Connection,
    st.sampled_from(["tcp", "udp"]),
    st.tuples(st.just("10.0.0.2"), ports),
    st.just(("", 0)) | st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.3"]), ports),
    st.sampled_from(["LISTEN", "SYN_RECV", "SYN_SENT", "ESTABLISHED", "CLOSE_WAIT"]),
)


def distinct(found: list[Connection]) -> list[Connection]:
    return list({each[:3]: each for each in found}.values())


@given(st.lists(sockets, max_size=8).map(distinct), st.lists(sockets, max_size=8).map(distinct), st.booleans())
def test_a_connection_is_told_once(before: list[Connection], after: list[Connection], first: bool) -> None:
    """What is there still is not told again, unless it was half-open and is not any more."""
    packets, lone = changes(before, after, 5.0, first=first)
    assert lone == sum(each.peer == ("", 0) for each in after)
    assert changes(after, after, 6.0)[0] == []
    half = ("SYN_SENT", "SYN_RECV")
    was = {each[:3]: each.state in half for each in before}
    peers = [each for each in after if each.peer != ("", 0)]
    told = [each for each in peers if each[:3] not in was or (was[each[:3]] and each.state not in half)]
    assert len(packets) == len(told)
    for packet, each in zip(packets, told, strict=True):
        assert {(packet.src, packet.sport), (packet.dst, packet.dport)} == {each.local, each.peer}
        assert not (first and (packet.probes or packet.opens))
        assert packet.settles == (each[:3] in was)


def test_who_opened_a_connection() -> None:
    """Whoever reaches a port that is listened on came from outside."""
    listening = Connection("tcp", ("::", 22), ("", 0), "LISTEN")
    inbound = Connection("tcp", ("10.0.0.2", 22), ("10.0.0.1", 40000), "ESTABLISHED")
    outbound = Connection("tcp", ("10.0.0.2", 40001), ("10.0.0.9", 443), "ESTABLISHED")
    asking = Connection("tcp", ("10.0.0.2", 22), ("10.0.0.9", 443), "SYN_SENT")
    packets, _ = changes([], [listening, inbound, outbound, asking], 0.0)
    assert [(each.src, each.dport) for each in packets] == [("10.0.0.1", 22), ("10.0.0.2", 443), ("10.0.0.2", 443)]
    assert [each.probes for each in packets] == [True, False, False]
    assert not any(each.opens for each in packets)
    assert packets[0].detail == "established"


@given(st.lists(sockets, max_size=12).map(distinct), st.booleans())
def test_only_what_comes_in_is_judged(after: list[Connection], loopback: bool) -> None:
    """To a port that is listened on, or not answered yet; and from elsewhere, unless it is asked for."""
    listening = {(each.protocol, each.local[1]) for each in after if each.state == "LISTEN"}
    own = [each._replace(peer=each.local) for each in after if each.peer != ("", 0)]
    for each, packet in zip(own, changes([], after + own, 0.0, loopback=loopback)[0][-len(own) :], strict=False):
        comes_in = each.state == "SYN_RECV" or (
            each.state != "SYN_SENT" and (each.protocol, each.local[1]) in listening
        )
        assert packet.probes == (loopback and comes_in and each.protocol == "tcp")
    for packet in changes([], after, 0.0, loopback=loopback)[0]:
        if packet.probes:
            assert packet.dst == "10.0.0.2" and packet.src != "10.0.0.2"
            assert ("tcp", packet.dport) in listening or packet.detail == "syn-recv"
        assert packet.opens == (packet.probes and packet.detail == "syn-recv")


def judge(before: list[Connection], after: list[Connection], *, loopback: bool) -> list[str]:
    scans = PortScans(Threshold(20, 60.0))
    packets, _ = changes(before, after, 1000.0, loopback=loopback)
    return [found.detail for packet in packets if (found := scans.observe(packet))]


def test_three_hundred_connections_of_this_machine_are_no_scan() -> None:
    """Not those of a server whose listening socket is closed already, from whose ends nobody can tell who asked."""
    with ExitStack() as stack:
        before = list_connections()
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")):
            with socket.create_server((address, 0), family=family, dualstack_ipv6=address == "::") as server:
                for _ in range(150):
                    stack.enter_context(socket.create_connection(("127.0.0.1", server.getsockname()[1])))
                    stack.enter_context(server.accept()[0])
        after = list_connections()
        assert not any(address.startswith("::ffff:") for each in after for address in (each.local[0], each.peer[0]))
        for loopback in (False, True):
            assert judge(before, after, loopback=loopback) == []
        packets, _ = changes(before, after, 0.0)
        assert len(packets) >= 600  # they are told, all the same


def test_a_scan_of_listening_ports_from_this_machine_is_found_if_asked_for() -> None:
    """With ``loopback``, by the twentieth port that answers."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(20)]
        before = list_connections()
        for server in servers:
            stack.enter_context(socket.create_connection(server.getsockname()))
        after = list_connections()
        assert judge(before, after, loopback=False) == []
        assert judge(before, after, loopback=True) == ["127.0.0.1 tried 20 ports of 127.0.0.1 within 60 s"]


def test_a_real_connection_is_seen() -> None:
    """Of this very process, without any privilege."""

    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        source = Connections(interval=0.001)
        await source.open()
        batches = source.batches()
        with socket.create_connection(("127.0.0.1", port)) as client:
            wanted = client.getsockname()
            async for batch in batches:
                if any((each.src, each.sport, each.dport) == (*wanted, port) for each in batch):
                    break
        await batches.aclose()
        source.close()
        server.close()
        await server.wait_closed()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert all(isinstance(each, Connection) for each in list_connections())


def test_a_look_that_fails_is_counted_and_tried_again() -> None:
    """The first one fails the opening, with what to do."""
    answers: list[object] = [[], OSError("no /proc"), [Connection("tcp", ("a", 1), ("b", 2), "ESTABLISHED")]]

    def listing() -> list[Connection]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        assert isinstance(answer, list)
        return answer

    source = Connections(interval=0.001, looks=2, listing=listing)
    assert len(asyncio.run(drain(source))) == 1
    assert source.counts["looks that failed"] == 1 and not source.trouble
    answers[:] = [OSError("no /proc")]
    with pytest.raises(SourceError, match="cannot be listed: no /proc; set another source"):
        asyncio.run(drain(Connections(listing=listing)))


# An interface. What needs privilege is done in a process of its own, in name spaces of its own.

IN_NAMESPACE = """
import asyncio, socket, subprocess
from contextlib import aclosing
from ironpost.network import Interface

async def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    source = Interface("lo")
    await source.open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        found = []
        async with aclosing(source.batches()) as batches:
            while len(found) < 100:
                sender.sendto(b"x", ("127.0.0.1", len(found) + 1))
                sender.sendto(b"x", ("127.0.0.1", len(found) + 2))
                wanted = len(found) + 2
                while len(found) < wanted:
                    batch = await anext(batches)
                    found += [packet.dport for packet in batch if packet.protocol == "udp"]
    source.close()
    assert found == list(range(1, 101)), found
    assert source.counts["dropped by the kernel"] == 0
    print("seen", len(found))

asyncio.run(asyncio.wait_for(main(), 60))
"""


def namespaces() -> str:
    """Return why no network name space can be made here, empty if one can."""
    try:
        tried = subprocess.run(["unshare", "-Urn", "ip", "link", "set", "lo", "up"], capture_output=True, timeout=30)
    except OSError as error:
        return f"name spaces cannot be tried: {error}"
    return "" if tried.returncode == 0 else f"no name spaces here: {tried.stderr.decode().strip()}"


def test_packets_of_an_interface_are_captured() -> None:
    """Each one of the loopback interface once, in order."""
    if reason := namespaces():
        pytest.skip(reason)
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", IN_NAMESPACE],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "seen 100\n", done.stderr


def test_an_interface_that_cannot_be_had_is_told() -> None:
    """One that does not exist, with those that do; or the privilege that is missing."""
    with pytest.raises(SourceError, match=r"(there are: .*lo|needs CAP_NET_RAW; run as root)"):
        asyncio.run(Interface("no-such-if").open())


def test_privilege_that_is_missing_is_told() -> None:
    """With what else can be done."""

    def refuse(*_: object) -> socket.socket:
        raise PermissionError

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "socket", refuse)
            with pytest.raises(SourceError, match="needs CAP_NET_RAW; run as root, or set source = 'connections'"):
                await Interface("lo").open()

    asyncio.run(main())
