"""Run every benchmark, and print one table of what was promised and what was measured.

``python -m benchmarks [--json FILE]``, from the root of the repository. Exit status 1 if a target is missed.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

from benchmarks import bulk, imports, lifecycle, observe, schedules, supervision, verify
from benchmarks._measure import Report, Target, command


def channels() -> Report:
    """Run the benchmark of the channels, which has targets and a report of its own, in a process of its own."""
    sys.stdout.flush()  # it writes to the same place
    code = subprocess.run([sys.executable, "-m", "benchmarks.channels"], check=False).returncode
    return Report("Channels: see above", targets=[Target("targets of the channels, exit status", code, 0, "")])


def main() -> int:
    """Run everything."""
    benchmarks = [
        lifecycle.benchmark,
        bulk.benchmark,
        supervision.benchmark,
        imports.benchmark,
        observe.benchmark,
        verify.benchmark,
        schedules.benchmark,
    ]
    if importlib.util.find_spec("benchmarks.channels"):
        benchmarks.append(channels)
    if importlib.util.find_spec("ironpost"):
        ironpost_logs = importlib.import_module("benchmarks.ironpost_logs")
        benchmarks.append(ironpost_logs.benchmark)
        ironpost_xdp = importlib.import_module("benchmarks.ironpost_xdp")
        benchmarks.append(ironpost_xdp.benchmark)
    return command("What the core costs.", benchmarks)


if __name__ == "__main__":
    raise SystemExit(main())
