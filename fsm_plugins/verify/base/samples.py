"""Messages for the input ports of a plugin that is tried: made up from the type of the port.

Each message is another one, so that it can be told whether a certain one has been lost.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import inspect
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, cast, get_args, get_origin

import attrs

__all__ = ["NoSample", "sample"]

_DEPTH = 6


class NoSample(Exception):
    """No message of this type can be made up."""


def sample(wanted: object, number: int, depth: int = 0) -> object:
    """Return the message of that number, of the type ``wanted``.

    Raises:
        NoSample: it is not known how.

    >>> sample(str, 1), sample(dict[str, int], 2), sample(tuple[int, str], 3)
    ('message-1', {'message-2': 1002}, (1003, 'message-3'))
    """
    if depth > _DEPTH:
        raise NoSample(f"{wanted!r} is nested too deeply")
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted in _SIMPLE:
        return _SIMPLE[wanted](number)
    if wanted is None or wanted is types.NoneType:
        return None
    if origin is Literal:
        return arguments[0]
    if origin is typing.Annotated:
        return sample(arguments[0], number, depth + 1)
    if origin in (Union, types.UnionType):
        return sample(next(a for a in arguments if a is not types.NoneType), number, depth + 1)
    kind = origin or wanted
    if isinstance(kind, type):
        return _instance(kind, arguments, number, depth)
    raise NoSample(f"{wanted!r} says too little")


_SIMPLE: dict[object, Any] = {
    Any: lambda number: f"message-{number}",
    object: lambda number: f"message-{number}",
    str: lambda number: f"message-{number}",
    bytes: lambda number: f"message-{number}".encode(),
    int: lambda number: 1000 + number,
    float: lambda number: 1000.5 + number,
    bool: lambda number: bool(number % 2),
    datetime.datetime: lambda number: (
        datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=number)
    ),
    datetime.timedelta: lambda number: datetime.timedelta(seconds=number),
    uuid.UUID: lambda number: uuid.UUID(int=number),
    pathlib.Path: lambda number: pathlib.Path(f"message-{number}"),
}


def _instance(kind: type, arguments: tuple[object, ...], number: int, depth: int) -> object:
    if issubclass(kind, enum.Enum):
        return list(kind)[number % len(kind)]
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _called(kind, number, depth)
    if kind in (tuple, list, set, frozenset) or kind in (Sequence,):
        if kind is tuple and arguments and arguments[-1] is not Ellipsis:
            return tuple(sample(argument, number, depth + 1) for argument in arguments)
        item = sample(arguments[0] if arguments else str, number, depth + 1)
        return [item] if kind is Sequence else cast("Callable[[list[object]], object]", kind)([item])
    if kind in (dict, Mapping):
        key, value = arguments or (str, str)
        return {sample(key, number, depth + 1): sample(value, number, depth + 1)}
    if inspect.isabstract(kind) or getattr(kind, "_is_protocol", False):
        raise NoSample(f"{kind.__qualname__} is abstract")
    return _called(kind, number, depth)


def _called(kind: type, number: int, depth: int) -> object:
    """Make an instance with made-up values for what it needs."""
    try:
        hints = typing.get_type_hints(vars(kind).get("__init__", kind))
        parameters = inspect.signature(kind).parameters.values()
        if attrs.has(kind) or dataclasses.is_dataclass(kind):
            hints = {**typing.get_type_hints(kind), **hints}
        values: dict[str, object] = {}
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise NoSample(f"{kind.__qualname__} takes positional arguments")
            if parameter.default is parameter.empty or hints.get(parameter.name) in (str, int):
                values[parameter.name] = sample(hints.get(parameter.name, object), number, depth + 1)
        return kind(**values)
    except NoSample:
        raise
    except Exception as error:
        raise NoSample(f"{kind.__qualname__} cannot be made: {error}") from error
