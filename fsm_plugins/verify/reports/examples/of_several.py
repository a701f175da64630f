"""Registries, calls at the same time, and traces (L3, L4, L6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fsm_plugins.verify.reports.examples.writing import both, plugin

__all__ = ["OF_SEVERAL"]


OF_SEVERAL: Final[Mapping[str, tuple[str, str]]] = {
    "registry-departs": (
        plugin(
            """
                lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
                lifecycle.machine.get_transitions("init")[0].dest = "running"  # behind the back of the table
                """
        ),
        plugin("lifecycle = LIFECYCLE"),
    ),
    "not-linearizable": both(
        """
            count = 0

            async def add(self) -> None:
                before = self.count
                await asyncio.sleep(0)
                self.count = before + 1
            """,
        """
            count = 0

            async def add(self) -> None:
                await asyncio.sleep(0)
                self.count += 1
            """,
    ),
    "deadlock": both(
        """
            async def transfer(self, first: asyncio.Lock, second: asyncio.Lock) -> None:
                async with first:
                    await asyncio.sleep(0)  # another transfer takes the second one
                    async with second:
                        await asyncio.sleep(0)
            """,
        """
            async def transfer(self, first: asyncio.Lock, second: asyncio.Lock) -> None:
                one, two = sorted((first, second), key=id)  # always in the same order
                async with one:
                    await asyncio.sleep(0)
                    async with two:
                        await asyncio.sleep(0)
            """,
    ),
    "race": both(
        """
            session = None
            made = 0

            async def connect(self) -> None:
                if self.session is None:
                    await asyncio.sleep(0)  # another call comes in between
                    self.made += 1
                    self.session = object()
            """,
        """
            def __init__(self) -> None:
                self.session = None
                self.made = 0
                self.lock = asyncio.Lock()

            async def connect(self) -> None:
                async with self.lock:
                    if self.session is None:
                        await asyncio.sleep(0)
                        self.made += 1
                        self.session = object()
            """,
    ),
    "uncontrolled": both(
        """
            async def on_start(self) -> None:
                for _ in range(random.randrange(100)):
                    await asyncio.sleep(0)
            """,
        """
            def __init__(self, seed: int = 0) -> None:
                self.random = random.Random(seed)

            async def on_start(self) -> None:
                for _ in range(self.random.randrange(100)):
                    await asyncio.sleep(0)
            """,
    ),
    "trace-departs": (
        '{"plugin": "clock", "trigger": "start", "source": "created", "dest": "running"}\n',
        (
            '{"plugin": "clock", "trigger": "init", "source": "created", "dest": "initialized"}\n'
            '{"plugin": "clock", "trigger": "start", "source": "initialized", "dest": "running"}\n'
        ),
    ),
}
