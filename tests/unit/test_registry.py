"""The registry, by example: what is refused, what is told, and who may call it from where."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from typing import Any

import pytest

from fsm_plugins import (
    Abandoned,
    AlreadyRegistered,
    Deadlines,
    HookFailed,
    InvalidState,
    NotFound,
    Plugin,
    PluginError,
    PluginInfo,
    PluginRegistry,
    RegistryBusy,
    StopFailed,
)
from fsm_plugins.testing import VirtualClockLoop, run


class Idle(Plugin):
    info = PluginInfo("idle", "1.0.0")
    deadlines = Deadlines(init=5, start=5, stop=5, health=5, grace=1)

    seconds = 0.0

    async def on_stop(self) -> None:
        await asyncio.sleep(self.seconds)


def of(*plugins: Plugin) -> PluginRegistry:
    registry = PluginRegistry()
    for plugin in plugins:
        registry.register(plugin)
    return registry


def three(cls: type[Plugin] = Idle) -> tuple[PluginRegistry, list[Plugin]]:
    plugins = [cls(name=name) for name in "abc"]
    return of(*plugins), plugins


def test_it_is_an_ordered_set_by_name() -> None:
    """Names are looked up; iteration, list and repr are in the order of registration."""
    registry, (a, b, c) = three()
    assert registry["a"] is registry.get("a") is a
    assert registry.get("z") is None
    assert ("a" in registry, "z" in registry, 5 in registry) == (True, False, False)
    assert list(registry) == [a, b, c]
    assert [info.name for info in registry.list()] == ["a", "b", "c"]
    assert repr(registry) == "<PluginRegistry: a created, b created, c created>"
    assert registry.unregister("b") is b
    registry.register(b)
    assert list(registry) == [a, c, b]
    with pytest.raises(NotFound, match="no plugin named 'z' is registered"):
        registry["z"]
    with pytest.raises(NotFound):
        registry.unregister("z")


@pytest.mark.parametrize(
    ("thing", "text"), [(Idle, "the class Idle, make an instance"), (5, "this is 5"), (None, "None")]
)
def test_only_plugins_are_taken(thing: Any, text: str) -> None:
    """The text says what it was given."""
    with pytest.raises(TypeError, match=text):
        PluginRegistry().register(thing)


def test_a_plugin_is_in_one_registry_at_a_time() -> None:
    """It may move, in whatever state it is."""

    async def main() -> None:
        plugin = Idle()
        one, two = of(plugin), PluginRegistry()
        with pytest.raises(AlreadyRegistered):
            two.register(plugin)
        await one.init_all()
        two.register(one.unregister("idle"))
        await two.start_all()
        await one.stop_all()
        assert plugin.state == "running"
        await two.stop_all()

    run(main)


def test_running_does_all_three() -> None:
    """And stops what has been started if the block or a start raises; problems of the stop become notes then."""

    async def main() -> None:
        registry, plugins = three()
        async with registry.running() as same:
            assert same is registry
            assert {plugin.state for plugin in plugins} == {"running"}
        assert {plugin.state for plugin in plugins} == {"stopped"}

        class Broken(Idle):
            async def on_start(self) -> None:
                if self.info.name == "b":
                    raise OSError("port")

            async def on_stop(self) -> None:
                raise OSError(f"stop of {self.info.name}")

        registry, plugins = three(Broken)
        with pytest.raises(HookFailed, match="port") as failed:
            async with registry.running():
                raise AssertionError("not reached")
        assert failed.value.__notes__ == [
            f"and while stopping: plugin '{name}' failed in stop: OSError: stop of {name}" for name in "abc"
        ]
        registry, plugins = three(Broken)
        registry.unregister("b")
        with pytest.raises(StopFailed):
            async with registry.running():
                pass

    run(main)


@pytest.mark.parametrize("call", ["init_all", "start_all"])
def test_two_bulk_starts_at_a_time_are_refused(call: str) -> None:
    """The second one, at once, and the first one goes on."""

    class Slow(Idle):
        async def on_init(self) -> None:
            await asyncio.sleep(1)

    async def main() -> None:
        registry, plugins = three(Slow)
        first = asyncio.create_task(registry.init_all())
        await asyncio.sleep(0.5)
        with pytest.raises(RegistryBusy, match=f"{call} is not possible while init_all is under way"):
            await getattr(registry, call)()
        await first
        assert {plugin.state for plugin in plugins} == {"initialized"}

    run(main)


def test_stop_all_ends_a_bulk_start() -> None:
    """No plugin is left running behind it; the one under way is failed as abandoned."""

    class Slow(Idle):
        async def on_start(self) -> None:
            await asyncio.sleep(2)

    async def main() -> None:
        registry, plugins = three(Slow)
        await registry.init_all()
        starting = asyncio.create_task(registry.start_all())
        await asyncio.sleep(3)
        await registry.stop_all()
        assert [plugin.state for plugin in plugins] == ["stopped"] * 3
        with pytest.raises(HookFailed) as failed:
            await starting
        assert isinstance(failed.value.__cause__, Abandoned)
        assert [type(plugin.failure) for plugin in plugins] == [type(None), Abandoned, Abandoned]
        assert asyncio.get_running_loop().time() == 3

    run(main)


def test_a_start_all_that_is_cancelled_can_be_stopped() -> None:
    """The plugin under way is failed by the cancellation, those after it are untouched, stop_all releases them all."""

    class Slow(Idle):
        async def on_start(self) -> None:
            await asyncio.sleep(2)

    async def main() -> None:
        registry, plugins = three(Slow)
        await registry.init_all()
        starting = asyncio.create_task(registry.start_all())
        await asyncio.sleep(3)
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        assert [plugin.state for plugin in plugins] == ["running", "failed", "initialized"]
        await registry.stop_all()
        assert [plugin.state for plugin in plugins] == ["stopped"] * 3

    run(main)


def test_two_who_stop_at_the_same_time_get_the_same_result() -> None:
    """Also if the one who does the work is cancelled: the other one hears whose stop that broke."""

    async def main() -> None:
        registry, plugins = three()
        for plugin in plugins:
            plugin.seconds = 1.0  # type: ignore[attr-defined]
        await registry.init_all()
        await registry.start_all()
        one, two = (asyncio.create_task(registry.stop_all()) for _ in range(2))
        await asyncio.sleep(1.5)
        one.cancel()
        await asyncio.wait([one, two])
        assert one.cancelled()
        failed = two.exception()
        assert isinstance(failed, StopFailed)
        (problem,) = failed.exceptions
        assert isinstance(problem, HookFailed)
        assert problem.name == "b"
        assert isinstance(problem.__cause__, asyncio.CancelledError)
        assert [plugin.state for plugin in plugins] == ["stopped", "failed", "stopped"]

    run(main)


def test_one_who_waits_for_anothers_stop_may_be_cancelled() -> None:
    """The stop goes on."""

    async def main() -> None:
        registry, plugins = three()
        for plugin in plugins:
            plugin.seconds = 1.0  # type: ignore[attr-defined]
        await registry.init_all()
        await registry.start_all()
        one, two = (asyncio.create_task(registry.stop_all()) for _ in range(2))
        await asyncio.sleep(1.5)
        two.cancel()
        await asyncio.wait([one, two])
        assert two.cancelled()
        assert one.exception() is None
        assert [plugin.state for plugin in plugins] == ["stopped"] * 3

    run(main)


def test_the_owner_hears_of_every_attempt() -> None:
    """With its time and its problem; a stop that was cancelled is one."""

    async def main() -> None:
        told: list[tuple[str, float, str]] = []
        registry = PluginRegistry(
            on_attempted=lambda plugin, seconds, problem: told.append((plugin.info.name, seconds, str(problem or "")))
        )
        for name in "abc":
            plugin = Idle(name=name)
            plugin.seconds = 1.0
            registry.register(plugin)
        await registry["a"].init()
        await registry["b"].init()
        stopping = asyncio.create_task(registry.stop_all())
        await asyncio.sleep(1.5)
        stopping.cancel()
        await asyncio.wait([stopping])
        assert told == [("a", 1.0, ""), ("b", 0.5, "plugin 'b' failed in stop: CancelledError"), ("c", 0.0, "")]

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_waits_for_the_others(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """Everybody is attempted, then the exit goes on, and the problems are in the log."""

    class Exiting(Idle):
        async def on_stop(self) -> None:
            if self.info.name == "b":
                raise error
            raise OSError("disk")

    async def main() -> None:
        registry, plugins = three(Exiting)
        await registry.init_all()
        await registry.start_all()
        with pytest.raises(error):
            await registry.stop_all()
        assert [plugin.state for plugin in plugins] == ["failed"] * 3

    with caplog.at_level(logging.ERROR, "fsm_plugins"):
        run(main)
    assert [record.message for record in caplog.records] == [
        "plugin 'a' failed in stop: OSError: disk",
        f"plugin 'b' failed in stop: {error.__name__}",
        "plugin 'c' failed in stop: OSError: disk",
    ]


@pytest.mark.parametrize("hook", ["on_init", "on_start", "on_stop", "on_health_check"])
@pytest.mark.parametrize("first", [None, 1.0], ids=["at once", "after a wait"])
@pytest.mark.parametrize("bulk", [False, True])
def test_a_hook_cannot_stop_the_registry_that_waits_for_it(hook: str, first: float | None, bulk: bool) -> None:
    """It is refused before anything is stopped, at once, whoever called the hook."""
    refusals: list[RegistryBusy] = []

    async def main() -> None:
        async def stop_all(plugin: Plugin) -> None:
            if plugin.info.name == "b" and not refusals:
                if first:
                    await asyncio.sleep(first)
                before = [other.state for other in plugins]
                with pytest.raises(RegistryBusy) as refused:
                    await registry.stop_all()
                refusals.append(refused.value)
                assert [other.state for other in plugins] == before

        registry, plugins = three(type("Meddling", (Idle,), {hook: stop_all}))
        for call in ("init", "start", "health_check", "stop"):
            if bulk and call != "health_check":
                await getattr(registry, f"{call}_all")()
                continue
            for plugin in plugins:
                await getattr(plugin, call)()
        assert [plugin.state for plugin in plugins] == ["stopped"] * 3
        assert len(refusals) == 1
        assert asyncio.get_running_loop().time() == (first or 0.0)

    run(main)


def test_a_hook_may_start_a_task_that_stops_everything() -> None:
    """That task waits for the hook, which it interrupts."""
    tasks: list[asyncio.Task[None]] = []

    class Desperate(Idle):
        async def on_start(self) -> None:
            if self.info.name == "b":
                tasks.append(asyncio.create_task(registry.stop_all()))
                await asyncio.sleep(4)

    async def main() -> None:
        with pytest.raises(HookFailed, match="abandoned"):
            await registry.init_all()
            await registry.start_all()
        await tasks[0]
        assert [plugin.state for plugin in plugins] == ["stopped"] * 3
        assert asyncio.get_running_loop().time() == 0

    registry, plugins = three(Desperate)
    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_a_hook_may_start_an_eager_task_that_stops_everything() -> None:
    """Even if that task begins before the hook has had to wait."""
    tasks: list[asyncio.Task[None]] = []

    class Desperate(Idle):
        async def on_start(self) -> None:
            tasks.append(asyncio.create_task(registry.stop_all()))
            await asyncio.sleep(4)

    async def main() -> None:
        with pytest.raises(HookFailed, match="abandoned"):
            await registry.init_all()
            await registry.start_all()
        await tasks[0]
        assert [plugin.state for plugin in plugins] == ["stopped"] * 3

    registry, plugins = three(Desperate)
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.get_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        runner.run(main())


def test_stop_all_ends_calls_of_others() -> None:
    """Whoever is moving a plugin is told that it was abandoned; one who stops it already is waited for."""

    class Slow(Idle):
        async def on_start(self) -> None:
            await asyncio.sleep(4)

    async def main() -> None:
        registry, plugins = three(Slow)
        await registry.init_all()
        plugins[1].seconds = 2.0  # type: ignore[attr-defined]
        await plugins[1].fail(OSError("x"))
        starting, stopping = asyncio.create_task(plugins[0].start()), asyncio.create_task(plugins[1].stop())
        await asyncio.sleep(1)
        await registry.stop_all()
        assert asyncio.get_running_loop().time() == 2
        with pytest.raises(HookFailed, match="abandoned in state initialized"):
            await starting
        await stopping
        assert [plugin.state for plugin in plugins] == ["stopped"] * 3

    run(main)


@pytest.mark.parametrize("call", ["init", "start", "stop", "health_check"])
def test_the_end_of_asyncio_run_ends_calls_under_way(call: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without a hang, and without a task or an exception that nobody looked at."""

    async def hang(_self: Plugin) -> Any:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def main() -> Plugin:
        registry, plugins = three(type("Hanging", (Idle,), {f"on_{call}": hang}))
        for before in ("init", "start"):
            if call == before:
                break
            await getattr(registry, f"{before}_all")()
        asyncio.create_task(getattr(registry, f"{call}_all")())  # noqa: RUF006 - the loop has to find it
        await asyncio.sleep(0.1)
        return plugins[0]

    with caplog.at_level(logging.ERROR, "asyncio"):
        plugin = run(main)
        gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
    assert plugin.state == ("running" if call == "health_check" else "failed")
    assert plugin._guard.flight is None


