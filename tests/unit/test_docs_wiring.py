"""The page on wiring shows what really happens."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "wiring.md"


def test_the_examples_print_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Each code block runs after the ones above it, and prints the text block below it, or nothing."""
    module = types.ModuleType("page")
    sys.modules["page"] = module
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert [kind for kind, _ in blocks].count("python") == 7
    printed = ""
    try:
        for kind, text in blocks:
            if kind == "python":
                assert printed == ""
                exec(compile(text, str(PAGE), "exec", dont_inherit=True), vars(module))
                printed = capsys.readouterr().out
            else:
                assert printed == text
                printed = ""
    finally:
        del sys.modules["page"]
    assert printed == ""
