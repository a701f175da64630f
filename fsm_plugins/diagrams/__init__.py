"""Pictures that are never wrong: lifecycles, machines and registries -> one model -> text and pictures.

Nothing here knows a state or a trigger by name. What is drawn is extracted from the machine that runs, as a `Diagram`,
a value with sorted edges; renderers turn the same diagram into the same bytes, without any other program.
"""

from fsm_plugins.diagrams.dot import dot
from fsm_plugins.diagrams.extract import of_lifecycle, of_machine, of_registry
from fsm_plugins.diagrams.mermaid import flowchart, mermaid
from fsm_plugins.diagrams.model import Diagram, Edge, Group, Node, Style, Tone, highlight, restyle, side_by_side
from fsm_plugins.diagrams.palette import THEMES, Theme
from fsm_plugins.diagrams.plantuml import plantuml
from fsm_plugins.diagrams.render import FORMATS, render
from fsm_plugins.diagrams.svg import svg
from fsm_plugins.diagrams.tables import markdown
from fsm_plugins.diagrams.terminal import ascii_art

__all__ = [
    "FORMATS",
    "THEMES",
    "Diagram",
    "Edge",
    "Group",
    "Node",
    "Style",
    "Theme",
    "Tone",
    "ascii_art",
    "dot",
    "flowchart",
    "highlight",
    "markdown",
    "mermaid",
    "of_lifecycle",
    "of_machine",
    "of_registry",
    "plantuml",
    "render",
    "restyle",
    "side_by_side",
    "svg",
]
