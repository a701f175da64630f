"""Rules as people write them: what is right is read, and everything that is wrong is told with its place."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from attrs import fields
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import ConfigError
from fsm_plugins.config import structure_settings
from ironpost.events import Severity
from ironpost.logs import LogPipeline
from ironpost.logs.conditions import All, Any, Exists, Not, Test
from ironpost.logs.engine import Engine
from ironpost.logs.rulefiles import SHIPPED, load_yaml, read_rules, rule_files
from ironpost.logs.rules import Limit, Rule, RuleSet, Threshold

PAGE = Path(__file__).parents[1] / "docs" / "log-pipeline.md"
OPENSSH = Path(__file__).parents[4] / "shared" / "data" / "openssh_2k.log"

FULL = """
rules:
  - id: full
    title: Everything there is
    severity: critical
    match:
      all:
        - {field: app, equals: [sshd, 22, true]}
        - any:
            - {field: message, contains: root, ignore_case: true}
            - {field: src, cidr: 10.0.0.0/8}
        - not: {field: user, exists: false}
        - {field: n, gte: 1.5}
    threshold: {count: 5, window: 60, by: [src]}
    alike: [src, host]
    repeat: 0
    limit: {count: 10, window: 0.5}
    references: ["https://example.org"]
  - id: short
    title: As little as there can be
    severity: info
    match: {field: a, regex: '^x'}
    threshold: {count: 2, window: 1}
"""


def read(tmp_path: Path, text: str, name: str = "rules.yaml") -> tuple[Rule, ...]:
    file = tmp_path / name
    file.write_text(text)
    return read_rules([file])


def problems(tmp_path: Path, text: str) -> list[str]:
    """Return the problems that reading gives, without the path of the file."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return [str(problem).removeprefix(f"{tmp_path / 'rules.yaml'}: ") for problem in caught.value.problems]


def test_a_rule_says_all_that_can_be_said(tmp_path: Path) -> None:
    """And what it does not say has the documented defaults."""
    full, short = read(tmp_path, FULL)
    assert full == Rule(
        "full",
        "Everything there is",
        Severity.CRITICAL,
        All(
            (
                Test("app", "equals", ("sshd", "22", "true")),
                Any((Test("message", "contains", ("root",), True), Test("src", "cidr", ("10.0.0.0/8",)))),
                Not(Not(Exists("user"))),
                Test("n", "gte", ("1.5",)),
            )
        ),
        Threshold(5, 60.0, ("src",)),
        repeat=0.0,
        alike=("src", "host"),
        limit=Limit(10, 0.5),
    )
    assert full.references == ("https://example.org",)
    assert full.origin.endswith("rules.yaml: rules[0]")
    assert (short.repeat, short.alike, short.limit) == (60.0, ("host", "message"), Limit(60, 60.0))


