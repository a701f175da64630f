"""Lifecycles, state machines and registries -> diagrams. No state and no trigger is named here.

What is drawn is the machine itself, not the table it was made of: transitions, conditions and states that were added
to a `Lifecycle.machine` later take part in calls, and so they are in the picture, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from attrs import evolve

from fsm_plugins.diagrams.model import Diagram, Edge, Group, Node, highlight, side_by_side
from fsm_plugins.lifecycle import FAIL, Lifecycle
from fsm_plugins.registry import PluginRegistry

__all__ = ["of_lifecycle", "of_machine", "of_registry"]


def of_lifecycle(lifecycle: Lifecycle, *, title: str = "", marks: Mapping[str, str] | Iterable[str] = ()) -> Diagram:
    """Return the diagram of a lifecycle.

    Moves that are made by no call, because a hook or a worker broke, are dashed. The states they lead to are painted as
    bad.

    Args:
        lifecycle: what to draw.
        title: the heading of the picture.
        marks: states to highlight, or a mapping from states to notes.

    >>> from fsm_plugins import LIFECYCLE
    >>> diagram = of_lifecycle(LIFECYCLE)
    >>> [node.label for node in diagram.nodes if node.final]
    ['stopped']
    >>> len(diagram.edges) == len(LIFECYCLE.arcs)
    True
    """
    diagram = of_machine(lifecycle.machine, title=title)
    diagram = evolve(
        diagram,
        nodes=[evolve(node, tone="bad") if node.id in lifecycle.failures else node for node in diagram.nodes],
        edges=[evolve(edge, style="dashed") if edge.label == FAIL else edge for edge in diagram.edges],
    )
    return highlight(diagram, marks)


def of_registry(registry: PluginRegistry, *, title: str = "") -> Diagram:
    """Return the lifecycle of the plugins in ``registry``, with how many and which of them are in each state now.

    Where plugins have different lifecycles, each has a group of its own.

    >>> from fsm_plugins import Plugin, PluginInfo
    >>> class Clock(Plugin):
    ...     info = PluginInfo("clock", "1.0.0")
    >>> registry = PluginRegistry()
    >>> registry.register(Clock())
    >>> of_registry(registry).nodes[0].note
    '1: clock'
    """
    members: dict[Lifecycle, list[Any]] = {}
    for plugin in registry:
        members.setdefault(plugin.lifecycle, []).append(plugin)
    parts: dict[str, Diagram] = {}
    for lifecycle, plugins in members.items():
        states: dict[str, list[str]] = {}
        for plugin in plugins:
            states.setdefault(plugin.state, []).append(plugin.info.name)
        notes = {state: f"{len(names)}: {_few(names)}" for state, names in states.items()}
        kinds = Counter(type(plugin).__name__ for plugin in plugins)
        # Classes of one name may have different lifecycles.
        label = ", ".join(kinds)
        parts[label if label not in parts else f"{label} ({len(parts) + 1})"] = of_lifecycle(lifecycle, marks=notes)
    if len(parts) == 1:
        return evolve(next(iter(parts.values())), title=title)
    return side_by_side(parts, title)


_NAMED_AT_MOST: Final = 3


def _few(names: list[str]) -> str:
    rest = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")


# Machines. The library that makes them is known to one other package only, so they are read for what they have.


def of_machine(machine: object, *, title: str = "") -> Diagram:
    """Return the diagram of any machine of the ``transitions`` library, nested ones included.

    The label of an edge is its trigger, the detail its conditions. The triggers that ``transitions`` adds by itself
    (``to_<state>``) are left out. A transition without a destination is a loop with the detail ``internal``.

    Raises:
        TypeError: ``machine`` has neither states nor events.

    >>> from fsm_plugins import RESTARTABLE
    >>> diagram = of_machine(RESTARTABLE.machine)
    >>> [edge.text for edge in diagram.edges if edge.source == "created"]
    ['init', 'fail']
    """
    if not (hasattr(machine, "states") and hasattr(machine, "events")):
        raise TypeError(f"a diagram is drawn of a Lifecycle or of a machine of transitions, not of {machine!r}")
    reader = _Reader(cast("Any", machine))
    return Diagram(reader.nodes, reader.edges, reader.groups, title=title)


class _Reader:
    """Reads one machine, level by level."""

    def __init__(self, machine: Any) -> None:
        self.nodes: list[Node] = []
        self.groups: list[Group] = []
        self.edges: list[Edge] = []
        self.automatic = bool(getattr(machine, "auto_transitions", False))
        self.separator: str = getattr(getattr(machine, "state_cls", None), "separator", "_")
        initial = getattr(machine, "initial", None)
        self._level(machine, None, self._initials(initial))
        self.known = {item.id for item in self.nodes} | {item.id for item in self.groups}
        self._events(machine.events, None)
        self._nested_events(machine.states, None)

    def _initials(self, initial: object) -> tuple[str, ...]:
        """Return the names of the initial states: one, or several where regions are parallel."""
        if initial is None:
            return ()
        if isinstance(initial, (list, tuple)):
            return tuple(name for one in initial for name in self._initials(one))
        return (_name(initial),)

    def _path(self, parent: str | None, name: str) -> str:
        return name if parent is None else f"{parent}{self.separator}{name}"

    def _level(self, owner: Any, parent: str | None, initial: tuple[str, ...]) -> None:
        """Read the states directly in ``owner``, then those in each of them."""
        for name, state in owner.states.items():
            name = _name(name)
            path = self._path(parent, name)
            # The initial state may be given as a path into a compound state, whose own marker it then is.
            first = any(one == name or one.startswith(name + self.separator) for one in initial)
            final = bool(getattr(state, "final", False))
            inner = getattr(state, "states", None)
            if inner:
                self.groups.append(Group(path, name, parent, first, final))
                below = tuple(
                    one[len(name + self.separator) :] for one in initial if one.startswith(name + self.separator)
                )
                self._level(state, path, below or self._initials(getattr(state, "initial", None)))
            else:
                self.nodes.append(Node(path, name, parent, first, final))

    def _nested_events(self, states: Mapping[Any, Any], parent: str | None) -> None:
        for name, state in states.items():
            path = self._path(parent, _name(name))
            self._events(getattr(state, "events", {}), path)
            self._nested_events(getattr(state, "states", {}), path)

    def _events(self, events: Mapping[Any, Any], scope: str | None) -> None:
        """Read the transitions that are declared in ``scope``, a compound state or the machine."""
        for trigger, event in events.items():
            for candidates in event.transitions.values():
                for transition in candidates:
                    source = self._path(scope, _name(transition.source))
                    dest = source if transition.dest is None else self._path(scope, _name(transition.dest))
                    automatic = self.automatic and transition.dest is not None and trigger == f"to_{dest}"
                    if not automatic and {source, dest} <= self.known:
                        detail = list(_conditions(transition))
                        if transition.dest is None:
                            detail.append("internal")
                        self.edges.append(Edge(source, dest, _name(trigger), " & ".join(detail)))


def _conditions(transition: Any) -> Iterator[str]:
    for condition in getattr(transition, "conditions", ()):
        name = condition.func if isinstance(condition.func, str) else getattr(condition.func, "__name__", "condition")
        yield name if condition.target else f"not {name}"


def _name(value: object) -> str:
    """Return the name of a state: a string, an enum member, or an object with a name."""
    return str.__str__(value) if isinstance(value, str) else str(getattr(value, "name", value))
