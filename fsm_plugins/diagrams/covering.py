"""A lifecycle coloured by what was done: how often each arc was taken, what was refused, what was never tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import log10

from attrs import evolve

from fsm_plugins.diagrams.model import Diagram, Edge, Node
from fsm_plugins.diagrams.trace import Step, StepLike, steps_of

__all__ = ["coverage"]


def coverage(diagram: Diagram, events: Iterable[StepLike], *, counts: bool = True) -> Diagram:
    """Return ``diagram`` with its edges painted by how often the steps took them.

    An arc that was taken is good, and the thicker the more often; its detail says how often. One that never was is a
    warning, and dotted. The note of a state tells which illegal calls were refused there, how often, and which were
    never tried. States that nobody came to are muted. Arcs that were taken and are not in the diagram are added as bad:
    the diagram is not of the machine that ran.

    Args:
        diagram: what to paint.
        events: what happened.
        counts: whether to say how often. Without, two runs that covered the same make the same picture.

    >>> from fsm_plugins import LIFECYCLE
    >>> from fsm_plugins.diagrams import of_lifecycle
    >>> from fsm_plugins.diagrams import Step
    >>> seen = coverage(of_lifecycle(LIFECYCLE), [Step("clock", "init", "created", "initialized")] * 2)
    >>> [edge.text for edge in seen.edges if edge.tone == "good"]
    ['init [2 times]']
    """
    steps = steps_of(events)
    if not counts:
        steps = tuple(Step("", step.trigger, step.source, step.dest) for step in steps)
        steps = tuple(dict.fromkeys(steps))
    taken = Counter((step.source, step.trigger, step.dest) for step in steps if step.dest is not None)
    refused = Counter((step.source, step.trigger) for step in steps if step.dest is None)
    edges = [_edge(edge, taken[edge.source, edge.label, edge.dest], counts) for edge in diagram.edges]
    known = {item.id for item in diagram.items}
    drawn = {(edge.source, edge.label, edge.dest) for edge in diagram.edges}
    nodes = list(diagram.nodes)
    for source, trigger, dest in taken:
        if (source, trigger, dest) not in drawn and dest is not None:
            for state in (source, dest):
                if state not in known:
                    known.add(state)
                    nodes.append(Node(state, state, tone="bad"))
            edges.append(Edge(source, dest, trigger, _times(taken[source, trigger, dest]), "bad"))
    triggers = diagram.labels
    legal = {(edge.source, edge.label) for edge in diagram.edges}
    visited = {state for source, _, dest in taken for state in (source, dest)} | {source for source, _ in refused}
    painted = []
    for node in nodes:
        here = [(trigger, refused[node.id, trigger]) for trigger in _all(triggers, refused, node.id)]
        if counts:
            notes = [f"refused {trigger} {_times(count)}" for trigger, count in here if count]
        else:
            tried = [trigger for trigger, count in here if count]
            notes = [f"refused: {', '.join(tried)}"] if tried else []
        untried = [trigger for trigger, count in here if not count and (node.id, trigger) not in legal]
        if untried:
            notes.append(f"never tried: {', '.join(untried)}")
        tone = node.tone if node.tone == "bad" or node.id in visited else "muted"
        painted.append(evolve(node, tone=tone, note="\n".join([*([node.note] if node.note else []), *notes])))
    return evolve(diagram, nodes=painted, edges=edges)


def _all(triggers: Iterable[str], refused: Counter[tuple[str, str]], state: str) -> list[str]:
    """Return the triggers of the diagram, then others that were refused in ``state``, sorted."""
    known = list(dict.fromkeys(triggers))
    return [*known, *sorted({trigger for source, trigger in refused if source == state} - set(known))]


def _edge(edge: Edge, count: int, counts: bool) -> Edge:
    details = [detail for detail in (edge.detail, _times(count) if counts or not count else "") if detail]
    if not count:
        return evolve(edge, detail=", ".join(details), tone="warning", style="dotted")
    return evolve(edge, detail=", ".join(details), tone="good", weight=round(1 + log10(count), 2))


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")
