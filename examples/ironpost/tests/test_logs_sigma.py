"""Sigma rules: the real corpus, the meaning of each construct, and what becomes of those that are not supported."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ironpost.events import Severity
from ironpost.logs.conditions import Fields
from ironpost.logs.engine import Engine
from ironpost.logs.rulefiles import rule_files
from ironpost.logs.rules import RuleSet
from ironpost.logs.sigma import read_sigma

CORPUS = Path(__file__).parents[4] / "shared" / "data" / "sigma-linux.zip"

RULE = """
title: A rule
id: 11111111-2222-3333-4444-555555555555
status: test
level: high
logsource:
    product: linux
    {logsource}
detection:
    selection:
        {detection}
    condition: {condition}
"""


def holds(
    tmp_path: Path, detection: str, event: Fields, condition: str = "selection", logsource: str = "category: x"
) -> bool:
    """Say whether a rule with one selection holds for an event."""
    file = tmp_path / "rule.yml"
    file.write_text(RULE.format(detection=detection, condition=condition, logsource=logsource))
    rules, skipped = read_sigma([file])
    assert not skipped, skipped
    return bool(RuleSet(rules).matching(event))


@pytest.mark.parametrize(
    ("detection", "yes", "no"),
    [
        ("A: Root", {"A": "rOOt"}, {"A": "roots"}),
        ("A: [x, y]", {"A": "Y"}, {"A": "z"}),
        ("A|cased: Root", {"A": "Root"}, {"A": "root"}),
        ("A: '*root'", {"A": "xroot"}, {"A": "rootx"}),
        ("A: 'root*'", {"A": "rootx"}, {"A": "xroot"}),
        ("A: '*root*'", {"A": "xRootx"}, {"A": "rot"}),
        ("A: 'r*t'", {"A": "RO\nOT"}, {"A": "root!"}),
        ("A: 'r??t'", {"A": "rööt"}, {"A": "rt"}),
        (r"A: 'r\*t'", {"A": "R*T"}, {"A": "root"}),
        (r"A: 'C:\dir\\*'", {"A": r"c:\DIR\file"}, {"A": "c:/dir/file"}),
        ("A: '*'", {"A": ""}, {}),
        ("A|startswith: '/tmp/'", {"A": "/TMP/x"}, {"A": "/var/tmp/"}),
        ("A|endswith: ['.sh', '.py']", {"A": "x.PY"}, {"A": "x.pyc"}),
        ("A|contains: 'a.c'", {"A": "xa.cx"}, {"A": "abc"}),
        ("A|contains|all: [a, b]", {"A": "b a"}, {"A": "a c"}),
        ("A|re: '^a+$'", {"A": "aaa"}, {"A": "AAA"}),
        ("A|re|i: '^a+$'", {"A": "AAA"}, {"A": "b"}),
        ("A|cidr: 10.0.0.0/8", {"A": "10.1.2.3"}, {"A": "11.1.2.3"}),
        ("A|gte: 5", {"A": 5}, {"A": "4.9"}),
        ("A|lt: 5", {"A": "4"}, {"A": 5}),
        ("A|exists: true", {"A": "x"}, {"B": "x"}),
        ("A|exists: false", {"B": "x"}, {"A": "x"}),
        ("A: null", {}, {"A": "x"}),
        ("A: 4444", {"A": 4444}, {"A": 444}),
        ("A: true", {"A": True}, {"A": False}),
        ("A: 1\n        B: 2", {"A": 1, "B": "2"}, {"A": 1}),
        ("- oops\n        - 'bad *x'", {"message": "a BAD thing x"}, {"message": "bad"}),
        ("'|all': [one, two]", {"message": "two ONE"}, {"message": "one"}),
        ("A|base64: abc", {"A": "YWJj"}, {"A": "abc"}),
        ("A|windash|contains: ' -x'", {"A": "a /x"}, {"A": "a x"}),
    ],
)
def test_each_construct_means_what_sigma_says(tmp_path: Path, detection: str, yes: Fields, no: Fields) -> None:
    """By an event for which it holds, and one for which it does not."""
    assert holds(tmp_path, detection, yes)
    assert not holds(tmp_path, detection, no)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("selection and filter_a", {3}),
        ("selection and not filter_a", {1}),
        ("1 of filter_*", {2, 3}),
        ("all of them", {3}),
        ("not (selection or filter_a)", {0}),
    ],
)
def test_conditions_are_combined(tmp_path: Path, condition: str, expected: set[int]) -> None:
    """For the four events that have A and B, one of them, or none."""
    text = "A: x\n    filter_a:\n        B: x"
    events = [{"C": "x"}, {"A": "x"}, {"B": "x"}, {"A": "x", "B": "x"}]
    assert {n for n, event in enumerate(events) if holds(tmp_path, text, event, condition)} == expected


def test_a_rule_for_a_service_asks_for_its_program(tmp_path: Path) -> None:
    """The program of that name, or one of those behind it; for the audit daemon a record of its."""
    keyword = "- oops"
    for service, event in [("sshd", {"app": "sshd"}), ("cron", {"app": "CRON"}), ("auditd", {"type": "EXECVE"})]:
        assert holds(tmp_path, keyword, {**event, "message": "oops"}, logsource=f"service: {service}")
        assert not holds(tmp_path, keyword, {"app": "other", "message": "oops"}, logsource=f"service: {service}")
    assert holds(tmp_path, keyword, {"message": "oops"}, logsource="service: syslog")


def test_what_a_rule_says_about_itself_is_kept(tmp_path: Path) -> None:
    """Its title, its level, where it is."""
    file = tmp_path / "rule.yml"
    file.write_text(RULE.format(detection="A: x", condition="selection", logsource="category: x"))
    ((rule,), _) = read_sigma([file])
    assert (rule.id, rule.title, rule.severity, rule.origin) == (
        "sigma:11111111-2222-3333-4444-555555555555",
        "A rule",
        Severity.HIGH,
        str(file),
    )


@pytest.mark.parametrize(
    ("detection", "reason"),
    [
        ("A|fieldref: B", "a SigmaFieldReference as the value of 'A' is not supported"),
        ("A|expand: '%admins%'", "the placeholder in the value of 'A' is not supported"),
        ("A|hour: 3", "parts of time stamps are not supported"),
        ("A|re: '(?=x)'", "invalid perl operator: (?="),
        ("A|nonsense: x", "Unknown modifier"),
    ],
)
def test_what_is_not_supported_is_named_and_the_others_load(tmp_path: Path, detection: str, reason: str) -> None:
    """A rule that asks for it is skipped; the one in the next file is not, nor is one that was there before."""
    for name, inside in [("a", "A: x"), ("b", detection), ("c", "A: y")]:
        text = RULE.format(detection=inside, condition="selection", logsource="category: x")
        (tmp_path / f"{name}.yml").write_text(text.replace("11111111", f"{ord(name):08}"))
    (tmp_path / "d.yml").write_text("{")
    (tmp_path / "e.yml").write_text("title: no rule")
    rules, skipped = read_sigma(rule_files([tmp_path], deep=True))
    assert len(rules) == 2
    assert [one.file[-5:] for one in skipped] == ["b.yml", "d.yml", "e.yml"]
    assert reason in skipped[0].reason
    assert skipped[0].title == "A rule"


def test_the_other_rules_of_a_file_load(tmp_path: Path) -> None:
    """Behind one that does not."""
    texts = [
        RULE.format(detection=inside, condition="selection", logsource="category: x").replace("11111111", f"{n:08}")
        for n, inside in enumerate(["A|fieldref: B", "A: x", "A: y"])
    ]
    (tmp_path / "rules.yml").write_text("---".join(texts))
    rules, skipped = read_sigma([tmp_path / "rules.yml"])
    assert (len(rules), len(skipped)) == (2, 1)


def test_a_correlation_is_named(tmp_path: Path) -> None:
    """It is no rule that stands alone."""
    (tmp_path / "rule.yml").write_text(
        RULE.format(detection="A: x", condition="selection", logsource="category: x")
        + """---
