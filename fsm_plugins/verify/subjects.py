"""What schedules are explored of: a subject, and here the one that is any object with asynchronous methods.

A subject knows which states there are and how to get there, which calls can be made, how to make them, and what has to
be true of what came of them. One *session* is one object in one run.
"""

from __future__ import annotations

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from attrs import Factory, define

from fsm_plugins.errors import DefinitionError
from fsm_plugins.verify.model import Call, Outcome
from fsm_plugins.verify.overlap import CANCEL, Label, Overlap

__all__ = ["AnyCall", "Anything", "Cell", "Fields", "Session", "Subject", "simple"]

AnyCall: TypeAlias = str | Call | Callable[[Any], Awaitable[object]]
"""A call: ``stop``, ``a.stop`` of plugin ``a``, ``stop_all``, the name of a method, or a function of the object."""


class Cell(NamedTuple):
    """One thing to explore: calls that are made at the same time, in one state.

    Attributes:
        setup: the calls that lead to the state.
        state: its name.
        calls: the calls.
    """

    setup: tuple[Call, ...]
    state: str
    calls: tuple[Call, ...]

    def __str__(self) -> str:
        return f"{self.state}: {' | '.join(map(_label, self.calls))}"


def _label(call: Call) -> str:
    return f"cancel call {int(call.plugin) + 1}" if call.name == CANCEL else str(call)


@define(eq=False)
class Session(ABC):
    """One object in one run, and what has happened to it.

    Attributes:
        cell: what is explored.
        history: what has happened, see `fsm_plugins.verify.overlap`.
        errors: what hooks or calls raised of their own, by the name of the type; and other things that should not
            happen, unless they happen when the calls are made one after the other.
        tasks: the tasks that make the calls.
    """

    cell: Cell
    history: list[Label] = Factory(list)
    errors: dict[str, BaseException | None] = Factory(dict)
    tasks: list[asyncio.Task[None]] = Factory(list)
    _under_way: set[int] = Factory(set)

    @property
    @abstractmethod
    def subject(self) -> object:
        """The object."""

    @abstractmethod
    async def setup(self) -> None:
        """Bring the object to the state of the cell. Raises what goes wrong."""

    @abstractmethod
    async def make(self, i: int, call: Call) -> Outcome:
        """Make a call, and say what came of it."""

    async def call(self, i: int) -> None:
        """Make the call number ``i`` of the cell, and note it."""
        history, call = self.history, self.cell.calls[i]
        history.append(("call", i))
        if call.name == CANCEL:
            target = int(call.plugin)
            if target in self._under_way:
                self.tasks[target].cancel()
            history.append(("return", i, ("done",)))
            return
        self._under_way.add(i)
        outcome = await self.make(i, call)
        if outcome == ("cancelled",) and Call(CANCEL, str(i)) not in self.cell.calls:
            self.errors["CancelledError, which nobody asked for"] = None
        self._under_way.discard(i)
        history.append(("return", i, outcome))

    def listen(self) -> None:  # noqa: B027
        """Keep what happens from now on; there is nothing to hear of most objects."""

    def watched(self) -> Iterable[object]:
        """Return the objects whose attributes tell which steps have to do with each other."""
        return (self.subject,)

    def finish(self) -> Coroutine[object, object, None] | None:
        """Return what has to be done for the object to let go of what it holds, if there is something."""
        return None

    @abstractmethod
    def result(self) -> tuple[object, ...]:
        """Return what came of the run but for its order: the outcomes, and what can be seen of the object."""


