"""The two kinds of file that a journal can be: JSON lines, and SQLite. What is in them is described in docs/journal.md.

A store is opened by a journal, which alone appends to it. To append is all or nothing: rows that could not be written
have left nothing behind, and may be tried again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from fsm_plugins.errors import PluginError
from fsm_plugins.observe.steps import Step, read_step

__all__ = ["Cells", "Format", "JournalError", "Row", "Store", "explain", "is_journal", "open_store", "read_file"]

Format: TypeAlias = Literal["jsonl", "sqlite"]


class JournalError(PluginError):
    """A file is no journal, or another process writes it. It is as it was before."""


class Row(NamedTuple):
    """A line of a journal: a step, and which one it is.

    Attributes:
        plugin, trigger, source, dest, at, duration, cause: as in a `Step`.
        run: which run of the application, a random word.
        seq: the number of the transition in that run, from 1.
        carried: whether it stands in an older file, too.
    """

    plugin: str
    trigger: str
    source: str
    dest: str
    at: float
    duration: float
    cause: str | None
    run: str
    seq: int
    carried: bool = False

    @property
    def step(self) -> Step:
        """What happened."""
        return Step(*self[:7])


Cells: TypeAlias = tuple[str, str, str, str, float, float, str | None, str, int, bool]
"""What is in a `Row`, for those who make many."""


class Store(Protocol):
    """A file that rows are appended to.

    Attributes:
        size: how large it is, in bytes.
        note: what was found when it was opened, for people; may be empty.
    """

    size: int
    note: str

    def append(self, rows: Sequence[Cells]) -> None:
        """Write rows, all or none.

        Raises:
            OSError, sqlite3.Error: they could not be written.
        """

    def set_aside(self, path: Path, make_room: Callable[[], None]) -> None:
        """Move everything to another file, and go on with nothing; that of the old name is replaced.

        Args:
            path: the other file.
            make_room: to be called just before it is made.

        Raises:
            OSError, sqlite3.Error: it could not be done. The store can only be closed then.
        """

    def close(self) -> None:
        """Close the file."""


def open_store(path: Path, kind: Format) -> Store:
    """Open a file to append to it; make it if there is none.

    Raises:
        JournalError: it is something else than a journal of this kind, or another process has it.
        OSError, sqlite3.Error: it cannot be opened.
    """
    return JsonLines(path) if kind == "jsonl" else Sqlite(path)


# JSON lines.

_BLOCK: Final = 65536


class JsonLines:
    """A file with a JSON object on each line, in the format of `observe.steps` with three keys more."""

    def __init__(self, path: Path) -> None:
        self.note = ""
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)
            if self._regular:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise JournalError(f"another process writes the journal {path}; give each its own") from None
                self._mend(path)
            self.size = os.fstat(self._file).st_size
        except BaseException:
            os.close(self._file)
            raise

    def append(self, rows: Sequence[Cells]) -> None:
        """Write rows with one call of the system, as a rule."""
        data = _lines(rows)
        begun = 0
        try:
            while begun < len(data):
                begun += os.write(self._file, data[begun:] if begun else data)
        except OSError:
            if begun and self._regular:
                os.ftruncate(self._file, self.size)
            raise
        self.size += begun

    def set_aside(self, path: Path, make_room: Callable[[], None]) -> None:
        """Rename the file, and make a new one."""
        make_room()
        os.replace(self._path, path)
        new = JsonLines(self._path)
        os.close(self._file)
        self._file, self.size = new._file, new.size

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _mend(self, path: Path) -> None:
        """Make sure that it is a journal, and that it ends with a whole line."""
        size = os.fstat(self._file).st_size
        if not size:
            return
        head, _, rest = os.pread(self._file, _BLOCK, 0).partition(b"\n")
        if not (_is_step(head) or (not rest and _may_be_torn(head))):
            raise JournalError(f"{path} is no journal of JSON lines, and is left as it is; give another path")
        tail, begin = b"", size
        while begin and b"\n" not in tail:
            begin = max(0, begin - _BLOCK)
            tail = os.pread(self._file, size - begin, begin)
        torn = tail[tail.rfind(b"\n") + 1 :]
        if torn and _is_step(torn):
            os.write(self._file, b"\n")
        elif torn:
            os.ftruncate(self._file, size - len(torn))
            self.note = f"its last line was torn, and was taken away ({len(torn)} bytes)"


_FIRST: Final = b'{"plugin": "'


def _may_be_torn(line: bytes) -> bool:
    return line.startswith(_FIRST) or _FIRST.startswith(line)


def _is_step(line: bytes) -> bool:
    try:
        read_step(json.loads(line))
    except (ValueError, RecursionError):
        return False
    return True


_quoted: Final = json.encoder.encode_basestring
_DIGITS: Final = tuple(f"{number:03}" for number in range(1000))


@lru_cache(maxsize=1024)
def _move(trigger: str, source: str, dest: str) -> str:
    """Return the part of a line that tells the arc; there are only so many."""
    return json.dumps({"trigger": trigger, "source": source, "dest": dest}, ensure_ascii=False)[1:-1]


def _lines(rows: Sequence[Cells]) -> bytes:
    """Return rows as lines. It is most of what a journal costs, and to format floats would be most of that."""
    lines: list[str] = []
    last, second = -1, ""
    for plugin, trigger, source, dest, at, duration, cause, run, seq, carried in rows:
        if 0.0 <= at < 1e12:
            if (whole := int(at)) != last:
                last, second = whole, str(whole)
            high, low = divmod(int((at - whole) * 1e6), 1000)
            when = f"{second}.{_DIGITS[high]}{_DIGITS[low]}"
        else:
            when = json.dumps(at)
        if 0.0 <= duration < 1.0:
            high, low = divmod(int(duration * 1e6), 1000)
            took = f"0.{_DIGITS[high]}{_DIGITS[low]}"
        else:
            took = json.dumps(duration)
        lines.append(
            f'{{"plugin": {_quoted(plugin)}, {_move(trigger, source, dest)}, "at": {when}, "duration": {took}'
            f', "cause": {"null" if cause is None else _quoted(cause)}, "run": "{run}", "seq": {seq}'
            f"{_CARRIED if carried else _END}"
        )
    # What is no character becomes an escape, as JSON has them.
    return "".join(lines).encode("utf-8", "backslashreplace")


_END: Final = "}\n"
_CARRIED: Final = ', "carried": true}\n'


def _read_lines(data: bytes) -> tuple[list[Row], int]:
    """Return the rows, and how many bytes of a torn last line there are."""
    rows: list[Row] = []
    *lines, last = data.split(b"\n")
    for number, line in enumerate([*lines, last], 1):
        try:
            if line.strip():
                value = json.loads(line)
                rows.append(_row(read_step(value), value, number))
        except (ValueError, RecursionError) as error:
            if number > len(lines):
                return rows, len(last)
            what = f"not JSON: {error.msg}" if isinstance(error, json.JSONDecodeError) else error
            raise ValueError(f"line {number}: {what}") from None
    return rows, 0


def _row(step: Step, value: dict[str, Any], number: int) -> Row:
    run, seq = value.get("run", ""), value.get("seq", number)
    if not isinstance(run, str) or not isinstance(seq, int):
        raise ValueError("'run' should be a text and 'seq' an integer")
    if step.dest is None:
        raise ValueError("a call that was refused has no place in a journal")
    cells = (step.plugin, step.trigger, step.source, step.dest, step.at, step.duration, step.cause)
    return Row(*cells, run, seq, value.get("carried") is True)


# SQLite.

APPLICATION_ID: Final = 0x66736D70  # "fsmp"
_MAGIC: Final = b"SQLite format 3\0"
_TABLE: Final = """
CREATE TABLE transitions (
    plugin TEXT NOT NULL, "trigger" TEXT NOT NULL, source TEXT NOT NULL, dest TEXT NOT NULL,
    at REAL NOT NULL, duration REAL NOT NULL, cause TEXT,
    run TEXT NOT NULL, seq INTEGER NOT NULL, carried INTEGER NOT NULL
)
"""


class Sqlite:
    """A SQLite database with one table."""

    def __init__(self, path: Path) -> None:
        self.note = ""
        if path.exists() and not path.is_file():
            raise JournalError(f"{path} is no file, so it cannot be a SQLite journal; give another path")
        self._path = path
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            begun = self._check()
            # No write-ahead log, so that it is one file and can be copied by itself.
            self._db.execute("PRAGMA journal_mode = DELETE")
            self._db.execute("PRAGMA synchronous = NORMAL")
            if not begun:
                # In one step: a process that is killed leaves a journal, or a database with nothing in it.
                self._db.executescript(
                    f"BEGIN; {_TABLE}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; COMMIT;"
                )
            self.size = self._used()
        except BaseException:
            self._db.close()
            raise

    def append(self, rows: Sequence[Cells]) -> None:
        """Write rows in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(f"INSERT INTO transitions VALUES ({', '.join('?' * len(Row._fields))})", _plain(rows))
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self.size = self._used()

    def set_aside(self, path: Path, make_room: Callable[[], None]) -> None:
        """Copy the database, and empty it. To rename it is unsafe for its readers (sqlite.org/howtocorrupt.html)."""
        copy = path.with_name(f"{path.name}.new")
        copy.unlink(missing_ok=True)
        self._db.execute("VACUUM INTO ?", (os.fspath(copy),))
        make_room()
        os.replace(copy, path)
        self._db.execute("DELETE FROM transitions")
        self.size = self._used()

    def _used(self) -> int:
        """Return how many bytes are in use; a database that was emptied keeps its pages for later."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _check(self) -> bool:
        """Return whether it is a journal already, or still nothing at all. Refuse a file that is something else."""
        foreign = JournalError(f"{self._path} is no SQLite journal, and is left as it is; give another path")
        try:
            tables = [name for (name,) in self._db.execute("SELECT name FROM sqlite_master")]
            (number,) = self._db.execute("PRAGMA application_id").fetchone()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise foreign from None
        if tables and number != APPLICATION_ID:
            raise foreign
        return bool(tables)


def _plain(rows: Sequence[Cells]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        yield tuple(_text(cell) if isinstance(cell, str) else cell for cell in row)


def _text(cell: str) -> str:
    """Return a text as SQLite takes it: a plain one, of nothing but characters."""
    return str.encode(cell, "utf-8", "backslashreplace").decode()


def _read_sqlite(path: Path) -> list[Row]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5.0)) as db:
        if not db.execute("SELECT name FROM sqlite_master").fetchall():
            return []  # killed before it had begun
        if db.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            raise ValueError("it is a SQLite database, but no journal")
        cells = ", ".join(f'"{name}"' for name in Row._fields)
        return [
            Row(*row)._replace(carried=bool(row[-1]))
            for row in db.execute(f"SELECT {cells} FROM transitions ORDER BY rowid")
        ]


# Either.


def is_journal(path: Path) -> bool:
    """Whether a file is a journal, as far as its beginning tells, and no plain trace. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_BLOCK)
    first, newline, _ = head.partition(b"\n")
    if head.startswith(_MAGIC) or (not newline and first.startswith(_FIRST)):
        return True
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "run" in value


def read_file(path: Path) -> tuple[list[Row], int]:
    """Return the rows of one file, whichever kind it is, and how many bytes of a torn last line there are.

    Lines of a plain trace file are rows of a run without a name.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no journal; the text names the line.
    """
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
        if head != _MAGIC:
            return _read_lines(head + file.read())
    try:
        return _read_sqlite(path), 0
    except sqlite3.Error as error:
        raise ValueError(f"the database cannot be read: {error}") from error


def explain(error: Exception) -> str:
    """Return why a journal could not be written, for people."""
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return "the file may not become larger" if error.errno == errno.EFBIG else reason
    return str(error)
