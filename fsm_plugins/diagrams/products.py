"""The product of several diagrams: every combination of states that they can be in together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product as combinations

from fsm_plugins.diagrams.model import Diagram, Edge, Node

__all__ = ["product"]


def product(parts: Mapping[str, Diagram], title: str = "", *, at_most: int = 400) -> Diagram:
    """Return the diagram of what ``parts`` do when each moves on its own, from all their initial states.

    The label of an edge is the name of the part that moves and its trigger.

    Args:
        parts: diagrams without groups, by the names of what they stand for.
        title: the heading of the picture.
        at_most: how many combinations there may be.

    Raises:
        ValueError: a part has groups or no initial state, or there are more combinations than that.

    >>> from fsm_plugins.diagrams import Edge, Node
    >>> lamp = Diagram([Node("off", "off", initial=True), Node("on", "on")], [Edge("off", "on", "press")])
    >>> both = product({"left": lamp, "right": lamp})
    >>> [node.label for node in both.nodes]
    ['off, off', 'on, off', 'off, on', 'on, on']
    >>> [edge.label for edge in both.edges]
    ['left: press', 'right: press', 'right: press', 'left: press']
    """
    items: list[dict[str, Node]] = []
    leaving: list[dict[str, list[Edge]]] = []
    for name, part in parts.items():
        if part.groups:
            raise ValueError(f"the product is of diagrams without groups, and {name!r} has some")
        if not any(node.initial for node in part.nodes):
            raise ValueError(f"the diagram of {name!r} has no initial state, so the product has no beginning")
        items.append({node.id: node for node in part.nodes})
        leaving.append({node.id: [edge for edge in part.edges if edge.source == node.id] for node in part.nodes})
    starts = list(combinations(*([node.id for node in part.nodes if node.initial] for part in parts.values())))
    found = dict.fromkeys(starts)
    todo = list(found)
    edges = []
    for here in todo:
        for place, name in enumerate(parts):
            for edge in leaving[place][here[place]]:
                there = (*here[:place], edge.dest, *here[place + 1 :])
                edges.append(
                    Edge(_id(here), _id(there), f"{name}: {edge.label}", edge.detail, edge.tone, edge.style)
                )  # fmt: skip
                if there not in found:
                    found[there] = None
                    todo.append(there)
        if len(found) > at_most:
            raise ValueError(f"there are more than {at_most} combinations of states, which nobody could read")
    nodes = []
    for combination in found:
        states = [items[place][state] for place, state in enumerate(combination)]
        bad = any(state.tone == "bad" for state in states)
        nodes.append(
            Node(
                _id(combination),
                ", ".join(state.label for state in states),
                initial=combination in starts,
                final=all(state.final for state in states),
                tone="bad" if bad else "plain",
            )
        )
    return Diagram(nodes, edges, title=title)


def _id(combination: tuple[str, ...]) -> str:
    # A tuple is told from others by its repr, whatever the names in it are.
    return repr(combination) if any("|" in name for name in combination) else "|".join(combination)
