"""Observation as a person meets it: killed processes, full disks, and the commands that speak to an application."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsm_plugins import LIFECYCLE
from fsm_plugins.observe import Journal, last_states, read_journal

ROOT = Path(__file__).parents[2]

CHILD = """
import asyncio, resource, sys
from fsm_plugins import RESTARTABLE, Plugin, PluginInfo, PluginRegistry
from fsm_plugins.observe import Journal

class Again(Plugin):
    info = PluginInfo("again", "1.0.0")
    lifecycle = RESTARTABLE

async def main(path, kind, max_bytes, limit):
    registry = PluginRegistry()
    for number in range(5):
        registry.register(Again(name=f"plugin-{number}"))
    journal = Journal(path, format=kind, max_bytes=int(max_bytes), keep=3, retry=0.01)
    journal.start()
    registry.subscribe(journal)
    await registry.init_all()
    while len(journal._latest) < 5:
        await asyncio.sleep(0.001)
    print("ready", flush=True)
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    turns = 0
    while not int(limit) or not journal.failing:
        await registry.start_all()
        await registry.stop_all()
        turns += 1
        await asyncio.sleep(0.0005)
    for _ in range(50):
        await registry.start_all()
        await registry.stop_all()
        await asyncio.sleep(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    while journal.failing:
        await asyncio.sleep(0.01)
    journal.stop()
    print(5 + 10 * (turns + 50), journal.lost)

asyncio.run(main(*sys.argv[1:]))
"""

PLUGINS = """
import asyncio
from fsm_plugins import Plugin, PluginInfo

class Steady(Plugin):
    info = PluginInfo("steady", "1.0.0")
    async def on_start(self):
        self.spawn(asyncio.Event().wait())
"""


def child(path: Path, kind: str, max_bytes: int, limit: int = 0) -> subprocess.Popen[str]:
    """Start a process that does nothing but move plugins."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), kind, str(max_bytes), str(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


@pytest.mark.parametrize(("kind", "max_bytes"), [("jsonl", 10**9), ("jsonl", 20_000), ("sqlite", 60_000)])
def test_a_killed_process_leaves_a_journal_that_opens(kind: str, max_bytes: int, tmp_path: Path) -> None:
    """Again and again in the same file: nothing is missing, every plugin's last state is known, and it goes on."""
    path, rng = tmp_path / "j", random.Random(1)
    for _ in range(4):
        process = child(path, kind, max_bytes)
        time.sleep(rng.uniform(0.02, 0.1))
        read_journal(path)  # while it is being written
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        contents = read_journal(path)
        assert contents.missing == 0
        assert set(last_states(path)) == {f"plugin-{number}" for number in range(5)}
        arcs = {(arc.trigger, arc.source, arc.dest) for arc in LIFECYCLE.arcs} | {("start", "stopped", "running")}
        assert {row[1:4] for row in contents.rows} <= arcs
        where: dict[tuple[str, str], str] = {}
        for row in contents.rows:  # each plugin goes on from where it was
            assert where.get((row.run, row.plugin), row.source) == row.source
            where[row.run, row.plugin] = row.dest
    with Journal(path, format=kind):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_a_full_disk_is_one_message_and_the_journal_goes_on_when_there_is_room(kind: str, tmp_path: Path) -> None:
    """The plugins run on meanwhile, and nothing is missing afterwards."""
    process = child(tmp_path / "j", kind, 10**9, limit=40_000)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    count, lost = map(int, out.split())
    contents = read_journal(tmp_path / "j")
    assert (len(contents.rows), contents.missing, contents.torn, lost) == (count, 0, 0, 0)
    assert err.count("cannot be written") == 1, err
    assert "Traceback" not in err


def command(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "fsm_plugins", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )


@contextmanager
def running(tmp_path: Path, more: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run an application with a socket."""
    (tmp_path / "observed_plugins.py").write_text(PLUGINS)
    (tmp_path / "app.toml").write_text(
        '[app]\nplugin_path = ["."]\n[plugins.one]\nuse = "observed_plugins:Steady"\n[plugins."two b"]\n'
        f'use = "observed_plugins:Steady"\n[observe]\nsocket = "s"\n{more}'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "fsm_plugins", "run", str(tmp_path / "app.toml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "two b" in line and "initialized -> running" in line:
                break
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_running_application_is_asked_and_told(tmp_path: Path) -> None:
    """status, stop, start, restart, events: what they print, and how they exit."""
    with running(tmp_path, 'log = "json"\njournal = { path = "j" }') as process:
        env = {"FSM_PLUGINS_SOCKET": str(tmp_path / "s")}
        text = command("status", env=env)
        assert text.returncode == 0, text.stderr
        assert [line.split()[0] for line in text.stdout.splitlines()] == ["plugin", "one", "two"]
        assert command("stop", "two b", env=env).stdout == "two b stopped\n"
        again = command("stop", "two b", "--socket", tmp_path / "s", "--json")
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr == "error: invalid state for plugin 'two b': current=stopped, expected=failed|running\n"
        restart = command("restart", "one", env=env)
        assert restart.returncode == 1
        assert "run the plugins under a supervisor" in restart.stderr
        status = json.loads(command("status", "--json", env=env).stdout)
        assert [(p["state"], p["wanted"]) for p in status["plugins"]] == [("running", True), ("stopped", False)]
        assert command("events", env=env).stdout.splitlines()[-1][9:34] == "two b: running -> stopped"
        follower = subprocess.Popen(
            [sys.executable, "-m", "fsm_plugins", "events", "-f", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **env},
        )
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["id"] == 1
        process.terminate()
        out, err = follower.communicate(timeout=60)
        assert json.loads(out.splitlines()[-1])["plugin"] == "one"
        assert (follower.returncode, "the application has ended" in err) == (1, True)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert all(json.loads(line)["time"] for line in err.splitlines())
    assert {name: row.dest for name, row in last_states(tmp_path / "j").items()} == {
        "one": "stopped",
        "two b": "stopped",
    }
    with (tmp_path / "j").open("a") as file:
        file.write('{"plugin": "one", "tri')
    drawn = command("diagram", "trace", tmp_path / "j", "--format", "ascii")
    assert drawn.returncode == 0
    assert len(drawn.stdout.splitlines()) == 7
    assert drawn.stderr == f"{tmp_path / 'j'}: its last line was not written to the end (22 bytes)\n"


def test_a_supervised_application_is_told_to_restart_a_plugin(tmp_path: Path) -> None:
    """A fresh plugin is in its place, and that is counted and told."""
    with running(tmp_path, "[supervisor]\n"):
        env = {"FSM_PLUGINS_SOCKET": str(tmp_path / "s")}
        restart = command("restart", "one", env=env)
        assert (restart.returncode, restart.stdout) == (0, "one running\n"), restart.stderr
        status = json.loads(command("status", "--json", env=env).stdout)
        assert [(p["name"], p["restarts"]) for p in status["plugins"]] == [("one", 1), ("two b", 0)]
        assert "one: restarted" in command("events", env=env).stdout
        assert command("stop", "one", env=env).returncode == 0
        assert command("start", "one", env=env).stdout == "one running\n"


def test_a_sqlite_journal_is_drawn(tmp_path: Path) -> None:
    """As any other trace."""
    with running(tmp_path, 'journal = { path = "j", format = "sqlite" }') as process:
        process.terminate()
        process.communicate(timeout=60)
    drawn = command("diagram", "trace", tmp_path / "j", "--format", "ascii")
    assert len(drawn.stdout.splitlines()) == 7, drawn.stderr


@pytest.mark.parametrize("arguments", [["status"], ["stop", "x"], ["events"], ["events", "-f"], ["status", "--json"]])
def test_no_application_is_one_line_and_exit_1(arguments: list[str], tmp_path: Path) -> None:
    """No socket, a dead socket, something else, something that does not speak HTTP."""
    path = tmp_path / "s"

    def said() -> str:
        ran = command(*arguments, "--socket", path)
        assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (1, "", 1), ran.stderr
        return ran.stderr

    assert said() == f"error: no application listens at {path}: there is no such socket\n"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    assert said() == f"error: no application listens at {path}: the one that did has ended\n"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "fsm_plugins", *arguments, "--socket", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        with listener.accept()[0] as other:
            other.recv(1)
            other.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, len(err.splitlines())) == (1, "", 1), err


def test_usage_without_a_socket_exits_2() -> None:
    """It says which option there is."""
    ran = command("status", env={"FSM_PLUGINS_SOCKET": ""})
    assert ran.returncode == 2
    assert "--socket" in ran.stderr
