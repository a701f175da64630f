"""Pictures of supervisors: their groups, and where their plugins stand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from fsm_plugins import PermanentError, Plugin, PluginInfo
from fsm_plugins.cli import main
from fsm_plugins.diagrams import of_phases, of_supervision, of_supervisor
from fsm_plugins.orchestrator import PluginSpec, plan
from fsm_plugins.supervision import PHASES, UP, Backoff, Child, Group, Policy, Supervisor
from fsm_plugins.testing import run


class Crashes(Plugin):
    info = PluginInfo("crashes", "1.0.0")
    error: Exception = OSError("gone")

    async def on_start(self) -> None:
        self.spawn(self.crash())

    async def crash(self) -> None:
        await asyncio.sleep(1)
        raise self.error


class Hopeless(Crashes):
    error = PermanentError("no licence")


class Steady(Plugin):
    info = PluginInfo("steady", "1.0.0")


def test_every_move_of_the_table_is_drawn_once() -> None:
    """The picture of the phases is the table of the phases."""
    drawn = of_phases()
    arrows = [(edge.label.replace(" ", "_"), edge.source, edge.dest) for edge in drawn.edges]
    assert sorted(arrows) == sorted((arc.trigger, arc.source, arc.dest) for arc in PHASES)
    assert [node.id for node in drawn.nodes if node.initial] == [UP]


def test_groups_are_drawn_within_each_other_whatever_their_order() -> None:
    """A group may be written before the one around it."""
    policy = Policy(intensity="unlimited", groups={"inner": Group(intensity=1, group="outer"), "outer": Group()})
    specs = [PluginSpec("a", Steady), PluginSpec("b", Steady)]
    drawn = of_supervision(plan(specs, {}), policy, {"b": Child("temporary", group="inner")})
    labels = {group.id: group.label for group in drawn.groups}
    around = {labels[group.id]: labels.get(group.group or "") for group in drawn.groups}
    outer, inner = (
        "outer: one_for_one, at most 5 restarts in 60 s",
        "inner: one_for_one, at most 1 restart in 60 s",
    )
    assert around == {"supervisor: one_for_one": None, outer: "supervisor: one_for_one", inner: outer}
    assert [(node.id, labels[node.group or ""], node.note) for node in drawn.nodes] == [
        ("a", "supervisor: one_for_one", "transient"),
        ("b", inner, "temporary"),
    ]


def test_a_running_supervisor_shows_where_its_plugins_stand() -> None:
    """Those that recover, were given up, were stopped on request, or simply run."""

    async def go() -> None:
        specs = [PluginSpec("a", Crashes), PluginSpec("b", Hopeless), PluginSpec("c", Steady), PluginSpec("d", Steady)]
        supervisor = Supervisor(specs, policy=Policy(backoff=Backoff(initial=20, jitter=0)), name="top")
        async with supervisor.running():
            await asyncio.sleep(6)
            await supervisor.stop_plugin("c")
            drawn = of_supervisor(supervisor)
            assert drawn.title == "top"
            assert {node.id: (node.note, node.tone) for node in drawn.nodes} == {
                "a": ("transient, recovering, 15 s to wait", "warning"),
                "b": ("transient, given up", "bad"),
                "c": ("transient, left alone", "muted"),
                "d": ("transient, up", "good"),
            }
            notes = {node.label: node.note for node in of_phases(supervisor).nodes}
            assert notes == {"up": "1: d", "recovering": "1: a", "given up": "1: b", "left alone": "1: c"}

    run(go)


@pytest.mark.parametrize(
    ("table", "status", "said"),
    [
        ("[supervisor]\nintensity = 2\n", 0, "supervisor: one_for_one, at most 2 restarts in 60 s"),
        ("", 1, "has no supervisor; add a table [supervisor], it may be empty"),
        ("[supervisor]\nintensity = -2\n", 78, "supervisor.intensity: intensity is a number of restarts"),
    ],
)
def test_the_command_draws_a_configuration(tmp_path: Path, table: str, status: int, said: str) -> None:
    """`fsm-plugins diagram supervisor FILE`, and what it says to a file that has none, or a wrong one."""
    path = tmp_path / "app.toml"
    path.write_text(f'{table}[plugins.steady]\nuse = "{__name__}:Steady"\n', encoding="utf-8")
    ran = CliRunner().invoke(main, ["diagram", "supervisor", str(path), "--format", "dot"])
    assert ran.exit_code == status
    assert said in ran.output
