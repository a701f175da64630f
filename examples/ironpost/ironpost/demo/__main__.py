"""Run the whole application on samples and on this machine: ``python -m ironpost.demo [DIRECTORY]``."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from fsm_plugins import PluginError
from fsm_plugins.app import Application
from fsm_plugins.observe import SupervisorTarget, configure
from ironpost.demo.desk import Desk
from ironpost.demo.prepare import AUDIT, prepare
from ironpost.demo.view import watch
from ironpost.network import EbpfEngine
from ironpost.sbom import CYCLONEDX_FILE, SPDX_FILE

__all__ = ["main"]

_INTERVAL: Final = 0.25
_LONGEST: Final = 50.0
"""Seconds after which it stops, even if there is more to read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it to the end. Returns the exit code: 0, 1 if something went wrong, or 2 for a wrong command line."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) > 1 or any(argument.startswith("-") for argument in given):
        print("usage: python -m ironpost.demo [DIRECTORY]", file=sys.stderr)
        return 0 if given in (["-h"], ["--help"]) else 2
    directory = Path(given[0] if given else tempfile.mkdtemp(prefix="ironpost-")).absolute()
    try:
        config = prepare(directory)
        configure("error")
        # Variables that are meant for another application do not change the demonstration.
        application = Application.from_config(config, {})
        problem = asyncio.run(_run(application))
    except (OSError, PluginError) as error:
        print(f"the demonstration cannot be run: {error}", file=sys.stderr)
        return 1
    _report(application, directory)
    if problem is not None:
        print(f"error: {problem}", file=sys.stderr)
    return 0 if problem is None else 1


async def _run(application: Application) -> PluginError | None:
    """Run it until all is read, and show it meanwhile. Return what went wrong."""
    supervisor, desk = application.supervisor, application.registry["desk"]
    assert supervisor is not None and isinstance(desk, Desk)
    target = SupervisorTarget(supervisor, application.name)
    watching = asyncio.create_task(watch(target.status, desk.seen, _INTERVAL))
    try:
        await application.run(until_idle=True, seconds=_LONGEST)
    except PluginError as error:
        return error
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return None


def _report(application: Application, directory: Path) -> None:
    """Print what was found, what would have been done about it, how the plugins ended, and where the files are."""
    desk = application.registry["desk"]
    assert isinstance(desk, Desk)
    audit = directory / AUDIT
    lines = audit.read_text(encoding="utf-8").splitlines() if audit.exists() else []
    actions = {action["alert"]: action for action in map(json.loads, lines)}
    print(f"\nFound: {len(desk.seen)}")
    for alert in sorted(desk.seen, key=lambda alert: -alert.severity):
        print(f"  {alert}{_evidence(alert.fields.get('src'))}")
        if action := actions.get(alert.id):
            print(f"    dry run: {action['action']} {action['container']} ({action['policy']})")
    live = application.registry["ebpf-engine"]
    if isinstance(live, EbpfEngine):
        print(f"\nConnections of this machine that were seen: {live.counts['packets']}")
    print("\nHow the plugins ended:")
    for receipt in application.receipt():
        print(f"  {receipt}")
    print("\nFiles:")
    for name in (CYCLONEDX_FILE, SPDX_FILE, AUDIT):
        print(f"  {directory / name}")


def _evidence(src: object) -> str:
    return f", from {src}" if src else ""


if __name__ == "__main__":
    sys.exit(main())
