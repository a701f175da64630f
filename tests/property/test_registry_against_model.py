"""A registry under random calls, faults, cancellations and clients, held against an independent model at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fsm_plugins import AlreadyRegistered, InvalidState, NotFound, PluginRegistry, RegistryBusy, TransitionEvent
from fsm_plugins.diagrams import Recorder
from fsm_plugins.testing import VirtualClockLoop
from tests.property import model
from tests.property.scripted import Boom, Scripted, failure_of, outcome_of
from tests.property.strategies import delays, hooks, names


@dataclass(eq=False)
class Client:
    """A task that made one call, and what the model says of it."""

    task: asyncio.Task[None]
    cancel: Callable[[], None]
    expected: model.Outcome | None = None

    def report(self, outcome: model.Outcome) -> None:
        if self.expected is None:  # a client that was cancelled hears no more
            self.expected = outcome


@dataclass(eq=False)
class Worker:
    """A worker that crashes on request."""

    ours: model.Plugin
    task: asyncio.Task[None]
    crash: asyncio.Event
    cause: str


class RegistryAgainstModel(RuleBasedStateMachine):
    """Each rule does one thing to the registry and to the model; then the two are compared.

    Attributes:
        recorder: is told of every transition and refusal; what draws the coverage of these tests sets it.
    """

    recorder: ClassVar[Recorder | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.loop = self.runner.get_loop()
        self.registry = PluginRegistry()
        self.world = model.World()
        self.plugins: list[tuple[Scripted, model.Plugin]] = []
        self.workers: list[Worker] = []
        self.clients: list[Client] = []
        self.events: list[tuple[str, str, str, str]] = []
        self.causes = 0
        self.registry.subscribe(self._on_event)
        if self.recorder is not None:
            self.registry.subscribe(self.recorder)

    def teardown(self) -> None:
        self.loop.set_exception_handler(lambda _loop, _context: None)
        self.runner.close()

    def _on_event(self, event: TransitionEvent) -> None:
        self.events.append((event.plugin, event.trigger, event.source, event.dest))
        if len(self.events) % 3 == 0:
            raise Boom("a listener that breaks")

    # Two clients and a watchdog may be at it at the same time.

    def _call(self, work: Coroutine[object, object, None]) -> Client:
        client = Client(self.loop.create_task(work), lambda: None)
        self.clients.append(client)
        self._settle()
        return client

    def _note_refusal(self, client: Client, trigger: str) -> None:
        if self.recorder is not None and client.task.done() and not client.task.cancelled():
            refused = client.task.exception()
            if isinstance(refused, InvalidState) and refused.in_flight is None:
                self.recorder.refused(refused.name, trigger, refused.current)

    def _settle(self, seconds: float = 0.0) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            for _ in range(40):
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    def _idle(self) -> bool:
        return sum(client.expected is None for client in self.clients) < 3

    def _cause(self, what: str) -> str:
        self.causes += 1
        return f"{what} {self.causes}"

    # Registration.

    @rule(name=names, behaviours=hooks)
    def register(self, name: str, behaviours: dict[str, str]) -> None:
        real, ours = Scripted(behaviours, name=name), model.Plugin(name, behaviours)
        try:
            self.registry.register(real)
        except AlreadyRegistered:
            assert name in self.world.plugins
        except RegistryBusy:
            assert self.world.walk is not None
        else:
            assert name not in self.world.plugins
            assert self.world.walk is None
            self.world.plugins[name] = ours
            self.world.everybody.append(ours)
            self.plugins.append((real, ours))

    @rule(name=names)
    def unregister(self, name: str) -> None:
        try:
            real = self.registry.unregister(name)
        except NotFound:
            assert name not in self.world.plugins
        except RegistryBusy:
            assert self.world.walk is not None
        else:
            assert self.world.walk is None
            ours = self.world.plugins.pop(name)
            assert (real, ours) in self.plugins

    # Calls of one plugin.

    @precondition(lambda self: self.plugins and self._idle())
    @rule(data=st.data(), trigger=st.sampled_from(["init", "start", "stop"]))
    def call(self, data: st.DataObject, trigger: str) -> None:
        real, ours = data.draw(st.sampled_from(self.plugins), label="plugin")
        client = self._call(real.fire(trigger))
        self._note_refusal(client, trigger)
        call = self.world.begin(ours, trigger, client.report)
        if call is not None:
            client.cancel = lambda: self.world.tell(call, cancelled=True)

    @precondition(lambda self: self.plugins)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        real, ours = data.draw(st.sampled_from(self.plugins), label="plugin")
        cause = self._cause("watchdog")
        client = self._call(real.fail(Boom(cause)))
        self._note_refusal(client, "fail")
        client.cancel = lambda: client.report(("cancelled",))
        self.world.fail(ours, cause, client.report)

    @precondition(lambda self: self.plugins)
    @rule(data=st.data())
    def health_check(self, data: st.DataObject) -> None:
        real, ours = data.draw(st.sampled_from(self.plugins), label="plugin")
        status = self.loop.run_until_complete(real.health_check())
        assert status.is_unhealthy == (ours.state == "failed")
        assert status.is_healthy == (ours.state == "running" and ours.call is None)

    # Workers.

    @precondition(lambda self: self.plugins)
    @rule(data=st.data())
    def spawn(self, data: st.DataObject) -> None:
        real, ours = data.draw(st.sampled_from(self.plugins), label="plugin")
        crash, cause = asyncio.Event(), self._cause("worker")

        async def work() -> None:
            await crash.wait()
            raise Boom(cause)

        async def spawn() -> None:
            self.workers.append(Worker(ours, real.spawn(work(), name=cause), crash, cause))

        try:
            self.loop.run_until_complete(spawn())
        except InvalidState:
            assert ours.call is None
            assert ours.state in ("created", "stopped", "failed")
        else:
            assert ours.call is not None or ours.state not in ("created", "stopped", "failed")
            ours.workers += 1
            self._settle()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        worker = self.workers.pop(data.draw(st.integers(0, len(self.workers) - 1), label="worker"))
        alive = not worker.task.done()
        worker.crash.set()
        self._settle()
        if alive:
            self.world.crash(worker.ours, worker.cause)

    # Bulk calls.

    @precondition(lambda self: self._idle())
    @rule(kind=st.sampled_from(["init", "start"]))
    def start_all(self, kind: str) -> None:
        client = self._call(self.registry.init_all() if kind == "init" else self.registry.start_all())
        walk = self.world.start_walk(kind, client.report)
        if walk is not None:

            def cancel() -> None:
                call = walk.order[walk.index].call
                assert call is not None
                self.world.tell(call, cancelled=True)

            client.cancel = cancel

    @precondition(lambda self: self._idle())
    @rule()
    def stop_all(self) -> None:
        client = self._call(self.registry.stop_all())
        walk = self.world.stop_all(client.report)
        client.cancel = lambda: self.world.cancel_stop(walk)

    # Time and cancellation.

    @rule(seconds=delays)
    def wait(self, seconds: float) -> None:
        self._settle(seconds)
        self.world.advance(seconds)

    @precondition(lambda self: any(client.expected is None for client in self.clients))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from([c for c in self.clients if c.expected is None]), label="client")
        client.task.cancel()
        self._settle()
        client.cancel()

    # What must agree after every step.

    @invariant()
    def agree(self) -> None:
        # A moment, so that no two rules act at the same instant, and no two deadlines pass at the same instant.
        self.world.settle()
        self._settle(0.001)
        self.world.advance(0.001)
        self.plugins_agree()
        self.registries_agree()
        self.clients_agree()

    def plugins_agree(self) -> None:
        for real, ours in self.plugins:
            assert real.state == ours.state
            assert failure_of(real.failure) == ours.failure
            assert real._guard.in_flight == (ours.call.trigger if ours.call else None)
            assert real.attempts == ours.attempts
            assert real.most_hooks_at_once <= 1
            assert len(real._guard.workers) == ours.workers

    def registries_agree(self) -> None:
        assert [info.name for info in self.registry.list()] == list(self.world.plugins)
        assert self.registry.count() == len(self.registry) == len(self.world.plugins)
        assert self.events == self.world.events

    def clients_agree(self) -> None:
        for client in self.clients:
            outcome = outcome_of(client.task) if client.task.done() else None
            expected = client.expected
            if expected is not None and expected[0] == "cancelled":
                expected = ("cancelled",)  # a caller cannot see that a hook cancelled itself
            assert outcome == expected


RegistryAgainstModel.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestRegistryAgainstModel = RegistryAgainstModel.TestCase
