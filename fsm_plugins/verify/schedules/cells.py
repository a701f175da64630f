"""Runs of one cell: make the object, bring it to its state, start the calls, let somebody choose, and judge.

A run is judged by what some order of atomic steps explains: for calls of plugins and registries that is `Overlap`, for
other calls the object itself, by making them one after the other in every order (as Line-Up does: Burckhardt, Dern,
Musuvathi and Tan 2010). What hooks raise, they must raise in one of these orders too. A run in which nothing can
happen any more is a deadlock. After each run the plugins must be able to come to rest.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field

from fsm_plugins.driving import Drive, Worker, where
from fsm_plugins.verify.base.loop import CALLBACK, Choose, ControlledLoop
from fsm_plugins.verify.schedules.footprints import Watcher
from fsm_plugins.verify.schedules.objects import Fields
from fsm_plugins.verify.schedules.overlap import CANCEL, Label, Overlap
from fsm_plugins.verify.schedules.results import BEYOND, Kind, ScheduleFinding
from fsm_plugins.verify.schedules.subjects import Cell, Session, Subject

__all__ = ["Bench", "Narrator"]

STEPS: Final = 2_000
"""How many steps one run may take; one that takes more is cut off, and its cell is not complete."""


@define(eq=False)
class Bench:
    """One object after the other, in one cell, on one loop."""

    subject: Subject
    cell: Cell
    loop: ControlledLoop
    watcher: Watcher
    invariant: Callable[[Any], object] | None
    schedules: int = 0
    cut: int = 0
    longest: int = 0
    unreached: str = ""
    _overlap: Overlap | None = None
    _known: dict[tuple[Label, ...], ScheduleFinding | None] = field(factory=dict)
    _alone: set[tuple[object, ...]] | None = None
    _errors: set[str] = field(factory=set)
    _twins: tuple[tuple[int, int], ...] = ()
    _threads: int = field(factory=threading.active_count)

    def __attrs_post_init__(self) -> None:
        calls = self.cell.calls
        cancelled = {int(call.plugin) for call in calls if call.name == CANCEL}
        self._twins = tuple(
            [
                (i, i - 1)
                for i in range(1, len(calls))
                if calls[i] == calls[i - 1] and not {i, i - 1} & cancelled and calls[i].name != CANCEL
            ]
        )

    # Runs.

    def prepare(self) -> Session | None:
        """Make an object and bring it to the state of the cell; None if it does not get there."""
        loop = self.loop
        loop.reset()
        session = self.subject.session(self.cell)
        if self.cell.setup:
            task = loop.create_task(session.setup())
            ending = loop.drive([task], limit=STEPS)
            problem = task.exception() if ending == "done" and not task.cancelled() else None
            if ending != "done" or task.cancelled() or problem is not None:
                self.unreached = f"{ending}" if problem is None else f"{type(problem).__name__}: {problem}"
                loop.settle()
                return None
        session.listen()
        return session

    def run(self, choose: Choose, steps: list[str] | None = None) -> tuple[Session | None, ScheduleFinding | None]:
        """Make one run, and judge it."""
        session = self.prepare()
        if session is None:
            return None, self.beyond_control()
        loop = self.loop
        if self._overlap is None and self._alone is None:
            self._overlap = self.subject.overlap(session)
            if self._overlap is None:
                self.one_after_the_other()
                return self.run(choose, steps)
        if self.watcher.footprints is not None:
            for watched in session.watched():
                self.watcher.watch(watched)
        self.schedules += 1
        base = len(loop.tasks)
        session.tasks = tasks = [loop.create_task(session.call(i)) for i in range(len(self.cell.calls))]
        for i, twin in self._twins:
            loop.twins[base + 1 + i] = base + 1 + twin
        if steps is not None:
            loop.on_step = Narrator(self.cell, base, loop, session.history, steps)
        footprints = self.watcher.footprints
        if footprints is not None:
            loop.on_step, loop.on_ready = footprints.begin, footprints.ready
        try:
            ending = loop.drive(tasks, choose, STEPS)
        except BaseException:
            loop.settle()
            raise
        finally:
            self.watcher.footprints = loop.on_step = loop.on_ready = None
        finding = self.beyond_control() if loop.met else None
        if finding is None and ending == "done":
            broken = None if self.invariant is None else self.check_invariant(session, self.invariant)
            last = session.finish()
            if last is not None and loop.drive([loop.create_task(last)], limit=STEPS) != "done":
                session.errors["stop_all, which does not end when it is called afterwards"] = None
            finding = self.judge(session) or broken
        elif finding is None and ending == "stalled":
            finding = self.stalled(session)
        elif finding is None:
            self.cut += 1
        loop.settle()
        if finding is None and threading.active_count() > self._threads:
            finding = self.uncontrolled("a thread that is at work")
        return session, finding

    def one_after_the_other(self) -> None:
        """Make the calls of the cell one after the other in every order, and keep what they come to."""
        alone: set[tuple[object, ...]] = set()
        for order in self.orders():
            session = self.prepare()
            if session is None:
                break
            for i in order:
                self.loop.drive([self.loop.create_task(session.call(i))], limit=STEPS)
            last = session.finish()
            if last is not None:
                self.loop.drive([self.loop.create_task(last)], limit=STEPS)
            alone.add(session.result())
            self._errors |= session.errors.keys()
            self.loop.settle()
        self._alone = alone

    def orders(self) -> list[tuple[int, ...]]:
        """Return every order of the calls of the cell; there is nothing to cancel where they do not overlap."""
        calls = self.cell.calls
        return list(itertools.permutations([i for i in range(len(calls)) if calls[i].name != CANCEL]))

    # Judgement.

    def finding(self, kind: Kind, expected: str, got: str) -> ScheduleFinding:
        return ScheduleFinding(kind, str(self.cell), expected, got, setup=tuple(map(str, self.cell.setup)))

    def beyond_control(self) -> ScheduleFinding | None:
        """Say what was asked of the loop that it cannot do."""
        met = sorted({str(error) for error in self.loop.met})
        return self.uncontrolled("; ".join(met)) if met else None

    def uncontrolled(self, got: str) -> ScheduleFinding:
        return self.finding("uncontrolled", BEYOND, got)

    def stalled(self, session: Session) -> ScheduleFinding:
        if threading.active_count() > self._threads:
            return self.uncontrolled("a thread that is at work")
        waiting = [
            f"{call} waits at {_place(task) or 'an unknown place'}"
            for call, task in zip(self.cell.calls, session.tasks, strict=True)
            if not task.done()
        ]
        return self.finding("deadlock", "every call to end", "; ".join(waiting))

    def judge(self, session: Session) -> ScheduleFinding | None:
        """Say what is wrong with a run that has come to its end."""
        if self._overlap is not None:
            key = tuple(session.history)
            if key in self._known:
                finding = self._known[key]
            else:
                finding = self._known[key] = self.explain(self._overlap, key)
        else:
            finding = self.compare(session)
        if finding is None and session.errors:
            finding = self.unheard_of(session)
        return finding

    def explain(self, overlap: Overlap, history: tuple[Label, ...]) -> ScheduleFinding | None:
        refuted = overlap.check(history)
        if refuted is None:
            return None
        expected = " or ".join([self.words(label) for label in refuted.expected]) or "nothing more"
        got = self.words(history[refuted.at]) if refuted.at < len(history) else "nothing more"
        return self.finding("not-linearizable", expected, got)

    def compare(self, session: Session) -> ScheduleFinding | None:
        assert self._alone is not None
        result = session.result()
        if result in self._alone:
            return None
        expected = " or ".join(sorted([self.in_words(alone) for alone in self._alone]))
        return self.finding("not-linearizable", expected, self.in_words(result))

    def in_words(self, result: tuple[object, ...]) -> str:
        """Say what came of a run, as `Session.result` has it."""
        outcomes, end, seen = result
        assert isinstance(outcomes, tuple)
        parts = [f"{_name(self.cell, i)}: {' '.join(map(_plain, outcome))}" for i, outcome in outcomes]
        if isinstance(end, tuple):
            parts.append(self.words(end))
        if isinstance(seen, Fields):
            parts += [f"{name} = {_plain(value)}" for name, value in seen]
        elif seen is not None:
            parts.append(f"observed {_plain(seen)}")
        return ", ".join(parts)

    def unheard_of(self, session: Session) -> ScheduleFinding | None:
        """Say what was raised that is not raised when the calls are made one after the other."""
        if self._alone is None:
            self.loop.settle()
            self.one_after_the_other()
        kind: Kind = "race"
        new = [name for name in session.errors if name not in self._errors]
        if "DeadlineExceeded" in new:
            new, kind = ["DeadlineExceeded"], "deadlock"
        for name in new:
            error = session.errors[name]
            got = name if error is None else _said(error)
            return self.finding(kind, "what the calls come to one after the other", got)
        return None

    def check_invariant(self, session: Session, invariant: Callable[[Any], object]) -> ScheduleFinding | None:
        try:
            answer = invariant(session.subject)
        except Exception as error:
            return self.finding("invariant", "the invariant to hold", _said(error))
        if answer is False:
            return self.finding("invariant", "the invariant to hold", "it returned False")
        return None

    def words(self, label: Label) -> str:
        """Say an entry of a history in words."""
        match label:
            case ("call", int(i)):
                return f"{_name(self.cell, i)} is called"
            case ("return", int(i), outcome):
                return f"{_name(self.cell, i)} gives '{_plain(outcome)}'"
            case ("event", plugin, trigger, source, dest):
                return f"{plugin} {source} -> {dest} ({trigger})"
            case ("end", states):
                return f"in the end {_plain(states)}"
        return _plain(label)


def _said(error: BaseException) -> str:
    """Return the type of an exception and the first line of its text, without what differs from run to run."""
    text = str(error).partition("\n")[0]
    return re.sub(r"0x[0-9a-fA-F]+", "0x...", f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _place(task: asyncio.Task[Any]) -> str:
    """Return the place where a task waits; in a hook or a worker, that of the code that is stepped there."""
    waiting: object = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        stepping = frame.f_locals.get("self") if frame is not None else None
        if isinstance(stepping, Drive):
            return where(stepping._coroutine)
        if isinstance(stepping, Worker):
            return where(stepping.coroutine)
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return where(task.get_coro())


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join([text for text in map(_plain, value) if text])
    return str(value)


def _name(cell: Cell, i: int) -> str:
    call = cell.calls[i]
    text = f"cancel call {int(call.plugin) + 1}" if call.name == CANCEL else str(call)
    return f"{text} (call {i + 1})" if cell.calls.count(call) > 1 else text


class Narrator:
    """Tells a run step by step."""

    def __init__(self, cell: Cell, base: int, loop: ControlledLoop, history: list[Label], steps: list[str]) -> None:
        self._cell = cell
        self._base = base
        self._loop = loop
        self._history = history
        self._steps = steps
        self._told = 0

    def __call__(self, number: int) -> None:
        self.so_far()
        i = number - self._base - 1
        if number == CALLBACK:
            self._steps.append("a callback runs")
            return
        task = self._loop.tasks[number - 1]
        name = _name(self._cell, i) if 0 <= i < len(self._cell.calls) else task.get_name()
        begun = number in self._loop.begun
        place = _place(task) if begun else ""
        self._steps.append(f"{name} goes on at {place or 'its end'}" if begun else f"{name} begins")

    def so_far(self) -> None:
        """Add to the last step what it brought about."""
        new = self._history[self._told :]
        self._told = len(self._history)
        told = []
        for label in new:
            match label:
                case ("event", plugin, trigger, source, dest):
                    told.append(f"{plugin} {source} -> {dest} ({trigger})")
                case ("return", _, outcome):
                    told.append(f"gives '{_plain(outcome)}'")
        if told and self._steps:
            self._steps[-1] += ": " + ", ".join(told)
