"""What a rule asks of an event: values, made by the readers of rules, and compiled to functions here.

A condition is a tree of tests on fields. A test on a field that is missing, or that is null, does not hold; on a list
it holds if it holds for one of the items. Values that are not texts are compared as the texts that JSON has for them.

`anchors_of` is what makes many rules cheap: it finds the values of fields of which an event must have one for a
condition to hold at all, so that rules can be looked up by the values of an event instead of being tried one by one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Literal, TypeAlias

import attrs
from attrs import frozen

from ironpost.logs.patterns import Pattern

__all__ = ["All", "Any", "Condition", "Exists", "Fields", "Not", "Test", "anchors_of", "compile_condition", "tests_in"]

Fields: TypeAlias = Mapping[str, object]
"""What an event says: scalars, and tuples of scalars."""

Predicate: TypeAlias = Callable[[Fields], object]
"""Says whether a condition holds: its result is true or false, not always of type bool."""

Check: TypeAlias = Callable[[str], object]
"""The same of one text."""

Operator: TypeAlias = Literal["equals", "contains", "startswith", "endswith", "regex", "cidr", "lt", "lte", "gt", "gte"]


@frozen
class Test:
    """Whether a field relates to one of some values.

    Attributes:
        field: its name, with dots where it is inside tables.
        operator: how it has to relate to them.
        values: of which one suffices; texts, regular expressions, networks, or numbers, as the operator needs.
        ignore_case: whether upper and lower case are the same.

    Raises:
        ValueError: a value is not an expression, a network, or a number.

    >>> compile_condition(Test("app", "equals", ("sshd", "login")))({"app": "sshd"})
    True
    """

    __test__ = False  # for pytest, which collects what has this name

    field: str
    operator: Operator
    values: tuple[str, ...] = attrs.field()
    ignore_case: bool = False

    @values.validator
    def _meaningful(self, _attribute: object, values: tuple[str, ...]) -> None:
        _checks(self.operator, values, self.ignore_case)


@frozen
class Exists:
    """Whether an event has a field that is not null."""

    field: str


@frozen
class All:
    """Whether all of some conditions hold. All of none do."""

    parts: tuple[Condition, ...]


@frozen
class Any:
    """Whether one of some conditions holds. One of none does not."""

    parts: tuple[Condition, ...]


@frozen
class Not:
    """Whether a condition does not hold."""

    part: Condition


Condition: TypeAlias = Test | Exists | All | Any | Not


def tests_in(condition: Condition) -> Iterator[Test]:
    """Yield the tests of a condition, in their order."""
    if isinstance(condition, Test):
        yield condition
    elif isinstance(condition, Not):
        yield from tests_in(condition.part)
    elif isinstance(condition, All | Any):
        for part in condition.parts:
            yield from tests_in(part)


# Compiling.


def compile_condition(condition: Condition) -> Predicate:
    """Return the function that says whether the condition holds for the fields of an event."""
    match condition:
        case Test():
            return _on_field(condition.field, _check(condition))
        case Exists(name):
            return lambda fields: fields.get(name) is not None
        case Not(part):
            holds = compile_condition(part)
            return lambda fields: not holds(fields)
        case All(parts):
            return _all([compile_condition(part) for part in sorted(parts, key=_cost)])
        case Any(parts):
            return _any([compile_condition(part) for part in sorted(parts, key=_cost)])


_COSTS: Final = {"equals": 1, "startswith": 2, "endswith": 2, "contains": 3, "lt": 4, "lte": 4, "gt": 4, "gte": 4}


def _cost(condition: Condition) -> int:
    """Return how long a condition takes, roughly: what is quick is tried first."""
    match condition:
        case Test(operator=operator, values=values, ignore_case=ignore_case):
            return _COSTS.get(operator, 20) * (1 if operator == "equals" else len(values)) + ignore_case
        case Not(part):
            return _cost(part)
        case All(parts) | Any(parts):
            return 1 + sum(map(_cost, parts))
        case _:
            return 1


def _all(parts: list[Predicate]) -> Predicate:
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        first, second = parts
        return lambda fields: first(fields) and second(fields)
    if len(parts) == 3:
        one, two, three = parts
        return lambda fields: one(fields) and two(fields) and three(fields)

    def holds(fields: Fields) -> bool:
        for part in parts:  # noqa: SIM110 - a generator takes twice as long
            if not part(fields):
                return False
        return True

    return holds


def _any(parts: list[Predicate]) -> Predicate:
    if len(parts) == 1:
        return parts[0]

    def holds(fields: Fields) -> bool:
        for part in parts:  # noqa: SIM110
            if part(fields):
                return True
        return False

    return holds


def _on_field(name: str, check: Check) -> Predicate:
    """Return the predicate that tries ``check`` on the text of a field, or of the items of a list."""

    def holds(fields: Fields) -> object:
        value = fields.get(name)
        if value.__class__ is str:
            return check(value)
        if value is None:
            return False
        return any(check(text) for text in texts_of(value))

    return holds


def texts_of(value: object) -> Iterator[str]:
    """Yield the texts that a value of a field is compared as: one, or one for each item of a list.

    >>> list(texts_of((1, True, "x", None)))
    ['1', 'true', 'x']
    """
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, str):
            yield item
        elif item is not None:
            yield json.dumps(item) if isinstance(item, bool | int | float) else str(item)


def _check(test: Test) -> Check:
    checks = _checks(test.operator, test.values, test.ignore_case)
    if len(checks) == 1:
        return checks[0]

    def check(text: str) -> object:
        for each in checks:  # noqa: SIM110
            if each(text):
                return True
        return False

    return check


def _checks(operator: Operator, values: tuple[str, ...], ignore_case: bool) -> list[Check]:
    """Return functions of which one has to hold. Raises ValueError if a value makes no sense."""
    if operator == "regex":
        return [Pattern(value, ignore_case).found for value in values]
    if operator == "cidr":
        networks = [ip_network(value, strict=False) for value in values]
        return [lambda text: _in_networks(text, networks)]
    if operator in _NUMERIC:
        limits = [float(value) for value in values]
        compare = _NUMERIC[operator]
        return [lambda text: any(compare(_number(text), limit) for limit in limits)]
    return _textual(operator, values, ignore_case)


def _textual(operator: Operator, values: tuple[str, ...], ignore_case: bool) -> list[Check]:
    if ignore_case:
        lower = tuple(value.lower() for value in values)
        match operator:
            case "equals":
                accepted = frozenset(lower)
                return [lambda text: text.lower() in accepted]
            case "startswith":
                return [lambda text: text.lower().startswith(lower)]
            case "endswith":
                return [lambda text: text.lower().endswith(lower)]
        if len(lower) == 1:
            (only,) = lower
            return [lambda text: only in text.lower()]

        def contains(text: str) -> bool:
            text = text.lower()
            return any([value in text for value in lower])  # noqa: C419 - quicker than a generator

        return [contains]
    match operator:
        case "equals":
            accepted = frozenset(values)
            return [accepted.__contains__]
        case "startswith":
            return [lambda text: text.startswith(values)]
        case "endswith":
            return [lambda text: text.endswith(values)]
    return [lambda text, value=value: value in text for value in values]  # type: ignore[misc]


_NUMERIC: Final[dict[str, Callable[[float, float], bool]]] = {
    "lt": float.__lt__,
    "lte": float.__le__,
    "gt": float.__gt__,
    "gte": float.__ge__,
}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")  # which is neither less nor greater than anything


def _in_networks(text: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)


# Anchors.

Anchor: TypeAlias = tuple[str, Literal["is", "like", "there"], str]
"""A field, and what it has to be: a text; in lower case like an expression; or only there."""

_LIKE: Final = {"contains": "{}", "startswith": "^{}", "endswith": "{}$", "equals": "^{}$"}


def anchors_of(condition: Condition, rank: Callable[[frozenset[Anchor]], object]) -> frozenset[Anchor] | None:
    """Return anchors of which an event must have one for the condition to hold. None if there is no such set.

    Args:
        rank: which of several such sets is taken: the one for which this is least.

    >>> both = All((Test("app", "equals", ("sshd",)), Test("message", "contains", ("root",))))
    >>> anchors_of(both, sorted)
    frozenset({('app', 'is', 'sshd')})
    """
    match condition:
        case Test(name, "equals", values, ignore_case=False):
            return frozenset((name, "is", value) for value in values)
        case Test(name, operator, values) if operator in _LIKE and all(value.isascii() for value in values):
            # Letters beyond ASCII do not keep to themselves in lower case: a sigma depends on what comes next.
            return frozenset((name, "like", _LIKE[operator].format(Pattern.quote(value.lower()))) for value in values)
        case Test(name) | Exists(name):
            return frozenset({(name, "there", "")})
        case Any(parts):
            union: frozenset[Anchor] = frozenset()
            for part in parts:
                anchors = anchors_of(part, rank)
                if anchors is None:
                    return None
                union |= anchors
            return union
        case All(parts):
            found = [anchors for part in parts if (anchors := anchors_of(part, rank)) is not None]
            return min(found, key=rank, default=None)  # type: ignore[arg-type]
        case _:
            return None
