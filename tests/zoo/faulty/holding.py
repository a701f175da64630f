"""What is taken and not given back: tasks, generators, threads, descriptors, sockets, processes, files."""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from typing import IO

from attrs import Factory, define

from fsm_plugins import HealthStatus, Plugin, PluginInfo, Receiver, Sender
from tests.zoo.specimen import Specimen


class Fires(Plugin):
    """Fire and forget: a task that nobody stores and nobody cancels. The most popular mistake of all."""

    info = PluginInfo("fires", "1.0.0", "Refreshes a token before it expires")

    def __init__(self, lifetime: float = 60.0) -> None:
        self.lifetime = lifetime
        self.token = ""
        self.refreshed = 0

    async def on_init(self) -> None:
        await self._fetch()

    async def on_start(self) -> None:
        asyncio.create_task(self._refresh())  # noqa: RUF006 - the mistake

    async def on_stop(self) -> None:
        self.token = ""

    async def _fetch(self) -> None:
        await asyncio.sleep(0.01)
        self.refreshed += 1
        self.token = f"token-{self.refreshed}"

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self.lifetime * 0.9)
            await self._fetch()


class CancelledWhileStarting(Plugin):
    """The task is made first and stored last, with a wait in between. Popular with "wait until it is ready"."""

    info = PluginInfo("cancelled-while-starting", "1.0.0", "Follows a remote log")

    def __init__(self) -> None:
        self.follower: asyncio.Task[None] | None = None
        self.lines: list[str] = []

    async def on_start(self) -> None:
        ready = asyncio.Event()
        follower = asyncio.create_task(self._follow(ready))
        await ready.wait()
        self.follower = follower

    async def on_stop(self) -> None:
        if self.follower is not None:
            self.follower.cancel()
            await asyncio.gather(self.follower, return_exceptions=True)
            self.follower = None

    async def _follow(self, ready: asyncio.Event) -> None:
        await asyncio.sleep(0.05)  # connect
        ready.set()
        while True:
            await asyncio.sleep(1.0)
            self.lines.append(f"line {len(self.lines)}")


class StartsThenChecks(Plugin):
    """Raises when everything is under way already, and stop looks at a flag that is set last. A half-open start."""

    info = PluginInfo("starts-then-checks", "1.0.0", "Mirrors a directory of users")

    def __init__(self, schema: int = 2) -> None:
        self.schema = schema
        self.started = False
        self.mirror: asyncio.Task[None] | None = None
        self.users: dict[int, str] = {}

    async def on_start(self) -> None:
        self.mirror = asyncio.create_task(self._mirror())
        if await self._remote_schema() != self.schema:
            raise RuntimeError("the directory speaks another schema")
        self.started = True

    async def on_stop(self) -> None:
        if not self.started:
            return
        self.started = False
        if self.mirror is not None:
            self.mirror.cancel()
            await asyncio.gather(self.mirror, return_exceptions=True)

    async def _remote_schema(self) -> int:
        await asyncio.sleep(0.01)
        return 2

    async def _mirror(self) -> None:
        while True:
            self.users[len(self.users)] = "somebody"
            await asyncio.sleep(5.0)


class PeeksAtStream(Plugin):
    """Takes the first item of an async generator and leaves it there. Popular with ``async for ... break``."""

    info = PluginInfo("peeks-at-stream", "1.0.0", "Reads the header of a feed")

    def __init__(self) -> None:
        self.header = ""
        self.open_feeds = 0

    async def on_start(self) -> None:
        async for line in self._feed():
            if line.startswith("#"):
                self.header = line
                break

    async def on_stop(self) -> None:
        self.header = ""

    async def _feed(self) -> AsyncIterator[str]:
        self.open_feeds += 1
        try:
            for line in ("", "# feed 1.0", "first", "second"):
                await asyncio.sleep(0)
                yield line
        finally:
            await asyncio.sleep(0)  # say goodbye to the server
            self.open_feeds -= 1


