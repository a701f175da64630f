"""What a plugin at rest may have left behind: the process before a run compared with the process after it.

Two things are no leaks: a thread of an executor that has nothing to do, because executors keep those; and a task
that was cancelled and has not had its turn. The first is recognised here, the second gets its turns from ``running``.
"""

from __future__ import annotations

import asyncio
import contextlib
import dis
import os
import re
import signal
import sys
import sysconfig
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from concurrent.futures import thread as executors
from pathlib import Path
from types import FrameType
from typing import Any, Final

from attrs import frozen

import fsm_plugins

__all__ = [
    "NOT_THE_PLUGIN",
    "Leak",
    "Process",
    "attributes",
    "busy_threads",
    "found",
    "has_cleanup",
    "held_locks",
    "of_warning",
]

_SIGNALS: Final = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
NOT_THE_PLUGIN: Final = tuple(
    os.path.join(path, "")
    for path in {
        os.path.dirname(fsm_plugins.__file__),
        os.path.dirname(asyncio.__file__),
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    }
)
"""Where code is that is no plugin's own: this package, the standard library, installed packages."""
_FDS: Final = next((path for path in ("/proc/self/fd", "/dev/fd") if os.path.isdir(path)), None)


@frozen
class Leak:
    """Something that was left.

    Attributes:
        slug: the check it breaks.
        what: what it is, in words.
    """

    slug: str
    what: str


@frozen
class Process:
    """What can be left behind, at one moment."""

    fds: Mapping[int, str]
    threads: frozenset[threading.Thread]
    children: frozenset[int]
    signals: tuple[object, ...]
    environ: Mapping[str, str]
    directory: str

    @classmethod
    def now(cls) -> Process:
        """Look."""
        return cls(
            _open_fds(),
            frozenset(threading.enumerate()),  # not their numbers, which are given to others later
            _children(),
            tuple(map(signal.getsignal, _SIGNALS)),
            dict(os.environ),
            _directory(),
        )

    def end_children(self) -> None:
        """Kill the child processes that have been left, and wait until asyncio has taken note."""
        left = _children() - self.children
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if left:
            for thread in threading.enumerate():
                if thread not in self.threads and _watches(thread):
                    thread.join(1.0)

    def restore(self) -> None:
        """Put back the environment, the directory and the signal handlers, for the next run."""
        if os.environ != self.environ:
            for key in os.environ.keys() - self.environ.keys():
                del os.environ[key]
            os.environ.update(self.environ)
        if _directory() != self.directory:
            with contextlib.suppress(OSError):
                os.chdir(self.directory)
        for number, handler in zip(_SIGNALS, self.signals, strict=True):
            if handler is not None and signal.getsignal(number) is not handler:
                with contextlib.suppress(ValueError, OSError, TypeError):
                    signal.signal(number, handler)  # type: ignore[arg-type]


def found(before: Process, temporary: Path) -> list[Leak]:
    """Return what is there now and was not ``before``, and what is in the directory for temporary files."""
    now = Process.now()
    leaks = [_fd_leak(what) for fd, what in sorted(now.fds.items()) if before.fds.get(fd) != what]
    leaks += [Leak("leak-thread", f"thread {thread.name!r}") for thread in busy_threads(before.threads)]
    leaks += [
        Leak("leak-process", f"child process {_command(child)}") for child in sorted(now.children - before.children)
    ]
    for number, old, new in zip(_SIGNALS, before.signals, now.signals, strict=True):
        if old is not new and old != new:
            leaks.append(Leak("signal-handler-left", f"handler of {signal.Signals(number).name}"))
    changed = sorted(
        key for key in now.environ.keys() | before.environ.keys() if now.environ.get(key) != before.environ.get(key)
    )
    leaks += [Leak("environment-changed", f"environment variable {key}") for key in changed]
    if now.directory != before.directory:
        leaks.append(Leak("working-directory-changed", "working directory"))
    leaks += [Leak("leak-temporary-file", f"temporary {_file_kind(entry)}") for entry in sorted(temporary.iterdir())]
    return leaks


# File descriptors.


def _open_fds() -> dict[int, str]:
    if _FDS is None:
        return {}
    fds = {}
    for name in os.listdir(_FDS):
        try:
            fds[int(name)] = os.readlink(f"{_FDS}/{name}") if _FDS.startswith("/proc") else _identity(int(name))
        except OSError:
            continue  # the one that the listing itself needed
    return fds


def _identity(fd: int) -> str:
    status = os.fstat(fd)
    return f"{status.st_mode}:{status.st_dev}:{status.st_ino}"


def _fd_leak(what: str) -> Leak:
    if what.startswith("socket:"):
        return Leak("leak-socket", "socket")
    if what.startswith("pipe:"):
        return Leak("leak-fd", "pipe")
    if what.startswith("anon_inode:"):
        return Leak("leak-fd", f"descriptor of {what.removeprefix('anon_inode:').strip('[]')}")
    return Leak("leak-fd", f"open file {os.path.basename(what)}")


# Threads.


def busy_threads(known: Iterable[threading.Thread], *, watchers: bool = False) -> list[threading.Thread]:
    """Return the threads that are not ``known`` and do something.

    With ``watchers``, also those of asyncio that wait for the end of a child process.
    """
    if threading.active_count() <= 1:
        return []
    known = frozenset(known)
    others = [t for t in threading.enumerate() if t not in known and (watchers or not _watches(t))]
    if not others:
        return []
    frames = sys._current_frames()
    return [thread for thread in others if not _idles(thread, frames.get(thread.ident or 0))]


