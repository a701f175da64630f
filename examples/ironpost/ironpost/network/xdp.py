"""Packets of an interface, from a program in the kernel that sees them before the network stack does (XDP).

The program (``xdp.c``) counts every packet, drops those of blocked addresses, and writes a short record of each that is
wanted into a ring buffer, of which `Xdp` makes packets. When the buffer is full, records are lost, and counted. The
program is attached by a link that exists as long as its file descriptor: it is gone when the source is closed, and when
the process ends in whatever way.

Needs Linux 5.9 with the capabilities CAP_BPF and CAP_NET_ADMIN (or root), libbpf 1.0, and clang unless the program was
compiled beforehand.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import platform
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

from attrs import define, field

from ironpost.network.libbpf import Loaded, Missing, Refused, Ring, attached_to
from ironpost.network.links import ETHERNET, LOOPBACK, NoLink, find_link, why_not_up
from ironpost.network.packets import Packet, of_tcp, plain
from ironpost.network.program import VERSION, CannotCompile, compile_program
from ironpost.network.sources import BATCH, SourceError
from ironpost.threads import Token, in_thread

__all__ = ["MODES", "Mode", "Network", "Xdp", "read_networks"]

logger = logging.getLogger("ironpost.network")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Mode: TypeAlias = Literal["auto", "native", "generic"]

# XDP_FLAGS_DRV_MODE and XDP_FLAGS_SKB_MODE, in linux/if_link.h.
_FLAGS: Final = {"native": 1 << 2, "generic": 1 << 1}
MODES: Final[dict[Mode, tuple[str, ...]]] = {
    "auto": ("native", "generic"),
    "native": ("native",),
    "generic": ("generic",),
}

# The layouts of xdp.c.
RECORD: Final = struct.Struct("=QIHHBBBB4x16s16s")
COUNTERS: Final = ("seen", "blocked", "passed", "recorded", "lost", "not IP", "malformed", "unneeded")
_COUNTERS: Final = struct.Struct(f"={len(COUNTERS)}Q")
_TCP: Final = 6

_PENDING: Final = 65536
"""Half-open connections that the program remembers; beyond them those that were quiet for longest are forgotten."""
_RING: Final = 16 * 1024 * 1024
"""Bytes of the ring buffer: a quarter of a million records."""
_LOOK: Final = 1.0
"""Seconds between two looks at the interface and the counters."""


def read_networks(texts: tuple[str, ...]) -> list[Network]:
    """Return the networks of a block list.

    Raises:
        ValueError: one of them is none.

    >>> read_networks(("192.0.2.0/24", "2001:db8::1"))
    [IPv4Network('192.0.2.0/24'), IPv6Network('2001:db8::1/128')]
    >>> read_networks(("192.0.2.1/24",))
    Traceback (most recent call last):
    ...
    ValueError: '192.0.2.1/24' is no network: 192.0.2.1/24 has host bits set
    """
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            bits = str(error) if "host bits" in str(error) else "192.0.2.0/24 is one, or 2001:db8::1"
            raise ValueError(f"{text!r} is no network: {bits}") from None
    return found


def read_record(record: bytes, epoch: int) -> Packet:
    """Make a packet of a record.

    Args:
        record: what the program wrote.
        epoch: when the clock of the program was 0, in nanoseconds since the epoch.
    """
    at, length, sport, dport, version, protocol, flags, header, src, dst = RECORD.unpack(record)
    if version == 4:
        source, target = socket.inet_ntoa(src[:4]), socket.inet_ntoa(dst[:4])
    else:
        source, target = socket.inet_ntop(socket.AF_INET6, src), socket.inet_ntop(socket.AF_INET6, dst)
    when = (epoch + at) / 1e9
    if protocol == _TCP and header:
        return of_tcp(when, source, target, sport, dport, flags, length)
    return plain(when, protocol, source, target, sport, dport, length)


@define(eq=False)
class _Held:
    """What an open source holds."""

    loaded: Loaded
    ring: Ring
    link: int

    def close(self) -> None:
        self.ring.close()
        self.loaded.close()


@define(eq=False)
class Xdp:
    """The packets that an interface receives, by XDP.

    Args:
        name: of the interface.
        block: whose packets are dropped.
        mode: ``native`` in the driver, ``generic`` in the network stack, or ``auto``: generic where native is not.
        object: the compiled program, if it is not to be compiled.
        all: whether every packet is wanted, or only what the detectors look at: the begin of each connection and what
            ends its being half-open.
        ring: bytes of the ring buffer, a power of two and a multiple of the page size.

    Attributes:
        counts: ``seen == blocked + passed``, and ``passed == recorded + lost + not IP + malformed + unneeded``; once it
            is closed, ``unread`` of the recorded were not read. While packets arrive, each processor may be one ahead.
        trouble: what is wrong, for people.
    """

    name: str
    block: tuple[Network, ...] = ()
    mode: Mode = "auto"
    object: Path | None = None
    all: bool = True
    ring: int = _RING
    counts: Counter[str] = field(factory=Counter, init=False)
    trouble: str = field(default="", init=False)
    _taken: int = field(default=0, init=False)
    _held: _Held | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    async def open(self) -> None:
        """Load the program and attach it.

        Raises:
            SourceError: it cannot be had; nothing is attached then.
        """
        try:
            await in_thread(self._open)
        except BaseException:
            self.close()
            raise

    def _open(self, _token: Token) -> None:
        if reason := why_not_up(self.name):
            raise SourceError(reason)
        link = find_link(self.name)
        if link.hardware not in (ETHERNET, LOOPBACK):
            raise SourceError(f"{self.name!r} has no Ethernet frames; set source = 'af_packet'")
        held = self._attach(link.index, self._load(self._image()))
        with self._lock:
            if not self._closed:
                self._held = held
                return
        held.close()  # a start that was cancelled meanwhile

    def _image(self) -> bytes:
        try:
            return compile_program() if self.object is None else self.object.read_bytes()
        except CannotCompile as error:
            raise SourceError(str(error)) from None
        except OSError as error:
            raise SourceError(f"the program {self.object} cannot be read: {error.strerror}") from None

    def _load(self, image: bytes) -> Loaded:
        name = f"ironpost_{'all' if self.all else 'few'}_v{VERSION}"
        entries = {
            "records": self.ring,
            "pending": 1 if self.all else _PENDING,
            "block4": max(1, sum(each.version == 4 for each in self.block)),
            "block6": max(1, sum(each.version == 6 for each in self.block)),
        }
        try:
            loaded = Loaded(image, name, entries)
        except Missing as error:
            raise SourceError(
                f"libbpf 1.0 is missing ({error}); install it (apt install libbpf1), or set source = 'af_packet'"
            ) from None
        except Refused as refused:
            raise SourceError(self._why_not_loaded(refused)) from None
        try:
            for each in self.block:
                key = struct.pack("=I", each.prefixlen) + each.network_address.packed
                loaded.put(f"block{each.version}", key, b"\1")
        except Refused as refused:
            loaded.close()
            raise SourceError(f"the block list was refused: {refused.strerror}") from None
        return loaded

    def _why_not_loaded(self, refused: Refused) -> str:
        if refused.errno == errno.EPERM:
            return _PRIVILEGE
        if log := refused.log.strip():
            last = " / ".join(line.strip() for line in log.splitlines()[-3:])
            return f"the kernel's verifier refused the program (Linux {platform.release()}): {last}"
        if self.object is not None and refused.errno in (errno.EINVAL, errno.ENOENT):
            return (
                f"{self.object} is no packet program of this version of ironpost; make it anew: "
                "python -m ironpost.network.program xdp.o"
            )
        return f"the program cannot be loaded: {refused.strerror}; {_KERNEL}"

    def _attach(self, interface: int, loaded: Loaded) -> _Held:
        try:
            ring = loaded.ring("records")  # before the first record can come
            try:
                return _Held(loaded, ring, self._link(interface, loaded))
            except BaseException:
                ring.close()
                raise
        except Refused as refused:
            loaded.close()
            raise SourceError(
                f"the program cannot be attached to {self.name!r}: {refused.strerror}; {_KERNEL}"
            ) from None
        except BaseException:
            loaded.close()
            raise

    def _link(self, interface: int, loaded: Loaded) -> int:
        *others, last = MODES[self.mode]
        for mode in (*others, last):
            try:
                link = loaded.attach(interface, _FLAGS[mode])
            except Refused as refused:
                if refused.errno in (errno.EBUSY, errno.EEXIST):
                    raise SourceError(
                        f"another XDP program is attached to {self.name!r}, and stays; end what attached it "
                        f"(or: ip link set dev {self.name} xdp off), or set source = 'af_packet'"
                    ) from None
                if refused.errno == errno.EPERM:
                    raise SourceError(_PRIVILEGE) from None
                if mode != last:
                    continue
                if mode == "native":
                    raise SourceError(
                        f"the driver of {self.name!r} does not run the program: {refused.strerror}; set mode = 'auto'"
                    ) from None
                raise
            logger.info("watching %s by XDP, %s mode", self.name, mode)
            return link
        raise AssertionError("there is a mode")

    async def batches(self) -> AsyncGenerator[list[Packet], None]:
        """Give packets as they come.

        Raises:
            SourceError: the interface is gone or was switched off; all that it gave before was given.
        """
        looked = time.monotonic()
        while (held := self._held) is not None:
            gone = ""
            if (now := time.monotonic()) >= looked + _LOOK:
                looked = now
                gone = self._what_is_gone(held)  # before the last records are taken
            records = held.ring.take(BATCH)
            self._taken += len(records)
            self._count(held)
            if records:
                epoch = time.time_ns() - time.monotonic_ns()
                yield [read_record(record, epoch) for record in records]
                await asyncio.sleep(0)  # others are to have their turn whether or not the reader waits
            elif gone:
                raise SourceError(gone)
            else:
                await _readable(held.ring.fileno(), _LOOK)

    def _what_is_gone(self, held: _Held) -> str:
        if not attached_to(held.link):
            return f"the interface {self.name!r} was removed"
        with suppress(NoLink):  # renamed: it is still there
            find_link(self.name)
            return why_not_up(self.name)
        return ""

    def _count(self, held: _Held) -> None:
        each = [_COUNTERS.unpack(values) for values in held.loaded.read_each("counts", b"\0\0\0\0")]
        for name, values in zip(COUNTERS, zip(*each, strict=True), strict=True):
            self.counts[name] = sum(values)
        if lost := self.counts["lost"]:
            self.trouble = f"{lost} packets came faster than they could be read"

    def close(self) -> None:
        """Detach the program, and release everything. What was recorded and not read is counted."""
        with self._lock:
            self._closed = True
            held, self._held = self._held, None
        if held is not None:
            held.loaded.detach()
            self._count(held)
            self.counts["unread"] = self.counts["recorded"] - self._taken
            held.close()


_PRIVILEGE: Final = (
    "to watch by XDP needs CAP_BPF and CAP_NET_ADMIN; run as root outside of containers, or set source = 'connections'"
)
_KERNEL: Final = f"Linux 5.9 or later is needed, this is {platform.release()}; else set source = 'af_packet'"


async def _readable(descriptor: int, seconds: float) -> None:
    """Wait until a file descriptor is readable, but not for longer."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, tell)
    try:
        await asyncio.wait([ready], timeout=seconds)
    finally:
        loop.remove_reader(descriptor)
