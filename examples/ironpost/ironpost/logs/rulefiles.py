"""Rules as people write them: YAML files -> `Rule` values, or everything that is wrong with them at once.

::

    rules:
      - id: ssh-brute-force
        title: Many failed passwords from one address
        severity: high                       # info, low, medium, high, critical
        match:
          all:                               # all, any: lists of conditions; not: a condition
            - {field: app, equals: sshd}     # equals, contains, startswith, endswith, regex: a value or a list of them
            - {field: message, regex: 'Failed password .* from (?P<src>\\S+)'}
            - not: {field: user, exists: true}
        threshold: {count: 5, window: 60, by: [src]}     # optional; seconds
        alike: [src]                         # optional; what makes two alerts the same
        repeat: 300                          # optional; seconds for which the same alert is held back
        limit: {count: 10, window: 60}       # optional; alerts of this rule that are let through

A named group of a regular expression becomes a field, for ``by`` and ``alike`` and in the alert.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeVar, cast

import yaml
from attrs import define, field

from fsm_plugins import ConfigError, Problem
from ironpost.events import Severity
from ironpost.logs.conditions import All, Any, Condition, Exists, Not, Operator, Test, texts_of
from ironpost.logs.rules import Limit, Rule, Threshold

__all__ = ["SHIPPED", "read_rules", "rule_files"]

SHIPPED: Final = Path(__file__).parents[1] / "rules"
"""The directory of the rules that come with the application."""

_OPERATORS: Final = ("equals", "contains", "startswith", "endswith", "regex", "cidr", "lt", "lte", "gt", "gte")
_DEPTH: Final = 32
"""How deep conditions may be nested."""

T = TypeVar("T")


def rule_files(paths: Iterable[Path], *, deep: bool = False) -> list[Path]:
    """Return the YAML files that are meant by files and directories, those of a directory sorted.

    Args:
        paths: files, and directories with ``*.yaml`` and ``*.yml`` files.
        deep: whether to look in directories of directories.

    Raises:
        ConfigError: a path is not there, or a directory has no such file.
    """
    found: list[Path] = []
    problems = []
    for path in paths:
        if path.is_dir():
            inside = path.rglob("*") if deep else path.iterdir()
            files = sorted(each for each in inside if each.suffix in (".yaml", ".yml") and each.is_file())
            if not files:
                problems.append(Problem(str(path), "there is no *.yaml file in this directory"))
            found += files
        elif path.is_file():
            found.append(path)
        else:
            problems.append(Problem(str(path), "there is no such file or directory"))
    if problems:
        raise ConfigError("rules", problems)
    return found


def read_rules(files: Sequence[Path], check: Callable[[], None] = lambda: None) -> tuple[Rule, ...]:
    """Read all rules of some files.

    Args:
        check: called for each file; it may raise to end the reading.

    Raises:
        ConfigError: with everything that is wrong in all of them, each with the file and the path of the key.
    """
    rules: dict[str, Rule] = {}
    problems: list[Problem] = []
    for file in files:
        check()
        reading = _Reading(str(file))
        for where, rule in reading.rules(file):
            if rule.id in rules:
                reading.wrong(f"{where}.id", f"{rule.id!r} is the id of another rule, in {rules[rule.id].origin}")
            rules.setdefault(rule.id, rule)
        problems += reading.problems
    if problems:
        raise ConfigError("rules", problems)
    return tuple(rules.values())


# YAML.


class _Loader(yaml.SafeLoader):
    """Reads YAML as other readers do, but refuses a key that is there twice, instead of forgetting the first one."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, object]:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load_yaml(text: str | bytes) -> object:
    """Return the one document of a YAML text.

    Raises:
        ValueError: it is not YAML; the text says where.
    """
    try:
        return cast(object, yaml.load(text, _Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        raise ValueError(f"not YAML{where}: {error.problem or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None


# Reading.

_RULE_KEYS: Final = ("id", "title", "severity", "match", "threshold", "repeat", "alike", "limit", "references")
_PLAIN: Final = Rule("", "", Severity.INFO, All(()))
"""A rule that says nothing but what it must; it has the defaults."""


@define
class _Reading:
    """Reads one file, and takes down what is wrong in it."""

    file: str
    problems: list[Problem] = field(factory=list)

    def wrong(self, where: str, what: str) -> None:
        self.problems.append(Problem(f"{self.file}: {where}" if where else self.file, what))

    def rules(self, file: Path) -> Iterator[tuple[str, Rule]]:
        """Yield the sound rules of the file, with their places."""
        try:
            document = load_yaml(file.read_bytes())
        except (OSError, ValueError) as error:
            self.wrong("", str(error))
            return
        table = self._table("", document, ("rules",), required=("rules",))
        items = None if table is None else table.get("rules")
        if items is None:
            return
        if not isinstance(items, list):
            self.wrong("rules", f"expected a list of rules, got {_shown(items)}")
            return
        for number, item in enumerate(items):
            before = len(self.problems)
            rule = self._rule(f"rules[{number}]", item)
            if rule is not None and len(self.problems) == before:
                yield f"rules[{number}]", rule

    def _rule(self, where: str, value: object) -> Rule | None:
        table = self._table(where, value, _RULE_KEYS, required=("id", "title", "severity", "match"))
        if table is None:
            return None

        def read(key: str, reader: Callable[[str, object], T | None], default: T) -> T:
            found = reader(f"{where}.{key}", table[key]) if key in table else None
            return default if found is None else found

        threshold = read("threshold", self._threshold, cast("Threshold | None", None))
        alike = threshold.by if threshold is not None and threshold.by else _PLAIN.alike
        return Rule(
            id=read("id", self._text, ""),
            title=read("title", self._text, ""),
            severity=read("severity", self._severity, Severity.INFO),
            condition=read("match", self._condition, cast(Condition, All(()))),
            threshold=threshold,
            repeat=read("repeat", self._seconds_or_none, _PLAIN.repeat),
            alike=read("alike", self._names, alike),
            limit=read("limit", self._limit, _PLAIN.limit),
            origin=f"{self.file}: {where}",
            references=read("references", self._names, ()),
        )

    # Conditions.

    def _condition(self, where: str, value: object, depth: int = _DEPTH) -> Condition | None:
        if not depth:
            self.wrong(where, f"conditions are nested more than {_DEPTH} deep")
            return None
        if not isinstance(value, dict) or not value:
            self.wrong(where, f"expected a condition such as {{field: app, equals: sshd}}, got {_shown(value)}")
            return None
        if "field" in value:
            return self._test(where, value)
        if len(value) > 1:
            self.wrong(where, f"expected one of all, any, not, or a test of a field; got {', '.join(map(str, value))}")
            return None
        ((kind, inner),) = value.items()
        if kind == "not":
            part = self._condition(f"{where}.not", inner, depth - 1)
            return None if part is None else Not(part)
        if kind not in ("all", "any"):
            self.wrong(f"{where}.{kind}", f"unknown condition{_hint(kind, ('all', 'any', 'not', 'field'))}")
            return None
        if not isinstance(inner, list) or not inner:
            self.wrong(f"{where}.{kind}", f"expected a list of conditions, got {_shown(inner)}")
            return None
        parts = [self._condition(f"{where}.{kind}[{n}]", item, depth - 1) for n, item in enumerate(inner)]
        sound = tuple(part for part in parts if part is not None)
        return All(sound) if kind == "all" else Any(sound)

    def _test(self, where: str, value: dict[object, object]) -> Condition | None:
        table = self._table(where, value, ("field", "exists", "ignore_case", *_OPERATORS), required=("field",))
        if table is None:
            return None
        name = self._text(f"{where}.field", table["field"])
        ignore_case = self._boolean(f"{where}.ignore_case", table.get("ignore_case", False))
        operators = [key for key in table if key not in ("field", "ignore_case")]
        if len(operators) != 1:
            got = ", ".join(operators) or "none"
            self.wrong(where, f"expected one of {', '.join((*_OPERATORS, 'exists'))}; got {got}")
            return None
        (operator,) = operators
        if operator == "exists":
            there = self._boolean(f"{where}.exists", table["exists"])
            if name is None or there is None:
                return None
            return Exists(name) if there else Not(Exists(name))
        values = self._values(f"{where}.{operator}", table[operator])
        if name is None or ignore_case is None or values is None:
            return None
        for n, each in enumerate(values):
            place = f"{where}.{operator}" + (f"[{n}]" if isinstance(table[operator], list) else "")
            try:
                Test(name, cast(Operator, operator), (each,), ignore_case)
            except ValueError as error:
                self.wrong(place, f"{each!r} will not do: {error}")
                return None
        return Test(name, cast(Operator, operator), tuple(values), ignore_case)

    def _values(self, where: str, value: object) -> list[str] | None:
        items = value if isinstance(value, list) else [value]
        if not items or not all(isinstance(item, str | int | float) for item in items):
            self.wrong(
                where, f"expected a text or a number, or a list of them, got {_shown(value)}; quotes make a text"
            )
            return None
        return [text for item in items for text in texts_of(item)]

    # Simple values. Each returns None if it has told a problem.

    def _table(
        self, where: str, value: object, known: Sequence[str], required: Sequence[str] = ()
    ) -> Mapping[str, object] | None:
        if not isinstance(value, dict):
            self.wrong(where, f"expected a table with {', '.join(known)}, got {_shown(value)}")
            return None
        prefix = f"{where}." if where else ""
        for key in value:
            if key not in known:
                self.wrong(f"{prefix}{key}", f"unknown key{_hint(key, known)}")
        missing = [key for key in required if key not in value]
        for key in missing:
            self.wrong(f"{prefix}{key}", "missing")
        return None if missing and where == "" else {key: value[key] for key in value if key in known}

    def _text(self, where: str, value: object) -> str | None:
        if isinstance(value, str) and value.strip() == value and value and len(value.splitlines()) == 1:
            return value
        self.wrong(where, f"expected a text of one line, got {_shown(value)}")
        return None

    def _boolean(self, where: str, value: object) -> bool | None:
        if isinstance(value, bool):
            return value
        self.wrong(where, f"expected true or false, got {_shown(value)}")
        return None

    def _names(self, where: str, value: object) -> tuple[str, ...] | None:
        if not isinstance(value, list):
            self.wrong(where, f"expected a list of texts, got {_shown(value)}")
            return None
        texts = [self._text(f"{where}[{n}]", item) for n, item in enumerate(value)]
        return tuple(text for text in texts if text is not None)

    def _severity(self, where: str, value: object) -> Severity | None:
        names = [str(severity) for severity in Severity]
        if isinstance(value, str) and value in names:
            return Severity(names.index(value))
        self.wrong(where, f"expected {', '.join(names[:-1])} or {names[-1]}, got {_shown(value)}{_hint(value, names)}")
        return None

    def _count(self, where: str, value: object) -> int | None:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100_000:
            return value
        self.wrong(where, f"expected a whole number from 1 to 100000, got {_shown(value)}")
        return None

    def _seconds(self, where: str, value: object, least: str = "a positive number of seconds") -> float | None:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9:
            return float(value)
        self.wrong(where, f"expected {least}, got {_shown(value)}")
        return None

    def _seconds_or_none(self, where: str, value: object) -> float | None:
        if value == 0 and not isinstance(value, bool):
            return 0.0
        return self._seconds(where, value, "a number of seconds, or 0 to hold nothing back")

    def _threshold(self, where: str, value: object) -> Threshold | None:
        table = self._table(where, value, ("count", "window", "by"), required=("count", "window"))
        if table is None or not {"count", "window"} <= table.keys():
            return None
        count = self._count(f"{where}.count", table["count"])
        window = self._seconds(f"{where}.window", table["window"])
        by = self._names(f"{where}.by", table.get("by", []))
        return None if count is None or window is None or by is None else Threshold(count, window, by)

    def _limit(self, where: str, value: object) -> Limit | None:
        table = self._table(where, value, ("count", "window"), required=("count", "window"))
        if table is None or len(table) < 2:
            return None
        count = self._count(f"{where}.count", table["count"])
        window = self._seconds(f"{where}.window", table["window"])
        return None if count is None or window is None else Limit(count, window)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return f"a {'table' if isinstance(value, dict) else 'list'}{'' if value else ' with nothing in it'}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _hint(given: object, known: Sequence[str]) -> str:
    near = get_close_matches(str(given), known, 1)
    return f" (did you mean {near[0]!r}?)" if near else f"; there are: {', '.join(known)}"
