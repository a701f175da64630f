"""The steps by which a plugin comes to rest, apart from its own hook: drain its inputs, end its workers.

Both outlive a cancellation of their caller: a stop that is cancelled still has to release what it can. They hand the
``CancelledError`` back, for the caller to raise when all is done.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection

from fsm_plugins.channels import Receiver
from fsm_plugins.driving import Worker, where

__all__ = ["drain", "end_workers"]


async def drain(
    inputs: Collection[Receiver[object]],
    workers: Collection[Worker[object]],
    until: float,
    alarm: asyncio.Future[None],
) -> tuple[bool, asyncio.CancelledError | None]:
    """Let the workers read every input to its end.

    Ends early when no worker is left to read, or when ``alarm`` is done.

    Args:
        inputs: ports whose senders are all closed, so that they come to an end.
        workers: who reads them.
        until: the time of the event loop's clock at which to give up, in seconds.
        alarm: done when the plugin has to stop at once.

    Returns:
        Whether the time ran out, and the cancellation of the caller if there was one.
    """
    loop = asyncio.get_running_loop()
    late, cancelled = False, None
    reads = [asyncio.ensure_future(port.drained()) for port in inputs]
    try:
        while (reading := [read for read in reads if not read.done()]) and not alarm.done():
            working = [worker.task for worker in workers if not worker.task.done()]
            left = until - loop.time()
            if not working:
                break
            if left <= 0:
                late = True
                break
            # Woken by each read that ends and by each worker; a worker that ends may have been the last reader.
            waits_for: list[asyncio.Future[object]] = [*reading, *working, alarm]  # type: ignore[list-item]
            await asyncio.wait(waits_for, timeout=_timeout(left), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError as error:
        cancelled = error
    finally:
        for read in reads:
            read.cancel()
    try:
        await asyncio.sleep(0)  # they end in this turn of the loop, and so not after the plugin
    except asyncio.CancelledError as error:
        cancelled = error
    return late, cancelled


async def end_workers(
    workers: set[Worker[object]], until: float, grace: float
) -> tuple[list[str], asyncio.CancelledError | None]:
    """Cancel ``workers`` and wait for their end; close the coroutine of one that ignores it. None survives.

    Args:
        workers: the set that the workers leave as they end, and that they may add to until then.
        until: the time of the event loop's clock until which they may take to end, in seconds.
        grace: what they are given in any case, in seconds.

    Returns:
        The workers that had to be closed, each with the place where it was, and the cancellation of the caller if
        there was one.
    """
    loop = asyncio.get_running_loop()
    cancelled = await _end(workers, _cancel, max(until, loop.time() + grace))
    live = _live(workers)
    closed = sorted(f"{where(worker.coroutine) or 'an unknown place'} (worker {worker.name})" for worker in live)
    if live:
        # A killed worker ends at its next step. One whose wait cannot be cancelled has none; it is left behind, named.
        cancelled = await _end(workers, Worker.kill, loop.time() + grace) or cancelled
    return closed, cancelled


async def _end(
    workers: Collection[Worker[object]], tell: Callable[[Worker[object]], None], until: float
) -> asyncio.CancelledError | None:
    """Tell each worker once to end, those included that come meanwhile, and wait for them until a point in time."""
    loop = asyncio.get_running_loop()
    cancelled: asyncio.CancelledError | None = None
    told: set[Worker[object]] = set()
    while live := _live(workers):
        for worker in live - told:
            tell(worker)
        told |= live
        left = until - loop.time()
        if left <= 0:
            break
        try:
            tasks = [worker.task for worker in live]
            await asyncio.wait(tasks, timeout=_timeout(left), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


def _timeout(left: float) -> float | None:
    """Return what asyncio takes for so many seconds: no timer for no limit."""
    return left if left < math.inf else None


def _cancel(worker: Worker[object]) -> None:
    worker.task.cancel()


def _live(workers: Collection[Worker[object]]) -> set[Worker[object]]:
    return {worker for worker in workers if not worker.task.done()}
