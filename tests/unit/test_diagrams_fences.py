"""Blocks in pages of MkDocs and Sphinx are drawn, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest

from fsm_plugins import LIFECYCLE, RESTARTABLE, LoadError
from fsm_plugins.diagrams import Diagram, Edge, Node, ascii_art, fences, markdown, mermaid, of_lifecycle, restyle, svg
from fsm_plugins.diagrams.fences import expand
from fsm_plugins.diagrams.targets import diagram_of


def test_a_block_is_drawn_in_each_format() -> None:
    """Mermaid and text stay fenced, a picture and tables are part of the page."""
    drawn = of_lifecycle(LIFECYCLE)
    assert expand("a\n```fsm-diagram\ndefault\n```\nb") == f"a\n```mermaid\n{mermaid(drawn)}```\nb"
    assert expand("~~~ fsm-diagram\ndefault\nformat: svg\n~~~~\n") == svg(drawn)
    assert expand("```fsm-diagram\ndefault\nformat:markdown\n```\n") == markdown(drawn)
    assert expand("```fsm-diagram\n\ndefault\nformat: ascii\n```\n") == f"```text\n{ascii_art(drawn)}```\n"


def test_a_picture_in_a_page_has_no_empty_line() -> None:
    """An empty line would end the raw HTML of Markdown."""
    odd = "two\n\nlines"
    assert "\n\n" not in svg(Diagram([Node(odd, odd, note=odd)], [Edge(odd, odd, odd)], title=odd))


def test_a_block_may_say_how() -> None:
    """Target, highlights with notes, title, direction and theme."""
    text = "\n".join(
        [
            "```fsm-diagram",
            "fsm_plugins:RESTARTABLE",
            "highlight: running=it: works",
            "highlight: failed",
            "title: A: b",
            "direction: right",
            "theme: dark",
            "format: svg",
            "```",
        ]
    )
    drawn = of_lifecycle(RESTARTABLE, marks={"running": "it: works", "failed": ""})
    assert expand(text) == svg(restyle(drawn, title="A: b", direction="right"), "dark").rstrip()


def test_other_blocks_are_left_alone() -> None:
    """Also those that show what a block looks like, and one that does not end."""
    text = "````md\n```fsm-diagram\nnothing\n```\n````\n\n```python\nx\n```\n``` fsm-diagrams\n"
    assert expand(text) == text


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "line 2: say what to draw: module:name, or default"),
        ("fsm_plugins:NOTHING", "line 2: .*has no 'NOTHING'"),
        ("default\nformt: svg", "no option 'formt' \\(did you mean 'format'"),
        ("default\nsvg", "no option 'svg'"),
        ("default\nformat: png", "format is one of mermaid, svg, markdown, ascii, not 'png'"),
        ("default\ntheme: pink", "theme is one of light, dark, not 'pink'"),
        ("default\ndirection: up", "direction is one of down, right"),
        ("default\nhighlight: runing", "no state 'runing' to highlight"),
    ],
)
def test_a_block_that_cannot_be_drawn_fails_the_build(lines: str, says: str) -> None:
    """The error tells the line of the page and what to write instead."""
    with pytest.raises(ValueError, match=says):
        expand(f"\n```fsm-diagram\n{lines}\n```")


def test_mkdocs_and_sphinx_call_it() -> None:
    """The hook takes what MkDocs gives; the extension connects to the event at which Sphinx reads a page."""
    page = "```fsm-diagram\ndefault\n```"
    assert fences.on_page_markdown(page, page=None, config={}, files=[]) == expand(page)

    class App:
        connected: tuple[str, Any]

        def connect(self, event: str, callback: Any) -> None:
            self.connected = event, callback

    app = App()
    assert fences.setup(app)["parallel_read_safe"]
    event, callback = app.connected
    source = [page]
    callback(app, "index", source)
    assert event == "source-read" and source == [expand(page)]


def test_a_target_without_a_lifecycle_is_refused() -> None:
    """A factory might make anything."""
    with pytest.raises(LoadError, match="name the plugin class"):
        diagram_of("fsm_plugins:as_plugin")
