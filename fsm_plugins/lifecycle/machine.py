"""The machine behind a lifecycle: stock ``transitions``, and the table compiled from it for the hot path.

One synchronous machine serves every plugin of a lifecycle. It is the authority; but a move of the stock engine takes as
long as eighteen whole guarded calls, and plugins are moved by the ten thousand. So the moves that carry no
callback and no condition are compiled into a dictionary, and only the others take the stock path. The machine notices
when it is changed in any of the ways that ``transitions`` documents, and compiles again; a change in place that it
could not notice (appending to one of its callback lists) is impossible, because the lists become tuples.

A move that awaits a hook is cut in two around it: `LifecycleMachine.admit` does what stock does up to the conditions,
`LifecycleMachine.complete` does what comes after them. Nothing here is asynchronous. ``AsyncMachine`` is not used
because it swallows cancellation (transitions 0.9.3), and models are not added because that costs 4 kB each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Protocol, cast

import transitions
from attrs import frozen

if TYPE_CHECKING:
    from fsm_plugins.lifecycle.table import State

__all__ = ["Admission", "LifecycleMachine", "Model", "Move"]

_MACHINE_CALLBACKS = frozenset(
    f"_{name}"
    for name in (
        "before_state_change",
        "after_state_change",
        "prepare_event",
        "finalize_event",
        "on_exception",
        "on_final",
    )
)


class Model(Protocol):
    """What a machine moves: something that has a state, and lets the machine set it."""

    @property
    def state(self) -> str:
        """The state the model is in."""

    def _set_state(self, state: str) -> None:
        """Put the model in ``state``."""


@frozen(eq=False)
class Move:
    """A legal move, compiled: where it leads, which hook it runs, and how it is done.

    Attributes:
        trigger, source, dest: the arc.
        hook: the name of the author's method, or None where the trigger has none.
        to_rest: whether it leads to rest, so that workers and ports have to go.
        stock: whether callbacks or conditions take part, so that `admit` and `complete` must be asked.
    """

    trigger: str
    source: State
    dest: State
    hook: str | None
    to_rest: bool
    stock: bool


@frozen(eq=False)
class Admission:
    """A move that the conditions let pass, and what the stock engine needs to complete it."""

    move: Move
    data: transitions.EventData


class _Watched:
    """Tells its machine when an attribute is set, and keeps its callbacks where they cannot be changed unnoticed."""

    _changed: Callable[[], None] | None = None

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if self._changed is not None:
            self._changed()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` from now on after every change."""
        for name, value in list(vars(self).items()):
            if isinstance(value, list):
                super().__setattr__(name, tuple(value))
        super().__setattr__("_changed", changed)

    def _append(self, name: str, callback: object) -> None:
        setattr(self, name, (*getattr(self, name), callback))


class _State(_Watched, transitions.State):
    def add_callback(self, trigger: str, func: object) -> None:
        self._append(f"on_{trigger}", func)


class _Transition(_Watched, transitions.Transition):
    def add_callback(self, trigger: str, func: object) -> None:
        self._append(trigger, func)


