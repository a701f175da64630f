"""Diagrams in the pages of MkDocs and Sphinx: fenced blocks that are drawn when the pages are built.

A block says what to draw, then, line by line, how::

    ```fsm-diagram
    fsm_plugins:RESTARTABLE
    format: svg
    highlight: running
    ```

The first line is what `diagram_of` takes, or ``default``. ``format`` is ``mermaid`` (unless it is given), ``svg``,
``markdown`` or ``ascii``; ``highlight``, ``title``, ``direction`` and ``theme`` may be given as well.

In MkDocs, a hook is a file of your own with one line, ``from fsm_plugins.diagrams.fences import on_page_markdown``,
named under ``hooks:``. In Sphinx with Markdown pages, add ``fsm_plugins.diagrams.fences`` to ``extensions``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from fsm_plugins.diagrams.blocks import fenced
from fsm_plugins.diagrams.model import highlight, restyle
from fsm_plugins.diagrams.palette import THEMES
from fsm_plugins.diagrams.render import render
from fsm_plugins.diagrams.targets import diagram_of
from fsm_plugins.errors import LoadError, suggestion

__all__ = ["expand", "on_page_markdown", "setup"]

_OPENING: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*(.*?)[ \t]*$")
_DEFAULT: Final = "default"

# How each format goes into a page. Raw HTML ends at an empty line, and a picture has none.
_EMBEDDED: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "mermaid": fenced,
        "svg": str.rstrip,
        "markdown": str.rstrip,
        "ascii": lambda text: fenced(text, "text"),
    }
)
_OPTIONS: Final = ("format", "highlight", "title", "direction", "theme")


def expand(text: str) -> str:
    """Return the text of a Markdown page with each of its ``fsm-diagram`` blocks drawn.

    Raises:
        ValueError: a block cannot be drawn; the text tells its line and why.

    >>> print(expand("```fsm-diagram\\ndefault\\nformat: ascii\\n```").splitlines()[2])
           │ created │
    """
    lines = text.split("\n")
    made: list[str] = []
    at = 0
    while at < len(lines):
        opening = _OPENING.match(lines[at])
        if opening is None:
            made.append(lines[at])
            at += 1
            continue
        run, language = opening.groups()
        end = at + 1
        while end < len(lines) and not re.fullmatch(rf" {{0,3}}{re.escape(run)}{re.escape(run[0])}*[ \t]*", lines[end]):
            end += 1
        if language != "fsm-diagram":
            made += lines[at : end + 1]
        else:
            try:
                made.append(_drawn([line.strip() for line in lines[at + 1 : end] if line.strip()]))
            except (LoadError, ValueError) as error:
                raise ValueError(f"line {at + 1}: {error}") from error
        at = end + 1
    return "\n".join(made)


def _drawn(lines: list[str]) -> str:
    if not lines:
        raise ValueError(f"say what to draw: module:name, or {_DEFAULT}")
    target, *rest = lines
    options = {"format": "mermaid", "theme": "light"}
    marks: dict[str, str] = {}
    for line in rest:
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or key not in _OPTIONS:
            raise ValueError(f"there is no option {key!r}{suggestion(key, _OPTIONS)}; write: {', '.join(_OPTIONS)}")
        if key == "highlight":
            state, _, note = value.partition("=")
            marks[state] = note
        else:
            options[key] = value
    for key, known in (("format", tuple(_EMBEDDED)), ("theme", tuple(THEMES)), ("direction", ("down", "right"))):
        if options.get(key, known[0]) not in known:
            raise ValueError(f"{key} is one of {', '.join(known)}, not {options[key]!r}")
    drawn = highlight(diagram_of(None if target == _DEFAULT else target), marks)
    direction: Any = options.get("direction")
    drawn = restyle(drawn, title=options.get("title"), direction=direction)
    theme: Any = options["theme"]
    return _EMBEDDED[options["format"]](render(drawn, options["format"], theme=theme))


def on_page_markdown(markdown: str, **_: object) -> str:
    """Draw the blocks of a page; MkDocs calls it for each. Raises as `expand` does."""
    return expand(markdown)


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx draw the blocks of Markdown pages; it calls this for an extension."""

    def on_source_read(_app: object, _name: str, source: list[str]) -> None:
        source[0] = expand(source[0])

    app.connect("source-read", on_source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
