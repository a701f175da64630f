"""The command as a person uses it: real processes, real signals, real files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = ROOT / "examples" / "words" / "words.toml"

PLUGINS = """
import asyncio
from fsm_plugins import RELOADABLE, ConfigError, Plugin, PluginInfo, Problem

class Steady(Plugin):
    info = PluginInfo("steady", "1.0.0")
    async def on_start(self):
        self.spawn(asyncio.Event().wait())
        print("started", flush=True)

class Stuck(Steady):
    info = PluginInfo("stuck", "1.0.0")
    async def on_stop(self):
        print("stopping", flush=True)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

class Slow(Plugin):
    info = PluginInfo("slow", "1.0.0")
    async def on_start(self):
        print("started", flush=True)
        await asyncio.sleep(3600)

class Reads(Steady):
    info = PluginInfo("reads", "1.0.0")
    lifecycle = RELOADABLE
    async def on_reload(self):
        print("reloaded", flush=True)

class Wrong(Steady):
    info = PluginInfo("wrong", "1.0.0")
    async def on_init(self):
        raise ConfigError("rules.yaml", [Problem("rules[0]", "expected a table"), Problem("rules[1].id", "missing")])

class Crash(Plugin):
    info = PluginInfo("crash", "1.0.0")
    async def on_start(self):
        self.spawn(self._crash())
    async def _crash(self):
        raise RuntimeError("out of luck")
