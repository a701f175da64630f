"""Pictures that are never wrong: lifecycles, machines and registries -> one model -> text and pictures.

Nothing here knows a state or a trigger by name. What is drawn is extracted from the machine that runs, as a `Diagram`,
a value with sorted edges; renderers turn the same diagram into the same bytes, without any other program.
"""

from fsm_plugins.diagrams.as_dot import dot
from fsm_plugins.diagrams.as_html import html
from fsm_plugins.diagrams.as_mermaid import flowchart, mermaid
from fsm_plugins.diagrams.as_plantuml import plantuml
from fsm_plugins.diagrams.as_svg import svg
from fsm_plugins.diagrams.covering import coverage
from fsm_plugins.diagrams.extract import of_lifecycle, of_machine, of_registry
from fsm_plugins.diagrams.model import Diagram, Edge, Group, Node, Style, Tone, highlight, restyle, side_by_side
from fsm_plugins.diagrams.palette import THEMES, Theme
from fsm_plugins.diagrams.products import product
from fsm_plugins.diagrams.render import FORMATS, render
from fsm_plugins.diagrams.sequence import SEQUENCE_FORMATS, Sequence, render_sequence
from fsm_plugins.diagrams.supervised import of_phases, of_supervision, of_supervisor
from fsm_plugins.diagrams.tables import markdown
from fsm_plugins.diagrams.terminal import ascii_art
from fsm_plugins.diagrams.topology import of_application, of_plan
from fsm_plugins.diagrams.trace import Recorder, Step, read_trace, steps_of, write_trace

__all__ = [
    "FORMATS",
    "SEQUENCE_FORMATS",
    "THEMES",
    "Diagram",
    "Edge",
    "Group",
    "Node",
    "Recorder",
    "Sequence",
    "Step",
    "Style",
    "Theme",
    "Tone",
    "ascii_art",
    "coverage",
    "dot",
    "flowchart",
    "highlight",
    "html",
    "markdown",
    "mermaid",
    "of_application",
    "of_lifecycle",
    "of_machine",
    "of_phases",
    "of_plan",
    "of_registry",
    "of_supervision",
    "of_supervisor",
    "plantuml",
    "product",
    "read_trace",
    "render",
    "render_sequence",
    "restyle",
    "side_by_side",
    "steps_of",
    "svg",
    "write_trace",
]