def test_what_counts_together_is_alike(tmp_path: Path) -> None:
    """A rule that counts by a field repeats itself if that field is the same."""
    assert read(tmp_path, FULL.replace("    alike: [src, host]\n", ""))[0].alike == ("src",)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "severity: critical",
            "severity: hihg",
            "rules[0].severity: expected info, low, medium, high or critical, got",
        ),
        ("id: full", "id: [full]", "rules[0].id: expected a text of one line, got a list"),
        ("id: full", "ide: full", "rules[0].ide: unknown key (did you mean 'id'?)"),
        ("title: Every", "tile: Every", "rules[0].tile: unknown key (did you mean 'title'?)"),
        ("title: Every", "title: |\n      a\n      b\n    tile: ", "rules[0].title: expected a text of one line, got"),
        ("id: short", "id: full", "rules[1].id: 'full' is the id of another rule, in FILE: rules[0]"),
        ("app, equals", "app, equal", "rules[0].match.all[0].equal: unknown key (did you mean 'equals'?)"),
        ("exists: false", "exists: no way", "rules[0].match.all[2].not.exists: expected true or false, got 'no way'"),
        (
            "[sshd, 22, true]",
            "[]",
            "rules[0].match.all[0].equals: expected a text or a number, or a list of them, got a",
        ),
        ("[sshd, 22, true]", "2026-01-01", "rules[0].match.all[0].equals: expected a text or a number, or a list"),
        (
            "10.0.0.0/8",
            "10.0.0.0/99",
            "rules[0].match.all[1].any[1].cidr: '10.0.0.0/99' will not do: '10.0.0.0/99' does",
        ),
        ("'^x'", "['a', '(?=x)']", "rules[1].match.regex[1]: '(?=x)' will not do: invalid perl operator: (?="),
        ("gte: 1.5", "gte: many", "rules[0].match.all[3].gte: 'many' will not do: could not convert string to float"),
        ("        - any:", "        - ayn:", "rules[0].match.all[1].ayn: unknown condition (did you mean 'any'?)"),
        ("{field: a, regex: '^x'}", "{all: []}", "rules[1].match.all: expected a list of conditions, got a list with"),
        ("regex: '^x'", "regex: x, equals: y", "rules[1].match: expected one of equals, contains, startswith"),
        ("regex: '^x'", "", "rules[1].match: expected one of equals, contains, startswith"),
        ("{field: a, regex: '^x'}", "", "rules[1].match: expected a condition such as {field: app, equals: sshd}, got"),
        ("count: 5", "count: 0", "rules[0].threshold.count: expected a whole number from 1 to 100000, got 0"),
        ("count: 5, ", "", "rules[0].threshold.count: missing"),
        ("window: 60", "window: -1", "rules[0].threshold.window: expected a positive number of seconds, got -1"),
        (
            "repeat: 0",
            "repeat: true",
            "rules[0].repeat: expected a number of seconds, or 0 to hold nothing back, got True",
        ),
        ("by: [src]", "by: src", "rules[0].threshold.by: expected a list of texts, got 'src'"),
        ("count: 10", "count: ten", "rules[0].limit.count: expected a whole number from 1 to 100000, got 'ten'"),
        ("id: full", "id: full\n    id: twice", "not YAML at line 4, column 5: the key 'id' is there twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    """The key path leads to it, and the text says what is wanted there."""
    assert FULL.count(old) >= 1
    problem = problem.replace("FILE", str(tmp_path / "rules.yaml"))
    told = problems(tmp_path, FULL.replace(old, new, 1))
    assert any(one.removeprefix(f"{tmp_path / 'rules.yaml'}: ").startswith(problem) for one in told)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """In all files, in their order."""
    good, bad, worse = tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml"
    good.write_text(FULL)
    bad.write_text("rules: [{}, {}, 3]")
    worse.write_text("- rules")
    with pytest.raises(ConfigError) as caught:
        read_rules(rule_files([tmp_path]))
    places = [problem.where for problem in caught.value.problems]
    assert places == [
        *(f"{bad}: rules[{n}].{key}" for n in (0, 1) for key in ("id", "title", "severity", "match")),
        f"{bad}: rules[2]",
        str(worse),
    ]


def test_conditions_may_not_be_nested_without_end(tmp_path: Path) -> None:
    """Nor by an alias that leads back to itself."""
    text = (
        "rules: [{id: a, title: t, severity: low, match: " + 33 * "{not: " + "{field: a, equals: b}" + 33 * "}" + "}]"
    )
    assert "conditions are nested more than 32 deep" in problems(tmp_path, text)[0]
    text = "rules: [{id: a, title: t, severity: low, match: &a {not: *a}}]"
    assert problems(tmp_path, text)[0].endswith("not YAML at line 1, column 49: found unconstructable recursive node")
    assert "not YAML" in problems(tmp_path, "[" * 500)[0]


def test_paths_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    """A path that is not there, and a directory without rules."""
    with pytest.raises(ConfigError) as caught:
        rule_files([tmp_path, tmp_path / "nothing"])
    assert [problem.what for problem in caught.value.problems] == [
        "there is no *.yaml file in this directory",
        "there is no such file or directory",
    ]


keys = st.sampled_from(
    [
        "rules",
        "id",
        "title",
        "severity",
        "match",
        "all",
        "any",
        "not",
        "field",
        "equals",
        "regex",
        "exists",
        "threshold",
        "count",
        "window",
        "by",
        "limit",
        "repeat",
    ]
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.floats() | st.text(max_size=4) | keys,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=2), inner, max_size=4),
    max_leaves=15,
)


@given(trees, st.booleans())
@settings(deadline=None)
def test_any_tree_gives_rules_or_problems(tmp_path_factory: pytest.TempPathFactory, tree: object, inside: bool) -> None:
    """Nothing else is raised, and every problem has a place and a text."""
    file = tmp_path_factory.mktemp("fuzz") / "rules.yaml"
    file.write_text(yaml.safe_dump({"rules": [tree, {"match": tree}]} if inside else tree))
    try:
        rules = read_rules([file])
    except ConfigError as error:
        assert all(problem.where and problem.what for problem in error.problems)
    else:
        RuleSet(rules)


@given(st.binary(max_size=60) | st.text("{}[]:,-&*!|>?'\"\n ab", max_size=60).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_yaml_or_not(data: bytes) -> None:
    """The parser raises one kind of error."""
    try:
        load_yaml(data)
    except ValueError as error:
        assert str(error).startswith("not YAML")


# The rules that are shipped.


def test_the_shipped_rules_can_be_read() -> None:
    """All of them, and each has a title that says what it is."""
    rules = read_rules(rule_files([SHIPPED]))
    assert len(rules) >= 10
    assert len(RuleSet(rules)) == len(rules)


@pytest.mark.skipif(not OPENSSH.exists(), reason=f"{OPENSSH} is not here")
def test_the_brute_force_of_a_real_log_is_found() -> None:
    """The addresses are those that have five failed passwords within a minute, counted by awk."""
    engine = Engine("logs", RuleSet(read_rules(rule_files([SHIPPED]))))
    engine.lines(OPENSSH.read_bytes().splitlines(), "openssh")
    found = {str(alert.fields["src"]) for alert in engine.pending if alert.rule == "ssh-brute-force"}
    # The address is the one before the word port. Times are seconds of the day; the log is of one day.
    program = r"""
        /Failed password for / {
            split($3, t, ":"); now = t[1] * 3600 + t[2] * 60 + t[3]
            for (i = NF; i > 1; i--) if ($i == "port") { src = $(i - 1); break }
            n[src]++; at[src, n[src]] = now
            if (n[src] >= 5 && now - at[src, n[src] - 4] < 60) found[src] = 1
        }
        END { for (src in found) print src }
    """
    counted = subprocess.run(["awk", program, OPENSSH], capture_output=True, text=True, check=True).stdout.split()
    assert found == set(counted)
    assert len(found) >= 3
    # And with grep: whom the rule matched at all are those who failed.
    failed = subprocess.run(["grep", "-c", "sshd.*Failed password for ", OPENSSH], capture_output=True, text=True)
    rules = [rule for rule in read_rules(rule_files([SHIPPED])) if rule.id == "ssh-brute-force"]
    alone = Engine("logs", RuleSet(rules))
    alone.lines(OPENSSH.read_bytes().splitlines(), "openssh")
    assert alone.counts.matched == int(failed.stdout)


# The documentation.


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of the page that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_page_are_what_it_says(tmp_path: Path) -> None:
    """Its rules can be read, its settings are settings with those defaults, and its problems are told so."""
    (rules,) = blocks("yaml")
    assert len(read(tmp_path, rules)) == 1
    (toml,) = blocks("toml")
    given = tomllib.loads(toml)["plugins"]["log-pipeline"]["settings"]
    sound, flaws = structure_settings(LogPipeline, given, "settings", frozenset({"alerts", "packets"}))
    assert sound.keys() == given.keys()
    assert not flaws
    settings = [field for field in fields(LogPipeline) if field.init and not field.name.startswith("_")]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert list(rows) == [
        *("files", "listen", "rules", "shipped_rules", "sigma", "positions", "follow", "begin", "poll"),
        *("rotate_wait", "save_every", "bad_lines"),
    ]
    defaults = {field.name: field.default for field in settings}
    for name, default in rows.items():
        written = None if default == "none" else tomllib.loads(f"x = {default.strip('`')}")["x"]
        assert (defaults[name] or None) == written
    (text,) = blocks("text")
    broken = re.sub("regex: '.*'", "regex: '(?=x)'", rules.replace("severity: high", "severity: hihg"))
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "ssh.yaml").write_text(broken)
    with pytest.raises(ConfigError) as caught:
        read_rules([tmp_path / "rules" / "ssh.yaml"])
    assert str(caught.value).replace(f"{tmp_path}/", "") + "\n" == text
