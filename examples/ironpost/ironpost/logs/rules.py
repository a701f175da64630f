"""Rules, and the set of them that is in force: one immutable value, which is swapped as a whole.

A set finds the rules that hold for an event by the values of its fields. Every rule is filed under its anchors, the
values of which an event must have one; what an event does not have costs nothing, however many rules ask for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from attrs import Factory, field, frozen

from ironpost.events import Severity
from ironpost.logs.conditions import (
    Anchor,
    Condition,
    Fields,
    Predicate,
    anchors_of,
    compile_condition,
    tests_in,
    texts_of,
)
from ironpost.logs.patterns import AnyOf, Pattern, PatternError

__all__ = ["Limit", "Rule", "RuleSet", "Threshold"]


@frozen
class Threshold:
    """How many events it takes for an alert.

    Attributes:
        count: so many events.
        window: within so many seconds.
        by: fields; events count together if these have the same values.
    """

    count: int
    window: float
    by: tuple[str, ...] = ()


@frozen
class Limit:
    """At most ``count`` alerts within ``window`` seconds."""

    count: int
    window: float


@frozen
class Rule:
    """What to look for, and what to say when it is found.

    Attributes:
        id: unique in a set.
        title: one line for people.
        severity: how bad it is.
        condition: what an event has to be like.
        threshold: how many such events it takes; None if one suffices.
        repeat: for how many seconds after an alert a like one is held back.
        alike: the fields that make two alerts of this rule alike if they have the same values.
        limit: how many alerts are let through; of all that are not held back as repeated.
        origin: where the rule was read.
        references: where people can read on.
    """

    id: str
    title: str
    severity: Severity
    condition: Condition
    threshold: Threshold | None = None
    repeat: float = 60.0
    alike: tuple[str, ...] = ("host", "message")
    limit: Limit = Limit(60, 60.0)
    origin: str = field(default="", eq=False)
    references: tuple[str, ...] = field(default=(), eq=False)


def _tuple(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(rules)


@frozen(eq=False)
class RuleSet:
    """The rules that are in force together.

    Args:
        rules: with ids that differ.

    Raises:
        ValueError: two rules have one id.

    >>> from ironpost.logs.conditions import Test
    >>> rules = RuleSet([Rule("root", "Root", Severity.LOW, Test("user", "equals", ("root",)))])
    >>> [rule.id for rule in rules.matching({"user": "root"})], rules.matching({"user": "me"})
    (['root'], [])
    """

    rules: tuple[Rule, ...] = field(converter=_tuple, default=())
    _index: _Index = field(init=False, repr=False, default=Factory(lambda self: _Index(self.rules), takes_self=True))

    @rules.validator
    def _different(self, _attribute: object, rules: tuple[Rule, ...]) -> None:
        for name, times in Counter(rule.id for rule in rules).items():
            if times > 1:
                raise ValueError(f"there is more than one rule with the id {name!r}")

    def __len__(self) -> int:
        return len(self.rules)

    def matching(self, fields: Fields) -> list[Rule]:
        """Return the rules whose conditions hold for an event, in the order of the set."""
        return self._index.matching(fields)

    def extracted(self, rule: Rule, fields: Fields) -> dict[str, str]:
        """Return what the named groups of the rule's expressions find in an event."""
        found: dict[str, str] = {}
        for name, pattern in self._index.extracts.get(rule.id, ()):
            for text in texts_of(fields.get(name)):
                found.update(pattern.groups(text))
        return found


class _Filed(NamedTuple):
    """A rule in the index."""

    number: int
    rule: Rule
    holds: Predicate


class _Index:
    """Where the rules of a set are filed. Never changed once it is made.

    Attributes:
        extracts: by the id of a rule, its expressions with named groups, and the fields that they are for.
    """

    __slots__ = ("_always", "_by_field", "_by_text", "_by_value", "extracts")

    def __init__(self, rules: Sequence[Rule]) -> None:
        filed: defaultdict[Anchor, list[_Filed]] = defaultdict(list)
        self._always: list[_Filed] = []
        self.extracts: dict[str, list[tuple[str, Pattern]]] = {}
        for number, (rule, anchors) in enumerate(zip(rules, _chosen_anchors(rules), strict=True)):
            one = _Filed(number, rule, compile_condition(rule.condition))
            if anchors is None:
                self._always.append(one)
            for anchor in anchors or ():
                filed[anchor].append(one)
            if extracts := list(_extracts(rule)):
                self.extracts[rule.id] = extracts
        self._by_value: defaultdict[str, dict[str, list[_Filed]]] = defaultdict(dict)
        self._by_field: defaultdict[str, list[_Filed]] = defaultdict(list)
        likes: defaultdict[str, dict[str, list[_Filed]]] = defaultdict(dict)
        for (name, kind, value), those in filed.items():
            if kind == "is":
                self._by_value[name][value] = those
            elif kind == "like":
                likes[name][value] = those
            else:
                self._by_field[name] += those
        self._by_text: list[tuple[str, AnyOf, list[list[_Filed]]]] = []
        for name, found in likes.items():
            try:
                self._by_text.append((name, AnyOf(list(found)), list(found.values())))
            except PatternError:  # too many for one pass: they are tried one by one
                self._by_field[name] += [one for those in found.values() for one in those]

    def matching(self, fields: Fields) -> list[Rule]:
        found = [one for one in self._always if one.holds(fields)]
        for name, values in self._by_value.items():
            if (value := fields.get(name)) is None:
                continue
            for text in (value,) if isinstance(value, str) else texts_of(value):
                if text in values:
                    found += [one for one in values[text] if one.holds(fields)]
        for name, expressions, filed in self._by_text:
            if (value := fields.get(name)) is None:
                continue
            for text in (value,) if isinstance(value, str) else texts_of(value):
                for at in expressions.matching(text.lower()):
                    found += [one for one in filed[at] if one.holds(fields)]
        for name, those in self._by_field.items():
            if name in fields:
                found += [one for one in those if one.holds(fields)]
        if len(found) < 2:
            return [one.rule for one in found]
        # A rule may be filed under several values that one event has.
        return [rule for _, rule in sorted({one.number: one.rule for one in found}.items(), key=itemgetter(0))]


def _extracts(rule: Rule) -> Iterator[tuple[str, Pattern]]:
    for test in tests_in(rule.condition):
        if test.operator == "regex":
            for value in test.values:
                pattern = Pattern(value, test.ignore_case)
                if pattern.names:
                    yield test.field, pattern


def _chosen_anchors(rules: Sequence[Rule]) -> list[frozenset[Anchor] | None]:
    """Return the anchors of each rule: those that the fewest other rules have as well.

    Ten rules for one program and different users are told apart by the user, and the other way round.
    """
    shared: Counter[tuple[str, str]] = Counter(
        (test.field, value)
        for rule in rules
        for test in tests_in(rule.condition)
        if test.operator == "equals"
        for value in test.values
    )

    def rank(anchors: frozenset[Anchor]) -> tuple[int, int, list[Anchor]]:
        worst = max((_KINDS.index(kind) for _, kind, _ in anchors), default=0)
        return worst, sum(shared[name, value] for name, kind, value in anchors if kind == "is"), sorted(anchors)

    return [anchors_of(rule.condition, rank) for rule in rules]


_KINDS: Final = ("is", "like", "there")  # from what is cheapest to look up to what is dearest
