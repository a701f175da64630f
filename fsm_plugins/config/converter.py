"""Raw values -> typed values, strictly: nothing is coerced, and everything that is wrong is found at once.

cattrs sees through aliases and the like, goes through arrays and tables, and collects what is wrong with their items.
The hooks here make it strict, where it would call ``int("3")`` or take a string for a list of letters. The table of
types is closed: what has no hook here is refused, whatever cattrs could make of it.

The text of an environment variable is read as the type that is wanted of it, and its flaws name the variable.

What a path is relative to depends on who wrote it: the directory of the file for one in the file, the working directory
for one in a variable. `paths_from` says which file is being read.
"""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import date, datetime, time, timedelta
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NotRequired, Required, Union, get_args, get_origin

from attrs import evolve, frozen
from cattrs import Converter
from cattrs.cols import list_structure_factory, mapping_structure_factory

from fsm_plugins.config.environment import EnvKey, EnvText, plain
from fsm_plugins.config.flaws import Flaw, Invalid, either, expected, flaws_in, show
from fsm_plugins.errors import suggestion

__all__ = ["Check", "RawTable", "describe", "hook", "origin", "paths_from", "structure"]

Structure = Callable[[Any, Any], Any]

_NEVER: Final = object()  # no value of any type

# The directory that paths are relative to; without one they stay as they are written.
_DIRECTORY: Final[ContextVar[Path | None]] = ContextVar("_DIRECTORY", default=None)


@contextmanager
def paths_from(directory: Path | None) -> Iterator[None]:
    """Take relative paths from ``directory`` in this block, and those of variables from the working directory.

    >>> with paths_from(Path("/etc/app")):
    ...     structure(["rules", "/opt/rules"], list[Path])
    [PosixPath('/etc/app/rules'), PosixPath('/opt/rules')]
    >>> structure("rules", Path)
    PosixPath('rules')
    """
    token = _DIRECTORY.set(directory)
    try:
        yield
    finally:
        _DIRECTORY.reset(token)


def structure(value: object, kind: object) -> object:
    """Return the raw ``value`` as the type ``kind``.

    Raises:
        Exception: it is not of that type; `flaws_in` has what is wrong.

    >>> structure(3, float)
    3.0
    """
    try:
        found = _CONVERTER.get_structure_hook(kind)
    except TypeError:  # an annotation can be anything, also something that cannot be looked up
        found = _refuse
    return found(value, kind)


def describe(kind: object) -> str:
    """Return what people call a type, in the words of TOML.

    >>> describe(int), describe(list[str]), describe(int | None)
    ('an integer', 'an array', 'an integer')
    """
    try:
        structure(_NEVER, kind)
    except Invalid as error:
        return error.wanted
    return "a value"


def hook(when: Callable[[Any], bool]) -> Callable[[Structure], Structure]:
    """Make the decorated function what structures the types that ``when`` is true of, before those further up."""

    def register(function: Structure) -> Structure:
        reading = _reading_text(function)
        _CONVERTER.register_structure_hook_func(when, reading)
        return reading

    return register


def _reading_text(function: Structure) -> Structure:
    """Return the hook that reads the text of a variable as what suits: a TOML value, or else as it is."""

    def reading(value: object, kind: object) -> object:
        if not isinstance(value, EnvText):
            return function(str(value) if isinstance(value, EnvKey) else value, kind)
        with paths_from(None if _DIRECTORY.get() is None else Path.cwd()):
            return from_variable(value, kind)

    def from_variable(value: EnvText, kind: object) -> object:
        try:
            return function(str(value) if kind in (str, Path) else value.parsed, kind)
        except Exception as error:
            with suppress(Exception):
                return function(str(value), kind)
            raise Invalid(*(evolve(flaw, variable=value.variable) for flaw in flaws_in(error))) from None

    return reading


def _refuse(_value: object, kind: object) -> object:
    name = getattr(kind, "__qualname__", str(kind))
    what = f"the plugin wants a {name} here, which a configuration cannot give; its author can add a converter"
    raise Invalid(Flaw("", what), wanted=name)


_CONVERTER: Final = Converter(structure_fallback_factory=lambda _kind: _refuse)


def origin(kind: Any) -> Any:
    """Return the class that a type such as ``list[int]`` is of; a class is its own."""
    return get_origin(kind) or kind


_CONVERTER.register_structure_hook_func(
    lambda kind: isinstance(origin(kind), type) and origin(kind) not in (Annotated, Union, UnionType), _refuse
)


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("no path")  # an empty one would mean the directory itself
    return (_DIRECTORY.get() or Path()) / text


# Simple values: what people call the type, the exact types of raw values, and what makes the value of one. A bool is no
# integer, and a date and time is no date.
_SIMPLE: Final[dict[object, tuple[str, tuple[type, ...], Callable[[Any], object]]]] = {
    bool: ("true or false", (bool,), bool),
    int: ("an integer", (int,), int),
    float: ("a number", (int, float), float),
    str: ("a string", (str,), str),
    Path: ("a path", (str,), _path),
    datetime: ("a date and time", (datetime,), lambda value: value),
    date: ("a date", (date,), lambda value: value),
    time: ("a time", (time,), lambda value: value),
    timedelta: ("a number of seconds", (int, float), lambda value: timedelta(seconds=value)),
}


