"""Conditions, the index, windows and restraint: each against a few naive lines that say the same."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import ip_address, ip_network
from typing import cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ironpost.events import PacketEvent, Severity
from ironpost.logs.conditions import (
    All,
    Any,
    Condition,
    Exists,
    Fields,
    Not,
    Operator,
    Test,
    anchors_of,
    compile_condition,
    texts_of,
)
from ironpost.logs.engine import Engine
from ironpost.logs.patterns import Pattern, PatternError
from ironpost.logs.rules import Limit, Rule, RuleSet, Threshold
from ironpost.logs.windows import Counting, Restraint

names = st.sampled_from(["app", "user", "port"])
texts = st.sampled_from(["", "a", "A", "ab", "ba", "aba", "1", "12", "10.0.0.1", "é", "É", "Σ", "aΣ", "aΣa"])
values = {
    "regex": st.sampled_from(["^a", "b$", "a.a", "[0-9]+", "é"]),
    "cidr": st.sampled_from(["10.0.0.0/8", "1.0.0.0/8", "::/0"]),
    **dict.fromkeys(("lt", "lte", "gt", "gte"), st.sampled_from(["1", "2", "12"])),
}


@st.composite
def field_tests(draw: st.DrawFn) -> Test:
    operator = draw(st.sampled_from(get_args(Operator)))
    several = st.lists(values.get(operator, texts), min_size=1, max_size=3).map(tuple)
    return Test(draw(names), operator, draw(several), draw(st.booleans()))


conditions: st.SearchStrategy[Condition] = st.recursive(
    field_tests() | names.map(Exists),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts)))
        | st.lists(inner, max_size=3).map(lambda parts: Any(tuple(parts)))
        | inner.map(Not)
    ),
    max_leaves=6,
)
scalars = texts | st.none() | st.integers(0, 12) | st.booleans() | st.just(12.0)
fields = st.dictionaries(names, scalars | st.lists(scalars, max_size=2).map(tuple))


def naive(condition: Condition, event: Fields) -> bool:
    """Say whether a condition holds, as its documentation says it."""
    match condition:
        case All(parts):
            return all(naive(part, event) for part in parts)
        case Any(parts):
            return any(naive(part, event) for part in parts)
        case Not(part):
            return not naive(part, event)
        case Exists(name):
            return event.get(name) is not None
        case Test():
            return any(
                naive_test(condition, text, value)
                for text in texts_of(event.get(condition.field))
                for value in condition.values
            )


def naive_test(test: Test, text: str, value: str) -> bool:
    if test.operator == "regex":
        return re.search(value, text, re.IGNORECASE if test.ignore_case else 0) is not None
    if test.operator == "cidr":
        try:
            return ip_address(text) in ip_network(value)
        except ValueError:
            return False
    if test.operator in ("lt", "lte", "gt", "gte"):
        try:
            left, right = float(text), float(value)
        except ValueError:
            return False
        return {"lt": left < right, "lte": left <= right, "gt": left > right, "gte": left >= right}[test.operator]
    if test.ignore_case:
        text, value = text.lower(), value.lower()
    return {
        "equals": text == value,
        "contains": value in text,
        "startswith": text.startswith(value),
        "endswith": text.endswith(value),
    }[test.operator]


@given(conditions, fields)
@settings(max_examples=500, deadline=None)
def test_a_compiled_condition_holds_when_it_should(condition: Condition, event: Fields) -> None:
    """For texts, numbers, truth values, nulls, lists and fields that are not there."""
    assert bool(compile_condition(condition)(event)) == naive(condition, event)


@given(conditions, fields)
@settings(deadline=None)
def test_without_an_anchor_nothing_holds(condition: Condition, event: Fields) -> None:
    """An event that has none of the anchors does not meet the condition, whichever anchors are preferred."""
    for rank in (sorted, len, lambda found: -len(found)):
        anchors = anchors_of(condition, rank)
        if anchors is not None and naive(condition, event):
            assert any(
                any(value == text if kind == "is" else re.search(value, text.lower()) for text in texts_of(event[name]))
                or kind == "there"
                for name, kind, value in anchors
                if event.get(name) is not None
            )


def rule(number: int, condition: Condition, **others: object) -> Rule:
    return Rule(f"rule-{number}", "A rule", Severity.LOW, condition, **others)  # type: ignore[arg-type]


@given(st.lists(conditions, max_size=8), st.lists(fields, max_size=4))
@settings(max_examples=300, deadline=None)
def test_the_index_finds_what_trying_every_rule_finds(many: list[Condition], events: list[Fields]) -> None:
    """In the same order, and each once."""
    rules = RuleSet(tuple(rule(number, condition) for number, condition in enumerate(many)))
    for event in events:
        expected = [f"rule-{number}" for number, condition in enumerate(many) if naive(condition, event)]
        assert [one.id for one in rules.matching(event)] == expected


@pytest.mark.parametrize("operator", ["contains", "startswith", "endswith", "equals"])
@pytest.mark.parametrize("value", ["Ab", "aΣ", "É", "a.b", "^", "\\", "a\nb", "\x00", ""])
@pytest.mark.parametrize("ignore_case", [True, False])
def test_parts_of_texts_are_found_in_any_case(operator: Operator, value: str, ignore_case: bool) -> None:
    """Also letters whose lower case depends on the next one, signs of expressions, and parts of many texts."""
    condition = Test("a", operator, (value, "never"), ignore_case)
    rules = RuleSet((rule(1, condition), rule(2, Test("a", "contains", ("B",))), rule(3, Exists("b"))))
    for text in (value, value + "x", "x" + value, "x" + value + "x", value.swapcase(), "", "ABΣ"):
        expected = [1] * naive(condition, {"a": text}) + [2] * ("B" in text)
        assert [one.id for one in rules.matching({"a": text})] == [f"rule-{number}" for number in expected]


@pytest.mark.parametrize("value", [("x", "22"), ("x", 22), 22, (22, "22")])
@pytest.mark.parametrize("operator", ["equals", "contains"])
def test_lists_and_numbers_are_found_by_the_index(operator: Operator, value: object) -> None:
    """As the texts that they are compared as; and a rule for several of them once."""
    rules = RuleSet((rule(1, Test("a", operator, ("22", "x"))), rule(2, Test("a", operator, ("23",)))))
    assert [one.id for one in rules.matching({"a": value})] == ["rule-1"]


def test_the_index_tries_few_rules() -> None:
    """Of 500 rules for fields with a value, those are tried that have the value: here one."""
    tried: Counter[str] = Counter()

    class Event(dict[str, object]):
        def get(self, key: str, default: object = None) -> object:
            tried[key] += 1
            return super().get(key, default)

    same = Test("app", "equals", ("sshd",))
    rules = RuleSet(tuple(rule(n, All((same, Test("user", "equals", (f"user{n}",))))) for n in range(500)))
    assert len(rules.matching(Event(app="sshd", user="user7"))) == 1
    assert sum(tried.values()) <= 4


def test_named_groups_become_fields() -> None:
    """Those of the expressions that match; also in a list."""
    condition = Any((Test("a", "regex", ("(?P<x>[0-9]+)", "(?P<y>[a-z]+)")), Test("b", "regex", ("(?P<z>.)",))))
    rules = RuleSet((rule(1, condition),))
    assert rules.extracted(rules.rules[0], {"a": "12é", "b": ("é", "z")}) == {"x": "12", "z": "z"}


def test_two_rules_with_one_id_are_refused() -> None:
    """When the set is made."""
    with pytest.raises(ValueError, match="more than one rule with the id 'rule-1'"):
        RuleSet((rule(1, All(())), rule(1, Any(()))))


@pytest.mark.parametrize("text", ["(", r"(a)\1", "(?=a)", "a{1001}", "((a{100}){100}){100}", "\ud800"])
def test_expressions_that_could_take_forever_are_refused(text: str) -> None:
    """And those that are none."""
    with pytest.raises(PatternError):
        Pattern(text)


@pytest.mark.parametrize("text", ["(a+)+$", "(a|aa)+$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_no_line_keeps_an_expression_busy(text: str) -> None:
    """These take an engine that goes back and forth longer than anybody lives."""
    assert not Pattern(text).found("a" * 50_000 + "!")
    assert Pattern(text).groups("a" * 50_000 + "!") == {}


# Windows.

times = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8)), max_size=30)


@given(times, st.integers(1, 3), st.integers(1, 4))
@settings(deadline=None)
def test_a_threshold_is_reached_when_a_naive_count_reaches_it(
    events: list[tuple[str, int]], count: int, window: int
) -> None:
    """Also when events come out of order; and the events that reached it are given out."""
    counting: Counting[int] = Counting(Threshold(count, float(window)))
    seen: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
    for number, (group, at) in enumerate(events):
        seen[group].append((at, number))
        newest = max(at for at, _ in seen[group])
        # What is too old to count now will never count again.
        seen[group] = [(at, one) for at, one in seen[group] if at > newest - window]
        reached = sorted(seen[group], key=lambda one: one[0]) if len(seen[group]) >= count else []
        if reached:
            seen[group] = []
        assert counting.add(group, float(at), number) == ([one for _, one in reached] or None)


def test_groups_are_bounded() -> None:
    """The one that was heard of least recently is forgotten, and counted."""
    counting: Counting[int] = Counting(Threshold(2, 10.0), groups=2)
    for group in ("a", "b", "a2", "b"):
        counting.add(group, 1.0, 0)
    assert len(counting) == 1  # of a2 and b, b has just reached the threshold
    assert counting.forgotten == 1
    assert counting.add("a", 1.0, 0) is None


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6)), max_size=40), st.integers(0, 9), st.integers(1, 3)
)
@settings(deadline=None)
def test_alerts_are_held_back_as_a_naive_account_says(steps: list[tuple[str, int]], repeat: int, most: int) -> None:
    """A like one before, within ``repeat`` seconds: repeated. Else too many within the window: limit. Else none."""
    restraint = Restraint(float(repeat), Limit(most, 10.0))
    now = 0
    sent: list[tuple[str, int]] = []
    held: Counter[str] = Counter()
    for key, step in steps:
        now += step
        alike = [at for one, at in sent if one == key]
        if alike and now - alike[-1] < repeat:
            expected = "repeated"
            held[key] += 1
        elif sum(now - at < 10 for _, at in sent) >= most:
            expected = "limit"
        else:
            expected = None
        assert restraint.check(key, float(now)) == expected
        if expected is None:
            assert restraint.held_back == held.pop(key, 0)
            sent.append((key, now))


def test_a_time_in_the_future_silences_nobody() -> None:
    """One forged time must not hold back all that is like it until then."""
    restraint = Restraint(60.0, Limit(1, 60.0))
    assert restraint.check("a", 1e10) is None
    assert restraint.check("a", 0.0) is None


# The engine.


@given(
    st.lists(
        st.sampled_from(["Dec 10 06:55:46 h a: x", "Dec 10 06:55:47 h b: y", "nonsense", "", "\xff"]), max_size=40
    ),
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0, 60.0]),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_everything_is_accounted_for(lines: list[str], count: int, repeat: float, most: int) -> None:
    """Lines are parsed or bad; alerts are pending, repeated, limited, sent or lost; traces lead to events."""
    threshold = Threshold(count, 60.0, ("app",))
    rules = RuleSet((rule(1, Exists("app"), threshold=threshold, repeat=repeat, limit=Limit(most, 60.0)),))
    engine = Engine("logs", rules)
    engine.lines([line.encode("latin-1") for line in lines], "here")
    counts = engine.counts
    assert counts.lines == len(lines) == counts.parsed + counts.bad
    assert counts.matched == sum(line.startswith("Dec") for line in lines)
    assert counts.raised == len(engine.pending) + counts.repeated + counts.limited
    assert len(engine.bad_lines) == counts.bad
    traces = [trace for alert in engine.pending for trace in cast(tuple[str, ...], alert.fields.get("traces", ()))]
    assert len(set(traces)) == len(traces)
    assert all(alert.count == count and alert.trace in (traces or {alert.trace}) for alert in engine.pending)
    pending = len(engine.pending)
    if pending:
        engine.sent()
    engine.give_up()
    assert counts.sent + counts.lost == pending


def test_a_swap_of_the_rules_keeps_what_led_up_to_an_alert() -> None:
    """For a rule that stays as it was, wherever it was read; one that changed begins anew."""
    threshold = Threshold(2, 60.0)
    same = rule(1, Exists("app"), threshold=threshold, origin="old")
    changed = rule(2, Exists("app"), threshold=threshold)
    engine = Engine("logs", RuleSet((same, changed)))
    engine.lines([b"Dec 10 06:55:46 h a: x"], "here")
    engine.rules = RuleSet(
        (rule(1, Exists("app"), threshold=threshold, origin="new"), rule(2, Exists("host"), threshold=threshold))
    )
    engine.lines([b"Dec 10 06:55:46 h a: x"], "here")
    assert [alert.rule for alert in engine.pending] == ["rule-1"]


def test_only_the_beginning_of_a_bad_line_is_kept() -> None:
    """However long it is."""
    engine = Engine("logs", RuleSet(), bad_lines=1)
    engine.lines([b"x" * 10_000], "here")
    assert len(engine.bad_lines[0].line) == 200


@given(st.builds(PacketEvent, source=st.text(), protocol=st.text(), src=st.text(), dst=st.text(), detail=st.text()))
@settings(deadline=None)
def test_any_packet_can_be_matched(packet: PacketEvent) -> None:
    """Whatever texts it has, and its trace goes on."""
    engine = Engine("logs", RuleSet((rule(1, Test("message", "regex", ("(?P<all>.*)",)), repeat=0.0),)))
    engine.packets([packet])
    assert [alert.trace for alert in engine.pending] == [packet.trace]
