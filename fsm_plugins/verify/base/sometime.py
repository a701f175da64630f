"""Noting that something did happen: a property that holds because its case never came up holds of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attrs import Factory, define

__all__ = ["Seen", "sometimes", "watching"]


@define(eq=False)
class Seen:
    """The names that were given to `sometimes`, and whether they came true."""

    names: dict[str, bool] = Factory(dict)

    def never(self) -> tuple[str, ...]:
        """Return the names that never came true, sorted."""
        return tuple(sorted(name for name, true in self.names.items() if not true))


_watching: list[Seen] = []


def sometimes(name: str, condition: object = True) -> None:
    """Say that ``condition`` has to be true at least once in a verification. Outside of one it does nothing.

    For plugins, invariants, and the fakes that they are tried with. If it never is, the report does not say that the
    plugin holds, but that it is inconclusive, and names it. A name whose line is never reached has to be given to
    `verify` as well, or else nobody knows of it.

    >>> sometimes("the queue was full", False)
    """
    for seen in _watching:
        seen.names[name] = seen.names.get(name, False) or bool(condition)


@contextmanager
def watching(awaited: Sequence[str]) -> Iterator[Seen]:
    """Keep what `sometimes` is told for as long as the block lasts."""
    seen = Seen(dict.fromkeys(awaited, False))
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)
