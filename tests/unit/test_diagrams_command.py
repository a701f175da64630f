"""The commands that draw: what they print, what they write, and how they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsm_plugins import LIFECYCLE, RESTARTABLE
from fsm_plugins.diagrams import (
    FORMATS,
    SEQUENCE_FORMATS,
    Step,
    coverage,
    html,
    mermaid,
    of_lifecycle,
    render,
    write_trace,
)
from fsm_plugins.diagrams.command import diagram

ROOT = Path(__file__).parents[2]
WORDS = ROOT / "examples" / "words" / "words.toml"
STEPS = [Step("p", "init", "created", "initialized"), Step("p", "init", "initialized", None)]


def run(*arguments: str | Path) -> Result:
    """Call ``diagram`` with ``arguments``. What is raised and is no exit is raised here."""
    return CliRunner().invoke(diagram, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    """A file with a trace."""
    file = tmp_path / "trace.jsonl"
    file.write_text(write_trace(STEPS), encoding="utf-8")
    return file


@pytest.mark.parametrize("format_", FORMATS)
def test_the_default_lifecycle_is_printed_in_each_format(format_: str) -> None:
    """What is printed is what the renderer makes, and nothing else."""
    ran = run("lifecycle", "--format", format_)
    assert (ran.exit_code, ran.stdout) == (0, render(of_lifecycle(LIFECYCLE), format_))


def test_mermaid_is_what_is_printed_unless_said_otherwise() -> None:
    """Without a format and a file, it is a state diagram for Markdown."""
    assert run("lifecycle").stdout == mermaid(of_lifecycle(LIFECYCLE))


def test_a_target_may_be_a_class_a_lifecycle_or_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of the current directory are found, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "drawn_targets.py").write_text(
        "import transitions\n"
        "from fsm_plugins import *\n"
        "class Lamp(Plugin):\n"
        "    info = PluginInfo('lamp', '1.0.0')\n"
        "    lifecycle = RESTARTABLE\n"
        "machine = transitions.Machine(states=['on', 'off'], initial='on', transitions=[['press', 'on', 'off']])\n"
        "def make(): return Lamp()\n"
    )
    restartable = mermaid(of_lifecycle(RESTARTABLE))
    assert run("lifecycle", "drawn_targets:Lamp").stdout == restartable
    assert run("lifecycle", "fsm_plugins:RESTARTABLE").stdout == restartable
    assert "on --> off : press" in run("lifecycle", "drawn_targets:machine").stdout
    refused = run("lifecycle", "drawn_targets:make")
    assert refused.exit_code == 1 and "name the plugin class" in refused.stderr
    sys.modules.pop("drawn_targets")


def test_a_highlight_may_have_a_note() -> None:
    """STATE and STATE=NOTE, as often as one likes."""
    drawn = of_lifecycle(LIFECYCLE, marks={"running": "3 plugins", "failed": ""})
    assert run("lifecycle", "--highlight", "running=3 plugins", "--highlight", "failed").stdout == mermaid(drawn)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("lifecycle", "nowhere:Nothing"), "there is no module 'nowhere'"),
        (("lifecycle", "fsm_plugins:LIFECYCEL"), "did you mean"),
        (("lifecycle", "--highlight", "runing"), "no state 'runing' to highlight; there are: created"),
        (("trace", "nowhere.jsonl"), "nowhere.jsonl cannot be read: No such file"),
        (("coverage", "nowhere.jsonl"), "nowhere.jsonl cannot be read: No such file"),
        (("lifecycle", "--out", "no/such/dir.svg"), "no/such/dir.svg cannot be used: No such file"),
        (("lifecycle", "--format", "png", "--out", "x.png", "--check"), "use --format svg"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: tuple[str, ...], says: str) -> None:
    """Exit status 1, one line on stderr, nothing on stdout."""
    ran = run(*arguments)
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: ") and ran.stderr.count("\n") == 1 and says in ran.stderr


def test_the_suffix_of_the_file_says_the_format(tmp_path: Path) -> None:
    """A known suffix is enough, and --format overrules it."""
    drawn = of_lifecycle(LIFECYCLE)
    for suffix, format_ in ((".svg", "svg"), (".dot", "dot"), (".md", "markdown"), (".odd", "mermaid")):
        file = tmp_path / f"x{suffix}"
        assert run("lifecycle", "--out", file).stdout == ""
        assert file.read_text(encoding="utf-8") == render(drawn, format_)
    run("lifecycle", "--out", tmp_path / "x.svg", "--format", "dot", "--theme", "dark")
    assert (tmp_path / "x.svg").read_text(encoding="utf-8") == render(drawn, "dot", theme="dark")


def test_check_tells_a_difference_and_changes_nothing(tmp_path: Path) -> None:
    """0 if the file is what would be written; else 1 and a diff, also if there is no file."""
    file = tmp_path / "x.mmd"
    missing = run("lifecycle", "--out", file, "--check")
    assert missing.exit_code == 1 and "--- /dev/null" in missing.stdout and not file.exists()
    run("lifecycle", "--out", file)
    assert run("lifecycle", "--out", file, "--check").exit_code == 0
    file.write_text(file.read_text().replace("initialized --> running", "initialized --> stopped"))
    drifted = run("lifecycle", "--out", file, "--check")
    assert drifted.exit_code == 1
    assert "-    initialized --> stopped : start\n+    initialized --> running : start\n" in drifted.stdout
    assert "initialized --> stopped" in file.read_text()
    file.write_bytes(b"\xff")
    assert "is not UTF-8" in run("lifecycle", "--out", file, "--check").stderr
    assert run("lifecycle", "--check").exit_code == 2


def test_an_application_is_a_flowchart() -> None:
    """Its plugins and channels, as text and as a picture."""
    for arguments in ((), ("--format", "mermaid"), ("--format", "flowchart")):
        assert run("app", WORDS, *arguments).stdout.splitlines()[3] == "flowchart LR"
    assert "words [str, 1024]" in run("app", WORDS, "--format", "ascii").stdout
    assert run("app", WORDS, "--format", "svg", "--direction", "down").stdout.startswith("<svg")


def test_an_application_to_a_mermaid_file_is_a_flowchart(tmp_path: Path) -> None:
    """The suffix names the format, the command its kind."""
    run("app", WORDS, "--out", tmp_path / "x.mmd")
    assert "flowchart LR" in (tmp_path / "x.mmd").read_text()


def test_an_invalid_configuration_is_told(tmp_path: Path) -> None:
    """Exit status 78 and the problems, as everywhere."""
    ran = run("app", tmp_path / "none.toml")
    assert (ran.exit_code, ran.stdout) == (78, "")
    assert "there is no such file" in ran.stderr


@pytest.mark.parametrize("format_", SEQUENCE_FORMATS)
def test_a_trace_is_a_sequence(steps: Path, format_: str) -> None:
    """Each format, with a title."""
    ran = run("trace", steps, "--format", format_, "--title", "What was", "--no-times")
    assert ran.exit_code == 0
    assert "refused" in ran.stdout and "What was" in ran.stdout and "0.000" not in ran.stdout


def test_a_trace_can_be_played_on_its_lifecycle(steps: Path, tmp_path: Path) -> None:
    """As HTML, with the lifecycle that is named."""
    run("trace", steps, "--out", tmp_path / "x.html", "--lifecycle", "fsm_plugins:RESTARTABLE", "--title", "Played")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert page == html(of_lifecycle(RESTARTABLE, title="Played"), trace=STEPS)


def test_a_configuration_with_a_problem_is_not_drawn(tmp_path: Path) -> None:
    """A picture of half an application would be wrong."""
    (tmp_path / "x.toml").write_text('[plugins.a]\nuse = "nowhere:Nothing"\n')
    ran = run("app", tmp_path / "x.toml")
    assert (ran.exit_code, ran.stdout) == (78, "") and "there is no module 'nowhere'" in ran.stderr


def test_a_trace_that_is_wrong_names_the_line(tmp_path: Path) -> None:
    """No traceback: the file, the line, what is wrong."""
    (tmp_path / "x.jsonl").write_text("{}\n")
    ran = run("trace", tmp_path / "x.jsonl")
    assert ran.exit_code == 1 and "x.jsonl: line 1: 'plugin' should be a text" in ran.stderr
    (tmp_path / "x.jsonl").write_bytes(b"\xff")
    assert "is not UTF-8" in run("trace", tmp_path / "x.jsonl").stderr
    assert "cannot be drawn as png" in run("trace", tmp_path / "x.jsonl", "--out", "x.png").stderr


def test_coverage_is_drawn_on_the_lifecycle_that_ran(steps: Path) -> None:
    """The default one, or the one that is named."""
    assert run("coverage", steps).stdout == mermaid(coverage(of_lifecycle(LIFECYCLE), STEPS))
    named = run("coverage", steps, "--lifecycle", "fsm_plugins:RESTARTABLE", "--format", "markdown").stdout
    assert named == render(coverage(of_lifecycle(RESTARTABLE), STEPS), "markdown")


def test_without_graphviz_a_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, with what to install and what works without."""
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    ran = run("lifecycle", "--format", "pdf")
    assert ran.exit_code == 1 and ran.stdout == ""
    assert "apt-get install graphviz" in ran.stderr and "--format svg" in ran.stderr and ran.stderr.count("\n") == 1


def test_a_graphviz_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first line, not a traceback."""
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho 'out of ink' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    assert "did not draw: out of ink" in run("lifecycle", "--format", "png").stderr


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed (apt-get install graphviz)")
def test_graphviz_makes_pictures(tmp_path: Path) -> None:
    """A PNG and a PDF, to a file and to stdout."""
    run("lifecycle", "--out", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert run("lifecycle", "--format", "pdf").stdout_bytes.startswith(b"%PDF")


def test_a_terminal_that_knows_only_ascii_gets_ascii() -> None:
    """Line drawing that stdout could not encode is not an error."""
    code = "import sys; from fsm_plugins.diagrams.command import diagram; diagram(['lifecycle', '--format', 'ascii'])"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert ran.returncode == 0 and ran.stdout.isascii() and b"+- init -> initialized" in ran.stdout
