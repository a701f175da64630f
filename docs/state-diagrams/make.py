"""Write the pictures of this directory, and those in the Markdown files of the documentation; or check them.

    python docs/state-diagrams/make.py            write what is missing or different
    python docs/state-diagrams/make.py --check    write nothing; exit with 1, and a diff, if anything is different

Nothing is drawn by hand. Lifecycles come from the tables that plugins run on, the topology from a configuration that
runs, and the sequences from events that were recorded while this script ran a registry.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from functools import partial
from pathlib import Path

from attrs import frozen
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from fsm_plugins import LIFECYCLE, RELOADABLE, RESTARTABLE, Plugin, PluginError, PluginInfo, PluginRegistry
from fsm_plugins.app import read_blueprint
from fsm_plugins.diagrams import (
    Diagram,
    Recorder,
    Sequence,
    coverage,
    flowchart,
    markdown,
    mermaid,
    of_lifecycle,
    of_phases,
    of_plan,
    of_supervision,
    product,
    render_sequence,
    restyle,
    svg,
)
from fsm_plugins.diagrams.blocks import difference, fenced, fill
from fsm_plugins.diagrams.targets import diagram_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))]


@frozen
class Picture:
    """One picture of the documentation.

    Attributes:
        title: its heading.
        text: what it shows, and how to read it.
        mermaid, svg, table: the picture as Mermaid, as SVG, and in words.
    """

    title: str
    text: str
    mermaid: str
    svg: str
    table: str


def of_diagram(diagram: Diagram, title: str, text: str) -> Picture:
    """Return the picture of a diagram of states."""
    return Picture(title, text, mermaid(diagram), svg(diagram), markdown(diagram))


def of_sequence(recorder: Recorder, title: str, text: str) -> Picture:
    """Return the picture of what was recorded, without times: they differ from run to run."""
    sequence = Sequence(recorder.steps, times=False)
    draw = partial(render_sequence, sequence)
    return Picture(title, text, draw("mermaid"), draw("svg"), draw("markdown"))


ABOUT = (
    "Written by `make diagrams` from the tables that plugins run on, from a configuration, and from recorded runs. "
    "`make test` fails if one of them is not what the code says. Each page has the diagram as Mermaid and in words."
)


# The runs that are recorded.


class Engine(Plugin):
    """A plugin without hooks."""

    info = PluginInfo("engine", "1.0.0")


class Broken(Plugin):
    """A plugin that cannot be started."""

    info = PluginInfo("broken", "1.0.0")

    async def on_start(self) -> None:
        raise OSError("the port is taken")


def record(plugins: list[Plugin]) -> Recorder:
    """Run ``plugins`` in a registry, from ``init_all`` to ``stop_all``, and return what happened."""
    recorder = Recorder()
    registry = PluginRegistry(clock=lambda: 0.0)
    registry.subscribe(recorder)
    for plugin in plugins:
        registry.register(plugin)

    async def run() -> None:
        try:
            await registry.init_all()
            await registry.start_all()
        except PluginError:
            pass  # it has been recorded
        finally:
            await registry.stop_all()

    asyncio.run(run())
    return recorder


def property_suite() -> Recorder:
    """Run the registry's random test as the suite does, with one seed after the other, and return what happened.

    Each run leaves out something else, and which it is changes with Hypothesis and with the code. So it goes on until
    nothing is left out, or until it seems that something cannot be covered at all.
    """
    sys.path.insert(0, str(ROOT))
    from tests.property.test_registry_against_model import RegistryAgainstModel, TestRegistryAgainstModel

    recorder = Recorder()
    fixed = settings(
        TestRegistryAgainstModel.settings,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    logger = logging.getLogger("fsm_plugins")
    level, before = logger.level, RegistryAgainstModel.recorder
    logger.setLevel(logging.CRITICAL + 1)
    RegistryAgainstModel.recorder = recorder
    try:
        for number in range(8):
            run_state_machine_as_test(seed(number)(RegistryAgainstModel), settings=fixed)
            if "never" not in markdown(coverage(of_lifecycle(LIFECYCLE), recorder.steps)):
                break
    finally:
        RegistryAgainstModel.recorder = before
        logger.setLevel(level)
        sys.path.remove(str(ROOT))
    return recorder


# A configuration with everything a supervisor can be told. Its plugins are never made.
SUPERVISED = """
[supervisor]
intensity = 3
[supervisor.groups.intake]
strategy = "rest_for_one"
intensity = 5
period = 30
[supervisor.groups.analysis]
strategy = "dependents"
group = "intake"
[channels.packets]
[channels.alerts]
[plugins.read]
use = "words:Read"
outputs = { lines = "packets" }
settings = { file = "packets.log" }
restart = "permanent"
group = "intake"
[plugins.split]
use = "words:Split"
inputs = { lines = "packets" }
outputs = { words = "alerts" }
group = "analysis"
[plugins.report]
use = "words:Report"
inputs = { words = "alerts" }
restart = "temporary"
"""


def supervisor_of(text: str) -> Picture:
    """Return the picture of the supervisor of a configuration, given as its text."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "supervised.toml")
        path.write_text(f'[app]\nplugin_path = ["{ROOT / "examples" / "words"}"]\n{text}', encoding="utf-8")
        blueprint = read_blueprint(path, {})
    config = blueprint.config
    assert config is not None and config.supervisor is not None and not blueprint.problems, blueprint.problems
    drawn = of_supervision(blueprint.plan, config.supervisor, config.children)
    return Picture(
        "A supervisor",
        "The groups of a supervisor with their strategies and limits, the plugins in them with their restart kinds, "
        "and the channels, which may go from one group to another. A group that reaches its limit fails as a whole "
        "in the group around it.",
        flowchart(drawn),
        svg(drawn),
        fenced(text.strip() + "\n", "toml"),
    )


