"""The HTML page, as a file: small, alone, and safe from the names in it. What it does is tried in tests/render."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from hypothesis import given, settings

from fsm_plugins import LIFECYCLE, RESTARTABLE
from fsm_plugins.diagrams import Diagram, Edge, Node, Step, html, of_lifecycle, product
from tests.property.diagram_strategies import diagrams


class _Reader(HTMLParser):
    """Collects the elements of a page, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag == "script":
            name = attributes.get("id") or "code"
            self.texts[name] = self.texts.get(name, "") + data


def test_the_page_is_small_and_alone() -> None:
    """Under 300 kB, also for a product; it loads nothing, and its policy forbids it to."""
    large = product({"a": of_lifecycle(RESTARTABLE), "b": of_lifecycle(RESTARTABLE)})
    for diagram in (of_lifecycle(LIFECYCLE), large):
        page = html(diagram)
        assert len(page.encode()) < 300_000
        assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}
        assert not re.search(r"\b(src|href)=|@import|url\(|fetch\(|XMLHttp", page)
        assert "default-src 'none'" in page


def test_the_page_has_roles_and_labels() -> None:
    """Every control has a name, what happens is announced, and the language is told."""
    reader = _Reader(html(of_lifecycle(LIFECYCLE, title="A title")))
    attributes = {values["id"]: values for _, values in reader.elements if "id" in values}
    assert attributes["said"]["aria-live"] == "polite" and attributes["said"]["role"] == "status"
    labelled = {values["for"] for tag, values in reader.elements if tag == "label" and "for" in values}
    assert labelled == {"slider"}
    assert {"html", "main", "h1", "figure", "section"} <= {tag for tag, _ in reader.elements}
    assert reader.elements[0] == ("html", {"lang": "en"})


def test_the_theme_is_the_readers_unless_it_is_given() -> None:
    """Without a theme both are in the page; with one, only that."""
    diagram = of_lifecycle(LIFECYCLE)
    assert "prefers-color-scheme: dark" in html(diagram)
    assert "prefers-color-scheme" not in html(diagram, "light")
    assert "--paper: #0d1117" in html(diagram, "dark") and "--paper: #ffffff" not in html(diagram, "dark")


def test_a_topology_has_nothing_to_walk_through() -> None:
    """Without an initial state the page is the picture alone, without a script."""
    page = html(Diagram([Node("a", "a"), Node("b", "b")], [Edge("a", "b", "channel")]))
    assert "<script" not in page and "Simulator" not in page and "<svg" in page


@settings(max_examples=40, deadline=None)
@given(diagram=diagrams())
def test_names_cannot_break_the_page(diagram: Diagram) -> None:
    """The elements are the same whatever the names are, and the model has every node and edge."""
    nodes = [Node("first", "first", initial=True), *(node for node in diagram.nodes if node.id != "first")]
    diagram = Diagram(nodes, diagram.edges, diagram.groups, diagram.title)
    reader = _Reader(html(diagram, trace=[Step("</script>", "<!--", "a", None)]))
    assert [tag for tag, _ in reader.elements].count("script") == 2
    # Browsers are more inventive than this parser in what ends a script or comments it out.
    assert "<" not in reader.texts["model"]
    model = json.loads(reader.texts["model"].strip())
    assert [node["label"] for node in model["nodes"]] == [item.label for item in diagram.items]
    assert [edge["label"] for edge in model["edges"]] == [edge.label for edge in diagram.edges]
    assert list(model["traces"]) == ["</script>"]


def test_a_title_is_text() -> None:
    """Markup in a title is shown, not followed."""
    page = html(Diagram([Node("a", "a")], [Edge("a", "a", "</svg>")], title="<script>alert(1)</script>"))
    assert "<script>alert" not in page and page.count("</svg>") == 1
