"""What a picture shows, apart from how it is drawn: nodes, edges and groups, as values.

A diagram is extracted once (from a lifecycle, a machine, a plan, a coverage) and rendered by functions that know
nothing of where it came from. Two promises make the outcome reproducible:

* the nodes keep the order of the table they come from, and the edges are sorted by it, so that the same content is the
  same value, and the same value is rendered to the same bytes;
* a diagram that could not be drawn is refused: each edge and each group names something that is there.

Ids and labels may be any text; to make it harmless is the business of each renderer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from attrs import evolve, field, frozen

__all__ = ["Diagram", "Edge", "Group", "Node", "Style", "Tone", "highlight", "restyle", "side_by_side"]

Tone: TypeAlias = Literal["plain", "accent", "good", "warning", "bad", "muted"]
"""What a node or an edge is painted as; each renderer has its colours for it."""

Style: TypeAlias = Literal["solid", "dashed", "dotted"]
"""How the line of an edge is drawn."""


@frozen
class Node:
    """A state, or a plugin.

    Attributes:
        id: unique in the diagram.
        label: what is written in it.
        group: the id of the group it is in, or None.
        initial, final: whether it begins, or ends, what the diagram shows, or the group it is in.
        tone: how it is painted.
        note: a second, smaller text, such as how many plugins are in the state.
    """

    id: str
    label: str
    group: str | None = None
    initial: bool = False
    final: bool = False
    tone: Tone = "plain"
    note: str = ""


@frozen
class Group(Node):
    """A node that contains others: a compound state, or a lifecycle among several. An edge may end at it."""


@frozen
class Edge:
    """An arrow.

    Attributes:
        source, dest: the ids of nodes or groups.
        label: the trigger, or the channel.
        detail: what is written after the label in brackets: a condition, a capacity.
        tone, style: how it is painted.
        weight: how thick it is drawn; 1 is ordinary.
    """

    source: str
    dest: str
    label: str = ""
    detail: str = ""
    tone: Tone = "plain"
    style: Style = "solid"
    weight: float = 1.0

    @property
    def text(self) -> str:
        """The label with its detail.

        >>> Edge("a", "b", "go", "is_ready").text
        'go [is_ready]'
        """
        return f"{self.label} [{self.detail}]".strip() if self.detail else self.label


@frozen
class Diagram:
    """A picture that is not drawn yet.

    Attributes:
        nodes: in the order of what the diagram was extracted from.
        edges: sorted by the places of their ends in that order, then by their text. Edges that are equal are one.
        groups: outer ones before those in them.
        title: what it is a picture of; may be empty.
        direction: ``down`` or ``right``, the way most edges should point.
        node_kind, edge_kind: what a node and the label of an edge stand for, in words.

    Raises:
        ValueError: two things have one id, an edge or a group names nothing, or groups contain each other.

    >>> door = Diagram([Node("open", "open", initial=True), Node("shut", "shut")], [Edge("open", "shut", "close")])
    >>> door.edges[0].dest, door.find("shut").label
    ('shut', 'shut')
    >>> Diagram([], [Edge("a", "b")])
    Traceback (most recent call last):
    ValueError: the edge from 'a' to 'b' ends at 'a', which is not in the diagram
    """

    nodes: tuple[Node, ...] = field(converter=tuple[Node, ...])
    edges: tuple[Edge, ...] = field(converter=tuple[Edge, ...])
    groups: tuple[Group, ...] = field(converter=tuple[Group, ...], default=())
    title: str = ""
    direction: Literal["down", "right"] = "down"
    node_kind: str = "state"
    edge_kind: str = "trigger"

    def __attrs_post_init__(self) -> None:
        rank: dict[str, int] = {}
        for item in self.items:
            if item.id in rank:
                raise ValueError(f"two nodes or groups of the diagram have the id {item.id!r}")
            rank[item.id] = len(rank)
        known_groups: set[str | None] = {None}
        for group in self.groups:
            if group.group not in known_groups:
                raise ValueError(f"the group {group.id!r} is in {group.group!r}, which is not a group before it")
            known_groups.add(group.id)
        for node in self.nodes:
            if node.group not in known_groups:
                raise ValueError(f"the node {node.id!r} is in {node.group!r}, which is not a group")
        for edge in self.edges:
            for end in (edge.source, edge.dest):
                if end not in rank:
                    raise ValueError(
                        f"the edge from {edge.source!r} to {edge.dest!r} ends at {end!r}, which is not in the diagram"
                    )

        def place(edge: Edge) -> tuple[object, ...]:
            return (
                rank[edge.source], rank[edge.dest], edge.label, edge.detail, edge.tone, edge.style, edge.weight
            )  # fmt: skip

        object.__setattr__(self, "edges", tuple(sorted(dict.fromkeys(self.edges), key=place)))

    @property
    def items(self) -> tuple[Node, ...]:
        """The groups, then the nodes."""
        return (*self.groups, *self.nodes)

    def find(self, id: str) -> Node:  # noqa: A002 - it is what the attribute is called
        """Return the node or the group of that id.

        Raises:
            KeyError: there is none.
        """
        for item in self.items:
            if item.id == id:
                return item
        raise KeyError(id)

    def members(self, group: str | None) -> tuple[Node, ...]:
        """Return what is directly in ``group``, or at the top if it is None: groups first."""
        return tuple(item for item in self.items if item.group == group)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label of an edge, each once, in the order of the edges."""
        return tuple(dict.fromkeys(edge.label for edge in self.edges))

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return the picture for a notebook."""
        # The renderers know this module.
        from fsm_plugins.diagrams.notebook import mimebundle

        return mimebundle(self)


def highlight(diagram: Diagram, marks: Mapping[str, str] | Iterable[str], tone: Tone = "accent") -> Diagram:
    """Return ``diagram`` with some nodes painted, and with notes if ``marks`` is a mapping from ids to notes.

    Raises:
        ValueError: a mark names nothing in the diagram; the text says what there is.

    >>> door = Diagram([Node("open", "open"), Node("shut", "shut")], [])
    >>> highlight(door, {"shut": "2 doors"}).nodes[1]
    Node(id='shut', label='shut', group=None, initial=False, final=False, tone='accent', note='2 doors')
    """
    notes = dict(marks) if isinstance(marks, Mapping) else dict.fromkeys(marks, "")
    known = {item.id for item in diagram.items}
    for mark in notes:
        if mark not in known:
            raise ValueError(
                f"there is no {diagram.node_kind} {mark!r} to highlight; there are: {', '.join(sorted(known))}"
            )
    return evolve(
        diagram,
        nodes=[evolve(n, tone=tone, note=notes[n.id] or n.note) if n.id in notes else n for n in diagram.nodes],
        groups=[evolve(g, tone=tone, note=notes[g.id] or g.note) if g.id in notes else g for g in diagram.groups],
    )


def restyle(
    diagram: Diagram, *, title: str | None = None, direction: Literal["down", "right"] | None = None
) -> Diagram:
    """Return ``diagram`` with another title or direction.

    >>> restyle(Diagram([], []), title="empty").title
    'empty'
    """
    return evolve(
        diagram,
        title=diagram.title if title is None else title,
        direction=diagram.direction if direction is None else direction,
    )


def side_by_side(parts: Mapping[str, Diagram], title: str = "") -> Diagram:
    """Return one diagram with each of ``parts`` in a group of its own, whose label is the key.

    >>> door = Diagram([Node("open", "open")], [])
    >>> [node.id for node in side_by_side({"front": door, "back": door}).nodes]
    ['front/open', 'back/open']
    """
    nodes: list[Node] = []
    edges: list[Edge] = []
    groups: list[Group] = []
    for name, part in parts.items():
        groups.append(Group(name, name))
        groups += [evolve(group, id=f"{name}/{group.id}", group=_inside(name, group.group)) for group in part.groups]
        nodes += [evolve(node, id=f"{name}/{node.id}", group=_inside(name, node.group)) for node in part.nodes]
        edges += [evolve(e, source=f"{name}/{e.source}", dest=f"{name}/{e.dest}") for e in part.edges]
    return Diagram(nodes, edges, groups, title=title)


def _inside(name: str, group: str | None) -> str:
    return name if group is None else f"{name}/{group}"
