"""Where packets come from: a capture file, the connections of this machine, or an interface.

A source is opened, gives batches of packets until there are no more, and is closed. What it meets and cannot make a
packet of it counts, by reason.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol, TypeAlias

import dpkt  # type: ignore[import-untyped]
import psutil
from attrs import define, field

from ironpost.network.links import ETHERNET, LOOPBACK, why_not_up
from ironpost.network.packets import Packet, Undecoded, decode
from ironpost.threads import Token, in_thread

__all__ = ["Capture", "Connection", "Connections", "Interface", "Source", "SourceError", "changes"]

BATCH: Final = 512
"""Packets at a time."""


class SourceError(Exception):
    """The source cannot be had; the text says why, and what to do."""


class Source(Protocol):
    """What gives packets.

    Attributes:
        counts: reason -> how many could not be made a packet of, or were lost.
        trouble: what is wrong with the source itself, for people; empty if nothing is.
    """

    counts: Counter[str]
    trouble: str

    async def open(self) -> None:
        """Take what is needed.

        Raises:
            SourceError: it cannot be had.
        """

    def batches(self) -> AsyncGenerator[list[Packet], None]:
        """Give packets, until there are no more."""

    def close(self) -> None:
        """Release what was taken. To close it again does nothing."""


# A capture file.

Frame: TypeAlias = tuple[float, bytes, int]
"""When, what was captured of it, and its bytes on the wire."""

_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_LONGEST: Final = 262_144  # what libpcap takes for the most that can be in one frame


def read_pcap(file: BinaryIO) -> tuple[int, Iterator[Frame]]:
    """Return the link type and the frames of a pcap file (draft-ietf-opsawg-pcap).

    The library's reader takes a file that breaks off for one that ends, and does not tell how long a frame was.

    Raises:
        ValueError: it is none; from the iterator, it breaks off.
    """
    head = file.read(24)
    if len(head) < 24 or head[:4] not in _MAGIC:
        raise ValueError("it does not begin as one")
    order, unit = _MAGIC[head[:4]]
    record = struct.Struct(f"{order}IIII")

    def frames() -> Iterator[Frame]:
        while header := file.read(16):
            if len(header) < 16:
                raise ValueError("it breaks off in the header of a frame")
            seconds, fraction, captured, length = record.unpack(header)
            if captured > _LONGEST:
                raise ValueError(f"a frame says that it has {captured} bytes")
            frame = file.read(captured)
            if len(frame) < captured:
                raise ValueError("it breaks off in a frame")
            yield seconds + fraction * unit, frame, length

    return struct.unpack(f"{order}I", head[20:])[0] & 0xFFFF, frames()


def read_pcapng(file: BinaryIO) -> tuple[int, Iterator[Frame]]:
    """Return the link type and the frames of a pcapng file. The library raises anything about a broken one."""
    reader = dpkt.pcapng.Reader(file)
    return reader.datalink(), ((float(at), frame, len(frame)) for at, frame in reader)


@define
class Capture:
    """The packets of a pcap or pcapng file, as fast as they are taken."""

    path: Path
    counts: Counter[str] = field(factory=Counter, init=False)
    trouble: str = field(default="", init=False)
    _file: BinaryIO | None = field(default=None, init=False)
    _frames: Iterator[Frame] = field(factory=lambda: iter(()), init=False)
    _link: int = field(default=1, init=False)

    async def open(self) -> None:
        await in_thread(self._open)

    def _open(self, _token: Token) -> None:
        try:
            self._file = self.path.open("rb")
            newer = self._file.read(4) == b"\x0a\x0d\x0d\x0a"
            self._file.seek(0)
            self._link, self._frames = (read_pcapng if newer else read_pcap)(self._file)
        except OSError as error:
            self.close()
            raise SourceError(f"the capture {self.path} cannot be read: {error.strerror or error}") from None
        except Exception as error:
            self.close()
            raise SourceError(f"{self.path} is no pcap or pcapng file: {error}") from None

    async def batches(self) -> AsyncGenerator[list[Packet], None]:
        more = True
        while more:
            packets, more = await in_thread(self._read)
            if packets:
                yield packets

    def _read(self, _token: Token) -> tuple[list[Packet], bool]:
        packets: list[Packet] = []
        frames: list[Frame] = []
        try:
            frames.extend(islice(self._frames, BATCH))  # what comes before the file breaks off is kept
            more = len(frames) == BATCH
        except Exception as error:
            self.trouble = f"{self.path} is broken: {str(error) or type(error).__name__}"
            self.counts["broken off"] += 1
            more = False
        for at, frame, length in frames:
            try:
                packets.append(decode(self._link, at, frame, length))
            except Undecoded as reason:
                self.counts[str(reason)] += 1
        return packets, more

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


# The connections of this machine.


class Connection(NamedTuple):
    """A socket, as the operating system lists it. An address without a peer is ``("", 0)``."""

    protocol: str
    local: tuple[str, int]
    peer: tuple[str, int]
    state: str


def changes(
    before: Collection[Connection],
    after: Collection[Connection],
    now: float,
    *,
    first: bool = False,
    loopback: bool = False,
) -> tuple[list[Packet], int]:
    """Return a packet for each connection that is new or was settled since, and how many sockets have no peer.

    Who opened a connection is told by the ports that are listened on. Only what comes in says something about scans and
    floods: where nobody listens, it cannot be told who asked whom, and each of a client's connections ends in another
    port of its own. The connections of the first look were not seen to be opened, and those between two addresses of
    this machine are its own business; both say nothing, the latter unless ``loopback``.

    >>> listening = Connection("tcp", ("0.0.0.0", 22), ("", 0), "LISTEN")
    >>> new = Connection("tcp", ("10.0.0.2", 22), ("10.0.0.1", 40000), "SYN_RECV")
    >>> packets, _ = changes([listening], [listening, new], 0.0)
    >>> packets[0].src, packets[0].dport, packets[0].opens
    ('10.0.0.1', 22, True)
    """
    listening = {(each.protocol, each.local[1]) for each in after if each.state == "LISTEN"}
    known = {each[:3]: each.state for each in before}
    own = {each.local[0] for each in after}
    packets, lone = [], 0
    for each in after:
        if each.peer == ("", 0):
            lone += 1
            continue
        pending = each.state in ("SYN_SENT", "SYN_RECV")
        was = known.get(each[:3])
        settled = was in ("SYN_SENT", "SYN_RECV") and not pending
        if was is not None and not settled:
            continue
        inbound = each.state == "SYN_RECV" or (each.state != "SYN_SENT" and (each.protocol, each.local[1]) in listening)
        (src, sport), (dst, dport) = (each.peer, each.local) if inbound else (each.local, each.peer)
        new = was is None and not first and each.protocol == "tcp"
        judged = new and inbound and (loopback or not (each.peer[0] in own or _is_loopback(each.peer[0])))
        packets.append(
            Packet(
                now,
                each.protocol,
                src,
                dst,
                sport,
                dport,
                ("SYN",) if pending else (),
                probes=judged,
                opens=judged and pending,
                settles=settled,
                detail=each.state.lower().replace("_", "-"),
            )
        )
    return packets, lone


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def list_connections() -> list[Connection]:
    """Return the sockets of this machine, as far as an unprivileged process can see them."""
    found = []
    for each in psutil.net_connections(kind="inet"):
        protocol = "tcp" if each.type == socket.SOCK_STREAM else "udp"
        local, peer = each.laddr or ("", 0), each.raddr or ("", 0)
        state = each.status if each.status != psutil.CONN_NONE else "open"
        found.append(Connection(protocol, (_unmapped(local[0]), local[1]), (_unmapped(peer[0]), peer[1]), state))
    return found


def _unmapped(address: str) -> str:
    """Return an address as the other end has it: IPv4 at a socket of IPv6 is listed as ``::ffff:192.0.2.1``."""
    return address.removeprefix("::ffff:") if "." in address else address


@define
class Connections:
    """The connections of this machine, looked at every ``interval`` seconds. Needs no privilege, and misses the short.

    Args:
        interval: seconds between two looks.
        looks: how many; 0 for no end.
        loopback: whether connections between two addresses of this machine say something about scans and floods.
    """

    interval: float = 1.0
    looks: int = 0
    loopback: bool = False
    listing: Callable[[], list[Connection]] = list_connections
    clock: Callable[[], float] = time.time
    counts: Counter[str] = field(factory=Counter, init=False)
    trouble: str = field(default="", init=False)
    _before: list[Connection] = field(factory=list, init=False)

    async def open(self) -> None:
        try:
            await in_thread(self._look)
        except (psutil.Error, OSError) as error:
            raise SourceError(f"the connections cannot be listed: {error}; set another source") from None

    def _look(self, _token: Token) -> list[Connection]:
        return self.listing()

    async def batches(self) -> AsyncGenerator[list[Packet], None]:
        look = 0
        while True:
            try:
                after = await in_thread(self._look)
            except (psutil.Error, OSError) as error:
                self.trouble = f"the connections cannot be listed: {error}"
                self.counts["looks that failed"] += 1
            else:
                self.trouble = ""
                packets, lone = changes(self._before, after, self.clock(), first=not look, loopback=self.loopback)
                self._before = after
                self.counts["sockets without a peer"] = lone
                if packets:
                    yield packets
            look += 1
            if look == self.looks:
                return
            await asyncio.sleep(self.interval)

    def close(self) -> None:
        self._before = []


# An interface.

_ALL: Final = 0x0003  # ETH_P_ALL
_OUTGOING: Final = 4  # PACKET_OUTGOING
_LINK_OF_HARDWARE: Final = {ETHERNET: 1, LOOPBACK: 1, 65534: 101}  # 65534: ARPHRD_NONE -> link type
_SOL_PACKET: Final = 263
_STATISTICS: Final = 6
_BUFFER_FORCE: Final = 33  # SO_RCVBUFFORCE
_BUFFER: Final = 16 * 1024 * 1024
"""Bytes that the kernel keeps while the plugin is busy."""


@define
class Interface:
    """All packets of an interface, by a packet socket (packet(7)). Needs Linux, and the capability CAP_NET_RAW.

    What the kernel had captured and nobody read is counted as ``unread`` when it is closed.
    """

    name: str
    clock: Callable[[], float] = time.time
    counts: Counter[str] = field(factory=Counter, init=False)
    trouble: str = field(default="", init=False)
    _socket: socket.socket | None = field(default=None, init=False)
    _captured: int = field(default=0, init=False)
    _taken: int = field(default=0, init=False)

    async def open(self) -> None:
        if not hasattr(socket, "AF_PACKET"):
            raise SourceError("packet sockets are a matter of Linux; set another source")
        opened: socket.socket | None = None
        try:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            opened.setblocking(False)
            with suppress(OSError):  # beyond the usual limit, if that is allowed
                opened.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCE, _BUFFER)
            opened.bind((self.name, _ALL))
            if reason := why_not_up(self.name):
                raise SourceError(reason)
        except PermissionError:
            raise SourceError(
                f"to capture on {self.name!r} needs CAP_NET_RAW; run as root, or set source = 'connections'"
            ) from None
        except (OSError, SourceError) as error:
            if opened is not None:
                opened.close()
            reason = why_not_up(self.name) or f"cannot capture on {self.name!r}: {error}"
            raise SourceError(reason) from None
        self._socket = opened

    async def batches(self) -> AsyncGenerator[list[Packet], None]:
        """Give packets as they come.

        Raises:
            SourceError: the interface is gone or was switched off; all that it gave before was given.
        """
        loop = asyncio.get_running_loop()
        taken = self._socket
        failed = ""
        while taken is not None:
            packets: list[Packet] = []
            drained = False
            try:
                if not failed:
                    self._take(packets, *await loop.sock_recvfrom(taken, 65536))
                for _ in range(BATCH - 1):
                    self._take(packets, *taken.recvfrom(65536))
            except BlockingIOError:
                drained = True
            except OSError as error:
                failed = str(error)  # this comes first, and then what was captured before it
            self._count_drops(taken)
            if packets:
                yield packets
            if failed and drained:
                raise SourceError(why_not_up(self.name) or f"the capture on {self.name!r} broke off: {failed}")
            await asyncio.sleep(0)  # others are to have their turn whether or not the reader waits

    def _take(self, packets: list[Packet], frame: bytes, address: tuple[object, ...]) -> None:
        self._taken += 1
        kind, hardware = address[2], address[3]
        if kind == _OUTGOING and hardware == LOOPBACK:
            return  # the loopback interface shows every packet going out and coming in
        link = _LINK_OF_HARDWARE.get(hardware, -1) if isinstance(hardware, int) else -1
        try:
            packets.append(decode(link, self.clock(), frame))
        except Undecoded as reason:
            self.counts[str(reason)] += 1

    def _count_drops(self, taken: socket.socket) -> None:
        """Count what the kernel captured, and had no room for, since the last call: the question resets its answer."""
        captured, drops = struct.unpack("II", taken.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        self._captured += captured - drops
        if drops:
            self.counts["dropped by the kernel"] += drops
            self.trouble = f"{self.counts['dropped by the kernel']} packets came faster than they could be read"

    def close(self) -> None:
        if self._socket is not None:
            self._count_drops(self._socket)
            self._socket.close()
            self.counts["unread"] += self._captured - self._taken
            self._captured = self._taken = 0
            self._socket = None
