"""The benchmarks by name. Each runs in a process of its own, so that none meets what another left behind."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks._measure import environment
from benchmarks._results import Report, save

__all__ = ["ROOT", "SUITES", "alone", "run"]

ROOT: Final = Path(__file__).resolve().parent.parent

SUITES: Final = {
    "lifecycle": "benchmarks.lifecycle",
    "imports": "benchmarks.imports",
    "bulk": "benchmarks.bulk",
    "channels": "benchmarks.channels",
    "application": "benchmarks.application",
    "supervision": "benchmarks.supervision",
    "observe": "benchmarks.observe",
    "verify": "benchmarks.verify",
    "schedules": "benchmarks.schedules",
    "ironpost_logs": "benchmarks.ironpost_logs",
    "ironpost_sbom": "benchmarks.ironpost_sbom",
    "ironpost_xdp": "benchmarks.ironpost_xdp",
}
"""Name -> module with ``benchmark() -> Report`` and, if it has peers, their distributions in ``PACKAGES``."""


def run(name: str, directory: Path) -> bool:
    """Run one benchmark, and keep what it finds as ``NAME.json`` in ``directory``; return whether it came to an end."""
    sys.stdout.flush()  # the child writes to the same place
    command = [sys.executable, "-m", SUITES[name], "--json", str(directory / f"{name}.json")]
    return subprocess.run(command, cwd=ROOT, check=False).returncode in (0, 1)


def alone(title: str, benchmark: Callable[[], Report], packages: tuple[str, ...] = ()) -> int:
    """Run one benchmark as a command of its own: print what it finds; with ``--json FILE`` keep it, too.

    Returns:
        the exit status: 0 if every target is met, else 1.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file as well")
    options = parser.parse_args()
    report = benchmark()
    report.environment = environment(packages)
    print("\n" + "; ".join(f"{name} {value}" for name, value in report.environment.items()))
    report.show()
    print()
    for target in report.targets:
        print(target)
    if options.json is not None:
        save(report, options.json)
    return 0 if all(target.met for target in report.targets) else 1
