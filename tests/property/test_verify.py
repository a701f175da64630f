"""The verifier against random plugins of which it is known what is wrong with them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import LIFECYCLE, RESTARTABLE, Lifecycle, Plugin, PluginInfo
from fsm_plugins.verify import Report, Scope, conform, replay, verify
from fsm_plugins.verify.base.script import Call, Fault, Token, calls_of
from fsm_plugins.verify.reports.rendering import from_json
from fsm_plugins.verify.stateful import machine_of, sequences_of

ROOT = Path(__file__).parents[2]


@frozen
class Plan:
    """What a plugin does in its hooks.

    Attributes:
        waits: how often on_init, on_start and on_stop wait.
        hook: where it takes something.
        before: how many of the waits of that hook come before.
        careless: how many of them come after, and before it is noted what was taken. None if that is noted at once.
        kind: what it takes.
    """

    waits: tuple[int, int, int]
    hook: int
    before: int
    careless: int
    kind: str

    @property
    def leaks(self) -> bool:
        """Whether there is an await at which what was taken is not known yet."""
        return self.careless > 0


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a plan."""
    waits = draw(st.tuples(*[st.integers(0, 3)] * 3))
    hook = draw(st.integers(0, 1))
    before = draw(st.integers(0, waits[hook]))
    careless = draw(st.integers(0, waits[hook] - before))
    return Plan(waits, hook, before, careless, draw(st.sampled_from(["task", "descriptor", "variable"])))


class Planned(Plugin):
    """Does what its plan says."""

    info = PluginInfo("planned", "1.0.0")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.taken: list[Any] = []

    async def on_init(self) -> None:
        await self._behave(0)

    async def on_start(self) -> None:
        await self._behave(1)

    async def on_stop(self) -> None:
        for _ in range(self.plan.waits[2]):
            await asyncio.sleep(0.1)
        while self.taken:
            release(self.taken.pop())

    async def _behave(self, hook: int) -> None:
        plan, taken = self.plan, None
        for number in range(plan.waits[hook] + 1):
            if hook == plan.hook and number == plan.before:
                taken = take(plan.kind)
            if hook == plan.hook and taken is not None and number == plan.before + plan.careless:
                self.taken.append(taken)
                taken = None
            if number < plan.waits[hook]:
                await asyncio.sleep(0.1)


def take(kind: str) -> Any:
    """Take something that has to be given back."""
    if kind == "task":
        return asyncio.create_task(asyncio.sleep(3600))
    if kind == "descriptor":
        return os.open(os.devnull, os.O_RDONLY)
    os.environ["FSM_PLUGINS_TEST"] = "taken"
    return "FSM_PLUGINS_TEST"


def release(taken: Any) -> None:
    """Give it back."""
    if isinstance(taken, asyncio.Task):
        taken.cancel()
    elif isinstance(taken, int):
        os.close(taken)
    else:
        os.environ.pop(taken, None)


SLUG = {"task": "leak-task", "descriptor": "leak-fd", "variable": "environment-changed"}


@settings(max_examples=25, deadline=None)
@given(plans())
def test_a_planted_leak_is_found_and_nothing_else_is(plan: Plan) -> None:
    """If there is an await at which it would leak, it is found with a shortest trace; if not, nothing is."""
    report = verify(Planned, settings={"plan": plan}, scope=Scope(depth=4))
    assert [finding.slug for finding in report.findings] == ([SLUG[plan.kind]] if plan.leaks else []), report
    assert report.holds is not plan.leaks
    tried, there_are = report.coverage.await_points
    assert tried == there_are
    if plan.leaks:
        calls = calls_of(report.findings[0].calls)
        assert [call.name for call in calls] == [*("init", "start")[: plan.hook + 1], "stop"]
        fault = calls[plan.hook].fault
        assert fault is not None and plan.before < fault.at <= plan.before + plan.careless


@settings(max_examples=15, deadline=None)
@given(plans().filter(lambda plan: plan.leaks))
def test_a_token_does_the_same_again(plan: Plan) -> None:
    """What is replayed is found again, word for word; on a plugin without the mistake nothing is found."""
    finding = verify(Planned, settings={"plan": plan}, scope=Scope(depth=3)).findings[0]
    for _ in range(2):
        (again,) = replay(finding.token, Planned, settings={"plan": plan}).findings
        assert (str(again), again.code, again.calls) == (str(finding), finding.code, finding.calls)
    careful = Plan(plan.waits, plan.hook, plan.before, 0, plan.kind)
    assert replay(finding.token, Planned, settings={"plan": careful}).holds


