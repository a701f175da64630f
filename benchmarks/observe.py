"""What it costs to observe: a transition that nobody hears of, against one that is counted and written to the journal.

The transition is a guarded start with an empty hook, the least that there is to compare with. The journal formats and
writes in a thread of its own, which competes for the interpreter with the event loop: what the loop's thread takes and
what the whole process takes are both shown. The journal is closed, and so completely written, before the clock stops.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks._measure import alternate, ratio
from benchmarks._results import Report, Target, plain
from benchmarks._suites import alone
from benchmarks.peers.by_hand import Ours
from fsm_plugins import RESTARTABLE, PluginRegistry
from fsm_plugins.observe import Journal, RegistryTarget, last_states
from fsm_plugins.observe.metrics import Metrics
from fsm_plugins.observe.stores import Format

__all__ = ["benchmark", "main"]

REPEATS: Final = 15
CALLS: Final = 4_000


class Again(Ours):
    """A plugin that can be started more than once."""

    lifecycle = RESTARTABLE


async def start_all(clock: Callable[[], float], path: Path | None, kind: Format, metrics: bool) -> float:
    """Start plugins one after the other; return the seconds for each, by a clock of CPU time."""
    registry = PluginRegistry()
    plugins = [Again(name=f"plugin-{number}") for number in range(CALLS)]
    for plugin in plugins:
        registry.register(plugin)
        await plugin.init()
    if metrics:
        counting = Metrics(RegistryTarget(registry))
        counting.start()
    journal = None if path is None else Journal(path, format=kind)
    if journal is not None:
        journal.start()
        registry.subscribe(journal.note)
    for plugin in plugins:  # what is made once for each arc is made before the clock starts
        await plugin.start()
        await plugin.stop()
    if metrics:
        counting.text()
    await asyncio.sleep(0.05)
    begin = clock()
    for plugin in plugins:
        await plugin.start()
    if metrics:
        counting.stop()
    if journal is not None and clock is time.process_time:
        journal.stop()
    taken = clock() - begin
    if journal is not None:
        journal.stop()
        assert path is not None
        assert len(last_states(path)) == CALLS, "not everything was written"
    return taken / CALLS


def benchmark() -> Report:
    """Measure, and compare with the promises."""
    with tempfile.TemporaryDirectory() as directory:
        number = iter(range(10**6))

        def contender(
            clock: Callable[[], float], kind: Format | None = None, metrics: bool = False
        ) -> Callable[[], float]:
            def run() -> float:
                path = None if kind is None else Path(directory, f"{next(number)}.{kind}")
                taken = asyncio.run(start_all(clock, path, kind or "jsonl", metrics))
                if path is not None:
                    path.unlink()
                return taken

            return run

        process, loop = time.process_time, time.thread_time
        samples = alternate(
            {
                "nobody listens": contender(process),
                "metrics": contender(process, metrics=True),
                "journal, JSON lines": contender(process, "jsonl"),
                "journal, SQLite": contender(process, "sqlite"),
                "metrics and journal": contender(process, "jsonl", True),
                "metrics and journal, in the loop's thread": contender(loop, "jsonl", True),
            },
            REPEATS,
        )
    base = samples["nobody listens"]
    report = Report("One guarded start with an empty hook, observed", [plain("observe", "One start", samples)])
    report.notes = [f"{name}: {ratio(sample, base):.2f} x" for name, sample in samples.items() if sample is not base]
    report.targets = [
        Target(
            "metrics and journal, in the loop's thread",
            ratio(samples["metrics and journal, in the loop's thread"], base),
            3.0,
        ),
        Target("metrics and journal, the whole process", ratio(samples["metrics and journal"], base), 3.0),
    ]
    return report


def main() -> int:
    """Run it as a command."""
    return alone("What it costs to observe.", benchmark)


if __name__ == "__main__":
    raise SystemExit(main())