class Uploads(Plugin):
    """A daemon thread that is told to end and never awaited, and busy when it is told. Popular with telemetry."""

    info = PluginInfo("uploads", "1.0.0", "Uploads samples from a thread of its own")

    def __init__(self, attempts: int = 40, pause: float = 0.05) -> None:
        self.attempts = attempts
        self.pause = pause
        self.samples: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.uploaded: list[int] = []
        self.thread: threading.Thread | None = None

    async def on_start(self) -> None:
        self.thread = threading.Thread(target=self._upload, name="uploads", daemon=True)
        self.thread.start()
        self.samples.put(1)

    async def on_stop(self) -> None:
        self.samples.put(None)

    def _upload(self) -> None:
        while (sample := self.samples.get()) is not None:
            for _ in range(self.attempts):  # the server does not answer; it backs off, whatever stop says
                time.sleep(self.pause)
            self.uploaded.append(sample)


class OpensTwo(Plugin):
    """Opens two files in one go: when the second cannot be opened, nobody knows the first. Popular everywhere."""

    info = PluginInfo("opens-two", "1.0.0", "Copies a spool into an archive")

    def __init__(self) -> None:
        self.files: tuple[IO[bytes], IO[bytes]] | None = None
        self.raw: list[int] = []
        self.copied = 0

    async def on_init(self) -> None:
        spool = os.open(os.devnull, os.O_RDONLY)
        await asyncio.sleep(0)  # ask where the archive is
        archive = os.open(os.devnull, os.O_WRONLY)
        self.raw = [spool, archive]

    async def on_start(self) -> None:
        self.spawn(self._copy())

    async def on_stop(self) -> None:
        while self.raw:
            os.close(self.raw.pop())

    async def _copy(self) -> None:
        spool, archive = self.raw
        while data := os.read(spool, 4096):
            self.copied += os.write(archive, data)
            await asyncio.sleep(0)


class BindsThenAnnounces(Plugin):
    """Binds a socket, then announces it, then stores it. Popular with service discovery."""

    info = PluginInfo("binds-then-announces", "1.0.0", "Takes datagrams")

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.socket: socket.socket | None = None
        self.kept: list[socket.socket] = []  # as a cache of a library would
        self.announced: list[int] = []

    async def on_start(self) -> None:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.kept.append(bound)
        bound.setblocking(False)
        bound.bind((self.host, 0))
        await self._announce(bound.getsockname()[1])
        self.socket = bound

    async def on_stop(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    async def _announce(self, port: int) -> None:
        await asyncio.sleep(0.001)
        self.announced.append(port)

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if self.socket is not None else HealthStatus.unhealthy("not bound")


class ServesAtOnce(Plugin):
    """The server as every tutorial makes it. ``start_server`` listens, then gives way once more before it returns.

    Who is cancelled there has a server that nobody knows of. Popular because it is the documented way.
    """

    info = PluginInfo("serves-at-once", "1.0.0", "Answers whoever connects")

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.server: asyncio.Server | None = None
        self.answered = 0

    async def on_start(self) -> None:
        self.server = await asyncio.start_server(self._answer, self.host, 0)

    async def on_stop(self) -> None:
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()
            self.server = None

    async def on_health_check(self) -> HealthStatus:
        serving = self.server is not None and self.server.is_serving()
        return HealthStatus.healthy() if serving else HealthStatus.unhealthy("nobody listens")

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        self.answered += 1
        writer.close()


class TerminatesAndHopes(Plugin):
    """Tells its child to end and does not wait: a zombie at best. Popular with ``Popen.terminate``."""

    info = PluginInfo("terminates-and-hopes", "1.0.0", "Runs a helper program")

    def __init__(self, command: tuple[str, ...] = ("sleep", "30")) -> None:
        self.command = command
        self.child: subprocess.Popen[bytes] | None = None
        self.ended: list[subprocess.Popen[bytes]] = []

    async def on_start(self) -> None:
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)  # noqa: ASYNC220 - does not wait

    async def on_stop(self) -> None:
        if self.child is not None:
            self.child.terminate()
            self.ended.append(self.child)  # for a report of exit codes, which nobody ever makes
            self.child = None

    async def on_health_check(self) -> HealthStatus:
        if self.child is None or self.child.poll() is not None:
            return HealthStatus.unhealthy("the helper has ended")
        return HealthStatus.healthy()


