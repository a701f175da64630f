"""What people would search for mistakes with: a stateful test of plain Hypothesis, frontrun, SPIN.

Each does what its documentation shows, and knows what such a test would know: the calls that the lifecycle has, and the
laws that a person would write down. None of them lets the awaits of a hook raise, which is not what they are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from attrs import frozen
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from benchmarks._measure import Taken
from fsm_plugins import InvalidState, Plugin
from fsm_plugins.testing import VirtualClockLoop
from fsm_plugins.verify.registries import to_promela
from tests.zoo.specimen import Specimen

__all__ = ["Spin", "hunted", "races", "spin", "spin_is_here"]


# Hypothesis -----------------------------------------------------------------------------------------------------------


class _Enough(BaseException):
    """Something was found, or the time is up; no exception that a test would take for a finding."""


class _Lifecycle(RuleBasedStateMachine):
    """Makes the calls of a plugin in any order, cancels some, and looks at what everybody can see."""

    specimen: Specimen
    until: float
    found: float | None = None

    def __init__(self) -> None:
        if type(self).found is not None or time.process_time() > self.until:
            raise _Enough
        super().__init__()
        if self.specimen.reset is not None:
            self.specimen.reset()
        self.complaints: list[object] = []
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.plugin: Plugin = self.runner.run(self._made())

    async def _made(self) -> Plugin:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.complaints.append(context))
        return self.specimen.build()

    def _run(self, call: Callable[[], Coroutine[Any, Any, object]]) -> object:
        async def settled() -> object:
            try:
                return await call()
            finally:
                await asyncio.sleep(0.01)  # workers run until they wait

        return self.runner.run(settled())

    def _drawn(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted({*self.plugin.lifecycle.triggers} - {"fail"})))

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        """Make one of the calls: a legal one does not fail, an illegal one is refused and changes nothing."""
        plugin, trigger = self.plugin, self._drawn(data)
        before, legal = plugin.state, plugin.state in plugin.lifecycle.expected(trigger)
        try:
            self._run(lambda: plugin.fire(trigger))
        except InvalidState:
            assert not legal
            assert plugin.state == before
        else:
            assert legal
            assert plugin.state != "failed"

    @rule(data=st.data(), turns=st.integers(1, 3))
    def cancelled(self, data: st.DataObject, turns: int) -> None:
        """Cancel one of the calls after a few turns of the loop: it ends, as cancelled unless it was done."""
        plugin, trigger = self.plugin, self._drawn(data)

        async def disturbed() -> bool:
            task = asyncio.ensure_future(plugin.fire(trigger))
            for _ in range(turns):
                await asyncio.sleep(0)
            late = not task.cancel()
            await asyncio.wait([task])
            return late or task.cancelled() or isinstance(task.exception(), InvalidState)

        assert self._run(disturbed)

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
        """Stop it, as every test does, and see whether Python or the loop complains of what is left."""
        wrong = isinstance(sys.exception(), Exception)
        try:
            self._leave()
        except Exception:
            wrong = True
        if wrong:
            type(self).found = time.process_time()

    async def _brought_to_rest(self) -> None:
        plugin, lifecycle = self.plugin, self.plugin.lifecycle
        if plugin.state in {*lifecycle.rest, lifecycle.initial}:
            return
        if plugin.state not in lifecycle.expected("stop"):
            await plugin.fail(RuntimeError("given up"))
        await plugin.fire("stop")

    def _leave(self) -> None:
        before, sys.unraisablehook = sys.unraisablehook, self.complaints.append
        try:
            self._run(self._brought_to_rest)
            self.holds()
        finally:
            self.runner.close()
            del self.plugin
            gc.collect()
            sys.unraisablehook = before
        assert not self.complaints


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    """Put back what the plugins of a hunt leave changed in the process, which the next one would not see change."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    with mock.patch.dict(os.environ), contextlib.chdir(Path.cwd()):
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def hunted(specimen: Specimen, seconds: float, luck: int = 0) -> float | None:
    """Let plain Hypothesis look for what is wrong with a plugin.

    It is done when a test first fails, which is before Hypothesis makes it small. As `verify` does, it looks for
    garbage only in what is new.

    Args:
        specimen: the plugin.
        seconds: of CPU time, after which no other example is begun.
        luck: a seed.

    Returns:
        The CPU seconds until something was found; None if nothing was.
    """
    gc.collect()
    gc.freeze()
    begin = time.process_time()

    class Hunt(_Lifecycle):
        pass

    Hunt.specimen, Hunt.until = specimen, begin + seconds
    options = settings(
        max_examples=1_000_000,
        stateful_step_count=10,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with warnings.catch_warnings(), _put_back():
        warnings.simplefilter("error")
        try:
            run_state_machine_as_test(seed(luck)(Hunt), settings=options)
        except (_Enough, Flaky):  # to end in between is flaky, says Hypothesis
            pass
        finally:
            gc.unfreeze()
            if specimen.reset is not None:
                specimen.reset()
    return None if Hunt.found is None else Hunt.found - begin


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
        said, search = timed("./pan", "-m100000", "-w18")  # a table that fits: the usual one takes longer to clear
    states, errors = re.search(r"(\d+) states, stored", said), re.search(r"errors: (\d+)", said)
    assert states is not None, said
    assert errors is not None, said
    assert errors[1] == "0", said
    steps = (made, compiled, search)
    return Spin(int(states[1]), Taken(sum(s.cpu for s in steps), sum(s.wall for s in steps)), search)
