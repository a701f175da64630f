"""A plugin that can be paused: two states and two triggers more than the default lifecycle has.

A lifecycle is a value, so a new one is made by adding arcs to `LIFECYCLE`. Each trigger brings its hook: ``pause`` runs
``on_pause``, ``resume`` runs ``on_resume``. Nothing else has to be told of the new states: illegal calls are refused
with the states from which they are legal, listeners hear of the new moves, and a hook that breaks fails the plugin.

Two arcs are there because of what ``stop`` and ``fail`` promise. A paused plugin can be stopped, or what it holds could
never be released; and it can fail, because ``on_resume`` may break. Leave one of them out, and the error names it.

Run it::

    python examples/pause_resume.py
"""

from __future__ import annotations

import asyncio

from attrs import Factory, define

from fsm_plugins import (
    LIFECYCLE,
    Deadlines,
    InvalidState,
    Plugin,
    PluginInfo,
    PluginRegistry,
    PluginType,
    TransitionEvent,
)

__all__ = ["PAUSABLE", "Ticker", "main"]

PAUSABLE = LIFECYCLE.extend(
    [
        ("pause", "running", "paused"),
        ("resume", "paused", "running"),
        ("stop", "paused", "stopped"),
        ("fail", "paused", "failed"),
    ]
)


@define
class Ticker(Plugin):
    """Counts, once in a while, unless it is paused."""

    info = PluginInfo("ticker", "1.0.0", "Counts, unless it is paused", PluginType.custom("example"))
    lifecycle = PAUSABLE
    deadlines = Deadlines(others={"pause": 2.0, "resume": 2.0})

    every: float = 1.0  # seconds between two ticks
    ticks: int = 0
    _may_tick: asyncio.Event = Factory(asyncio.Event)

    async def on_start(self) -> None:
        self._may_tick.set()
        self.spawn(self._tick())

    async def on_pause(self) -> None:
        # The worker goes on to live, it only waits: what it holds is kept for when the plugin is resumed.
        self._may_tick.clear()

    async def on_resume(self) -> None:
        self._may_tick.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            await self._may_tick.wait()
            self.ticks += 1


async def main() -> None:
    """Start a ticker, pause it, resume it, and stop it while it is paused again."""
    ticker = Ticker(every=0.1)
    registry = PluginRegistry()
    registry.register(ticker)

    def tell(event: TransitionEvent) -> None:
        print(f"{event.source} -> {event.dest}")

    registry.subscribe(tell)

    async with registry.running():
        await asyncio.sleep(0.35)
        print("ticks:", ticker.ticks)
        await ticker.fire("pause")
        print(await ticker.health_check())
        await asyncio.sleep(0.35)
        print("ticks while paused:", ticker.ticks)
        try:
            await ticker.fire("pause")
        except InvalidState as refused:
            print(refused)
        await ticker.fire("resume")
        await asyncio.sleep(0.25)
        print("ticks:", ticker.ticks)
        await ticker.fire("pause")


if __name__ == "__main__":
    asyncio.run(main())
