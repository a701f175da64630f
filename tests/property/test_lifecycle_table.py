"""The compiled table and the stock machine are the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import transitions
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import LIFECYCLE, RESTARTABLE, DefinitionError, Lifecycle, State
from fsm_plugins.lifecycle import LifecycleMachine
from tests.property.model import TABLE

STATES = ["s0", "s1", "s2", "s3"]
TRIGGERS = ["t0", "t1", "t2"]

states = st.sampled_from(STATES)
callbacks = st.lists(st.integers(0, 99), max_size=2)


@st.composite
def transition_tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Transitions as `transitions` takes them: wild cards, loops, internal ones, conditions and callbacks."""
    table = []
    for _ in range(draw(st.integers(1, 8))):
        entry: dict[str, Any] = {
            "trigger": draw(st.sampled_from(TRIGGERS)),
            "source": draw(st.one_of(states, st.just("*"), st.lists(states, min_size=1, max_size=2, unique=True))),
            "dest": draw(st.one_of(states, st.sampled_from(["=", None]))),
        }
        if draw(st.integers(0, 2)) == 0:
            entry["conditions"] = draw(st.lists(st.booleans(), max_size=2))
            entry["unless"] = draw(st.lists(st.booleans(), max_size=1))
            entry |= {name: draw(callbacks) for name in ("prepare", "before", "after")}
        table.append(entry)
    return table


changes = st.one_of(
    st.tuples(st.just("add"), transition_tables()),
    st.tuples(st.just("remove"), st.sampled_from(TRIGGERS), states),
    st.tuples(st.just("state callback"), states, st.sampled_from(["enter", "exit"]), st.integers(100, 199)),
    st.tuples(st.just("event callback"), st.sampled_from(TRIGGERS), st.sampled_from(["before", "after"])),
    st.tuples(st.just("machine callback"), st.sampled_from(["before_state_change", "prepare_event", "on_final"])),
    st.tuples(st.just("fire"), st.sampled_from(TRIGGERS)),
)


