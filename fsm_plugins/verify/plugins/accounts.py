"""What became of the messages that a plugin was fed with.

Nobody but its author knows what a plugin is to do with a message. So it is watched in a run where nothing disturbs
it: if there every message comes out again, or is kept in an attribute, or one message comes out for each that went in,
it is one that keeps its messages, and then it has to do so in every other run in which its inputs come to their end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import Factory, define

__all__ = ["Ledger", "mark", "marks"]

_DEPTH: Final = 3
_ITEMS: Final = 1000


def mark(message: object) -> str:
    """Return what tells one message from another."""
    return f"{type(message).__qualname__}:{message!r}"


def marks(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the marks of a value and of what it contains."""
    yield mark(value)
    if depth >= _DEPTH or isinstance(value, str | bytes | int | float):
        return
    inside: Iterator[object]
    if isinstance(value, Mapping):
        inside = iter([*value.keys(), *value.values()][:_ITEMS])
    elif isinstance(value, list | tuple | set | frozenset) or type(value).__name__ == "deque":
        inside = iter(list(value)[:_ITEMS])  # type: ignore[call-overload]
    else:
        names = getattr(type(value), "__slots__", ()) or ()
        fields = [getattr(value, name, None) for name in ((names,) if isinstance(names, str) else names)]
        inside = iter([*fields, *getattr(value, "__dict__", {}).values()][:_ITEMS])
    for item in inside:
        yield from marks(item, depth + 1)


@define
class Ledger:
    """The messages of one run.

    Attributes:
        fed: what went in.
        out: the marks of what came out, and of what is inside of that.
        sent: how many messages came out.
        kept: the marks of what the plugin holds at the end.
        queued: how many messages it never took.
        ended: whether its inputs came to their end before it was stopped.
    """

    fed: list[str] = Factory(list)
    out: list[str] = Factory(list)
    sent: int = 0
    kept: list[str] = Factory(list)
    queued: int = 0
    ended: bool = False

    @property
    def accounted(self) -> set[str]:
        """The marks of all that can be found somewhere."""
        return {*self.out, *self.kept}

    @property
    def missing(self) -> list[str]:
        """What went in, was taken, and is nowhere."""
        found = self.accounted
        return [message for message in self.fed if message not in found][: max(0, len(self.fed) - self.queued)]

    @property
    def keeps_all(self) -> bool:
        """Whether every message that went in is somewhere."""
        return bool(self.fed) and not self.missing

    @property
    def one_for_one(self) -> bool:
        """Whether as many came out as went in."""
        return bool(self.fed) and self.sent == len(self.fed)
