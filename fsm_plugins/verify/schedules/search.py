"""Ways through a tree of choices: all of them, those that depart little from the ordinary one, random ones.

A run makes choices; each is given the options, the ordinary one first, and takes one. Nothing is known of the tree but
what the runs before have shown, so each strategy is a loop around ``run``: make one run with these choices, and say
whether to go on. A run is repeated by giving it the choices that it made.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import define, field

__all__ = ["Departed", "Follow", "Run", "depth_first", "pct"]

Run: TypeAlias = Callable[[Callable[[list[int]], int]], bool]
"""Makes one run with a function that chooses, and returns whether the search should go on."""


class Departed(RuntimeError):
    """A run that was repeated had other options than before: something decides that the loop does not control."""


@define(eq=False)
class Follow:
    """Follows given choices, and then the ordinary ones; keeps what it chose."""

    given: Sequence[int] = ()
    taken: list[int] = field(factory=list)

    def __call__(self, options: list[int]) -> int:
        at = len(self.taken)
        number = self.given[at] if at < len(self.given) else options[0]
        if number not in options:
            raise Departed(f"choice {at + 1} was {number}, and now the options are {options}")
        self.taken.append(number)
        return number


def depth_first(run: Run, *, bound: int | None = None, most: int | None = None) -> bool:
    """Make every run whose choices are not the ordinary ones at most ``bound`` times; returns whether all were made.

    With a bound this is delay-bounded search (Emmi, Qadeer and Rakamaric 2011); runs that come within it are made in
    the order in which they are met, not in that of their number of departures.

    Args:
        run: makes one run.
        bound: how many departures from the ordinary choice there may be; None is no limit.
        most: after how many runs to give up.

    Raises:
        Departed: the runs do not depend on the choices alone.
    """
    options: list[list[int]] = []
    taken: list[int] = []
    depth = departures = runs = 0

    def choose(given: list[int]) -> int:
        nonlocal depth
        if depth < len(options):
            if options[depth] != given:
                raise Departed(f"choice {depth + 1} had the options {options[depth]}, and now {given}")
        else:
            options.append(given)
            taken.append(0)
        number = given[taken[depth]]
        depth += 1
        return number

    while True:
        if most is not None and runs >= most:
            return False
        depth = 0
        runs += 1
        if not run(choose):
            return False
        if depth != len(options):
            raise Departed(f"a run ended after {depth} choices, and one with the same choices after {len(options)}")
        departures = sum([index > 0 for index in taken]) if bound is not None else 0
        while options:
            last = taken[-1]
            if last + 1 < len(options[-1]) and (bound is None or last > 0 or departures < bound):
                taken[-1] += 1
                break
            departures -= last > 0
            options.pop()
            taken.pop()
        else:
            return True


def pct(run: Run, *, seed: int, runs: int, changes: int, steps: int) -> bool:
    """Make random runs by priorities that change a few times: probabilistic concurrency testing.

    A bug that takes ``changes + 1`` ordered steps is met in each run with a probability of at least
    1 / (tasks * steps ** changes) (Burckhardt, Kothari, Musuvathi and Nagarakatte 2010).

    Args:
        run: makes one run.
        seed: of the random numbers; the same seed makes the same runs.
        runs: how many.
        changes: how many times in a run the task that comes first is put last.
        steps: about how many choices a run makes.
    """
    numbers = random.Random(seed)
    return all(run(_Priorities(numbers, changes, max(steps, 1))) for _ in range(runs))


class _Priorities:
    """Chooses the task that comes first, and at some points puts it last."""

    def __init__(self, numbers: random.Random, changes: int, steps: int) -> None:
        self._numbers = numbers
        self._change_at = {numbers.randrange(steps) for _ in range(changes)}
        self._priorities: dict[int, float] = {}
        self._made = 0

    def __call__(self, options: list[int]) -> int:
        priorities = self._priorities
        for number in options:
            if number not in priorities:
                priorities[number] = self._numbers.random() + 1.0
        first = max(options, key=priorities.__getitem__)
        if self._made in self._change_at:
            priorities[first] = -float(self._made)
            first = max(options, key=priorities.__getitem__)
        self._made += 1
        return first
