"""The invariants of supervision, S1 to S6, under random lives of plugins, policies and operators, in virtual time.

Each plugin follows a script: how long each of its lives takes to start, to run and to stop, and how it ends. What the
supervisor did is then judged by rules that are written anew in `supervision`, from the log of what happened.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import suppress

import hypothesis
import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsm_plugins import ConfigError, RestartsExhausted, StopFailed
from fsm_plugins.orchestrator import PluginSpec
from fsm_plugins.supervision import Action, SupervisionEvent, Supervisor
from fsm_plugins.testing import run
from tests.property.supervision import Birth, Case, Judge, Traffic, World, build, cases, play, specs_of, watch


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@given(cases() | cases(health=True))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_s1_to_s6(case: Case) -> None:
    """Whatever plugins and operators do, the supervisor does what the rules say, no more and no less."""
    world, exhausted, supervisor = play(case, hours=100 if case.policy.health is None else 0.5)
    judge = Judge(case)
    judge.judge(world.log)
    # S6: that it gave up is raised, with what it gave up of.
    assert (exhausted.plugin if exhausted else None) == judge.exhausted
    # S5: each crash is told once, unless it came while its plugin was being stopped anyway.
    for text in world.crashes:
        told = [count for reason, count in judge.told.items() if reason.endswith(f": {text}")]
        assert len(told) <= 1 and told in ([], [1])
        assert told or text in world.hushed, text
    # Given the time, all that should run did so at the end; and all is at rest now.
    if exhausted is None and case.policy.health is None:
        idle = {name for name in case.names if name not in world.up_at_the_end}
        assert idle == {name for name in case.names if not judge.wanted[name] or name in judge.given_up}
    assert all(plugin.state in ("stopped", "failed", "created") for plugin in supervisor.registry)
    hypothesis.event(f"exhausted: {exhausted is not None}")
    hypothesis.event(f"restarts: {min(5, len([1 for _, told in world.log if is_restart(told)]))}")


def is_restart(entry: object) -> bool:
    return isinstance(entry, SupervisionEvent) and entry.action is Action.RESTARTED


@given(cases(operators=False), st.sampled_from([0.0, 0.05, 0.5, 1.0, 3.0, 40.0]) | st.floats(0, 700), st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_s3_shutdown_interrupts_whatever_is_under_way(case: Case, after: float, cancelled: bool) -> None:
    """A back-off, an attempt, a worker: plugins that stop at once are all at rest at once, and none comes back."""
    for script in case.scripts.values():
        script[:] = [evolve(life, closing=0.0, stubborn=False, rude=False) for life in script]
        if script:  # a start that takes long is another test
            script[0] = evolve(script[0], opening=0.0)
    world = World({name: list(script) for name, script in case.scripts.items()})

    async def main() -> tuple[float, float]:
        supervisor = build(case, world)
        marks: list[float] = []
        births: list[int] = []

        def mark() -> None:
            marks.append(world.now())
            births.append(sum(isinstance(entry, Birth) for _, entry in world.log))

        async def block() -> None:
            try:
                async with supervisor.running():
                    try:
                        await asyncio.sleep(1e9 if cancelled else after)
                    finally:
                        mark()
            finally:
                mark()

        task = asyncio.create_task(block())
        if cancelled:
            await asyncio.sleep(after)
            task.cancel()
        # StopFailed: a worker crashed in the same turn in which the block ended, and so during the stop.
        with suppress(RestartsExhausted, StopFailed, asyncio.CancelledError):
            await task
        assert all(plugin.state in ("stopped", "created") for plugin in supervisor.registry)
        assert len(asyncio.all_tasks()) == 1
        await asyncio.sleep(1e5)
        mark()
        assert births[-1] == births[0]
        return marks[0], marks[-2]

    begun, ended = run(main)
    assert begun == ended


@given(cases(operators=False, groups=False), st.sampled_from([1, 2, 5]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
def test_nothing_that_was_accepted_is_lost_over_restarts(case: Case, capacity: int) -> None:
    """Each number that a channel accepted is received once, in order, or is still queued when all is at rest."""
    world = World({name: list(script) for name, script in case.scripts.items()})
    world.traffic = Traffic()

    async def main() -> Supervisor:
        supervisor = build(case, world, capacity)
        with suppress(RestartsExhausted, StopFailed):
            async with supervisor.running():
                await asyncio.sleep(300)
        return supervisor

    supervisor = run(main)
    left: dict[str, int] = {}
    for receipt in supervisor.orchestrator.receipt():
        left |= receipt.undelivered
    for producer, consumer in case.channels:
        sent, received = world.traffic.sent[producer], world.traffic.received[consumer]
        assert received == list(range(len(received)))
        assert sent == len(received) + left.get(f"{producer}-{consumer}", 0)
    hypothesis.event(f"messages: {sum(map(len, world.traffic.received.values())) > 0}")


class Inner(Supervisor):
    """A supervisor that another one restarts, and whose own life is written down."""

    def __init__(self, case: Case, outer: World, lives: list[tuple[World, Inner]], name: str) -> None:
        self.world, self.outer = World(outer.scripts), outer
        lives.append((self.world, self))
        try:
            super().__init__(specs_of(case, self.world), policy=case.policy, children=case.children, name=name)
        except ConfigError:
            outer.note(Birth(name))
            lives.pop()
            raise
        watch(self, self.world)

    async def on_init(self) -> None:
        self.outer.note(Birth(self.info.name))
        await super().on_init()

    async def on_stop(self) -> None:
        self.world.note("stopping")
        await super().on_stop()


@given(cases(operators=False), cases(operators=False))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_s6_a_tree_of_supervisors(inner: Case, outer: Case) -> None:
    """Each supervisor does what the rules say; that one gives up is one failure in the one around it, each time."""
    # An inner supervisor whose plugins cannot be made cannot be made itself, and leaves no trace in the log.
    makeable = {
        name: [life for life in script if life.ending != "cannot be made"] for name, script in inner.scripts.items()
    }
    inner = evolve(inner, channels=(), scripts=makeable)
    outer = evolve(outer, names=("inner", "z"), channels=(), children={}, lifecycles={}, policy=evolve(outer.policy))
    world = World({name: list(script) for name, script in inner.scripts.items()})
    world.scripts["z"] = []
    lives: list[tuple[World, Inner]] = []

    def make(name: str) -> Inner:
        return Inner(inner, world, lives, name)

    async def main() -> RestartsExhausted | None:
        specs = [PluginSpec("inner", make), *specs_of(evolve(outer, names=("z",)), world)]
        supervisor = Supervisor(specs, policy=outer.policy, rng=random.Random(0))
        watch(supervisor, world)
        try:
            async with supervisor.running():
                await asyncio.sleep(1e5)
                world.note("stopping")
        except RestartsExhausted as exhausted:
            return exhausted
        except StopFailed:
            pass
        finally:
            assert len(asyncio.all_tasks()) == 1
        return None

    exhausted = run(main)
    judge = Judge(outer)
    judge.judge(world.log)
    assert (exhausted.plugin if exhausted else None) == judge.exhausted
    gave_up = 0
    for log, supervisor in lives:
        judged = Judge(inner)
        judged.judge(log.log)
        gave_up += isinstance(supervisor.failure, RestartsExhausted)
        assert judged.exhausted is not None or not isinstance(supervisor.failure, RestartsExhausted)
    told = sum("RestartsExhausted" in reason for reason in judge.told for _ in range(judge.told[reason]))
    assert told == gave_up
    hypothesis.event(f"inner supervisors: {min(4, len(lives))}")
