"""Which ports a class declares, and which messages fit where."""

from __future__ import annotations

import dataclasses
import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NewType,
    Optional,
    Protocol,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import pytest

from fsm_plugins import DefinitionError, Plugin, PluginInfo, Receiver, Sender
from fsm_plugins.ports import Port, accepts, keywords_of, ports_of, type_name

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")
U = TypeVar("U")
INFO = PluginInfo("p", "1.0.0")


class Event: ...


class Alert(Event): ...


def brief(factory: Callable[..., object]) -> list[str]:
    return [str(port) for port in ports_of(factory)]


# Declarations.


@attrs.define
class AttrsPlugin(Plugin):
    info = INFO
    packets: Receiver[Event]
    limit: int = 3
    _alerts: Sender[Alert] | None = None
    trace: Optional[Sender[str]] = None  # noqa: UP045
    shared: ClassVar[Receiver[int] | None] = None
    price: "Decimal | None" = None  # noqa: UP037 - the type of a setting does not matter


@dataclasses.dataclass(eq=False)
class DataPlugin(Plugin):
    info = INFO
    packets: Receiver[Event]
    given: dataclasses.InitVar[Sender[int]]
    fixed: Final[Sender[int]] = dataclasses.field(init=False)


class PlainPlugin(Plugin):
    info = INFO
    packets: Receiver[Event]
    noise: Annotated[Sender, "bare"]  # type: ignore[type-arg]


class InitPlugin(Plugin):
    info = INFO
    _packets: Receiver[Event]

    def __init__(self, packets: Receiver[Event], /, limit: int, *, alerts: Sender[Alert] | None = None) -> None: ...


class LimitPlugin(PlainPlugin):
    extra: Sender[int]

    def __init__(self, limit: int, **others: object) -> None: ...


