"""Random things done to a registry, and what could be seen meanwhile. No model: for the tests of single invariants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import Factory, define
from hypothesis import strategies as st

from fsm_plugins import PluginRegistry, TransitionEvent
from fsm_plugins.testing import run
from tests.property.scripted import Boom, Scripted
from tests.property.strategies import delays, hooks

plugins = st.lists(hooks, min_size=1, max_size=4)
which = st.integers(0, 3)

actions = st.one_of(
    st.tuples(st.just("call"), which, st.sampled_from(["init", "start", "stop"])),
    st.tuples(st.just("fail"), which),
    st.tuples(st.just("health"), which),
    st.tuples(st.just("worker"), which, st.sampled_from(["crash", "linger", "swallow", "breed"])),
    st.tuples(st.sampled_from(["init_all", "start_all", "stop_all", "health_check_all"])),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("wait"), delays),
    st.tuples(st.just("turns"), st.integers(1, 5)),
)
scripts = st.lists(actions, max_size=25)


@define
class Seen:
    """What could be seen of a scenario."""

    registry: PluginRegistry
    plugins: list[Scripted]
    events: list[TransitionEvent] = Factory(list)
    calls: list[asyncio.Task[Any]] = Factory(list)

    async def do(self, action: tuple[Any, ...]) -> None:
        """Do one thing, without waiting for its end."""
        match action:
            case ("call", index, trigger):
                self._call(self.plugin(index).fire(trigger))
            case ("fail", index):
                self._call(self.plugin(index).fail(Boom("watchdog")))
            case ("health", index):
                self._call(self.plugin(index).health_check())
            case ("worker", index, kind):
                try:
                    plugin = self.plugin(index)
                    plugin.spawn(worker(plugin, kind))
                except Exception as refused:
                    assert type(refused).__name__ == "InvalidState"
            case ("cancel", index) if self.calls:
                self.calls[-1 - index % len(self.calls)].cancel()
            case ("wait", seconds):
                await asyncio.sleep(seconds)
            case ("turns", turns):
                for _ in range(turns):
                    await asyncio.sleep(0)
            case (bulk,):
                self._call(getattr(self.registry, bulk)())
        await asyncio.sleep(0)

    def plugin(self, index: int) -> Scripted:
        return self.plugins[index % len(self.plugins)]

    def _call(self, call: Awaitable[object]) -> None:
        self.calls.append(asyncio.ensure_future(call))


async def worker(plugin: Scripted, kind: str) -> None:
    """Do what workers do."""
    match kind:
        case "crash":
            await asyncio.sleep(0.5)
            raise Boom("worker")
        case "linger":
            await asyncio.Event().wait()
        case "swallow":
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue
        case "breed":
            try:
                await asyncio.Event().wait()
            finally:
                plugin.spawn(worker(plugin, "linger"))


def play(
    behaviours: list[dict[str, str]],
    script: list[tuple[Any, ...]],
    then: Callable[[Seen], Awaitable[None]],
    after_each: Callable[[Seen], None] = lambda _seen: None,
) -> None:
    """Do what ``script`` says on a virtual clock, look after each step, and ``then`` do the rest of the test."""

    async def main() -> None:
        registry = PluginRegistry()
        seen = Seen(registry, [Scripted(hooks, name=f"p{index}") for index, hooks in enumerate(behaviours)])
        registry.subscribe(seen.events.append)
        for plugin in seen.plugins:
            registry.register(plugin)
        for action in script:
            await seen.do(action)
            after_each(seen)
        await then(seen)
        # Whatever is still under way ends by itself, and no exception of a call is left unlooked at.
        if seen.calls:
            await asyncio.wait(seen.calls)
            for call in seen.calls:
                if not call.cancelled():
                    call.exception()
        try:
            await registry.stop_all()
        except Exception:
            assert all(plugin.state in ("created", "stopped", "failed") for plugin in seen.plugins)

    run(main)


async def nothing(_seen: Seen) -> None:
    """End the scenario here."""
