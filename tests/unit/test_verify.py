"""`verify` as a library: what is given to it, what it says, and what it refuses."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import define

from fsm_plugins import (
    LIFECYCLE,
    RESTARTABLE,
    DefinitionError,
    HealthStatus,
    Plugin,
    PluginInfo,
    PluginRegistry,
    Receiver,
    Sender,
)
from fsm_plugins.diagrams import Step, render_sequence
from fsm_plugins.testing import PluginContract, machine_of, run
from fsm_plugins.verify import CannotVerify, Departure, Monitor, Scope, conform, replay, sometimes, verify
from fsm_plugins.verify.verifying import ALL_LAYERS

SMALL = Scope(depth=4)


class Clean(Plugin):
    info = PluginInfo("clean", "1.0.0")

    def __init__(self, rate: int = 1) -> None:
        self.rate = rate

    async def on_init(self) -> None:
        await asyncio.sleep(1)

    async def on_start(self) -> None:
        self.spawn(self._work())
        await asyncio.sleep(1)

    async def on_stop(self) -> None:
        await asyncio.sleep(1)

    async def _work(self) -> None:
        while True:  # noqa: ASYNC110 - it is the waiting that is tried
            await asyncio.sleep(1)


class Leaky(Clean):
    async def on_start(self) -> None:
        self.task = asyncio.create_task(self._work())


class Restartable(Clean):
    lifecycle = RESTARTABLE


class Pausable(Clean):
    lifecycle = LIFECYCLE.extend(
        [
            ("pause", "running", "paused"),
            ("resume", "paused", "running"),
            ("stop", "paused", "stopped"),
            ("fail", "paused", "failed"),
        ]
    )

    async def on_pause(self) -> None:
        await asyncio.sleep(1)


@define(eq=False)
class Copier(Plugin):
    info = PluginInfo("copier", "1.0.0")
    lines: Receiver[str]
    copies: Sender[str]
    prefix: str = ""

    async def on_start(self) -> None:
        self.spawn(self._copy())

    async def _copy(self) -> None:
        async for line in self.lines:
            await self.copies.send(self.prefix + line)


@pytest.mark.parametrize("target", [Clean, Restartable, Pausable, Copier, functools.partial(Clean, 3)])
def test_correct_plugins_hold(target: Any) -> None:
    """With the stock table, with a larger one, with ports, and with arguments bound."""
    report = verify(target, scope=SMALL)
    report.assert_holds()
    assert report.exit_code == 0 and report.counterexample is None
    assert report.completed == ALL_LAYERS and not report.incomplete


def test_everything_there_is_is_counted() -> None:
    """All states, arcs, illegal cells, and three faults at each of the awaits of three hooks."""
    coverage = verify(Clean, scope=Scope(depth=6)).coverage
    states, arcs = len(LIFECYCLE.states), len(LIFECYCLE.arcs)
    assert coverage.states == (states, states)
    assert coverage.arcs == (arcs, arcs)
    cells = states * len(LIFECYCLE.triggers) - arcs
    assert coverage.illegal_cells == (cells, cells)
    assert coverage.await_points == (9, 9)
    assert coverage.arc_pairs == (7, 7)


def test_a_counterexample_is_all_that_one_needs() -> None:
    """One line, a token, a test file and a diagram."""
    report = verify(Leaky, scope=SMALL)
    assert report.exit_code == 1
    found = report.counterexample
    assert found is not None
    assert str(found) == "init -> start -> stop: 1 task of Clean._work leaked"
    assert found.finding.code == "FP030"
    assert "sequenceDiagram" in render_sequence(found.sequence_diagram())
    assert [str(f) for f in replay(found.token, Leaky).findings] == [str(found)]
    with pytest.raises(AssertionError, match="1 task of Clean"):
        report.assert_holds()


_MODULE = """
import asyncio
from fsm_plugins import Plugin, PluginInfo

class Leaky(Plugin):
    info = PluginInfo("leaky", "1.0.0")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def on_start(self):
        self.task = asyncio.create_task(asyncio.sleep(self.seconds))
