"""The invariants of supervision, S1 to S6, under random lives of plugins, policies and operators, in virtual time.

Each plugin follows a script: how long each of its lives takes to start, to run and to stop, and how it ends. What the
supervisor did is then judged by rules that are written here anew, from the log of what happened.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal

import hypothesis
import pytest
from attrs import Factory, define, field, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsm_plugins import (
    Deadlines,
    InvalidState,
    NotReady,
    PermanentError,
    Plugin,
    PluginError,
    PluginInfo,
    Receiver,
    RestartsExhausted,
    Sender,
)
from fsm_plugins.lifecycle import TransitionEvent
from fsm_plugins.orchestrator import PluginSpec
from fsm_plugins.supervision import (
    Action,
    Backoff,
    Child,
    Group,
    Intensity,
    Policy,
    Restart,
    Strategy,
    SupervisionEvent,
    Supervisor,
)
from fsm_plugins.testing import run

Ending = Literal["runs on", "crashes", "fails in init", "fails in start", "not ready", "permanent", "returns"]


@frozen
class Life:
    """One life of a plugin: its hooks take so long, then it works so long, and then it ends in this way."""

    ending: Ending
    opening: float = 0.0
    working: float = 1.0
    closing: float = 0.0


@frozen
class Request:
    """An operator asks for something."""

    kind: str
    name: str


@frozen
class Birth:
    """An instance is initialised."""

    name: str


@define
class World:
    """What happened."""

    scripts: dict[str, list[Life]]
    log: list[tuple[float, object]] = Factory(list)
    crashes: list[str] = Factory(list)
    hushed: set[str] = Factory(set)  # crashes of plugins that were being stopped
    up_at_the_end: set[str] = Factory(set)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def note(self, entry: object) -> None:
        self.log.append((self.now(), entry))

    def crash(self, plugin: Plugin, make: Callable[[str], Exception] = OSError) -> Exception:
        """Return an exception with a text that no other one has."""
        self.crashes.append(f"crash {len(self.crashes)}")
        if plugin._guard.in_flight == "stop":
            self.hushed.add(self.crashes[-1])
        return make(self.crashes[-1])


@define
class Scripted(Plugin):
    """Does what its script says; in its n-th instance, the n-th life."""

    info = PluginInfo("scripted", "1.0.0")
    deadlines = Deadlines(init=1e6, start=1e6, stop=1e6)

    world: World
    life: Life = field(init=False, default=Life("runs on"))

    async def on_init(self) -> None:
        name, script = self.info.name, self.world.scripts[self.info.name]
        self.world.note(Birth(name))
        if script:
            self.life = script.pop(0)
        if self.life.ending == "fails in init":
            raise self.world.crash(self)
        if self.life.ending == "not ready":
            raise self.world.crash(self, NotReady)

    async def on_start(self) -> None:
        if self.life.opening:
            await asyncio.sleep(self.life.opening)
        if self.life.ending == "fails in start":
            raise self.world.crash(self)
        self.spawn(self.work())

    async def work(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self.life.ending == "runs on" else self.life.working):
                await self.linger()
        if self.life.ending == "crashes":
            raise self.world.crash(self)
        if self.life.ending == "permanent":
            raise self.world.crash(self, PermanentError)

    async def linger(self) -> None:
        await asyncio.Event().wait()

    async def on_stop(self) -> None:
        if self.life.closing:
            await asyncio.sleep(self.life.closing)


@define
class Source(Scripted):
    out: Sender[int] | None = field(default=None, kw_only=True)


@define
class Sink(Scripted):
    into: Receiver[int] | None = field(default=None, kw_only=True)

    async def linger(self) -> None:
        assert self.into is not None
        async for _ in self.into:
            pass
        await asyncio.Event().wait()


@define
class Relay(Sink):
    out: Sender[int] | None = field(default=None, kw_only=True)


NAMES = ("a", "b", "c", "d", "e")

seconds = st.sampled_from([0.0, 0.0, 0.1, 1.0, 2.6, 30.0, 600.0])
lives = st.builds(
    Life,
    ending=st.sampled_from(
        ["crashes"] * 6 + ["fails in init", "fails in start", "not ready", "permanent", "returns", "runs on"]
    ),
    opening=seconds,
    working=seconds,
    closing=seconds,
)
backoffs = st.builds(
    Backoff,
    initial=st.sampled_from([0.0, 0.1, 1.0]),
    factor=st.sampled_from([1.0, 2.0, 10.0]),
    cap=st.sampled_from([1.0, 5.0, 60.0]),
    jitter=st.sampled_from([0.0, 0.2, 1.0]),
    stable=st.sampled_from([1.0, 60.0]),
)
INTENSITIES: list[Intensity] = [0, 1, 2, 3, 5, "unlimited"]
intensities = st.sampled_from(INTENSITIES)
periods = st.sampled_from([0.5, 5.0, 60.0, 3600.0])
strategies = st.sampled_from(list(Strategy))
restarts = st.sampled_from([*Restart, Restart.TRANSIENT])


@frozen
class Case:
    """A supervisor, what its plugins do, and what operators ask for."""

    names: tuple[str, ...]
    channels: tuple[tuple[str, str], ...]
    policy: Policy
    children: dict[str, Child]
    scripts: dict[str, list[Life]]
    requests: list[tuple[float, str, str]]
    seed: int


@st.composite
def cases(draw: st.DrawFn, operators: bool = True, groups: bool = True) -> Case:
    """Draw a case. The channels go from left to right, from each plugin to at most one other."""
    names = NAMES[: draw(st.integers(1, 5))]
    channels: list[tuple[str, str]] = []
    for place, name in enumerate(names[:-1]):
        taken = {consumer for _, consumer in channels}
        free = [None, *(other for other in names[place + 1 :] if other not in taken)]
        consumer = draw(st.sampled_from(free))
        if consumer is not None:
            channels.append((name, consumer))
    known = ["g", "h"][: draw(st.integers(0, 2)) if groups else 0]
    policy = Policy(
        strategy=draw(strategies),
        intensity=draw(intensities),
        period=draw(periods),
        restart=draw(restarts),
        backoff=draw(backoffs),
        groups={
            name: Group(
                draw(strategies), draw(intensities), draw(periods), draw(st.sampled_from([None, *known[:place]]))
            )
            for place, name in enumerate(known)
        },
    )
    children = {
        name: Child(draw(st.none() | restarts), draw(st.none() | backoffs), draw(st.sampled_from([None, *known])))
        for name in names
        if draw(st.booleans())
    }
    first = st.lists(lives, max_size=6).map(lambda script: script)
    scripts = {name: draw(first) for name in names}
    for script in scripts.values():  # one that cannot be started at all is another test
        while script and script[0].ending in ("fails in init", "fails in start"):
            script.pop(0)
    kinds = ["restart", "stop", "start", "own stop", "fail"]
    request = st.tuples(st.floats(0, 2000), st.sampled_from(kinds), st.sampled_from(names))
    requests = sorted(draw(st.lists(request, max_size=5))) if operators else []
    return Case(names, tuple(channels), policy, children, scripts, requests, draw(st.integers(0, 9)))


def build(case: Case, world: World) -> Supervisor:
    """Make the supervisor of a case, and let the world note what it does."""
    specs = []
    kinds = {(True, True): Relay, (True, False): Sink, (False, True): Source, (False, False): Scripted}
    for name in case.names:
        outputs = {producer: f"{producer}-{consumer}" for producer, consumer in case.channels}
        inputs = {consumer: f"{producer}-{consumer}" for producer, consumer in case.channels}
        into, out = ({port: ends[name]} if name in ends else {} for port, ends in (("into", inputs), ("out", outputs)))
        specs.append(PluginSpec(name, kinds[bool(into), bool(out)], {"world": world}, into, out))
    supervisor = Supervisor(
        specs,
        {f"{producer}-{consumer}": 4 for producer, consumer in case.channels},
        policy=case.policy,
        children=case.children,
        rng=random.Random(case.seed),
    )
    hub = supervisor.registry._hub  # before the supervisor hears of a transition, so that the log is in order
    hub.listeners = (world.note, *hub.listeners)
    supervisor.subscribe(world.note)
    return supervisor


async def operate(supervisor: Supervisor, case: Case, world: World) -> None:
    """Make the requests of a case, each on its own, at its time."""

    async def request(kind: str, name: str) -> None:
        world.note(Request(kind, name))
        with suppress(PluginError):
            if kind == "restart":
                await supervisor.restart(name)
            elif kind == "start":
                await supervisor.start_plugin(name)
            elif kind == "stop":
                await supervisor.stop_plugin(name)
            elif kind == "own stop":
                await supervisor.registry[name].stop()
            else:
                plugin = supervisor.registry[name]
                try:
                    await plugin.fail(world.crash(plugin))
                except InvalidState:
                    world.crashes.pop()

    async with asyncio.TaskGroup() as group:
        for at, kind, name in case.requests:
            await asyncio.sleep(max(0.0, at - world.now()))
            group.create_task(request(kind, name))


def play(case: Case, hours: float = 100.0) -> tuple[World, RestartsExhausted | None, Supervisor]:
    """Run a case in virtual time, and return what happened and how it ended."""
    world = World({name: list(script) for name, script in case.scripts.items()})

    async def main() -> tuple[RestartsExhausted | None, Supervisor]:
        supervisor = build(case, world)
        try:
            async with supervisor.running():
                operators = asyncio.create_task(operate(supervisor, case, world))
                try:
                    await asyncio.sleep(hours * 3600)
                finally:
                    world.note("stopping")
                    world.up_at_the_end = {
                        str(plugin.info.name) for plugin in supervisor.registry if plugin.state == "running"
                    }
                    operators.cancel()
                    with suppress(asyncio.CancelledError):
                        await operators
        except RestartsExhausted as exhausted:
            assert len(asyncio.all_tasks()) == 1
            return exhausted, supervisor
        assert len(asyncio.all_tasks()) == 1
        return None, supervisor

    exhausted, supervisor = run(main)
    return world, exhausted, supervisor


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


# The rules, written anew.


@define
class Judge:
    """Reads the log from the beginning, and says where it departs from the rules."""

    case: Case
    wanted: dict[str, bool] = Factory(dict)
    given_up: set[str] = Factory(set)
    running: dict[str, float | None] = Factory(dict)
    runs: dict[str, list[tuple[float, float]]] = Factory(dict)
    after_run: dict[str, bool] = Factory(dict)
    row: dict[str, int] = Factory(dict)
    counted: dict[str | None, list[float]] = Factory(dict)
    pending: dict[str, float] = Factory(dict)  # name -> not to be started before
    batch: list[str] | None = None
    told: dict[str, int] = Factory(dict)
    exhausted: str | None = None
    attempting: frozenset[str] = frozenset()
    overtaken: frozenset[str] = frozenset()  # perhaps: an attempt was under way when something else was decided

    def judge(self, log: list[tuple[float, object]]) -> None:
        for name in self.case.names:
            self.wanted[name], self.running[name], self.runs[name], self.row[name] = True, None, [], 0
        started: set[str] = set()
        stopping = False
        for place, (at, entry) in enumerate(log):
            match entry:
                case "stopping":
                    stopping = True
                case Request(kind=kind, name=name):
                    runs = self.running[name] is not None and self.wanted[name] and name not in self.pending
                    if kind == "restart" or (kind == "start" and not runs):
                        self.row[name] = 0
                        self.counted.pop(groups_of(self.case, name)[0], None)
                        self.wanted[name] = True
                        self.given_up.discard(name)
                        self.pending[name] = at
                        for other in self.pending:
                            self.pending[other] = min(self.pending[other], at)
                        self.batch = None
                    elif kind in ("stop", "own stop"):
                        self.batch = None
                        if kind == "stop":
                            self.wanted[name] = False
                            self.pending.pop(name, None)
                case Birth(name=name):
                    if name in started:
                        assert not stopping, "S3: it starts plugins while it stops"
                        assert self.exhausted is None, "S6: it starts plugins though it gave up"
                        assert self.wanted[name], "S3: it restarts what was stopped on request"
                        assert name in self.pending, "S2: nobody asked for this restart"
                        assert at >= self.pending[name] - 1e-6, "S4: it comes before its delay is over"
                        if self.batch is not None and name in self.batch:
                            assert self.batch[0] == name, "S2: out of order"
                        self.attempting |= {name}
                    started.add(name)
                case TransitionEvent(plugin=name, dest=dest):
                    since = self.running[name]
                    if dest == "running":
                        self.running[name] = at
                        self.attempting -= {name}
                    elif since is not None:
                        self.runs[name].append((since, at))
                        self.running[name] = None
                        self.after_run[name] = True
                    else:
                        self.after_run[name] = False
                case SupervisionEvent():
                    follows = log[place + 1][1] if place + 1 < len(log) else None
                    answered = isinstance(follows, SupervisionEvent) and follows.plugin == entry.plugin
                    self.supervision(at, entry, stopping, answered)

    def supervision(self, at: float, event: SupervisionEvent, stopping: bool, answered: bool) -> None:
        name, case = event.plugin, self.case
        kind, backoff = kind_of(case, name), backoff_of(case, name)
        if event.action is Action.FAILED:
            self.told[event.reason] = self.told.get(event.reason, 0) + 1
            done = "is done" in event.reason
            if done:
                assert kind is Restart.PERMANENT
                since = self.running[name]
                assert since is not None
                self.runs[name].append((since, at))
                self.running[name] = None
            ran = done or self.after_run.get(name, False)
            if ran and self.runs[name] and self.runs[name][-1][1] == at:
                begin, end = self.runs[name][-1]
                if end - begin >= backoff.stable:
                    self.row[name] = 0
            self.row[name] += 1
            assert event.attempt == self.row[name]
            if stopping or self.exhausted:
                return
            if "PermanentError" in event.reason or kind is Restart.TEMPORARY:
                self.pending.pop(name, None)
                self.batch = None
                self.given_up.add(name)
                return
            attempted, self.attempting = name in self.attempting, self.attempting - {name}
            overtaken, self.overtaken = name in self.overtaken and not answered, self.overtaken - {name}
            if name in self.pending and (overtaken or not attempted):
                return  # it is about to be restarted anyway
            self.pending.pop(name, None)
            self.batch = None
            if "NotReady" in event.reason:
                self.pending[name] = at + self.least(name)
                return
            failed: list[str] = [name]
            for group in groups_of(case, name):
                limit = limits(case, group)
                counted = self.counted.setdefault(group, [])
                recent = [then for then in counted if ran_between(self.runs[name], then, at) < limit.period]
                if limit.intensity == "unlimited" or len(recent) < limit.intensity:
                    counted.append(at)
                    affected = self.affected(group, limit.strategy, failed)
                    self.overtaken |= self.attempting
                    if not self.pending:
                        self.batch = [other for other in case.names if other in affected]
                    for other in affected:
                        self.pending[other] = max(self.pending.get(other, 0.0), at + self.least(name))
                    return
                counted.clear()
                failed = [other for other in case.names if group in groups_of(case, other)]
            self.exhausted = name
        elif event.action is Action.BACKOFF:
            assert self.exhausted is None, "S1: one restart too many"
            base = min(backoff.cap, backoff.initial * backoff.factor ** (self.row[name] - 1))
            assert base * (1 - backoff.jitter) - 1e-9 <= event.delay <= base + 1e-9, "S4"
            assert event.delay <= backoff.cap
        elif event.action is Action.RESTARTED:
            self.pending.pop(name, None)
            self.attempting -= {name}
            if self.batch is not None and self.batch[:1] == [name]:
                self.batch.pop(0)
        elif event.action is Action.REQUESTED:
            self.wanted[name] = False
            self.pending.pop(name, None)
        elif event.action is Action.GAVE_UP:
            assert name in self.given_up or kind is Restart.TEMPORARY
            self.given_up.add(name)
            self.pending.pop(name, None)
            if self.batch is not None and name in self.batch:
                self.batch.remove(name)
        elif event.action is Action.EXHAUSTED:
            assert self.exhausted == name, "S1: it gave up too early"

    def least(self, name: str) -> float:
        backoff = backoff_of(self.case, name)
        return min(backoff.cap, backoff.initial * backoff.factor ** (self.row[name] - 1)) * (1 - backoff.jitter)

    def affected(self, group: str | None, strategy: Strategy, failed: list[str]) -> set[str]:
        """Say who is restarted, by the definition of the strategy, each plugin on its own."""
        names = self.case.names
        members = [name for name in names if group in groups_of(self.case, name)]

        def depends(name: str) -> bool:
            producers = [producer for producer, consumer in self.case.channels if consumer == name]
            return name in failed or any(producer in members and depends(producer) for producer in producers)

        chosen: dict[Strategy, Callable[[str], bool]] = {
            Strategy.ONE_FOR_ONE: lambda name: name in failed,
            Strategy.ONE_FOR_ALL: lambda name: True,
            Strategy.REST_FOR_ONE: lambda name: names.index(name) >= min(map(names.index, failed)),
            Strategy.DEPENDENTS: depends,
        }
        return {name for name in members if chosen[strategy](name) and self.wanted[name] and name not in self.given_up}


def kind_of(case: Case, name: str) -> Restart:
    child = case.children.get(name)
    return (child and child.restart) or case.policy.restart


def backoff_of(case: Case, name: str) -> Backoff:
    child = case.children.get(name)
    return (child and child.backoff) or case.policy.backoff


def groups_of(case: Case, name: str) -> list[str | None]:
    """Return the groups that a plugin is in, the innermost first; None is the supervisor itself."""
    found: list[str | None] = []
    group = case.children[name].group if name in case.children else None
    while group is not None:
        found.append(group)
        group = case.policy.groups[group].group
    return [*found, None]


def limits(case: Case, group: str | None) -> Policy | Group:
    return case.policy if group is None else case.policy.groups[group]


def ran_between(runs: list[tuple[float, float]], begin: float, end: float) -> float:
    return sum(max(0.0, min(end, to) - max(begin, at)) for at, to in runs)


# The tests.


@given(cases())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_s1_to_s6(case: Case) -> None:
    """Whatever plugins and operators do, the supervisor does what the rules say, no more and no less."""
    world, exhausted, supervisor = play(case)
    judge = Judge(case)
    judge.judge(world.log)
    # S6: that it gave up is raised, with what it gave up of.
    assert (exhausted.plugin if exhausted else None) == judge.exhausted
    # S5: each crash is told once, unless it came while its plugin was being stopped anyway.
    for text in world.crashes:
        told = [count for reason, count in judge.told.items() if reason.endswith(f": {text}")]
        assert len(told) <= 1 and told in ([], [1])
        assert told or text in world.hushed, text
    # All that should run did so at the end, and all is at rest now.
    if exhausted is None:
        idle = {name for name in case.names if name not in world.up_at_the_end}
        assert idle == {name for name in case.names if not judge.wanted[name] or name in judge.given_up}
    assert all(plugin.state in ("stopped", "failed", "created") for plugin in supervisor.registry)
    hypothesis.event(f"exhausted: {exhausted is not None}")
    hypothesis.event(f"restarts: {min(5, len([1 for _, told in world.log if is_restart(told)]))}")


def is_restart(entry: object) -> bool:
    return isinstance(entry, SupervisionEvent) and entry.action is Action.RESTARTED
