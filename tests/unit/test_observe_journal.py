"""The journal of a process that goes wrong: full disks, foreign files, exceptions without words."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from fsm_plugins import LIFECYCLE, State, TransitionEvent
from fsm_plugins.observe import Journal, JournalError, last_states, read_journal
from fsm_plugins.observe.journal import REST_SECONDS
from fsm_plugins.observe.stores import Format, JsonLines, is_journal

KINDS = pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
INIT = TransitionEvent("a", "init", State.CREATED, State.INITIALIZED, 1.0, 0.5)


def until(condition: Callable[[], object]) -> None:
    """Wait for the journal's thread."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("journal")]


@KINDS
def test_a_foreign_file_is_refused_and_left_as_it_is(kind: Format, tmp_path: Path) -> None:
    """Whatever it is: nobody's notes are taken for a torn line and cut off."""
    foreign = tmp_path / "notes"
    for content in (b"dear diary", b"dear diary\n", b"[1, 2]\n", b'{"a": 1}\n{"plugin": "x"', b"\0\0\0", b'{"plug'[:3]):
        if kind == "jsonl" and b'{"plugin": "'.startswith(content):
            continue  # that may be ours
        foreign.write_bytes(content)
        with pytest.raises(JournalError, match="give another path"):
            Journal(foreign, format=kind).start()
        assert foreign.read_bytes() == content


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    """Somebody else's tables are not added to; and JSON lines are no database, nor the other way round."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mine (x)")
    for kind in ("sqlite", "jsonl"):
        with pytest.raises(JournalError, match="is left as it is"):
            Journal(path, format=kind).start()
    with pytest.raises(ValueError, match="but no journal"):
        read_journal(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    """The second is told, and the first goes on."""
    with Journal(tmp_path / "j") as first:
        with pytest.raises(JournalError, match="another process writes the journal"):
            Journal(tmp_path / "j").start()
        first(INIT)
    assert len(read_journal(tmp_path / "j").rows) == 1


@KINDS
def test_what_cannot_be_written_is_kept_and_told_once(
    kind: Format, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One message when it begins, one when it is over, and nothing is missing."""
    folder = tmp_path / "later"
    journal = Journal(folder / "j", format=kind, retry=0.001)
    journal.start()
    journal(INIT)
    until(lambda: journal.failing)
    for _ in range(5):
        journal(INIT)
    time.sleep(0.02)  # many attempts
    assert not folder.exists()
    folder.mkdir()
    until(lambda: not journal.failing)
    journal.stop()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "the plugins go on" in caplog.text
    contents = read_journal(folder / "j")
    assert ([row.seq for row in contents.rows], contents.missing, journal.lost) == ([1, 2, 3, 4, 5, 6], 0, 0)


def test_beyond_the_limit_the_oldest_are_dropped_and_missing_is_counted(tmp_path: Path) -> None:
    """The reader sees the gap."""
    full = OSError(errno.ENOSPC, "No space left on device")
    journal = Journal(tmp_path / "j", retry=0.001, limit=3)
    journal.start()
    journal(INIT)
    until(lambda: journal._latest)
    with mock.patch.object(JsonLines, "append", side_effect=full):
        for _ in range(10):
            journal(INIT)
        until(lambda: journal.lost == 7)
        assert journal.failing == "No space left on device"
    until(lambda: not journal.failing)
    journal.stop()
    contents = read_journal(tmp_path / "j")
    assert ([row.seq for row in contents.rows], contents.missing) == ([1, 9, 10, 11], 7)


def test_what_a_hung_disk_leaves_in_the_queue_is_trimmed(tmp_path: Path) -> None:
    """A write that does not return holds up the thread and nobody else, and memory stays bounded."""
    journal = Journal(tmp_path / "j", limit=4)
    hang, append = threading.Event(), JsonLines.append

    def hung(self: JsonLines, rows: list[object]) -> None:
        assert hang.wait(10)
        append(self, rows)  # type: ignore[arg-type]

    with mock.patch.object(JsonLines, "append", hung):
        journal.start()
        journal(INIT)
        until(lambda: journal._pending)
        for _ in range(50):
            journal(INIT)
        journal.trim()
        assert journal._queue.qsize() == 4
        hang.set()
        until(lambda: journal.lost == 46 and not journal._pending)
        journal(INIT)
        journal.stop()
    contents = read_journal(tmp_path / "j")
    assert (len(contents.rows), contents.missing) == (6, 46)


@KINDS
def test_copies_do_not_fill_the_next_file(kind: Format, tmp_path: Path) -> None:
    """Many plugins in small files: or else every write would begin a new one."""
    with Journal(tmp_path / "j", format=kind, max_bytes=20_000) as journal:
        for number in range(300):
            journal(INIT._replace(plugin=f"plugin-{number}"))
        for number in range(5):
            until(lambda: not journal._queue.qsize() and not journal._pending)
            journal(INIT._replace(plugin=f"plugin-{number}"))
    assert (tmp_path / "j.1").exists()
    assert not (tmp_path / "j.3").exists()


