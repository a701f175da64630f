"""Diagrams for a terminal: each state in a box, its moves below it, in box-drawing characters or in plain ASCII."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fsm_plugins.diagrams.model import Diagram, Group, Node
from fsm_plugins.diagrams.text import one_line, width, wrap

__all__ = ["ascii_art"]


class _Pen(NamedTuple):
    """What lines are drawn with. A box: across, down, and its corners clockwise from the upper left."""

    box: tuple[str, str, str, str, str, str]
    double: tuple[str, str, str, str, str, str]
    across: str
    branch: str
    last: str
    head: str
    start: str


_UNICODE = _Pen(("─", "│", "┌", "┐", "┘", "└"), ("═", "║", "╔", "╗", "╝", "╚"), "─", "├", "└", "▶", "●")
_ASCII = _Pen(("-", "|", "+", "+", "+", "+"), ("=", "H", "#", "#", "#", "#"), "-", "+", "+", ">", "*")
_WIDEST = 72


def ascii_art(diagram: Diagram, *, unicode: bool = True) -> str:
    """Return ``diagram`` for a terminal.

    A filled circle stands before the initial state, and a final one has a double border.

    Args:
        diagram: what to draw.
        unicode: draw with box-drawing characters; otherwise with ASCII only, and what is not ASCII in a label is
            written as an escape.

    >>> from fsm_plugins.diagrams import Edge
    >>> door = Diagram([Node("open", "open", initial=True), Node("shut", "shut")], [Edge("open", "shut", "close")])
    >>> print(ascii_art(door, unicode=False), end="")
      * -> +------+
           | open |
           +------+
             +- close -> shut
    <BLANKLINE>
           +------+
           | shut |
           +------+
    """
    pen = _UNICODE if unicode else _ASCII
    lines = [*wrap(diagram.title, _WIDEST), ""] if diagram.title else []
    lines += _level(diagram, None, pen)
    while lines and not lines[-1]:
        lines.pop()
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    return text if unicode else text.encode("ascii", "backslashreplace").decode("ascii")


def _level(diagram: Diagram, group: str | None, pen: _Pen) -> Iterator[str]:
    # Nodes first: in a terminal nothing leads back to what was drawn before a group of some length.
    members = sorted(diagram.members(group), key=lambda item: isinstance(item, Group))
    for item in members:
        yield from _item(diagram, item, pen)
        yield ""


def _item(diagram: Diagram, item: Node, pen: _Pen) -> Iterator[str]:
    marker = f"  {pen.start} {pen.across}{pen.head} " if item.initial else " " * 7
    inside = [*wrap(item.label, _WIDEST), *([f"({line})" for line in wrap(item.note, _WIDEST)] if item.note else [])]
    if item.tone != "plain" and not isinstance(item, Group):
        inside[0] += {"accent": " *", "good": " +", "warning": " ?", "bad": " !", "muted": " ."}[item.tone]
    if isinstance(item, Group):
        inside += ["", *(line.rstrip() for line in _level(diagram, item.id, pen))]
        while not inside[-1]:
            inside.pop()
    wide = max(map(width, inside))
    across, down, upper_left, upper_right, lower_right, lower_left = pen.double if item.final else pen.box
    yield f"{marker}{upper_left}{across * (wide + 2)}{upper_right}"
    for line in inside:
        yield f"{' ' * 7}{down} {line}{' ' * (wide - width(line))} {down}"
    yield f"{' ' * 7}{lower_left}{across * (wide + 2)}{lower_right}"
    edges = [edge for edge in diagram.edges if edge.source == item.id]
    for edge in edges:
        corner = pen.last if edge is edges[-1] else pen.branch
        line = {"solid": pen.across, "dashed": "-", "dotted": "."}[edge.style]
        text = f" {one_line(edge.text)} " if edge.text else ""
        yield f"{' ' * 9}{corner}{line}{text}{line}{pen.head} {_path(diagram, diagram.find(edge.dest))}"


def _path(diagram: Diagram, item: Node) -> str:
    outer = f"{_path(diagram, diagram.find(item.group))} / " if item.group is not None else ""
    return outer + one_line(item.label)
