"""Diagrams as PlantUML text."""

from __future__ import annotations

from collections.abc import Iterator

from fsm_plugins.diagrams.model import Diagram, Edge, Group, Node
from fsm_plugins.diagrams.palette import THEMES, Theme
from fsm_plugins.diagrams.text import escaped, identifiers

__all__ = ["plantuml", "quoted"]


def quoted(text: str) -> str:
    r"""Return ``text`` so that PlantUML shows it as it is.

    >>> print(quoted('a "b"'))
    a <U+0022>b<U+0022>
    """
    return escaped(text, " ,.?", lambda character: f"<U+{ord(character):04X}>", "\\n")


def plantuml(diagram: Diagram, theme: Theme = "light") -> str:
    """Return ``diagram`` as a PlantUML state diagram.

    >>> print(plantuml(Diagram([Node("open", "open", final=True)], [Edge("open", "open", "knock")])), end="")
    @startuml
    hide empty description
    state "open" as open
    open --> [*]
    open --> open : knock
    @enduml
    """
    words = identifiers(diagram)
    lines = ["@startuml"]
    if diagram.title:
        lines.append(f"title {quoted(diagram.title)}")
    lines.append("hide empty description")
    if diagram.direction == "right":
        lines.append("left to right direction")
    lines += _level(diagram, words, theme, None, "")
    for edge in diagram.edges:
        label = f" : {quoted(edge.text)}" if edge.text else ""
        lines.append(f"{words[edge.source]} {_arrow(edge, theme)} {words[edge.dest]}{label}")
    return "\n".join([*lines, "@enduml", ""])


def _level(diagram: Diagram, words: dict[str, str], theme: Theme, group: str | None, indent: str) -> Iterator[str]:
    members = diagram.members(group)
    for item in members:
        fill = f" {THEMES[theme].tones[item.tone].fill}" if item.tone != "plain" else ""
        head = f'{indent}state "{_label(item)}" as {words[item.id]}{fill}'
        if isinstance(item, Group):
            yield f"{head} {{"
            yield from _level(diagram, words, theme, item.id, indent + "  ")
            yield f"{indent}}}"
        else:
            yield head
    yield from (f"{indent}[*] --> {words[item.id]}" for item in members if item.initial)
    yield from (f"{indent}{words[item.id]} --> [*]" for item in members if item.final)


def _label(item: Node) -> str:
    return quoted(f"{item.label}\n{item.note}" if item.note else item.label) or " "


def _arrow(edge: Edge, theme: Theme) -> str:
    marks = [THEMES[theme].tones[edge.tone].line] if edge.tone != "plain" else []
    if edge.style != "solid":
        marks.append(edge.style)
    if edge.weight != 1:
        marks.append(f"thickness={round(edge.weight) or 1}")
    return f"-[{','.join(marks)}]->" if marks else "-->"
