"""The supervisor, by example: who comes back, when, how often, and what its embedder sees of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fsm_plugins import (
    ConfigError,
    HealthStatus,
    HookFailed,
    NotFound,
    NotReady,
    PermanentError,
    PluginError,
    PluginFailed,
    RestartsExhausted,
    StopFailed,
)
from fsm_plugins.lifecycle import LIFECYCLE, RESTARTABLE
from fsm_plugins.orchestrator import PluginSpec
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
    Supervisor,
)
from fsm_plugins.testing import run
from tests.unit.supervised import AT_ONCE, Act, Puppet, Stage, crash_after, fails, now, puppet, say, waits

FOREVER = waits(1e9)
FAILED, BACKOFF, RESTARTED = Action.FAILED, Action.BACKOFF, Action.RESTARTED


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def times(stage: Stage, action: Action) -> list[float]:
    return [at for at, _ in stage.of(action)]


def reasons(stage: Stage, action: Action) -> list[str]:
    return [event.reason for _, event in stage.of(action)]


# A failure, and what comes of it.


def test_a_crash_brings_a_fresh_instance() -> None:
    """The old one is stopped at once; the new one is built from the same spec when the delay is over."""
    stage = Stage(puppet("a", work=crash_after(5)), policy=Policy(backoff=Backoff(initial=3, jitter=0)))

    async def main() -> None:
        async with stage.running(20):
            assert [plugin.life for plugin in stage.lives] == [0, 1]
            assert stage["a"] is stage.lives[1]
            assert (stage.lives[0].state, stage["a"].state) == ("stopped", "running")

    run(main)
    assert stage.log[:5] == [(0, "init a"), (0, "start a"), (5, "stop a"), (8, "init a"), (8, "start a")]


def test_what_is_told_of_a_restart() -> None:
    """That it failed, of what, how long it waits, and that it runs again; with the number of the failure in a row."""
    stage = Stage(puppet("a", work=crash_after(1, 1)), policy=Policy(backoff=Backoff(initial=2, jitter=0)))
    run(lambda: stage.run(20))
    told = [(event.action, event.attempt, event.delay, event.reason) for _, event in stage.events]
    assert told == [
        (FAILED, 1, 0.0, "OSError: gone"),
        (BACKOFF, 1, 2.0, "OSError: gone"),
        (RESTARTED, 1, 0.0, ""),
        (FAILED, 2, 0.0, "OSError: gone"),
        (BACKOFF, 2, 4.0, "OSError: gone"),
        (RESTARTED, 2, 0.0, ""),
    ]


def test_a_stable_run_makes_the_delay_short_again() -> None:
    """After ``stable`` seconds of running the failures in a row are forgotten, and not before."""
    backoff = Backoff(initial=1, factor=10, cap=100, jitter=0, stable=60)
    stage = Stage(puppet("a", work=crash_after(59, 60, 1)), policy=Policy(backoff=backoff))
    run(lambda: stage.run(1000))
    assert [event.delay for _, event in stage.of(BACKOFF)] == [1, 1, 10]


def test_a_failed_attempt_counts_and_waits_longer() -> None:
    """``on_init`` and ``on_start`` that raise at a restart are failures like any other."""
    backoff = Backoff(initial=1, factor=2, jitter=0)
    stage = Stage(puppet("a", init=fails(1), start=fails(2), work=crash_after(1)), policy=Policy(backoff=backoff))

    async def main() -> None:
        async with stage.running(100):
            status = stage.supervisor.status_of("a")
            assert (status.crashes, status.failures, status.restarts, status.waiting) == (3, 3, 1, None)

    run(main)
    assert stage.actions("a") == [FAILED, BACKOFF] * 3 + [RESTARTED]
    assert times(stage, FAILED) == [1, 2, 4]


def test_a_factory_that_raises_at_a_restart_is_asked_again() -> None:
    """The cause that is told is what it raised."""
    made: list[Puppet] = []

    def factory(acts: dict[str, Act]) -> Puppet:
        if len(made) == 1:
            made.append(made[0])
            raise LookupError("no such device")
        made.append(Puppet(acts, lives=list(made)))
        return made[-1]

    stage = Stage(PluginSpec("a", factory, {"acts": {"work": crash_after(1)}}))
    run(lambda: stage.run(50))
    assert reasons(stage, FAILED) == ["OSError: gone", "LookupError: no such device"]
    assert stage.actions("a")[-1] == RESTARTED


def test_a_hook_that_cancels_itself_fails_the_attempt_only() -> None:
    """Nobody cancelled the supervisor, so it goes on."""
    stage = Stage(puppet("a", start=fails(1, error=asyncio.CancelledError), work=crash_after(1)))
    run(lambda: stage.run(50))
    assert stage.actions("a") == [FAILED, BACKOFF, FAILED, BACKOFF, RESTARTED]
    assert "CancelledError" in reasons(stage, FAILED)[1]


def test_a_stop_hook_that_raises_does_not_keep_it_from_coming_back() -> None:
    """The fresh instance is none of its business, and it is no failure of its own."""
    stage = Stage(puppet("a", work=crash_after(1), stop=fails(0)))
    run(lambda: stage.run(50))
    assert stage.actions("a") == [FAILED, BACKOFF, RESTARTED]


# Restart kinds, and errors that say what to do.


def test_a_temporary_plugin_is_given_up() -> None:
    """It is stopped, and not started again; the others go on."""
    stage = Stage(puppet("a", work=crash_after(1)), puppet("b"), children={"a": Child(Restart.TEMPORARY)})

    async def main() -> None:
        async with stage.running(50) as supervisor:
            status = supervisor.status_of("a")
            assert (status.wanted, status.given_up, stage["a"].state) == (False, "OSError: gone", "stopped")
            assert stage["b"].state == "running"

    run(main)
    assert stage.actions() == [FAILED, Action.GAVE_UP]


def test_a_temporary_plugin_goes_with_its_siblings() -> None:
    """Stopped with another one that failed, it is not started again."""
    stage = Stage(
        puppet("a", work=crash_after(1)),
        puppet("b"),
        policy=Policy(Strategy.ONE_FOR_ALL, backoff=AT_ONCE),
        children={"b": Child(Restart.TEMPORARY)},
    )

    async def main() -> None:
        async with stage.running(50):
            assert (stage["a"].state, stage["b"].state) == ("running", "stopped")

    run(main)
    assert stage.actions("b") == [Action.GAVE_UP]
    assert "stopped with another plugin" in reasons(stage, Action.GAVE_UP)[0]


def test_a_temporary_plugin_can_be_restarted_by_hand() -> None:
    """Whatever became of it before, and also while it runs."""
    stage = Stage(puppet("a", work=crash_after(1)), children={"a": Child(Restart.TEMPORARY)})

    async def main() -> None:
        async with stage.running(10) as supervisor:
            for life in (1, 2):
                await supervisor.restart("a")
                assert (stage["a"].state, stage["a"].life) == ("running", life)

    run(main)


def test_the_channels_of_a_temporary_plugin_end_with_it() -> None:
    """Who consumes what it produced reads to the end."""

    async def read(plugin: Puppet) -> None:
        async for _ in plugin.into:  # type: ignore[attr-defined]
            pass
        plugin.log.append((now(), "end b"))

    stage = Stage(
        puppet("a", out="ab", work=crash_after(1)),
        puppet("b", into="ab", work=read),
        children={"a": Child(Restart.TEMPORARY)},
    )
    run(lambda: stage.run(50))
    assert stage.hooks("end") == ["end b"]
    assert stage.log.index((1, "end b")) >= 0


def test_a_permanent_plugin_that_is_done_is_restarted() -> None:
    """When its last worker has returned, not the first; under the same limits and delays as a failure."""

    async def start(plugin: Puppet) -> None:
        plugin.spawn(asyncio.sleep(5))
        plugin.spawn(asyncio.sleep(2))

    stage = Stage(puppet("a", start=start), children={"a": Child(Restart.PERMANENT)}, policy=Policy(backoff=AT_ONCE))
    run(lambda: stage.run(11))
    assert times(stage, RESTARTED) == [5, 10]
    assert "is done" in reasons(stage, FAILED)[0]


def test_a_permanent_plugin_with_many_workers_is_watched_at_little_cost() -> None:
    """What is done for each worker that ends does not depend on how many ended before."""

    async def start(plugin: Puppet) -> None:
        for i in range(40):
            plugin.spawn(asyncio.sleep(i + 1))

    stage = Stage(puppet("a", start=start), children={"a": Child(Restart.PERMANENT)})

    async def main() -> None:
        async with stage.running(39.5):
            (worker,) = stage["a"].workers
            assert len(worker._callbacks) < 5
            await asyncio.sleep(1)
        assert stage.actions("a") == [FAILED, BACKOFF, RESTARTED]

    run(main)


def test_a_worker_that_ended_before_the_start_was_over_is_not_forgotten() -> None:
    """A permanent plugin is done then, too."""

    async def start(plugin: Puppet) -> None:
        plugin.spawn(asyncio.sleep(0))
        await asyncio.sleep(1)

    stage = Stage(puppet("a", start=start), children={"a": Child(Restart.PERMANENT)})
    run(lambda: stage.run(1.5))
    assert times(stage, FAILED) == [1, 2]


def test_a_permanent_plugin_without_workers_is_never_done() -> None:
    """It has nothing that could return."""
    stage = Stage(puppet("a"), policy=Policy(restart=Restart.PERMANENT))
    run(lambda: stage.run(100))
    assert stage.events == []


def test_a_permanent_plugin_that_is_done_during_a_call_is_noticed_after_it() -> None:
    """A trigger of its own was under way as the last worker returned."""

    async def start(plugin: Puppet) -> None:
        plugin.spawn(asyncio.sleep(5))

    spec = puppet("a", start=start, lifecycle=LIFECYCLE.extend([("reload", "running", "running")]))
    spec.factory.on_reload = lambda self: asyncio.sleep(3)  # type: ignore[attr-defined]
    stage = Stage(spec, children={"a": Child(Restart.PERMANENT)})

    async def main() -> None:
        async with stage.running(4):
            await stage["a"].fire("reload")
            await asyncio.sleep(1)

    run(main)
    assert times(stage, RESTARTED) == [7]


def test_a_transient_plugin_that_is_done_is_left_alone() -> None:
    """It has done what it had to do."""
    stage = Stage(puppet("a", work=waits(1)))
    run(lambda: stage.run(100))
    assert stage.events == []


@pytest.mark.parametrize("error", [PermanentError("no licence"), ExceptionGroup("", [OSError(), PermanentError("x")])])
def test_a_permanent_error_is_not_tried_again(error: Exception) -> None:
    """Given up at once, without a delay, though it is transient; it can be started by hand."""
    stage = Stage(puppet("a", work=crash_after(1, error=lambda: error)), puppet("b"))

    async def main() -> None:
        async with stage.running(100) as supervisor:
            assert stage.actions() == [FAILED, Action.GAVE_UP]
            assert (stage["a"].state, stage["b"].state) == ("stopped", "running")
            status = await supervisor.health_check()
            assert status == HealthStatus.degraded("given up: a")
            await supervisor.start_plugin("a")
            assert (await supervisor.health_check()).is_healthy

    run(main)


def test_not_ready_is_tried_for_as_long_as_it_takes() -> None:
    """With growing delays, and without counting towards the limit of restarts; nobody else is held up."""
    stage = Stage(
        puppet("a", start=fails(*range(20), error=lambda: NotReady("no database"))),
        puppet("b"),
        policy=Policy(Strategy.ONE_FOR_ALL, 0, backoff=Backoff(initial=1, cap=8, jitter=0)),
    )

    async def main() -> None:
        async with stage.running() as supervisor:
            assert (stage["a"].state, stage["b"].state) == ("failed", "running")
            assert (await supervisor.health_check()).reason == "being restarted: a"
            await asyncio.sleep(1000)
            assert stage["a"].state == "running"

    run(main)
    delays = [event.delay for _, event in stage.of(BACKOFF)]
    assert delays[:5] == [1, 2, 4, 8, 8] and len(delays) == 20
    assert stage.hooks("start").count("start b") == 1


def test_not_ready_in_init_does_not_end_the_start_either() -> None:
    """It is initialised anew when it is ready, in a fresh instance."""
    stage = Stage(puppet("a", init=fails(0, error=lambda: NotReady("not yet"))))

    async def main() -> None:
        async with stage.running(1):
            assert (stage["a"].state, stage["a"].life) == ("running", 1)

    run(main)


# Who else is restarted.


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [
        (Strategy.ONE_FOR_ONE, "b"),
        (Strategy.ONE_FOR_ALL, "abcd"),
        (Strategy.REST_FOR_ONE, "bcd"),
        (Strategy.DEPENDENTS, "bd"),
    ],
)
def test_strategies(strategy: Strategy, restarted: str) -> None:
    """Exactly the defined set, stopped in order and started in order."""
    stage = Stage(
        puppet("a"),
        puppet("b", out="bd", work=crash_after(1)),
        puppet("c"),
        puppet("d", into="bd"),
        policy=Policy(strategy, backoff=Backoff(initial=1, jitter=0)),
    )
    run(lambda: stage.run(5))
    assert [what for at, what in stage.log if 1 <= at < 5 and not what.startswith("init")] == [
        *(f"stop {name}" for name in restarted),
        *(f"start {name}" for name in restarted),
    ]


def test_recoveries_that_have_nothing_in_common_go_on_side_by_side() -> None:
    """A start that takes long holds nobody else up."""
    stage = Stage(puppet("a", init=waits(100), work=crash_after(1)), puppet("b", work=crash_after(2)))
    run(lambda: stage.run(50))
    assert [(at, event.plugin) for at, event in stage.of(RESTARTED)] == [(102, "b")]


def test_groups_that_meet_become_one_recovery() -> None:
    """The one that is reached last decides when: nobody is started twice."""
    stage = Stage(
        *(puppet(name, work=crash_after(at)) for name, at in (("a", 1), ("b", 2), ("c", 3))),
        policy=Policy(
            Strategy.ONE_FOR_ALL,
            backoff=Backoff(initial=10, jitter=0),
            groups={"g": Group(Strategy.ONE_FOR_ONE, 9), "h": Group(Strategy.ONE_FOR_ONE, 9)},
        ),
        children={"a": Child(group="g"), "b": Child(group="h")},
    )
    run(lambda: stage.run(100))
    assert [(at, event.plugin) for at, event in stage.of(RESTARTED)] == [(13, "a"), (13, "b"), (13, "c")]


def three_groups(init: Act | None = None) -> Stage:
    """``a``, ``b`` and ``c`` on their own, until ``c`` fails, which takes all of them along; they wait 10, 100, 1 s."""
    delays = {"a": 10, "b": 100, "c": 1}
    groups = {"g": Group(Strategy.ONE_FOR_ONE, 9), "h": Group(Strategy.ONE_FOR_ONE, 9)}
    members = {"a": "g", "b": "h", "c": None}
    return Stage(
        puppet("a", work=crash_after(1)),
        puppet("b", work=crash_after(2), init=init) if init else puppet("b", work=crash_after(2)),
        puppet("c", work=crash_after(150)),
        policy=Policy(Strategy.ONE_FOR_ALL, groups=groups),
        children={
            name: Child(None, Backoff(initial=delay, cap=delay, jitter=0), members[name])
            for name, delay in delays.items()
        },
    )


def test_the_later_of_two_delays_counts() -> None:
    """Also where the one that is met first would have been earlier."""
    stage = three_groups()
    stage.supervisor._children["a"].backoff = Backoff(initial=200, cap=200, jitter=0)
    stage.supervisor._children["b"].backoff = Backoff(initial=300, cap=300, jitter=0)
    run(lambda: stage.run(400))
    assert [(at, event.plugin) for at, event in stage.of(RESTARTED)] == [(302, "a"), (302, "b"), (302, "c")]


def test_an_attempt_that_is_taken_over_comes_to_its_end() -> None:
    """It is not interrupted by the one that takes it over, nor counted as a failure."""
    stage = three_groups(init=lambda plugin: asyncio.sleep(100 * plugin.life))
    stage.supervisor._children["a"].backoff = Backoff(initial=200, cap=200, jitter=0)
    run(lambda: stage.run(400))
    assert [(at, event.plugin) for at, event in stage.of(RESTARTED)] == [(202, "b"), (202, "a"), (202, "c")]
    assert stage["b"].life == 1
    assert Action.REQUESTED not in stage.actions()
    assert len(stage.of(FAILED)) == 3


def test_a_failed_attempt_does_not_hold_the_others_up() -> None:
    """Those that come after it in a recovery are started, though it waits for another try."""
    stage = Stage(
        puppet("a", work=crash_after(1)),
        puppet("b", start=fails(1)),
        puppet("c"),
        policy=Policy(Strategy.ONE_FOR_ALL, groups={"g": Group()}, backoff=Backoff(initial=1, jitter=0)),
        children={"b": Child(None, Backoff(initial=100, cap=100, jitter=0), "g")},
    )
    run(lambda: stage.run(300))
    assert [(at, event.plugin) for at, event in stage.of(RESTARTED)] == [(2, "a"), (2, "c"), (102, "b")]


def test_a_group_at_its_limit_fails_as_a_whole() -> None:
    """In the group around it, whose strategy and limit apply; its own count begins anew."""
    stage = Stage(
        puppet("a", work=crash_after(1, 1, 1, 1)),
        puppet("b"),
        puppet("c"),
        policy=Policy(intensity=1, groups={"g": Group(intensity=1)}, backoff=AT_ONCE),
        children={name: Child(group="g") for name in "ab"},
    )
    with pytest.raises(RestartsExhausted):
        run(lambda: stage.run(100))
    # One for one within the group, the whole group, one for one again, and that was the last of all.
    assert [(at, event.plugin) for at, event in stage.of(RESTARTED)] == [(1, "a"), (2, "a"), (2, "b"), (3, "a")]
    assert times(stage, Action.EXHAUSTED) == [4]


# The limit.


def test_slow_siblings_do_not_lift_the_limit() -> None:
    """With intensity 1 per 1 s and siblings that take 2.6 s to stop, OTP restarts for ever; here it ends after one."""
    stage = Stage(
        puppet("a", work=crash_after(*[0.1] * 50)),
        puppet("b", stop=waits(2.6)),
        policy=Policy(Strategy.ONE_FOR_ALL, 1, 1.0, backoff=AT_ONCE),
    )
    with pytest.raises(RestartsExhausted, match="after 1 restart within 1 s"):
        run(lambda: stage.run(30))
    assert stage.actions("a") == [FAILED, BACKOFF, RESTARTED, FAILED, Action.EXHAUSTED]


def test_failed_attempts_count_towards_the_limit() -> None:
    """A plugin that cannot be started any more does not keep the supervisor busy for ever."""
    stage = Stage(puppet("a", init=fails(*range(1, 99)), work=crash_after(1)), policy=Policy(intensity=3))
    with pytest.raises(RestartsExhausted):
        run(lambda: stage.run(1e6))
    assert len(stage.of(FAILED)) == 4


def test_what_is_long_ago_does_not_count() -> None:
    """A plugin that ran for the whole period since may be restarted again."""
    stage = Stage(puppet("a", work=crash_after(*[10] * 20)), policy=Policy(intensity=1, period=10, backoff=AT_ONCE))
    run(lambda: stage.run(300))
    assert len(stage.of(RESTARTED)) == 20


def test_exhaustion_stops_everything_in_order_and_reaches_the_embedder() -> None:
    """The block is cancelled when all is stopped, and the error has the cause, and what did not stop cleanly."""
    stage = Stage(
        puppet("a", stop=waits(1)),
        puppet("b", work=crash_after(5), stop=fails(0, error=lambda: LookupError("what?"))),
        puppet("c"),
        policy=Policy(intensity=0),
    )

    async def main() -> None:
        try:
            async with stage.supervisor.running():
                try:
                    await asyncio.sleep(1000)
                finally:
                    stage.log.append((now(), "end block"))
        finally:
            stage.log.append((now(), "end all"))
            assert len(asyncio.all_tasks()) == 1

    with pytest.raises(RestartsExhausted) as caught:
        run(main)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__notes__ == ["and while stopping: plugin 'b' failed in stop: LookupError: what?"]
    assert [entry for entry in stage.log if entry[0] >= 5] == [
        (5, "stop a"),
        (6, "stop b"),
        (6, "stop c"),
        (6, "end block"),
        (6, "end all"),
    ]


def test_a_block_that_takes_no_notice_of_the_end_gets_the_error_all_the_same() -> None:
    """And its task is as it was: no cancellation is left over."""
    stage = Stage(puppet("a", work=crash_after(1)), policy=Policy(intensity=0))

    async def main() -> int:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(RestartsExhausted):
            async with stage.supervisor.running():
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(1000)
        return task.cancelling()

    assert run(main) == 0


def test_a_block_that_raises_because_of_the_end_keeps_its_error() -> None:
    """With a note of what came before it."""
    stage = Stage(puppet("a", work=crash_after(1)), policy=Policy(intensity=0))

    async def main() -> int:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(KeyError) as caught:
            async with stage.supervisor.running():
                try:
                    await asyncio.sleep(1000)
                finally:
                    raise KeyError
        assert "gave up: plugin 'a'" in "".join(caught.value.__notes__)
        return task.cancelling()

    assert run(main) == 0


def test_a_cancellation_from_outside_is_not_taken_for_the_end() -> None:
    """It goes on, though the supervisor gives up at the same moment."""
    stage = Stage(puppet("a", work=crash_after(1)), policy=Policy(intensity=0))

    async def main() -> None:
        task = asyncio.create_task(stage.run(1000))
        await asyncio.sleep(1)
        with suppress(RestartsExhausted):
            await stage.supervisor.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_wait_raises_what_it_ended_of() -> None:
    """For an embedder who has nothing else to do."""
    stage = Stage(puppet("a", work=crash_after(1)), policy=Policy(intensity=0))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            others = group.create_task(asyncio.sleep(0))
            with pytest.raises(RestartsExhausted):
                async with stage.supervisor.running() as supervisor:
                    await others
                    await supervisor.wait()

    run(main)


def test_wait_raises_to_whoever_else_waits() -> None:
    """Not only in the block, which is cancelled."""
    stage = Stage(puppet("a", work=crash_after(1)), policy=Policy(intensity=0))

    async def main() -> None:
        runs = asyncio.create_task(stage.run(1000))
        with pytest.raises(RestartsExhausted):
            await stage.supervisor.wait()
        with pytest.raises(RestartsExhausted):
            await runs

    run(main)


def test_wait_returns_when_it_was_stopped() -> None:
    """On request is not an error."""
    stage = Stage(puppet("a"))

    async def main() -> None:
        async with stage.supervisor.running() as supervisor:
            waiting = asyncio.create_task(supervisor.wait())
        await waiting

    run(main)


def test_a_supervisor_that_is_failed_ends_its_block() -> None:
    """Nobody would restart anything any more, so the embedder has to know; a crash until then changes nothing."""
    stage = Stage(puppet("a", work=crash_after(1), stop=waits(1)))

    async def main() -> None:
        async with stage.running() as supervisor:
            await supervisor.fail(MemoryError("no more"))
            await asyncio.sleep(1000)

    with pytest.raises(PluginFailed, match="'supervisor' failed while it was running: MemoryError: no more") as caught:
        run(main)
    assert isinstance(caught.value.__cause__, MemoryError)
    assert stage.hooks("stop") == ["stop a"]


# From beginning to end.


def test_a_start_that_fails_is_told_as_it_is() -> None:
    """The error of the plugin, not of the supervisor; the others are stopped, and none of that is a crash."""
    stage = Stage(puppet("a"), puppet("b", start=fails(0)), puppet("c"))
    with pytest.raises(HookFailed, match="plugin 'b' failed in start: OSError: gone"):
        run(lambda: stage.run(1))
    assert stage.hooks() == ["start a", "start b", "stop a", "stop b", "stop c"]
    assert stage.events == []
    assert [child.crashes for child in stage.supervisor._children.values()] == [0, 0, 0]


def test_stops_that_fail_are_told_as_they_are() -> None:
    """Once, of the plugins."""
    stage = Stage(puppet("a", stop=fails(0)), puppet("b"), puppet("c", stop=fails(0)))
    with pytest.raises(StopFailed) as caught:
        run(lambda: stage.run(1))
    assert [getattr(error, "name", "") for error in caught.value.exceptions] == ["a", "c"]


def test_to_stop_interrupts_a_back_off_and_an_attempt_at_once() -> None:
    """No time passes, and nobody is started any more."""
    stage = Stage(
        puppet("a", work=crash_after(1)),
        puppet("b", work=crash_after(1), init=lambda plugin: asyncio.sleep(1000 * plugin.life)),
        policy=Policy(backoff=Backoff(initial=1, jitter=0)),
        children={"a": Child(backoff=Backoff(initial=1000, cap=1000, jitter=0))},
    )

    async def main() -> None:
        async with stage.running(10) as supervisor:
            assert supervisor.status_of("a").waiting == pytest.approx(991)
            assert stage["b"].state == "created"
            assert len(supervisor.recoveries) == 2
        assert now() == 10
        assert len(asyncio.all_tasks()) == 1

    run(main)
    assert stage.lives[-1].life == 1 and len(stage.lives) == 3


def test_an_attempt_that_ignores_its_cancellation_does_not_outlive_the_supervisor() -> None:
    """It has its grace period, and the plugins are stopped after it."""

    async def init(plugin: Puppet) -> None:
        while plugin.life:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    stage = Stage(
        puppet("a", work=crash_after(1), init=init),
        puppet("b"),
        policy=Policy(Strategy.ONE_FOR_ALL, backoff=AT_ONCE),
    )

    async def main() -> None:
        async with stage.running(10):
            assert (stage["a"].state, stage["b"].state) == ("created", "stopped")
        assert now() == 11
        assert len(asyncio.all_tasks()) == 1

    run(main)
    assert [entry for entry in stage.log if entry[0] >= 10] == [(11, "stop a")]
    assert stage.actions() == [FAILED, BACKOFF]


def test_a_plugin_that_crashes_while_the_others_start_waits_for_them() -> None:
    """Only when all have been started is it restarted."""
    stage = Stage(puppet("a", work=crash_after(1)), puppet("b", start=waits(10)))
    run(lambda: stage.run(1))
    assert (times(stage, FAILED), times(stage, RESTARTED)) == ([1], [10])


def test_health_during_the_stop_is_no_news() -> None:
    """A plugin that waits for its turn to be stopped is not failed any more: it could not drain then."""
    unwell = say(HealthStatus.unhealthy("x"))
    stage = Stage(
        puppet("a", stop=waits(30)), puppet("b", health=unwell), policy=Policy(health=Health(interval=1, failures=20))
    )
    run(lambda: stage.run(10))
    assert stage.actions() == [Action.UNHEALTHY]


# Requests.


def test_what_was_stopped_on_request_is_left_alone() -> None:
    """By the supervisor or by itself; also if a sibling fails, or it was about to be restarted."""
    stage = Stage(
        puppet("a", work=crash_after(20)),
        puppet("b"),
        puppet("c"),
        puppet("d", work=crash_after(15)),
        policy=Policy(Strategy.ONE_FOR_ALL, backoff=Backoff(initial=100, cap=100, jitter=0)),
    )

    async def main() -> None:
        async with stage.running(10) as supervisor:
            await supervisor.stop_plugin("b")
            await stage["c"].stop()
            await asyncio.sleep(10)
            await supervisor.stop_plugin("d")
            await asyncio.sleep(1000)
            assert [str(stage[name].state) for name in "abcd"] == ["running", "stopped", "stopped", "stopped"]
            assert [status.wanted for status in supervisor.status()] == [True, False, False, False]

    run(main)
    assert [event.plugin for _, event in stage.of(Action.REQUESTED)] == ["b", "c", "d"]


def test_a_stop_under_way_counts_as_a_request() -> None:
    """Though a sibling fails meanwhile, with which it would be restarted."""
    stage = Stage(puppet("a", stop=waits(10)), puppet("b", work=crash_after(5)), policy=Policy(Strategy.ONE_FOR_ALL))

    async def main() -> None:
        async with stage.running(1):
            await stage["a"].stop()
            await asyncio.sleep(50)
            assert (stage["a"].state, stage["b"].state) == ("stopped", "running")

    run(main)
    assert stage.actions("a") == [Action.REQUESTED]


def test_a_stop_that_begins_before_its_turn_in_a_recovery_counts_as_a_request() -> None:
    """It is not started again with the others."""
    stage = Stage(
        puppet("a", work=crash_after(1), stop=waits(10)),
        puppet("b", stop=waits(20)),
        policy=Policy(Strategy.ONE_FOR_ALL, backoff=AT_ONCE),
    )

    async def main() -> None:
        async with stage.running(5):
            await stage["b"].stop()
            await asyncio.sleep(50)
            assert (stage["a"].state, stage["b"].state) == ("running", "stopped")

    run(main)


def test_a_stop_of_its_own_that_goes_wrong_is_a_request_all_the_same() -> None:
    """The one who stopped it is told, and it is not restarted."""
    stage = Stage(puppet("a", stop=fails(0)))

    async def main() -> None:
        async with stage.running(1):
            with pytest.raises(HookFailed):
                await stage["a"].stop()
            await asyncio.sleep(100)
            assert stage["a"].life == 0

    with pytest.raises(StopFailed):
        run(main)
    assert stage.actions() == [Action.REQUESTED]


def test_restart_replaces_a_running_plugin_and_resets_the_counts() -> None:
    """Its failures in a row, and the restarts of its group."""
    stage = Stage(
        puppet("a", work=crash_after(1, 1, 50, 1)), policy=Policy(intensity=2, backoff=Backoff(initial=1, jitter=0))
    )

    async def main() -> None:
        async with stage.running(10) as supervisor:
            assert supervisor.status_of("a").failures == 2
            await supervisor.restart("a")
            assert supervisor.status_of("a").failures == 0
            assert stage["a"].life == 3
            await asyncio.sleep(100)
            assert stage["a"].state == "running"

    run(main)
    assert [event.delay for _, event in stage.of(BACKOFF)] == [1, 2, 1]


def test_restart_ends_a_back_off() -> None:
    """And returns when the plugin runs."""
    stage = Stage(puppet("a", work=crash_after(1)), policy=Policy(backoff=Backoff(initial=1000, cap=1000)))

    async def main() -> None:
        async with stage.running(5) as supervisor:
            await supervisor.restart("a")
            assert (now(), stage["a"].state) == (5, "running")

    run(main)


def test_restart_tells_why_it_did_not_work_and_tries_again() -> None:
    """To the caller what the attempt came to; the policy does the rest."""
    stage = Stage(puppet("a", start=fails(1)))

    async def main() -> None:
        async with stage.running(5) as supervisor:
            with pytest.raises(HookFailed, match="OSError: gone"):
                await supervisor.restart("a")
            await asyncio.sleep(5)
            assert stage["a"].state == "running"

    run(main)


def test_restart_of_a_plugin_that_is_being_stopped_comes_after_that() -> None:
    """Whoever stops it: it does not hang, and the later request counts."""
    for by_itself in (False, True):
        stage = Stage(puppet("a", stop=waits(10)))

        async def main(stage: Stage = stage, by_itself: bool = by_itself) -> None:
            async with stage.running(1) as supervisor:
                stop = asyncio.create_task(stage["a"].stop() if by_itself else supervisor.stop_plugin("a"))
                await asyncio.sleep(1)
                await supervisor.start_plugin("a")
                assert (now(), stage["a"].state, supervisor.status_of("a").wanted) == (11, "running", True)
                await stop

        run(main)


def test_a_stop_after_a_restart_that_waits_for_a_stop_counts() -> None:
    """The latest request wins, and the one who is not served is told."""
    stage = Stage(puppet("a", stop=waits(10)))

    async def main() -> None:
        async with stage.running(1) as supervisor:
            stop = asyncio.create_task(stage["a"].stop())
            await asyncio.sleep(1)
            restart = asyncio.create_task(supervisor.restart("a"))
            await asyncio.sleep(1)
            await supervisor.stop_plugin("a")
            await stop
            with pytest.raises(PluginError, match="plugin 'a' was stopped on request"):
                await restart
            assert stage["a"].state == "stopped"

    run(main)


def test_a_stop_during_an_attempt_interrupts_it() -> None:
    """That is no crash, and whoever waits for the attempt is told."""
    stage = Stage(puppet("a", init=lambda plugin: asyncio.sleep(100 * plugin.life)))

    async def main() -> None:
        async with stage.running(1) as supervisor:
            restart = asyncio.create_task(supervisor.restart("a"))
            await asyncio.sleep(1)
            await supervisor.stop_plugin("a")
            with pytest.raises(PluginError, match="was stopped on request"):
                await restart
            assert (now(), stage["a"].state, supervisor.status_of("a").crashes) == (2, "stopped", 0)
            stop = asyncio.create_task(supervisor.restart("a"))
            await asyncio.sleep(1)
            # Stopped and wanted back in one go: the attempt that was interrupted is not what the second one waits for.
            first = asyncio.create_task(supervisor.stop_plugin("a"))
            await asyncio.sleep(0)
            await supervisor.restart("a")
            await asyncio.gather(first, stop, return_exceptions=True)
            assert (stage["a"].state, supervisor.status_of("a").crashes) == ("running", 0)

    run(main)


def test_start_plugin_leaves_one_that_runs_alone() -> None:
    """And says so."""
    stage = Stage(puppet("a"))

    async def main() -> None:
        async with stage.running(1) as supervisor:
            with pytest.raises(PluginError, match="'a' runs already"):
                await supervisor.start_plugin("a")

    run(main)
    assert len(stage.lives) == 1


def test_requests_that_cannot_be_served() -> None:
    """Names that do not exist, a supervisor that does not run, a stop that fails."""
    broken = [OSError("gone")]

    async def stop(_: Puppet) -> None:
        if broken:
            raise broken.pop()

    stage = Stage(puppet("alpha", stop=stop))

    async def main() -> None:
        with pytest.raises(PluginError, match="supervisor 'supervisor' is created"):
            await stage.supervisor.restart("alpha")
        async with stage.running() as supervisor:
            with pytest.raises(NotFound, match="did you mean 'alpha'"):
                await supervisor.restart("alpa")
            with pytest.raises(NotFound):
                supervisor.status_of("alpa")
            with pytest.raises(HookFailed, match="failed in stop"):
                await supervisor.stop_plugin("alpha")
            assert stage["alpha"].state == "failed"
        with pytest.raises(PluginError, match="is stopped"):
            await stage.supervisor.stop_plugin("alpha")

    run(main)


def test_a_restart_that_the_end_comes_before_is_told() -> None:
    """Nobody waits for ever."""
    stage = Stage(puppet("a", init=lambda plugin: asyncio.sleep(100 * plugin.life)))

    async def main() -> None:
        async with stage.running() as supervisor:
            restart = asyncio.create_task(supervisor.restart("a"))
            await asyncio.sleep(1)
        with pytest.raises(PluginError, match="its supervisor stops"):
            await restart

    run(main)


def test_a_restartable_plugin_that_somebody_starts_again_is_wanted_again() -> None:
    """Its next crash is told, and it is restarted."""
    stage = Stage(puppet("a", work=crash_after(5, 5), lifecycle=RESTARTABLE))

    async def main() -> None:
        async with stage.running(1):
            await stage["a"].stop()
            await stage["a"].start()
            await asyncio.sleep(10)
            assert (stage["a"].state, stage["a"].life) == ("running", 1)

    run(main)
    assert stage.actions() == [Action.REQUESTED, FAILED, BACKOFF, RESTARTED]


def test_a_custom_state_is_running_all_the_same() -> None:
    """A failure while it is paused is one like any other."""
    more = [("pause", "running", "paused"), ("stop", "paused", "stopped"), ("fail", "paused", "failed")]
    stage = Stage(puppet("a", work=crash_after(5), lifecycle=LIFECYCLE.extend(more)))

    async def main() -> None:
        async with stage.running(1):
            await stage["a"].fire("pause")
            await asyncio.sleep(5)
            assert stage["a"].state == "running"

    run(main)
    assert stage.actions() == [FAILED, BACKOFF, RESTARTED]


# Channels.


def test_what_is_queued_survives_a_restart() -> None:
    """At either end: nothing that was accepted is lost, and nothing comes twice."""
    got: list[int] = []
    sent: list[int] = []

    async def send(plugin: Puppet) -> None:
        for _ in range(3):
            await plugin.out.send(len(sent))  # type: ignore[attr-defined]
            sent.append(len(sent))
            await asyncio.sleep(1)
        raise OSError

    async def take(plugin: Puppet) -> None:
        await asyncio.sleep(2.5)
        async for number in plugin.into:  # type: ignore[attr-defined]
            got.append(number)
            if number % 4 == 3:
                raise OSError

    stage = Stage(
        puppet("a", out="ab", work=send), puppet("b", into="ab", work=take), policy=Policy(intensity="unlimited")
    )
    run(lambda: stage.run(100))
    assert len(got) > 30 and got == list(range(len(got)))
    (left,) = [dict(receipt.undelivered).get("ab", 0) for receipt in stage.supervisor.orchestrator.receipt()][1:]
    assert len(sent) == len(got) + left


def test_a_producer_that_ended_its_channel_itself_cannot_come_back() -> None:
    """It is given up with the reason, and its other channels are not kept open by the attempt."""

    async def work(plugin: Puppet) -> None:
        plugin.out.close()  # type: ignore[attr-defined]
        raise OSError

    stage = Stage(puppet("a", out="ab", work=work), puppet("b", into="ab"))
    run(lambda: stage.run(10))
    assert stage.actions("a") == [FAILED, BACKOFF, FAILED, Action.GAVE_UP]
    assert "plugin 'a' cannot be built again: plugin 'a' cannot be rebuilt" in reasons(stage, Action.GAVE_UP)[0]


# Health.


def test_unhealthy_often_enough_in_a_row_is_a_failure() -> None:
    """Neither healthy nor degraded answers in between are forgotten; the count begins anew with the fresh instance."""
    unwell, fine, so_so = HealthStatus.unhealthy("dry"), HealthStatus.healthy(), HealthStatus.degraded("slow")
    answers = say(unwell, unwell, fine, unwell, unwell, so_so, unwell, unwell, unwell, unwell, unwell, fine)
    stage = Stage(puppet("a", health=answers), policy=Policy(health=Health(1, 3), backoff=AT_ONCE))
    run(lambda: stage.run(100))
    assert times(stage, FAILED) == [9]
    assert reasons(stage, FAILED) == ["Unhealthy: plugin 'a' was unhealthy 3 times in a row: dry"]
    told = [action for action in stage.actions() if action in ("healthy", "degraded", "unhealthy")]
    assert told == ["unhealthy", "healthy", "unhealthy", "degraded", "unhealthy", "healthy"]


def test_the_bad_answers_of_one_instance_do_not_count_against_the_next() -> None:
    """Whoever restarted it."""
    unwell, fine = HealthStatus.unhealthy("dry"), HealthStatus.healthy()
    stage = Stage(puppet("a", health=say(unwell, unwell, fine)), policy=Policy(health=Health(1, 2)))

    async def main() -> None:
        async with stage.running(1.5) as supervisor:
            await supervisor.restart("a")
            await asyncio.sleep(10)

    run(main)
    assert FAILED not in stage.actions()


def test_degraded_is_reported_and_not_restarted() -> None:
    """For however long."""
    stage = Stage(puppet("a", health=say(HealthStatus.degraded("slow"))), policy=Policy(health=Health(1, 1)))

    async def main() -> None:
        async with stage.running(100) as supervisor:
            assert supervisor.status_of("a").health == HealthStatus.degraded("slow")
            assert "a is degraded: slow" in (await supervisor.health_check()).reason
            await supervisor.stop_plugin("a")
            assert (await supervisor.health_check()).is_healthy

    run(main)
    assert stage.actions() == [Action.DEGRADED, Action.REQUESTED]


def test_a_health_hook_that_hangs_is_unhealthy() -> None:
    """At its deadline of 5 s; one that does not answer twice is restarted."""
    stage = Stage(puppet("a", health=FOREVER), puppet("b"), policy=Policy(health=Health(1, 2), backoff=AT_ONCE))
    run(lambda: stage.run(13))
    assert times(stage, FAILED) == [11]
    assert {event.plugin for _, event in stage.events} == {"a"}


# Trees of supervisors, and mistakes.


def tree(inner: Policy, outer: Policy) -> tuple[Stage, list[tuple[float, SupervisionEvent]]]:
    told: list[tuple[float, SupervisionEvent]] = []
    lives: list[Puppet] = []

    def make(name: str) -> Supervisor:
        acts: dict[str, Act] = {"work": crash_after(*[1] * 5)}
        made = Supervisor([PluginSpec("a", Puppet, {"acts": acts, "lives": lives})], policy=inner, name=name)
        made.subscribe(lambda event: told.append((now(), event)))
        return made

    return Stage(PluginSpec("inner", make), policy=outer), told


def test_a_supervisor_is_restarted_by_another_one() -> None:
    """As a whole, when it gives up."""
    stage, told = tree(Policy(intensity=1, backoff=AT_ONCE), Policy(backoff=Backoff(initial=10, jitter=0)))
    run(lambda: stage.run(100))
    assert [at for at, event in told if event.action is Action.EXHAUSTED] == [2, 14]
    assert [(at, event.action) for at, event in stage.events if event.action is not BACKOFF] == [
        (2, FAILED),
        (12, RESTARTED),
        (14, FAILED),
        (34, RESTARTED),
    ]
    assert "supervisor 'inner' gave up" in reasons(stage, FAILED)[0]


def test_the_outer_one_gives_up_in_the_end() -> None:
    """And its embedder hears of the inner one."""
    stage, _ = tree(Policy(intensity=0), Policy(intensity=0))
    with pytest.raises(RestartsExhausted, match="supervisor 'supervisor' gave up: plugin 'inner'") as caught:
        run(lambda: stage.run(100))
    assert isinstance(caught.value.__cause__, RestartsExhausted)


def test_mistakes_are_told_together() -> None:
    """Groups and plugins that do not exist, with their key paths."""
    with pytest.raises(ConfigError) as caught:
        Supervisor(
            [PluginSpec("a", Puppet)],
            policy=Policy(groups={"g": Group(group="x")}),
            children={"b": Child(), "a": Child(group="gg")},
        )
    assert [str(problem) for problem in caught.value.problems] == [
        "supervisor.groups.g.group: there is no group 'x'",
        "plugins.b: there is no such plugin",
        "plugins.a.group: there is no group 'gg' (did you mean 'g'?)",
    ]
    with pytest.raises(ConfigError, match="numbers"):
        Supervisor([puppet("a", out="numbers")])
