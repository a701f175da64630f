"""How far files have been read, kept in a file of its own, so that a restart neither loses nor repeats.

A file is known by its device and inode, which a rename does not change, and by what is at its beginning and before the
position: an inode is used again, and a file can be emptied and written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from fsm_plugins import ConfigError, Problem

__all__ = ["HEAD", "TAIL", "Mark", "Place", "digest", "load_positions", "save_positions", "surroundings"]

HEAD: Final = 256
"""How many bytes at the beginning of a file are compared."""
TAIL: Final = 64
"""How many bytes before a position are compared."""


@frozen
class Mark:
    """How far one file has been read.

    Attributes:
        device, inode: which file it is.
        offset: in bytes; all lines before it have been handled.
        head, tail: digests of up to 256 bytes at the beginning, and up to 64 before the offset; never beyond it.
    """

    device: int
    inode: int
    offset: int
    head: str
    tail: str

    def fits(self, descriptor: int) -> bool:
        """Whether what was read is still there in an open file, be it this file or a copy of it."""
        found = surroundings(descriptor, self.offset)
        return os.fstat(descriptor).st_size >= self.offset and tuple(map(digest, found)) == (self.head, self.tail)


def surroundings(descriptor: int, offset: int) -> tuple[bytes, bytes]:
    """Return what is at the beginning of an open file and before an offset, as much of it as is compared."""
    head = os.pread(descriptor, min(HEAD, offset), 0)
    return head, os.pread(descriptor, min(TAIL, offset), max(0, offset - TAIL))


def digest(data: bytes) -> str:
    """Return the digest of some bytes of a log, so that they need not be kept in another file."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


@frozen
class Place:
    """Where the reading of one path is.

    Attributes:
        marks: the files that are read, the oldest first; all but the last have been rotated away.
        known: the devices and inodes of files next to it that were there before, and are no business of the reader.
    """

    marks: tuple[Mark, ...] = ()
    known: frozenset[tuple[int, int]] = frozenset()


_VERSION: Final = 1


def load_positions(file: Path) -> dict[str, Place]:
    """Return what was saved, by path; nothing if there is no such file yet.

    Raises:
        ConfigError: the file cannot be read, or is not one of positions.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError("positions", [Problem(str(file), f"cannot be read: {error}")]) from error
    try:
        document: Any = json.loads(text)
        if document["version"] != _VERSION:
            raise ValueError(f"its version is {document['version']!r}, not {_VERSION}")
        return {
            path: Place(
                tuple(_mark(**mark) for mark in place["marks"]),
                frozenset((int(device), int(inode)) for device, inode in place["known"]),
            )
            for path, place in document["files"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        what = f"is not a file of positions ({error!r}); if you delete it, the logs are read from their beginning"
        raise ConfigError("positions", [Problem(str(file), what)]) from error


def _mark(device: int, inode: int, offset: int, head: str, tail: str) -> Mark:
    if int(offset) < 0:
        raise ValueError("an offset is negative")
    return Mark(int(device), int(inode), int(offset), str(head), str(tail))


def save_positions(file: Path, places: Mapping[str, Place]) -> None:
    """Write positions, so that there is at any time either the old file or the new one.

    Raises:
        OSError: it cannot be written.
    """
    files = {
        path: {"marks": [asdict(mark) for mark in place.marks], "known": sorted(place.known)}
        for path, place in places.items()
    }
    new = file.with_name(file.name + ".new")
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(new, "w", encoding="utf-8") as stream:
        json.dump({"version": _VERSION, "files": files}, stream, indent=1)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, file)
