"""Whole programs that the benchmark of applications starts: each runs so many services until SIGTERM.

``python -m benchmarks.programs.NAME COUNT``. When all services run, a program sends ``READY=1`` to ``$NOTIFY_SOCKET``,
as `fsm-plugins run` does.
"""

from __future__ import annotations

import os
import socket

__all__ = ["ready"]


def ready() -> None:
    """Tell the one who waits that everything runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
