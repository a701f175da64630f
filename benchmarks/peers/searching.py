"""What people would search for mistakes with: a stateful test of plain Hypothesis, frontrun, SPIN.

Each does what its documentation shows, and knows what such a test would know: the calls that the lifecycle has, and the
laws that a person would write down. None of them makes hooks fail at their awaits, which is not what they are for.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import re
import resource
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from benchmarks._measure import Taken
from fsm_plugins import HookFailed, InvalidState, Plugin
from fsm_plugins.testing import VirtualClockLoop
from fsm_plugins.verify.registries import to_promela
from tests.zoo.specimen import Specimen

__all__ = ["Spin", "hunted", "races", "spin", "spin_is_here"]


# Hypothesis -----------------------------------------------------------------------------------------------------------


class _OutOfTime(BaseException):
    """The budget is used up; no exception that a test would take for a finding."""


class _Lifecycle(RuleBasedStateMachine):
    """Makes the calls of a plugin in any order, and looks at what everybody can see."""

    specimen: Specimen
    until: float
    found: float | None = None

    def __init__(self) -> None:
        super().__init__()
        if self.specimen.reset is not None:
            self.specimen.reset()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.plugin: Plugin = self.runner.run(self._made())

    async def _made(self) -> Plugin:
        return self.specimen.build()

    def _run(self, call: Callable[[], Coroutine[Any, Any, object]]) -> object:
        if time.process_time() > type(self).until:
            raise _OutOfTime

        async def settled() -> object:
            result = await call()
            await asyncio.sleep(0.01)  # workers run until they wait
            return result

        return self.runner.run(settled())

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        """Make one of the calls: a legal one does not fail, an illegal one is refused and changes nothing."""
        plugin = self.plugin
        trigger = data.draw(st.sampled_from(sorted({*plugin.lifecycle.triggers} - {"fail"})))
        before, legal = plugin.state, plugin.state in plugin.lifecycle.expected(trigger)
        try:
            self._run(lambda: plugin.fire(trigger))
        except InvalidState:
            assert not legal
            assert plugin.state == before
        else:
            assert legal
            assert plugin.state != "failed"

    @rule()
    def fail(self) -> None:
        """Declare it failed, as a watchdog would."""
        try:
            self._run(lambda: self.plugin.fail(RuntimeError("told to fail")))
        except InvalidState:
            assert self.plugin.state not in self.plugin.lifecycle.expected("fail")

    @rule()
    def health(self) -> None:
        """Ask how it is: that raises nothing and changes nothing."""
        before = self.plugin.state
        self._run(self.plugin.health_check)
        assert self.plugin.state == before

    @invariant()
    def holds(self) -> None:
        """What its author says holds, and at rest nothing is left running."""
        if self.specimen.invariant is not None:
            assert self.specimen.invariant(self.plugin)
        if self.plugin.state in self.plugin.lifecycle.rest:
            assert not asyncio.all_tasks(self.runner.get_loop())

    def teardown(self) -> None:
        """Let warnings of what was never awaited come out."""
        try:
            self.runner.close()
        finally:
            del self.plugin
            gc.collect()


def hunted(specimen: Specimen, seconds: float) -> float | None:
    """Let plain Hypothesis look for what is wrong, for so many CPU seconds; return when it was found, if it was."""
    begin = time.process_time()
    machine = type("Hunt", (_Lifecycle,), {"specimen": specimen, "until": begin + seconds})
    options = settings(
        max_examples=1_000_000,
        stateful_step_count=10,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            run_state_machine_as_test(machine, settings=options)
        except _OutOfTime:
            return None
        except (Exception, HookFailed, ExceptionGroup):
            return time.process_time() - begin
        finally:
            if specimen.reset is not None:
                specimen.reset()
    return None


# frontrun -------------------------------------------------------------------------------------------------------------


def races(
    setup: Callable[[], Any], workers: list[Callable[[Any], Any]], holds: Callable[[Any], bool]
) -> dict[str, Callable[[], int]]:
    """Return the searches of frontrun for a race, by name; each returns after how many schedules it was found."""
    try:
        frontrun = importlib.import_module("frontrun")
    except ImportError:
        return {}

    def search(**options: Any) -> int:
        found = asyncio.run(frontrun.explore(setup=setup, workers=workers, invariant=holds, **options))
        assert not found.property_holds, "the race was not found"
        return int(found.num_explored)

    return {
        "frontrun, DPOR": lambda: search(strategy="dpor", reproduce_on_failure=0),
        "frontrun, random": lambda: search(strategy="random"),
    }


# SPIN -----------------------------------------------------------------------------------------------------------------


@frozen
class Spin:
    """What SPIN took for the model of a registry: to make and compile the verifier, and to run it."""

    states: int
    whole: Taken
    search: Taken


def spin_is_here() -> bool:
    """Whether SPIN and a compiler are installed."""
    return shutil.which("spin") is not None and shutil.which("cc") is not None


def spin(plugins: int) -> Spin:
    """Let SPIN visit every state of the exported model of a registry."""
    with TemporaryDirectory() as scratch:
        where = Path(scratch)
        (where / "model.pml").write_text(to_promela(plugins=plugins, symmetric=True), encoding="utf-8")

        def timed(*command: str) -> tuple[str, Taken]:
            before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            said = subprocess.run(command, cwd=where, check=True, capture_output=True, text=True).stdout
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            return said, Taken(cpu, time.perf_counter() - begin)

        _, made = timed("spin", "-a", "model.pml")
        _, compiled = timed("cc", "-O2", "-w", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c")
        said, search = timed("./pan", "-m100000")
    states, errors = re.search(r"(\d+) states, stored", said), re.search(r"errors: (\d+)", said)
    assert states is not None, said
    assert errors is not None, said
    assert errors[1] == "0", said
    steps = (made, compiled, search)
    return Spin(int(states[1]), Taken(sum(s.cpu for s in steps), sum(s.wall for s in steps)), search)
