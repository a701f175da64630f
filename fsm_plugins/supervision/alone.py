"""Running a plugin that nobody supervises, such as the supervisor at the root, around a block of its embedder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fsm_plugins.errors import HookFailed, PluginFailed, RestartsExhausted, StopFailed
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import TransitionEvent
from fsm_plugins.plugin import Plugin
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.stopping import leads_to_rest

__all__ = ["of_the_plugin", "running_alone"]


@asynccontextmanager
async def running_alone(plugin: Plugin) -> AsyncIterator[None]:
    """Run ``plugin`` for as long as the ``async with`` block. If it fails, the block is cancelled.

    Raises:
        HookFailed, DeadlineExceeded: it could not be started.
        RestartsExhausted: it failed because of that.
        PluginFailed: it failed because of something else.
        StopFailed: the block ended well, but it did not stop cleanly.
    """
    task = asyncio.current_task()
    assert task is not None
    requests, inside, interrupted = task.cancelling(), False, False

    def heard(event: TransitionEvent) -> None:
        nonlocal interrupted
        if inside and event.dest in plugin.lifecycle.failures and not leads_to_rest(plugin, event):
            interrupted = True
            task.cancel()

    registry = PluginRegistry()
    registry.register(plugin)
    registry.subscribe(heard)
    try:
        async with registry.running():
            try:
                inside = True
                yield
            finally:
                inside = False
    except BaseException as error:
        taken_back = interrupted and task.uncancel() <= requests
        if taken_back and isinstance(error, asyncio.CancelledError):
            failure = _failure(plugin)
            raise failure from failure.__cause__
        if isinstance(error, HookFailed | StopFailed):
            raise of_the_plugin(error) from None
        if interrupted:
            error.add_note(f"after {_failure(plugin)}")
        raise
    finally:
        registry.unregister(plugin.info.name)
    if interrupted:  # and the block took no notice
        task.uncancel()
        raise _failure(plugin)


def _failure(plugin: Plugin) -> PluginFailed | RestartsExhausted:
    """Return what an embedder is told of the failure of a plugin."""
    cause = plugin.failure
    assert cause is not None
    if isinstance(cause, RestartsExhausted):
        return cause
    failed = PluginFailed(plugin.info.name, describe(cause))
    failed.__cause__ = cause
    return failed


def of_the_plugin(error: HookFailed | StopFailed) -> BaseException:
    """Return the error of the plugin that made a supervisor fail, out of one that only hands it on.

    >>> outer = HookFailed("supervisor", "start", "HookFailed: ...")
    >>> outer.__cause__ = HookFailed("disk", "start", "OSError: full")
    >>> print(of_the_plugin(outer))
    plugin 'disk' failed in start: OSError: full
    """
    found: BaseException = error.exceptions[0] if isinstance(error, StopFailed) else error
    while isinstance(found, HookFailed) and isinstance(found.__cause__, HookFailed | StopFailed | RestartsExhausted):
        found = found.__cause__
    return error if found in (error, *getattr(error, "exceptions", ())) else found
