"""The plugin as a whole: real files, real sockets, a real event loop. Nothing is lost, or comes twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fsm_plugins import FAILED, STOPPED, ConfigError, HookFailed, Receiver, Sender, channel
from ironpost.events import AlertEvent, PacketEvent
from ironpost.logs import LogPipeline, plugin, receivers
from ironpost.logs.positions import Place, load_positions, save_positions

EVERY_LINE = """
rules:
  - id: every
    title: Every line
    severity: info
    match: {field: message, regex: '(?P<number>\\d+)$'}
    alike: [number]
    repeat: 0
    limit: {count: 100000, window: 0.001}
"""


def within(seconds: float, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test, which is not to hang."""

    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await main()

    asyncio.run(limited())


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    while not holds():  # noqa: ASYNC110 - what it waits for has no event, and tests need none
        await asyncio.sleep(0)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A rule that raises an alert for every line, with the number in it."""
    file = tmp_path / "every.yaml"
    file.write_text(EVERY_LINE)
    return file


class Running:
    """A pipeline that runs, and what it has sent."""

    def __init__(self, pipeline: LogPipeline, alerts: Receiver[AlertEvent]) -> None:
        self.pipeline = pipeline
        self.alerts = alerts
        self.received: list[AlertEvent] = []

    async def numbers(self, count: int) -> list[int]:
        """Receive ``count`` more alerts; return their numbers."""
        new: list[AlertEvent] = []
        while len(new) < count:
            new.append(await self.alerts.recv())
        self.received += new
        return [int(str(alert.fields["number"])) for alert in new]

    async def rest(self) -> list[int]:
        """Return the numbers of what is left when everything has been stopped."""
        return await self.numbers(len(self.alerts))


@asynccontextmanager
async def running(rules: Path, capacity: int = 100_000, **settings: Any) -> AsyncIterator[Running]:
    """Run a pipeline, and stop it."""
    alerts: Sender[AlertEvent]
    received: Receiver[AlertEvent]
    alerts, received = channel(capacity)
    pipeline = LogPipeline(alerts, rules=(rules,), shipped_rules=False, poll=0.005, save_every=0.01, **settings)
    try:
        await pipeline.init()
        await pipeline.start()
        yield Running(pipeline, received)
    finally:
        if pipeline.state != STOPPED:
            await pipeline.stop()
        check_account(pipeline)


def check_account(pipeline: LogPipeline) -> None:
    counts = pipeline.counts
    assert counts.lines == counts.parsed + counts.bad
    assert counts.raised == counts.sent + counts.repeated + counts.limited + counts.lost + pipeline.pending


def lines(numbers: Sequence[int]) -> str:
    return "".join(f"Dec 10 06:55:46 host app[1]: line {number}\n" for number in numbers)


def append(log: Path, numbers: Sequence[int]) -> None:
    with open(log, "a") as stream:
        stream.write(lines(numbers))


def test_a_log_is_followed_through_rotations_that_happen_while_it_is_read(tmp_path: Path, rules: Path) -> None:
    """Renamed in the middle of a read, copied and emptied, renamed again: each line raises its alert, once."""
    log = tmp_path / "app.log"

    async def main() -> None:
        append(log, range(5000))
        async with running(rules, capacity=7, files=(log,), rotate_wait=0.05) as run:
            numbers = await run.numbers(100)  # the output is full, so that the reader is in the middle of a chunk
            os.rename(log, tmp_path / "app.log.1")
            append(log, range(5000, 6000))
            numbers += await run.numbers(5500)
            shutil.copyfile(log, tmp_path / "app.log.copy")
            os.truncate(log, 0)
            append(log, range(6000, 6100))
            numbers += await run.numbers(500)
            assert sorted(numbers) == list(range(6100))
            assert run.pipeline.counts.lines == 6100

    within(60, main)


def test_restarts_neither_lose_nor_repeat(tmp_path: Path, rules: Path) -> None:
    """However often the pipeline is stopped or failed in the middle of its work, and replaced by a fresh one."""
    log, positions = tmp_path / "app.log", tmp_path / "state" / "positions.json"
    choose = random.Random(7)
    seen: Counter[int] = Counter()

    async def main() -> None:
        for at in range(0, 6000, 500):
            append(log, range(at, at + 500))
            async with running(rules, capacity=50, files=(log,), positions=positions) as run:
                seen.update(await run.numbers(choose.randrange(300)))
                if choose.random() < 0.4:
                    await run.pipeline.fail(RuntimeError("a watchdog did not like it"))
                    assert run.pipeline.state == FAILED
                receive = asyncio.create_task(keep_receiving(run, seen))
                await run.pipeline.stop()
                await receive
            if choose.random() < 0.5:
                os.rename(log, tmp_path / f"app.log.{at}")
        async with running(rules, files=(log,), positions=positions, follow=False) as run:
            seen.update([int(str(alert.fields["number"])) async for alert in run.alerts])
        assert seen == Counter(range(6000))

    within(60, main)


async def keep_receiving(run: Running, seen: Counter[int]) -> None:
    async for alert in run.alerts:
        seen[int(str(alert.fields["number"]))] += 1


def test_positions_never_get_ahead_of_the_alerts(tmp_path: Path, rules: Path) -> None:
    """While the output is full, at most what was sent is saved; so a killed process repeats, but loses nothing."""
    log, positions = tmp_path / "app.log", tmp_path / "positions.json"
    append(log, range(3000))
    size = len(lines(range(3000)))

    async def main() -> None:
        async with running(rules, capacity=100, files=(log,), positions=positions) as run:
            numbers = await run.numbers(1)
            # Another reader may save at any time; here it has time enough to do so before the alerts are sent.
            saving = asyncio.create_task(run.pipeline._save())
            await asyncio.wait([saving], timeout=0.1)
            while True:
                for place in load_positions(positions).values():
                    handled = sum(mark.offset for mark in place.marks)
                    assert handled <= len(lines(range(len(numbers) + 100)))
                if len(numbers) == 3000:
                    break
                numbers += await run.numbers(min(50, 3000 - len(numbers)))
            await saving
            await run.pipeline.stop()
        assert sum(mark.offset for mark in load_positions(positions)[str(log)].marks) == size

    within(60, main)


def test_alerts_that_nobody_takes_any_more_are_counted_and_their_lines_read_again(tmp_path: Path, rules: Path) -> None:
    """The consumer goes away for good: the pipeline fails, and what was not sent is found again by the next one."""
    log, positions = tmp_path / "app.log", tmp_path / "positions.json"
    append(log, range(400))

    async def main() -> None:
        async with running(rules, capacity=10, files=(log,), positions=positions) as run:
            seen = await run.numbers(5)
            run.alerts.close()
            await until(lambda: run.pipeline.state == FAILED)
            await run.pipeline.stop()
            seen += await run.rest()
            assert run.pipeline.counts.lost > 0
            assert run.pipeline.counts.sent == len(seen)
        async with running(rules, files=(log,), positions=positions, follow=False) as run:
            again = await run.numbers(400 - 0)
            assert set(seen) | set(again) == set(range(400))

    within(60, main)


def test_without_following_the_pipeline_comes_to_its_end(tmp_path: Path, rules: Path) -> None:
    """All logs read to the last letter, the alerts are closed, and nobody waits for more."""
    log = tmp_path / "app.log"
    log.write_text(lines([1, 2]) + lines([3]).rstrip("\n"))

    async def main() -> None:
        async with running(rules, files=(log, tmp_path / "not-there.log"), follow=False) as run:
            numbers = [int(str(alert.fields["number"])) async for alert in run.alerts]
            assert numbers == [1, 2, 3]
            while run.pipeline.workers:
                await asyncio.wait(run.pipeline.workers)
            status = await run.pipeline.health_check()
            assert "not-there.log" in status.reason

    within(30, main)


# Syslog.


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever the other side did to it."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def test_syslog_over_udp_and_tcp(rules: Path) -> None:
    """One message a datagram; over TCP with a length in front, or a newline behind, in one connection."""

    async def main() -> None:
        async with running(rules, listen=("udp://127.0.0.1:0", "tcp://127.0.0.1:0")) as run:
            udp, tcp = run.pipeline.listening
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for number in range(20):
                    sender.sendto(b"<34>1 2026-01-01T00:00:00Z host app - - - line %d" % number, (udp.host, udp.port))
                sender.sendto(b"nonsense", (udp.host, udp.port))
            assert sorted(await run.numbers(20)) == list(range(20))
            _, writer = await asyncio.open_connection(tcp.host, tcp.port)
            for number in range(100, 200):
                message = b"<34>Dec 10 06:55:46 host app: line %d" % number
                writer.write(b"%d %s" % (len(message), message) if number % 2 else message + b"\n")
            writer.write(b"<34>Dec 10 06:55:46 host app: line 200")  # without its newline
            await close(writer)
            assert await run.numbers(101) == list(range(100, 201))
            assert run.pipeline.counts.bad == 1
            assert run.pipeline.bad[0].line == "nonsense"
            assert {alert.fields["origin"] for alert in run.received} == {"udp://127.0.0.1", "tcp://127.0.0.1"}

    within(30, main)


def test_the_time_of_a_message_from_the_network_is_when_it_came(rules: Path) -> None:
    """Who sends it can claim any; what it claims must not move a window."""

    async def main() -> None:
        async with running(rules, listen=("udp://127.0.0.1:0",)) as run:
            (udp,) = run.pipeline.listening
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"<34>1 1999-01-01T00:00:00Z host app - - - line 1", (udp.host, udp.port))
            await run.numbers(1)
            assert run.received[0].time > 1.7e9

    within(30, main)


def test_what_a_connection_leaves_unfinished_is_told(rules: Path) -> None:
    """A length that makes no sense ends the connection; a stop cuts off a message: both are counted as bad lines."""

    async def main() -> None:
        async with running(rules, listen=("tcp://127.0.0.1:0",)) as run:
            (tcp,) = run.pipeline.listening
            reader, writer = await asyncio.open_connection(tcp.host, tcp.port)
            writer.write(b"5 <1>ab99999999 <1>far too long")
            with suppress(ConnectionResetError):
                assert await reader.read() == b""  # the end, or the end with a bang
            await close(writer)
            _, second = await asyncio.open_connection(tcp.host, tcp.port)
            second.write(b"<34>Dec 10 06:55:46 host app: line 1\n50 <34>Dec 10")
            await run.numbers(1)
            await run.pipeline.stop()
            await close(second)
            assert [bad.reason for bad in run.pipeline.bad] == [
                "neither RFC 3164, RFC 5424 nor JSON",
                "expected a length of at most 65536 and a space, got b'99999999 <1>far too long'",
                "the receiver was stopped",
            ]

    within(30, main)


def test_a_full_inbox_makes_tcp_wait_and_drops_datagrams(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TCP everything arrives, however slow the output is; what UDP loses is counted."""

    async def main() -> None:
        async with running(rules, capacity=1, listen=("tcp://127.0.0.1:0", "udp://127.0.0.1:0")) as run:
            run.pipeline._inbox._capacity = 8
            tcp, udp = run.pipeline.listening
            _, writer = await asyncio.open_connection(tcp.host, tcp.port)
            writer.write(lines(range(20_000)).encode())
            await until(lambda: len(run.pipeline._inbox) >= 8)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(10):
                    sender.sendto(lines([7]).encode(), (udp.host, udp.port))
            await until(lambda: run.pipeline.dropped == 10)
            for _ in range(300):
                await asyncio.sleep(0)  # enough for all of it to be read, if it were
            assert len(run.pipeline._inbox) < 15_000
            assert (await run.pipeline.health_check()).is_degraded
            assert await run.numbers(20_000) == list(range(20_000))
            await close(writer)

    within(60, main)


