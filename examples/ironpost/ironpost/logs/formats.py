"""One line of a log -> what it says: RFC 3164 with and without priority, RFC 5424, and JSON lines, told by content.

A line that is none of these raises `BadLine` with the reason, and nothing else is ever raised, whatever is in it. Every
pattern here is matched in time linear in the length of the line.
"""

from __future__ import annotations

import json
import re
import time
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

__all__ = ["BadLine", "Parsed", "Parser", "sound"]

FACILITIES: Final = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock", *(f"local{n}" for n in range(8))),
)
LEVELS: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
"""The names of RFC 5424, section 6.2.1, as they are usual in short."""

_MONTHS: Final = {
    name: n
    for n, name in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1)
}

# The header of RFC 3164, section 4.1: its own time stamp, or the one of RFC 3339 that syslog daemons write to files
# today. The tag may be missing, and so may be the process id.
_RFC3164: Final = re.compile(
    r"(?:<(\d{1,3})>)?"
    r"(?:([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)|(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,32}))"
    r" (\S+) (?:([^\s:\[\]]{1,128})(?:\[([^\]\s]{0,128})\])?: ?)?(.*)",
    re.ASCII | re.DOTALL,
)
_RFC5424: Final = re.compile(r"<(\d{1,3})>1 (\S{1,64}) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) (-|\[)", re.ASCII)
_PARAM: Final = re.compile(r' ([^\s=\]"]{1,32})="((?:[^"\\\]]|\\.)*)"', re.DOTALL)
_SD_ID: Final = re.compile(r'[^\s=\]"]{1,32}')
_ESCAPED: Final = re.compile(r'\\(["\\\]])')

_TIME_KEYS: Final = ("time", "timestamp", "@timestamp", "ts")
_MESSAGE_KEYS: Final = ("message", "msg", "log")
_DEPTH: Final = 16
"""How deep tables inside a JSON line may be nested."""


class BadLine(ValueError):
    """A line that cannot be understood. Its text is the reason."""


class Parsed(NamedTuple):
    """What a line says.

    Attributes:
        format: ``rfc3164``, ``rfc5424`` or ``json``.
        time: when it happened, in seconds since the epoch.
        fields: what it says; ``message`` is always there, and a text.
    """

    format: str
    time: float
    fields: dict[str, object]


