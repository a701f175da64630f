"""Diagrams as one HTML file to walk through: fire triggers, see what is refused and why, undo, share, play a trace.

The file needs nothing else, and its policy forbids it to load anything. What was done is in its address, so a link to
it is a link to a walk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files
from typing import Final

from fsm_plugins.diagrams.as_svg import draw
from fsm_plugins.diagrams.model import Diagram, restyle
from fsm_plugins.diagrams.palette import THEMES, Paint, Palette, Theme
from fsm_plugins.diagrams.text import clean, one_line
from fsm_plugins.diagrams.trace import StepLike, steps_of

__all__ = ["html"]

# The page decides on the colours, by whether its reader wants it dark.
_VARIABLES: Final = Palette(
    "var(--paper)",
    "var(--group)",
    {tone: Paint(*(f"var(--{tone}-{part})" for part in Paint._fields)) for tone in THEMES["light"].tones},
)
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_SECTION: Final = """\
<section aria-label="Simulator">
<p>Now in <span id="state"></span></p>
<p id="said" role="status" aria-live="polite"></p>
<h2 id="legal-name">Moves</h2>
<div id="legal" class="moves" role="group" aria-labelledby="legal-name"></div>
<h2 id="illegal-name">Not legal here</h2>
<div id="illegal" class="moves" role="group" aria-labelledby="illegal-name"></div>
<h2>What happened</h2>
<p id="recorded"><label>Recorded trace: <select id="traces"><option value="">none</option></select></label></p>
<p><label for="slider">Step <span id="place"></span></label>
<input id="slider" type="range" min="0" max="0" value="0" step="1"></p>
<p class="moves"><button type="button" id="play">Play</button> <button type="button" id="undo">Undo</button>
<button type="button" id="reset">Begin again</button></p>
<ol id="log"></ol>
</section>
"""


def html(diagram: Diagram, theme: Theme | None = None, trace: Iterable[StepLike] = ()) -> str:
    """Return ``diagram`` as an HTML page, with a simulator if it has an initial state.

    Args:
        diagram: what to draw. The walk begins at its first initial state.
        theme: ``light`` or ``dark``; what the reader's system prefers if None.
        trace: recorded steps, which the page can play, plugin by plugin.

    >>> page = html(Diagram([], [], title="empty"))
    >>> page.startswith("<!doctype html>") and "https:" not in page
    True
    """
    title = escape(one_line(diagram.title) or "State diagram")
    assets = files("fsm_plugins.diagrams") / "assets"
    script, style = ((assets / f"simulator.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    section = code = ""
    # Where nothing begins, as in a topology, there is nothing to walk through.
    if any(item.initial for item in diagram.items):
        section = _SECTION
        model = _json(_model(diagram, trace))
        code = f'<script type="application/json" id="model">{model}</script>\n<script>\n{script}</script>\n'
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}</title>
<style>
{"".join(_colours(theme))}{style}</style>
</head>
<body>
<header><h1>{title}</h1></header>
<main>
<figure aria-label="The diagram">
{draw(restyle(diagram, title=""), _VARIABLES)}</figure>
{section}</main>
{code}</body>
</html>
"""


def _colours(theme: Theme | None) -> Iterator[str]:
    yield f":root {{ {_values(THEMES[theme or 'light'])} }}\n"
    if theme is None:
        yield f"@media (prefers-color-scheme: dark) {{ :root {{ {_values(THEMES['dark'])} }} }}\n"


def _values(palette: Palette) -> str:
    values = {"paper": palette.paper, "group": palette.group}
    for tone, paint in palette.tones.items():
        values.update({f"{tone}-fill": paint.fill, f"{tone}-line": paint.line, f"{tone}-text": paint.text})
    return " ".join(f"--{name}: {value};" for name, value in values.items())


def _model(diagram: Diagram, trace: Iterable[StepLike]) -> dict[str, object]:
    """Return what the script has to know."""
    traces: dict[str, list[dict[str, str | None]]] = {}
    for step in steps_of(trace):
        dest = None if step.dest is None else clean(step.dest)
        move = {"trigger": step.trigger, "source": clean(step.source), "dest": dest, "cause": step.cause}
        traces.setdefault(step.plugin, []).append(move)
    return {
        # Ids are written as they are in the attributes of the picture.
        "nodes": [
            {
                "id": clean(item.id),
                "label": item.label,
                "group": None if item.group is None else clean(item.group),
                "initial": item.initial,
            }
            for item in diagram.items
        ],
        "edges": [
            {
                "number": number,
                "source": clean(edge.source),
                "dest": clean(edge.dest),
                "label": edge.label,
                "detail": edge.detail,
            }
            for number, edge in enumerate(diagram.edges)
        ],
        "triggers": list(diagram.labels),
        "traces": traces,
    }


def _json(value: object) -> str:
    """Return JSON that cannot end the element it is in."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
