"""Types of messages at run time: may these be sent there, and what is such a type called.

A channel has a type at each end, as its ports are annotated. `accepts` compares the two when plugins are wired, since
the plugins were type-checked apart. It is lenient where nothing can be known, for a false alarm keeps an application
from starting, and strict where the annotations say enough.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    Never,
    NewType,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    is_typeddict,
)

__all__ = ["accepts", "bases_of", "is_union", "substitute", "type_name"]

_UNIONS = (Union, types.UnionType)


def accepts(consumer: object, producer: object) -> bool:
    """Return whether messages of the producer's type may be sent where the consumer's type is expected.

    ``Any`` fits anything; so does a type variable that nothing was put in for, within its bound or constraints. A
    subclass fits its base, a member fits a union, a ``NewType`` fits what it was made of, and arguments of generics are
    compared one by one, covariantly. An ``int`` is not a ``float``.

    >>> accepts(int | None, int), accepts(int, int | None)
    (True, False)
    >>> from collections.abc import Sequence
    >>> accepts(Sequence[object], list[str]), accepts(list[int], list[str])
    (True, False)
    """
    consumer, producer = _plain(consumer), _plain(producer)
    if consumer == producer or Any in (consumer, producer) or consumer is object or producer in (Never, NoReturn):
        return True
    # The producer comes first: whatever it may send must be accepted.
    if isinstance(producer, TypeVar):
        return all(accepts(consumer, limit) for limit in _limits(producer))
    if is_union(producer):
        return all(accepts(consumer, member) for member in get_args(producer))
    if get_origin(producer) is Literal and len(get_args(producer)) > 1:
        return all(accepts(consumer, Literal[value]) for value in get_args(producer))
    if isinstance(consumer, TypeVar):
        return any(accepts(limit, producer) for limit in _limits(consumer))
    if is_union(consumer):
        return any(accepts(member, producer) for member in get_args(consumer))
    if isinstance(producer, NewType):
        return accepts(consumer, producer.__supertype__)
    if get_origin(producer) is Literal:
        (value,) = get_args(producer)
        if get_origin(consumer) is Literal:
            return any(value == other and type(value) is type(other) for other in get_args(consumer))
        return accepts(consumer, type(value))
    return _generic_accepts(consumer, producer)


def _plain(tp: object) -> object:
    """Take off what does not change which messages are meant."""
    while True:
        if tp is None:
            return types.NoneType
        if get_origin(tp) is Annotated:
            tp = get_args(tp)[0]
        elif type(tp).__name__ == "TypeAliasType":  # the statement `type X = ...` of Python 3.12
            tp = getattr(tp, "__value__")  # noqa: B009
        else:
            return tp


def _limits(variable: TypeVar) -> tuple[object, ...]:
    """Return what a type variable that nothing was put in for may stand for."""
    if variable.__constraints__:
        return variable.__constraints__
    return (Any if variable.__bound__ is None else variable.__bound__,)


def is_union(tp: object) -> bool:
    """Whether ``tp`` is written ``A | B``, ``Union[A, B]`` or ``Optional[A]``."""
    return get_origin(tp) in _UNIONS


def _generic_accepts(consumer: object, producer: object) -> bool:
    """Compare two classes, with arguments or without."""
    wanted, sent = get_origin(consumer) or consumer, get_origin(producer) or producer
    if not (isinstance(wanted, type) and isinstance(sent, type)):
        return False
    if is_typeddict(wanted):
        return is_typeddict(sent) and wanted.__annotations__.items() <= sent.__annotations__.items()
    try:
        if not issubclass(sent, wanted):
            return False
    except TypeError:  # a protocol that cannot be checked at run time; the type checker has to be believed
        return True
    wanted_args, sent_args = get_args(consumer), get_args(producer)
    if sent is not wanted:
        sent_args = _seen_as(wanted, sent, producer) or sent_args
    if not (wanted_args and sent_args):
        return True
    if sent is tuple:
        return _tuple_accepts(wanted, wanted_args, sent_args)
    # A producer may have more arguments than the consumer asks for: a generator that is read as an iterator.
    return all(accepts(want, send) for want, send in zip(wanted_args, sent_args, strict=False))


def _seen_as(wanted: type, sent: type, producer: object) -> tuple[object, ...]:
    """Return the arguments of the base ``wanted`` of the class ``sent``, if it was declared with some."""
    parameters = getattr(sent, "__parameters__", ())
    given = dict(zip(parameters, get_args(producer), strict=False))
    found = bases_of(sent, given).get(wanted)
    return tuple(found.values()) if found else ()


def _tuple_accepts(wanted: type, wanted_args: tuple[object, ...], sent_args: tuple[object, ...]) -> bool:
    endless = len(sent_args) == 2 and sent_args[1] is Ellipsis
    members = sent_args[:1] if endless else sent_args
    if wanted is not tuple or (len(wanted_args) == 2 and wanted_args[1] is Ellipsis):
        return all(accepts(wanted_args[0], member) for member in members)
    if endless or len(wanted_args) != len(members):
        return False
    return all(accepts(want, send) for want, send in zip(wanted_args, members, strict=True))


def bases_of(cls: type, given: Mapping[object, object] | None = None) -> dict[type, dict[object, object]]:
    """Return, for ``cls`` and each of its generic bases, what its type variables stand for in ``cls``.

    Args:
        cls: the class.
        given: what the type variables of ``cls`` itself stand for.

    >>> from typing import Generic
    >>> T = TypeVar("T")
    >>> class Box(Generic[T]): ...
    >>> class IntBox(Box[int]): ...
    >>> bases_of(IntBox)[Box]
    {~T: <class 'int'>}
    """
    found: dict[type, dict[object, object]] = {}
    todo: list[tuple[type, Mapping[object, object]]] = [(cls, given or {})]
    while todo:
        one, known = todo.pop(0)
        if one in found and not known:
            continue
        found[one] = dict(known)
        for base in vars(one).get("__orig_bases__", one.__bases__):
            origin = get_origin(base) or base
            if not isinstance(origin, type):
                continue
            # `list` and its like do not say what their parameters are called; a number does as well.
            variables = getattr(origin, "__parameters__", None) or range(len(get_args(base)))
            values = (substitute(argument, known) for argument in get_args(base))
            todo.append((origin, dict(zip(variables, values, strict=False))))
    return found


def substitute(tp: object, known: Mapping[object, object]) -> object:
    """Return ``tp`` with its type variables replaced by what they stand for; unknown ones stay.

    >>> T = TypeVar("T")
    >>> substitute(dict[str, list[T]], {T: int})
    dict[str, list[int]]
    """
    if isinstance(tp, TypeVar):
        return known.get(tp, tp)
    parameters: tuple[object, ...] = getattr(tp, "__parameters__", ())
    if not parameters or isinstance(tp, type):
        return tp
    generic: Any = tp
    return generic[tuple(known.get(parameter, parameter) for parameter in parameters)]


def type_name(tp: object, *, qualified: bool = False) -> str:
    """Return a type as a person writes it.

    Args:
        tp: the type.
        qualified: with the modules of the classes, to tell two of the same name apart.

    >>> from collections.abc import Callable, Sequence
    >>> type_name(Sequence[int | None]), type_name(Callable[[int], str]), type_name(TypeVar("T"))
    ('Sequence[int | None]', 'Callable[[int], str]', 'T')
    """

    def name(part: object) -> str:
        return type_name(part, qualified=qualified)

    if tp is types.NoneType or tp is None:
        return "None"
    if isinstance(tp, str | ForwardRef):
        return tp if isinstance(tp, str) else tp.__forward_arg__
    if tp is Ellipsis:
        return "..."
    if isinstance(tp, list):
        return f"[{', '.join(map(name, tp))}]"
    origin, arguments = get_origin(tp), get_args(tp)
    if origin is Annotated:
        return name(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if is_union(tp):
        return " | ".join(map(name, arguments))
    if origin is not None and arguments:
        return f"{name(origin)}[{', '.join(map(name, arguments))}]"
    # A class inside a function is called f.<locals>.Event; the function tells a reader nothing.
    short = str(getattr(tp, "__qualname__", None) or getattr(tp, "__name__", None) or tp).rpartition("<locals>.")[2]
    module = getattr(tp, "__module__", "builtins")
    return f"{module}.{short}" if qualified and module not in ("builtins", "typing") else short
