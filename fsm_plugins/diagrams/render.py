"""The formats that a diagram can be rendered to, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from fsm_plugins.diagrams.as_dot import dot
from fsm_plugins.diagrams.as_html import html
from fsm_plugins.diagrams.as_mermaid import flowchart, mermaid
from fsm_plugins.diagrams.as_plantuml import plantuml
from fsm_plugins.diagrams.as_svg import svg
from fsm_plugins.diagrams.model import Diagram
from fsm_plugins.diagrams.palette import Theme
from fsm_plugins.diagrams.tables import markdown
from fsm_plugins.diagrams.terminal import ascii_art

__all__ = ["FORMATS", "Format", "render"]

Renderer: TypeAlias = Callable[[Diagram, Theme], str]


class Format(NamedTuple):
    """A text format.

    Attributes:
        suffix: of the names of its files, with the dot.
        render: makes the text.
    """

    suffix: str
    render: Renderer


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "mermaid": Format(".mmd", mermaid),
        "flowchart": Format(".mmd", flowchart),
        "dot": Format(".dot", dot),
        "plantuml": Format(".puml", plantuml),
        "ascii": Format(".txt", lambda diagram, theme: ascii_art(diagram)),
        "markdown": Format(".md", lambda diagram, theme: markdown(diagram)),
        "svg": Format(".svg", svg),
        # A page that is not said to be dark is what its reader's system prefers.
        "html": Format(".html", lambda diagram, theme: html(diagram, "dark" if theme == "dark" else None)),
    }
)
"""Every text format by its name."""


def render(diagram: Diagram, format: str = "mermaid", *, theme: Theme = "light") -> str:  # noqa: A002
    """Return ``diagram`` in one of the `FORMATS`.

    Raises:
        ValueError: there is no such format; the text says which there are.

    >>> from fsm_plugins import LIFECYCLE
    >>> from fsm_plugins.diagrams import of_lifecycle
    >>> render(of_lifecycle(LIFECYCLE), "dot").splitlines()[0]
    'digraph "diagram" {'
    """
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[format].render(diagram, theme)
