"""Random graphs of plugins and channels: every plan is right, every fault is told, and no message is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from random import Random

from attrs import Factory, define, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import PluginError, PluginInfo, Receiver, Sender, StopFailed
from fsm_plugins.orchestrator import Orchestrator, PluginSpec, plan
from fsm_plugins.plugin import Plugin
from fsm_plugins.testing import run


@frozen
class Link:
    """One channel of a random graph."""

    name: str
    producers: tuple[str, ...]
    consumer: str
    capacity: int


@frozen
class Graph:
    """A valid graph: the plugins in the order of the specs, and the channels between them."""

    names: tuple[str, ...]
    links: tuple[Link, ...]

    def specs(self, factory: Callable[[str, dict[str, object]], Callable[..., Plugin]]) -> list[PluginSpec]:
        """Return the specs. Every second channel is wired by its name, the others by a table."""
        specs = []
        for name in self.names:
            ports: dict[str, object] = {}
            inputs, outputs = {}, {}
            for number, link in enumerate(self.links):
                port = link.name if number % 2 else f"port{number}"
                if link.consumer == name:
                    ports[port] = Receiver[int]
                    inputs.update({} if number % 2 else {port: link.name})
                elif name in link.producers:
                    ports[port] = Sender[int]
                    outputs.update({} if number % 2 else {port: link.name})
            specs.append(PluginSpec(name, factory(name, ports), inputs=inputs, outputs=outputs))
        return specs

    def channels(self) -> dict[str, int]:
        return {link.name: link.capacity for link in self.links}

    def order(self) -> list[str]:
        """Return the order as a person would find it: always the first in the list whose producers are all placed."""
        placed: list[str] = []
        while len(placed) < len(self.names):
            placed.append(
                next(
                    name
                    for name in self.names
                    if name not in placed
                    and all(set(link.producers) <= set(placed) for link in self.links if link.consumer == name)
                )
            )
        return placed


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw a graph without cycles: channels lead upwards in a hidden order of the plugins."""
    hidden = draw(st.permutations(["a", "b", "c", "d", "e", "f"][: draw(st.integers(1, 6))]))
    links = []
    for number in range(draw(st.integers(0, 6)) if len(hidden) > 1 else 0):
        consumer = draw(st.integers(1, len(hidden) - 1))
        producers = draw(st.lists(st.sampled_from(hidden[:consumer]), min_size=1, max_size=3, unique=True))
        links.append(Link(f"link{number}", tuple(producers), hidden[consumer], draw(st.integers(1, 3))))
    return Graph(tuple(draw(st.permutations(hidden))), tuple(links))


def idle(name: str, ports: dict[str, object]) -> Callable[..., Plugin]:
    """Return a plugin class with ports, and with nothing to do."""
    return type(name, (Plugin,), {"info": PluginInfo(name, "1.0.0"), "__annotations__": ports})


# Plans.


@given(graphs())
def test_a_valid_graph_has_a_plan(graph: Graph) -> None:
    """A valid graph has no problems; its order is topological, ties in the given order; it has every channel."""
    made = plan(graph.specs(idle), graph.channels())
    assert made.problems == ()
    assert list(made.order) == graph.order()
    assert {
        name: (channel.capacity, {end.plugin for end in channel.producers}, channel.consumer.plugin)
        for name, channel in made.channels.items()
    } == {link.name: (link.capacity, set(link.producers), link.consumer) for link in graph.links}


Fault = Callable[[str, list[PluginSpec], dict[str, int]], tuple[str, str]]


def _pair(x: str, specs: list[PluginSpec], sent: object = Sender[int], received: object = Receiver[int]) -> None:
    specs.append(PluginSpec(f"{x}-from", idle("From", {f"{x}-c": sent})))
    specs.append(PluginSpec(f"{x}-to", idle("To", {f"{x}-c": received})))


