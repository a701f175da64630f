"""Whole programs that the benchmark of applications starts: each runs so many services until SIGTERM.

``python -m benchmarks.programs.NAME COUNT``. When all services run, a program sends ``READY=1`` to ``$NOTIFY_SOCKET``,
as `fsm-plugins run` does. As the last thing it sends how many services began and how many came to their end, so that
none is quicker for having left something out.
"""

from __future__ import annotations

import atexit
import os
import socket
from typing import Final

__all__ = ["SERVING", "Serving", "ready"]


class Serving:
    """Counts the services of this process: each holds it, by ``with``, for as long as it waits."""

    __slots__ = ("begun", "ended")  # not attrs, which the peers would have to import for it

    def __init__(self) -> None:
        self.begun = self.ended = 0

    def __enter__(self) -> None:
        self.begun += 1

    def __exit__(self, *_error: object) -> None:
        self.ended += 1


SERVING: Final = Serving()


def ready(count: int) -> None:
    """Tell the one who waits that all ``count`` services run.

    Raises:
        RuntimeError: they do not.
    """
    if SERVING.begun != count or SERVING.ended:
        raise RuntimeError(f"{SERVING.begun} of {count} services began, {SERVING.ended} ended")
    _send("READY=1")


def _send(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.sendto(text.encode(), _ADDRESS)


def _account() -> None:
    _send(f"SERVED={SERVING.begun}/{SERVING.ended}")


_ADDRESS: Final = os.environ.get("NOTIFY_SOCKET", "")
if _ADDRESS:
    atexit.register(_account)
