"""A process of its own around the application: as process 1 of a PID namespace, and as any other process on Linux."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.system.embedded import Running, blocks, children, environ, eventually, lay_out, running, session, state_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="PID namespaces and subreapers are those of Linux")

UNSHARE = ["unshare", "--fork", "--pid", "--kill-child"]

FAMILY = """
import asyncio, os, subprocess, sys
from fsm_plugins import Plugin, PluginInfo, Receiver

class Family(Plugin):
    '''Starts programs that end with known statuses, and others that are orphaned.'''
    info = PluginInfo("family", "1.0.0")
    beats: Receiver[int]
    async def on_start(self):
        self.spawn(self._work())
    async def _work(self):
        # The shell ends at once, so that what it has started loses its parent, and ends when the line comes.
        for _ in range(5):
            await self._shell("(read line; exit 3) <&3 3<&- &", 0)
        print("orphaned", flush=True)
        codes = [*range(40), *[None] * 10]
        await asyncio.gather(*[self._shell(f"exit {code}" if code is not None else "kill -KILL $$",
                               -9 if code is None else code) for code in codes])
        for code in range(5):
            done = await asyncio.to_thread(subprocess.run, ["sh", "-c", f"exit {code}"])
            assert done.returncode == code
        print(f"{len(codes)} statuses are right", flush=True)
        async for number in self.beats:
            pass
    async def _shell(self, script, code):
        process = await asyncio.create_subprocess_exec("sh", "-c", script, stdin=0, pass_fds=(3,))
        assert await process.wait() == code, (script, code, process.returncode)

class Hangs(Family):
    async def _work(self):
        async for number in self.beats:
            pass
    async def on_stop(self):
        print("stopping", flush=True)
        await asyncio.sleep(3600)
