"""The commands ``verify``, ``replay``, ``explain``, ``conform`` and ``export``, for the program ``fsm-plugins``.

Reports go to stdout, progress and messages to stderr. Exit status: 0 it holds within the printed scope, 1 there is a
counterexample, 2 wrong usage, or nothing that can be run, 3 inconclusive.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from attrs import evolve

from fsm_plugins.errors import DefinitionError
from fsm_plugins.lifecycle import LIFECYCLE
from fsm_plugins.verify.base.script import BadToken, Token
from fsm_plugins.verify.base.targets import CannotVerify
from fsm_plugins.verify.child import Order, Said, carry_out
from fsm_plugins.verify.conformance import conform_file, lifecycle_named
from fsm_plugins.verify.registries.export import to_promela, to_tla
from fsm_plugins.verify.reports.codes import CHECKS, LAYERS, find_check
from fsm_plugins.verify.reports.rendering import FORMATS, from_json, render
from fsm_plugins.verify.reports.report import INCONCLUSIVE, REFUTED, USAGE, Report, Scope
from fsm_plugins.verify.verifying import ALL_LAYERS

__all__ = ["conform", "explain", "export", "replay", "verify"]

_DEFAULT: Final = Scope()
_report = click.option(
    "--report", "format_", type=click.Choice(list(FORMATS)), default="text", show_default=True, help="How to tell it."
)
_set = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting; may be repeated.")


@click.command()
@click.argument("target")
@click.option("--depth", type=click.IntRange(1), default=_DEFAULT.depth, show_default=True, help="Calls in a sequence.")
@click.option("--faults", type=click.IntRange(0), default=_DEFAULT.faults, show_default=True, help="In a sequence.")
@click.option("--plugins", type=click.IntRange(1), default=_DEFAULT.plugins, show_default=True, help="In a registry.")
@click.option("--tasks", type=click.IntRange(1, 4), default=_DEFAULT.tasks, show_default=True, help="Calls at a time.")
@click.option("--preemptions", type=click.IntRange(0), default=_DEFAULT.preemptions, show_default=True)
@click.option("--layers", default=",".join(ALL_LAYERS), show_default=True, help="Which, with commas between.")
@click.option("--max-time", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Stop after this time.")
@_set
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Accept what a report in JSON has found already.",
)
@_report
def verify(
    target: str,
    depth: int,
    faults: int,
    plugins: int,
    tasks: int,
    preemptions: int,
    layers: str,
    max_time: float | None,
    settings: tuple[str, ...],
    baseline: Path | None,
    format_: str,
) -> None:
    """Try the plugin TARGET in every way there is within a scope.

    TARGET is module:Class, a function that makes a plugin, the name of an entry point, or a TOML file, whose plugins
    are tried one by one, as they are wired. Modules of the current directory are found, too.

    It runs in a process of its own, which is ended if the plugin does not give way.
    """
    wanted = tuple(layer.strip().upper() for layer in layers.split(",") if layer.strip())
    for layer in wanted:
        if layer not in ALL_LAYERS:
            _usage(f"there is no layer {layer!r}; there are: {', '.join(ALL_LAYERS)}")
    if not wanted:
        _usage(f"name a layer: {', '.join(ALL_LAYERS)}")
    try:
        scope = Scope(depth, faults, plugins, tasks, preemptions, max_time)
    except DefinitionError as error:
        _usage(str(error))
    known = _baseline(baseline)
    said = _carried_out(Order(target, _settings(settings), wanted, scope, path=str(Path.cwd())))
    _tell(evolve(said, report=_without(said.report, known, baseline)), format_)


@click.command()
@click.argument("token")
@click.argument("target", required=False)
@_set
@_report
def replay(token: str, target: str | None, settings: tuple[str, ...], format_: str) -> None:
    """Run what TOKEN says again, and tell what came of it. A report has a token for each finding.

    TARGET names the plugin, for a token of one that had no name to import.
    """
    try:
        read = Token.read(token)
    except BadToken as error:
        _usage(str(error))
    named = target or read.target
    if named is None:
        _usage("the token does not say which plugin it is about; name it as well: module:Class")
    given = _settings(settings)
    if read.settings is None and not given:
        _usage("the token does not hold the settings, because JSON cannot; give them with --set key=value")
    own = given or ({} if "#" in named else dict(read.settings or {}))
    order = Order(named, own, (), Scope(), token, str(Path.cwd()))
    _tell(_carried_out(order), format_)


@click.command()
@click.argument("check", required=False)
def explain(check: str | None) -> None:
    """Print the page about CHECK, a code as FP012 or a slug, with a bad and a good example; without it, all checks."""
    if check is None:
        for each in CHECKS.values():
            click.echo(f"{each.code}  {LAYERS[each.layer]:<11}  {each.slug:<26}  {each.title}")
        return
    try:
        click.echo(find_check(check).page(), nl=False)
    except LookupError as error:
        _usage(f"{error}; 'fsm-plugins explain' lists them")


@click.command()
@click.argument("trace", type=click.Path())
@click.option("--lifecycle", "target", metavar="TARGET", help="A plugin class or a Lifecycle, as module:name.")
def conform(trace: str, target: str | None) -> None:
    """Tell the first step of the recorded events in TRACE that the lifecycle does not allow, and why.

    TRACE has a JSON object on each line. Without --lifecycle it is held against the default lifecycle.
    """
    try:
        departure, count = conform_file(trace, target, [Path.cwd()])
    except (OSError, ValueError, CannotVerify) as error:
        _usage(f"{trace} cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error))
    if departure is not None:
        click.echo(f"{CHECKS['trace-departs'].code} {trace}: {departure}")
        sys.exit(REFUTED)
    click.echo(f"{trace}: {count} step{'s' if count != 1 else ''}, all as the lifecycle allows")


@click.command()
@click.argument("target", required=False)
@click.option("--promela", "language", flag_value="promela", help="For SPIN.")
@click.option("--tla", "language", flag_value="tla", help="For TLC.")
@click.option("--plugins", type=click.IntRange(1, 200), default=_DEFAULT.plugins, show_default=True, help="At most.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where; else stdout.")
def export(target: str | None, language: str | None, plugins: int, out: Path | None) -> None:
    """Write a registry of plugins down as a model for another tool: Promela for SPIN, or a TLA+ module for TLC.

    TARGET is a plugin class or a Lifecycle, as module:name; without it, the default lifecycle. A TLA+ module has the
    name of its FILE.
    """
    if language is None:
        _usage("name the language: --promela or --tla")
    module = "Registry" if out is None else out.stem
    try:
        lifecycle = LIFECYCLE if target is None else lifecycle_named(target, [Path.cwd()])
        if language == "promela":
            text = to_promela(lifecycle, plugins=plugins)
        else:
            text = to_tla(lifecycle, plugins=plugins, module=module)
        if out is None:
            click.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")
    except OSError as error:
        _usage(f"{out} cannot be written: {error.strerror}")
    except (CannotVerify, DefinitionError) as error:
        _usage(str(error))


# How they go.


def _carried_out(order: Order) -> Said:
    try:
        return carry_out(order, _progress())
    except CannotVerify as error:
        _usage(str(error))
    except KeyboardInterrupt:
        click.echo("interrupted before anything was established", err=True)
        sys.exit(INCONCLUSIVE)


def _progress() -> Any:
    """Return what shows the progress: one line that is written over on a terminal, else a line now and then."""
    terminal = sys.stderr.isatty()
    told = [0]

    def show(what: str, runs: int) -> None:
        told[0] += 1
        if terminal:
            click.echo(f"\r\x1b[K{runs} runs, {what}"[:110], nl=False, err=True)
        elif told[0] % 10 == 0:
            click.echo(f"{runs} runs, {what}", err=True)

    return show


def _tell(said: Said, format_: str) -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    click.echo(render(said.report, format_), nl=False)
    if said.report.findings and said.output:
        click.echo("the plugin printed, at the end:", err=True)
        for line in said.output:
            click.echo(f"  {line}", err=True)
    sys.exit(said.report.exit_code)


def _settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return settings as TOML has them; what is no TOML value is a text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            _usage(f"--set takes key=value, not {pair!r}")
        try:
            read = tomllib.loads(f"value = {value}")["value"]
            found[key.strip()] = value if isinstance(read, str) and not value.strip().startswith(("'", '"')) else read
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value
    return found


def _baseline(file: Path | None) -> Report | None:
    if file is None:
        return None
    try:
        return from_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        _usage(f"{file} cannot be read: {error.strerror}; make it with: fsm-plugins verify ... --report json > {file}")
    except ValueError as error:
        _usage(f"{file}: {error}")


def _without(report: Report, known: Report | None, file: Path | None) -> Report:
    """Return the report without the findings of the baseline, which are listed as ignored."""
    if known is None:
        return report
    keys = {finding.key for finding in known.findings} | {finding.key for finding, _ in known.ignored}
    old = tuple((finding, f"in the baseline {file}") for finding in report.findings if finding.key in keys)
    new = tuple(finding for finding in report.findings if finding.key not in keys)
    return evolve(report, findings=new, ignored=(*report.ignored, *old))


def _usage(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(USAGE)
