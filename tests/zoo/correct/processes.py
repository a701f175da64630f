"""Child processes: all of them are waited for, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from asyncio.subprocess import DEVNULL

from attrs import Factory, define

from fsm_plugins import HealthStatus, Plugin, PluginInfo
from tests.zoo.specimen import Specimen


class Sleeper(Plugin):
    """A child of asyncio: terminated, given a moment, killed, waited for. It is forgotten only when it is gone."""

    info = PluginInfo("sleeper", "1.0.0", "Runs a helper for as long as it runs")

    def __init__(self, command: tuple[str, ...] = ("sleep", "30"), moment: float = 1.0) -> None:
        self.command = command
        self.moment = moment
        self.child: asyncio.subprocess.Process | None = None

    async def on_start(self) -> None:
        self.child = await asyncio.create_subprocess_exec(*self.command, stdin=DEVNULL, stdout=DEVNULL)

    async def on_stop(self) -> None:
        if self.child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.child.terminate()
        try:
            async with asyncio.timeout(self.moment):
                await self.child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.child.kill()
            await self.child.wait()
        self.child = None

    async def on_health_check(self) -> HealthStatus:
        if self.child is None or self.child.returncode is not None:
            return HealthStatus.unhealthy("the helper has ended")
        return HealthStatus.healthy()


class Filter(Plugin):
    """A child behind two pipes. It is made in one step, without a wait in which half of it could be lost."""

    info = PluginInfo("filter", "1.0.0", "Passes bytes through a program")

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.answer = b""

    async def on_start(self) -> None:
        self.child = subprocess.Popen(  # noqa: ASYNC220 - starting does not wait for anything
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    async def on_health_check(self) -> HealthStatus:
        alive = self.child is not None and self.child.poll() is None
        return HealthStatus.healthy() if alive else HealthStatus.unhealthy("the filter has ended")

    async def on_stop(self) -> None:
        if self.child is None:
            return
        child = self.child
        assert child.stdin is not None and child.stdout is not None
        child.stdin.close()
        if child.poll() is None:
            child.kill()
        await asyncio.to_thread(child.wait)
        child.stdout.close()
        self.child = None


class AsksOnce(Plugin):
    """Runs a program to its end in init, and kills it if it is not wanted any more."""

    info = PluginInfo("asks-once", "1.0.0", "Knows the version of a tool")

    def __init__(self, command: tuple[str, ...] = ("true",)) -> None:
        self.command = command
        self.asked: asyncio.subprocess.Process | None = None
        self.exit_code: int | None = None

    async def on_init(self) -> None:
        self.asked = await asyncio.create_subprocess_exec(*self.command, stdin=DEVNULL, stdout=DEVNULL)
        self.exit_code = await self.asked.wait()

    async def on_start(self) -> None:
        if self.exit_code != 0:
            raise RuntimeError(f"{self.command[0]} is not there: exit code {self.exit_code}")

    async def on_stop(self) -> None:
        if self.asked is None:
            return
        if self.asked.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.asked.kill()
            await self.asked.wait()
        self.asked = None


class KeepsChildAlive(Plugin):
    """A worker that starts its child again whenever it ends, and owns it: what it began it cleans up itself."""

    info = PluginInfo("keeps-child-alive", "1.0.0", "Runs a program again and again")

    def __init__(self, command: tuple[str, ...] = ("sleep", "30"), pause: float = 0.01) -> None:
        self.command = command
        self.pause = pause
        self.runs = 0

    async def on_start(self) -> None:
        self.spawn(self._keep())

    async def _keep(self) -> None:
        while True:
            child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)  # noqa: ASYNC220 - does not wait
            self.runs += 1
            try:
                while child.poll() is None:  # noqa: ASYNC110 - nobody sets an event when a child ends
                    await asyncio.sleep(self.pause)
            finally:
                if child.poll() is None:
                    child.send_signal(signal.SIGKILL)
                child.wait()  # it was killed: this takes no time
            await asyncio.sleep(self.pause)


@define(eq=False)
class Group(Plugin):
    """Several children in a list. Each leaves the list when it has been waited for, so that stop can be repeated."""

    info = PluginInfo("group", "1.0.0", "Runs a few helpers side by side")
    size: int = 2
    children: list[subprocess.Popen[bytes]] = Factory(list)

    async def on_start(self) -> None:
        for _ in range(self.size):
            self.children.append(subprocess.Popen(["sleep", "30"], stdin=subprocess.DEVNULL))  # noqa: ASYNC220
            await asyncio.sleep(0)

    async def on_stop(self) -> None:
        for child in self.children:
            child.kill()
        while self.children:
            await asyncio.to_thread(self.children[-1].wait)
            self.children.pop()


CORRECT = [Specimen(cls, clock="real") for cls in (Sleeper, Filter, AsksOnce, KeepsChildAlive, Group)]
