"""Stacks, groups, generators, locks, shields: what asyncio gives one to clean up with, used as it should be."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from contextvars import ContextVar

from attrs import Factory, define

from fsm_plugins import HealthStatus, Plugin, PluginInfo
from tests.zoo.specimen import Specimen


class Stacked(Plugin):
    """Everything it opens goes on a stack, which is unwound whatever one of them raises."""

    info = PluginInfo("stacked", "1.0.0", "Opens three sessions")

    def __init__(self, sessions: int = 3) -> None:
        self.sessions = sessions
        self.stack = AsyncExitStack()
        self.open = 0

    async def on_start(self) -> None:
        for _ in range(self.sessions):
            await self.stack.enter_async_context(self._session())

    async def on_stop(self) -> None:
        await self.stack.aclose()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[None]:
        await asyncio.sleep(0.01)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            await asyncio.sleep(0.01)


@define
class Grouped(Plugin):
    """A worker that is a task group: its children end with it."""

    info = PluginInfo("grouped", "1.0.0", "Polls several places")
    places: tuple[str, ...] = ("north", "south")
    polls: int = 0

    async def on_start(self) -> None:
        self.spawn(self._poll_all())

    async def _poll_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for place in self.places:
                group.create_task(self._poll(place))

    async def _poll(self, _place: str) -> None:
        while True:
            self.polls += 1
            await asyncio.sleep(0.1)


class Streams(Plugin):
    """Reads the beginning of a stream, and closes the generator in any case."""

    info = PluginInfo("streams", "1.0.0", "Reads a header")

    def __init__(self) -> None:
        self.header = ""
        self.open_streams = 0

    async def on_init(self) -> None:
        async with aclosing(self._lines()) as lines:
            async for line in lines:
                self.header = line
                break

    async def _lines(self) -> AsyncGenerator[str, None]:
        self.open_streams += 1
        try:
            for line in ("# header", "first"):
                await asyncio.sleep(0)
                yield line
        finally:
            self.open_streams -= 1


_request: ContextVar[str] = ContextVar("_request", default="none")


@define
class Contextual(Plugin):
    """Sets a context variable for the time of one hook, and never across two: they may run in different tasks."""

    info = PluginInfo("contextual", "1.0.0", "Labels what it logs")
    labels: list[str] = Factory(list)

    async def on_start(self) -> None:
        token = _request.set("start")
        try:
            await self._log()
        finally:
            _request.reset(token)

    async def on_stop(self) -> None:
        self.labels.clear()

    async def _log(self) -> None:
        await asyncio.sleep(0)
        self.labels.append(_request.get())


class OwnChildren(Plugin):
    """Makes its tasks itself. Each is in the set before anything can wait, and stop cancels and awaits them all."""

    info = PluginInfo("own-children", "1.0.0", "Refreshes in the background")

    def __init__(self, children: int = 2) -> None:
        self.wanted = children
        self.children: set[asyncio.Task[None]] = set()
        self.rounds = 0

    async def on_start(self) -> None:
        for _ in range(self.wanted):
            child = asyncio.create_task(self._refresh())
            self.children.add(child)
            child.add_done_callback(self.children.discard)
            await asyncio.sleep(0)

    async def on_stop(self) -> None:
        for child in self.children:
            child.cancel()
        if self.children:
            await asyncio.wait(self.children)

    async def _refresh(self) -> None:
        while True:
            self.rounds += 1
            await asyncio.sleep(0.05)


@define
class Pool(Plugin):
    """Workers that share a semaphore; what one holds it gives back as it is cancelled."""

    info = PluginInfo("pool", "1.0.0", "Fetches, a few at a time")
    limit: int = 2
    fetched: int = 0
    _slots: asyncio.Semaphore = Factory(lambda self: asyncio.Semaphore(self.limit), takes_self=True)

    async def on_start(self) -> None:
        for _ in range(self.limit * 2):
            self.spawn(self._fetch())

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.degraded("busy") if self._slots.locked() else HealthStatus.healthy()

    async def _fetch(self) -> None:
        while True:
            async with self._slots:
                await asyncio.sleep(0.01)
                self.fetched += 1
            await asyncio.sleep(0.01)


class Cache(Plugin):
    """A cache behind a lock, filled by a worker and by the health check, never twice at a time."""

    info = PluginInfo("cache", "1.0.0", "Remembers what it looked up")

    def __init__(self, lifetime: float = 0.05) -> None:
        self.lifetime = lifetime
        self.lock = asyncio.Lock()
        self.entries: dict[str, int] = {}
        self.lookups = 0

    async def on_start(self) -> None:
        await self._fill()
        self.spawn(self._expire())

    async def on_stop(self) -> None:
        self.entries.clear()

    async def on_health_check(self) -> HealthStatus:
        await self._fill()
        return HealthStatus.healthy()

    async def _fill(self) -> None:
        async with self.lock:
            if "answer" not in self.entries:
                await asyncio.sleep(0.01)
                self.lookups += 1
                self.entries["answer"] = 42

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(self.lifetime)
            async with self.lock:
                self.entries.pop("answer", None)


class Gate(Plugin):
    """Waits on a condition with a time limit, and lets everybody through as it stops."""

    info = PluginInfo("gate", "1.0.0", "Lets through when it is open")

    def __init__(self) -> None:
        self.condition = asyncio.Condition()
        self.open = False
        self.through = 0

    async def on_start(self) -> None:
        self.spawn(self._pass())
        self.spawn(self._open())

    async def on_stop(self) -> None:
        self.open = False

    async def _open(self) -> None:
        await asyncio.sleep(0.01)
        async with self.condition:
            self.open = True
            self.condition.notify_all()

    async def _pass(self) -> None:
        async with self.condition:
            await self.condition.wait_for(lambda: self.open)
            self.through += 1


class Commits(Plugin):
    """A clean-up that is shielded, and awaited before the cancellation goes on: it fits into the grace period."""

    info = PluginInfo("commits", "1.0.0", "Commits what it has, also when it is cancelled")

    def __init__(self) -> None:
        self.pending = 0
        self.committed = 0

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        try:
            while True:
                self.pending += 1
                await asyncio.sleep(0.05)
        finally:
            commit = asyncio.ensure_future(self._commit())
            while not commit.done():
                try:
                    await asyncio.shield(commit)
                except asyncio.CancelledError:
                    continue  # it takes an instant, and then the one from before goes on

    async def _commit(self) -> None:
        await asyncio.sleep(0.01)
        self.committed += self.pending
        self.pending = 0


class Patient(Plugin):
    """Retries what may go wrong, which a cancellation is not."""

    info = PluginInfo("patient", "1.0.0", "Connects at the third attempt")

    def __init__(self, needed: int = 3) -> None:
        self.needed = needed
        self.attempts = 0
        self.connected = False

    async def on_start(self) -> None:
        await self._retry(self._connect, times=self.needed + 2)

    async def on_stop(self) -> None:
        self.connected = False

    async def _retry(self, call: Callable[[], Awaitable[None]], *, times: int) -> None:
        pause = 0.01
        for left in reversed(range(times)):
            try:
                await call()
                return
            except OSError:
                if not left:
                    raise
            await asyncio.sleep(pause)
            pause *= 2

    async def _connect(self) -> None:
        await asyncio.sleep(0.01)
        self.attempts += 1
        if self.attempts < self.needed:
            raise ConnectionRefusedError("not yet")
        self.connected = True


class Picture:
    """Something heavy, which is kept for as long as somebody uses it."""


class Gallery(Plugin):
    """A cache that does not keep alive what is in it."""

    info = PluginInfo("gallery", "1.0.0", "Shares pictures")

    def __init__(self) -> None:
        self.pictures: weakref.WeakValueDictionary[str, Picture] = weakref.WeakValueDictionary()
        self.shown: list[Picture] = []

    async def on_start(self) -> None:
        for name in ("sunrise", "noon", "sunrise"):
            self.shown.append(self._picture(name))
            await asyncio.sleep(0)

    async def on_stop(self) -> None:
        self.shown.clear()

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if len(self.pictures) == 2 else HealthStatus.degraded("pictures are missing")

    def _picture(self, name: str) -> Picture:
        picture = self.pictures.get(name)
        if picture is None:
            picture = self.pictures[name] = Picture()
        return picture


@define
class Session:
    """A session that must not be closed twice."""

    closed: bool = False

    async def close(self) -> None:
        if self.closed:
            raise RuntimeError("this session was closed before")
        self.closed = True
        await asyncio.sleep(0.01)  # say goodbye


class Forgets(Plugin):
    """Forgets what it holds before it gives it back: nothing is given back twice, however often stop is disturbed."""

    info = PluginInfo("forgets", "1.0.0", "Holds two sessions")

    def __init__(self) -> None:
        self.sessions: list[Session] = []

    async def on_start(self) -> None:
        for _ in range(2):
            await asyncio.sleep(0.01)
            self.sessions.append(Session())

    async def on_stop(self) -> None:
        while self.sessions:
            await self.sessions.pop().close()


@define
class Configured(Plugin):
    """Raises when it is not configured, tells so in words, and is content with what it is given here."""

    info = PluginInfo("configured", "1.0.0", "Sends mail")
    server: str | None = None
    retries: int = 3
    ready: bool = False

    async def on_init(self) -> None:
        if not self.server:
            raise ValueError("setting 'server' is missing: the host name of the mail server")
        if self.retries < 0:
            raise ValueError(f"setting 'retries' is at least 0, not {self.retries}")

    async def on_start(self) -> None:
        await asyncio.sleep(0)
        self.ready = True

    async def on_stop(self) -> None:
        self.ready = False

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if self.ready else HealthStatus.unhealthy("not ready")


class Interlocked(Plugin):
    """Two locks, always in one order, by the worker and by stop."""

    info = PluginInfo("interlocked", "1.0.0", "Moves entries between an index and a log")

    def __init__(self) -> None:
        self.index = asyncio.Lock()
        self.log = asyncio.Lock()
        self.moved = 0

    async def on_start(self) -> None:
        self.spawn(self._move())

    async def on_stop(self) -> None:
        async with self.index, self.log:
            self.moved = 0

    async def _move(self) -> None:
        while True:
            async with self.index:
                await asyncio.sleep(0)
                async with self.log:
                    self.moved += 1
            await asyncio.sleep(0.01)


CORRECT = [
    *(
        Specimen(cls)
        for cls in (
            Stacked,
            Grouped,
            Streams,
            Contextual,
            OwnChildren,
            Pool,
            Cache,
            Gate,
            Commits,
            Patient,
            Gallery,
            Forgets,
            Interlocked,
        )
    ),
    Specimen(Configured, {"server": "mail.example.org"}),
]
