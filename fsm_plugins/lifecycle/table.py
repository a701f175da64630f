"""The transition table: the one place where a move of a plugin is written down.

Theory of operation
-------------------

A lifecycle is a value: an initial state and a set of arcs, each saying that a *trigger* moves a plugin from a *source*
to a *dest*. States are words, triggers are identifiers, and for a trigger ``pause`` the plugin's author may write
the hook ``on_pause``. Everything else that speaks of moves is computed from this value: the machine that runs plugins,
the text of refusals, the walk that explores them, the pictures and the tables in the documentation.

Two triggers have a meaning of their own:

``stop``
    leads to *rest*. A plugin at rest holds nothing: its workers have ended and its ports are closed.
``fail``
    has no hook. It is what happens to a plugin whose hook raises, is cancelled or is late, or whose worker crashes.

A table has to keep what these words promise, so these rules are checked when a lifecycle is made:

1. a trigger leads from one state to one state (the table is deterministic);
2. every state can be reached from the initial one;
3. where a hook may run, ``fail`` is possible, or else a broken hook would leave a plugin in a state that it is not in
   (the exception is a state that ``fail`` leads to: what is broken stays broken);
4. from every state, ``stop`` can bring the plugin to rest, if need be by way of ``fail``: otherwise something that
   it holds could never be released.

The default table follows the OTP rule that a restart begins from a known good state: ``stopped`` is final, and a
supervisor restarts a plugin by building a fresh one. `RESTARTABLE` is for the classes that opt in to a second start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import import_module
from typing import ClassVar, Final, TypeAlias

from attrs import field, frozen

from fsm_plugins.errors import DefinitionError, suggestion
from fsm_plugins.lifecycle.machine import LifecycleMachine

__all__ = [
    "FAIL",
    "INIT",
    "LIFECYCLE",
    "RELOAD",
    "RELOADABLE",
    "RESTARTABLE",
    "START",
    "STOP",
    "Arc",
    "Lifecycle",
    "State",
]

INIT: Final = "init"
START: Final = "start"
STOP: Final = "stop"
FAIL: Final = "fail"
RELOAD: Final = "reload"


class State(str):
    """A state of a lifecycle: a lower-case word. An open set, because a lifecycle may add its own.

    >>> State.RUNNING == "running", str(State.RUNNING), State("paused").value
    (True, 'running', 'paused')
    """

    __slots__ = ()

    CREATED: ClassVar[State]
    INITIALIZED: ClassVar[State]
    RUNNING: ClassVar[State]
    STOPPED: ClassVar[State]
    FAILED: ClassVar[State]

    @property
    def value(self) -> str:
        """The word itself, as a plain ``str``."""
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"State({self.value!r})"


State.CREATED = State("created")
State.INITIALIZED = State("initialized")
State.RUNNING = State("running")
State.STOPPED = State("stopped")
State.FAILED = State("failed")


def _state(word: object) -> State:
    if not isinstance(word, str) or not word or word != word.strip():
        raise DefinitionError(f"a state is a non-empty word without space around it, not {word!r}")
    return word if isinstance(word, State) else State(word)


@frozen(order=True)
class Arc:
    """One line of the table: ``trigger`` moves a plugin from ``source`` to ``dest``."""

    trigger: str = field()
    source: State = field(converter=_state)
    dest: State = field(converter=_state)

    @trigger.validator
    def _identifier(self, _attribute: object, value: object) -> None:
        if not isinstance(value, str) or not value.isidentifier():
            raise DefinitionError(f"a trigger is an identifier, because its hook is called on_<trigger>; not {value!r}")

    def __str__(self) -> str:
        return f"{self.trigger}: {self.source} -> {self.dest}"


ArcLike: TypeAlias = Arc | tuple[str, str, str]


def _arcs(arcs: Iterable[ArcLike]) -> tuple[Arc, ...]:
    made: dict[Arc, None] = {}
    for arc in arcs:
        if not isinstance(arc, Arc):
            if not isinstance(arc, tuple) or len(arc) != 3:
                raise DefinitionError(f"an arc is (trigger, source, dest), not {arc!r}")
            arc = Arc(*arc)
        made[arc] = None
    return tuple(made)


@frozen(slots=False)
class Lifecycle:
    """A transition table that keeps the rules at the head of this module.

    Two lifecycles with the same table are equal. Arcs are given as `Arc` values or as ``(trigger, source, dest)``.

    Raises:
        DefinitionError: the table breaks a rule; the text names the arc to add or to take away.

    >>> LIFECYCLE.expected("stop")
    (State('failed'), State('running'))
    >>> LIFECYCLE.dest("start", "initialized")
    State('running')
    """

    initial: State = field(converter=_state)
    arcs: tuple[Arc, ...] = field(converter=_arcs)

    def __attrs_post_init__(self) -> None:
        _check(self)

    def extend(self, arcs: Iterable[ArcLike]) -> Lifecycle:
        """Return a new lifecycle with ``arcs`` added; states and triggers come with the arcs that name them.

        A new trigger ``pause`` is fired by ``await plugin.fire("pause")`` and runs the hook ``on_pause``.

        Raises:
            DefinitionError: the new table would break a rule.

        >>> pausable = LIFECYCLE.extend([
        ...     ("pause", "running", "paused"),
        ...     ("resume", "paused", "running"),
        ...     ("stop", "paused", "stopped"),
        ...     ("fail", "paused", "failed"),
        ... ])
        >>> pausable.expected("stop")
        (State('failed'), State('paused'), State('running'))
        """
        return Lifecycle(self.initial, (*self.arcs, *_arcs(arcs)))

    @cached_property
    def states(self) -> tuple[State, ...]:
        """Every state, in the order in which the table first names it."""
        named = dict.fromkeys([self.initial, *(state for arc in self.arcs for state in (arc.source, arc.dest))])
        return tuple(named)

    @cached_property
    def triggers(self) -> tuple[str, ...]:
        """Every trigger, in the order of the table."""
        return tuple(dict.fromkeys(arc.trigger for arc in self.arcs))

    @cached_property
    def rest(self) -> frozenset[State]:
        """The states ``stop`` leads to."""
        return frozenset(arc.dest for arc in self.arcs if arc.trigger == STOP)

    @cached_property
    def failures(self) -> frozenset[State]:
        """The states ``fail`` leads to."""
        return frozenset(arc.dest for arc in self.arcs if arc.trigger == FAIL)

    @cached_property
    def final(self) -> frozenset[State]:
        """The states no arc leaves."""
        return frozenset(self.states) - {arc.source for arc in self.arcs}

    def dest(self, trigger: str, source: str) -> State | None:
        """Return the state that ``trigger`` leads to from ``source``, or None where the move is illegal."""
        for arc in self.arcs:
            if arc.trigger == trigger and arc.source == source:
                return arc.dest
        return None

    def expected(self, trigger: str) -> tuple[State, ...]:
        """Return the states from which ``trigger`` is legal, sorted."""
        return tuple(sorted(arc.source for arc in self.arcs if arc.trigger == trigger))

    @cached_property
    def machine(self) -> LifecycleMachine:
        """The machine of the ``transitions`` library that runs every plugin of this lifecycle.

        It is the authority: what it is given in addition (callbacks, conditions, transitions) takes part from then on.
        """
        return LifecycleMachine(
            initial=self.initial,
            states=[{"name": state, "final": state in self.final} for state in self.states],
            transitions=[[arc.trigger, arc.source, arc.dest] for arc in self.arcs],
            rest=self.rest,
            no_hook=[FAIL],
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return the picture for a notebook. Pictures are above this package, so they are looked up when one asks."""
        bundle: dict[str, str] = import_module("fsm_plugins.diagrams.notebook").mimebundle(self)
        return bundle


