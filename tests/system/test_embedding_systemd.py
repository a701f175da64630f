"""The command as systemd runs it: its unit, and a real process that notifies a real socket."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsm_plugins.app import Application
from tests.system.embedded import DOCS, EXAMPLE, PATIENCE, blocks, lay_out, running

UNIT = DOCS / "fsm-plugins.service"
COMMAND = ["fsm-plugins", "run", "beacon.toml"]


class Manager:
    """The socket of a service manager; messages are waited for."""

    def __init__(self, path: str) -> None:
        self.environ = {"NOTIFY_SOCKET": path}
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path.replace("@", "\0", 1))
        self._socket.settimeout(PATIENCE)

    def wait_for(self, start: str) -> str:
        """Wait for a line that begins so."""
        while True:
            for line in self._receive():
                if line.startswith(start):
                    return line

    def is_silent(self, seconds: float) -> bool:
        """Return whether nothing comes within this time."""
        self._socket.settimeout(seconds)
        try:
            self._receive()
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE)
        return False

    def drain(self) -> None:
        """Take what is there."""
        while not self.is_silent(0.0001):
            pass

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> list[str]:
        lines = self._socket.recv(100_000).decode().split("\n")
        self.lines += lines
        return lines


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory, "notify"))
        manager = Manager(path if request.param == "path" else f"@{path}")
        yield manager
        manager.close()


@pytest.mark.parametrize("command", [COMMAND, ["python", "service.py"]], ids=["command", "program"])
def test_a_service_is_ready_when_it_is_and_says_that_it_stops(
    command: list[str], manager: Manager, tmp_path: Path
) -> None:
    """READY when the plugins have been started, STOPPING when the signal came."""
    lay_out("systemd.md", tmp_path)
    with running(command, tmp_path, manager.environ) as process:
        manager.wait_for("READY=1")
        manager.wait_for("STATUS=running: 2 running")
        assert "STOPPING=1" not in manager.lines
        process.process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        manager.wait_for("STATUS=ended: 2 stopped")
        assert process.end() == 0
    assert manager.lines.count("READY=1") == 1


def test_a_plugin_that_does_not_start_is_never_ready(manager: Manager, tmp_path: Path) -> None:
    """The status names it."""
    lay_out("systemd.md", tmp_path)
    more = {"FSM_PLUGINS__PLUGINS__TELL__USE": "broken:Unstartable", **manager.environ}
    with running(COMMAND, tmp_path, more) as process:
        assert manager.wait_for("STATUS=ended").endswith("; tell failed: OSError: no device")
        assert process.end() == 1
    assert "READY=1" not in manager.lines


def test_a_plugin_that_fails_later_is_named(manager: Manager, tmp_path: Path) -> None:
    """The service stops, and its exit status tells systemd to start it again."""
    lay_out("systemd.md", tmp_path)
    more = {"FSM_PLUGINS__PLUGINS__TELL__USE": "broken:FailsAtALine", **manager.environ}
    with running(COMMAND, tmp_path, more) as process:
        manager.wait_for("READY=1")
        process.tell("now")
        manager.wait_for("STOPPING=1")
        assert manager.wait_for("STATUS=ended").endswith("; tell failed: ConnectionError: reset")
        assert process.end() == 1


def test_a_blocked_event_loop_ends_the_signs_of_life(manager: Manager, tmp_path: Path) -> None:
    """They stop when a plugin blocks the loop, and come again when it does not: they are not those of a thread."""
    lay_out("systemd.md", tmp_path)
    more = {"FSM_PLUGINS__PLUGINS__TELL__USE": "broken:BlocksAtALine", "WATCHDOG_USEC": "100000", **manager.environ}
    with running(COMMAND, tmp_path, more) as process:
        manager.wait_for("READY=1")
        for _ in range(5):
            manager.wait_for("WATCHDOG=1")
        process.tell("block")
        process.wait_for("^blocked")
        manager.drain()
        assert manager.is_silent(0.5)  # five times what systemd would wait
        process.tell("go on")
        process.wait_for("^free")
        manager.wait_for("WATCHDOG=1")


def test_the_programs_that_plugins_start_do_not_inherit_the_socket(manager: Manager, tmp_path: Path) -> None:
    """What systemd hears comes from the service itself."""
    lay_out("systemd.md", tmp_path)
    (tmp_path / "curious.py").write_text(
        "import subprocess\nfrom broken import Quiet\n"
        "class Curious(Quiet):\n"
        "    async def on_start(self):\n"
        "        await super().on_start()\n"
        "        print('inherited', subprocess.run(['env'], capture_output=True, text=True).stdout.count('NOTIFY_'),\n"
        "              flush=True)\n"
    )
    more = {"FSM_PLUGINS__PLUGINS__TELL__USE": "curious:Curious", **manager.environ}
    with running(COMMAND, tmp_path, more) as process:
        assert process.wait_for(r"^inherited (\d+)")[1] == "0"


def test_the_unit_is_one(tmp_path: Path) -> None:
    """systemd has nothing to say about it, once its command is there."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("there is no systemd-analyze")
    text = UNIT.read_text().replace("/opt/beacon/bin/fsm-plugins", sys.executable)
    assert sys.executable in text
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    ran = subprocess.run([verify, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (ran.returncode, [line for line in ran.stderr.splitlines() if UNIT.name in line]) == (0, [])
    unit.write_text(text.replace("Type=notify", "Type=notfy"))
    ran = subprocess.run([verify, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert "Type=" in ran.stderr or "service type" in ran.stderr, "it would not have found a mistake"


def test_the_page_shows_lines_of_the_unit() -> None:
    """Each of them stands in the file."""
    (block,) = blocks("systemd.md", "ini")
    lines = UNIT.read_text().splitlines()
    assert [line for line in block.splitlines() if line not in lines] == []


def test_the_timeouts_of_the_unit_suit_the_deadlines_of_the_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd waits longer than all the plugins may take together."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # which the application adds its own directory to
    application = Application.from_config(EXAMPLE / "beacon.toml", {})
    seconds = dict(re.findall(r"^Timeout(\w+)Sec=(\d+)$", UNIT.read_text(), re.MULTILINE))
    deadlines = [plugin.deadlines for plugin in application.registry]
    assert int(seconds["Start"]) > sum(d.init + d.start for d in deadlines)
    assert int(seconds["Stop"]) > sum(d.stop + 4 * d.grace for d in deadlines)
    assert f"RestartPreventExitStatus={os.EX_CONFIG}" in UNIT.read_text()
