"""The plugin: packets from a source, and what the detectors make of them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar, Literal

from attrs import Attribute, Factory, define, field
from attrs.validators import ge, gt, in_

from fsm_plugins import Deadlines, HealthStatus, Plugin, PluginInfo, PluginType, Sender
from ironpost.events import PacketEvent
from ironpost.network.packets import Packet
from ironpost.network.sources import Capture, Connections, Interface, Source, SourceError
from ironpost.network.windows import Detector, Finding, PortScans, SynFloods, Threshold
from ironpost.network.xdp import MODES, Mode, Xdp, read_networks

__all__ = ["EbpfEngine"]

logger = logging.getLogger("ironpost.network")


def _networks(_instance: object, _attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    read_networks(value)


@define
class EbpfEngine(Plugin):
    """Watches the network, and finds port scans and SYN floods.

    Every packet that is understood is sent on, and then what it completes, as an event of its own with ``finding`` and
    the trace of the packet. ``packets == reported + unreported + unsent``, and what is no packet is counted by reason.
    Without a channel, packets are unreported and findings are logged.

    Args:
        source: ``connections`` of this machine (needs no privilege), ``pcap``, ``af_packet`` (needs CAP_NET_RAW), or
            ``xdp`` (needs CAP_BPF and CAP_NET_ADMIN).
        file: the capture to replay, with ``pcap``.
        interface: what to listen on, with ``af_packet`` and ``xdp``.
        interval: seconds between two looks at the connections.
        looks: how many looks at the connections; 0 for no end.
        loopback: whether the connections between two addresses of this machine are judged, too.
        block: networks whose packets are dropped, with ``xdp``.
        mode: where ``xdp`` runs: ``native`` in the driver, ``generic`` in the network stack, ``auto`` where it can.
        object: the program of ``xdp``, compiled beforehand.
        report: ``all`` packets and findings, or ``findings`` only.
        port_scan, syn_flood: from what count, within how many seconds.
        pause: seconds in which the same finding is not raised again.

    Attributes:
        counts: ``packets``, ``reported``, ``unreported``, ``unsent``, ``findings``, ``findings unsent``.
    """

    info = PluginInfo("ebpf-engine", "0.1.0", "Watches the network for scans and floods", PluginType.DETECTOR)
    deadlines: ClassVar = Deadlines(stop=10, grace=2)

    packets: Sender[PacketEvent] | None
    source: Literal["connections", "pcap", "af_packet", "xdp"] = field(
        default="connections", validator=in_(("connections", "pcap", "af_packet", "xdp"))
    )
    file: Path | None = None
    interface: str | None = None
    interval: float = field(default=1.0, validator=gt(0))
    looks: int = field(default=0, validator=ge(0))
    loopback: bool = False
    block: tuple[str, ...] = field(default=(), validator=_networks)
    mode: Mode = field(default="auto", validator=in_(tuple(MODES)))
    object: Path | None = None
    report: Literal["all", "findings"] = field(default="all", validator=in_(("all", "findings")))
    port_scan: Threshold = Factory(lambda: Threshold(20, 60.0))
    syn_flood: Threshold = Factory(lambda: Threshold(100, 10.0))
    pause: float = field(default=60.0, validator=ge(0))
    opened: Source | None = field(default=None, init=False)
    counts: Counter[str] = field(factory=Counter, init=False)
    _detectors: tuple[Detector[tuple[str, str]] | Detector[tuple[str, int]], ...] = field(default=(), init=False)

    async def on_init(self) -> None:
        """Open the source.

        Raises:
            SourceError: it cannot be had.
        """
        source = self._make()
        await source.open()
        self.opened = source
        self._detectors = (PortScans(self.port_scan, self.pause), SynFloods(self.syn_flood, self.pause))

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def on_stop(self) -> None:
        # The hook runs before the workers are ended, and a source is not closed under somebody who reads from it.
        if reading := self.workers:
            for worker in reading:
                worker.cancel()
            await asyncio.wait(reading)
        if self.opened is not None:
            self.opened.close()

    async def on_health_check(self) -> HealthStatus:
        trouble = self.opened.trouble if self.opened is not None else ""
        return HealthStatus.degraded(trouble) if trouble else HealthStatus.healthy()

    def account(self) -> dict[str, int]:
        """Return the counts of the packets, of the source, and of the detectors."""
        counts = dict(self.counts)
        if self.opened is not None:
            counts |= {f"source: {reason}": count for reason, count in self.opened.counts.items()}
        for detector in self._detectors:
            counts |= {f"{detector.kind}: {what}": count for what, count in detector.counts.items()}
        return counts

    def _make(self) -> Source:
        if self.block and self.source != "xdp":
            raise SourceError(f"source = {self.source!r} drops nothing; take 'block' out, or set source = 'xdp'")
        if self.source == "pcap":
            if self.file is None:
                raise SourceError("source = 'pcap' needs a file; set 'file'")
            return Capture(self.file)
        if self.source == "connections":
            return Connections(self.interval, self.looks, self.loopback)
        if self.interface is None:
            raise SourceError(f"source = {self.source!r} needs an interface; set 'interface'")
        if self.source == "af_packet":
            return Interface(self.interface)
        block = tuple(read_networks(self.block))
        return Xdp(self.interface, block, self.mode, self.object, all=self.report == "all")

    async def _work(self) -> None:
        assert self.opened is not None
        async with aclosing(self.opened.batches()) as batches:
            async for batch in batches:
                await self._handle(batch)
        if self.packets is not None:
            self.packets.close()

    async def _handle(self, batch: list[Packet]) -> None:
        self.counts["packets"] += len(batch)
        left = len(batch)
        try:
            for packet in batch:
                findings = [found for detector in self._detectors if (found := detector.observe(packet))]
                plain = self._event(packet)
                output = self.packets if self.report == "all" else None
                if output is not None:
                    await output.send(plain)
                left -= 1
                self.counts["unreported" if output is None else "reported"] += 1
                await self._raise(packet, plain, findings)
        finally:
            self.counts["unsent"] += left

    async def _raise(self, packet: Packet, plain: PacketEvent, findings: list[Finding]) -> None:
        self.counts["findings"] += len(findings)
        left = len(findings)
        try:
            for finding in findings:
                if self.packets is not None:
                    await self.packets.send(self._event(packet, finding, plain.trace))
                else:
                    logger.warning("%s: %s", finding.kind, finding.detail)
                left -= 1
        finally:
            self.counts["findings unsent"] += left

    def _event(self, packet: Packet, finding: Finding | None = None, trace: str = "") -> PacketEvent:
        chain = {"trace": trace} if trace else {}
        return PacketEvent(
            source=self.info.name,
            time=packet.time,
            protocol=packet.protocol,
            src=packet.src,
            dst=packet.dst,
            sport=packet.sport,
            dport=packet.dport,
            flags=packet.flags,
            length=packet.length,
            finding=finding.kind if finding else "",
            detail=finding.detail if finding else packet.detail,
            **chain,
        )
