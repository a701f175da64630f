"""Whatever is drawn: everything is in the picture, once, and every name survives."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import LIFECYCLE, Lifecycle
from fsm_plugins.diagrams import FORMATS, Diagram, ascii_art, of_lifecycle, of_machine, render
from fsm_plugins.diagrams.model import Edge
from fsm_plugins.diagrams.text import clean, identifiers, one_line, width, wrap
from tests.property import diagram_readers
from tests.property.diagram_strategies import HOSTILE, diagrams, names
from tests.property.test_lifecycle_table import Subject, _stock, transition_tables

WORDS = [*(text[:12] for text in HOSTILE), "A", "a", "s0", "s1", "s1_a"]


@pytest.mark.parametrize("format_", diagram_readers.READERS)
@settings(max_examples=60, deadline=None)
@given(diagram=diagrams())
def test_every_node_and_edge_is_there_once_and_its_text_survives(format_: str, diagram: Diagram) -> None:
    """Read back, a text has the labels, edges and markers of the diagram, each exactly once, to the character."""
    read = diagram_readers.READERS[format_](render(diagram, format_))
    words = identifiers(diagram)
    labels = [
        (words[item.id], clean(f"{item.label}\n{item.note}" if item.note else item.label)) for item in diagram.items
    ]
    if format_ != "dot":
        # An empty text would be no text.
        labels = [(word, label or " ") for word, label in labels]
    assert Counter(read.labels) == Counter(labels)
    assert Counter(read.edges) == Counter((words[e.source], words[e.dest], clean(e.text)) for e in diagram.edges)
    assert sorted(read.initial) == sorted(words[item.id] for item in diagram.items if item.initial)
    if format_ == "flowchart":
        assert sorted(read.final) == sorted(words[node.id] for node in diagram.nodes if node.final)
    else:
        assert sorted(read.final) == sorted(words[item.id] for item in diagram.items if item.final)


@settings(max_examples=60, deadline=None)
@given(diagram=diagrams())
def test_the_list_of_the_markdown_tables_is_the_edges(diagram: Diagram) -> None:
    """Each arc is one line of the list, with its trigger and its condition."""

    def path(name: str) -> str:
        item = diagram.find(name)
        return (f"{path(item.group)} / " if item.group is not None else "") + clean(item.label)

    listed = diagram_readers.markdown_list(render(diagram, "markdown"))
    wanted = [
        (path(e.source), f"{clean(e.label)} [{clean(e.detail)}]" if e.detail else clean(e.label), path(e.dest))
        for e in diagram.edges
    ]
    assert Counter(listed) == Counter(wanted)


@settings(max_examples=60, deadline=None)
@given(diagram=diagrams(nested=False), unicode=st.booleans())
def test_a_terminal_shows_every_edge_below_its_source(diagram: Diagram, unicode: bool) -> None:
    """Each arc is one line of text; in plain ASCII nothing else is used."""
    text = ascii_art(diagram, unicode=unicode)
    lines = text.splitlines()
    if not unicode:
        assert text.isascii()
        return
    arms = [line[9:] for line in lines if line.startswith(" " * 9) and line[9:10] in ("├", "└")]
    wanted = [f" {one_line(e.text)} " if e.text else "" for e in diagram.edges]
    dests = [one_line(diagram.find(e.dest).label) for e in diagram.edges]
    lead = {"solid": "─", "dashed": "-", "dotted": "."}
    assert Counter(arm[1:].rstrip() for arm in arms) == Counter(
        f"{lead[e.style]}{label}{lead[e.style]}▶ {dest}".rstrip()
        for e, label, dest in zip(diagram.edges, wanted, dests, strict=True)
    )


@settings(max_examples=50, deadline=None)
@given(diagram=diagrams(), order=st.randoms())
def test_the_order_of_the_edges_does_not_matter(diagram: Diagram, order: object) -> None:
    """A diagram made of the same edges in another order, or of some of them twice, is the same diagram."""
    edges: list[Edge] = [*diagram.edges, *diagram.edges[:2]]
    order.shuffle(edges)  # type: ignore[attr-defined]
    again = Diagram(diagram.nodes, edges, diagram.groups, diagram.title, diagram.direction)
    assert again == diagram


@given(ids=st.lists(st.one_of(names, st.sampled_from(WORDS)), unique=True, max_size=12))
def test_identifiers_are_distinct_words(ids: list[str]) -> None:
    """Different ids get identifiers that differ by more than case, and good ones stay as they are."""
    from fsm_plugins.diagrams.text import distinct

    words = distinct(ids)
    assert len({word.lower() for word in words.values()}) == len(ids)
    assert all(word.isidentifier() and word.isascii() for word in words.values())
    assert words.get("created", "created") == "created"


@given(text=st.one_of(names, st.text()), most=st.integers(2, 40))
def test_wrapping_keeps_every_character(text: str, most: int) -> None:
    """Only spaces and line ends go where a line is broken, and no line is too wide."""
    lines = wrap(text, most)
    assert "".join(lines).replace(" ", "") == clean(text).replace("\n", "").replace(" ", "")
    assert all(width(line) <= most for line in lines)


@settings(max_examples=80, deadline=None)
@given(table=transition_tables())
def test_a_machine_is_drawn_with_all_its_transitions(table: list[dict[str, object]]) -> None:
    """Each transition of a stock machine is an edge, and no edge is not a transition."""
    machine = Subject(_stock, table, "s3").machine
    wanted = {
        (trigger, candidate.source, candidate.dest or candidate.source)
        for trigger, event in machine.events.items()
        for candidates in event.transitions.values()
        for candidate in candidates
    }
    diagram = of_machine(machine)
    assert {(edge.label, edge.source, edge.dest) for edge in diagram.edges} == wanted
    assert [node.id for node in diagram.nodes] == list(machine.states)
    assert [node.id for node in diagram.nodes if node.initial] == ["s0"]
    assert [node.id for node in diagram.nodes if node.final] == ["s3"]


@settings(max_examples=60, deadline=None)
@given(
    arcs=st.lists(
        st.tuples(st.sampled_from(["pause", "resume"]), st.sampled_from(["running", "paused"]), st.just("paused"))
    )
)
def test_a_lifecycle_is_drawn_arc_by_arc(arcs: list[tuple[str, str, str]]) -> None:
    """Edges are arcs, and arcs are edges, for any lifecycle that is legal."""
    lifecycle = LIFECYCLE.extend(
        [("pause", "running", "paused"), ("stop", "paused", "stopped"), ("fail", "paused", "failed"), *arcs]
        if all(trigger != "pause" or source != "running" for trigger, source, _ in arcs)
        else []
    )
    assert isinstance(lifecycle, Lifecycle)
    edges = of_lifecycle(lifecycle).edges
    assert Counter((edge.label, edge.source, edge.dest) for edge in edges) == Counter(
        (arc.trigger, arc.source, arc.dest) for arc in lifecycle.arcs
    )


_DIGEST = """
import hashlib, random, sys
from fsm_plugins import LIFECYCLE, RESTARTABLE
from fsm_plugins.diagrams import FORMATS, Diagram, Edge, Node, of_lifecycle, render
chance = random.Random(7)
pictures = [of_lifecycle(LIFECYCLE), of_lifecycle(RESTARTABLE, marks={"running": "3"})]
for size in (4, 9, 14):
    names = [f"state {n}" for n in range(size)]
    edges = {Edge(chance.choice(names), chance.choice(names), f"t{n}") for n in range(2 * size)}
    pictures.append(Diagram([Node(name, name, tone="good") for name in names], edges))
digest = hashlib.sha256()
for picture in pictures:
    for format in FORMATS:
        digest.update(render(picture, format).encode())
print(digest.hexdigest())
"""


def test_the_bytes_do_not_depend_on_the_hash_seed() -> None:
    """Ten processes with different hash seeds render the same diagrams to the same bytes, in every format."""
    digests = set()
    for seed in range(10):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        ran = subprocess.run(
            [sys.executable, "-c", _DIGEST], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(ran.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == len(hashlib.sha256().hexdigest())


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=40, deadline=None)
@given(diagram=diagrams())
def test_every_format_takes_every_diagram(format_: str, diagram: Diagram) -> None:
    """Rendering raises nothing, gives encodable text that ends in a line end, and the same again."""
    text = render(diagram, format_)
    assert text.encode("utf-8") and text.endswith("\n")
    assert render(diagram, format_, theme="dark") is not None
    assert render(diagram, format_) == text
