"""The commands of the verifier as a person uses them: real processes, and plugins that misbehave in every way."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PLUGINS = """
import asyncio, os
from fsm_plugins import Plugin, PluginInfo

class Clean(Plugin):
    info = PluginInfo("clean", "1.0.0")

class Leaky(Plugin):
    info = PluginInfo("leaky", "1.0.0")
    def __init__(self, seconds: int):
        self.seconds = seconds
    async def on_start(self):
        self.task = asyncio.create_task(asyncio.sleep(self.seconds))

class Exits(Plugin):
    info = PluginInfo("exits", "1.0.0")
    async def on_start(self):
        print("good-bye")
        os._exit(7)

class Busy(Plugin):
    info = PluginInfo("busy", "1.0.0")
    async def on_start(self):
        while True:
            pass

class Spins(Plugin):
    info = PluginInfo("spins", "1.0.0")
    async def on_start(self):
        os.write(os.open("spins", os.O_WRONLY), b"here")
        while True:
            pass

class Floods(Plugin):
    info = PluginInfo("floods", "1.0.0")
    async def on_start(self):
        for _ in range(3000):
            print("x" * 1000)
        raise OSError("wet")

class Raises(Plugin):
    info = PluginInfo("raises", "1.0.0")
    def __init__(self):
        raise OSError("no device")