@KINDS
def test_what_was_rotated_away_is_not_missing(kind: Format, tmp_path: Path) -> None:
    """The copy of a line that is gone otherwise is no sign of a loss, and the state it tells is known."""
    with Journal(tmp_path / "j", format=kind, max_bytes=10_000, keep=1) as journal:
        journal(INIT._replace(plugin="old"))
        while not (tmp_path / "j.1").exists() or journal._seq < 1000:
            for _ in range(50):
                journal(INIT)
            until(lambda: not journal._queue.qsize() and not journal._pending)
    contents = read_journal(tmp_path / "j")
    assert contents.rows[0].plugin == "old"
    assert contents.rows[0].carried
    assert contents.missing == 0
    assert set(last_states(tmp_path / "j")) == {"a", "old"}


def test_a_disk_that_does_not_answer_does_not_hold_up_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """stop() gives up after its timeout, and says so."""
    journal, hang = Journal(tmp_path / "j"), threading.Event()
    with mock.patch.object(JsonLines, "append", side_effect=lambda *_: hang.wait(10)):
        journal.start()
        thread = journal._thread
        assert thread is not None
        journal(INIT)
        until(lambda: journal._pending)
        journal.stop(timeout=0.01)
        assert "the disk does not answer" in caplog.text
        hang.set()
        thread.join()


def test_the_end_in_an_outage_tells_how_many_are_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are tried once more, and then counted."""
    with Journal(tmp_path / "nowhere" / "j") as journal:
        journal(INIT)
        journal(INIT)
    assert journal.lost == 2
    assert "ends without its last 2 transitions: No such file or directory" in caplog.text


def test_a_full_device_is_told_in_words(caplog: pytest.LogCaptureFixture) -> None:
    """/dev/full takes nothing."""
    with Journal("/dev/full", retry=0.001) as journal:
        journal(INIT)
        until(lambda: journal.failing)
    assert caplog.messages[0].startswith("the journal /dev/full cannot be written: No space left on device; the plug")


@KINDS
def test_exceptions_that_cannot_speak_do_not_end_the_journal(kind: Format, tmp_path: Path) -> None:
    """The type is told. And no exception is kept."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with Journal(tmp_path / "j", format=kind) as journal:
        journal(TransitionEvent("a", "fail", State.CREATED, State.FAILED, float("inf"), 0.0, Mute()))
        journal(INIT)
    assert [row.cause for row in read_journal(tmp_path / "j").rows] == ["Mute", None]


def test_a_torn_line_is_told_when_the_journal_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was taken away is not silently gone."""
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal(INIT)
    os.truncate(path, path.stat().st_size - 7)
    assert read_journal(path).torn > 0
    with Journal(path), caplog.at_level(logging.WARNING):
        pass
    assert "its last line was torn, and was taken away" in caplog.text
    assert path.read_bytes() == b""


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    """Only the end can be torn; anything else is no accident of ours."""
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal(INIT)
        journal(INIT)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0][:-3], *lines[1:]]))
    with pytest.raises(ValueError, match=r"j: line 1: not JSON"):
        read_journal(path)
    path.write_bytes(b'{"plugin": 3}\n' + lines[1] + b"\n")
    with pytest.raises(ValueError, match=r"j: line 1: 'plugin' should be a text, not 3"):
        read_journal(path)


def test_last_states_are_those_of_the_last_run(tmp_path: Path) -> None:
    """A plugin that the last run did not move is not among them."""
    path = tmp_path / "j"
    for name in ("a", "b"):
        with Journal(path) as journal:
            for arc in LIFECYCLE.arcs[:2]:
                journal(TransitionEvent(name, arc.trigger, arc.source, arc.dest, 1.0, 0.0))
    assert {name: row.dest for name, row in last_states(path).items()} == {"b": "running"}
    assert len(read_journal(path).rows) == 4
    path.write_bytes(b"")
    assert last_states(path) == {}
    with pytest.raises(FileNotFoundError):
        read_journal(tmp_path / "none")


def test_the_newest_file_may_not_be_there_yet(tmp_path: Path) -> None:
    """A process that was killed between renaming the old file and making the new one."""
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal(INIT)
    path.rename(tmp_path / "j.1")
    assert list(last_states(path)) == ["a"]


def test_a_trace_is_no_journal(tmp_path: Path) -> None:
    """Where lines may be missing from the end is told by the first one."""
    path = tmp_path / "j"
    for content, expected in (
        (b"", False),
        (b'{"plugin": "a", "trigger": "init", "source": "created", "dest": null}\n', False),
        (b'{"plugin": "a", "tr', True),
        (b'{"run": "x"}\n', True),
        (b"[]\n", False),
        (b"SQLite format 3\0", True),
    ):
        path.write_bytes(content)
        assert is_journal(path) is expected, content


def test_what_comes_after_a_write_is_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One write for all that came while the thread rested; the first was written at once."""
    path, rests, go = tmp_path / "journal.jsonl", threading.Semaphore(0), threading.Semaphore(0)

    def rest(seconds: float) -> None:
        assert seconds == REST_SECONDS
        rests.release()
        assert go.acquire(timeout=10)

    monkeypatch.setattr("fsm_plugins.observe.journal.time", SimpleNamespace(monotonic=time.monotonic, sleep=rest))
    event = TransitionEvent("a", "init", State.CREATED, State.INITIALIZED, 1.0, 0.0)
    with Journal(path) as journal:
        for wanted, count in ((1, 1), (4, 3)):
            for _ in range(count):
                journal(event)
            if wanted > 1:
                assert len(read_journal(path).rows) == 1
                go.release()
            assert rests.acquire(timeout=10)
            assert len(read_journal(path).rows) == wanted
        go.release()
