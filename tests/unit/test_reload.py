"""An application that is told to reload, and plugins whose configuration turns out to be wrong in their init."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import pytest
from attrs import define, field

from fsm_plugins import FAILED, LIFECYCLE, RELOADABLE, RUNNING, ConfigError, HookFailed, Plugin, PluginInfo, Problem
from fsm_plugins.app import Application
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from fsm_plugins.supervision import Policy, Supervisor
from fsm_plugins.testing import run


@define
class Rules(Plugin):
    """Notes when it is reloaded, which takes a second."""

    info = PluginInfo("rules", "1.0.0")
    lifecycle = RELOADABLE

    log: list[str] = field(factory=list, init=False)
    error: Exception | None = None

    async def on_start(self) -> None:
        self.spawn(asyncio.Event().wait())

    async def on_reload(self) -> None:
        self.log.append("reload")
        await asyncio.sleep(1)
        if self.error is not None:
            raise self.error
        self.log.append("reloaded")

    async def on_stop(self) -> None:
        self.log.append("stop")


@define
class Plain(Plugin):
    """Cannot be reloaded."""

    info = PluginInfo("plain", "1.0.0")

    cause: Exception | None = None
    late: Exception | None = None
    started: list[str] = field(factory=list)

    async def on_init(self) -> None:
        if self.cause is not None:
            raise self.cause

    async def on_start(self) -> None:
        if self.late is not None:
            raise self.late
        self.started.append(self.info.name)
        self.spawn(asyncio.Event().wait())


def orchestrator(specs: list[PluginSpec]) -> Orchestrator:
    return Orchestrator(specs, {})


def rules_of(app: Application, name: str = "rules") -> Rules:
    plugin = app.registry[name]
    assert isinstance(plugin, Rules)
    return plugin


def test_the_lifecycle_differs_in_one_arc_that_stays_where_it_is() -> None:
    """Nothing but a plugin that runs can be reloaded."""
    (more,) = set(RELOADABLE.arcs) - set(LIFECYCLE.arcs)
    assert str(more) == "reload: running -> running"


def test_those_that_can_be_reloaded_are_one_after_the_other() -> None:
    """The others are left alone, and an application that does not run does nothing."""
    app = Application("app", orchestrator([PluginSpec(name, Rules) for name in ("a", "b")] + [PluginSpec("c", Plain)]))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        app.reload()
        running = asyncio.create_task(app.run(signals=False, seconds=10))
        await asyncio.sleep(1)
        assert (rules_of(app, "a").log, rules_of(app, "b").log) == ([], [])
        app.reload()
        await asyncio.sleep(0.5)
        assert (rules_of(app, "a").log, rules_of(app, "b").log) == (["reload"], [])
        await asyncio.sleep(1)
        assert (rules_of(app, "a").log, rules_of(app, "b").log) == (["reload", "reloaded"], ["reload"])
        await running
        assert loop.time() == 10
        app.reload()

    run(main)
    assert rules_of(app, "a").log == rules_of(app, "b").log == ["reload", "reloaded", "stop"]


def test_called_during_the_start_it_is_done_after_it() -> None:
    """Some plugins may have read their files by then."""
    app = Application("app", orchestrator([PluginSpec("rules", Rules)]))
    app.follow(lambda phase: app.reload() if phase == "starting" else None)
    run(lambda: app.run(signals=False, seconds=9))
    assert rules_of(app).log == ["reload", "reloaded", "stop"]


def test_called_again_meanwhile_it_is_done_once_more() -> None:
    """However often it was called: what was written last has been read."""
    app = Application("app", orchestrator([PluginSpec("rules", Rules)]))

    async def main() -> None:
        running = asyncio.create_task(app.run(signals=False, seconds=20))
        await asyncio.sleep(1)
        for _ in range(5):
            app.reload()
            await asyncio.sleep(0.1)
        await running

    run(main)
    assert rules_of(app).log == ["reload", "reloaded"] * 2 + ["stop"]


def test_a_shutdown_waits_for_the_reload_of_who_is_at_it() -> None:
    """A plugin that was interrupted would have failed, and could not drain. Those who come after it are left out."""
    app = Application("app", orchestrator([PluginSpec(name, Rules) for name in ("a", "b")]))

    async def main() -> None:
        running = asyncio.create_task(app.run(signals=False))
        await asyncio.sleep(1)
        app.reload()
        app.reload()
        await asyncio.sleep(0.5)
        app.shutdown()
        await running

    run(main)
    assert (rules_of(app, "a").log, rules_of(app, "b").log) == (["reload", "reloaded", "stop"], ["stop"])
    assert all(receipt.clean for receipt in app.receipt())


def test_a_reload_that_breaks_fails_its_plugin_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """As any hook does; the next one is reloaded all the same."""
    specs = [PluginSpec("a", Rules, {"error": OSError("no disk")}), PluginSpec("b", Rules)]
    app = Application("app", orchestrator(specs), on_failure="continue")

    async def main() -> None:
        running = asyncio.create_task(app.run(signals=False, seconds=9))
        await asyncio.sleep(1)
        app.reload()
        await asyncio.sleep(3)
        assert (app.registry["a"].state, app.registry["b"].state) == (FAILED, RUNNING)
        await running

    with caplog.at_level(logging.ERROR, "fsm_plugins"):
        run(main)
    assert "not reloaded: plugin 'a' failed in reload: OSError: no disk" in caplog.messages
    assert rules_of(app, "b").log == ["reload", "reloaded", "stop"]


@pytest.mark.parametrize("kind", [Rules, Plain])
def test_the_signal_is_handled_where_somebody_can_be_reloaded(kind: type[Plugin]) -> None:
    """Elsewhere it stays what it is; and after the run it is as it was."""
    app = Application("app", orchestrator([PluginSpec("rules", kind)]))
    before = signal.getsignal(signal.SIGHUP)

    async def main() -> None:
        running = asyncio.create_task(app.run(seconds=5))
        await asyncio.sleep(1)
        handled = signal.getsignal(signal.SIGHUP) is not before
        assert handled == (kind is Rules)
        if handled:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.1)  # two turns of the loop, in which the signal is heard
            while not rules_of(app).log:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await running

    run(main)
    assert signal.getsignal(signal.SIGHUP) is before
    assert kind is Plain or rules_of(app).log == ["reload", "reloaded", "stop"]


WRONG = ConfigError("rules.yaml", [Problem("rules[0].id", "missing"), Problem("rules[1]", "expected a table")])


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("indirect", [False, True])
def test_a_wrong_configuration_that_an_init_finds_is_one(supervised: bool, indirect: bool) -> None:
    """With every problem it has, at the plugin that found it, whatever is around it; and no plugin was started."""
    cause: Exception = WRONG
    if indirect:
        cause = RuntimeError("cannot be had")
        cause.__cause__ = WRONG
    started: list[str] = []
    specs = [PluginSpec("a", Plain, {"started": started}), PluginSpec("b", Plain, {"cause": cause, "started": started})]
    app = Application("app", Supervisor(specs, {}, policy=Policy()) if supervised else orchestrator(specs))
    with pytest.raises(ConfigError) as caught:
        run(lambda: app.run(signals=False))
    assert list(map(str, caught.value.problems)) == [
        "plugins.b: rules.yaml: rules[0].id: missing",
        "plugins.b: rules.yaml: rules[1]: expected a table",
    ]
    assert started == []


@pytest.mark.parametrize("given", [{"cause": OSError("no disk")}, {"late": WRONG}])
def test_what_else_goes_wrong_stays_what_it_is(given: dict[str, object]) -> None:
    """It may be no fault of the configuration, or others may have been started by then."""
    app = Application("app", orchestrator([PluginSpec("a", Plain, given)]))
    with pytest.raises(HookFailed, match=r"no disk|rules\[1\]"):
        run(lambda: app.run(signals=False))
