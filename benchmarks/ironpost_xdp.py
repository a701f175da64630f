"""What a packet of an interface costs in the reference application: the source in the kernel against a packet socket.

``python -m benchmarks.ironpost_xdp [--json FILE]``, from the root of the repository, as root; the package ironpost has
to be installed, and clang and libbpf. Where it cannot run it says why, and measures nothing. The packets go through a
pair of interfaces in a network name space of its own.

Each source has to read packets that are there already, so that nobody's speed but its own counts. Then a process floods
the interface for a second with ordinary packets of established connections, and it is counted what arrives, and what is
reported as lost.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks._measure import Report, Target, alternate, command, ratio
from ironpost.network import Interface, SourceError, Xdp
from ironpost.network.sources import Source

PACKETS: Final = 10_000
"""How many are read in one repeat: what the buffer of a packet socket has room for."""
FLOOD: Final = 1.0
"""Seconds."""
NEAR, FAR = "near", "far"
NEW_NET: Final = 0x40000000  # CLONE_NEWNET
LIBC: Final = ctypes.CDLL(None, use_errno=True)

ETHERNET: Final = b"\2" * 6 + b"\4" * 6 + b"\x08\x00"
IP: Final = bytes.fromhex("4500002800000000400600000a0000010a000002")
ACK: Final = ETHERNET + IP + bytes.fromhex("9c40005000000000000000005010000000000000")

SENDER: Final = """
import socket, sys, time
frame = bytes.fromhex(sys.argv[1])
sent = 0
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
    sender.bind((sys.argv[2], 0))
    end = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < end:
        for _ in range(100):
            sender.send(frame)
        sent += 100
print(sent)
"""


class Impossible(Exception):
    """It cannot be measured here; the text says why."""


@contextmanager
def interfaces() -> Iterator[socket.socket]:
    """Make a pair of interfaces in a name space of its own, and give a socket that sends on the far one."""
    if os.geteuid() != 0:
        raise Impossible("it needs root")
    with Path("/proc/thread-self/ns/net").open() as before:
        if LIBC.unshare(NEW_NET):
            raise Impossible(f"no name spaces here: {os.strerror(ctypes.get_errno())}")
        try:
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            for words in (
                f"link add {NEAR} type veth peer name {FAR}",
                f"link set {NEAR} up",
                f"link set {FAR} up",
            ):
                subprocess.run(["ip", *words.split()], check=True, capture_output=True)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
                sender.bind((FAR, 0))
                yield sender
        except (OSError, subprocess.CalledProcessError) as error:
            raise Impossible(f"no pair of interfaces here: {error}") from None
        finally:
            LIBC.setns(before.fileno(), NEW_NET)


async def _read(source: Source, sender: socket.socket, packets: int) -> float:
    """Return the CPU seconds that it takes to read packets that are there, for each."""
    await source.open()
    try:
        for _ in range(packets):
            sender.send(ACK)
        read = 0
        begin = time.process_time()
        async with aclosing(source.batches()) as batches:
            async for batch in batches:
                read += len(batch)
                if read == packets:
                    break
        return (time.process_time() - begin) / packets
    finally:
        source.close()


async def _flood(source: Source, lost: str) -> tuple[int, int, int]:
    """Return how many packets were sent in a second, read, and reported as lost."""
    await source.open()
    read = 0

    async def reader() -> None:
        nonlocal read
        async with aclosing(source.batches()) as batches:
            async for batch in batches:
                read += len(batch)

    reading = asyncio.create_task(reader())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SENDER, ACK.hex(), FAR, str(FLOOD), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    await asyncio.sleep(FLOOD)  # what is in the buffer is read
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    source.close()
    return int(output), read, source.counts[lost] + source.counts["unread"]


def benchmark() -> Report:
    """Measure both sources, in CPU seconds for a packet, and what each makes of a flood."""
    title = "A packet of an interface, by each source"
    try:
        with interfaces() as sender:
            return _benchmark(title, sender)
    except (Impossible, SourceError) as reason:
        return Report(title, notes=[f"not measured: {reason}"])


def _benchmark(title: str, sender: socket.socket) -> Report:
    def af_packet() -> float:
        return asyncio.run(_read(Interface(NEAR), sender, PACKETS))

    def by_xdp() -> float:
        return asyncio.run(_read(Xdp(NEAR), sender, PACKETS))

    samples = alternate({"af_packet": af_packet, "xdp": by_xdp})
    notes = [f"{name}: {1 / sample.median:,.0f} packets/s on one processor" for name, sample in samples.items()]
    unaccounted = 0
    for name, source, lost in (
        ("af_packet", Interface(NEAR), "dropped by the kernel"),
        ("xdp", Xdp(NEAR), "lost"),
        ("xdp, with a ring buffer of 64 KiB", Xdp(NEAR, ring=1 << 16), "lost"),
        ("xdp, findings only", Xdp(NEAR, all=False), "unneeded"),
    ):
        sent, read, other = asyncio.run(_flood(source, lost))
        unaccounted += abs(sent - read - other)
        notes.append(f"flood for {FLOOD:g} s, {name}: {sent:,} sent, {read:,} read, {other:,} counted as {lost}")
    return Report(
        title,
        samples,
        notes,
        [
            Target("xdp: CPU time for a packet, against af_packet", ratio(samples["xdp"], samples["af_packet"]), 0.5),
            Target("packets of a flood that nobody accounts for", unaccounted, 0, ""),
        ],
    )


if __name__ == "__main__":
    sys.exit(command("What a packet of an interface costs.", [benchmark]))
