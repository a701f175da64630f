"""Diagrams as Mermaid text, which GitHub and many documentation tools draw where they find it.

Ids are identifiers that Mermaid has no meaning for, every character of a label that it may have one for is written as
``#<number>;``, and the title is valid YAML.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from fsm_plugins.diagrams.model import Diagram, Group, Node
from fsm_plugins.diagrams.palette import THEMES, Theme
from fsm_plugins.diagrams.text import clean, escaped, identifiers

__all__ = ["flowchart", "mermaid", "quoted"]


def quoted(text: str) -> str:
    """Return ``text`` so that Mermaid shows it as it is.

    >>> quoted('50 %: "a" <b>')
    '50 #37;#58; #34;a#34; #60;b#62;'
    """
    return escaped(text, " _-.,()/+=!?", lambda character: f"#{ord(character)};", "<br/>")


def front_matter(title: str) -> list[str]:
    """Return the lines with the title; none without one.

    >>> front_matter("a: b")
    ['---', 'title: "a: b"', '---']
    """
    return ["---", f"title: {json.dumps(clean(title), ensure_ascii=False)}", "---"] if title else []


def mermaid(diagram: Diagram, theme: Theme = "light") -> str:
    """Return ``diagram`` as a Mermaid state diagram.

    >>> from fsm_plugins.diagrams import Edge
    >>> print(mermaid(Diagram([Node("open", "open", initial=True)], [Edge("open", "open", "knock")])), end="")
    stateDiagram-v2
        direction TB
        open
        [*] --> open
        open --> open : knock
    """
    return "\n".join([*front_matter(diagram.title), "stateDiagram-v2", *_State(diagram, theme).lines(), ""])


class _State:
    def __init__(self, diagram: Diagram, theme: Theme) -> None:
        self.diagram = diagram
        self.theme: Theme = theme
        self.words = identifiers(diagram)

    def lines(self) -> Iterator[str]:
        yield f"    direction {_direction(self.diagram)}"
        yield from self._level(None, "    ")
        for edge in self.diagram.edges:
            label = f" : {quoted(edge.text)}" if edge.text else ""
            yield f"    {self.words[edge.source]} --> {self.words[edge.dest]}{label}"
        yield from _classes(self.words, self.theme, self.diagram.nodes)

    def _level(self, group: str | None, indent: str) -> Iterator[str]:
        members = self.diagram.members(group)
        for item in members:
            word = self.words[item.id]
            label = _label(item)
            if isinstance(item, Group):
                yield f'{indent}state "{label}" as {word} {{'
                yield from self._level(item.id, indent + "    ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{word}" if label == word else f'{indent}state "{label}" as {word}'
        yield from (f"{indent}[*] --> {self.words[item.id]}" for item in members if item.initial)
        yield from (f"{indent}{self.words[item.id]} --> [*]" for item in members if item.final)


def flowchart(diagram: Diagram, theme: Theme = "light") -> str:
    """Return ``diagram`` as a Mermaid flowchart, which suits a topology.

    >>> from fsm_plugins.diagrams import Edge
    >>> print(flowchart(Diagram([Node("a", "a"), Node("b", "b")], [Edge("a", "b", "x", "64")])), end="")
    flowchart TB
        a["a"]
        b["b"]
        a -->|"x #91;64#93;"| b
    """
    words = identifiers(diagram)
    lines = [*front_matter(diagram.title), f"flowchart {_direction(diagram)}"]
    lines += _flow_level(diagram, words, None, "    ")
    starts = [item for item in diagram.items if item.initial]
    for number, item in enumerate(starts):
        # Not an identifier that `identifiers` could give: it would begin with a letter.
        lines.append(f'    _begin{number}((" ")) --> {words[item.id]}')
    for edge in diagram.edges:
        arrow = "==>" if edge.weight > 1 else {"solid": "-->", "dashed": "-.->", "dotted": "-.->"}[edge.style]
        label = f'|"{quoted(edge.text)}"|' if edge.text else ""
        lines.append(f"    {words[edge.source]} {arrow}{label} {words[edge.dest]}")
    lines += _classes(words, theme, diagram.items)
    return "\n".join([*lines, ""])


def _flow_level(diagram: Diagram, words: dict[str, str], group: str | None, indent: str) -> Iterator[str]:
    for item in diagram.members(group):
        word, label = words[item.id], _label(item)
        if isinstance(item, Group):
            yield f'{indent}subgraph {word}["{label}"]'
            yield from _flow_level(diagram, words, item.id, indent + "    ")
            yield f"{indent}end"
        else:
            yield f'{indent}{word}((("{label}")))' if item.final else f'{indent}{word}["{label}"]'


def _direction(diagram: Diagram) -> str:
    return {"down": "TB", "right": "LR"}[diagram.direction]


def _label(item: Node) -> str:
    # A space, because an empty label is no label.
    return quoted(f"{item.label}\n{item.note}" if item.note else item.label) or " "


def _classes(words: dict[str, str], theme: Theme, items: Iterable[Node]) -> Iterator[str]:
    """Yield how each tone is painted that is used, and by whom."""
    users: dict[str, list[str]] = {}
    for item in items:
        if item.tone != "plain":
            users.setdefault(item.tone, []).append(words[item.id])
    for tone, paint in THEMES[theme].tones.items():
        if tone in users:
            yield f"    classDef {tone} fill:{paint.fill},stroke:{paint.line},color:{paint.text}"
            yield f"    class {','.join(users[tone])} {tone}"
