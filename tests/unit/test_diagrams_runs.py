"""Pictures of what runs and what ran: topologies, traces, coverage, products."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fsm_plugins import (
    LIFECYCLE,
    HookFailed,
    InvalidState,
    Plugin,
    PluginInfo,
    PluginRegistry,
    Receiver,
    Sender,
    State,
    TransitionEvent,
)
from fsm_plugins.app import Application
from fsm_plugins.diagrams import (
    SEQUENCE_FORMATS,
    Diagram,
    Edge,
    Group,
    Node,
    Recorder,
    Sequence,
    Step,
    coverage,
    highlight,
    of_application,
    of_lifecycle,
    of_plan,
    product,
    read_trace,
    render,
    render_sequence,
    write_trace,
)
from fsm_plugins.orchestrator import PluginSpec, plan

ROOT = Path(__file__).parents[2]


class Source(Plugin):
    info = PluginInfo("source", "1.0.0")
    packets: Sender[bytes]

    def __init__(self, packets: Sender[bytes]) -> None:
        self.packets = packets


class Sink(Plugin):
    info = PluginInfo("sink", "1.0.0")
    packets: Receiver[bytes]

    def __init__(self, packets: Receiver[bytes]) -> None:
        self.packets = packets

    async def on_start(self) -> None:
        raise OSError("no route\nto host")


SPECS = [PluginSpec("sink", Sink), PluginSpec("a", Source), PluginSpec("b", Source)]


def recorded() -> Recorder:
    """Record a start that fails, and a call that was refused."""
    ticks = iter(range(100))
    registry = PluginRegistry(clock=lambda: float(next(ticks)))
    recorder = Recorder()
    registry.subscribe(recorder)

    class Good(Plugin):
        info = PluginInfo("good", "1.0.0")

    class Bad(Plugin):
        info = PluginInfo("bad", "1.0.0")

        async def on_start(self) -> None:
            raise OSError("no route\nto host")

    async def main() -> None:
        registry.register(Good())
        registry.register(Bad())
        try:
            await registry["good"].start()
        except InvalidState as refusal:
            recorder.refused(refusal.name, "start", refusal.current)
        with pytest.raises(HookFailed):
            async with registry.running():
                pass

    asyncio.run(main())
    return recorder


def test_a_plan_is_drawn_in_the_order_of_registration() -> None:
    """Plugins are numbered as they are registered; each producer of a channel has an arrow, with type and capacity."""
    diagram = of_plan(plan(SPECS, {"packets": 16}), title="app")
    assert [(node.id, node.note) for node in diagram.nodes] == [("a", "1"), ("b", "2"), ("sink", "3")]
    assert [(e.source, e.dest, e.text) for e in diagram.edges] == [
        ("a", "sink", "packets [bytes, 16]"),
        ("b", "sink", "packets [bytes, 16]"),
    ]
    assert diagram.direction == "right"


def test_the_tables_of_a_plan_speak_of_plugins_and_channels() -> None:
    """A lifecycle has states and triggers; a topology has neither, and a highlight that is refused says the same."""
    diagram = of_plan(plan(SPECS, {"packets": 16}))
    first, second = render(diagram, "markdown").split("\n\n")
    assert (first.splitlines()[0], second.splitlines()[0]) == ("| plugin | packets |", "| from | channel | to |")
    with pytest.raises(ValueError, match="there is no plugin 'sikn' to highlight; there are: a, b, sink"):
        highlight(diagram, ["sikn"])


def test_an_application_is_drawn_with_its_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """The states are those the plugins are in when the picture is made, each painted for what it means."""
    monkeypatch.chdir(ROOT / "examples" / "words")

    async def main() -> None:
        application = Application.from_config("words.toml")
        before = of_application(application)
        assert {node.tone for node in before.nodes} == {"plain"}
        first, second, third = application.registry
        await first.init()
        await second.fail(OSError())
        await third.init()
        await third.fail(OSError())
        await third.stop()
        now = of_application(application)
        assert [node.tone for node in now.nodes] == ["good", "bad", "muted"]
        assert [node.note for node in now.nodes] == ["1, initialized", "2, failed", "3, stopped"]
        await application.registry.stop_all()

    asyncio.run(main())


def test_a_recorder_keeps_what_happened_and_what_was_refused() -> None:
    """Steps are in order, with the times of the clock and the causes in words."""
    steps = recorded().steps
    assert [(s.plugin, s.trigger, s.source, s.dest) for s in steps] == [
        ("good", "start", "created", None),
        ("good", "init", "created", "initialized"),
        ("bad", "init", "created", "initialized"),
        ("good", "start", "initialized", "running"),
        ("bad", "fail", "initialized", "failed"),
        ("good", "stop", "running", "stopped"),
        ("bad", "stop", "failed", "stopped"),
    ]
    assert steps[4].cause is not None and steps[4].cause.startswith("OSError: no route")
    assert [step.at for step in steps[1:]] == [0, 1, 2, 3, 4, 5]


def test_a_trace_survives_its_file() -> None:
    """What is written is read back, to the character."""
    steps = tuple(recorded().steps)
    assert read_trace(write_trace(steps)) == steps
    assert read_trace("\n" + write_trace(steps) + "\n\n") == steps


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1 is not JSON: .* at column"),
        ("\n[1]", "line 2: it should be an object"),
        ('{"plugin": 3}', "line 1: 'plugin' should be a text, not 3"),
        ('{"plugin": "a", "trigger": "b", "source": "c"}', "'dest' should be a text or null, and it is missing"),
        ('{"plugin": "a", "trigger": "b", "source": "c", "dest": null, "at": true}', "'at' should be a number"),
    ],
)
def test_a_trace_that_is_wrong_is_refused(text: str, says: str) -> None:
    """The error names the line, the key and what is wrong with it."""
    with pytest.raises(ValueError, match=says):
        read_trace(text)


def test_a_sequence_takes_events() -> None:
    """Events of a listener need not be converted first."""
    event = TransitionEvent("p", "fail", State.CREATED, State.FAILED, 1.0, 0.5, OSError("gone"))
    assert Sequence([event]).steps == (Step("p", "fail", "created", "failed", 1.0, 0.5, "OSError: gone"),)


@pytest.mark.parametrize("format_", SEQUENCE_FORMATS)
def test_every_step_is_in_every_sequence(format_: str) -> None:
    """Triggers, destinations and causes of all steps are told, and the same again at the next time."""
    sequence = Sequence(recorded().steps, title="A start that fails")
    text = render_sequence(sequence, format_)
    assert render_sequence(sequence, format_) == text
    assert text.count("refused") == 1
    assert text.count("stopped") == 2
    assert text.count("no route⏎to host" if format_ in ("ascii", "svg") else "no route") == 1
    assert "A start that fails" in text


def test_a_sequence_without_times_is_the_same_at_any_time() -> None:
    """For documentation: when something happened, and how long it took, is left out."""
    first = Sequence(recorded().steps, times=False)
    later = Sequence(
        [Step(s.plugin, s.trigger, s.source, s.dest, s.at * 7, 3.0, s.cause) for s in first.steps], times=False
    )
    for format_ in SEQUENCE_FORMATS:
        assert render_sequence(first, format_) == render_sequence(later, format_)


def test_the_picture_of_a_sequence_is_well_formed() -> None:
    """Also with names that are no XML, and without any step."""
    odd = Step('<&"', "t]]>", "\x00", "日本", cause="<b>")
    root = ElementTree.fromstring(render_sequence(Sequence([odd], title="<"), "svg"))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["<", '<&"', "\ufffd", "0.000 s", "t]]>: <b>", "日本"]
    assert ElementTree.fromstring(render_sequence(Sequence([]), "svg")) is not None


def test_coverage_counts_arcs_and_refusals() -> None:
    """Taken arcs tell how often, others that they never were; states tell what was refused and never tried."""
    diagram = coverage(of_lifecycle(LIFECYCLE), recorded().steps)
    told = {(e.label, e.source): (e.detail, e.tone, e.style) for e in diagram.edges}
    assert told["init", "created"] == ("2 times", "good", "solid")
    assert told["fail", "initialized"] == ("once", "good", "dashed")
    assert told["fail", "running"] == ("never", "warning", "dotted")
    notes = {node.id: node.note for node in diagram.nodes}
    assert notes["created"] == "refused start once\nnever tried: stop"
    assert notes["running"] == "never tried: init, start"
    assert all(node.tone != "muted" for node in diagram.nodes)


def test_coverage_of_nothing_is_all_never() -> None:
    """States that nobody came to are muted, except the bad one."""
    diagram = coverage(of_lifecycle(LIFECYCLE), [])
    assert {edge.detail for edge in diagram.edges} == {"never"}
    assert {node.tone for node in diagram.nodes} == {"muted", "bad"}


def test_coverage_shows_what_the_lifecycle_does_not_have() -> None:
    """A move that was made and is not in the table is painted as bad, and so is a state."""
    diagram = coverage(of_lifecycle(LIFECYCLE), [Step("p", "pause", "running", "paused")])
    assert diagram.find("paused").tone == "bad"
    assert [e.tone for e in diagram.edges if e.label == "pause"] == ["bad"]


def test_a_product_has_every_combination() -> None:
    """Each pair of states that can be reached together, and for each the moves of both."""
    one = of_lifecycle(LIFECYCLE)
    both = product({"a": one, "b": one}, "both")
    assert len(both.nodes) == len(one.nodes) ** 2
    assert len(both.edges) == 2 * len(one.nodes) * len(one.edges)
    assert [node.label for node in both.nodes if node.final] == ["stopped, stopped"]
    assert [node.label for node in both.nodes if node.initial] == ["created, created"]
    assert sum(node.tone == "bad" for node in both.nodes) == 2 * len(one.nodes) - 1


def test_a_product_keeps_names_apart_that_contain_its_own_sign() -> None:
    """Ids of combinations are unique whatever the states are called."""
    odd = Diagram([Node("a|b", "1", initial=True), Node("a", "2", initial=True)], [])
    other = Diagram([Node("c", "3", initial=True), Node("b|c", "4", initial=True)], [])
    assert len(product({"x": odd, "y": other}).nodes) == 4


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (Diagram([], [], [Group("g", "g")]), "without groups, and 'x' has some"),
        (Diagram([Node("a", "a")], []), "'x' has no initial state"),
        (
            Diagram(
                [Node(str(n), "", initial=n == 0) for n in range(30)], [Edge(str(n), str(n + 1)) for n in range(29)]
            ),
            "more than 400 combinations",
        ),
    ],
)
def test_a_product_that_makes_no_picture_is_refused(part: Diagram, says: str) -> None:
    """The error tells which part is at fault."""
    with pytest.raises(ValueError, match=says):
        product({"x": part, "y": part})


def test_two_hundred_plugins_are_drawn_in_time() -> None:
    """An application of 200 plugins and 400 channels: SVG within 2 s, Mermaid within 50 ms."""
    import random
    import time

    from fsm_plugins.diagrams import flowchart, svg

    chance = random.Random(1)
    names = [f"plugin-{number}" for number in range(200)]
    edges = []
    for number in range(400):
        source = chance.randrange(199)
        edges.append(Edge(names[source], names[chance.randrange(source + 1, 200)], f"channel-{number}", "bytes, 64"))
    diagram = Diagram([Node(name, name) for name in names], edges, direction="right")

    def best(draw: Callable[[Diagram], str]) -> float:
        """Return the shortest of some times, in seconds: other work on the machine is not our business."""
        times = []
        for _ in range(3):
            before = time.perf_counter()
            draw(diagram)
            times.append(time.perf_counter() - before)
        return min(times)

    assert best(svg) < 2
    assert best(flowchart) < 0.05
