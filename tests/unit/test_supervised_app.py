"""An application under a supervisor: what the file can say, what is wrong with it, and how such an application ends."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fsm_plugins import ConfigError, HookFailed, PermanentError, PluginFailed, RestartsExhausted, StopFailed
from fsm_plugins.app import Application, read_blueprint
from fsm_plugins.supervision import Action, Backoff, Child, Group, Health, Policy, Restart, Strategy
from fsm_plugins.testing import run
from tests.unit.supervised import now

ROOT = Path(__file__).parents[2]

PLUGINS = """
import asyncio
from attrs import define
from fsm_plugins import Deadlines, NotReady, PermanentError, Plugin, PluginInfo, Receiver, Sender

LIVES = []

@define
class Flaky(Plugin):
    info = PluginInfo("flaky", "1.0.0")
    deadlines = Deadlines(stop=1e5)
    crashes: int = 1
    after: float = 1.0
    error: str = "OSError"
    opening: str = ""
    closing: float = 0.0
    async def on_start(self):
        LIVES.append(self.info.name)
        if self.opening:
            raise {"NotReady": NotReady, "OSError": OSError}[self.opening]("no start")
        print("started", flush=True)
        self.spawn(self._work())
    async def _work(self):
        await asyncio.sleep(self.after)
        if LIVES.count(self.info.name) <= self.crashes:
            raise {"OSError": OSError, "PermanentError": PermanentError}[self.error]("gone")
    async def on_stop(self):
        await asyncio.sleep(self.closing)

@define
class Steady(Plugin):
    info = PluginInfo("steady", "1.0.0")
    async def on_start(self):
        self.spawn(asyncio.Event().wait())
