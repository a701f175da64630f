"""Ports: the ends of channels that a plugin declares, and those that it holds.

A port is declared by an annotation on a field or on a parameter of the constructor: ``packets: Receiver[Packet]`` is an
input, ``alerts: Sender[Alert]`` an output. `ports_of` reads the declarations without making an instance. `handles`
finds the ends that an instance holds, declared or not.

Only what may be a port is resolved. A setting whose type cannot be had at run time is nobody's business here.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import InitVar
from functools import lru_cache
from typing import Any, ClassVar, Final, ForwardRef, Literal, get_args, get_origin, get_type_hints

from attrs import frozen

from fsm_plugins.channels import Receiver, Sender
from fsm_plugins.errors import DefinitionError
from fsm_plugins.message_types import accepts, bases_of, is_union, substitute, type_name

__all__ = ["Port", "accepts", "handles", "keywords_of", "ports_of", "type_name"]

_ENDS: Final = (Sender, Receiver)  # a tuple is looked through faster than a union


@frozen
class Port:
    """One end of a channel that a plugin asks for.

    Attributes:
        name: the keyword the constructor takes it by, or the field where it takes none.
        direction: ``input`` for a `Receiver`, ``output`` for a `Sender`.
        type: of the messages; ``Any`` where the annotation does not say.
        optional: whether None will do, as ``Receiver[T] | None`` says.

    >>> print(Port("alerts", "output", str, optional=True))
    alerts: Sender[str] | None
    """

    name: str
    direction: Literal["input", "output"]
    type: object
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.annotation}{' | None' if self.optional else ''}"

    @property
    def annotation(self) -> str:
        """The annotation of a port that is not optional: ``Receiver[Packet]``."""
        return f"{'Receiver' if self.direction == 'input' else 'Sender'}[{type_name(self.type)}]"


def ports_of(factory: Callable[..., object]) -> tuple[Port, ...]:
    """Return the ports of what ``factory`` makes: of a plugin class, or of a function that returns a plugin.

    Those of base classes come first, each group as it was declared. A class that writes an ``__init__`` with ports
    among its parameters has declared all its ports there, and the annotations in its body are for the type checker.

    Raises:
        DefinitionError: the annotation of a port names something that cannot be found at run time, or is a union of
            ports.

    >>> class Copier:
    ...     source: Receiver[int]
    ...     copies: Sender[int]
    ...     trace: Sender[str] | None
    >>> print(*ports_of(Copier), sep=", ")
    source: Receiver[int], copies: Sender[int], trace: Sender[str] | None
    """
    if isinstance(factory, functools.partial):
        return tuple(port for port in ports_of(factory.func) if port.name not in factory.keywords)
    origin = get_origin(factory) or factory
    if isinstance(origin, type):
        return _ports_of_class(origin, get_args(factory))
    function = _function(factory)
    return tuple(_ports_of_parameters(function, type_name(function), {}))


def keywords_of(factory: Callable[..., object]) -> frozenset[str]:
    """Return the keywords that ``factory`` names among its parameters, or hands on to a base class that names them.

    >>> sorted(keywords_of(lambda packets, *, name: None))
    ['name', 'packets']
    """
    if isinstance(factory, functools.partial):
        return keywords_of(factory.func)
    origin = get_origin(factory) or factory
    if not isinstance(origin, type):
        return frozenset(_parameters(_function(factory)))
    named: set[str] = set()
    for cls in origin.__mro__:
        init = vars(cls).get("__init__")
        if isinstance(init, types.FunctionType):
            named.update(_parameters(init))
            if not init.__code__.co_flags & inspect.CO_VARKEYWORDS:
                break
    return frozenset(named - {"self"})


# How classes declare ports.


@lru_cache(maxsize=256)
def _ports_of_class(cls: type, arguments: tuple[object, ...]) -> tuple[Port, ...]:
    known = bases_of(cls, dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False)))
    found: dict[str, Port | None] = {}
    for base in reversed(cls.__mro__):
        values = known.get(base, {})
        init = vars(base).get("__init__")
        if isinstance(init, types.FunctionType) and not _is_generated(base, init):
            taken = _ports_of_parameters(init, type_name(base), values)
            if taken:
                found = {port.name: port for port in taken}
                continue
        for field, annotation in _annotations(base).items():
            found[_keyword(cls, field)] = _port(
                _keyword(cls, field), annotation, f"{type_name(base)}.{field}", _names(base), values
            )
    return tuple(port for port in found.values() if port is not None)


def _is_generated(cls: type, init: types.FunctionType) -> bool:
    """Whether ``init`` was written by attrs or dataclasses, from the fields."""
    if "__dataclass_fields__" in vars(cls):
        return init.__code__.co_filename == "<string>"
    return "__attrs_attrs__" in vars(cls) and init.__code__.co_filename.startswith("<attrs generated")


def _annotations(cls: type) -> dict[str, object]:
    """Return what the body of ``cls`` annotates, and what it gives to attrs without an annotation."""
    own = dict(_own_annotations(cls))
    for attribute in vars(cls).get("__attrs_attrs__", ()):
        if not attribute.inherited and attribute.type is not None:
            own.setdefault(attribute.name, attribute.type)
    return own


if sys.version_info >= (3, 14):
    import annotationlib

    def _own_annotations(thing: type | types.FunctionType) -> Mapping[str, object]:
        return annotationlib.get_annotations(thing, format=annotationlib.Format.FORWARDREF)

else:

    def _own_annotations(thing: type | types.FunctionType) -> Mapping[str, object]:
        return inspect.get_annotations(thing)


def _keyword(cls: type, field: str) -> str:
    """Return the keyword that the constructor takes a field by: attrs takes ``_packets`` as ``packets``."""
    for attribute in getattr(cls, "__attrs_attrs__", ()):
        if attribute.name == field and attribute.init:
            return str(attribute.alias)
    return field


def _function(factory: Callable[..., object]) -> types.FunctionType:
    """Return the function that runs when ``factory`` is called."""
    function = inspect.unwrap(factory)
    if isinstance(function, types.MethodType):
        function = function.__func__
    if not isinstance(function, types.FunctionType):
        function = getattr(type(function), "__call__", None)  # noqa: B004 - the method, which is then looked at
    if not isinstance(function, types.FunctionType):
        raise DefinitionError(f"{factory!r} is neither a class nor a function, so its ports cannot be found")
    return function


def _parameters(function: types.FunctionType) -> tuple[str, ...]:
    """Return the names of the parameters that can be given by keyword, and of ``self``."""
    code = function.__code__
    return code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]


def _ports_of_parameters(function: types.FunctionType, owner: str, values: Mapping[object, object]) -> list[Port]:
    annotations = _own_annotations(function)
    names = {**function.__globals__, **{one.__name__: one for one in getattr(function, "__type_params__", ())}}
    ports = [
        _port(name, annotations[name], f"parameter {name!r} of {owner}", names, values)
        for name in _parameters(function)
        if name in annotations
    ]
    return [port for port in ports if port is not None]


def _names(cls: type) -> dict[str, object]:
    """Return the names that an annotation in the body of ``cls`` can use."""
    module = sys.modules.get(cls.__module__)
    parameters = {one.__name__: one for one in getattr(cls, "__type_params__", ())}
    # The module comes before the body, as in typing.get_type_hints: a field may be called like the type of another one.
    return {**vars(cls), **(vars(module) if module else {}), **parameters}


# What annotations mean.


def _port(
    name: str, annotation: object, where: str, names: dict[str, object], values: Mapping[object, object]
) -> Port | None:
    """Return the port that one annotation declares, if it does."""
    try:
        meant = _resolve(annotation, names)
    except Exception as error:
        if not _looks_like_port(annotation, names):
            return None
        text = annotation if isinstance(annotation, str) else type_name(annotation)
        raise DefinitionError(
            f"{where}: the annotation {text!r} cannot be resolved: {error}; import what it names at the top of its "
            "module and not under 'if TYPE_CHECKING:', and define classes of messages outside functions"
        ) from error
    members = get_args(meant) if is_union(meant) else (meant,)
    ends = [member for member in members if member is not types.NoneType]
    kinds = [get_origin(end) or end for end in ends]
    if not any(isinstance(kind, type) and issubclass(kind, Sender | Receiver) for kind in kinds):
        return None
    if len(ends) > 1:
        raise DefinitionError(
            f"{where}: a port is one Sender or one Receiver, or either of them | None, not {type_name(meant)}; "
            "for messages of several types write Receiver[A | B]"
        )
    direction: Literal["input", "output"] = "input" if issubclass(kinds[0], Receiver) else "output"
    arguments = get_args(ends[0])
    carried = substitute(arguments[0], values) if arguments else Any
    return Port(name, direction, carried, optional=len(members) > 1)


def _resolve(annotation: object, names: dict[str, object]) -> object:
    """Return the type that an annotation means. Raises whatever looking it up raises."""
    if isinstance(annotation, InitVar):
        annotation = annotation.type
    holder = type("_Holder", (), {"__annotations__": {"it": annotation}})
    meant: object = get_type_hints(holder, names, names)["it"]
    if isinstance(meant, InitVar):
        meant = meant.type
    if get_origin(meant) is Final:
        (meant,) = get_args(meant)
    return None if meant is ClassVar or get_origin(meant) is ClassVar else meant


def _looks_like_port(annotation: object, names: Mapping[str, object]) -> bool:
    """Whether an annotation that cannot be resolved was meant as a port, as far as its text tells."""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        parts = (annotation, get_origin(annotation), *get_args(annotation))
        return any(isinstance(part, type) and issubclass(part, Sender | Receiver) for part in parts) or any(
            _looks_like_port(part, names) for part in get_args(annotation)
        )
    try:
        tree = ast.parse(annotation.strip(), mode="eval")
    except SyntaxError:
        return False
    used = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    if "ClassVar" in used:
        return False
    used += [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return any(
        word in ("Sender", "Receiver") or names.get(word) is Sender or names.get(word) is Receiver for word in used
    )


# What an instance holds.


def handles(plugin: object) -> list[Sender[object] | Receiver[object]]:
    """Return the channel ends among the attributes of ``plugin``, declared as ports or not."""
    values = [getattr(plugin, slot, None) for slot in _slots(type(plugin))]  # type: ignore[arg-type] # mypy errs here
    values += getattr(plugin, "__dict__", {}).values()
    return [value for value in values if isinstance(value, _ENDS)]


@lru_cache(maxsize=1024)
def _slots(cls: type) -> tuple[str, ...]:
    """Return the attributes that instances of ``cls`` keep in slots."""
    found: dict[str, None] = {}
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot.startswith("__") and not slot.endswith("__"):  # a private name is mangled with its class
                slot = f"_{base.__name__.lstrip('_')}{slot}"
            if slot not in ("__dict__", "__weakref__"):
                found[slot] = None
    return tuple(found)
