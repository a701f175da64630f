"""What is observed and controlled: an application, seen from the outside.

The endpoint, the metrics and the commands know an application as a `Target` and nothing else. `RegistryTarget` makes
one of a plain registry, `SupervisorTarget` of a supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from attrs import frozen

from fsm_plugins.errors import PluginError
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import INIT, START, Listener
from fsm_plugins.metadata import HealthStatus
from fsm_plugins.orchestrator import Orchestrator
from fsm_plugins.plugin import Plugin
from fsm_plugins.receipts import ChannelStatus
from fsm_plugins.registry import PluginHealth, PluginRegistry
from fsm_plugins.supervision import SupervisionListener, Supervisor

__all__ = ["ChannelStatus", "PluginStatus", "RegistryTarget", "Snapshot", "SupervisorTarget", "Target"]


@frozen
class PluginStatus:
    """How one plugin is.

    Attributes:
        name, type, version: as in its metadata.
        state: where it is.
        states: all that its lifecycle has.
        wanted: whether it is to run.
        runs: whether it has been started, and is neither failed nor at rest.
        health: what it said of itself the last time it was asked, or what is known without asking; None if it runs and
            was not asked yet.
        restarts: how often it was started again.
        failure: what made it fail, in one line; empty if nothing did.
        since: since when it is in its state, in seconds since the epoch.
    """

    name: str
    type: str
    version: str
    state: str
    states: tuple[str, ...]
    wanted: bool
    runs: bool
    health: HealthStatus | None
    restarts: int
    failure: str
    since: float


@frozen
class Snapshot:
    """How an application is.

    Attributes:
        name: what it is called.
        live, ready: as in `Target`.
        plugins, channels: in order.
    """

    name: str
    live: bool
    ready: bool
    plugins: tuple[PluginStatus, ...]
    channels: tuple[ChannelStatus, ...] = ()


class Target(Protocol):
    """An application that can be looked at and told what to do.

    Attributes:
        name: what it is called.
    """

    name: str

    def status(self) -> Snapshot:
        """Return how it is. Cheap, and asks no plugin."""

    def live(self) -> bool:
        """Whether it does anything at all. If not, only a restart of the process helps."""

    def ready(self) -> bool:
        """Whether every plugin runs that should, and none said that it is unhealthy."""

    async def start(self, name: str) -> None:
        """Start a plugin that does not run. Raises PluginError."""

    async def stop(self, name: str) -> None:
        """Stop a plugin. Raises PluginError."""

    async def restart(self, name: str) -> None:
        """Stop a plugin if need be, and start a fresh one in its place. Raises PluginError."""

    def subscribe(self, transitions: Listener, supervision: SupervisionListener | None = None) -> Callable[[], None]:
        """Call ``transitions`` with every transition, and ``supervision`` with everything a supervisor does.

        Returns a function that ends both.
        """


class RegistryTarget:
    """A plain registry as a target.

    Args:
        registry: the plugins.
        name: what to call it.
        orchestrator: the owner of the channels, if they are to be seen, too.
        clock: the time in seconds since the epoch.
    """

    def __init__(
        self,
        registry: PluginRegistry,
        name: str = "registry",
        orchestrator: Orchestrator | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.registry = registry
        self._orchestrator = orchestrator
        self._begun = clock()
        self._health: dict[str, tuple[HealthStatus, float]] = {}
        self._unwanted: set[str] = set()
        registry._hub.keep_times()

    def status(self) -> Snapshot:
        """Return how it is."""
        plugins = tuple(self._plugins())
        return Snapshot(
            self.name,
            self.live(),
            _ready(plugins),
            plugins,
            () if self._orchestrator is None else self._orchestrator.channels(),
        )

    def live(self) -> bool:
        """Return True: it answers."""
        return True

    def ready(self) -> bool:
        """Whether every plugin runs that should, and none said that it is unhealthy."""
        return _ready(self._plugins())

    async def start(self, name: str) -> None:
        """Initialise and start a plugin, as far as its lifecycle allows.

        Raises:
            NotFound: there is no such plugin.
            InvalidState, HookFailed: as for ``plugin.start()``. A plugin at rest, whose lifecycle ends there, stays.
        """
        plugin = self.registry[name]
        if plugin.state in plugin.lifecycle.expected(INIT):
            await plugin.init()
        await plugin.start()
        self._unwanted.discard(name)

    async def stop(self, name: str) -> None:
        """Stop a plugin. Raises as ``plugin.stop()`` does, and NotFound."""
        await self.registry[name].stop()
        self._unwanted.add(name)

    async def restart(self, name: str) -> None:
        """Raise PluginError: a registry cannot build a fresh plugin."""
        plugin = self.registry[name]
        raise PluginError(
            f"plugin {plugin.info.name!r} cannot be restarted: nobody here knows how to build a fresh one; "
            "run the plugins under a supervisor"
        )

    def subscribe(self, transitions: Listener, supervision: SupervisionListener | None = None) -> Callable[[], None]:
        """Call ``transitions`` with every transition. Returns a function that ends it. There is no supervisor."""
        return self.registry.subscribe(transitions)

    def note_health(self, answers: Iterable[PluginHealth]) -> None:
        """Take note of what plugins said of themselves, as ``registry.health_check_all()`` returns it."""
        self._health.update((answer.name, (answer.status, self._moved(answer.name))) for answer in answers)

    def _plugins(self) -> Iterator[PluginStatus]:
        for plugin in self.registry:
            name = plugin.info.name
            health, since = self._health.get(name, (None, 0.0))
            if since != self._moved(name):
                health = None  # that was before it moved
            yield plugin_status(plugin, name not in self._unwanted, health, 0, self._moved(name) or self._begun)

    def _moved(self, name: str) -> float:
        plugin = self.registry.get(name)
        return 0.0 if plugin is None else plugin._guard.moved


class SupervisorTarget:
    """The plugins of a supervisor as a target. What is started, stopped and restarted is left to the supervisor.

    Args:
        supervisor: who runs the plugins.
        name: what to call it.
        clock: the time in seconds since the epoch.
    """

    def __init__(
        self, supervisor: Supervisor, name: str | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = name or supervisor.info.name
        self.supervisor = supervisor
        self._begun = clock()

    def status(self) -> Snapshot:
        """Return how it is."""
        plugins = tuple(self._plugins())
        channels = self.supervisor.orchestrator.channels()
        return Snapshot(self.name, self.live(), _ready(plugins), plugins, channels)

    def live(self) -> bool:
        """Whether the supervisor has not given up."""
        return self.supervisor.failure is None

    def ready(self) -> bool:
        """Whether every plugin runs that should, and none said that it is unhealthy."""
        return _ready(self._plugins())

    async def start(self, name: str) -> None:
        """Raises as `Supervisor.start_plugin` does."""
        await self.supervisor.start_plugin(name)

    async def stop(self, name: str) -> None:
        """Raises as `Supervisor.stop_plugin` does."""
        await self.supervisor.stop_plugin(name)

    async def restart(self, name: str) -> None:
        """Raises as `Supervisor.restart` does."""
        await self.supervisor.restart(name)

    def subscribe(self, transitions: Listener, supervision: SupervisionListener | None = None) -> Callable[[], None]:
        """Call the listeners; see `Target`."""
        ends = [self.supervisor.registry.subscribe(transitions)]
        if supervision is not None:
            ends.append(self.supervisor.subscribe(supervision))

        def unsubscribe() -> None:
            for end in ends:
                end()

        return unsubscribe

    def _plugins(self) -> Iterator[PluginStatus]:
        for child in self.supervisor.status():
            plugin = self.supervisor.registry[child.name]
            since = plugin._guard.moved or self._begun  # the supervisor itself listens, so it is known
            given_up = f"given up: {child.given_up}" if child.given_up else ""
            # One that was given up is still missing: the application is not ready without it.
            wanted = child.wanted or bool(child.given_up)
            yield plugin_status(plugin, wanted, child.health, child.restarts, since, given_up)


def plugin_status(
    plugin: Plugin, wanted: bool, health: HealthStatus | None, restarts: int, since: float, failure: str = ""
) -> PluginStatus:
    """Return the status of ``plugin``; what it does not know itself is given."""
    lifecycle, state = plugin.lifecycle, plugin.state
    before = {*lifecycle.expected(INIT), *lifecycle.expected(START)}
    if not failure and plugin.failure is not None:
        failure = " ".join(describe(plugin.failure).split())
    return PluginStatus(
        name=plugin.info.name,
        type=str(plugin.info.plugin_type),
        version=plugin.info.version,
        state=state.value,
        states=tuple(each.value for each in lifecycle.states),
        wanted=wanted,
        runs=state not in before | lifecycle.failures | lifecycle.rest,
        health=plugin._guard.known_health() or health,
        restarts=restarts,
        failure=failure,
        since=since,
    )


def _ready(plugins: Iterable[PluginStatus]) -> bool:
    wanted = [plugin for plugin in plugins if plugin.wanted]
    return all(plugin.runs and not (plugin.health and plugin.health.is_unhealthy) for plugin in wanted)
