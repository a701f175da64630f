"""Every schedule of a few calls at a time, from every state, on the real code (layer L4).

A *cell* is a state and two or three calls that are made in it at the same time. For each cell the object is made anew
and brought to the state, the calls are started as tasks on a `ControlledLoop`, and the cell is run again and again,
each time with the tasks in another order, until there is no other order:

1. a few schedules that the footprints of the runs before suggest, which find most races at once;
2. depth-first, every schedule; if that takes more than a cell may take, or some are cut off:
3. every schedule with no, one, two, ... departures from the order of asyncio, as far as the number allows;
4. random schedules by priorities (PCT).

A cell that was left with 3 or 4 is not complete, and a result with such a cell says so.

A failure is run twice. If the second run differs, the object depends on something else than the schedule, and that is
the finding.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import define, evolve

from fsm_plugins.errors import DefinitionError
from fsm_plugins.verify.base.loop import Choose, ControlledLoop
from fsm_plugins.verify.registries.field import quiet
from fsm_plugins.verify.schedules.cells import Bench
from fsm_plugins.verify.schedules.footprints import Footprints, Watcher
from fsm_plugins.verify.schedules.plugins import subject_of
from fsm_plugins.verify.schedules.results import Kind, ScheduleFinding, ScheduleResult, ScheduleRun
from fsm_plugins.verify.schedules.search import Departed, Follow, depth_first, pct
from fsm_plugins.verify.schedules.subjects import AnyCall, Cell, Subject

__all__ = ["Departed", "Kind", "ScheduleFinding", "ScheduleResult", "ScheduleRun", "explore_schedules", "replay"]

GUIDED: Final = 60
"""How many schedules of a cell the footprints may suggest."""
EACH: Final = 20_000
"""How many schedules are made of a cell before it is left incomplete."""
CUT: Final = 5
"""How many runs of a cell may be cut off until it is left: they go on for ever, it seems."""
BOUNDED: Final = 2_000
"""How many schedules with few departures are made of a cell that is not complete."""
SAMPLES: Final = 200
"""How many random schedules are made of a cell that is not complete."""
SMALLER: Final = 500
"""How many schedules may be tried to find a failure again with so many departures from the ordinary order."""


class _OutOfTime(Exception):
    """There are no seconds left."""


@define(eq=False)
class _Search:
    """The search through one cell."""

    bench: Bench
    preemptions: int | None
    until: float
    progress: Callable[[Cell], None] | None = None
    found: ScheduleFinding | None = None
    found_after: int = 0
    _told: float = 0.0

    def go(self) -> bool:
        """Search the cell; returns whether every schedule was run. ``found`` is the finding, if there is one."""
        bench = self.bench
        try:
            complete = depth_first(self.first, bound=self.preemptions, most=EACH) and not bench.cut
            if complete and bench.schedules == 1 and not self.same():
                return False
            if not complete and self.found is None and self.preemptions is None:
                self.bounded()
            if not complete and self.found is None and not bench.cut:
                pct(self.once, seed=0, runs=SAMPLES, changes=3, steps=bench.longest)
        except Departed as departed:
            self.found = bench.finding("uncontrolled", "the same choices to make the same run", str(departed))
            return False
        return complete and self.found is None

    def bounded(self) -> None:
        """Make as many schedules as there may be with no, one, two, ... departures from the ordinary order."""
        self.bench.cut = 0
        left = BOUNDED
        for bound in range(BOUNDED):
            before = self.bench.schedules
            every = depth_first(self.once, bound=bound, most=left)
            left -= self.bench.schedules - before
            if not every or left <= 0:
                break

    def same(self) -> bool:
        """Make the only schedule there is once more; returns whether it was the same, which nothing else would show."""
        bench = self.bench
        session, finding = bench.run(Follow())
        steps = bench.loop.steps
        again, _ = bench.run(Follow())
        if session is None or again is None or finding is not None:
            return True
        if (steps, session.history) != (bench.loop.steps, again.history):
            got = f"once {steps} steps, then {bench.loop.steps}"
            self.found = bench.finding("uncontrolled", "the same choices to make the same run", got)
        return self.found is None

    def once(self, choose: Choose) -> bool:
        now = time.monotonic()
        if now > self.until:
            raise _OutOfTime
        if self.progress is not None and now - self._told > 1.0:
            self._told = now
            self.progress(self.bench.cell)
        follow = _Keeping(choose)
        session, finding = self.bench.run(follow)
        self.bench.longest = max(self.bench.longest, len(follow.taken))
        if finding is not None:
            self.found = evolve(finding, choices=tuple(follow.taken))
            self.found_after = self.bench.schedules
            return False
        return session is not None and self.bench.cut < CUT

    def first(self, choose: Choose) -> bool:
        """Make a run; after the very first one, make those as well that its footprints suggest."""
        if self.bench.schedules:
            return self.once(choose)
        footprints = self.bench.watcher.footprints = Footprints()
        return self.once(choose) and self.guided(footprints)

    def guided(self, footprints: Footprints) -> bool:
        """Make the runs that footprints suggest, and those that the footprints of these suggest, and so on."""
        seen: set[tuple[int, ...]] = set()
        todo: deque[tuple[int, ...]] = deque()
        for _ in range(GUIDED):
            for script in footprints.others():
                if script not in seen:
                    seen.add(script)
                    todo.append(script)
            if not todo:
                break
            footprints = self.bench.watcher.footprints = Footprints()
            if not self.once(_Scripted(todo.popleft(), footprints)):
                return False
        return True


class _Scripted:
    """Chooses the tasks of a script, step by step, and then the ordinary ones."""

    def __init__(self, script: tuple[int, ...], footprints: Footprints) -> None:
        self._script = script
        self._steps = footprints.steps

    def __call__(self, options: list[int]) -> int:
        at = len(self._steps)
        return self._script[at] if at < len(self._script) and self._script[at] in options else options[0]


class _Keeping:
    """Chooses as another function does, and keeps what was chosen."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self.taken: list[int] = []

    def __call__(self, options: list[int]) -> int:
        number = self._choose(options)
        self.taken.append(number)
        return number


