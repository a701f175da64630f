"""Random lives of plugins under random policies and operators, and a judge of what their supervisor did about it.

Each plugin follows a script: how long each of its lives takes to start, to run and to stop, and how it ends. What the
supervisor did is then judged by rules that are written here anew, from the log of what happened.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from attrs import Factory, define, field, frozen
from hypothesis import strategies as st

from fsm_plugins import (
    LIFECYCLE,
    RESTARTABLE,
    ChannelClosed,
    ChannelFull,
    DeadlineExceeded,
    Deadlines,
    HealthStatus,
    HookFailed,
    InvalidState,
    NotReady,
    PermanentError,
    Plugin,
    PluginError,
    PluginInfo,
    Receiver,
    RestartsExhausted,
    Sender,
    StopFailed,
)
from fsm_plugins.lifecycle import TransitionEvent
from fsm_plugins.orchestrator import PluginSpec
from fsm_plugins.supervision import (
    Action,
    Backoff,
    Child,
    Group,
    Health,
    Intensity,
    Policy,
    Restart,
    Strategy,
    SupervisionEvent,
    Supervisor,
)
from fsm_plugins.testing import run

Ending = Literal[
    "runs on",
    "crashes",
    "cannot be made",
    "fails in init",
    "fails in start",
    "cancels itself",
    "not ready",
    "permanent",
    "returns",
]
Answer = Literal["healthy", "degraded", "unhealthy", "hangs"]


@frozen
class Life:
    """One life of a plugin: its hooks take so long, then it works so long, and then it ends in this way.

    Attributes:
        stubborn: whether it ignores its cancellation.
        rude: whether its ``on_stop`` raises.
        answers: what it says of itself, again and again.
    """

    ending: Ending
    opening: float = 0.0
    working: float = 1.0
    closing: float = 0.0
    stubborn: bool = False
    rude: bool = False
    answers: tuple[Answer, ...] = ("healthy",)


@frozen
class Request:
    """An operator asks for something."""

    kind: str
    name: str


@frozen
class Leaving:
    """A plugin's own stop begins, on request."""

    name: str


@frozen
class Left:
    """A plugin's own stop is over."""

    name: str


@frozen
class Asked:
    """A plugin is asked for its health, and is about to give this answer."""

    name: str
    answer: Answer


@frozen
class Birth:
    """An instance is initialised, or cannot even be made."""

    name: str


@define
class Traffic:
    """How many numbers each plugin has sent, and which ones each has received."""

    sent: Counter[str] = Factory(Counter)
    received: defaultdict[str, list[int]] = Factory(lambda: defaultdict(list))


@define
class World:
    """What happened."""

    scripts: dict[str, list[Life]]
    log: list[tuple[float, object]] = Factory(list)
    crashes: list[str] = Factory(list)
    hushed: set[str] = Factory(set)  # crashes of plugins that were being stopped
    up_at_the_end: set[str] = Factory(set)
    traffic: Traffic | None = None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def note(self, entry: object) -> None:
        self.log.append((self.now(), entry))

    def crash(self, plugin: Plugin, make: Callable[[str], BaseException] = OSError) -> BaseException:
        """Return an exception with a text that no other one has."""
        self.crashes.append(f"crash {len(self.crashes)}")
        if plugin._guard.in_flight == "stop" or plugin.state == "stopped":
            self.hushed.add(self.crashes[-1])
        return make(self.crashes[-1])


