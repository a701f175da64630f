"""Files, directories and pipes. What is opened is kept where stop finds it before anything else can happen."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from attrs import define

from fsm_plugins import HealthStatus, Plugin, PluginInfo
from tests.zoo.specimen import Specimen


class Scratch(Plugin):
    """A directory for a while, removed with all that is in it."""

    info = PluginInfo("scratch", "1.0.0", "Unpacks into a directory")

    def __init__(self, files: int = 3) -> None:
        self.files = files
        self.directory: tempfile.TemporaryDirectory[str] | None = None

    async def on_init(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="scratch-")

    async def on_start(self) -> None:
        assert self.directory is not None
        for number in range(self.files):
            self._unpack(Path(self.directory.name, str(number)))
            await asyncio.sleep(0)

    async def on_stop(self) -> None:
        if self.directory is not None:
            self.directory.cleanup()
            self.directory = None

    def _unpack(self, path: Path) -> None:
        path.write_text("unpacked")


class AppendLog(Plugin):
    """An open log that lines are appended to. Closing it needs no waiting, and twice is as good as once."""

    info = PluginInfo("append-log", "1.0.0", "Writes lines down")

    def __init__(self, every: float = 0.01) -> None:
        self.every = every
        self.log: IO[str] | None = None
        self.lines = 0

    async def on_init(self) -> None:
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - on_stop closes it

    async def on_start(self) -> None:
        assert self.log is not None
        self.spawn(self._append(self.log))

    async def on_stop(self) -> None:
        # The worker writes to it until it is ended, and that comes after this hook. So end it here.
        for worker in self.workers:
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)
        if self.log is not None:
            self.log.close()

    async def _append(self, log: IO[str]) -> None:
        try:
            while True:
                log.write(f"line {self.lines}\n")
                self.lines += 1
                await asyncio.sleep(self.every)
        finally:
            log.close()


@define
class Tail(Plugin):
    """Follows a file: opened for each look and closed again, so that nothing is held between two looks."""

    info = PluginInfo("tail", "1.0.0", "Reads what is added to a file")
    path: str = os.devnull
    every: float = 0.01
    offset: int = 0

    async def on_init(self) -> None:
        self._read()  # raises if there is no such file

    async def on_start(self) -> None:
        self.spawn(self._follow())

    async def _follow(self) -> None:
        while True:
            self.offset += len(self._read())
            await asyncio.sleep(self.every)

    def _read(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(4096)


class Copies(Plugin):
    """Two files on one stack: each is on it as soon as it is open."""

    info = PluginInfo("copies", "1.0.0", "Copies from one file to another")

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.copied = 0

    async def on_init(self) -> None:
        source = self.stack.enter_context(open(os.devnull, "rb"))  # noqa: ASYNC230, SIM115 - once, and on the stack
        await asyncio.sleep(0)
        target = self.stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - on the stack
        self.copied = target.write(source.read())

    async def on_stop(self) -> None:
        self.stack.close()  # empty after that, so that it can be closed again


class PidFile(Plugin):
    """A file that says who runs. It is created exclusively, and removed only by the one that created it."""

    info = PluginInfo("pid-file", "1.0.0", "Runs once")

    def __init__(self) -> None:
        self.path: Path | None = None

    async def on_init(self) -> None:
        path = Path(tempfile.gettempdir(), f"zoo-{os.getpid()}-{id(self)}.pid")
        with open(path, "x", encoding="ascii") as file:  # noqa: ASYNC230 - a few bytes
            self.path = path
            file.write(str(os.getpid()))

    async def on_stop(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None


class Pipe(Plugin):
    """Both ends of a pipe, and a reader that the loop calls. The loop is told before the descriptor is closed."""

    info = PluginInfo("pipe", "1.0.0", "Wakes itself up")

    def __init__(self) -> None:
        self.ends: tuple[int, int] | None = None
        self.woken = 0

    async def on_start(self) -> None:
        self.ends = os.pipe()
        asyncio.get_running_loop().add_reader(self.ends[0], self._wake)
        os.write(self.ends[1], b"!")
        await asyncio.sleep(0)

    async def on_stop(self) -> None:
        if self.ends is not None:
            read, write = self.ends
            self.ends = None
            asyncio.get_running_loop().remove_reader(read)
            os.close(read)
            os.close(write)

    def _wake(self) -> None:
        assert self.ends is not None
        self.woken += len(os.read(self.ends[0], 64))


@define
class AtomicWriter(Plugin):
    """Writes to a scratch file and renames it. The scratch file goes in a ``finally``, the result with the plugin."""

    info = PluginInfo("atomic-writer", "1.0.0", "Never leaves half a file")
    content: str = "state = 1\n"
    path: str | None = None

    async def on_start(self) -> None:
        descriptor, scratch = tempfile.mkstemp(prefix="state-")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(self.content)
            await asyncio.sleep(0)
            os.replace(scratch, scratch + ".done")
            self.path = scratch + ".done"
        finally:
            self._remove(scratch)

    async def on_stop(self) -> None:
        if self.path is not None:
            self._remove(self.path)
            self.path = None

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if self._is_there() else HealthStatus.unhealthy("the file is gone")

    def _is_there(self) -> bool:
        return self.path is not None and os.path.exists(self.path)

    def _remove(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)


CORRECT = [
    *(Specimen(cls) for cls in (Scratch, AppendLog, Tail, Copies, PidFile, AtomicWriter)),
    Specimen(Pipe, clock="real"),
]
