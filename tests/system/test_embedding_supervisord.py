"""supervisord, running the example as its page says: killed, it comes back; stopped, it drains."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.embedded import PATIENCE, Running, blocks, environ, lay_out, running

pytest.importorskip("supervisor", reason="supervisord is not installed; it is in the development group")

PLUGIN = "FSM_PLUGINS__PLUGINS__TELL__USE"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose name is short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="beacon-"))
    yield lay_out("supervisord.md", path)
    shutil.rmtree(path)


def commands() -> list[list[str]]:
    (console,) = blocks("supervisord.md", "console")
    return [line.removeprefix("$ ").split() for line in console.splitlines()]


def supervisorctl(directory: Path, *arguments: str) -> str:
    """Run the second command of the page, with other arguments in the place of ``status``."""
    command = commands()[1]
    assert command.pop() == "status"
    ran = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env=environ(directory),
        timeout=PATIENCE,
    )
    return ran.stdout


def configure(directory: Path, **values: int) -> None:
    """Change the number of some keys of the configuration, so that the test need not wait for it."""
    path = directory / "supervisord.conf"
    text = path.read_text()
    for key, value in values.items():
        text, count = re.subn(rf"^{key} = \d+$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert count == 1, key
    path.write_text(text)


def spawned(process: Running) -> int:
    return int(process.wait_for(r"spawned: 'beacon' with pid (\d+)")[1])


def test_it_comes_back_when_it_is_killed_and_drains_when_it_is_stopped(directory: Path) -> None:
    """SIGKILL, and a fresh process beats again; a stop ends in a receipt for each plugin, and it stays down."""
    configure(directory, startsecs=1)
    with running(commands()[0], directory) as process:
        first = spawned(process)
        process.wait_for_all("beat 1", "success: beacon entered RUNNING state")
        os.kill(first, signal.SIGKILL)
        process.wait_for(r"exited: beacon \(terminated by SIGKILL; not expected\)")
        second = spawned(process)
        assert second != first
        process.wait_for_all("beat 1", "success: beacon entered RUNNING state")
        assert "RUNNING" in supervisorctl(directory, "status")
        assert supervisorctl(directory, "stop", "beacon") == "beacon: stopped\n"
        process.wait_for_all(
            "application 'beacon' stops: SIGTERM",
            r"beat +stopped +\d\.\d{3} s +clean +none$",
            r"tell +stopped +\d\.\d{3} s +clean +none$",
            r"stopped: beacon \(exit status 0\)",
        )
        assert "STOPPED" in supervisorctl(directory, "status")
        process.process.terminate()
        assert process.end() == 0
    assert process.text.count("spawned: ") == 2


def test_supervisord_that_is_stopped_takes_it_along(directory: Path) -> None:
    """In order, as if it had been stopped alone."""
    with running(commands()[0], directory) as process:
        process.wait_for("^beat 1")
        process.process.terminate()
        process.wait_for(r"^tell +stopped +\d\.\d{3} s +clean +none$")
        assert process.end() == 0


def test_an_application_that_never_starts_is_given_up(directory: Path) -> None:
    """After as many attempts as supervisord makes; the reason is in the log each time."""
    configure(directory, startsecs=60, startretries=1)
    with running(commands()[0], directory, {PLUGIN: "broken:Unstartable"}) as process:
        process.wait_for_all("error: plugin 'tell' failed in start: OSError: no device", "entered FATAL state")
        process.process.terminate()
        assert process.end() == 0
    assert process.text.count("spawned: ") == 2