def _smallest(bench: Bench, finding: ScheduleFinding) -> ScheduleFinding:
    """Find the failure again with as few departures from the ordinary order as possible."""
    for bound in range(4):
        search = _Search(bench, bound, float("inf"))
        depth_first(search.once, bound=bound, most=SMALLER)
        if search.found is not None and search.found.kind == finding.kind:
            return search.found
    return finding


def _told(bench: Bench, choices: Sequence[int]) -> ScheduleRun:
    """Make a run again, and tell it step by step."""
    follow, steps = Follow(choices), list[str]()
    session, finding = bench.run(follow, steps)
    history = tuple(session.history) if session is not None else ()
    if finding is not None:
        finding = evolve(finding, steps=tuple(steps), choices=tuple(follow.taken))
    return ScheduleRun(history, tuple(steps), tuple(follow.taken), finding)


def _confirmed(bench: Bench, finding: ScheduleFinding) -> ScheduleFinding:
    """Run a failure twice more, and return it with its steps; or say that it is not the schedule that decides."""
    if finding.kind == "uncontrolled":
        return finding
    try:
        finding = _smallest(bench, finding)
        runs = [_told(bench, finding.choices) for _ in range(2)]
    except Departed as departed:
        return bench.finding("uncontrolled", "the same choices to make the same run", str(departed))
    if runs[0] != runs[1] or runs[0].finding is None:
        seen = [str(run.finding.got) if run.finding else "nothing wrong" for run in runs]
        got = f"once '{finding.got}', then '{seen[0]}' and '{seen[1]}'"
        return bench.finding("uncontrolled", "the same choices to make the same run", got)
    return runs[0].finding


def _check(tasks: int | None, preemptions: int | None, calls: Sequence[AnyCall] | None) -> None:
    if tasks is None and not calls:
        raise DefinitionError("tasks=None makes all of calls=[...] at the same time, and there are none")
    if tasks is not None and not 1 <= tasks <= 4:
        raise DefinitionError(f"schedules are explored of 1 to 4 calls at a time, not {tasks}")
    if preemptions is not None and preemptions < 0:
        raise DefinitionError(f"preemptions is 0 or more, or None for no limit, not {preemptions}")


def _cells(subject: Subject, tasks: int | None) -> list[Cell]:
    if tasks is not None:
        return list(subject.cells(tasks))
    return [Cell(setup, state, tuple(subject.calls())) for state, setup in subject.states()]


