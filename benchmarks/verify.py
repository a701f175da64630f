"""What a verification costs: a correct plugin with three hooks that wait, with one fault at every await.

CPU time, as everywhere here: time is virtual, so a verification that waits for nothing real takes no other.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from benchmarks._measure import alternate
from benchmarks._results import Report, Target, plain
from benchmarks._suites import alone
from fsm_plugins import RESTARTABLE, Plugin, PluginInfo
from fsm_plugins.verify import Scope, verify

__all__ = ["benchmark", "main"]

REPEATS: Final = 5
DEPTH: Final = 10


class ThreeHooks(Plugin):
    """Waits in each hook, and has a worker."""

    info = PluginInfo("three-hooks", "1.0.0")

    async def on_init(self) -> None:
        await asyncio.sleep(0.1)

    async def on_start(self) -> None:
        self.spawn(self._work())
        await asyncio.sleep(0.1)

    async def on_stop(self) -> None:
        await asyncio.sleep(0.1)

    async def _work(self) -> None:
        while True:  # noqa: ASYNC110 - it is the waiting that counts
            await asyncio.sleep(1.0)


class Restartable(ThreeHooks):
    """The same, and may be started again, so that there are many more sequences."""

    info = PluginInfo("restartable", "1.0.0")
    lifecycle = RESTARTABLE


def verified(cls: type[Plugin], depth: int) -> float:
    """Verify ``cls`` and return the CPU seconds it took."""
    begin = time.process_time()
    verify(cls, scope=Scope(depth=depth, faults=1)).assert_holds()
    return time.process_time() - begin


def benchmark() -> Report:
    """Measure both."""
    stock, again = f"stock lifecycle, depth {DEPTH}", "restartable, depth 6"
    samples = alternate({stock: lambda: verified(ThreeHooks, DEPTH), again: lambda: verified(Restartable, 6)}, REPEATS)
    runs = verify(ThreeHooks, scope=Scope(depth=DEPTH, faults=1)).runs
    many = verify(Restartable, scope=Scope(depth=6, faults=1)).runs
    return Report(
        "Verification of a correct plugin, one fault at every await",
        [plain("verify", "One verification", samples)],
        [f"runs: {runs} and {many}; for each {samples[stock].median / runs * 1e3:.2f} ms"],
        [Target(f"a correct 3-hook plugin, depth {DEPTH}, 1 fault", samples[stock].median, 1.0, "s")],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What a verification costs.", benchmark)


if __name__ == "__main__":
    raise SystemExit(main())
