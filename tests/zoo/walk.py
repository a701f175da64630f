"""Take a plugin through a few calls, with a fault at one await, and tell what went wrong.

This is no verifier: it does not search. It does what it is told, once, and looks at the process before and after.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, Final, cast

from attrs import define, field, frozen

from fsm_plugins import DeadlineExceeded, DefinitionError, HealthStatus, InvalidState, Plugin, Receiver
from fsm_plugins.testing import VirtualClockLoop
from tests.zoo.specimen import Ends, Specimen
from tests.zoo.watch import Look, World, pause, world

__all__ = ["Fault", "Step", "Walk", "hooks_of", "observe", "parse", "static"]

_STEP: Final = re.compile(r"(\w+)(?:\[(\w+) at await (\d+)\])?")
_PATIENCE: Final = 0.3  # seconds that sockets, threads and processes are given to go away


class Injected(OSError):
    """What is raised at an await, unless the walk names something else."""


class Told(RuntimeError):
    """Why a plugin fails that is told to fail."""


@frozen
class Fault:
    """What happens to a hook where it gives way to the loop for the ``at``-th time."""

    error: str
    at: int


@frozen
class Step:
    """One call. Two calls at the same time are a step with ``other``."""

    call: str
    fault: Fault | None = None
    other: str | None = None


def parse(walk: str) -> list[Step]:
    """Return the steps of a walk.

    >>> parse("init -> start[OSError at await 2]")[1]
    Step(call='start', fault=Fault(error='OSError', at=2), other=None)
    """
    steps = []
    for text in walk.split(" -> "):
        call, _, other = text.partition(" || ")
        matched = _STEP.fullmatch(call)
        if matched is None:
            raise ValueError(f"not a step: {text!r}")
        name, error, at = matched.groups()
        steps.append(Step(name, Fault(error, int(at)) if error else None, other or None))
    return steps


def hooks_of(plugin: Plugin) -> dict[str, str]:
    """Return the hooks that ``plugin`` has, by the name of the call that runs each."""
    machine = type(plugin).lifecycle.machine
    calls = [trigger for trigger in machine.events if trigger != "fail"] + ["health_check"]
    return {call: f"on_{call}" for call in calls if hasattr(plugin, f"on_{call}")}


# Faults.


@define
class _Record:
    """What happened in the hooks of one walk."""

    fault: Fault | None = None
    injected: bool = False
    awaits: dict[str, int] = field(factory=dict)
    raised: list[tuple[str, BaseException]] = field(factory=list)
    swallowed: bool = False


def _retrieve(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()


@types.coroutine
def _stepped(coroutine: Coroutine[Any, Any, Any], call: str, record: _Record) -> Generator[object, None, object]:
    """Run a hook step by step, with the fault of this step in it."""
    fault, record.fault = record.fault, None
    error: BaseException | None = None
    awaits = 0
    cancelled = False
    while True:
        try:
            waits_for = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            record.swallowed |= cancelled
            return stop.value
        except BaseException as raised:
            record.raised.append((call, raised))
            if cancelled and fault is not None and fault.error == "TimeoutError":
                raise TimeoutError from raised
            raise
        awaits += 1
        record.awaits[call] = max(awaits, record.awaits.get(call, 0))
        error = None
        if fault is not None and awaits == fault.at:
            record.injected = True
            if fault.error == "CancelledError":
                cancelled = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            else:
                if asyncio.isfuture(waits_for):
                    waits_for._asyncio_future_blocking = False
                    waits_for.add_done_callback(_retrieve)  # the hook will not: it was told something else
                    waits_for.cancel()
                if fault.error == "TimeoutError":  # a deadline: cancelled, but not by the caller
                    cancelled = True
                    error = asyncio.CancelledError()
                else:
                    error = Injected("injected")
                continue
        try:
            yield waits_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as raised:
            error = raised


class Hooked:
    """The hooks of a class, each watched for as long as the block lasts."""

    def __init__(self, plugin: Plugin, record: _Record) -> None:
        self._cls = type(plugin)
        self._record = record
        self._hooks = {call: hook for call, hook in hooks_of(plugin).items() if self._is_plain(hook)}
        self._own = {hook: vars(self._cls)[hook] for hook in self._hooks.values() if hook in vars(self._cls)}

    def _is_plain(self, hook: str) -> bool:
        function = inspect.getattr_static(self._cls, hook)
        return inspect.iscoroutinefunction(function) and len(inspect.signature(function).parameters) == 1

    def __enter__(self) -> None:
        for call, hook in self._hooks.items():
            setattr(self._cls, hook, self._watched(call, getattr(self._cls, hook)))

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks.values():
            if hook in self._own:
                setattr(self._cls, hook, self._own[hook])
            else:
                delattr(self._cls, hook)

    def _watched(self, call: str, function: Callable[[Plugin], Coroutine[Any, Any, Any]]) -> object:
        record = self._record

        async def hook(plugin: Plugin) -> object:
            return await _stepped(function(plugin), call, record)

        return hook


# What can be seen of a plugin.


def _visible(plugin: Plugin) -> dict[str, str]:
    """Return the attributes of ``plugin`` in words."""
    names = {slot for cls in type(plugin).__mro__ for slot in _as_tuple(vars(cls).get("__slots__", ()))}
    names |= set(getattr(plugin, "__dict__", {}))
    return {name: repr(getattr(plugin, name, None)) for name in sorted(names) if name not in ("_guard", "__weakref__")}


def _as_tuple(slots: str | tuple[str, ...]) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _held_locks(plugin: Plugin) -> bool:
    """Whether a lock that the plugin, its class or its module has is held."""
    cls = type(plugin)
    places = [vars(one) for one in cls.__mro__ if one.__module__ == cls.__module__] + [
        vars(sys.modules[cls.__module__])
    ]
    values = [getattr(plugin, name, None) for name in _visible(plugin)]
    values += [value for place in places for value in place.values()]
    kinds = (asyncio.Lock, type(threading.Lock()))
    return any(isinstance(value, kinds) and cast("asyncio.Lock", value).locked() for value in values)


class Walk:
    """One walk of one specimen.

    Attributes:
        found: what went wrong, as slugs.
        awaits: for each call, how often its hook gave way to the loop.
    """

    def __init__(self, specimen: Specimen, steps: list[Step], *, turns: int, work: float, rest: bool) -> None:
        self.specimen = specimen
        self.steps = steps
        self.turns = turns
        self.work = work
        self.rest = rest
        self.found: set[str] = set()
        self.record = _Record()
        self.faulted = False
        self.rested = False
        self.called: list[str] = []
        self.generators: list[object] = []
        self.unfinished: Plugin | None = None

    @property
    def awaits(self) -> Mapping[str, int]:
        return self.record.awaits

    def forget(self) -> None:
        """Let go of what keeps the plugin alive, so that it is collected now, and not in somebody else's walk."""
        self.generators.clear()
        self.record.raised.clear()

    async def run(self, here: World) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._noticed)
        first_iteration = sys.get_asyncgen_hooks().firstiter
        assert first_iteration is not None

        def begun(generator: Any) -> None:
            self.generators.append(generator)  # alive, so that nothing but the plugin ends it
            first_iteration(generator)

        sys.set_asyncgen_hooks(firstiter=begun)
        before, tasks = Look(), asyncio.all_tasks()
        plugin, ends = self.specimen.wire()
        for step in self.steps:
            if step.call == "new":
                plugin, ends = self.specimen.wire()
                self.called.append("new")
                continue
            with Hooked(plugin, self.record):
                await self._step(plugin, step)
        if self.rest:
            await self._bring_to_rest(plugin)
        await self._settle(before, tasks)
        self.rested = self._resting(plugin)
        if self.rested:
            self.found |= self._left(before, tasks)
            self._look_at(plugin, ends)
            if any(here.temporary.iterdir()):
                self.found.add("leak-temporary-file")
            await self._look_for_activity(plugin)
        elif self.steps[-1].call == "stop" and self.steps[-1].fault is None:
            self.found.add("not-at-rest")
        self.unfinished = None if self.rested else plugin

    async def clean_up(self) -> None:
        """Stop a plugin that the walk left running, without judging it."""
        if self.unfinished is not None:
            await self._bring_to_rest(self.unfinished)
            self.unfinished = None

    def _resting(self, plugin: Plugin) -> bool:
        return plugin.state in type(plugin).lifecycle.rest

    def _noticed(self, _loop: object, context: Mapping[str, Any]) -> None:
        if "never retrieved" in context["message"]:
            self.found.add("unretrieved-exception")
        elif "was destroyed" in context["message"]:  # a task that nobody can reach any more
            if self.rested:
                self.found.add("leak-task")
        elif "asynchronous generator" not in context["message"]:
            self.found.add("hook-raises")

    async def _step(self, plugin: Plugin, step: Step) -> None:
        self.record.fault = step.fault
        self.record.injected = self.record.swallowed = False
        calls = [asyncio.create_task(self._call(plugin, step.call))]
        if step.other is not None:
            await asyncio.sleep(0)
            calls.append(asyncio.create_task(self._call(plugin, step.other)))
        await asyncio.wait(calls)
        self.record.fault = None
        if self.record.injected:
            self.faulted = True
        if self.record.swallowed:
            self.found.add("cancellation-swallowed")
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.work and step.call == "start":
            await asyncio.sleep(self.work)
        if self.specimen.invariant is not None and not self.specimen.invariant(plugin):
            self.found.update({"invariant-broken", "message-lost"} & {*self.specimen.slug, "invariant-broken"})

    async def _call(self, plugin: Plugin, call: str) -> None:
        before = _visible(plugin)
        again = call in self.called
        known = len(self.record.raised)
        try:
            if call == "health_check":
                self._judge_health(await plugin.health_check(), known)
            elif call == "fail":
                await plugin.fail(Told("by the one who runs it"))
            else:
                await plugin.fire(call)
        except InvalidState:
            if _visible(plugin) != before:
                self.found.add("illegal-call-has-effect")
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._judge(call, error, again)
        self.called.append(call)

    def _judge_health(self, status: HealthStatus, known: int) -> None:
        if "no answer within" in status.reason:
            self.found.add("hook-hangs")
            return
        raised = [error for call, error in self.record.raised[known:] if call == "health_check"]
        # It is cancelled by a call that comes first.
        if raised and not self.record.injected and not isinstance(raised[-1], asyncio.CancelledError):
            self.found.add("health-check-raises")

    def _judge(self, call: str, error: BaseException, again: bool) -> None:
        if isinstance(error, DeadlineExceeded) and error.abandoned:
            self.found.add("cancellation-swallowed")
        if self.record.injected or isinstance(error.__cause__, Told):
            return
        self.found.add("hook-hangs" if isinstance(error, DeadlineExceeded) else "hook-raises")
        if call == "stop" and (self.faulted or "fail" in self.called):
            self.found.add("stop-after-fault-fails")
        if call == "stop" and again:
            self.found.add("double-release")
        if again or "new" in self.called:
            self.found.add("second-run-fails")

    async def _bring_to_rest(self, plugin: Plugin) -> None:
        """Do what `PluginRegistry.stop_all` would do; try a stop that was disturbed once more."""
        lifecycle = type(plugin).lifecycle
        for _ in range(2):
            if self._resting(plugin) or plugin.state == lifecycle.initial:
                return
            if lifecycle.dest("stop", plugin.state) is None:
                await self._step(plugin, Step("fail"))
            with Hooked(plugin, self.record):
                await self._step(plugin, Step("stop"))

    def _look_at(self, plugin: Plugin, ends: Ends) -> None:
        for end in ends.values():
            if isinstance(end, Receiver) and not end.producers_gone:
                self.found.add("leak-channel-end")
        if _held_locks(plugin):
            self.found.add("lock-held")

    async def _look_for_activity(self, plugin: Plugin) -> None:
        """Whether something goes on in a plugin that has stopped."""
        before = _visible(plugin)
        await asyncio.sleep(10 if isinstance(asyncio.get_running_loop(), VirtualClockLoop) else 0.002)
        if _visible(plugin) != before:
            self.found.add("not-at-rest")

    async def _settle(self, before: Look, tasks: set[asyncio.Task[Any]]) -> None:
        """Let what was told to go away do so."""
        for _ in range(10):
            await asyncio.sleep(0)
        if self.specimen.clock == "real":
            waited = 0.0
            while self._left(before, tasks) and waited < _PATIENCE:
                pause(0.002)
                waited += 0.002
                await asyncio.sleep(0)

    def _left(self, before: Look, tasks: set[asyncio.Task[Any]]) -> set[str]:
        found = Look().since(before)
        if asyncio.all_tasks() - tasks:
            found.add("leak-task")
        if any(getattr(generator, "ag_frame", None) is not None for generator in self.generators):
            found.add("leak-async-generator")
        return found


