"""Finding the lockfiles in a directory, within bounds, and reading them without being led astray.

A tree that is scanned may be hostile. No directory is entered through a symbolic link; a lockfile that is one is read
only if it leads to a regular file inside the tree; pipes and devices are never opened for reading. What was left out is
told with the reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import Factory, define, field, frozen
from attrs.validators import ge

from ironpost.sbom.lockfiles import format_of

__all__ = ["Limits", "Skipped", "Walk"]


@frozen
class Limits:
    """How much is looked at.

    Attributes:
        files: how many lockfiles.
        bytes: how big one of them may be.
        entries: how many files and directories are looked at to find them.
    """

    files: int = field(default=10_000, validator=ge(1))
    bytes: int = field(default=64 * 1024 * 1024, validator=ge(1))
    entries: int = field(default=2_000_000, validator=ge(1))


@frozen
class Skipped:
    """Something that was left out: where, relative to the root, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@define
class Walk:
    """One walk through a tree.

    Attributes:
        root: where it begins.
        limits: how far it goes.
        exclude: names of directories that are not entered.
        skipped: what was left out so far.
        entries: how many files and directories were looked at so far.
    """

    root: Path
    limits: Limits
    exclude: frozenset[str] = frozenset()
    skipped: list[Skipped] = Factory(list)
    entries: int = 0

    def lockfiles(self, check: Callable[[], None] = lambda: None) -> Iterator[tuple[str, bytes]]:
        """Yield the path, relative to the root, and the content of each lockfile, in the order of their paths.

        Args:
            check: called for each directory and each lockfile; it may raise to end the walk.
        """
        root = self.root.resolve()
        read = 0
        for path in self._candidates(root, check):
            check()
            if read == self.limits.files:
                self.skip(root, path, f"more than {self.limits.files} lockfiles")
                continue
            content = self._read(root, path)
            if content is not None:
                read += 1
                yield _relative(root, path), content

    def skip(self, root: Path, path: Path, reason: str) -> None:
        """Note that something is left out."""
        self.skipped.append(Skipped(_relative(root, path), reason))

    def _candidates(self, root: Path, check: Callable[[], None]) -> Iterator[Path]:
        pending = [root]
        while pending:
            check()
            directory = pending.pop()
            try:
                with os.scandir(directory) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                self.skip(root, directory, _text(error))
                continue
            self.entries += len(entries)
            if self.entries > self.limits.entries:
                self.skip(
                    root, directory, f"more than {self.limits.entries} files and directories; the rest is left out"
                )
                return
            inner = []
            for entry in entries:
                if _is_directory(entry):
                    if entry.name not in self.exclude:
                        inner.append(directory / entry.name)
                elif format_of(entry.name):
                    yield directory / entry.name
            pending += reversed(inner)

    def _read(self, root: Path, path: Path) -> bytes | None:
        try:
            target = path.resolve(strict=True)
            if not target.is_relative_to(root):
                self.skip(root, path, "a link that leads out of the tree")
                return None
            # Not through a link that took its place meanwhile, and without waiting for the writer of a pipe.
            with open(os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    self.skip(root, path, "not a regular file")
                    return None
                content = file.read(self.limits.bytes + 1)
        except (OSError, RuntimeError) as error:
            self.skip(root, path, _text(error))
            return None
        if len(content) > self.limits.bytes:
            self.skip(root, path, f"bigger than {self.limits.bytes} bytes")
            return None
        return content


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _relative(root: Path, path: Path) -> str:
    # File names are bytes; what is no UTF-8 among them could not be written into a report.
    return os.fsencode(path.relative_to(root)).decode("utf-8", "replace")


def _text(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
