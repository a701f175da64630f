"""Asking plugins how they are, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from fsm_plugins.errors import InvalidState, Unhealthy
from fsm_plugins.lifecycle import State
from fsm_plugins.metadata import HealthStatus
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.supervision.policy import Health

__all__ = ["check_health"]


async def check_health(registry: PluginRegistry, health: Health, note: Callable[[str, HealthStatus], int]) -> None:
    """Ask every plugin how it is, all at the same time, once in an interval; fail those that are unhealthy too often.

    Args:
        registry: the plugins.
        health: how often, and what too often is.
        note: told of each answer of a running plugin; returns how many times in a row that was unhealthy.
    """
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + health.interval, loop.time())
        await asyncio.sleep(due - loop.time())
        answers = await registry.health_check_all()
        # All are noted before anybody is failed, for that may take time, in which plugins come and go.
        too_often = [
            (registry[name], status)
            for name, state, status in answers
            if state == State.RUNNING and note(name, status) >= health.failures
        ]
        for plugin, status in too_often:
            with suppress(InvalidState):  # it has moved on meanwhile
                if plugin.state == State.RUNNING:
                    await plugin.fail(Unhealthy(plugin.info.name, health.failures, status.reason))