class Parser:
    """Understands lines. It remembers the last time stamp, and the minute of it, which the next line mostly shares.

    Args:
        now: what the time is, in seconds since the epoch. RFC 3164 has no year: it is the one that makes a time the
            latest possible, but at most a day ahead of now. Lines without a time happen now.

    >>> parsed = Parser().parse("<38>Dec 10 06:55:46 LabSZ sshd[24200]: Invalid user webmaster")
    >>> parsed.format, parsed.fields["app"], parsed.fields["pid"], parsed.fields["facility"], parsed.fields["level"]
    ('rfc3164', 'sshd', '24200', 'auth', 'info')
    >>> Parser().parse('{"user": {"name": "root"}, "message": "hello", "time": 12}')
    Parsed(format='json', time=12.0, fields={'user.name': 'root', 'message': 'hello', 'time': 12})
    >>> Parser().parse("hello")
    Traceback (most recent call last):
    ...
    ironpost.logs.formats.BadLine: neither RFC 3164, RFC 5424 nor JSON
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._stamp = ""
        self._time = 0.0
        self._minute = ""
        self._minute_time = 0.0

    def parse(self, line: str) -> Parsed:
        """Return what ``line`` says.

        Raises:
            BadLine: it is in none of the formats, or breaks the rules of its own.
        """
        if line.startswith("{"):
            return self._json(line)
        if line.startswith("<") and line.find(">1 ", 2, 7) > 0:
            return self._rfc5424(line)
        return self._rfc3164(line)

    def _rfc3164(self, line: str) -> Parsed:
        match = _RFC3164.match(line)
        if match is None:
            raise BadLine("neither RFC 3164, RFC 5424 nor JSON")
        priority, stamp, iso, host, app, pid, message = match.groups()
        if stamp is None:
            stamp = iso
        if stamp != self._stamp:
            self._time = self._local_time(stamp) if iso is None else _iso_time(iso)
            self._stamp = stamp
        fields: dict[str, object] = {"message": message, "host": host}
        if app is not None:
            fields["app"] = app
            if pid is not None:
                fields["pid"] = pid
        if priority is not None:
            _put_priority(fields, priority)
        return Parsed("rfc3164", self._time, fields)

    def _local_time(self, stamp: str) -> float:
        """Return a time such as ``Dec 10 06:55:46``, which is in local time."""
        second = int(stamp[13:])
        if second > 60:
            raise _no_such_time(stamp)
        if stamp[:12] != self._minute:
            self._minute_time = self._minute_of(stamp)
            self._minute = stamp[:12]
        return self._minute_time + second

    def _minute_of(self, stamp: str) -> float:
        month, day, hour, minute = _MONTHS.get(stamp[:3], 0), int(stamp[4:6]), int(stamp[7:9]), int(stamp[10:12])
        now = self._now()
        year = time.localtime(now).tm_year
        if month and hour < 24 and minute < 60:
            for candidate in range(year + 1, year - 9, -1):  # the 29th of February comes at least every eight years
                if 1 <= day <= monthrange(candidate, month)[1]:
                    found = time.mktime((candidate, month, day, hour, minute, 0, 0, 0, -1))
                    if found <= now + 86400:
                        return found
        raise _no_such_time(stamp)

    def _rfc5424(self, line: str) -> Parsed:
        match = _RFC5424.match(line)
        if match is None:
            raise BadLine("RFC 5424: the header is not complete")
        priority, stamp, host, app, pid, msgid, _ = match.groups()
        fields: dict[str, object] = {"message": ""}
        given = {"host": host, "app": app, "pid": pid, "msgid": msgid}
        fields.update({name: value for name, value in given.items() if value != "-"})
        _put_priority(fields, priority)
        at = match.end() if match[7] == "-" else _structured_data(line, match.end() - 1, fields)
        if at < len(line) and line[at] != " ":
            raise BadLine("RFC 5424: a space is missing after the structured data")
        fields["message"] = line[at + 1 :].removeprefix("\ufeff")
        if stamp == "-":
            return Parsed("rfc5424", self._now(), fields)
        if stamp != self._stamp:
            self._time = _iso_time(stamp)
            self._stamp = stamp
        return Parsed("rfc5424", self._time, fields)

    def _json(self, line: str) -> Parsed:
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise BadLine(f"JSON: {error}") from None
        fields: dict[str, object] = {}
        _flatten(fields, "", value, _DEPTH)
        if "\\u" in line:
            fields = {sound(key): _sound_value(item) for key, item in fields.items()}
        texts = (fields.get(key) for key in _MESSAGE_KEYS)
        fields["message"] = next((text for text in texts if isinstance(text, str)), line)
        return Parsed("json", self._json_time(fields), fields)

    def _json_time(self, fields: dict[str, object]) -> float:
        for key in _TIME_KEYS:
            value = fields.get(key)
            if isinstance(value, str):
                return _iso_time(value)
            if isinstance(value, int | float) and not isinstance(value, bool):
                if not 0 <= value < 1e11:  # beyond it, it is in milliseconds or smaller units, or not a time
                    raise BadLine(f"JSON: {key} is not a time in seconds since the epoch")
                return float(value)
        return self._now()


def _iso_time(stamp: str) -> float:
    """Return a time of RFC 3339; one without a zone is in UTC."""
    try:
        when = datetime.fromisoformat(stamp)
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _no_such_time(stamp) from None


def _no_such_time(stamp: str) -> BadLine:
    return BadLine(f"there is no such time: {stamp[:64]}")


def _put_priority(fields: dict[str, object], priority: str) -> None:
    facility, level = divmod(int(priority), 8)
    if facility >= len(FACILITIES):
        raise BadLine(f"there is no priority {priority}; the highest is {len(FACILITIES) * 8 - 1}")
    fields["facility"] = FACILITIES[facility]
    fields["level"] = LEVELS[level]


def _structured_data(line: str, at: int, fields: dict[str, object]) -> int:
    """Read the elements ``[id name="value" ...]`` from ``at`` on as fields ``id.name``; return where they end."""
    while at < len(line) and line[at] == "[":
        match = _SD_ID.match(line, at + 1)
        if match is None:
            raise BadLine("RFC 5424: an element of the structured data has no name")
        element, at = match[0], match.end()
        while (match := _PARAM.match(line, at)) is not None:
            fields[f"{element}.{match[1]}"] = _ESCAPED.sub(r"\1", match[2])
            at = match.end()
        if line[at : at + 1] != "]":
            raise BadLine(f"RFC 5424: the structured data is broken in element {element!r}")
        at += 1
    return at


def _flatten(fields: dict[str, object], prefix: str, value: object, depth: int) -> None:
    """Put the scalars, and the lists of scalars, of a JSON value into ``fields`` under dotted names."""
    if isinstance(value, dict):
        if not depth:
            raise BadLine(f"JSON: tables are nested more than {_DEPTH} deep")
        for key, item in value.items():
            _flatten(fields, f"{prefix}.{key}" if prefix else key, item, depth - 1)
    elif isinstance(value, list):
        fields[prefix] = tuple(item if _is_scalar(item) else json.dumps(item, ensure_ascii=False) for item in value)
    else:
        fields[prefix] = value


def _is_scalar(value: object) -> bool:
    return not isinstance(value, dict | list)


def _refuse_constant(name: str) -> object:
    raise BadLine(f"{name} is not JSON")


def sound(text: str) -> str:
    """Replace lone surrogates, which a JSON escape can make, and which have no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _sound_value(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(_sound_value, value))
    return sound(value) if isinstance(value, str) else value
