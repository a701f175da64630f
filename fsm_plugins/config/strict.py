"""Raw values -> typed values, strictly: nothing is coerced, and everything that is wrong is found at once.

There is one `Rule` for each kind of type, in a table that is closed: a type without a rule is refused. A rule raises
`Invalid` with all its flaws, each with its path from the value that was given. Here are the table and the rules of
simple values; `compound` has those of arrays, tables, choices and classes.

The text of an environment variable is read as the type that is wanted of it, and its flaws name the variable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NotRequired, Required, TypeVar, Union, get_args, get_origin

from attrs import evolve, frozen

from fsm_plugins.config.environment import EnvKey, EnvText, plain

__all__ = ["Flaw", "Invalid", "describe", "expected", "key_path", "members", "rule", "show", "structure"]

Apply = Callable[[Any, Any], object]
F = TypeVar("F", bound=Apply)


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
    """

    def __init__(self, *flaws: Flaw) -> None:
        super().__init__(*flaws)
        self.flaws = flaws


@frozen
class Rule:
    """What becomes of a raw value for which one kind of type is wanted.

    Attributes:
        words: what people call such a type.
        apply: a function of the raw value and the type; returns the typed value or raises `Invalid`.
        of_text: how the text of a variable is read: as it is, as a TOML value, or whichever of the two suits.
    """

    words: Callable[[Any], str]
    apply: Apply
    of_text: str


_EXACT: Final[dict[object, Rule]] = {}
_MATCHING: Final[list[tuple[Callable[[Any], bool], Rule]]] = []


def rule(
    *kinds: object,
    when: Callable[[Any], bool] | None = None,
    words: str | Callable[[Any], str],
    of_text: str = "toml",
) -> Callable[[F], F]:
    """Make the decorated function the rule of ``kinds``, and of the types that ``when`` is true of."""

    def register(apply: F) -> F:
        entry = Rule((lambda _kind: words) if isinstance(words, str) else words, apply, of_text)
        _EXACT.update(dict.fromkeys(kinds, entry))
        if when is not None:
            _MATCHING.insert(0, (when, entry))
        return apply

    return register


def unwrap(kind: Any) -> Any:
    """Return the type inside ``Annotated``, ``NewType`` and the like.

    >>> unwrap(Annotated[int, "positive"])
    <class 'int'>
    """
    while True:
        if get_origin(kind) in (Annotated, Final, Required, NotRequired):
            kind = get_args(kind)[0]
        elif hasattr(kind, "__supertype__"):  # a NewType
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        elif len(members(kind)) == 1:  # TOML has no null: an optional value is one that can be left out
            (kind,) = members(kind)
        else:
            return kind


def members(kind: Any) -> list[Any]:
    """Return the types of a union, without ``None``; nothing for a type that is no union.

    >>> members(int | str | None)
    [<class 'int'>, <class 'str'>]
    """
    union = get_origin(kind) in (Union, UnionType)
    return [member for member in get_args(kind) if member is not NoneType] if union else []


def rule_for(kind: object) -> Rule:
    """Return the rule of an unwrapped type.

    Raises:
        Invalid: there is none.
    """
    with suppress(TypeError):  # an annotation can be anything, also something that cannot be looked up
        if kind in _EXACT:
            return _EXACT[kind]
        for when, entry in _MATCHING:
            if when(kind):
                return entry
    name = getattr(kind, "__qualname__", str(kind))
    raise Invalid(
        Flaw("", f"the plugin wants a {name} here, which a configuration cannot give; its author can add a converter")
    )


def structure(kind: object, value: object) -> object:
    """Return the raw ``value`` as the type ``kind``.

    Raises:
        Invalid: it is not of that type.

    >>> structure(float, 3)
    3.0
    """
    kind = unwrap(kind)
    found = rule_for(kind)
    if not isinstance(value, EnvText):
        return found.apply(value, kind)
    if found.of_text == "as is":
        return found.apply(str(value), kind)
    try:
        return found.apply(value.parsed, kind)
    except Invalid as error:
        if found.of_text == "either":
            try:
                return found.apply(str(value), kind)
            except Invalid:
                pass
        raise Invalid(*(evolve(flaw, variable=value.variable) for flaw in error.flaws)) from None


def describe(kind: object) -> str:
    """Return what people call a type, in the words of TOML.

    >>> import fsm_plugins.config.compound
    >>> describe(int), describe(list[str]), describe(int | None)
    ('an integer', 'an array', 'an integer')
    """
    kind = unwrap(kind)
    try:
        return rule_for(kind).words(kind)
    except Invalid:
        return str(getattr(kind, "__qualname__", kind))


def expected(kind: object, value: object) -> Invalid:
    """Return the error for a value that is not of ``kind``."""
    return Invalid(Flaw("", f"expected {describe(kind)}, got {show(value)}"))


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


# Simple values. The type of a raw value is compared exactly: a bool is no integer, and a date and time is no date.


@rule(bool, words="true or false")
@rule(int, words="an integer")
@rule(datetime, words="a date and time")
@rule(date, words="a date")
@rule(time, words="a time")
@rule(str, words="a string", of_text="as is")
def _as_it_is(value: object, kind: type) -> object:
    if type(value) is not kind:
        raise expected(kind, value)
    return value


@rule(object, Any, words="a value")
def _anything(value: object, _kind: object) -> object:
    return plain(value)


@rule(float, words="a number")
def _number(value: object, kind: type) -> float:
    if type(value) not in (int, float):
        raise expected(kind, value)
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        raise expected(kind, value) from None


@rule(timedelta, words="a number of seconds")
def _duration(value: object, kind: type) -> timedelta:
    if type(value) not in (int, float):
        raise expected(kind, value)
    try:
        return timedelta(seconds=value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        raise expected(kind, value) from None


@rule(Path, words="a path", of_text="as is")
def _path(value: object, kind: type) -> Path:
    if type(value) is not str:
        raise expected(kind, value)
    return Path(value)
