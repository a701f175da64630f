"""The pages about the scanner, the network engine and the guard name the settings that there are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fsm_plugins import Plugin
from fsm_plugins.config import structure_settings
from ironpost.guard import ContainerGuard, Policy
from ironpost.network import EbpfEngine
from ironpost.sbom import SbomScanner

DOCS = Path(__file__).resolve().parents[1] / "docs"
PORTS = frozenset({"alerts", "actions", "packets"})


def names_in(table: str) -> set[str]:
    """Return what the first column of a table names."""
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def known(kind: type) -> set[str]:
    """Return the settings that a class takes, as the message about an unknown one lists them."""
    _, problems = structure_settings(kind, {"zzzzzzzz": 1}, "", PORTS)
    (unknown,) = [problem.what for problem in problems if "unknown key" in problem.what]
    return set(unknown.partition("there are: ")[2].split(", "))


@pytest.mark.parametrize("kind", [SbomScanner, EbpfEngine, ContainerGuard])
def test_a_page_names_all_settings_and_its_examples_are_sound(kind: type[Plugin]) -> None:
    """No more and no fewer."""
    text = (DOCS / f"{kind.info.name}.md").read_text(encoding="utf-8")
    settings, _, rest = text.partition("\n## ")
    assert names_in(settings) == known(kind)
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert examples
    for example in examples:
        section = tomllib.loads(example)["plugins"][kind.info.name]
        assert section["use"] == kind.info.name
        assert structure_settings(kind, section["settings"], "", PORTS)[1] == []
    if kind is ContainerGuard:
        assert names_in(rest) == known(Policy)