def _reach(starts: Iterable[State], edges: Mapping[State, Iterable[State]]) -> set[State]:
    seen: set[State] = set()
    todo = list(starts)
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo.extend(edges.get(state, ()))
    return seen


def _check(lifecycle: Lifecycle) -> None:
    """Hold ``lifecycle`` against the rules at the head of this module."""
    arcs, states = lifecycle.arcs, lifecycle.states
    forward: dict[State, list[State]] = {state: [] for state in states}
    taken: dict[tuple[str, State], Arc] = {}
    for arc in arcs:
        other = taken.setdefault((arc.trigger, arc.source), arc)
        if other is not arc:
            raise DefinitionError(f"two arcs for one trigger and source, keep one: '{other}' and '{arc}'")
        forward[arc.source].append(arc.dest)

    reached = _reach([lifecycle.initial], forward)
    for state in states:
        if state not in reached:
            hint = suggestion(state, reached)
            raise DefinitionError(f"state {state!s} cannot be reached from {lifecycle.initial!s}{hint}")

    for state in states:
        hooked = sorted(arc.trigger for arc in arcs if arc.source == state and arc.trigger != FAIL)
        if hooked and state not in lifecycle.failures and (FAIL, state) not in taken:
            raise DefinitionError(
                f"the hook on_{hooked[0]} may break in state {state!s}, so add the arc ('fail', '{state}', 'failed')"
            )

    for state in states:
        failed = taken.get((FAIL, state))
        if not (state in lifecycle.rest or (STOP, state) in taken or (failed and (STOP, failed.dest) in taken)):
            raise DefinitionError(
                f"a plugin in state {state!s} could never be stopped, so add the arc ('stop', '{state}', 'stopped')"
            )


LIFECYCLE: Final = Lifecycle(
    State.CREATED,
    [
        Arc(INIT, State.CREATED, State.INITIALIZED),
        Arc(START, State.INITIALIZED, State.RUNNING),
        Arc(STOP, State.RUNNING, State.STOPPED),
        Arc(STOP, State.FAILED, State.STOPPED),
        Arc(FAIL, State.CREATED, State.FAILED),
        Arc(FAIL, State.INITIALIZED, State.FAILED),
        Arc(FAIL, State.RUNNING, State.FAILED),
    ],
)
"""The default lifecycle. ``stopped`` is final."""

RESTARTABLE: Final = LIFECYCLE.extend(
    [
        Arc(START, State.STOPPED, State.RUNNING),
        # A second start can break like the first one; what it took by then must be released again (rule 3).
        Arc(FAIL, State.STOPPED, State.FAILED),
    ]
)
"""`LIFECYCLE` with a second start: ``stopped -> running``. For classes that opt in with ``lifecycle = RESTARTABLE``."""

RELOADABLE: Final = LIFECYCLE.extend([Arc(RELOAD, State.RUNNING, State.RUNNING)])
"""`LIFECYCLE` with ``reload``: read again, while it runs, what was read from files. For classes that opt in with
``lifecycle = RELOADABLE`` and write ``on_reload``; an application fires it at SIGHUP."""