class LifecycleMachine(transitions.Machine):
    """A ``transitions.Machine`` without a model of its own, with its table compiled.

    Attributes:
        moves: for each state, for each trigger that is legal there, the `Move`. It stays the same dictionary when it is
            compiled again, so that guards can hold it: stock looks attributes of a machine up the slow way.
        sources: for each trigger, the states where it is legal, sorted.

    >>> from fsm_plugins.lifecycle import LIFECYCLE
    >>> LIFECYCLE.machine.moves["initialized"]["start"].dest
    State('running')
    """

    state_cls = _State
    transition_cls = _Transition

    moves: dict[str, dict[str, Move]]
    sources: dict[str, tuple[str, ...]]
    _ready = False

    def __init__(
        self,
        *,
        initial: str,
        states: Sequence[str | Mapping[str, object]],
        transitions: Sequence[Sequence[object] | Mapping[str, object]],
        rest: Iterable[str] = (),
        no_hook: Iterable[str] = (),
    ) -> None:
        self._rest = frozenset(rest)
        self._no_hook = frozenset(no_hook)
        self.moves = {}
        super().__init__(
            model=None,
            states=list(states),
            transitions=list(transitions),  # type: ignore[arg-type]
            initial=initial,
            auto_transitions=False,
        )
        self._ready = True
        self._compile()

    def __setattr__(self, name: str, value: object) -> None:
        if name in _MACHINE_CALLBACKS:
            super().__setattr__(name, tuple(cast("Iterable[object]", value)))
            if self._ready:
                self._compile()
        else:
            super().__setattr__(name, value)

    def add_transition(self, *args: object, **kwargs: object) -> None:
        """Add a transition, as stock does. It takes part from now on."""
        super().add_transition(*args, **kwargs)  # type: ignore[arg-type]
        if self._ready:
            self._compile()

    def add_states(self, *args: object, **kwargs: object) -> None:
        """Add states, as stock does."""
        super().add_states(*args, **kwargs)  # type: ignore[arg-type]
        if self._ready:
            self._compile()

    def remove_transition(self, *args: object, **kwargs: object) -> None:
        """Remove transitions, as stock does. They are illegal from now on."""
        super().remove_transition(*args, **kwargs)  # type: ignore[arg-type]
        if self._ready:
            self._compile()

    def set_state(self, state: object, model: object = None) -> None:
        """Put ``model`` in ``state``, through the model's own door: its ``state`` cannot be assigned."""
        found = self.get_state(state) if isinstance(state, str) else state
        cast("Model", model)._set_state(cast("transitions.State", found).name)

    def _compile(self) -> None:
        """Derive ``moves`` and ``sources`` from what the stock machine holds now."""
        everywhere = any(getattr(self, name) for name in _MACHINE_CALLBACKS - {"_on_final"})
        moves: dict[str, dict[str, Move]] = {state: {} for state in self.states}
        sources: dict[str, list[str]] = {}
        for state in self.states.values():
            cast("_State", state).watch(self._compile)
        for trigger, event in self.events.items():
            for source, candidates in event.transitions.items():
                if not candidates:
                    continue
                for candidate in candidates:
                    cast("_Transition", candidate).watch(self._compile)
                first = candidates[0]
                dest = self.states[first.dest or source]
                stock = (
                    everywhere
                    or any(c.conditions or c.prepare or c.before or c.after for c in candidates)
                    # A transition without a destination is internal: it neither leaves nor enters its state.
                    or bool(first.dest and (self.states[source].on_exit or dest.on_enter))
                    or bool(first.dest and dest.final and self.on_final)
                )
                moves[source][trigger] = Move(
                    trigger,
                    cast("State", source),
                    # The object the machine was given, so that a `State` stays a `State`.
                    cast("State", dest.name),
                    None if trigger in self._no_hook else f"on_{trigger}",
                    bool(first.dest) and dest.name in self._rest,
                    stock,
                )
                sources.setdefault(trigger, []).append(source)
            sources.setdefault(trigger, [])
        self.moves.clear()
        self.moves.update(moves)
        self.sources = {trigger: tuple(sorted(states)) for trigger, states in sources.items()}

    def admit(self, trigger: str, model: Model) -> Admission | None:
        """Do what stock does before a move: the ``prepare`` callbacks and the conditions.

        Returns the move that is admitted, for `complete`; None if no transition is.
        """
        event = self.events[trigger]
        data = transitions.EventData(self.get_state(model.state), event, self, model, (), {})
        self.callbacks(self.prepare_event, data)
        for candidate in event.transitions.get(model.state, ()):
            data.transition = candidate
            self.callbacks(candidate.prepare, data)
            if all(condition.check(data) for condition in candidate.conditions):
                dest = self.states[candidate.dest or candidate.source].name
                to_rest = bool(candidate.dest) and dest in self._rest
                hook = None if trigger in self._no_hook else f"on_{trigger}"
                move = Move(trigger, cast("State", candidate.source), cast("State", dest), hook, to_rest, True)
                return Admission(move, data)
        self.callbacks(self.finalize_event, data)
        return None

    def complete(self, admission: Admission, model: Model) -> None:
        """Do what stock does from ``before`` on, for the transition that `admit` chose: this changes the state."""
        data = admission.data
        chosen = data.transition
        assert chosen is not None
        try:
            self.callbacks(chain(self.before_state_change, chosen.before), data)
            if chosen.dest:
                self.states[chosen.source].exit(data)
                self.set_state(chosen.dest, model)
                data.update(model.state)
                dest = self.states[chosen.dest]
                dest.enter(data)
                if dest.final:
                    self.callbacks(self.on_final, data)
            self.callbacks(chain(chosen.after, self.after_state_change), data)
            data.result = True
        except BaseException as error:
            # The error goes on to the caller in any case: a move that failed must not look as if it had succeeded.
            data.error = error  # type: ignore[assignment]
            self.callbacks(self.on_exception, data)
            raise
        finally:
            self.callbacks(self.finalize_event, data)
