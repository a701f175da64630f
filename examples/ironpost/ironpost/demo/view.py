"""What is seen of an application while it runs: a live table on a terminal, lines anywhere else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from fsm_plugins.observe import PluginStatus, Snapshot
from ironpost.events import AlertEvent

if TYPE_CHECKING:
    from rich.live import Live

__all__ = ["watch"]

_LATEST: Final = 6
"""How many alerts the table shows."""


async def watch(look: Callable[[], Snapshot], alerts: Sequence[AlertEvent], interval: float) -> None:
    """Show what ``look`` returns, and ``alerts``, every ``interval`` seconds, until it is cancelled.

    A terminal gets a table, if rich is installed; else there is a line for each change and each alert.
    """
    live = _live(look, alerts) if sys.stdout.isatty() else None
    if live is None:
        await _lines(look, alerts, interval)
        return
    with live:
        while True:
            await asyncio.sleep(interval)
            live.refresh()


async def _lines(look: Callable[[], Snapshot], alerts: Sequence[AlertEvent], interval: float) -> None:
    said: dict[str, str] = {}
    told = 0
    try:
        while True:
            told = _tell(look(), said, alerts, told)
            await asyncio.sleep(interval)
    finally:
        _tell(look(), said, alerts, told)


def _tell(snapshot: Snapshot, said: dict[str, str], alerts: Sequence[AlertEvent], told: int) -> int:
    """Print what has changed since; return how many alerts have been told."""
    lines = {row[0]: f"{row[0]}: {row[1]}, {row[2]}" for row in _plugins(snapshot)}
    lines |= {f"channel {row[0]}": f"channel {row[0]}: {row[1]}, {row[2]} so far" for row in _channels(snapshot)}
    for name, line in lines.items():
        if said.get(name) != line:
            print(line)
    said |= lines
    for alert in alerts[told:]:
        print(f"alert: {alert}")
    sys.stdout.flush()
    return len(alerts)


def _plugins(snapshot: Snapshot) -> list[tuple[str, str, str]]:
    """Return name, state, and health of each plugin."""
    return [(plugin.name, plugin.state, _health(plugin) if plugin.runs else "-") for plugin in snapshot.plugins]


def _health(plugin: PluginStatus) -> str:
    if plugin.health is None:
        return "not asked yet"
    return f"{plugin.health.level} ({plugin.health.reason})" if plugin.health.reason else plugin.health.level


def _channels(snapshot: Snapshot) -> list[tuple[str, str, str]]:
    """Return name, fill, and messages of each channel."""
    return [
        (channel.name, f"{channel.length} of {channel.capacity}", str(channel.messages))
        for channel in snapshot.channels
    ]


def _live(look: Callable[[], Snapshot], alerts: Sequence[AlertEvent]) -> Live | None:
    """Return the live table; None if rich is not installed."""
    try:
        from rich.console import Group
        from rich.live import Live
        from rich.table import Table
    except ImportError:
        return None

    def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
        made = Table(*head, title=title, title_justify="left", expand=True)
        for row in rows:
            made.add_row(*row)
        return made

    def draw() -> Group:
        snapshot = look()
        latest = [(str(alert.severity), alert.rule, alert.title) for alert in alerts[-_LATEST:]]
        return Group(
            table("Plugins", ("plugin", "state", "health"), _plugins(snapshot)),
            table("Channels", ("channel", "fill", "messages"), _channels(snapshot)),
            table(f"Alerts: {len(alerts)}", ("severity", "rule", "title"), latest),
        )

    # Drawn from the event loop only: a thread would look at plugins that are just moving.
    return Live(get_renderable=draw, auto_refresh=False)
