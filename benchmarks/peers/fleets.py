"""Those who make, start, ask and stop plugins by the thousand.

Each contender takes fresh objects through one whole life, step by step, and asserts that every object went through it.
A step that it does not have is left out. The hooks are empty: what is measured is everything beside them.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from attrs import define

from benchmarks._measure import Stopwatch, Taken
from benchmarks._results import Role
from benchmarks.peers import installed
from fsm_plugins import HealthStatus, Plugin, PluginInfo, PluginRegistry

__all__ = ["DISTRIBUTIONS", "STEPS", "Fleet", "Steps", "fleets"]

DISTRIBUTIONS: Final = ("aiomisc", "mode-streaming", "ipopo")

STEPS: Final = ("make", "register", "init_all", "start_all", "health_check_all", "stop_all")


class Steps:
    """Adds up what each step took, over as many lives as there are.

    Args:
        look: called at the end of each step with its name, outside of what is measured.
    """

    def __init__(self, look: Callable[[str], None] | None = None) -> None:
        self._taken: dict[str, Taken] = {}
        self._look = look

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Measure one step."""
        with Stopwatch() as watch:
            yield
        before = self._taken.get(step, Taken(0.0, 0.0))
        self._taken[step] = Taken(before.cpu + watch.taken.cpu, before.wall + watch.taken.wall)
        if self._look is not None:
            self._look(step)

    def each(self, operations: int) -> dict[str, Taken]:
        """Return what every step took for one of so many operations."""
        return {step: Taken(all_.cpu / operations, all_.wall / operations) for step, all_ in self._taken.items()}


class Fleet(ABC):
    """One way to run many.

    Attributes:
        name, role, note: as in a table.
        most: the most objects that it is measured with.
    """

    name: ClassVar[str]
    role: ClassVar[Role] = Role.PEER
    note: ClassVar[str] = ""
    most: ClassVar[int] = 100_000

    async def check(self) -> None:  # noqa: B027
        """Raise AssertionError unless a start that breaks does what the note says, where it speaks of that."""

    @abstractmethod
    async def life(self, names: list[str], step: Steps) -> None:
        """Take one object for each name through its life."""


# Ours, and the limit --------------------------------------------------------------------------------------------------


@define
class Bare(Plugin):
    """A plugin without fields, and with the one hook that the others have, too."""

    info = PluginInfo("bare", "1.0.0")

    async def on_health_check(self) -> HealthStatus:
        """Say that it is well, as every contender does when it is asked."""
        return HealthStatus.healthy()


class _Ours(Fleet):
    name = "fsm_plugins"
    role = Role.OURS
    note = (
        "one after the other; all are asked for their health at once, each in a task of its own; a plugin that has no "
        "on_health_check is not asked, which takes a seventh"
    )

    async def life(self, names: list[str], step: Steps) -> None:
        registry = PluginRegistry()
        with step("make"):
            plugins = [Bare(name=name) for name in names]
        with step("register"):
            for plugin in plugins:
                registry.register(plugin)
        with step("init_all"):
            await registry.init_all()
        with step("start_all"):
            await registry.start_all()
        with step("health_check_all"):
            told = await registry.health_check_all()
        assert [line.name for line in told if line.status.level == "healthy"] == names
        with step("stop_all"):
            await registry.stop_all()
        assert all(plugin.state == "stopped" for plugin in plugins)


