"""The journal: every transition in a file, so that the state after a crash can be read.

Theory of operation
-------------------
The listener puts events in a queue, and that is all it does in the event loop. A thread of the journal's own takes
what is there, numbers it, and appends it with one write. So a slow disk holds nobody up. After a write the thread rests
for `REST_SECONDS`: an event that comes alone is written at once, and many are written together, because to be woken for
each would cost more than to write it. So what is written is behind what happened by the rest and one write. Nothing is
kept in buffers of the process beyond that: a process that is killed (SIGKILL) loses what had not been written yet and
nothing else. The file is not synced to the disk after each write, so a machine that loses its power may lose what its
operating system had not written yet; a SQLite journal is.

What cannot be written, because the disk is full, is kept and tried again until there is room; beyond a limit, the
oldest is dropped. Numbers in the file have a gap then, and so its reader knows how much is missing.

When the file has grown to its limit it becomes ``PATH.1``, that one ``PATH.2``, and so on. The new file begins
with a copy of the last line of each plugin, so that the newest file alone tells the state of every plugin.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import frozen

from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import EventCells, Recorder, TransitionEvent
from fsm_plugins.observe.steps import Step
from fsm_plugins.observe.stores import Cells, Format, JournalError, Row, Store, explain, open_store, read_file

__all__ = ["Contents", "Journal", "JournalError", "last_states", "read_journal"]

logger = logging.getLogger("fsm_plugins")

REST_SECONDS: Final = 0.01

_LARGEST_BATCH: Final = 10_000


class Journal:
    """Appends every transition to a file. It is a listener: ``registry.subscribe(journal)``.

    Args:
        path: the file. What is in it stays; a torn last line of a process that was killed is taken away.
        format: ``jsonl`` for JSON lines, ``sqlite`` for a SQLite database.
        max_bytes: from which size a new file is begun, in bytes.
        keep: how many full files are kept, as ``PATH.1`` (the newest) to ``PATH.N``; at least 1.
        retry: after how many seconds it is tried again when the file cannot be written.
        limit: how many transitions are kept meanwhile.

    Attributes:
        run: the word for this run in the file.
        lost: how many transitions were dropped.
        failing: why the file cannot be written at present; empty if it can.
        note: the same listener as a `Recorder`, for which no event object is made.

    >>> import tempfile
    >>> from fsm_plugins import State
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "journal.jsonl")
    ...     with Journal(path) as journal:
    ...         journal(TransitionEvent("clock", "init", State.CREATED, State.INITIALIZED, 12.5, 0.25))
    ...     print(last_states(path)["clock"].dest)
    initialized
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        format: Format = "jsonl",  # noqa: A002
        max_bytes: int = 10 * 2**20,
        keep: int = 5,
        retry: float = 1.0,
        limit: int = 100_000,
    ) -> None:
        self.path = Path(path)
        self.run = secrets.token_hex(4)
        self.lost = 0
        self.failing = ""
        self._format: Format = format
        self._max_bytes, self._keep = max_bytes, keep
        self._retry, self._limit = retry, limit
        self._queue: queue.SimpleQueue[EventCells | None] = queue.SimpleQueue()  # None: it ends
        self.note = Recorder(self._queue.put)
        self._overflow = 0
        self._thread: threading.Thread | None = None
        # Everything below belongs to the thread.
        self._store: Store | None = None
        self._fresh = False  # whether the last rows of the plugins have to be carried over to the store
        self._base = 0  # how many bytes that took; or else many plugins would fill every file at once
        self._seq = self._skipped = 0
        self._latest: dict[str, Cells] = {}
        self._pending: list[Cells] = []

    def __call__(self, event: TransitionEvent) -> None:
        """Note a transition. Never waits."""
        self.note(event)

    def trim(self) -> None:
        """Drop what is beyond the limit, when the disk takes nothing and does not even say so.

        To be called from time to time, by whoever has a clock. A disk that says that it is full needs no such thing.
        """
        for _ in range(self._queue.qsize() - self._limit):
            with suppress(queue.Empty):
                if self._queue.get_nowait() is None:
                    self._queue.put(None)
                else:
                    self._overflow += 1

    def start(self) -> None:
        """Open the file, and begin to write. A file that cannot be written now is tried again later.

        Raises:
            JournalError: the file is something else than a journal, or another process writes it.
        """
        if self._thread is not None:
            return
        self._open()
        self._thread = threading.Thread(target=self._work, name=f"journal {self.path.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Write what is left, and close the file. Waits for at most ``timeout`` seconds."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout)
            if thread.is_alive():
                logger.error(
                    "the journal %s could not be closed within %g s: the disk does not answer", self.path, timeout
                )

    def __enter__(self) -> Journal:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # What the thread does.

    def _work(self) -> None:
        due = 0.0
        ending = False
        while not ending:
            ending = self._take(max(0.0, due - time.monotonic()) if self.failing else None)
            if self._pending and (ending or not self.failing or time.monotonic() >= due):
                self._write()
                due = time.monotonic() + self._retry
                if not ending:
                    time.sleep(REST_SECONDS)
        if self._pending:
            self.lost += len(self._pending)
            logger.error(
                "the journal %s ends without its last %d transitions: %s", self.path, len(self._pending), self.failing
            )
        if self._store is not None:
            self._close()

    def _take(self, timeout: float | None) -> bool:
        """Wait for events, number them, and return whether it is the end."""
        try:
            items = [self._queue.get(timeout=timeout)]
        except queue.Empty:
            return False
        with suppress(queue.Empty):
            while len(items) <= _LARGEST_BATCH:
                items.append(self._queue.get_nowait())
        run, seq, pending = self.run, self._seq, self._pending
        for item in items:
            if item is None:
                break
            seq += 1
            # Of an exception the text is kept: it would keep alive whatever it came through.
            cause = None if item[6] is None else _in_words(item[6])
            pending.append((*item[:6], cause, run, seq, False))
        self._seq = seq
        skipped, self._skipped = self._overflow - self._skipped, self._overflow
        self._seq += skipped
        self.lost += skipped
        if (surplus := len(pending) - self._limit) > 0:
            del pending[:surplus]
            self.lost += surplus
        return item is None

    def _write(self) -> None:
        try:
            if self._store is not None and self._store.size - self._base >= self._max_bytes:
                self._rotate(self._store)
            if self._store is None:
                self._store = open_store(self.path, self._format)
            if self._fresh:
                self._store.append([(*row[:-1], True) for row in self._latest.values()])
                self._base = self._store.size
                self._fresh = False
            self._store.append(self._pending)
        except (OSError, sqlite3.Error, JournalError) as error:
            self._fails(error)
            return
        self._latest.update((row[0], row) for row in self._pending)
        self._pending.clear()
        if self.failing:
            logger.warning("the journal %s is written again; %d transitions were lost", self.path, self.lost)
            self.failing = ""

    def _open(self) -> None:
        try:
            self._store = open_store(self.path, self._format)
        except (OSError, sqlite3.Error) as error:
            self._fails(error)
        else:
            if self._store.note:
                logger.warning("the journal %s was not closed: %s", self.path, self._store.note)

    def _fails(self, error: Exception) -> None:
        why = explain(error)
        if not self.failing:
            logger.error(
                "the journal %s cannot be written: %s; the plugins go on, and %d transitions are kept until it can",
                self.path,
                why,
                self._limit,
            )
        self.failing = why

    def _rotate(self, store: Store) -> None:
        """Set aside what is in the file, and go on with nothing."""
        self._fresh = True
        try:
            store.set_aside(_numbered(self.path, 1), self._make_room)
        except BaseException:
            self._close()
            raise

    def _make_room(self) -> None:
        """Give every full file the number of the next older one."""
        for number in range(self._keep, 1, -1):
            newer = _numbered(self.path, number - 1)
            if newer.exists():
                os.replace(newer, _numbered(self.path, number))

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()