class Subject(ABC):
    """What is explored.

    Attributes:
        functions: the calls that are functions, by the name they have in `Call`.
    """

    functions: Mapping[str, Callable[[Any], Awaitable[object]]]

    @abstractmethod
    def states(self) -> Iterator[tuple[str, tuple[Call, ...]]]:
        """Return the states, each with the calls that lead there."""

    @abstractmethod
    def calls(self) -> Sequence[Call]:
        """Return the calls that can be made."""

    @abstractmethod
    def session(self, cell: Cell) -> Session:
        """Make a new object."""

    @abstractmethod
    def overlap(self, session: Session) -> Overlap | None:
        """Return what is allowed, beginning with the present state, or None if only the object itself can tell."""

    def cells(self, tasks: int) -> Iterator[Cell]:
        """Return everything to explore with so many calls at a time, the simplest states first."""
        calls = list(self.calls())
        for state, setup in self.states():
            for together in itertools.combinations_with_replacement(calls, tasks):
                yield Cell(setup, state, together)
            for together in itertools.combinations_with_replacement(calls, tasks - 1) if tasks > 1 else ():
                if any(call.name in self.functions for call in together):
                    continue  # what a cancelled function comes to has no order that would explain it
                for i, call in enumerate(together):
                    if i == 0 or together[i - 1] != call:
                        yield Cell(setup, state, (*together, Call(CANCEL, str(i))))


# Any object.


@define(eq=False)
class _ObjectSession(Session):
    own: object = None
    functions: Mapping[str, Callable[[Any], Awaitable[object]]] = Factory(dict)
    observe: Callable[[Any], object] | None = None

    @property
    def subject(self) -> object:
        return self.own

    async def setup(self) -> None:
        for call in self.cell.setup:
            await self.functions[call.name](self.own)

    async def make(self, i: int, call: Call) -> Outcome:
        try:
            return "returned", simple(await self.functions[call.name](self.own))
        except asyncio.CancelledError:
            return ("cancelled",)
        except Exception as error:
            return "raised", type(error).__name__

    def result(self) -> tuple[object, ...]:
        outcomes = sorted([label[1:] for label in self.history if label[0] == "return"], key=str)
        return tuple(outcomes), None, (self.observe or _fields)(self.own)


def simple(value: object) -> object:
    """Return a value that can be compared from run to run, or else the name of its type."""
    if isinstance(value, tuple):
        return tuple([simple(part) for part in value])
    return value if isinstance(value, str | bytes | int | float | None) else type(value).__name__


class Fields(tuple[tuple[str, object], ...]):
    """What can be seen of an object: its public fields that have simple values, by name."""

    __slots__ = ()


def _fields(subject: object) -> Fields:
    fields = getattr(subject, "__dict__", {})
    return Fields(sorted([(n, simple(v)) for n, v in fields.items() if not n.startswith("_")], key=str))


class Anything(Subject):
    """Any object; what its calls may come to is what they come to one after the other, in every order."""

    def __init__(
        self,
        factory: Callable[[], object],
        calls: Sequence[AnyCall] | None,
        *,
        observe: Callable[[Any], object] | None = None,
    ) -> None:
        if not calls:
            raise DefinitionError("what to call at the same time is not known of this object: give calls=[...]")
        self._factory = factory
        self._observe = observe
        self.functions = {}
        names = []
        for call in calls:
            function = _method(str(call)) if isinstance(call, str | Call) else call
            name = str(call) if isinstance(call, str | Call) else getattr(call, "__name__", "call")
            while name in self.functions and self.functions[name] is not function:
                name += "'"
            self.functions[name] = function
            names.append(name)
        self._calls = [Call(name) for name in names]

    def states(self) -> Iterator[tuple[str, tuple[Call, ...]]]:
        yield "new", ()

    def calls(self) -> Sequence[Call]:
        return self._calls

    def session(self, cell: Cell) -> Session:
        return _ObjectSession(cell, own=self._factory(), functions=self.functions, observe=self._observe)

    def overlap(self, session: Session) -> Overlap | None:
        return None


def _method(name: str) -> Callable[[Any], Awaitable[object]]:
    def call(subject: Any) -> Awaitable[object]:
        answer: Awaitable[object] = getattr(subject, name)()
        return answer

    return call
