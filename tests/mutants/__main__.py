"""Apply each mutant in a copy of the project, and tell which of them the tests do not notice.

::

    python -m tests.mutants [PATTERN] [--jobs N] [--seconds S]

The modules next to this one have ``MUTANTS``, a list of (name, file, original, replacement); the original has to occur
exactly once in the file. A module may have ``TESTS``, the test files that are likely to notice its mutants, the
quickest first; without it these are the files that have the module's name in theirs. A mutant that outlives them has to
outlive the whole test suite to be called a survivor. A run that takes more than ``--seconds`` is a hang: the mutant
counts as killed, but is told apart. Only mutants with PATTERN, a regular expression, in ``module: name`` are tried.

The exit code is 1 if a mutant survives or its original is not found once, and 2 if the tests fail without any mutant.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import tests.mutants

ROOT: Final = Path(__file__).resolve().parents[2]
IGNORED: Final = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "dist", "build", "node_modules")
PYTEST: Final = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.quick")
# What pytest's exit codes mean here: 1, a test failed; 2, a module could not even be imported.
NOTICED: Final = {1: "killed", 2: "killed on import"}


class Mutant(NamedTuple):
    """One breakage.

    Attributes:
        module: where it is listed.
        name: what breaks, in words.
        file: relative to the root of the project.
        original, replacement: what stands there, and what is put there instead.
        tests: the test files that are tried first.
    """

    module: str
    name: str
    file: str
    original: str
    replacement: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.module}: {self.name}"


class Outcome(NamedTuple):
    """What became of one mutant."""

    mutant: Mutant
    verdict: str
    noticed: bool
    seconds: float
    by: str

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        return f"{self.verdict.upper() if not self.noticed else self.verdict}{by} ({self.seconds:.1f} s): {self.mutant}"


def collect(pattern: str) -> list[Mutant]:
    """Return the mutants of all modules whose ``module: name`` has ``pattern`` in it."""
    found = []
    for entry in pkgutil.iter_modules(tests.mutants.__path__):
        module = importlib.import_module(f"tests.mutants.{entry.name}")
        likely = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(f"tests/*/test_*{entry.name}*.py"))
        first = tuple(getattr(module, "TESTS", likely))
        for name, file, original, replacement in getattr(module, "MUTANTS", ()):
            found.append(Mutant(entry.name, name, file, original, replacement, first))
    return [mutant for mutant in found if re.search(pattern, str(mutant))]


def run_pytest(where: Path, files: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """Run test files in a copy of the project. Returns the exit code, None for a hang, and the test that failed."""
    paths = os.pathsep.join(map(str, (where, where / "examples" / "ironpost")))
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": paths}
    process = subprocess.Popen(
        [*PYTEST, *files],
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the session that was started for it, with what it started itself
        process.communicate()
        return None, ""
    failed = re.search(r"^(?:FAILED|ERROR) (?:\S+/)?(\S+)", output, re.MULTILINE)
    return process.returncode, failed[1] if failed else ""


def copy_project(to: Path) -> Path:
    """Copy the project, without what is hidden or built, and return where it is."""
    return Path(shutil.copytree(ROOT, to / "project", ignore=IGNORED))


def attempt(mutant: Mutant, seconds: float) -> Outcome:
    """Try one mutant."""
    start = time.monotonic()

    def outcome(verdict: str, noticed: bool, by: str = "") -> Outcome:
        return Outcome(mutant, verdict, noticed, time.monotonic() - start, by)

    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    if (count := source.count(mutant.original)) != 1 or mutant.original == mutant.replacement:
        return outcome(f"stale: the original occurs {count} times", False)
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        project = copy_project(Path(directory))
        (project / mutant.file).write_text(source.replace(mutant.original, mutant.replacement), encoding="utf-8")
        for files in (mutant.tests, ("tests",)):
            if not files:
                continue
            code, by = run_pytest(project, files, seconds)
            if code is None:
                return outcome("hung", True)
            if code in NOTICED:
                return outcome(NOTICED[code], True, by)
            if code != 0:
                return outcome(f"pytest ended with code {code}", False)
    return outcome("survived", False)


def baseline(mutants: Sequence[Mutant], seconds: float) -> bool:
    """Return whether the tests that are tried first pass without a mutant: or else they would kill anything."""
    files = sorted({file for mutant in mutants for file in mutant.tests}) or ["tests"]
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        code, by = run_pytest(copy_project(Path(directory)), files, 4 * seconds)
    if code != 0:
        print(f"without any mutant the tests fail: {by or code}")
    return code == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants that are asked for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pattern", nargs="?", default="", help="a regular expression to look for in 'module: name'")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many to try at a time")
    parser.add_argument("--seconds", type=float, default=180.0, help="after which one run of pytest counts as a hang")
    options = parser.parse_args(arguments)
    mutants = collect(options.pattern)
    if not mutants:
        print("no mutant has that in its name")
        return 1
    start = time.monotonic()
    if not baseline(mutants, options.seconds):
        return 2
    outcomes = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda mutant: attempt(mutant, options.seconds), mutants):
            print(outcome, flush=True)
            outcomes.append(outcome)
    missed = [outcome for outcome in outcomes if not outcome.noticed]
    hung = sum(outcome.verdict == "hung" for outcome in outcomes)
    print(
        f"{len(outcomes)} mutants in {time.monotonic() - start:.0f} s: {len(outcomes) - len(missed)} killed, "
        f"{hung} of them by a hang, {len(missed)} not"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
