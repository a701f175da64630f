"""Journals: what was written is read, whatever was cut off, rotated or lost on the way."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fsm_plugins import LIFECYCLE, State, TransitionEvent
from fsm_plugins.observe import Journal, last_states, read_journal, read_trace
from fsm_plugins.observe.stores import Format, JsonLines, Row, open_store, read_file

TEXT = st.text(st.characters(), min_size=1, max_size=12)  # surrogates, too
SECONDS = st.one_of(
    st.floats(min_value=0, max_value=4e9),
    st.floats(min_value=0, max_value=1),
    st.floats(min_value=-1e6, max_value=0),
    st.sampled_from(
        [0.000012, 12.05, 1795367891.000012, 0.0, 0.9999999, 0.99999999999, 1.0, 1e12, 1e300, 1795367891.9999998]
    ),
)


@st.composite
def events(draw: st.DrawFn) -> TransitionEvent:
    """Draw an event of an arc of the table."""
    arc = draw(st.sampled_from(LIFECYCLE.arcs))
    cause = draw(st.none() | TEXT.map(OSError))
    return TransitionEvent(draw(TEXT), arc.trigger, arc.source, arc.dest, draw(SECONDS), draw(SECONDS), cause)


def walk(count: int, names: Sequence[str] = ("a", "b", "c")) -> list[TransitionEvent]:
    """Return transitions of some plugins, one after the other."""
    arcs = LIFECYCLE.arcs
    return [TransitionEvent(names[n % len(names)], *_arc(arcs[n % len(arcs)]), float(n), 0.25) for n in range(count)]


def _arc(arc: object) -> tuple[str, State, State]:
    return arc.trigger, arc.source, arc.dest  # type: ignore[attr-defined]


def written(path: Path, heard: Sequence[TransitionEvent], kind: Format = "jsonl", **options: int) -> str:
    """Write events, and return the word for the run."""
    with Journal(path, format=kind, **options) as journal:
        for event in heard:
            journal(event)
    return journal.run


@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
@given(heard=st.lists(events(), max_size=8))
@example(
    heard=[TransitionEvent("\ud800", "fail", State.RUNNING, State.FAILED, 12.05, 0.000012, OSError("\udfff\x00\u2028"))]
)
@settings(max_examples=30)
def test_what_was_heard_is_read(kind: Format, heard: list[TransitionEvent]) -> None:
    """Every field, in order, to the microsecond; and JSON lines are a trace that other readers take."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "journal")
        run = written(path, heard, kind)
        contents = read_journal(path)
        if kind == "jsonl":
            trace = read_trace(path.read_text(encoding="utf-8"))
            assert trace == contents.steps
            assert all(json.loads(line)["run"] == run for line in path.read_text(encoding="utf-8").split("\n")[:-1])
    assert (contents.torn, contents.missing) == (0, 0)
    assert [(row.run, row.seq, row.carried) for row in contents.rows] == [
        (run, number, False) for number in range(1, len(heard) + 1)
    ]
    for row, event in zip(contents.rows, heard, strict=True):
        assert row[1:4] == tuple(map(str, event[1:4]))
        for found, told in ((row.at, event.at), (row.duration, event.duration)):
            assert math.isclose(found, told, rel_tol=1e-12, abs_tol=1.1e-6)
        if kind == "jsonl":
            assert row.plugin == event.plugin
            assert row.cause == (None if event.cause is None else f"OSError: {event.cause}")


@pytest.mark.parametrize("count", [1, 4])
def test_a_journal_that_is_cut_off_anywhere_opens(count: int) -> None:
    """What was complete is read, what is left of a line is reported; and what comes next is written after it."""
    with tempfile.TemporaryDirectory() as directory:
        path, cut = Path(directory, "journal"), Path(directory, "cut")
        written(path, [*walk(count), TransitionEvent("ü", "fail", State.RUNNING, State.FAILED, 9.0, 1.0, OSError("é"))])
        data = path.read_bytes()
        rows = read_journal(path).rows
        ends = [0]
        for line in data.split(b"\n")[:-1]:
            ends.append(ends[-1] + len(line) + 1)
        for size in range(len(data) + 1):
            cut.write_bytes(data[:size])
            complete = sum(size >= end - 1 for end in ends[1:])  # the line break itself may be missing
            contents = read_journal(cut)
            assert contents.rows == rows[:complete]
            assert contents.torn == (
                0
                if size >= ends[complete] - 1 and size in (ends[complete], ends[complete] - 1)
                else size - ends[complete]
            )
            run = written(cut, walk(1))
            again = read_journal(cut)
            assert again.rows[:-1] == rows[:complete]
            assert (again.rows[-1].run, again.torn, again.missing) == (run, 0, 0)


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    size=st.integers(200, 3000),
    kind=st.sampled_from(["jsonl", "sqlite"]),
)
@settings(max_examples=25, deadline=None)
def test_rotation_keeps_the_state_of_every_plugin_in_the_newest_file(
    counts: list[int], size: int, kind: Format
) -> None:
    """Whatever was rotated away: the last state of each plugin is known, from the newest file alone as well."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "journal")
        with mock.patch("fsm_plugins.observe.journal._LARGEST_BATCH", 3):
            for count in counts:
                heard = walk(count, "abcdefg")
                run = written(path, heard, kind, max_bytes=size, keep=2)
                expected = {event.plugin: str(event.dest) for event in heard}
                if heard:
                    assert {name: row.dest for name, row in last_states(path).items()} == expected
                    newest = {row.plugin: row.dest for row in read_file(path)[0] if row.run == run}
                    assert newest == expected
                assert read_journal(path).missing == 0
        assert {file.name for file in Path(directory).iterdir()} <= {"journal", "journal.1", "journal.2"}
        read = [(row.run, row.seq) for row in read_journal(path).rows]
        assert len(read) == len(set(read))


class _Disk:
    """A disk with room for so many bytes at a time."""

    def __init__(self, rooms: Sequence[int]) -> None:
        self.rooms = list(rooms)
        self.write = os.write

    def __call__(self, file: int, data: bytes) -> int:
        room = self.rooms.pop(0) if self.rooms else len(data)
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.write(file, data[:room])


@given(rooms=st.lists(st.integers(0, 250), max_size=12), batches=st.lists(st.integers(1, 4), min_size=1, max_size=5))
@settings(max_examples=60)
def test_a_write_that_fails_half_way_leaves_nothing_behind(rooms: list[int], batches: list[int]) -> None:
    """Rows are written all or not at all, however little the disk takes at a time."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "journal")
        store = JsonLines(path)
        expected: list[Row] = []
        number = 0
        with mock.patch("fsm_plugins.observe.stores.os.write", _Disk(rooms)):
            for count in batches:
                rows = [
                    Row("a", "init", "created", "initialized", 1.0, 0.5, None, "run", number + n) for n in range(count)
                ]
                number += count
                try:
                    store.append(rows)
                except OSError:
                    continue
                expected += rows
        assert store.size == path.stat().st_size
        store.close()
        assert read_file(path) == (expected, 0)


@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_a_store_that_is_opened_again_goes_on(kind: Format) -> None:
    """The size is that of the file, and nothing in it changes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "journal")
        written(path, walk(5), kind)
        before = read_journal(path)
        store = open_store(path, kind)
        assert (store.size, store.note) == (path.stat().st_size, "")
        store.close()
        assert read_journal(path) == before
