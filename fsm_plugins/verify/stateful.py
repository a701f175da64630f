"""Hypothesis plays with a lifecycle: longer runs than can be enumerated, with arguments and settings of any kind.

Hypothesis has no asynchronous rules, so a machine keeps an event loop with a virtual clock, and each rule runs one call
on it to the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

try:
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
except ImportError as error:
    raise ImportError("this needs Hypothesis: pip install 'fsm-plugins[verify]'") from error

from fsm_plugins.errors import HookFailed, InvalidState
from fsm_plugins.lifecycle import FAIL, STOP, Lifecycle
from fsm_plugins.metadata import HealthStatus
from fsm_plugins.plugin import Plugin
from fsm_plugins.verify.base.clock import RunLoop

__all__ = ["machine_of", "sequences_of", "triggers_of"]


class DeclaredFailed(Exception):
    """The cause that the machine gives to ``fail``."""


def triggers_of(lifecycle: Lifecycle) -> st.SearchStrategy[str]:
    """Return a strategy for the triggers of ``lifecycle``."""
    return st.sampled_from(lifecycle.triggers)


@st.composite
def sequences_of(draw: st.DrawFn, lifecycle: Lifecycle, max_size: int = 20) -> tuple[str, ...]:
    """Draw triggers that are legal one after the other, from the initial state on.

    Args:
        draw: given by Hypothesis.
        lifecycle: whose.
        max_size: how many at most.
    """
    state, triggers = lifecycle.initial, []
    for _ in range(draw(st.integers(0, max_size))):
        legal = [arc for arc in lifecycle.arcs if arc.source == state]
        if not legal:
            break
        arc = draw(st.sampled_from(legal))
        triggers.append(arc.trigger)
        state = arc.dest
    return tuple(triggers)


def machine_of(
    factory: Callable[..., Plugin],
    *,
    settings: st.SearchStrategy[dict[str, Any]] | None = None,
    holds: Callable[[Any], object] | None = None,
) -> type[RuleBasedStateMachine]:
    """Return a `RuleBasedStateMachine` that plays with the plugins of ``factory``.

    ``TestClock = machine_of(Clock).TestCase`` is a whole test. It fires every trigger, legal or not, cancels calls,
    asks for the health and lets time pass, in any order; each step is held against the lifecycle. At the end the plugin
    is brought to rest, and may not leave a task behind.

    Args:
        factory: a plugin class, or a function that makes a plugin; one that fills in the ports, if there are any.
        settings: a strategy for the keywords of the factory.
        holds: is asked after each step; it returns False, or raises, if it is broken.

    Raises:
        ImportError: Hypothesis is missing; the text says how to install it.
    """
    keywords = settings if settings is not None else st.just({})

    class LifecycleMachine(RuleBasedStateMachine):
        """One plugin, and what is done to it."""

        plugin: Plugin

        def __init__(self) -> None:
            super().__init__()
            self.loop = RunLoop()

        @initialize(given=keywords)
        def make(self, given: dict[str, Any]) -> None:
            self.plugin = self.run(self._make(given))

        async def _make(self, given: dict[str, Any]) -> Plugin:
            return factory(**given)

        def run(self, coroutine: Any) -> Any:
            """Run one call to its end."""
            return self.loop.run_until_complete(coroutine)

        @rule(data=st.data())
        def fire(self, data: st.DataObject) -> None:
            """Fire any trigger: the legal ones do what the table says, the others are refused."""
            plugin = self.plugin
            trigger = data.draw(triggers_of(plugin.lifecycle), "trigger")
            source = plugin.state
            move = plugin.lifecycle.machine.moves[source].get(trigger)
            try:
                self.run(self._call(trigger))
            except InvalidState:
                assert move is None or move.stock, f"{trigger} was refused in {source}"
                assert plugin.state == source, f"a refused {trigger} led from {source} to {plugin.state}"
                return
            assert move is not None, f"the illegal {trigger} was let pass in {source}"
            assert plugin.state == move.dest or move.stock, f"{trigger} led from {source} to {plugin.state}"

        @rule(data=st.data(), turns=st.integers(0, 5))
        def cancel(self, data: st.DataObject, turns: int) -> None:
            """Cancel a call after some turns of the event loop."""
            plugin = self.plugin
            legal = [t for t in plugin.lifecycle.machine.moves[plugin.state] if t != FAIL]
            if legal:
                trigger = data.draw(st.sampled_from(sorted(legal)), "trigger")
                self.run(self._cancelled(trigger, turns))

        @rule()
        def ask(self) -> None:
            """Ask for the health: the state stays as it is."""
            source = self.plugin.state
            assert isinstance(self.run(self.plugin.health_check()), HealthStatus)
            assert self.plugin.state == source, f"the health check led from {source} to {self.plugin.state}"

        @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 60.0]))
        def wait(self, seconds: float) -> None:
            """Let time pass."""
            self.run(asyncio.sleep(seconds))

        @invariant()
        def state_is_of_the_table(self) -> None:
            """The plugin is in a state of its lifecycle, and what has to hold does."""
            plugin = getattr(self, "plugin", None)
            if plugin is None:
                return
            assert plugin.state in plugin.lifecycle.machine.moves
            if holds is not None:
                held = holds(plugin)
                assert held is None or held, f"{getattr(holds, '__name__', 'what has to hold')} does not hold"

        async def _call(self, trigger: str) -> None:
            if trigger == FAIL:
                await self.plugin.fail(DeclaredFailed("declared failed by the test"))
            else:
                await self.plugin.fire(trigger)

        async def _cancelled(self, trigger: str, turns: int) -> None:
            call = asyncio.ensure_future(self._call(trigger))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            if not call.cancelled():
                call.exception()

        async def _rest(self) -> list[str]:
            plugin = self.plugin
            for _ in range(3):
                moves = plugin.lifecycle.machine.moves[plugin.state]
                if plugin.state in (*plugin.lifecycle.rest, plugin.lifecycle.initial):
                    break
                try:
                    await self._call(STOP if STOP in moves else FAIL)
                except HookFailed:
                    continue  # a second stop has to bring it to rest
            else:
                raise AssertionError(f"it cannot be brought to rest: it is {plugin.state}")
            for _ in range(8):
                await asyncio.sleep(0)
            own = asyncio.current_task()
            return [repr(task) for task in asyncio.all_tasks() if task is not own]

        def teardown(self) -> None:
            """Bring the plugin to rest."""
            try:
                if hasattr(self, "plugin"):
                    left = self.run(self._rest())
                    assert not left, f"tasks outlive the plugin: {', '.join(left)}"
            finally:
                for task in asyncio.all_tasks(self.loop):
                    task.cancel()
                    self.run(asyncio.wait([task], timeout=1))
                self.loop.close()

    LifecycleMachine.__name__ = LifecycleMachine.__qualname__ = "LifecycleMachine"
    return LifecycleMachine
