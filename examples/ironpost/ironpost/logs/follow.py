"""Following a log file through its rotations, so that each of its lines is handed out once.

What may happen to a log: it grows; it is renamed, and a new one takes its place (perhaps more than once between two
looks, or while nobody is reading), and its writer goes on for a while with the old one; it is copied and emptied; it is
emptied. The last one loses what was not read before, and nothing can be done about that.

Nothing is remembered but `Place`, which says how far the lines have been *handled*. Lines are read again until
`Follower.done` is told that they were.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

from attrs import define

from ironpost.logs.positions import HEAD, TAIL, Mark, Place, digest, surroundings

__all__ = ["CHUNK", "Batch", "Follower"]

CHUNK: Final = 256 * 1024
"""How many bytes are read at once. A line that is longer is handed out in pieces."""

_PACKED: Final = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
_SEPARATORS: Final = (".", "-", "_")  # what stands between the name of a log and what a rotation appends to it

Identity: TypeAlias = tuple[int, int]


@define(eq=False)
class Batch:
    """Some lines of one file.

    Attributes:
        lines: those that have not been handled, without the newlines.
    """

    lines: list[bytes]
    _file: _File
    _data: bytes  # what the lines were cut from
    _ended: bool  # whether a newline follows the last line

    def take(self, lines: int) -> bytes:
        """Take lines off the front, and return what they were cut from."""
        size = sum(map(len, self.lines[:lines])) + lines - (lines >= len(self.lines) and not self._ended)
        del self.lines[:lines]
        taken, self._data = self._data[:size], self._data[size:]
        return taken


@define(eq=False)
class _File:
    """An open file, and how far its lines have been handled.

    Attributes:
        head, tail: what was at its beginning and before the offset when that was read.
        quiet_since: when it was first seen that it was rotated away and had nothing new; None before.
    """

    descriptor: int
    identity: Identity
    offset: int = 0
    head: bytes = b""
    tail: bytes = b""
    quiet_since: float | None = None

    @property
    def mark(self) -> Mark:
        return Mark(*self.identity, self.offset, digest(self.head), digest(self.tail))

    def read(self, rest: bool) -> Batch | None:
        """Return the lines that are there; with ``rest`` also a last one that does not end."""
        data = os.pread(self.descriptor, CHUNK, self.offset)
        end = data.rfind(b"\n")
        if end >= 0:
            return Batch(data[:end].split(b"\n"), self, data[: end + 1], True)
        if data and (rest or len(data) == CHUNK):
            return Batch([data], self, data, False)
        return None

    def handled(self, data: bytes) -> None:
        """Go on behind ``data``, which was read here."""
        self.offset += len(data)
        self.head += data[: HEAD - len(self.head)]
        self.tail = (self.tail + data[-TAIL:])[-TAIL:]

    def put(self, offset: int) -> None:
        """Go to an offset, behind what is in the file now."""
        self.offset = offset
        self.head, self.tail = surroundings(self.descriptor, offset)

    def intact(self) -> bool:
        """Whether what was read is still there: whether the file was not emptied."""
        return surroundings(self.descriptor, self.offset) == (self.head, self.tail)


class Follower:
    """Reads the lines of the log at one path. To be used by one thread at a time, except for `close`.

    Args:
        path: of the log. It need not be there yet.
        place: where to go on; None if nothing was ever read.
        begin: where to begin a log that was never read: at its ``start`` or at its ``end``.
        wait: for how many seconds a log that was rotated away is still looked at, after its last line.
        follow: whether more may come. If not, a last line without a newline is a line.
        now: the time of a clock that is never set back, in seconds.

    Attributes:
        trouble: why nothing can be read just now; empty if all is well.
        rotations: how often another file took the place of the log.
        truncations: how often the log was emptied.
        gaps: how many files were gone before they had been read to their end.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log = Path(directory, "log")
    ...     _ = log.write_bytes(b"one\\ntwo\\nthr")
    ...     with Follower(log).opened() as follower:
    ...         batch = follower.read()
    ...         print(batch.lines)
    ...         follower.done(batch, 1)
    ...         place = follower.place
    ...     with Follower(log, place).opened() as follower:
    ...         print(follower.read().lines)
    [b'one', b'two']
    [b'two']
    """

    def __init__(
        self,
        path: Path,
        place: Place | None = None,
        *,
        begin: Literal["start", "end"] = "start",
        wait: float = 5.0,
        follow: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path.absolute()
        self.trouble = ""
        self.rotations = 0
        self.truncations = 0
        self.gaps = 0
        self._place = place
        self._begin = begin
        self._wait = wait
        self._follow = follow
        self._now = now
        self._files: list[_File] = []  # the oldest first; the last one is, or was, the one at the path
        self._known: frozenset[Identity] = frozenset()
        self._started = False
        self._closed = False
        self._lock = threading.Lock()

    @property
    def place(self) -> Place | None:
        """How far the lines have been handled; None if nothing was ever looked at."""
        if not self._started:
            return self._place
        return Place(tuple(file.mark for file in self._files), self._known)

    @contextmanager
    def opened(self) -> Iterator[Follower]:
        """Close the follower at the end of a ``with`` block."""
        try:
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """Close all files. Waits for a `read` in another thread."""
        with self._lock:
            self._place = self.place
            self._started = False
            self._closed = True
            for file in self._files:
                os.close(file.descriptor)
            self._files = []

    def read(self) -> Batch | None:
        """Return lines that have not been handled; None if there are none now, or if the follower was closed.

        `trouble` says why, if that is because a file cannot be read.
        """
        with self._lock:
            if self._closed:
                return None
            self.trouble = ""
            try:
                return self._next()
            except OSError as error:
                self.trouble = _told(error, self.path)
                return None

    def done(self, batch: Batch, lines: int) -> None:
        """Take note that the first ``lines`` lines of a batch have been handled. They are taken off it."""
        with self._lock:
            data = batch.take(lines)
            if batch._file in self._files:
                batch._file.handled(data)

    # What to read next.

    def _next(self) -> Batch | None:
        unchanged = self._look() if self._started else self._start()
        if unchanged and not self._files[-1].offset:
            self._recover(self._files[-1])
        for file in list(self._files):
            current = file is self._files[-1]
            batch = file.read(rest=not self._follow)
            # Looked at after the reading: what was read is from before a truncation, or all of it from after one.
            if not file.intact():
                self._emptied(file)
                return self._next()
            if batch is None and not current:
                batch = self._retire(file)
            if batch is not None:
                file.quiet_since = None
                return batch
        if not self._files:
            self.trouble = self.trouble or f"there is no file {self.path}"
        elif unchanged:
            self._known = frozenset(identity for identity, _ in self._beside())
        return None

    def _retire(self, file: _File) -> Batch | None:
        """Give up a file that was rotated away and has had nothing new for long; return its unfinished last line."""
        now = self._now()
        if file.quiet_since is None:
            file.quiet_since = now
        if self._follow and now - file.quiet_since < self._wait:
            return None
        rest = file.read(rest=True)
        if rest is None:
            self._files.remove(file)
            self._known |= {file.identity}
            os.close(file.descriptor)
        return rest

    # Which files there are.

    def _start(self) -> bool:
        """Find the files again that were read before, and those that came since; return whether the log is the same."""
        beside = self._beside()
        place = self._place or Place(known=frozenset(identity for identity, _ in beside))
        self._known = place.known
        here = _open(self.path)
        self._started = True
        candidates = [*beside, *([] if here is None else [(here.identity, self.path)])]
        for mark in place.marks:
            found = self._find(mark, candidates)
            if found is None:
                emptied = any(identity == (mark.device, mark.inode) for identity, _ in candidates)
                self.truncations += emptied
                self.gaps += not emptied
            elif found.identity in self._ours():
                os.close(found.descriptor)
            else:
                self._files.append(found)
        if here is not None and here.identity in self._ours():
            os.close(here.descriptor)
            self._put_last(here.identity)
            return True
        if here is not None:
            if self._place is None and self._begin == "end":
                here.put(os.fstat(here.descriptor).st_size)
            self._take(here, place.marks)
        return False

    def _look(self) -> bool:
        """See whether another file has taken the place of the log; return whether all is as it was."""
        try:
            about = os.stat(self.path)
            identity = (about.st_dev, about.st_ino)
            if self._files and self._files[-1].identity == identity:
                return True
            if identity in self._ours():
                self._put_last(identity)
            elif (here := _open(self.path)) is not None:
                self._take(here, tuple(file.mark for file in self._files[-1:]))
        except FileNotFoundError:
            pass  # it was renamed, and the new one is yet to come
        except OSError as error:  # the new one may not be read; what is left of the old one may
            self.trouble = _told(error, self.path)
        return False

    def _take(self, here: _File, before: tuple[Mark, ...]) -> None:
        """Go on with a new file at the path, after those that were there between it and the one ``before``."""
        self.rotations += bool(before)
        for between in self._strangers():
            if between.identity == here.identity or any(
                mark.offset and mark.fits(between.descriptor) for mark in before
            ):
                os.close(between.descriptor)  # a link to it, or a copy of what has been read
            else:
                self._files.append(between)
        self._files.append(here)

    def _ours(self) -> set[Identity]:
        return {file.identity for file in self._files}

    def _put_last(self, identity: Identity) -> None:
        self._files.sort(key=lambda file: file.identity == identity)

    def _emptied(self, file: _File) -> None:
        """Begin anew with a file that was emptied; what it had before may be in a copy."""
        self.truncations += 1
        copy = self._find(file.mark, [each for each in self._beside() if each[0] not in self._known | self._ours()])
        if copy is not None:
            self._files.insert(self._files.index(file), copy)
        file.put(0)

    def _recover(self, file: _File) -> None:
        """Find what a log had that was copied and emptied before any of it was handled: nothing of it is left there."""
        head = os.pread(file.descriptor, HEAD, 0)
        for copy in self._strangers():
            if os.pread(copy.descriptor, len(head), 0) == head and head:
                os.close(copy.descriptor)
            else:
                self._files.insert(-1, copy)

    def _strangers(self) -> Iterator[_File]:
        """Open the files next to the log that were not there before, the oldest first."""
        for identity, path in self._beside():
            if identity not in self._known | self._ours() and (file := _open_if_possible(path)) is not None:
                yield file

    def _find(self, mark: Mark, candidates: list[tuple[Identity, Path]]) -> _File | None:
        """Open the file that a mark is of, or else a copy of it, at the position of the mark."""
        own = [each for each in candidates if each[0] == (mark.device, mark.inode)]
        others = [each for each in candidates if each not in own and each[1] != self.path and mark.offset]
        for _, path in own + others:
            file = _open_if_possible(path)
            if file is None:
                continue
            if mark.fits(file.descriptor):
                file.put(mark.offset)
                return file
            os.close(file.descriptor)
        return None

    def _beside(self) -> list[tuple[Identity, Path]]:
        """Return the files next to the log that have its name and something appended, the oldest first."""
        found = []
        try:
            with os.scandir(self.path.parent) as entries:
                for entry in entries:
                    rest = entry.name.removeprefix(self.path.name)
                    if rest == entry.name or not rest.startswith(_SEPARATORS) or rest.endswith(_PACKED):
                        continue
                    try:
                        about = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:  # it was there a moment ago
                        continue
                    if stat.S_ISREG(about.st_mode):
                        age = (about.st_mtime_ns, [-int(number) for number in re.findall(r"\d+", rest)])
                        found.append((age, (about.st_dev, about.st_ino), Path(entry.path)))
        except FileNotFoundError:
            return []
        return [(identity, path) for _, identity, path in sorted(found)]


def _open(path: Path) -> _File | None:
    """Open a file at its beginning; None if it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not an ordinary file", str(path))
    return _File(descriptor, (about.st_dev, about.st_ino))


def _open_if_possible(path: Path) -> _File | None:
    """Open a file that stands beside a log; one that may not be read is nobody's business."""
    try:
        return _open(path)
    except OSError:
        return None


def _told(error: OSError, path: Path) -> str:
    return f"{error.strerror or error}: {path}"
