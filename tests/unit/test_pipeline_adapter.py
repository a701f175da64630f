"""`as_plugin` makes a plugin of anything that can be started, stopped and asked how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fsm_plugins import (
    DeadlineExceeded,
    Deadlines,
    DefinitionError,
    HealthStatus,
    HookFailed,
    Pipeline,
    PluginInfo,
    PluginRegistry,
    as_plugin,
)
from fsm_plugins.testing import run

INFO = PluginInfo("adapted", "1.2.3")


class Beeper:
    """Has the interface, and no base class."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.seconds = 0.0

    async def init(self) -> None:
        self.log.append("init")

    async def start(self) -> None:
        self.log.append("start")
        await asyncio.sleep(self.seconds)

    async def stop(self) -> None:
        self.log.append("stop")

    async def health_check(self) -> HealthStatus:
        return HealthStatus.degraded("hoarse")


def test_its_methods_are_the_hooks() -> None:
    """Each is called once, in its turn, and the object itself is unchanged."""

    async def main() -> None:
        beeper = Beeper()
        before = dict(vars(beeper))
        plugin = as_plugin(beeper, info=INFO)
        assert isinstance(beeper, Pipeline)
        assert vars(beeper) == before
        registry = PluginRegistry()
        registry.register(plugin)
        async with registry.running():
            assert (await registry.health_check_all())[0] == ("adapted", "running", HealthStatus.degraded("hoarse"))
        assert beeper.log == ["start", "stop"]
        assert plugin.info == INFO

    run(main)


def test_init_may_be_given() -> None:
    """An asynchronous function without arguments runs as on_init."""

    async def main() -> None:
        beeper = Beeper()
        plugin = as_plugin(beeper, info=INFO, init=beeper.init)
        await plugin.init()
        assert beeper.log == ["init"]

    run(main)


def test_deadlines_may_be_given() -> None:
    """A start that hangs is late as any other."""

    async def main() -> None:
        beeper = Beeper()
        beeper.seconds = 99.0
        plugin = as_plugin(beeper, info=INFO, deadlines=Deadlines(start=2.0))
        await plugin.init()
        with pytest.raises(DeadlineExceeded) as late:
            await plugin.start()
        assert (late.value.name, late.value.seconds) == ("adapted", 2.0)
        await plugin.stop()
        assert beeper.log == ["start", "stop"]

    run(main)


def test_two_of_them_do_not_share_their_metadata() -> None:
    """Each has the name it was given."""
    one, two = (as_plugin(Beeper(), info=PluginInfo(name, "1.0.0")) for name in ("one", "two"))
    assert (one.info.name, two.info.name) == ("one", "two")


class Silent:
    start = stop = None


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (None, "NoneType is no Pipeline: it has no method start, stop, health_check"),
        (Silent(), "Silent is no Pipeline: it has no method start, stop, health_check"),
        (5, "int is no Pipeline"),
    ],
)
def test_what_is_no_pipeline_is_refused(thing: Any, text: str) -> None:
    """The text names the type and the methods that are missing."""
    with pytest.raises(TypeError, match=text):
        as_plugin(thing, info=INFO)


def test_bad_deadlines_are_refused() -> None:
    """As by the constructor of a plugin."""
    with pytest.raises(DefinitionError, match="deadlines are given as"):
        as_plugin(Beeper(), info=INFO, deadlines=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (lambda: None, "TypeError: object NoneType can't be used in 'await' expression"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_methods_that_are_not_asynchronous_fail_as_hooks(method: Callable[[], Any], said: str) -> None:
    """The plugin is failed, and says what was wrong."""

    async def main() -> None:
        beeper = Beeper()
        beeper.start = method  # type: ignore[method-assign]
        plugin = as_plugin(beeper, info=INFO)
        await plugin.init()
        with pytest.raises(HookFailed) as failed:
            await plugin.start()
        assert failed.value.reason == said
        assert plugin.state == "failed"

    run(main)
