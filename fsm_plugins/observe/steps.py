"""What happened, as steps: made of events, written as JSON lines and read back.

A line of such a file is an object with the keys ``plugin``, ``trigger``, ``source``, ``dest``, ``at`` (seconds since
the epoch), ``duration`` (seconds) and ``cause`` (a text or null), as in a `TransitionEvent`. A line whose ``dest`` is
null is a call that was refused. Other keys are ignored, and the keys with times may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from attrs import asdict, frozen

from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import TransitionEvent

__all__ = ["Step", "StepLike", "read_step", "read_trace", "step_of", "steps_of", "write_trace"]


@frozen
class Step:
    """A transition, or a call that was refused.

    Attributes:
        plugin: its name.
        trigger: what was fired.
        source: the state before.
        dest: the state after; None if the call was refused.
        at: when, in seconds since the epoch.
        duration: how long it took, in seconds.
        cause: what made it fail, otherwise None.
    """

    plugin: str
    trigger: str
    source: str
    dest: str | None
    at: float = 0.0
    duration: float = 0.0
    cause: str | None = None


StepLike: TypeAlias = Step | TransitionEvent


def steps_of(events: Iterable[StepLike]) -> tuple[Step, ...]:
    """Return events as steps; what is a step already stays as it is.

    >>> from fsm_plugins import State
    >>> steps_of([TransitionEvent("clock", "init", State.CREATED, State.INITIALIZED, 0.0, 0.1)])[0].dest
    'initialized'
    """
    return tuple(event if isinstance(event, Step) else step_of(event) for event in events)


def step_of(event: TransitionEvent) -> Step:
    """Return an event as a step; of its cause, the type and the text stay."""
    cause = None if event.cause is None else describe(event.cause)
    return Step(
        event.plugin, event.trigger, event.source.value, event.dest.value, event.at, event.duration, cause
    )  # fmt: skip


def write_trace(steps: Iterable[StepLike]) -> str:
    """Return the text of a trace file.

    >>> write_trace([Step("clock", "init", "created", "initialized")]).startswith('{"plugin": "clock"')
    True
    """
    return "".join(json.dumps(asdict(step), ensure_ascii=False) + "\n" for step in steps_of(steps))


def read_trace(text: str) -> tuple[Step, ...]:
    """Return the steps of the text of a trace file.

    Raises:
        ValueError: a line is not as it should be; the text names the line and the key.

    >>> read_trace(write_trace([Step("clock", "init", "created", None)]))
    (Step(plugin='clock', trigger='init', source='created', dest=None, at=0.0, duration=0.0, cause=None),)
    >>> read_trace('{"plugin": "clock"}')
    Traceback (most recent call last):
    ValueError: line 1: 'trigger' should be a text, and it is missing
    """
    steps = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} is not JSON: {error.msg} at column {error.colno}") from None
        try:
            steps.append(read_step(value))
        except ValueError as wrong:
            raise ValueError(f"line {number}: {wrong}") from None
    return tuple(steps)


def read_step(value: Any) -> Step:
    """Return the step that a line of a trace file holds, as ``json.loads`` returns it.

    Raises:
        ValueError: it is no step; the text names the key.
    """
    if not isinstance(value, dict):
        raise ValueError("it should be an object, {...}")
    return Step(
        _key(value, "plugin", "a text", str),
        _key(value, "trigger", "a text", str),
        _key(value, "source", "a text", str),
        _key(value, "dest", "a text or null", (str, type(None))),
        _key({"at": 0.0, **value}, "at", "a number of seconds", (int, float)),
        _key({"duration": 0.0, **value}, "duration", "a number of seconds", (int, float)),
        _key({"cause": None, **value}, "cause", "a text or null", (str, type(None))),
    )


def _key(value: Mapping[str, Any], key: str, words: str, kind: Any) -> Any:
    if key not in value:
        raise ValueError(f"{key!r} should be {words}, and it is missing")
    if not isinstance(value[key], kind) or isinstance(value[key], bool):
        raise ValueError(f"{key!r} should be {words}, not {value[key]!r}")
    return value[key]
