"""Schedules on a real event loop, for objects that use sockets, threads or processes.

What these do when is up to the operating system, so schedules can neither be enumerated nor repeated. What can be done
is to make many runs in each of which the tasks go on in another random order, as far as asyncio's promises allow: among
themselves, and later than they might, but callbacks keep their order. It finds what is easy to find, and a result from
it never says more than how many runs were made.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import define, field

from fsm_plugins.verify.base.loop import STEPS_OF_TASKS, ControlledLoop
from fsm_plugins.verify.registries.field import quiet
from fsm_plugins.verify.schedules.cells import Bench
from fsm_plugins.verify.schedules.footprints import Watcher
from fsm_plugins.verify.schedules.plugins import subject_of
from fsm_plugins.verify.schedules.results import ScheduleFinding, ScheduleResult
from fsm_plugins.verify.schedules.subjects import AnyCall, Cell, Session

__all__ = ["sample_schedules"]

PATIENCE: Final = 10.0
"""How many seconds the calls of one run may take until they count as a deadlock."""


class _ShufflingLoop(asyncio.SelectorEventLoop):
    """A real loop whose ready tasks go on in a random order while ``numbers`` is set."""

    numbers: random.Random | None = None

    def _run_once(self) -> None:
        held = [] if self.numbers is None else self._shuffle(self.numbers)
        super()._run_once()  # type: ignore[misc]
        vars(self)["_ready"].extend(held)

    def _shuffle(self, numbers: random.Random) -> list[asyncio.Handle]:
        """Shuffle the tasks between two callbacks; return some that are held back for this turn of the loop."""
        ready: Any = vars(self)["_ready"]
        tasks: list[asyncio.Handle] = []
        order: list[asyncio.Handle] = []
        held: list[asyncio.Handle] = []
        for handle in ready:
            callback = handle._callback
            task = getattr(callback, "__self__", None)
            if not (isinstance(task, asyncio.Task) and getattr(callback, "__name__", "") in STEPS_OF_TASKS):
                numbers.shuffle(tasks)
                order += [*tasks, handle]
                tasks.clear()
            elif len(held) + 1 < len(ready) and numbers.random() < 0.5:  # without any the loop would go to sleep
                held.append(handle)
            else:
                tasks.append(handle)
        numbers.shuffle(tasks)
        ready.clear()
        ready.extend(order + tasks)
        return held


@define(eq=False)
class _RealBench(Bench):
    """Runs of one cell on real loops."""

    numbers: random.Random = field(factory=random.Random)

    def sample(self) -> ScheduleFinding | None:
        """Make one run, and judge it."""
        with asyncio.Runner(loop_factory=_ShufflingLoop) as runner:
            return runner.run(self._sample())

    async def _sample(self) -> ScheduleFinding | None:
        session = await self._prepared()
        if session is None:
            return None
        self.schedules += 1
        if self._overlap is None:
            self._overlap = self.subject.overlap(session)
        if self._overlap is None and self._alone is None:
            await self._in_every_order()
            return await self._sample()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _ShufflingLoop)
        session.tasks = [loop.create_task(session.call(i)) for i in range(len(self.cell.calls))]
        loop.numbers = self.numbers
        _, late = await asyncio.wait(session.tasks, timeout=PATIENCE)
        loop.numbers = None
        if late:
            return self.stalled(session)
        broken = None if self.invariant is None else self.check_invariant(session, self.invariant)
        await self._finish(session)
        if session.errors and self._alone is None:
            await self._in_every_order()
        return self.judge(session) or broken

    async def _prepared(self) -> Session | None:
        session = self.subject.session(self.cell)
        try:
            await session.setup()
        except Exception as error:
            self.unreached = f"{type(error).__name__}: {error}"
            return None
        session.listen()
        return session

    async def _in_every_order(self) -> None:
        self._alone = set()
        for order in self.orders():
            session = await self._prepared()
            if session is None:
                return
            for i in order:
                await asyncio.wait([asyncio.ensure_future(session.call(i))], timeout=PATIENCE)
            await self._finish(session)
            self._alone.add(session.result())
            self._errors |= session.errors.keys()

    async def _finish(self, session: Session) -> None:
        last = session.finish()
        if last is not None:
            await asyncio.wait([asyncio.ensure_future(last)], timeout=PATIENCE)


def sample_schedules(
    plugin_factory: Callable[[], object],
    calls: Sequence[AnyCall] | None = None,
    tasks: int = 2,
    runs: int = 20,
    seconds: float | None = None,
    invariant: Callable[[Any], object] | None = None,
    *,
    seed: int = 0,
    states: Sequence[str] | None = None,
    observe: Callable[[Any], object] | None = None,
    crashes: bool = True,
) -> ScheduleResult:
    """Make random runs of a few calls at a time, from every state, on a real event loop.

    For what `explore_schedules` cannot control. Its result is never complete: ``inconclusive`` says how many runs were
    made, or there is a finding. A finding has no ``choices``, because the run cannot be made again.

    Args:
        plugin_factory, calls, tasks, seconds, invariant, states, observe, crashes: as for `explore_schedules`.
        runs: how many runs are made of each cell.
        seed: of the random order.

    Raises:
        DefinitionError: as `explore_schedules`.
    """
    begin = time.monotonic()
    numbers = random.Random(seed)
    schedules = 0
    unreached: list[str] = []
    finding: ScheduleFinding | None = None
    with quiet():
        subject = subject_of(plugin_factory, calls, states=states, observe=observe, crashes=crashes)
        cells: list[Cell] = list(subject.cells(tasks))
        for cell in cells:
            bench = _RealBench(subject, cell, ControlledLoop(), Watcher(), invariant, numbers=numbers)
            for _ in range(runs):
                if seconds is not None and time.monotonic() - begin > seconds:
                    break
                finding = bench.sample()
                if finding is not None or bench.unreached:
                    break
            schedules += bench.schedules
            if bench.unreached:
                unreached.append(f"{cell}: {bench.unreached}")
            if finding is not None:
                break
    said = "" if finding is not None else f"{schedules} random runs on a real event loop"
    incomplete = tuple(map(str, cells))
    return ScheduleResult(
        tasks, None, len(cells), 0, incomplete, tuple(unreached), schedules, time.monotonic() - begin, finding, said
    )
