"""The invariants of supervision, S1 to S6, under random lives of plugins, policies and operators, in virtual time.

Each plugin follows a script: how long each of its lives takes to start, to run and to stop, and how it ends. What the
supervisor did is then judged by rules that are written anew in `supervision`, from the log of what happened.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings

from fsm_plugins.supervision import Action, SupervisionEvent
from tests.property.supervision import Case, Judge, cases, play


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@given(cases())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_s1_to_s6(case: Case) -> None:
    """Whatever plugins and operators do, the supervisor does what the rules say, no more and no less."""
    world, exhausted, supervisor = play(case)
    judge = Judge(case)
    judge.judge(world.log)
    # S6: that it gave up is raised, with what it gave up of.
    assert (exhausted.plugin if exhausted else None) == judge.exhausted
    # S5: each crash is told once, unless it came while its plugin was being stopped anyway.
    for text in world.crashes:
        told = [count for reason, count in judge.told.items() if reason.endswith(f": {text}")]
        assert len(told) <= 1 and told in ([], [1])
        assert told or text in world.hushed, text
    # All that should run did so at the end, and all is at rest now.
    if exhausted is None:
        idle = {name for name in case.names if name not in world.up_at_the_end}
        assert idle == {name for name in case.names if not judge.wanted[name] or name in judge.given_up}
    assert all(plugin.state in ("stopped", "failed", "created") for plugin in supervisor.registry)
    hypothesis.event(f"exhausted: {exhausted is not None}")
    hypothesis.event(f"restarts: {min(5, len([1 for _, told in world.log if is_restart(told)]))}")


def is_restart(entry: object) -> bool:
    return isinstance(entry, SupervisionEvent) and entry.action is Action.RESTARTED
