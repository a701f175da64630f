"""Which attributes each step of a run touched, and which other order of its steps is worth a try.

Two steps of different tasks that touch the same attribute, one of them writing, may come to something else in the other
order. So after a run, for each such pair of which the first did not cause the second, there is a run to try: the same
until the first of the two, then what the second needs, then the second (Flanagan and Godefroid 2005; the sequences are
those of Abdulla, Aronis, Jonsson and Sagonas 2014). A check-then-act race is met in the second run this way.

Only attributes of the object under test are seen, not what lies behind them, in closures or in modules. So this decides
what is tried *first*, and never that something need not be tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from attrs import Factory, define

from fsm_plugins.plugin import Plugin

__all__ = ["Footprints", "Watcher"]

# Values that nobody can change in place: to read an attribute that has one touches the attribute only.
_ATOMS: Final = (str, bytes, int, float, complex, bool, type(None), frozenset, type)
Place: TypeAlias = tuple[int, str]
"""An attribute: of which object, and its name."""
LONGEST: Final = 300
"""How many steps of a run are looked at; every pair of them is."""
_OF_PLUGINS: Final = frozenset(dir(Plugin)) | {"_guard"}


@define(eq=False)
class _Taken:
    """One step: its task, the steps that have to come before it, what it touched (True for a write)."""

    number: int
    causes: int
    touched: dict[Place, bool] = Factory(dict)


@define(eq=False)
class Footprints:
    """The steps of one run."""

    steps: list[_Taken] = Factory(list)
    _made_ready: dict[int, int] = Factory(dict)
    _last: dict[int, int] = Factory(dict)

    def begin(self, number: int) -> None:
        """Note that a step of this task begins."""
        causes = 0
        for before in (self._last.get(number), self._made_ready.get(number)):
            if before is not None:
                causes |= self.steps[before].causes | 1 << before
        self._last[number] = len(self.steps)
        self.steps.append(_Taken(number, causes))

    def ready(self, number: int) -> None:
        """Note that the present step makes this task ready."""
        if self.steps:
            self._made_ready[number] = len(self.steps) - 1

    def touch(self, place: Place, write: bool) -> None:
        """Note that the present step reads or writes an attribute."""
        if self.steps:
            touched = self.steps[-1].touched
            touched[place] = touched.get(place, False) or write

    def others(self) -> Iterator[tuple[int, ...]]:
        """Return the orders to try: for each, the tasks step by step, as far as it matters."""
        steps = self.steps[:LONGEST]
        after: list[int] = []  # for each step, all that come before it by causes and by what they touch
        for j, step in enumerate(steps):
            before = 0
            for i in _bits(step.causes):
                before |= after[i] | 1 << i
            races = []
            for i in range(j - 1, -1, -1):
                if not before >> i & 1 and _conflict(steps[i].touched, step.touched):
                    if steps[i].number != step.number:
                        races.append(i)
                    before |= after[i] | 1 << i
            after.append(before)
            for i in races:
                between = [k for k in range(i + 1, j) if not after[k] >> i & 1]
                yield tuple([steps[k].number for k in (*range(i), *between, j)])


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _conflict(one: dict[Place, bool], other: dict[Place, bool]) -> bool:
    return any(place in other and (write or other[place]) for place, write in one.items())


class Watcher:
    """Puts classes that tell of every access in the place of those of the objects under test.

    Attributes:
        footprints: of the run under way; None while nobody wants to know.
    """

    def __init__(self) -> None:
        self.footprints: Footprints | None = None
        self._classes: dict[type, type] = {}

    def watch(self, subject: object) -> None:
        """Tell of each attribute of ``subject`` that is read or written from now on.

        To read an attribute whose value can be changed in place counts as a write. An object whose class cannot be
        replaced is not watched, and then nothing is known of it.
        """
        base = type(subject)
        watched = self._classes.get(base)
        if watched is None:
            watched = self._classes[base] = self._watched(base)
        try:
            object.__setattr__(subject, "__class__", watched)
        except TypeError:  # slots of its own, or a class that is not made in Python
            return

    def _touch(self, subject: object, name: str, write: bool) -> None:
        if self.footprints is not None:
            self.footprints.touch((id(subject), name), write)

    def _watched(self, base: Any) -> type:
        unseen = _OF_PLUGINS if issubclass(base, Plugin) else frozenset()

        def get(subject: object, name: str) -> object:
            value: object = base.__getattribute__(subject, name)
            if name not in unseen and not name.startswith("__") and not callable(value):
                self._touch(subject, name, not isinstance(value, _ATOMS))
            return value

        def put(subject: object, name: str, value: object) -> None:
            base.__setattr__(subject, name, value)
            if name not in unseen:
                self._touch(subject, name, True)

        names = {name: getattr(base, name) for name in ("__module__", "__qualname__", "__doc__")}
        try:
            return type(base.__name__, (base,), {"__slots__": (), "__getattribute__": get, "__setattr__": put, **names})
        except Exception:  # a class may refuse to be subclassed, in any way
            return object