title: Many
name: many
correlation:
    type: event_count
    rules: [11111111-2222-3333-4444-555555555555]
    group-by: [A]
    timespan: 1h
    condition: {gte: 10}
"""
    )
    rules, (skipped,) = read_sigma([tmp_path / "rule.yml"])
    assert len(rules) == 1
    assert "SigmaCorrelationRule is not supported" in str(skipped)


@given(st.text("*?\\ab.[", max_size=8), st.text("ab.*?\\[\n", max_size=8))
@settings(deadline=None)
def test_wildcards_match_as_a_naive_matcher_says(
    tmp_path_factory: pytest.TempPathFactory, value: str, text: str
) -> None:
    """A star is any text, a question mark is one letter, a backslash makes one of these, or itself, plain."""
    file = tmp_path_factory.mktemp("sigma") / "rule.yml"
    quoted = value.replace("'", "''")
    file.write_text(RULE.format(detection=f"A: '{quoted}'", condition="selection", logsource="category: x"))
    rules, skipped = read_sigma([file])
    assert not skipped
    assert bool(RuleSet(rules).matching({"A": text})) == naive(pattern_of(value), text)


def pattern_of(value: str) -> list[str]:
    """Cut a value into letters, each plain one with a backslash before it."""
    parts = []
    at = 0
    while at < len(value):
        if value[at] == "\\" and value[at + 1 : at + 2] in ("*", "?", "\\"):
            parts.append("\\" + value[at + 1])
            at += 2
        else:
            parts.append(value[at] if value[at] in "*?" else "\\" + value[at])
            at += 1
    return parts


def naive(parts: list[str], text: str) -> bool:
    if not parts:
        return not text
    if parts[0] == "*":
        return any(naive(parts[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and (parts[0] == "?" or parts[0][1] == text[0]) and naive(parts[1:], text[1:])


@pytest.mark.skipif(not CORPUS.exists(), reason=f"{CORPUS} is not here")
def test_the_linux_corpus_compiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At least 95 of 100 rules; each that does not is named."""
    with zipfile.ZipFile(CORPUS) as archive:
        archive.extractall(tmp_path)
        files = rule_files([tmp_path], deep=True)
        assert len(files) == sum(name.endswith(".yml") for name in archive.namelist())
    rules, skipped = read_sigma(files)
    with capsys.disabled():
        print(f"\nSigma, Linux: {len(rules)} of {len(rules) + len(skipped)} rules compile")
        for one in skipped:
            print(f"  {one}")
    assert len(rules) + len(skipped) == len(files)
    assert len(rules) >= 0.95 * len(files)
    engine = Engine("logs", RuleSet(rules))
    engine.lines(
        [
            b"Dec 10 06:55:46 h sshd[1]: error: Local: crc32 compensation attack",
            b'{"Image": "/usr/bin/base64", "CommandLine": "base64 -d /tmp/x"}',
            b"Dec 10 06:55:46 h sshd[1]: Accepted password for me from 10.0.0.1 port 22 ssh2",
        ],
        "here",
    )
    assert {alert.title for alert in engine.pending} == {
        "Suspicious OpenSSH Daemon Error",
        "Suspicious Activity in Shell Commands",
        "Decode Base64 Encoded Text",
    }


def test_rules_that_share_an_id_and_differ_are_told(tmp_path: Path) -> None:
    """The same rule twice is one; another one is named, with both files, instead of being dropped in silence."""
    first, again, other = (tmp_path / name / "rule.yml" for name in ("first", "again", "other"))
    for file, value in ((first, "x"), (again, "x"), (other, "y")):
        file.parent.mkdir()
        text = RULE.format(detection=f"A: {value}", condition="selection", logsource="category: x")
        file.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("id:")))
    rules, skipped = read_sigma([first, again, other])
    assert [rule.id for rule in rules] == ["sigma:rule"]
    assert [str(each) for each in skipped] == [f"{other}: A rule: 'sigma:rule' is the id of another rule, in {first}"]
