"""The orchestrator: makes the channels of a plan, builds its plugins, and owns the channels while they run.

Theory of operation
-------------------
A plugin holds *handles* of its own, a clone of the sender or a lease of the receiver; its stop closes them. A
producer that has no more to send may close its port before: when every producer of a channel has, the channel ends,
the consumer drains it, and its stop does not wait for anything else.

When somebody *holds* a plugin, because a fresh one may take its place, the orchestrator keeps ends of its channels open
itself, so that queued messages stay and the fresh plugin can go on where the old one left off. It *lets go* of a
plugin's channels when nobody will replace the plugin. When it has let go of the consumer, producers get
`ChannelClosed`.

It lets go of a plugin

* when it has no open end any more, being at rest or failed by its own stop hook, unless somebody holds it;
* when ``stop_all`` is through with it, whatever came of that, held or not: no consumer waits for a producer that ended
  badly, or that was never started;
* when somebody says so with `Orchestrator.release`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, get_origin

from attrs import define

from fsm_plugins.channels import Receiver, Sender, channel
from fsm_plugins.errors import ConfigError, NotFound, PluginError, Problem
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import TransitionEvent
from fsm_plugins.planning import plan
from fsm_plugins.plugin import Plugin, identify
from fsm_plugins.ports import keywords_of
from fsm_plugins.receipts import ChannelStatus, Receipt
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.specs import Plan, PluginSpec

__all__ = ["Orchestrator", "Plan", "PluginSpec", "Receipt", "plan"]

Handle: TypeAlias = Sender[object] | Receiver[object]


@define(eq=False)
class _Member:
    """A plugin that was built, and what the orchestrator has to know of it."""

    plugin: Plugin
    ports: Mapping[str, Handle | None]
    held: bool = False
    gone: bool = False
    seconds: float = 0.0
    error: PluginError | None = None

    @property
    def handles(self) -> list[Handle]:
        """The ends of channels that it was given."""
        return [handle for handle in self.ports.values() if handle is not None]


class Orchestrator:
    """Builds the plugins of ``specs``, connected by ``channels``, and keeps the channels for them.

    Args:
        specs: the plugins.
        channels: name -> capacity, in messages.
        clock: what the ``at`` of events is read from, in seconds since the epoch.
        planned: the plan of these specs and channels, where another orchestrator has made it already.

    Attributes:
        plan: what will be built.

    Raises:
        ConfigError: the plan has problems; the error holds all of them.

    >>> import asyncio
    >>> from fsm_plugins import PluginInfo
    >>> class Clock(Plugin):
    ...     info = PluginInfo("clock", "1.0.0")
    >>> async def main() -> None:
    ...     orchestrator = Orchestrator([PluginSpec("utc", Clock), PluginSpec("local", Clock)], {})
    ...     async with orchestrator.build().running() as registry:
    ...         print(registry)
    ...     print([receipt.clean for receipt in orchestrator.receipt()])
    >>> asyncio.run(main())
    <PluginRegistry: utc running, local running>
    [True, True]
    """

    def __init__(
        self,
        specs: Sequence[PluginSpec],
        channels: Mapping[str, int],
        *,
        clock: Callable[[], float] = time.time,
        planned: Plan | None = None,
    ) -> None:
        self.plan: Plan = planned or plan(specs, channels)
        if self.plan.problems:
            raise ConfigError("wiring", self.plan.problems)
        self._specs = {spec.name: spec for spec in specs}
        self._clock = clock
        self._senders: dict[str, Sender[object]] = {}
        self._receivers: dict[str, Receiver[object]] = {}
        self._members: dict[str, _Member] = {}

    def build(self) -> PluginRegistry:
        """Make the channels and all plugins, and register them, producers first.

        All or nothing: if a plugin cannot be made, the others are attempted nevertheless, so that one report tells
        everything, and then nothing is left of any of them. It may then be called again.

        Returns:
            A new registry. Run it as any other; its ``stop_all`` ends the channels as it goes.

        Raises:
            ConfigError: factories raised, or made something that is not a new plugin.
            PluginError: it was built before. Another orchestrator can be made of the same specs.
        """
        if self._members:
            raise PluginError("an orchestrator builds its plugins once; for another set of them make another one")
        registry = PluginRegistry(clock=self._clock, on_attempted=self._attempted)
        problems: list[Problem] = []
        try:
            for name, planned in self.plan.channels.items():
                sender: Sender[object]
                receiver: Receiver[object]
                sender, receiver = channel(planned.capacity)
                self._senders[name], self._receivers[name] = sender, receiver
            for name in self.plan.order:
                try:
                    self._members[name] = self._make(self._specs[name])
                    registry.register(self._members[name].plugin)
                except ConfigError as error:
                    problems += error.problems
            if problems:
                raise ConfigError("wiring", problems)
        except BaseException:
            for plugin in list(registry):
                registry.unregister(plugin.info.name)
            for name in self._members:
                self._let_go(name)
            for end in (*self._senders.values(), *self._receivers.values()):
                end.close()
            self._members.clear()
            raise
        for sender in self._senders.values():
            sender.close()  # from here on the channel lives as long as its producers do, or somebody holds one of them
        registry.subscribe(self._heard)
        return registry

    def rebuild(self, name: str) -> Plugin:
        """Make a fresh plugin for one that has ended, with fresh handles of the same channels.

        What is queued for it is still there. The new one is not registered; see `PluginRegistry.replace`. It is not
        held: when it ends its part of a channel, that ends, too.

        Raises:
            NotFound: no plugin of this name was built.
            PluginError: the old one has not been stopped, or its channels were let go because nobody held it.
            ConfigError: it cannot be made. Everything is as before, so that it may be tried again.
        """
        member = self._member(name)
        if member.gone and member.handles:
            raise PluginError(
                f"plugin {name!r} cannot be rebuilt, for its channels were let go; call hold({name!r}) before it stops"
            )
        lifecycle = member.plugin.lifecycle
        ended = member.plugin.state in lifecycle.rest | lifecycle.failures
        if not (ended and all(handle.closed for handle in member.handles)):
            raise PluginError(f"plugin {name!r} has not ended yet, so it cannot be rebuilt; stop it first")
        fresh = self._make(self._specs[name])
        self._members[name] = fresh
        for used in self.plan.ports[name].values():
            if used is not None and not any(
                self._members[end.plugin].held for end in self.plan.channels[used].producers
            ):
                self._senders[used].close()
        return fresh.plugin

    def hold(self, name: str) -> None:
        """Keep the channels of a plugin when it stops or fails, because it may be rebuilt.

        A port that the plugin itself has closed stays closed: it has said that it has no more to send. The hold ends
        with `rebuild`, with `release` and with ``stop_all``.

        Raises:
            NotFound: no plugin of this name was built.
            PluginError: its channels were let go already.
        """
        member = self._member(name)
        if member.gone:
            raise PluginError(f"plugin {name!r} cannot be held any more, for its channels were let go when it ended")
        member.held = True
        for port, used in self.plan.ports[name].items():
            handle = member.ports[port]
            if used is not None and isinstance(handle, Sender) and self._senders[used].closed and not handle.closed:
                self._senders[used] = handle.clone()

    def release(self, name: str) -> None:
        """Let go of the channels of a plugin that has ended and will not be rebuilt. To do it again does nothing.

        Ends that the plugin still has open are closed, too.

        Raises:
            NotFound: no plugin of this name was built.
        """
        self._member(name)
        self._let_go(name)

    def receipt(self) -> tuple[Receipt, ...]:
        """Return how each plugin ended, in the order of the plan. Meant to be called after ``stop_all``.

        Raises:
            NotFound: nothing was built.
        """
        left: dict[str, dict[str, int]] = {name: {} for name in self.plan.order}
        for planned in self.plan.channels.values():
            if planned.name in self._receivers:
                left[planned.consumer.plugin][planned.name] = len(self._receivers[planned.name])
        members = {name: self._member(name) for name in self.plan.order}
        return tuple(
            Receipt.of(name, member.plugin, member.seconds, member.error, left[name])
            for name, member in members.items()
        )

    def channels(self) -> tuple[ChannelStatus, ...]:
        """Return how the channels are that were built, in the order of the plan. To ask costs them nothing."""
        return tuple(
            ChannelStatus(name, end.capacity, len(end), end.accepted, end.waits)
            for name, end in self._receivers.items()
        )

    # Making a plugin.

    def _make(self, spec: PluginSpec) -> _Member:
        """Make one plugin with handles. Raises ConfigError, and leaves no handle open, if it cannot be made."""
        ports: dict[str, Handle | None] = {}
        try:
            for port, name in self.plan.ports[spec.name].items():
                ports[port] = self._handle(spec.name, port, name)
        except PluginError:  # a channel has come to its end
            for handle in ports.values():
                if handle is not None:
                    handle.close()
            raise
        try:
            return _Member(self._construct(spec, ports), ports)
        except BaseException as error:
            for handle in ports.values():
                if handle is not None:
                    handle.close()
            if isinstance(error, Exception):
                what = error.args[0] if isinstance(error, _Refused) else f"its {_kind(spec)} raised {describe(error)}"
                raise ConfigError("wiring", [Problem(f"plugins.{spec.name}", what)]) from error
            raise

    def _handle(self, plugin: str, port: str, name: str | None) -> Handle | None:
        if name is None:
            return None
        is_consumer = self.plan.channels[name].consumer == (plugin, port)
        return self._receivers[name].lease() if is_consumer else self._senders[name].clone()

    def _construct(self, spec: PluginSpec, ports: Mapping[str, Handle | None]) -> Plugin:
        """Call the factory with what it takes, and put the rest in afterwards."""
        keywords = keywords_of(spec.factory)
        offered = {"name": spec.name, "deadlines": spec.deadlines, **ports}
        taken = {keyword: value for keyword, value in offered.items() if keyword in keywords}
        if spec.deadlines is None:
            taken.pop("deadlines", None)
        plugin: object = spec.factory(**spec.settings, **taken)
        if not isinstance(plugin, Plugin):
            if inspect.iscoroutine(plugin):
                plugin.close()
                raise _Refused(f"its {_kind(spec)} is asynchronous; make the plugin at once, and await in its on_init")
            raise _Refused(f"its {_kind(spec)} returned {plugin!r}, which is not a Plugin")
        if plugin._guard.hub is not None or plugin.state != plugin.lifecycle.initial:
            raise _Refused(
                f"its {_kind(spec)} returned a plugin that is in use already, as {plugin.info.name!r}; "
                "it has to make a new one at each call"
            )
        identify(plugin, spec.name, spec.deadlines)
        for port, handle in ports.items():
            if port not in taken:
                object.__setattr__(plugin, port, handle)  # as the constructor of a frozen class does
        return plugin

    # Letting go.

    def _member(self, name: str) -> _Member:
        try:
            return self._members[name]
        except KeyError:
            raise NotFound(name, tuple(self._members)) from None

    def _let_go(self, name: str) -> None:
        """Close the handles of a plugin, and each end of a channel that nobody will take a handle of any more."""
        member = self._members[name]
        member.gone = True
        for handle in member.handles:
            handle.close()
        for used in self.plan.ports[name].values():
            if used is not None:
                planned = self.plan.channels[used]
                if all(self._is_gone(end.plugin) for end in planned.producers):
                    self._senders[used].close()
                if self._is_gone(planned.consumer.plugin):
                    self._receivers[used].close()

    def _is_gone(self, name: str) -> bool:
        return name in self._members and self._members[name].gone

    def _heard(self, event: TransitionEvent) -> None:
        """Take note of a transition."""
        member = self._members.get(event.plugin)
        if member is None:
            return
        if event.dest in member.plugin.lifecycle.rest:
            member.seconds, member.error = event.duration, None
            for handle in member.handles:  # the plugin closes those it can find
                handle.close()
        if not member.held and member.handles and all(handle.closed for handle in member.handles):
            self._let_go(event.plugin)

    def _attempted(self, plugin: Plugin, seconds: float, error: PluginError | None) -> None:
        """Take note that ``stop_all`` is through with a plugin, or with the one that a fresh one was to replace."""
        if (member := self._members.get(plugin.info.name)) is not None:
            if error is not None:
                member.seconds, member.error = seconds, error
            self._let_go(plugin.info.name)


class _Refused(Exception):
    """What a factory made cannot be used; the text says why."""


def _kind(spec: PluginSpec) -> str:
    return "constructor" if isinstance(get_origin(spec.factory) or spec.factory, type) else "factory"