"""


def test_the_test_file_fails_until_the_plugin_is_repaired(tmp_path: Path) -> None:
    """It is run as it is, next to the plugin; then the plugin is repaired."""
    (tmp_path / "leaky_plugin.py").write_text(_MODULE)
    make = (
        "from fsm_plugins.verify import verify; from leaky_plugin import Leaky; "
        "print(verify(Leaky, settings={'seconds': 60.0}).render('pytest'), end='')"
    )
    text = subprocess.run([sys.executable, "-c", make], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "from leaky_plugin import Leaky" in text
    (tmp_path / "test_found.py").write_text(text)
    for replacement, code in (("create_task", 1), ("", 0)):
        if not replacement:
            repaired = _MODULE.replace("asyncio.create_task(", "self.spawn(")
            (tmp_path / "leaky_plugin.py").write_text(repaired)
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_found.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == code, ran.stdout


def test_findings_can_be_ignored_with_a_reason() -> None:
    """By the caller or by the class, by code or by slug; the report repeats the reason. Without one it is refused."""

    class Accepted(Leaky):
        verify_ignore: ClassVar = {"leak-task": "the loop ends with it"}

    for report in (verify(Leaky, scope=SMALL, ignore={"FP030": "known"}), verify(Accepted, scope=SMALL)):
        assert report.holds
        ((finding, reason),) = report.ignored
        assert finding.slug == "leak-task" and reason in str(report)
    with pytest.raises(ValueError, match="without a reason"):
        verify(Leaky, ignore={"FP030": " "})
    with pytest.raises(ValueError, match="did you mean 'leak-task'"):
        verify(Leaky, ignore={"leak-tsk": "x"})


def test_an_invariant_is_asked_after_every_call() -> None:
    """One that returns False and one that raises are broken, at the call after which they were."""

    def not_running(plugin: Plugin) -> bool:
        return plugin.state != "running"

    def asserts(plugin: Plugin) -> None:
        assert plugin.state != "running"

    for invariant in (not_running, asserts):
        finding = verify(Clean, scope=SMALL, layers=["L1"], invariant=invariant).findings[0]
        assert finding.slug == "invariant-broken"
        assert finding.trace == ("init", "start")


def test_what_never_happened_is_told() -> None:
    """A pass without it is inconclusive; a name that was never reached counts if the caller has given it."""

    def invariant(plugin: Plugin) -> None:
        sometimes("it ran", plugin.state == "running")
        sometimes("it flew", plugin.state == "flying")

    report = verify(Clean, scope=SMALL, invariant=invariant, sometimes=["it sang"])
    assert report.exit_code == 3 and report.inconclusive and not report.holds
    assert report.vacuous == ("it flew", "it sang")
    assert "never came true: it flew" in str(report)
    sometimes("outside of a verification it does nothing", False)


def test_time_that_is_up_is_inconclusive() -> None:
    """What was established is told, with what was not."""
    report = verify(Restartable, scope=Scope(depth=30, seconds=0.3))
    assert report.exit_code == 3
    assert set(report.incomplete.values()) == {"out of time"}, report
    assert "L0" in report.completed


def test_a_keyboard_interrupt_tells_what_was_established() -> None:
    """It ends the exploration, not the caller."""

    def progress(_name: str, script: Any) -> None:
        if len(script) >= 2 and script[-1].fault is not None:
            raise KeyboardInterrupt

    report = verify(Clean, scope=SMALL, progress=progress)
    assert report.exit_code == 3
    assert report.completed == ("L0", "L1") and report.incomplete == dict.fromkeys(("L2", "L3", "L4"), "interrupted")


class NeedsSettings(Clean):
    def __init__(self, url: str) -> None:
        self.url = url


class Refuses(Clean):
    def __init__(self) -> None:
        raise OSError("no such device")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (NeedsSettings, "settings.url: missing"),
        (Refuses, "its constructor raised OSError: no such device"),
        ("fsm_plugins:LIFECYCLE", "is a Lifecycle"),
        ("no_such_module:X", "there is no module 'no_such_module'"),
        (Clean(), "made already"),
        (int, "not a Plugin"),
        (3, "is no plugin"),
        (lambda: 3, "which is not a Plugin"),
        ("no/such/file.toml", "no/such/file.toml"),
    ],
)
def test_what_cannot_be_verified_is_refused_with_a_reason(target: Any, told: str) -> None:
    """Each answer says what to do."""
    with pytest.raises(CannotVerify, match=told.replace(".", r"\.")):
        verify(target)


def test_nonsense_is_refused() -> None:
    """Layers and scopes that make no sense, messages for ports that are none, tokens that are none."""
    with pytest.raises(ValueError, match="there is no layer 'L9'"):
        verify(Clean, layers=["L9"])
    with pytest.raises(CannotVerify, match="no input port 'x'"):
        verify(Copier, messages={"x": []})
    for bad in ({"depth": 0}, {"faults": -1}, {"seconds": 0}, {"depth": True}):
        with pytest.raises(DefinitionError, match="of a scope"):
            Scope(**bad)
    with pytest.raises(ValueError, match="replay token"):
        replay("nonsense", Clean)
    with pytest.raises(ValueError, match="is no call"):
        replay(["start[explode@1]"], Clean)
    with pytest.raises(CannotVerify, match="does not say which plugin"):
        replay(["init"])
    with pytest.raises(ValueError, match="there is no format 'pdf'"):
        verify(Clean, scope=Scope(depth=1)).render("pdf")


def test_nothing_of_a_verification_is_left() -> None:
    """The hooks of the class, its threads, the working directory and ``time.sleep`` are as they were."""
    before = dict(vars(Leaky)), threading.active_count(), time.sleep, Path.cwd()
    verify(Leaky, scope=SMALL)
    assert (dict(vars(Leaky)), threading.active_count(), time.sleep, Path.cwd()) == before


def test_another_instance_passes_through_while_one_is_watched() -> None:
    """A plugin that makes a plugin of its own class moves that as usual."""

    class Nested(Clean):
        inner: Plugin | None = None

        async def on_start(self) -> None:
            self.inner = Clean()
            await self.inner.init()

        async def on_stop(self) -> None:
            if self.inner is not None and self.inner.state == "initialized":
                await self.inner.fail(RuntimeError("not wanted"))
            if self.inner is not None and self.inner.state == "failed":
                await self.inner.stop()

    verify(Nested, scope=SMALL).assert_holds()


def test_messages_are_followed_where_that_is_possible() -> None:
    """A plugin that copies is held to it; one that filters is not; given messages are taken as they are."""

    class Drops(Copier):
        async def _copy(self) -> None:
            async for line in self.lines:
                await asyncio.sleep(0.01)
                if not self.lines.producers_gone:
                    await self.copies.send(line)

    class Filters(Copier):
        async def _copy(self) -> None:
            async for line in self.lines:
                if line.endswith("2"):
                    await self.copies.send(line)

    lossy = verify(Drops, scope=Scope(depth=5), messages={"lines": ["a", "b"]})
    assert [finding.slug for finding in lossy.findings] == ["message-lost"]
    assert "2 of 2 messages lost" in lossy.findings[0].summary
    verify(Filters, scope=Scope(depth=5)).assert_holds()


def test_real_things_are_told_of() -> None:
    """A plugin that waits for a thread is verified all the same, and the report says how."""

    class Threaded(Clean):
        async def on_start(self) -> None:
            await asyncio.to_thread(time.sleep, 0.02)

    report = verify(Threaded, scope=Scope(depth=3))
    report.assert_holds()
    assert any("threads" in note for note in report.notes)


def test_a_hook_that_returns_at_once_when_it_is_cancelled_is_found_out() -> None:
    """The framework fails the plugin all the same, but the hook has told nobody."""

    class Returns(Clean):
        async def on_start(self) -> None:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                return

    found = [finding for finding in verify(Returns, scope=SMALL).findings if finding.hook == "on_start"]
    assert [finding.slug for finding in found] == ["cancellation-swallowed"]
    assert "returned all the same" in found[0].summary


def test_a_blocking_call_is_seen_without_running_anything() -> None:
    """Also behind another name, and in a method that a hook hands to spawn; not in a function for a thread."""
    from time import sleep as nap

    class Blocks(Clean):
        async def _work(self) -> None:
            nap(0.001)  # noqa: ASYNC251

    class Delegates(Clean):
        async def _work(self) -> None:
            def job() -> None:
                nap(0.001)

            await asyncio.to_thread(job)

    (finding,) = verify(Blocks, layers=["L0"]).findings
    assert finding.slug == "blocking-call" and "nap" in finding.summary and "test_verify.py" in finding.summary
    verify(Delegates, layers=["L0"]).assert_holds()


def test_a_plugin_that_can_be_made_once_is_found_out() -> None:
    """By the constructor of the second one; the token does the same again where nothing was made before."""
    made: list[Plugin] = []

    class Once(Clean):
        def __init__(self) -> None:
            if made:
                raise OSError("taken")
            made.append(self)

    (finding,) = verify(Once, scope=SMALL).findings
    assert finding.slug == "second-run-fails" and "its constructor raised OSError: taken" in finding.summary
    made.clear()
    (again,) = replay(finding.calls, Once).findings
    assert str(again) == str(finding)


def test_a_health_check_may_fail_by_a_fault_only() -> None:
    """Faults at its awaits are tried, too, and what they make it raise is no finding."""

    class Probing(Clean):
        async def on_health_check(self) -> HealthStatus:
            await asyncio.sleep(0.1)
            return HealthStatus.healthy()

    report = verify(Probing, scope=SMALL)
    report.assert_holds()
    assert report.coverage.await_points == (12, 12)


class TestContract(PluginContract):
    """The contract, as an author writes it."""

    scope = Scope(depth=3)

    def plugin(self) -> Plugin:
        return Clean()


class TestContractOfPorts(PluginContract):
    """The contract of a plugin with ports and settings."""

    target = Copier
    settings: ClassVar = {"prefix": "> "}
    scope = Scope(depth=3)


def test_a_contract_that_says_nothing_or_is_broken_fails() -> None:
    """With the finding, or with what to write."""

    class Broken(PluginContract):
        target = Leaky

    with pytest.raises(AssertionError, match="leak-task"):
        Broken().test_every_sequence_of_calls()
    with pytest.raises(CannotVerify, match="write the method plugin"):
        PluginContract().test_definition()


def test_a_machine_finds_what_sequences_find() -> None:
    """Hypothesis comes upon a task that is left, and upon an illegal call that is let pass."""
    from hypothesis import settings
    from hypothesis.stateful import run_state_machine_as_test

    # One example in forty finds it, and the first that does is the last: a thousand are never needed, and hardly cost.
    enough = settings(max_examples=1000, stateful_step_count=8, deadline=None, database=None)
    with pytest.raises(AssertionError, match="tasks outlive"):
        run_state_machine_as_test(machine_of(Leaky), settings=enough)
    with pytest.raises(AssertionError, match="does not hold"):
        machine = machine_of(Clean, holds=lambda plugin: plugin.state != "initialized")
        run_state_machine_as_test(machine, settings=enough)


def test_a_monitor_tells_the_first_step_that_departs() -> None:
    """A registry that runs conforms; recorded steps that do not are told with what would have been possible."""
    told: list[Departure] = []

    async def main() -> Monitor:
        registry = PluginRegistry()
        monitor = Monitor(on_departure=told.append)
        registry.subscribe(monitor)
        registry.register(Clean())
        async with registry.running():
            pass
        return monitor

    monitor = run(main)
    assert monitor.departure is None and monitor.count == 3 and not told
    cases = [
        (Step("a", "start", "created", "running"), "start is not legal in created; legal are: fail, init"),
        (Step("a", "init", "created", "running"), "init leads from created to initialized"),
        (Step("a", "init", "creatd", "initialized"), "did you mean 'created'"),
        (Step("a", "int", "created", "initialized"), "did you mean 'init'"),
        (Step("a", "init", "created", "initialized", cause="OSError"), "no failure"),
    ]
    for step, why in cases:
        departure = conform([step])
        assert departure is not None and why in str(departure) and departure.number == 1
    gone = [Step("a", "init", "created", "initialized"), Step("a", "stop", "running", "stopped")]
    assert "it was initialized after the step before" in str(conform(gone))
    again = [Step("a", "stop", "running", "stopped"), Step("a", "init", "created", "initialized")]
    assert conform(again) is None