class _Plain:
    """An object with the hooks of a plugin, and nothing else."""

    __slots__ = ("name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = "created"

    async def init(self) -> None:
        self.state = "initialized"

    async def start(self) -> None:
        self.state = "running"

    async def health_check(self) -> str:
        return "healthy"

    async def stop(self) -> None:
        self.state = "stopped"


class _Loop(Fleet):
    name = "a bare loop of awaits"
    role = Role.LIMIT
    note = "no guard, no deadline, no rule; one at a time, also for health"

    async def life(self, names: list[str], step: Steps) -> None:
        members: dict[str, _Plain] = {}
        with step("make"):
            objects = [_Plain(name) for name in names]
        with step("register"):
            for each in objects:
                members[each.name] = each
        with step("init_all"):
            for each in members.values():
                await each.init()
        with step("start_all"):
            for each in members.values():
                await each.start()
        with step("health_check_all"):
            told = [(each.name, each.state, await each.health_check()) for each in members.values()]
        assert len(told) == len(names)
        with step("stop_all"):
            for each in members.values():
                await each.stop()
        assert all(each.state == "stopped" for each in objects)


class _Tasks(_Loop):
    name = "asyncio.gather"
    role = Role.OTHER
    note = "all at once, a task for each; no guard, no deadline, no rule"
    most = 10_000

    async def life(self, names: list[str], step: Steps) -> None:
        with step("make"):
            objects = [_Plain(name) for name in names]
        for each in ("init_all", "start_all", "health_check_all", "stop_all"):
            calls = [getattr(one, each.removesuffix("_all")) for one in objects]
            with step(each):
                await asyncio.gather(*(call() for call in calls))
        assert all(each.state == "stopped" for each in objects)


# The peers ------------------------------------------------------------------------------------------------------------


class _Aiomisc(Fleet):
    name = "aiomisc"
    note = (
        "all at once, three tasks for each start; no states, no deadline for a start; the first error ends the rest; "
        "100,000 are left out, since they take seconds"
    )
    most = 10_000

    def __init__(self) -> None:
        library = installed("aiomisc")
        self._entrypoint = library.entrypoint

        async def start(service: Any) -> None:
            service.began = True

        async def stop(service: Any, _exception: BaseException | None = None) -> None:
            service.ended = True

        self._class: Any = type(library.Service)("Bare", (library.Service,), {"start": start, "stop": stop})

    async def check(self) -> None:
        async def start(_service: object) -> None:
            raise OSError("port 80 is taken")

        entrypoint = self._entrypoint(
            type("Broken", (self._class,), {"start": start})(), log_config=False, catch_signals=()
        )
        try:
            await entrypoint.__aenter__()
        except OSError:
            return
        raise AssertionError("aiomisc did not tell of a start that broke")

    async def life(self, names: list[str], step: Steps) -> None:
        with step("make"):
            services = [self._class(name=name) for name in names]
        with step("register"):
            # Its own logging and signal handlers are off: they belong to the process, not to the services.
            entrypoint = self._entrypoint(*services, log_config=False, catch_signals=())
        with step("start_all"):
            await entrypoint.__aenter__()
        assert len(entrypoint.services) == len(names)
        with step("stop_all"):
            await entrypoint.__aexit__(None, None, None)
        assert all(service.began and service.ended for service in services)


class _Mode(Fleet):
    name = "mode"
    note = "one after the other; add_dependency grows with the number of those added before, so 100,000 are left out"
    most = 10_000

    def __init__(self) -> None:
        base: Any = installed("mode").Service

        async def hook(_service: Any) -> None:
            return

        self._class: Any = type("Bare", (base,), {"on_start": hook, "on_stop": hook, "__module__": __name__})

    async def life(self, names: list[str], step: Steps) -> None:
        parent = self._class()
        with step("make"):
            services = [self._class() for _ in names]
        with step("register"):
            for service in services:
                parent.add_dependency(service)
        with step("start_all"):
            await parent.start()
        assert all(service.started for service in services)
        with step("stop_all"):
            await parent.stop()
        assert all(service.should_stop for service in services)


class _Ipopo(Fleet):
    name = "iPOPO"
    note = (
        "synchronous; a start makes the component as well; an exception in it is logged and not raised; "
        "100,000 are left out, since they take seconds"
    )
    most = 10_000

    def __init__(self) -> None:
        self._framework = installed("pelix.framework")
        self._ipopo = installed("pelix.ipopo.constants")
        decorators = installed("pelix.ipopo.decorators")

        # iPOPO looks at the names of these parameters.
        def validate(self: Any, bundle_context: object) -> None:
            self.valid = True

        def invalidate(self: Any, bundle_context: object) -> None:
            self.valid = False

        space = {"validate": decorators.Validate(validate), "invalidate": decorators.Invalidate(invalidate)}
        self._class: Any = decorators.ComponentFactory("bare")(type("Bare", (), space))

    async def check(self) -> None:
        def validate(self: object, bundle_context: object) -> None:
            raise OSError("port 80 is taken")

        decorators = installed("pelix.ipopo.decorators")
        broken = decorators.ComponentFactory("broken")(type("Broken", (), {"validate": decorators.Validate(validate)}))
        framework = self._framework.create_framework(["pelix.ipopo.core"])
        logging.disable(logging.CRITICAL)
        try:
            framework.start()
            context = framework.get_bundle_context()
            with self._ipopo.use_ipopo(context) as ipopo:
                ipopo.register_factory(context, broken)
                ipopo.instantiate("broken", "broken")
        finally:
            logging.disable(logging.NOTSET)
            framework.stop()
            self._framework.FrameworkFactory.delete_framework()

    async def life(self, names: list[str], step: Steps) -> None:
        framework = self._framework.create_framework(["pelix.ipopo.core"])
        framework.start()
        context = framework.get_bundle_context()
        with self._ipopo.use_ipopo(context) as ipopo:
            ipopo.register_factory(context, self._class)
            with step("start_all"):
                components = [ipopo.instantiate("bare", name) for name in names]
            assert all(component.valid for component in components)
            with step("stop_all"):
                for name in names:
                    ipopo.kill(name)
            assert not any(component.valid for component in components)
        framework.stop()
        self._framework.FrameworkFactory.delete_framework()


def fleets() -> Iterator[Fleet]:
    """Yield those that are installed, ours first."""
    yield from (_Ours(), _Loop(), _Tasks())
    for module, kind in (("aiomisc", _Aiomisc), ("mode", _Mode), ("pelix.ipopo.decorators", _Ipopo)):
        if installed(module) is not None:
            yield kind()
