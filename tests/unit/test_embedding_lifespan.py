"""A lifespan: what a web server gets of an application, and what it hears when something goes wrong."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from fsm_plugins import (
    ConfigError,
    DeadlineExceeded,
    Deadlines,
    HookFailed,
    Plugin,
    PluginError,
    PluginFailed,
    PluginInfo,
    PluginRegistry,
    RestartsExhausted,
    StopFailed,
)
from fsm_plugins.app import Application
from fsm_plugins.embedding import lifespan
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from fsm_plugins.supervision import Policy, Supervisor
from fsm_plugins.testing import run


class Steady(Plugin):
    info = PluginInfo("steady", "1.0.0")


class Slow(Plugin):
    info = PluginInfo("slow", "1.0.0")

    async def on_start(self) -> None:
        await asyncio.sleep(10)

    async def on_stop(self) -> None:
        await asyncio.sleep(20)


class Broken(Plugin):
    info = PluginInfo("broken", "1.0.0")

    async def on_start(self) -> None:
        raise OSError("no device")


def application(*kinds: type[Plugin]) -> Application:
    return Application("some", Orchestrator([PluginSpec(kind.info.name, kind) for kind in kinds], {}))


def test_a_registry_lives_as_long_as_the_server() -> None:
    """Requests find it; it is stopped after the last of them."""
    registry = PluginRegistry()
    registry.register(Steady())

    async def main() -> None:
        async with lifespan(registry)(None) as state:
            assert state == {"registry": registry}
            assert registry["steady"].state == "running"

    run(main)
    assert str(registry["steady"].state) == "stopped"


def test_an_application_is_made_anew_for_each_start_of_the_server() -> None:
    """A function or a file can be started again; an application that was run cannot, and says so."""
    again, once = lifespan(lambda: application(Steady)), lifespan(application(Steady))

    async def main() -> None:
        made = set()
        for _ in range(2):
            async with again(None) as state:
                made.add(state["application"])
        assert len(made) == 2
        async with once(None) as state:
            assert set(state) == {"application", "registry"}
        with pytest.raises(PluginError, match="was run before; to run it again, make another one"):
            async with once(None):
                pytest.fail("it was entered")

    run(main)


def test_requests_are_taken_only_when_every_plugin_has_been_started() -> None:
    """And the server does not end before every plugin has been stopped."""
    app = application(Slow)

    async def main() -> None:
        async with lifespan(app)(None):
            assert asyncio.get_running_loop().time() == pytest.approx(10)
            phases = [str(app.phase)]
        phases.append(app.phase)
        assert phases == ["running", "ended"]
        assert asyncio.get_running_loop().time() == pytest.approx(30)

    run(main)


def test_a_plugin_that_does_not_start_keeps_the_server_from_starting() -> None:
    """With the message of the plugin; those that had been started are stopped again."""
    app = application(Steady, Broken)

    async def main() -> None:
        with pytest.raises(HookFailed, match="plugin 'broken' failed in start: OSError: no device"):
            async with lifespan(app)(None):
                pytest.fail("it was started")

    run(main)
    assert [str(plugin.state) for plugin in app.registry] == ["stopped", "stopped"]


def test_a_file_that_is_wrong_keeps_the_server_from_starting(tmp_path: Path) -> None:
    """With everything that is wrong."""
    path = tmp_path / "app.toml"
    path.write_text("[app]\nnam = 1\n")

    async def main() -> None:
        with pytest.raises(ConfigError, match=r"app\.nam: unknown key"):
            async with lifespan(path)(None):
                pytest.fail("it was started")

    run(main)


def test_an_application_that_is_shut_down_meanwhile_keeps_the_server_from_starting() -> None:
    """There would be nothing to serve."""
    app = application(Slow)

    async def main() -> None:
        asyncio.get_running_loop().call_later(5, app.shutdown)
        with pytest.raises(PluginError, match="'some' was shut down before its plugins were started"):
            async with lifespan(app)(None):
                pytest.fail("it was entered")

    run(main)


def test_a_plugin_that_fails_later_is_told_at_once_and_raised_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """The server decides what to do; the other plugins are stopped."""
    app = application(Steady, Slow)
    ends: list[PluginError | None] = []

    async def main() -> None:
        with pytest.raises(PluginFailed, match="'steady' failed while it was running: ConnectionError: reset"):
            async with lifespan(app, on_end=ends.append)(None):
                await app.registry["steady"].fail(ConnectionError("reset"))
                assert ends == []  # the others are being stopped
                await asyncio.sleep(25)
                assert isinstance(ends[0], PluginFailed)
                assert app.phase == "ended"

    with caplog.at_level(logging.ERROR):
        run(main)
    assert len(ends) == 1
    assert "application 'some' ended, but the server goes on: PluginFailed: plugin 'steady' failed" in caplog.text


def test_a_plugin_that_is_restarted_is_no_end(caplog: pytest.LogCaptureFixture) -> None:
    """Only a supervisor that gives up is."""
    specs = [PluginSpec("steady", Steady)]
    app = Application("some", Supervisor(specs, policy=Policy(intensity=1, period=1000)))
    ends: list[PluginError | None] = []

    async def main() -> None:
        with pytest.raises(RestartsExhausted):
            async with lifespan(app, on_end=ends.append)(None):
                await app.registry["steady"].fail(ConnectionError("reset"))
                await asyncio.sleep(100)
                assert app.registry["steady"].state == "running"
                assert ends == []
                await app.registry["steady"].fail(ConnectionError("reset"))
                await asyncio.sleep(100)
                assert len(ends) == 1

    run(main)


def test_a_shutdown_by_somebody_else_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """It is no error, so leaving raises nothing."""
    app = application(Steady)
    ends: list[PluginError | None] = []

    async def main() -> None:
        async with lifespan(app, on_end=ends.append)(None):
            app.shutdown()
            await asyncio.sleep(1)
            assert ends == [None]

    run(main)
    assert "ended, but the server goes on: shutdown was called" in caplog.text


def test_a_stop_that_fails_is_raised_at_the_end() -> None:
    """The server says so in its log."""

    class Hanging(Plugin):
        info = PluginInfo("hanging", "1.0.0")
        deadlines = Deadlines(stop=1.0)

        async def on_stop(self) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        with pytest.raises(StopFailed) as info:
            async with lifespan(application(Hanging))(None):
                pass
        assert isinstance(info.value.exceptions[0], DeadlineExceeded)

    run(main)


def test_what_the_server_raises_goes_on_with_a_note() -> None:
    """The failure of a plugin does not hide it."""
    app = application(Steady)

    async def main() -> None:
        with pytest.raises(KeyError) as info:
            async with lifespan(app)(None):
                await app.registry["steady"].fail(ConnectionError("reset"))
                raise KeyError("mine")
        (note,) = info.value.__notes__
        failure = "plugin 'steady' failed while it was running: ConnectionError: reset"
        assert note == f"and the application ended with: PluginFailed: {failure}"

    run(main)


@pytest.mark.parametrize("after", [5, 15, 35])
def test_a_server_that_is_cancelled_leaves_nothing(after: float) -> None:
    """In the middle of the start, while it serves, or in the middle of the stop."""
    app = application(Slow)

    async def serve() -> None:
        async with lifespan(app)(None):
            await asyncio.sleep(20)

    async def main() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(after):
                await serve()
        assert asyncio.all_tasks() == before
        assert app.registry["slow"].state in ("stopped", "failed")
        assert app.phase == "ended"

    run(main)
