"""Following files: against a model, with whatever may happen to a log between two looks at it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ironpost.logs import follow
from ironpost.logs.follow import Follower
from ironpost.logs.positions import Mark, Place, load_positions, save_positions


def read_all(follower: Follower) -> list[bytes]:
    """Read and handle what there is."""
    lines: list[bytes] = []
    while (batch := follower.read()) is not None:
        lines += batch.lines
        follower.done(batch, len(batch.lines))
    return lines


class LogOfAnApplication(RuleBasedStateMachine):
    """Each line that was written is read once: whatever was rotated, emptied after a copy, or read half before a stop.

    The one thing that the model forbids is what nobody could make good: to empty a log with unread lines of which there
    is no copy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.log = self.directory / "app.log"
        self.state = self.directory / "state.json"
        self.time = 0.0
        self.number = 0
        self.follower: Follower | None = None
        self.began = b""
        self.written: list[bytes] = []
        self.handled: list[bytes] = []
        self.before: list[Path] = []
        self.writer = open(self.log, "ab", buffering=0)  # noqa: SIM115
        self.old_writer = self.writer

    @initialize(old=st.booleans())
    def begin(self, old: bool) -> None:
        """There may be rotated logs from long ago, which nobody wants to have."""
        if old:
            (self.directory / "app.log.8").write_bytes(b"long ago\n")
        self.start()

    def start(self) -> None:
        place = load_positions(self.state).get("app")
        self.follower = Follower(self.log, place, wait=5.0, now=lambda: self.time)
        self.follower.read()

    def line(self) -> bytes:
        self.number += 1
        return b"line %d" % self.number

    @rule(lines=st.integers(1, 4))
    def append(self, lines: int) -> None:
        for _ in range(lines):
            self.finish_the_line()

    @rule()
    def append_half_a_line(self) -> None:
        """The newline comes later."""
        if not self.began:
            self.began = b"begun after %d, " % self.number
            self.writer.write(self.began)

    @rule()
    def finish_the_line(self) -> None:
        line = self.line()
        self.writer.write(line + b"\n")
        self.written.append(self.began + line)
        self.began = b""

    @precondition(lambda self: self.follower is not None)
    @rule(share=st.floats(0, 1))
    def read(self, share: float) -> None:
        """Read a batch, and handle the first part of it."""
        assert self.follower is not None
        batch = self.follower.read()
        if batch is not None:
            count = round(share * len(batch.lines))
            self.handled += batch.lines[:count]
            self.follower.done(batch, count)

    @precondition(lambda self: not self.began)
    @rule(leave_a_gap=st.booleans())
    def rotate(self, leave_a_gap: bool) -> None:
        """Rename the logs, each to the next number, and begin a new one."""
        numbers = sorted((int(path.suffix[1:]) for path in self.directory.glob("app.log.*")), reverse=True)
        for number in numbers:
            os.rename(self.directory / f"app.log.{number}", self.directory / f"app.log.{number + 1}")
        os.rename(self.log, self.directory / "app.log.1")
        if leave_a_gap and self.follower is not None:
            self.read(1.0)
        self.close_old()
        self.writer = open(self.log, "ab", buffering=0)  # noqa: SIM115

    def close_old(self) -> None:
        """Let nobody write to the file before the present one any more."""
        if self.old_writer is not self.writer:
            self.old_writer.close()
        self.old_writer = self.writer

    @rule()
    def append_to_the_log_before(self) -> None:
        """A program goes on writing to the file that was renamed, until it is told to open another one."""
        if self.old_writer is not self.writer and self.follower is not None:
            line = self.line()
            self.old_writer.write(line + b"\n")
            self.written.append(line)

    @precondition(lambda self: not self.began)
    @rule()
    def copy_and_empty(self) -> None:
        name = f"app.log-{self.number}"
        if not (self.directory / name).exists():
            shutil.copyfile(self.log, self.directory / name)
            os.truncate(self.log, 0)

    @precondition(lambda self: not self.began and self.follower is not None)
    @rule(lines=st.integers(0, 3))
    def empty(self, lines: int) -> None:
        """Empty the log when all of it has been read; it may be as long as before at the next look."""
        self.settle()
        os.truncate(self.log, 0)
        if lines:
            self.append(lines)

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        if self.follower is not None and seconds > 5.0:
            self.settle()  # who reads for long enough has read what there was
            self.close_old()
        self.time += seconds

    @precondition(lambda self: self.follower is not None)
    @rule()
    def stop(self) -> None:
        assert self.follower is not None
        self.follower.close()
        assert self.follower.place is not None
        save_positions(self.state, {"app": self.follower.place})
        self.follower = None

    @precondition(lambda self: self.follower is None)
    @rule()
    def go_on(self) -> None:
        self.start()

    @invariant()
    def nothing_is_repeated(self) -> None:
        assert len(set(self.handled)) == len(self.handled)
        assert set(self.handled) <= set(self.written)

    def settle(self) -> None:
        """Read until there is nothing more."""
        assert self.follower is not None
        self.handled += read_all(self.follower)

    def teardown(self) -> None:
        if self.follower is None:
            self.start()
        if self.began:
            self.finish_the_line()
        self.settle()
        self.time += 10
        self.settle()
        assert self.follower is not None
        self.follower.close()
        self.writer.close()
        self.old_writer.close()
        shutil.rmtree(self.directory)
        assert Counter(self.handled) == Counter(self.written)
        assert self.follower.gaps == 0


