"""Watching the hooks of a plugin step by step, and letting something go wrong at one of their awaits.

The plugin is not annotated and not changed: while it is observed, the hooks of its class are wrapped, and those of
other instances pass through. A wrapped hook is stepped as the framework steps it (see ``driving``), so each time it
waits is seen, and so is the line that waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sysconfig
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, Final, Literal

from attrs import Factory, define, field

import fsm_plugins
from fsm_plugins.lifecycle import FAIL, Lifecycle
from fsm_plugins.plugin import Plugin
from fsm_plugins.verify.base.clock import RunLoop
from fsm_plugins.verify.base.script import Fault

__all__ = ["HookRun", "InjectedFault", "Observer", "hooks_of", "observed"]

_OURS: Final = os.path.dirname(fsm_plugins.__file__) + os.sep
_STDLIB: Final = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")}
    | {os.path.dirname(asyncio.__file__) + os.sep}
)
_SITE: Final = tuple({sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib")})


class InjectedFault(Exception):
    """What an await raises when the verifier lets it."""


# Where only the tasks that are waited for can raise: an exception from nowhere would break what holds them together.
_WAITS_FOR_TASKS: Final = {
    ("tasks.py", "wait"),
    ("tasks.py", "_wait"),
    ("tasks.py", "wait_for"),
    ("taskgroups.py", "__aexit__"),
    ("taskgroups.py", "_aexit"),
    ("staggered.py", "staggered_race"),
}


@define
class Await:
    """One time that a hook waited.

    Attributes:
        place: the line of the plugin that waited, as ``app.py:41``.
        kinds: the faults that may happen there.
    """

    place: str
    kinds: tuple[str, ...]


@define(eq=False)
class HookRun:
    """One run of a hook.

    Attributes:
        hook: its name.
        awaits: each time it waited.
        outcome: how it ended. ``closed`` is what becomes of a hook that was abandoned.
        error: what it raised.
        fired: whether the fault happened.
        place: the line where the fault happened.
    """

    hook: str
    awaits: list[Await] = Factory(list)
    outcome: Literal["running", "returned", "raised", "closed", "not awaitable"] = "running"
    error: BaseException | None = None
    fired: bool = False
    place: str = ""


@define(eq=False)
class Observer:
    """What is seen of the hooks of one plugin.

    Attributes:
        plugin: the one.
        runs: of its hooks, in order.
        fault: what shall happen to the next hook that runs.
    """

    plugin: Plugin
    runs: list[HookRun] = field(factory=list)
    fault: Fault | None = None

    def call(self, hook: str, method: Callable[[], object]) -> object:
        """Call a hook, and return what the framework shall run."""
        run = HookRun(hook)
        self.runs.append(run)
        fault, self.fault = self.fault, None
        called = method()
        if not inspect.isawaitable(called):
            run.outcome = "not awaitable"
            return called
        return _awaiting(_steps(run, called, fault))


async def _awaiting(steps: Generator[object, None, object]) -> object:
    return await steps  # type: ignore[misc]


@types.coroutine
def _steps(run: HookRun, called: Any, fault: Fault | None) -> Generator[object, None, object]:
    """Step a hook to its end, with the fault if there is one."""
    inner = called if isinstance(called, Coroutine) else called.__await__()
    error: BaseException | None = None
    while True:
        try:
            waits_for = inner.send(None) if error is None else inner.throw(error)
        except StopIteration as stop:
            run.outcome = "returned"
            return stop.value
        except BaseException as raised:
            run.outcome, run.error = "raised", raised
            raise
        error = None
        here = _await(called, waits_for)
        run.awaits.append(here)
        now = fault if fault is not None and fault.at == len(run.awaits) and fault.kind in here.kinds else None
        if now is not None:
            run.fired, run.place = True, here.place
        if now is not None and now.kind == "raise":
            if asyncio.isfuture(waits_for):
                waits_for._asyncio_future_blocking = False
            error = InjectedFault("raised by the verifier in place of what was awaited")
            continue
        try:
            if now is not None and now.kind == "timeout":
                yield from _never(waits_for)
            else:
                if now is not None:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                yield waits_for
        except GeneratorExit:
            run.outcome = "closed"
            inner.close()
            raise
        except BaseException as raised:
            error = raised


def _never(waits_for: Any) -> Generator[object, None, None]:
    """Wait until told to end, as if ``waits_for`` never came to anything; then pass that on to it, as a task does."""
    loop = asyncio.get_running_loop()
    is_future = asyncio.isfuture(waits_for)
    if is_future:
        waits_for._asyncio_future_blocking = False
    if isinstance(loop, RunLoop):
        loop.hurry(1)
    try:
        yield from loop.create_future()
    except asyncio.CancelledError:
        if not (is_future and waits_for.cancel() and not waits_for.done()):
            raise
    finally:
        if isinstance(loop, RunLoop):
            loop.hurry(-1)
    waits_for._asyncio_future_blocking = True
    yield waits_for


def _await(called: object, waits_for: object) -> Await:
    """Describe the await that a suspended coroutine is at."""
    place, inmost = "", ("", "")
    coroutine: object = called
    while coroutine is not None:
        frame = (
            getattr(coroutine, "cr_frame", None)
            or getattr(coroutine, "gi_frame", None)
            or getattr(coroutine, "ag_frame", None)
        )
        if frame is not None:
            file = frame.f_code.co_filename
            inmost = (os.path.basename(file) if file.startswith(_STDLIB) else "", frame.f_code.co_name)
            own = not file.startswith((_OURS, *_STDLIB)) or file.startswith(_SITE)
            if own or not place:
                place = f"{os.path.basename(file)}:{frame.f_lineno}"
        coroutine = (
            getattr(coroutine, "cr_await", None)
            or getattr(coroutine, "gi_yieldfrom", None)
            or getattr(coroutine, "ag_await", None)
        )
    if (
        isinstance(waits_for, asyncio.Task)
        or type(waits_for).__name__ == "_GatheringFuture"
        or inmost in _WAITS_FOR_TASKS
    ):
        return Await(place, ("cancel", "timeout"))
    return Await(place, ("cancel", "raise", "timeout"))


def hooks_of(lifecycle: Lifecycle) -> tuple[str, ...]:
    """Return the names of the hooks that a plugin of ``lifecycle`` may have."""
    return (*(f"on_{trigger}" for trigger in lifecycle.triggers if trigger != FAIL), "on_health_check")


@contextlib.contextmanager
def observed(plugin: Plugin) -> Iterator[Observer]:
    """Watch the hooks of ``plugin`` for as long as the block lasts."""
    observer = Observer(plugin)
    cls = type(plugin)
    before = {}
    for hook in hooks_of(plugin.lifecycle):
        original = inspect.getattr_static(cls, hook, None)
        if original is not None:
            before[hook] = vars(cls).get(hook, original)
            own = hook in vars(cls)
            setattr(cls, hook, _wrapped(observer, hook, original))
            if not own:
                before[hook] = None
    try:
        yield observer
    finally:
        for hook, original in before.items():
            if original is None:
                delattr(cls, hook)
            else:
                setattr(cls, hook, original)


def _wrapped(observer: Observer, hook: str, original: Any) -> Callable[[Plugin], object]:
    def method(self: Plugin) -> object:
        bound = original.__get__(self, type(self)) if hasattr(original, "__get__") else original
        return observer.call(hook, bound) if self is observer.plugin else bound()

    method.__name__ = hook
    return method
