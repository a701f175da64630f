"""Every sequence of calls of a registry of a few plugins, on the real code, against the model (layer L3).

A breadth-first walk over the states of a registry: which plugins are registered, in which order, and in which state
each is. From every state every call is made, first with hooks that work, then with every choice of at most ``faults``
hooks that break, each in every way. What the call comes to is held against `SequentialModel`: its outcome, the hooks
that ran, the events, the failures, the order and the states of the plugins.

Instead of replaying the calls that lead to a state, the walk puts real plugins into it. That is sound because it also
checks, after every call, that nothing but the state is left: no claim, no worker, no health check, no bulk call. A
call that leaves such a thing behind is a finding, so what the walk puts plugins into is all there is to a state.

With ``symmetric``, states that differ only in the names of plugins are one: the plugins are of one class, and no call
looks at names but to tell them apart. Unregistered plugins are replaced by fresh ones, so N plugins of S states have
sum(S**k for k in 0..N) states, and without symmetry sum(N!/(N-k)! * S**k).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from math import perm
from typing import ClassVar, Final

from attrs import Factory, define, field, frozen

from fsm_plugins.errors import (
    Abandoned,
    AlreadyRegistered,
    DeadlineExceeded,
    DefinitionError,
    HookFailed,
    InvalidState,
    NotFound,
    StopFailed,
)
from fsm_plugins.guard import Guard
from fsm_plugins.lifecycle import FAIL, LIFECYCLE, STOP, Lifecycle, TransitionEvent
from fsm_plugins.metadata import HealthStatus, PluginInfo
from fsm_plugins.plugin import Plugin
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.verify.loop import ControlledLoop
from fsm_plugins.verify.model import HEALTH, Call, Entry, Event, Fault, Faults, Hook, Outcome, Prediction
from fsm_plugins.verify.model import SequentialModel as Model

__all__ = ["Departure", "RegistryResult", "expected_states", "explore_registry", "quiet"]

FAULTS: Final[tuple[Fault, ...]] = ("raise", "cancel", "hang")
_SET: Final = ("register", "unregister")
_BULK: Final = ("init_all", "start_all", "stop_all", "running", "health_check_all")


class _Boom(Exception):
    """What a hook raises that is told to break, and what plugins that were put into ``failed`` have as their cause."""


def expected_states(plugins: int, states: int, *, symmetric: bool) -> int:
    """Return how many states a registry has, by the closed form.

    >>> [expected_states(n, 5, symmetric=True) for n in range(1, 7)]
    [6, 31, 156, 781, 3906, 19531]
    >>> [expected_states(n, 5, symmetric=False) for n in range(1, 6)]
    [6, 61, 916, 18321, 458026]
    """
    return sum((1 if symmetric else perm(plugins, k)) * states**k for k in range(plugins + 1))


@frozen
class Departure:
    """Where the registry did something else than the model.

    Attributes:
        steps: the calls that lead there, the last of which departs. No shorter sequence departs.
        expected, got: what differs, in words.
    """

    steps: tuple[str, ...]
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{' -> '.join(self.steps)}: expected {self.expected}, got {self.got}"


@frozen
class RegistryResult:
    """What the walk over a registry established.

    Attributes:
        plugins, faults, symmetric: its scope: how many plugins, and how many hooks break in one call.
        states, edges: how many states were visited, and how many calls were made.
        total: how many states there are, by the closed form.
        seconds: how long it took.
        departure: the first difference from the model, if there is one.
        inconclusive: why not everything was visited, empty if it was.
    """

    plugins: int
    faults: int
    symmetric: bool
    states: int
    edges: int
    total: int
    seconds: float
    departure: Departure | None = None
    inconclusive: str = ""

    @property
    def holds(self) -> bool:
        """Whether every state was visited, and no call departed."""
        return self.departure is None and not self.inconclusive

    def __str__(self) -> str:
        names = "symmetric" if self.symmetric else "order kept"
        scope = (
            f"{self.plugins} plugins, {self.faults} faults per call, {names}: "
            f"{self.states} of {self.total} states, {self.edges} calls in {self.seconds:.1f} s"
        )
        if self.departure is not None:
            return f"departs from the model ({scope})\n{self.departure}"
        return f"inconclusive, {self.inconclusive} ({scope})" if self.inconclusive else f"holds ({scope})"


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
                raise _Boom(trigger)
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


class _Field:
    """A real registry that is put into one state after the other."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.script = _Script()
        self._class = _plugin_class(lifecycle)
        self._lifecycle = lifecycle
        self._events: list[Event] = []
        self._boom = _Boom("put into this state")
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
        if call.name in _SET:
            guards = [plugin._guard for plugin in registry]
        elif list(registry) != self._registered:
            raise _LeftBehind("other plugins, or another order")
        failed = []
        for guard in guards:
            if guard.failure is not None and guard.failure is not boom:
                failed.append((guard.info.name, _cause(guard.failure)))
            if guard.flight is not None or guard._health is not None or guard.workers:
                raise _LeftBehind(f"a call of {guard.info.name} under way")
            if guard.hub is not hub:
                raise _LeftBehind(f"{guard.info.name} registered, but not heard")
        self._moved = call.name in _SET or [guard.state for guard in guards] != [state for _, state in self._entries]
        entries = self._entries
        if self._moved:
            entries = tuple([Entry(guard.info.name, guard.state) for guard in guards])
        elif failed:  # its state is the same, but its failure is another
            self._moved = True
        if registry._walk is not None:
            raise _LeftBehind(f"{registry._walk.call} under way")
        if registry._health_checks:
            raise _LeftBehind("health_check_all under way")
        return Prediction(entries, outcome, tuple(self.script.hooks), tuple(self._events), tuple(failed))

    async def _outcome(self, call: Call) -> Outcome:
        registry, (name, plugin) = self._registry, call
        try:
            if name == "register":
                registry.register(self._plugin(plugin, self._others if plugin in registry else self._plugins))
            elif name == "unregister":
                unregistered = registry.unregister(plugin)
                if unregistered._guard.hub is not None:
                    raise _LeftBehind(f"{plugin} unregistered, but still heard")
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
                await registry[plugin].fail(_Boom("watchdog"))
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


