"""The texts for other model checkers: SPIN counts the same states, and a parser of TLA+ reads the module."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsm_plugins import LIFECYCLE, RESTARTABLE, DefinitionError, Lifecycle
from fsm_plugins.cli import main
from fsm_plugins.verify.registries.export import to_promela, to_tla
from fsm_plugins.verify.registries.space import expected_states

PAUSABLE = LIFECYCLE.extend(
    [
        ("pause", "running", "paused"),
        ("resume", "paused", "running"),
        ("stop", "paused", "stopped"),
        ("fail", "paused", "failed"),
    ]
)

needs_spin = pytest.mark.skipif(
    shutil.which("spin") is None or shutil.which("cc") is None, reason="SPIN is not here: apt-get install spin gcc"
)


def spin(model: str, where: Path) -> tuple[int, int]:
    """Run SPIN; returns the number of states and the number of errors."""
    (where / "model.pml").write_text(model, encoding="utf-8")
    generated = subprocess.run(["spin", "-a", "model.pml"], cwd=where, capture_output=True, text=True, check=False)
    assert generated.returncode == 0, generated.stdout
    assert "rror" not in generated.stdout
    subprocess.run(
        ["cc", "-O0", "-w", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c"], cwd=where, check=True, capture_output=True
    )
    said = subprocess.run(["./pan", "-m100000"], cwd=where, capture_output=True, text=True, check=True).stdout
    states, errors = re.search(r"(\d+) states, stored", said), re.search(r"errors: (\d+)", said)
    assert states is not None and errors is not None, said
    return int(states[1]), int(errors[1])


@needs_spin
@pytest.mark.parametrize(
    ("lifecycle", "plugins", "symmetric"),
    [
        (LIFECYCLE, 1, True),
        (LIFECYCLE, 3, True),
        (LIFECYCLE, 5, True),
        (LIFECYCLE, 3, False),
        (RESTARTABLE, 2, True),
        (PAUSABLE, 3, True),
    ],
)
def test_spin_finds_as_many_states_and_no_error(
    lifecycle: Lifecycle, plugins: int, symmetric: bool, tmp_path: Path
) -> None:
    """As the closed form says; and ``stop_all`` keeps its promise."""
    model = to_promela(lifecycle, plugins=plugins, symmetric=symmetric)
    assert spin(model, tmp_path) == (expected_states(plugins, len(lifecycle.states), symmetric=symmetric), 0)


@needs_spin
def test_spin_finds_a_registry_that_breaks_its_promise(tmp_path: Path) -> None:
    """The assertions are not idle: a ``stop`` that leads back to running is found."""
    model = to_promela(plugins=2)
    wrong = model.replace(":: at[i] == AT_running -> was = AT_stopped", ":: at[i] == AT_running -> was = AT_running")
    assert wrong != model
    assert spin(wrong, tmp_path)[1] > 0


@pytest.mark.parametrize("lifecycle", [LIFECYCLE, RESTARTABLE, PAUSABLE])
def test_both_texts_have_every_arc_once_and_no_other(lifecycle: Lifecycle) -> None:
    """They are made from the table."""
    tla = re.findall(r'<<"(\w+)", "(\w+)", "(\w+)">>', to_tla(lifecycle))
    assert sorted(tla) == sorted((arc.trigger, arc.source, arc.dest) for arc in lifecycle.arcs)
    promela = to_promela(lifecycle)
    found = []
    for trigger, body in re.findall(r"inline look_(\w+)\(\) \{(.*?)\n\}", promela, re.DOTALL):
        found += [(trigger, *arc) for arc in re.findall(r"at\[i\] == AT_(\w+) -> was = AT_(\w+)", body)]
    assert sorted(found) == sorted(tla)


@pytest.mark.parametrize("lifecycle", [LIFECYCLE, RESTARTABLE, PAUSABLE])
def test_a_parser_of_tla_reads_the_module(lifecycle: Lifecycle) -> None:
    """The grammar is kept."""
    tla = pytest.importorskip("tla", reason="the TLA+ parser is not here: pip install tla")
    assert tla.parse(to_tla(lifecycle, plugins=4, module="Mine")) is not None


def test_the_module_has_the_name_that_is_asked_for() -> None:
    """And a name that is none is refused."""
    assert to_tla(module="Mine").startswith("---- MODULE Mine ----\n")
    with pytest.raises(DefinitionError, match="not 'a b'"):
        to_tla(module="a b")


@pytest.mark.parametrize("plugins", [0, 201])
def test_a_number_of_plugins_that_makes_no_sense_is_refused(plugins: int) -> None:
    """By both."""
    with pytest.raises(DefinitionError, match="1 to 200 plugins"):
        to_promela(plugins=plugins)
    with pytest.raises(DefinitionError, match="1 to 200 plugins"):
        to_tla(plugins=plugins)


def test_states_that_would_have_one_name_are_refused() -> None:
    """With the state to rename."""
    arcs = [(trigger, "running", state) for trigger, state in (("one", "too hot"), ("two", "too-hot"))]
    rest = [
        (trigger, state, dest)
        for state in ("too hot", "too-hot")
        for trigger, dest in (("stop", "stopped"), ("fail", "failed"))
    ]
    with pytest.raises(DefinitionError, match="'too hot'"):
        to_promela(LIFECYCLE.extend([*arcs, *rest]))


def export(*words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["export", *words])


def test_the_command_writes_what_the_functions_return(tmp_path: Path) -> None:
    """To stdout or a file; a TLA+ module has the name of its file."""
    assert export("--promela", "--plugins", "2").stdout == to_promela(plugins=2)
    assert export("fsm_plugins:RESTARTABLE", "--promela").stdout == to_promela(RESTARTABLE)
    assert export("--tla").stdout == to_tla()
    assert export("--tla", "--out", str(tmp_path / "Plugins.tla")).exit_code == 0
    assert (tmp_path / "Plugins.tla").read_text(encoding="utf-8") == to_tla(module="Plugins")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--promela or --tla"),
        (("nowhere:X", "--tla"), "there is no module 'nowhere'"),
        (("fsm_plugins:channel", "--tla"), "is a function; name the plugin class"),
        (("--tla", "--out", "a-b.tla"), "not 'a-b'"),
        (("--promela", "--out", "/nowhere/x.pml"), "/nowhere/x.pml cannot be written"),
        (("--promela", "--plugins", "0"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_written_is_wrong_usage(words: tuple[str, ...], told: str) -> None:
    """Exit status 2, one clear line, and no traceback."""
    ran = export(*words)
    assert ran.exit_code == 2
    assert told in ran.stderr
