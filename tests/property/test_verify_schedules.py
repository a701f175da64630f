"""The exploration of schedules: what it finds, how soon, and that it finds nothing where there is nothing."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import Deadlines, DefinitionError, HealthStatus, Plugin, PluginInfo, PluginRegistry
from fsm_plugins.guard import Guard
from fsm_plugins.lifecycle.machine import Move
from fsm_plugins.verify.schedules.exploring import explore_schedules, replay
from fsm_plugins.verify.schedules.real_loop import sample_schedules
from fsm_plugins.verify.schedules.search import Departed, Follow, depth_first, pct

ROOT = Path(__file__).parents[2]


class Toy:
    """Checks, waits, and then acts."""

    def __init__(self) -> None:
        self.state = "created"
        self.opened = 0

    async def start(self) -> None:
        if self.state == "created":
            await asyncio.sleep(0)
            self.opened += 1
            self.state = "running"


async def early(toy: Toy) -> None:
    await toy.start()


async def late(toy: Toy) -> None:
    """Comes so late that in the ordinary order there is no race."""
    for _ in range(3):
        await asyncio.sleep(0)
    await toy.start()


class Quiet(Plugin):
    """A plugin in which nothing is wrong."""

    info = PluginInfo("quiet", "1.0.0")

    async def on_init(self) -> None:
        await asyncio.sleep(0)

    async def on_start(self) -> None:
        await asyncio.sleep(0.1)

    async def on_stop(self) -> None:
        await asyncio.sleep(0)


# What is found.


def test_the_toy_race_is_found_in_the_second_run() -> None:
    """Ordinary asyncio never shows it; the footprints of the first run lead to it."""
    result = explore_schedules(Toy, [early, late], tasks=None)
    assert result.finding is not None
    assert result.finding.kind == "not-linearizable"
    assert result.schedules == 2
    assert not result.holds


def test_the_toy_race_is_told_step_by_step() -> None:
    """In words, with the choices."""
    finding = explore_schedules(Toy, [early, late], tasks=None).finding
    assert finding is not None
    assert finding.cell == "new: early | late"
    assert finding.steps[:2] == ("early begins", "late begins")
    assert all("goes on at test_verify_schedules.py:" in step for step in finding.steps[2:])
    assert str(finding).startswith("not-linearizable in 'new: early | late': expected ")
    assert finding.got == "early: returned None, late: returned None, opened = 2, state = running"
    assert finding.expected == "early: returned None, late: returned None, opened = 1, state = running"


@given(waits=st.integers(0, 4), after=st.integers(1, 3), hidden=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_race_is_found_wherever_it_is(waits: int, after: int, hidden: bool) -> None:
    """However late the second caller comes, however long the gap is, and if no footprint shows it."""
    box: dict[int, int] = {}

    class Racy:
        def __init__(self) -> None:
            self.opened = 0
            box.clear()

        async def open(self) -> None:
            if not (box if hidden else self.opened):
                for _ in range(after):
                    await asyncio.sleep(0)
                box[len(box)] = 1
                self.opened += 1

    async def comes_late(racy: Racy) -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        await racy.open()

    result = explore_schedules(Racy, ["open", comes_late], tasks=None, observe=lambda racy: racy.opened)
    assert result.finding is not None
    assert result.finding.kind == "not-linearizable"


@given(waits=st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_what_is_locked_is_not_found(waits: int) -> None:
    """The same with a lock: every schedule is run, and none is wrong."""

    class Locked(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.lock = asyncio.Lock()

        async def start(self) -> None:
            async with self.lock:
                await super().start()

    async def comes_late(toy: Locked) -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        await toy.start()

    result = explore_schedules(Locked, ["start", comes_late], tasks=None)
    assert result.holds, result
    assert result.completed == result.cells == 1


def test_what_depends_on_the_order_of_the_calls_is_not_found() -> None:
    """Each order of the calls is a right one."""

    class Log:
        def __init__(self) -> None:
            self.lines: tuple[str, ...] = ()

        async def one(self) -> None:
            self.lines += ("one",)

        async def two(self) -> None:
            self.lines += ("two",)

    result = explore_schedules(Log, ["one", "two"])
    assert result.holds, result
    assert explore_schedules(Log, ["one", "two"], tasks=3).holds


def test_a_deadlock_is_found() -> None:
    """Two locks, taken in two orders."""

    class Philosophers:
        def __init__(self) -> None:
            self.forks = asyncio.Lock(), asyncio.Lock()

        async def eat(self, first: int) -> None:
            async with self.forks[first]:
                await asyncio.sleep(0)
                async with self.forks[1 - first]:
                    pass

    async def left(them: Philosophers) -> None:
        await them.eat(0)

    async def right(them: Philosophers) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        await them.eat(1)

    result = explore_schedules(Philosophers, [left, right], tasks=None)
    assert result.finding is not None
    assert result.finding.kind == "deadlock"
    assert "left waits at test_verify_schedules.py:" in result.finding.got
    assert explore_schedules(Philosophers, [left, left], tasks=None).holds


class Shared(Plugin):
    """A worker and the health check use the same thing, which the stop takes away."""

    info = PluginInfo("shared", "1.0.0")

    async def on_init(self) -> None:
        self.connection: list[int] | None = []

    async def refresh(self) -> None:
        if self.connection is not None:
            await asyncio.sleep(0)
            self.connection.append(1)

    async def on_stop(self) -> None:
        await asyncio.sleep(0)
        self.connection = None


def test_a_race_of_a_plugin_with_a_method_of_its_own_is_found() -> None:
    """The method raises what it raises in no order of the two calls."""

    async def refresh(plugin: Shared) -> None:
        await plugin.refresh()

    result = explore_schedules(Shared, [refresh, "stop"], states=["running"])
    assert result.finding is not None
    assert "AttributeError" in result.finding.got


class HangsIfAsked(Plugin):
    """The stop waits for an answer that a health check under way takes away."""

    info = PluginInfo("hangs", "1.0.0")
    deadlines = Deadlines(stop=5)

    async def on_start(self) -> None:
        self.free = asyncio.Event()
        self.free.set()

    async def on_health_check(self) -> HealthStatus:
        self.free.clear()
        await asyncio.sleep(0)
        self.free.set()
        return HealthStatus.healthy()

    async def on_stop(self) -> None:
        await self.free.wait()


def test_a_hook_that_hangs_in_some_schedules_only_is_a_deadlock() -> None:
    """It ends at its deadline, which it does in no order of the calls."""
    result = explore_schedules(HangsIfAsked, ["health_check", "stop"], states=["running"])
    assert result.finding is not None
    assert result.finding.kind == "deadlock"
    assert "DeadlineExceeded" in result.finding.got


class Pumps(Quiet):
    """Has a worker."""

    async def on_start(self) -> None:
        self.spawn(self.pump())

    async def pump(self) -> None:
        await asyncio.Event().wait()


def test_a_worker_that_outlives_its_plugin_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed plugin does no work; here the guard forgets to end it."""
    commit = Guard._commit_failure

    def forgetful(self: Guard, cause: BaseException) -> Move | None:
        workers, self.workers = self.workers, set()
        try:
            return commit(self, cause)
        finally:
            self.workers = workers

    assert explore_schedules(Pumps, ["fail"], states=["running"]).holds
    monkeypatch.setattr(Guard, "_commit_failure", forgetful)
    result = explore_schedules(Pumps, ["fail"], states=["running"])
    assert result.finding is not None
    assert result.finding.got.endswith("at work")