"""


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


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "some_plugins.py").write_text(PLUGINS)
    return tmp_path / "app.toml"


def write(config: Path, name: str, more: str = "") -> Path:
    config.write_text(f'[app]\nplugin_path = ["."]\n[plugins.{name.lower()}]\nuse = "some_plugins:{name}"\n{more}')
    return config


@contextmanager
def running(config: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command, and wait until its plugin says that it started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fsm_plugins", "run", str(config), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_in_order(config: Path, number: signal.Signals) -> None:
    """Exit status 0, and a receipt for each plugin on stdout."""
    with running(write(config, "Steady")) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert re.search(r"^steady +stopped +\d\.\d{3} s +clean +none$", out, re.MULTILINE)
    assert f"stops: {number.name}" in err
    assert "Traceback" not in err


def test_a_signal_ends_a_start_that_hangs(config: Path) -> None:
    """The start is abandoned, and that is what was asked for: exit status 0."""
    with running(write(config, "Slow")) as process:
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "slow" in out


def test_the_second_signal_ends_the_process(config: Path) -> None:
    """A stop that hangs is not waited for; the exit status names the signal."""
    with running(write(config, "Stuck")) as process:
        process.terminate()
        assert process.stdout is not None
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert "the process ends now; not stopped: stuck" in err


def test_a_signal_to_reload(config: Path) -> None:
    """Plugins that can be reloaded are, and go on; without one it ends the process, as it does by default."""
    with running(write(config, "Reads")) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "reloaded\n"
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert re.search(r"^reads +stopped .* clean", out, re.MULTILINE)
    with running(write(config, "Steady")) as process:
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGHUP


@pytest.mark.parametrize("supervisor", ["", "[supervisor]\n"])
def test_a_wrong_configuration_that_an_init_finds_exits_78(config: Path, supervisor: str) -> None:
    """A line for each problem, as for those that are found before; there is no receipt, since nothing was started."""
    ran = command("run", write(config, "Wrong", supervisor))
    assert (ran.returncode, ran.stdout) == (78, "")
    assert ran.stderr.splitlines()[-3:] == [
        f"{config}: 2 problems, nothing was started",
        "  plugins.wrong: rules.yaml: rules[0]: expected a table",
        "  plugins.wrong: rules.yaml: rules[1].id: missing",
    ]
    assert "Traceback" not in ran.stderr
    document = json.loads(command("run", config, "--json").stdout)
    assert (document["ok"], len(document["problems"])) == (False, 2)


def test_a_stop_that_had_to_be_forced_is_told_and_exits_1(config: Path) -> None:
    """A hook that ignores its cancellation is abandoned after its deadline and the grace period, and named."""
    with running(write(config, "Stuck", "deadlines = { stop = 0.1, grace = 0.1 }"), "--json") as process:
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    receipt = json.loads(out[out.index("{") :])["plugins"][0]
    assert (receipt["state"], receipt["clean"]) == ("failed", False)
    assert "not done within its deadline of 0.1 s" in receipt["note"]
    assert "it ignored its cancellation and was abandoned" in receipt["note"]
    assert err.splitlines()[-1].startswith("error: plugin 'stuck' failed in stop")


def test_a_plugin_that_crashes_ends_the_run_with_1(config: Path) -> None:
    """The reason is on stderr, in one line at the end, and in the receipt."""
    ran = command("run", write(config, "Crash"))
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == "error: plugin 'crash' failed while it was running: RuntimeError: out of luck"
    assert "failed: RuntimeError: out of luck" in ran.stdout


def test_the_example_runs_to_its_end() -> None:
    """Finite input: it is drained, printed, and the receipts are clean."""
    ran = command("run", WORDS, "--until-idle", "--json", "--log-level", "warning")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout[ran.stdout.index("{") :])
    assert document["ok"]
    assert [plugin["name"] for plugin in document["plugins"]] == ["read", "split", "report"]
    assert ran.stderr == ""


def test_check_says_what_would_run() -> None:
    """The order, producers first, as text and as JSON."""
    text = command("check", WORDS)
    assert text.returncode == 0
    order, paths = text.stdout.split("\npaths:\n")
    assert order.splitlines()[1:] == ["  1. read -> lines", "  2. split  lines -> words", "  3. report  words"]
    document = json.loads(command("check", WORDS, "--json").stdout)
    where = {"app.plugin_path[0]": ROOT / "examples" / "words", "plugins.read.settings.file": ROOT / "LICENSE"}
    assert {key: Path(path).resolve() for key, path in document["paths"].items()} == where
    assert [line.strip().partition(": ")[0] for line in paths.splitlines()] == list(where)
    assert (document["ok"], document["order"]) == (True, ["read", "split", "report"])


@pytest.mark.parametrize("name", ["run", "check", "list"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_bad_configuration_exits_78_with_every_problem(name: str, as_json: bool, config: Path) -> None:
    """No traceback, nothing started; the problems are on stderr, or on stdout as JSON."""
    write(config, "Steady", 'enabeld = true\nsettings = { x = 1 }\n[plugins.other]\nuse = "nothing:Here"')
    ran = command(name, config, *(["--json"] if as_json else []))
    assert ran.returncode == 78
    assert "Traceback" not in ran.stderr
    if as_json:
        problems = json.loads(ran.stdout)["problems"]
        assert [p["where"] for p in problems] == [
            "plugins.steady.enabeld",
            "plugins.steady.settings.x",
            "plugins.other.use",
        ]
    else:
        assert ran.stdout == ""
        assert f"{config}: 3 problems, nothing was started" in ran.stderr
        assert "plugins.steady.enabeld: unknown key (did you mean 'enabled'?)" in ran.stderr


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "there is no such file"),
        (b"[app\n", "not TOML at line 1"),
        (b"\xff\xfe", "line 1 is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem(config: Path, content: bytes | None, text: str) -> None:
    """It says what is the matter with the file, and exits with 78."""
    if content is not None:
        config.write_bytes(content)
    ran = command("check", config)
    assert ran.returncode == 78
    assert text in ran.stderr


def test_usage_errors_exit_2() -> None:
    """Unknown commands, options and missing arguments are usage errors."""
    for arguments in (["fly"], ["run"], ["run", "x.toml", "--for", "soon"], ["check", "x.toml", "--fast"]):
        ran = command(*arguments, env={"FSM_PLUGINS_CONFIG": ""})
        assert ran.returncode == 2, arguments
        assert "Traceback" not in ran.stderr


def test_list_shows_what_is_configured_and_what_is_disabled(config: Path) -> None:
    """The state is the one a plugin would begin in; a disabled one says so."""
    write(config, "Steady", '[plugins.off]\nuse = "some_plugins:Slow"\nenabled = false')
    rows = json.loads(command("list", config, "--json").stdout)
    assert [(row["name"], row["state"], row["use"]) for row in rows] == [
        ("steady", "created", "some_plugins:Steady"),
        ("off", "disabled", "some_plugins:Slow"),
    ]
    assert command("list", config).stdout.splitlines()[0].split()[:3] == ["name", "state", "type"]


def test_the_environment_gives_the_configuration_and_overrides_it(config: Path) -> None:
    """FSM_PLUGINS_CONFIG names the file, FSM_PLUGINS__... sets what is in it."""
    write(config, "Steady")
    assert command("check", env={"FSM_PLUGINS_CONFIG": str(config)}).returncode == 0
    bad = command("check", env={"FSM_PLUGINS_CONFIG": str(config), "FSM_PLUGINS__PLUGINS__STEADY__ENABLED": "maybe"})
    assert bad.returncode == 78
    assert "FSM_PLUGINS__PLUGINS__STEADY__ENABLED: expected true or false, got 'maybe'" in bad.stderr


def test_run_for_a_time(config: Path) -> None:
    """--for ends a run by itself, in order."""
    ran = command("run", write(config, "Steady"), "--for", "0")
    assert ran.returncode == 0, ran.stderr
    assert "steady" in ran.stdout
