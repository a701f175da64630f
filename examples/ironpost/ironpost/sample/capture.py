"""A capture with ordinary traffic, a port scan and a SYN flood: made up, and the same every time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import dpkt  # type: ignore[import-untyped]

__all__ = ["BEGIN", "FLOODED", "PACKETS", "SCANNED", "SCANNER", "frames", "write"]

BEGIN: Final = 1_714_564_800.0
"""When the capture begins: 1 May 2024, 12:00 UTC. Addresses are those kept for documentation (RFC 5737)."""

SCANNER: Final = "203.0.113.66"
SCANNED: Final = "192.0.2.10"
FLOODED: Final = ("192.0.2.20", 443)
PACKETS: Final = 1240

_SYN, _SYN_ACK, _ACK, _RST, _FIN = 0x02, 0x12, 0x10, 0x14, 0x11


def _frame(src: str, sport: int, dst: str, dport: int, flags: int, data: bytes = b"") -> bytes:
    tcp = dpkt.tcp.TCP(sport=sport, dport=dport, flags=flags, data=data)
    ip = dpkt.ip.IP(src=socket.inet_aton(src), dst=socket.inet_aton(dst), p=6, ttl=64, data=tcp)
    ip.len = len(ip)
    ether = dpkt.ethernet.Ethernet(src=b"\x02\0\0\0\0\x01", dst=b"\x02\0\0\0\0\x02", type=0x0800, data=ip)
    return bytes(ether)


def _conversation(begin: float, client: str, port: int, server: str, service: int) -> Iterator[tuple[float, bytes]]:
    steps = ((True, _SYN, b""), (False, _SYN_ACK, b""), (True, _ACK, b""), (True, _ACK, b"hello"), (True, _FIN, b""))
    for number, (asks, flags, data) in enumerate(steps):
        ends = (client, port, server, service) if asks else (server, service, client, port)
        yield begin + number * 0.01, _frame(*ends, flags, data)


def frames() -> list[tuple[float, bytes]]:
    """Return the frames in the order of their times, in seconds since the epoch."""
    random = Random(6)
    found: list[tuple[float, bytes]] = []
    for number in range(120):  # ordinary conversations, over two minutes
        client = f"198.51.100.{random.randrange(1, 200)}"
        server = f"192.0.2.{random.choice((10, 20, 30))}"
        found += _conversation(BEGIN + number + random.random() / 2, client, 40000 + number, server, 443)
    ports = random.sample(range(1, 10_000), 100)
    for number, port in enumerate(ports):  # tried one by one, and refused
        at = BEGIN + 30 + number * 0.1
        found.append((at, _frame(SCANNER, 55_555, SCANNED, port, _SYN)))
        found.append((at + 0.001, _frame(SCANNED, port, SCANNER, 55_555, _RST)))
    for number in range(440):  # asked for, and never answered, from addresses that do not exist
        client = f"203.0.113.{random.randrange(100, 250)}"
        found.append((BEGIN + 80 + number * 0.01, _frame(client, 1024 + number, *FLOODED, _SYN)))
    return sorted(found)


def write(directory: Path) -> None:
    """Write ``capture.pcap``."""
    with (directory / "capture.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for at, frame in frames():
            writer.writepkt(frame, ts=at)
