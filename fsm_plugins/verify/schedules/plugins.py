"""Plugins and registries of plugins as subjects whose schedules are explored."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from attrs import Factory, define, field

from fsm_plugins.errors import (
    Abandoned,
    DeadlineExceeded,
    DefinitionError,
    HookFailed,
    InvalidState,
    NotFound,
    RegistryBusy,
    StopFailed,
)
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import FAIL, Lifecycle, State, TransitionEvent
from fsm_plugins.metadata import HealthStatus
from fsm_plugins.plugin import Plugin
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.verify.registries.model import HEALTH, Call, Outcome
from fsm_plugins.verify.schedules.objects import Anything, simple
from fsm_plugins.verify.schedules.overlap import Overlap, Standing
from fsm_plugins.verify.schedules.subjects import AnyCall, Cell, Session, Subject

__all__ = ["Plugins", "Watchdog", "subject_of"]

_BULK: Final = ("init_all", "start_all", "stop_all", "health_check_all")


class Watchdog(Exception):
    """The cause with which a call of the exploration fails a plugin."""


@define(eq=False)
class _PluginSession(Session):
    registry: PluginRegistry = Factory(PluginRegistry)
    own: object = None
    functions: Mapping[str, Callable[[Any], Awaitable[object]]] = Factory(dict)
    observe: Callable[[Any], object] | None = None
    plugins: dict[str, Plugin] = Factory(dict)
    deaf: Callable[[], None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.plugins = {plugin.info.name: plugin for plugin in self.registry}

    @property
    def subject(self) -> object:
        return self.own

    async def setup(self) -> None:
        for name, plugin in self.cell.setup:
            if name == FAIL:
                await self.plugins[plugin].fail(Watchdog("before"))
            else:
                await self.plugins[plugin].fire(name)

    def watched(self) -> Iterable[object]:
        return self.plugins.values()

    def listen(self) -> None:
        self.deaf = self.registry.subscribe(self._on_event)

    def _on_event(self, event: TransitionEvent) -> None:
        self.history.append(("event", event.plugin, event.trigger, event.source, event.dest))

    async def make(self, i: int, call: Call) -> Outcome:
        name, plugin = call
        try:
            if name in self.functions:
                value = await self.functions[name](self.own)
                return "returned", simple(value)
            if name == "unregister":
                self.registry.unregister(plugin)
            elif name == "health_check_all":
                healths = await self.registry.health_check_all()
                return "healths", tuple([(h.name, h.state, *self._status(h.name, h.status)) for h in healths])
            elif not plugin:
                await getattr(self.registry, name)()
            elif name == FAIL:
                await self.plugins[plugin].fail(Watchdog(str(i)))
            elif name == HEALTH:
                return "health", *self._status(plugin, await self.plugins[plugin].health_check())
            else:
                await self.plugins[plugin].fire(name)
        except BaseException as error:
            return self._outcome(error)
        return ("done",)

    def _outcome(self, error: BaseException) -> Outcome:
        match error:
            case asyncio.CancelledError():
                return ("cancelled",)
            case InvalidState():
                return "refused", error.current, error.expected, error.in_flight or ""
            case DeadlineExceeded():
                self.errors["DeadlineExceeded"] = error
                return "late", error.name, error.trigger
            case HookFailed():
                return "failed", error.name, error.trigger, self.cause(error.__cause__)
            case StopFailed():
                for problem in error.exceptions:
                    if isinstance(problem, DeadlineExceeded):
                        self.errors["DeadlineExceeded"] = problem
                    elif isinstance(problem, HookFailed):
                        self.cause(problem.__cause__ or problem)
                return "stop failed", tuple([getattr(problem, "name", "?") for problem in error.exceptions])
            case RegistryBusy():
                return "busy", error.wanted, error.in_flight
            case NotFound():
                return "unknown", error.name
            case Abandoned():
                return "abandoned", error.name, State(error.state)
            case _:
                self.errors[type(error).__name__] = error
                return "raised", type(error).__name__

    def _status(self, name: str, status: HealthStatus) -> tuple[str, str]:
        """Say how a plugin is: the level, and the reason where the framework gives it."""
        failure = self.plugins[name].failure
        if status.is_degraded and (
            status.reason.startswith("not running: ") or status.reason.endswith(" is under way")
        ):
            return status.level, status.reason
        if (
            status.is_unhealthy
            and status.reason.startswith("CancelledError")
            and (failure is None or status.reason != describe(failure))
        ):
            self.errors["a health check that tells of its own cancellation"] = None
        return status.level, ""

    def cause(self, error: BaseException | None) -> str:
        """Name the cause of a failure in the words of `fsm_plugins.verify.schedules.overlap`."""
        match error:
            case None:
                return ""
            case Watchdog():
                return f"watchdog {error}"
            case Abandoned():
                return "abandoned"
            case asyncio.CancelledError():
                return "hook"
            case _:
                self.errors[type(error).__name__] = error
                return "hook"

    def standing(self) -> tuple[Standing, ...]:
        """Return where the plugins are."""
        return tuple([Standing(p._guard.state, self.cause(p._guard.failure)) for p in self.plugins.values()])

    def finish(self) -> Coroutine[object, object, None] | None:
        works = [_works(plugin) for plugin in self.plugins.values()]
        end = [(standing.state, standing.cause, work) for standing, work in zip(self.standing(), works, strict=True)]
        self.history.append(("end", tuple(end)))
        self.deaf()
        return self._stop() if self._left() else None

    async def _stop(self) -> None:
        try:
            await self.registry.stop_all()
        except Exception as error:
            self._outcome(error)
        for name in self._left():
            self.errors[f"{name}, which does not come to rest when stop_all is called afterwards"] = None

    def _left(self) -> list[str]:
        """Return the names of the plugins that are not at rest."""
        guards = [plugin._guard for plugin in self.registry]
        return [g.info.name for g in guards if g.state != g.lifecycle.initial and g.state not in g.lifecycle.rest]

    def result(self) -> tuple[object, ...]:
        outcomes = sorted([label[1:] for label in self.history if label[0] == "return"], key=str)
        seen = None if self.observe is None else self.observe(self.own)
        states = next((label for label in self.history if label[0] == "end"), None)
        return tuple(outcomes), states, seen


def _works(plugin: Plugin) -> str:
    """Say whether a worker goes on although the plugin is in a state in which none does."""
    guard, lifecycle = plugin._guard, plugin.lifecycle
    idle = guard.state == lifecycle.initial or guard.state in lifecycle.rest or guard.state in lifecycle.failures
    return (
        "at work"
        if idle and any(not (worker.task.done() or worker.task.cancelling()) for worker in guard.workers)
        else ""
    )


class Plugins(Subject):
    """A plugin, or a registry of plugins."""

    def __init__(
        self,
        factory: Callable[[], Plugin | PluginRegistry],
        calls: Sequence[AnyCall] | None = None,
        *,
        states: Sequence[str] | None = None,
        observe: Callable[[Any], object] | None = None,
        crashes: bool = True,
    ) -> None:
        self._factory = factory
        self._observe = observe
        self._crashes = crashes
        self._only = states
        registry, self._alone = self._registry(factory())
        self._lifecycles: dict[str, Lifecycle] = {plugin.info.name: plugin.lifecycle for plugin in registry}
        self.functions: dict[str, Callable[[Any], Awaitable[object]]] = {}
        self._calls = self._default_calls() if calls is None else [self._call(call) for call in calls]

    def _registry(self, made: Plugin | PluginRegistry) -> tuple[PluginRegistry, Plugin | None]:
        if isinstance(made, PluginRegistry):
            return made, None
        registry = PluginRegistry(clock=lambda: 0.0)
        registry.register(made)
        return registry, made

    def _default_calls(self) -> list[Call]:
        calls = [] if self._alone is not None else [Call(name) for name in _BULK]
        for name, lifecycle in self._lifecycles.items():
            calls += [Call(trigger, name) for trigger in (*lifecycle.triggers, HEALTH)]
            if self._alone is None:
                calls.append(Call("unregister", name))
        return calls

    def _call(self, call: AnyCall) -> Call:
        if callable(call) and not isinstance(call, Call):
            name = getattr(call, "__qualname__", type(call).__name__).removesuffix("__call__").rstrip(".")
            while name in self.functions and self.functions[name] is not call:
                name += "'"
            self.functions[name] = call
            return Call(name)
        if isinstance(call, str):
            plugin, _, name = call.rpartition(".")
            call = Call(name, plugin)
        if not call.plugin and call.name not in _BULK and self._alone is not None:
            call = Call(call.name, next(iter(self._lifecycles)))
        lifecycle = self._lifecycles.get(call.plugin)
        known = (*_BULK,) if lifecycle is None else (*lifecycle.triggers, HEALTH, "unregister")
        if call.name not in known or (call.plugin and lifecycle is None):
            raise DefinitionError(
                f"there is no call {str(call)!r}; the calls are {', '.join(map(str, self._default_calls()))}, "
                "or an async function of the object"
            )
        return call

    def calls(self) -> Sequence[Call]:
        return self._calls

    def states(self) -> Iterator[tuple[str, tuple[Call, ...]]]:
        each = {name: list(_ways(lifecycle).items()) for name, lifecycle in self._lifecycles.items()}
        found = []
        if len(each) > 2:  # too many for all: the plugins go together
            shared = set.intersection(*({state for state, _ in ways} for ways in each.values()))
            combinations: Iterator[tuple[tuple[State, tuple[str, ...]], ...]] = (
                tuple((state, dict(ways)[state]) for ways in each.values()) for state in sorted(shared)
            )
        else:
            combinations = itertools.product(*each.values())
        for combination in combinations:
            setup = [
                Call(trigger, name)
                for name, (_, way) in zip(self._lifecycles, combination, strict=True)
                for trigger in way
            ]
            found.append(("+".join([state for state, _ in combination]) or "empty", tuple(setup)))
        found.sort(key=lambda entry: len(entry[1]))
        if self._only is not None:
            found = [entry for entry in found if entry[0] in self._only]
            if not found:
                raise DefinitionError(f"there is no state {', '.join(map(repr, self._only))}")
        yield from found

    def session(self, cell: Cell) -> Session:
        registry, alone = self._registry(self._factory())
        return _PluginSession(
            cell, registry=registry, own=alone or registry, functions=self.functions, observe=self._observe
        )

    def overlap(self, session: Session) -> Overlap | None:
        if any(call.name in self.functions for call in session.cell.calls):
            return None
        session = cast("_PluginSession", session)
        return Overlap(
            tuple(self._lifecycles),
            tuple(self._lifecycles.values()),
            session.standing(),
            session.cell.calls,
            crashes=self._crashes,
        )


def _ways(lifecycle: Lifecycle) -> dict[State, tuple[str, ...]]:
    """Return for each state the triggers that lead there: without ``fail``, or else from where most is held."""
    ways: dict[State, tuple[str, ...]] = {lifecycle.initial: ()}
    for triggers in ([t for t in lifecycle.triggers if t != FAIL], lifecycle.triggers):
        todo = sorted(ways, key=lambda state: len(ways[state]))
        if len(triggers) == len(lifecycle.triggers):  # a plugin that fails holds most when it is running
            todo.sort(key=lambda state: (state != State.RUNNING, -len(ways[state])))
        for state in todo:
            for trigger in triggers:
                dest = lifecycle.dest(trigger, state)
                if dest is not None and dest not in ways:
                    ways[dest] = (*ways[state], trigger)
                    todo.append(dest)
    return ways


def subject_of(
    factory: Callable[[], object],
    calls: Sequence[AnyCall] | None = None,
    *,
    states: Sequence[str] | None = None,
    observe: Callable[[Any], object] | None = None,
    crashes: bool = True,
) -> Subject:
    """Return what ``factory`` makes as a subject.

    Raises:
        DefinitionError: ``calls`` names a call that there is not, or none for an object that is no plugin.
    """
    if isinstance(factory(), Plugin | PluginRegistry):
        made = cast("Callable[[], Plugin | PluginRegistry]", factory)
        return Plugins(made, calls, states=states, observe=observe, crashes=crashes)
    return Anything(factory, calls, observe=observe)
