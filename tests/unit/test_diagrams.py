"""What is drawn of lifecycles, nested machines and registries, and how it looks in each format."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Any

import pytest
import transitions
from transitions.extensions.nesting import HierarchicalMachine

from fsm_plugins import LIFECYCLE, RESTARTABLE, Lifecycle, Plugin, PluginInfo, PluginRegistry
from fsm_plugins.diagrams import (
    FORMATS,
    THEMES,
    Diagram,
    Edge,
    Group,
    Node,
    ascii_art,
    highlight,
    of_lifecycle,
    of_machine,
    of_registry,
    render,
    side_by_side,
)
from fsm_plugins.diagrams.palette import contrast

GOLDEN = Path(__file__).parent / "golden" / "diagrams"


def nested() -> HierarchicalMachine:
    """A machine with a state in a state in a state, and transitions across every border."""
    inner: dict[str, Any] = {"name": "b", "initial": "y", "children": ["x", {"name": "y", "final": True}]}
    work: dict[str, Any] = {"name": "work", "initial": "a", "children": ["a", inner], "transitions": [["go", "a", "b"]]}
    return HierarchicalMachine(
        states=["idle", work, {"name": "over", "final": True}],
        initial="idle",
        transitions=[
            ["begin", "idle", "work"],
            {"trigger": "poke", "source": "work_b", "dest": None, "conditions": "is_ready", "unless": "is_hot"},
            ["jump", "idle", "work_b_x"],
            ["leave", "work", "over"],
        ],
    )


PICTURES = {
    "lifecycle": of_lifecycle(LIFECYCLE, title="The lifecycle of a plugin"),
    "highlighted": of_lifecycle(RESTARTABLE, marks={"running": "3 plugins"}),
    "nested": of_machine(nested(), title='Nested: "work"'),
}


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "html"])  # a page is tried out instead
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_what_they_were(name: str, format_: str) -> None:
    """Each format of each picture is, to the byte, the file that somebody looked at.

    Set FSM_PLUGINS_WRITE_GOLDEN to write the files anew, and look at them before you commit them.
    """
    file = GOLDEN / f"{name}.{format_}{FORMATS[format_].suffix}"
    text = render(PICTURES[name], format_)
    if "FSM_PLUGINS_WRITE_GOLDEN" in os.environ:
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_nested_states_are_groups() -> None:
    """A compound state is a group, with its own initial state, and edges end at it or inside it as declared."""
    diagram = PICTURES["nested"]
    assert [(group.id, group.label, group.group) for group in diagram.groups] == [
        ("work", "work", None),
        ("work_b", "b", "work"),
    ]
    assert [item.id for item in diagram.items if item.initial] == ["idle", "work_a", "work_b_y"]
    assert [item.id for item in diagram.items if item.final] == ["work_b_y", "over"]
    assert {(e.label, e.source, e.dest) for e in diagram.edges} == {
        ("begin", "idle", "work"),
        ("poke", "work_b", "work_b"),
        ("jump", "idle", "work_b_x"),
        ("leave", "work", "over"),
        ("go", "work_a", "work_b"),
    }
    assert next(e for e in diagram.edges if e.label == "poke").text == "poke [is_ready & not is_hot & internal]"


def test_parallel_states_and_an_initial_path() -> None:
    """Parallel regions begin all of them; an initial state deep inside marks its compound state, too."""
    parallel = {"name": "p", "parallel": [{"name": "1", "children": ["a"], "initial": "a"}, {"name": "2"}]}
    states: list[Any] = ["idle", parallel]
    diagram = of_machine(HierarchicalMachine(states=states, initial="idle"))
    assert [item.id for item in diagram.items if item.initial] == ["p_1", "idle", "p_1_a", "p_2"]
    deep: Any = {"name": "p", "children": [{"name": "1", "children": ["a", "b"]}, "2"]}
    diagram = of_machine(HierarchicalMachine(states=[deep], initial="p_1_b"))
    assert [item.id for item in diagram.items if item.initial] == ["p", "p_1", "p_1_b"]


def test_states_may_be_of_an_enumeration() -> None:
    """Members are shown by name; what `transitions` adds by itself is left out, what was declared is not."""

    class Door(enum.Enum):
        OPEN = 1
        SHUT = 2

    shut: Any = ["shut", Door.OPEN, Door.SHUT]
    machine = transitions.Machine(states=Door, initial=Door.OPEN, transitions=[shut])
    assert of_machine(machine).edges == (Edge("OPEN", "SHUT", "shut"),)
    declared = transitions.Machine(
        states=["a", "b"], initial="a", transitions=[["to_b", "a", "b"]], auto_transitions=False
    )
    assert of_machine(declared).edges == (Edge("a", "b", "to_b"),)


def test_what_a_machine_was_given_later_is_drawn() -> None:
    """The machine is the authority: a transition added to it is legal from then on, and in the picture."""
    lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
    lifecycle.machine.add_transition("start", "stopped", "running", conditions="is_clean")
    (added,) = set(of_lifecycle(lifecycle).edges) - set(of_lifecycle(LIFECYCLE).edges)
    assert (added.source, added.dest, added.text) == ("stopped", "running", "start [is_clean]")


def test_only_machines_can_be_drawn() -> None:
    """The refusal says what can be."""
    with pytest.raises(TypeError, match="a Lifecycle or of a machine of transitions, not of 3"):
        of_machine(3)


class Clock(Plugin):
    info = PluginInfo("clock", "1.0.0")


class Lamp(Plugin):
    info = PluginInfo("lamp", "1.0.0")
    lifecycle = RESTARTABLE


def test_a_registry_shows_who_is_where() -> None:
    """Each state in which there are plugins is highlighted with their number and the first names."""
    registry = PluginRegistry()
    for number in range(5):
        registry.register(Clock(name=f"c{number}"))
    first, *others = of_registry(registry).nodes
    assert (first.tone, first.note) == ("accent", "5: c0, c1, c2 and 2 more")
    assert all(not node.note for node in others)


def test_a_registry_of_several_lifecycles_shows_each() -> None:
    """Plugins of different lifecycles are in groups of their own, and each is counted in its own."""
    registry = PluginRegistry()
    registry.register(Clock())
    registry.register(Lamp())
    diagram = of_registry(registry, title="now")
    assert diagram.title == "now"
    assert [group.label for group in diagram.groups] == ["Clock", "Lamp"]
    assert [(node.id, node.note) for node in diagram.nodes if node.note] == [
        ("Clock/created", "1: clock"),
        ("Lamp/created", "1: lamp"),
    ]


def test_an_empty_registry_is_an_empty_diagram() -> None:
    """Nothing is invented, and every format takes it."""
    diagram = of_registry(PluginRegistry())
    assert diagram == Diagram([], [])
    for format_ in FORMATS:
        assert render(diagram, format_).endswith("\n")


def test_a_highlight_of_nothing_is_refused() -> None:
    """A state that is misspelt is an error that says which there are."""
    with pytest.raises(ValueError, match="there is no state 'runing' to highlight; there are: created, failed"):
        of_lifecycle(LIFECYCLE, marks=["runing"])


def test_a_highlight_keeps_an_older_note() -> None:
    """Marks without a note do not take one away."""
    diagram = highlight(Diagram([Node("a", "a", note="old")], []), ["a"])
    assert (diagram.nodes[0].note, diagram.nodes[0].tone) == ("old", "accent")


@pytest.mark.parametrize(
    ("nodes", "edges", "groups", "text"),
    [
        ([Node("a", "a"), Node("a", "b")], [], [], "two nodes or groups of the diagram have the id 'a'"),
        ([Node("a", "a")], [], [Group("a", "a")], "two nodes or groups"),
        ([Node("a", "a", "g")], [], [], "the node 'a' is in 'g', which is not a group"),
        ([], [], [Group("a", "a", "b"), Group("b", "b", "a")], "the group 'a' is in 'b', which is not a group before"),
        ([Node("a", "a")], [Edge("a", "b")], [], "from 'a' to 'b' ends at 'b', which is not in the diagram"),
    ],
)
def test_a_diagram_that_cannot_be_drawn_is_refused(
    nodes: list[Node], edges: list[Edge], groups: list[Group], text: str
) -> None:
    """The error names the thing that does not fit."""
    with pytest.raises(ValueError, match=text):
        Diagram(nodes, edges, groups)


def test_an_unknown_format_is_refused() -> None:
    """The error lists the formats."""
    with pytest.raises(ValueError, match="no format 'gif'; there are: mermaid, flowchart, dot"):
        render(Diagram([], []), "gif")


def test_side_by_side_keeps_groups() -> None:
    """Parts with groups are put in groups whole, with their edges."""
    whole = side_by_side({"x": PICTURES["nested"], "y": PICTURES["nested"]})
    assert [group.group for group in whole.groups] == [None, "x", "x/work", None, "y", "y/work"]
    assert len(whole.edges) == 2 * len(PICTURES["nested"].edges)


def test_a_label_may_look_like_the_rule_of_a_table() -> None:
    """Dashes in a cell are a label, as any other text."""
    assert "| a | go | --- |" in render(Diagram([Node("a", "a"), Node("b", "---")], [Edge("a", "b", "go")]), "markdown")


def test_plain_ascii_escapes_what_is_not() -> None:
    """A terminal that knows nothing else still shows everything."""
    assert "caf\\xe9" in ascii_art(Diagram([Node("a", "café")], []), unicode=False)


@pytest.mark.parametrize("theme", THEMES)
def test_colours_can_be_read(theme: str) -> None:
    """Text has a contrast of 4.5 to its box and to the paper, and lines of 3 to the paper, in both themes."""
    palette = THEMES[theme]  # type: ignore[index]
    for tone, paint in palette.tones.items():
        assert contrast(paint.text, paint.fill) >= 4.5, tone
        for ground in (palette.paper, palette.group):
            assert contrast(paint.text, ground) >= 4.5, tone
            assert contrast(paint.line, ground) >= 3, tone


def test_the_core_does_not_load_the_pictures() -> None:
    """Who runs plugins pays nothing for diagrams."""
    import subprocess
    import sys

    code = "import sys, fsm_plugins; print([name for name in sys.modules if name.startswith('fsm_plugins.diagrams')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
