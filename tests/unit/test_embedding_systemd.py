"""What a service manager is told, over a real socket and on a virtual clock."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsm_plugins import Plugin, PluginInfo
from fsm_plugins.app import Application
from fsm_plugins.embedding import Notifier, attach
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from fsm_plugins.supervision import Supervisor
from fsm_plugins.testing import run


class Manager:
    """A service manager: the other end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self.socket.setblocking(False)

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of a service."""
        return {"NOTIFY_SOCKET": self.address, **more}

    def got(self) -> list[str]:
        """Return the lines that came since it was asked last."""
        lines = []
        try:
            while True:
                lines += self.socket.recv(100_000).decode().split("\n")
        except BlockingIOError:
            return lines


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    with tempfile.TemporaryDirectory() as directory:  # that of pytest may be too long for a socket
        path = Path(directory, "notify")
        manager = Manager(str(path) if request.param == "path" else f"@fsm-plugins{path}")
        yield manager
        manager.socket.close()


class Late(Plugin):
    info = PluginInfo("late", "1.0.0")

    async def on_start(self) -> None:
        await asyncio.sleep(10)

    async def on_stop(self) -> None:
        await asyncio.sleep(10)


class Steady(Plugin):
    info = PluginInfo("steady", "1.0.0")


class Broken(Plugin):
    info = PluginInfo("broken", "1.0.0")

    async def on_start(self) -> None:
        raise OSError("no\ndevice")


def application(*kinds: type[Plugin], on_failure: str = "stop") -> Application:
    orchestrator = Orchestrator([PluginSpec(kind.info.name, kind) for kind in kinds], {})
    return Application("some", orchestrator, on_failure=on_failure)


def test_a_plugin_that_is_late_is_waited_for(manager: Manager) -> None:
    """READY comes when every plugin has been started, STOPPING before the first one is told to stop."""
    app = application(Steady, Late)
    seen: dict[int, list[str]] = {}

    async def main() -> None:
        attach(app, manager.environ())
        running = asyncio.create_task(app.run(signals=False))
        asyncio.get_running_loop().call_later(20, app.shutdown)
        for second in (1, 9, 11, 19, 21, 29, 31):
            await asyncio.sleep(second - asyncio.get_running_loop().time())
            seen[second] = manager.got()
        await running

    run(main)
    assert seen == {
        1: ["STATUS=starting: 2 created", "STATUS=starting: 1 running, 1 initialized"],
        9: [],
        11: ["READY=1", "STATUS=running: 2 running", "STATUS=running: 2 running"],
        19: [],
        21: ["STOPPING=1", "STATUS=stopping: 2 running", "STATUS=stopping: 1 stopped, 1 running"],
        29: [],
        31: ["STATUS=ended: 2 stopped"],
    }


def test_a_plugin_that_does_not_start_is_named_and_nothing_is_ready(manager: Manager) -> None:
    """The reason is in the status, as one line."""
    app = application(Steady, Broken)
    attach(app, manager.environ())
    with pytest.raises(Exception, match="broken"):
        run(lambda: app.run(signals=False))
    lines = manager.got()
    assert "READY=1" not in lines
    assert lines[-1] == "STATUS=ended: 2 stopped; broken failed: OSError: no device"


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_a_plugin_that_fails_later_is_named(manager: Manager, on_failure: str) -> None:
    """If the others go on, so does the service; otherwise it says that it stops."""
    app = application(Steady, Late, on_failure=on_failure)
    attach(app, manager.environ())
    seen: list[str] = []

    async def main() -> None:
        running = asyncio.create_task(app.run(signals=False))
        await asyncio.sleep(11)
        manager.got()
        await app.registry["steady"].fail(ConnectionError("reset"))
        await asyncio.sleep(1)
        seen.extend(manager.got())
        app.shutdown()
        await asyncio.gather(running, return_exceptions=True)

    run(main)
    assert ("STOPPING=1" in seen) == (on_failure == "stop")
    phase = "stopping: 1 stopped" if on_failure == "stop" else "running: 1 failed"
    assert seen[-1] == f"STATUS={phase}, 1 running; steady failed: ConnectionError: reset"


def test_a_plugin_that_is_restarted_does_not_end_the_service(manager: Manager) -> None:
    """It was ready, and it still is; the status tells what failed last."""
    app = Application("some", Supervisor([PluginSpec("steady", Steady), PluginSpec("late", Late)]))
    attach(app, manager.environ())
    seen: list[str] = []

    async def main() -> None:
        running = asyncio.create_task(app.run(signals=False))
        await asyncio.sleep(11)
        assert "READY=1" in manager.got()
        await app.registry["steady"].fail(ConnectionError("reset"))
        await asyncio.sleep(60)
        seen.extend(manager.got())
        app.shutdown()
        await running

    run(main)
    assert not {"READY=1", "STOPPING=1"} & set(seen)
    assert seen[-1] == "STATUS=running: 2 running; steady failed: ConnectionError: reset"
    lines = manager.got()
    assert lines[0] == "STOPPING=1"
    assert lines[-1].startswith("STATUS=ended: 2 stopped")


def test_the_watchdog_is_fed_twice_as_often_as_it_wants(manager: Manager) -> None:
    """From the beginning of the start to the end of the stop, and not longer."""
    app = application(Late)
    attach(app, manager.environ(WATCHDOG_USEC="4000000", WATCHDOG_PID=str(os.getpid())))
    fed: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(manager.socket, lambda: fed.extend([loop.time()] * manager.got().count("WATCHDOG=1")))
        await app.run(signals=False, seconds=21)
        await asyncio.sleep(100)
        loop.remove_reader(manager.socket)

    run(main)
    assert fed == pytest.approx(list(range(0, 42, 2)), abs=0.2)


@pytest.mark.parametrize(
    ("more", "warns"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "soon"}, True),
        ({"WATCHDOG_USEC": "0"}, True),
        ({"WATCHDOG_USEC": "-1"}, True),
    ],
)
def test_a_watchdog_for_nobody_or_for_another_process_is_not_fed(
    manager: Manager, more: dict[str, str], warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What makes no sense is told; the service is notified all the same."""
    app = application(Steady)
    attach(app, manager.environ(**more))
    run(lambda: app.run(signals=False, seconds=10))
    lines = manager.got()
    assert "READY=1" in lines
    assert "WATCHDOG=1" not in lines
    assert ("WATCHDOG_USEC is" in caplog.text) == warns


