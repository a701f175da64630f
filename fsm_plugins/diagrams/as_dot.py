"""Diagrams as DOT text, for Graphviz and everything that reads its format."""

from __future__ import annotations

from collections.abc import Iterator

from fsm_plugins.diagrams.model import Diagram, Edge, Group, Node
from fsm_plugins.diagrams.palette import THEMES, Paint, Palette, Theme
from fsm_plugins.diagrams.text import clean, identifiers

__all__ = ["dot"]


def quoted(text: str) -> str:
    r"""Return ``text`` as a label of DOT, quotes included.

    >>> print(quoted('say "a\\b" & go'))
    "say \"a\\b\" &amp; go"
    """
    # An ampersand could begin an entity, and a backslash an escape sequence.
    text = clean(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def dot(diagram: Diagram, theme: Theme = "light") -> str:
    """Return ``diagram`` as a digraph of DOT.

    >>> print(dot(Diagram([Node("open", "open")], [Edge("open", "open", "knock")])).splitlines()[-2])
        open -> open [label="knock"]
    """
    return "\n".join([*_Dot(diagram, THEMES[theme]).lines(), ""])


class _Dot:
    def __init__(self, diagram: Diagram, palette: Palette) -> None:
        self.diagram = diagram
        self.palette = palette
        self.words = identifiers(diagram)
        self.groups = {group.id for group in diagram.groups}

    def lines(self) -> Iterator[str]:
        plain = self.palette.tones["plain"]
        yield f"digraph {quoted(self.diagram.title or 'diagram')} {{"
        direction = {"down": "TB", "right": "LR"}[self.diagram.direction]
        title = f"label={quoted(self.diagram.title)} labelloc=t " if self.diagram.title else ""
        yield (
            f'    graph [rankdir={direction} compound=true {title}bgcolor="{self.palette.paper}" '
            f'fontcolor="{plain.text}" fontname="Helvetica"]'
        )
        yield (
            f'    node [shape=box style="rounded,filled" fillcolor="{plain.fill}" color="{plain.line}" '
            f'fontcolor="{plain.text}" fontname="Helvetica"]'
        )
        yield f'    edge [color="{plain.line}" fontcolor="{plain.text}" fontname="Helvetica" fontsize=11]'
        yield from self._level(None, "    ")
        for number, item in enumerate(item for item in self.diagram.items if item.initial):
            yield f'    _begin{number} [shape=point width=0.15 label="" color="{plain.line}"]'
            yield f"    _begin{number} -> {self._end(item.id)}{_attributes(self._clip('lhead', item.id))}"
        for edge in self.diagram.edges:
            yield f"    {self._end(edge.source)} -> {self._end(edge.dest)}{self._edge(edge)}"
        yield "}"

    def _end(self, id: str) -> str:  # noqa: A002
        """Return the node an edge is tied to: in a group, which cannot have edges, an invisible one stands for it."""
        return f"_in_{self.words[id]}" if id in self.groups else self.words[id]

    def _clip(self, attribute: str, id: str, other: str | None = None) -> list[str]:  # noqa: A002
        """End an edge at the border of a group, unless its other end is not outside: Graphviz cannot clip that one."""
        around = other
        while around is not None and around != id:
            around = self.diagram.find(around).group
        return [f"{attribute}=cluster_{self.words[id]}"] if id in self.groups and around is None else []

    def _level(self, group: str | None, indent: str) -> Iterator[str]:
        for item in self.diagram.members(group):
            label = quoted(f"{item.label}\n{item.note}" if item.note else item.label)
            paint = self.palette.tones[item.tone]
            if isinstance(item, Group):
                colours = f'style="rounded,filled" fillcolor="{self.palette.group}" color="{paint.line}"'
                yield f"{indent}subgraph cluster_{self.words[item.id]} {{"
                yield f"{indent}    graph [label={label} {colours}{' peripheries=2' if item.final else ''}]"
                yield f'{indent}    _in_{self.words[item.id]} [shape=point style=invis label=""]'
                yield from self._level(item.id, indent + "    ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{self.words[item.id]}{_attributes([f'label={label}', *_node(item, paint)])}"

    def _edge(self, edge: Edge) -> str:
        attributes = [f"label={quoted(edge.text)}"] if edge.text else []
        if edge.tone != "plain":
            paint = self.palette.tones[edge.tone]
            attributes += [f'color="{paint.line}"', f'fontcolor="{paint.text}"']
        if edge.style != "solid":
            attributes.append(f"style={edge.style}")
        if edge.weight != 1:
            attributes.append(f"penwidth={edge.weight:g}")
        return _attributes(
            [*attributes, *self._clip("ltail", edge.source, edge.dest), *self._clip("lhead", edge.dest, edge.source)]
        )


def _node(node: Node, paint: Paint) -> list[str]:
    attributes = ["peripheries=2"] if node.final else []
    if node.tone != "plain":
        attributes += [f'fillcolor="{paint.fill}"', f'color="{paint.line}"', f'fontcolor="{paint.text}"']
    return attributes


def _attributes(attributes: list[str]) -> str:
    return f" [{' '.join(attributes)}]" if attributes else ""
