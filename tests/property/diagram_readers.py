"""Reads diagrams back from the text they were rendered to: the labels of nodes and groups, and the edges."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import NamedTuple


class Read(NamedTuple):
    """What a text says: a label for each identifier, and ``(source, dest, text)`` for each edge."""

    labels: list[tuple[str, str]]
    edges: list[tuple[str, str, str]]
    initial: list[str]
    final: list[str]


def _mermaid_text(text: str) -> str:
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text.replace("<br/>", "\n"))


def _plantuml_text(text: str) -> str:
    return re.sub(r"<U\+([0-9A-F]+)>", lambda found: chr(int(found[1], 16)), text.replace("\\n", "\n"))


def _dot_text(text: str) -> str:
    text = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), text)
    return text.replace("&amp;", "&")


def _body(text: str) -> list[str]:
    """Return the lines without those of the front matter."""
    lines = text.splitlines()
    return lines[3:] if lines[0] == "---" else lines


def mermaid(text: str) -> Read:
    """Read a Mermaid state diagram."""
    read = Read([], [], [], [])
    for line in _body(text)[2:]:
        line = line.strip()
        if found := re.fullmatch(r'state "([^"]*)" as (\w+)( \{)?', line):
            read.labels.append((found[2], _mermaid_text(found[1])))
        elif found := re.fullmatch(r"\[\*\] --> (\w+)", line):
            read.initial.append(found[1])
        elif found := re.fullmatch(r"(\w+) --> \[\*\]", line):
            read.final.append(found[1])
        elif found := re.fullmatch(r"(\w+) --> (\w+)(?: : ([^:;\n]*(?:#\d+;[^:;\n]*)*))?", line):
            read.edges.append((found[1], found[2], _mermaid_text(found[3] or "")))
        elif re.fullmatch(r"\w+", line):
            read.labels.append((line, line))
        else:
            assert line == "}" or re.match(r"(classDef|class) \w+", line), line
    return read


def flowchart(text: str) -> Read:
    """Read a Mermaid flowchart."""
    read = Read([], [], [], [])
    for line in _body(text)[1:]:
        line = line.strip()
        if found := re.fullmatch(r'(?:subgraph )?(\w+)(\[|\(\(\()"([^"]*)"(\]|\)\)\))', line):
            read.labels.append((found[1], _mermaid_text(found[3])))
            read.final.extend([found[1]] if found[2] == "(((" else [])
        elif found := re.fullmatch(r'_begin\d+\(\(" "\)\) --> (\w+)', line):
            read.initial.append(found[1])
        elif found := re.fullmatch(r'(\w+) (?:-->|==>|-\.->)(?:\|"([^"]*)"\|)? (\w+)', line):
            read.edges.append((found[1], found[3], _mermaid_text(found[2] or "")))
        else:
            assert line == "end" or re.match(r"(classDef|class) \w+", line), line
    return read


def plantuml(text: str) -> Read:
    """Read a PlantUML state diagram."""
    read = Read([], [], [], [])
    for line in text.splitlines():
        line = line.strip()
        if found := re.fullmatch(r'state "([^"]*)" as (\w+)( #\w{6})?( \{)?', line):
            read.labels.append((found[2], _plantuml_text(found[1])))
        elif found := re.fullmatch(r"\[\*\] --> (\w+)", line):
            read.initial.append(found[1])
        elif found := re.fullmatch(r"(\w+) --> \[\*\]", line):
            read.final.append(found[1])
        elif found := re.fullmatch(r"(\w+) (?:-->|-\[[^]]+\]->) (\w+)(?: : (.*))?", line):
            read.edges.append((found[1], found[2], _plantuml_text(found[3] or "")))
        else:
            assert re.match(r"@startuml|@enduml|title |hide empty|left to right|\}", line), line
    return read


_QUOTED = r'"((?:[^"\\]|\\.)*)"'


def dot(text: str) -> Read:
    """Read a digraph."""
    read = Read([], [], [], [])
    group = ""
    for line in text.splitlines()[4:]:
        line = line.strip()
        if found := re.fullmatch(r"subgraph cluster_(\w+) \{", line):
            group = found[1]
        elif found := re.fullmatch(rf"graph \[label={_QUOTED} (.*)\]", line):
            read.labels.append((group, _dot_text(found[1])))
            read.final.extend([group] if "peripheries=2" in found[2] else [])
        elif found := re.match(r"_begin\d+ -> (?:_in_)?(\w+)", line):
            read.initial.append(found[1])
        elif found := re.fullmatch(rf"(?:_in_)?(\w+) -> (?:_in_)?(\w+)(?: \[(?:label={_QUOTED})?(.*)\])?", line):
            read.edges.append((found[1], found[2], _dot_text(found[3] or "")))
        elif found := re.fullmatch(rf"([a-zA-Z]\w*) \[label={_QUOTED}(.*)\]", line):
            read.labels.append((found[1], _dot_text(found[2])))
            read.final.extend([found[1]] if "peripheries=2" in found[3] else [])
        else:
            assert line == "}" or re.match(r"_(begin|in_)", line), line
    return read


def markdown_list(text: str) -> list[tuple[str, str, str]]:
    """Read the list of arcs: source, text and destination of each."""
    rows = [line for line in text.split("| from | trigger | to |\n|---|---|---|")[1].splitlines() if line]
    cells = [re.fullmatch(r"\| ([^|]*) \| ([^|]*) \| ([^|]*) \|", row) for row in rows]
    return [
        (_markdown_text(cell[1]), _markdown_text(cell[2]), _markdown_text(cell[3]))
        for cell in cells
        if cell is not None
    ]


def _markdown_text(cell: str) -> str:
    return unescape(cell.replace("<br>", "\n"))


READERS: dict[str, Callable[[str], Read]] = {
    "mermaid": mermaid,
    "flowchart": flowchart,
    "plantuml": plantuml,
    "dot": dot,
}
