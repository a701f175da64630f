"""A real registry that can be put into any state, and plugins in it whose hooks break when they are told to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar, Final

from attrs import Factory, define

from fsm_plugins.errors import (
    Abandoned,
    AlreadyRegistered,
    DeadlineExceeded,
    HookFailed,
    InvalidState,
    NotFound,
    StopFailed,
)
from fsm_plugins.guard import Guard
from fsm_plugins.lifecycle import FAIL, Lifecycle, TransitionEvent
from fsm_plugins.metadata import HealthStatus, PluginInfo
from fsm_plugins.plugin import Plugin
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.verify.registries.model import HEALTH, Call, Entry, Event, Faults, Hook, Outcome, Prediction

__all__ = ["SET", "Field", "LeftBehind", "quiet"]

SET: Final = ("register", "unregister")
"""The calls that change which plugins there are."""


class Boom(Exception):
    """What a hook raises that is told to break, and what plugins that were put into ``failed`` have as their cause."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the package from logging what is broken on purpose."""
    logger = logging.getLogger("fsm_plugins")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@define(eq=False)
class _Script:
    """Which hooks break, and which ran."""

    faults: Faults = Factory(dict)
    hooks: list[Hook] = Factory(list)


def _plugin_class(lifecycle: Lifecycle) -> type[_Scripted]:
    """Return a class of plugins of ``lifecycle`` whose hooks do what the script says."""

    def hook(trigger: str) -> Callable[[_Scripted], Coroutine[object, object, None]]:
        async def run(self: _Scripted) -> None:
            await self.behave(trigger)

        return run

    hooks = {f"on_{trigger}": hook(trigger) for trigger in lifecycle.triggers if trigger != FAIL}
    return type("Scripted", (_Scripted,), {"lifecycle": lifecycle, **hooks})


class _Scripted(Plugin):
    info: ClassVar[PluginInfo] = PluginInfo("scripted", "1.0.0")

    def __init__(self, script: _Script, *, name: str) -> None:
        super().__init__(name=name)
        self.script = script

    async def behave(self, trigger: str) -> None:
        script, hook = self.script, (self.info.name, trigger)
        script.hooks.append(hook)
        if not script.faults:
            return
        match script.faults.get(hook):
            case "raise":
                raise Boom(trigger)
            case "cancel":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
            case "hang":
                with suppress(asyncio.CancelledError):  # too late to be a success
                    await asyncio.get_running_loop().create_future()

    async def on_health_check(self) -> HealthStatus:
        await self.behave(HEALTH)
        return HealthStatus.healthy()


