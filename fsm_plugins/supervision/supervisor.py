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
from contextlib import asynccontextmanager, suppress
from typing import Self

from fsm_plugins.errors import (
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
from fsm_plugins.supervision.children import ChildState, ChildStatus, cause_of, is_not_ready, is_permanent
from fsm_plugins.supervision.events import Action, SupervisionEvent, SupervisionListener
from fsm_plugins.supervision.health import check_health
from fsm_plugins.supervision.phases import GIVEN_UP, UP
from fsm_plugins.supervision.policy import Child, Policy, Restart, problems_of
from fsm_plugins.supervision.recovery import Decisions, Recoveries
from fsm_plugins.supervision.tree import Tree, Uptime
from fsm_plugins.supervision.watchdog import Watchdog

__all__ = ["Supervisor", "of_the_plugin"]

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
        keep = max(policy.period, *(group.period for group in policy.groups.values()), 0.0)
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
            Decisions(self._failed, self._restarted, self._give_up),
            lambda coroutine: self.spawn(coroutine, name="recovery"),
        )
        self._ended = asyncio.Event()
        self._giving_up = asyncio.Event()
        self._exhausted: RestartsExhausted | None = None
        self._stopping = False
        self._watchdog: Watchdog | None = None
        self._on_exhausted: Callable[[], object] | None = None
        self.registry.subscribe(self._heard)

    # What an embedder uses.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run the plugins for as long as the ``async with`` block: init, start, and in any case stop.

        When the supervisor gives up, the block is cancelled.

        Raises:
            HookFailed, DeadlineExceeded: a plugin could not be started. The others have been stopped.
            RestartsExhausted: the supervisor gave up. The plugins have been stopped.
            StopFailed: the block ended well, but plugins did not stop cleanly.
        """
        task = asyncio.current_task()
        assert task is not None
        requests, interrupted = task.cancelling(), False

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        alone = PluginRegistry()
        alone.register(self)
        try:
            async with alone.running():
                try:
                    self._on_exhausted = interrupt
                    yield self
                finally:
                    self._on_exhausted = None
        except BaseException as error:
            if interrupted and isinstance(error, asyncio.CancelledError) and task.uncancel() <= requests:
                assert self._exhausted is not None
                raise self._exhausted from self._exhausted.__cause__
            if isinstance(error, HookFailed | StopFailed):
                raise of_the_plugin(error) from None
            raise
        finally:
            alone.unregister(self.info.name)
        if self._exhausted is not None:
            raise self._exhausted from self._exhausted.__cause__

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
        child.failures, child.given_up = 0, ""
        child.move("ask_for")
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
        if child.phase == UP and self.registry[name].state == State.RUNNING:
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
                self._watch_completion(child, plugin)
        self._recoveries.open()
        self.spawn(self._keep(), name="keep")
        if self.policy.health is not None:
            self.spawn(check_health(self.registry, self.policy.health, self._healths), name="health")
        if self.policy.watchdog is not None:
            self._watchdog = Watchdog(self.policy.watchdog, self._blocked)

    async def on_stop(self) -> None:
        """Interrupt every back-off and every attempt, and stop the plugins, in order."""
        try:
            await self._shut_down()
        finally:
            self._ended.set()

    async def on_health_check(self) -> HealthStatus:
        """Degraded while not all plugins run that should."""
        given_up = [child.name for child in self._children.values() if child.phase == GIVEN_UP]
        waiting = [child.name for child in self._children.values() if child.recovery is not None]
        poor = [
            f"{child.name} is {child.health}"
            for child in self._children.values()
            if child.health is not None and not child.health.is_healthy and child.recovery is None
        ]
        notes = [f"given up: {', '.join(given_up)}"] * bool(given_up)
        notes += [f"being restarted: {', '.join(waiting)}"] * bool(waiting)
        return HealthStatus.degraded("; ".join(notes + poor)) if notes + poor else HealthStatus.healthy()

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
            if self._on_exhausted is not None:
                self._on_exhausted()
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
            with suppress(PluginError):  # whose channels have come to their end
                self.orchestrator.hold(child.name)
            if _leads_to_rest(plugin, event) and not child.busy:
                self._left_alone(child)  # it was to be stopped, though that went wrong
            elif not (child.stopping or (child.busy and event.call)):
                assert event.cause is not None
                self._failed(child, event.cause, ran=True)
        elif event.dest in plugin.lifecycle.rest:
            child.uptime.end(now)
            if not child.busy:
                self._left_alone(child)
        elif event.trigger == START:
            child.uptime.begin(now)

    def _left_alone(self, child: ChildState) -> None:
        """Take note that somebody else stopped a plugin."""
        if not self._stopping:
            child.move("leave_alone")
            child.withdraw()
            self._tell(child.name, Action.REQUESTED)

    def _watch_completion(self, child: ChildState, plugin: Plugin) -> None:
        """Have a look at a permanent plugin whenever one of its workers ends."""
        if child.restart is Restart.PERMANENT:
            for worker in plugin.workers:
                worker.add_done_callback(lambda _: self._worker_ended(child, plugin))

    def _worker_ended(self, child: ChildState, plugin: Plugin) -> None:
        if self.registry.get(child.name) is not plugin or plugin.state != State.RUNNING:
            return
        if child.busy or child.recovery is not None or self._stopping or plugin._guard.in_flight is not None:
            return
        if plugin.workers:  # those that were there, and perhaps some that came since
            self._watch_completion(child, plugin)
            return
        child.uptime.end(asyncio.get_running_loop().time())
        self._failed(child, Completed(child.name), ran=True)

    def _healths(self, name: str, status: HealthStatus) -> int:
        """Take note of what a plugin says of itself. Returns how many times in a row it was unhealthy."""
        child = self._children[name]
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
        if self._stopping or self._exhausted is not None:
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
        return {name for name in others if self._children[name].wanted}

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
        self._watch_completion(child, self.registry[child.name])

    # Small things.

    def _child(self, name: str) -> ChildState:
        """Return a plugin that somebody wants something of."""
        if name not in self._children:
            raise NotFound(name, tuple(self._children))
        if self._stopping or self.state != State.RUNNING:
            raise PluginError(f"supervisor {self.info.name!r} is {self.state}; its plugins are as they are")
        return self._children[name]

    def _tell(self, name: str, action: Action, *, attempt: int = 0, delay: float = 0.0, reason: str = "") -> None:
        self._hub.publish(SupervisionEvent(name, action, self._hub.clock(), attempt, delay, reason))


def _leads_to_rest(plugin: Plugin, event: TransitionEvent) -> bool:
    """Whether the call that failed was to bring the plugin to rest."""
    rest = plugin.lifecycle.rest
    return any(
        (arc.trigger, arc.source) == (event.call, event.source) and arc.dest in rest for arc in plugin.lifecycle.arcs
    )


def of_the_plugin(error: HookFailed | StopFailed) -> BaseException:
    """Return the error of the plugin that made a supervisor fail, out of one that only hands it on."""
    found: BaseException = error.exceptions[0] if isinstance(error, StopFailed) else error
    while isinstance(found, HookFailed) and isinstance(found.__cause__, HookFailed | StopFailed):
        found = found.__cause__
    return error if found in (error, *getattr(error, "exceptions", ())) else found
