"""R1 to R6: what holds for a registry, whatever its plugins do. One test for each, and named after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import (
    AlreadyRegistered,
    DeadlineExceeded,
    Deadlines,
    HealthStatus,
    HookFailed,
    InvalidState,
    NotFound,
    Plugin,
    PluginInfo,
    PluginRegistry,
    Receiver,
    RegistryBusy,
    Sender,
    StopFailed,
    channel,
)
from fsm_plugins.testing import run
from tests.property.model import DEADLINE, GRACE
from tests.property.scenarios import Seen, play, plugins, scripts
from tests.property.scripted import Boom, Scripted
from tests.property.strategies import behaviours, hooks, names

common = settings(max_examples=150, deadline=None)
OK = {"init": "ok", "start": "ok", "stop": "ok"}
GOOD = ("ok", "slow", "callback")


class Listed(Scripted):
    """Notes in a common list which hook it was asked to run."""

    def __init__(self, behaviours: dict[str, str], name: str, log: list[tuple[str, str]]) -> None:
        super().__init__(behaviours, name=name)
        self.log = log

    async def _behave(self, trigger: str) -> None:
        self.log.append((trigger, self.info.name))
        await super()._behave(trigger)


def listed(behaviours: list[dict[str, str]]) -> tuple[PluginRegistry, list[Listed], list[tuple[str, str]]]:
    registry, log = PluginRegistry(), list[tuple[str, str]]()
    made = [Listed(hooks, f"p{index}", log) for index, hooks in enumerate(behaviours)]
    for plugin in made:
        registry.register(plugin)
    return registry, made, log


operations = st.one_of(
    st.tuples(st.just("new"), names),
    st.tuples(st.just("again"), names),
    st.tuples(st.just("foreign"), names),
    st.tuples(st.just("unregister"), names),
    st.tuples(st.just("no plugin"), names),
    st.tuples(st.sampled_from(["busy new", "busy unregister"]), names),
)


class Asked(Scripted):
    """Has to be asked how it is, so that a registry that asks is busy."""

    async def on_health_check(self) -> HealthStatus:
        """Say so."""
        return HealthStatus.healthy()


@common
@given(st.lists(operations, max_size=15))
def test_r1_register_is_atomic(script: list[tuple[str, str]]) -> None:
    """It adds the plugin as the last one, or it raises and nothing has changed: neither registry, nor plugin."""

    async def main() -> None:
        plugin: Plugin
        registry, other = PluginRegistry(), PluginRegistry()
        heard: list[str] = []
        registry.subscribe(lambda event: heard.append(event.plugin))
        expected: dict[str, Plugin] = {}
        out: dict[str, Plugin] = {}

        async def refused(call: Callable[[], object], error: type[Exception]) -> None:
            before = (list(registry), registry.list(), [plugin.state for plugin in registry], list(other))
            with pytest.raises(error):
                call()
            assert (list(registry), registry.list(), [plugin.state for plugin in registry], list(other)) == before

        for what, name in script:
            plugin = Asked(OK, name=name)
            match what:
                case "new" if name not in expected:
                    registry.register(plugin)
                    expected[name] = plugin
                case "new":
                    await refused(lambda plugin=plugin: registry.register(plugin), AlreadyRegistered)  # type: ignore[misc]
                    other.register(plugin)  # a refused plugin belongs to nobody
                    other.unregister(name)
                case "again" if name in expected:
                    await refused(lambda name=name: registry.register(expected[name]), AlreadyRegistered)  # type: ignore[misc]
                case "again" if name in out:
                    registry.register(out[name])
                    expected[name] = out.pop(name)
                case "foreign":
                    other.register(plugin)
                    await refused(lambda plugin=plugin: registry.register(plugin), AlreadyRegistered)  # type: ignore[misc]
                    assert other.unregister(name) is plugin
                case "unregister" if name in expected:
                    out[name] = expected.pop(name)
                    assert registry.unregister(name) is out[name]
                case "unregister":
                    await refused(lambda name=name: registry.unregister(name), NotFound)  # type: ignore[misc]
                case "no plugin":
                    await refused(lambda: registry.register(Scripted), TypeError)  # type: ignore[arg-type]
                case "busy new" | "busy unregister" if registry.count():
                    call = registry.register if what == "busy new" else registry.unregister
                    argument: Any = plugin if what == "busy new" else name
                    walk = asyncio.create_task(registry.health_check_all())
                    await asyncio.sleep(0)
                    await refused(lambda call=call, argument=argument: call(argument), RegistryBusy)  # type: ignore[misc]
                    await walk
                    if what == "busy new":
                        other.register(plugin)
                        other.unregister(name)
            assert list(registry) == list(expected.values())
            assert [info.name for info in registry.list()] == list(expected)
            assert registry.count() == len(registry) == len(expected)
            assert all(registry[name] is registry.get(name) is plugin for name, plugin in expected.items())
            assert all(name in registry for name in expected)
        # Those that are in are heard, and no others.
        for plugin in [*expected.values(), *out.values()]:
            await plugin.init()
        assert heard == list(expected)

    run(main)


@common
@given(st.lists(hooks, min_size=1, max_size=5), st.sampled_from(["init", "start"]))
def test_r2_a_failure_at_k_means_that_0_to_k_were_attempted_and_no_other(
    behaviours: list[dict[str, str]], trigger: str
) -> None:
    """In order, each once; those before k have moved, k is failed, those after it are untouched."""

    async def main() -> None:
        before = "created" if trigger == "init" else "initialized"
        after = "initialized" if trigger == "init" else "running"
        scripts = behaviours if trigger == "init" else [{**hooks, "init": "ok"} for hooks in behaviours]
        registry, made, log = listed(scripts)
        if trigger == "start":
            await registry.init_all()
            log.clear()
        bad = [index for index, hooks in enumerate(scripts) if hooks[trigger] not in GOOD]
        raised: BaseException | None = None
        try:
            await (registry.init_all() if trigger == "init" else registry.start_all())
        except (Exception, asyncio.CancelledError) as error:
            raised = error
        last = bad[0] if bad else len(made) - 1
        assert log == [(trigger, f"p{index}") for index in range(last + 1)]
        expected = [after] * len(made) if not bad else [after] * last + ["failed"] + [before] * (len(made) - last - 1)
        assert [plugin.state for plugin in made] == expected
        assert (raised is None) == (not bad)
        if isinstance(raised, HookFailed):
            assert (raised.name, raised.trigger) == (f"p{last}", trigger)
        # A second go is refused at the first one, and changes nothing.
        with pytest.raises(InvalidState):
            await (registry.init_all() if trigger == "init" else registry.start_all())
        assert [plugin.state for plugin in made] == expected

    run(main)


@common
@given(
    st.lists(
        st.tuples(st.sampled_from(["created", "initialized", "running", "failed", "stopped"]), behaviours), max_size=5
    )
)
def test_r3_stop_all_attempts_all_and_raises_all_causes(those: list[tuple[str, str]]) -> None:
    """Every plugin that is not at rest, in order, once; one group has the error of each that broke, in that order."""

    async def main() -> None:
        registry, made, log = listed([{**OK, "stop": stop if state != "stopped" else "ok"} for state, stop in those])
        for plugin, (state, _) in zip(made, those, strict=True):
            path = {"created": [], "initialized": ["init"], "running": ["init", "start"], "failed": ["init"]}
            for trigger in path.get(state, ["init", "start", "stop"]):
                await plugin.fire(trigger)
            if state == "failed":
                await plugin.fail(Boom("before"))
        log.clear()
        raised: StopFailed | None = None
        try:
            await registry.stop_all()
        except StopFailed as error:
            raised = error
        due = [plugin for plugin, (state, _) in zip(made, those, strict=True) if state not in ("created", "stopped")]
        bad = [plugin for plugin in due if plugin.behaviours["stop"] not in GOOD]
        assert log == [("stop", plugin.info.name) for plugin in due]
        problems = list(raised.exceptions) if raised else []
        assert [getattr(problem, "name", None) for problem in problems] == [plugin.info.name for plugin in bad]
        assert isinstance(raised, ExceptionGroup) == bool(bad)
        for plugin, problem in zip(bad, problems, strict=True):
            assert isinstance(problem, HookFailed)
            behaviour = plugin.behaviours["stop"]
            if behaviour in ("raise", "slow raise"):
                assert isinstance(problem.__cause__, Boom)
            elif behaviour == "cancel itself":
                assert isinstance(problem.__cause__, asyncio.CancelledError)
            else:
                assert isinstance(problem, DeadlineExceeded)
        for plugin, (state, _) in zip(made, those, strict=True):
            broken = "failed" if plugin in bad else "stopped"
            assert plugin.state == ("created" if state == "created" else broken)
        # Idempotent: what is at rest is left alone, and what is still failed is attempted again.
        log.clear()
        if not bad:
            await registry.stop_all()
            assert log == []

    run(main)


class Stubborn(Plugin):
    """Does everything it can to hold up its own end."""

    info = PluginInfo("stubborn", "1.0.0")
    deadlines = Deadlines(stop=DEADLINE["stop"], health=4.0, grace=GRACE)

    def __init__(self, name: str, habits: set[str], inbox: Receiver[int], outbox: Sender[int]) -> None:
        super().__init__(name=name)
        self.habits, self.inbox, self.outbox = habits, inbox, outbox
        self.left_behind: list[asyncio.Task[None]] = []
        self.killed = asyncio.Event()

    async def on_start(self) -> None:
        for habit, work in (
            ("lingering worker", asyncio.Event().wait),
            ("swallowing worker", self._swallow),
            ("worker that waits for a swallowing task", self._wait_for_swallowing_task),
            ("worker with a slow end", self._end_slowly),
            ("worker that breeds in the end", self._breed),
            ("worker that crashes in the end", self._crash),
        ):
            if habit in self.habits:
                self.spawn(work(), name=habit)

    async def _swallow(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def _wait_for_swallowing_task(self) -> None:
        task = asyncio.create_task(self._until_killed())
        self.left_behind.append(task)
        await task

    async def _until_killed(self) -> None:
        while not self.killed.is_set():
            try:
                await self.killed.wait()
            except asyncio.CancelledError:
                continue

    async def _end_slowly(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3)

    async def _breed(self) -> None:
        try:
            await self._swallow()
        finally:
            self.spawn(self._swallow())

    async def _crash(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise Boom("in the end")

    async def on_stop(self) -> None:
        if "swallowing stop" in self.habits:
            await self._swallow()
        if "hanging stop" in self.habits:
            await asyncio.Event().wait()

    async def on_health_check(self) -> HealthStatus:
        if "swallowing health check" in self.habits:
            await self._swallow()
        await asyncio.Event().wait()
        return HealthStatus.healthy()


habits = st.sets(
    st.sampled_from(
        [
            "lingering worker",
            "swallowing worker",
            "worker that waits for a swallowing task",
            "worker with a slow end",
            "worker that breeds in the end",
            "worker that crashes in the end",
            "swallowing stop",
            "hanging stop",
            "swallowing health check",
            "health check",
            "unread input",
            "stopped by another",
        ]
    )
)
HARMLESS = {"lingering worker", "worker with a slow end", "health check", "swallowing health check"}


@settings(max_examples=300, deadline=None)
@given(st.lists(habits, min_size=1, max_size=3), st.sampled_from([None, 0.0, 1.0, 10.5]))
def test_r4_stop_all_ends_in_time_and_names_those_who_were_late(those: list[set[str]], cancel: float | None) -> None:
    """Within the stop deadline and four grace periods for each plugin, and as much for each call under way."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        registry, made = PluginRegistry(), []
        others: list[asyncio.Task[Any]] = []
        for index, habits in enumerate(those):
            feed, inbox = _channel()
            outbox, _ = _channel()
            plugin = Stubborn(f"p{index}", habits, inbox, outbox)
            made.append(plugin)
            registry.register(plugin)
            if "unread input" in habits:
                feed.try_send(1)
                feed.close()
        await registry.init_all()
        await registry.start_all()
        await asyncio.sleep(0)
        for plugin in made:
            if plugin.habits & {"health check", "swallowing health check"}:
                others.append(asyncio.create_task(plugin.health_check()))
            if "stopped by another" in plugin.habits:
                others.append(asyncio.create_task(plugin.stop()))
        await asyncio.sleep(0)
        start = loop.time()
        stopping = asyncio.create_task(registry.stop_all())
        if cancel is not None:
            loop.call_later(cancel, stopping.cancel)
        await asyncio.wait([stopping])
        one = DEADLINE["stop"] + 4 * GRACE
        assert loop.time() - start <= sum(one * (1 + ("stopped by another" in habits)) for habits in those) + 1e-6
        for plugin in made:
            assert plugin.state in ("stopped", "failed")
            assert plugin.inbox.closed and plugin.outbox.closed
            late = plugin.habits & {"swallowing stop", "hanging stop", "swallowing worker"}
            if late and "stopped by another" not in plugin.habits:
                assert plugin.state == "failed"
                assert plugin.failure is not None
        if not stopping.cancelled():
            error = stopping.exception()
            named = {getattr(problem, "name", "?") for problem in getattr(error, "exceptions", ())}
            failed = {plugin.info.name for plugin in made if plugin.state == "failed"}
            assert named == failed
            for plugin in made:
                if plugin.habits <= HARMLESS:
                    assert plugin.state == "stopped"
        for plugin in made:
            for task in plugin.left_behind:
                plugin.killed.set()
                others.append(task)
        if others:
            await asyncio.wait(others)
        for task in others:
            if not task.cancelled():
                task.exception()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1  # nobody else is left

    run(main)


