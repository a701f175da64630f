"""``run``, ``check`` and ``list``. The others are in modules of their own, named in `main`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from fsm_plugins.app import Application, Blueprint, read_blueprint
from fsm_plugins.cli.output import fail, invalid, print_json, print_table
from fsm_plugins.config import paths_in
from fsm_plugins.embedding import attach, run_as_init
from fsm_plugins.errors import ConfigError, PluginError, StopFailed
from fsm_plugins.loading import discover
from fsm_plugins.observe import configure, log_supervision, log_transition
from fsm_plugins.orchestrator import Receipt

_config = click.argument("config", envvar="FSM_PLUGINS_CONFIG", type=click.Path())
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


@click.command()
@_config
@click.option("--for", "seconds", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop after this time.")
@click.option("--until-idle", is_flag=True, help="Stop when no plugin has a worker left.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False),
    default="info",
    show_default=True,
    help="How much to tell on stderr.",
)
@click.option(
    "--init/--no-init",
    default=None,
    help="Hand signals on and reap orphaned processes from a process of its own. The default as process 1.",
)
@_json
def run(config: str, seconds: float | None, until_idle: bool, log_level: str, init: bool | None, as_json: bool) -> None:
    """Run the plugins of the TOML file CONFIG until SIGTERM or SIGINT, then print a receipt for each.

    The first signal stops the plugins in order, producers first, and lets consumers drain. A second one ends the
    process at once. SIGHUP lets the plugins that can be reloaded read their files again. CONFIG can also be given in
    the environment, as FSM_PLUGINS_CONFIG. A service manager that wants to be notified (Type=notify of systemd) is.

    Exit status: 0 everything stopped cleanly, 1 a plugin failed or had to be forced, 78 the configuration is invalid.
    """
    if init or (init is None and os.getpid() == 1):
        _run_as_init()
    application = _build(config, as_json)
    configure(log_level, application.observation.log)
    application.registry.subscribe(log_transition)
    if application.supervisor is not None:
        application.supervisor.subscribe(log_supervision)
    attach(application)
    problem: PluginError | None = None
    try:
        asyncio.run(application.run(until_idle=until_idle, seconds=seconds))
    except ConfigError as error:
        invalid(config, error.problems, as_json)
    except PluginError as error:
        problem = error
    receipts = application.receipt()
    if as_json:
        print_json({"ok": problem is None, "plugins": [_receipt(receipt) for receipt in receipts]})
    else:
        _print_receipts(receipts)
    if problem is not None:
        for note in getattr(problem, "__notes__", ()):
            click.echo(f"error: {note}", err=True)
        fail(_one_line(problem))


@click.command()
@_config
@_json
def check(config: str, as_json: bool) -> None:
    """Find everything that is wrong with CONFIG, without starting anything, and show the order of the plugins.

    It reads the file and the environment, imports the plugins, and checks their settings and their wiring. It also
    shows where the paths in CONFIG lead: those below the working directory from there, the others in full.

    Exit status: 0 it can be run, 78 it cannot.
    """
    blueprint = _checked(config, as_json)
    if as_json:
        found = {
            "ok": True,
            "source": config,
            "order": list(blueprint.plan.order),
            "channels": _channels(blueprint),
            "paths": {where: str(path) for where, path in _paths(blueprint)},
        }
        print_json(found)
        return
    count = len(blueprint.plan.order)
    click.echo(f"{config}: ok, {count} plugin{'s' if count != 1 else ''}, producers first:")
    for line in blueprint.plan.lines():
        click.echo(f"  {line}")
    if paths := _paths(blueprint):
        click.echo("paths:")
        for where, path in paths:
            click.echo(f"  {where}: {_from_here(path)}")


@click.command("list")
@click.argument("config", envvar="FSM_PLUGINS_CONFIG", type=click.Path(), required=False)
@_json
def list_plugins(config: str | None, as_json: bool) -> None:
    """List the plugins that are installed or, with CONFIG, those it configures and the state each would begin in."""
    if config is None:
        found = discover()
        if as_json:
            rows = [{"name": f.name, "use": f.value, "package": f.distribution, "version": f.version} for f in found]
            print_json(rows)
        elif found:
            print_table(["name", "use", "package"], [[f.name, f.value, f"{f.distribution} {f.version}"] for f in found])
        else:
            click.echo("no installed package offers plugins (entry points of the group fsm_plugins.plugins)", err=True)
        return
    blueprint = _checked(config, as_json)
    plugins = [_configured(blueprint, name) for name in _in_order(blueprint)]
    if as_json:
        print_json(plugins)
    elif plugins:
        columns = ["name", "state", "type", "version", "inputs", "outputs", "use"]
        print_table(columns, [[str(plugin[column] or "-") for column in columns] for plugin in plugins])
    else:
        click.echo(f"{config} configures no plugin", err=True)


# What they have in common.


def _run_as_init() -> None:
    try:
        run_as_init()
    except PluginError as error:
        fail(str(error))


def _checked(config: str, as_json: bool) -> Blueprint:
    blueprint = read_blueprint(config)
    if blueprint.problems:
        invalid(config, blueprint.problems, as_json)
    return blueprint


def _build(config: str, as_json: bool) -> Application:
    try:
        return Application.from_config(config)
    except ConfigError as error:
        invalid(config, error.problems, as_json)


def _paths(blueprint: Blueprint) -> list[tuple[str, Path]]:
    """Return the paths of the application and of the plugins that would run, each with its key path."""
    assert blueprint.config is not None
    found = [*paths_in(blueprint.config.app, "app"), *paths_in(blueprint.config.observe, "observe")]
    settings = {spec.name: spec.settings for spec in blueprint.specs}
    for name in blueprint.plan.order:
        found += paths_in(settings[name], f"plugins.{name}.settings")
    return found


def _from_here(path: Path) -> str:
    """Return a path as people write it in the working directory."""
    whole = os.path.normpath(path)
    here = os.path.relpath(whole)
    return whole if here.startswith(os.pardir) else here


def _in_order(blueprint: Blueprint) -> list[str]:
    """Return the names of all plugins: those that would run in their order, then those that are disabled."""
    return [*blueprint.plan.order, *(spec.name for spec in blueprint.specs if not spec.enabled)]


def _configured(blueprint: Blueprint, name: str) -> dict[str, object]:
    spec = next(spec for spec in blueprint.specs if spec.name == name)
    made = spec.factory
    info = getattr(made, "info", None)
    lifecycle = getattr(made, "lifecycle", None)
    channels = blueprint.plan.channels.values()
    assert blueprint.config is not None
    return {
        "name": name,
        "state": str(lifecycle.initial if lifecycle else "created") if spec.enabled else "disabled",
        "type": str(info.plugin_type) if info else None,
        "version": info.version if info else None,
        "inputs": ", ".join(channel.name for channel in channels if channel.consumer.plugin == name) or None,
        "outputs": ", ".join(c.name for c in channels if name in [end.plugin for end in c.producers]) or None,
        "use": blueprint.config.plugins[name].use,
    }


def _channels(blueprint: Blueprint) -> list[dict[str, object]]:
    return [
        {
            "name": channel.name,
            "capacity": channel.capacity,
            "producers": [str(end) for end in channel.producers],
            "consumer": str(channel.consumer),
        }
        for channel in blueprint.plan.channels.values()
    ]


def _receipt(receipt: Receipt) -> dict[str, object]:
    return {
        "name": receipt.name,
        "state": str(receipt.state),
        "seconds": round(receipt.seconds, 6),
        "clean": receipt.clean,
        "note": receipt.note,
        "undelivered": dict(receipt.undelivered),
    }


def _print_receipts(receipts: tuple[Receipt, ...]) -> None:
    if not receipts:
        click.echo("no plugin was configured", err=True)
        return
    rows = [
        [
            receipt.name,
            str(receipt.state),
            f"{receipt.seconds:.3f} s",
            "clean" if receipt.clean else "forced",
            ", ".join(f"{left} in {channel}" for channel, left in receipt.undelivered.items()) or "none",
            receipt.note,
        ]
        for receipt in receipts
    ]
    print_table(["plugin", "state", "stop took", "how", "left over", ""], rows)


def _one_line(error: PluginError) -> str:
    if isinstance(error, StopFailed):
        return "; ".join(str(problem) for problem in error.exceptions)
    return str(error)
