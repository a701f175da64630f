"""Plans with their problems, builds that are all or nothing, and who lets go of a channel when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs
import pytest

from fsm_plugins import (
    ChannelClosed,
    ConfigError,
    Deadlines,
    NotFound,
    Plugin,
    PluginError,
    PluginInfo,
    PluginRegistry,
    Receiver,
    Sender,
    StopFailed,
)
from fsm_plugins.orchestrator import Orchestrator, PluginSpec, Receipt, plan
from fsm_plugins.testing import run

T = TypeVar("T")


class Source(Plugin):
    """Sends what a test tells it to send."""

    info = PluginInfo("source", "1.0.0")
    packets: Sender[int]


@attrs.define
class Relay(Plugin):
    """Passes on what it receives."""

    info = PluginInfo("relay", "1.0.0")
    packets: Receiver[int]
    alerts: Sender[str]
    prefix: str = ""
    seen: list[int] = attrs.Factory(list)

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        async for packet in self.packets:
            self.seen.append(packet)
            await self.alerts.send(f"{self.prefix}{packet}")


class Sink(Plugin):
    """Receives; waits in its stop until its input has ended, as a careless author may."""

    info = PluginInfo("sink", "1.0.0")
    alerts: Receiver[str]

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def on_start(self) -> None:
        self.worker = self.spawn(self._work())

    async def on_stop(self) -> None:
        await asyncio.wait([self.worker])

    async def _work(self) -> None:
        async for alert in self.alerts:
            self.seen.append(alert)


class MaybeSource(Plugin):
    info = PluginInfo("maybe-source", "1.0.0")
    packets: Sender[int] | None


class MaybeSink(Plugin):
    info = PluginInfo("maybe-sink", "1.0.0")
    packets: Receiver[int] | None
    alerts: Receiver[str] | None


class Idle(Plugin):
    info = PluginInfo("idle", "1.0.0")


CHAIN = (PluginSpec("sink", Sink), PluginSpec("relay", Relay), PluginSpec("source", Source))
CHANNELS = {"packets": 4, "alerts": 4}


def problems(specs: list[PluginSpec], channels: Mapping[str, int]) -> list[str]:
    return [str(problem) for problem in plan(specs, channels).problems]


# Plans.


def test_a_plan_puts_producers_first() -> None:
    """The order follows the channels; a plan is shown as a person would write it down."""
    made = plan(CHAIN, CHANNELS)
    assert made.problems == ()
    assert made.order == ("source", "relay", "sink")
    assert str(made) == "1. source -> packets\n2. relay  packets -> alerts\n3. sink  alerts"
    packets = made.channels["packets"]
    assert (packets.capacity, packets.producers, packets.consumer) == (
        4,
        (("source", "packets"),),
        ("relay", "packets"),
    )
    assert packets.type is int
    assert made.ports["relay"] == {"packets": "packets", "alerts": "alerts"}


def test_ties_keep_the_given_order() -> None:
    """Among plugins that could come next, the one that was given first does."""
    specs = [PluginSpec("z", Idle), PluginSpec("relay", Relay), PluginSpec("a", Idle), *CHAIN[2:], CHAIN[0]]
    assert plan(specs, CHANNELS).order == ("z", "a", "source", "relay", "sink")


def test_a_plan_makes_nothing() -> None:
    """Neither a plan nor an orchestrator calls a factory."""

    def never(packets: Sender[int]) -> Plugin:
        raise AssertionError

    Orchestrator([PluginSpec("a", never), PluginSpec("b", MaybeSink)], {"packets": 1})


def test_several_producers_share_a_channel() -> None:
    """A table wires ports to channels of other names, and a channel takes many producers."""
    specs = [
        PluginSpec("a", Source, outputs={"packets": "all"}),
        PluginSpec("b", Source, outputs={"packets": "all"}),
        PluginSpec("guard", MaybeSink, inputs={"packets": "all"}),
    ]
    made = plan(specs, {"all": 2})
    assert made.problems == ()
    assert made.channels["all"].producers == (("a", "packets"), ("b", "packets"))
    assert made.ports["guard"] == {"packets": "all", "alerts": None}


class AnySink(Plugin, Generic[T]):
    info = PluginInfo("any-sink", "1.0.0")
    packets: Receiver[T]


def test_a_channel_has_the_type_that_its_ends_say() -> None:
    """A consumer that takes anything leaves it to the producer to say what there is."""
    assert plan([PluginSpec("a", Source), PluginSpec("b", AnySink)], {"packets": 1}).channels["packets"].type is int


def wrong_type(packets: Receiver[str]) -> Plugin:
    raise NotImplementedError


def loop(packets: Receiver[int], again: Sender[int]) -> Plugin:
    raise NotImplementedError


def unreadable(packets: Receiver[Nowhere]) -> Plugin:  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError


@pytest.mark.parametrize(
    ("specs", "channels", "expected"),
    [
        (
            [*CHAIN, PluginSpec("relay", Idle), CHAIN[0]],
            CHANNELS,
            [
                "plugins.relay: there is another plugin of this name; give one a name of its own",
                "plugins.sink: there is another plugin of this name; give one a name of its own",
            ],
        ),
        (
            [*CHAIN],
            {"packets": 0, "alerts": True},
            [
                "channels.packets: a capacity is a whole number of messages, at least 1, not 0",
                "channels.alerts: a capacity is a whole number of messages, at least 1, not True",
            ],
        ),
        (
            [CHAIN[0], CHAIN[2], PluginSpec("relay", Relay, inputs={"packts": "packets"}, outputs={"nope": "alerts"})],
            CHANNELS,
            [
                (
                    "plugins.relay.inputs.packts: Relay has no input 'packts' (did you mean 'packets'?); "
                    "its inputs are: packets"
                ),
                "plugins.relay.outputs.nope: Relay has no output 'nope'; its outputs are: alerts",
            ],
        ),
        (
            [CHAIN[0], CHAIN[2], PluginSpec("relay", Relay, inputs={"alerts": "alerts"})],
            CHANNELS,
            ["plugins.relay.inputs.alerts: 'alerts' is an output; move it to outputs"],
        ),
        (
            [PluginSpec("idle", Idle, outputs={"packets": "packets"})],
            {},
            ["plugins.idle.outputs.packets: Idle has no output 'packets'; it has no outputs"],
        ),
        (
            [CHAIN[0], CHAIN[1], PluginSpec("source", Source, outputs={"packets": "packtes"})],
            CHANNELS,
            [
                (
                    "plugins.source.outputs.packets: there is no channel 'packtes' (did you mean 'packets'?); "
                    "add it to channels with its capacity"
                ),
                (
                    "channels.packets: channel 'packets' has no producer, only relay.packets; "
                    "wire the output of a plugin to it"
                ),
            ],
        ),
        (
            [PluginSpec("sink", MaybeSink, inputs={"packets": "lost"})],
            {},
            ["plugins.sink.inputs.packets: there is no channel 'lost'; add it to channels with its capacity"],
        ),
        (
            [PluginSpec("source", Source)],
            {},
            [
                (
                    "plugins.source.outputs.packets: Sender[int] is not wired, for there is no channel of its name; "
                    "name one here, or make the port optional (Sender[int] | None)"
                )
            ],
        ),
        (
            [PluginSpec("source", Source), PluginSpec("wrong", wrong_type)],
            {"packets": 1},
            [
                (
                    "channels.packets: source.packets sends int, but wrong.packets receives str; "
                    "connect ports of one type, or put a plugin between them"
                )
            ],
        ),
        (
            [PluginSpec("source", MaybeSource)],
            {"packets": 1},
            [
                (
                    "channels.packets: channel 'packets' has no consumer, only source.packets; "
                    "wire the input of a plugin to it"
                )
            ],
        ),
        (
            [PluginSpec("source", Source), PluginSpec("a", MaybeSink), PluginSpec("b", MaybeSink)],
            {"packets": 1},
            ["channels.packets: channel 'packets' has 2 consumers, a.packets and b.packets; it can have one only"],
        ),
        (
            [PluginSpec("idle", Idle)],
            {"packets": 1},
            ["channels.packets: no plugin uses channel 'packets'; take it out, or wire a port to it"],
        ),
        (
            [
                PluginSpec("b", loop, outputs={"again": "back"}),
                PluginSpec("a", loop, inputs={"packets": "back"}, outputs={"again": "packets"}),
                PluginSpec("me", loop, inputs={"packets": "own"}, outputs={"again": "own"}),
            ],
            {"packets": 1, "back": 1, "own": 1},
            [
                (
                    "plugins.b: b -> a -> b is a cycle, so nobody could be started first; "
                    "a channel may not lead back to those who feed it"
                ),
                (
                    "plugins.me: me -> me is a cycle, so nobody could be started first; "
                    "a channel may not lead back to those who feed it"
                ),
            ],
        ),
        (
            [CHAIN[0], CHAIN[1], PluginSpec("source", Source, enabled=False)],
            CHANNELS,
            [
                (
                    "channels.packets: channel 'packets' has no producer: 'source' is disabled; enable it, "
                    "or make the port optional (Receiver[int] | None)"
                )
            ],
        ),
        (
            [PluginSpec("sink", MaybeSink, enabled=False), PluginSpec("source", Source)],
            {"packets": 1},
            [
                (
                    "channels.packets: channel 'packets' has no consumer: 'sink' is disabled; enable it, "
                    "or make the port optional (Sender[int] | None)"
                )
            ],
        ),
        (
            [CHAIN[0], CHAIN[2], PluginSpec("relay", Relay, settings={"packets": 3, "name": "x", "prefix": ">"})],
            CHANNELS,
            [
                (
                    "plugins.relay.settings.packets: 'packets' is a port, which a channel is put in; "
                    "wire it in inputs or rename the setting"
                ),
                "plugins.relay.settings.name: a plugin's name is given beside its settings, not in them",
            ],
        ),
        (
            [PluginSpec("no", dict)],  # type: ignore[arg-type]
            {},
            ["plugins.no: dict is not a plugin class: derive it from Plugin, or use as_plugin(...)"],
        ),
        (
            [PluginSpec("bad", unreadable), PluginSpec("source", Source)],
            {"packets": 1},
            [
                (
                    "plugins.bad: parameter 'packets' of unreadable: the annotation 'Receiver[Nowhere]' cannot be "
                    "resolved: name 'Nowhere' is not defined; import what it names at the top of its module and not "
                    "under 'if TYPE_CHECKING:', and define classes of messages outside functions"
                )
            ],
        ),
    ],
)
def test_every_problem_is_told(specs: list[PluginSpec], channels: dict[str, int], expected: list[str]) -> None:
    """Each problem says where it is, what it is, and what to do; none hides another."""
    assert problems(specs, channels) == expected
    with pytest.raises(ConfigError) as caught:
        Orchestrator(specs, channels)
    assert [str(problem) for problem in caught.value.problems] == expected
    assert str(caught.value).startswith("wiring: ")


def test_a_plan_with_problems_shows_them() -> None:
    """Who prints a plan sees that it cannot be built."""
    assert str(plan([PluginSpec("idle", Idle)], {"a": 1})).splitlines()[1].startswith("channels.a: ")


def test_classes_of_one_name_are_told_apart() -> None:
    """If the two types of a mismatch look the same, they are shown with their modules."""

    def other(packets: object) -> Plugin:
        raise NotImplementedError

    twin = type("int", (), {"__module__": "elsewhere"})
    other.__annotations__["packets"] = Receiver[twin]  # type: ignore[valid-type]
    (problem,) = problems([PluginSpec("source", Source), PluginSpec("other", other)], {"packets": 1})
    assert "sends int, but other.packets receives elsewhere.int" in problem


def test_optional_ports_of_disabled_plugins_are_left_open() -> None:
    """An optional port whose channel lost its other end gets None; a channel nobody is left for is no problem."""
    specs = [
        PluginSpec("source", MaybeSource),
        PluginSpec("relay", Relay, enabled=False),
        PluginSpec("maybe", MaybeSink, inputs={"packets": "unused"}),
        PluginSpec("feeder", MaybeSource, outputs={"packets": "unused"}, enabled=False),
    ]
    made = plan(specs, {"packets": 1, "alerts": 1, "unused": 1})
    assert made.problems == ()
    assert made.channels == {}
    assert made.ports == {"source": {"packets": None}, "maybe": {"packets": None, "alerts": None}}
    registry = Orchestrator(specs, {"packets": 1, "alerts": 1, "unused": 1}).build()
    assert registry["source"].packets is None  # type: ignore[attr-defined]


def test_a_disabled_plugin_is_not_examined() -> None:
    """What is wrong with a plugin that is not built keeps no application from starting."""
    assert problems([PluginSpec("off", unreadable, inputs={"nope": "nope"}, enabled=False)], {}) == []


def test_specs_keep_copies() -> None:
    """A spec is a value: who made it cannot change it through the mapping it was made of."""
    settings = {"prefix": "a"}
    spec = PluginSpec("relay", Relay, settings)
    settings["prefix"] = "b"
    assert spec.settings == {"prefix": "a"}


# Building.


def test_built_plugins_are_wired_and_named() -> None:
    """Plugins get their handles, name, settings and deadlines, whether or not their constructor takes them."""
    orchestrator = Orchestrator(
        [
            PluginSpec("first", Relay, {"prefix": ">"}, deadlines=Deadlines(stop=1)),
            PluginSpec("in", Source),
            PluginSpec("out", Sink, deadlines=Deadlines(stop=2)),
        ],
        CHANNELS,
        clock=lambda: 7.0,
    )
    registry = orchestrator.build()
    assert [info.name for info in registry.list()] == ["in", "first", "out"]
    relay, source, sink = registry["first"], registry["in"], registry["out"]
    assert isinstance(relay, Relay)
    assert isinstance(source, Source)
    assert isinstance(sink, Sink)
    assert (relay.prefix, relay._guard.deadlines.stop, sink._guard.deadlines.stop) == (">", 1, 2)
    source.packets.try_send(3)
    assert (len(relay.packets), relay.packets.capacity) == (1, 4)
    assert isinstance(sink.alerts, Receiver)


@attrs.frozen
class Frozen(Plugin):
    info = PluginInfo("frozen", "1.0.0")
    packets: Receiver[int] = attrs.field(init=False)


def test_a_factory_takes_what_it_names() -> None:
    """A function gets the keywords it names; what it does not take is put in afterwards, in a frozen class too."""
    seen: dict[str, object] = {}

    def make(name: str, packets: Sender[int], size: int) -> Plugin:
        seen.update(name=name, size=size)
        plugin = MaybeSource()
        plugin.packets = packets
        return plugin

    registry = Orchestrator([PluginSpec("a", make, {"size": 3}), PluginSpec("b", Frozen)], {"packets": 1}).build()
    assert seen == {"name": "a", "size": 3}
    assert registry["a"].info.name == "a"
    assert isinstance(registry["b"].packets, Receiver)  # type: ignore[attr-defined]


def test_a_build_is_all_or_nothing() -> None:
    """Every factory is attempted, all failures are in one report, and no handle or registration is left."""
    kept: list[Sender[int] | Receiver[int]] = []
    made: list[Plugin] = []
    twin = Idle()

    def good(packets: Receiver[int]) -> Plugin:
        kept.append(packets)
        made.append(Idle())
        return made[0]

    def bad(packets: Sender[int]) -> Plugin:
        kept.append(packets)
        raise ValueError("port 80 is taken")

    async def late() -> Plugin:
        raise NotImplementedError

    factories: dict[str, Callable[..., Any]] = {
        "bad": bad,
        "good": good,
        "idle": Idle,
        "late": late,
        "none": lambda: None,
        "one": lambda: twin,
        "two": lambda: twin,
    }
    specs = [PluginSpec(name, factory) for name, factory in factories.items()]
    specs.append(PluginSpec("setting", Relay, {"prefx": ""}, inputs={"packets": "p"}, outputs={"alerts": "a"}))
    specs += [PluginSpec("x", MaybeSource, outputs={"packets": "p"}), PluginSpec("y", Sink, inputs={"alerts": "a"})]
    orchestrator = Orchestrator(specs, {"packets": 1, "p": 1, "a": 1})
    with pytest.raises(ConfigError) as caught:
        orchestrator.build()
    texts = [str(problem) for problem in caught.value.problems]
    assert texts[:4] == [
        "plugins.bad: its factory raised ValueError: port 80 is taken",
        "plugins.late: its factory is asynchronous; make the plugin at once, and await in its on_init",
        "plugins.none: its factory returned None, which is not a Plugin",
        (
            "plugins.two: its factory returned a plugin that is in use already, as 'one'; "
            "it has to make a new one at each call"
        ),
    ]
    assert texts[4].startswith("plugins.setting: its constructor raised TypeError: ")
    assert len(texts) == 5
    assert len(kept) == 2
    assert all(handle.closed for handle in kept)
    PluginRegistry().register(made[0])  # which it refuses while it is registered elsewhere


def test_a_build_that_is_interrupted_leaves_nothing() -> None:
    """Not only errors: a KeyboardInterrupt in a factory goes through, and closes what was made."""
    kept: list[Sender[int]] = []

    def first(packets: Sender[int]) -> Plugin:
        kept.append(packets)
        return Idle()

    def second(packets: Receiver[int]) -> Plugin:
        raise KeyboardInterrupt

    orchestrator = Orchestrator([PluginSpec("a", first), PluginSpec("b", second)], {"packets": 1})
    with pytest.raises(KeyboardInterrupt):
        orchestrator.build()
    assert kept[0].closed


def test_an_orchestrator_builds_once() -> None:
    """A second build is refused, because there is one set of channels; after a failed one there may be another."""
    broken = [True]

    def make() -> Plugin:
        if broken.pop():
            raise OSError
        return Idle()

    broken.insert(0, False)
    orchestrator = Orchestrator([PluginSpec("a", make)], {})
    with pytest.raises(ConfigError, match=r"plugins\.a: its factory raised OSError"):
        orchestrator.build()
    assert orchestrator.build().count() == 1
    with pytest.raises(PluginError, match="builds its plugins once"):
        orchestrator.build()


def test_bad_names_are_found_when_the_plugin_is_named() -> None:
    """What a plugin refuses is told as a problem of its spec."""
    with pytest.raises(ConfigError, match=r"plugins\. : its constructor raised DefinitionError: "):
        Orchestrator([PluginSpec(" ", Idle)], {}).build()


# Letting go.


def chain(**others: Callable[..., Plugin]) -> tuple[Orchestrator, PluginRegistry, Any, Any, Any]:
    """Build source -> relay -> sink, with other classes for some of them."""
    specs = [PluginSpec(spec.name, others.get(spec.name, spec.factory)) for spec in CHAIN]
    orchestrator = Orchestrator(specs, CHANNELS)
    registry = orchestrator.build()
    return orchestrator, registry, registry["source"], registry["relay"], registry["sink"]


def test_a_shutdown_drains_from_end_to_end() -> None:
    """Everything that was sent before stop_all arrives, and the receipts say so."""

    async def main() -> None:
        orchestrator, registry, source, _relay, sink = chain()
        async with registry.running():
            for number in range(4):
                await source.packets.send(number)
        assert sink.seen == ["0", "1", "2", "3"]
        assert orchestrator.receipt() == tuple(
            Receipt(name, registry[name].state, 0.0, clean=True) for name in ("source", "relay", "sink")
        )

    run(main)


class BrokenTwice(Source):
    """Fails to start, and then fails to stop from failed, which causes no event."""

    async def on_start(self) -> None:
        raise ValueError("no such device")

    async def on_stop(self) -> None:
        raise OSError("cannot release it either")


def test_a_producer_that_ends_badly_ends_its_channels() -> None:
    """A stop hook that raises from failed causes no event, but the consumer drains all the same, in no time."""

    async def main() -> None:
        orchestrator, registry, source, relay, sink = chain(source=BrokenTwice)
        await registry.init_all()
        await relay.start()
        await sink.start()
        source.packets.try_send(1)
        with pytest.raises(ValueError, match="no such device"):
            try:
                await source.start()
            except PluginError as error:
                raise error.__cause__ from None  # type: ignore[misc]
        with pytest.raises(StopFailed):
            await registry.stop_all()
        assert (relay.seen, sink.seen) == ([1], ["1"])
        assert asyncio.get_running_loop().time() == 0
        first, second, third = orchestrator.receipt()
        assert (first.state, first.clean) == ("failed", False)
        assert first.note == (
            "failed: ValueError: no such device; plugin 'source' failed in stop: OSError: cannot release it either"
        )
        assert second.clean
        assert third.clean

    run(main)


def test_a_producer_that_was_never_started_ends_its_channels() -> None:
    """A consumer that runs alone is not kept waiting for plugins that stop_all has nothing to do for."""

    async def main() -> None:
        orchestrator, registry, source, _relay, sink = chain()
        await sink.init()
        await sink.start()
        await registry.stop_all()
        assert asyncio.get_running_loop().time() == 0
        assert sink.state == "stopped"
        assert source.packets.closed
        assert [receipt.clean for receipt in orchestrator.receipt()] == [True, True, True]

    run(main)


def test_plugins_stopped_one_by_one() -> None:
    """Without stop_all too, a producer at rest, or failed by its stop hook, ends its channels."""

    class BadStop(Relay):
        async def on_stop(self) -> None:
            raise OSError

    async def main() -> None:
        orchestrator, registry, source, relay, sink = chain(relay=BadStop)
        await registry.init_all()
        await registry.start_all()
        await source.packets.send(1)
        await source.stop()
        with pytest.raises(PluginError):
            await relay.stop()
        assert relay.state == "failed"
        await sink.stop()
        assert sink.seen == ["1"]
        assert asyncio.get_running_loop().time() == 0
        assert orchestrator.receipt()[1].note == "failed: OSError"

    run(main)


def test_a_consumer_at_rest_turns_producers_away() -> None:
    """A producer whose consumer is gone for good is told, instead of waiting for room for ever."""

    async def main() -> None:
        _, registry, source, relay, _ = chain()
        await registry.init_all()
        await registry.start_all()
        await relay.stop()
        with pytest.raises(ChannelClosed):
            await source.packets.send(1)

    run(main)


def test_what_was_left_is_told() -> None:
    """A consumer that failed does not drain; what was left for it, and why, is in its receipt."""

    async def main() -> None:
        orchestrator, registry, source, relay, _ = chain()
        await registry.init_all()
        await registry.start_all()
        await relay.fail(ValueError("out of\nmemory"))
        source.packets.try_send(1)
        source.packets.try_send(2)
        assert [receipt.note for receipt in orchestrator.receipt()] == [
            "not stopped",
            "failed: ValueError: out of memory",
            "not stopped",
        ]
        await registry.stop_all()
        receipt = orchestrator.receipt()[1]
        assert (receipt.state, receipt.clean, receipt.undelivered) == ("stopped", False, {"packets": 2})
        assert str(receipt) == (
            "relay: stopped in 0.000 s, undelivered: 2 in packets; failed: ValueError: out of memory"
        )

    run(main)


def test_a_late_stop_is_told() -> None:
    """A plugin that passed its deadline was forced, and the receipt says how long it took and where it waited."""

    class Slow(Sink):
        async def on_stop(self) -> None:
            await asyncio.sleep(3600)

    class Steady(Source):
        async def on_stop(self) -> None:
            await asyncio.sleep(2)

    async def main() -> None:
        orchestrator, registry, *_ = chain(sink=Slow, source=Steady)
        await registry.init_all()
        await registry.start_all()
        with pytest.raises(StopFailed):
            await registry.stop_all()
        steady, _, slow = orchestrator.receipt()
        assert (steady.clean, slow.clean) == (True, False)
        assert steady.seconds == pytest.approx(2)
        assert slow.seconds == pytest.approx(30)
        assert "not done within its deadline of 30 s" in slow.note

    run(main)


def test_a_held_plugin_is_rebuilt_with_its_messages() -> None:
    """While a plugin is held its channels outlive it, and a fresh one goes on where it left off."""

    async def main() -> None:
        orchestrator, registry, source, relay, sink = chain()
        for name in ("source", "relay"):
            orchestrator.hold(name)
        await registry.init_all()
        await registry.start_all()
        await relay.fail(ValueError())
        await relay.stop()
        await source.packets.send(1)
        await source.stop()
        fresh = orchestrator.rebuild("relay")
        assert isinstance(fresh, Relay)
        assert fresh.info.name == "relay"
        assert fresh is not relay
        registry.unregister("relay")
        registry.register(fresh)
        await fresh.init()
        await fresh.start()
        again = orchestrator.rebuild("source")
        await again.packets.send(2)  # type: ignore[attr-defined]
        for _ in range(5):
            await asyncio.sleep(0)
        assert (fresh.seen, sink.seen) == ([1, 2], ["1", "2"])
        registry.unregister("sink")
        registry.register(sink)  # the place that a replacement keeps
        orchestrator.release("source")
        await registry.stop_all()
        assert [receipt.clean for receipt in orchestrator.receipt()] == [True, True, True]
        with pytest.raises(PluginError, match=r"its channels were let go; call hold\('relay'\) before it stops"):
            orchestrator.rebuild("relay")

    run(main)


def test_a_channel_stays_for_those_who_may_come_back() -> None:
    """One producer that is gone does not end a channel for another one that is held."""

    async def main() -> None:
        specs = [PluginSpec("gone", Source), PluginSpec("back", Source), *CHAIN[:2], PluginSpec("idle", Idle)]
        orchestrator = Orchestrator(specs, CHANNELS)
        registry = orchestrator.build()
        orchestrator.hold("back")
        await registry.init_all()
        await registry.start_all()
        with pytest.raises(PluginError, match="'idle' has not ended yet"):
            orchestrator.rebuild("idle")
        for name in ("back", "gone"):
            await registry[name].stop()
        fresh = orchestrator.rebuild("back")
        await fresh.packets.send(1)  # type: ignore[attr-defined]
        await registry.stop_all()
        assert registry["sink"].seen == ["1"]  # type: ignore[attr-defined]

    run(main)


def test_a_shutdown_does_not_wait_for_a_replacement() -> None:
    """A fresh plugin that has not taken its place when stop_all comes lets go of the channels, too."""

    async def main() -> None:
        orchestrator, registry, source, relay, sink = chain()
        orchestrator.hold("source")
        await registry.init_all()
        await registry.start_all()
        await source.packets.send(1)
        await source.stop()
        fresh = orchestrator.rebuild("source")
        await registry.stop_all()
        assert fresh.packets.closed  # type: ignore[attr-defined]
        assert (relay.seen, sink.seen) == ([1], ["1"])

    run(main)


def test_a_port_that_is_kept_elsewhere_is_closed_too() -> None:
    """A plugin that hides its handle where its own stop cannot find it loses it at rest, held or not."""

    class Hidden(Plugin):
        info = PluginInfo("hidden", "1.0.0")

        def __init__(self, packets: Sender[int]) -> None:
            self.ends = [packets]

    async def main() -> None:
        orchestrator, registry, source, relay, _ = chain(source=Hidden)
        orchestrator.hold("source")
        await registry.init_all()
        await registry.start_all()
        await source.ends[0].send(1)
        await source.stop()
        assert source.ends[0].closed
        assert not relay.packets.producers_gone
        orchestrator.release("source")
        assert relay.packets.producers_gone
        await registry.stop_all()

    run(main)


def test_a_rebuild_needs_an_ended_plugin() -> None:
    """A plugin with open ends is not replaced, nor one that does not exist; one that cannot be made may be retried."""
    calls = 0

    def sometimes(packets: Receiver[int]) -> Plugin:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError("not now")
        plugin = MaybeSink()
        plugin.packets = packets
        return plugin

    async def main() -> None:
        orchestrator = Orchestrator([PluginSpec("sink", sometimes), PluginSpec("source", Source)], {"packets": 1})
        registry = orchestrator.build()
        with pytest.raises(PluginError, match="has not ended yet, so it cannot be rebuilt; stop it first"):
            orchestrator.rebuild("sink")
        for call in (orchestrator.rebuild, orchestrator.hold, orchestrator.release):
            with pytest.raises(NotFound, match=r"no plugin named 'snk' is registered \(did you mean 'sink'\?\)"):
                call("snk")
        orchestrator.hold("sink")
        await registry.init_all()
        await registry.start_all()
        await registry["sink"].stop()
        with pytest.raises(ConfigError, match=r"plugins\.sink: its factory raised OSError: not now"):
            orchestrator.rebuild("sink")
        assert orchestrator.rebuild("sink").state == "created"

    run(main)


def test_receipts_need_a_build() -> None:
    """There is nothing to tell before anything was built."""
    with pytest.raises(NotFound):
        Orchestrator([PluginSpec("idle", Idle)], {}).receipt()


def test_stop_all_tells_its_owner_of_each_attempt() -> None:
    """The owner of the plugins hears of each one, also of those that cause no event, before the next one is stopped."""
    told: list[tuple[str, str | None]] = []

    def text(error: PluginError | None) -> str | None:
        return None if error is None else str(error)

    class Bad(Plugin):
        info = PluginInfo("bad", "1.0.0")

        async def on_stop(self) -> None:
            told.append(("stopping", None))
            raise OSError

    async def main() -> None:
        registry = PluginRegistry(on_attempted=lambda plugin, _, error: told.append((plugin.info.name, text(error))))
        for name in ("a", "b"):
            registry.register(Bad(name=name))
        registry.register(Idle())
        await registry["a"].init()
        await registry["b"].init()
        with pytest.raises(StopFailed):
            await registry.stop_all()

    run(main)
    assert told == [
        ("stopping", None),
        ("a", "plugin 'a' failed in stop: OSError"),
        ("stopping", None),
        ("b", "plugin 'b' failed in stop: OSError"),
        ("idle", None),
    ]
