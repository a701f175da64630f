"""Planning: which plugin is connected with which by what channel, and everything that is wrong with that.

It is pure: it reads the ports off the classes, makes nothing, and finds all problems at once, because who repairs a
configuration wants to repair it once. A port is wired to the channel of its own name, unless the spec names another.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import get_origin

from attrs import Factory, define

from fsm_plugins.errors import DefinitionError, Problem, suggestion
from fsm_plugins.plugin import Plugin
from fsm_plugins.ports import Port, accepts, ports_of, type_name
from fsm_plugins.specs import End, Plan, PlannedChannel, PluginSpec

__all__ = ["plan"]


def plan(specs: Sequence[PluginSpec], channels: Mapping[str, int], *, complete: bool = True) -> Plan:
    """Find out how ``specs`` are connected by ``channels``, without making any of them.

    Args:
        specs: the plugins.
        channels: name -> capacity, in messages.
        complete: whether these are all plugins there are. If some could not be loaded, for example, an end that is
            missing at a channel is no problem of its own.

    >>> from fsm_plugins import Plugin, Receiver, Sender
    >>> def guard(packets: Receiver[bytes]) -> Plugin: ...
    >>> def engine(packets: Sender[bytes]) -> Plugin: ...
    >>> print(plan([PluginSpec("guard", guard), PluginSpec("engine", engine)], {"packets": 16}))
    1. engine -> packets
    2. guard  packets
    """
    return _Planner(specs, channels, complete).plan()


@define
class _Link:
    """The ends of one channel, as they are found."""

    producers: list[tuple[End, Port]] = Factory(list)
    consumers: list[tuple[End, Port]] = Factory(list)
    disabled_producers: list[str] = Factory(list)
    disabled_consumers: list[str] = Factory(list)

    def add(self, end: End, port: Port, enabled: bool) -> None:
        if enabled:
            (self.consumers if port.direction == "input" else self.producers).append((end, port))
        else:
            (self.disabled_consumers if port.direction == "input" else self.disabled_producers).append(end.plugin)


class _Planner:
    """The state of one planning."""

    def __init__(self, specs: Sequence[PluginSpec], channels: Mapping[str, int], complete: bool) -> None:
        self.given = specs
        self.specs: dict[str, PluginSpec] = {}  # the first one of each name
        self.channels = channels
        self.problems: list[Problem] = []
        self.links = {name: _Link() for name in channels}
        self.ports: dict[str, dict[str, str | None]] = {}
        # A plugin whose ports cannot be read may be what is missing at any channel.
        self.all_known = complete

    def plan(self) -> Plan:
        self._check_names_and_capacities()
        for spec in self.specs.values():
            self._connect(spec)
        for name, link in self.links.items():
            self._check_ends(name, link)
            self._check_types(name, link)
        order = self._order([spec.name for spec in self.specs.values() if spec.enabled])
        live = {
            name: PlannedChannel(
                name, self.channels[name], tuple(end for end, _ in link.producers), link.consumers[0][0], _type(link)
            )
            for name, link in self.links.items()
            if link.producers and link.consumers
        }
        return Plan(tuple(self.problems), order, MappingProxyType(live), MappingProxyType(self.ports))

    def _problem(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    def _check_names_and_capacities(self) -> None:
        for spec in self.given:
            if spec.name in self.specs:
                self._problem(
                    f"plugins.{spec.name}", "there is another plugin of this name; give one a name of its own"
                )
            else:
                self.specs[spec.name] = spec
        for name, capacity in self.channels.items():
            if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
                self._problem(
                    f"channels.{name}", f"a capacity is a whole number of messages, at least 1, not {capacity!r}"
                )

    # One plugin.

    def _connect(self, spec: PluginSpec) -> None:
        """Find the channel of every port of ``spec``, and what is wrong with what the spec says of its ports."""
        where = f"plugins.{spec.name}"
        try:
            ports = ports_of(spec.factory)
        except DefinitionError as error:
            self.all_known = False
            if spec.enabled:
                self._problem(where, str(error))
            return
        if spec.enabled:
            self.ports[spec.name] = {}
            self._check_spec(spec, ports)
        for port in ports:
            table = spec.inputs if port.direction == "input" else spec.outputs
            channel = table.get(port.name, port.name)
            if channel in self.links:
                self.links[channel].add(End(spec.name, port.name), port, spec.enabled)
            elif spec.enabled and (port.name in table or not port.optional):
                self._unconnected(spec, port, channel)
            if spec.enabled:
                self.ports[spec.name][port.name] = channel if channel in self.links else None

    def _check_spec(self, spec: PluginSpec, ports: tuple[Port, ...]) -> None:
        where = f"plugins.{spec.name}"
        made = get_origin(spec.factory) or spec.factory
        if isinstance(made, type) and not issubclass(made, Plugin):
            self._problem(
                where, f"{type_name(made)} is not a plugin class: derive it from Plugin, or use as_plugin(...)"
            )
        named = {port.name: port for port in ports}
        for kind, other, table in (("input", "output", spec.inputs), ("output", "input", spec.outputs)):
            for name in table:
                if name in named and named[name].direction != kind:
                    self._problem(f"{where}.{kind}s.{name}", f"{name!r} is an {other}; move it to {other}s")
                elif name not in named:
                    known = [port.name for port in ports if port.direction == kind]
                    there_are = f"; its {kind}s are: {', '.join(known)}" if known else f"; it has no {kind}s"
                    text = f"{type_name(made)} has no {kind} {name!r}{suggestion(name, known)}{there_are}"
                    self._problem(f"{where}.{kind}s.{name}", text)
        for name in spec.settings:
            if name in named:
                table_name = f"{named[name].direction}s"
                text = f"{name!r} is a port, which a channel is put in; wire it in {table_name} or rename the setting"
                self._problem(f"{where}.settings.{name}", text)
            elif name in ("name", "deadlines"):
                self._problem(
                    f"{where}.settings.{name}", f"a plugin's {name} is given beside its settings, not in them"
                )

    def _unconnected(self, spec: PluginSpec, port: Port, channel: str) -> None:
        where, hint = f"plugins.{spec.name}.{port.direction}s.{port.name}", suggestion(channel, self.channels)
        if channel != port.name or port.name in (*spec.inputs, *spec.outputs):
            self._problem(where, f"there is no channel {channel!r}{hint}; add it to channels with its capacity")
        else:
            text = f"{port.annotation} is not wired, for there is no channel of its name{hint}; name one here"
            self._problem(where, f"{text}, or make the port optional ({port.annotation} | None)")

    # One channel.

    def _check_ends(self, name: str, link: _Link) -> None:
        """See to it that the channel has producers and one consumer, or that nobody needs it."""
        where = f"channels.{name}"
        if len(link.consumers) > 1:
            ends = " and ".join(str(end) for end, _ in link.consumers)
            self._problem(where, f"channel {name!r} has {len(link.consumers)} consumers, {ends}; it can have one only")
        if link.producers and link.consumers:
            return
        found = link.producers or link.consumers
        lost, missing = (
            ("producer", link.disabled_producers) if link.consumers else ("consumer", link.disabled_consumers)
        )
        if not found:
            if not (link.disabled_producers or link.disabled_consumers) and self.all_known:
                self._problem(where, f"no plugin uses channel {name!r}; take it out, or wire a port to it")
        elif missing:
            if needs := [port for _, port in found if not port.optional]:
                names = " and ".join(map(repr, missing))
                text = f"channel {name!r} has no {lost}: {names} {'is' if len(missing) == 1 else 'are'} disabled"
                self._problem(where, f"{text}; enable it, or make the port optional ({needs[0].annotation} | None)")
        elif self.all_known:
            users = " and ".join(str(end) for end, _ in found)
            direction = "input" if lost == "consumer" else "output"
            self._problem(
                where, f"channel {name!r} has no {lost}, only {users}; wire the {direction} of a plugin to it"
            )
        for end, _ in found:
            self.ports[end.plugin][end.port] = None

    def _check_types(self, name: str, link: _Link) -> None:
        for receiver, wanted in link.consumers:
            for sender, sent in link.producers:
                if not accepts(wanted.type, sent.type):
                    same = type_name(wanted.type) == type_name(sent.type)
                    sends, receives = (type_name(port.type, qualified=same) for port in (sent, wanted))
                    text = f"{sender} sends {sends}, but {receiver} receives {receives}"
                    self._problem(
                        f"channels.{name}", f"{text}; connect ports of one type, or put a plugin between them"
                    )

    # All of them.

    def _order(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return ``names`` with producers first. Of each cycle the arc that closes it is reported and left out."""
        before: dict[str, list[str]] = {name: [] for name in names}
        for link in self.links.values():
            for consumer, _ in link.consumers:
                before[consumer.plugin].extend(end.plugin for end, _ in link.producers)
        rank = {name: number for number, name in enumerate(names)}
        while True:
            sorter = TopologicalSorter(before)
            try:
                sorter.prepare()
            except CycleError as error:
                cycle = _from_first(error.args[1][:-1], rank)
                text = f"{' -> '.join([*cycle, cycle[0]])} is a cycle, so nobody could be started first"
                self._problem(f"plugins.{cycle[0]}", f"{text}; a channel may not lead back to those who feed it")
                before[cycle[0]] = [name for name in before[cycle[0]] if name != cycle[-1]]
            else:
                return tuple(_first_ready_first(sorter, rank))


def _type(link: _Link) -> object:
    wanted, sent = link.consumers[0][1].type, link.producers[0][1].type
    return sent if accepts(wanted, object) else wanted


def _from_first(cycle: Sequence[str], rank: Mapping[str, int]) -> list[str]:
    """Return the cycle turned so that it begins with the plugin that was given first."""
    at = min(range(len(cycle)), key=lambda index: rank[cycle[index]])
    return [*cycle[at:], *cycle[:at]]


def _first_ready_first(sorter: TopologicalSorter[str], rank: Mapping[str, int]) -> Iterable[str]:
    """Yield what is ready, each time the one that was given first."""
    ready: list[tuple[int, str]] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, (rank[name], name))
        _, name = heapq.heappop(ready)
        yield name
        sorter.done(name)
