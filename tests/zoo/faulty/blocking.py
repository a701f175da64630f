"""Calls in hooks that stop the whole event loop, and with it every other plugin."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

from attrs import define

from fsm_plugins import HealthStatus, Plugin, PluginInfo
from tests.zoo.specimen import Specimen


class SettlesDown(Plugin):
    """``time.sleep`` to give the hardware a moment. Popular in drivers that were synchronous once."""

    info = PluginInfo("settles-down", "1.0.0", "Drives a sensor that needs a moment")

    def __init__(self, moment: float = 0.5) -> None:
        self.moment = moment
        self.calibrated = False
        self.offset = 0.0

    async def on_init(self) -> None:
        self.offset = 0.25
        self._power(on=True)

    async def on_start(self) -> None:
        readings = []
        for _ in range(3):
            time.sleep(self.moment)  # noqa: ASYNC251 - the mistake
            readings.append(self._read())
        self.offset = sum(readings) / len(readings)
        self.calibrated = True

    async def on_stop(self) -> None:
        self._power(on=False)

    def _power(self, *, on: bool) -> None:
        if not on:
            self.calibrated = False

    def _read(self) -> float:
        return 20.0 + self.offset


@define
class AsksGit(Plugin):
    """``subprocess.run`` for a small question. Popular for versions, host names and ``which``."""

    info = PluginInfo("asks-git", "1.0.0", "Labels what it sends with the version of the checkout")
    command: tuple[str, ...] = (sys.executable, "--version")
    label: str = "unknown"
    sent: int = 0

    async def on_init(self) -> None:
        try:
            answer = subprocess.run(  # noqa: ASYNC221 - the mistake
                self.command, capture_output=True, text=True, timeout=5.0, check=True
            )
        except (OSError, subprocess.SubprocessError):
            self.label = "unknown"
        else:
            self.label = answer.stdout.strip()

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.degraded("no version") if self.label == "unknown" else HealthStatus.healthy()


@define
class FetchesFeed(Plugin):
    """A synchronous request, as a client library without ``await`` makes it. Popular with ``requests`` and drivers."""

    info = PluginInfo("fetches-feed", "1.0.0", "Reads a list of addresses to block")
    host: str = "127.0.0.1"
    port: int = 9
    blocked: frozenset[str] = frozenset()
    attempts: int = 0

    async def on_start(self) -> None:
        try:
            self.blocked = frozenset(self._fetch().split())
        except OSError:
            self.blocked = frozenset()  # begin with an empty list; the feed is tried again later

    def _fetch(self) -> str:
        self.attempts += 1
        with socket.create_connection((self.host, self.port), timeout=2.0) as connection:
            connection.sendall(b"GET /feed HTTP/1.0\r\n\r\n")
            answer = b""
            while part := connection.recv(4096):
                answer += part
        return answer.decode()


FAULTY = [
    Specimen(
        SettlesDown,
        slug="blocking-call",
        layer="L0",
        shortest="init -> start",
        why="time.sleep in on_start",
    ),
    Specimen(AsksGit, slug="blocking-call", layer="L0", shortest="init", why="subprocess.run in on_init"),
    Specimen(
        FetchesFeed,
        slug="blocking-call",
        layer="L0",
        shortest="init -> start",
        why="a synchronous socket in a helper that on_start calls",
    ),
]