"""


@contextmanager
def around(mode: str, directory: Path, plugin: str, *, init: str = "") -> Iterator[Running]:
    """Run the example with ``plugin`` in a mode."""
    (directory / "family.py").write_text(FAMILY)
    more = {"FSM_PLUGINS__PLUGINS__TELL__USE": plugin}
    arguments = ["fsm-plugins", "run", "beacon.toml"]
    if mode == "process 1":
        if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
            pytest.skip("a PID namespace cannot be made here; it needs root, or unshare with user namespaces")
        arguments = [*UNSHARE, *arguments, *([init] if init else [])]
    else:
        arguments.append(init or "--init")
    # What the orphans wait for is the other end of descriptor 3.
    with running(["sh", "-c", 'exec 3<&0; exec "$@"', "sh", *arguments], directory, more) as process:
        yield process


def init_of(process: Running, mode: str) -> int:
    """Return the process around the application."""
    if mode == "subreaper":
        return process.process.pid
    (child,) = children(process.process.pid)
    return child


MODES = pytest.mark.parametrize("mode", ["process 1", "subreaper"])


@MODES
def test_orphans_are_reaped_and_the_statuses_of_children_are_left_alone(mode: str, tmp_path: Path) -> None:
    """Both at the same time; and SIGTERM then ends everything in order, with exit status 0."""
    lay_out("container.md", tmp_path)
    with around(mode, tmp_path, "family:Family") as process:
        process.wait_for("orphaned")
        init = init_of(process, mode)
        application, *orphans = children(init)
        assert len(orphans) == 5
        process.wait_for("50 statuses are right")
        for _ in orphans:
            process.tell("end")
        eventually(lambda: children(init) == [application])
        os.kill(init, signal.SIGTERM)
        assert process.end() == 0, process.text
        assert "stops: SIGTERM" in process.text
    assert "Traceback" not in process.text


def test_without_it_orphans_of_process_1_stay_zombies(tmp_path: Path) -> None:
    """Which shows that the test above looks at the right thing."""
    lay_out("container.md", tmp_path)
    with around("process 1", tmp_path, "family:Family", init="--no-init") as process:
        process.wait_for("50 statuses are right")
        init = init_of(process, "process 1")
        orphans = children(init)
        assert len(orphans) == 5
        for _ in orphans:
            process.tell("end")
        eventually(lambda: [state_of(orphan) for orphan in orphans] == ["Z"] * 5)
        os.kill(init, signal.SIGTERM)
        assert process.end() == 0, process.text


@MODES
def test_a_stop_that_hangs_ends_within_its_deadline(mode: str, tmp_path: Path) -> None:
    """The deadline of the plugin holds, and the exit status tells."""
    lay_out("container.md", tmp_path)
    toml = tmp_path / "beacon.toml"
    toml.write_text(toml.read_text().replace("stop = 5", "stop = 0.2"))
    with around(mode, tmp_path, "family:Hangs") as process:
        process.wait_for("tell: initialized -> running")
        os.kill(init_of(process, mode), signal.SIGTERM)
        process.wait_for("^stopping")
        assert process.end() == 1, process.text
    assert "not done within its deadline of 0.2 s" in process.text


@MODES
def test_the_second_signal_is_handed_on_too(mode: str, tmp_path: Path) -> None:
    """It ends the application at once; the exit status is that of the application."""
    lay_out("container.md", tmp_path)
    with around(mode, tmp_path, "family:Hangs") as process:
        process.wait_for("tell: initialized -> running")
        init = init_of(process, mode)
        os.kill(init, signal.SIGTERM)
        process.wait_for("^stopping")
        os.kill(init, signal.SIGTERM)
        assert process.end() == 128 + signal.SIGTERM, process.text


@MODES
def test_an_application_that_is_killed_is_told_by_the_exit_status(mode: str, tmp_path: Path) -> None:
    """As a shell would: 128 and the number of the signal."""
    lay_out("container.md", tmp_path)
    with around(mode, tmp_path, "beacon:Tell") as process:
        process.wait_for("^beat 1")
        (application,) = children(init_of(process, mode))
        os.kill(application, signal.SIGKILL)
        assert process.end() == 128 + signal.SIGKILL, process.text


@pytest.mark.parametrize(("use", "status"), [("broken:Unstartable", 1), ("broken:Gone", 78)])
@MODES
def test_the_exit_status_of_the_application_is_handed_on(mode: str, use: str, status: int, tmp_path: Path) -> None:
    """A plugin that does not start, and a configuration that is wrong."""
    lay_out("container.md", tmp_path)
    with around(mode, tmp_path, use) as process:
        assert process.end() == status, process.text


def test_an_application_whose_init_is_killed_stops_in_order(tmp_path: Path) -> None:
    """It is not left behind. As process 1 the kernel sees to that."""
    lay_out("container.md", tmp_path)
    with around("subreaper", tmp_path, "beacon:Tell") as process:
        process.wait_for("^beat 1")
        process.process.kill()
        process.wait_for("stops: SIGTERM")
        process.wait_for(r"^tell +stopped .* clean")
        process.end()


@contextmanager
def on_a_terminal(directory: Path, plugin: str) -> Iterator[tuple[Running, int]]:
    """Run the example with ``--init`` in the foreground of a terminal; yields what it prints and the terminal."""
    lay_out("container.md", directory)
    ours, theirs = pty.openpty()
    take = f"import fcntl, os, sys; fcntl.ioctl(0, {termios.TIOCSCTTY}, 0); os.execvp(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", take, "fsm-plugins", "run", "beacon.toml", "--init"],
        cwd=directory,
        env=environ(directory, {"FSM_PLUGINS__PLUGINS__TELL__USE": plugin}),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    os.close(theirs)
    told = Running(process)
    try:
        yield told, ours
    finally:
        process.kill()
        for pid in session(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        os.close(ours)
        told.reader.join()


def test_interrupt_on_a_terminal_comes_once(tmp_path: Path) -> None:
    """Ctrl-C is for the whole foreground; were it handed on as well, the second one would end the process at once."""
    with on_a_terminal(tmp_path, "beacon:Tell") as (process, terminal):
        process.wait_for("^beat 1")
        os.write(terminal, b"\x03")
        assert process.end() == 0, process.text
    assert "stops: SIGINT" in process.text


def test_the_application_can_read_the_terminal(tmp_path: Path) -> None:
    """It is in the foreground; in the background it would be halted."""
    with on_a_terminal(tmp_path, "broken:FailsAtALine") as (process, terminal):
        process.wait_for("tell: initialized -> running")
        os.write(terminal, b"now\n")
        process.wait_for("plugin 'tell' failed: ConnectionError: reset")
        assert process.end() == 1, process.text


def test_the_entry_point_of_the_page_is_process_1(tmp_path: Path) -> None:
    """What the Dockerfile runs, run as a container runs it: nothing has to be said for it."""
    lay_out("container.md", tmp_path)
    (dockerfile,) = blocks("container.md", "dockerfile")
    (line,) = [line for line in dockerfile.splitlines() if line.startswith("ENTRYPOINT ")]
    entry = json.loads(line.removeprefix("ENTRYPOINT "))
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a PID namespace cannot be made here; it needs root, or unshare with user namespaces")
    assert shutil.which(entry[0], path=environ(tmp_path)["PATH"])
    with running([*UNSHARE, *entry], tmp_path) as process:
        process.wait_for("^beat 1")
        init = init_of(process, "process 1")
        (application,) = children(init)
        os.kill(init, signal.SIGTERM)
        process.wait_for(r"^tell +stopped .* clean")
        assert process.end() == 0
    assert state_of(application) is None
