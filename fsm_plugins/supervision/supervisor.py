"""The supervisor: a plugin that runs plugins, and builds a fresh one in the place of each that fails.

Theory of operation
-------------------
A supervisor hears of every transition of its plugins. When one fails that was not stopped on request, three questions
are asked, in this order: may it be restarted at all (its restart kind, what it failed of), is that within the limit of
its group, and who has to be restarted with it (the strategy of the group). When the limit is reached, the group around
it is asked as if the whole group had failed, up to the supervisor itself, which then gives up.

Those to be restarted make up a *recovery*: they are stopped at once, in order, which releases what they hold, and when
the back-off is over each is built anew from its spec, initialised and started, in order. The orchestrator keeps their
channels meanwhile, with what is queued in them. Recoveries that have nothing to do with each other go on side by side;
those that meet become one. A plugin that is not ready yet holds nobody up: it is tried again on its own.

Nothing here reads a clock but that of the event loop, so all of it can be tested in virtual time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self

from fsm_plugins.errors import (
    Abandoned,
    Completed,
    ConfigError,
    HookFailed,
    NotFound,
    PluginError,
    RestartsExhausted,
    StopFailed,
)
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import INIT, START, Hub, State, TransitionEvent
from fsm_plugins.metadata import Deadlines, HealthStatus, PluginInfo, PluginType
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from fsm_plugins.plugin import Plugin
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.stopping import leads_to_rest
from fsm_plugins.supervision.alone import running_alone
from fsm_plugins.supervision.children import ChildState, ChildStatus, cause_of, is_not_ready, is_permanent, summary
from fsm_plugins.supervision.events import Action, SupervisionEvent, SupervisionListener
from fsm_plugins.supervision.health import check_health
from fsm_plugins.supervision.policy import Child, Group, Policy, Restart, problems_of
from fsm_plugins.supervision.recovery import Decisions, Recoveries
from fsm_plugins.supervision.tree import Tree, Uptime
from fsm_plugins.supervision.watchdog import Watchdog

__all__ = ["Supervisor"]

logger = logging.getLogger("fsm_plugins")


class Supervisor(Plugin):
    """Runs the plugins of ``specs``, connected by ``channels``, and restarts them under a ``policy``.

    It is a plugin itself: a supervisor can be among the specs of another one, which then restarts it as a whole when it
    gives up. Alone, run it with `running`.

    Args:
        specs: the plugins.
        channels: name -> capacity, in messages.
        policy: what to do about failures.
        children: plugin -> what is different for it.
        clock: what the ``at`` of events is read from, in seconds since the epoch.
        rng: what the jitter of delays is taken from.
        name, deadlines: as for every plugin. Without deadlines of its own it takes as long as its plugins do.

    Attributes:
        policy, children: as given.
        registry: the plugins. Subscribe to it for their transitions.
        orchestrator: who owns their channels.

    Raises:
        ConfigError: the specs cannot be wired, or the policy does not fit them; the error holds all problems.

    >>> class Flaky(Plugin):
    ...     info = PluginInfo("flaky", "1.0.0")
    ...     async def on_start(self) -> None:
    ...         self.spawn(self.work())
    ...     async def work(self) -> None:
    ...         await asyncio.sleep(60)
    ...         raise ConnectionError("reset by peer")
    >>> async def main() -> None:
    ...     supervisor = Supervisor([PluginSpec("flaky", Flaky)], policy=Policy(intensity=2, period=600))
    ...     supervisor.subscribe(lambda event: print(event.action, *event.reason.splitlines()))
    ...     async with supervisor.running():
    ...         await supervisor.wait()
    >>> from fsm_plugins.testing import run
    >>> logging.disable()
    >>> try:
    ...     run(main)
    ... except RestartsExhausted as error:
    ...     print(error)
    failed ConnectionError: reset by peer
    backoff ConnectionError: reset by peer
    restarted
    failed ConnectionError: reset by peer
    backoff ConnectionError: reset by peer
    restarted
    failed ConnectionError: reset by peer
    exhausted ConnectionError: reset by peer
    supervisor 'supervisor' gave up: plugin 'flaky' failed once more after 2 restarts within 600 s
    >>> logging.disable(logging.NOTSET)
    """

    info = PluginInfo("supervisor", "1.0.0", "Restarts plugins that fail", PluginType.custom("supervisor"))
    deadlines = Deadlines(init=math.inf, start=math.inf, stop=math.inf, grace=math.inf)

    def __init__(
        self,
        specs: Sequence[PluginSpec],
        channels: Mapping[str, int] | None = None,
        *,
        policy: Policy | None = None,
        children: Mapping[str, Child] | None = None,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        name: str | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        self.policy = policy = policy or Policy()
        self.children = children = dict(children or {})
        problems = problems_of(policy, children, [spec.name for spec in specs])
        if problems:
            raise ConfigError("supervision", problems)
        self.orchestrator = Orchestrator(specs, channels or {}, clock=clock)
        self.registry: PluginRegistry = self.orchestrator.build()
        self._hub: Hub[SupervisionEvent] = Hub(clock)
        self._rng = rng or random.Random()
        self._tree = Tree(self.orchestrator.plan, policy, children)
        limits: list[Policy | Group] = [policy, *policy.groups.values()]
        keep = max((limit.period for limit in limits if limit.intensity != "unlimited"), default=0.0)
        self._children: dict[str, ChildState] = {}
        for each in self.orchestrator.plan.order:
            child = children.get(each, Child())
            self._children[each] = ChildState(
                each,
                child.restart or policy.restart,
                child.backoff or policy.backoff,
                self._tree.group_of[each],
                Uptime(keep),
            )
        self._recoveries = Recoveries(
            self.orchestrator,
            self.registry,
            self._children,
            self._tree.in_order,
            Decisions(self._failed, self._restarted, self._give_up, self._left_alone, self._stopped_by_others),
            lambda coroutine: self.spawn(coroutine, name="recovery"),
        )
        self._ended = asyncio.Event()
        self._giving_up = asyncio.Event()
        self._exhausted: RestartsExhausted | None = None
        self._stopping = False
        self._watchdog: Watchdog | None = None
        self.registry.subscribe(self._heard)

    # What an embedder uses.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run the plugins for as long as the ``async with`` block: init, start, and in any case stop.

        When the supervisor gives up, or somebody fails it, the block is cancelled.

        Raises:
            HookFailed, DeadlineExceeded: a plugin could not be started. The others have been stopped.
            RestartsExhausted: the supervisor gave up. The plugins have been stopped.
            PluginFailed: the supervisor itself was failed by somebody. The plugins have been stopped.
            StopFailed: the block ended well, but plugins did not stop cleanly.
        """
        async with running_alone(self):
            yield self

    async def wait(self) -> None:
        """Wait until it ends: it was stopped, or it gave up.

        Raises:
            RestartsExhausted: it gave up. The plugins have been stopped.
        """
        await self._ended.wait()
        if self._exhausted is not None:
            raise self._exhausted

    async def restart(self, name: str) -> None:
        """Stop a plugin if need be, and start a fresh one in its place at once, whatever became of it before.

        Its failures are forgotten, and so are the restarts of its group. Returns when it runs.

        Raises:
            NotFound: there is no such plugin.
            PluginError: the supervisor is not running, or the plugin could not be started; that is then tried again as
                after any failure.
        """
        child = self._child(name)
        stops = child.stops
        while self._stopped_by_others(child):
            await self.registry[name]._guard.take_flight().ended()
            child = self._child(name)
            if child.stops != stops:
                raise PluginError(f"plugin {name!r} was stopped on request")
        child.failures = 0
        child.ask_for()
        child.node.forget()
        now = asyncio.get_running_loop().time()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        child.waiters.append(waiter)
        if child.recovery is not None:
            child.recovery.due = now
            child.recovery.changed.set()
        else:
            self._recoveries.schedule({name}, now)
        await waiter

    async def start_plugin(self, name: str) -> None:
        """Start a plugin again that was stopped or given up. As `restart`, but one that runs is left alone.

        Raises:
            PluginError: it runs already, and whatever `restart` raises.
        """
        child = self._child(name)
        if self._runs(child):
            raise PluginError(f"plugin {name!r} runs already; restart it to have a fresh one")
        await self.restart(name)

    async def stop_plugin(self, name: str) -> None:
        """Stop a plugin, and leave it stopped. Its channels stay as they are, until it is started again.

        A plugin that is stopped by its own ``stop`` is left alone, too, but its part of its channels ends with it.

        Raises:
            NotFound: there is no such plugin.
            PluginError: the supervisor is not running, or the plugin did not stop cleanly.
        """
        child = self._child(name)
        child.move("leave_alone")
        child.stops += 1
        child.withdraw()
        child.settle(PluginError(f"plugin {name!r} was stopped on request"))
        self._tell(name, Action.REQUESTED)
        problem, urgent = await self._recoveries.bring_to_rest(child)
        if urgent is not None:
            raise urgent
        if problem is not None:
            raise problem

    def status(self) -> tuple[ChildStatus, ...]:
        """Return how it stands with each plugin, in order."""
        return tuple(map(self.status_of, self._children))

    def status_of(self, name: str) -> ChildStatus:
        """Return how it stands with one plugin.

        Raises:
            NotFound: there is no such plugin.
        """
        if name not in self._children:
            raise NotFound(name, tuple(self._children))
        return self._children[name].status(asyncio.get_running_loop().time())

    @property
    def recoveries(self) -> tuple[asyncio.Task[None], ...]:
        """The tasks that are just restarting plugins, or waiting to do so."""
        return self._recoveries.tasks

    def subscribe(self, listener: SupervisionListener) -> Callable[[], None]:
        """Call ``listener`` with a `SupervisionEvent` for everything the supervisor does and notices.

        As with transitions, it is a plain function, and what it raises is logged and changes nothing. Returns a
        function that ends the subscription.

        Raises:
            TypeError: ``listener`` cannot be called, or is asynchronous.
        """
        return self._hub.subscribe(listener)

    # Hooks.

    async def on_init(self) -> None:
        """Initialise the plugins, in order; the first error ends that, unless the plugin is only not ready."""
        for child in self._children.values():
            await self._first(child, INIT)

    async def on_start(self) -> None:
        """Start the plugins, in order; the first error ends that, unless the plugin is only not ready."""
        for child in self._children.values():
            plugin = self.registry[child.name]
            if plugin.state in plugin.lifecycle.expected(START) and child.recovery is None:
                await self._first(child, START)
                self._look(child, plugin)
        self._recoveries.open()
        self.spawn(self._keep(), name="keep")
        if self.policy.health is not None:
            self.spawn(check_health(self.registry, self.policy.health, self._healths), name="health")
        if self.policy.watchdog is not None:
            self._watchdog = Watchdog(self.policy.watchdog, self._blocked)

    async def on_stop(self) -> None:
        """Interrupt every back-off and every attempt, and stop the plugins, in order."""
        if self._exhausted is not None and self._ended.is_set():
            return  # they have been stopped, and what did not stop cleanly is in the notes of the error
        try:
            await self._shut_down()
        finally:
            self._ended.set()

    async def on_health_check(self) -> HealthStatus:
        """Degraded while not all plugins run that should."""
        poor = {child.name: child.health for child in self._children.values() if child.health and self._runs(child)}
        return summary(self._children.values(), poor)

    # From beginning to end.

    async def _first(self, child: ChildState, trigger: str) -> None:
        """Fire ``trigger`` as the supervisor itself is started."""
        child.busy += 1
        try:
            await self.registry[child.name].fire(trigger)
        except HookFailed as error:
            if not is_not_ready(cause_of(error)):
                raise
            self._failed(child, cause_of(error))
        finally:
            child.busy -= 1

    async def _keep(self) -> None:
        """Stop everything when the limit is reached, and then fail."""
        await self._giving_up.wait()
        assert self._exhausted is not None
        try:
            await self._shut_down()
        except StopFailed as failed:
            for problem in failed.exceptions:
                self._exhausted.add_note(f"and while stopping: {problem}")
        finally:
            self._ended.set()
        raise self._exhausted

    async def _shut_down(self) -> None:
        """Raises as ``stop_all`` does; a cancellation only when all is done."""
        self._stopping = True
        if self._watchdog is not None:
            self._watchdog.stop()
        cancelled = await self._recoveries.abandon()
        for child in self._children.values():
            child.withdraw()
            child.settle(PluginError(f"plugin {child.name!r} was not started: its supervisor stops"))
        await self.registry.stop_all()
        if cancelled is not None:
            raise cancelled

    # What is heard.

    def _heard(self, event: TransitionEvent) -> None:
        """Take note of a transition of a plugin."""
        child = self._children.get(event.plugin)
        if child is None:
            return
        plugin, now = self.registry[event.plugin], asyncio.get_running_loop().time()
        if event.dest in plugin.lifecycle.failures:
            child.uptime.end(now)
            if leads_to_rest(plugin, event) and not child.busy:
                self._left_alone(child)  # it was to be stopped, though that went wrong
            elif self._stopping and isinstance(event.cause, Abandoned):
                pass  # it had been initialised only, and so could not be stopped
            elif not (child.stopping or (child.busy and event.call)):
                assert event.cause is not None
                self._failed(child, event.cause, ran=True)
        elif event.dest in plugin.lifecycle.rest:
            child.uptime.end(now)
            if not child.busy:
                self._left_alone(child)
        else:
            if event.trigger == START:
                child.uptime.begin(now)
                child.unhealthy = 0
                if not child.busy:  # somebody started one that can be started again, and so wants it to run
                    child.ask_for()
                    child.withdraw()
                    child.move("restarted")
                    child.settle(None)
            self._look(child, plugin)

    def _left_alone(self, child: ChildState) -> None:
        """Take note that somebody else stopped a plugin, or is just doing so."""
        if not self._stopping and child.wanted:
            child.move("leave_alone")
            child.withdraw()
            child.settle(PluginError(f"plugin {child.name!r} was stopped on request"))
            self._tell(child.name, Action.REQUESTED)

    def _stopped_by_others(self, child: ChildState) -> bool:
        """Whether somebody else is just stopping a plugin."""
        return not child.stopping and self.registry[child.name]._guard.coming_to_rest

    def _look(self, child: ChildState, plugin: Plugin) -> None:
        """See whether a permanent plugin is done; if not, look again when the next of its workers has ended."""
        if child.restart is not Restart.PERMANENT or self.registry.get(child.name) is not plugin:
            return
        if child.busy or child.recovery is not None or self._stopping:
            return
        if plugin.state != State.RUNNING or plugin._guard.in_flight is not None:
            return  # there will be another transition
        workers = plugin.workers
        if not workers and plugin._guard.had_workers:
            child.uptime.end(asyncio.get_running_loop().time())
            self._failed(child, Completed(child.name), ran=True)
        elif workers and (child.watched is None or child.watched.done()):
            child.watched = workers[0]
            workers[0].add_done_callback(lambda _: self._look(child, plugin))

    def _healths(self, name: str, status: HealthStatus) -> int:
        """Take note of what a plugin says of itself. Returns how many times in a row it was unhealthy."""
        child = self._children[name]
        if self._stopping:
            return 0
        if status.level != ("healthy" if child.health is None else child.health.level):
            self._tell(name, Action(status.level), reason=status.reason)
        child.health = status
        child.unhealthy = child.unhealthy + 1 if status.is_unhealthy else 0
        return child.unhealthy

    def _blocked(self, seconds: float, place: str) -> None:
        self._tell(self.info.name, Action.BLOCKED, delay=seconds, reason=f"the event loop was blocked at {place}")

    # What is decided.

    def _failed(self, child: ChildState, cause: BaseException, *, ran: bool = False) -> None:
        """Decide what becomes of a failure. ``ran`` says whether the plugin had been running."""
        if not child.wanted:
            return  # it was interrupted by the one who stopped it
        now = asyncio.get_running_loop().time()
        if ran and child.uptime.last >= child.backoff.stable:
            child.failures = 0
        child.crashes += 1
        child.failures += 1
        child.unhealthy = 0
        reason = describe(cause)
        logger.error("plugin %r failed: %s", child.name, reason)
        self._tell(child.name, Action.FAILED, attempt=child.failures, reason=reason)
        if self._stopping or self._exhausted is not None or self.state in self.lifecycle.failures:
            return
        if is_permanent(cause) or child.restart is Restart.TEMPORARY:
            self._give_up(child, reason)
            names = {child.name}
        elif child.recovery is not None:
            return  # it is to be restarted anyway
        elif is_not_ready(cause):
            names = {child.name}
        elif (admitted := self._admit(child, cause)) is not None:
            names = admitted
        else:
            return
        delay = 0.0
        if child.wanted:
            for name in names:
                self._children[name].move("recover")
            delay = child.backoff.delay(child.failures, self._rng.random())
            self._tell(child.name, Action.BACKOFF, attempt=child.failures, delay=delay, reason=reason)
        self._recoveries.schedule(names, now + delay)

    def _admit(self, child: ChildState, cause: BaseException) -> set[str] | None:
        """Return who is to be restarted, or None if the supervisor gives up."""
        now = asyncio.get_running_loop().time()
        node, failed = child.node, [child.name]
        while not node.admit(child.uptime, now):
            if node.parent is None:
                self._exhausted = RestartsExhausted(self.info.name, child.name, int(node.intensity), node.period)
                self._exhausted.__cause__ = cause
                logger.critical("%s", self._exhausted)
                self._tell(child.name, Action.EXHAUSTED, attempt=child.failures, reason=describe(cause))
                for other in self._children.values():
                    other.withdraw()
                self._giving_up.set()
                return None
            logger.error("group %r of %r reached its limit of restarts", node.name, self.info.name)
            node.forget()
            node, failed = node.parent, node.members
        others = self._tree.affected(node, failed)
        return {name for name in others if self._is_to_run(self._children[name])}

    def _give_up(self, child: ChildState, reason: str) -> None:
        child.given_up = reason
        child.move("give_up")
        logger.error("plugin %r is given up: %s", child.name, reason)
        self._tell(child.name, Action.GAVE_UP, attempt=child.failures, reason=reason)

    def _restarted(self, child: ChildState) -> None:
        """Take note that a plugin runs again."""
        child.move("restarted")
        child.restarts += 1
        self._tell(child.name, Action.RESTARTED, attempt=child.failures)
        self._look(child, self.registry[child.name])

    # Small things.

    def _is_to_run(self, child: ChildState) -> bool:
        """Whether a plugin is started again with another one that failed."""
        return child.wanted and not self._stopped_by_others(child)

    def _runs(self, child: ChildState) -> bool:
        """Whether a plugin runs, and is to go on doing so for all that is known."""
        if child.recovery is not None or child.busy or self._stopped_by_others(child):
            return False
        return self.registry[child.name].state == State.RUNNING

    def _child(self, name: str) -> ChildState:
        """Return a plugin that somebody wants something of."""
        if name not in self._children:
            raise NotFound(name, tuple(self._children))
        if self._stopping or self.state != State.RUNNING:
            raise PluginError(f"supervisor {self.info.name!r} is {self.state}; its plugins are as they are")
        return self._children[name]

    def _tell(self, name: str, action: Action, *, attempt: int = 0, delay: float = 0.0, reason: str = "") -> None:
        self._hub.publish(SupervisionEvent(name, action, self._hub.clock(), attempt, delay, reason))
