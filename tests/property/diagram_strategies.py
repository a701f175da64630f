"""Random diagrams and machines, with names that are meant to break the formats they are written in."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fsm_plugins.diagrams import Diagram, Edge, Group, Node

HOSTILE = [
    'say "no"',
    "two\nlines",
    "<b>&amp;</b>",
    "%% comment",
    "%%{init: {}}%%",
    "🚀 to the 🌙",
    "x" * 200,
    "many words " * 18,
    "end",
    "state",
    "note",
    "default",
    "[*]",
    "a --> b",
    "a:b;c",
    "#35;",
    "`back`",
    "it's",
    "back\\slash\\n",
    "pipe|pipe",
    "${x} {y}",
    "---",
    "@enduml",
    "日本語",
    "e\u0301\u202e",
    "\x00\x07",
    "*bold* _it_ ~~no~~",
    "</svg><script>",
    "]]>",
    " ",
]

names = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=12), st.sampled_from(["created", "running", "Running", "s1", "s2_a"])
)
tones: st.SearchStrategy[Any] = st.sampled_from(["plain", "accent", "good", "warning", "bad", "muted"])
styles: st.SearchStrategy[Any] = st.sampled_from(["solid", "dashed", "dotted"])


@st.composite
def diagrams(draw: st.DrawFn, max_nodes: int = 8, max_edges: int = 14, nested: bool = True) -> Diagram:
    """Diagrams with groups in groups, edges that end at groups, loops, and parallel and opposite edges."""
    ids = draw(st.lists(names, min_size=1, max_size=max_nodes, unique=True))
    count = draw(st.integers(0, len(ids) // 3)) if nested else 0
    groups: list[Group] = []
    for number, id_ in enumerate(ids[:count]):
        outer = draw(st.sampled_from([None, *(group.id for group in groups)]))
        groups.append(Group(id_, draw(names), outer, number == 0, draw(st.booleans()), draw(tones), draw(names)))
    inside = st.sampled_from([None, *(group.id for group in groups)])
    nodes = [
        Node(
            id_, draw(names), draw(inside), draw(st.integers(0, 3)) == 0, draw(st.booleans()), draw(tones), draw(names)
        )
        for id_ in ids[count:]
    ]
    ends = st.sampled_from(ids)
    edges = st.builds(
        Edge, ends, ends, names, st.one_of(st.just(""), names), tones, styles, st.sampled_from([1.0, 2.5])
    )
    return Diagram(
        nodes,
        draw(st.lists(edges, max_size=max_edges)),
        groups,
        draw(st.one_of(st.just(""), names)),
        draw(st.sampled_from(["down", "right"])),
    )
