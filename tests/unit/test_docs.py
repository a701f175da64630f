"""The documentation is run: Python blocks, the output printed under them, and the commands of the README."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/lifecycles.md",
    "docs/diagrams.md",
    "docs/verification.md",
    "docs/supervision.md",
    "docs/observing.md",
    "docs/journal.md",
    "docs/verification-schedules.md",
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block."""
    return _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A page may change what is logged; the tests after it see everything again."""
    level = logging.getLogger("fsm_plugins").level
    yield
    logging.getLogger("fsm_plugins").setLevel(level)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_the_page_runs_and_prints_what_it_says(page: str) -> None:
    """The blocks of a page are one program; a text block is what the block above it prints."""
    namespace: dict[str, object] = {"__name__": "page"}
    printed = ""
    ran = 0
    for language, text in blocks(page):
        if language == "python":
            assert printed == "", f"the output is not shown: {printed}"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, page, "exec"), namespace)
            printed = out.getvalue()
            ran += 1
        elif language == "text":
            assert printed == text
            printed = ""
    assert printed == ""
    assert ran


def test_the_commands_of_the_readme_print_what_it_says() -> None:
    """Each line after a dollar sign is run; stdout and stderr are what stands below it, but for logs, progress, seconds."""
    consoles = [text for language, text in blocks("README.md") if language == "console"]
    assert consoles
    for console in consoles:
        for part in console.split("$ ")[1:]:
            line, _, expected = part.partition("\n")
            words = shlex.split(line)
            environ = {**os.environ, "NO_COLOR": "1"}
            while "=" in words[0]:
                key, _, value = words.pop(0).partition("=")
                environ[key] = value
            assert words[0] == "fsm-plugins"
            ran = subprocess.run(
                [sys.executable, "-m", "fsm_plugins", *words[1:]],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
                cwd=ROOT,
                env=environ,
            )
            said = "\n".join(
                entry for entry in ran.stderr.splitlines() if " INFO " not in entry and " runs, " not in entry
            )
            output = ran.stdout + (said + "\n" if said else "")
            assert _without_seconds(output) == _without_seconds(expected)


def _without_seconds(text: str) -> str:
    return re.sub(r"\d+\.\d{2,3} s", "0.000 s", text)
