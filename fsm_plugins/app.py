"""The application: a configuration, the plugins it names, and the process around them, put together here.

`Application.from_config` does everything that can be done without starting anything, and reports everything that is
wrong at once. `Application.run` runs it to the end, in one task: a plugin may open in its ``on_start`` what has to be
closed in the same task, and close it in its ``on_stop``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final, Literal, TypeAlias

from attrs import frozen

from fsm_plugins.config import Config, merge_deadlines, read_config, structure_settings
from fsm_plugins.errors import (
    Abandoned,
    ConfigError,
    HookFailed,
    LoadError,
    PluginError,
    PluginFailed,
    Problem,
    RestartsExhausted,
    StopFailed,
    suggestion,
)
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import FAIL, INIT, RELOAD, START, TransitionEvent
from fsm_plugins.loading import load
from fsm_plugins.metadata import Deadlines
from fsm_plugins.observe import Observation, RegistryTarget, SupervisorTarget, Target, observation_problems
from fsm_plugins.orchestrator import Orchestrator, Plan, PluginSpec, Receipt, plan
from fsm_plugins.plugin import Plugin
from fsm_plugins.ports import ports_of
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.supervision import Action, Restart, SupervisionEvent, Supervisor, of_the_plugin, problems_of

__all__ = ["Application", "Blueprint", "Phase", "read_blueprint"]

logger = logging.getLogger("fsm_plugins")

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

# How far `Application.run` has come: "running" is said when every plugin has been started, and "stopping" before the
# first one is told to stop. A start that fails goes from "starting" to "ended".
Phase: TypeAlias = Literal["created", "starting", "running", "stopping", "ended"]


@frozen
class Blueprint:
    """What a configuration comes to, before anything is made of it.

    Attributes:
        source: the file, as it was given.
        config: what is sound of the file; None if it could not be read.
        specs: the plugins that could be loaded, in the order of the file.
        plan: how they are connected.
        problems: everything that is wrong.
    """

    source: str
    config: Config | None
    specs: tuple[PluginSpec, ...]
    plan: Plan
    problems: tuple[Problem, ...]


def read_blueprint(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Blueprint:
    """Read a configuration, load its plugins and plan their wiring, without making any of them.

    Args:
        path: a TOML file; its format is described in ``docs/configuration.md``.
        environ: the environment, whose variables ``FSM_PLUGINS__...`` override keys; ``os.environ`` unless given.

    Returns:
        All that could be found out, problems included. It raises nothing because of what the file says.
    """
    config, problems = read_config(path, environ)
    if config is None:
        return Blueprint(os.fspath(path), None, (), plan([], {}), tuple(problems))
    specs = []
    for name in config.plugins:
        spec, found = _spec(config, name)
        problems += found
        if spec is not None:
            specs.append(spec)
    problems += _strange_deadlines(config, specs)
    problems += observation_problems(config)
    if "supervisor" in config.unsound:
        pass  # what groups there are is not known
    elif config.supervisor is not None:
        problems += problems_of(config.supervisor, config.children, config.plugins)
    else:
        what = "nobody restarts plugins here; add a table [supervisor], it may be empty"
        problems += [
            Problem(f"plugins.{name}.{key}", what)
            for name in config.children
            for key in ("restart", "backoff", "group")
            if getattr(config.plugins[name], key) is not None
        ]
    complete = len(specs) == len(config.plugins) and not config.unsound
    channels = {name: section.capacity for name, section in config.channels.items()}
    planned = plan(specs, channels, complete=complete)
    # Problems with settings that are ports have been found together with the settings.
    known = {problem.where for problem in problems}
    problems += [problem for problem in planned.problems if problem.where not in known]
    return Blueprint(config.source, config, tuple(specs), planned, tuple(problems))


def _spec(config: Config, name: str) -> tuple[PluginSpec | None, list[Problem]]:
    """Return the spec of one plugin of the configuration, if it can be loaded, and what is wrong with it."""
    section, where = config.plugins[name], f"plugins.{name}"
    try:
        factory = load(section.use, config.app.plugin_path)
    except LoadError as error:
        return None, [Problem(f"{where}.use", str(error))]
    try:
        ports = frozenset(port.name for port in ports_of(factory))
    except TypeError as error:
        return None, [Problem(where, str(error))]
    settings, problems = structure_settings(factory, section.settings, f"{where}.settings", ports, config.directory)
    known = _deadline_keys(factory)
    strange = [
        Problem(f"{where}.deadlines.{key}", f"its lifecycle has no such trigger{suggestion(key, known)}")
        for key in section.deadlines
        if known and key not in known and key not in config.app.deadlines
    ]
    base = factory.deadlines if isinstance(factory, type) and issubclass(factory, Plugin) else Deadlines()
    deadlines = merge_deadlines(base, section.deadlines) if section.deadlines else None
    spec = PluginSpec(name, factory, settings, section.inputs, section.outputs, deadlines, section.enabled)
    return spec, [*problems, *strange]


def _deadline_keys(factory: object) -> set[str]:
    """Return what a plugin can have a deadline for; nothing for a function, which does not say what it makes."""
    if isinstance(factory, type) and issubclass(factory, Plugin):
        return {*factory.lifecycle.triggers, "health", "grace"} - {FAIL}
    return set()


def _strange_deadlines(config: Config, specs: Sequence[PluginSpec]) -> Iterator[Problem]:
    """Yield a problem for each deadline given for all plugins that suits none of them."""
    keys = [_deadline_keys(spec.factory) for spec in specs]
    if not all(keys) or len(specs) < len(config.plugins):
        return  # somebody might know them
    known = {"init", "start", "stop", "health", "grace"}.union(*keys)
    for key in config.app.deadlines:
        if key not in known:
            hint = suggestion(key, known)
            yield Problem(f"app.deadlines.{key}", f"no plugin has such a trigger in its lifecycle{hint}")


class Application:
    """Plugins and channels that run together in this process.

    Attributes:
        name: what it is called.
        plan: how the plugins are connected.
        registry: the plugins. Subscribe to it before `run`.
        observation: who writes the journal and serves the endpoint while it runs.
        supervisor: who restarts plugins that fail; None if nobody does.
        phase: how far `run` has come; `follow` tells of each.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "app.toml")
    ...     _ = path.write_text('[plugins.clock]\\nuse = "clocks:Clock"\\n')
    ...     try:
    ...         Application.from_config(path)
    ...     except ConfigError as error:
    ...         print(error.problems[0].where)
    plugins.clock.use
    """

    def __init__(
        self,
        name: str,
        plugins: Orchestrator | Supervisor,
        *,
        on_failure: str = "stop",
        observation: Observation | None = None,
    ) -> None:
        self.name = name
        self.supervisor = plugins if isinstance(plugins, Supervisor) else None
        # What is run: the plugins themselves, or the supervisor that runs them.
        if isinstance(plugins, Supervisor):
            self._orchestrator = plugins.orchestrator
            self.registry: PluginRegistry = plugins.registry
            self._top = PluginRegistry()
            self._top.register(plugins)
            plugins.subscribe(self._noticed)
        else:
            self._orchestrator = plugins
            self.registry = self._top = plugins.build()
        self.plan: Plan = self._orchestrator.plan
        self._on_failure = on_failure
        self.observation = observation or Observation()
        self._told = asyncio.Event()
        self._failure: PluginFailed | RestartsExhausted | None = None
        self._reload_wanted = False
        self._reloading: asyncio.Task[None] | None = None
        self.phase: Phase = "created"
        self._followers: list[Callable[[Phase], object]] = []
        self._top.subscribe(self._heard)

    @classmethod
    def from_config(cls, path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Application:
        """Make an application of a TOML file. Nothing is started.

        Args:
            path: the file; its format is described in ``docs/configuration.md``.
            environ: the environment, whose variables ``FSM_PLUGINS__...`` override keys; ``os.environ`` unless given.

        Raises:
            ConfigError: with everything that is wrong with the file, the environment, the plugins and the wiring.
        """
        blueprint = read_blueprint(path, environ)
        if blueprint.problems or blueprint.config is None:
            raise ConfigError(blueprint.source, blueprint.problems)
        channels = {name: section.capacity for name, section in blueprint.config.channels.items()}
        config = blueprint.config
        plugins: Orchestrator | Supervisor
        try:
            if config.supervisor is None:
                plugins = Orchestrator(blueprint.specs, channels)
            else:
                plugins = Supervisor(blueprint.specs, channels, policy=config.supervisor, children=config.children)
            observation = Observation.from_config(config)
            return cls(config.app.name, plugins, on_failure=config.app.on_failure, observation=observation)
        except ConfigError as error:
            raise ConfigError(blueprint.source, error.problems) from error.__cause__

    async def run(self, *, signals: bool = True, until_idle: bool = False, seconds: float | None = None) -> None:
        """Initialise and start the plugins, wait, and stop them again, draining the channels on the way.

        It waits until SIGTERM or SIGINT, until `shutdown`, or until a plugin fails, if the application is to stop then.
        A signal ends a start that is under way, too. A second signal ends the process at once, with exit status
        128 + its number. If a plugin can be reloaded, SIGHUP does `reload`. An application runs once.

        Args:
            signals: whether to handle the signals. Only possible in the main thread.
            until_idle: stop also when no plugin has a worker left.
            seconds: stop also after this time, in seconds.

        Raises:
            ConfigError: a plugin found in its ``on_init`` that what it was configured with is wrong, and raised one of
                its own. Nothing was started.
            HookFailed, DeadlineExceeded: a plugin could not be started. The others have been stopped.
            PluginFailed: a plugin failed while it was running, and nobody restarts it. The others have been stopped.
            RestartsExhausted: the supervisor gave up. The plugins have been stopped.
            StopFailed: it ended in order, but plugins did not stop cleanly.
            PluginError: it was run before. Nothing happened.
        """
        if self.phase != "created":
            raise PluginError(f"application {self.name!r} was run before; to run it again, make another one")
        target: Target
        if self.supervisor is not None:
            target = SupervisorTarget(self.supervisor, self.name)
        else:
            target = RegistryTarget(self.registry, self.name, self._orchestrator)
        with self._signals() if signals else nullcontext(), self._phases():
            async with self.observation.running(target):
                await self._run(until_idle, seconds)

    async def _run(self, until_idle: bool, seconds: float | None) -> None:
        """Start, wait, and stop."""
        if self._told.is_set():
            return  # nobody wants it any more
        try:
            async with self._top.running():
                if not self._told.is_set():
                    self._enter("running")
                if self._reload_wanted:
                    self.reload()
                try:
                    await self._until_told(until_idle, seconds)
                finally:
                    self._enter("stopping")
                    await self._end_reload()
                if self._failure is not None:
                    raise self._failure
        except HookFailed as error:
            if not isinstance(error.__cause__, Abandoned):
                found = of_the_plugin(error)
                raise _wrong_configuration(self.name, found) or found from error.__cause__
            # The start was abandoned, because somebody wanted the application to end.
            if self._failure is not None:
                raise self._failure from self._failure.__cause__
        except StopFailed as error:
            raise of_the_plugin(error) from None

    def shutdown(self, reason: str = "shutdown was called") -> None:
        """Let `run` end. It returns when everything has been stopped. To call it again does nothing."""
        if not self._told.is_set():
            logger.info("application %r stops: %s", self.name, reason)
            self._told.set()
            if self.phase in ("starting", "running"):
                self._enter("stopping")
            self._top.abandon_start()

    def reload(self) -> None:
        """Let the plugins that can be reloaded read their files again, one after the other, while they run.

        The trigger ``reload`` is fired on every plugin whose lifecycle allows it in the state that it is in (see
        `RELOADABLE`). It does not wait, as suits a signal handler. Called again before that is done, it is done once
        more; called during the start, after it; and before `run` or after it, not at all. A shutdown waits for the
        reload of the plugin that is at it, so that what is queued can still be drained.
        """
        self._reload_wanted = self.phase in ("starting", "running")
        if self.phase == "running" and (self._reloading is None or self._reloading.done()):
            self._reloading = asyncio.create_task(self._reload(), name=f"reload of {self.name}")

    async def _reload(self) -> None:
        while self._reload_wanted:
            self._reload_wanted = False
            for plugin in self.registry:
                if self.phase == "running" and plugin.state in plugin.lifecycle.expected(RELOAD):
                    try:
                        await plugin.fire(RELOAD)
                    except PluginError as error:
                        logger.error("not reloaded: %s", error)

    async def _end_reload(self) -> None:
        self._reload_wanted = False
        if self._reloading is not None:
            await asyncio.wait([self._reloading])

    def follow(self, follower: Callable[[Phase], object]) -> None:
        """Call ``follower`` with each `Phase` that `run` comes to, for those who wait for it or report it.

        It is a plain function, called by `run` in the event loop. What it raises is logged and changes nothing.
        """
        self._followers.append(follower)

    def receipt(self) -> tuple[Receipt, ...]:
        """Return how each plugin ended, in order. To be called after `run`."""
        return self._orchestrator.receipt()

    @contextmanager
    def _phases(self) -> Iterator[None]:
        self._enter("starting")
        try:
            yield
        finally:
            self._enter("ended")

    def _enter(self, phase: Phase) -> None:
        if phase == self.phase:
            return
        self.phase = phase
        for follower in self._followers:
            try:
                follower(phase)
            except Exception:
                logger.exception("a follower of application %r raised in phase %r", self.name, phase)

    async def _until_told(self, until_idle: bool, seconds: float | None) -> None:
        waits: list[asyncio.Task[object]] = [asyncio.create_task(self._told.wait())]
        if until_idle:
            waits.append(asyncio.create_task(self._idle()))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _idle(self) -> None:
        """Wait until no plugin has a worker, and none is being restarted."""
        while workers := [
            *(self.supervisor.recoveries if self.supervisor is not None else ()),
            *(worker for plugin in self.registry for worker in plugin.workers),
        ]:
            await asyncio.wait(workers)
        logger.info("application %r stops: no plugin has a worker left", self.name)

    def _noticed(self, event: SupervisionEvent) -> None:
        """Take note of a plugin that will not be restarted, though it was not to be temporary."""
        assert self.supervisor is not None
        if event.action is not Action.GAVE_UP or self.supervisor.status_of(event.plugin).restart is Restart.TEMPORARY:
            return
        if self._on_failure == "stop" and not self._told.is_set():
            self._failure = PluginFailed(event.plugin, event.reason)
            self._failure.__cause__ = self.registry[event.plugin].failure
            self.shutdown(f"plugin {event.plugin!r} is given up")

    def _heard(self, event: TransitionEvent) -> None:
        """Take note of a plugin that failed after it had been started. One that fails before fails the start."""
        if isinstance(event.cause, RestartsExhausted) and not self._told.is_set():
            self._failure = event.cause
            self.shutdown("its supervisor gave up")
            return
        lifecycle = self._top[event.plugin].lifecycle
        before = {*lifecycle.expected(INIT), *lifecycle.expected(START)}
        if event.cause is None or event.source in before or self._told.is_set() or self.phase in ("stopping", "ended"):
            return
        reason = describe(event.cause)
        logger.error("plugin %r failed: %s", event.plugin, reason)
        if self._on_failure == "stop":
            self._failure = PluginFailed(event.plugin, reason)
            self._failure.__cause__ = event.cause
            self.shutdown(f"plugin {event.plugin!r} failed")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Shut down at the first signal, end the process at the second; reload at SIGHUP."""
        loop = asyncio.get_running_loop()
        handled: list[signal.Signals] = []

        def on_signal(number: signal.Signals) -> None:
            if self._told.is_set():
                _exit_now(number, self.registry)
            self.shutdown(number.name)

        try:
            try:
                for number in SIGNALS:
                    loop.add_signal_handler(number, on_signal, number)
                    handled.append(number)
                # Where nobody can be reloaded, it ends the process, as it does by default: its terminal is gone.
                if any(RELOAD in plugin.lifecycle.triggers for plugin in self.registry):
                    loop.add_signal_handler(signal.SIGHUP, self.reload)
                    handled.append(signal.SIGHUP)
            except (ValueError, RuntimeError, NotImplementedError) as error:
                text = f"signals cannot be handled here ({error}); call run(signals=False), and shutdown() to end it"
                raise PluginError(text) from error
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)


def _wrong_configuration(name: str, error: BaseException) -> ConfigError | None:
    """Return what is wrong with the configuration, if that is why a plugin failed in its init."""
    if not isinstance(error, HookFailed) or error.trigger != INIT:
        return None
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConfigError):
        cause = cause.__cause__
    if cause is None:
        return None
    # Who names itself as the source says nothing new.
    source = "" if cause.source == error.name else f"{cause.source}: "
    return ConfigError(name, [Problem(f"plugins.{error.name}", f"{source}{each}") for each in cause.problems])


def _exit_now(number: signal.Signals, registry: PluginRegistry) -> None:
    running = [
        plugin.info.name
        for plugin in registry
        if plugin.state not in plugin.lifecycle.rest and plugin.state != plugin.lifecycle.initial
    ]
    logger.critical("%s again: the process ends now; not stopped: %s", number.name, ", ".join(running) or "none")
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + number)
