"""The pages on plain asyncio and on synchronous programs do what they say."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.system.embedded import DOCS, blocks, lay_out, running, without_seconds

SLEEPS = ("asyncio.md", "synchronous.md")


@pytest.mark.parametrize("page", SLEEPS)
def test_the_program_prints_what_the_page_says(page: str, tmp_path: Path) -> None:
    """The console block of the page, but for the seconds."""
    lay_out(page, tmp_path)
    (console,) = blocks(page, "console")
    command, *expected = console.removeprefix("$ ").splitlines()
    with running(command.split(), tmp_path) as process:
        assert process.end() == 0, process.text
    assert without_seconds(process.text) == without_seconds("\n".join(expected))


@pytest.mark.parametrize("page", SLEEPS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_service_ends_with_a_signal(page: str, number: signal.Signals, tmp_path: Path) -> None:
    """Every plugin is stopped in order, and nobody sees a traceback."""
    lay_out(page, tmp_path)
    with running(["python", "service.py"], tmp_path) as process:
        process.wait_for("beat 1")
        process.process.send_signal(number)
        assert process.end() == 0, process.text
    assert [line.partition(" in ")[0] for line in process.lines[-2:]] == ["beat: stopped", "tell: stopped"]
    assert "Traceback" not in process.text


@pytest.mark.parametrize("page", SLEEPS)
@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        ("Unstartable", "HookFailed: plugin 'tell' failed in start: OSError: no device"),
        ("FailsAtALine", "PluginFailed: plugin 'tell' failed while it was running: ConnectionError: reset"),
    ],
)
def test_a_plugin_that_fails_ends_the_service(page: str, plugin: str, says: str, tmp_path: Path) -> None:
    """With the error of that plugin, and exit status 1."""
    lay_out(page, tmp_path)
    more = {"FSM_PLUGINS__PLUGINS__TELL__USE": f"broken:{plugin}"}
    with running(["python", "service.py"], tmp_path, more) as process:
        process.tell("now")
        assert process.end() == 1, process.text
    assert says in process.text


def test_every_page_can_be_found() -> None:
    """The index has a link to each page, and every link leads somewhere."""
    linked = set(re.findall(r"\]\(([^)#:]+)\)", (DOCS / "README.md").read_text(encoding="utf-8")))
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} == {link for link in linked if "/" not in link}
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (DOCS / link).exists(), (page.name, link)
