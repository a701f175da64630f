"""What the type checker tells those who use the package: wrong calls are found, and right ones have their types."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pytest

api = pytest.importorskip("mypy.api")

ROOT: Final = Path(__file__).parents[2]

# A line with `# E: code` is an error of that code and no other; `# T: type` is the type that its reveal_type tells.
PROGRAM: Final = """
import asyncio
import dataclasses
from typing import Generic, TypeVar
from attrs import define, frozen
from fsm_plugins import *
from fsm_plugins.errors import PluginError
from fsm_plugins.lifecycle import LifecycleMachine

INFO = PluginInfo("x", "1.0.0")

class Plain(Plugin):
    info = INFO
    async def on_start(self) -> None:
        self.spawn(asyncio.sleep(1))

@define
class Defined(Plugin):
    info = INFO
    numbers: Sender[int]
    words: Receiver[str]
    size: int = 3

@frozen
class Frozen(Plugin):
    info = INFO
    size: int = 3

T = TypeVar("T")

@define
class Of(Plugin, Generic[T]):
    info = INFO
    item: T

class Own(Plugin):
    info = INFO
    def __init__(self, size: int) -> None:
        super().__init__(name="own")
        self.size = size

@dataclasses.dataclass
class Data(Plugin):
    info = INFO
    size: int = 3

class NotAsynchronous(Plugin):
    def on_start(self) -> None: ...  # E: override

class WrongAnswer(Plugin):
    async def on_health_check(self) -> str:  # E: override
        return "fine"

class ExtraArgument(Plugin):
    async def on_stop(self, why: str) -> None: ...  # E: override

class Overrides(Plugin):
    async def start(self) -> None: ...  # E: misc

class WrongInfo(Plugin):
    info = "x"  # E: assignment

class WrongLifecycle(Plugin):
    lifecycle = [("init", "created", "initialized")]  # E: assignment

async def calls(plugin: Plain, registry: PluginRegistry) -> None:
    plugin.state = State.RUNNING  # E: misc
    plugin.failure = None  # E: misc
    await plugin.start(1)  # E: call-arg
    await plugin.fire(5)  # E: arg-type
    await plugin.fail("because")  # E: arg-type
    plugin.spawn(5)  # E: arg-type
    plugin.spawn(asyncio.sleep)  # E: arg-type
    plugin.strat()  # E: attr-defined
    registry.register(Plain)  # E: arg-type
    registry.register(object())  # E: arg-type
    registry.subscribe(print)
    registry.subscribe(lambda: None)  # E: misc arg-type
    registry["x"].size  # E: attr-defined
    registry.get("x").state  # E: union-attr

def constructors(numbers: Sender[int], words: Receiver[str], others: Sender[str]) -> None:
    Plain(name="y", deadlines=Deadlines(stop=5))
    Plain(nme="y")  # E: call-arg
    Defined(numbers, words)
    Defined(numbers, words, size=5, name="y")
    Defined(others, words)  # E: arg-type
    Defined(numbers)  # E: call-arg
    Frozen(size=5, name="y").size = 6  # E: misc
    Own(5)
    Own()  # E: call-arg
    Data(size=5)
    PluginInfo("x")  # E: call-arg
    PluginInfo("x", "1.0.0", "", "detector")  # E: arg-type
    Deadlines(start="5")  # E: arg-type
    HealthStatus("great")  # E: arg-type
    LIFECYCLE.extend([("pause", "running")])  # E: list-item
    as_plugin(5, info=INFO)  # E: arg-type
    numbers.try_send("1")  # E: arg-type

