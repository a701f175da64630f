"""Frames -> packets: who sent what to whom. Whatever is in a frame, it becomes a `Packet` or an `Undecoded` reason."""

from __future__ import annotations

import socket
from typing import Final

import dpkt  # type: ignore[import-untyped]
from attrs import frozen

__all__ = ["Packet", "Undecoded", "decode", "of_tcp", "plain"]


class Undecoded(ValueError):
    """A frame that no packet can be made of; the text is one of a few reasons, to be counted."""


@frozen
class Packet:
    """What the detectors look at.

    Attributes:
        time: seconds since the epoch.
        protocol: ``tcp``, ``udp``, ``icmp``, or the number.
        src, dst: addresses.
        sport, dport: ports; 0 where there are none, as in all fragments but the first.
        flags: the TCP flags that are set.
        length: bytes on the wire.
        probes: whether it may be somebody trying a port: TCP that is no part of a conversation.
        opens: whether it asks for a connection.
        settles: whether after it a connection is not half-open any more.
        detail: what else is known, for people.
    """

    time: float
    protocol: str
    src: str
    dst: str
    sport: int = 0
    dport: int = 0
    flags: tuple[str, ...] = ()
    length: int = 0
    probes: bool = False
    opens: bool = False
    settles: bool = False
    detail: str = ""


_FLAGS: Final = (
    (dpkt.tcp.TH_FIN, "FIN"),
    (dpkt.tcp.TH_SYN, "SYN"),
    (dpkt.tcp.TH_RST, "RST"),
    (dpkt.tcp.TH_PUSH, "PSH"),
    (dpkt.tcp.TH_ACK, "ACK"),
    (dpkt.tcp.TH_URG, "URG"),
    (dpkt.tcp.TH_ECE, "ECE"),
    (dpkt.tcp.TH_CWR, "CWR"),
)
_NAMES: Final = tuple(tuple(name for bit, name in _FLAGS if value & bit) for value in range(256))
_PROTOCOLS: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}

# What a frame begins with, by the number of the link type (https://www.tcpdump.org/linktypes.html).
_LINKS: Final = {
    0: dpkt.loopback.Loopback,
    1: dpkt.ethernet.Ethernet,
    108: dpkt.loopback.Loopback,
    113: dpkt.sll.SLL,
    276: dpkt.sll2.SLL2,
}
_RAW: Final = frozenset({12, 101, 228, 229})


def decode(link: int, time: float, frame: bytes, length: int | None = None) -> Packet:
    """Make a packet of a frame.

    Args:
        link: the link type.
        time: when it was seen, in seconds since the epoch.
        frame: what was captured of it.
        length: its bytes on the wire, if they are not all there.

    Raises:
        Undecoded: it is not IP, or broken, or of an unknown link type.

    >>> decode(1, 0.0, b"")
    Traceback (most recent call last):
    ...
    ironpost.network.packets.Undecoded: malformed
    """
    try:
        if link in _RAW:
            ip = (dpkt.ip6.IP6 if frame[0] >> 4 == 6 else dpkt.ip.IP)(frame)
        elif link in _LINKS:
            ip = _LINKS[link](frame).data
        else:
            raise Undecoded("unknown link type")
        if not isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6):
            raise Undecoded("not IP")
        return _packet(ip, time, len(frame) if length is None else length)
    except Undecoded:
        raise
    except Exception:
        # The decoder raises what it happens to run into in a broken frame, and all of that means the same.
        raise Undecoded("malformed") from None


def _packet(ip: dpkt.ip.IP | dpkt.ip6.IP6, time: float, length: int) -> Packet:
    family = socket.AF_INET if isinstance(ip, dpkt.ip.IP) else socket.AF_INET6
    src, dst = socket.inet_ntop(family, ip.src), socket.inet_ntop(family, ip.dst)
    inner = ip.data
    number = getattr(ip, "p", dpkt.ip.IP_PROTO_ESP)  # the library sets none for what is encrypted in IPv6
    if isinstance(inner, dpkt.tcp.TCP) and not _is_later_fragment(ip):
        return of_tcp(time, src, dst, inner.sport, inner.dport, inner.flags & 0xFF, length)
    if isinstance(inner, dpkt.udp.UDP) and not _is_later_fragment(ip):
        return plain(time, number, src, dst, inner.sport, inner.dport, length)
    return plain(time, number, src, dst, 0, 0, length)


def _is_later_fragment(ip: dpkt.ip.IP | dpkt.ip6.IP6) -> bool:
    """Tell what the library overlooks unless it is the first of several headers: what follows is no header."""
    fragment = getattr(ip, "extension_hdrs", {}).get(dpkt.ip.IP_PROTO_FRAGMENT)
    return fragment is not None and fragment.frag_off > 0


def of_tcp(time: float, src: str, dst: str, sport: int, dport: int, bits: int, length: int) -> Packet:
    """Return the packet of a TCP header. What it may mean to a detector follows from its flags, which are ``bits``."""
    return Packet(
        time,
        "tcp",
        src,
        dst,
        sport,
        dport,
        _NAMES[bits],
        length,
        probes=not bits & (dpkt.tcp.TH_ACK | dpkt.tcp.TH_RST),
        opens=bits & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK | dpkt.tcp.TH_RST) == dpkt.tcp.TH_SYN,
        settles=bool(bits & dpkt.tcp.TH_RST) or bits & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK) == dpkt.tcp.TH_ACK,
    )


def plain(time: float, number: int, src: str, dst: str, sport: int, dport: int, length: int) -> Packet:
    """Return the packet of any other protocol, by its number."""
    return Packet(time, _PROTOCOLS.get(number, str(number)), src, dst, sport, dport, (), length)
