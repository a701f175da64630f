"""How the examples are written down."""

from __future__ import annotations

import textwrap

__all__ = ["both", "plugin"]


def plugin(body: str, before: str = "") -> str:
    """Return a plugin class of this body, after what comes ``before`` the class."""
    head = f"{textwrap.dedent(before).strip()}\n\n\n" if before else ""
    inside = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return f'{head}class Example(Plugin):\n    info = PluginInfo("example", "1.0.0")\n\n{inside}\n'


def both(bad: str, good: str, before: str = "") -> tuple[str, str]:
    """Return two plugin classes of these bodies, each after what comes ``before`` the class."""
    return plugin(bad, before), plugin(good, before)
