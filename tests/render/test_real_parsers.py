"""The programs that the texts are meant for accept them: Mermaid's own parser, Graphviz, PlantUML.

Each test skips where its program is not there; ``make test-render`` installs what npm has.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

from fsm_plugins import LIFECYCLE, RESTARTABLE
from fsm_plugins.diagrams import (
    Diagram,
    Sequence,
    Step,
    coverage,
    dot,
    flowchart,
    mermaid,
    of_lifecycle,
    plantuml,
    product,
    render_sequence,
)
from tests.property.diagram_strategies import HOSTILE, diagrams

HERE = Path(__file__).parent
NODE = shutil.which("node")


@functools.cache
def samples() -> tuple[Diagram, ...]:
    """Diagrams of lifecycles, and random ones with names that are meant to break things; the same ones every time."""
    found: list[Diagram] = [
        of_lifecycle(LIFECYCLE, title="The lifecycle: %%{init}%%"),
        of_lifecycle(RESTARTABLE, marks={"running": 'say "3"'}),
        coverage(of_lifecycle(LIFECYCLE), STEPS),
        product({"a": of_lifecycle(LIFECYCLE), "b": of_lifecycle(LIFECYCLE)}),
    ]

    @settings(max_examples=60, database=None, derandomize=True, deadline=None, phases=[Phase.generate])
    @given(diagram=diagrams())
    def collect(diagram: Diagram) -> None:
        found.append(diagram)

    collect()
    return tuple(found)


STEPS = [Step(name, trigger, "created", dest, 1.0, 0.5, cause) for name in HOSTILE for trigger, dest, cause in (
    ("init", "two\nlines", None), ("fail", "failed", 'because "so"'), ("a:b;c", None, None)
)]  # fmt: skip


def sequences() -> tuple[Sequence, ...]:
    """Traces with the same kind of names."""
    return (Sequence(STEPS, title='"x": y'), Sequence(STEPS[:4], times=False), Sequence([]))


def _node_modules() -> Path:
    """Return the directory with ``node_modules``: that of this file, unless the environment names one."""
    return Path(os.environ.get("FSM_PLUGINS_NODE_DIR", HERE))


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.skipif(
    not (_node_modules() / "node_modules" / "mermaid").exists(), reason="Mermaid is not installed: make test-render"
)
def test_mermaid_parses_every_text() -> None:
    """State diagrams, flowcharts and sequences go through Mermaid's own parser; a broken one does not."""
    texts = [draw(diagram) for diagram in samples() for draw in (mermaid, flowchart)]
    texts += [render_sequence(sequence, "mermaid") for sequence in sequences()]
    assert NODE is not None
    ran = subprocess.run(
        [NODE, HERE / "parse.mjs"],
        input=json.dumps([*texts, "stateDiagram-v2\n    a --> : x"]),
        cwd=_node_modules(),
        capture_output=True,
        text=True,
        check=True,
    )
    *answers, broken = json.loads(ran.stdout)
    assert broken is not None
    _none_is_refused(texts, answers)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed (apt-get install graphviz)")
def test_graphviz_draws_every_text_without_a_warning() -> None:
    """Each digraph is laid out, and nothing is said on stderr."""
    texts = [dot(diagram) for diagram in samples()]
    answers = []
    for text in texts:
        ran = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True, check=False)
        answers.append(ran.stderr or None if ran.returncode == 0 else f"exit status {ran.returncode}: {ran.stderr}")
    _none_is_refused(texts, answers)


@pytest.mark.skipif(shutil.which("plantuml") is None, reason="PlantUML is not installed (apt-get install plantuml)")
def test_plantuml_accepts_every_text() -> None:
    """State diagrams and sequences pass its check; a broken one does not."""
    texts = [plantuml(diagram) for diagram in samples()]
    texts += [render_sequence(sequence, "plantuml") for sequence in sequences()[:2]]
    with tempfile.TemporaryDirectory() as directory:
        for number, text in enumerate([*texts, '@startuml\nstate "a\n!!\n@enduml\n']):
            Path(directory, f"{number}.puml").write_text(text, encoding="utf-8")
        program = ["plantuml", "-charset", "UTF-8", "-checkonly"]
        broken = subprocess.run([*program, f"{len(texts)}.puml"], cwd=directory, capture_output=True, check=False)
        assert broken.returncode != 0
        Path(directory, f"{len(texts)}.puml").unlink()
        ran = subprocess.run([*program, "*.puml"], cwd=directory, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def _none_is_refused(texts: Iterable[str], answers: Iterable[str | None]) -> None:
    for text, answer in zip(texts, answers, strict=True):
        assert answer is None, f"{answer}\n\n{text}"


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-ra", *sys.argv[1:]]))