def test_an_address_that_is_taken_fails_the_start(rules: Path) -> None:
    """And what was opened before it is closed again."""

    async def main() -> None:
        async with running(rules, listen=("tcp://127.0.0.1:0",)) as run:
            taken = str(run.pipeline.listening[0])
            with pytest.raises(HookFailed, match="address already in use"):
                async with running(rules, listen=("udp://127.0.0.1:0", taken)):
                    pass

    within(30, main)


# Packets.


def test_the_trace_of_a_packet_is_the_trace_of_its_alert(tmp_path: Path, rules: Path) -> None:
    """Also of each packet that an alert stands for; and packets that came before the stop are all handled."""
    rules.write_text(
        """
rules:
  - {id: scan, title: Scan, severity: high, match: {field: finding, equals: port-scan}, repeat: 0}
  - id: many
    title: Many
    severity: low
    match: {field: flags, equals: SYN}
    threshold: {count: 3, window: 10, by: [dst]}
"""
    )
    packets: Sender[PacketEvent]
    received: Receiver[PacketEvent]
    packets, received = channel(100)
    events = [
        PacketEvent(
            source="engine", protocol="tcp", src="10.0.0.1", dst="10.0.0.2", dport=n, flags=("SYN",), time=1.0 * n
        )
        for n in range(3)
    ]
    scan = PacketEvent(source="engine", protocol="tcp", src="\ud800", dst="x", finding="port-scan", trace="abc")

    async def main() -> None:
        async with running(rules, packets=received) as run:
            for event in [*events, scan]:
                await packets.send(event)
            packets.close()
            alerts = [alert async for alert in run.alerts]
            many, found = alerts
            assert (found.rule, found.trace, found.fields["origin"]) == ("scan", "abc", "engine")
            assert many.trace == events[-1].trace
            assert many.fields["traces"] == tuple(event.trace for event in events)
            assert many.count == 3
            assert run.pipeline.counts.packets == 4

    within(30, main)


