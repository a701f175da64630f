"""Policies and what is computed from them: what makes no sense is refused, delays, limits, groups."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from fsm_plugins import DefinitionError, PluginError
from fsm_plugins.errors import ConfigError, DeadlineExceeded, HookFailed, NotReady, PermanentError, StopFailed
from fsm_plugins.orchestrator import plan
from fsm_plugins.supervision import (
    Action,
    Backoff,
    Child,
    Group,
    Health,
    Policy,
    Restart,
    Strategy,
    SupervisionEvent,
    of_the_plugin,
    problems_of,
)
from fsm_plugins.supervision.children import cause_of, is_not_ready, is_permanent
from fsm_plugins.supervision.tree import Node, Tree, Uptime
from tests.unit.supervised import puppet


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Backoff(initial=-1), "initial is a number of seconds, 0 or more, not -1"),
        (lambda: Backoff(initial=math.inf, cap=math.inf), "initial is a number of seconds"),
        (lambda: Backoff(initial=True), "initial is a number of seconds"),
        (lambda: Backoff(factor=0.5), "factor is a number of at least 1, not 0.5"),
        (lambda: Backoff(factor=math.nan), "factor is a number of at least 1"),
        (lambda: Backoff(initial=2, cap=1), "cap, 1 s, is under the initial delay of 2 s"),
        (lambda: Backoff(cap=math.inf), "cap is a number of seconds, 0 or more, not inf"),
        (lambda: Backoff(jitter=1.5), "jitter is a share from 0 to 1, not 1.5"),
        (lambda: Backoff(jitter=-0.1), "jitter is a share from 0 to 1"),
        (lambda: Backoff(stable=0), "stable is a positive number of seconds, not 0"),
        (lambda: Policy(intensity=-1), "intensity is a number of restarts, 0 or more, or 'unlimited', not -1"),
        (lambda: Policy(intensity=True), "intensity is a number of restarts"),
        (lambda: Policy(intensity=1.5), "intensity is a number of restarts"),  # type: ignore[arg-type]
        (lambda: Policy(intensity="many"), "intensity is a number of restarts"),  # type: ignore[arg-type]
        (lambda: Policy(period=0), "period is a positive number of seconds, not 0"),
        (lambda: Policy(period=math.inf), "period is a positive number of seconds, not inf"),
        (lambda: Policy(watchdog=-1), "watchdog is a positive number of seconds, not -1"),
        (lambda: Group(intensity=-5), "intensity is a number of restarts"),
        (lambda: Group(period=math.nan), "period is a positive number of seconds"),
        (lambda: Health(interval=0), "interval is a positive number of seconds, not 0"),
        (lambda: Health(failures=0), "failures is a number of health checks, at least 1, not 0"),
        (lambda: Health(failures=True), "failures is a number of health checks"),
    ],
)
def test_nonsense_is_refused(make: Callable[[], object], text: str) -> None:
    """With what is wanted and what was given."""
    with pytest.raises(DefinitionError, match=text):
        make()


def test_the_edges_of_sense_are_accepted() -> None:
    """No delay, no restart at all, a delay that does not grow, all of it jitter."""
    assert Backoff(initial=0, cap=0, factor=1, jitter=1).delay(5, 0.5) == 0
    assert Policy(intensity=0).intensity == Group(intensity=0).intensity == 0
    assert Backoff(initial=2, cap=2).delay(9, 0) == 2
    assert Health(failures=1).failures == 1


@pytest.mark.parametrize(("word", "kind"), [("one_for_all", Strategy.ONE_FOR_ALL), ("dependents", Strategy.DEPENDENTS)])
def test_words_do_for_strategies_and_restart_kinds(word: str, kind: Strategy) -> None:
    """As in the file."""
    assert Policy(word).strategy is Group(word).strategy is kind
    assert Policy(restart="permanent").restart is Child("permanent").restart is Restart.PERMANENT


def test_the_groups_of_a_policy_cannot_be_changed() -> None:
    """Not even through the dictionary that it was made of."""
    groups = {"g": Group()}
    policy = Policy(groups=groups)
    groups.clear()
    assert list(policy.groups) == ["g"]
    with pytest.raises(TypeError):
        policy.groups["h"] = Group()  # type: ignore[index]


def test_delays() -> None:
    """They grow from the initial one by the factor, up to the cap; jitter takes a share off and adds nothing."""
    backoff = Backoff(initial=1, factor=3, cap=20, jitter=0.25)
    assert [backoff.delay(n, 0) for n in (1, 2, 3, 4)] == [1, 3, 9, 20]
    assert [backoff.delay(n, 1) for n in (1, 4)] == [0.75, 15]
    assert Backoff(initial=0, cap=5).delay(10**9, 0) == 0
    assert Backoff(factor=2).delay(10**9, 0) == 30


def test_a_circle_of_groups_is_told_once() -> None:
    """With the way round; a group that only leads into it is not in it."""
    groups = {"a": Group(group="b"), "b": Group(group="c"), "c": Group(group="b"), "d": Group(group="d")}
    assert [str(problem) for problem in problems_of(Policy(groups=groups), {}, [])] == [
        "supervisor.groups.b.group: the groups go in a circle: b in c in b; one of them has to be outside",
        "supervisor.groups.d.group: the groups go in a circle: d in d; one of them has to be outside",
    ]


def test_a_group_that_does_not_exist_comes_with_advice() -> None:
    """The one that is meant, or the table to add."""
    (near,) = problems_of(Policy(groups={"disks": Group()}), {"a": Child(group="disk")}, ["a"])
    assert near.what == "there is no group 'disk' (did you mean 'disks'?)"
    (none,) = problems_of(Policy(), {"a": Child(group="disk")}, ["a"])
    assert none.what == "there is no group 'disk'; add a table [supervisor.groups.disk]"


def test_uptime_counts_running_only() -> None:
    """Back from the end, over as many runs as it takes; an end without a beginning is none."""
    uptime = Uptime(keep=100)
    uptime.end(3)
    assert (uptime.last, uptime.since(0.1)) == (0, -math.inf)
    for begin, end in ((10, 20), (30, 35), (50, 51)):
        uptime.begin(begin)
        uptime.end(end)
        uptime.end(end + 1)
    assert uptime.last == 1
    assert [uptime.since(seconds) for seconds in (1, 2, 6, 7, 16, 17)] == [50, 34, 30, 19, 10, -math.inf]


def test_uptime_keeps_no_more_than_is_asked_for() -> None:
    """Nothing but the last run, if nobody asks; nothing beyond the time that it keeps."""
    for keep, kept in ((0.0, 1), (10.0, 10)):
        uptime = Uptime(keep)
        for i in range(1000):
            uptime.begin(2 * i)
            uptime.end(2 * i + 1)
        assert len(uptime._runs) == kept
        assert uptime.last == 1


def node(intensity: int, period: float = 10) -> Node:
    return Node("", Policy(intensity=intensity, period=period), None)


def test_a_limit_admits_so_many_in_the_running_time_of_the_plugin() -> None:
    """Those before that do not count, however many; what was refused does not count either."""
    limit, uptime = node(2), Uptime(10)
    uptime.begin(0)
    uptime.end(5)
    assert [limit.admit(uptime, now) for now in (5, 6, 7, 1000)] == [True, True, False, False]
    uptime.begin(1000)
    uptime.end(1010)  # it ran for the whole period since
    assert [limit.admit(uptime, now) for now in (1010, 1010, 1010)] == [True, True, False]
    limit.forget()
    assert limit.admit(uptime, 1010)


def test_a_restart_just_a_period_ago_does_not_count() -> None:
    """The window is open at its far end."""
    limit, uptime = node(1), Uptime(10)
    uptime.begin(0)
    uptime.end(20)
    assert limit.admit(uptime, 10) and limit.admit(uptime, 20)
    assert not limit.admit(uptime, 20)


def test_no_restart_at_all_and_no_limit_at_all() -> None:
    """Intensity 0 and ``unlimited``."""
    unlimited = Node("", Policy(intensity="unlimited"), None)
    uptime = Uptime(0)
    assert not node(0).admit(uptime, 0)
    assert all(unlimited.admit(uptime, 0) for _ in range(1000))
    assert not unlimited._restarts


def tree(strategy: Strategy) -> Tree:
    # a -> b -> c, a -> d; e alone. The group g has b, c and e; h, in it, has c.
    specs = [
        puppet("a", out="ab"),
        puppet("b", into="ab", out="bc"),
        puppet("c", into="bc"),
        puppet("d", out="cc"),
        puppet("e", into="cc"),
    ]
    policy = Policy(strategy, groups={"h": Group(strategy, group="g"), "g": Group(strategy)})
    planned = plan(specs, {"ab": 1, "bc": 1, "cc": 1})
    return Tree(planned, policy, {"b": Child(group="g"), "c": Child(group="h"), "e": Child(group="g")})


def test_members_of_a_group_are_those_of_the_groups_in_it() -> None:
    """In order."""
    groups = tree(Strategy.ONE_FOR_ALL)
    assert groups.nodes["h"].members == ["c"]
    assert groups.nodes["g"].members == ["b", "c", "e"]
    assert groups.root.members == ["a", "b", "c", "d", "e"]
    assert groups.group_of["a"] is groups.root and groups.group_of["c"].parent is groups.nodes["g"]


@pytest.mark.parametrize(
    ("strategy", "of_b", "of_h"),
    [
        (Strategy.ONE_FOR_ONE, "b", "c"),
        (Strategy.ONE_FOR_ALL, "bce", "bce"),
        (Strategy.REST_FOR_ONE, "bce", "ce"),
        (Strategy.DEPENDENTS, "bc", "c"),
    ],
)
def test_who_is_affected_stays_within_the_group(strategy: Strategy, of_b: str, of_h: str) -> None:
    """Whether a member fails, or a group in it."""
    groups = tree(strategy)
    node = groups.nodes["g"]
    assert "".join(groups.in_order(groups.affected(node, ["b"]))) == of_b
    assert "".join(groups.in_order(groups.affected(node, groups.nodes["h"].members))) == of_h


def test_dependents_are_found_through_others_and_once() -> None:
    """Also where two ways lead to one."""
    groups = tree(Strategy.DEPENDENTS)
    assert groups.affected(groups.root, ["a"]) == {"a", "b", "c"}
    assert groups.affected(groups.root, ["d", "e"]) == {"d", "e"}


def test_what_a_failure_was_is_found_in_what_the_call_came_to() -> None:
    """The cause of a hook's failure; a deadline is its own cause."""
    cause, failed = OSError(), HookFailed("a", "start", "")
    assert cause_of(failed) is failed
    failed.__cause__ = cause
    assert cause_of(failed) is cause
    assert cause_of(cause) is cause
    configured = ConfigError("wiring", [])
    configured.__cause__ = cause
    assert cause_of(configured) is cause
    outer = ConfigError("wiring", [])
    outer.__cause__ = configured
    assert cause_of(outer) is cause
    late = DeadlineExceeded("a", "start", 1.0)
    late.__cause__ = cause
    assert cause_of(late) is late


