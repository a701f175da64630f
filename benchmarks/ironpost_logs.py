"""What a line of a log costs in the reference application, from the file to the alert.

``python -m benchmarks.ironpost_logs``; the package ironpost has to be installed. The lines are those of its sample log,
over and over, with times that go on: two of three are of a program that rules ask for, one of twelve is a failed login.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

from benchmarks._measure import alternate, ratio
from benchmarks._results import Report, Target, plain
from benchmarks._suites import alone
from fsm_plugins import Receiver, Sender, channel
from ironpost.events import AlertEvent, Severity
from ironpost.logs import LogPipeline
from ironpost.logs.conditions import All, Test
from ironpost.logs.engine import Engine
from ironpost.logs.rulefiles import SHIPPED, read_rules, rule_files
from ironpost.logs.rules import Rule, RuleSet
from ironpost.sample.logs import BEGIN, lines_of_auth

__all__ = ["benchmark"]

LINES: Final = 60_000
"""How many lines are read in one repeat."""

MANY: Final = 1_000_000
"""Over how many lines the memory is looked at, after a fifth of them to warm up."""


def log(lines: int) -> list[bytes]:
    """Return lines of a log, a second apart."""
    texts = [line.partition(" ")[2] for line in lines_of_auth()]
    return [
        f"{datetime.fromtimestamp(BEGIN + number, UTC):%b %d %H:%M:%S} {texts[number % len(texts)]}".encode()
        for number in range(lines)
    ]


def hostile(lines: int) -> Iterator[bytes]:
    """Yield failed logins from addresses that never come again: what fills memories that have no bounds."""
    random = Random(3)
    for number in range(lines):
        src = f"{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}"
        stamp = f"{datetime.fromtimestamp(BEGIN + number / 100, UTC):%b %d %H:%M:%S}"
        yield f"{stamp} gate sshd[9]: Failed password for user{number} from {src} port 4 ssh2".encode()


def rules(count: int) -> RuleSet:
    """Return the shipped rules, and as many more for one program and a user each as makes ``count``."""
    shipped = read_rules(rule_files([SHIPPED]))
    more = [
        Rule(
            f"user-{n}",
            "One of many",
            Severity.LOW,
            All((Test("app", "equals", ("sshd",)), Test("user", "equals", (f"u{n}",)))),
        )
        for n in range(count - len(shipped))
    ]
    return RuleSet((*shipped, *more))


def matched(count: int, lines: list[bytes]) -> Callable[[], float]:
    """Return a run of the engine alone, with so many rules."""
    given = rules(count)

    def run() -> float:
        engine = Engine("log-pipeline", given)
        begin = time.process_time()
        engine.lines(lines, "log")
        taken = time.process_time() - begin
        if engine.counts.lines != len(lines) or not engine.counts.raised:
            raise SystemExit(f"not every line was read: {engine.counts}")
        return taken / len(lines)

    return run


async def pipeline(file: Path, lines: int, more_rules: Path) -> float:
    """Read a file with the whole plugin until its end; return the CPU seconds for a line, of all threads."""
    alerts: Sender[AlertEvent]
    received: Receiver[AlertEvent]
    alerts, received = channel(1024)
    plugin = LogPipeline(
        alerts, files=(file,), rules=(more_rules,), positions=file.with_suffix(".positions"), follow=False
    )
    await plugin.init()
    begin = time.process_time()
    await plugin.start()
    got = [alert async for alert in received]
    taken = time.process_time() - begin
    await plugin.stop()
    if plugin.counts.lines != lines or plugin.counts.sent != len(got) or len(plugin.rule_set) != 20:
        raise SystemExit(f"not every line was read: {plugin.counts}")
    file.with_suffix(".positions").unlink()
    return taken / lines


def resident() -> int:
    """Return how much memory the process has, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth() -> float:
    """Return by how many bytes for each line the process grows when every line brings something new."""
    engine = Engine("log-pipeline", rules(20))
    before = 0
    for number, line in enumerate(hostile(MANY + MANY // 5)):
        if number == MANY // 5:
            gc.collect()
            before = resident()
        engine.lines((line,), "log")
        engine.pending.clear()
    gc.collect()
    return (resident() - before) / MANY


def benchmark() -> Report:
    """Measure lines from the file to the alert, rules by the hundred, and memory."""
    report = Report("ironpost, a line of a log")
    lines = log(LINES)
    with tempfile.TemporaryDirectory() as directory:
        file, more = Path(directory, "auth.log"), Path(directory, "more.yaml")
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        missing = 20 - len(read_rules(rule_files([SHIPPED])))
        more.write_text(
            "rules:\n"
            + "".join(
                f"  - {{id: user-{n}, title: One, severity: low, match: {{field: user, equals: u{n}}}}}\n"
                for n in range(missing)
            )
        )
        samples = alternate(
            {
                "file -> parse -> 20 rules -> alert": lambda: asyncio.run(pipeline(file, LINES, more)),
                "parse -> 20 rules": matched(20, lines),
                "parse -> 500 rules": matched(500, lines),
            }
        )
    report.tables.append(plain("ironpost-lines", "One line of a log", samples))
    whole, few, many = samples.values()
    grown = growth()
    report.notes.append(f"{1 / whole.median:,.0f} lines/s on one core; memory: {grown:.2f} bytes for each new line")
    report.targets = [
        Target("ironpost: lines from file to alert, 20 rules", 1 / whole.median / 1000, 50, "k/s", at_least=True),
        Target("ironpost: a line with 500 rules, against 20", ratio(many, few), 1.15),
        Target("ironpost: memory for each line, without end", grown, 1, "byte"),
    ]
    return report


if __name__ == "__main__":
    raise SystemExit(alone("What a line of a log costs.", benchmark))
