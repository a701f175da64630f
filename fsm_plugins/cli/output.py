"""How the commands say things: tables and JSON on stdout, messages on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from fsm_plugins.errors import Problem

__all__ = ["EX_CONFIG", "fail", "invalid", "print_json", "print_table"]

EX_CONFIG = 78


def print_json(value: object) -> None:
    """Print ``value`` as one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    for number, line in enumerate((head, *rows)):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        click.echo(click.style(text, bold=True) if number == 0 and _colour() else text)


def invalid(source: str, problems: Sequence[Problem], as_json: bool) -> NoReturn:
    """Report a configuration that cannot be run, and exit with 78."""
    if as_json:
        found = [{"where": problem.where, "what": problem.what} for problem in problems]
        print_json({"ok": False, "source": source, "problems": found})
    else:
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        click.echo(f"{source}: {count}, nothing was started", err=True)
        for problem in problems:
            click.echo(f"  {problem}", err=True)
    sys.exit(EX_CONFIG)


def fail(message: str) -> NoReturn:
    """Say why it failed, and exit with 1."""
    click.echo(f"error: {message}", err=True)
    sys.exit(1)


def _colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
