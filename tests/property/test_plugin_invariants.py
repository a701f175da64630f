"""P1 to P8: what holds for one plugin, whatever is done to it. One test for each, and named after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import (
    DeadlineExceeded,
    Deadlines,
    HealthStatus,
    HookFailed,
    InvalidState,
    Plugin,
    PluginInfo,
    PluginRegistry,
    Receiver,
    Sender,
    TransitionEvent,
    channel,
)
from fsm_plugins.testing import run
from tests.property.model import DEADLINE, GRACE, TABLE
from tests.property.scenarios import Seen, nothing, play, plugins, scripts
from tests.property.scripted import Boom, Scripted
from tests.property.strategies import behaviours, hooks

ARCS = {(source, dest) for (_, source), dest in TABLE.items()}
common = settings(max_examples=150, deadline=None)


@common
@given(plugins, scripts)
def test_p1_only_arcs_of_the_table_are_ever_observed(behaviours: Any, script: Any) -> None:
    """Looking after every turn of the loop, one sees a plugin stay, or move along arcs."""
    last: dict[str, str] = {}

    def look(seen: Seen) -> None:
        for plugin in seen.plugins:
            before = last.get(plugin.info.name, "created")
            chain = [event for event in seen.events if event.plugin == plugin.info.name]
            assert all((event.trigger, event.source) in TABLE for event in chain)
            assert all(TABLE[event.trigger, event.source] == event.dest for event in chain)
            assert before == plugin.state or (before, plugin.state) in closure
            last[plugin.info.name] = plugin.state

    # Several moves may happen between two looks.
    closure = set(ARCS)
    for _ in ARCS:
        closure |= {(a, d) for a, b in closure for c, d in closure if b == c}
    play(behaviours, script, nothing, look)


@common
@given(plugins, scripts)
def test_p2_at_most_one_hook_is_in_flight(behaviours: Any, script: Any) -> None:
    """A plugin never runs two of its hooks at the same time, the one that asks for its health included."""

    async def then(seen: Seen) -> None:
        assert all(plugin.most_hooks_at_once <= 1 for plugin in seen.plugins)

    play(behaviours, script, then)


@common
@given(plugins, scripts, st.sampled_from(["init", "start", "stop"]))
def test_p3_an_illegal_call_is_refused_and_changes_nothing(behaviours: Any, script: Any, trigger: str) -> None:
    """From anywhere: InvalidState with its fields, no hook, no event, no other state."""

    async def then(seen: Seen) -> None:
        for plugin in seen.plugins:
            state, in_flight = plugin.state, plugin._guard.in_flight
            if (trigger, state) in TABLE and in_flight is None:
                continue
            before = (state, plugin.failure, dict(plugin.attempts), len(seen.events), in_flight)
            with pytest.raises(InvalidState) as refused:
                await plugin.fire(trigger)
            assert refused.value.name == plugin.info.name
            assert refused.value.current == state
            assert refused.value.expected == tuple(sorted(s for t, s in TABLE if t == trigger))
            assert refused.value.in_flight == in_flight
            now = (plugin.state, plugin.failure, dict(plugin.attempts), len(seen.events), plugin._guard.in_flight)
            assert now == before

    play(behaviours, script, then)


async def _reach(plugin: Plugin, trigger: str) -> None:
    for before in ("init", "start", "stop")[: ("init", "start", "stop").index(trigger)]:
        await plugin.fire(before)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["init", "start", "stop"]),
    behaviours,
    st.sampled_from(["nobody", "cancel", "fail", "cancel and fail"]),
    st.sampled_from([0.0, 1.5, 9.5]),
)
def test_p4_a_broken_hook_fails_the_plugin_before_its_caller_knows(
    trigger: str, behaviour: str, told_by: str, when: float
) -> None:
    """It raises, is cancelled, late or failed: the state is failed and the cause is kept when the error is out."""

    async def main() -> None:
        registry = PluginRegistry()
        plugin = Scripted({"init": "ok", "start": "ok", "stop": "ok"} | {trigger: behaviour}, name="x")
        registry.register(plugin)
        events: list[TransitionEvent] = []
        registry.subscribe(events.append)
        await _reach(plugin, trigger)
        caught: list[BaseException] = []

        async def call() -> None:
            try:
                await plugin.fire(trigger)
            except BaseException as error:
                assert plugin.state == "failed"
                assert plugin.failure is not None
                assert events[-1].dest == "failed"
                assert events[-1].cause is plugin.failure
                caught.append(error)
                raise

        task = asyncio.create_task(call())
        await asyncio.sleep(when)
        under_way = plugin._guard.in_flight is not None
        watchdog = Boom("watchdog")
        if under_way and "cancel" in told_by:
            task.cancel()
        failing = asyncio.create_task(plugin.fail(watchdog)) if under_way and "fail" in told_by else None
        await asyncio.wait([task, *([failing] if failing else [])])
        error = caught[0] if caught else None
        if under_way and "cancel" in told_by:
            assert isinstance(error, asyncio.CancelledError)
            assert task.cancelled()
        elif under_way and told_by == "fail":
            assert isinstance(error, HookFailed)
            assert error.__cause__ is plugin.failure is watchdog
        elif behaviour in ("raise", "slow raise"):
            assert isinstance(error, HookFailed)
            assert isinstance(plugin.failure, Boom)
            assert error.__cause__ is plugin.failure
        elif behaviour == "cancel itself":
            assert isinstance(error, asyncio.CancelledError)
        elif behaviour in ("hang", "absorb", "swallow"):
            assert isinstance(error, DeadlineExceeded)
            assert isinstance(error, TimeoutError)
            assert (error.name, error.trigger, error.seconds) == ("x", trigger, DEADLINE[trigger])
            assert error.abandoned == (behaviour == "swallow")
            assert asyncio.get_running_loop().time() == pytest.approx(
                DEADLINE[trigger] + (GRACE if error.abandoned else 0)
            )
        else:
            assert error is None
        if error is not None and task.done() and not task.cancelled():
            task.exception()
        if failing is not None and not failing.cancelled():
            failing.exception()

    run(main)


@common
@given(plugins, scripts, st.lists(st.sampled_from([0.0, 0.3, 5.3]), max_size=3))
def test_p5_stop_all_attempts_the_stop_hook_exactly_once(behaviours: Any, script: Any, cancels: list[float]) -> None:
    """For every plugin that was initialised and not yet stopped, even if the caller of stop_all is cancelled."""

    async def then(seen: Seen) -> None:
        for call in seen.calls:  # others may be stopping plugins on their own; not in this test
            call.cancel()
        if seen.calls:
            await asyncio.wait(seen.calls)
        before = {plugin: (plugin.attempts["stop"], plugin.state) for plugin in seen.plugins}
        stopping = asyncio.create_task(seen.registry.stop_all())
        for seconds in cancels:
            await asyncio.sleep(seconds)
            stopping.cancel()
        await asyncio.wait([stopping])
        for plugin, (attempts, state) in before.items():
            due = state not in ("created", "stopped")
            assert plugin.attempts["stop"] == attempts + due
            assert plugin.state in ("created", "stopped", "failed")
        if not stopping.cancelled():
            stopping.exception()

    play(behaviours, script, then)


@define
class Holder(Plugin):
    """Holds everything that a plugin can hold."""

    info = PluginInfo("holder", "1.0.0")
    deadlines = Deadlines(stop=5.0, grace=1.0)

    input: Receiver[int]
    output: Sender[int]
    kinds: list[str]
    stop_hook: str = "ok"

    async def on_start(self) -> None:
        for kind in self.kinds:
            self.spawn(self._work(kind), name=kind)

    async def _work(self, kind: str) -> None:
        match kind:
            case "read":
                async for number in self.input:
                    await self.output.send(number)
            case "linger":
                await asyncio.Event().wait()
            case "slow end":
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0.5)
            case "breed":
                try:
                    await asyncio.Event().wait()
                finally:
                    self.spawn(self._work("slow end"))
            case "swallow":
                while True:
                    try:
                        await asyncio.sleep(100)
                    except asyncio.CancelledError:
                        continue
            case "crash on stop":
                try:
                    await asyncio.Event().wait()
                finally:
                    raise Boom("in the end")

    async def on_stop(self) -> None:
        match self.stop_hook:
            case "spawn":
                self.spawn(self._work("linger"))
            case "raise":
                raise Boom("stop")
            case "hang":
                await asyncio.Event().wait()


kinds = st.lists(
    st.sampled_from(["read", "linger", "slow end", "breed", "swallow", "crash on stop"]), max_size=4, unique=True
)


@settings(max_examples=200, deadline=None)
@given(
    kinds,
    st.sampled_from(["ok", "ok", "spawn", "raise", "hang"]),
    st.booleans(),
    st.sampled_from([None, 0.0, 0.2, 1.2]),
    st.booleans(),
)
def test_p6_a_stopped_plugin_owns_nothing(
    kinds: list[str], stop_hook: str, producer_gone: bool, cancel: float | None, fail_first: bool
) -> None:
    """After stop, successful or not: no task of its is left, and its ports are closed."""

    async def main() -> None:
        to_holder, inbox = channel_of(8)
        outbox, _reader = channel_of(100)
        holder = Holder(inbox, outbox, kinds, stop_hook)
        before = asyncio.all_tasks()
        await holder.init()
        await holder.start()
        for number in range(5):
            to_holder.try_send(number)
        if producer_gone:
            to_holder.close()
        if fail_first:
            await holder.fail(Boom("first"))
        stop = asyncio.create_task(holder.stop())
        if cancel is not None:
            await asyncio.sleep(cancel)
            stop.cancel()
        await asyncio.wait([stop])
        assert asyncio.all_tasks() == before
        assert inbox.closed
        assert outbox.closed
        assert not holder._guard.workers
        to_drain = producer_gone and not fail_first and bool(kinds)
        # A plugin that is to drain its input, and whose workers do not read it, uses its deadline up.
        in_time = not to_drain or "read" in kinds
        if (
            cancel is None
            and in_time
            and stop_hook in ("ok", "spawn")
            and not {"swallow", "crash on stop"} & set(kinds)
        ):
            assert stop.exception() is None
            assert holder.state == "stopped"
            if to_drain:
                assert len(outbox) == 5
        if not stop.cancelled():
            stop.exception()
        if holder.state == "stopped":
            with pytest.raises(InvalidState):
                holder.spawn(asyncio.sleep(1))

    run(main)


def channel_of(capacity: int) -> tuple[Sender[int], Receiver[int]]:
    return channel(capacity)


class Patient(Scripted):
    """Answers questions after its health as it is told."""

    answer = "healthy"

    async def on_health_check(self) -> HealthStatus:
        self.hooks_under_way += 1
        self.most_hooks_at_once = max(self.most_hooks_at_once, self.hooks_under_way)
        try:
            match self.answer:
                case "raise":
                    raise Boom("no idea")
                case "hang":
                    await asyncio.Event().wait()
                case "swallow":
                    while True:
                        try:
                            await asyncio.Event().wait()
                        except asyncio.CancelledError:
                            continue
                case "slow":
                    await asyncio.sleep(2)
                case "cancel itself":
                    raise asyncio.CancelledError
                case "nonsense":
                    return "fine"  # type: ignore[return-value]
            return HealthStatus.healthy()
        finally:
            self.hooks_under_way -= 1


answers = st.sampled_from(["healthy", "raise", "hang", "swallow", "slow", "cancel itself", "nonsense"])
READS = {"healthy": "healthy", "slow": "healthy"}


@settings(max_examples=200, deadline=None)
@given(
    hooks,
    answers,
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from([None, "stop", "fail", "cancel"]),
    st.sampled_from([0.0, 1.3, 5.4]),
)
def test_p7_a_health_check_never_changes_state(
    behaviours: dict[str, str], answer: str, calls: int, askers: int, meanwhile: str | None, when: float
) -> None:
    """Whatever its hook does and whatever happens meanwhile: it gives an answer in time, and moves nothing."""

    async def main() -> None:
        patient = Patient(behaviours, name="x")
        patient.answer = answer
        for trigger in ("init", "start", "stop")[:calls]:
            try:
                await patient.fire(trigger)
            except (Exception, asyncio.CancelledError):
                break
        state, failure = patient.state, patient.failure
        start = asyncio.get_running_loop().time()
        asking = [asyncio.create_task(patient.health_check()) for _ in range(askers)]
        if meanwhile is None:
            await asyncio.wait(asking)
            assert (patient.state, patient.failure) == (state, failure)
            for asked in asking:
                level = asked.result().level
                assert level == {"running": READS.get(answer, "unhealthy"), "failed": "unhealthy"}.get(
                    state, "degraded"
                )
        else:
            await asyncio.sleep(when)
            if meanwhile == "cancel":
                asking[0].cancel()
            elif meanwhile == "stop":
                asking.append(asyncio.create_task(patient.stop()))  # type: ignore[arg-type]
            else:
                asking.append(asyncio.create_task(patient.fail(Boom("watchdog"))))  # type: ignore[arg-type]
            await asyncio.wait(asking)
            for asked in asking[:askers]:
                assert asked.cancelled() == (meanwhile == "cancel" and asked is asking[0] and asked.cancelled())
                if not asked.cancelled():
                    assert isinstance(asked.result(), HealthStatus)
            if len(asking) > askers and not asking[-1].cancelled():
                asking[-1].exception()
            if meanwhile == "cancel":
                assert (patient.state, patient.failure) == (state, failure)
        waited = asyncio.get_running_loop().time() - start
        bound = 5.0 + GRACE + (max(when, DEADLINE["stop"] + 2 * GRACE) if meanwhile else 0)
        # A caller who takes over from one that was cancelled asks anew.
        assert waited <= (2 * bound if meanwhile == "cancel" else bound) + 1e-6
        assert patient.most_hooks_at_once <= 1
        assert patient._guard._health is None

    run(main)


@common
@given(plugins, scripts, st.lists(st.sampled_from(["raise", "cancel", "register", "subscribe", "leave"]), max_size=4))
def test_p8_the_events_are_the_states_whatever_listeners_do(behaviours: Any, script: Any, listeners: list[str]) -> None:
    """Each listener that stays hears every transition once and in order; what listeners do breaks nothing."""
    heard: list[TransitionEvent] = []

    def look(seen: Seen) -> None:
        if not joined:
            for kind in listeners:
                leave = seen.registry.subscribe(lambda event, kind=kind: act(seen, kind, event))  # type: ignore[misc]
                leaving.append(leave)
            seen.registry.subscribe(heard.append)
            joined.append(seen)

    joined: list[Seen] = []
    leaving: list[Any] = []

    def act(seen: Seen, kind: str, event: TransitionEvent) -> None:
        match kind:
            case "raise":
                raise Boom(str(event))
            case "cancel":
                raise asyncio.CancelledError
            case "register":
                seen.registry.register(seen.plugins[0])
            case "subscribe":
                seen.registry.subscribe(lambda event: None)
            case "leave":
                for leave in leaving:
                    leave()

    async def then(seen: Seen) -> None:
        for plugin in seen.plugins:
            states = ["created"] + [event.dest for event in seen.events if event.plugin == plugin.info.name]
            sources = [event.source for event in seen.events if event.plugin == plugin.info.name] + [plugin.state]
            assert states == sources
        if joined:
            assert heard == seen.events

    play(behaviours, [("turns", 1), *script], then, look)
