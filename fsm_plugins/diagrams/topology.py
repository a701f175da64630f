"""Plans and applications -> diagrams: which plugin sends what to which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fsm_plugins.app import Application
from fsm_plugins.diagrams.model import Diagram, Edge, Node, Tone
from fsm_plugins.orchestrator import Plan
from fsm_plugins.plugin import Plugin
from fsm_plugins.ports import type_name

__all__ = ["of_application", "of_plan"]


def of_plan(plan: Plan, *, title: str = "", plugins: Iterable[Plugin] = ()) -> Diagram:
    """Return the topology of a plan: its plugins with their numbers in the order of registration, and its channels.

    The label of an edge is the channel, its detail the type of the messages and the capacity. A channel with several
    producers is an edge from each of them.

    Args:
        plan: what to draw.
        title: the heading of the picture.
        plugins: the plugins made of it, if their states should be shown.

    >>> from fsm_plugins import Receiver, Sender
    >>> from fsm_plugins.orchestrator import PluginSpec, plan
    >>> def guard(packets: Receiver[bytes]) -> Plugin: ...
    >>> def engine(packets: Sender[bytes]) -> Plugin: ...
    >>> diagram = of_plan(plan([PluginSpec("guard", guard), PluginSpec("engine", engine)], {"packets": 16}))
    >>> [node.note for node in diagram.nodes], diagram.edges[0].text
    (['1', '2'], 'packets [bytes, 16]')
    """
    live = {plugin.info.name: plugin for plugin in plugins}
    nodes = []
    for number, name in enumerate(plan.order, 1):
        plugin = live.get(name)
        if plugin is None:
            nodes.append(Node(name, name, note=str(number)))
        else:
            nodes.append(Node(name, name, tone=_tone(plugin), note=f"{number}, {plugin.state}"))
    edges = [
        Edge(end.plugin, channel.consumer.plugin, channel.name, f"{type_name(channel.type)}, {channel.capacity}")
        for channel in plan.channels.values()
        for end in channel.producers
    ]
    return Diagram(nodes, edges, title=title, direction="right", node_kind="plugin", edge_kind="channel")


def of_application(application: Application) -> Diagram:
    """Return the topology of an application, with the states its plugins are in now."""
    return of_plan(application.plan, title=application.name, plugins=application.registry)


def _tone(plugin: Plugin) -> Tone:
    marks: Mapping[str, Tone] = {
        **dict.fromkeys(plugin.lifecycle.rest, "muted"),
        **dict.fromkeys(plugin.lifecycle.failures, "bad"),
        plugin.lifecycle.initial: "plain",
    }
    return marks.get(plugin.state, "good")
