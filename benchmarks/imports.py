"""What ``import fsm_plugins`` adds to the import of what it is made of, and what the import of a peer takes.

Each measurement is a fresh process, which tells the CPU time it has used since it began, the interpreter included. The
first round does not count: it fills the cache of compiled modules. That is a directory of the benchmark's own, for all
that is imported: elsewhere an environment that forbids to write the cache (``PYTHONDONTWRITEBYTECODE``) would have the
working tree compiled anew in every process, and what was installed not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks._measure import alternate
from benchmarks._results import Report, Role, Series, Table, Target
from benchmarks._suites import alone

__all__ = ["benchmark", "main"]

REPEATS: Final = 11
BASE: Final = "import asyncio, attrs, transitions"
OURS: Final = "import fsm_plugins"
CONTENDERS: Final = {
    "import asyncio": (Role.OTHER, "what every asynchronous program imports"),
    BASE: (Role.LIMIT, "what fsm_plugins is made of"),
    OURS: (Role.OURS, ""),
    "import transitions.extensions.asyncio": (Role.PEER, ""),
    "from statemachine import StateMachine": (Role.PEER, ""),
    "import automat": (Role.PEER, "without asyncio, which it does not use"),
    "from xstate_statemachine import Interpreter": (Role.PEER, ""),
    "from aiomisc import Service, entrypoint": (Role.PEER, ""),
    "from mode import Service": (Role.PEER, ""),
    "import pelix.framework, pelix.ipopo.decorators": (Role.PEER, "without asyncio, which it does not use"),
}
"""The statement -> its role, and what there is to know."""

PACKAGES: Final = ("python-statemachine", "automat", "xstate-statemachine", "aiomisc", "mode-streaming", "ipopo")
UNWANTED: Final = ("cattrs", "click")
"""What only the command line and the configuration need."""

ROOT: Final = Path(__file__).resolve().parent.parent


def _python(cache: str, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    return subprocess.run(
        [sys.executable, *args], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )


def cpu_seconds(cache: str, statement: str) -> float:
    """Return the CPU seconds of a process that executes ``statement``."""
    return float(_python(cache, "-c", f"{statement}; import time; print(time.process_time())").stdout)


def modules(cache: str, statement: str) -> set[str]:
    """Return the names of the modules that are there after ``statement``."""
    return set(_python(cache, "-c", f"{statement}; import sys; print(*sys.modules)").stdout.split())


def slowest(cache: str, names: set[str], count: int) -> list[tuple[str, int]]:
    """Return those of the modules that take longest, with their own microseconds as ``-X importtime`` tells them."""
    times = []
    for line in _python(cache, "-X", "importtime", "-c", OURS).stderr.splitlines():
        own, _, name = line.removeprefix("import time:").split("|")
        if (name := name.strip()) in names:
            times.append((name, int(own)))
    return sorted(times, key=lambda time: -time[1])[:count]


def installed(statement: str) -> bool:
    """Whether the package that ``statement`` names first is there."""
    return find_spec(statement.split()[1].partition(".")[0].rstrip(",")) is not None


def benchmark() -> Report:
    """Measure the imports, and list what ours brings along."""
    with TemporaryDirectory() as cache:
        return _benchmark(cache)


def _benchmark(cache: str) -> Report:
    known = [statement for statement in CONTENDERS if installed(statement)]
    samples = alternate({each: partial(cpu_seconds, cache, each) for each in known}, REPEATS)
    series = (Series(each, CONTENDERS[each][0], (samples[each],), CONTENDERS[each][1]) for each in known)
    added_seconds = samples[OURS].median - samples[BASE].median
    loaded = modules(cache, OURS)
    added = loaded - modules(cache, BASE)
    unwanted = [name for name in UNWANTED if name in loaded]
    top = ", ".join(f"{name} {microseconds / 1000:.1f}" for name, microseconds in slowest(cache, added, 10))
    return Report(
        "Import, in a fresh process",
        [Table("import", "One import, the start of the interpreter included", tuple(series))],
        [f"it adds {len(added)} modules; in ms of their own, under -X importtime: {top}"],
        [
            Target("import, beyond asyncio, attrs and transitions", added_seconds * 1e3, 40, "ms"),
            Target(f"how many of {', '.join(UNWANTED)} it imports as well", len(unwanted), 0, ""),
        ],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What the import costs.", benchmark, PACKAGES)


if __name__ == "__main__":
    raise SystemExit(main())