class _LeftBehind(Exception):
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
        case _Boom(args=("watchdog",)):
            return "watchdog"
        case _Boom():
            return "raise"
        case _:
            return repr(error)


def _differences(expected: Prediction, got: Prediction) -> tuple[str, str]:
    """Say in words what differs."""
    for name in ("outcome", "entries", "hooks", "events", "failed"):
        wanted, seen = getattr(expected, name), getattr(got, name)
        if wanted != seen:
            return f"{name} {_words(wanted)}", _words(seen)
    raise AssertionError("nothing differs")


def _words(value: object) -> str:
    if isinstance(value, tuple):
        parts = [_words(part) for part in value]
        return " ".join(parts) if all(isinstance(part, str) for part in value) and value else f"({', '.join(parts)})"
    return str(value)


@define(eq=False)
class _Explorer:
    """One walk."""

    plugins: int
    faults: int
    symmetric: bool
    until: float
    model: Model
    real: _Field
    calls: dict[tuple[str, ...], tuple[Call, ...]] = Factory(dict)
    parents: dict[tuple[Entry, ...], tuple[tuple[Entry, ...], Call, Faults] | None] = field(init=False)
    edges: int = 0

    def __attrs_post_init__(self) -> None:
        self.parents = {(): None}

    def calls_from(self, entries: tuple[Entry, ...]) -> tuple[Call, ...]:
        """Return every call that can be made from a state; these depend on the names alone."""
        names = tuple([entry.name for entry in entries])
        calls = self.calls.get(names)
        if calls is None:
            unused = [name for name in map(_name, range(self.plugins)) if name not in names]
            fresh = unused[:1] if self.symmetric else unused
            nobody = unused[:1] or [_name(self.plugins)]
            triggers = self.model.lifecycle.triggers
            calls = self.calls[names] = (
                *(Call("register", name) for name in (*fresh, *names)),
                *(Call("unregister", name) for name in (*names, *nobody)),
                *(Call(trigger, name) for trigger in triggers for name in names),
                *(Call(name) for name in _BULK),
            )
        return calls

    async def walk(self) -> tuple[Departure | None, str]:
        """Visit every state; returns the first departure, and why it ended early."""
        todo: deque[tuple[Entry, ...]] = deque([()])
        while todo:
            entries = todo.popleft()
            same_names = False
            if time.monotonic() > self.until:
                return None, "the time is up"
            for call in self.calls_from(entries):
                plans: list[tuple[Faults, int]] = [({}, 0)]
                for faults, begin in plans:
                    expected = self.model.step(entries, call, faults)
                    self.real.put(entries, same_names=same_names)
                    self.real.script.faults = faults
                    self.edges += 1
                    try:
                        got = await self.real.make(call)
                    except _LeftBehind as left:
                        return self.departure(entries, call, faults, "nothing left behind", str(left)), ""
                    if got != expected:
                        return self.departure(entries, call, faults, *_differences(expected, got)), ""
                    if len(faults) < self.faults and got.hooks and not _only_stops(call, got.hooks):
                        plans += self.more(faults, got.hooks, begin)
                    same_names = call.name not in _SET or got.outcome != ("done",)
                    after = got.entries if same_names else self.canonical(got.entries)
                    if after not in self.parents:
                        self.parents[after] = entries, call, faults
                        todo.append(after)
        return None, ""

    def more(self, faults: Faults, hooks: tuple[Hook, ...], begin: int) -> Iterator[tuple[Faults, int]]:
        """Let one more hook break, in every way; hooks before ``begin`` have had their turn."""
        for index, hook in islice(enumerate(hooks), begin, None):
            for fault in FAULTS[:1] if hook[1] == HEALTH else FAULTS:
                yield {**faults, hook: fault}, index + 1

    def canonical(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Name the plugins in their order, if names do not matter."""
        if not self.symmetric:
            return entries
        return tuple([Entry(_name(index), entry.state) for index, entry in enumerate(entries)])

    def departure(self, entries: tuple[Entry, ...], call: Call, faults: Faults, expected: str, got: str) -> Departure:
        """Tell how to get there."""
        steps = [_step(call, faults)]
        parent = self.parents[entries]
        while parent is not None:
            before, by, broken = parent
            steps.append(_step(by, broken))
            parent = self.parents[before]
        return Departure(tuple(reversed(steps)), expected, got)


def _only_stops(call: Call, hooks: tuple[Hook, ...]) -> bool:
    """Whether ``running`` was refused its start, so that it is ``stop_all``, whose faults are explored already."""
    return call.name == "running" and hooks[0][1] == STOP


def _name(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f"p{index}"


def _step(call: Call, faults: Mapping[Hook, str]) -> str:
    words = {"raise": "raises", "cancel": "is cancelled", "hang": "hangs"}
    broken = ", ".join(f"{plugin}.on_{trigger} {words[fault]}" for (plugin, trigger), fault in faults.items())
    text = f"{call.name} {call.plugin}" if call.name in _SET else str(call)
    return f"{text} [{broken}]" if broken else text


def explore_registry(
    plugins: int = 4,
    faults: int = 1,
    symmetric: bool = True,
    seconds: float | None = None,
    *,
    lifecycle: Lifecycle = LIFECYCLE,
    reference: Lifecycle | None = None,
) -> RegistryResult:
    """Make every call in every state of a registry, on the real code, and hold it against the model.

    Args:
        plugins: at most how many plugins are registered.
        faults: at most how many hooks break in one call; each raises, is cancelled, or hangs until its deadline.
        symmetric: whether states that differ in names alone are visited once.
        seconds: when to give up, in seconds of real time.
        lifecycle: of the plugins.
        reference: the table that the model follows, if that is another one.

    Raises:
        DefinitionError: ``plugins`` or ``faults`` makes no sense.
        RuntimeError: it is called from a running event loop.

    >>> result = explore_registry(plugins=2)
    >>> result.states, result.holds
    (31, True)
    """
    if plugins < 1 or faults < 0:
        raise DefinitionError(
            f"a registry is explored with 1 or more plugins and 0 or more faults, not {plugins}, {faults}"
        )
    begin = time.monotonic()
    until = begin + seconds if seconds is not None else float("inf")
    model = Model(reference or lifecycle)
    explorer = _Explorer(plugins, faults, symmetric, until, model, _Field(lifecycle))
    loop = ControlledLoop()
    with quiet(), loop.running():
        task = loop.create_task(explorer.walk())
        loop.drive([task], limit=2**62)
        loop.settle()
        departure, inconclusive = task.result()
    return RegistryResult(
        plugins,
        faults,
        symmetric,
        len(explorer.parents),
        explorer.edges,
        expected_states(plugins, len((reference or lifecycle).states), symmetric=symmetric),
        time.monotonic() - begin,
        departure,
        inconclusive,
    )