def test_a_plugin_outlives_the_loop_of_its_start() -> None:
    """It can be stopped on another one."""
    registry, plugins = three()

    async def start() -> None:
        await registry.init_all()
        await registry.start_all()
        plugins[0].spawn(asyncio.sleep(100))

    run(start)
    assert [plugin.state for plugin in plugins] == ["running"] * 3
    run(registry.stop_all)
    assert [plugin.state for plugin in plugins] == ["stopped"] * 3


def test_single_calls_go_on_next_to_bulk_calls() -> None:
    """A bulk call refuses nothing but changes of the set; a plugin that somebody else moved fails the walk."""

    async def main() -> None:
        registry, plugins = three()
        await plugins[1].init()
        with pytest.raises(InvalidState) as refused:
            await registry.init_all()
        assert (refused.value.name, refused.value.current) == ("b", "initialized")
        assert [plugin.state for plugin in plugins] == ["initialized", "initialized", "created"]
        await registry.stop_all()
        assert [plugin.state for plugin in plugins] == ["stopped", "stopped", "created"]

    run(main)


def test_many_plugins() -> None:
    """A thousand come and go without a noticeable wait."""

    async def main() -> None:
        registry = of(*(Idle(name=f"p{number}") for number in range(1000)))
        async with registry.running():
            assert len(await registry.health_check_all()) == 1000

    run(main)


