"""What a registry must do, call by call: a second opinion, written from the documentation and not from its code.

One call at a time; what happens when calls overlap is said in `fsm_plugins.verify.schedules.overlap`. The model is a
function: the states of the plugins in their order, a call, and which hooks break, give what the caller gets, which
hooks run, which events are told, and the states after it. The only thing it shares with the registry is the transition
table, as a value; the machine compiled from it is not used. Outcomes are tuples of words, so that they can be compared,
hashed and read: ====================================== ==============================================================
``("done",)`` the call returned ``("refused", state, expected)`` `InvalidState` ``("failed", plugin, trigger)``
`HookFailed`: a hook raised ``("late", plugin, trigger)`` `DeadlineExceeded` ``("cancelled",)`` the caller was cancelled
``("stop failed", names)`` `StopFailed`, with the plugins in it ``("taken", name)`` `AlreadyRegistered` ``("unknown",
name)`` `NotFound` ``("healths", entries)`` what ``health_check_all`` returned ======================================
==============================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from fsm_plugins.lifecycle import FAIL, INIT, LIFECYCLE, START, STOP, Lifecycle, State

__all__ = [
    "HEALTH",
    "Call",
    "Entry",
    "Event",
    "Fault",
    "Faults",
    "Hook",
    "Outcome",
    "Prediction",
    "SequentialModel",
    "health_of",
]

HEALTH: Final = "health_check"

Fault: TypeAlias = Literal["raise", "cancel", "hang"]
"""How a hook breaks: it raises, the caller is cancelled while it waits, or it waits past its deadline
and returns when it is told that it is late."""

Outcome: TypeAlias = tuple[object, ...]
Hook: TypeAlias = tuple[str, str]
"""The name of a plugin and the trigger whose hook it is."""
Faults: TypeAlias = Mapping[Hook, Fault]


class Call(NamedTuple):
    """A call of a registry, or of the plugin named by ``plugin``.

    >>> print(Call("stop_all"), Call("start", "a"))
    stop_all a.start
    """

    name: str
    plugin: str = ""

    def __str__(self) -> str:
        return f"{self.plugin}.{self.name}" if self.plugin else self.name


class Entry(NamedTuple):
    """One registered plugin: its name and its state."""

    name: str
    state: State


class Event(NamedTuple):
    """A transition that listeners hear of."""

    plugin: str
    trigger: str
    source: State
    dest: State


class Prediction(NamedTuple):
    """What a call must come to.

    Attributes:
        entries: the registered plugins afterwards, in order.
        outcome: what the caller gets.
        hooks: which hooks run, in order.
        events: which transitions are told, in order.
        failed: for each plugin that failed in this call, in order, what its ``failure`` must be: a `Fault`,
            ``watchdog`` (for ``fail``) or ``abandoned``.
    """

    entries: tuple[Entry, ...]
    outcome: Outcome
    hooks: tuple[Hook, ...] = ()
    events: tuple[Event, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


def health_of(lifecycle: Lifecycle, state: State, in_flight: str = "") -> tuple[str, str] | None:
    """Return the level and the reason that are known of a plugin without asking its hook, or None."""
    if state in lifecycle.failures:
        return "unhealthy", ""
    if state != State.RUNNING:
        return "degraded", f"not running: {state}"
    return ("degraded", f"{in_flight} is under way") if in_flight else None


class _Run:
    """The states while one call goes on, and what it has caused."""

    def __init__(self, model: SequentialModel, entries: tuple[Entry, ...], faults: Faults) -> None:
        self.model = model
        self.states = dict(entries)
        self.faults = faults
        self.hooks: list[Hook] = []
        self.events: list[Event] = []
        self.failed: dict[str, str] = {}

    def move(self, name: str, trigger: str) -> bool:
        source = self.states[name]
        dest = self.model.dests.get((trigger, source))
        if dest is None:
            return False
        self.states[name] = dest
        self.events.append(Event(name, trigger, source, dest))
        return True

    def fail(self, name: str, cause: str) -> None:
        if self.move(name, FAIL):
            self.failed[name] = cause

    def fire(self, name: str, trigger: str) -> Outcome:
        """Fire a trigger that has a hook."""
        if (trigger, self.states[name]) not in self.model.dests:
            return "refused", self.states[name], self.model.expected[trigger]
        self.hooks.append((name, trigger))
        fault = self.faults.get((name, trigger))
        if fault is None:
            self.move(name, trigger)
            return ("done",)
        self.fail(name, fault)
        if fault == "cancel":
            return ("cancelled",)
        return "late" if fault == "hang" else "failed", name, trigger

    def walk(self, trigger: str) -> Outcome:
        """Fire a trigger on every plugin in order; the first that is not done ends it."""
        for name in self.states:
            outcome = self.fire(name, trigger)
            if outcome != ("done",):
                return outcome
        return ("done",)

    def stop_all(self) -> Outcome:
        """Bring every plugin to rest, whatever the others do."""
        lifecycle = self.model.lifecycle
        problems: list[str] = []
        cancelled = False
        for name, state in list(self.states.items()):
            if state == lifecycle.initial or state in lifecycle.rest:
                continue
            if (STOP, state) not in self.model.dests:
                self.fail(name, "abandoned")
            outcome = self.fire(name, STOP)
            cancelled = cancelled or outcome == ("cancelled",)
            if outcome != ("done",):
                problems.append(name)
        if cancelled:
            return ("cancelled",)
        return ("stop failed", tuple(problems)) if problems else ("done",)

    def running(self) -> Outcome:
        """``async with registry.running(): pass``."""
        for trigger in (INIT, START):
            outcome = self.walk(trigger)
            if outcome != ("done",):
                stopped = self.stop_all()
                # What went wrong first is what the caller hears of, but a cancellation comes before it.
                return stopped if stopped == ("cancelled",) else outcome
        return self.stop_all()

    def healths(self) -> Outcome:
        """Ask every plugin."""
        entries = []
        for name, state in self.states.items():
            known = health_of(self.model.lifecycle, state)
            if known is None:
                self.hooks.append((name, HEALTH))
                known = ("unhealthy", "") if (name, HEALTH) in self.faults else ("healthy", "")
            entries.append((name, state, *known))
        return "healths", tuple(entries)


class SequentialModel:
    """A registry of plugins of one lifecycle, one call at a time.

    >>> model = SequentialModel()
    >>> after = model.step((Entry("a", State.INITIALIZED),), Call("stop_all"))
    >>> after.outcome, after.entries, [str(event.trigger) for event in after.events]
    (('done',), (Entry(name='a', state=State('stopped')),), ['fail', 'stop'])
    """

    def __init__(self, lifecycle: Lifecycle = LIFECYCLE) -> None:
        self.lifecycle = lifecycle
        self.dests = {(arc.trigger, arc.source): arc.dest for arc in lifecycle.arcs}
        self.expected = {trigger: lifecycle.expected(trigger) for trigger in lifecycle.triggers}

    def step(self, entries: tuple[Entry, ...], call: Call, faults: Faults | None = None) -> Prediction:
        """Return what ``call`` must come to when ``faults`` says which hooks break."""
        run = _Run(self, entries, faults or {})
        name, plugin = call
        outcome: Outcome
        if name == "register":
            if plugin in run.states:
                return Prediction(entries, ("taken", plugin))
            return Prediction((*entries, Entry(plugin, self.lifecycle.initial)), ("done",))
        if plugin and plugin not in run.states:
            return Prediction(entries, ("unknown", plugin))
        if name == "unregister":
            return Prediction(tuple(entry for entry in entries if entry.name != plugin), ("done",))
        if name == "init_all":
            outcome = run.walk(INIT)
        elif name == "start_all":
            outcome = run.walk(START)
        elif name == "stop_all":
            outcome = run.stop_all()
        elif name == "running":
            outcome = run.running()
        elif name == "health_check_all":
            outcome = run.healths()
        elif name == FAIL:
            if (FAIL, run.states[plugin]) in self.dests:
                run.fail(plugin, "watchdog")
                outcome = ("done",)
            else:
                outcome = ("refused", run.states[plugin], self.expected[FAIL])
        else:
            outcome = run.fire(plugin, name)
        after = tuple(map(Entry._make, run.states.items())) if run.events else entries
        failed = tuple([(name, run.failed[name]) for name in run.states if name in run.failed]) if run.failed else ()
        return Prediction(after, outcome, tuple(run.hooks), tuple(run.events), failed)
