"""The core verifies itself, in a small scope: ``python -m tests.verify_core``, which ``make verify`` runs.

Every call of a registry of plugins with each of the lifecycles, and every schedule of two calls at the same time of a
plugin and of a registry with two. A larger scope: ``python -m tests.verify_core --plugins 4 --preemptions 2``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from fsm_plugins import LIFECYCLE, RESTARTABLE, Plugin, PluginInfo, PluginRegistry
from fsm_plugins.verify.registries.space import explore_registry
from fsm_plugins.verify.schedules.exploring import explore_schedules

PAUSABLE = LIFECYCLE.extend(
    [
        ("pause", "running", "paused"),
        ("resume", "paused", "running"),
        ("stop", "paused", "stopped"),
        ("fail", "paused", "failed"),
    ]
)


class Waits(Plugin):
    """Waits in each hook, so that other calls come in between, and has a worker."""

    info = PluginInfo("waits", "1.0.0")

    async def on_init(self) -> None:
        await asyncio.sleep(1)

    async def on_start(self) -> None:
        self.spawn(asyncio.sleep(1000))
        await asyncio.sleep(1)

    async def on_stop(self) -> None:
        await asyncio.sleep(1)


def two() -> PluginRegistry:
    """Return a registry with two plugins."""
    registry = PluginRegistry(clock=lambda: 0.0)
    registry.register(Waits(name="a"))
    registry.register(Waits(name="b"))
    return registry


def main() -> int:
    """Explore, tell, and return the exit status: 0 all holds, 1 something does not, or was not completed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugins", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--preemptions", type=int, default=1)
    given = parser.parse_args()
    holds = True
    for name, lifecycle in (("default", LIFECYCLE), ("restartable", RESTARTABLE), ("pausable", PAUSABLE)):
        registry = explore_registry(given.plugins, lifecycle=lifecycle)
        print(f"registry, {name} lifecycle: {registry}", flush=True)
        holds &= registry.holds
    for what, make, limit in (("a plugin", Waits, None), ("a registry of two", two, given.preemptions)):
        for tasks in range(1, given.tasks + 1):
            result = explore_schedules(make, tasks=tasks, preemptions=limit)
            print(f"schedules, {what}: {result}", flush=True)
            holds &= result.holds
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
