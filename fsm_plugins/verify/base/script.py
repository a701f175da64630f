"""What is done to a plugin in one run: calls, some of them with a fault, and how that is written down.

A script is a tuple of `Call`. It is all that a run depends on besides the plugin and its settings, so it is what a
replay token holds.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias, cast

from attrs import evolve, frozen

__all__ = [
    "END",
    "FAULTS",
    "FEED",
    "HEALTH",
    "NEW",
    "PAUSES",
    "STALL",
    "WORK",
    "BadToken",
    "Call",
    "Fault",
    "Script",
    "Token",
    "calls_of",
]

WORK: Final = "work"
"""Messages come in, and time passes."""
FEED: Final = "feed"
"""Messages come in, and nothing else happens yet."""
END: Final = "end"
"""The producers of all inputs close their ends."""
STALL: Final = "stall"
"""The consumers of all outputs no longer read."""
HEALTH: Final = "health"
"""The plugin is asked how it is."""
NEW: Final = "new"
"""The plugin is thrown away, and another one is made in its place."""

PAUSES: Final = frozenset({WORK, FEED, END, STALL, HEALTH, NEW})
"""What is no call of the lifecycle."""

FaultKind: TypeAlias = Literal["cancel", "raise", "timeout"]
FAULTS: Final[tuple[FaultKind, ...]] = ("cancel", "raise", "timeout")


@frozen
class Fault:
    """What goes wrong at one await of a hook.

    Attributes:
        kind: ``cancel``: the caller is cancelled; ``raise``: what is awaited raises; ``timeout``: it never comes, and
            the deadline of the hook passes.
        at: which await of the hook, counted from 1 as they happen.
    """

    kind: FaultKind
    at: int

    def __str__(self) -> str:
        return f"{self.kind}@{self.at}"


@frozen
class Call:
    """One call, or one of the `PAUSES`, which are no calls of the lifecycle.

    >>> str(Call("start", Fault("cancel", 1)))
    'start[cancel@1]'
    """

    name: str
    fault: Fault | None = None

    def __str__(self) -> str:
        return f"{self.name}[{self.fault}]" if self.fault else self.name

    def faulted(self, kind: FaultKind, at: int) -> Call:
        """Return this call with a fault."""
        return evolve(self, fault=Fault(kind, at))


Script: TypeAlias = tuple[Call, ...]

_CALL = re.compile(r"(\w+)(?:\[(cancel|raise|timeout)@([1-9]\d*)\])?")


def calls_of(words: Iterable[str]) -> Script:
    """Return the script that words spell, such as ``init``, ``start[cancel@1]``, ``stop``.

    Raises:
        ValueError: a word is none of these; the text says which.

    >>> calls_of(["init", "start[raise@2]"])[1].fault
    Fault(kind='raise', at=2)
    """
    calls = []
    for word in words:
        found = _CALL.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is no call; write init, or start[cancel@1], start[raise@1], start[timeout@1]")
        name, kind, at = found.groups()
        calls.append(Call(name, Fault(cast("FaultKind", kind), int(at)) if kind else None))
    return tuple(calls)


class BadToken(ValueError):
    """A text that is no replay token."""


_PREFIX: Final = "fp1."


@frozen
class Token:
    """What a counterexample can be made again from.

    Attributes:
        target: the plugin as ``module:Class``, or ``app.toml#name``; None if it has no name that can be imported.
        settings: those that JSON can hold; None if there are others, which have to be given again.
        calls: the script, as words.
        cell: instead, calls that are made at the same time, as `fsm_plugins.verify.schedules.exploring` names them.
        choices: in which order they go on.
    """

    target: str | None
    settings: Mapping[str, object] | None
    calls: tuple[str, ...]
    cell: str = ""
    choices: tuple[int, ...] = ()

    def __str__(self) -> str:
        settings = None if self.settings is None else dict(self.settings)
        value: dict[str, object] = {"t": self.target, "s": settings, "c": list(self.calls)}
        if self.cell:
            value |= {"o": self.cell, "n": list(self.choices)}
        packed = zlib.compress(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), 9)
        return _PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @property
    def script(self) -> Script:
        """The calls."""
        return calls_of(self.calls)

    @classmethod
    def make(cls, target: str | None, settings: Mapping[str, object], script: Script) -> Token:
        """Make the token of a script."""
        try:
            held: Mapping[str, object] | None = json.loads(json.dumps(dict(settings)))
            if held != dict(settings):
                held = None
        except (TypeError, ValueError):
            held = None
        return cls(target, held, tuple(map(str, script)))

    @classmethod
    def read(cls, text: str) -> Token:
        """Return the token that ``text`` is.

        Raises:
            BadToken: it is none.

        >>> token = Token("clock:Clock", {}, ("init", "stop"))
        >>> Token.read(str(token)) == token
        True
        """
        try:
            if not text.startswith(_PREFIX):
                raise BadToken(f"a replay token begins with {_PREFIX}; copy the whole of it")
            packed = text.removeprefix(_PREFIX)
            unpacker = zlib.decompressobj()
            plain = unpacker.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), 1 << 20)
            if not unpacker.eof:
                raise BadToken("this token is cut off, or too long; copy the whole of it")
            value = json.loads(plain)
            target, settings, calls = value["t"], value["s"], value["c"]
            if not (isinstance(target, str | None) and isinstance(settings, dict | None) and isinstance(calls, list)):
                raise TypeError
            calls_of(calls)
            cell, choices = value.get("o", ""), value.get("n", [])
            if not (isinstance(cell, str) and isinstance(choices, list) and all(type(n) is int for n in choices)):
                raise TypeError
            return cls(target, settings, tuple(calls), cell, tuple(choices))
        except BadToken:
            raise
        except (binascii.Error, zlib.error, ValueError, KeyError, TypeError) as error:
            raise BadToken("this is no replay token, or it was damaged; copy the whole of it") from error