@hook(lambda kind: kind in _SIMPLE)
def _simple(value: object, kind: type) -> object:
    wanted, raw, make = _SIMPLE[kind]
    if type(value) in raw:
        with suppress(ValueError, OverflowError):
            return make(value)
    raise expected(wanted, value)


@hook(lambda kind: kind in (object, Any))
def _anything(value: object, _kind: object) -> object:
    return plain(value)


@hook(lambda kind: get_origin(kind) in (Required, NotRequired))
def _inside(value: object, kind: object) -> object:
    return structure(value, get_args(kind)[0])


@frozen
class Check:
    """What more than its type is wanted of a value: ``Annotated[int, Check("an even integer", is_even)]``.

    Attributes:
        wanted: what people call such a value.
        holds: whether a value of the type is one.
    """

    wanted: str
    holds: Callable[[Any], bool]


@hook(lambda kind: get_origin(kind) is Annotated and isinstance(kind.__metadata__[0], Check))
def _checked(value: object, kind: Any) -> object:
    check = kind.__metadata__[0]
    with suppress(Exception):
        found = structure(value, kind.__origin__)
        if check.holds(found):
            return found
    raise expected(check.wanted, value)


# Arrays and tables.

_ARRAYS: Final[dict[object, Callable[[Iterable[object]], object]]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
}
_TABLES: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class _Item:
    """The type of a raw value that comes with the type that is wanted of it."""


class _Entry:
    """The type of a key and an item of a table that each come with the type that is wanted of them."""


# Made once, for all types: it takes long, and cattrs would keep those for `str | Path` and use them for `Path | str`.
_CONVERTER.register_structure_hook(_Item, lambda item, _kind: structure(*item))
_CONVERTER.register_structure_hook(_Entry, lambda entry, _kind: tuple(structure(*part) for part in entry))
_structure_items: Final[Structure] = list_structure_factory(list[_Item], _CONVERTER)
_structure_entries: Final[Structure] = mapping_structure_factory(dict[object, _Entry], _CONVERTER)


@hook(lambda kind: origin(kind) in _ARRAYS)
def _array(value: object, kind: Any) -> object:
    if not isinstance(value, list):
        raise expected("an array", value)
    kinds = get_args(kind)
    if origin(kind) is not tuple or kind in (tuple, typing.Tuple):  # noqa: UP006
        kinds = (*(kinds or (object,)), ...)
    if kinds[1:] == (...,):
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise Invalid(Flaw("", f"expected an array of {len(kinds)}, got one of {len(value)}"))
    items = _structure_items(zip(value, kinds, strict=True), list)
    try:
        return _ARRAYS[origin(kind)](items)
    except TypeError:
        raise Invalid(Flaw("", "expected an array of simple values, since they make up a set")) from None


@hook(lambda kind: origin(kind) in _TABLES)
def _table(value: object, kind: object) -> object:
    if not isinstance(value, dict):
        raise expected("a table", value)
    key_kind, item_kind = get_args(kind) or (str, object)
    entries = {key: ((str(key), key_kind), (item, item_kind)) for key, item in value.items()}
    return dict(_structure_entries(entries, dict).values())


RawTable = Annotated[Mapping[str, object], "not read"]
"""The type of a table that somebody else reads; the texts in it stay marked."""


@hook(lambda kind: kind == RawTable)
def _raw_table(value: object, _kind: object) -> object:
    if not isinstance(value, dict):
        raise expected("a table", value)
    return value


# Choices.


@hook(lambda kind: get_origin(kind) is Literal or issubclass(kind, Enum))
def _choice(value: object, kind: Any) -> object:
    given = get_args(kind) or tuple(kind)
    choices = [(choice.value if isinstance(choice, Enum) else choice, choice) for choice in given]
    for raw, choice in choices:
        if type(raw) is type(value) and raw == value:
            return choice
    hint = suggestion(value, [raw for raw, _ in choices if isinstance(raw, str)]) if isinstance(value, str) else ""
    raise expected(either(show(raw) for raw, _ in choices if raw is not None), value, hint)


def _subclass(value: object, kind: type) -> object:
    return (_simple if kind in _SIMPLE else _choice if issubclass(kind, Enum) else _refuse)(value, kind)


for _base in (bytes, float, int, str, Enum, Path):
    # cattrs has hooks for these, which come before all others and are used for subclasses, too.
    _CONVERTER.register_structure_hook(_base, _subclass)


def _members(kind: object) -> list[object]:
    """Return the types of a union, without ``None``: TOML has none, and an optional value can be left out."""
    union = get_origin(kind) in (Union, UnionType)
    return [member for member in get_args(kind) if member is not NoneType] if union else []


@hook(lambda kind: len(_members(kind)) > 1)
def _union(value: object, kind: object) -> object:
    refusals = []
    # An integer is also a number, and must stay what it is.
    for member in sorted(_members(kind), key=lambda member: member is float):
        try:
            return structure(value, member)
        except Exception as error:
            refusals.append(list(flaws_in(error)))
    # If the value suits one of them but for something inside, that is what is wrong.
    nearest = [flaws for flaws in refusals if all(flaw.path for flaw in flaws)]
    if len(nearest) == 1:
        raise Invalid(*nearest[0])
    raise expected(either(map(describe, _members(kind))), value)
