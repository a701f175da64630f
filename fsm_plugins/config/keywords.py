"""Tables -> keyword arguments, and with them the classes inside settings.

What cattrs makes of a class with fields falls short here: it resolves every annotation, also of what is not given; it
runs the validators only if all else is right, and up to the first that refuses; and it keeps nothing of what is sound.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import attrs
from attrs import evolve

from fsm_plugins.config.converter import describe, hook, origin, structure
from fsm_plugins.config.environment import EnvKey, EnvText, find_key, plain
from fsm_plugins.config.flaws import Flaw, Invalid, expected, flaws_in
from fsm_plugins.config.parameters import Parameter, Parameters, parameters_of
from fsm_plugins.errors import suggestion

__all__ = ["structure_keywords"]


@hook(
    lambda kind: attrs.has(origin(kind)) or dataclasses.is_dataclass(origin(kind)) or typing.is_typeddict(origin(kind))
)
def _class(value: object, kind: object) -> object:
    if not isinstance(value, dict):
        raise expected("a table", value)
    values, flaws = structure_keywords(parameters_of(origin(kind)), value)
    if flaws:
        raise Invalid(*flaws)
    return origin(kind)(**values)


def structure_keywords(parameters: Parameters, raw: Mapping[str, object]) -> tuple[dict[str, object], list[Flaw]]:
    """Return what is sound of ``raw`` as values for ``parameters``, and all that is not, in the order of ``raw``."""
    named = parameters.named
    values: dict[str, object] = {}
    keys: dict[str, str] = {}
    flaws: dict[str, Iterable[Flaw]] = {}
    for key, value in raw.items():
        # A key from the environment need not be spelled as the parameter is.
        name = (isinstance(key, EnvKey) and key not in named and find_key(key, named)) or str(key)
        keys[name] = key
        if name not in named and not parameters.open:
            flaws[key] = [_unknown(key, value, named)]
            continue
        try:
            values[name] = structure(value, named[name].type) if name in named else plain(value)
        except Exception as error:
            flaws[key] = [flaw.below(key) for flaw in flaws_in(error)]
    for name, refusal in _refusals(named, values).items():
        key, value = keys[name], raw[keys[name]]
        variable = value.variable if isinstance(value, EnvText) else ""
        flaws[key] = [evolve(flaw, variable=variable).below(key) for flaw in flaws_in(refusal)]
        del values[name]
    missing = [_missing(parameter) for name, parameter in named.items() if parameter.required and name not in keys]
    return values, [*(flaw for key in raw for flaw in flaws.get(key, ())), *missing]


def _unknown(key: str, value: object, named: Mapping[str, Parameter]) -> Flaw:
    hint = suggestion(key, named) or (f"; there are: {', '.join(named)}" if named else "; there are none here")
    variable = getattr(key, "variable", "") or getattr(value, "variable", "")
    if variable:
        return Flaw("", f"unknown key {str(key)!r}{hint}", variable)
    return Flaw("", f"unknown key{hint}").below(key)


def _missing(parameter: Parameter) -> Flaw:
    what = "missing"
    with suppress(Invalid):
        what += f"; expected {describe(parameter.type)}"
    return Flaw("", what).below(parameter.name)


_FACTORY: Any = attrs.Factory  # its stub says that it is a function


def _refusals(named: Mapping[str, Parameter], values: Mapping[str, object]) -> dict[str, Exception]:
    """Return what the converters and validators of attrs fields raise for the values, by their names.

    They run here one by one, because attrs runs them only when every field has a value, and stops at the first refusal.
    A validator that looks at more of the instance than there is yet has no say: it runs when the instance is made.
    """
    refusals: dict[str, Exception] = {}
    instance = SimpleNamespace()
    fields = [(name, parameter.field) for name, parameter in named.items() if parameter.field is not None]
    for name, field in fields:
        converter: Any = field.converter
        if name not in values:
            if not isinstance(field.default, _FACTORY) and field.default is not attrs.NOTHING:
                setattr(instance, field.name, field.default)
        elif not (getattr(converter, "takes_self", False) or getattr(converter, "takes_field", False)):
            convert = getattr(converter, "converter", converter)
            try:
                setattr(instance, field.name, convert(values[name]) if convert is not None else values[name])
            except Exception as error:
                refusals[name] = error
    for name, field in fields:
        if name in values and field.validator is not None and hasattr(instance, field.name):
            try:
                field.validator(instance, field, getattr(instance, field.name))
            except AttributeError:
                continue
            except Exception as error:
                refusals[name] = error
    return refusals