LogOfAnApplication.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestLogOfAnApplication = LogOfAnApplication.TestCase


def test_a_log_that_is_copied_emptied_and_renamed_between_two_looks(tmp_path: Path) -> None:
    """What was read before is not read again from the copy, and what was not is read from there."""
    log = tmp_path / "app.log"
    log.write_bytes(b"one\ntwo\nthree\n")
    with Follower(log).opened() as follower:
        batch = follower.read()
        assert batch is not None
        follower.done(batch, 1)
        shutil.copyfile(log, tmp_path / "app.log-1")
        os.truncate(log, 0)
        with open(log, "ab") as stream:
            stream.write(b"four\n")
        os.rename(log, tmp_path / "app.log.1")
        log.write_bytes(b"five\n")
        assert sorted(read_all(follower)) == [b"five", b"four", b"three", b"two"]


def test_a_batch_is_read_again_from_where_it_was_handled(tmp_path: Path) -> None:
    """Also when the log was emptied and written anew between reading and handling."""
    log = tmp_path / "app.log"
    log.write_bytes(b"one\ntwo\n")
    with Follower(log).opened() as follower:
        batch = follower.read()
        assert batch is not None
        log.write_bytes(b"three and more\nfour and more\n")
        follower.done(batch, 2)
        assert read_all(follower) == [b"three and more", b"four and more"]
        assert follower.truncations == 1


def test_a_line_longer_than_a_chunk_is_handed_out_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits forever for its end."""
    monkeypatch.setattr(follow, "CHUNK", 8)
    log = tmp_path / "app.log"
    log.write_bytes(b"0123456789\nab\n")
    with Follower(log).opened() as follower:
        assert read_all(follower) == [b"01234567", b"89", b"ab"]


def test_a_log_can_be_begun_at_its_end(tmp_path: Path) -> None:
    """The first time; later it goes on where it was."""
    log = tmp_path / "app.log"
    log.write_bytes(b"old\n")
    with Follower(log, begin="end").opened() as follower:
        assert read_all(follower) == []
        with open(log, "ab") as stream:
            stream.write(b"new\n")
        assert read_all(follower) == [b"new"]


def test_what_is_no_log_is_told(tmp_path: Path) -> None:
    """A log that is not there, a directory, one whose file is gone, and a follower that was closed."""
    with Follower(tmp_path / "none").opened() as follower:
        assert follower.read() is None
        assert "there is no file" in follower.trouble
    assert follower.read() is None
    with Follower(tmp_path).opened() as follower:
        assert follower.read() is None
        assert "not an ordinary file" in follower.trouble
    log = tmp_path / "app.log"
    log.write_bytes(b"new\n")
    place = Place((Mark(1, 1, 10, "x", "y"),))
    with Follower(log, place).opened() as follower:
        assert read_all(follower) == [b"new"]
        assert follower.gaps == 1


def test_files_that_may_not_be_read_keep_nothing_else_from_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new log after a rotation is told until it can be read; one beside it is passed over."""
    log = tmp_path / "app.log"
    log.write_bytes(b"one\n")
    forbidden = {str(log), str(tmp_path / "app.log.0")}
    really = os.open

    def guarded(path: Path, *flags: int) -> int:
        if str(path) in forbidden:
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *flags)

    with Follower(log).opened() as follower:
        assert read_all(follower) == [b"one"]
        with open(log, "ab") as stream:
            stream.write(b"two\n")
        os.rename(log, tmp_path / "app.log.1")
        (tmp_path / "app.log.0").write_bytes(b"secret\n")
        log.write_bytes(b"three\n")
        monkeypatch.setattr(os, "open", guarded)
        batch = follower.read()
        assert batch is not None
        assert batch.lines == [b"two"]
        assert follower.trouble == f"Permission denied: {log}"
        follower.done(batch, 1)
        assert follower.read() is None
        forbidden.remove(str(log))
        assert read_all(follower) == [b"three"]
        assert follower.trouble == ""


def test_a_log_that_was_copied_and_emptied_before_any_of_it_was_handled(tmp_path: Path) -> None:
    """While nobody looked, in a process that was there before it and one that came after: its copy is read first."""
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    with Follower(log).opened() as follower:
        batch = follower.read()
        assert batch is not None
        follower.done(batch, 1)
        log.rename(tmp_path / "log.1")
        log.write_bytes(b"two\n")
        batch = follower.read()
        assert batch is not None
        assert batch.lines == [b"two"]
        place = follower.place  # the new log is known, and nothing of it has been handled
    (tmp_path / "log.1").rename(tmp_path / "log.2")
    shutil.copyfile(log, tmp_path / "log.1")
    log.write_bytes(b"three\n")
    found = []
    with Follower(log, place).opened() as follower:
        while (batch := follower.read()) is not None:
            found += list(batch.lines)
            follower.done(batch, len(batch.lines))
    assert found == [b"two", b"three"]
