"""Lines -> what they say, and bytes -> messages: what is right is understood, and nothing else does any harm."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ironpost.logs.formats import FACILITIES, LEVELS, BadLine, Parsed, Parser
from ironpost.logs.framing import Frames

OPENSSH = Path(__file__).parents[4] / "shared" / "data" / "openssh_2k.log"

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()


def parse(line: str) -> Parsed:
    return Parser(lambda: NOW).parse(line)


# Anything at all.

prefixes = st.sampled_from(
    [
        "",
        "{",
        '{"a":',
        "<34>1 ",
        "<34>1 2026-01-01T00:00:00Z h a p m ",
        "<34>1 - - - - - [",
        '<34>1 - - - - - [a b="',
        "<34>Dec 10 06:55:46 ",
        "Dec 10 06:55:46 h ",
        "2026-01-01T00:00:00Z h a[",
        "<",
        "<999>",
    ]
)
noise = st.text(st.characters(codec="utf-8"), max_size=60) | st.text('<>[]{}":\\=,- 0123456789aTZ', max_size=60)


@given(prefixes, noise)
@settings(deadline=None)
def test_any_text_is_understood_or_refused(prefix: str, rest: str) -> None:
    """A line gives fields with a message, and a time, or a reason; all texts can be written as UTF-8."""
    try:
        parsed = parse(prefix + rest)
    except BadLine as error:
        assert str(error)
        return
    assert parsed.format in ("rfc3164", "rfc5424", "json")
    assert math.isfinite(parsed.time)
    assert isinstance(parsed.fields["message"], str)
    repr(parsed.fields).encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["message", "time", "ts", "a", "b.c", "b"]) | st.text(max_size=3), json_values))
@settings(deadline=None)
def test_any_table_in_json_is_understood_or_refused(table: dict[str, object]) -> None:
    """Also with lone surrogates, infinities, and times that are none. Scalars are found under dotted names."""
    line = json.dumps(table)
    try:
        parsed = parse(line)
    except BadLine:
        return
    for name, value in parsed.fields.items():
        assert not isinstance(value, dict | list)
        f"{name}{value}".encode()


@pytest.mark.parametrize(
    "line",
    [
        "{" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"a":' * 20 + "1" + "}" * 20,
        '{"a": ' + "9" * 5000 + "}",
        "<34>1 " + "a" * 1_000_000,
        "<34>1 - - - - - [a" + ' b="' * 200_000,
        '<34>1 - - - - - [a b="' + "\\" * 1_000_001,
        "Dec 10 06:55:46 " + "a" * 1_000_000,
        "Dec 10 06:55:46 h " + "a[" * 500_000,
        "2026-01-01T00:00:00" + "9" * 1_000_000,
    ],
    ids=lambda line: f"{line[:24]}... of {len(line)}",
)
def test_long_and_deep_lines_come_to_an_end(line: str) -> None:
    """Where time grew with the square of the length, each would take hours; and nothing else than BadLine comes out."""
    with suppress(BadLine):
        assert parse(line).fields


# What is right.

words = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='[]":=<>{\\'), min_size=1, max_size=12
)
messages = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)
priorities = st.integers(0, 191)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 11, 22))


@given(st.none() | priorities, moments, words, words, st.none() | words, messages)
@settings(deadline=None)
def test_rfc_3164_says_what_was_written(
    priority: int | None, moment: datetime, host: str, app: str, pid: str | None, message: str
) -> None:
    """With priority and without, with a process id and without."""
    tag = app if pid is None else f"{app}[{pid}]"
    stamp = f"{moment:%b} {moment.day:2} {moment:%H:%M:%S}"
    line = f"{'' if priority is None else f'<{priority}>'}{stamp} {host} {tag}: {message}"
    parsed = parse(line)
    expected: dict[str, object] = {"message": message, "host": host, "app": app}
    if pid is not None:
        expected["pid"] = pid
    if priority is not None:
        expected |= {"facility": FACILITIES[priority // 8], "level": LEVELS[priority % 8]}
    assert parsed.format == "rfc3164"
    assert parsed.fields == expected
    assert parsed.time == time.mktime(moment.replace(microsecond=0).timetuple())


@given(st.lists(moments, min_size=1, max_size=5))
@settings(deadline=None)
def test_what_is_remembered_of_times_changes_nothing(times: list[datetime]) -> None:
    """A parser that has seen other lines gives the same as a fresh one."""
    parser = Parser(lambda: NOW)
    for moment in times:
        line = f"{moment:%b} {moment.day:2} {moment:%H:%M:%S} h a: m"
        assert parser.parse(line) == parse(line)
        line = f"{moment.isoformat()}Z h a: m"
        assert parser.parse(line) == parse(line)


@pytest.mark.parametrize(
    ("stamp", "year"),
    [("Nov 22 12:00:00", 2026), ("Nov 23 00:00:00", 2026), ("Nov 25 00:00:00", 2025), ("Feb 29 00:00:00", 2024)],
)
def test_the_year_is_the_latest_possible_one(stamp: str, year: int) -> None:
    """A day of difference between clocks is allowed; the 29th of February is in a year that has one."""
    assert time.localtime(parse(f"{stamp} h a: m").time).tm_year == year


@pytest.mark.parametrize(
    "line",
    [
        "Feb 30 00:00:00 h a: m",
        "Dec 10 25:00:00 h a: m",
        "Dec 10 00:00:61 h a: m",
        "Dez 10 00:00:00 h a: m",
        "<192>Dec 10 06:55:46 h a: m",
        "2026-13-01T00:00:00Z h a: m",
        "<34>1 yesterday h a p m - x",
        "<34>1 - h a p m -x",
        '<34>1 - h a p m [id a="1] x',
        "<34>1 - h a p m [] x",
        '{"time": "yesterday"}',
        '{"time": -1}',
        '{"time": 1e999}',
        '{"time": NaN}',
        "",
    ],
)
def test_what_is_almost_right_is_refused(line: str) -> None:
    """And not taken for something else."""
    with pytest.raises(BadLine):
        parse(line)


params = st.dictionaries(words, messages, max_size=3)


@given(
    priorities, st.none() | moments, words, words, words, words, st.dictionaries(words, params, max_size=3), messages
)
@settings(deadline=None)
def test_rfc_5424_says_what_was_written(
    priority: int,
    moment: datetime | None,
    host: str,
    app: str,
    pid: str,
    msgid: str,
    data: dict[str, dict[str, str]],
    message: str,
) -> None:
    """Structured data with escapes becomes fields; a hyphen is nothing; a byte order mark is no message."""

    def escape(text: str) -> str:
        return re.sub(r'(["\\\]])', r"\\\1", text)

    elements = ""
    for element, named in data.items():
        inside = "".join(f' {name}="{escape(value)}"' for name, value in named.items())
        elements += f"[{element}{inside}]"
    stamp = "-" if moment is None else moment.isoformat() + "Z"
    parsed = parse(f"<{priority}>1 {stamp} {host} {app} {pid} {msgid} {elements or '-'} \ufeff{message}")
    expected = {f"{element}.{name}": value for element, named in data.items() for name, value in named.items()}
    header = {"host": host, "app": app, "pid": pid, "msgid": msgid}
    expected |= {name: value for name, value in header.items() if value != "-"}
    expected |= {"facility": FACILITIES[priority // 8], "level": LEVELS[priority % 8], "message": message}
    assert parsed.fields == expected
    assert parsed.time == (NOW if moment is None else moment.replace(tzinfo=UTC).timestamp())


def test_json_finds_the_message_and_the_time() -> None:
    """Under the usual names; a line without a message is its own."""
    parsed = parse('{"msg": "hi", "ts": "2026-01-01T00:00:00Z", "a": {"b": [1, {"c": 2}]}, "n": null}')
    assert parsed.time == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert parsed.fields["message"] == "hi"
    assert parsed.fields["a.b"] == (1, '{"c": 2}')
    assert parse('{"message": 5}').fields["message"] == '{"message": 5}'


def test_escapes_in_structured_data_are_undone() -> None:
    """A backslash before a quotation mark, a backslash or a bracket; before anything else it is itself."""
    parsed = parse(r'<34>1 - - - - - [id a="x\"y\]z\\\n"][other]')
    assert parsed.fields["id.a"] == 'x"y]z\\\\n'


def test_half_a_letter_is_replaced() -> None:
    """JSON can name surrogates that stand alone, and these have no UTF-8."""
    parsed = parse(r'{"message": "\ud800", "a": ["\udfff", 1], "\udc00": "\u00e9\ud83d\ude00"}')
    assert parsed.fields == {"message": "?", "a": ("?", 1), "?": "é😀"}


# Real lines.


@pytest.mark.skipif(not OPENSSH.exists(), reason=f"{OPENSSH} is not here")
def test_every_line_of_a_real_log_is_parsed() -> None:
    """All of them, with program, process and host, as an independent expression finds them."""
    lines = OPENSSH.read_text().splitlines()
    parser = Parser()
    for line in lines:
        parsed = parser.parse(line)
        expected = re.fullmatch(r"\w+ +\d+ [\d:]+ (?P<host>\w+) (?P<app>sshd)\[(?P<pid>\d+)\]: (?P<message>.*)", line)
        assert expected is not None
        assert parsed.fields == expected.groupdict()
    counted = subprocess.run(["wc", "-l", OPENSSH], capture_output=True, text=True, check=True).stdout.split()[0]
    assert int(counted) == 1999  # newlines, and a last line without one
    assert len(lines) == 2000


# Framing.

bodies = st.binary(min_size=1, max_size=30).filter(lambda b: b"\n" not in b and b[:1] not in b"0123456789")


@given(st.lists(st.tuples(bodies, st.booleans()), max_size=8), st.data())
@settings(deadline=None)
def test_messages_are_cut_however_they_arrive(messages: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    """Each with a length in front or a newline behind, in pieces of any size."""
    stream = b"".join(b"%d %s" % (len(body), body) if counted else body + b"\n" for body, counted in messages)
    frames = Frames()
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += frames.feed(stream[:size])
        stream = stream[size:]
    assert found == [body for body, _ in messages]
    assert frames.rest() == b""
    assert not frames.broken


@given(st.lists(st.binary(max_size=40) | st.text("0123456789 \n<", max_size=40).map(str.encode), max_size=6))
@settings(deadline=None)
def test_any_bytes_are_cut_or_refused_and_the_pieces_do_not_matter(pieces: list[bytes]) -> None:
    """The same messages come out of a stream in one piece; what is kept is bounded; nothing comes after an error."""
    in_pieces, whole = Frames(longest=20), Frames(longest=20)
    found = []
    for piece in pieces:
        broken = in_pieces.broken
        new = in_pieces.feed(piece)
        assert not (broken and new)
        found += new
        if not in_pieces.broken:
            assert len(in_pieces._buffer) <= 20 + 6
    assert found == whole.feed(b"".join(pieces))
    assert bool(in_pieces.broken) == bool(whole.broken)
    assert all(len(message) <= 20 for message in found)


@pytest.mark.parametrize("stream", [b"21 <1>", b"0", b"5<1>", b"12345678", b"<" + 21 * b"a"])
def test_lengths_are_bounded(stream: bytes) -> None:
    """A length or a line beyond the longest is told at once, and not waited for."""
    frames = Frames(longest=20)
    assert frames.feed(b"20 " + 20 * b"b" + stream) == [20 * b"b"]
    assert bool(frames.broken) == (stream != b"0")  # which begins a line
