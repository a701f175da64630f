"""Does a trace follow the lifecycle? For recorded traces, and as a listener for plugins that are running.

A trace begins anywhere: the first step of a plugin says where it is. After that each step has to begin where the one
before it ended, and to be an arc of the table; a refusal has to be of a call that was illegal there. A fresh plugin of
the same name may follow one that has come to rest, as it does after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from attrs import Factory, define, frozen

from fsm_plugins.diagrams import Step, read_trace, steps_of
from fsm_plugins.diagrams.trace import StepLike
from fsm_plugins.errors import LoadError, suggestion
from fsm_plugins.lifecycle import FAIL, LIFECYCLE, Lifecycle, TransitionEvent
from fsm_plugins.loading import load
from fsm_plugins.plugin import Plugin
from fsm_plugins.verify.base.targets import CannotVerify

__all__ = ["Departure", "Monitor", "conform"]


@frozen
class Departure:
    """The first step of a trace that the lifecycle does not allow.

    Attributes:
        number: which step, counted from 1.
        step: the step.
        why: what is wrong with it, and what would have been possible.
    """

    number: int
    step: Step
    why: str

    def __str__(self) -> str:
        dest = "refused" if self.step.dest is None else self.step.dest
        return f"step {self.number}, {self.step.plugin}: {self.step.trigger}: {self.step.source} -> {dest}: {self.why}"


def conform(steps: Iterable[StepLike], lifecycle: Lifecycle | Mapping[str, Lifecycle] = LIFECYCLE) -> Departure | None:
    """Return the first step that departs from the lifecycle, or None.

    Args:
        steps: events, or the steps of a trace that was read.
        lifecycle: that of all plugins, or those of the plugins by their names; who is not named has the default one.

    >>> print(conform([Step("clock", "start", "created", "running")]))
    step 1, clock: start: created -> running: start is not legal in created; legal are: fail, init
    """
    monitor = Monitor(lifecycle)
    for step in steps_of(steps):
        monitor.take(step)
        if monitor.departure is not None:
            return monitor.departure
    return None


@define(eq=False)
class Monitor:
    """A listener that holds each event against the lifecycle: ``registry.subscribe(Monitor())``.

    It keeps the state of each plugin and nothing else, so it can listen for as long as the process runs. It begins with
    the first event it hears of a plugin.

    Attributes:
        lifecycle: as for `conform`.
        on_departure: called with each `Departure`; without it, only the first one is kept.
        departure: the first one.
        count: how many steps it has seen.
    """

    lifecycle: Lifecycle | Mapping[str, Lifecycle] = LIFECYCLE
    on_departure: Callable[[Departure], object] | None = None
    departure: Departure | None = None
    count: int = 0
    _states: dict[str, str] = Factory(dict)

    def __call__(self, event: TransitionEvent) -> None:
        (step,) = steps_of([event])
        self.take(step)

    def take(self, step: Step) -> None:
        """Look at one step."""
        self.count += 1
        why = self._wrong(step)
        # It goes on from where the trace says that the plugin is: one mistake is one departure.
        self._states[step.plugin] = step.source if step.dest is None else step.dest
        if why:
            departure = Departure(self.count, step, why)
            self.departure = self.departure or departure
            if self.on_departure is not None:
                self.on_departure(departure)

    def _wrong(self, step: Step) -> str:
        table = self.lifecycle
        lifecycle = table if isinstance(table, Lifecycle) else table.get(step.plugin, LIFECYCLE)
        moves = lifecycle.machine.moves
        for state in (step.source, step.dest):
            if state is not None and state not in moves:
                return f"there is no state {state!r}{suggestion(state, moves)}; there are: {', '.join(moves)}"
        known = self._states.get(step.plugin)
        fresh = known is not None and known in lifecycle.rest and step.source == lifecycle.initial
        if known is not None and known != step.source and not fresh:
            return f"it was {known} after the step before"
        if step.trigger not in lifecycle.machine.events:
            known_triggers = list(lifecycle.machine.events)
            return f"there is no trigger {step.trigger!r}{suggestion(step.trigger, known_triggers)}"
        move = moves[step.source].get(step.trigger)
        legal = ", ".join(sorted(moves[step.source])) or "none"
        if step.dest is None:
            # A call may also be refused because another one is under way.
            return ""
        if move is None:
            return f"{step.trigger} is not legal in {step.source}; legal are: {legal}"
        destinations = _destinations(lifecycle, step.trigger, step.source)
        if step.dest not in destinations:
            return f"{step.trigger} leads from {step.source} to {' or '.join(sorted(destinations))}"
        if step.cause is not None and step.trigger != FAIL:
            return f"it has a cause, {step.cause}, but {step.trigger} is no failure"
        return ""


def _destinations(lifecycle: Lifecycle, trigger: str, source: str) -> set[str]:
    """Return where a trigger may lead: conditions of the machine choose among several."""
    found = lifecycle.machine.events[trigger].transitions.get(source, ())
    return {str(transition.dest or source) for transition in found}


def conform_file(file: str, target: str | None, path: Sequence[Path] = ()) -> tuple[Departure | None, int]:
    """Hold a trace file against the lifecycle that ``target`` names; return the departure and the number of steps.

    Raises:
        OSError, ValueError: the file cannot be read, or is no trace.
        CannotVerify: there is no such lifecycle.
    """
    try:
        steps = read_trace(Path(file).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ValueError(
            f"{file} is not UTF-8, so it is no trace; give a file with a JSON object on each line"
        ) from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return conform(steps, lifecycle_named(target, path)), len(steps)


def lifecycle_named(target: str | None, path: Sequence[Path] = ()) -> Lifecycle:
    """Return the lifecycle of a plugin class, or the lifecycle itself, by ``module:name``; the default one for None.

    Raises:
        CannotVerify: there is none.
    """
    if target is None:
        return LIFECYCLE
    try:
        made = load(target, path)
    except LoadError as error:
        import sys

        module, _, name = target.partition(":")
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, Lifecycle):
            return found
        raise CannotVerify(str(error)) from error
    if isinstance(made, type) and issubclass(made, Plugin):
        return made.lifecycle
    raise CannotVerify(f"{target} is a function; name the plugin class, which has the lifecycle")