class Field:
    """A real registry that is put into one state after the other."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.script = _Script()
        self._class = _plugin_class(lifecycle)
        self._lifecycle = lifecycle
        self._events: list[Event] = []
        self._boom = Boom("put into this state")
        self._plugins: dict[str, Plugin] = {}
        self._others: dict[str, Plugin] = {}  # of names that are taken
        self._registry = self._fresh()
        self._registered: list[Plugin] = []
        self._guards: list[Guard] = []
        self._entries: tuple[Entry, ...] = ()
        self._moved = False  # whether the last call changed a state

    def _fresh(self) -> PluginRegistry:
        registry = PluginRegistry(clock=lambda: 0.0)
        registry.subscribe(self._on_event)
        return registry

    def _plugin(self, name: str, kept: dict[str, Plugin]) -> Plugin:
        """Return the plugin of that name, as a new one would be."""
        plugin = kept.get(name)
        if plugin is None:
            plugin = kept[name] = self._class(self.script, name=name)
        guard = plugin._guard
        guard.state, guard.failure, guard.hub = guard.lifecycle.initial, None, None
        return plugin

    def put(self, entries: tuple[Entry, ...], *, same_names: bool) -> None:
        """Put the registry into a state. ``same_names`` says that it has the plugins already."""
        if not same_names:
            self._registry = self._fresh()
            for name, _ in entries:
                self._registry.register(self._plugin(name, self._plugins))
            self._registered = list(self._registry)
            self._guards = [plugin._guard for plugin in self._registered]
        if not same_names or self._moved or entries is not self._entries:
            for guard, (_, state) in zip(self._guards, entries, strict=True):
                guard.state = state
                guard.failure = self._boom if state in self._lifecycle.failures else None
        self._entries = entries
        self._events.clear()
        self.script.hooks.clear()

    def _on_event(self, event: TransitionEvent) -> None:
        self._events.append(Event(event.plugin, event.trigger, event.source, event.dest))

    async def make(self, call: Call) -> Prediction:
        """Make a call, and tell what it came to in the words of the model."""
        outcome = await self._outcome(call)
        registry, boom, hub = self._registry, self._boom, self._registry._hub
        guards = self._guards
        if call.name in SET:
            guards = [plugin._guard for plugin in registry]
        elif list(registry) != self._registered:
            raise LeftBehind("other plugins, or another order")
        failed = []
        for guard in guards:
            if guard.failure is not None and guard.failure is not boom:
                failed.append((guard.info.name, _cause(guard.failure)))
            if guard.flight is not None or guard._health is not None or guard.workers:
                raise LeftBehind(f"a call of {guard.info.name} under way")
            if guard.hub is not hub:
                raise LeftBehind(f"{guard.info.name} registered, but not heard")
        self._moved = call.name in SET or [guard.state for guard in guards] != [state for _, state in self._entries]
        entries = self._entries
        if self._moved:
            entries = tuple([Entry(guard.info.name, guard.state) for guard in guards])
        elif failed:  # its state is the same, but its failure is another
            self._moved = True
        if registry._walk is not None:
            raise LeftBehind(f"{registry._walk.call} under way")
        if registry._health_checks:
            raise LeftBehind("health_check_all under way")
        return Prediction(entries, outcome, tuple(self.script.hooks), tuple(self._events), tuple(failed))

    async def _outcome(self, call: Call) -> Outcome:
        registry, (name, plugin) = self._registry, call
        try:
            if name == "register":
                registry.register(self._plugin(plugin, self._others if plugin in registry else self._plugins))
            elif name == "unregister":
                unregistered = registry.unregister(plugin)
                if unregistered._guard.hub is not None:
                    raise LeftBehind(f"{plugin} unregistered, but still heard")
            elif not plugin:
                if name == "running":
                    async with registry.running():
                        pass
                elif name == "health_check_all":
                    healths = await registry.health_check_all()
                    return "healths", tuple(
                        (entry.name, entry.state, entry.status.level, _reason(entry.status)) for entry in healths
                    )
                else:
                    await getattr(registry, name)()
            elif name == FAIL:
                await registry[plugin].fail(Boom("watchdog"))
            else:
                await registry[plugin].fire(name)
        except InvalidState as error:
            return "refused", error.current, error.expected
        except DeadlineExceeded as error:
            return "late", error.name, error.trigger
        except HookFailed as error:
            return "failed", error.name, error.trigger
        except StopFailed as error:
            return "stop failed", tuple(getattr(problem, "name", "?") for problem in error.exceptions)
        except AlreadyRegistered as error:
            return "taken", error.name
        except NotFound as error:
            return "unknown", error.name
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            while task.uncancel():
                pass
            return ("cancelled",)
        except Exception as error:
            return "raised", repr(error)
        return ("done",)


class LeftBehind(Exception):
    """A call left something behind that is no part of a state."""


def _reason(status: HealthStatus) -> str:
    return status.reason if status.is_degraded else ""


def _cause(error: BaseException) -> str:
    match error:
        case Abandoned():
            return "abandoned"
        case DeadlineExceeded():
            return "hang"
        case asyncio.CancelledError():
            return "cancel"
        case Boom(args=("watchdog",)):
            return "watchdog"
        case Boom():
            return "raise"
        case _:
            return repr(error)