def observe(
    specimen: Specimen, walk: str, *, turns: int = 12, work: float = 0.0, rest: bool = False, real: bool = False
) -> tuple[frozenset[str], Mapping[str, int]]:
    """Take ``specimen`` through ``walk``.

    Args:
        specimen: who.
        walk: the calls, as in `Specimen`.
        turns: of the event loop after each call, for the workers.
        work: seconds after a start.
        rest: whether to bring the plugin to rest after the walk.
        real: whether to use a real clock in any case.

    Returns:
        What went wrong, as slugs, and for each call how often its hook gave way to the loop.
    """
    if specimen.reset is not None:
        specimen.reset()
    one = Walk(specimen, parse(walk), turns=turns, work=work, rest=rest)
    with world() as here:
        loop = None if real or specimen.clock == "real" else VirtualClockLoop
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(one.run(here))
            one.forget()
            here.collect()  # while there is a loop that can be told of it
            runner.run(asyncio.sleep(0))
            found = frozenset(one.found | here.found)
            runner.run(one.clean_up())
        if one.rested:
            found |= one.found | here.collect()
    if specimen.reset is not None:
        specimen.reset()
    return found, one.awaits


# Looking without calling.


def static(specimen: Specimen) -> frozenset[str]:
    """Return what can be seen of ``specimen`` without calling it: its table, its hooks and its ports."""
    try:
        plugin, _ = specimen.wire()
    except DefinitionError:
        return frozenset({"port-problem"})
    found = _flaws_of_table(plugin)
    hooks = {call: inspect.getattr_static(type(plugin), hook) for call, hook in hooks_of(plugin).items()}
    if any(
        not inspect.iscoroutinefunction(hook) or len(inspect.signature(hook).parameters) != 1 for hook in hooks.values()
    ):
        found.add("hook-signature")
    return frozenset(found)


