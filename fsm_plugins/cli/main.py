"""The command and its subcommands, each of which is imported when it is used.

Who asks for help, or for one of them, does not wait for what the others need.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

import fsm_plugins

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "run": ("fsm_plugins.cli.commands:run", "Run the plugins of a TOML file."),
    "check": ("fsm_plugins.cli.commands:check", "Find everything that is wrong with a TOML file."),
    "list": ("fsm_plugins.cli.commands:list_plugins", "List plugins, installed or configured."),
    "diagram": ("fsm_plugins.diagrams.command:diagram", "Draw lifecycles, applications, traces and coverage."),
    "verify": ("fsm_plugins.verify.command:verify", "Prove a plugin within a scope, or find a counterexample."),
    "replay": ("fsm_plugins.verify.command:replay", "Run a counterexample again."),
    "explain": ("fsm_plugins.verify.command:explain", "Say what a check is about."),
    "conform": ("fsm_plugins.verify.command:conform", "Hold a recorded trace against the lifecycle."),
    "export": ("fsm_plugins.verify.command:export", "Write a registry down for another model checker."),
    "status": ("fsm_plugins.cli.control:status", "Show how the plugins of a running application are."),
    "start": ("fsm_plugins.cli.control:start", "Start a plugin of a running application."),
    "stop": ("fsm_plugins.cli.control:stop", "Stop a plugin of a running application."),
    "restart": ("fsm_plugins.cli.control:restart", "Put a fresh plugin in the place of one that runs."),
    "events": ("fsm_plugins.cli.control:events", "Show what happened in a running application."),
}
"""Name -> where the command is, and what the list of commands says of it."""


class _OnUse(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the alphabet."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, and import none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_OnUse, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FSM_PLUGINS"})
@click.version_option(fsm_plugins.__version__, prog_name="fsm-plugins")
def main() -> None:
    """Run plugins whose lifecycles are explicit state machines."""
