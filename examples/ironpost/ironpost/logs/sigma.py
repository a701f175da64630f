"""Sigma rules -> the same `Rule` values that our own files give. The parser is pySigma's, what is made of it is not.

Rules come from a community, by the hundred, and some will always ask for what is not here. Such a rule is skipped, with
the name of what it asks for, and the others load.

Sigma's values are compared without regard to case, and may have wildcards. A value without a field is looked for in the
message. A rule for a service asks for the program of that name; one for a category of events, such as the creation of
processes, asks for its fields only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from attrs import frozen
from sigma.collection import SigmaCollection
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.rule import SigmaRule
from sigma.types import (
    CompareOperators,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from ironpost.events import Severity
from ironpost.logs.conditions import All, Any, Condition, Exists, Not, Operator, Test
from ironpost.logs.patterns import Pattern
from ironpost.logs.rules import Rule

__all__ = ["Skipped", "read_sigma"]


@frozen
class Skipped:
    """A Sigma rule that is not used.

    Attributes:
        file: where it is.
        title: what it is called, as far as that is known.
        reason: what stands in the way.
    """

    file: str
    title: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.title + ': ' if self.title else ''}{self.reason}"


class _Unsupported(Exception):
    """A construct that there is nothing for here; the text names it."""


# The programs behind the services that Sigma names. A service that is not here is a program of its name.
_PROGRAMS: Final = {
    "clamav": ("clamd", "clamav", "freshclam", "clamscan"),
    "cron": ("cron", "CRON", "crond", "anacron", "crontab"),
    "guacamole": ("guacd", "guacamole"),
    "sshd": ("sshd", "sshd-session"),
}
_ANY_PROGRAM: Final = ("syslog", "auth", "journald")

_SEVERITIES: Final = {
    "informational": Severity.INFO,
    "low": Severity.LOW,
    "medium": Severity.MEDIUM,
    "high": Severity.HIGH,
    "critical": Severity.CRITICAL,
}
_COMPARISONS: Final[dict[CompareOperators, Operator]] = {
    CompareOperators.LT: "lt",
    CompareOperators.LTE: "lte",
    CompareOperators.GT: "gt",
    CompareOperators.GTE: "gte",
}
_FLAGS: Final = {
    SigmaRegularExpressionFlag.IGNORECASE: "i",
    SigmaRegularExpressionFlag.MULTILINE: "m",
    SigmaRegularExpressionFlag.DOTALL: "s",
}


def read_sigma(
    files: Iterable[Path], check: Callable[[], None] = lambda: None
) -> tuple[tuple[Rule, ...], tuple[Skipped, ...]]:
    """Read the Sigma rules of some files.

    Args:
        check: called for each file; it may raise to end the reading.

    Returns:
        The rules that can be used, and those that cannot, with the reasons. A rule is used once, however often it is
        there. One without an id has the name of its file for it.
    """
    rules: dict[str, Rule] = {}
    skipped: list[Skipped] = []
    for file in files:
        check()
        try:
            parsed = SigmaCollection.from_yaml(file.read_text(encoding="utf-8"), collect_errors=True)
        except Exception as error:  # pySigma raises whatever the libraries below it raise
            skipped.append(Skipped(str(file), "", f"cannot be read: {_one_line(error)}"))
            continue
        of_rules = {id(error) for one in parsed.rules for error in one.errors}
        if apart := [_one_line(error) for error in parsed.errors if id(error) not in of_rules]:
            skipped.append(Skipped(str(file), "", "; ".join(apart)))
        for one in parsed.rules:
            title = _one_line(one.title or "")
            try:
                if not isinstance(one, SigmaRule):
                    raise _Unsupported(f"a {type(one).__name__} is not supported")
                if one.errors:
                    raise _Unsupported("; ".join(map(_one_line, one.errors)))
                rule = _rule(one, file)
            except Exception as error:
                skipped.append(Skipped(str(file), title, _one_line(error)))
                continue
            if rules.setdefault(rule.id, rule) != rule:
                what = f"{rule.id!r} is the id of another rule, in {rules[rule.id].origin}"
                skipped.append(Skipped(str(file), title, what))
    return tuple(rules.values()), tuple(skipped)


def _one_line(text: object) -> str:
    return " ".join(str(text).split()) or type(text).__name__


def _rule(rule: SigmaRule, file: Path) -> Rule:
    conditions = [_condition(condition.parsed) for condition in rule.detection.parsed_condition]
    found = conditions[0] if len(conditions) == 1 else Any(tuple(conditions))
    service = _service(rule.logsource.service)
    return Rule(
        id=f"sigma:{rule.id or file.stem}",
        title=_one_line(rule.title),
        severity=Severity.MEDIUM if rule.level is None else _SEVERITIES[rule.level.name.lower()],
        condition=found if service is None else All((service, found)),
        origin=str(file),
        references=tuple(map(str, rule.references)),
    )


def _service(name: str | None) -> Condition | None:
    if name is None or name in _ANY_PROGRAM:
        return None
    if name == "auditd":
        return Exists("type")  # the kind of record, which all events of the audit daemon have
    return Test("app", "equals", _PROGRAMS.get(name, (name,)))


def _condition(parsed: object) -> Condition:
    match parsed:
        case ConditionAND(args=parts):
            return All(tuple(map(_condition, parts)))
        case ConditionOR(args=parts):
            return _joined([_condition(part) for part in parts])
        case ConditionNOT(args=[part]):
            return Not(_condition(part))
        case ConditionFieldEqualsValueExpression(field=field, value=value):
            return _value(field, value)
        case ConditionValueExpression(value=value):
            return _value("message", value, keyword=True)
    raise _Unsupported(f"a {type(parsed).__name__} in the condition is not supported")


def _joined(parts: Sequence[Condition]) -> Condition:
    """Return that one of some conditions holds; tests of one field that differ in their values only become one."""
    together: dict[tuple[str, Operator, bool], list[str]] = {}
    others: list[Condition] = []
    for part in parts:
        if isinstance(part, Test):
            together.setdefault((part.field, part.operator, part.ignore_case), []).extend(part.values)
        else:
            others.append(part)
    joined: list[Condition] = [
        Test(field, operator, tuple(values), ignore_case) for (field, operator, ignore_case), values in together.items()
    ]
    joined += others
    return joined[0] if len(joined) == 1 else Any(tuple(joined))


def _value(field: str, value: object, keyword: bool = False) -> Condition:
    match value:
        case SigmaString():
            return _string(field, value, keyword)
        case SigmaTimestampPart():
            raise _Unsupported("parts of time stamps are not supported")
        case SigmaNumber() if keyword:
            return Test(field, "contains", (str(value),))
        case SigmaNumber():
            return Test(field, "equals", (str(value),))
        case SigmaBool(boolean=boolean):
            return Test(field, "equals", ("true" if boolean else "false",), ignore_case=True)
        case SigmaExpansion(values=values):  # what a modifier made of one value
            return _joined([_value(field, each, keyword) for each in values])
        case SigmaNull():
            return Not(Exists(field))
        case SigmaExists(exists=exists):
            return Exists(field) if exists else Not(Exists(field))
        case SigmaRegularExpression():
            flags = "".join(sorted(_FLAGS[flag] for flag in value.flags))
            return Test(field, "regex", ((f"(?{flags})" if flags else "") + str(value.regexp),))
        case SigmaCIDRExpression(cidr=cidr):
            return Test(field, "cidr", (cidr,))
        case SigmaCompareExpression(op=op, number=number):
            if op in _COMPARISONS:
                return Test(field, _COMPARISONS[op], (str(number),))
            return All((Exists(field), Not(Test(field, "equals", (str(number),)))))
    raise _Unsupported(f"a {type(value).__name__} as the value of {field!r} is not supported")


def _string(field: str, value: SigmaString, keyword: bool) -> Condition:
    parts = list(value.s)
    cased = isinstance(value, SigmaCasedString)
    if any(not isinstance(part, str | SpecialChars) for part in parts):
        raise _Unsupported(f"the placeholder in the value of {field!r} is not supported")
    many = SpecialChars.WILDCARD_MULTI
    if keyword:
        parts = [many, *parts, many]
    before, after = parts[:1] == [many], len(parts) > 1 and parts[-1] == many
    while parts[:1] == [many]:
        del parts[0]
    while parts[-1:] == [many]:
        del parts[-1]
    if not parts and before:
        return Exists(field)
    operator: Literal["contains", "endswith", "startswith", "equals"] = (
        ("contains" if after else "endswith") if before else ("startswith" if after else "equals")
    )
    if all(isinstance(part, str) for part in parts):
        text = "".join(map(str, parts))
        return Test(field, operator, (text,), ignore_case=not cased and text.lower() != text.upper())
    middle = "".join(Pattern.quote(part) if isinstance(part, str) else ".*" if part is many else "." for part in parts)
    expression = f"(?s){'' if before else '^'}{middle}{'' if after else '$'}"
    wild = Test(field, "regex", (expression,), ignore_case=not cased)
    longest = max((part for part in parts if isinstance(part, str)), key=len, default="")
    # A plain piece is looked for first, because that is cheaper, and can be done for many rules at once.
    return All((Test(field, "contains", (longest,), ignore_case=not cased), wild)) if longest else wild
