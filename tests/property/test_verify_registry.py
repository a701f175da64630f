"""The exploration of registries: how many states there are, and that no wrong table goes unnoticed."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterator

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import LIFECYCLE, RESTARTABLE, Arc, DeadlineExceeded, DefinitionError, Lifecycle, State
from fsm_plugins.guard import Guard
from fsm_plugins.lifecycle.machine import Move
from fsm_plugins.verify.registries.model import Call, Entry, Fault, SequentialModel
from fsm_plugins.verify.registries.space import explore_registry
from fsm_plugins.verify.schedules.overlap import Overlap, Standing


@pytest.mark.parametrize("plugins", [1, 2, 3, 4])
def test_as_many_states_as_the_closed_form_says(plugins: int) -> None:
    """With symmetry: 6, 31, 156, 781."""
    result = explore_registry(plugins, faults=0 if plugins > 3 else 1)
    assert result.holds, result
    assert result.states == result.total == sum(5**k for k in range(plugins + 1))


@pytest.mark.parametrize("plugins", [1, 2, 3])
def test_as_many_states_with_names_as_the_closed_form_says(plugins: int) -> None:
    """With the order of the names: 6, 61, 916."""
    result = explore_registry(plugins, faults=0, symmetric=False)
    assert result.holds, result
    assert result.states == result.total == sum(math.perm(plugins, k) * 5**k for k in range(plugins + 1))


def broken_tables() -> Iterator[tuple[str, tuple[Arc, ...]]]:
    """Every arc dropped, every arc led elsewhere, and every move that there is not, added."""
    arcs, states = LIFECYCLE.arcs, LIFECYCLE.states
    for i, arc in enumerate(arcs):
        rest = (*arcs[:i], *arcs[i + 1 :])
        yield f"no {arc}", rest
        for state in states:
            if state != arc.dest:
                yield f"{arc}, but to {state}", (*rest, evolve(arc, dest=state))
    for trigger, source, dest in itertools.product(LIFECYCLE.triggers, states, states):
        if LIFECYCLE.dest(trigger, source) is None:
            yield f"{trigger}: {source} -> {dest} added", (*arcs, Arc(trigger, source, dest))


def unchecked(arcs: tuple[Arc, ...]) -> Lifecycle:
    """Return a lifecycle that may break the rules of lifecycles."""
    lifecycle = object.__new__(Lifecycle)
    object.__setattr__(lifecycle, "initial", LIFECYCLE.initial)
    object.__setattr__(lifecycle, "arcs", arcs)
    return lifecycle


@pytest.mark.parametrize(("name", "arcs"), [pytest.param(*table, id=table[0]) for table in broken_tables()])
def test_every_wrong_arc_is_found(name: str, arcs: tuple[Arc, ...]) -> None:
    """With two plugins: each arc that is missing, leads elsewhere or is too much makes some call depart."""
    result = explore_registry(plugins=2, lifecycle=unchecked(arcs), reference=LIFECYCLE)
    assert result.departure is not None, name
    assert not result.holds
    assert len(result.departure.steps) <= 5


def test_a_departure_is_told_by_the_calls_that_lead_there() -> None:
    """The shortest sequence, what was expected and what was got."""
    table = unchecked(tuple(arc for arc in LIFECYCLE.arcs if arc != Arc("fail", "running", "failed")))
    result = explore_registry(plugins=1, lifecycle=table, reference=LIFECYCLE)
    assert (
        str(result.departure)
        == "register a -> running [a.on_stop raises]: expected entries (a failed), got (a running)"
    )
    assert str(result).startswith("departs from the model (1 plugins, 1 faults per call, symmetric: ")


def test_what_a_call_leaves_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is nothing but the states of the plugins, and that is checked after every call."""
    release = Guard._release

    def forgetful(self: Guard) -> None:
        release(self)
        if self.state == "failed":
            self.flight = "fail"

    monkeypatch.setattr(Guard, "_release", forgetful)
    result = explore_registry(plugins=1)
    assert result.departure is not None
    assert result.departure.expected == "nothing left behind"