def test_an_invariant_that_does_not_hold_is_found() -> None:
    """Whether it raises or returns False."""

    def never_opened_twice(toy: Toy) -> None:
        assert toy.opened <= 1, "opened twice"

    for invariant in (never_opened_twice, lambda toy: toy.opened <= 1):
        result = explore_schedules(Toy, [early, late], tasks=None, invariant=invariant, observe=lambda toy: toy.state)
        assert result.finding is not None
        assert result.finding.kind == "invariant"


def test_the_failure_with_the_fewest_departures_is_told() -> None:
    """If the ordinary order shows it, the choices are those of the ordinary order."""
    result, ordinary = (explore_schedules(Toy, ["start"], tasks=3, preemptions=bound) for bound in (None, 0))
    assert result.finding is not None
    assert ordinary.finding is not None
    assert result.finding.choices == ordinary.finding.choices


def test_a_failure_is_told_with_as_few_departures_as_it_takes() -> None:
    """Depth-first search meets one that departs more often first: with one departure less there is none."""
    gone: list[str] = []  # no attribute, so that no footprint leads there

    class Order:
        def __init__(self) -> None:
            gone.clear()

    def going(name: str, waits: int) -> Any:
        async def go(_order: Order) -> None:
            for _ in range(waits):
                await asyncio.sleep(0)
            gone.append(name)

        go.__name__ = name
        return go

    def never(order: Order) -> bool:
        """The last one is first in one order; that this takes one departure more in another one must not show."""
        return gone.index("a") < gone.index("b")

    arguments: dict[str, Any] = {"tasks": None, "invariant": never, "observe": lambda _: None}
    calls = [going("a", 1), going("b", 2), going("c", 2)]
    finding = explore_schedules(Order, calls, **arguments).finding
    assert finding is not None
    fewest = next(k for k in range(9) if explore_schedules(Order, calls, preemptions=k, **arguments).finding)
    other = explore_schedules(Order, calls, preemptions=fewest, **arguments).finding
    assert other is not None
    assert finding.choices == other.choices


