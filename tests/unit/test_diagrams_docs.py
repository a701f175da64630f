"""The pictures in the documentation are what the code says, and the blocks they are in work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fsm_plugins.diagrams.blocks import difference, fenced, fill

ROOT = Path(__file__).parents[2]
MAKE = ROOT / "docs" / "state-diagrams" / "make.py"


def test_no_picture_has_drifted() -> None:
    """Every generated file, and every block in the documents, is what the generator writes; else: make diagrams."""
    ran = subprocess.run([sys.executable, MAKE, "--check"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_a_block_is_filled_and_stays_filled() -> None:
    """What is between the comments is replaced, all else stays, and a second time changes nothing."""
    text = (
        "# A\n<!-- diagram: one -->\nold\n\nolder\n<!-- /diagram -->\nrest\n  <!-- diagram: two -->\n<!-- /diagram -->"
    )
    filled = fill(text, {"one": "1\n", "two": "2"})
    assert filled == (
        "# A\n<!-- diagram: one -->\n1\n<!-- /diagram -->\nrest\n  <!-- diagram: two -->\n2\n<!-- /diagram -->"
    )
    assert fill(filled, {"one": "1\n", "two": "2"}) == filled


def test_a_block_in_code_is_left_alone() -> None:
    """Documentation may show what a block looks like."""
    text = "````md\n```\n<!-- diagram: x -->\n````\n<!-- diagram: x -->\n<!-- /diagram -->\n"
    assert fill(text, {"x": "X"}) == text.replace("-->\n<!-- /", "-->\nX\n<!-- /")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n<!-- diagram: lifecycel -->\n<!-- /diagram -->", "line 2: .*'lifecycel' \\(did you mean 'lifecycle'"),
        ("<!-- diagram: lifecycle -->\nrest", "line 1: the diagram 'lifecycle' does not end; add <!-- /diagram -->"),
    ],
)
def test_a_block_that_cannot_be_filled_is_refused(text: str, says: str) -> None:
    """The error tells the line and the remedy."""
    with pytest.raises(ValueError, match=says):
        fill(text, {"lifecycle": ""})


def test_a_fence_is_longer_than_what_is_in_it() -> None:
    """Text with backticks does not end its own block."""
    assert fenced("a ```` b").splitlines()[0] == "`````mermaid"


def test_a_difference_is_a_unified_diff() -> None:
    """No difference is nothing; a file that is missing, or has no last line end, is told, too."""
    assert difference("x", "a\n", "a\n") == ""
    assert "--- /dev/null\n+++ x (generated)\n" in difference("x", None, "a\n")
    assert "\\ No newline at end of file\n" in difference("x", "a", "a\n")