_SAME = """
import asyncio, sys
from fsm_plugins import Plugin, PluginInfo
from fsm_plugins.verify import replay, verify, Scope

class Leaky(Plugin):
    info = PluginInfo("leaky", "1.0.0")
    async def on_start(self):
        self.tasks = {asyncio.create_task(asyncio.sleep(n)) for n in (60, 61, 62)}
        await asyncio.wait(self.tasks, timeout=1)

report = verify(Leaky, scope=Scope(depth=3))
print(*report.findings, report.coverage, sep="\\n")
texts = {str(replay(finding.calls, Leaky).findings[0]) for finding in report.findings for _ in range(int(sys.argv[1]))}
print(*sorted(texts), sep="\\n")
"""


def test_everything_is_the_same_whatever_the_hashes_are() -> None:
    """Three processes with different hash seeds find the same, and replay it the same, many times each."""
    said = set()
    for seed in ("0", "1", "4242"):
        environ = {**os.environ, "PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", _SAME, "40"], capture_output=True, text=True, check=True, cwd=ROOT, env=environ
        )
        said.add(ran.stdout)
    assert len(said) == 1
    assert "3 task of sleep leaked" in said.pop()


names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
calls = st.builds(
    Call, names, st.none() | st.builds(Fault, st.sampled_from(["cancel", "raise", "timeout"]), st.integers(1, 99))
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=5,
)


@given(st.none() | st.text(max_size=20), st.dictionaries(st.text(), values, max_size=3), st.lists(calls, max_size=6))
def test_a_token_says_what_was_put_into_it(target: str | None, given_: dict[str, Any], script: list[Call]) -> None:
    """Target, settings and calls come out as they went in; so do calls that are spelt in words."""
    token = Token.make(target, given_, tuple(script))
    again = Token.read(str(token))
    assert again == token
    assert (again.target, again.settings, again.script) == (target, given_, tuple(script))


@given(st.text(max_size=40) | st.text("fp1.abcXYZ-_=09", max_size=40).map("fp1.".__add__))
def test_no_text_breaks_the_reader_of_tokens(text: str) -> None:
    """It is a token, or it is refused with a text."""
    try:
        assert str(Token.read(text)).startswith("fp1.")
    except ValueError as error:
        assert "token" in str(error)


@settings(max_examples=15, deadline=None)
@given(plans(), st.sampled_from(["json", "junit", "html", "pytest", "text"]))
def test_every_report_can_be_written(plan: Plan, kind: str) -> None:
    """In each format; the JSON can be read back, the test file and the XML are well-formed, each names the finding."""
    import ast
    import xml.etree.ElementTree as ET

    report = verify(Planned, settings={"plan": plan}, scope=Scope(depth=2))
    text = report.render(kind)
    if kind == "json":
        assert from_json(text) == report
    elif kind == "junit":
        failures = ET.fromstring(text.encode()).findall("testcase/failure")
        assert len(failures) == len(report.findings)
    elif kind == "pytest":
        tests = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        assert sum(test.name.startswith("test_") for test in tests) == len(report.findings)
    if kind in ("text", "html"):
        assert str(report.scope) in text
        assert all(finding.code in text for finding in report.findings)


@given(st.sampled_from([LIFECYCLE, RESTARTABLE]).flatmap(lambda table: st.tuples(st.just(table), sequences_of(table))))
def test_drawn_sequences_follow_the_table(drawn: tuple[Lifecycle, tuple[str, ...]]) -> None:
    """Each trigger is legal where the ones before have led; and its trace conforms, until a step is taken away."""
    from fsm_plugins.diagrams import Step

    table, triggers = drawn
    state, steps = str(table.initial), []
    for trigger in triggers:
        dest = table.dest(trigger, state)
        assert dest is not None
        steps.append(Step("x", trigger, state, str(dest)))
        state = str(dest)
    assert conform(steps, table) is None
    if len(steps) >= 3 and steps[0].dest != steps[1].dest:
        departure = conform([steps[0], *steps[2:]], table)
        assert departure is not None and departure.number == 2


def _report(**given_: Any) -> Report:
    return verify(Planned, settings={"plan": Plan((1, 1, 1), 1, 1, 0, "task")}, **given_)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2))
def test_the_scope_is_always_told(depth: int, faults: int) -> None:
    """And a larger one never tries less."""
    report = _report(scope=Scope(depth=depth, faults=faults))
    assert report.holds
    assert f"depth {depth}, faults {faults}" in str(report)
    larger = _report(scope=Scope(depth=depth + 1, faults=faults))
    assert larger.runs >= report.runs
    assert all(a <= b for (a, _), (b, _) in zip(report.coverage.pairs, larger.coverage.pairs, strict=True))


class Machine(Planned):
    """A planned plugin without a mistake."""

    def __init__(self, waits: int) -> None:
        super().__init__(Plan((waits, waits, waits), 1, waits, 0, "task"))


TestMachine = machine_of(Machine, settings=st.fixed_dictionaries({"waits": st.integers(0, 3)})).TestCase
TestMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