def duplicate(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    specs += [PluginSpec(f"{x}-twin", idle("Twin", {})), PluginSpec(f"{x}-twin", idle("Twin", {}))]
    return f"plugins.{x}-twin", "another plugin of this name"


def no_room(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    _pair(x, specs)
    channels[f"{x}-c"] = 0
    return f"channels.{x}-c", "at least 1"


def unknown_port(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    specs.append(PluginSpec(f"{x}-p", idle("P", {}), outputs={"there": "link1"}))
    return f"plugins.{x}-p.outputs.there", "has no output 'there'"


def unknown_channel(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    specs.append(PluginSpec(f"{x}-p", idle("P", {"here": Receiver[int] | None}), inputs={"here": "no"}))
    return f"plugins.{x}-p.inputs.here", "no channel 'no'"


def unwired(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    specs.append(PluginSpec(f"{x}-p", idle("P", {"here": Receiver[int]})))
    return f"plugins.{x}-p.inputs.here", "is not wired"


def mismatch(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    _pair(x, specs, Sender[int], Receiver[str])
    channels[f"{x}-c"] = 1
    return f"channels.{x}-c", f"{x}-from.{x}-c sends int, but {x}-to.{x}-c receives str"


def no_producer(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    specs.append(PluginSpec(f"{x}-p", idle("P", {f"{x}-c": Receiver[int] | None})))
    channels[f"{x}-c"] = 1
    return f"channels.{x}-c", "has no producer, only"


def no_consumer(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    specs.append(PluginSpec(f"{x}-p", idle("P", {f"{x}-c": Sender[int]})))
    channels[f"{x}-c"] = 1
    return f"channels.{x}-c", "has no consumer, only"


def two_consumers(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    _pair(x, specs)
    specs.append(PluginSpec(f"{x}-too", idle("Too", {f"{x}-c": Receiver[int]})))
    channels[f"{x}-c"] = 1
    return f"channels.{x}-c", "has 2 consumers"


def unused(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    channels[f"{x}-c"] = 1
    return f"channels.{x}-c", "no plugin uses"


def cycle(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    ports: dict[str, object] = {"i": Receiver[int], "o": Sender[int]}
    for one, other in (("1", "2"), ("2", "3"), ("3", "1")):
        wired = {"inputs": {"i": f"{x}-{one}"}, "outputs": {"o": f"{x}-{other}"}}
        specs.append(PluginSpec(f"{x}-p{one}", idle("P", ports), inputs=wired["inputs"], outputs=wired["outputs"]))
        channels[f"{x}-{one}"] = 1
    return f"plugins.{x}-p", f"{x}-p1 -> {x}-p2"


def self_loop(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    ports: dict[str, object] = {"i": Receiver[int], "o": Sender[int]}
    specs.append(PluginSpec(f"{x}-p", idle("P", ports), inputs={"i": f"{x}-c"}, outputs={"o": f"{x}-c"}))
    channels[f"{x}-c"] = 1
    return f"plugins.{x}-p", f"{x}-p -> {x}-p"


def disabled(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    specs.append(PluginSpec(f"{x}-p", idle("P", {f"{x}-c": Receiver[int]})))
    specs.append(PluginSpec(f"{x}-off", idle("Off", {f"{x}-c": Sender[int]}), enabled=False))
    channels[f"{x}-c"] = 1
    return f"channels.{x}-c", f"has no producer: '{x}-off' is disabled"


def collision(x: str, specs: list[PluginSpec], channels: dict[str, int]) -> tuple[str, str]:
    specs.append(PluginSpec(f"{x}-p", idle("P", {"here": Receiver[int] | None}), {"here": 3}))
    return f"plugins.{x}-p.settings.here", "is a port"


FAULTS: list[Fault] = [
    *(duplicate, no_room, unknown_port, unknown_channel, unwired, mismatch, no_producer, no_consumer, two_consumers),
    *(unused, cycle, self_loop, disabled, collision),
]


@given(graphs(), st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_every_fault_is_told(graph: Graph, faults: list[Fault], random: Random) -> None:
    """However many faults there are, each is among the problems, and there are at least as many problems."""
    specs, channels = graph.specs(idle), graph.channels()
    expected = [fault(f"x{number}", specs, channels) for number, fault in enumerate(faults)]
    random.shuffle(specs)
    made = plan(specs, channels)
    assert len(made.problems) >= len(faults)
    for where, what in expected:
        cut = {where, *(f"{where}{number}" for number in "123")}
        assert any(problem.where in cut and what in problem.what for problem in made.problems), (where, what)
    assert sorted(made.order) == sorted({spec.name for spec in specs if spec.enabled})


# Running.


@define
class Books:
    """What all the plugins of one run did with their channels."""

    accepted: Counter[str] = Factory(Counter)
    received: Counter[str] = Factory(Counter)


@frozen
class Behaviour:
    """How one plugin fares.

    Attributes:
        breaks: the hooks that raise; ``work`` for the worker.
        after: the number of messages after which the worker raises.
        sends: the number of messages that it makes itself.
    """

    breaks: frozenset[str] = frozenset()
    after: int = 0
    sends: int = 0


behaviours = st.builds(
    Behaviour,
    st.frozensets(st.sampled_from(["init", "start", "stop", "work"]), max_size=2) | st.just(frozenset()),
    st.integers(0, 3),
    st.integers(0, 5),
)


def working(books: Books, behaviour: Behaviour, name: str, ports: dict[str, object]) -> Callable[..., Plugin]:
    """Return a class of plugins that pass everything on, to all outputs, and keep books."""

    class Node(Plugin):
        info = PluginInfo(name, "1.0.0")

        def _break(self, hook: str) -> None:
            if hook in behaviour.breaks:
                raise OSError(hook)

        async def on_init(self) -> None:
            self._break("init")

        async def on_start(self) -> None:
            self.spawn(self._make())
            for port in ports:
                if isinstance(end := getattr(self, port), Receiver):
                    self.spawn(self._pass_on(port, end))
            self._break("start")

        async def on_stop(self) -> None:
            self._break("stop")

        async def _make(self) -> None:
            for number in range(behaviour.sends):
                await self._send(number)

        async def _pass_on(self, port: str, end: Receiver[int]) -> None:
            async for item in end:
                books.received[f"{name}.{port}"] += 1
                if books.received[f"{name}.{port}"] > behaviour.after:
                    self._break("work")
                await self._send(item)

        async def _send(self, item: int) -> None:
            for port in ports:
                if isinstance(end := getattr(self, port), Sender):
                    await end.send(item)
                    books.accepted[f"{name}.{port}"] += 1

    Node.__annotations__ = dict(ports)
    return Node


@frozen
class Run:
    """One life of an application.

    Attributes:
        behaviours: of the plugins, by the order of the specs.
        steps: how long it runs, in turns of the event loop.
        cancelled: how many turns after its beginning ``stop_all`` is cancelled, if it is.
        replaced: which plugin of the order is replaced by a fresh one, if it is held and stopped.
    """

    graph: Graph
    behaviours: tuple[Behaviour, ...]
    steps: int
    cancelled: int | None
    replaced: int | None


@st.composite
def runs(draw: st.DrawFn) -> Run:
    graph = draw(graphs())
    count = len(graph.names)
    return Run(
        graph,
        tuple(draw(st.lists(behaviours, min_size=count, max_size=count))),
        draw(st.integers(0, 20)),
        draw(st.none() | st.integers(1, 8)),
        draw(st.none() | st.integers(0, count - 1)),
    )


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@settings(deadline=None)
@given(runs())
def test_nothing_accepted_is_lost(life: Run) -> None:
    """Whatever breaks, and whenever stop_all is cancelled: what was accepted was received, or is told as undelivered.

    And a consumer that stopped cleanly has drained: whatever became of its producers, it did not wait in vain for them.
    """
    books = Books()
    graph = life.graph
    fates = dict(zip(graph.names, life.behaviours, strict=True))

    async def main() -> None:
        orchestrator = Orchestrator(
            graph.specs(lambda name, ports: working(books, fates[name], name, ports)), graph.channels()
        )
        registry = orchestrator.build()
        built = list(registry)
        with contextlib.suppress(PluginError):
            await registry.init_all()
            await registry.start_all()
        await _turns(life.steps)
        if life.replaced is not None:
            name = orchestrator.plan.order[life.replaced]
            orchestrator.hold(name)
            old = registry[name]
            with contextlib.suppress(PluginError):
                await old.fail(OSError("replaced"))
            with contextlib.suppress(PluginError):
                await old.stop()
            if old.state == "stopped":
                built.append(orchestrator.rebuild(name))
                for one in list(registry):
                    registry.unregister(one.info.name)
                    registry.register(built[-1] if one is old else one)
                with contextlib.suppress(PluginError):
                    await built[-1].init()
                    await built[-1].start()
                await _turns(life.steps)
        stopping = asyncio.create_task(registry.stop_all())
        if life.cancelled is not None:
            await _turns(life.cancelled)
            stopping.cancel()
        with contextlib.suppress(StopFailed, asyncio.CancelledError):
            await stopping

        receipts = orchestrator.receipt()
        assert [receipt.name for receipt in receipts] == graph.order()
        undelivered = {name: left for receipt in receipts for name, left in receipt.undelivered.items()}
        for channel in orchestrator.plan.channels.values():
            accepted = sum(books.accepted[str(end)] for end in channel.producers)
            received = books.received[str(channel.consumer)]
            assert received + undelivered.get(channel.name, 0) == accepted
        if life.cancelled is None:
            for receipt in receipts:
                assert not (receipt.clean and receipt.state == "stopped" and receipt.undelivered)
        if life.cancelled is None and life.replaced is None and not any(fate.breaks for fate in life.behaviours):
            assert all(receipt.clean for receipt in receipts)
            assert asyncio.get_running_loop().time() == 0
        for plugin in built:
            assert plugin.state != "running"
            for value in vars(plugin).values():
                assert not isinstance(value, Sender | Receiver) or value.closed
        assert len(asyncio.all_tasks()) == 1

    run(main)