def pictures() -> dict[str, Picture]:
    """Return every picture by its name."""
    well = record([Engine(name="source"), Engine(name="filter"), Engine(name="sink")])
    broken = record([Engine(name="source"), Broken(name="filter"), Engine(name="sink")])
    lifecycle = of_lifecycle(LIFECYCLE)
    words = read_blueprint(ROOT / "examples" / "words" / "words.toml", {}).plan
    ironpost = read_blueprint(ROOT / "examples" / "ironpost" / "ironpost.toml", {})
    assert not ironpost.problems, ironpost.problems
    return {
        "lifecycle": of_diagram(
            lifecycle,
            "The lifecycle of a plugin",
            "The default table, `LIFECYCLE`. A dashed arrow is a move without a hook: it is taken when a hook raises, "
            "is cancelled or is late, when a worker crashes, or by `plugin.fail(cause)`. The double border marks the "
            "final state.",
        ),
        "restartable": of_diagram(
            of_lifecycle(RESTARTABLE),
            "The restartable lifecycle",
            "`RESTARTABLE`, for classes that opt in to a second start: the default table with one more `start`, and "
            "the `fail` which that start needs, because it may break like the first one.",
        ),
        "reloadable": of_diagram(
            of_lifecycle(RELOADABLE),
            "The reloadable lifecycle",
            "`RELOADABLE`, for classes that opt in to reading their files again while they run: the default table with "
            "one move that ends where it begins, and whose hook is `on_reload`.",
        ),
        "pause-resume": of_diagram(
            diagram_of("pause_resume:PAUSABLE", [ROOT / "examples"]),
            "A plugin that can be paused",
            "The lifecycle of `examples/pause_resume.py`: the default table with four more arcs. Nothing else was "
            "written for it: the calls, their refusals and this picture follow.",
        ),
        "two-plugins": of_diagram(
            product({"first": lifecycle, "second": lifecycle}),
            "Two plugins",
            "Every combination of states that two plugins can be in, each moving on its own: what a verification of "
            "two plugins has to walk through.",
        ),
        "start-and-stop": of_sequence(
            well,
            "The bulk calls of a registry",
            "`init_all`, `start_all` and `stop_all` of a registry with three plugins, as its listeners were told. Each "
            "call goes through the plugins in the order of registration.",
        ),
        "start-fails": of_sequence(
            broken,
            "A start that fails",
            "The same calls where the second plugin cannot be started. `start_all` ends there, and the third plugin is "
            "untouched. `stop_all` then stops all three: the one that was initialised only is failed as abandoned "
            "first, so that its stop hook releases what its init took.",
        ),
        "start-fails-coverage": of_diagram(
            coverage(lifecycle, [*well.steps, *broken.steps]),
            "What the two runs took of the lifecycle",
            "The two runs above as coverage: arcs that were taken are green and thicker the more often, dotted ones "
            "never were. The notes tell which illegal calls were never tried.",
        ),
        "property-suite-coverage": of_diagram(
            coverage(lifecycle, property_suite().steps, counts=False),
            "What the property suite takes of the lifecycle",
            "The random test that holds a registry against an independent model, `tests/property/"
            "test_registry_against_model.py`, run until it had covered everything, at most eight times: solid green "
            "arcs were taken, and each state lists the illegal calls that were tried there and refused. A dotted arc, "
            "or a call that was never tried, would be a gap in the tests.",
        ),
        "supervised": of_diagram(
            of_phases(),
            "A plugin under a supervisor",
            "What a supervisor makes of a plugin: `PHASES` of `fsm_plugins.supervision`. A plugin recovers when it "
            "failed, or when it belongs to one that failed; it is asked for by `restart` and `start_plugin`.",
        ),
        "supervisor": supervisor_of(SUPERVISED),
        "words": Picture(
            "The application `words`",
            "The topology of `examples/words`, from its configuration: the plugins, numbered in the order in which "
            "they are registered and started, and the channels with the type of their messages and their capacity.",
            flowchart(of_plan(words)),
            svg(of_plan(words)),
            fenced(str(words), "text"),
        ),
        "ironpost": Picture(
            "The application `ironpost`",
            "The topology of `examples/ironpost`, the reference application, from its configuration: what is found on "
            "the network, in the logs and in lockfiles comes together at the container guard.",
            flowchart(of_plan(ironpost.plan)),
            svg(of_plan(ironpost.plan)),
            fenced(str(ironpost.plan), "text"),
        ),
    }