"""


STRATEGIES = "'one_for_one', 'one_for_all', 'rest_for_one' or 'dependents'"
KEYS = "strategy, intensity, period, restart, backoff, groups, health, watchdog"
INTENSITY = "intensity is a number of restarts, 0 or more, or 'unlimited'"


class Files:
    """A directory with a plugin module of its own name and a configuration."""

    def __init__(self, directory: Path, number: int) -> None:
        self.path = directory / "app.toml"
        self.module = f"plugins_for_supervised_app_{number}"
        (directory / f"{self.module}.py").write_text(PLUGINS)

    def write(self, text: str, app: str = "") -> Path:
        """Write the configuration; in it ``flaky:`` and ``steady:`` are the two plugins."""
        text = textwrap.dedent(text).replace("flaky:", f'use = "{self.module}:Flaky"')
        text = text.replace("steady:", f'use = "{self.module}:Steady"')
        self.path.write_text(f'[app]\nplugin_path = ["."]\n{app}\n{text}')
        return self.path

    def application(self, text: str, app: str = "") -> Application:
        return Application.from_config(self.write(text, app), {})

    def problems(self, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        return [str(problem) for problem in read_blueprint(self.write(text), environ or {}).problems]


_numbers = iter(range(10_000))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    before = list(sys.path)
    yield Files(tmp_path, next(_numbers))
    sys.path[:] = before


def end(app: Application, **options: object) -> float:
    """Run it in virtual time; return when it ended."""

    async def main() -> float:
        try:
            await app.run(signals=False, **options)  # type: ignore[arg-type]
        finally:
            ended.append(now())
            assert len(asyncio.all_tasks()) == 1
        return now()

    ended: list[float] = []
    run(main)
    return ended[0]


# What the file can say.


def test_every_key(files: Files) -> None:
    """Of the supervisor, of its groups and of a plugin; the rest is at its default."""
    app = files.application("""
        [supervisor]
        strategy = "rest_for_one"
        intensity = 3
        period = 30
        restart = "permanent"
        watchdog = 2.5
        backoff = { initial = 1, factor = 3, cap = 9, jitter = 0, stable = 5 }
        health = { interval = 2, failures = 4 }
        [supervisor.groups.disks]
        strategy = "dependents"
        intensity = "unlimited"
        period = 7
        group = "all"
        [supervisor.groups.all]
        [plugins.a]
        flaky:
        restart = "temporary"
        group = "disks"
        backoff = { initial = 0.5 }
        [plugins.b]
        steady:
    """)
    assert app.supervisor is not None
    assert app.supervisor.policy == Policy(
        strategy=Strategy.REST_FOR_ONE,
        intensity=3,
        period=30,
        restart=Restart.PERMANENT,
        backoff=Backoff(1, 3, 9, 0, 5),
        groups={"disks": Group(Strategy.DEPENDENTS, "unlimited", 7, "all"), "all": Group()},
        health=Health(2, 4),
        watchdog=2.5,
    )
    child = app.supervisor._children["a"]
    assert (child.restart, child.backoff, child.node.name) == (Restart.TEMPORARY, Backoff(0.5), "disks")
    assert app.supervisor._children["b"].backoff == Backoff(1, 3, 9, 0, 5)
    config = read_blueprint(files.path, {}).config
    assert config is not None
    assert config.children == {"a": Child(Restart.TEMPORARY, Backoff(0.5), "disks")}


def test_an_empty_table_is_enough(files: Files) -> None:
    """It restarts at the defaults, and watches the loop; without the table nobody restarts anything."""
    text = "[plugins.a]\nflaky:\n"
    assert files.application(text).supervisor is None
    supervisor = files.application(text + "[supervisor]\n").supervisor
    assert supervisor is not None
    assert supervisor.policy == Policy(watchdog=1.0)


def test_the_environment_overrides_every_key(files: Files) -> None:
    """As it does those of the other tables."""
    text = "[supervisor.groups.g]\n[plugins.a]\nflaky:\n"
    environ = {
        "SUPERVISOR__INTENSITY": "7",
        "SUPERVISOR__STRATEGY": "one_for_all",
        "SUPERVISOR__BACKOFF__INITIAL": "2",
        "SUPERVISOR__HEALTH__FAILURES": "5",
        "SUPERVISOR__GROUPS__G__PERIOD": "9",
        "PLUGINS__A__RESTART": "permanent",
        "PLUGINS__A__BACKOFF__CAP": "3",
        "PLUGINS__A__GROUP": "g",
    }
    blueprint = read_blueprint(files.write(text), {f"FSM_PLUGINS__{key}": value for key, value in environ.items()})
    assert blueprint.problems == ()
    assert blueprint.config is not None and blueprint.config.supervisor is not None
    policy = blueprint.config.supervisor
    assert (policy.intensity, policy.strategy, policy.backoff.initial) == (7, Strategy.ONE_FOR_ALL, 2)
    assert (policy.health, policy.groups["g"].period) == (Health(failures=5), 9)
    assert blueprint.config.children == {"a": Child(Restart.PERMANENT, Backoff(cap=3), "g")}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('strategy = "one_for_al"', f"strategy: expected {STRATEGIES}, got 'one_for_al' (did you mean 'one_for_all'?)"),
        ("intensity = -1", f"intensity: {INTENSITY}, not -1"),
        ('intensity = "lots"', "intensity: expected an integer or 'unlimited', got 'lots'"),
        ("period = 0", "period: period is a positive number of seconds, not 0.0"),
        ("period = inf", "period: period is a positive number of seconds, not inf"),
        ('restart = "always"', "restart: expected 'permanent', 'transient' or 'temporary', got 'always'"),
        ("watchdog = 0", "watchdog: watchdog is a positive number of seconds, not 0.0"),
        ("retries = 1", f"retries: unknown key; there are: {KEYS}"),
        ("backoff = 3", "backoff: expected a table, got 3"),
        ("backoff = { initial = -1 }", "backoff.initial: initial is a number of seconds, 0 or more, not -1.0"),
        ("backoff = { initial = 5, cap = 1 }", "backoff.cap: cap, 1 s, is under the initial delay of 5 s"),
        ("backoff = { factor = 0.5 }", "backoff.factor: factor is a number of at least 1, not 0.5"),
        ("backoff = { jitter = 2 }", "backoff.jitter: jitter is a share from 0 to 1, not 2.0"),
        ("backoff = { stable = 0 }", "backoff.stable: stable is a positive number of seconds, not 0.0"),
        ("backoff = { max = 3 }", "backoff.max: unknown key; there are: initial, factor, cap, jitter, stable"),
        ("health = { interval = 0 }", "health.interval: interval is a positive number of seconds, not 0.0"),
        ("health = { failures = 0 }", "health.failures: failures is a number of health checks, at least 1, not 0"),
        ('groups.g.group = "h"', "groups.g.group: there is no group 'h'"),
        ('groups.g.group = "g"', "groups.g.group: the groups go in a circle: g in g; one of them has to be outside"),
        ("groups.g.intensity = -2", f"groups.g.intensity: {INTENSITY}, not -2"),
    ],
)
def test_mistakes_of_the_supervisor(files: Files, text: str, problem: str) -> None:
    """Each with its key path, what was wanted and what was given."""
    assert files.problems(f"[plugins.a]\nflaky:\n[supervisor]\n{text}\n") == [f"supervisor.{problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('restart = "never"', "restart: expected 'permanent', 'transient' or 'temporary', got 'never'"),
        ("backoff = { cap = -1 }", "backoff.cap: cap is a number of seconds, 0 or more, not -1.0"),
        ("group = 3", "group: expected a string, got 3"),
        ('group = "x"', "group: there is no group 'x'; add a table [supervisor.groups.x]"),
    ],
)
def test_mistakes_of_a_plugin(files: Files, text: str, problem: str) -> None:
    """Each with its key path."""
    assert files.problems(f"[supervisor]\n[plugins.a]\nflaky:\n{text}\n") == [f"plugins.a.{problem}"]


def test_a_plugin_that_nobody_would_restart_says_so(files: Files) -> None:
    """Rather than ignoring what it was told."""
    text = '[plugins.a]\nflaky:\nrestart = "permanent"\nbackoff = { initial = 1 }\n'
    what = "nobody restarts plugins here; add a table [supervisor], it may be empty"
    assert files.problems(text) == [f"plugins.a.restart: {what}", f"plugins.a.backoff: {what}"]


def test_all_mistakes_are_told_at_once(files: Files) -> None:
    """Those of the file and those of the environment, and the application is not made."""
    text = '[supervisor]\nperiod = 0\nintensity = -1\n[plugins.a]\nflaky:\nrestart = "x"\n'
    assert len(files.problems(text, {"FSM_PLUGINS__SUPERVISOR__WATCHDOG": "no"})) == 4
    with pytest.raises(ConfigError, match="3 problems"):
        files.application(text)


# How it runs and ends.


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_it_restarts_what_fails_and_ends_cleanly(files: Files, on_failure: str) -> None:
    """The failure is not the end of the application, whatever ``on_failure`` says."""
    app = files.application("[supervisor]\n[plugins.a]\nflaky:\n", f'on_failure = "{on_failure}"')
    assert end(app, seconds=100) == 100
    assert app.supervisor is not None
    assert app.supervisor._children["a"].restarts == 1
    assert [receipt.clean for receipt in app.receipt()] == [True]


def test_a_permanent_error_ends_it(files: Files) -> None:
    """With the plugin, the reason and the cause, after the others have been stopped."""
    app = files.application(
        '[supervisor]\n[plugins.a]\nflaky:\nsettings = { error = "PermanentError" }\n[plugins.b]\nsteady:\n'
    )
    with pytest.raises(PluginFailed, match="'a' failed while it was running: PermanentError: gone") as caught:
        end(app, seconds=100)
    assert isinstance(caught.value.__cause__, PermanentError)
    assert [str(receipt.state) for receipt in app.receipt()] == ["stopped", "stopped"]


def test_a_permanent_error_does_not_end_one_that_continues(files: Files) -> None:
    """The others go on."""
    app = files.application(
        '[supervisor]\n[plugins.a]\nflaky:\nsettings = { error = "PermanentError" }\n[plugins.b]\nsteady:\n',
        'on_failure = "continue"',
    )
    assert end(app, seconds=100) == 100


def test_a_temporary_plugin_may_fail(files: Files) -> None:
    """That is what temporary means: the application goes on without it."""
    app = files.application('[supervisor]\n[plugins.a]\nflaky:\nrestart = "temporary"\n[plugins.b]\nsteady:\n')
    assert end(app, seconds=100) == 100
    assert str(app.registry["a"].state) == "stopped"


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_exhaustion_ends_it(files: Files, on_failure: str) -> None:
    """Whatever ``on_failure`` says; everything is stopped."""
    app = files.application(
        "[supervisor]\nintensity = 2\n[plugins.a]\nflaky:\nsettings = { crashes = 9 }\n[plugins.b]\nsteady:\n",
        f'on_failure = "{on_failure}"',
    )
    with pytest.raises(RestartsExhausted, match="plugin 'a' failed once more after 2 restarts within 60 s"):
        end(app, seconds=100)
    assert [str(receipt.state) for receipt in app.receipt()] == ["stopped", "stopped"]


def test_a_start_that_fails_is_told_of_the_plugin(files: Files) -> None:
    """Not of the supervisor."""
    app = files.application('[supervisor]\n[plugins.a]\nflaky:\nsettings = { opening = "OSError" }\n')
    with pytest.raises(HookFailed, match="plugin 'a' failed in start: OSError: no start"):
        end(app)


def test_a_stop_that_fails_is_told_of_the_plugin(files: Files) -> None:
    """As without a supervisor."""
    app = files.application(
        "[supervisor]\n[plugins.a]\nflaky:\nsettings = { closing = 10.0, crashes = 0 }\ndeadlines = { stop = 1 }\n"
    )
    with pytest.raises(StopFailed, match="'a'"):
        end(app, seconds=1)


def test_until_idle_waits_for_restarts(files: Files) -> None:
    """Also for those that are to come: a plugin in its back-off is not idle."""
    app = files.application("""
        [supervisor]
        backoff = { initial = 100, cap = 100, jitter = 0 }
        [plugins.a]
        flaky:
        settings = { crashes = 2 }
    """)
    assert end(app, until_idle=True) == pytest.approx(203)


def test_until_idle_ends_when_what_is_left_was_given_up(files: Files) -> None:
    """Nobody waits for a temporary plugin that failed."""
    app = files.application('[supervisor]\n[plugins.a]\nflaky:\nrestart = "temporary"\n')
    assert end(app, until_idle=True) == 1


def test_a_shutdown_during_a_back_off_takes_no_time(files: Files) -> None:
    """Nor does it start anything."""
    app = files.application("""
        [supervisor]
        backoff = { initial = 1000, cap = 1000 }
        [plugins.a]
        flaky:
    """)

    async def main() -> float:
        asyncio.get_running_loop().call_later(10, app.shutdown)
        await app.run(signals=False)
        return now()

    assert run(main) == 10
    assert sys.modules[files.module].LIVES == ["a"]


def test_a_shutdown_while_it_waits_to_be_ready_is_no_error(files: Files) -> None:
    """A plugin that was never ready is not one that failed."""
    app = files.application('[supervisor]\n[plugins.a]\nflaky:\nsettings = { opening = "NotReady" }\n')
    told: list[Action] = []
    assert app.supervisor is not None
    app.supervisor.subscribe(lambda event: told.append(event.action))
    assert end(app, seconds=1000) == 1000
    assert told.count(Action.FAILED) > 30


# The command.


def command(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fsm_plugins", "run", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_command_says_in_one_line_that_it_gave_up(files: Files) -> None:
    """Exit status 1, a receipt for each plugin, and no traceback of its own."""
    files.write("[supervisor]\nintensity = 0\n[plugins.a]\nflaky:\nsettings = { after = 0.0 }\n[plugins.b]\nsteady:\n")
    process = command(files.path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"^b +stopped .* clean", out, re.MULTILINE)
    assert err.splitlines()[-1] == (
        "error: supervisor 'supervisor' gave up: plugin 'a' failed once more after 0 restarts within 60 s"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_back_off_ends_the_command_at_once(files: Files, number: signal.Signals) -> None:
    """Exit status 0: that is what was asked for."""
    files.write("""
        [supervisor]
        backoff = { initial = 1000, cap = 1000 }
        [plugins.a]
        flaky:
        settings = { after = 0.0 }
    """)
    process = command(files.path)
    assert process.stdout is not None and process.stderr is not None
    while "failed: OSError: gone" not in process.stderr.readline():
        pass
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "a       stopped" in out