# Settings.


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules: [{id: a}]", "rules[0].title: missing"),
        ("rules: [", "not YAML at line 1, column 9"),
        ("rule: []", "rule: unknown key (did you mean 'rules'?)"),
    ],
)
def test_bad_rules_are_refused_and_nothing_is_started(rules: Path, text: str, problem: str) -> None:
    """All that is wrong is told, with the file and the key."""
    rules.write_text(text)

    async def main() -> None:
        alerts: Sender[AlertEvent]
        alerts, _ = channel(1)
        pipeline = LogPipeline(alerts, rules=(rules,), listen=("tcp://127.0.0.1:0",))
        with pytest.raises(HookFailed) as caught:
            await pipeline.init()
        assert isinstance(caught.value.__cause__, ConfigError)
        assert f"{rules}: {problem}" in str(caught.value)
        assert not pipeline.listening
        await pipeline.stop()

    within(30, main)


def test_a_reload_takes_the_new_rules_or_keeps_the_old_ones(tmp_path: Path, rules: Path) -> None:
    """The set is swapped as a whole; a broken file changes nothing."""
    log = tmp_path / "app.log"
    write = rules.write_text
    append(log, [1])

    async def main() -> None:
        async with running(rules, files=(log,)) as run:
            assert await run.numbers(1) == [1]
            write("rules: {}")
            with pytest.raises(ConfigError, match="expected a list of rules"):
                await run.pipeline.reload_rules()
            append(log, [2])
            assert await run.numbers(1) == [2]
            write(EVERY_LINE.replace("severity: info", "severity: critical"))
            assert len(await run.pipeline.reload_rules()) == 1
            append(log, [3])
            assert await run.numbers(1) == [3]
            assert [str(alert.severity) for alert in run.received] == ["info", "info", "critical"]

    within(30, main)


