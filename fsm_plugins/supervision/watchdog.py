"""Notices that the event loop is blocked, while it is blocked, and says by what.

The loop cannot notice it itself, so a thread asks it for a sign of life, and when none comes looks at what the loop's
thread is doing. The thread sets no timer in the loop: on a virtual clock it changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

__all__ = ["Watchdog"]

logger = logging.getLogger("fsm_plugins")

# Frames of the loop's thread that the report shows, from the innermost outwards.
_FRAMES = 8

# How often to see whether a loop that does not answer exists any more, in seconds.
_PATIENCE = 1.0


class Watchdog:
    """Watches the running event loop, from its thread, until `stop`.

    Args:
        seconds: for how long the loop may be blocked, in real seconds.
        on_blocked: called in the loop when it goes on, with how long it was blocked, in seconds, and by what.

    >>> async def main() -> None:
    ...     said: list[str] = []
    ...     watchdog = Watchdog(0.02, lambda seconds, place: said.append(place))
    ...     time.sleep(0.1)  # what nobody should do
    ...     while not said:
    ...         await asyncio.sleep(0)
    ...     watchdog.stop()
    ...     print("main" in said[0])
    >>> logging.disable(); asyncio.run(main()); logging.disable(logging.NOTSET)
    True
    """

    def __init__(self, seconds: float, on_blocked: Callable[[float, str], object]) -> None:
        self._seconds = seconds
        self._on_blocked = on_blocked
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._answered = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fsm-plugins-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it. To do it again does nothing."""
        self._stopped.set()
        self._answered.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        with suppress(RuntimeError):  # the loop was closed
            while not self._stopped.is_set():
                self._answered.clear()
                if self._stopped.is_set():  # in between; then nobody will set the other again
                    return
                asked = time.monotonic()
                self._loop.call_soon_threadsafe(self._answered.set)
                if self._answered.wait(self._seconds):
                    self._stopped.wait(self._seconds / 2)
                    continue
                place, stack = self._look()
                logger.error(
                    "the event loop has been blocked for %.3g s, at %s\n%s", time.monotonic() - asked, place, stack
                )
                while not self._answered.wait(_PATIENCE):
                    if self._loop.is_closed():  # it will never answer
                        return
                if not self._stopped.is_set():
                    blocked = time.monotonic() - asked
                    self._loop.call_soon_threadsafe(self._on_blocked, blocked, place)

    def _look(self) -> tuple[str, str]:
        """Return where the loop's thread is, in one line, and its innermost frames."""
        frame: FrameType | None = sys._current_frames().get(self._loop_thread)
        summary = traceback.extract_stack(frame, limit=_FRAMES) if frame is not None else None
        if not summary:
            return "an unknown place", ""
        last = summary[-1]
        return f"{last.filename}:{last.lineno} in {last.name}", "".join(summary.format())