class Long(Plugin):
    info = PluginInfo("long", "1.0.0")
    from fsm_plugins import RESTARTABLE as lifecycle
    async def on_start(self):
        try:
            told = os.open("long", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            pass
        else:
            os.close(told)
        for _ in range(50):
            await asyncio.sleep(0.1)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with plugins of every kind."""
    directory = tmp_path_factory.mktemp("plugins")
    (directory / "zoo_of_commands.py").write_text(PLUGINS)
    (directory / "exits_at_import.py").write_text("import os\nos._exit(9)\n")
    (directory / "broken.py").write_text("1 / 0\n")
    (directory / "imports_long.py").write_text(
        "import os, time\nos.close(os.open('long', os.O_WRONLY))\ntime.sleep(600)\n"
    )
    (directory / "app.toml").write_text('[plugins.one]\nuse = "zoo_of_commands:Clean"\n[app]\nplugin_path = ["."]\n')
    return directory


def command(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    line = [sys.executable, "-m", "fsm_plugins", *words]
    return subprocess.run(line, cwd=directory, env=environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["zoo_of_commands:Clean"], 0, "holds within the scope: L0, L1, L2, L3, L4; depth 8"),
        (["app.toml", "--depth", "3"], 0, "holds within the scope: L0, L1, L2, L3, L4; depth 3"),
        (["zoo_of_commands:Leaky"], 2, "settings.seconds: missing"),
        (["zoo_of_commands:Leaky", "--set", "seconds=x"], 2, "expected an integer, got 'x'"),
        (["zoo_of_commands:Leaky", "--set", "seconds=60"], 1, "init -> start -> stop: 1 task of sleep leaked"),
        (["zoo_of_commands:Raises"], 2, "its constructor raised OSError: no device"),
        (["zoo_of_commands:Exits"], 1, "init -> start: the process ended, with exit status 7"),
        (["zoo_of_commands:Busy", "--max-time", "1"], 1, "it never gave way to the event loop again"),
        (["zoo_of_commands:Floods", "--layers", "l1"], 1, "on_start raised OSError: wet"),
        (["zoo_of_commands:Long", "--depth", "40", "--max-time", "1"], 3, "inconclusive"),
        (["exits_at_import:X"], 2, "importing it ended the process with exit status 9"),
        (["broken:X"], 2, "raised ZeroDivisionError"),
        (["nowhere:X"], 2, "there is no module 'nowhere'"),
        (["zoo_of_commands:Clean", "--layers", "L7"], 2, "there is no layer 'L7'"),
        (["zoo_of_commands:Clean", "--set", "x"], 2, "--set takes key=value"),
        (["zoo_of_commands:Clean", "--baseline", "none.json"], 2, "none.json cannot be read"),
    ],
)
def test_every_answer_is_clear_and_comes_in_time(directory: Path, words: list[str], code: int, told: str) -> None:
    """The exit status is the documented one, the text says what it is, and nobody sees a traceback."""
    ran = command(directory, "verify", *words)
    said = ran.stdout + ran.stderr
    assert ran.returncode == code, said
    assert told in said
    assert "Traceback" not in said
    assert len(said) < 20_000


def test_a_busy_loop_is_told_with_its_line_and_an_exit_with_what_was_printed(directory: Path) -> None:
    """So that one knows where to look."""
    line = PLUGINS.splitlines().index("        while True:") + 1
    busy = command(directory, "verify", "zoo_of_commands:Busy", "--max-time", "1")
    assert f"it was at zoo_of_commands.py:{line}" in busy.stdout or f"zoo_of_commands.py:{line + 1}" in busy.stdout
    assert "good-bye" in command(directory, "verify", "zoo_of_commands:Exits").stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_loop_ends_with_the_command_that_waits_for_it(directory: Path, number: signal.Signals) -> None:
    """Or it would burn a processor for ever after a time-out of continuous integration."""
    fifo = directory / "spins"
    os.mkfifo(fifo)
    reads = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    run = subprocess.Popen(
        [sys.executable, "-m", "fsm_plugins", "verify", "zoo_of_commands:Spins"],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert select.select([reads], [], [], 60)[0], "it did not begin"
        assert os.read(reads, 100) == b"here"
        run.send_signal(number)
        run.wait(60)
        # Its end of the pipe is closed when it is gone.
        assert select.select([reads], [], [], 60)[0], "the loop goes on"
        assert os.read(reads, 100) == b""
    finally:
        run.kill()
        os.close(reads)
        fifo.unlink()


def test_a_finding_is_replayed_accepted_and_written(directory: Path) -> None:
    """The token of the report, the report as a baseline, and the other formats."""
    words = ["verify", "zoo_of_commands:Leaky", "--set", "seconds=60", "--depth", "3"]
    first = command(directory, *words, "--report", "json")
    report = json.loads(first.stdout)
    assert first.returncode == report["exit_code"] == 1
    (finding,) = report["findings"]
    again = command(directory, "replay", finding["token"])
    assert again.returncode == 1
    assert "init -> start -> stop: 1 task of sleep leaked" in again.stdout
    (directory / "known.json").write_text(first.stdout)
    accepted = command(directory, *words, "--baseline", "known.json")
    assert accepted.returncode == 0, accepted.stdout
    assert "ignored: FP030" in accepted.stdout
    test = command(directory, *words, "--report", "pytest").stdout
    assert "from zoo_of_commands import Leaky" in test and "settings={'seconds': 60}" in test
    (directory / "known.json").write_text("{}")
    assert command(directory, *words, "--baseline", "known.json").returncode == 2
    assert command(directory, "replay", finding["token"][:-5]).returncode == 2


def test_explain_and_conform(directory: Path) -> None:
    """The page of a check, the list of all, and a trace that departs."""
    page = command(directory, "explain", "FP030")
    assert page.returncode == 0 and "# FP030 leak-task" in page.stdout
    assert "leak-socket" in command(directory, "explain").stdout
    assert command(directory, "explain", "FP999").returncode == 2
    good = '{"plugin": "a", "trigger": "init", "source": "created", "dest": "initialized"}\n'
    (directory / "trace.jsonl").write_text(good)
    assert command(directory, "conform", "trace.jsonl").stdout == "trace.jsonl: 1 step, all as the lifecycle allows\n"
    (directory / "trace.jsonl").write_text(good * 2)
    departs = command(directory, "conform", "trace.jsonl", "--lifecycle", "zoo_of_commands:Clean")
    assert departs.returncode == 1 and "FP080 trace.jsonl: step 2" in departs.stdout
    (directory / "trace.jsonl").write_text("not json")
    assert command(directory, "conform", "trace.jsonl").returncode == 2


@pytest.mark.parametrize("early", [False, True], ids=["while it runs", "while it imports"])
def test_an_interrupt_tells_what_was_established(directory: Path, early: bool) -> None:
    """One SIGINT, as Ctrl-C sends it: a report, exit status 3."""
    fifo = directory / "long"
    os.mkfifo(fifo)
    reads = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    target = "imports_long:Long" if early else "zoo_of_commands:Long"
    line = [sys.executable, "-m", "fsm_plugins", "verify", target, "--depth", "60"]
    process = subprocess.Popen(
        line, cwd=directory, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        with select.epoll() as ended:
            ended.register(reads, select.EPOLLHUP)  # somebody opened the other end, and closed it
            assert ended.poll(60), "it did not begin"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(reads)
        fifo.unlink()
    assert process.returncode == 3, out + err
    if early:
        assert "interrupted before anything was established" in err
    else:
        assert "inconclusive" in out and "interrupted" in out
        assert "L0" in out


def test_pytest_verifies_a_package(directory: Path) -> None:
    """One test for each class; what needs settings is skipped with the reason; a wrong name is a usage error."""
    package = directory / "two_plugins"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    body = PLUGINS.partition("class Exits")[0]
    (package / "plugins.py").write_text(
        body + "\nclass Forgets(Leaky):\n    def __init__(self):\n        self.seconds = 1\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(directory)])}
    plugin = ["-p", "fsm_plugins.verify.pytest_plugin"]
    from importlib.metadata import entry_points

    if any(found.value == plugin[1] for found in entry_points(group="pytest11")):
        plugin = []
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugin, "-q", "--fsm-depth", "3", "--fsm-verify"]
    ran = subprocess.run(
        [*line, "two_plugins"], cwd=package, env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "1 failed, 1 passed, 1 skipped" in ran.stdout
    assert "1 task of sleep leaked" in ran.stdout and "Traceback" not in ran.stdout
    wrong = subprocess.run(
        [*line, "no_such_package"], cwd=package, env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert wrong.returncode == 4 and "no_such_package cannot be imported" in wrong.stderr
