"""Commands are imported when they are used, and not before."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from fsm_plugins.cli import main
from fsm_plugins.cli.main import COMMANDS


def loaded(*args: str) -> set[str]:
    """Return the modules that are there after the command has run."""
    program = (
        "import sys\n"
        "from fsm_plugins.cli import main\n"
        f"try: main({list(args)!r})\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    with click.Context(main) as context:
        command = main.get_command(context, name)
    assert command is not None
    assert command.name == name
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0, done.output


def test_help_names_every_command_and_imports_none() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert f"  {name:<7}  {text}\n" in done.output
    modules = loaded("--help")
    assert not {module for module in modules if module.startswith(("fsm_plugins.cli.co", "fsm_plugins.verify"))}
    assert not modules & {"cattrs", "fsm_plugins.app", "fsm_plugins.diagrams", "fsm_plugins.observe"}


def test_a_command_imports_nothing_of_the_others() -> None:
    modules = loaded("list")
    assert not {module for module in modules if module.startswith(("fsm_plugins.verify", "fsm_plugins.diagrams"))}
    assert "fsm_plugins.app" not in loaded("status")


def test_a_command_that_does_not_exist_is_a_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["vreify"])
    assert done.exit_code == 2
    assert "No such command 'vreify'" in done.output
