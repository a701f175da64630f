"""The engine as a plugin: every packet accounted for, findings on the trace of the packet that completes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fsm_plugins import HookFailed, Receiver, Sender, channel
from ironpost.events import PacketEvent
from ironpost.network import EbpfEngine, SourceError, Threshold
from ironpost.sample import capture as sample


def engine(capacity: int = 5000, **settings: Any) -> tuple[EbpfEngine, Receiver[PacketEvent]]:
    sender: Sender[PacketEvent]
    packets: Receiver[PacketEvent]
    sender, packets = channel(capacity)
    return EbpfEngine(packets=sender, **settings), packets


async def started(plugin: EbpfEngine) -> None:
    await plugin.init()
    await plugin.start()


@pytest.fixture
def replay(tmp_path: Path) -> dict[str, Any]:
    sample.write(tmp_path)
    return {"source": "pcap", "file": tmp_path / "capture.pcap"}


def test_the_scan_and_the_flood_of_the_sample_are_found(replay: dict[str, Any]) -> None:
    """Each once in its pause, right behind the packet that completes it, and on its trace."""

    async def main() -> None:
        plugin, packets = engine(**replay)
        await started(plugin)
        events = [event async for event in packets]
        assert (await plugin.health_check()).is_healthy
        await plugin.stop()
        findings = [(number, event) for number, event in enumerate(events) if event.finding]
        scans = [event for _, event in findings if event.finding == "port-scan"]
        assert [(event.src, event.dst) for event in scans] == [(sample.SCANNER, sample.SCANNED)]
        assert [(event.dst, event.dport) for _, event in findings if event.finding == "syn-flood"] == [sample.FLOODED]
        for number, event in findings:
            before = events[number - 1]
            assert (event.trace, event.src, event.time) == (before.trace, before.src, before.time)
            assert event.id != before.id and event.detail
        plain = [event for event in events if not event.finding]
        assert len(plain) == sample.PACKETS == len({event.trace for event in plain})
        assert plugin.counts == Counter(
            {"packets": sample.PACKETS, "reported": sample.PACKETS, "unsent": 0, "findings": 2, "findings unsent": 0}
        )
        account = plugin.account()
        # Of 100 ports the 20th is told, of 440 requests the 100th; some of the ordinary clients ask meanwhile, too.
        assert account["port-scan: suppressed"] == 80
        assert 340 <= account["syn-flood: suppressed"] <= 345

    asyncio.run(main())


def test_findings_only(replay: dict[str, Any]) -> None:
    """The others are counted as not reported."""

    async def main() -> None:
        plugin, packets = engine(report="findings", port_scan=Threshold(5, 60.0), pause=0.0, **replay)
        await started(plugin)
        events = [event async for event in packets]
        assert all(event.finding for event in events)
        kinds = Counter(event.finding for event in events)
        assert kinds["port-scan"] == 96 and 341 <= kinds["syn-flood"] <= 346
        assert plugin.counts["unreported"] == plugin.counts["packets"] == sample.PACKETS
        await plugin.stop()

    asyncio.run(main())


def test_what_a_stop_leaves_unsent_is_counted(replay: dict[str, Any]) -> None:
    """packets == reported + unsent, wherever it was; and the file is closed."""

    async def main() -> None:
        plugin, packets = engine(capacity=7, **replay)
        await started(plugin)
        for _ in range(40):
            await packets.recv()
        await plugin.stop()
        counts = plugin.counts
        assert counts["packets"] == counts["reported"] + counts["unsent"] > counts["reported"] >= 40
        assert counts["reported"] == 40 + len(packets)

    asyncio.run(main())


def test_a_finding_that_could_not_be_sent_is_counted(replay: dict[str, Any]) -> None:
    """As one of its own."""

    async def main() -> None:
        plugin, packets = engine(capacity=1, report="findings", pause=0.0, port_scan=Threshold(1, 1.0), **replay)
        await started(plugin)
        await packets.recv()
        await asyncio.sleep(0)  # the next one takes its place
        await plugin.stop()
        assert plugin.counts["findings"] == 1 + len(packets) + plugin.counts["findings unsent"]
        assert plugin.counts["findings unsent"] == 1

    asyncio.run(main())


def test_a_stop_right_after_the_start_releases_the_source(replay: dict[str, Any]) -> None:
    """Also if the worker never ran, or the plugin was never started."""

    async def main() -> None:
        for start in (True, False):
            plugin, _ = engine(**replay)
            await plugin.init()
            if start:
                await plugin.start()
            else:
                await plugin.fail(ValueError("not wanted"))
            await plugin.stop()
            assert plugin.opened is not None
            assert getattr(plugin.opened, "_file", "") is None

    asyncio.run(main())


def test_the_connections_of_this_machine_are_the_default() -> None:
    """A look, and the end."""

    async def main() -> None:
        plugin, packets = engine(looks=1)
        await started(plugin)
        events = [event async for event in packets]
        assert plugin.counts["packets"] == len(events)
        assert "source: sockets without a peer" in plugin.account()
        await plugin.stop()

    asyncio.run(main())


def test_a_broken_capture_is_told_by_the_health(replay: dict[str, Any], tmp_path: Path) -> None:
    """What could be read was reported."""
    path = tmp_path / "capture.pcap"
    path.write_bytes(path.read_bytes()[:-3])

    async def main() -> None:
        plugin, packets = engine(**replay)
        await started(plugin)
        events = [event async for event in packets if not event.finding]
        assert len(events) == sample.PACKETS - 1
        health = await plugin.health_check()
        assert health.is_degraded and health.reason.endswith("capture.pcap is broken: it breaks off in a frame")
        assert plugin.account()["source: broken off"] == 1
        await plugin.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"source": "pcap"}, "needs a file; set 'file'"),
        ({"source": "af_packet"}, "needs an interface; set 'interface'"),
        ({"source": "pcap", "file": Path("/nonexistent.pcap")}, "cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_told_before_the_start(settings: dict[str, Any], says: str) -> None:
    """With the name of the setting."""

    async def main() -> None:
        plugin, _ = engine(**settings)
        with pytest.raises(HookFailed, match=says) as failed:
            await plugin.init()
        assert isinstance(failed.value.__cause__, SourceError)
        await plugin.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    "settings", [{"source": "ebpf"}, {"interval": 0}, {"looks": -1}, {"report": "none"}, {"pause": -1}]
)
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    """When the plugin is made."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        engine(**settings)
