"""Structured logs: what happened as text for people, or as JSON lines with fields for machines.

Everything here goes through the standard library's ``logging``: the fields are attributes of the record, so any other
formatter and handler has them, too.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, Literal, TextIO, TypeAlias

from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import TransitionEvent
from fsm_plugins.supervision import Action, SupervisionEvent

__all__ = ["JsonFormatter", "LogFormat", "TextFormatter", "configure", "log_supervision", "log_transition"]

logger = logging.getLogger("fsm_plugins")

LogFormat: TypeAlias = Literal["text", "json"]

# What every record has; whatever else there is has been given as a field.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def log_transition(event: TransitionEvent) -> None:
    """Log a transition: as a warning if the plugin failed, otherwise as an info. It is a listener.

    The fields are ``plugin``, ``trigger``, ``source``, ``dest``, ``seconds`` and, of a failure, ``cause``.
    """
    level = logging.INFO if event.cause is None else logging.WARNING
    if not logger.isEnabledFor(level):
        return
    fields: dict[str, object] = {
        "plugin": event.plugin,
        "trigger": event.trigger,
        "source": str(event.source),
        "dest": str(event.dest),
        "seconds": event.duration,
    }
    if event.cause is not None:
        fields["cause"] = describe(event.cause)
    logger.log(level, "%s", event, extra=fields)


# What a supervisor logs itself, as errors, it need not log twice.
_TOLD: Final = frozenset({Action.FAILED, Action.GAVE_UP, Action.EXHAUSTED})
_BAD: Final = frozenset({Action.UNHEALTHY, Action.DEGRADED, Action.BLOCKED})


def log_supervision(event: SupervisionEvent) -> None:
    """Log what a supervisor did or noticed. It is a listener.

    The fields are ``plugin``, ``action``, ``attempt``, ``delay`` (seconds) and ``reason``.
    """
    level = logging.DEBUG if event.action in _TOLD else logging.WARNING if event.action in _BAD else logging.INFO
    fields = {
        "plugin": event.plugin,
        "action": str(event.action),
        "attempt": event.attempt,
        "delay": event.delay,
        "reason": event.reason,
    }
    logger.log(level, "%s", event, extra=fields)


class TextFormatter(logging.Formatter):
    """One line for people: the time of the day, the level, the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")


class JsonFormatter(logging.Formatter):
    """A JSON object on one line, with ``time`` (UTC, RFC 3339), ``level``, ``logger``, ``message`` and the fields.

    A traceback is the text ``exception``. What is not JSON is written as its ``str``. Never raises because of a field.

    >>> record = logging.makeLogRecord({"msg": "hello", "created": 0.5, "plugin": "clock"})
    >>> print(JsonFormatter().format(record))  # doctest: +ELLIPSIS
    {"time": "1970-01-01T00:00:00.500Z", "level": "...", "logger": ..., "message": "hello", "plugin": "clock"}
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        known: dict[str, object] = {
            "time": _utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD and key not in known}
        known.update(fields)
        if record.exc_info:
            known["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            known["exception"] = record.exc_text
        if record.stack_info:
            known["stack"] = record.stack_info
        try:
            return _dumps(known)
        except (ValueError, TypeError, RecursionError):  # a number that JSON does not have, a key, a circle
            return _dumps({key: _simple(value) for key, value in known.items()})


def _utc(seconds: float) -> str:
    milliseconds = math.floor((seconds % 1) * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def _dumps(value: Mapping[str, object]) -> str:
    line = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_text)
    return line.encode("utf-8", "backslashreplace").decode()


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose str raised {type(error).__name__}>"


def _simple(value: Any) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else _text(value)


FORMATTERS: Final[Mapping[str, type[logging.Formatter]]] = {"text": TextFormatter, "json": JsonFormatter}


def configure(level: str | int = "info", format: LogFormat = "text", stream: TextIO | None = None) -> None:  # noqa: A002
    """Log to stderr, as a command does. If somebody has set up logging before, that stays as it is.

    Args:
        level: what is logged at least, a name in any case or a number of ``logging``.
        format: ``text`` or ``json``.
        stream: where to, instead of stderr.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(FORMATTERS[format]())
    logging.basicConfig(level=level.upper() if isinstance(level, str) else level, handlers=[handler])