# Scope.


def test_a_plugin_in_which_nothing_is_wrong_holds() -> None:
    """Every pair of calls, from every state, and each call cancelled."""
    result = explore_schedules(Quiet)
    assert result.holds, result
    assert result.completed == result.cells == 100
    assert str(result).startswith("holds (2 calls at a time, every schedule: 100 of 100 cells complete, ")


def test_a_registry_holds() -> None:
    """With its bulk calls."""

    def registry() -> PluginRegistry:
        made = PluginRegistry()
        made.register(Quiet(name="a"))
        return made

    result = explore_schedules(registry, ["start_all", "stop_all", "a.fail"], states=["initialized", "running"])
    assert result.holds, result
    assert result.cells == 2 * (6 + 3)


def test_a_state_that_is_not_reached_is_told() -> None:
    """With the reason; the cells of the other states are explored."""

    class Broken(Quiet):
        async def on_start(self) -> None:
            raise ValueError("no licence")

    result = explore_schedules(Broken, ["stop", "health_check"])
    assert result.finding is None
    assert any(line.startswith("running: ") and "no licence" in line for line in result.unreached)
    assert result.completed > 0
    nothing = explore_schedules(Broken, ["stop"], states=["running"])
    assert nothing.inconclusive == "no state is reached"


def test_time_that_is_up_is_inconclusive() -> None:
    """And no cell counts as complete that is not."""
    result = explore_schedules(Quiet, tasks=4, seconds=0.1)
    assert not result.holds
    assert result.finding is None
    assert result.inconclusive == "the time is up"
    assert 0 < result.completed < result.cells
    assert result.incomplete


