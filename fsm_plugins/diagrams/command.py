"""The command group ``diagram``, for the program ``fsm-plugins``.

The picture goes to stdout or to a file, messages go to stderr. Exit status: 0 all is well, 1 it cannot be drawn or
``--check`` found a difference, 2 wrong usage, 78 the configuration is invalid.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import click

from fsm_plugins.app import read_blueprint
from fsm_plugins.config import Config
from fsm_plugins.diagrams.as_html import html
from fsm_plugins.diagrams.blocks import difference
from fsm_plugins.diagrams.covering import coverage
from fsm_plugins.diagrams.model import Diagram, highlight, restyle
from fsm_plugins.diagrams.palette import Theme
from fsm_plugins.diagrams.pictures import BINARY_FORMATS, CannotDraw, picture
from fsm_plugins.diagrams.render import FORMATS, render
from fsm_plugins.diagrams.sequence import SEQUENCE_FORMATS, Sequence, render_sequence
from fsm_plugins.diagrams.supervised import of_supervision
from fsm_plugins.diagrams.targets import diagram_of
from fsm_plugins.diagrams.terminal import ascii_art
from fsm_plugins.diagrams.topology import of_plan
from fsm_plugins.diagrams.trace import Step, read_trace
from fsm_plugins.errors import LoadError
from fsm_plugins.observe.stores import is_journal, read_file
from fsm_plugins.orchestrator import Plan

__all__ = ["diagram"]

_EX_CONFIG: Final = 78
_ALL_FORMATS: Final = (*FORMATS, *BINARY_FORMATS)
# What the name of a file says about its format, where that is clear.
_SUFFIXES: Final = {
    ".mmd": "mermaid",
    ".dot": "dot",
    ".gv": "dot",
    ".puml": "plantuml",
    ".txt": "ascii",
    ".md": "markdown",
    ".svg": "svg",
    ".html": "html",
    ".png": "png",
    ".pdf": "pdf",
}


class _Output(NamedTuple):
    """What was asked for about the picture: the options that all commands share."""

    format: str | None
    out: Path | None
    theme: Theme
    check: bool

    def wanted(self, otherwise: str) -> str:
        """Return the format: the one that was named, or else that of the file, or else ``otherwise``."""
        if self.format is not None:
            return self.format
        return _SUFFIXES.get(self.out.suffix, otherwise) if self.out is not None else otherwise


_Command: TypeAlias = Callable[..., None]


def _output(formats: tuple[str, ...]) -> Callable[[_Command], _Command]:
    """Add the options that all commands share; the command gets them as one ``output``."""

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def with_output(*, format: str | None, out: Path | None, theme: Theme, check: bool, **others: Any) -> None:  # noqa: A002
            command(output=_Output(format, out, theme, check), **others)

        decorated: _Command = with_output
        for option in (
            click.option("--check", is_flag=True, help="Write nothing; exit with 1 and a diff if FILE differs."),
            click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True),
            click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write FILE."),
            click.option("--format", type=click.Choice(formats), help="Otherwise as FILE is called, or Mermaid."),
        ):
            decorated = option(decorated)
        return decorated

    return decorate


_highlight = click.option(
    "--highlight", "marks", multiple=True, metavar="STATE[=NOTE]", help="Highlight a state; may be repeated."
)
_direction = click.option("--direction", type=click.Choice(["down", "right"]), help="Where most arrows point.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def diagram() -> None:
    """Draw lifecycles, applications, traces and coverage."""


@diagram.command()
@click.argument("target", required=False)
@_highlight
@_direction
@_output(_ALL_FORMATS)
def lifecycle(target: str | None, marks: tuple[str, ...], direction: Any, output: _Output) -> None:
    """Draw the lifecycle of TARGET, a plugin class as module:Class or as the name of an entry point.

    TARGET may also be a Lifecycle, or a machine of transitions, as module:name. Without it, the default lifecycle.
    """
    _draw(_marked(_target(target), marks, direction), output, "mermaid")


@diagram.command()
@click.argument("config", type=click.Path())
@_highlight
@_direction
@_output(_ALL_FORMATS)
def app(config: str, marks: tuple[str, ...], direction: Any, output: _Output) -> None:
    """Draw the plugins and channels of the TOML file CONFIG. Nothing is started."""
    plan, sections = _configured(config)
    _draw_chart(_marked(of_plan(plan, title=sections.app.name), marks, direction), output)


@diagram.command()
@click.argument("config", type=click.Path())
@_direction
@_output(_ALL_FORMATS)
def supervisor(config: str, direction: Any, output: _Output) -> None:
    """Draw the supervisor of the TOML file CONFIG: its groups, limits and plugins. Nothing is started."""
    plan, sections = _configured(config)
    if sections.supervisor is None:
        _fail(f"{config} has no supervisor; add a table [supervisor], it may be empty")
    drawn = of_supervision(plan, sections.supervisor, sections.children, title=sections.app.name)
    _draw_chart(_marked(drawn, (), direction), output)


@diagram.command()
@click.argument("file", type=click.Path())
@click.option("--title", default="", help="The heading of the picture.")
@click.option("--times/--no-times", default=True, help="Tell when each step was.", show_default=True)
@click.option("--lifecycle", "target", metavar="TARGET", help="What an HTML page plays the events on.")
@_output((*SEQUENCE_FORMATS, "html"))
def trace(file: str, title: str, times: bool, target: str | None, output: _Output) -> None:
    """Draw the recorded events in FILE as a sequence diagram. FILE has a JSON object on each line.

    As HTML, it is a page that plays the events on the diagram of the lifecycle.
    """
    wanted = output.wanted("mermaid")
    if wanted == "html":
        drawn = restyle(_target(target), title=title)
        _write(html(drawn, "dark" if output.theme == "dark" else None, _steps(file)), output)
        return
    if wanted not in SEQUENCE_FORMATS:
        _fail(f"a sequence cannot be drawn as {wanted}; the formats are {', '.join(SEQUENCE_FORMATS)}")
    _write(render_sequence(Sequence(_steps(file), title, times), wanted, theme=output.theme), output)


@diagram.command("coverage")
@click.argument("file", type=click.Path())
@click.option("--lifecycle", "target", metavar="TARGET", help="What the plugins ran on, as in diagram lifecycle.")
@_direction
@_output(_ALL_FORMATS)
def coverage_(file: str, target: str | None, direction: Any, output: _Output) -> None:
    """Draw how often each arc was taken in the recorded events of FILE, what was refused, and what was never tried."""
    drawn = coverage(_target(target), _steps(file))
    _draw(_marked(drawn, (), direction), output, "mermaid")


# How they go.


def _configured(path: str) -> tuple[Plan, Config]:
    """Return the plan of a configuration and what it says, or end the command with all that is wrong with it."""
    blueprint = read_blueprint(path)
    if blueprint.problems or blueprint.config is None:
        click.echo(f"{blueprint.source}: the configuration is invalid, so it cannot be drawn", err=True)
        for problem in blueprint.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(_EX_CONFIG)
    return blueprint.plan, blueprint.config


def _draw_chart(drawn: Diagram, output: _Output) -> None:
    """Draw what is no state diagram, so that this would not be the right kind of Mermaid for it."""
    if output.wanted("flowchart") == "mermaid":
        output = output._replace(format="flowchart")
    _draw(drawn, output, "flowchart")


def _target(target: str | None) -> Diagram:
    """Return the diagram of what ``target`` names; modules of the current directory are found, too."""
    try:
        return diagram_of(target, [Path.cwd()])
    except LoadError as error:
        _fail(str(error))


def _marked(drawn: Diagram, marks: tuple[str, ...], direction: Any) -> Diagram:
    notes = {name: note for name, _, note in (mark.partition("=") for mark in marks)}
    try:
        return restyle(highlight(drawn, notes), direction=direction)
    except ValueError as error:
        _fail(str(error))


def _steps(file: str) -> tuple[Step, ...]:
    try:
        if is_journal(Path(file)):
            rows, torn = read_file(Path(file))
            if torn:
                click.echo(f"{file}: its last line was not written to the end ({torn} bytes)", err=True)
            return tuple(row.step for row in rows)
        return read_trace(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        _fail(f"{file} cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        _fail(f"{file} is not UTF-8, so it is no trace; give a file with a JSON object on each line")
    except ValueError as error:
        _fail(f"{file}: {error}")


def _draw(drawn: Diagram, output: _Output, otherwise: str) -> None:
    wanted = output.wanted(otherwise)
    if wanted in BINARY_FORMATS:
        if output.check:
            _fail(f"{wanted} differs with the version of Graphviz, so it cannot be checked; use --format svg")
        try:
            data = picture(drawn, wanted, output.theme)
        except CannotDraw as error:
            _fail(str(error))
        _write(data, output)
    elif wanted == "ascii" and output.out is None:
        _write(ascii_art(drawn, unicode=_is_utf8()), output)
    else:
        _write(render(drawn, wanted, theme=output.theme), output)


def _is_utf8() -> bool:
    """Whether the terminal, or whatever stdout is, can show line drawing."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def _write(data: str | bytes, output: _Output) -> None:
    """Print ``data``, write it to the file, or compare it with the file."""
    if output.out is None:
        if output.check:
            raise click.UsageError("--check compares with a file: give it with --out FILE")
        click.echo(data, nl=False)
        return
    try:
        if isinstance(data, bytes):
            output.out.write_bytes(data)
        elif not output.check:
            output.out.write_text(data, encoding="utf-8", newline="\n")
        else:
            found = output.out.read_text(encoding="utf-8") if output.out.exists() else None
            if told := difference(str(output.out), found, data):
                click.echo(told, nl=False)
                _fail(f"{output.out} differs; write it anew without --check")
    except OSError as error:
        _fail(f"{output.out} cannot be used: {error.strerror or error}")
    except UnicodeDecodeError:
        _fail(f"{output.out} is not UTF-8, so it is no picture of ours; write it anew without --check")


def _fail(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(1)
