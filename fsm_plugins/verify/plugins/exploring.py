"""All runs of a plugin within a scope: which scripts there are, in which order they are tried, and what came of them.

Shorter scripts come first, so the first counterexample of a kind is a shortest one. A plugin has state that nobody but
its author knows, so no two scripts are taken for the same because they lead to the same state of the lifecycle: each is
run from the beginning, on a fresh plugin.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import Factory, define, evolve, field

from fsm_plugins.lifecycle import FAIL, INIT, Lifecycle
from fsm_plugins.verify.base.clock import CALM, PACE
from fsm_plugins.verify.base.script import END, FAULTS, FEED, HEALTH, NEW, PAUSES, STALL, WORK, Call, Script
from fsm_plugins.verify.base.targets import Subject
from fsm_plugins.verify.plugins.accounts import Ledger
from fsm_plugins.verify.plugins.running import Done, Invariant, Outcome, Trouble, lifecycle_of, run_script
from fsm_plugins.verify.reports.report import Coverage, Scope

__all__ = ["Budget", "Exploration", "OutOfTime"]

_PATIENCE: Final = 2.0
"""Real seconds that a plugin which blocks its loop may take before nothing more is tried."""


class OutOfTime(Exception):
    """There is no time for more; the text says why."""


@define(eq=False)
class Budget:
    """How much real time is left.

    Attributes:
        seconds: in all; None for as long as it takes.
    """

    seconds: float | None
    _begin: float = field(factory=time.monotonic, init=False)

    @property
    def left(self) -> float | None:
        """How many seconds there still are; None if there is no limit."""
        return None if self.seconds is None else max(0.0, self.seconds - (time.monotonic() - self._begin))

    def check(self) -> None:
        """Raise OutOfTime if it is spent."""
        if self.seconds is not None and time.monotonic() - self._begin >= self.seconds:
            raise OutOfTime("out of time")


@define(eq=False)
class Exploration:
    """The runs of one plugin.

    Attributes:
        subject: the plugin.
        scope: how far to go.
        budget: how long it may take.
        invariant: what has to hold after each call.
        progress: told of each run as it begins, and of the calls so far before each call.
        temporary: where temporary files are made.
        troubles: the shortest of each kind, with the outcome of its run.
        runs: how many there have been.
        unsteady: what went otherwise when it was done again.
    """

    subject: Subject
    scope: Scope
    budget: Budget
    invariant: Invariant | None = None
    progress: Callable[[Script], None] | None = None
    temporary: Path | None = None
    troubles: dict[tuple[str, str], tuple[Trouble, Outcome]] = Factory(dict)
    runs: int = 0
    lifecycle: Lifecycle | None = None
    met: set[str] = Factory(set)
    unsteady: list[str] = Factory(list)
    poisoned: bool = False
    _slow: float = field(default=0.0, init=False)
    _walks: list[Outcome] = field(factory=list, init=False)
    _states: set[str] = field(factory=set, init=False)
    _arcs: set[tuple[str, str]] = field(factory=set, init=False)
    _pairs: set[tuple[str, str, str]] = field(factory=set, init=False)
    _cells: set[tuple[str, str]] = field(factory=set, init=False)
    _points: dict[tuple[str, str, str, int, str], bool] = field(factory=dict, init=False)
    _reference: dict[str, bool] | None = field(default=None, init=False)

    def run(self, script: Script, *, again: bool = False) -> Outcome:
        """Run a script, and keep what is to be known of it.

        Raises:
            OutOfTime: there is no time left for it.
        """
        self.budget.check()
        begin = time.monotonic()
        outcome = self._run(script, PACE, again)
        for trouble in outcome.troubles:
            self._take(trouble, outcome, again)
        self._cover(outcome)
        self._slow += time.monotonic() - begin
        if self._slow > _PATIENCE and any(slug == "blocking-call" for slug, _ in self.troubles):
            raise OutOfTime("it blocks the event loop, so that more runs would take too long")
        return outcome

    def _run(self, script: Script, pace: float, again: bool) -> Outcome:
        self.runs += 1
        known = frozenset(slug for slug, _ in self.troubles)
        outcome = run_script(
            self.subject,
            script,
            pace=pace,
            invariant=self.invariant,
            again=again,
            known=known,
            temporary=self.temporary,
            on_call=self.progress,
        )
        self.met |= outcome.met
        return outcome

    def _take(self, trouble: Trouble, outcome: Outcome, again: bool) -> None:
        """Keep a trouble if it is the shortest of its kind, and if it is no accident."""
        key = (trouble.slug, trouble.hook)
        known = self.troubles.get(key)
        if known is not None and trouble.at >= known[0].at:
            return
        if known is None:
            # With something real, a run depends on more than its script: what counts happens at a calm pace, too.
            second = self._run(outcome.script, CALM if outcome.met else PACE, again)
            if not any(other.slug == trouble.slug and other.hook == trouble.hook for other in second.troubles):
                if not outcome.met:
                    self.unsteady.append(f"{trouble.what}, but not when it was done again: {_text(outcome)}")
                return
        self.troubles[key] = (trouble, outcome)

    # Which scripts.

    def settle(self) -> None:
        """Run the shortest way to rest with two plugins: what the first leaves in the process may break the second."""
        self.run(())
        tour = tuple(Call(trigger) for trigger in _tour(self._table))
        outcome = self._run((*tour, Call(NEW), *tour), PACE, False)
        new = next((place for place, done in enumerate(outcome.done) if done.call.name == NEW), len(outcome.done))
        for trouble in outcome.troubles:
            key = (trouble.slug, trouble.hook)
            if trouble.slug in _BREAKS and new < trouble.at <= new + 1 + len(tour):
                what = f"the second plugin in the same process: {trouble.what}"
                expected = "what one plugin leaves behind does not hinder the next"
                trouble = evolve(trouble, slug="second-run-fails", what=what, expected=expected)
                key = (trouble.slug, trouble.hook)
                self.poisoned = True
            if self.poisoned:
                self.troubles.setdefault(key, (trouble, outcome))

    def not_again(self, why: str) -> None:
        """Take note that the plugin could be made once, and not again."""
        state = str(self._table.initial)
        what, expected = f"the second plugin in the same process: {why}", "it can be made as often as one likes"
        trouble = Trouble("second-run-fails", what, 1, "constructor", expected)
        done = Done(Call(NEW), state, state, "a new plugin", ())
        outcome = Outcome((Call(NEW),), (done,), state, (trouble,), (), frozenset(), frozenset(), 0.0, Ledger())
        self.troubles[trouble.slug, trouble.hook] = (trouble, outcome)
        self.poisoned = True

    def learn(self) -> None:
        """Find out which lifecycle the plugin has."""
        self.lifecycle = lifecycle_of(self.subject)

    def sequences(self) -> None:
        """Try every sequence of legal calls, and at each of its ends every illegal call."""
        front: list[tuple[Script, str]] = [((), str(self._table.initial))]
        for _ in range(self.scope.depth):
            longer: list[tuple[Script, str]] = []
            for script, state in front:
                for call in self._next(script, state):
                    outcome = self.run((*script, call))
                    self._account(outcome)
                    if outcome.complete or _went_on(outcome):
                        self._walks.append(outcome)
                        if not outcome.done[len(script)].refused:
                            longer.append((outcome.script, outcome.state))
            front = longer

    def faults(self) -> None:
        """Let every await of every hook go wrong in every way, within the scope's number of faults."""
        if not self._walks:
            self.sequences()
        front = deque(
            (outcome.script[:-1], outcome.done[len(outcome.script) - 1], 1)
            for outcome in self._walks
            if _declared(outcome.script) < self.scope.faults and STALL not in map(_name, outcome.script)
        )
        while front:
            before, done, used = front.popleft()
            for at, kinds in enumerate(done.kinds, 1):
                for kind in FAULTS:
                    key = (done.call.name, done.source, kind, at, "")
                    if kind not in kinds:
                        self._points.setdefault(key, False)
                        continue
                    outcome = self.run((*before, done.call.faulted(kind, at)), again=True)
                    self._points[key] = True
                    if used + _declared(before) < self.scope.faults:
                        made = tuple(each.call for each in outcome.done)
                        after = len(before) + 1
                        front.extend((made[:i], outcome.done[i], used + 1) for i in range(after, len(made)))

    @property
    def _table(self) -> Lifecycle:
        assert self.lifecycle is not None
        return self.lifecycle

    def _next(self, script: Script, state: str) -> Iterator[Call]:
        """Yield what can be done next, legally."""
        names = [call.name for call in script]
        if not script and any(port.direction == "output" for port in self.subject.ports):
            yield Call(STALL)
        for trigger in self._table.machine.moves[state]:
            if trigger != FAIL:
                yield Call(trigger)
            elif _declared(script) < self.scope.faults:
                yield Call(FAIL)
        if self._table.machine.moves[state] and state not in self._table.rest and state in self._busy:
            inputs = any(port.direction == "input" for port in self.subject.ports)
            pauses = [WORK, HEALTH, *([FEED, END] if inputs else [])]
            for pause in pauses:
                # Health and messages once in a script; work again after each call of the lifecycle.
                again = pause == WORK and names[-1] not in PAUSES
                if again or not (pause in names or (END in names and pause == FEED)):
                    yield Call(pause)

    @property
    def _busy(self) -> frozenset[str]:
        """The states in which a plugin works: neither at its beginning, nor at rest, nor broken, nor about to start."""
        idle = {self._table.initial} | self._table.rest | self._table.failures
        found = self._table.machine.moves.values()
        hooked = {str(move.dest) for moves in found for move in moves.values() if move.trigger != INIT}
        return frozenset(state for state in self._table.machine.moves if state not in idle and state in hooked)

    # Messages.

    def _account(self, outcome: Outcome) -> None:
        """Look for messages that were lost, if this is a plugin that keeps its messages."""
        ledger = outcome.ledger
        names = [call.name for call in outcome.script]
        if outcome.troubles or not ledger.fed or FAIL in names or outcome.state not in self._busy:
            return
        if END not in names or STALL in names:
            return
        if self._reference is None:
            reference = self._run(_undisturbed(outcome.script), PACE, False).ledger
            quiet = self._run((*(c for c in outcome.script if c.name not in PAUSES), Call(END)), PACE, False)
            self._reference = {
                "keeps": reference.keeps_all,
                "counts": reference.one_for_one and quiet.ledger.sent == 0,
            }
        lost = 0
        if self._reference["keeps"]:
            lost = len(ledger.missing)
        elif self._reference["counts"]:
            lost = len(ledger.fed) - ledger.queued - ledger.sent
        if lost > 0:
            trouble = Trouble(
                "message-lost",
                f"{lost} of {len(ledger.fed)} messages lost",
                len(outcome.done),
                "messages",
                "what was taken from an input is dealt with before the plugin rests",
            )
            self._take_lost(trouble, outcome)

    def _take_lost(self, trouble: Trouble, outcome: Outcome) -> None:
        known = self.troubles.get((trouble.slug, trouble.hook))
        if known is None or trouble.at < known[0].at:
            self.troubles[trouble.slug, trouble.hook] = (trouble, outcome)

    # Coverage.

    def _cover(self, outcome: Outcome) -> None:
        last: tuple[str, str] | None = None
        for done in outcome.done:
            self._states.update((done.source, done.dest))
            if done.call.name in PAUSES:
                continue
            trigger = done.call.name
            move = self._table.machine.moves[done.source].get(trigger)
            if move is None or move.dest != done.dest:
                trigger = FAIL
            arc = (done.source, trigger)
            if done.source != done.dest or trigger != FAIL:
                self._arcs.add(arc)
                if last is not None:
                    self._pairs.add((last[0], last[1], trigger))
                last = arc
        self._cells |= outcome.probed

    def coverage(self) -> Coverage:
        """Return what was tried, of what there is."""
        table = self._table
        moves = {str(state): found for state, found in table.machine.moves.items()}
        arcs = {(source, trigger) for source, found in moves.items() for trigger in found}
        pairs = {
            (source, trigger, after)
            for source, found in moves.items()
            for trigger, move in found.items()
            for after in moves[str(move.dest)]
        }
        cells = {(s, t) for s in moves for t in table.machine.events} - arcs
        points = len(self._points)
        return Coverage(
            states=(len(self._states & set(moves)), len(moves)),
            arcs=(len(self._arcs & arcs), len(arcs)),
            arc_pairs=(len(self._pairs & pairs), len(pairs)),
            illegal_cells=(len(self._cells & cells), len(cells)),
            await_points=(sum(self._points.values()), points),
            concurrent_cells=(0, 0),
        )


