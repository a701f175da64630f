"""What an exploration of schedules says: values, and their text."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import frozen

from fsm_plugins.verify.schedules.overlap import Label

__all__ = ["BEYOND", "Kind", "ScheduleFinding", "ScheduleResult", "ScheduleRun"]

Kind: TypeAlias = Literal["not-linearizable", "race", "deadlock", "invariant", "uncontrolled"]


BEYOND: Final = "nothing but tasks, timers and callbacks"
"""What is expected of a run by a loop that controls nothing else."""


@frozen
class ScheduleFinding:
    """What is wrong, and the schedule that shows it.

    Attributes:
        kind: what sort of mistake: ``not-linearizable``, no order explains what the calls came to; ``race``, something
            is raised that is raised in no order; ``deadlock``, nothing can happen any more, or a hook waits until its
            deadline, as in no order; ``invariant``, yours does not hold; ``uncontrolled``, the runs depend on something
            else than the schedule.
        cell: the state and the calls.
        expected, got: what would have been right, and what was.
        steps: the run, step by step.
        choices: what `replay` needs: the tasks that were chosen where more than one could go on.
        setup: the calls that lead to the state.
    """

    kind: Kind
    cell: str
    expected: str
    got: str
    steps: tuple[str, ...] = ()
    choices: tuple[int, ...] = ()
    setup: tuple[str, ...] = ()

    @property
    def beyond_control(self) -> bool:
        """Whether it met something real, such as a socket or a thread, and no mistake."""
        return self.kind == "uncontrolled" and self.expected == BEYOND

    def __str__(self) -> str:
        lines = [f"{self.kind} in '{self.cell}': expected {self.expected}, got {self.got}"]
        lines += [f"  {number}. {step}" for number, step in enumerate(self.steps, 1)]
        return "\n".join([*lines, f"  choices: {list(self.choices)}"])


@frozen
class ScheduleRun:
    """One run of one cell.

    Attributes:
        history: the calls, transitions and outcomes, in the order in which they happened.
        steps: the steps of the tasks, in words.
        choices: the tasks that were chosen.
        finding: what is wrong with it, if something is.
    """

    history: tuple[Label, ...]
    steps: tuple[str, ...]
    choices: tuple[int, ...]
    finding: ScheduleFinding | None


@frozen
class ScheduleResult:
    """What the exploration of the schedules established.

    Attributes:
        tasks: how many calls were made at a time.
        preemptions: at most how many times a schedule departs from the order of asyncio; None is no limit.
        cells: how many there are.
        completed: in how many of them every schedule (within ``preemptions``) was run.
        incomplete: the others, by name.
        unreached: cells whose state the object does not get to alone, by name, with the reason.
        schedules: how many were run; with a finding, until it was found.
        seconds: how long it took.
        finding: the first that was found, with as few departures from the order of asyncio as could be found.
        inconclusive: why the result says less than it might; empty if every cell is complete.
    """

    tasks: int
    preemptions: int | None
    cells: int
    completed: int
    incomplete: tuple[str, ...]
    unreached: tuple[str, ...]
    schedules: int
    seconds: float
    finding: ScheduleFinding | None = None
    inconclusive: str = ""

    @property
    def holds(self) -> bool:
        """Whether every cell is complete and nothing was found."""
        return self.finding is None and not self.inconclusive

    def __str__(self) -> str:
        limit = "every schedule" if self.preemptions is None else f"at most {self.preemptions} departures"
        scope = (
            f"{self.tasks} calls at a time, {limit}: {self.completed} of {self.cells} cells complete, "
            f"{self.schedules} schedules in {self.seconds:.2f} s"
        )
        if self.finding is not None:
            return f"{self.finding.kind} ({scope})\n{self.finding}"
        return f"inconclusive, {self.inconclusive} ({scope})" if self.inconclusive else f"holds ({scope})"
