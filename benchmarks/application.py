"""Whole processes: from start to ready, from SIGTERM to the exit, and the cold start of the command.

A program is ready when it says so on ``$NOTIFY_SOCKET``. CPU time up to then is what the kernel has counted for its
threads; wall time is kept beside it. All programs run from one cache of compiled modules, which the first turn fills.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attrs import frozen

from benchmarks._measure import REPEATS, Sample, Taken, alternate, sample, turns
from benchmarks._results import Report, Role, Series, Table
from benchmarks._suites import ROOT, alone

__all__ = ["benchmark", "main"]

PACKAGES: Final = ("aiomisc", "mode-streaming")
COUNTS: Final = (10, 100, 1_000)
PATIENCE: Final = 60.0
"""Seconds that a program may take to be ready, or to exit."""

_DRAWN: Final = "fsm_plugins:LIFECYCLE"
COMMANDS: Final = {
    "python -c pass": (Role.OTHER, ["-c", "pass"]),
    "import asyncio, attrs, click, transitions": (Role.LIMIT, ["-c", "import asyncio, attrs, click, transitions"]),
    "fsm-plugins --help": (Role.OURS, ["-m", "fsm_plugins", "--help"]),
    "fsm-plugins check words.toml": (Role.OURS, ["-m", "fsm_plugins", "check", "examples/words/words.toml"]),
    "fsm-plugins list": (Role.OURS, ["-m", "fsm_plugins", "list"]),
    "fsm-plugins diagram lifecycle": (Role.OURS, ["-m", "fsm_plugins", "diagram", "lifecycle", _DRAWN]),
}


@frozen
class Program:
    """A program that runs services until SIGTERM.

    Attributes:
        arguments: of the interpreter; ``{count}`` and ``{config}`` are filled in.
        needs: what has to be installed.
    """

    name: str
    role: Role
    arguments: tuple[str, ...]
    needs: str = "asyncio"
    note: str = ""


PROGRAMS: Final = (
    Program(
        "fsm-plugins run",
        Role.OURS,
        ("-m", "fsm_plugins", "run", "{config}", "--log-level", "error"),
        note="reads and checks TOML, handles signals, prints a receipt for each plugin at the end",
    ),
    Program(
        "a task for each, by hand", Role.LIMIT, ("-m", "benchmarks.programs.by_hand", "{count}"), note="no rule at all"
    ),
    Program("aiomisc", Role.PEER, ("-m", "benchmarks.programs.of_aiomisc", "{count}"), "aiomisc", "configured in code"),
    Program(
        "mode",
        Role.PEER,
        ("-m", "benchmarks.programs.of_mode", "{count}"),
        "mode",
        "configured in code; before it exits it sleeps for a second, which costs no CPU time",
    ),
)


def _environment(cache: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    return kept | {"PYTHONPYCACHEPREFIX": cache, "PYTHONPATH": path}


def _cold(cache: str, arguments: list[str]) -> Taken:
    """Run a command to its end."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=_environment(cache),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{arguments}: exit status {process.returncode}"
    return Taken(used.ru_utime + used.ru_stime, time.perf_counter() - begin)


def _used(pid: int) -> float:
    """Return the CPU seconds of a process so far, as the scheduler counts them, in nanoseconds for each thread."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


def _life(program: Program, count: int, cache: str, directory: Path) -> tuple[Taken, Taken]:
    """Start a program, wait until it is ready, end it; return what each of the two took."""
    config = directory / f"{count}.toml"
    address = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(address))
        told.settimeout(PATIENCE)
        arguments = [each.format(count=count, config=config) for each in program.arguments]
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=_environment(cache) | {"NOTIFY_SOCKET": str(address)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not told.recv(4096).startswith(b"READY=1"):
                continue
            ready = time.perf_counter()
            used = _used(process.pid)
            process.send_signal(signal.SIGTERM)
            while not (last := told.recv(4096)).startswith(b"SERVED="):
                continue
            _, status, whole = os.wait4(process.pid, 0)
            ended = time.perf_counter()
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
            address.unlink()
    assert process.returncode == 0, f"{program.name}: exit status {process.returncode}"
    assert last == f"SERVED={count}/{count}".encode(), f"{program.name}: {last.decode()}, begun/ended, of {count}"
    return Taken(used, ready - begin), Taken(whole.ru_utime + whole.ru_stime - used, ended - ready)


def _lives(count: int, programs: list[Program], cache: str, directory: Path) -> dict[str, tuple[Sample, Sample]]:
    """Measure every program with that many services, by turns."""
    lines = [f'[app]\nplugin_path = ["{ROOT}"]\n']
    lines += [f'[plugins.idle-{number}]\nuse = "benchmarks.programs.idle:Idle"\n' for number in range(count)]
    (directory / f"{count}.toml").write_text("".join(lines), encoding="utf-8")
    contenders: dict[str, Callable[[], tuple[Taken, Taken]]] = {
        each.name: partial(_life, each, count, cache, directory) for each in programs
    }
    return {
        name: (sample(ready for ready, _ in taken), sample(ended for _, ended in taken))
        for name, taken in turns(contenders, REPEATS).items()
    }


def benchmark() -> Report:
    """Measure everything."""
    with TemporaryDirectory() as cache, TemporaryDirectory() as scratch:
        cold = alternate({name: partial(_cold, cache, line) for name, (_, line) in COMMANDS.items()}, REPEATS)
        programs = [each for each in PROGRAMS if find_spec(each.needs) is not None]
        lives = {count: _lives(count, programs, cache, Path(scratch)) for count in COUNTS}
    tables = [
        Table(
            "application-cold",
            "A command, from its start to its end",
            tuple(Series(name, COMMANDS[name][0], (taken,)) for name, taken in cold.items()),
        )
    ]
    for index, (key, title) in enumerate(
        [("ready", "A process, from its start until all its services run"), ("exit", "SIGTERM, to the exit")]
    ):
        series = (
            Series(each.name, each.role, tuple(found[each.name][index] for found in lives.values()), each.note)
            for each in programs
        )
        tables.append(Table(f"application-{key}", title, tuple(series), axis="services", points=COUNTS))
    bare, help_ = cold["python -c pass"], cold["fsm-plugins --help"]
    wall = {
        name: ", ".join(
            f"{count:,}: {1e3 * sorted(ready.wall)[len(ready.wall) // 2]:.0f} and "
            f"{1e3 * sorted(ended.wall)[len(ended.wall) // 2]:.0f}"
            for count, (ready, ended) in ((count, found[name]) for count, found in lives.items())
        )
        for name in (each.name for each in programs)
    }
    return Report(
        "Whole processes",
        tables,
        [
            f"fsm-plugins --help: {1e3 * (help_.median - bare.median):.0f} ms more than python -c pass",
            *(f"wall ms to ready and to the exit, {name}: {told}" for name, told in wall.items()),
        ],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What whole processes take.", benchmark, PACKAGES)


if __name__ == "__main__":
    raise SystemExit(main())
