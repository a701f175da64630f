"""Any object with asynchronous methods as a subject whose schedules are explored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import Factory, define

from fsm_plugins.errors import DefinitionError
from fsm_plugins.verify.registries.model import Call, Outcome
from fsm_plugins.verify.schedules.overlap import Overlap
from fsm_plugins.verify.schedules.subjects import AnyCall, Cell, Session, Subject

__all__ = ["Anything", "Fields", "simple"]


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
