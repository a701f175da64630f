"""Errors carry fields, say what happened, and survive pickling and copying."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fsm_plugins import State, TransitionEvent, errors
from fsm_plugins.errors import (
    Abandoned,
    AlreadyRegistered,
    ChannelClosed,
    ChannelError,
    ChannelFull,
    ConfigError,
    DeadlineExceeded,
    DefinitionError,
    HookFailed,
    InvalidState,
    LoadError,
    NotFound,
    PluginError,
    Problem,
    RegistryBusy,
    RegistryError,
    StopFailed,
    UnknownTrigger,
)

late = DeadlineExceeded("x", "start", 2.5, "db.py:41 in connect", True)

# error, its fields, its text
ERRORS: list[tuple[PluginError, dict[str, object], str]] = [
    (PluginError("words"), {}, "words"),
    (
        InvalidState("x", "created", ("failed", "running")),
        {"name": "x", "current": "created", "expected": ("failed", "running"), "in_flight": None},
        "invalid state for plugin 'x': current=created, expected=failed|running",
    ),
    (
        InvalidState("x", "created", ("initialized",), in_flight="init"),
        {"name": "x", "in_flight": "init"},
        "invalid state for plugin 'x': current=created, expected=initialized, in_flight=init",
    ),
    (
        UnknownTrigger("x", "running", "paus", ("pause", "stop")),
        {"name": "x", "current": "running", "expected": (), "trigger": "paus", "known": ("pause", "stop")},
        "plugin 'x' has no trigger 'paus' (did you mean 'pause'?); its lifecycle has: pause, stop",
    ),
    (
        HookFailed("x", "init", "OSError: no"),
        {"name": "x", "trigger": "init", "reason": "OSError: no"},
        "plugin 'x' failed in init: OSError: no",
    ),
    (
        late,
        {"name": "x", "trigger": "start", "seconds": 2.5, "where": "db.py:41 in connect", "abandoned": True},
        (
            "plugin 'x' failed in start: not done within its deadline of 2.5 s, waiting at db.py:41 in connect; "
            "it ignored its cancellation and was abandoned"
        ),
    ),
    (
        DeadlineExceeded("x", "stop", 30),
        {"where": "", "abandoned": False, "reason": "not done within its deadline of 30 s"},
        "plugin 'x' failed in stop: not done within its deadline of 30 s",
    ),
    (
        Abandoned("x", "initialized"),
        {"name": "x", "state": "initialized"},
        "plugin 'x' was abandoned in state initialized: the registry is stopping",
    ),
    (
        StopFailed([HookFailed("x", "stop", "no"), late]),
        {"message": "plugins that did not stop cleanly: 'x', 'x'"},
        "plugins that did not stop cleanly: 'x', 'x' (2 sub-exceptions)",
    ),
    (RegistryError("words"), {}, "words"),
    (
        AlreadyRegistered("x"),
        {"name": "x"},
        "a plugin named 'x' is registered already; give this one another name: MyPlugin(name='x-2')",
    ),
    (
        NotFound("gard", ("guard", "pump")),
        {"name": "gard", "known": ("guard", "pump")},
        "no plugin named 'gard' is registered (did you mean 'guard'?)",
    ),
    (NotFound("x"), {"name": "x", "known": ()}, "no plugin named 'x' is registered"),
    (
        RegistryBusy("register", "stop_all"),
        {"wanted": "register", "in_flight": "stop_all"},
        "register is not possible while stop_all is under way",
    ),
    (ChannelError("words"), {}, "words"),
    (ChannelClosed(), {}, "the channel is closed"),
    (ChannelClosed("this receiver was closed"), {}, "this receiver was closed"),
    (ChannelFull(16), {"capacity": 16}, "the channel is full: it holds 16 messages"),
    (DefinitionError("words"), {}, "words"),
    (
        LoadError("clock:Clock", "there is no module 'clock'"),
        {"use": "clock:Clock", "reason": "there is no module 'clock'"},
        "cannot load 'clock:Clock': there is no module 'clock'",
    ),
    (
        ConfigError("app.toml", [Problem("a.b", "no"), Problem("", "nothing")]),
        {"source": "app.toml", "problems": (Problem("a.b", "no"), Problem("", "nothing"))},
        "app.toml: 2 problems\n  a.b: no\n  nothing",
    ),
    (ConfigError("app.toml", [Problem("a", "no")]), {}, "app.toml: 1 problem\n  a: no"),
]


@pytest.mark.parametrize(("error", "fields", "text"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_have_their_fields_and_say_them(error: PluginError, fields: dict[str, object], text: str) -> None:
    """What the text says can be had as fields, so that nobody has to parse it."""
    assert {name: getattr(error, name) for name in fields} == fields
    assert str(error) == text


@pytest.mark.parametrize(
    "again",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
@pytest.mark.parametrize(("error", "fields", "text"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_survive_pickling_and_copying(
    error: PluginError, fields: dict[str, object], text: str, again: Callable[[Any], Any]
) -> None:
    """A process pool or a log queue hands on the same error: type, fields and text."""
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == text
    assert {name: getattr(other, name) for name in fields} == fields
    assert [str(one) for one in getattr(other, "exceptions", ())] == [
        str(one) for one in getattr(error, "exceptions", ())
    ]


def test_events_survive_pickling_and_copying() -> None:
    """A journal may write an event and read it again, with the cause of a failure."""
    event = TransitionEvent("x", "fail", State.RUNNING, State.FAILED, 12.5, 0.25, late)
    assert str(event).startswith("x: running -> failed (fail, 0.250 s): DeadlineExceeded(")
    for other in (pickle.loads(pickle.dumps(event)), copy.copy(event), copy.deepcopy(event)):
        assert isinstance(other.dest, State)
        assert (other.plugin, other.trigger, other.source, other.dest) == ("x", "fail", "running", "failed")
        assert (other.at, other.duration, str(other.cause)) == (12.5, 0.25, str(late))


def _drawn() -> Iterator[tuple[int, str]]:
    """Yield the depth and the name of each line of the tree in the docstring."""
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│ ]*(?:[├└]── )?)([A-Z]\w+)(?:  |$)", line):
            yield len(match[1]) // 4, match[2]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    """Every exception of the module is drawn, once, under its base."""
    path: list[str] = []
    drawn = {}
    for depth, name in _drawn():
        path[depth:] = [name]
        drawn[name] = path[depth - 1] if depth else "Exception"
    real = {
        name: next(base.__name__ for base in cls.__mro__[1:] if base.__name__ in drawn or base is Exception)
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, BaseException) and cls.__module__ == errors.__name__
    }
    assert drawn == real
    assert set(real) | {"Problem", "suggestion"} == set(errors.__all__)


def test_errors_are_also_what_python_calls_them() -> None:
    """Code that knows nothing of this package catches them as what they are."""
    assert isinstance(late, TimeoutError)
    assert isinstance(NotFound("x"), LookupError)
    assert isinstance(DefinitionError("x"), TypeError)
    assert isinstance(StopFailed([late]), ExceptionGroup)


def test_a_part_of_a_stop_failed_is_one_too() -> None:
    """``except*`` and ``split`` keep the class, the order and the message of what they leave."""
    whole = StopFailed([HookFailed("a", "stop", "no"), late, Abandoned("b", "initialized")])
    hooks, others = whole.split(HookFailed)
    assert isinstance(hooks, StopFailed)
    assert isinstance(others, StopFailed)
    assert [str(one) for one in hooks.exceptions] == [str(whole.exceptions[0]), str(late)]
    assert hooks.message == "plugins that did not stop cleanly: 'a', 'x'"
    caught: list[object] = []
    try:
        raise whole
    except* DeadlineExceeded as group:
        caught.append(type(group))
    except* PluginError as group:
        caught.append(group.exceptions)
    assert caught == [StopFailed, (whole.exceptions[0], whole.exceptions[2])]