def test_a_cell_with_too_many_schedules_is_not_complete() -> None:
    """One that gives way for ever is cut off."""

    class Spinning:
        async def spin(self) -> None:
            while True:  # noqa: ASYNC110
                await asyncio.sleep(0)

    result = explore_schedules(Spinning, ["spin"], tasks=1)
    assert result.incomplete == ("new: spin",)
    assert result.inconclusive == "some cells have too many schedules"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": 0}, "1 to 4 calls"),
        ({"tasks": None}, "calls="),
        ({"preemptions": -1}, "preemptions"),
        ({"calls": ["strat"]}, "there is no call 'quiet.strat'; the calls are quiet.init"),
        ({"calls": ["other.start"]}, "there is no call 'other.start'"),
        ({"states": ["runing"]}, "there is no state 'runing'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    """With what would do."""
    with pytest.raises(DefinitionError, match=message):
        explore_schedules(Quiet, **arguments)


def test_an_object_without_calls_is_refused() -> None:
    """Nothing is known of it."""
    with pytest.raises(DefinitionError, match=r"give calls=\[...\]"):
        explore_schedules(Toy)


# What cannot be controlled.


class Threaded(Quiet):
    async def on_start(self) -> None:
        await asyncio.to_thread(threading.get_ident)


def test_a_thread_is_named_and_the_result_inconclusive() -> None:
    """It is said what to use instead."""
    result = explore_schedules(Threaded, ["start"], states=["initialized"], tasks=1)
    assert result.finding is not None
    assert result.finding.kind == "uncontrolled"
    assert "run_in_executor (a thread) cannot be controlled; try sample_schedules" in result.finding.got
    assert result.inconclusive


def test_a_real_loop_can_do_it() -> None:
    """It says how many runs were made, and that it proves nothing."""
    result = sample_schedules(Threaded, ["start", "stop", "fail"], states=["initialized"], runs=3)
    assert result.finding is None, result
    assert result.inconclusive == f"{result.schedules} random runs on a real event loop"
    assert result.schedules >= 18


def test_a_real_loop_finds_what_is_easy_to_find() -> None:
    """The same judgement."""
    result = sample_schedules(Toy, ["start"], runs=5)
    assert result.finding is not None
    assert result.finding.kind == "not-linearizable"


def test_a_real_loop_finds_what_the_ordinary_order_does_not_show() -> None:
    """One that has to be held back for a few turns; the same seed finds it in the same run."""

    class Order:
        def __init__(self) -> None:
            self.seen: tuple[str, ...] = ()

        async def soon(self) -> None:
            await asyncio.sleep(0)
            self.seen += ("soon",)

        async def later(self) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            self.seen += ("later",)

    def invariant(order: Order) -> bool:
        return set(order.seen) < {"soon", "later"} or order.seen == ("soon", "later")

    results = [sample_schedules(Order, ["soon", "later"], runs=50, invariant=invariant, seed=3) for _ in range(2)]
    assert results[0].finding is not None
    assert results[0].finding.kind == "invariant"
    assert results[0].schedules == results[1].schedules


def test_randomness_is_noticed() -> None:
    """The same choices do not make the same run."""
    numbers = random.Random(3)

    class Random:
        value = 0

        async def roll(self) -> None:
            for _ in range(numbers.randrange(4)):
                await asyncio.sleep(0)
            self.value = numbers.randrange(1000)

    result = explore_schedules(Random, ["roll"])
    assert result.finding is not None
    assert result.finding.kind == "uncontrolled"
    assert "the same choices to make the same run" in result.finding.expected


# Replay.


def test_a_run_is_made_again_a_thousand_times() -> None:
    """Identical in every step."""
    finding = explore_schedules(Toy, [early, late], tasks=None).finding
    assert finding is not None
    runs = {replay(Toy, finding.cell, finding.choices, [early, late]) for _ in range(1000)}
    assert len(runs) == 1
    assert runs.pop().finding == finding


def test_a_run_is_the_same_in_other_processes() -> None:
    """Over hash seeds, with workers in sets and tasks in groups."""
    program = """
import asyncio
from fsm_plugins import Plugin, PluginInfo
from fsm_plugins.verify.schedules.exploring import explore_schedules, replay

class Busy(Plugin):
    info = PluginInfo("busy", "1.0.0")
    log = ()
    async def on_start(self):
        for i in range(3):
            self.spawn(self.work(i))
        async with asyncio.TaskGroup() as group:
            for i in range(3):
                group.create_task(self.work(10 + i))
    async def work(self, i):
        await asyncio.sleep(1)
        self.log += (i,)
        if i == 12:
            raise ValueError
    async def on_stop(self):
        await asyncio.sleep(0)

def invariant(plugin):
    assert not plugin.log, plugin.log

finding = explore_schedules(Busy, ["start", "fail"], states=["initialized"], invariant=invariant).finding
runs = {str(replay(Busy, finding.cell, finding.choices, ["start", "fail"], invariant)) for _ in range(30)}
assert len(runs) == 1
print(finding, runs)
"""
    printed = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(10)
    ]
    assert len(set(printed)) == 1
    assert "invariant" in printed[0]


def test_choices_of_another_object_are_refused() -> None:
    """And so is a cell that there is not."""
    with pytest.raises(Departed, match="choice 1 was 9"):
        replay(Toy, "new: start | start", [9], ["start"])
    with pytest.raises(DefinitionError, match="there is no cell 'old: start'"):
        replay(Toy, "old: start", [], ["start"])


# The searches.


class Tree:
    """A tree of choices, each path of which is visited."""

    def __init__(self, widths: list[int]) -> None:
        self.widths = widths
        self.paths: list[tuple[int, ...]] = []

    def run(self, choose: Any) -> bool:
        path: list[int] = []
        for width in self.widths:
            options = list(range(width + (path[-1] if path else 0)))
            if len(options) > 1:
                path.append(choose(options))
        self.paths.append(tuple(path))
        return True


@given(st.lists(st.integers(1, 3), max_size=4))
def test_depth_first_search_makes_every_run_once(widths: list[int]) -> None:
    """Whatever the tree is."""
    tree = Tree(widths)
    assert depth_first(tree.run)
    assert len(set(tree.paths)) == len(tree.paths)

    def count(at: int, last: int) -> int:
        if at == len(widths):
            return 1
        width = widths[at] + last
        return sum(count(at + 1, choice if width > 1 else last) for choice in range(width))

    assert len(tree.paths) == count(0, 0)


@given(st.lists(st.integers(1, 3), max_size=4), st.integers(0, 3))
def test_a_bound_leaves_out_what_departs_more_often(widths: list[int], bound: int) -> None:
    """And nothing else."""
    everything, bounded = Tree(widths), Tree(widths)
    depth_first(everything.run)
    assert depth_first(bounded.run, bound=bound)
    assert bounded.paths == [p for p in everything.paths if sum(choice > 0 for choice in p) <= bound]


def test_a_search_that_is_not_repeatable_is_noticed() -> None:
    """The options of a choice must be those of the run before."""
    widths = itertools.cycle([2, 3])

    def run(choose: Any) -> bool:
        choose(list(range(next(widths))))
        choose([0, 1])
        return True

    with pytest.raises(Departed, match=r"had the options \[0, 1\], and now \[0, 1, 2\]"):
        depth_first(run)


def test_random_schedules_are_those_of_the_seed() -> None:
    """And they find a bug of depth two at the promised rate."""

    def paths(seed: int) -> list[tuple[int, ...]]:
        tree = Tree([2, 2, 2])
        pct(tree.run, seed=seed, runs=20, changes=2, steps=3)
        return tree.paths

    assert paths(1) == paths(1) != paths(2)
    assert len(set(paths(1))) > 1


@pytest.mark.parametrize("changes", [0, 1])
def test_random_priorities_change_as_often_as_they_may(changes: int) -> None:
    """To run one task, then the other, and then the first again takes one change."""
    tree: list[tuple[int, ...]] = []

    def run(choose: Any) -> bool:
        tree.append((choose([1, 2]), choose([1, 2]), choose([1, 2])))
        return True

    assert pct(run, seed=0, runs=50, changes=changes, steps=3)
    assert any(len(set(path)) > 1 for path in tree) == (changes > 0)


def test_given_choices_are_followed_and_then_the_ordinary_ones() -> None:
    """And kept."""
    follow = Follow([2])
    assert [follow([1, 2]), follow([3, 4])] == [2, 3]
    assert follow.taken == [2, 3]


def test_twins_are_told_apart_by_nothing() -> None:
    """Of calls that are equal only one order is tried: 2 schedules of one wait each, not 6."""

    class Two:
        async def work(self) -> None:
            await asyncio.sleep(0)

    result = explore_schedules(Two, ["work"])
    assert result.holds
    assert result.schedules == math.comb(4, 2) // 2
