"""The documentation of the format says the truth."""

import re
from pathlib import Path

import pytest

from fsm_plugins import ConfigError
from fsm_plugins.config import load_config

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
_BLOCK = re.compile(r"^```(toml invalid|toml|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = _BLOCK.findall(DOCUMENT.read_text())
PAGES = (DOCUMENT, DOCUMENT.with_name("observing.md"), DOCUMENT.with_name("journal.md"))
VALID = [text for page in PAGES for kind, text in _BLOCK.findall(page.read_text()) if kind == "toml"]


@pytest.mark.parametrize("text", VALID, ids=range(len(VALID)))
def test_each_example_is_valid(tmp_path: Path, text: str) -> None:
    """Every TOML block is a configuration that can be read."""
    (tmp_path / "edge.toml").write_text(text)
    load_config(tmp_path / "edge.toml", {})


def test_the_reports_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two reports are what the program says, to the letter."""
    monkeypatch.chdir(tmp_path)
    (invalid,) = [text for kind, text in BLOCKS if kind == "toml invalid"]
    reports = [text for kind, text in BLOCKS if kind == "text"]
    Path("edge.toml").write_text(invalid)
    with pytest.raises(ConfigError) as caught:
        load_config("edge.toml", {"FSM_PLUGINS__PLUGINS__DETECTR__ENABLED": "false"})
    assert str(caught.value) + "\n" == reports[0]
    Path("edge.toml").write_text("[app]\nname = edge\n")
    with pytest.raises(ConfigError) as caught:
        load_config("edge.toml", {})
    assert str(caught.value) + "\n" == reports[1]


def test_there_are_examples() -> None:
    """The document has not lost its blocks to a change of its form."""
    assert len(VALID) >= 4 and "FSM_PLUGINS__" in DOCUMENT.read_text()