def _watches(thread: threading.Thread) -> bool:
    return thread.name.startswith("asyncio-waitpid") or thread.name.startswith("waitpid-")


def _idles(thread: threading.Thread, frame: FrameType | None) -> bool:
    """Whether it is a thread of an executor without a job: the code of the executor itself is what it is at."""
    if not thread.is_alive():
        return True
    return thread in executors._threads_queues and (frame is None or frame.f_code.co_filename == executors.__file__)


# Child processes.


def _children() -> frozenset[int]:
    found: set[int] = set()
    try:
        for task in os.listdir("/proc/self/task"):
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/self/task/{task}/children") as f,
            ):
                found.update(map(int, f.read().split()))
    except OSError:
        return frozenset()
    return frozenset(found)


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "of an unknown program"
    name = os.path.basename(words[0].decode(errors="replace"))
    return repr(name) if name else "that has ended and was not waited for"


# Files.


def _directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _file_kind(path: Path) -> str:
    return "directory" if path.is_dir() and not path.is_symlink() else "file"


# Locks.


def attributes(plugin: object) -> Iterator[tuple[str, object]]:
    """Yield the attributes of an instance, in slots or not, then those of its class and of the module of that."""
    seen: set[str] = set()
    for cls in type(plugin).__mro__:
        slots = vars(cls).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else tuple(slots):
            name = f"_{cls.__name__.lstrip('_')}{slot}" if slot.startswith("__") and not slot.endswith("__") else slot
            if name not in seen and name not in ("__dict__", "__weakref__", "_guard"):
                seen.add(name)
                with contextlib.suppress(AttributeError):
                    yield name, getattr(plugin, name)
    yield from getattr(plugin, "__dict__", {}).items()


def _around(plugin: object) -> Iterator[tuple[str, object]]:
    yield from attributes(plugin)
    for cls in type(plugin).__mro__:
        if cls.__module__.partition(".")[0] in ("builtins", "fsm_plugins"):
            continue
        for name, value in vars(cls).items():
            yield f"{cls.__name__}.{name}", value
    module = sys.modules.get(type(plugin).__module__)
    if module is not None and not module.__name__.startswith("fsm_plugins."):
        yield from list(vars(module).items())


_LOCK: Final = type(threading.Lock())
_RLOCK: Final = type(threading.RLock())


def held_locks(plugin: object) -> dict[str, int]:
    """Return how often each lock and semaphore within reach of ``plugin`` is held; 0 for one that is free.

    A semaphore counts from what it has left, so only a difference between two moments means something.
    """
    return {name: held for name, value in _around(plugin) if (held := _held(value)) is not None}


def _held(lock: object) -> int | None:
    if isinstance(lock, asyncio.Lock | asyncio.Condition | _LOCK):
        return int(lock.locked())
    if isinstance(lock, asyncio.Semaphore | threading.Semaphore):
        return -int(lock._value)
    if isinstance(lock, _RLOCK):
        return int(lock._is_owned())  # type: ignore[attr-defined]
    if isinstance(lock, threading.Condition):
        return _held(lock._lock)  # type: ignore[attr-defined]
    return None


# What Python tells.

_WARNINGS: Final = (
    (re.compile(r"coroutine '(?P<what>.*?)' was never awaited"), "never-awaited", "coroutine {what}"),
    (re.compile(r"coroutine method '(?P<what>.*?)' of .* was never awaited"), "leak-async-generator", "generator"),
    (re.compile(r"unclosed file"), "leak-fd", "open file"),
    (
        re.compile(r"unclosed (<socket|transport <_SelectorSocket|transport <_SelectorDatagram)"),
        "leak-socket",
        "socket",
    ),
    (re.compile(r"unclosed (transport|resource)"), "leak-fd", "transport"),
    (re.compile(r"subprocess \d+ is still running"), "leak-process", "child process"),
    (re.compile(r"Implicitly cleaning up"), "leak-temporary-file", "temporary directory"),
)


def of_warning(text: str) -> Leak | None:
    """Return what a warning of Python tells about something that was forgotten, if it does.

    >>> of_warning("coroutine 'Clock.tick' was never awaited")
    Leak(slug='never-awaited', what='coroutine Clock.tick')
    """
    for pattern, slug, what in _WARNINGS:
        if match := pattern.search(text):
            return Leak(slug, what.format(**match.groupdict()))
    return None


# Async generators.


def has_cleanup(agen: AsyncGenerator[Any, Any]) -> bool:
    """Whether an async generator is suspended inside a ``try`` or a ``with``, so that closing it does something.

    What matters is whether a handler of its code covers the place. The compiler adds handlers of its own for what
    generators and ``await`` need; those do not begin by pushing the exception.
    """
    frame = getattr(agen, "ag_frame", None)
    if frame is None or frame.f_lasti < 0:
        return False
    code = frame.f_code
    return any(
        entry.start <= frame.f_lasti < entry.end and dis.opname[code.co_code[entry.target]] == "PUSH_EXC_INFO"
        for entry in dis._parse_exception_table(code)  # type: ignore[attr-defined]
    )
