"""What the short cuts of a guarded call must not change."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any
from unittest import mock

import pytest

from fsm_plugins import LIFECYCLE, InvalidState, Plugin, PluginInfo


class Simple(Plugin):
    info = PluginInfo("simple", "1.0.0")


@pytest.mark.parametrize("call", ["init", "start", "stop"])
def test_calls_are_seen_as_coroutine_functions(call: str) -> None:
    """A mock of a plugin class can be awaited like a plugin; from Python 3.12 on ``inspect`` sees it as well."""
    assert isinstance(getattr(mock.create_autospec(Simple), call), mock.AsyncMock)
    assert sys.version_info < (3, 12) or inspect.iscoroutinefunction(getattr(Simple, call))


def test_calls_do_nothing_until_they_are_awaited() -> None:
    """To call ``init`` without awaiting it takes no claim."""
    plugin = Simple()
    call = plugin.init()
    try:
        asyncio.run(plugin.init())
    finally:
        call.close()
    assert plugin.state == "initialized"


def test_machine_that_is_changed_later_moves_plugins_that_are_there_already() -> None:
    """A plugin goes by the table as it is now, not as it was when the plugin was made."""

    async def main() -> None:
        arcs = [("pause", "running", "paused"), ("stop", "paused", "stopped"), ("fail", "paused", "failed")]
        lifecycle = LIFECYCLE.extend(arcs)
        plugin = type("Pausable", (Simple,), {"lifecycle": lifecycle})()
        await plugin.init()
        await plugin.start()
        await plugin.fire("pause")
        with pytest.raises(InvalidState):
            await plugin.start()
        lifecycle.machine.add_transition("start", "paused", "running")
        await plugin.start()
        assert plugin.state == "running"
        lifecycle.machine.remove_transition("pause")
        with pytest.raises(InvalidState):
            await plugin.fire("pause")

    asyncio.run(main())


class Once:
    """Something to await that is not a coroutine, and that waits for one turn of the loop."""

    def __await__(self) -> Any:
        yield
        return "a value"


async def value(_plugin: Plugin) -> str:
    return "a value"


@pytest.mark.parametrize("hook", [value, lambda _: Once(), lambda _: asyncio.sleep(0, "a value"), None])
def test_whatever_a_hook_returns_the_move_is_made(hook: Any) -> None:
    """A hook may return a value, be any function that returns something to await, or be None, for no hook."""

    async def main() -> None:
        plugin = type("Hooked", (Simple,), {"on_start": hook})()
        await plugin.init()
        await plugin.start()
        assert plugin.state == "running"

    asyncio.run(main())
