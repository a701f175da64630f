"""What is told of channels, and of each plugin once everything has been stopped: how it ended, what was left for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import Factory, frozen

from fsm_plugins.errors import PluginError
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import State
from fsm_plugins.plugin import Plugin

__all__ = ["ChannelStatus", "Receipt"]


@frozen
class ChannelStatus:
    """How one channel is.

    Attributes:
        name: of the channel.
        capacity: how many messages it holds.
        length: how many are in it.
        messages: how many it has accepted so far.
        waits: how many sends had to wait for room so far.
    """

    name: str
    capacity: int
    length: int
    messages: int
    waits: int


@frozen
class Receipt:
    """How one plugin ended.

    Attributes:
        name: of the plugin.
        state: where it is now.
        seconds: how long its stop took, by the clock of the event loop; 0 if it was not stopped.
        clean: whether it never failed, and is at rest or was never started.
        note: if it is not clean, why, in one line.
        undelivered: input channel -> messages that were left in it. Empty channels are not listed.

    >>> print(Receipt("guard", State.STOPPED, 0.25, clean=True, undelivered={"alerts": 2}))
    guard: stopped in 0.250 s, undelivered: 2 in alerts
    """

    name: str
    state: State
    seconds: float
    clean: bool
    note: str = ""
    undelivered: Mapping[str, int] = Factory(dict)

    def __str__(self) -> str:
        text = f"{self.name}: {self.state} in {self.seconds:.3f} s"
        if self.undelivered:
            text += f", undelivered: {', '.join(f'{left} in {name}' for name, left in self.undelivered.items())}"
        return f"{text}; {self.note}" if self.note else text

    @classmethod
    def of(
        cls, name: str, plugin: Plugin, seconds: float, error: PluginError | None, left: Mapping[str, int]
    ) -> Receipt:
        """Return the receipt of ``plugin``.

        Args:
            name, seconds: as the attributes.
            plugin: whose receipt it is.
            error: what its stop raised.
            left: input channel -> messages that are in it.
        """
        state, lifecycle = plugin.state, plugin.lifecycle
        notes = []
        if plugin.failure is not None and not (error and plugin.failure in (error, error.__cause__)):
            notes.append(f"failed: {describe(plugin.failure)}")
        if error is not None:
            notes.append(str(error))
        if not notes and state != lifecycle.initial and state not in lifecycle.rest:
            notes.append("not stopped")
        undelivered = MappingProxyType({channel: count for channel, count in left.items() if count})
        return cls(name, state, seconds, not notes, " ".join("; ".join(notes).split()), undelivered)