def test_the_trigger_reload_tells_what_is_wrong_and_goes_on(
    tmp_path: Path, rules: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In one message with the file and the key; the health says so until the files are right again."""
    write = rules.write_text

    async def main() -> None:
        append(tmp_path / "app.log", [])
        async with running(rules, files=(tmp_path / "app.log",)) as run:
            before = run.pipeline.rule_set
            write(EVERY_LINE.replace("severity: info", "severity: bad"))
            await run.pipeline.fire("reload")
            assert run.pipeline.rule_set is before
            (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
            health = await run.pipeline.health_check()
            for text in (message, health.reason):
                assert f"{rules}: rules[0].severity: expected" in text
            assert not health.is_healthy and not health.is_unhealthy
            write(EVERY_LINE.replace("severity: info", "severity: critical"))
            await run.pipeline.fire("reload")
            assert run.pipeline.rule_set is not before
            assert (await run.pipeline.health_check()).is_healthy

    within(30, main)


def test_a_sigma_rule_with_the_id_of_another_rule_is_told_with_both_files(tmp_path: Path) -> None:
    """Alerts say which rule raised them, so that there can be only one."""
    sigma = tmp_path / "sigma.yaml"
    number = "0b9c0bb6-5c6d-4b7a-8a0b-1f6a4a9b7f10"
    name = f"sigma:{number}"
    sigma.write_text(
        f"title: A\nid: {number}\nlogsource: {{product: linux}}\ndetection: {{one: [x], condition: one}}\nlevel: low\n"
    )
    own = tmp_path / "own.yaml"
    own.write_text(EVERY_LINE.replace("id: every", f"id: '{name}'"))
    assert name in own.read_text()

    async def main() -> None:
        alerts: Sender[AlertEvent]
        alerts, _ = channel(1)
        pipeline = LogPipeline(alerts, rules=(own,), sigma=(sigma,), files=(tmp_path / "a.log",))
        with pytest.raises(HookFailed) as caught:
            await pipeline.init()
        assert isinstance(caught.value.__cause__, ConfigError)
        (problem,) = caught.value.__cause__.problems
        assert str(problem) == f"{sigma}: {name!r} is the id of another rule, in {own}: rules[0]"
        await pipeline.stop()

    within(30, main)


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": ("tcp://nowhere",)},
        {"poll": 0},
        {"bad_lines": 0},
        {"rotate_wait": -1},
        {"listen": ("tcp://a:99999",)},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    """When the plugin is made."""
    alerts: Sender[AlertEvent]
    alerts, _ = channel(1)
    with pytest.raises(ValueError):
        LogPipeline(alerts, **settings)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2, "files": {}}', "\x00", '{"version": 1, "files": [1]}']
)
def test_a_broken_file_of_positions_is_refused(tmp_path: Path, rules: Path, text: str) -> None:
    """Nobody reads everything again without being asked."""
    positions = tmp_path / "positions.json"
    positions.write_text(text)

    async def main() -> None:
        with pytest.raises(HookFailed, match=r"is not a file of positions.*if you delete it"):
            async with running(rules, files=(rules,), positions=positions):
                pass

    within(30, main)


def test_a_directory_and_a_log_named_twice_are_refused(tmp_path: Path, rules: Path) -> None:
    """With what to do."""

    async def main() -> None:
        with pytest.raises(HookFailed) as caught:
            async with running(rules, files=(tmp_path, rules, rules)):
                pass
        assert "is a directory; name the files in it" in str(caught.value)
        assert "a log is named twice" in str(caught.value)

    within(30, main)


def test_a_pipeline_without_anything_to_read_is_refused(rules: Path) -> None:
    """It would end at once, and nobody would know why."""

    async def main() -> None:
        with pytest.raises(HookFailed, match="there is nothing to read"):
            async with running(rules):
                pass

    within(30, main)


def test_positions_that_cannot_be_saved_degrade_the_health_and_fail_the_stop(tmp_path: Path, rules: Path) -> None:
    """Reading goes on meanwhile."""
    log, positions = tmp_path / "app.log", tmp_path / "state" / "positions.json"
    append(log, [1])
    state = tmp_path / "state"
    state.write_text("a file where a directory should be")

    async def main() -> None:
        with pytest.raises(HookFailed, match=r"positions.*cannot be read"):
            async with running(rules, files=(log,), positions=positions):
                pass
        state.unlink()
        state.mkdir()
        async with running(rules, files=(log,), positions=positions) as run:
            assert await run.numbers(1) == [1]
            await until(positions.exists)
            shutil.rmtree(state)
            state.write_text("")
            append(log, [2])
            assert await run.numbers(1) == [2]
            await until(lambda: bool(run.pipeline._trouble))
            assert "positions cannot be saved" in (await run.pipeline.health_check()).reason
            append(log, [3])
            assert await run.numbers(1) == [3]
            with pytest.raises(HookFailed, match="positions cannot be saved"):
                await run.pipeline.stop()
            state.unlink()
            await run.pipeline.stop()  # again, and now it can
        assert load_positions(positions)

    within(30, main)


def test_connections_are_bounded(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is closed at once, and counted; those that were there go on."""
    monkeypatch.setattr(receivers, "CONNECTIONS", 2)

    async def main() -> None:
        async with running(rules, listen=("tcp://127.0.0.1:0",)) as run:
            (tcp,) = run.pipeline.listening
            ends = [await asyncio.open_connection(tcp.host, tcp.port) for _ in range(3)]
            await until(lambda: run.pipeline.dropped == 1)
            with suppress(ConnectionError):
                assert await ends[2][0].read() == b""
            ends[0][1].write(lines([5]).encode())
            assert await run.numbers(1) == [5]
            for _, writer in ends:
                await close(writer)

    within(30, main)


def test_bad_lines_degrade_the_health_and_never_fail_the_plugin(tmp_path: Path, rules: Path) -> None:
    """They are counted, and the newest are kept."""
    log = tmp_path / "app.log"
    log.write_bytes(b"".join(b"\xff\x00 nonsense %d\n" % number for number in range(200)) + lines([1]).encode())

    async def main() -> None:
        async with running(rules, files=(log,), bad_lines=3) as run:
            assert await run.numbers(1) == [1]
            status = await run.pipeline.health_check()
            assert status.is_degraded
            assert "200 of 201 lines were not understood" in status.reason
            assert [bad.line[-3:] for bad in run.pipeline.bad] == ["197", "198", "199"]
            assert json.dumps(run.pipeline.counts.as_dict())

    within(30, main)


def test_slices_are_small_enough_for_others_to_have_their_turn() -> None:
    """A long log must not keep the event loop for seconds."""
    assert plugin.SLICE <= 1024


def test_a_save_that_a_crash_cuts_off_does_not_undo_the_one_of_the_stop(
    tmp_path: Path, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread has ended before the stop saves: else lines that were handled would come again."""
    log = tmp_path / "app.log"
    append(log, [1])
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(file: Path, places: Mapping[str, Place]) -> None:
        order.append("begin")
        if len(order) == 1:
            begun.set()
            assert go_on.wait(30)
        save_positions(file, places)
        order.append("end")

    monkeypatch.setattr("ironpost.logs.plugin.save_positions", slow)

    async def main() -> None:
        alerts: Sender[AlertEvent]
        alerts, _received = channel(10)
        pipeline = LogPipeline(
            alerts, rules=(rules,), shipped_rules=False, files=(log,), positions=tmp_path / "p.json", poll=0.01
        )
        await pipeline.init()
        await pipeline.start()
        await asyncio.to_thread(begun.wait)
        await pipeline.fail(RuntimeError("on purpose"))
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        await pipeline.stop()

    within(30, main)
    assert order == ["begin", "end"] * 2
