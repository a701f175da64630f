"""What schedules are explored of, as seen by those who explore: `objects` and `plugins` say what it is.

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

from fsm_plugins.verify.registries.model import Call, Outcome
from fsm_plugins.verify.schedules.overlap import CANCEL, Label, Overlap

__all__ = ["AnyCall", "Cell", "Session", "Subject"]

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
        history: what has happened, see `fsm_plugins.verify.schedules.overlap`.
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