@define
class ClonesForEach(Plugin):
    """A clone of the output for each source, kept in a list that nobody closes, so the consumer never sees the end."""

    info = PluginInfo("clones-for-each", "1.0.0", "Merges sources")
    merged: Sender[str]
    sources: tuple[str, ...] = ("syslog", "journal")
    clones: list[Sender[str]] = Factory(list)

    async def on_start(self) -> None:
        for source in self.sources:
            clone = self.merged.clone()
            self.clones.append(clone)
            self.spawn(self._read(source, clone))

    async def on_stop(self) -> None:
        self.clones.clear()  # the framework closes ports: but not what it has never seen

    async def _read(self, source: str, clone: Sender[str]) -> None:
        while True:
            await asyncio.sleep(1.0)
            clone.try_send(source)


class LeavesScratch(Plugin):
    """``delete=False``, renamed in the end, and a failure in between. Popular with atomic writes."""

    info = PluginInfo("leaves-scratch", "1.0.0", "Writes a snapshot before it starts")

    def __init__(self) -> None:
        self.snapshot: str | None = None
        self.size = 0

    async def on_start(self) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="snapshot-", delete=False) as scratch:
            scratch.write("state = 1\n")
        await asyncio.sleep(0)  # let others go on, and then look whether it is all there
        self.size = self._verify(scratch.name)
        self.snapshot = scratch.name

    async def on_stop(self) -> None:
        if self.snapshot is not None:
            os.unlink(self.snapshot)
            self.snapshot = None

    def _verify(self, path: str) -> int:
        return os.path.getsize(path)


class CallsWithoutAwait(Plugin):
    """Calls a coroutine function and drops what it returns. Popular after a helper was made ``async``."""

    info = PluginInfo("calls-without-await", "1.0.0", "Invalidates a cache as it stops")

    def __init__(self) -> None:
        self.cache: dict[str, str] = {}
        self.invalidated = 0

    async def on_start(self) -> None:
        self.cache["greeting"] = "hello"

    async def on_stop(self) -> None:
        if self.cache:
            self._invalidate()  # type: ignore[unused-coroutine] # the mistake

    async def _invalidate(self) -> None:
        await asyncio.sleep(0)
        self.cache.clear()
        self.invalidated += 1


class CrashesUnseen(Plugin):
    """A task of its own that crashes while nobody looks, and is dropped at stop. Popular with ``ensure_future``."""

    info = PluginInfo("crashes-unseen", "1.0.0", "Resolves names in the background")

    def __init__(self, names: tuple[str, ...] = ("localhost", "")) -> None:
        self.names = names
        self.resolved: dict[str, str] = {}
        self.resolver: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        self.resolver = asyncio.ensure_future(self._resolve())

    async def on_stop(self) -> None:
        if self.resolver is not None and not self.resolver.done():
            self.resolver.cancel()
        self.resolver = None

    async def _resolve(self) -> None:
        for name in self.names:
            if not name:
                raise ValueError("an empty name cannot be resolved")
            self.resolved[name] = "127.0.0.1"
            await asyncio.sleep(0)