def explore_schedules(
    plugin_factory: Callable[[], object],
    calls: Sequence[AnyCall] | None = None,
    tasks: int | None = 2,
    preemptions: int | None = None,
    seconds: float | None = None,
    invariant: Callable[[Any], object] | None = None,
    *,
    states: Sequence[str] | None = None,
    observe: Callable[[Any], object] | None = None,
    crashes: bool = True,
    progress: Callable[[Cell], None] | None = None,
) -> ScheduleResult:
    """Run every schedule of a few calls at a time, from every state, and judge each.

    Args:
        plugin_factory: makes the object under test, a new one each time: a plugin, a registry with plugins, or any
            other object.
        calls: the calls to make: ``"stop"``, ``"health_check"``, ``"a.stop"`` for plugin ``a`` of a registry,
            ``"stop_all"``, the name of a method (of an object that is no plugin), or an async function of the object.
            By default all that a plugin or a registry has; and each of them cancelled.
        tasks: how many of them at a time, in every combination; None makes all of them at once, as they are given.
        preemptions: at most how many times a schedule may depart from the order of asyncio; None is no limit.
        seconds: when to give up, in seconds of real time.
        invariant: called with the object when the calls have ended; an exception or False is a finding.
        states: the names of the states to begin in, all by default; of a registry with plugins in two states, their
            names with a ``+``.
        observe: what has to be as in some order of the calls one after the other, for calls that are functions.
        crashes: whether the plugin's own workers may crash; then a plugin that fails by itself is no finding.
        progress: called as a cell is begun, and about once a second while it is explored.

    Raises:
        DefinitionError: there is nothing to call, or no such call, or a number makes no sense.
        RuntimeError: it is called from a running event loop.

    What the factory raises goes on.

    >>> import asyncio
    >>> class Door:
    ...     opened = 0
    ...     async def open(self) -> None:
    ...         if not self.opened:
    ...             await asyncio.sleep(0)
    ...             self.opened += 1
    >>> result = explore_schedules(Door, ["open"])
    >>> result.finding.expected
    'open (call 1): returned None, open (call 2): returned None, opened = 1'
    >>> result.finding.got, result.schedules <= 30
    ('open (call 1): returned None, open (call 2): returned None, opened = 2', True)
    """
    _check(tasks, preemptions, calls)
    begin = time.monotonic()
    until = begin + seconds if seconds is not None else float("inf")
    loop, watcher = ControlledLoop(), Watcher()
    completed = schedules = 0
    incomplete: list[str] = []
    unreached: list[str] = []
    finding: ScheduleFinding | None = None
    inconclusive = ""
    with quiet(), loop.running():
        subject = subject_of(plugin_factory, calls, states=states, observe=observe, crashes=crashes)
        cells = _cells(subject, tasks)
        for cell in cells:
            bench = Bench(subject, cell, loop, watcher, invariant)
            search = _Search(bench, preemptions, until, progress)
            try:
                complete = search.go()
            except _OutOfTime:
                complete = False
                inconclusive = "the time is up"
            schedules += bench.schedules
            if search.found is not None:
                schedules += search.found_after - bench.schedules  # to find it, not to find it again
                finding = _confirmed(bench, search.found)
                break
            if bench.unreached:
                unreached.append(f"{cell}: {bench.unreached}")
            elif complete:
                completed += 1
            else:
                incomplete.append(str(cell))
            if inconclusive:
                break
    if finding is not None and finding.kind == "uncontrolled":
        inconclusive = "something else than the schedule decides"
    elif finding is None and not inconclusive:
        if incomplete:
            inconclusive = "some cells have too many schedules"
        elif unreached and not completed:
            inconclusive = "no state is reached"
    return ScheduleResult(
        tasks if tasks is not None else len(cells[0].calls),
        preemptions,
        len(cells),
        completed,
        tuple(incomplete),
        tuple(unreached),
        schedules,
        time.monotonic() - begin,
        finding,
        inconclusive,
    )


def replay(
    plugin_factory: Callable[[], object],
    cell: str,
    choices: Sequence[int],
    calls: Sequence[AnyCall] | None = None,
    invariant: Callable[[Any], object] | None = None,
    *,
    tasks: int | None = None,
    observe: Callable[[Any], object] | None = None,
    crashes: bool = True,
) -> ScheduleRun:
    """Make one run again: the ``cell`` and the ``choices`` of a `ScheduleFinding`, and what it was found with.

    Raises:
        DefinitionError: there is no such cell.
        Departed: the object does not make the choices that are given, because it is another one, or because it
            depends on something else than the schedule.
    """
    loop = ControlledLoop()
    with quiet(), loop.running():
        subject = subject_of(plugin_factory, calls, observe=observe, crashes=crashes)
        for numbers in (None, 1, 2, 3, 4) if tasks is None else (tasks,):
            for known in _cells(subject, numbers):
                if str(known) == cell:
                    return _told(Bench(subject, known, loop, Watcher(), invariant), choices)
    raise DefinitionError(f"there is no cell {cell!r}")
