"""The plugin: alerts in, actions on containers out, and a record of each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import stamina
from attrs import Factory, define, evolve, field
from attrs.validators import ge, gt

from fsm_plugins import (
    RELOADABLE,
    ChannelClosed,
    ConfigError,
    Deadlines,
    HealthStatus,
    Plugin,
    PluginInfo,
    PluginType,
    Receiver,
    Sender,
)
from ironpost.events import ActionEvent, AlertEvent
from ironpost.guard.audit import Audit
from ironpost.guard.engine import DockerEngine, Engine, EngineError, find_engine
from ironpost.guard.inventory import Inventory
from ironpost.guard.policies import Container, Policies, Policy, decide, load_policies
from ironpost.threads import in_thread

__all__ = ["ContainerGuard", "Retries"]

logger = logging.getLogger("ironpost.guard")


@define(frozen=True)
class Retries:
    """How an action is tried again when the engine fails.

    Attributes:
        attempts: how often it is tried at most; once only while the engine is known to be gone.
        seconds: how long all of it may take.
        first: seconds before the second attempt; doubled after each, up to ``longest``, and jittered.
    """

    attempts: int = field(default=5, validator=ge(1))
    seconds: float = field(default=10.0, validator=gt(0))
    first: float = field(default=0.1, validator=ge(0))
    longest: float = field(default=2.0, validator=ge(0))


@define
class ContainerGuard(Plugin):
    """Acts on containers as policies say, or only says so: a dry run is the default.

    Without an engine it goes on, and says so in its health. Every alert is counted once: ``acted``, ``no policy``, ``no
    container``, or ``done already`` within the pause. Every action is ``done``, ``dry-run``, ``failed`` or
    ``cut off`` by a stop that could not wait for it, and ``reported`` or, without a reader, ``unreported``.

    Args:
        policies: the TOML file with the policies.
        audit: the file that actions are recorded in. What cannot be recorded is not done.
        dry_run: whether actions are only said. To have them done, it has to be switched off.
        engine: the address of the engine; where it is usually, if empty.
        retries: what happens when the engine fails.
        pause: seconds in which the same is not done again to the same container.
        grace: seconds that the first alert waits for the first list of containers.

    Attributes:
        client: the engine; one that is set before the init is used instead of one at the address.
        rules: the policies in force, one value; each alert is judged by one.
        counts: of alerts and actions.
    """

    info = PluginInfo("container-guard", "0.1.0", "Acts on containers that alerts are about", PluginType.ENFORCER)
    deadlines: ClassVar = Deadlines(stop=60, grace=5)
    lifecycle = RELOADABLE

    alerts: Receiver[AlertEvent]
    actions: Sender[ActionEvent] | None
    policies: Path
    audit: Path
    dry_run: bool = True
    engine: str = ""
    retries: Retries = Factory(Retries)
    pause: float = field(default=300.0, validator=ge(0))
    grace: float = field(default=2.0, validator=ge(0))
    clock: Callable[[], float] = field(default=time.time, init=False)
    client: Engine | None = field(default=None, init=False)
    counts: Counter[str] = field(factory=Counter, init=False)
    rules: Policies = field(factory=Policies, init=False)
    _inventory: Inventory | None = field(default=None, init=False)
    _record: Audit | None = field(default=None, init=False)
    _unrecorded: str = field(default="", init=False)
    _refused: str = field(default="", init=False)
    _reading: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _done: dict[tuple[str, str], float] = field(factory=dict, init=False)

    async def on_init(self) -> None:
        """Read the policies, and open the audit file.

        Raises:
            ConfigError: the policies are wrong.
            AuditError: the audit file cannot be written.
        """
        await self.reload_policies()
        self._record = Audit(self.audit)
        await asyncio.to_thread(self._record.check)
        self.client = self.client or DockerEngine(self.engine or find_engine(), self.retries.seconds)
        self._inventory = Inventory(self.client)

    async def on_start(self) -> None:
        assert self._inventory is not None
        following = self.spawn(self._inventory.follow(), name="inventory")
        self.spawn(self._work(following))

    async def on_stop(self) -> None:
        # The hook runs before the workers are ended, and the engine is not closed under somebody who asks it.
        if working := self.workers:
            for worker in working:
                worker.cancel()
            await asyncio.wait(working)
        if self.client is not None:
            await self.client.close()

    async def on_reload(self) -> None:
        """Put what the file of policies says now in force. If there is anything wrong in it, that is told, and the
        policies stay."""
        try:
            await self.reload_policies()
        except ConfigError as error:
            logger.error("%s goes on with the policies it has: %s", self.info.name, error)

    async def on_health_check(self) -> HealthStatus:
        if self._unrecorded:
            return HealthStatus.unhealthy(f"the audit file cannot be written: {self._unrecorded}")
        if self._inventory is not None and not self._inventory.connected:
            return HealthStatus.degraded(f"no container engine: {self._inventory.trouble}")
        if self._refused:
            return HealthStatus.degraded(f"the policies are older than their file, which was refused: {self._refused}")
        return HealthStatus.healthy()

    async def reload_policies(self) -> Policies:
        """Read the file of policies again, put what is in it in force from the next alert on, and return it.

        An alert that is being acted on is finished as it was judged.

        Raises:
            ConfigError: the file cannot be read, or with everything that is wrong in it. The policies in force stay.
        """
        async with self._reading:  # so that what was read last is what counts
            try:
                rules = await in_thread(lambda _token: load_policies(self.policies))
            except ConfigError as error:
                self._refused = " ".join(str(error).split())
                raise
            self.rules, self._refused = rules, ""
            return rules

    @property
    def containers(self) -> list[Container]:
        """The containers that are known."""
        return self._inventory.containers if self._inventory is not None else []

    def account(self) -> dict[str, int]:
        """Return the counts of alerts and actions, and of the inventory."""
        counts = dict(self.counts)
        if self._inventory is not None:
            counts |= {f"inventory: {what}": count for what, count in self._inventory.counts.items()}
        return counts

    async def _work(self, following: asyncio.Task[None]) -> None:
        assert self._inventory is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(self.grace):
                await self._inventory.asked()
        async for alert in self.alerts:
            await self._handle(alert)
        if self.actions is not None:
            self.actions.close()
        following.cancel()  # no alert can come any more: the guard is idle

    async def _handle(self, alert: AlertEvent) -> None:
        assert self._inventory is not None
        self.counts["alerts"] += 1
        decision = decide(self.rules, alert, self._inventory.containers, complete=self._inventory.connected)
        if decision.reason:
            self.counts[decision.reason] += 1
            return
        due = [step for step in decision.steps if not self._is_done(*step)]
        self.counts["acted" if due else "done already"] += 1
        self.counts["actions paused"] += len(decision.steps) - len(due)
        left = len(due)
        try:
            for policy, container in due:
                event = await self._carry_out(alert, policy, container)
                left -= 1
                self.counts["actions"] += 1
                self.counts[event.outcome] += 1
                if event.outcome != "failed":
                    self._done[container.name, policy.action] = self.clock()
                await self._report(event)
        finally:
            self.counts["cut off"] += left

    async def _report(self, event: ActionEvent) -> None:
        """Send an event on. What protects the containers does not end because nobody reads about it any more."""
        reported = False
        try:
            if self.actions is not None:
                await self.actions.send(event)
                reported = True
        except ChannelClosed:
            pass
        finally:
            self.counts["reported" if reported else "unreported"] += 1

    def _is_done(self, policy: Policy, container: Container) -> bool:
        """Return whether it was done a moment ago, and forget what was done before that."""
        now = self.clock()
        for key in [key for key, at in self._done.items() if at <= now - self.pause]:
            del self._done[key]
        return (container.name, policy.action) in self._done

    async def _carry_out(self, alert: AlertEvent, policy: Policy, container: Container) -> ActionEvent:
        event = ActionEvent(
            source=self.info.name,
            time=self.clock(),
            trace=alert.trace,
            alert=alert.id,
            policy=policy.name,
            action=policy.action,
            container=container.name or container.id,
            dry_run=self.dry_run,
            outcome="dry-run" if self.dry_run else "intent",
            detail="" if container.id else "the engine cannot be asked whether there is such a container",
        )
        if self.dry_run:
            await self._write("dry-run", event)
            return event
        if not await self._write("intent", event):
            reason = f"nothing was done, since it cannot be recorded: {self._unrecorded}"
            return evolve(event, outcome="failed", detail=reason)
        try:
            event = evolve(event, outcome="done", detail=await self._act(policy, container))
        except EngineError as error:
            event = evolve(event, outcome="failed", detail=str(error))
        except asyncio.CancelledError:
            await self._write("outcome", evolve(event, outcome="failed", detail="cut off by the end of the guard"))
            raise
        await self._write("outcome", event)
        return event

    async def _write(self, phase: str, event: ActionEvent) -> bool:
        assert self._record is not None
        try:
            await self._record.write(phase, event)
        except OSError as error:
            self._unrecorded = error.strerror or str(error)
            self.counts["not recorded"] += 1
            return False
        self._unrecorded = ""
        return True

    async def _act(self, policy: Policy, container: Container) -> str:
        """Do it, again and again if need be, until it is done, or the attempts or the time are used up."""
        assert self.client is not None and self._inventory is not None
        limits = self.retries
        try:
            async with asyncio.timeout(limits.seconds):
                async for attempt in stamina.retry_context(
                    on=lambda error: isinstance(error, EngineError) and error.temporary,
                    attempts=limits.attempts if self._inventory.connected else 1,
                    timeout=None,
                    wait_initial=limits.first,
                    wait_max=limits.longest,
                    wait_jitter=limits.first,
                ):
                    with attempt:
                        self.counts["attempts"] += 1
                        return await self.client.act(container.id or container.name, policy.action)
        except TimeoutError:
            text = f"cannot {policy.action} {container.name}: not done within {limits.seconds:g} s"
            raise EngineError(text) from None
        raise AssertionError("a retry either returns or raises")