@define
class TakesAndLosesBatch(Plugin):
    """Takes a batch from its input and forwards it one by one; what is left of it at stop is gone. Popular with ETL."""

    info = PluginInfo("takes-and-loses-batch", "1.0.0", "Marks rows and passes them on")
    rows: Receiver[int]
    marked: Sender[int]
    taken: int = 0
    delivered: int = 0

    async def on_start(self) -> None:
        self.spawn(self._mark())

    async def on_health_check(self) -> HealthStatus:
        waiting = self.taken - self.delivered
        return HealthStatus.degraded(f"{waiting} rows wait") if waiting > 100 else HealthStatus.healthy()

    async def _mark(self) -> None:
        while True:
            batch = await self.rows.recv_many(100)
            self.taken += len(batch)
            for row in batch:
                await asyncio.sleep(0.01)  # look something up
                await self.marked.send(-row)
                self.delivered += 1


FAULTY = [
    Specimen(
        Fires,
        slug="leak-task",
        layer="L2",
        shortest="init -> start -> stop",
        why="the task that refreshes goes on after stop",
    ),
    Specimen(
        CancelledWhileStarting,
        slug="leak-task",
        layer="L2",
        shortest="init -> start[CancelledError at await 1] -> stop",
        why="cancelled while it waits for readiness, on_stop does not know of the task",
    ),
    Specimen(
        StartsThenChecks,
        slug="leak-task",
        layer="L2",
        shortest="init -> start[OSError at await 1] -> stop",
        why="on_stop does nothing unless the flag was set, and that comes last",
    ),
    Specimen(
        PeeksAtStream,
        slug="leak-async-generator",
        layer="L2",
        shortest="init -> start -> stop",
        why="the generator is left in the middle, and closed whenever the garbage collector comes by",
    ),
    Specimen(
        Uploads,
        slug="leak-thread",
        layer="L2",
        shortest="init -> start -> stop",
        why="the thread is not joined, and does not listen while it backs off",
        clock="real",
    ),
    Specimen(
        OpensTwo,
        slug="leak-fd",
        layer="L2",
        shortest="init[OSError at await 1] -> stop",
        why="the first descriptor is in a local variable when the second cannot be had",
    ),
    Specimen(
        BindsThenAnnounces,
        slug=("leak-socket", "leak-fd"),
        layer="L2",
        shortest="init -> start[OSError at await 1] -> stop",
        why="the socket is stored when it has been announced, and that failed",
        clock="real",
    ),
    Specimen(
        ServesAtOnce,
        slug=("leak-socket", "leak-fd"),
        layer="L2",
        shortest="init -> start[CancelledError at await 2] -> stop",
        why="start_server is cancelled when it listens and has not returned yet",
        clock="real",
    ),
    Specimen(
        TerminatesAndHopes,
        slug="leak-process",
        layer="L2",
        shortest="init -> start -> stop",
        why="nobody waits for the child",
        clock="real",
    ),
    Specimen(
        ClonesForEach,
        slug="leak-channel-end",
        layer="L2",
        shortest="init -> start -> stop",
        why="the clones are dropped, not closed",
    ),
    Specimen(
        LeavesScratch,
        slug="leak-temporary-file",
        layer="L2",
        shortest="init -> start[OSError at await 1] -> stop",
        why="the path of the file is stored after the check that failed",
    ),
    Specimen(
        CallsWithoutAwait,
        slug="never-awaited",
        layer="L2",
        shortest="init -> start -> stop",
        why="the coroutine that invalidates is never awaited",
    ),
    Specimen(
        CrashesUnseen,
        slug="unretrieved-exception",
        layer="L2",
        shortest="init -> start -> stop",
        why="the task has crashed by the time it is dropped, and nobody asked it",
    ),
    Specimen(
        TakesAndLosesBatch,
        slug=("message-lost", "invariant-broken"),
        layer="L2",
        shortest="init -> start -> stop",
        why="the worker is cancelled with half a batch in its hands",
        invariant=lambda plugin: plugin.state != "stopped" or plugin.taken == plugin.delivered,
        messages={"rows": (1, 2, 3, 4)},
    ),
]