def _channel() -> tuple[Sender[int], Receiver[int]]:
    return channel(4)


@common
@given(plugins, scripts)
def test_r5_mutation_during_a_bulk_call_is_rejected(behaviours: Any, script: Any) -> None:
    """At any moment of any history: register and unregister are refused while a bulk call is under way, else not."""

    def look(seen: Seen) -> None:
        registry = seen.registry
        bulk = [call for call in seen.calls if not call.done() and "_all" in str(call.get_coro())]
        order = registry.list()
        newcomer = Scripted(OK, name="newcomer")
        for change in (lambda: registry.register(newcomer), lambda: registry.unregister("p0")):
            try:
                change()
            except RegistryBusy as busy:
                assert bulk
                assert busy.in_flight in ("init_all", "start_all", "stop_all", "health_check_all")
                assert registry.list() == order
                continue
            assert not bulk
        if not bulk:  # put everything back
            registry.unregister("newcomer")
            for plugin in seen.plugins:
                if plugin.info.name in registry:
                    registry.unregister(plugin.info.name)
                registry.register(plugin)
        assert registry.list() == order

    async def then(_seen: Seen) -> None:
        pass

    play(behaviours, script, then, look)


@pytest.mark.parametrize("call", ["init_all", "start_all", "stop_all", "health_check_all"])
@pytest.mark.parametrize("where", ["hook", "listener", "worker", "outside"])
def test_r5_whoever_tries_it(call: str, where: str) -> None:
    """A hook, a listener, a worker or somebody else: RegistryBusy names the two calls, and the set stays as it is."""

    async def main() -> None:
        registry = PluginRegistry()
        refusals: list[RegistryBusy] = []

        def mutate() -> None:
            for change in (lambda: registry.register(Scripted(OK, name="new")), lambda: registry.unregister("a")):
                try:
                    change()
                except RegistryBusy as busy:
                    refusals.append(busy)

        async def look(under_way: Awaitable[object]) -> None:
            bulk = asyncio.ensure_future(under_way)
            if where == "outside":
                await asyncio.sleep(1)
                mutate()
            await bulk

        class Meddler(Plugin):
            info = PluginInfo("a", "1.0.0")

            async def _meddle(self) -> None:
                if asked and where == "hook":
                    mutate()
                if asked and where == "worker" and self.state != "created":
                    await self.spawn(self._mutate())
                elif where == "worker" and asked:
                    mutate()
                await asyncio.sleep(2)

            async def _mutate(self) -> None:
                mutate()

            on_init = on_start = on_stop = _meddle

            async def on_health_check(self) -> HealthStatus:
                await self._meddle()
                if where == "listener":
                    mutate()
                return HealthStatus.healthy()

        asked = False
        registry.register(Meddler())
        registry.subscribe(lambda event: mutate() if asked and where == "listener" else None)
        for before in ("init_all", "start_all"):
            if call in ("init_all", before):
                break
            await getattr(registry, before)()
        asked = True
        await look(getattr(registry, call)())
        asked = False
        assert [(busy.wanted, busy.in_flight) for busy in refusals] == [("register", call), ("unregister", call)]
        assert [info.name for info in registry.list()] == ["a"]
        registry.register(Scripted(OK, name="new"))

    run(main)


