"""Diagrams as Markdown: a table of nodes and labels, and a list of every edge."""

from __future__ import annotations

from collections.abc import Sequence

from fsm_plugins.diagrams.model import Diagram, Edge, Node
from fsm_plugins.diagrams.text import escaped

__all__ = ["markdown", "quoted"]


def quoted(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is, also in the cell of a table.

    >>> quoted("a|b *c*")
    'a&#124;b &#42;c&#42;'
    """
    return escaped(text, " -.,:;()/+=!?%", lambda character: f"&#{ord(character)};", "<br>")


def markdown(diagram: Diagram) -> str:
    """Return ``diagram`` as two tables: where each label leads from each node, and every edge.

    >>> print(markdown(Diagram([Node("a", "a", initial=True), Node("b", "b", final=True)], [Edge("a", "b", "go")])))
    | state | go |
    |---|---|
    | a (initial) | b |
    | b (final) |  |
    <BLANKLINE>
    | from | trigger | to |
    |---|---|---|
    | a | go | b |
    <BLANKLINE>
    """
    items = diagram.items
    names = {item.id: _name(diagram, item) for item in items}
    leads: dict[tuple[str, str], list[str]] = {}
    for edge in diagram.edges:
        leads.setdefault((edge.source, edge.label), []).append(_with_detail(names[edge.dest], edge))
    labels = diagram.labels
    matrix = [
        [names[item.id] + _marks(item), *("<br>".join(leads.get((item.id, label), ())) for label in labels)]
        for item in items
    ]
    arcs = [[names[e.source], _with_detail(quoted(e.label), e), names[e.dest]] for e in diagram.edges]
    blocks = [f"## {quoted(diagram.title).replace('<br>', ' ')}"] if diagram.title else []
    blocks += [
        _table([quoted(diagram.node_kind), *map(quoted, labels)], matrix),
        _table(["from", quoted(diagram.edge_kind), "to"], arcs),
    ]
    return "\n\n".join(blocks) + "\n"


def _name(diagram: Diagram, item: Node) -> str:
    """Return the label of ``item`` after those of the groups it is in."""
    outer = f"{_name(diagram, diagram.find(item.group))} / " if item.group is not None else ""
    return outer + quoted(item.label)


def _marks(item: Node) -> str:
    marks = [word for word, holds in (("initial", item.initial), ("final", item.final)) if holds]
    text = f" ({', '.join(marks)})" if marks else ""
    return f"{text}: {quoted(item.note)}" if item.note else text


def _with_detail(text: str, edge: Edge) -> str:
    return f"{text} &#91;{quoted(edge.detail)}&#93;" if edge.detail else text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "|" + "|".join(f" {cell} " for cell in cells) + "|"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])