def test_groups_of_errors_are_permanent_if_one_is_and_not_ready_if_all_are() -> None:
    """As task groups raise them."""
    ready, permanent, other = NotReady(), PermanentError(), OSError()
    assert is_permanent(ExceptionGroup("", [other, ExceptionGroup("", [permanent])]))
    assert not is_permanent(ExceptionGroup("", [other, ready]))
    failed = HookFailed("a", "start", "")
    assert not is_permanent(failed)
    failed.__cause__ = permanent
    assert is_permanent(failed)
    assert is_not_ready(ExceptionGroup("", [ready, ExceptionGroup("", [ready])]))
    assert not is_not_ready(ExceptionGroup("", [ready, other]))


def test_the_error_of_the_plugin_is_found_behind_supervisors() -> None:
    """Through as many of them as there are; an error that is not handed on is itself."""
    disk = HookFailed("disk", "start", "OSError: full")
    disk.__cause__ = OSError("full")
    inner, outer = HookFailed("inner", "start", ""), HookFailed("outer", "start", "")
    inner.__cause__, outer.__cause__ = disk, inner
    assert of_the_plugin(outer) is disk
    assert of_the_plugin(disk) is disk
    stopped = StopFailed([disk])
    inner.__cause__ = stopped
    assert of_the_plugin(StopFailed([outer])) is stopped
    several = StopFailed([disk, HookFailed("x", "stop", "")])
    assert of_the_plugin(several) is several


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (SupervisionEvent("x", Action.FAILED, 0.0, 2, reason="OSError"), "x: failed after failure 2: OSError"),
        (SupervisionEvent("x", Action.RESTARTED, 0.0), "x: restarted"),
        (SupervisionEvent("s", Action.BLOCKED, 0.0, delay=1.5, reason="at x"), "s: blocked for 1.500 s: at x"),
    ],
)
def test_events_in_words(event: SupervisionEvent, text: str) -> None:
    """In one line."""
    assert str(event) == text


def test_definition_errors_are_plugin_errors() -> None:
    """So an embedder needs one ``except``."""
    with pytest.raises(PluginError):
        Policy(period=-1)