class Slow(Plugin):
    """Takes its time to say how it is."""

    info = PluginInfo("slow", "1.0.0")
    deadlines = Deadlines(health=5.0, grace=1.0)

    def __init__(self, name: str, seconds: float, answer: str) -> None:
        super().__init__(name=name)
        self.seconds, self.answer = seconds, answer

    async def on_health_check(self) -> HealthStatus:
        await asyncio.sleep(self.seconds)
        if self.answer == "raise":
            raise Boom("no idea")
        return HealthStatus.degraded("a bit") if self.answer == "degraded" else HealthStatus.healthy()


@common
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.7, 2.0, 4.9, 77.0]), st.sampled_from(["healthy", "degraded", "raise"])),
        max_size=6,
    ),
    st.sets(st.integers(0, 5)),
)
def test_r6_one_health_entry_for_each_plugin(those: list[tuple[float, str]], failed: set[int]) -> None:
    """In order of registration, with name and state; asked at once, so it takes the longest time and not the sum."""

    async def main() -> None:
        registry = PluginRegistry()
        for index, (seconds, answer) in enumerate(those):
            registry.register(Slow(f"p{index}", seconds, answer))
        await registry.init_all()
        await registry.start_all()
        for index, plugin in enumerate(registry):
            if index in failed:
                await plugin.fail(Boom("failed"))
        start = asyncio.get_running_loop().time()
        entries = await registry.health_check_all()
        asked = [min(seconds, 5.0) for index, (seconds, _) in enumerate(those) if index not in failed]
        assert asyncio.get_running_loop().time() - start == pytest.approx(max(asked, default=0.0))
        assert [entry.name for entry in entries] == [f"p{index}" for index in range(len(those))]
        for index, (entry, (seconds, answer)) in enumerate(zip(entries, those, strict=True)):
            assert entry.state == ("failed" if index in failed else "running")
            bad = index in failed or answer == "raise" or seconds > 5
            assert entry.status.level == ("unhealthy" if bad else answer)

    run(main)