@define
class Scripted(Plugin):
    """Does what its script says; in its n-th instance, the n-th life."""

    info = PluginInfo("scripted", "1.0.0")
    deadlines = Deadlines(init=1e6, start=1e6, stop=2000, health=5, grace=1)

    world: World
    life: Life = field(init=False, default=Life("runs on"))
    answered: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        name, script = self.info.name, self.world.scripts[self.info.name]
        if script and script[0].ending == "cannot be made":
            script.pop(0)
            self.world.note(Birth(name))
            raise self.world.crash(self)

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
            await self.pause(self.life.opening)
        if self.life.ending == "cancels itself":
            raise self.world.crash(self, asyncio.CancelledError)
        if self.life.ending == "fails in start":
            raise self.world.crash(self)
        self.spawn(self.work())

    async def work(self) -> None:
        try:
            async with asyncio.timeout(None if self.life.ending == "runs on" else self.life.working):
                await self.linger()
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if self.life.stubborn:
                await asyncio.Event().wait()
            raise
        if self.life.ending == "crashes":
            raise self.world.crash(self)
        if self.life.ending == "permanent":
            raise self.world.crash(self, PermanentError)

    async def linger(self) -> None:
        await asyncio.Event().wait()

    async def pause(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if self.life.stubborn:
                await asyncio.Event().wait()
            raise

    async def on_stop(self) -> None:
        if self.life.closing:
            await self.pause(self.life.closing)
        if self.life.rude:
            await asyncio.sleep(0.01)
            raise LookupError("rude")

    async def on_health_check(self) -> HealthStatus:
        answer = self.life.answers[self.answered % len(self.life.answers)]
        self.answered += 1
        self.world.note(Asked(self.info.name, answer))
        if answer == "hangs":
            await self.pause(1e6)
        made = {"degraded": HealthStatus.degraded, "unhealthy": HealthStatus.unhealthy}
        return made[answer]("so to say") if answer in made else HealthStatus.healthy()

    async def on_fret(self) -> None:
        await asyncio.sleep(self.life.opening)


async def send(plugin: Scripted, out: Sender[int] | None) -> None:
    """Send numbers, each once, whichever instance of the plugin it is; or do nothing where nobody counts them."""
    traffic = plugin.world.traffic
    while traffic is not None and out is not None:
        with suppress(ChannelFull, ChannelClosed):
            out.try_send(traffic.sent[plugin.info.name])
            traffic.sent[plugin.info.name] += 1
        await asyncio.sleep(0.37)
    await asyncio.Event().wait()


async def receive(plugin: Scripted, into: Receiver[int] | None) -> None:
    """Receive numbers."""
    assert into is not None
    async for number in into:
        if plugin.world.traffic is not None:
            plugin.world.traffic.received[plugin.info.name].append(number)
            await asyncio.sleep(0.5)
    await asyncio.Event().wait()


@define
class Source(Scripted):
    out: Sender[int] | None = field(default=None, kw_only=True)

    async def linger(self) -> None:
        await send(self, self.out)


@define
class Sink(Scripted):
    into: Receiver[int] | None = field(default=None, kw_only=True)

    async def linger(self) -> None:
        await receive(self, self.into)


@define
class Relay(Sink):
    out: Sender[int] | None = field(default=None, kw_only=True)

    async def linger(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(send(self, self.out))
            group.create_task(receive(self, self.into))


PAUSABLE = LIFECYCLE.extend(
    [
        ("pause", "running", "paused"),
        ("resume", "paused", "running"),
        ("fret", "running", "running"),
        ("stop", "paused", "stopped"),
        ("fail", "paused", "failed"),
    ]
)
LIFECYCLES = {"plain": LIFECYCLE, "restartable": RESTARTABLE, "pausable": PAUSABLE}
KINDS = {
    (lifecycle, cls): type(cls.__name__, (cls,), {"lifecycle": LIFECYCLES[lifecycle]})
    for lifecycle in LIFECYCLES
    for cls in (Scripted, Source, Sink, Relay)
}

NAMES = ("a", "b", "c", "d", "e")

seconds = st.sampled_from([0.0, 0.0, 0.1, 1.0, 2.6, 30.0, 600.0])
ANSWERS: list[Answer] = ["healthy", "degraded", "unhealthy", "unhealthy", "unhealthy", "hangs"]
lives = st.builds(
    Life,
    ending=st.sampled_from(
        ["crashes"] * 8
        + ["cannot be made", "fails in init", "fails in start", "cancels itself", "not ready", "permanent", "returns"]
        + ["runs on"]
    ),
    opening=seconds,
    working=seconds,
    closing=seconds,
    stubborn=st.sampled_from([False] * 9 + [True]),
    rude=st.sampled_from([False] * 9 + [True]),
    answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=5).map(tuple),
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


UNSTARTABLE = ("cannot be made", "fails in init", "fails in start", "cancels itself")


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
    lifecycles: dict[str, str] = Factory(dict)


@st.composite
def cases(draw: st.DrawFn, operators: bool = True, groups: bool = True, health: bool = False) -> Case:
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
        health=Health(draw(st.sampled_from([20.0, 100.0])), draw(st.integers(1, 3))) if health else None,
    )
    children = {
        name: Child(draw(st.none() | restarts), draw(st.none() | backoffs), draw(st.sampled_from([None, *known])))
        for name in names
        if draw(st.booleans())
    }
    scripts = {name: draw(st.lists(lives, max_size=6)) for name in names}
    for script in scripts.values():  # one that cannot be started at all is another test
        while script and script[0].ending in UNSTARTABLE:
            script.pop(0)
    lifecycles = {name: draw(st.sampled_from(["plain", "plain", *LIFECYCLES])) for name in names}
    kinds = ["restart", "stop", "start", "own stop", "own start", "pause", "resume", "fret", "fail"]
    request = st.tuples(st.floats(0, 2000), st.sampled_from(kinds), st.sampled_from(names))
    requests = sorted(draw(st.lists(request, max_size=5))) if operators else []
    return Case(names, tuple(channels), policy, children, scripts, requests, draw(st.integers(0, 9)), lifecycles)


def specs_of(case: Case, world: World) -> list[PluginSpec]:
    """Return the plugins of a case, as they live in a world."""
    specs = []
    kinds: dict[tuple[bool, bool], type[Scripted]] = {
        (True, True): Relay,
        (True, False): Sink,
        (False, True): Source,
        (False, False): Scripted,
    }
    outputs = {producer: f"{producer}-{consumer}" for producer, consumer in case.channels}
    inputs = {consumer: f"{producer}-{consumer}" for producer, consumer in case.channels}
    for name in case.names:
        into, out = ({port: ends[name]} if name in ends else {} for port, ends in (("into", inputs), ("out", outputs)))
        cls = KINDS[case.lifecycles.get(name, "plain"), kinds[bool(into), bool(out)]]
        specs.append(PluginSpec(name, cls, {"world": world}, into, out))
    return specs


def build(case: Case, world: World, capacity: int = 4) -> Supervisor:
    """Make the supervisor of a case, and let the world note what it does."""
    supervisor = Supervisor(
        specs_of(case, world),
        {f"{producer}-{consumer}": capacity for producer, consumer in case.channels},
        policy=case.policy,
        children=case.children,
        rng=random.Random(case.seed),
    )
    watch(supervisor, world)
    return supervisor


def watch(supervisor: Supervisor, world: World) -> None:
    """Let the world note what a supervisor does."""
    hub = supervisor.registry._hub  # before the supervisor hears of a transition, so that the log is in order
    hub.listeners = (world.note, *hub.listeners)
    supervisor.subscribe(world.note)


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
                plugin = supervisor.registry[name]
                if plugin._guard.flight is None and plugin._guard.can("stop"):
                    world.note(Leaving(name))
                    try:
                        await plugin.stop()
                    finally:
                        world.note(Left(name))
            elif kind == "own start":
                plugin = supervisor.registry[name]
                if plugin.state == "stopped" and plugin._guard.flight is None and plugin._guard.can("start"):
                    await plugin.start()
            elif kind in ("pause", "resume", "fret"):
                await supervisor.registry[name].fire(kind)
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


def case_allows(world: World, error: Exception) -> bool:
    """Whether a plugin may not have stopped cleanly."""
    return isinstance(error, DeadlineExceeded | HookFailed) and error.trigger in ("stop", "fail", "start", "init")


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
                        str(plugin.info.name) for plugin in supervisor.registry if plugin.state in ("running", "paused")
                    }
                    operators.cancel()
                    with suppress(asyncio.CancelledError):
                        await operators
        except RestartsExhausted as exhausted:
            assert len(asyncio.all_tasks()) == 1
            return exhausted, supervisor
        except StopFailed as failed:  # of those that are rude or stubborn
            assert all(case_allows(world, error) for error in failed.exceptions)
        assert len(asyncio.all_tasks()) == 1
        return None, supervisor

    exhausted, supervisor = run(main)
    return world, exhausted, supervisor


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
    stopping: bool = False
    attempting: frozenset[str] = frozenset()
    leaving: set[str] = Factory(set)  # their own stop is under way
    coming_back: set[str] = Factory(set)  # and then they are to be started again
    paused: set[str] = Factory(set)
    answers: dict[str, list[Answer | None]] = Factory(dict)  # since it was started; None for what it was not asked
    last_answers: dict[str, list[Answer | None]] = Factory(dict)  # those before the last transition

    def judge(self, log: list[tuple[float, object]]) -> None:
        for name in self.case.names:
            self.wanted[name], self.running[name], self.runs[name], self.row[name] = True, None, [], 0
        started: set[str] = set()
        for at, entry in log:
            match entry:
                case "stopping":
                    self.stopping = True
                case Request(kind=kind, name=name):
                    runs = self.running[name] is not None and name not in {*self.pending, *self.paused}
                    runs = runs and self.wanted[name]
                    if kind == "restart" or (kind == "start" and not runs):
                        if name in self.leaving:
                            self.coming_back.add(name)  # as soon as it is at rest
                        else:
                            self.wants_back(name, at)
                    elif kind == "stop":
                        self.wants_gone(name)
                        self.coming_back.discard(name)
                case Leaving(name=name):
                    self.wants_gone(name)
                    self.leaving.add(name)
                case Left(name=name):
                    self.leaving.discard(name)
                    if name in self.coming_back:
                        self.coming_back.discard(name)
                        self.wants_back(name, at)
                case Birth(name=name):
                    self.after_run[name] = False
                    if name in started:
                        assert not self.stopping, "S3: it starts plugins while it stops"
                        assert self.exhausted is None, "S6: it starts plugins though it gave up"
                        assert self.wanted[name], "S3: it restarts what was stopped on request"
                        assert name in self.pending, "S2: nobody asked for this restart"
                        assert at >= self.pending[name] - 1e-6, "S4: it comes before its delay is over"
                        if self.batch is not None and name in self.batch:
                            assert self.batch[0] == name, "S2: out of order"
                        self.attempting |= {name}
                    started.add(name)
                case Asked(name=name, answer=answer):
                    self.asked(name, answer)
                case TransitionEvent(plugin=name, trigger=trigger, source=source, dest=dest):
                    since = self.running[name]
                    if trigger in ("pause", "resume", "fret"):
                        (self.paused.add if dest == "paused" else self.paused.discard)(name)
                        self.answers.setdefault(name, []).append(None)
                        continue
                    self.paused.discard(name)
                    self.last_answers[name], self.answers[name] = self.answers.get(name, []), []
                    if dest == "running":
                        self.running[name] = at
                        if source == "stopped":  # somebody started it again
                            self.wanted[name] = True
                            self.given_up.discard(name)
                            self.pending.pop(name, None)
                            self.batch = None
                    elif since is not None:
                        self.runs[name].append((since, at))
                        self.running[name] = None
                        self.after_run[name] = True
                    else:
                        self.after_run[name] = False
                case SupervisionEvent():
                    self.supervision(at, entry)

    def asked(self, name: str, answer: Answer) -> None:
        """Hold that a plugin does not outlive too many bad answers."""
        assert self.case.policy.health is not None
        most = self.case.policy.health.failures
        answers = self.answers.setdefault(name, [])
        if self.running[name] is not None and len(answers) >= most and not (self.exhausted or self.stopping):
            assert not all(other in ("unhealthy", "hangs") for other in answers[-most:]), "unhealthy too often"
        answers.append(answer)

    def wants_back(self, name: str, at: float) -> None:
        self.row[name] = 0
        self.counted.pop(groups_of(self.case, name)[0], None)
        self.wanted[name] = True
        self.given_up.discard(name)
        self.pending[name] = at
        for other in self.pending:
            self.pending[other] = min(self.pending[other], at)
        self.batch = None

    def wants_gone(self, name: str) -> None:
        self.wanted[name] = False
        self.pending.pop(name, None)
        self.batch = None

    def supervision(self, at: float, event: SupervisionEvent) -> None:
        name, case = event.plugin, self.case
        kind, backoff = kind_of(case, name), backoff_of(case, name)
        if event.action is Action.FAILED:
            self.told[event.reason] = self.told.get(event.reason, 0) + 1
            done = "is done" in event.reason
            if "Unhealthy" in event.reason:
                assert case.policy.health is not None
                answers = self.last_answers[name][-case.policy.health.failures :]
                assert set(answers) <= {"unhealthy", "hangs", None}, "it was not unhealthy often enough"
                assert len(answers) == case.policy.health.failures
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
            if self.stopping or self.exhausted:
                return
            if "PermanentError" in event.reason or kind is Restart.TEMPORARY:
                self.pending.pop(name, None)
                self.batch = None
                self.given_up.add(name)
                return
            attempted, self.attempting = name in self.attempting, self.attempting - {name}
            if name in self.pending and not attempted:
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
            assert not self.wanted[name], "S3: nobody asked for this stop"
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
