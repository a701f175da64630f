"""What does not depend on the machine's mood: bytecode instructions, calls into C, and memory blocks.

``python -m benchmarks.counts [--update]``. The interpreter counts the instructions it executes (``f_trace_opcodes``)
and the C functions it calls while one operation is done; the allocator counts the blocks that an object keeps. The same
code on the same version of Python gives the same counts, however busy the machine is, so that continuous integration
can tell that a change made a hot path longer. They say nothing of what a C function takes.

Kept counts are in ``benchmarks/results/counts.json``, by version of Python. More than the tolerance above one of them
fails; ``--update`` keeps the present ones, to be committed with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final

from attrs import define

from benchmarks._results import RESULTS
from fsm_plugins import (
    HealthStatus,
    InvalidState,
    Plugin,
    PluginInfo,
    PluginRegistry,
    Receiver,
    Sender,
    TransitionEvent,
    channel,
)
from fsm_plugins.app import Application

__all__ = ["FILE", "TOLERANCE", "compare", "counted", "main", "worse"]

FILE: Final = RESULTS / "counts.json"
TOLERANCE: Final = 0.05
"""A new version of a dependency may differ by a few instructions."""

ROUNDS: Final = 100
"""Operations in one count, so that what happens once does not matter."""

Counts = dict[str, dict[str, float]]


@define
class Tally:
    """What was counted."""

    instructions: int = 0
    calls: int = 0


@contextmanager
def tally() -> Iterator[Tally]:
    """Count what is executed in functions that are entered or resumed inside ``with``."""
    found = Tally()

    def inside(_frame: FrameType, event: str, _argument: object) -> Any:
        if event == "opcode":
            found.instructions += 1
        return inside

    def entered(frame: FrameType, _event: str, _argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return inside

    def called(_frame: FrameType, event: str, _argument: object) -> None:
        if event == "c_call":
            found.calls += 1

    gc.collect()
    gc.disable()
    sys.setprofile(called)
    sys.settrace(entered)
    try:
        yield found
    finally:
        sys.settrace(None)
        sys.setprofile(None)
        gc.enable()


# What is done ---------------------------------------------------------------------------------------------------------


@define
class Empty(Plugin):
    """A plugin whose hooks do nothing."""

    info = PluginInfo("empty", "1.0.0")

    async def on_start(self) -> None:
        """Do nothing."""


class Waiting(Plugin):
    """A plugin whose hooks give way once, and so need a deadline."""

    info = PluginInfo("waiting", "1.0.0")

    async def on_start(self) -> None:
        """Give way."""
        await asyncio.sleep(0)

    async def on_health_check(self) -> HealthStatus:
        """Give way, and be well."""
        await asyncio.sleep(0)
        return HealthStatus.healthy()


async def _each(objects: list[Any], call: Callable[[Any], Awaitable[object]]) -> None:
    for each in objects:
        await call(each)


async def _refusal(plugin: Plugin) -> None:
    try:
        await plugin.start()
    except InvalidState:
        return
    raise AssertionError("it was expected to be refused")


async def _initialised(cls: type[Plugin], listen: bool = False) -> list[Plugin]:
    registry = PluginRegistry()
    plugins = [cls(name=f"plugin-{number}") for number in range(ROUNDS)]
    for plugin in plugins:
        registry.register(plugin)
    if listen:
        heard: list[TransitionEvent] = []
        registry.subscribe(heard.append)
    await registry.init_all()
    return plugins


async def _start(cls: type[Plugin], listen: bool = False) -> Tally:
    plugins = await _initialised(cls, listen)
    with tally() as found:
        await _each(plugins, lambda plugin: plugin.start())
    assert all(plugin.state == "running" for plugin in plugins)
    return found


async def _refused() -> Tally:
    plugins = [Empty() for _ in range(ROUNDS)]
    with tally() as found:
        await _each(plugins, _refusal)
    return found


async def _health() -> Tally:
    plugins = await _initialised(Waiting)
    await _each(plugins, lambda plugin: plugin.start())
    with tally() as found:
        await _each(plugins, lambda plugin: plugin.health_check())
    return found


async def _creation() -> Tally:
    kept: list[Plugin] = []

    def make() -> None:
        for _ in range(ROUNDS):
            kept.append(Empty())  # noqa: PERF401 - a comprehension is no call of its own on every version

    with tally() as found:
        make()
    return found


async def _life(size: int) -> Tally:
    registry = PluginRegistry()
    plugins = [Empty(name=f"plugin-{number}") for number in range(size)]

    async def live() -> None:
        for plugin in plugins:
            registry.register(plugin)
        await registry.init_all()
        await registry.start_all()
        await registry.stop_all()

    with tally() as found:
        await live()
    assert all(plugin.state == "stopped" for plugin in plugins)
    return found


async def _message(capacity: int) -> Tally:
    sender: Sender[int]
    receiver: Receiver[int]
    sender, receiver = channel(capacity)
    received: list[int] = []

    async def produce() -> None:
        with sender:
            for number in range(ROUNDS * 10):
                await sender.send(number)

    async def consume() -> None:
        async for number in receiver:
            received.append(number)  # noqa: PERF401 - the loop is what is counted

    with tally() as found:
        await asyncio.gather(produce(), consume())
    assert received == list(range(ROUNDS * 10))
    return found


async def _configured(size: int) -> Tally:
    """Read a configuration of plugins of one class, and make them."""
    return _read_and_made(size)


def _read_and_made(size: int) -> Tally:
    with TemporaryDirectory() as directory:
        path = Path(directory, "app.toml")
        tables = (f'[plugins.plugin-{number}]\nuse = "benchmarks.counts:Empty"\n' for number in range(size))
        path.write_text("".join(tables), encoding="utf-8")
        made = []
        with tally() as found:
            made.append(Application.from_config(path))
        assert made[0].registry.count() == size
        return found


def _blocks() -> float:
    """Return how many memory blocks a plugin that is registered and running keeps."""

    async def run() -> float:
        registry = PluginRegistry()
        names = [f"plugin-{number}" for number in range(ROUNDS * 10)]
        gc.collect()
        before = sys.getallocatedblocks()
        for name in names:
            registry.register(Empty(name=name))
        await registry.init_all()
        await registry.start_all()
        gc.collect()
        return (sys.getallocatedblocks() - before) / len(names)

    return asyncio.run(run())


OPERATIONS: Final[dict[str, tuple[Callable[[], Awaitable[Tally]], int]]] = {
    "start, an empty hook": (lambda: _start(Empty), ROUNDS),
    "start, a hook that waits": (lambda: _start(Waiting), ROUNDS),
    "start, one listener": (lambda: _start(Empty, listen=True), ROUNDS),
    "a refused start": (_refused, ROUNDS),
    "health check, a hook that waits": (_health, ROUNDS),
    "creation": (_creation, ROUNDS),
    "register to stop_all, one of 10": (lambda: _life(10), 10),
    "register to stop_all, one of 1,000": (lambda: _life(1_000), 1_000),
    "a configured plugin, one of 10": (lambda: _configured(10), 10),
    "a configured plugin, one of 200": (lambda: _configured(200), 200),
    "a message, capacity 1": (lambda: _message(1), ROUNDS * 10),
    "a message, capacity 1024": (lambda: _message(1024), ROUNDS * 10),
}
"""What is counted, and how many operations one count is of."""


def counted() -> Counts:
    """Return what one of each operation takes on this version of Python."""
    found: Counts = {}
    for name, (operation, count) in OPERATIONS.items():
        asyncio.run(_awaited(operation))  # what is made once is made now
        total = asyncio.run(_awaited(operation))
        found[name] = {"instructions": round(total.instructions / count, 1), "calls": round(total.calls / count, 1)}
    _blocks()
    found["a registered, running plugin"] = {"blocks": round(_blocks(), 1)}
    return found


async def _awaited(operation: Callable[[], Awaitable[Tally]]) -> Tally:
    return await operation()


# Comparing ------------------------------------------------------------------------------------------------------------


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _kept(path: Path) -> dict[str, Counts]:
    found: dict[str, Counts] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def worse(before: Counts, now: Counts) -> Iterator[str]:
    """Yield what is more than it was by more than the tolerance, and what is no longer counted."""
    for name, kinds in before.items():
        for kind, old in kinds.items():
            new = now.get(name, {}).get(kind)
            if new is None:
                yield f"{name}: {kind} are no longer counted"
            elif new > old * (1 + TOLERANCE) and new - old >= 1:
                yield f"{name}: {new:g} {kind}, were {old:g} (tolerance {TOLERANCE:.0%})"


def compare(path: Path = FILE) -> int:
    """Count, print, and compare with what was kept for this version of Python; return the exit status."""
    now, before = counted(), _kept(path).get(_version())
    print(f"{'for one operation':<40}{'instructions':>14}{'C calls':>10}{'blocks':>9}")
    for name, kinds in now.items():
        cells = (kinds.get(kind, "") for kind in ("instructions", "calls", "blocks"))
        print("{:<40}{:>14}{:>10}{:>9}".format(name, *cells))
    if before is None:
        print(f"no counts were kept for Python {_version()}: nothing to compare with")
        return 0
    lost = list(worse(before, now))
    for line in lost:
        print(f"more than before: {line}")
    if lost:
        print("If that is worth it: python -m benchmarks.counts --update, and say why in the commit.")
    return 1 if lost else 0


def main() -> int:
    """Compare, or keep."""
    parser = argparse.ArgumentParser(description="Count instructions, calls into C and memory blocks.")
    parser.add_argument("--update", action="store_true", help=f"keep the counts of this Python in {FILE.name}")
    if parser.parse_args().update:
        kept = _kept(FILE) | {_version(): counted()}
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
    return compare()


if __name__ == "__main__":
    sys.exit(main())
