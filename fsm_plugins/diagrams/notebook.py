"""What a notebook shows of a lifecycle, a registry, a diagram or a trace: the picture, and text where it has none."""

from __future__ import annotations

from fsm_plugins.diagrams.as_svg import svg
from fsm_plugins.diagrams.extract import of_lifecycle, of_machine, of_registry
from fsm_plugins.diagrams.model import Diagram
from fsm_plugins.diagrams.sequence import Sequence, render_sequence
from fsm_plugins.diagrams.terminal import ascii_art
from fsm_plugins.diagrams.trace import Recorder
from fsm_plugins.lifecycle import Lifecycle
from fsm_plugins.registry import PluginRegistry

__all__ = ["mimebundle"]


def mimebundle(value: object) -> dict[str, str]:
    """Return ``value`` drawn, by media type, as ``_repr_mimebundle_`` of IPython wants it.

    Raises:
        TypeError: it is nothing that can be drawn.

    >>> from fsm_plugins import LIFECYCLE
    >>> sorted(mimebundle(LIFECYCLE))
    ['image/svg+xml', 'text/plain']
    """
    if isinstance(value, Recorder):
        value = Sequence(value.steps)
    if isinstance(value, Sequence):
        return {"image/svg+xml": render_sequence(value, "svg"), "text/plain": render_sequence(value, "ascii")}
    if isinstance(value, Lifecycle):
        drawn = of_lifecycle(value)
    elif isinstance(value, PluginRegistry):
        drawn = of_registry(value)
    else:
        drawn = value if isinstance(value, Diagram) else of_machine(value)
    return {"image/svg+xml": svg(drawn), "text/plain": ascii_art(drawn)}
