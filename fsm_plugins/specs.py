"""What the wiring of plugins starts from and comes to: specs, and the plan made of them. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from attrs import field, frozen

from fsm_plugins.errors import Problem
from fsm_plugins.metadata import Deadlines
from fsm_plugins.plugin import Plugin

__all__ = ["End", "Plan", "PlannedChannel", "PluginSpec"]


def _copy(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value))


@frozen
class PluginSpec:
    """What a plugin is to be made of.

    Attributes:
        name: the name of the instance, unique among the specs.
        factory: the plugin class, or a function that returns a new plugin at each call.
        settings: keywords for the factory.
        inputs, outputs: port -> channel. A port that is not named here is wired to the channel of its own name.
        deadlines: how long the hooks of this instance may take; those of the class if None.
        enabled: a spec that is not enabled is known, and not built.
    """

    name: str
    factory: Callable[..., Plugin]
    settings: Mapping[str, object] = field(factory=dict, converter=_copy)
    inputs: Mapping[str, str] = field(factory=dict, converter=_copy)
    outputs: Mapping[str, str] = field(factory=dict, converter=_copy)
    deadlines: Deadlines | None = None
    enabled: bool = True


class End(NamedTuple):
    """One port of one plugin."""

    plugin: str
    port: str

    def __str__(self) -> str:
        return f"{self.plugin}.{self.port}"


@frozen
class PlannedChannel:
    """A channel that will be made.

    Attributes:
        name: as the configuration calls it.
        capacity: in messages.
        producers: who sends, in the order of the specs.
        consumer: who receives.
        type: of the messages: what the consumer expects or, where it does not say, what the first producer sends.
    """

    name: str
    capacity: int
    producers: tuple[End, ...]
    consumer: End
    type: object


@frozen
class Plan:
    """What `plan` found.

    Attributes:
        problems: everything wrong; empty if the plan can be built.
        order: the enabled plugins, producers before their consumers, otherwise in the order of the specs.
        channels: those with a producer and a consumer, by name.
        ports: plugin -> port -> channel, or None for an optional port that is not connected.
    """

    problems: tuple[Problem, ...]
    order: tuple[str, ...]
    channels: Mapping[str, PlannedChannel]
    ports: Mapping[str, Mapping[str, str | None]]

    def lines(self) -> list[str]:
        """Return the order for a person: one line for each plugin, its input channels, its output channels."""
        receives: dict[str, list[str]] = {}
        sends: dict[str, list[str]] = {}
        for channel in self.channels.values():
            receives.setdefault(channel.consumer.plugin, []).append(channel.name)
            for producer in dict.fromkeys(end.plugin for end in channel.producers):
                sends.setdefault(producer, []).append(channel.name)
        lines = []
        for number, name in enumerate(self.order, 1):
            line = f"{number}. {name}"
            if name in receives:
                line += f"  {', '.join(receives[name])}"
            if name in sends:
                line += f" -> {', '.join(sends[name])}"
            lines.append(line)
        return lines

    def __str__(self) -> str:
        return "\n".join([*self.lines(), *map(str, self.problems)])
