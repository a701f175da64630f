"""Plugins that do what a test tells each of their instances, and a supervisor of them whose doings are written down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from attrs import Factory, define, field

from fsm_plugins import Deadlines, HealthStatus, Plugin, PluginInfo, Receiver, Sender
from fsm_plugins.lifecycle import Lifecycle
from fsm_plugins.orchestrator import PluginSpec
from fsm_plugins.supervision import Action, Backoff, Child, Policy, SupervisionEvent, Supervisor

__all__ = ["AT_ONCE", "Act", "Puppet", "Stage", "crash_after", "fails", "now", "puppet", "say", "waits"]

AT_ONCE = Backoff(initial=0.0, cap=0.0, jitter=0.0)
"""No delay."""


def now() -> float:
    """Return the time of the event loop's clock, in seconds."""
    return round(asyncio.get_running_loop().time(), 6)


@define
class Puppet(Plugin):
    """Does in each hook what the test says, and writes down when.

    Attributes:
        acts: hook -> what to do in it; ``work`` is a worker.
        log: takes ``(time, "hook name")``.
        lives: takes the instances, in the order of their birth.
        life: how many instances of the name there were before.
    """

    info = PluginInfo("puppet", "1.0.0")
    deadlines = Deadlines(init=1e5, start=1e5, stop=1e5, health=5.0, grace=1.0)

    acts: Mapping[str, Act] = Factory(dict)
    log: list[tuple[float, str]] = Factory(list)
    lives: list[Puppet] = Factory(list)
    life: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self.lives.append(self)

    async def _act(self, hook: str) -> Any:
        self.log.append((now(), f"{hook} {self.info.name}"))
        if hook in self.acts:
            return await self.acts[hook](self)
        return None

    async def on_init(self) -> None:
        self.life = sum(other.info.name == self.info.name for other in self.lives) - 1
        await self._act("init")

    async def on_start(self) -> None:
        await self._act("start")
        if "work" in self.acts:
            self.spawn(self.acts["work"](self))

    async def on_stop(self) -> None:
        await self._act("stop")

    async def on_health_check(self) -> HealthStatus:
        status = await self.acts["health"](self) if "health" in self.acts else HealthStatus.healthy()
        assert isinstance(status, HealthStatus)
        return status


Act = Callable[[Any], Coroutine[Any, Any, Any]]


@define
class Source(Puppet):
    out: Sender[int] | None = field(default=None, kw_only=True)


@define
class Sink(Puppet):
    into: Receiver[int] | None = field(default=None, kw_only=True)


@define
class Relay(Sink):
    out: Sender[int] | None = field(default=None, kw_only=True)


def puppet(name: str, *, into: str = "", out: str = "", lifecycle: Lifecycle | None = None, **acts: Act) -> PluginSpec:
    """Return the spec of a puppet; ``into`` and ``out`` are channels."""
    cls: type[Puppet] = {(False, False): Puppet, (True, False): Sink, (False, True): Source, (True, True): Relay}[
        bool(into), bool(out)
    ]
    if lifecycle is not None:
        cls = type(cls.__name__, (cls,), {"lifecycle": lifecycle})
    return PluginSpec(name, cls, {"acts": acts}, {"into": into} if into else {}, {"out": out} if out else {})


class Stage:
    """A supervisor of puppets.

    Attributes:
        supervisor: it.
        log: what the hooks did.
        events: what the supervisor told.
        lives: the instances of all puppets.
    """

    def __init__(
        self,
        *specs: PluginSpec,
        policy: Policy | None = None,
        children: Mapping[str, Child] | None = None,
        channels: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        self.log: list[tuple[float, str]] = []
        self.events: list[tuple[float, SupervisionEvent]] = []
        self.lives: list[Puppet] = []
        known = {"log": self.log, "lives": self.lives}
        made = [
            PluginSpec(spec.name, spec.factory, {**spec.settings, **known}, spec.inputs, spec.outputs)
            if isinstance(spec.factory, type) and issubclass(spec.factory, Puppet)
            else spec
            for spec in specs
        ]
        used = {name for spec in specs for name in (*spec.inputs.values(), *spec.outputs.values())}
        self.supervisor = Supervisor(
            made,
            dict.fromkeys(used, 16) if channels is None else channels,
            policy=policy or Policy(backoff=AT_ONCE),
            children=children,
            rng=random.Random(seed),
        )
        self.supervisor.subscribe(lambda event: self.events.append((now(), event)))

    def __getitem__(self, name: str) -> Any:
        return self.supervisor.registry[name]

    @asynccontextmanager
    async def running(self, seconds: float | None = None) -> AsyncIterator[Supervisor]:
        """Run it for the block; with ``seconds``, for so long at least."""
        async with self.supervisor.running():
            if seconds is not None:
                await asyncio.sleep(seconds)
            yield self.supervisor

    async def run(self, seconds: float) -> None:
        """Run it for so long."""
        async with self.running(seconds):
            pass

    def actions(self, name: str | None = None) -> list[Action]:
        """Return what the supervisor told of a plugin."""
        return [event.action for _, event in self.events if name in (None, event.plugin)]

    def of(self, action: Action) -> list[tuple[float, SupervisionEvent]]:
        """Return the events of one kind."""
        return [(at, event) for at, event in self.events if event.action is action]

    def hooks(self, *hooks: str, since: float = 0.0) -> list[str]:
        """Return what the hooks of these kinds did, in order."""
        return [what for at, what in self.log if at >= since and what.split()[0] in (hooks or ("start", "stop"))]


def crash_after(*seconds: float, error: Callable[[], Exception] = lambda: OSError("gone")) -> Act:
    """Return a worker that crashes after so many seconds in each life; beyond the last one given it works for good."""

    async def work(plugin: Puppet) -> None:
        if plugin.life < len(seconds):
            await asyncio.sleep(seconds[plugin.life])
            raise error()
        await asyncio.Event().wait()

    return work


def fails(*lives: int, error: Callable[[], BaseException] = lambda: OSError("gone")) -> Act:
    """Return a hook that raises in these lives."""

    async def hook(plugin: Puppet) -> None:
        if plugin.life in lives:
            raise error()

    return hook


def waits(seconds: float) -> Act:
    """Return a hook, or a worker, that takes so long."""

    async def hook(_: Puppet) -> None:
        await asyncio.sleep(seconds)

    return hook


def say(*answers: HealthStatus) -> Act:
    """Return a health hook that gives these answers, and the last one for good."""
    left: Sequence[HealthStatus] = list(answers)

    async def hook(_: Puppet) -> HealthStatus:
        assert isinstance(left, list)
        return left.pop(0) if len(left) > 1 else answers[-1]

    return hook
