"""Bringing a plugin to rest from wherever it is, whoever else is at it."""

from __future__ import annotations

import asyncio

from fsm_plugins.errors import Abandoned, HookFailed, PluginError
from fsm_plugins.flight import Flight
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import STOP, TransitionEvent
from fsm_plugins.plugin import Plugin

__all__ = ["bring_to_rest", "interrupt", "leads_to_rest"]


def interrupt(plugin: Plugin) -> None:
    """Let the call that is under way on ``plugin`` fail as abandoned. Does not wait for that."""
    plugin._guard.take_flight().interrupt(Abandoned(plugin.info.name, plugin.state))


def leads_to_rest(plugin: Plugin, event: TransitionEvent) -> bool:
    """Whether the call that came to ``event`` was to bring ``plugin`` to rest."""
    return any(
        (arc.trigger, arc.source) == (event.call, event.source) and arc.dest in plugin.lifecycle.rest
        for arc in plugin.lifecycle.arcs
    )


async def bring_to_rest(plugin: Plugin) -> tuple[PluginError | None, BaseException | None]:
    """Stop ``plugin``, unless it is at rest or was never initialised. A call under way on it is ended first.

    One that is initialised only is failed as abandoned and then stopped, so that its hook releases what ``on_init``
    took.

    Returns:
        What went wrong, and what the caller has to raise when it is done: a cancellation, say. It raises nothing.
    """
    guard, task = plugin._guard, asyncio.current_task()
    assert task is not None
    urgent: BaseException | None = None
    told: Flight | None = None
    while guard.flight is not None:
        flight = guard.take_flight()
        if flight is not told and not guard.coming_to_rest:
            interrupt(plugin)
        told = flight
        try:
            await flight.ended()
        except asyncio.CancelledError as cancelled:
            urgent = urgent or cancelled
    if guard.state in guard.lifecycle.rest or guard.state == guard.lifecycle.initial:
        return None, urgent
    requests = task.cancelling()
    try:
        if not guard.can(STOP):
            await guard.fail(Abandoned(plugin.info.name, guard.state))
        await guard.fire(STOP)
    except PluginError as error:
        return error, urgent
    except BaseException as error:
        cancelled_itself = isinstance(error, asyncio.CancelledError) and task.cancelling() == requests
        failed = HookFailed(plugin.info.name, STOP, describe(error))
        failed.__cause__ = error
        return failed, urgent or (None if isinstance(error, Exception) or cancelled_itself else error)
    return None, urgent