def _flaws_of_table(plugin: Plugin) -> set[str]:
    lifecycle = type(plugin).lifecycle
    machine = lifecycle.machine
    arcs: list[tuple[str, str, str]] = []
    found = set()
    for trigger, event in machine.events.items():
        for source, candidates in event.transitions.items():
            for index, candidate in enumerate(candidates):
                if any(not earlier.conditions for earlier in candidates[:index]):
                    found.add("unreachable-arc")  # an earlier one is always taken
                else:
                    arcs.append((trigger, source, candidate.dest or source))
    reached = _closure({lifecycle.initial}, {(source, dest) for _, source, dest in arcs})
    if set(machine.states) - reached:
        found.add("unreachable-state")
    if any(source not in reached for _, source, _ in arcs):
        found.add("unreachable-arc")
    leaving = {source for _, source, _ in arcs}
    if reached - leaving - lifecycle.rest:
        found.add("dead-end")
    to_rest = _closure(set(lifecycle.rest), {(dest, source) for _, source, dest in arcs})
    if reached - to_rest:
        found.add("no-way-to-rest")
    return found


def _closure(starts: set[Any], edges: set[tuple[str, str]]) -> set[Any]:
    reached = set(starts)
    while more := {dest for source, dest in edges if source in reached} - reached:
        reached |= more
    return reached
