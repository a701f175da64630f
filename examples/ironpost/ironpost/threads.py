"""Heavy work off the event loop, in a thread that can be told to end.

A thread cannot be cancelled; it can look, now and then, whether it is still wanted. `in_thread` gives the work a
`Token` to look at. When the task that waits is cancelled, the token says so, and the task ends when the thread has: a
plugin that was stopped leaves no thread behind.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Token", "Unwanted", "in_thread"]

T = TypeVar("T")


class Unwanted(Exception):
    """The work is not wanted any more; raised in its thread only."""


class Token:
    """Says whether the work is still wanted.

    >>> token = Token()
    >>> token.check()
    >>> token.revoke()
    >>> token.check()
    Traceback (most recent call last):
    ...
    ironpost.threads.Unwanted
    """

    def __init__(self) -> None:
        self._revoked = threading.Event()

    def revoke(self) -> None:
        """Say that it is not."""
        self._revoked.set()

    def check(self) -> None:
        """Go on, or raise `Unwanted`. Cheap enough to be called for each file and for each hundred packages."""
        if self._revoked.is_set():
            raise Unwanted


async def in_thread(work: Callable[[Token], T]) -> T:
    """Run ``work`` in a thread and return its result.

    Raises:
        asyncio.CancelledError: the caller was cancelled; the thread has ended by then.

    >>> asyncio.run(in_thread(lambda token: 6 * 7))
    42
    """
    token = Token()
    future = asyncio.get_running_loop().run_in_executor(None, work, token)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        token.revoke()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # it was looked at; else the loop reports it
        raise
