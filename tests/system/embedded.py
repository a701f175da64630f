"""What the tests of the pages in ``docs/embedding`` share: the files of a page, and real processes.

A fenced block of a page whose first line is a comment with a file name is that file. The files of a page are put next
to those of the example, and what the page says is run there. Processes are waited for by what they print, and for no
fixed time.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "embedding"
EXAMPLE = ROOT / "examples" / "beacon"

# Seconds that anything here may take before the test gives up.
PATIENCE = 60.0

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?:#|;|//) ([\w.-]+)\n")

# A plugin for what the example does not do. It takes the place of one of the example's by an environment variable.
BROKEN = """
import asyncio, sys
from fsm_plugins import Plugin, PluginInfo, Receiver

class Quiet(Plugin):
    info = PluginInfo("quiet", "1.0.0")
    beats: Receiver[int]
    async def on_start(self):
        self.spawn(self._work())
    async def _work(self):
        async for number in self.beats:
            pass

class Unstartable(Quiet):
    async def on_start(self):
        raise OSError("no device")

class FailsAtALine(Quiet):
    async def _work(self):
        await asyncio.to_thread(sys.stdin.readline)
        raise ConnectionError("reset")

class BlocksAtALine(Quiet):
    async def _work(self):
        while True:
            await asyncio.to_thread(sys.stdin.readline)
            print("blocked", flush=True)
            sys.stdin.readline()  # in the event loop, which nobody should do
            print("free", flush=True)
"""


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a page that are in ``language``."""
    found = _BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    return [text for kind, text in found if kind == language]


def lay_out(page: str, directory: Path) -> Path:
    """Put the example, the files of the page, the broken plugins and the commands into ``directory``."""
    for file in EXAMPLE.glob("beacon.*"):
        shutil.copy(file, directory)
    for _, text in _BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if (name := _FILE.match(text)) is not None:
            (directory / name[1]).write_text(text)
    (directory / "broken.py").write_text(BROKEN)
    # The commands by their names, from wherever the tests run.
    (directory / "bin").mkdir()
    for command, module in {
        "fsm-plugins": "-m fsm_plugins",
        "uvicorn": "-m uvicorn",
        "supervisord": "-m supervisor.supervisord",
        "supervisorctl": "-m supervisor.supervisorctl",
        "python": "",
    }.items():
        script = directory / "bin" / command
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        script.chmod(0o755)
    return directory


def environ(directory: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of what is run there. Unless told otherwise, the example beats once, and hardly again."""
    path = os.pathsep.join([str(directory / "bin"), os.environ["PATH"]])
    slow = {"FSM_PLUGINS__PLUGINS__BEAT__SETTINGS__INTERVAL": "3600"}
    source = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    return {**os.environ, "PATH": path, **slow, **source, **(more or {})}


class Running:
    """A process, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._unread: Queue[str | None] = Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._unread.put(line.rstrip("\n"))
        self._unread.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line, of those that were not looked at yet, that has ``pattern`` in it."""
        while (line := self._next()) is not None:
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended without {pattern!r}:\n{self.text}")

    def wait_for_all(self, *patterns: str) -> None:
        """Wait for a line for each of the patterns, in any order: those of several processes come as they come."""
        missing = list(patterns)
        while missing:
            found = self.wait_for("|".join(missing))[0]
            missing = [pattern for pattern in missing if not re.search(pattern, found)]

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait until it has ended and everything has been read; return its exit status."""
        while self._next() is not None:
            pass
        return self.process.wait(PATIENCE)

    @property
    def text(self) -> str:
        """Everything that was looked at."""
        return "\n".join(self.lines)

    def _next(self) -> str | None:
        try:
            line = self._unread.get(timeout=PATIENCE)
        except Empty:
            raise AssertionError(f"nothing more came in {PATIENCE} s:\n{self.text}") from None
        if line is not None:
            self.lines.append(line)
        return line


@contextmanager
def running(command: Sequence[str], directory: Path, more: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run a command in ``directory``, with stdout and stderr together; kill it at the end if it is still there."""
    # The background of a shell ignores SIGINT, and what is started there would, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environ(directory, more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    result = Running(process)
    try:
        yield result
    finally:
        process.kill()
        for pid in session(process.pid):  # that was started for it, with what it started itself
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        result.reader.join()  # it closes the other pipe


def without_seconds(text: str) -> str:
    """Replace what differs from run to run."""
    return re.sub(r"\d\.\d{3} s", "0.000 s", text)


def children(pid: int) -> list[int]:
    """Return the processes whose parent is ``pid``, zombies too."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def session(pid: int) -> list[int]:
    """Return the processes of the session that ``pid`` began, whatever their groups, even if it has ended itself."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(path.read_text().rpartition(")")[2].split()[3]) == pid:
                found.append(int(path.parent.name))
    return found


def state_of(pid: int) -> str | None:
    """Return the letter for the state of a process, such as Z for a zombie; None if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def eventually(condition: Callable[[], bool], process: Running | None = None) -> None:
    """Look until ``condition`` holds, for what nobody tells, such as a process that is reaped by another one.

    If there is a ``process``, it has to live on meanwhile.
    """
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it never came true"
        if process is not None and process.process.poll() is not None:
            raise AssertionError(f"it ended with {process.end()}:\n{process.text}")
        time.sleep(0.005)