class Subject:
    """A machine with a model, whose callbacks write into a log."""

    def __init__(self, make: Callable[..., Any], table: list[dict[str, Any]], final: str) -> None:
        self.state = STATES[0]
        self.log: list[object] = []
        self.machine = make(
            states=[{"name": name, "final": name == final} for name in STATES],
            transitions=[live for entry in table for live in self._live(entry)],
            initial=STATES[0],
        )

    def _set_state(self, state: str) -> None:
        self.state = state

    def _note(self, mark: object) -> Callable[[], None]:
        return lambda: self.log.append(mark)

    def _answer(self, answer: bool, mark: str) -> Callable[[], bool]:
        def condition() -> bool:
            self.log.append((mark, answer))
            return answer

        return condition

    def _live(self, entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield ``entry`` for each of its sources. (Stock would let these share their callback lists.)"""
        sources = {"*": STATES}.get(str(entry["source"]), entry["source"])
        for source in [sources] if isinstance(sources, str) else sources:
            live = {**entry, "source": source}
            for name in ("conditions", "unless"):
                live[name] = [self._answer(answer, name) for answer in entry.get(name, [])]
            for name in ("prepare", "before", "after"):
                live[name] = [self._note((name, mark)) for mark in entry.get(name, [])]
            yield live

    def change(self, change: tuple[Any, ...]) -> None:
        """Change the machine in one of the documented ways."""
        match change:
            case "add", table:
                for entry in table:
                    for live in self._live(entry):
                        self.machine.add_transition(**live)
            case "remove", trigger, source if trigger in self.machine.events:
                self.machine.remove_transition(trigger, source)
            case "state callback", state, when, mark:
                self.machine.get_state(state).add_callback(when, self._note((when, mark)))
            case "event callback", trigger, when if trigger in self.machine.events:
                self.machine.events[trigger].add_callback(when, self._note((when, trigger)))
            case "machine callback", name:
                setattr(self.machine, name, [self._note(name)])

    def fire_stock(self, trigger: str) -> bool:
        """Fire as the stock machine does."""
        try:
            return bool(self.machine.events[trigger].trigger(self))
        except (transitions.MachineError, KeyError):
            return False

    def fire_compiled(self, trigger: str) -> bool:
        """Fire as the guard does."""
        machine: LifecycleMachine = self.machine
        move = machine.moves[self.state].get(trigger)
        if move is None:
            return False
        if not move.stock:
            self.state = move.dest
            return True
        admission = machine.admit(trigger, self)
        if admission is None:
            return False
        assert admission.move.source == self.state
        machine.complete(admission, self)
        assert admission.move.dest == self.state
        return True


def _stock(**kwargs: Any) -> transitions.Machine:
    return transitions.Machine(model=None, auto_transitions=False, **kwargs)


@settings(max_examples=400, deadline=None)
@given(table=transition_tables(), script=st.lists(changes, max_size=25), final=states)
def test_the_compiled_table_equals_the_stock_machine(
    table: list[dict[str, Any]], script: Sequence[tuple[Any, ...]], final: str
) -> None:
    """On any table, however it is changed later, both refuse, move and call back alike, and in the same order."""
    compiled, stock = Subject(LifecycleMachine, table, final), Subject(_stock, table, final)
    for step in script:
        if step[0] == "fire":
            assert compiled.fire_compiled(step[1]) == stock.fire_stock(step[1])
        else:
            compiled.change(step)
            stock.change(step)
        assert (compiled.state, compiled.log) == (stock.state, stock.log)


@given(table=transition_tables())
def test_sources_are_where_the_stock_machine_is_legal(table: list[dict[str, Any]]) -> None:
    """`sources`, which refusals quote, lists exactly the states with a transition of that trigger, sorted."""
    machine = Subject(LifecycleMachine, table, "s3").machine
    for trigger, sources in machine.sources.items():
        assert list(sources) == sorted(s for s in STATES if machine.get_transitions(trigger, s))


def test_the_default_table_is_the_one_of_the_design() -> None:
    """The table that ships is the table that was decided, arc by arc."""
    assert {(arc.trigger, str(arc.source)): str(arc.dest) for arc in LIFECYCLE.arcs} == TABLE
    assert LIFECYCLE.final == {"stopped"}
    assert LIFECYCLE.initial == "created"


def test_restartable_adds_the_second_start_and_what_it_needs() -> None:
    """A second start can break like the first, so it may fail from where it starts."""
    added = set(RESTARTABLE.arcs) - set(LIFECYCLE.arcs)
    assert {str(arc) for arc in added} == {"start: stopped -> running", "fail: stopped -> failed"}
    assert set(LIFECYCLE.arcs) <= set(RESTARTABLE.arcs)


words = st.sampled_from(["created", "initialized", "running", "stopped", "failed", "paused", "parked"])
arcs = st.lists(
    st.tuples(st.sampled_from(["init", "start", "stop", "fail", "pause", "park"]), words, words), max_size=14
)


@settings(max_examples=500)
@given(arcs)
def test_a_lifecycle_keeps_its_rules_or_is_refused(arcs: list[tuple[str, str, str]]) -> None:
    """Whatever table is given: it is refused with a reason, or it is deterministic, reachable, failable, stoppable."""
    try:
        lifecycle = LIFECYCLE.extend(arcs)
    except DefinitionError as refused:
        assert str(refused)
        return
    table = {(arc.trigger, arc.source): arc.dest for arc in lifecycle.arcs}
    assert len(table) == len(lifecycle.arcs)

    def reachable(start: str) -> set[str]:
        seen, todo = {start}, [start]
        while todo:
            here = todo.pop()
            new = {dest for (_, source), dest in table.items() if source == here} - seen
            seen |= new
            todo.extend(new)
        return seen

    assert reachable("created") == set(lifecycle.states)
    for state in lifecycle.states:
        hooked = [trigger for (trigger, source) in table if source == state and trigger != "fail"]
        broken = state in {dest for (trigger, _), dest in table.items() if trigger == "fail"}
        assert not hooked or broken or ("fail", state) in table
        assert reachable(state) & {dest for (trigger, _), dest in table.items() if trigger == "stop"}


@pytest.mark.parametrize(
    ("arcs", "text"),
    [
        ([("pause", "running", "paused")], r"could never be stopped, so add the arc \('stop', 'paused', 'stopped'\)"),
        ([("pause", "runing", "paused")], r"state runing cannot be reached from created \(did you mean 'running'\?\)"),
        ([("start", "initialized", "paused")], "two arcs for one trigger and source"),
        ([("start again", "running", "running")], "a trigger is an identifier"),
        ([("pause", "running", "")], "a state is a non-empty word"),
        ([("pause", "running")], r"an arc is \(trigger, source, dest\)"),
        ([("wake", "stopped", "running")], r"on_wake may break in state stopped, so add the arc \('fail', 'stopped'"),
    ],
)
def test_a_table_that_could_never_work_is_refused_with_the_remedy(arcs: list[Any], text: str) -> None:
    """The message names the arc, and what to add."""
    with pytest.raises(DefinitionError, match=text):
        LIFECYCLE.extend(arcs)


def test_a_callback_list_cannot_be_changed_unnoticed() -> None:
    """What could make the compiled table stale is impossible."""
    machine = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs).machine
    with pytest.raises(AttributeError):
        machine.before_state_change.append(print)
    with pytest.raises(AttributeError):
        machine.get_transitions("start")[0].before.append(print)
    assert not machine.moves["initialized"]["start"].stock
    machine.get_transitions("start")[0].before = [print]
    assert machine.moves["initialized"]["start"].stock


def test_states_are_words() -> None:
    """A state compares, hashes, prints and pickles as its word."""
    import pickle

    for state in LIFECYCLE.states:
        assert state == state.value == str(state) == f"{state}"
        assert hash(state) == hash(state.value)
        assert pickle.loads(pickle.dumps(state)) == state
        assert isinstance(pickle.loads(pickle.dumps(state)), State)
