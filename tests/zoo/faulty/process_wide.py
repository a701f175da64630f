"""What belongs to the whole process, and is changed for good by one plugin."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from types import FrameType

from fsm_plugins import Plugin, PluginInfo
from tests.zoo.specimen import Specimen


class ReloadsOnHup(Plugin):
    """Installs a signal handler and never gives it back. Popular with daemons that reload on SIGHUP."""

    info = PluginInfo("reloads-on-hup", "1.0.0", "Reads its rules again when it is told to")

    def __init__(self) -> None:
        self.rules: tuple[str, ...] = ()
        self.reloads = 0

    async def on_init(self) -> None:
        self.rules = ("deny all",)

    async def on_start(self) -> None:
        signal.signal(signal.SIGHUP, self._reload)

    async def on_stop(self) -> None:
        self.rules = ()

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reloads += 1
        self.rules = ("deny all", f"allow {self.reloads}")


class SetsProxy(Plugin):
    """Sets a variable of the environment for a library, and forgets it when the start fails. Popular with proxies."""

    info = PluginInfo("sets-proxy", "1.0.0", "Fetches by way of a proxy")

    def __init__(self, proxy: str = "http://127.0.0.1:3128") -> None:
        self.proxy = proxy
        self.before: str | None = None
        self.running = False

    async def on_start(self) -> None:
        self.before = os.environ.get("ZOO_PROXY")
        os.environ["ZOO_PROXY"] = self.proxy
        await asyncio.sleep(0)  # try it
        self.running = True

    async def on_stop(self) -> None:
        if self.running:
            if self.before is None:
                os.environ.pop("ZOO_PROXY", None)
            else:
                os.environ["ZOO_PROXY"] = self.before
            self.running = False


class WorksInPlace(Plugin):
    """Changes the working directory, because a tool wants it so. Popular with wrappers of compilers."""

    info = PluginInfo("works-in-place", "1.0.0", "Builds something in a directory of its own")

    def __init__(self) -> None:
        self.before: str | None = None
        self.built: list[str] = []

    async def on_start(self) -> None:
        self.before = os.getcwd()
        os.chdir(tempfile.gettempdir())
        await self._build()

    async def on_stop(self) -> None:
        self.before = None  # the directory would have been restored by the end of _build

    async def _build(self) -> None:
        await asyncio.sleep(0)
        self.built.append(os.getcwd())
        if self.before is not None:
            os.chdir(self.before)


FAULTY = [
    Specimen(
        ReloadsOnHup,
        slug="signal-handler-left",
        layer="L2",
        shortest="init -> start -> stop",
        why="the handler stays, and keeps the plugin alive",
    ),
    Specimen(
        SetsProxy,
        slug="environment-changed",
        layer="L2",
        shortest="init -> start[OSError at await 1] -> stop",
        why="restored only if the start went to its end",
    ),
    Specimen(
        WorksInPlace,
        slug="working-directory-changed",
        layer="L2",
        shortest="init -> start[CancelledError at await 1] -> stop",
        why="changed back after the wait, and not in a finally",
    ),
]