def files() -> dict[str, str]:
    """Return the text of every file that should be there, by its path from the root."""
    all_pictures = pictures()
    folder = HERE.relative_to(ROOT).as_posix()
    wanted = {}
    index = ["# State diagrams", "", ABOUT]
    for name, picture in all_pictures.items():
        image = f"![{picture.title}]({name}.svg)"
        index += ["", f"## [{picture.title}]({name}.md)", "", picture.text, "", image]
        page = [f"# {picture.title}", "", picture.text, "", fenced(picture.mermaid), ""]
        page += [picture.table.rstrip(), "", f"As an image: [{name}.svg]({name}.svg). All: [index](index.md)."]
        wanted[f"{folder}/{name}.md"] = "\n".join([*page, ""])
        wanted[f"{folder}/{name}.svg"] = picture.svg
    # For pages that have more width than height to give.
    wanted[f"{folder}/lifecycle-right.svg"] = svg(restyle(of_lifecycle(LIFECYCLE), direction="right"))
    wanted[f"{folder}/lifecycle-dark.svg"] = svg(of_lifecycle(LIFECYCLE), "dark")
    wanted[f"{folder}/index.md"] = "\n".join([*index, ""])
    blocks = {name: fenced(picture.mermaid) for name, picture in all_pictures.items()}
    for document in DOCUMENTS:
        wanted[document] = fill((ROOT / document).read_text(encoding="utf-8"), blocks)
    return wanted


def main(arguments: list[str]) -> int:
    """Write or check the files; return the exit status."""
    if arguments not in ([], ["--check"]):
        print("usage: make.py [--check]", file=sys.stderr)
        return 2
    wanted = files()
    status = 0
    for name, text in wanted.items():
        path = ROOT / name
        found = path.read_text(encoding="utf-8") if path.exists() else None
        if found == text:
            continue
        if arguments:
            status = 1
            print(difference(name, found, text), end="")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    for path in sorted(HERE.iterdir()):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in (".md", ".svg") and name not in wanted:
            status = 1
            print(f"{name} is not made by this script; remove it", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
