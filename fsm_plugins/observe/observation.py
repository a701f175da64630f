"""Everything that a configuration asks for in ``[observe]``, started and stopped together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fsm_plugins.config import Config, ObserveSection
from fsm_plugins.errors import ConfigError, Problem
from fsm_plugins.observe.feed import Feed
from fsm_plugins.observe.journal import Journal, JournalError, logger
from fsm_plugins.observe.logs import LogFormat
from fsm_plugins.observe.target import Target

if TYPE_CHECKING:
    from fsm_plugins.observe.server import Endpoint

__all__ = ["Observation", "observation_problems"]

_TRIM_SECONDS: Final = 1.0
_LONGEST_SOCKET: Final = 107  # bytes, what sockaddr_un holds on Linux beside the final zero


class Observation:
    """The journal, the metrics and the endpoint of an application. What is not asked for costs nothing.

    Args:
        log: how a command is to log; see `fsm_plugins.observe.configure`.
        journal: where transitions go.
        metrics: whether the endpoint has metrics.
        socket, http, token: where the endpoint listens; see `fsm_plugins.observe.server.Endpoint`.

    Attributes:
        endpoint: the endpoint while it is served.

    >>> from fsm_plugins import PluginRegistry
    >>> from fsm_plugins.observe import RegistryTarget
    >>> async def main() -> None:
    ...     async with Observation().running(RegistryTarget(PluginRegistry())) as observation:
    ...         print(observation.endpoint)
    >>> asyncio.run(main())
    None
    """

    def __init__(
        self,
        *,
        log: LogFormat = "text",
        journal: Journal | None = None,
        metrics: bool = False,
        socket: Path | None = None,
        http: str | None = None,
        token: str | None = None,
    ) -> None:
        self.log: LogFormat = log
        self.journal = journal
        self.endpoint: Endpoint | None = None
        self._metrics = metrics
        self._socket, self._http, self._token = socket, http, token
        self._ends: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def from_config(cls, config: Config) -> Observation:
        """Make what ``config.observe`` asks for. Nothing is opened yet, but the file with the token.

        Raises:
            ConfigError: with everything that `observation_problems` finds.
        """
        if problems := list(observation_problems(config)):
            raise ConfigError(config.source, problems)
        section = config.observe
        journal = None
        if (kept := section.journal) is not None:
            journal = Journal(
                kept.path, format=kept.format, max_bytes=kept.max_bytes, keep=kept.keep
            )  # fmt: skip
        return cls(
            log=section.log,
            journal=journal,
            metrics=section.metrics,
            socket=section.socket,
            http=section.http,
            token=None if section.token_file is None else _token(section.token_file),
        )

    @asynccontextmanager
    async def running(self, target: Target) -> AsyncIterator[Observation]:
        """Observe ``target`` for as long as the ``async with`` block. What cannot be had is logged, and left out."""
        try:
            await self.start(target)
            yield self
        finally:
            await self.stop()

    async def start(self, target: Target) -> None:
        """Begin to observe ``target``. What cannot be had is logged, and left out."""
        if self.journal is not None:
            try:
                self.journal.start()
            except JournalError as error:
                logger.error("no journal: %s; the plugins go on without it", error)
            else:
                self._ends.append(target.subscribe(self.journal.note))
                self._trim(self.journal)
        if self._socket is None and self._http is None:
            return
        from fsm_plugins.observe.server import Endpoint

        feed = Feed()
        self._ends.append(target.subscribe(feed, feed))
        metrics: Any = None
        if self._metrics:
            from fsm_plugins.observe.metrics import Metrics

            metrics = Metrics(target, lambda: self._counters(feed))
            metrics.start()
            self._ends.append(metrics.stop)
        self.endpoint = Endpoint(target, feed, metrics, path=self._socket, http=self._http, token=self._token)
        await self.endpoint.start()

    async def stop(self) -> None:
        """Write what is left, and close everything. Takes some seconds at most. To call it again does nothing."""
        try:
            if self.endpoint is not None:
                await self.endpoint.stop()
        finally:
            self.endpoint = None
            if self._timer is not None:
                self._timer.cancel()
            for end in self._ends:
                end()
            self._ends.clear()
            if self.journal is not None:
                await asyncio.to_thread(self.journal.stop)

    def _trim(self, journal: Journal) -> None:
        journal.trim()
        self._timer = asyncio.get_running_loop().call_later(_TRIM_SECONDS, self._trim, journal)

    def _counters(self, feed: Feed) -> Iterator[tuple[str, str, float]]:
        """Yield what observation itself has to tell."""
        yield "event_followers_dropped", "Followers of events that did not keep up.", feed.dropped
        if self.journal is not None:
            yield "journal_lost", "Transitions that could not be written to the journal.", self.journal.lost


def observation_problems(config: Config) -> Iterator[Problem]:
    """Yield everything that is wrong with ``[observe]`` beyond the types of its values. Nothing is changed."""
    section = config.observe
    if section.journal is not None:
        yield from _no_directory("observe.journal.path", section.journal.path)
    if (path := section.socket) is not None:
        yield from _no_directory("observe.socket", path)
        if (surplus := len(os.fsencode(path)) - _LONGEST_SOCKET) > 0:
            yield Problem(
                "observe.socket", f"the path {path} is {surplus} bytes too long for a socket; use a shorter one"
            )
    if section.token_file is not None:
        try:
            _token(section.token_file)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            yield Problem("observe.token_file", f"there is no token in it ({reason}); write one into it")
    key = "observe.socket" if section.socket is not None else "observe.http" if section.http is not None else ""
    if key and not _is_there("starlette", "uvicorn"):
        yield Problem(key, "an endpoint needs starlette and uvicorn: pip install 'fsm-plugins[web]'")
    if section.metrics and not _is_there("prometheus_client"):
        yield Problem("observe.metrics", "metrics need prometheus-client: pip install 'fsm-plugins[metrics]'")
    if "observe" not in config.unsound:
        yield from _alone(section)


def _alone(section: ObserveSection) -> Iterator[Problem]:
    """Yield a problem for what has no effect without something else."""
    if section.metrics and section.socket is None and section.http is None:
        yield Problem("observe.metrics", 'nobody could read them; add socket = "PATH" or http = "127.0.0.1:9090"')
    if section.token_file is not None and section.http is None:
        yield Problem("observe.token_file", 'a token is for control over TCP; add http = "127.0.0.1:9090"')


def _no_directory(where: str, path: Path) -> Iterator[Problem]:
    if not path.parent.is_dir():
        yield Problem(where, f"there is no directory {path.parent}; make it, or give another path")
    elif path.is_dir():
        yield Problem(where, f"{path} is a directory; give the path of a file in it")


def _token(path: Path) -> str:
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise ValueError("it is empty")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("it is more than one word of ASCII")
    return token


def _is_there(*modules: str) -> bool:
    return all(find_spec(module) is not None for module in modules)
