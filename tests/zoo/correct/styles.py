"""The ways to write a plugin, and the lifecycles it may have."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar, Generic, TypeVar

from attrs import Factory, define, field, frozen

from fsm_plugins import (
    LIFECYCLE,
    RESTARTABLE,
    Deadlines,
    HealthStatus,
    Plugin,
    PluginInfo,
    PluginType,
    as_plugin,
)
from tests.zoo.specimen import Specimen

T = TypeVar("T")


class Bare(Plugin):
    """No hooks at all."""

    info = PluginInfo("bare", "1.0.0")


@frozen
class Frozen(Plugin):
    """Cannot be changed: what it needs is in objects that can."""

    info = PluginInfo("frozen", "1.0.0", "Holds a table that never changes")
    table: tuple[tuple[str, int], ...] = (("a", 1),)
    seen: set[str] = Factory(set)

    async def on_start(self) -> None:
        self.seen.update(key for key, _ in self.table)

    async def on_stop(self) -> None:
        self.seen.clear()


@define(slots=True)
class Slotted(Plugin):
    """Slots, settings with a validator, and a field that is derived."""

    info = PluginInfo("slotted", "2.1.0", "Keeps a window", PluginType.SCANNER)
    width: int = field(default=3)
    window: list[int] = field(init=False)

    @width.validator
    def _positive(self, _attribute: object, value: int) -> None:
        if value < 1:
            raise ValueError(f"width is at least 1, not {value}")

    @window.default
    def _zeros(self) -> list[int]:
        return [0] * self.width

    async def on_start(self) -> None:
        await asyncio.sleep(0)
        self.window[0] = 1


class Plain(Plugin):
    """A class with an ``__init__`` that does not call the one of its base."""

    info = PluginInfo("plain", "1.0.0", "As it was written in 2015", PluginType.ENFORCER)

    def __init__(self, rules: tuple[str, ...] = ("deny all",)) -> None:
        self.rules = rules
        self.enforced: list[str] = []

    async def on_init(self) -> None:
        self.enforced = list(self.rules)

    async def on_stop(self) -> None:
        self.enforced = []


@define
class Named(Plugin):
    """Deadlines and a name of its own, as keywords."""

    info = PluginInfo("named", "1.0.0", "Has another name")
    size: int = 1

    async def on_start(self) -> None:
        await asyncio.sleep(0)


@define
class Holder(Plugin, Generic[T]):
    """Generic in what it holds."""

    info = PluginInfo("holder", "1.0.0", "Holds something")
    held: T | None = None

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if self.held is not None else HealthStatus.degraded("it holds nothing")


class Logged:
    """A mixin with a list of what happened."""

    deadlines = Deadlines(init=5.0, start=5.0)

    def note(self, what: str) -> None:
        """Write down what happened."""
        self.__dict__.setdefault("notes", []).append(what)


class Mixed(Logged, Plugin):
    """Takes methods and deadlines from a mixin."""

    info = PluginInfo("mixed", "1.0.0", "Takes notes")

    async def on_start(self) -> None:
        self.note("start")

    async def on_stop(self) -> None:
        self.note("stop")


class Extended(Plain):
    """A plugin whose base is one, and whose hooks call those of the base."""

    info = PluginInfo("extended", "1.1.0", "Enforces some more", PluginType.ENFORCER)

    async def on_init(self) -> None:
        await super().on_init()
        self.enforced.append("log all")

    async def on_stop(self) -> None:
        self.enforced.clear()
        await super().on_stop()


class Phoenix(Plugin):
    """Can be started again: each start begins with nothing, and each stop leaves nothing."""

    info = PluginInfo("phoenix", "1.0.0", "Rises again")
    lifecycle = RESTARTABLE

    def __init__(self) -> None:
        self.buffers: list[bytearray] = []
        self.starts = 0

    async def on_start(self) -> None:
        self.starts += 1
        self.buffers.append(bytearray(16))
        await asyncio.sleep(0)
        self.spawn(self._write(self.buffers[-1]))

    async def on_stop(self) -> None:
        self.buffers.clear()

    async def _write(self, buffer: bytearray) -> None:
        while True:
            await asyncio.sleep(0.1)
            buffer[0] = (buffer[0] + 1) % 256


PAUSABLE = LIFECYCLE.extend(
    [
        ("pause", "running", "paused"),
        ("resume", "paused", "running"),
        ("stop", "paused", "stopped"),
        ("fail", "paused", "failed"),
    ]
)


class Pausable(Plugin):
    """Two states more. Its worker waits at a gate while it is paused."""

    info = PluginInfo("pausable", "1.0.0", "Works, unless it is paused")
    lifecycle = PAUSABLE
    deadlines = Deadlines(others={"pause": 2.0, "resume": 2.0})

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.rounds = 0

    async def on_start(self) -> None:
        self.gate.set()
        self.spawn(self._work())

    async def on_pause(self) -> None:
        self.gate.clear()
        await asyncio.sleep(0)

    async def on_resume(self) -> None:
        await asyncio.sleep(0)
        self.gate.set()

    async def on_stop(self) -> None:
        self.gate.clear()

    async def _work(self) -> None:
        while True:
            await self.gate.wait()
            self.rounds += 1
            await asyncio.sleep(0.1)


DEGRADABLE = LIFECYCLE.extend(
    [
        ("degrade", "running", "degraded"),
        ("recover", "degraded", "running"),
        ("stop", "degraded", "stopped"),
        ("fail", "degraded", "failed"),
    ]
)


@define
class Degradable(Plugin):
    """Goes on with one replica when the other is gone."""

    info = PluginInfo("degradable", "1.0.0", "Writes to two replicas")
    lifecycle = DEGRADABLE
    replicas: set[str] = Factory(set)

    async def on_start(self) -> None:
        self.replicas = {"first", "second"}

    async def on_degrade(self) -> None:
        self.replicas.discard("second")
        await asyncio.sleep(0)

    async def on_recover(self) -> None:
        await asyncio.sleep(0)
        self.replicas.add("second")

    async def on_stop(self) -> None:
        self.replicas.clear()


RELOADABLE = LIFECYCLE.extend([("reload", "running", "running")])


class Reloadable(Plugin):
    """Reloads: it has the new rules in hand before it lets go of the old ones, and its health check changes nothing."""

    info = PluginInfo("reloadable", "1.0.0", "Keeps rules")
    lifecycle = RELOADABLE

    def __init__(self) -> None:
        self.rules: dict[str, int] = {}

    async def on_start(self) -> None:
        self.rules = await self._fetch(1)

    async def on_reload(self) -> None:
        self.rules = await self._fetch(self.rules["version"] + 1)

    async def on_stop(self) -> None:
        self.rules = {}

    async def on_health_check(self) -> HealthStatus:
        fresh = await self._fetch(1)
        return HealthStatus.healthy() if self.rules >= fresh else HealthStatus.degraded("the rules are old")

    async def _fetch(self, version: int) -> Any:
        await asyncio.sleep(0.01)
        return _Rules(version=version)


class _Rules(dict[str, int]):
    def __ge__(self, other: object) -> bool:
        return isinstance(other, dict) and self["version"] >= other["version"]


class Beeper:
    """Not a plugin: an object with start, stop and health_check, from before there were plugins."""

    def __init__(self) -> None:
        self.beeps = 0
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Beep from now on."""
        self.task = asyncio.create_task(self._beep())
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """End the beeping. Also after half a start, and more than once."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
            self.task = None

    async def health_check(self) -> HealthStatus:
        """Say whether it beeps."""
        return HealthStatus.healthy() if self.beeps else HealthStatus.degraded("silent")

    async def _beep(self) -> None:
        while True:
            self.beeps += 1
            await asyncio.sleep(0.1)


def wrapped() -> Plugin:
    """Make a plugin of a `Beeper`."""
    return as_plugin(Beeper(), info=PluginInfo("beeper", "1.0.0", "Beeps"))


def wrapped_with_init(warm_up: float = 0.01) -> Plugin:
    """Make a plugin of a `Beeper` that warms up in its init."""

    async def warm() -> None:
        await asyncio.sleep(warm_up)

    return as_plugin(
        Beeper(), info=PluginInfo("warm-beeper", "1.0.0"), init=warm, deadlines=Deadlines(start=2.0, stop=2.0)
    )


def made_by_function(words: tuple[str, ...] = ("one", "two")) -> Plugin:
    """Make a plugin whose class is not to be had otherwise."""
    return _Words(list(words))


@define
class _Words(Plugin):
    info = PluginInfo("words", "1.0.0")
    words: list[str]
    spoken: int = 0

    async def on_start(self) -> None:
        for _ in self.words:
            await asyncio.sleep(0)
            self.spoken += 1


# What belongs to the process is borrowed, and given back as it was.


class HandlesHup(Plugin):
    """Puts the handler back that it found."""

    info = PluginInfo("handles-hup", "1.0.0", "Reloads when it is told to")

    def __init__(self) -> None:
        self.before: Any = None
        self.installed = False
        self.reloads = 0

    async def on_start(self) -> None:
        self.before = signal.signal(signal.SIGHUP, self._reload)
        self.installed = True
        await asyncio.sleep(0)

    async def on_stop(self) -> None:
        if self.installed:
            signal.signal(signal.SIGHUP, self.before)
            self.installed = False
            self.before = None

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reloads += 1


class HandlesUsr1(Plugin):
    """A handler of the loop, which is removed once."""

    info = PluginInfo("handles-usr1", "1.0.0", "Says how it is when it is told to")

    def __init__(self) -> None:
        self.told = 0

    async def on_start(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)
        await asyncio.sleep(0)

    async def on_stop(self) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)

    def _tell(self) -> None:
        self.told += 1


class BorrowsEnvironment(Plugin):
    """Sets a variable, and remembers what was there before it does."""

    info = PluginInfo("borrows-environment", "1.0.0", "Fetches by way of a proxy")
    variable: ClassVar[str] = "ZOO_PROXY"

    def __init__(self) -> None:
        self.undo: list[Callable[[], object]] = []

    async def on_start(self) -> None:
        before = os.environ.get(self.variable)
        if before is None:
            self.undo.append(lambda: os.environ.pop(self.variable, None))
        else:
            self.undo.append(lambda: os.environ.update({self.variable: before}))
        os.environ[self.variable] = "http://127.0.0.1:3128"
        await asyncio.sleep(0)

    async def on_stop(self) -> None:
        while self.undo:
            self.undo.pop()()


class BorrowsDirectory(Plugin):
    """Works in another directory for the time of one hook."""

    info = PluginInfo("borrows-directory", "1.0.0", "Builds elsewhere")

    def __init__(self) -> None:
        self.built = ""

    async def on_start(self) -> None:
        before = os.getcwd()
        os.chdir(tempfile.gettempdir())
        try:
            await asyncio.sleep(0)
            self.built = os.getcwd()
        finally:
            os.chdir(before)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Listens(Plugin):
    """Adds a handler to a logger and takes it away; to take it away twice does nothing."""

    info = PluginInfo("listens", "1.0.0", "Keeps the last lines")

    def __init__(self) -> None:
        self.handler = _Lines()
        self.logger = logging.getLogger("zoo.listens")

    async def on_init(self) -> None:
        self.logger.addHandler(self.handler)

    async def on_start(self) -> None:
        self.logger.warning("started")
        await asyncio.sleep(0)

    async def on_stop(self) -> None:
        self.logger.removeHandler(self.handler)
        self.handler.close()


class BorrowsHook(Plugin):
    """Puts itself in front of ``sys.excepthook``, and steps back if nobody has put himself in front of it."""

    info = PluginInfo("borrows-hook", "1.0.0", "Counts crashes")

    def __init__(self) -> None:
        self.before: Callable[..., Any] | None = None
        self.own = self._crashed  # one object, to be compared by identity
        self.crashes = 0

    async def on_start(self) -> None:
        self.before = sys.excepthook
        sys.excepthook = self.own
        await asyncio.sleep(0)

    async def on_stop(self) -> None:
        if self.before is not None and sys.excepthook is self.own:
            sys.excepthook = self.before
        self.before = None

    def _crashed(self, *what: Any) -> None:
        self.crashes += 1
        if self.before is not None:
            self.before(*what)


CORRECT = [
    *(
        Specimen(factory)
        for factory in (
            Bare,
            Frozen,
            Slotted,
            Plain,
            Mixed,
            Extended,
            Phoenix,
            Pausable,
            Degradable,
            Reloadable,
            wrapped,
            wrapped_with_init,
            made_by_function,
            HandlesHup,
            BorrowsEnvironment,
            BorrowsDirectory,
            Listens,
            BorrowsHook,
        )
    ),
    Specimen(HandlesUsr1, clock="real"),
    Specimen(Slotted, {"width": 5}),
    Specimen(Named, {"name": "another", "deadlines": Deadlines(start=2.0)}),
    Specimen(Holder, {"held": 5}),
    Specimen(made_by_function, {"words": ("only",)}),
]
