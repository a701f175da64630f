"""Settings checked against what a plugin's class or factory takes."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import functools
import typing
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum, IntEnum
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import pytest
from attrs import Factory, define, field, validators

from fsm_plugins import Plugin, PluginInfo, Receiver
from fsm_plugins.config import AppSection, EnvText, structure_settings

if TYPE_CHECKING:
    from nowhere import Event  # type: ignore[import-not-found]

T = TypeVar("T")
Port = NewType("Port", int)


class Level(Enum):
    LOW = "low"
    HIGH = "high"


class Code(IntEnum):
    ONE = 1


class Celsius(float):
    """A class of its own, whatever it is made from."""


@define
class Rule:
    pattern: str
    level: Level = Level.LOW
    within: list[Rule] = Factory(list)


@dataclasses.dataclass
class Address:
    host: str
    port: dataclasses.InitVar[int] = 80

    def __post_init__(self, port: int) -> None:
        if port < 1:
            raise ValueError("a port is at least 1")


class Base(TypedDict):
    x: int


class Table(Base, total=False):
    y: str
    z: NotRequired[bool]


class Full(TypedDict):
    x: int
    y: NotRequired[str]


@attrs.frozen
class Section(AppSection):
    """Inherits annotations whose names this module does not have."""


def of_type(kind: object) -> Callable[..., object]:
    """Return a factory with one parameter of that type."""

    def factory(x: object) -> None: ...

    factory.__annotations__["x"] = kind
    return factory


def settings(factory: Callable[..., object], raw: dict[str, object], *exclude: str) -> list[str]:
    """Return the problems with ``raw``."""
    return [str(problem) for problem in structure_settings(factory, raw, "s", frozenset(exclude))[1]]


DAY, CLOCK = date(2024, 5, 1), time(12, 30)
MOMENT = datetime(2024, 5, 1, 12, 30, tzinfo=timezone.utc)  # noqa: UP017


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (bool, True, True),
        (int, 3, 3),
        (float, 3, 3.0),
        (float, 2.5, 2.5),
        (str, "a", "a"),
        (Path, "/a", Path("/a")),
        (datetime, MOMENT, MOMENT),
        (date, DAY, DAY),
        (time, CLOCK, CLOCK),
        (timedelta, 1.5, timedelta(seconds=1.5)),
        (Any, [{"a": 1}], [{"a": 1}]),
        (object, 5, 5),
        (Optional[int], 3, 3),  # noqa: UP045
        (int | None, 3, 3),
        (Port, 3, 3),
        (Annotated[int, "positive"], 3, 3),
        ("int | None", 3, 3),
        (Literal["a", 1, None], 1, 1),
        (Literal[Level.LOW], "low", Level.LOW),
        (Level, "high", Level.HIGH),
        (Code, 1, Code.ONE),
        (list, [1, "a"], [1, "a"]),
        (list[int], [1, 2], [1, 2]),
        (tuple, [1, "a"], (1, "a")),
        (typing.Tuple, [1], (1,)),  # noqa: UP006
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[()], [], ()),
        (set[int], [1, 1], {1}),
        (frozenset[str], ["a"], frozenset("a")),
        (collections.abc.Sequence[int], [1], [1]),
        (dict, {"a": 1}, {"a": 1}),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (dict[Level, int], {"low": 1}, {Level.LOW: 1}),
        (collections.abc.Mapping[str, list[int]], {"a": [1]}, {"a": [1]}),
        (float | int, 3, 3),
        (Union[str, list[str]], ["a"], ["a"]),  # noqa: UP007
        (
            Rule,
            {"pattern": "x", "within": [{"pattern": "y", "level": "high"}]},
            Rule("x", within=[Rule("y", Level.HIGH)]),
        ),
        (Rule | str, {"pattern": "x"}, Rule("x")),
        (Address, {"host": "h", "port": 8}, Address("h", 8)),
        (Base, {"x": 1}, {"x": 1}),
        (Full, {"x": 1}, {"x": 1}),
        (Section, {"name": "x", "deadlines": {"a": 1}}, Section("x", deadlines={"a": 1.0})),
        (Table, {"x": 1, "z": True}, {"x": 1, "z": True}),
        (Level | None, EnvText("low", "V"), Level.LOW),
        (Path, EnvText("10", "V"), Path("10")),
        (list[Level], EnvText('["low"]', "V"), [Level.LOW]),
        (Rule, EnvText('{ pattern = "x" }', "V"), Rule("x")),
        (timedelta, EnvText("2", "V"), timedelta(seconds=2)),
        (datetime, EnvText("2024-05-01T12:30:00Z", "V"), MOMENT),
        (dict[str, object], {"a": EnvText("1", "V")}, {"a": 1}),
        (dict[Any, Any], {"a": EnvText("1", "V")}, {"a": 1}),
        (dict[str, str | Path], {"a": "b"}, {"a": "b"}),
        (dict[str, Path | str], {"a": "b"}, {"a": Path("b")}),
    ],
)
def test_a_value_becomes_what_its_type_says(kind: object, raw: object, value: object) -> None:
    """Equal is not enough: an integer for a number becomes a float, and the other way round it is refused."""
    values, problems = structure_settings(of_type(kind), {"x": raw}, "s")
    assert (values, problems) == ({"x": value}, [])
    assert type(values["x"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (bool, 1, ": expected true or false, got 1"),
        (bool, "yes", ": expected true or false, got 'yes'"),
        (int, True, ": expected an integer, got true"),
        (int, 3.0, ": expected an integer, got 3.0"),
        (int, "many", ": expected an integer, got 'many'"),
        (int | None, "many", ": expected an integer, got 'many'"),
        (Port, "many", ": expected an integer, got 'many'"),
        (float, "1", ": expected a number, got '1'"),
        (float, False, ": expected a number, got false"),
        (float, 10**400, ": expected a number, got 1" + "0" * 55 + "...0"),
        (str, 3, ": expected a string, got 3"),
        (str, ["a"], ": expected a string, got an array"),
        (Path, 3, ": expected a path, got 3"),
        (datetime, DAY, ": expected a date and time, got 2024-05-01"),
        (date, MOMENT, ": expected a date, got 2024-05-01T12:30:00+00:00"),
        (time, "12:30", ": expected a time, got '12:30'"),
        (timedelta, "1s", ": expected a number of seconds, got '1s'"),
        (timedelta, True, ": expected a number of seconds, got true"),
        (timedelta, float("inf"), ": expected a number of seconds, got inf"),
        (type(None), 1, ": the plugin wants a NoneType here, which a configuration cannot give"),
        (Literal[None], 1, ": expected nothing at all, got 1"),
        (Literal["a", "b", 1], "c", ": expected 'a', 'b' or 1, got 'c'"),
        (Literal[1], True, ": expected 1, got true"),
        (Level, "hihg", ": expected 'low' or 'high', got 'hihg' (did you mean 'high'?)"),
        (Code, True, ": expected 1, got true"),
        (Celsius, 1.0, ": the plugin wants a Celsius here, which a configuration cannot give"),
        (Celsius, EnvText("1.0", "V"), ": the plugin wants a Celsius here, which a configuration cannot give"),
        (list[int], "abc", ": expected an array, got 'abc'"),
        (list[int], [1, "a", 2.0], "[1]: expected an integer, got 'a'"),
        (list[int], [1, "a", 2.0], "[2]: expected an integer, got 2.0"),
        (tuple[int, str], [1], ": expected an array of 2, got one of 1"),
        (tuple[int, str], ["a", 1], "[0]: expected an integer, got 'a'"),
        (set[object], [[1]], ": expected an array of simple values, since they make up a set"),
        (dict[str, int], [], ": expected a table, got an array"),
        (dict[str, int], {"a b": "x"}, ".\"a b\": expected an integer, got 'x'"),
        (dict[int, int], {"1": 1}, ".1: expected an integer, got '1'"),
        (int | str | None, 1.5, ": expected an integer or a string, got 1.5"),
        (int | str | list[int], [1, "a"], "[1]: expected an integer, got 'a'"),
        (Rule, "x", ": expected a table, got 'x'"),
        (Rule, {}, ".pattern: missing; expected a string"),
        (Rule, {"pattern": "x", "levle": 1}, ".levle: unknown key (did you mean 'level'?)"),
        (list[Rule], [{"pattern": "a", "within": [{"pattern": 3}]}], "[0].within[0].pattern: expected a string, got 3"),
        (Address, {"host": "h", "port": 0}, ": a port is at least 1"),
        (Base, {}, ".x: missing; expected an integer"),
        (Table, {"x": 1, "z": "no"}, ".z: expected true or false, got 'no'"),
        (bytes, "x", ": the plugin wants a bytes here, which a configuration cannot give"),
        (collections.deque[str], "x", ": the plugin wants a deque here, which a configuration cannot give"),
        ([int], 1, ": the plugin wants a [<class 'int'>] here, which a configuration cannot give"),
        (T, 1, ": the plugin wants a ~T here, which a configuration cannot give"),
        ("Nowhere", 1, ": what type it has to be cannot be found out: name 'Nowhere' is not defined; import it where "),
        ("list[", 1, ": what type it has to be cannot be found out: Forward reference must be an expression"),
    ],
)
def test_a_value_of_another_type_is_told_with_its_path(kind: object, raw: object, expected: str) -> None:
    """Nothing is coerced; the path leads to the element."""
    problems = settings(of_type(kind), {"x": raw})
    assert any(problem.startswith(f"s.x{expected}") for problem in problems), problems


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (int, "many", "V: expected an integer, got 'many'"),
        (Level, "hihg", "V: expected 'low' or 'high', got 'hihg' (did you mean 'high'?)"),
        (list[Rule], '[{ pattern = "a" }, { pattern = 1 }]', "V[1].pattern: expected a string, got 1"),
    ],
)
def test_a_text_from_the_environment_that_does_not_fit_names_its_variable(
    kind: object, text: str, expected: str
) -> None:
    """With the path inside the text."""
    assert settings(of_type(kind), {"x": EnvText(text, "V")}) == [expected]


def upper(text: str) -> str:
    """A converter that says what it takes."""
    return text.upper()


def pick(key: object) -> object:
    """A converter that raises something whose text alone says little."""
    return {"a": 1}[key]  # type: ignore[index]


@define
class Detector(Plugin):
    info = PluginInfo("detector", "1.0.0")
    unused: ClassVar[int] = 0

    events: Receiver[Event]
    threshold: int = field(validator=validators.ge(3))
    label: str = field(default="X", converter=upper, validator=validators.in_(["A", "B"]))
    mode: Literal["a", "b"] = field(default="a")
    rules: tuple[Rule, ...] = field(default=(), converter=tuple)
    loose: object = field(default=None, converter=int)
    chosen: object = field(default=None, converter=pick)
    limit: int = field(alias="most", default=1)
    hidden: int = field(init=False, default=1)
    _private: int = 0
    last: Event | None = None

    @mode.validator
    def _mode_fits(self, _attribute: object, value: str) -> None:
        if value == "b" and self.threshold > 5:
            raise ValueError("mode b needs a threshold of at most 5")
        if value == "b" and self.hidden_too:  # type: ignore[attr-defined]
            raise AssertionError


def test_the_fields_of_an_attrs_class_are_its_settings() -> None:
    """By alias; without ports, what the constructor does not take, and the name and deadlines of every plugin."""
    raw = {"threshold": 3, "label": "b", "rules": [{"pattern": "x"}], "most": 5, "private": 6, "mode": "a"}
    values, problems = structure_settings(Detector, raw, "s", frozenset({"events"}))
    assert problems == []
    assert values == {**raw, "rules": (Rule("x"),)}


def test_every_field_that_is_refused_is_told_at_once() -> None:
    """Validators and converters run even if other fields are wrong or missing."""
    assert settings(
        Detector, {"threshold": 2, "label": "c", "loose": "x", "chosen": "b", "rules": 1, "mode": "a"}, "events"
    ) == [
        "s.threshold: 'threshold' must be >= 3: 2",
        "s.label: 'label' must be in ['A', 'B'] (got 'C')",
        "s.loose: invalid literal for int() with base 10: 'x'",
        "s.chosen: KeyError: 'b'",
        "s.rules: expected an array, got 1",
    ]
    assert settings(Detector, {"threshold": EnvText("2", "V")}, "events") == ["V: 'threshold' must be >= 3: 2"]


def test_a_validator_can_look_at_other_fields() -> None:
    """As far as they are known; one that looks at more has no say before the plugin is built."""
    assert settings(Detector, {"threshold": 6, "mode": "b"}, "events") == [
        "s.mode: mode b needs a threshold of at most 5"
    ]
    assert settings(Detector, {"threshold": 4, "mode": "b"}, "events") == []
    assert settings(Detector, {"mode": "b"}, "events") == ["s.threshold: missing; expected an integer"]


def test_what_is_no_setting_is_told_with_its_right_place() -> None:
    """Ports, the name and the deadlines have tables of their own."""
    assert settings(Detector, {"threshold": 3, "events": "c", "name": "n", "deadlines": {}}, "events") == [
        "s.events: not a setting but a port, which is connected with 'inputs' and 'outputs'",
        "s.name: not a setting; the name of a plugin is that of its section",
        "s.deadlines: not a setting; deadlines have a table of their own next to 'settings'",
    ]
    assert settings(Detector, {"threshold": 3, "zzz": 1}, "events") == [
        "s.zzz: unknown key; there are: threshold, label, mode, rules, loose, chosen, most, private, last"
    ]


def test_a_type_that_only_the_type_checker_imports_matters_only_if_it_is_needed() -> None:
    """A port of that type does not; a setting of that type is told when it is given."""
    assert settings(Detector, {"threshold": 3}, "events") == []
    assert settings(Detector, {"threshold": 3, "last": 1}, "events") == [
        (
            "s.last: what type it has to be cannot be found out: name 'Event' is not defined; "
            f"import it where {__name__}.Detector is defined, and not under TYPE_CHECKING"
        )
    ]


class Plain(Plugin):
    info = PluginInfo("plain", "1.0.0")

    def __init__(self, size: int, anything, *args: int, rate: float = 1.0) -> None:  # type: ignore[no-untyped-def]
        pass


class Heir(Detector):
    """Has no __init__ of its own."""


@define
class OwnInit(Plugin):
    info = PluginInfo("own", "1.0.0")
    x: int

    def __init__(self, y: str) -> None:
        self.__attrs_init__(len(y))  # type: ignore[attr-defined]


def takes_all(x: int, **more: object) -> None: ...


class Maker:
    def __call__(self, x: int) -> None: ...

    def method(self, x: int) -> None: ...


@pytest.mark.parametrize(
    ("factory", "raw", "problems"),
    [
        (Plain, {"size": 1, "anything": [1]}, []),
        (
            Plain,
            {"size": "1", "rate": "x", "args": 1},
            [
                "s.size: expected an integer, got '1'",
                "s.rate: expected a number, got 'x'",
                "s.args: unknown key; there are: size, anything, rate",
                "s.anything: missing; expected a value",
            ],
        ),
        (Heir, {"threshold": "x"}, ["s.threshold: expected an integer, got 'x'", "s.events: missing"]),
        (OwnInit, {"x": 1}, ["s.x: unknown key; there are: y", "s.y: missing; expected a string"]),
        (takes_all, {"x": 1, "z": [1]}, []),
        (functools.partial(takes_all, x=1), {"z": 1}, []),
        (functools.partial(takes_all, x=1), {"x": "a"}, ["s.x: expected an integer, got 'a'"]),
        (Maker(), {"x": "a"}, ["s.x: expected an integer, got 'a'"]),
        (Maker().method, {"x": "a"}, ["s.x: expected an integer, got 'a'"]),
        (Address, {"port": "a"}, ["s.port: expected an integer, got 'a'", "s.host: missing; expected a string"]),
        (lambda: None, {"x": 1}, ["s.x: unknown key; there are none here"]),
        (
            min,
            {},
            ["s: what settings there are cannot be found out: no signature found for builtin <built-in function min>"],
        ),
    ],
)
def test_every_kind_of_factory_says_what_it_takes(
    factory: Callable[..., object], raw: dict[str, object], problems: list[str]
) -> None:
    """Plain classes and functions by their keywords; an __init__ that an author wrote comes before the fields."""
    assert settings(factory, raw) == problems


def test_values_that_are_nested_too_deeply_are_one_problem() -> None:
    """No traceback, whatever is in the file."""
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert settings(of_type(Any), {"x": deep}) == ["s: the tables and arrays here are nested too deeply"]


def test_nothing_is_built() -> None:
    """Checking settings runs no code of the plugin but its converters and validators."""

    @attrs.define
    class Loud(Plugin):
        info = PluginInfo("loud", "1.0.0")
        x: Any = None

        def __attrs_post_init__(self) -> None:
            raise AssertionError("built")

    assert structure_settings(Loud, {"x": 1}, "s") == ({"x": 1}, [])
