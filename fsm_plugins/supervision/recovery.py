"""How plugins come back: stopped, and after a while built anew and started, together with those that belong to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress

from attrs import frozen

from fsm_plugins.errors import Abandoned, ConfigError, HookFailed, PermanentError, PluginError
from fsm_plugins.lifecycle import START
from fsm_plugins.orchestrator import Orchestrator
from fsm_plugins.plugin import Plugin
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.stopping import bring_to_rest
from fsm_plugins.supervision.children import ChildState, Recovery, cause_of
from fsm_plugins.supervision.policy import Restart

__all__ = ["Decisions", "Recoveries"]

logger = logging.getLogger("fsm_plugins")


@frozen
class Decisions:
    """What to call with what the attempts come to.

    Attributes:
        failed: an attempt to start a plugin failed.
        restarted: a plugin runs again.
        give_up: a plugin must not be started again.
        left_alone: somebody else stopped a plugin.
        stopped_by_others: says whether somebody else is just stopping a plugin.
    """

    failed: Callable[[ChildState, BaseException], None]
    restarted: Callable[[ChildState], None]
    give_up: Callable[[ChildState, str], None]
    left_alone: Callable[[ChildState], None]
    stopped_by_others: Callable[[ChildState], bool]


class Recoveries:
    """The recoveries that are under way.

    A plugin is in at most one of them. Those that meet become one; the others go on side by side.

    Args:
        orchestrator: who builds plugins and keeps their channels.
        registry: where they are.
        children: the plugins by name.
        in_order: puts names in the order in which plugins are started and stopped.
        decisions: who is told of the outcome.
        spawn: starts a task.
    """

    def __init__(
        self,
        orchestrator: Orchestrator,
        registry: PluginRegistry,
        children: Mapping[str, ChildState],
        in_order: Callable[[Collection[str]], list[str]],
        decisions: Decisions,
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        self._orchestrator = orchestrator
        self._registry = registry
        self._children = children
        self._in_order = in_order
        self._decisions = decisions
        self._spawn = spawn
        self._open = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Let recoveries begin. Until then they wait."""
        self._open.set()

    def schedule(self, names: Iterable[str], due: float) -> None:
        """Have plugins stopped at once, and started again, in order, at ``due`` by the event loop's clock."""
        children = [self._children[name] for name in self._in_order(set(names))]
        met = dict.fromkeys(child.recovery for child in children if child.recovery is not None)
        if met:
            recovery, *others = met
        else:
            recovery, others = Recovery(), []
            recovery.task = self._spawn(self._recover(recovery))
            self._tasks.add(recovery.task)
            recovery.task.add_done_callback(self._tasks.discard)
        for other in others:
            children += [self._children[name] for name in other.pending]
            due = max(due, other.due)
            other.pending.clear()
            other.changed.set()
            recovery.after |= {other.task, *other.after}
        for child in children:
            child.recovery = recovery
            recovery.pending.add(child.name)
        recovery.due = max(recovery.due, due)
        recovery.changed.set()

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """Those who carry them out."""
        return tuple(self._tasks)

    async def abandon(self) -> asyncio.CancelledError | None:
        """End all of them, whatever they are at. Returns a cancellation met meanwhile."""
        cancelled: asyncio.CancelledError | None = None
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as error:
                cancelled = error
        return cancelled

    async def bring_to_rest(self, child: ChildState) -> tuple[PluginError | None, BaseException | None]:
        """Stop a plugin as `fsm_plugins.stopping.bring_to_rest` does, and keep its channels for the one after it."""
        with suppress(PluginError):  # whose channels have come to their end
            self._orchestrator.hold(child.name)
        child.busy += 1
        child.stopping += 1
        try:
            return await bring_to_rest(self._registry[child.name])
        finally:
            child.busy -= 1
            child.stopping -= 1

    async def _recover(self, recovery: Recovery) -> None:
        await self._open.wait()
        while recovery.pending:
            recovery.changed.clear()
            while recovery.after:
                await asyncio.wait(recovery.after)
                recovery.after = {task for task in recovery.after if not task.done()}
            await self._stop_pending(recovery)
            if not recovery.changed.is_set() and recovery.pending:
                await self._until_due(recovery)
            if not recovery.changed.is_set():
                await self._stop_pending(recovery)  # what somebody else has started meanwhile
            if not recovery.changed.is_set():
                await self._start_pending(recovery)

    async def _stop_pending(self, recovery: Recovery) -> None:
        for name in self._in_order(recovery.pending):
            child = self._children[name]
            if child.recovery is not recovery:  # it has been withdrawn, or taken over
                continue
            if self._decisions.stopped_by_others(child):
                self._decisions.left_alone(child)
                continue
            problem, urgent = await self.bring_to_rest(child)
            if problem is not None:
                logger.error("%s", problem, exc_info=problem)
            if urgent is not None:
                raise urgent
            if child.restart is Restart.TEMPORARY and child.wanted and not child.waiters:
                self._decisions.give_up(child, "it was stopped with another plugin that failed")
            if not child.wanted and child.recovery is recovery:
                child.withdraw()
                child.settle(PluginError(f"plugin {name!r} is given up: {child.given_up}"))
                if child.restart is Restart.TEMPORARY:
                    self._orchestrator.release(name)

    async def _until_due(self, recovery: Recovery) -> None:
        """Wait until it is due, or something changes; ``changed`` tells which."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(recovery.due):
                await recovery.changed.wait()

    async def _start_pending(self, recovery: Recovery) -> None:
        for name in self._in_order(recovery.pending):
            child = self._children[name]
            if child.recovery is not recovery:
                continue
            error = await self._attempt(child)
            # It may have been taken over meanwhile; or withdrawn, and then it may be in another one since.
            ours = child.recovery is recovery or (child.recovery is not None and recovery.task in child.recovery.after)
            if ours:
                assert child.recovery is not None
                child.recovery.pending.discard(name)
                child.recovery = None
            if error is None:
                if ours:
                    child.settle(None)
                    self._decisions.restarted(child)
            elif isinstance(cause := cause_of(error), Abandoned):
                if ours:
                    self._decisions.left_alone(child)
            else:
                if ours:
                    child.settle(error)
                self._decisions.failed(child, cause)
            if recovery.changed.is_set():
                return

    async def _attempt(self, child: ChildState) -> PluginError | None:
        """Build and start a fresh plugin. Returns what went wrong."""
        task = asyncio.current_task()
        assert task is not None
        requests = task.cancelling()
        child.busy += 1
        try:
            plugin = self._registry[child.name]
            if plugin.state != plugin.lifecycle.initial:
                plugin = self._renewed(child)
            await plugin.init()
            await plugin.start()
        except PluginError as error:
            return error
        except asyncio.CancelledError as error:
            if task.cancelling() > requests:
                raise
            failed = HookFailed(child.name, START, "a hook cancelled itself")
            failed.__cause__ = error
            return failed
        finally:
            child.busy -= 1
        return None

    def _renewed(self, child: ChildState) -> Plugin:
        """Put a fresh plugin in the place of the old one."""
        try:
            plugin = self._orchestrator.rebuild(child.name)
            self._registry.replace(plugin)
        except ConfigError:
            raise  # its factory raised, and may do better the next time
        except PluginError as error:
            raise PermanentError(f"plugin {child.name!r} cannot be built again: {error}") from error
        return plugin