def test_errors_of_other_kinds_are_told_as_problems_too() -> None:
    """What is raised before the hook, as by a callback of the machine, is part of the group."""

    def divide() -> None:
        _ = 1 // 0

    async def main() -> None:
        registry, plugins = three()
        await registry.init_all()
        machine = plugins[0].lifecycle.machine
        moves = machine.get_transitions("stop", "running")
        try:
            await registry.start_all()
            moves[0].prepare = [divide]
            with pytest.raises(StopFailed) as failed:
                await registry.stop_all()
            assert [str(problem) for problem in failed.value.exceptions] == [
                f"plugin '{name}' failed in stop: ZeroDivisionError: integer division or modulo by zero"
                for name in "abc"
            ]
            assert all(isinstance(problem, PluginError) for problem in failed.value.exceptions)
        finally:
            moves[0].prepare = []
        await registry.stop_all()

    run(main)


def test_replace_keeps_the_place_and_the_listeners() -> None:
    """The old one is handed back, in whatever state it is, and tells nobody any more."""
    registry, (a, b, c) = three()
    told: list[str] = []

    async def main() -> None:
        registry.subscribe(lambda event: told.append(f"{event.plugin} {event.dest}"))
        fresh = Idle(name="b")
        assert registry.replace(fresh) is b
        assert list(registry) == [a, fresh, c] and registry["b"] is fresh
        await b.init()
        await fresh.init()
        assert told == ["b initialized"]
        other = PluginRegistry()
        other.register(b)  # it belongs to nobody
        with pytest.raises(AlreadyRegistered):
            registry.replace(b)
        with pytest.raises(AlreadyRegistered):
            registry.replace(fresh)

    run(main)


def test_what_replace_refuses_changes_nothing() -> None:
    """A name that is not there, what is no plugin, and a walk under way; a health check is none."""
    registry, (a, *_) = three()
    assert isinstance(a, Idle)
    a.seconds = 3.0

    async def main() -> None:
        with pytest.raises(NotFound, match="no plugin named 'z'"):
            registry.replace(Idle(name="z"))
        with pytest.raises(TypeError, match="replace takes a Plugin"):
            registry.replace(Idle)  # type: ignore[arg-type]
        await registry.init_all()
        await registry.start_all()
        checks = asyncio.create_task(registry.health_check_all())
        await asyncio.sleep(0)
        registry.replace(Idle(name="c"))
        assert [health.name for health in await checks] == ["a", "b", "c"]
        stop = asyncio.create_task(registry.stop_all())
        await asyncio.sleep(1)
        before = list(registry)
        with pytest.raises(RegistryBusy, match="replace is not possible while stop_all is under way"):
            registry.replace(Idle(name="b"))
        assert list(registry) == before
        await stop

    run(main)