def test_without_the_variable_nothing_is_done() -> None:
    """The process is no service."""
    app = application(Steady)
    assert attach(app, {}) is None
    assert attach(app, {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "1"}) is None
    run(lambda: app.run(signals=False, seconds=0))


def test_the_variables_are_not_handed_on_to_programs_that_plugins_start(manager: Manager) -> None:
    """They would speak for this process."""
    environ = manager.environ(WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid()), HOME="/")
    attach(application(Steady), environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize("address", ["vsock:2:1234", "notify", "@", "/"])
def test_an_address_that_cannot_be_used_is_told_and_nothing_else(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that cannot say that it is ready is better than none."""
    app = application(Steady)
    attach(app, {"NOTIFY_SOCKET": address})
    run(lambda: app.run(signals=False, seconds=0))
    assert f"nobody is notified: NOTIFY_SOCKET is {address!r}" in caplog.text


def test_a_manager_that_is_gone_is_told_once_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is tried."""
    app = application(Steady)
    attach(app, {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "1000000"})
    run(lambda: app.run(signals=False, seconds=10))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (warning,) = warnings
    assert warning.startswith("the service manager cannot be notified at /nowhere/at/all: FileNotFoundError")


def test_a_process_that_systemd_did_not_start_itself_is_told_why_it_may_not_be_heard(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    """The usual mistake: a shell script that does not exec."""
    attach(application(Steady), manager.environ(SYSTEMD_EXEC_PID=str(os.getpid())))
    assert caplog.text == ""
    attach(application(Steady), manager.environ(SYSTEMD_EXEC_PID="1"))
    assert "systemd started process 1, but this is process" in caplog.text
    assert "should do so with exec" in caplog.text


def test_a_thousand_plugins_are_not_a_thousand_messages(manager: Manager) -> None:
    """News of the plugins are collected for a tenth of a second; the last word is sent in any case."""
    specs = [PluginSpec(f"steady-{number}", Steady) for number in range(1000)]
    app = Application("many", Orchestrator(specs, {}))
    attach(app, manager.environ())
    run(lambda: app.run(signals=False, seconds=0))
    lines = manager.got()
    assert lines[-1] == "STATUS=ended: 1000 stopped"
    assert len(lines) < 10


def test_a_manager_that_reads_late_gets_the_last_word(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    """A full queue stops nobody; what counts is sent as soon as there is room, and nothing is sent twice."""

    async def main() -> None:
        notifier = Notifier(manager.address)
        for number in range(2000):
            notifier.notify(STATUS=str(number))
        notifier.ready()
        early = manager.got()
        assert early == [f"STATUS={number}" for number in range(len(early))]
        assert 0 < len(early) < 2000
        await asyncio.sleep(1)
        assert manager.got() == ["STATUS=1999", "READY=1"]
        await asyncio.sleep(1)
        notifier.close()

    run(main)
    assert manager.got() == []
    assert caplog.text == ""


def test_a_reload_is_announced_with_its_time(manager: Manager) -> None:
    """As Type=notify-reload wants it; READY ends it."""
    notifier = Notifier(manager.address)
    notifier.reloading()
    reloading, at = manager.got()
    assert reloading == "RELOADING=1"
    assert at.startswith("MONOTONIC_USEC=") and int(at.partition("=")[2]) > 0
    notifier.ready()
    assert manager.got() == ["READY=1"]
    notifier.close()


def test_a_value_is_one_line_that_fits() -> None:
    """Whatever an exception has in its text, it cannot forge a field of its own."""
    with tempfile.TemporaryDirectory() as directory:
        manager = Manager(str(Path(directory, "notify")))
        notifier = Notifier(manager.address)
        notifier.notify(STATUS="a\nREADY=1\r\n" + "x" * 1_000_000)
        (line,) = manager.got()
        assert line.startswith("STATUS=a READY=1 xxx")
        assert len(line) < 2000
        notifier.close()
        manager.socket.close()
