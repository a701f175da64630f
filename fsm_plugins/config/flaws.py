"""What is wrong with a raw value, where, and in which words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date, time

import attrs
from attrs import evolve, frozen
from cattrs.errors import IterableValidationError

from fsm_plugins.config.environment import EnvKey

__all__ = ["Flaw", "Invalid", "either", "expected", "flaws_in", "key_path", "show"]


@frozen
class Flaw:
    """Something wrong with a value.

    Attributes:
        path: where in the value, as ``.rules[2].pattern``; empty for the value itself.
        what: what is wrong.
        variable: the environment variable the value is from, if it is; the path then begins there.
    """

    path: str
    what: str
    variable: str = ""

    def below(self, key: str | int) -> Flaw:
        """Return this flaw of an item as one of the value that holds the item under ``key``."""
        if self.variable:
            return self
        if isinstance(key, EnvKey):
            return evolve(self, variable=key.variable)
        return evolve(self, path=key_path(key) + self.path)

    def where(self, path: str) -> str:
        """Return where the flaw is, for a value at the key path ``path``."""
        return (self.variable or path) + self.path


class Invalid(Exception):
    """A value is not what is wanted.

    Attributes:
        flaws: all that is wrong with it.
        wanted: what people call the type, if the value is nothing like it.
    """

    def __init__(self, *flaws: Flaw, wanted: str = "") -> None:
        super().__init__(*flaws)
        self.flaws = flaws
        self.wanted = wanted


def expected(wanted: str, value: object, hint: str = "") -> Invalid:
    """Return the error for a value that is not what people call ``wanted``."""
    return Invalid(Flaw("", f"expected {wanted}, got {show(value)}{hint}"), wanted=wanted)


def flaws_in(error: Exception) -> Iterator[Flaw]:
    """Yield what an exception says is wrong, also one of cattrs that holds those of the items."""
    if isinstance(error, Invalid):
        yield from error.flaws
    elif isinstance(error, IterableValidationError):
        for each, note in error.group_exceptions()[0]:
            yield from (flaw.below(note.index) for flaw in flaws_in(each))
    elif isinstance(error, RecursionError):
        raise error  # at no place in particular
    else:
        yield Flaw("", _text(error))


def _text(error: Exception) -> str:
    """Return what an exception says. Those of attrs carry the field and more behind the text."""
    if len(error.args) > 1 and isinstance(error.args[1], attrs.Attribute):
        return str(error.args[0])
    text = str(error)
    if text and isinstance(error, ValueError | TypeError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def key_path(key: str | int) -> str:
    """Return one step of a key path, as TOML would write it.

    >>> key_path("port") + key_path("a b") + key_path(2)
    '.port."a b"[2]'
    """
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f".{json.dumps(key, ensure_ascii=False)}"


def show(value: object) -> str:
    """Return a raw value for a message, in the words of TOML.

    >>> [show(value) for value in (True, "a", 1.5, {}, [1], date(2024, 5, 1))]
    ['true', "'a'", '1.5', 'a table', 'an array', '2024-05-01']
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "an array"
    if isinstance(value, date | time):
        return value.isoformat()
    try:
        text = repr(value)
    except ValueError:  # Python does not write integers of thousands of digits
        return "a very large integer"
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def either(words: Iterable[str]) -> str:
    """Return alternatives in words.

    >>> either(["'a'", "'b'", "1"])
    "'a', 'b' or 1"
    """
    *others, last = dict.fromkeys(words) or ["nothing at all"]
    return f"{', '.join(others)} or {last}" if others else last