def _in_words(cause: BaseException) -> str:
    """Return an exception in one line, even if it cannot tell its own text."""
    try:
        return describe(cause)
    except Exception:
        return type(cause).__name__


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


# Reading.


@frozen
class Contents:
    """What is in a journal.

    Attributes:
        rows: the transitions, the oldest first, each once.
        torn: how many bytes of a last line were found that was not written to its end; it is not among the rows.
        missing: how many transitions were dropped because they could not be written.
    """

    rows: tuple[Row, ...]
    torn: int = 0
    missing: int = 0

    @property
    def steps(self) -> tuple[Step, ...]:
        """The transitions as the pictures take them."""
        return tuple(row.step for row in self.rows)


def read_journal(path: str | os.PathLike[str]) -> Contents:
    """Read a journal, of either kind, also one that is being written or whose process was killed.

    Args:
        path: the file. Those that were full, ``PATH.1`` and so on, are read, too.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is no journal; the text names it and the line.
    """
    first, torn, number = Path(path), 0, 1
    files: list[list[Row]] = []
    # The newest first: if they get other names meanwhile, one is read twice, and none is missed.
    try:
        found, torn = _read(first)
        files.append(found)
    except FileNotFoundError:
        if not _numbered(first, 1).exists():
            raise
    with suppress(FileNotFoundError):
        while True:
            files.append(_read(_numbered(first, number))[0])
            number += 1
    rows: dict[tuple[str, int], Row] = {}
    for place, row in enumerate(itertools.chain.from_iterable(reversed(files))):
        rows.setdefault((row.run, row.seq) if row.run else ("", place), row)
    return Contents(tuple(rows.values()), torn, _missing(rows.values()))


def _read(file: Path) -> tuple[list[Row], int]:
    try:
        return read_file(file)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error.__cause__


def _missing(rows: Iterable[Row]) -> int:
    numbers: dict[str, list[int]] = {}
    for row in rows:
        if row.run and not row.carried:
            numbers.setdefault(row.run, []).append(row.seq)
    return sum(max(of_run) - min(of_run) + 1 - len(of_run) for of_run in numbers.values())


def last_states(path: str | os.PathLike[str]) -> Mapping[str, Row]:
    """Return the last transition of each plugin in the last run: where each was when the process ended.

    A plugin that is not among them was in its initial state. Raises as `read_journal` does.
    """
    rows = read_journal(path).rows
    return {row.plugin: row for row in rows if row.run == rows[-1].run}
