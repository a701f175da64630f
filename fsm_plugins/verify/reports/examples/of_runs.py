"""What can be seen of a lifecycle, and what goes wrong in a run where nothing is broken on purpose (L0, L1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fsm_plugins.verify.reports.examples.writing import both

__all__ = ["OF_RUNS"]

_PAUSABLE = """
    lifecycle = LIFECYCLE.extend([
        ("pause", "running", "paused"), ("resume", "paused", "running"),
        ("stop", "paused", "stopped"), ("fail", "paused", "failed"),
    ])
"""

OF_RUNS: Final[Mapping[str, tuple[str, str]]] = {
    "unreachable-state": both(
        "lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)\nlifecycle.machine.add_states(['paused'])",
        _PAUSABLE,
    ),
    "dead-end": both(
        """
            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("stop", source="failed")
            """,
        "lifecycle = LIFECYCLE",
    ),
    "no-way-to-rest": both(
        """
            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("stop")
            """,
        "lifecycle = LIFECYCLE",
    ),
    "unreachable-arc": both(
        """
            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.add_transition("start", "initialized", "failed")  # the other one comes first
            """,
        "lifecycle = LIFECYCLE",
    ),
    "hook-signature": both(
        "async def on_strat(self) -> None:\n    self.ready = True",
        "async def on_start(self) -> None:\n    self.ready = True",
    ),
    "port-problem": both("lines: Receiver[str] | Sender[str]", "lines: Receiver[str] | None = None"),
    "blocking-call": both(
        "async def on_start(self) -> None:\n    time.sleep(0.001)",
        "async def on_start(self) -> None:\n    await asyncio.sleep(0.001)",
    ),
    "hook-raises": both(
        "async def on_start(self) -> None:\n    self.connection.open()  # there is none",
        "async def on_start(self) -> None:\n    self.connection = object()",
    ),
    "hook-hangs": both(
        "async def on_stop(self) -> None:\n    await asyncio.Event().wait()  # nobody sets it",
        """
            async def on_init(self) -> None:
                self.done = asyncio.Event()

            async def on_start(self) -> None:
                self.done.set()
            """,
    ),
    "illegal-call-has-effect": both(
        """
            tries = 0

            def may_start(self) -> bool:
                self.tries += 1  # also when it is refused
                return self.tries > 2

            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("start")
            lifecycle.machine.add_transition("start", "initialized", "running", conditions="may_start")
            """,
        """
            licensed = True

            def may_start(self) -> bool:
                return self.licensed

            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("start")
            lifecycle.machine.add_transition("start", "initialized", "running", conditions="may_start")
            """,
    ),
    "invariant-broken": both(
        """
            jobs = 0

            async def on_start(self) -> None:
                self.jobs -= 1

            @staticmethod
            def invariant(plugin: "Example") -> bool:
                return plugin.jobs >= 0
            """,
        """
            jobs = 0

            async def on_start(self) -> None:
                self.jobs += 1

            @staticmethod
            def invariant(plugin: "Example") -> bool:
                return plugin.jobs >= 0
            """,
    ),
    "second-run-fails": both(
        """
            taken: set[str] = set()  # of the class, so of every plugin in the process

            async def on_start(self) -> None:
                if "port" in self.taken:
                    raise OSError("the port is taken")
                self.taken.add("port")
            """,
        """
            taken: set[str] = set()

            async def on_start(self) -> None:
                if "port" in self.taken:
                    raise OSError("the port is taken")
                self.taken.add("port")

            async def on_stop(self) -> None:
                self.taken.discard("port")
            """,
    ),
    "not-at-rest": both(
        """
            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("stop", "running")
            lifecycle.machine.add_transition("stop", "running", "stopped", conditions=lambda: False)
            """,
        "lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)",
    ),
    "worker-crashes": both(
        """
            async def on_start(self) -> None:
                self.spawn(self._work())

            async def _work(self) -> None:
                await asyncio.sleep(1)
                raise ConnectionError("reset by peer")
            """,
        """
            async def on_start(self) -> None:
                self.spawn(self._work())

            async def _work(self) -> None:
                while True:
                    await asyncio.sleep(1)
                    try:
                        raise ConnectionError("reset by peer")
                    except ConnectionError:
                        continue  # and connect again
            """,
    ),
    "health-check-raises": both(
        """
            async def on_health_check(self) -> HealthStatus:
                return HealthStatus.degraded(self.reason)  # there is none
            """,
        """
            async def on_health_check(self) -> HealthStatus:
                return HealthStatus.degraded("no reason")
            """,
    ),
    "health-check-changes-state": both(
        """
            async def on_health_check(self) -> HealthStatus:
                await self.fail(RuntimeError("unhealthy"))
                return HealthStatus.healthy()
            """,
        """
            async def on_health_check(self) -> HealthStatus:
                return HealthStatus.unhealthy("no connection")
            """,
    ),
    "ends-process": both(
        "async def on_start(self) -> None:\n    sys.exit('no licence')",
        "async def on_start(self) -> None:\n    self.licence = 'free'",
    ),
    "caller-cancelled": both(
        """
            async def on_start(self) -> None:
                self.spawn(self._work(asyncio.current_task()))

            async def _work(self, task: "asyncio.Task[object]") -> None:
                await asyncio.sleep(1)
                task.cancel()
            """,
        """
            async def on_start(self) -> None:
                self.work = self.spawn(self._work())

            async def _work(self) -> None:
                await asyncio.sleep(1)

            async def on_stop(self) -> None:
                if work := self.__dict__.get("work"):
                    work.cancel()
            """,
    ),
}