# What keeps a plugin from being used.
_BREAKS: Final = frozenset(
    {"hook-raises", "worker-crashes", "hook-hangs", "stop-after-fault-fails", "double-release", "second-run-fails"}
)


def _text(outcome: Outcome) -> str:
    return " -> ".join(done.text for done in outcome.done)


def _went_on(outcome: Outcome) -> bool:
    """Whether the script itself went well, so that longer ones say something new; it may leak all the same."""
    count = len(outcome.script)
    return len(outcome.done) >= count and all(trouble.at > count for trouble in outcome.troubles)


def _name(call: Call) -> str:
    return call.name


def _declared(script: Script) -> int:
    return sum(call.name == FAIL or call.fault is not None for call in script)


def _undisturbed(script: Script) -> Script:
    """Return a script like this one, but with all the time to deal with the messages before the inputs end."""
    calls = [call for call in script if call.name not in PAUSES]
    return (*calls, Call(WORK), Call(END), Call(WORK))


def _tour(lifecycle: Lifecycle) -> tuple[str, ...]:
    """Return the shortest way from the beginning to rest that nobody fails on."""
    moves = lifecycle.machine.moves
    front: deque[tuple[str, tuple[str, ...]]] = deque([(str(lifecycle.initial), ())])
    seen = {str(lifecycle.initial)}
    while front:
        state, way = front.popleft()
        if way and state in lifecycle.rest:
            return way
        for trigger, move in moves[state].items():
            if trigger != FAIL and str(move.dest) not in seen:
                seen.add(str(move.dest))
                front.append((str(move.dest), (*way, trigger)))
    return ()
