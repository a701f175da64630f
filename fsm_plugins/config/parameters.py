"""What a class or a function can be given by keyword: the names, the types, and what is required.

Annotations are resolved one at a time, and only when a value is wanted for them: a plugin may import the types of its
messages under ``TYPE_CHECKING``, and its settings can be checked all the same.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress

import attrs
from attrs import Attribute, evolve, frozen

if sys.version_info >= (3, 14):
    import annotationlib

__all__ = ["Parameter", "Parameters", "Unresolvable", "parameters_of"]

_NONE_GIVEN = inspect.Parameter.empty


class Unresolvable(Exception):
    """An annotation that cannot be resolved. The text says why."""


@frozen
class Parameter:
    """One thing to be given by keyword.

    Attributes:
        name: the keyword.
        annotation: its type as it was found, perhaps a string; None for none.
        required: whether there is no default.
        owner: the class or function that declares it.
        field: the attrs field it is for, if it is for one.
    """

    name: str
    annotation: object = None
    required: bool = False
    owner: object = None
    field: Attribute[object] | None = None

    @property
    def type(self) -> object:
        """The resolved type; ``object`` if there is no annotation.

        Raises:
            Unresolvable: the annotation names something that its module does not have.
        """
        if self.annotation is None:
            return object

        def holder() -> None: ...

        holder.__annotations__ = {"x": self.annotation}
        outer, inner = _namespaces(self.owner)
        try:
            # In this order the names of the module come before those of the class, as in typing.get_type_hints(cls):
            # the field `date: date` does not hide its own type.
            found: object = typing.get_type_hints(holder, inner, outer, include_extras=True)["x"]
        except Exception as error:
            raise Unresolvable(
                f"{error}; import it where {_place(self.owner)} is defined, and not under TYPE_CHECKING"
            ) from error
        return found.type if isinstance(found, dataclasses.InitVar) else found


@frozen
class Parameters:
    """Everything that can be given by keyword.

    Attributes:
        named: the parameters by name.
        open: whether any other keyword is taken, too.
    """

    named: Mapping[str, Parameter]
    open: bool = False


def parameters_of(factory: Callable[..., object]) -> Parameters:
    """Return what a class (attrs, dataclass, ``TypedDict`` or plain) or another callable can be given by keyword.

    Raises:
        ValueError: the callable does not say what it takes.

    >>> def clock(interval: float = 1.0, **more: object) -> None: ...
    >>> found = parameters_of(clock)
    >>> [(p.name, p.type, p.required) for p in found.named.values()], found.open
    ([('interval', <class 'float'>, False)], True)
    """
    if not isinstance(factory, type):
        return _of_signature(factory, factory, None)
    if typing.is_typeddict(factory):
        return _of_typed_dict(factory)
    owner = next(cls for cls in factory.__mro__ if "__init__" in vars(cls))
    if "__attrs_attrs__" in vars(owner) and "__attrs_init__" not in vars(owner):  # attrs has made this __init__
        found = [_of_field(factory, field) for field in attrs.fields(owner) if field.init]
        return Parameters({parameter.name: parameter for parameter in found})
    init = vars(owner)["__init__"]
    return _of_signature(init, init, factory)


def _of_field(cls: type, field: Attribute[object]) -> Parameter:
    name, required = field.alias or field.name, field.default is attrs.NOTHING
    converter = getattr(field.converter, "converter", field.converter)
    taken = next(iter(_own_annotations(converter).items()), None) if inspect.isfunction(converter) else None
    if taken is not None and taken[0] != "return":  # the field is given what its converter takes
        return Parameter(name, taken[1], required, converter, field)
    return Parameter(name, field.type, required, _declarer(cls, field.name), field)


def _of_signature(function: Callable[..., object], owner: object, cls: type | None) -> Parameters:
    """Read a signature. With ``cls``, it is that of an ``__init__``, whose first parameter is the instance."""
    if sys.version_info >= (3, 14):
        signature = inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    else:
        signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[0 if cls is None else 1 :]
    fields = dataclasses.is_dataclass(cls)
    named = {
        p.name: Parameter(
            p.name,
            None if p.annotation is _NONE_GIVEN else p.annotation,
            p.default is _NONE_GIVEN,
            _declarer(cls, p.name) if cls is not None and fields else owner,
        )
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    return Parameters(named, open=any(p.kind is p.VAR_KEYWORD for p in parameters))


def _of_typed_dict(cls: type) -> Parameters:
    # Python does not see a Required or NotRequired that is inside a string.
    required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
    named = {}
    for key, annotation in _own_annotations(cls).items():
        named[key] = parameter = Parameter(key, annotation, owner=cls)
        with suppress(Unresolvable):
            origin = typing.get_origin(parameter.type)
            named[key] = evolve(
                parameter, required=origin is typing.Required or (key in required and origin is not typing.NotRequired)
            )
    return Parameters(named)


def _declarer(cls: type, name: str) -> type:
    """Return the class that annotates the field ``name``: its module has the names in the annotation."""
    return next((base for base in cls.__mro__ if name in _own_annotations(base)), cls)


def _own_annotations(owner: object) -> Mapping[str, object]:
    if sys.version_info >= (3, 14):
        return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
    found = vars(owner).get("__annotations__") if isinstance(owner, type) else getattr(owner, "__annotations__", None)
    return found or {}


def _namespaces(owner: object) -> tuple[dict[str, object], dict[str, object]]:
    """Return the names of the module of ``owner``, and those of the class itself."""
    if isinstance(owner, type):
        module = sys.modules.get(owner.__module__)
        return dict(vars(module)) if module else {}, dict(vars(owner))
    while isinstance(owner, functools.partial):
        owner = owner.func
    if not callable(owner):
        return {}, {}
    function = inspect.unwrap(owner)
    if not hasattr(function, "__globals__"):
        function = type(function).__call__
    return dict(getattr(function, "__globals__", {})), {}


def _place(owner: object) -> str:
    return f"{getattr(owner, '__module__', '?')}.{getattr(owner, '__qualname__', type(owner).__qualname__)}"
