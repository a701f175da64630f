"""The watchdog, on the real clock: it notices a blocked event loop while that is blocked, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import pytest

from fsm_plugins.supervision import Policy, Supervisor, Watchdog
from tests.unit.supervised import puppet

PATIENCE = 30.0
"""For how long a test waits for what has to happen, in seconds."""


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fsm-plugins-watchdog"]


def block_until(happened: Callable[[], object]) -> None:
    """Block the event loop until something happens outside of it."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_it_says_where_the_loop_is_blocked_while_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """A line of the log, with the innermost frames, does not have to wait for the end of the block."""

    async def main() -> None:
        watchdog = Watchdog(0.02, lambda seconds, place: None)
        block_until(lambda: caplog.records)
        watchdog.stop()

    with caplog.at_level(logging.ERROR, "fsm_plugins"):
        asyncio.run(main())
    (record,) = caplog.records
    text = record.getMessage()
    assert "the event loop has been blocked for" in text
    assert "block_until" in text.splitlines()[0]
    assert "in main" in text
    assert threads() == []


def test_it_reports_in_the_loop_once_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """One report for one block, with how long it took in all; the next block is another one."""
    said: list[tuple[float, str, int]] = []

    async def main() -> None:
        told = asyncio.Event()

        def blocked(seconds: float, place: str) -> None:
            said.append((seconds, place, threading.get_ident()))
            told.set()

        watchdog = Watchdog(0.02, blocked)
        for block in (1, 2):
            told.clear()
            begin = time.monotonic()
            block_until(lambda block=block: len(caplog.records) == block)  # type: ignore[misc]
            async with asyncio.timeout(PATIENCE):
                await told.wait()
            assert 0.02 <= said[-1][0] <= time.monotonic() - begin + 0.02
        watchdog.stop()

    with caplog.at_level(logging.ERROR, "fsm_plugins"):
        asyncio.run(main())
    assert len(said) == 2
    assert all("block_until" in place and thread == threading.get_ident() for _, place, thread in said)


def test_to_stop_ends_the_thread_whatever_it_is_at() -> None:
    """At once, and twice is as good as once; it is never waited for in vain."""

    async def main() -> None:
        for turn in range(50):
            watchdog = Watchdog(60.0, lambda seconds, place: None)
            await asyncio.sleep(0.0002 * (turn % 5))
            begin = time.monotonic()
            watchdog.stop()
            watchdog.stop()
            assert time.monotonic() - begin < PATIENCE
        assert threads() == []

    asyncio.run(main())


def test_to_stop_between_two_questions_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is about to ask, and the loop will not answer any more because it waits for the thread."""
    about_to_ask = threading.Event()
    watchdogs: list[Watchdog] = []

    class Event(threading.Event):
        def clear(self) -> None:
            if watchdogs:
                about_to_ask.set()
                block_until(watchdogs[0]._stopped.is_set)
                block_until(watchdogs[0]._answered.is_set)
            super().clear()

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading, "Event", Event)
            watchdogs.append(Watchdog(0.001, lambda seconds, place: None))
        await asyncio.to_thread(about_to_ask.wait, PATIENCE)
        stop = threading.Thread(target=watchdogs[0].stop, daemon=True)
        stop.start()
        stop.join(PATIENCE)
        assert not stop.is_alive()

    asyncio.run(main())


def test_a_loop_that_is_closed_ends_it() -> None:
    """Nobody stopped it, and nobody will answer."""
    loop = asyncio.new_event_loop()

    async def main() -> Watchdog:
        return Watchdog(0.01, lambda seconds, place: None)

    watchdog = loop.run_until_complete(main())
    loop.close()
    watchdog._thread.join(PATIENCE)
    assert not watchdog._thread.is_alive()


def test_a_supervisor_tells_of_a_blocked_loop(caplog: pytest.LogCaptureFixture) -> None:
    """As an event of its own; its watchdog lives as long as it runs."""
    supervisor = Supervisor([puppet("a")], policy=Policy(watchdog=0.02))
    told: list[str] = []

    async def main() -> None:
        heard = asyncio.Event()
        supervisor.subscribe(lambda event: told.append(f"{event.plugin} {event.action} {event.reason}"))
        supervisor.subscribe(lambda event: heard.set())
        async with supervisor.running():
            assert len(threads()) == 1
            block_until(lambda: caplog.records)
            async with asyncio.timeout(PATIENCE):
                await heard.wait()
        assert threads() == []

    with caplog.at_level(logging.ERROR, "fsm_plugins"):
        asyncio.run(main())
    assert told[0].startswith("supervisor blocked the event loop was blocked at ")
