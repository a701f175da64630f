"""What a process looks like from outside: its threads, descriptors, children, handlers, environment, and so on.

Two looks are compared. Linux only, where ``/proc`` tells.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest import mock

from attrs import Factory, define, frozen

__all__ = ["Look", "World", "pause", "world"]

pause: Final = time.sleep  # the real one, also where it is watched

# Idle threads of the default executor are kept on purpose, and belong to the loop. A `waitpid` thread ends with its
# child, and the child is what counts.
_HARMLESS: Final = ("asyncio_", "waitpid-")
_SIGNALS: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1),
    *(signal.SIGUSR2, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE),
)
_CALLS_THAT_BLOCK: Final = ((time, "sleep"), (subprocess, "run"), (socket, "create_connection"))
_WARNINGS: Final = {
    "was never awaited": "never-awaited",
    "unclosed <socket": "leak-socket",
    "unclosed file": "leak-fd",
    "Implicitly cleaning up": "leak-temporary-file",
}


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:  # the descriptor that listed the directory
            continue
    return found


def _children() -> frozenset[int]:
    found: set[int] = set()
    for children in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, children.read_text().split()))
        except (FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            continue
    return frozenset(found)


def _handlers() -> dict[int, object]:
    return {number: signal.getsignal(number) for number in _SIGNALS}


@frozen
class Look:
    """One look at the process."""

    threads: frozenset[threading.Thread] = Factory(lambda: frozenset(threading.enumerate()))
    descriptors: dict[int, str] = Factory(_descriptors)
    children: frozenset[int] = Factory(_children)
    handlers: dict[int, object] = Factory(_handlers)
    environment: dict[str, str] = Factory(lambda: dict(os.environ))
    directory: str = Factory(os.getcwd)

    def since(self, before: Look) -> set[str]:
        """Return what is left that was not there before, as slugs."""
        found = set()
        threads = {thread for thread in self.threads - before.threads if not thread.name.startswith(_HARMLESS)}
        if threads:
            found.add("leak-thread")
        for descriptor, target in self.descriptors.items():
            if before.descriptors.get(descriptor) != target:
                found.add("leak-socket" if target.startswith("socket:") else "leak-fd")
        if self.children - before.children:
            found.add("leak-process")
        if self.handlers != before.handlers:
            found.add("signal-handler-left")
        if self.environment != before.environment:
            found.add("environment-changed")
        if self.directory != before.directory:
            found.add("working-directory-changed")
        return found


@define
class World:
    """A process to do damage in, which is put right afterwards.

    Attributes:
        found: slugs of what was noticed on the way.
        temporary: where temporary files go.
    """

    temporary: Path
    found: set[str] = Factory(set)
    _caught: list[warnings.WarningMessage] = Factory(list)

    def collect(self) -> set[str]:
        """Collect garbage, and return what was found until now, with the warnings that this brought up."""
        gc.collect()
        for warning in self._caught:
            self.found.update(slug for text, slug in _WARNINGS.items() if text in str(warning.message))
        return self.found


def _blocked(world: World, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return what stands in for a call that blocks: it notes a call from an event loop, and fails it at once."""

    def call(*args: Any, **kwargs: Any) -> Any:
        loop = asyncio._get_running_loop()
        if loop is None:
            return real(*args, **kwargs)
        world.found.add("blocking-call")
        if name == "sleep":
            return None
        raise OSError(f"{name} was called in a hook")

    return call


@cache
def _temporary() -> Path:
    """Return the directory for temporary files, one for all worlds: to make and remove one takes longer than a walk."""
    made = tempfile.mkdtemp(prefix="zoo-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


@contextmanager
def world() -> Iterator[World]:
    """Give a `World` of its own to the block: temporary files, warnings, blocking calls; put right what it changed."""
    before = Look()
    temporary = _temporary()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        this = World(temporary, caught=caught)
        with ExitStack() as patches:
            patches.enter_context(mock.patch("tempfile.tempdir", str(temporary)))
            for module, name in _CALLS_THAT_BLOCK:
                stand_in = _blocked(this, name, getattr(module, name))
                patches.enter_context(mock.patch.object(module, name, new=stand_in))
            try:
                yield this
            finally:
                _put_right(before)


def _put_right(before: Look) -> None:
    os.chdir(before.directory)
    for left in _temporary().iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    if os.environ != before.environment:
        os.environ.clear()
        os.environ.update(before.environment)
    for number, handler in before.handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)  # type: ignore[arg-type] # what getsignal gave
    for child in _children() - before.children:
        os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(child, 0)
        except ChildProcessError:  # a thread of asyncio was faster
            continue
