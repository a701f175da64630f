"""Supervisors -> diagrams: who restarts whom, and what becomes of a plugin that fails."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from fsm_plugins.diagrams.model import Diagram, Edge, Group, Node, Tone, highlight
from fsm_plugins.diagrams.topology import of_plan
from fsm_plugins.lifecycle import State
from fsm_plugins.orchestrator import Plan
from fsm_plugins.supervision import GIVEN_UP, LEFT_ALONE, PHASES, RECOVERING, UP, Child, ChildStatus, Policy, Supervisor
from fsm_plugins.supervision import Group as Limits

__all__ = ["of_phases", "of_supervision", "of_supervisor"]

_TONES: Mapping[State, Tone] = {UP: "good", RECOVERING: "warning", GIVEN_UP: "bad", LEFT_ALONE: "muted"}


def of_phases(supervisor: Supervisor | None = None, *, title: str = "") -> Diagram:
    """Return what a supervisor makes of a plugin: its phases, and the moves between them.

    Args:
        supervisor: whose plugins to count, phase by phase.
        title: the heading of the picture.

    >>> [node.label for node in of_phases().nodes]
    ['up', 'recovering', 'given up', 'left alone']
    """
    states = dict.fromkeys(state for arc in PHASES for state in (arc.source, arc.dest))
    nodes = [
        Node(state, _words(state), initial=state == UP, tone="bad" if state == GIVEN_UP else "plain")
        for state in states
    ]
    edges = [Edge(arc.source, arc.dest, _words(arc.trigger)) for arc in PHASES]
    drawn = Diagram(nodes, edges, title=title)
    if supervisor is None:
        return drawn
    names: dict[str, list[str]] = {}
    for child in supervisor.status():
        names.setdefault(child.phase, []).append(child.name)
    return highlight(drawn, {phase: f"{len(found)}: {', '.join(found)}" for phase, found in names.items()})


def of_supervision(
    plan: Plan, policy: Policy, children: Mapping[str, Child], *, title: str = "", live: tuple[ChildStatus, ...] = ()
) -> Diagram:
    """Return the tree of groups of a supervisor, with its plugins and their channels.

    Args:
        plan: the plugins and channels.
        policy: the limits and strategies.
        children: plugin -> what is different for it.
        title: the heading of the picture.
        live: how it stands with the plugins, if that should be shown.

    >>> from fsm_plugins import Plugin
    >>> from fsm_plugins.orchestrator import PluginSpec, plan
    >>> drawn = of_supervision(plan([PluginSpec("feed", Plugin)], {}), Policy(), {})
    >>> drawn.groups[0].label, drawn.nodes[0].note
    ('supervisor: one_for_one, at most 5 restarts in 60 s', 'transient')
    """
    groups = [Group(_id(None), _limits("supervisor", policy))]
    for name in sorted(policy.groups, key=lambda name: _depth(policy, name)):
        group = policy.groups[name]
        groups.append(Group(_id(name), _limits(name, group), group=_id(group.group)))
    states = {status.name: status for status in live}
    nodes = []
    topology = of_plan(plan)
    for node in topology.nodes:
        child = children.get(node.id, Child())
        note, tone = str(child.restart or policy.restart), node.tone
        if (status := states.get(node.id)) is not None:
            note, tone = f"{note}, {_words(status.phase)}", _TONES[status.phase]
            if status.waiting is not None:
                note += f", {status.waiting:.0f} s to wait"
        nodes.append(evolve(node, group=_id(child.group), note=note, tone=tone))
    return evolve(topology, nodes=nodes, groups=groups, title=title)


def of_supervisor(supervisor: Supervisor, *, title: str = "") -> Diagram:
    """Return the tree of a running supervisor, with the phases its plugins are in now."""
    plan, policy, children = supervisor.orchestrator.plan, supervisor.policy, supervisor.children
    return of_supervision(plan, policy, children, title=title or supervisor.info.name, live=supervisor.status())


def _id(group: str | None) -> str:
    """Return the id of a group, which no plugin has: their names have no space around them."""
    return f" {group or ''}"


def _depth(policy: Policy, name: str) -> int:
    around = policy.groups[name].group
    return 0 if around is None else 1 + _depth(policy, around)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _limits(name: str, group: Limits | Policy) -> str:
    if group.intensity == "unlimited":
        return f"{name}: {group.strategy}"
    plural = "" if group.intensity == 1 else "s"
    return f"{name}: {group.strategy}, at most {group.intensity} restart{plural} in {group.period:g} s"