@pytest.mark.parametrize(
    ("kind", "words"),
    [(asyncio.CancelledError, "is cancelled"), (DeadlineExceeded, "hangs"), (BaseException, "raises")],
)
def test_hooks_break_in_every_way(kind: type[BaseException], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that does not fail the plugin for one kind of breakage departs where a hook breaks that way."""
    commit = Guard._commit_failure

    def lenient(self: Guard, cause: BaseException) -> Move | None:
        return None if isinstance(cause, kind) else commit(self, cause)

    monkeypatch.setattr(Guard, "_commit_failure", lenient)
    result = explore_registry(plugins=1)
    assert result.departure is not None
    assert words in result.departure.steps[-1]


def test_time_that_is_up_is_inconclusive() -> None:
    """And says so, with what was visited."""
    result = explore_registry(plugins=6, seconds=0.05)
    assert not result.holds
    assert result.departure is None
    assert result.inconclusive == "the time is up"
    assert 0 < result.states < result.total == 19531
    assert str(result).startswith("inconclusive, the time is up (6 plugins, 1 faults per call, symmetric: ")


@pytest.mark.parametrize(("plugins", "faults"), [(0, 1), (2, -1)])
def test_a_scope_that_makes_no_sense_is_refused(plugins: int, faults: int) -> None:
    """With the reason."""
    with pytest.raises(DefinitionError, match="1 or more plugins and 0 or more faults"):
        explore_registry(plugins, faults)


def test_it_cannot_be_called_from_a_running_loop() -> None:
    """The error says what to do instead."""

    async def main() -> None:
        explore_registry(1)

    with pytest.raises(RuntimeError, match="to_thread"):
        asyncio.run(main())


# The two models.

FAULTS: list[Fault] = ["raise", "hang"]
CALLS = ("init_all", "start_all", "stop_all", "health_check_all")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_calls_that_do_not_overlap_come_to_what_the_sequential_model_says(data: st.DataObject) -> None:
    """The automaton of overlapping calls and the sequential model were written apart; alone they agree."""
    lifecycle = data.draw(st.sampled_from([LIFECYCLE, RESTARTABLE]))
    names = data.draw(st.sampled_from([("a",), ("a", "b")]))
    entries = tuple(Entry(name, data.draw(st.sampled_from(lifecycle.states))) for name in names)
    one = st.sampled_from(
        [*map(Call, CALLS), *(Call(t, n) for t in (*lifecycle.triggers, "unregister") for n in names)]
    )
    call = data.draw(one)
    faults: dict[tuple[str, str], Fault] = {
        (name, trigger): data.draw(st.sampled_from(FAULTS))
        for name, trigger in itertools.product(names, ("init", "start", "stop"))
        if data.draw(st.booleans())
    }
    after = SequentialModel(lifecycle).step(entries, call, faults)
    ways = {"raise": "raise", "hang": "late"}
    standings = [Standing(state, "hook" if state in lifecycle.failures else "") for _, state in entries]
    overlap = Overlap(
        names,
        [lifecycle] * len(names),
        standings,
        [call],
        hooks={
            (name, trigger): [ways[faults[name, trigger]] if (name, trigger) in faults else "ok"]
            for name, trigger in itertools.product(names, ("init", "start", "stop"))
        },
        healths=["healthy"],
        crashes=False,
    )
    outcome = after.outcome
    if outcome[0] == "refused":
        outcome = (*outcome, "")
    if outcome[0] == "failed":
        outcome = (*outcome, "hook")
    history = [("call", 0), *[("event", *event) for event in after.events], ("return", 0, outcome)]
    assert overlap.check(history) is None
    wrong = data.draw(st.integers(1, len(history) - 1))
    assert overlap.check([*history[:wrong], ("event", "a", "x", State("y"), State("z")), *history[wrong:]]) is not None
    for other in (("done",), ("cancelled",), ("refused", entries[0].state, (), "")):
        if other != outcome:
            assert overlap.check([*history[:-1], ("return", 0, other)]) is not None