class BelowInit(InitPlugin):
    more: Sender[int]


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (AttrsPlugin, ["packets: Receiver[Event]", "alerts: Sender[Alert] | None", "trace: Sender[str] | None"]),
        (DataPlugin, ["packets: Receiver[Event]", "given: Sender[int]", "fixed: Sender[int]"]),
        (PlainPlugin, ["packets: Receiver[Event]", "noise: Sender[Any]"]),
        (InitPlugin, ["alerts: Sender[Alert] | None"]),
        (LimitPlugin, ["packets: Receiver[Event]", "noise: Sender[Any]", "extra: Sender[int]"]),
        (BelowInit, ["alerts: Sender[Alert] | None", "more: Sender[int]"]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_every_kind_of_class_declares_ports(factory: type, expected: list[str]) -> None:
    """Ports are found in attrs classes, dataclasses, class bodies and constructors, in the order of declaration."""
    assert brief(factory) == expected


def test_ports_are_described() -> None:
    """A port says its keyword, its direction, the type of its messages, and whether None will do."""
    assert ports_of(AttrsPlugin)[:2] == (Port("packets", "input", Event), Port("alerts", "output", Alert, True))


def test_a_field_that_the_constructor_does_not_take_keeps_its_name() -> None:
    """The keyword of an attrs field is its alias, unless it has none."""

    @attrs.define(slots=False)
    class Odd(Plugin):
        info = INFO
        _inner: "Sender[int]" = attrs.field(init=False)  # noqa: UP037
        source: "Receiver[int]" = attrs.field(alias="input")  # noqa: UP037

    assert [port.name for port in ports_of(Odd)] == ["_inner", "input"]


def test_attrs_fields_without_an_annotation() -> None:
    """``attrs.make_class`` and ``field(type=...)`` declare ports too."""
    made = attrs.make_class("Made", {"packets": attrs.field(type=Receiver[int])})
    assert brief(made) == ["packets: Receiver[int]"]


def test_an_override_counts_once_and_can_take_a_port_away() -> None:
    """A subclass that declares a port again replaces it in its place; with another type it is no port any more."""

    class Narrow(PlainPlugin):
        more: Sender[int]
        packets: Receiver[Alert]
        noise: int  # type: ignore[assignment]

    assert brief(Narrow) == ["packets: Receiver[Alert]", "more: Sender[int]"]


def test_functions_declare_ports_by_parameters() -> None:
    """Parameters that can be given by keyword are ports; so are those of partials, methods and callable objects."""

    def make(fixed: Receiver[int], /, packets: Receiver[int], *rest: Sender[int], alerts: Sender[str] | None) -> Plugin:
        raise NotImplementedError

    class Maker:
        def __call__(self, packets: Receiver[int]) -> Plugin:
            raise NotImplementedError

        def method(self, alerts: Sender[str]) -> Plugin:
            raise NotImplementedError

    assert brief(make) == ["packets: Receiver[int]", "alerts: Sender[str] | None"]
    assert brief(functools.partial(make, alerts=None)) == ["packets: Receiver[int]"]
    assert brief(Maker()) == ["packets: Receiver[int]"]
    assert brief(Maker().method) == ["alerts: Sender[str]"]
    with pytest.raises(DefinitionError, match="neither a class nor a function"):
        ports_of(dir)


class Relay(Plugin, Generic[T]):
    info = INFO
    source: Receiver[T]
    target: Sender[list[T]]


class Pair(Relay[U], Generic[U, T]):
    other: Sender[T]


class IntPair(Pair[int, str]): ...


@attrs.define
class AttrsRelay(Plugin, Generic[T]):
    info = INFO
    source: Receiver[T]


@attrs.define
class IntAttrsRelay(AttrsRelay[int]): ...


def test_generic_plugins() -> None:
    """What a subclass puts in for a type variable is found through any depth; what nobody put in stays."""
    assert brief(Relay) == ["source: Receiver[T]", "target: Sender[list[T]]"]
    assert ports_of(Relay)[0].type is T
    assert brief(IntPair) == ["source: Receiver[int]", "target: Sender[list[int]]", "other: Sender[str]"]
    assert brief(Relay[bytes]) == ["source: Receiver[bytes]", "target: Sender[list[bytes]]"]
    halfway: Any = Pair
    assert brief(halfway[bytes, U]) == ["source: Receiver[bytes]", "target: Sender[list[bytes]]", "other: Sender[U]"]
    assert brief(IntAttrsRelay) == ["source: Receiver[int]"]


class Unresolvable(Plugin):
    info = INFO
    prices: Receiver[Decimal]


class UnresolvableInit(Plugin):
    info = INFO

    def __init__(self, prices: Receiver[Decimal]) -> None: ...


class Quoted(Plugin):
    info = INFO


Quoted.__annotations__ = {"prices": Receiver["Decimal"], "counts": Receiver["int"]}


@pytest.mark.parametrize(
    ("cls", "where"),
    [
        (Unresolvable, r"Unresolvable\.prices: the annotation 'Receiver\[Decimal\]'"),
        (UnresolvableInit, r"parameter 'prices' of UnresolvableInit.*: the annotation 'Receiver\[Decimal\]'"),
        (Quoted, r"Quoted\.prices: the annotation 'Receiver\[Decimal\]'"),
    ],
)
def test_a_port_whose_type_is_not_there_at_run_time(cls: type, where: str) -> None:
    """The error names the class, the annotation and the remedy."""
    with pytest.raises(DefinitionError, match=where) as caught:
        ports_of(cls)
    assert "name 'Decimal' is not defined; import what it names" in str(caught.value)
    assert isinstance(caught.value.__cause__, NameError)


def test_ends_that_are_themselves_missing_are_still_recognised() -> None:
    """An annotation that cannot be resolved is a port if its text says Sender or Receiver, whatever it was called."""

    class Missing(Plugin):
        info = INFO

    for text, is_port in [("Inbox[Nowhere]", True), ("channels.Sender[Nowhere]", True), ("Queue[Nowhere]", False)]:
        Missing.__annotations__ = {"it": text}
        if is_port:
            with pytest.raises(DefinitionError, match="cannot be resolved"):
                ports_of(Missing)
        else:
            assert ports_of(Missing) == ()


Inbox = Receiver


def test_a_port_is_one_end() -> None:
    """A union of two ends cannot be wired, and says so."""

    class Both(Plugin):
        info = INFO
        either: Sender[int] | Receiver[int]

    with pytest.raises(DefinitionError, match=r"Both\.either: a port is one Sender or one Receiver"):
        ports_of(Both)


def test_annotations_that_are_no_strings() -> None:
    """A module without the future import declares the same ports."""
    module = types.ModuleType("without_future")
    sys.modules["without_future"] = module
    source = "from fsm_plugins import *\nclass P:\n    a: Receiver[int] | None\n"
    try:
        exec(compile(source, "without_future", "exec", dont_inherit=True), vars(module))
        assert brief(module.P) == ["a: Receiver[int] | None"]
    finally:
        del sys.modules["without_future"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
def test_type_parameters() -> None:
    """Type parameters of classes and the type statement mean what their older spellings mean."""
    module = types.ModuleType("with_parameters")
    sys.modules["with_parameters"] = module
    source = """
from __future__ import annotations
from fsm_plugins import *
class P[T](Plugin):
    info = PluginInfo('p', '1.0.0')
    a: Receiver[T]
class Q(P[int]): ...
type Number = int | float
"""
    try:
        exec(compile(source, "with_parameters", "exec", dont_inherit=True), vars(module))
        assert [brief(module.P), brief(module.Q)] == [["a: Receiver[T]"], ["a: Receiver[int]"]]
        assert accepts(module.Number, int)
        assert not accepts(int, module.Number)
    finally:
        del sys.modules["with_parameters"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are looked up late since Python 3.14")
def test_late_annotations() -> None:
    """A name that is never defined is an error of the port, not of the class."""
    module = types.ModuleType("late")
    sys.modules["late"] = module
    source = "from fsm_plugins import *\nclass P:\n    a: Receiver[Never1]\n    b: Never2\nclass Q:\n    b: Never2\n"
    try:
        exec(compile(source, "late", "exec", dont_inherit=True), vars(module))
        assert ports_of(module.Q) == ()
        with pytest.raises(DefinitionError, match="Never1"):
            ports_of(module.P)
    finally:
        del sys.modules["late"]


def test_keywords_are_followed_to_the_base_class() -> None:
    """A constructor that hands keywords on takes those of its base class; one that does not takes its own."""

    class Handing(AttrsPlugin):
        def __init__(self, extra: int, **others: Any) -> None:
            super().__init__(**others)

    class Own(AttrsPlugin):
        def __init__(self, extra: int) -> None: ...

    assert {"extra", "packets", "alerts", "name", "deadlines"} <= keywords_of(Handing)
    assert keywords_of(Own) == {"extra"}
    assert keywords_of(functools.partial(Own, extra=3)) == {"extra"}


# Types.

UserId = NewType("UserId", int)
AdminId = NewType("AdminId", UserId)
Bound = TypeVar("Bound", bound=Event)
Limited = TypeVar("Limited", int, str)


class IntList(list[int]): ...


class Box(Generic[T]): ...


class EventBox(Box[Alert]): ...


class Quacks(Protocol):
    def quack(self) -> None: ...


class Holds(Protocol[T]):
    held: T


class Small(TypedDict):
    a: int


class Large(TypedDict):
    a: int
    b: str


@pytest.mark.parametrize(
    ("consumer", "producer", "fits"),
    [
        (int, int, True),
        (Event, Alert, True),
        (Alert, Event, False),
        (float, int, False),
        (int, bool, True),
        (object, Event, True),
        (Any, Event, True),
        (int, Any, True),
        (int, object, False),
        (None, type(None), True),
        # type variables
        (T, Event, True),
        (Event, T, True),
        (Bound, Alert, True),
        (Bound, int, False),
        (Event, Bound, True),
        (Alert, Bound, False),
        (Limited, str, True),
        (Limited, bytes, False),
        (int | str, Limited, True),
        (int, Limited, False),
        # unions
        (int | str, int, True),
        (int, int | str, False),
        (Union[int, str, None], Optional[int], True),  # noqa: UP007, UP045
        (int | None, int | str, False),
        (Event | int, Alert | bool, True),
        # literals
        (Literal["a", "b"], Literal["a"], True),
        (Literal["a"], Literal["a", "b"], False),
        (Literal["a"] | int, Literal["a", 3], True),
        (str, Literal["a"], True),
        (Literal["a"], str, False),
        (Literal[1], Literal[True], False),
        # new types
        (int, UserId, True),
        (UserId, int, False),
        (UserId, AdminId, True),
        (AdminId, UserId, False),
        # generics
        (list[Event], list[Alert], True),
        (list[Alert], list[Event], False),
        (list, list[int], True),
        (list[int], list, True),
        (Sequence[int], list[int], True),
        (Sequence[int], list[str], False),
        (Sequence[int], tuple[int, ...], True),
        (Sequence[int], tuple[int, str], False),
        (tuple[int, ...], tuple[int, bool], True),
        (tuple[int, str], tuple[int, ...], False),
        (tuple[int, str], tuple[int], False),
        (tuple[int, str], tuple[bool, str], True),
        (list[int], IntList, True),
        (list[str], IntList, False),
        (Mapping[str, Event], dict[str, Alert], True),
        (Mapping[str, Event], dict[int, Alert], False),
        (Iterator[int], types.GeneratorType, True),
        (dict[str, int], list[str], False),
        (Box[Event], EventBox, True),
        (Box[int], EventBox, False),
        (Box[int], Box, True),
        (Callable[[int], str], Callable[[int], str], True),
        (Callable[[int], str], Callable[[str], str], False),
        # others
        (Annotated[int, "x"], int, True),
        (int, Annotated[str, "x"], False),
        (Quacks, Event, True),
        (Holds[int], list[str], True),
        (Small, Large, True),
        (Large, Small, False),
        (Small, dict, False),
        (dict, Small, True),
        ("Event", "Event", True),
        ("Event", Event, False),
    ],
    ids=str,
)
def test_accepts(consumer: object, producer: object, fits: bool) -> None:
    """A consumer accepts what is sure to fit, and what nobody can know not to fit."""
    assert accepts(consumer, producer) is fits


def test_type_names() -> None:
    """Types are shown as they are written, without the functions and, unless asked for, the modules they are in."""

    class Local: ...

    assert type_name(dict[str, list[Local | None]]) == "dict[str, list[Local | None]]"
    assert type_name(Optional[int]) == "int | None"  # noqa: UP045
    assert type_name(Callable[..., Literal["a", 3]]) == "Callable[..., Literal['a', 3]]"
    assert type_name(Annotated[tuple[UserId, ...], "x"]) == "tuple[UserId, ...]"
    assert type_name("Later") == "Later"
    assert type_name(Local, qualified=True) == f"{__name__}.Local"
    assert type_name(int, qualified=True) == "int"
