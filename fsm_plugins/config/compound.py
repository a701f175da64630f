"""The strict rules of arrays, tables, choices and classes; see `strict`."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import attrs

from fsm_plugins.config.environment import EnvKey, EnvText, find_key, plain
from fsm_plugins.config.parameters import Parameter, Parameters, Unresolvable, parameters_of
from fsm_plugins.config.strict import Flaw, Invalid, describe, expected, members, rule, show, structure
from fsm_plugins.errors import suggestion

__all__ = ["structure_keywords"]

# Arrays and tables.

_ARRAYS: dict[object, Callable[[Iterable[object]], object]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
}
_TABLES = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _origin(kind: object) -> object:
    return get_origin(kind) or kind


def _items(pairs: Iterable[tuple[object, object]]) -> list[object]:
    """Return the items of an array, given as pairs of a type and a raw value."""
    items, flaws = [], []
    for index, (kind, value) in enumerate(pairs):
        try:
            items.append(structure(kind, value))
        except Invalid as error:
            flaws += [flaw.below(index) for flaw in error.flaws]
    if flaws:
        raise Invalid(*flaws)
    return items


@rule(when=lambda kind: _origin(kind) in _ARRAYS, words="an array")
def _array(value: object, kind: object) -> object:
    if not isinstance(value, list):
        raise expected(kind, value)
    (item,) = get_args(kind) or (object,)
    items = _items((item, each) for each in value)
    try:
        return _ARRAYS[_origin(kind)](items)
    except TypeError:
        raise Invalid(Flaw("", "expected an array of simple values, since they make up a set")) from None


@rule(when=lambda kind: _origin(kind) is tuple, words="an array")
def _tuple(value: object, kind: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise expected(kind, value)
    kinds = get_args(kind) or ((object, ...) if kind in (tuple, typing.Tuple) else ())  # noqa: UP006
    if kinds[1:] == (...,):
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise Invalid(Flaw("", f"expected an array of {len(kinds)}, got one of {len(value)}"))
    return tuple(_items(zip(kinds, value, strict=True)))


@rule(when=lambda kind: _origin(kind) in _TABLES, words="a table")
def _table(value: object, kind: object) -> dict[object, object]:
    if not isinstance(value, dict):
        raise expected(kind, value)
    key_kind, item_kind = get_args(kind) or (str, object)
    table, flaws = {}, []
    for key, item in value.items():
        try:
            name = structure(key_kind, str(key))
            table[name] = structure(item_kind, item)
        except Invalid as error:
            flaws += [flaw.below(key) for flaw in error.flaws]
    if flaws:
        raise Invalid(*flaws)
    return table


# Choices.


def _choices(kind: Any) -> list[tuple[object, object]]:
    """Return what can be chosen, as pairs of the raw value and what it stands for."""
    if get_origin(kind) is Literal:
        return [(choice.value if isinstance(choice, Enum) else choice, choice) for choice in get_args(kind)]
    return [(member.value, member) for member in kind]


def _words_for_choices(kind: object) -> str:
    return _either(show(raw) for raw, _ in _choices(kind) if raw is not None)


def _either(words: Iterable[str]) -> str:
    *others, last = dict.fromkeys(words) or ["nothing at all"]
    return f"{', '.join(others)} or {last}" if others else last


@rule(
    when=lambda kind: get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum)),
    words=_words_for_choices,
    of_text="either",
)
def _choice(value: object, kind: object) -> object:
    choices = _choices(kind)
    for raw, choice in choices:
        if type(raw) is type(value) and raw == value:
            return choice
    hint = suggestion(value, [raw for raw, _ in choices if isinstance(raw, str)]) if isinstance(value, str) else ""
    raise Invalid(Flaw("", f"expected {describe(kind)}, got {show(value)}{hint}"))


def _words_for_union(kind: object) -> str:
    return _either(describe(member) for member in members(kind))


@rule(when=lambda kind: len(members(kind)) > 1, words=_words_for_union, of_text="either")
def _union(value: object, kind: object) -> object:
    refusals = []
    # An integer is also a number, and must stay what it is.
    for member in sorted(members(kind), key=lambda member: member is float):
        try:
            return structure(member, value)
        except Invalid as error:
            refusals.append(error)
    # If the value suits one of them but for something inside, that is what is wrong.
    nearest = [error for error in refusals if all(flaw.path for flaw in error.flaws)]
    raise nearest[0] if len(nearest) == 1 else expected(kind, value)


# Classes.


def _is_class_with_fields(kind: object) -> bool:
    kind = _origin(kind)
    return isinstance(kind, type) and (attrs.has(kind) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind))


@rule(when=_is_class_with_fields, words="a table")
def _class(value: object, kind: object) -> object:
    if not isinstance(value, dict):
        raise expected(kind, value)
    cls: Any = _origin(kind)
    values, flaws = structure_keywords(parameters_of(cls), value)
    if flaws:
        raise Invalid(*flaws)
    try:
        return cls(**values)
    except Exception as error:
        raise Invalid(Flaw("", _text(error))) from error


def structure_keywords(parameters: Parameters, raw: Mapping[str, object]) -> tuple[dict[str, object], list[Flaw]]:
    """Return what is sound of ``raw`` as values for ``parameters``, and all that is not, in the order of ``raw``."""
    values: dict[str, object] = {}
    flaws: dict[str, list[Flaw]] = {key: [] for key in raw}
    keys: dict[str, str] = {}
    for key, value in raw.items():
        name = _name(parameters, key)
        keys[name] = key
        if name in parameters.named:
            try:
                values[name] = structure(parameters.named[name].type, value)
            except Unresolvable as error:
                flaws[key] = [Flaw("", f"what type it has to be cannot be found out: {error}").below(key)]
            except Invalid as error:
                flaws[key] = [flaw.below(key) for flaw in error.flaws]
        elif parameters.open:
            values[name] = plain(value)
        else:
            flaws[key] = [_unknown(key, value, parameters)]
    for name, problem in _rejected(parameters.named, values):
        key = keys[name]
        value = raw[key]
        flaw = Flaw("", problem, value.variable if isinstance(value, EnvText) else "").below(key)
        flaws[key].append(flaw)
        del values[name]
    missing = [
        Flaw("", _missing(parameter)).below(name)
        for name, parameter in parameters.named.items()
        if parameter.required and name not in keys
    ]
    return values, [flaw for found in flaws.values() for flaw in found] + missing


def _name(parameters: Parameters, key: str) -> str:
    """Return the parameter that a key is for. A key from the environment need not be spelled as the parameter is."""
    found = find_key(key, parameters.named) if isinstance(key, EnvKey) and key not in parameters.named else None
    return found or str(key)


def _unknown(key: str, value: object, parameters: Parameters) -> Flaw:
    known = parameters.named
    hint = suggestion(key, known) or (f"; there are: {', '.join(known)}" if known else "; there are none here")
    variable = getattr(key, "variable", "") or getattr(value, "variable", "")
    if variable:
        return Flaw("", f"unknown key {str(key)!r}{hint}", variable)
    return Flaw("", f"unknown key{hint}").below(key)


def _missing(parameter: Parameter) -> str:
    try:
        return f"missing; expected {describe(parameter.type)}"
    except Unresolvable:
        return "missing"


def _rejected(named: Mapping[str, Parameter], values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the names of the values that the converters and validators of their attrs fields refuse, and why.

    They run here one by one, because attrs runs them only when every field has a value, and stops at the first refusal.
    A validator that looks at more of the instance than there is yet has no say: it runs when the instance is made.
    """
    rejected: dict[str, str] = {}
    instance = SimpleNamespace()
    fields = [(name, parameter.field) for name, parameter in named.items() if parameter.field is not None]
    for name, field in fields:
        try:
            if name not in values:
                if not isinstance(field.default, _FACTORY) and field.default is not attrs.NOTHING:
                    setattr(instance, field.name, field.default)
            elif _takes_value_only(field.converter):
                setattr(instance, field.name, _converted(field.converter, values[name]))
        except Exception as error:
            rejected[name] = _text(error)
    for name, field in fields:
        if name in values and field.validator is not None and hasattr(instance, field.name):
            try:
                field.validator(instance, field, getattr(instance, field.name))
            except AttributeError:
                continue
            except Exception as error:
                rejected[name] = _text(error)
    return list(rejected.items())


_FACTORY: Any = attrs.Factory  # its stub says that it is a function


def _takes_value_only(converter: object) -> bool:
    return not (getattr(converter, "takes_self", False) or getattr(converter, "takes_field", False))


def _converted(converter: Any, value: object) -> object:
    return getattr(converter, "converter", converter)(value) if converter is not None else value


def _text(error: Exception) -> str:
    """Return what an exception says. Those of attrs carry the field and more behind the text."""
    if len(error.args) > 1 and isinstance(error.args[1], attrs.Attribute):
        return str(error.args[0])
    text = str(error)
    if text and isinstance(error, ValueError | TypeError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
