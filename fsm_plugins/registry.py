"""The ordered set of plugins, and the calls that go through all of them.

Starting is fail-fast: the first error ends the walk, later plugins are untouched, nothing is rolled back. Stopping is
the opposite: in the same order, so that producers end first and consumers can drain, and every plugin is attempted
whatever happens to the others, to the deadlines or to the caller. `PluginRegistry.running` puts the two together.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import NamedTuple

from fsm_plugins.errors import Abandoned, AlreadyRegistered, NotFound, PluginError, RegistryBusy, StopFailed
from fsm_plugins.flight import Ending
from fsm_plugins.lifecycle import INIT, START, Listener, State, TransitionHub
from fsm_plugins.metadata import HealthStatus, PluginInfo
from fsm_plugins.plugin import Plugin, has_default_health
from fsm_plugins.stopping import bring_to_rest, interrupt

__all__ = ["PluginHealth", "PluginRegistry"]

logger = logging.getLogger("fsm_plugins")


class PluginHealth(NamedTuple):
    """One line of `PluginRegistry.health_check_all`."""

    name: str
    state: State
    status: HealthStatus


class _Walk(Ending):
    """A bulk call under way.

    Attributes:
        call: its name.
        task: who makes it.
        current: the plugin it has come to.
        ending: whether ``stop_all`` has told it to end.
        problems: what went wrong in a ``stop_all``, plugin by plugin.
        urgent: what its caller must get once all is done, such as a cancellation.
    """

    __slots__ = ("call", "current", "ending", "problems", "task", "urgent")

    def __init__(self, call: str) -> None:
        super().__init__()
        self.call = call
        self.task = asyncio.current_task()
        self.current: Plugin | None = None
        self.ending = False
        self.problems: builtins.list[PluginError] = []
        self.urgent: BaseException | None = None


class PluginRegistry:
    """Plugins by name, in the order of their registration.

    Args:
        clock: what the ``at`` of events is read from, in seconds since the epoch.
        on_attempted: called whenever `stop_all` is through with a plugin, before it goes on to the next one, with the
            plugin, the seconds that it took, and what went wrong. Not every attempt makes an event. For the owner of
            the plugins, who must not raise.

    >>> from fsm_plugins import Plugin, PluginInfo
    >>> class Clock(Plugin):
    ...     info = PluginInfo("clock", "1.0.0")
    >>> async def main() -> None:
    ...     registry = PluginRegistry()
    ...     registry.register(Clock())
    ...     registry.subscribe(lambda event: print(event.plugin, event.source, "->", event.dest))
    ...     async with registry.running():
    ...         print(await registry.health_check_all())
    >>> asyncio.run(main())  # doctest: +NORMALIZE_WHITESPACE
    clock created -> initialized
    clock initialized -> running
    [PluginHealth(name='clock', state=State('running'), status=HealthStatus(level='healthy', reason=''))]
    clock running -> stopped
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        on_attempted: Callable[[Plugin, float, PluginError | None], None] | None = None,
    ) -> None:
        self._plugins: dict[str, Plugin] = {}
        self._hub = TransitionHub(clock)
        self._on_attempted = on_attempted
        self._walk: _Walk | None = None
        self._health_checks = 0

    # The set.

    def register(self, plugin: Plugin) -> None:
        """Add ``plugin`` as the last one.

        Raises:
            AlreadyRegistered: its name is taken, or it is in another registry. Nothing changed.
            RegistryBusy: a bulk call is under way. Nothing changed.
            TypeError: it is not a plugin.
        """
        self._check_new("register", plugin)
        self._check_members("register")
        name = plugin.info.name
        if name in self._plugins:
            raise AlreadyRegistered(name)
        plugin._guard.hub = self._hub
        self._plugins[name] = plugin

    def unregister(self, name: str) -> Plugin:
        """Take the plugin of that name out, and return it, in whatever state it is.

        Raises:
            NotFound: there is none.
            RegistryBusy: a bulk call is under way. Nothing changed.
        """
        self._check_walk("unregister")
        self._check_members("unregister")
        plugin = self[name]
        del self._plugins[name]
        plugin._guard.hub = None
        return plugin

    def replace(self, plugin: Plugin) -> Plugin:
        """Put ``plugin`` in the place of the one of the same name, and return that, in whatever state it is.

        The order stays as it is. Unlike a registration, it is possible during a ``health_check_all``, which asks those
        who were there when it began.

        Raises:
            NotFound: there is none of that name.
            AlreadyRegistered: the plugin is in a registry already.
            RegistryBusy: a walk is under way. Nothing changed.
            TypeError: it is not a plugin.
        """
        self._check_new("replace", plugin)
        old = self[plugin.info.name]
        old._guard.hub, plugin._guard.hub = None, self._hub
        self._plugins[plugin.info.name] = plugin
        return old

    def get(self, name: str) -> Plugin | None:
        """Return the plugin of that name, or None."""
        return self._plugins.get(name)

    def __getitem__(self, name: str) -> Plugin:
        try:
            return self._plugins[name]
        except KeyError:
            raise NotFound(name, tuple(self._plugins)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._plugins

    def __iter__(self) -> Iterator[Plugin]:
        return iter(self._plugins.values())

    def __len__(self) -> int:
        return len(self._plugins)

    def count(self) -> int:
        """Return the number of plugins."""
        return len(self._plugins)

    def __repr__(self) -> str:
        return f"<PluginRegistry: {', '.join(f'{name} {plugin.state}' for name, plugin in self._plugins.items())}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return the picture for a notebook. Pictures are above this package, so they are looked up when one asks."""
        bundle: dict[str, str] = import_module("fsm_plugins.diagrams.notebook").mimebundle(self)
        return bundle

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with a `TransitionEvent` for every transition of every registered plugin.

        It is a plain function, called when the transition is done, in the order of the transitions. What it raises is
        logged and changes nothing. Returns a function that ends the subscription.

        Raises:
            TypeError: ``listener`` cannot be called, or is asynchronous.
        """
        return self._hub.subscribe(listener)

    # Bulk calls.

    async def init_all(self) -> None:
        """Initialise every plugin, in order of registration; the first error ends the walk.

        Raises:
            HookFailed, DeadlineExceeded, InvalidState: of the plugin that could not be initialised. Those after it are
                untouched; those before it stay initialised until the caller calls `stop_all`.
            RegistryBusy: another bulk call is under way. Nothing happened.
        """
        await self._advance("init_all", INIT)

    async def start_all(self) -> None:
        """Start every plugin, in order of registration; the first error ends the walk. Raises as `init_all` does."""
        await self._advance("start_all", START)

    def abandon_start(self) -> None:
        """End an ``init_all`` or ``start_all`` under way: the present hook is cancelled, and the call raises.

        For a signal handler: it does not wait. Does nothing if no such call is under way.
        """
        walk = self._walk
        if walk is not None and walk.call != "stop_all" and not walk.ending:
            walk.ending = True
            if walk.current is not None and walk.current._guard.flight is not None:
                interrupt(walk.current)

    async def stop_all(self) -> None:
        """Stop every plugin that is not at rest, in order of registration, whatever happens on the way.

        Running and failed plugins are stopped. One that is initialised only is failed as abandoned and then stopped, so
        that its hook releases what ``on_init`` took. A bulk start under way is ended first, and so is any other call on
        a plugin. If a ``stop_all`` is under way already, this one waits for it and comes to the same result. Cancelled,
        it still attempts every plugin before it lets the ``CancelledError`` out.

        Takes at most, for each plugin, its ``stop`` deadline and four grace periods, and as much as it takes to end
        a call that was under way.

        Raises:
            StopFailed: an exception group with the error of each plugin that did not stop cleanly.
            RegistryBusy: a hook of one of the plugins called it, which would have to wait for itself. Nothing happened.
            PluginError: a worker of one of the plugins called it. Nothing happened.
        """
        if self._walk is not None and self._walk.task is asyncio.current_task():
            raise RegistryBusy("stop_all, called by a hook,", self._walk.call)
        for plugin in self._plugins.values():
            if plugin._guard.in_own_hook():
                raise RegistryBusy("stop_all, called by a hook,", f"a call of plugin {plugin.info.name!r}")
            plugin._guard.check_not_own_worker("stop_all")
        urgent = await self._end_bulk_start()
        if (other := self._walk) is not None:
            await other.ended()
            if urgent is not None:
                raise urgent
            if other.problems:
                raise StopFailed(other.problems)
            return
        walk = self._walk = _Walk("stop_all")
        walk.urgent = urgent
        try:
            for plugin in self._plugins.values():
                walk.current = plugin
                since = 0.0 if self._on_attempted is None else asyncio.get_running_loop().time()
                problem, urgent = await bring_to_rest(plugin)
                if problem is not None:
                    walk.problems.append(problem)
                walk.urgent = walk.urgent or urgent
                if self._on_attempted is not None:
                    self._on_attempted(plugin, asyncio.get_running_loop().time() - since, problem)
        finally:
            self._walk = None
            walk.end()
        if walk.urgent is not None:
            for problem in walk.problems:
                logger.error("%s", problem, exc_info=problem)
            raise walk.urgent
        if walk.problems:
            raise StopFailed(walk.problems)

    async def health_check_all(self) -> builtins.list[PluginHealth]:
        """Ask all plugins at once how they are; returns one ``(name, state, status)`` for each, in order.

        Raises nothing, and changes no state. Takes at most the longest ``health`` deadline and its grace period.
        """
        self._health_checks += 1
        try:
            plugins = builtins.list(self._plugins.values())
            async with asyncio.TaskGroup() as group:
                # Whoever has nothing of its own to say need not be asked, which takes seven times as long.
                answers = [None if has_default_health(p) else group.create_task(p.health_check()) for p in plugins]
            # The answers came at different times, and a plugin may have moved on since it gave its own.
            return [
                PluginHealth(
                    plugin.info.name,
                    plugin.state,
                    plugin._guard.known_health() or (HealthStatus.healthy() if answer is None else answer.result()),
                )
                for plugin, answer in zip(plugins, answers, strict=True)
            ]
        finally:
            self._health_checks -= 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PluginRegistry]:
        """Run every plugin for as long as the ``async with`` block: init, start, and in any case stop.

        Raises:
            HookFailed, DeadlineExceeded: a plugin did not start; the others have been stopped again.
            StopFailed: the block ended well, but plugins did not stop cleanly. If the block raised too, its exception
                goes on, with a note that tells of these.
        """
        try:
            await self.init_all()
            await self.start_all()
            yield self
        except BaseException as error:
            try:
                await self.stop_all()
            except StopFailed as failed:
                for problem in failed.exceptions:
                    error.add_note(f"and while stopping: {problem}")
                    logger.error("%s", problem, exc_info=problem)
            raise
        await self.stop_all()

    # How they go.

    def _check_new(self, wanted: str, plugin: Plugin) -> None:
        """Refuse what cannot be put into this registry now."""
        if not isinstance(plugin, Plugin):
            what = f"the class {plugin.__qualname__}, make an instance" if isinstance(plugin, type) else repr(plugin)
            raise TypeError(f"{wanted} takes a Plugin, or what as_plugin(...) makes of an object; this is {what}")
        self._check_walk(wanted)
        if plugin._guard.hub is not None:
            raise AlreadyRegistered(plugin.info.name)

    def _check_walk(self, wanted: str) -> None:
        if self._walk is not None:
            raise RegistryBusy(wanted, self._walk.call)

    def _check_members(self, wanted: str) -> None:
        if self._health_checks:
            raise RegistryBusy(wanted, "health_check_all")

    async def _advance(self, call: str, trigger: str) -> None:
        self._check_walk(call)
        walk = self._walk = _Walk(call)
        try:
            for plugin in self._plugins.values():
                walk.current = plugin
                await plugin._guard.fire(trigger)
                if walk.ending:
                    raise Abandoned(plugin.info.name, plugin.state)
        finally:
            self._walk = None
            walk.end()

    async def _end_bulk_start(self) -> BaseException | None:
        """End an ``init_all`` or ``start_all`` that is under way. Returns a cancellation met meanwhile."""
        cancelled: BaseException | None = None
        while (walk := self._walk) is not None and walk.call != "stop_all":
            self.abandon_start()
            try:
                await walk.ended()
            except asyncio.CancelledError as error:
                cancelled = error
        return cancelled

    # Last, because in the lines after it the name would mean this method.
    def list(self) -> builtins.list[PluginInfo]:
        """Return the metadata of every plugin, in order."""
        return [plugin.info for plugin in self._plugins.values()]
