"""A notebook shows pictures by itself."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from fsm_plugins import LIFECYCLE, Plugin, PluginInfo, PluginRegistry
from fsm_plugins.diagrams import Recorder, Sequence, Step, of_lifecycle, of_registry, render_sequence, svg
from fsm_plugins.diagrams.notebook import mimebundle

STEP = Step("clock", "init", "created", "initialized")


def _registry() -> PluginRegistry:
    class Clock(Plugin):
        info = PluginInfo("clock", "1.0.0")

    registry = PluginRegistry()
    registry.register(Clock())
    return registry


def _recorder() -> Recorder:
    recorder = Recorder()
    recorder.steps.append(STEP)
    return recorder


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (LIFECYCLE, svg(of_lifecycle(LIFECYCLE))),
        (LIFECYCLE.machine, None),
        (_registry(), svg(of_registry(_registry()))),
        (of_lifecycle(LIFECYCLE, title="x"), svg(of_lifecycle(LIFECYCLE, title="x"))),
        (Sequence([STEP]), render_sequence(Sequence([STEP]), "svg")),
        (_recorder(), render_sequence(Sequence([STEP]), "svg")),
    ],
)
def test_a_value_is_shown_as_its_picture(value: Any, wanted: str | None) -> None:
    """What IPython asks for is the SVG, and the drawing for a terminal in place of a repr."""
    bundle = mimebundle(value)
    assert set(bundle) == {"image/svg+xml", "text/plain"}
    assert "┌" in bundle["text/plain"] or "clock" in bundle["text/plain"]
    if wanted is not None:
        assert bundle["image/svg+xml"] == wanted
        assert value._repr_mimebundle_(include=None, exclude=None) == bundle


def test_what_cannot_be_drawn_is_refused() -> None:
    """As with every extraction."""
    with pytest.raises(TypeError, match="a diagram is drawn of"):
        mimebundle(3)


def test_the_core_loads_pictures_only_when_a_notebook_asks() -> None:
    """The lifecycle and the registry know the name of the function that draws, nothing more."""
    code = (
        "import sys, fsm_plugins\n"
        "drawn = lambda: any(name.startswith('fsm_plugins.diagrams') for name in sys.modules)\n"
        "before = drawn(); fsm_plugins.LIFECYCLE._repr_mimebundle_(); print(before, drawn())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False True\n"
