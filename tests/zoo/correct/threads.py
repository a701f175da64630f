"""Threads, of their own and of the executor: told to end first, and then waited for."""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

from attrs import Factory, define

from fsm_plugins import HealthStatus, Plugin, PluginInfo
from tests.zoo.specimen import Specimen


class OwnThread(Plugin):
    """A thread with an event that ends it. It is joined in another thread, so that the loop goes on."""

    info = PluginInfo("own-thread", "1.0.0", "Samples something that blocks")

    def __init__(self, every: float = 0.002) -> None:
        self.every = every
        self.ending = threading.Event()
        self.thread: threading.Thread | None = None
        self.samples = 0

    async def on_start(self) -> None:
        self.ending.clear()
        self.thread = threading.Thread(target=self._sample, name="sampler", daemon=True)
        self.thread.start()

    async def on_stop(self) -> None:
        self.ending.set()
        if self.thread is not None:
            await asyncio.to_thread(self.thread.join)
            self.thread = None

    def _sample(self) -> None:
        while not self.ending.wait(self.every):
            self.samples += 1


class OwnExecutor(Plugin):
    """An executor of its own for a library that is not thread-safe. To shut it down twice is no mistake."""

    info = PluginInfo("own-executor", "1.0.0", "Calls a library that wants one thread")

    def __init__(self) -> None:
        self.executor: ThreadPoolExecutor | None = None
        self.digest = ""

    async def on_init(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="library")

    async def on_start(self) -> None:
        assert self.executor is not None
        self.digest = await asyncio.get_running_loop().run_in_executor(self.executor, self._compute)

    async def on_stop(self) -> None:
        if self.executor is not None:
            await asyncio.to_thread(self.executor.shutdown, wait=True, cancel_futures=True)
            self.executor = None

    def _compute(self) -> str:
        return hashlib.sha256(b"library").hexdigest()


class SharedExecutor(Plugin):
    """Uses the default executor, which belongs to the loop: there is nothing to shut down."""

    info = PluginInfo("shared-executor", "1.0.0", "Sorts where it disturbs nobody")

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.ordered: list[int] = []

    async def on_start(self) -> None:
        loop = asyncio.get_running_loop()
        self.ordered = await loop.run_in_executor(None, sorted, range(self.size, 0, -1))

    async def on_stop(self) -> None:
        self.ordered = []


@define
class Hashes(Plugin):
    """A worker that hands pieces of work to threads. The piece in hand is finished, its result dropped."""

    info = PluginInfo("hashes", "1.0.0", "Hashes blocks")
    block: bytes = b"block"
    hashed: int = 0
    last: str = ""

    async def on_start(self) -> None:
        self.spawn(self._hash())

    async def _hash(self) -> None:
        while True:
            self.last = await asyncio.to_thread(lambda: hashlib.sha256(self.block).hexdigest())
            self.hashed += 1
            await asyncio.sleep(0.001)


class Postbox(Plugin):
    """A thread that reads from a queue until it finds None, and reports to the loop from there."""

    info = PluginInfo("postbox", "1.0.0", "Writes letters slowly")

    def __init__(self) -> None:
        self.letters: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.written: list[str] = []
        self.thread: threading.Thread | None = None

    async def on_start(self) -> None:
        loop = asyncio.get_running_loop()
        self.thread = threading.Thread(target=self._write, args=(loop,), name="postbox", daemon=True)
        self.thread.start()
        self.letters.put("dear all")

    async def on_stop(self) -> None:
        if self.thread is not None:
            self.letters.put(None)  # one more than needed does no harm
            await asyncio.to_thread(self.thread.join)
            self.thread = None

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        while (letter := self.letters.get()) is not None:
            loop.call_soon_threadsafe(self.written.append, letter)


class Alarm(Plugin):
    """A timer thread, cancelled and joined: a cancelled one ends at once."""

    info = PluginInfo("alarm", "1.0.0", "Rings in an hour")

    def __init__(self, after: float = 3600.0) -> None:
        self.after = after
        self.timer: threading.Timer | None = None
        self.rung = threading.Event()

    async def on_start(self) -> None:
        self.timer = threading.Timer(self.after, self.rung.set)
        self.timer.daemon = True
        self.timer.start()

    async def on_stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            await asyncio.to_thread(self.timer.join)
            self.timer = None

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.degraded("it has rung") if self.rung.is_set() else HealthStatus.healthy()


@define(eq=False)
class Tally(Plugin):
    """State that threads and the loop share, behind a lock that is held for an instant and never across a wait."""

    info = PluginInfo("tally", "1.0.0", "Adds up from several threads")
    rounds: int = 3
    total: int = 0
    _lock: threading.Lock = Factory(threading.Lock)

    async def on_start(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(self._add) for _ in range(self.rounds)))

    async def on_health_check(self) -> HealthStatus:
        with self._lock:
            return HealthStatus.healthy() if self.total <= self.rounds else HealthStatus.unhealthy("too many")

    def _add(self) -> None:
        with self._lock:
            self.total += 1


CORRECT = [
    Specimen(cls, clock="real") for cls in (OwnThread, OwnExecutor, SharedExecutor, Hashes, Postbox, Alarm, Tally)
]
