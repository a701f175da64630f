"""Plugins that count words: one reads lines, one splits them, one reports."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

from attrs import define, field
from attrs.validators import ge

from fsm_plugins import HealthStatus, Plugin, PluginInfo, PluginType, Receiver, Sender


@define
class Read(Plugin):
    """Reads a file line by line, and is done at its end."""

    info = PluginInfo("read", "1.0.0", "Reads the lines of a file", PluginType.DETECTOR)

    lines: Sender[str]
    file: Path

    async def on_init(self) -> None:
        if not self.file.is_file():
            raise FileNotFoundError(f"there is no file {self.file}; set plugins.read.settings.file")

    async def on_start(self) -> None:
        self.spawn(self._read())

    async def _read(self) -> None:
        text = await asyncio.to_thread(self.file.read_text, encoding="utf-8")
        for line in text.splitlines():
            await self.lines.send(line)
        self.lines.close()  # no more: whoever receives gets the rest, and then the end


@define
class Split(Plugin):
    """Splits lines into words."""

    info = PluginInfo("split", "1.0.0", "Splits lines into words", PluginType.LOG_PIPELINE)

    lines: Receiver[str]
    words: Sender[str]
    shortest: int = field(default=1, validator=ge(1))

    async def on_start(self) -> None:
        self.spawn(self._split())

    async def _split(self) -> None:
        async for line in self.lines:
            for word in re.findall(r"[a-z]+", line.lower()):
                if len(word) >= self.shortest:
                    await self.words.send(word)
        self.words.close()


@define
class Report(Plugin):
    """Counts words, and prints the most frequent ones when there are no more."""

    info = PluginInfo("report", "1.0.0", "Reports the most frequent words", PluginType.custom("report"))

    words: Receiver[str]
    top: int = field(default=10, validator=ge(1))
    counts: Counter[str] = field(factory=Counter, init=False)

    async def on_start(self) -> None:
        self.spawn(self._count())

    async def _count(self) -> None:
        async for word in self.words:
            self.counts[word] += 1
        for word, count in self.counts.most_common(self.top):
            print(f"{count:6} {word}")

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if self.counts else HealthStatus.degraded("no words yet")
