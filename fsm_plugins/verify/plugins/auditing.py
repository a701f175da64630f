"""Seeing calls that block the event loop as they happen, by the audit events of Python (PEP 578).

An audit hook cannot be taken away again, so there is one for the whole process, made when the first run needs it; while
no run is under way it does nothing. ``time.sleep`` has no event before Python 3.13. It is replaced for the time of a
run, by one that tells of it and does not keep the run waiting.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final, SupportsIndex

from attrs import Factory, define

import fsm_plugins

__all__ = ["Blocked", "watching"]

_STDLIB: Final = tuple({sysconfig.get_path("stdlib") + os.sep, os.path.dirname(threading.__file__) + os.sep})
_SITE: Final = sysconfig.get_path("purelib") + os.sep
_OURS: Final = os.path.dirname(fsm_plugins.__file__) + os.sep
_WAITING: Final = frozenset({"run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"})


@define(eq=False)
class Blocked:
    """The calls that blocked in one run, each with its place: ``time.sleep, app.py:41``."""

    thread: int = Factory(threading.get_ident)
    calls: list[str] = Factory(list)


_current: Blocked | None = None
_installed = False


@contextlib.contextmanager
def watching() -> Iterator[Blocked]:
    """Watch what this thread does for as long as the block lasts."""
    global _current, _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_heard)
    before, _current = _current, Blocked()
    sleep = time.sleep
    time.sleep = _sleep
    try:
        yield _current
    finally:
        time.sleep = sleep
        _current = before


_real_sleep: Final = time.sleep


def _sleep(seconds: float | SupportsIndex, /) -> None:
    if _current is None or threading.get_ident() != _current.thread:
        _real_sleep(seconds)
        return
    if not float(seconds) >= 0:
        raise ValueError("sleep length must be non-negative")
    if place := _place(sys._getframe(1)):
        _current.calls.append(f"time.sleep, {place}")


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    watched = _current
    if watched is None or event not in _EVENTS or threading.get_ident() != watched.thread:
        return
    frame: FrameType | None = sys._getframe(1)
    name = _EVENTS[event]
    if event == "socket.connect":
        connecting = arguments[0]
        if not isinstance(connecting, socket.socket) or connecting.gettimeout() == 0:
            return
    if event == "subprocess.Popen":
        waits = _waits(frame)
        if not waits:
            return  # to start a process does not block for long, and asyncio does it the same way
        name = f"subprocess.{waits}"
    if place := _place(frame):
        watched.calls.append(f"{name}, {place}")


_EVENTS: Final = {
    "time.sleep": "time.sleep",
    "os.system": "os.system",
    "socket.connect": "connect of a blocking socket",
    "socket.getaddrinfo": "socket.getaddrinfo",
    "subprocess.Popen": "subprocess",
    "builtins.input": "input",
}


def _waits(frame: FrameType | None) -> str:
    """Return the function that starts a process and waits for its end."""
    while frame is not None:
        if frame.f_code.co_filename == subprocess.__file__ and frame.f_code.co_name in _WAITING:
            return frame.f_code.co_name
        frame = frame.f_back
    return ""


def _place(frame: FrameType | None) -> str:
    """Return the line of the plugin that made the call; empty if no plugin did."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OURS):
            return ""
        if not file.startswith(_STDLIB) or file.startswith(_SITE):
            return f"{os.path.basename(file)}:{frame.f_lineno}"
        if os.path.basename(os.path.dirname(file)) == "asyncio":
            return ""
        frame = frame.f_back
    return ""
