"""The audit file: what was done to containers, one JSON object a line, on the disk before anything goes on.

An action leaves two lines, ``intent`` before it is tried and ``outcome`` after; a dry run leaves one, ``dry-run``. An
intent without an outcome says that the process ended in between.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from attrs import asdict, define

from ironpost.events import ActionEvent
from ironpost.threads import Token, in_thread

__all__ = ["Audit", "AuditError"]


class AuditError(Exception):
    """The audit file cannot be had; the text says why, and what to do."""


@define
class Audit:
    """A file that is appended to. It is opened for each line, so that it may be moved away at any time."""

    path: Path

    def check(self) -> None:
        """Make sure that it can be written. To be called in a thread.

        Raises:
            AuditError: it cannot.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append(b"")
        except OSError as error:
            why = error.strerror or error
            raise AuditError(f"the audit file {self.path} cannot be written ({why}); set 'audit' to another") from None

    async def write(self, phase: str, event: ActionEvent) -> None:
        """Append a line, and wait until it is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        line = json.dumps({"phase": phase, **asdict(event)}, ensure_ascii=False) + "\n"

        def append(_token: Token) -> None:
            self._append(line.encode("utf-8", "backslashreplace"))

        await in_thread(append)

    def _append(self, line: bytes) -> None:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(handle, "rb+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if line and size:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line  # what was cut off by a crash stays a line of its own
            while line:
                line = line[file.write(line) :]
            os.fsync(file.fileno())
