"""What ``import fsm_plugins`` adds to the import of what it is made of.

Each measurement is a fresh process, which tells the CPU time it has used since it began, the interpreter included. The
first round does not count: it fills the caches of compiled modules.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks._measure import alternate
from benchmarks._results import Report, Target, plain
from benchmarks._suites import alone

__all__ = ["benchmark", "main"]

REPEATS: Final = 11
BASE: Final = "import asyncio, attrs, transitions"
OURS: Final = f"{BASE}, fsm_plugins"
UNWANTED: Final = ("cattrs", "click")
"""What only the command line and the configuration need."""

ROOT: Final = Path(__file__).resolve().parent.parent


def _python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=ROOT, check=True, capture_output=True, text=True)


def cpu_seconds(statement: str) -> float:
    """Return the CPU seconds of a process that executes ``statement``."""
    return float(_python("-c", f"{statement}; import time; print(time.process_time())").stdout)


def modules(statement: str) -> set[str]:
    """Return the names of the modules that are there after ``statement``."""
    return set(_python("-c", f"{statement}; import sys; print(*sys.modules)").stdout.split())


def slowest(names: set[str], count: int) -> list[tuple[str, int]]:
    """Return those of the modules that take longest, with their own microseconds as ``-X importtime`` tells them."""
    times = []
    for line in _python("-X", "importtime", "-c", OURS).stderr.splitlines():
        own, _, name = line.removeprefix("import time:").split("|")
        if (name := name.strip()) in names:
            times.append((name, int(own)))
    return sorted(times, key=lambda time: -time[1])[:count]


def benchmark() -> Report:
    """Measure the import, and list what it brings along."""
    samples = alternate({BASE: lambda: cpu_seconds(BASE), OURS: lambda: cpu_seconds(OURS)}, REPEATS)
    added_seconds = samples[OURS].median - samples[BASE].median
    loaded = modules(OURS)
    added = loaded - modules(BASE)
    unwanted = [name for name in UNWANTED if name in loaded]
    top = ", ".join(f"{name} {microseconds / 1000:.1f}" for name, microseconds in slowest(added, 10))
    return Report(
        "Import, in a fresh process",
        [plain("import", "One import, the interpreter included", samples)],
        [f"it adds {len(added)} modules; in ms of their own, under -X importtime: {top}"],
        [
            Target("import, beyond asyncio, attrs and transitions", added_seconds * 1e3, 40, "ms"),
            Target(f"how many of {', '.join(UNWANTED)} it imports as well", len(unwanted), 0, ""),
        ],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What the import costs.", benchmark)


if __name__ == "__main__":
    raise SystemExit(main())