async def revealed(
    plugin: Plain, registry: PluginRegistry, event: TransitionEvent, numbers: Sender[int], words: Receiver[str]
) -> None:
    async def count() -> int:
        return 5
    reveal_type(plugin.state)  # T: fsm_plugins.lifecycle.table.State
    reveal_type(plugin.failure)  # T: BaseException | None
    reveal_type(plugin.info)  # T: fsm_plugins.metadata.PluginInfo
    reveal_type(plugin.deadlines)  # T: fsm_plugins.metadata.Deadlines
    stop, fire = plugin.stop(), plugin.fire("x")
    print(reveal_type(stop))  # T: typing.Coroutine[object, object, None]
    print(reveal_type(fire))  # T: typing.Coroutine[Any, Any, None]
    reveal_type(await plugin.health_check())  # T: fsm_plugins.metadata.HealthStatus
    reveal_type(plugin.spawn(count()))  # T: asyncio.Task[int]
    reveal_type(Of(5))  # T: Of[int]
    reveal_type(Of(5).item)  # T: int
    reveal_type(Defined(numbers, words).words)  # T: fsm_plugins.channels.Receiver[str]
    reveal_type(await words.recv())  # T: str
    reveal_type(registry["x"])  # T: fsm_plugins.plugin.Plugin
    reveal_type(registry.get("x"))  # T: fsm_plugins.plugin.Plugin | None
    reveal_type(registry.unregister("x"))  # T: fsm_plugins.plugin.Plugin
    reveal_type([one for one in registry])  # T: list[fsm_plugins.plugin.Plugin]
    reveal_type(registry.list())  # T: list[fsm_plugins.metadata.PluginInfo]
    reveal_type((await registry.health_check_all())[0].status)  # T: fsm_plugins.metadata.HealthStatus
    reveal_type(event.source)  # T: fsm_plugins.lifecycle.table.State
    reveal_type(event.cause)  # T: BaseException | None
    reveal_type(LIFECYCLE.expected("stop"))  # T: tuple[fsm_plugins.lifecycle.table.State, ...]
    reveal_type(LIFECYCLE.arcs[0].trigger)  # T: str
    reveal_type(LIFECYCLE.machine)  # T: fsm_plugins.lifecycle.machine.LifecycleMachine
    reveal_type(LIFECYCLE.machine.moves)  # T: dict[str, dict[str, fsm_plugins.lifecycle.machine.Move]]
    reveal_type(LIFECYCLE.machine.sources)  # T: dict[str, tuple[str, ...]]
    reveal_type(LIFECYCLE.machine.moves["x"]["y"].dest)  # T: fsm_plugins.lifecycle.table.State
    reveal_type(LIFECYCLE.machine.get_transitions("x"))  # T: list[transitions.core.Transition]
    reveal_type(as_plugin(plugin, info=INFO))  # T: fsm_plugins.plugin.Plugin
    async with registry.running() as running:
        reveal_type(running)  # T: fsm_plugins.registry.PluginRegistry
    try:
        await registry.stop_all()
    except StopFailed as failed:
        one = failed.exceptions[0]
        reveal_type(one)  # T: fsm_plugins.errors.PluginError | ExceptionGroup[fsm_plugins.errors.PluginError]
    except InvalidState as refused:
        reveal_type(refused.expected)  # T: tuple[str, ...]
        reveal_type(refused.in_flight)  # T: str | None
    except DeadlineExceeded as late:
        reveal_type(late.seconds)  # T: float
"""


def plain(revealed: str) -> str:
    """Return a type as it is written today, whatever mypy of what age calls it."""
    revealed = revealed.replace("builtins.", "")
    revealed = re.sub(r"(_asyncio|asyncio\.tasks)\.Task", "asyncio.Task", revealed)
    while match := re.search(r"Union\[([^\[\]]*(?:\[[^\[\]]*\])?[^\[\]]*)\]", revealed):
        revealed = revealed.replace(match[0], match[1].replace(", ", " | "))
    return revealed.removesuffix("?").replace("program.", "")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[tuple[str, str]]]:
    """Return what mypy has to say: line -> kind and text."""
    program = tmp_path_factory.mktemp("typing") / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    before = os.environ.get("MYPYPATH")
    os.environ["MYPYPATH"] = str(ROOT)
    try:
        output, errors, _ = api.run(
            ["--strict", "--no-error-summary", "--hide-error-context", "--no-pretty", "--config-file=", str(program)]
        )
    finally:
        os.environ.pop("MYPYPATH")
        if before is not None:
            os.environ["MYPYPATH"] = before
    assert not errors
    found: dict[int, list[tuple[str, str]]] = {}
    for line in output.splitlines():
        match = re.fullmatch(r".*program\.py:(\d+): (error|note): (.*)", line)
        assert match, f"not about the program: {line}"
        if match[2] == "error":
            found.setdefault(int(match[1]), []).append(("E", re.sub(r".*\[([a-z-]+)\]$", r"\1", match[3])))
        elif revealed := re.fullmatch(r'Revealed type is "(.*)"', match[3]):
            found.setdefault(int(match[1]), []).append(("T", plain(revealed[1])))
    return found


LINES: Final = [
    (number, line.partition("  # ")[0].strip(), line.partition("  # ")[2])
    for number, line in enumerate(PROGRAM.split("\n"), 1)
    if "  # " in line
]


@pytest.mark.parametrize(("number", "line", "expected"), LINES, ids=[line for _, line, _ in LINES])
def test_the_type_checker_tells_each_line(
    told: dict[int, list[tuple[str, str]]], number: int, line: str, expected: str
) -> None:
    """A wrong line is an error of the code that is expected, and a revealed type is the one that is expected."""
    kind, _, what = expected.partition(": ")
    assert set(told.get(number, ())) == {(kind, one) for one in (what.split() if kind == "E" else [what])}


def test_the_type_checker_has_nothing_else_to_say(told: dict[int, list[tuple[str, str]]]) -> None:
    """Right code is right, in the strictest mode."""
    assert set(told) == {number for number, _, _ in LINES}
