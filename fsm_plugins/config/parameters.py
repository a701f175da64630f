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
from typing import Any

import attrs
from attrs import Attribute, evolve, frozen

from fsm_plugins.config.flaws import Flaw, Invalid

if sys.version_info >= (3, 14):
    import annotationlib

__all__ = ["Parameter", "Parameters", "parameters_of"]


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
            Invalid: the annotation names something that its module does not have.
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
            place = f"{getattr(self.owner, '__module__', '?')}.{getattr(self.owner, '__qualname__', '?')}"
            remedy = f"import it where {place} is defined, and not under TYPE_CHECKING"
            raise Invalid(Flaw("", f"what type it has to be cannot be found out: {error}; {remedy}")) from error
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
    return _of_class(factory) if isinstance(factory, type) else _of_callable(factory, None)


@functools.lru_cache(maxsize=256)
def _of_class(cls: type) -> Parameters:
    if typing.is_typeddict(cls):
        return _of_typed_dict(cls)
    return _of_callable(cls.__init__, cls)  # type: ignore[misc]


def _of_callable(function: Any, cls: type | None) -> Parameters:
    """Return the parameters of a function, or of the ``__init__`` of a class without the instance."""
    if sys.version_info >= (3, 14):
        signature = inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    else:
        signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[0 if cls is None else 1 :]  # not the instance
    return Parameters(
        {
            p.name: _parameter(p, function, cls)
            for p in parameters
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        },
        open=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def _parameter(p: inspect.Parameter, function: object, cls: type | None) -> Parameter:
    annotation, owner, field = None if p.annotation is p.empty else p.annotation, function, None
    if cls is not None and dataclasses.is_dataclass(cls):
        owner = _declarer(cls, p.name)
    elif cls is not None and _made_by_attrs(cls):
        field = next(field for field in attrs.fields(cls) if field.alias == p.name)
        if field.converter is not None and annotation is not None:  # then it is what the converter takes
            owner = getattr(field.converter, "converter", field.converter)
        else:
            annotation, owner = field.type, _declarer(cls, field.name)
    return Parameter(p.name, annotation, p.default is p.empty, owner, field)


def _made_by_attrs(cls: type) -> bool:
    """Whether attrs has made the ``__init__`` of a class."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    return "__attrs_attrs__" in vars(owner) and "__attrs_init__" not in vars(owner)


def _of_typed_dict(cls: type) -> Parameters:
    # Python does not see a Required or NotRequired that is inside a string.
    required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
    named = {}
    for key, annotation in _own_annotations(cls).items():
        named[key] = parameter = Parameter(key, annotation, owner=cls)
        with suppress(Invalid):
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
