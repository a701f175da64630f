"""The state of one run, and what every part of it uses."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import Factory, define, field

from fsm_plugins.diagrams import Step
from fsm_plugins.guard import describe
from fsm_plugins.plugin import Plugin
from fsm_plugins.verify.base.clock import RunLoop, Stuck
from fsm_plugins.verify.base.leaks import Process
from fsm_plugins.verify.base.script import Call, Script
from fsm_plugins.verify.base.targets import Rig, Subject
from fsm_plugins.verify.plugins import accounts
from fsm_plugins.verify.plugins.auditing import Blocked
from fsm_plugins.verify.plugins.observing import HookRun, Observer
from fsm_plugins.verify.plugins.outcomes import Done, Outcome, Trouble

__all__ = ["Invariant", "RunState", "turns"]

Invariant = Callable[[Plugin], object]


@define(eq=False)
class RunState:
    """The state of one run."""

    subject: Subject
    loop: RunLoop
    before: Process
    temporary: Path
    invariant: Invariant | None
    known: frozenset[str]
    on_call: Callable[[Script], None]
    done: list[Done] = Factory(list)
    troubles: list[Trouble] = Factory(list)
    steps: list[Step] = Factory(list)
    probed: set[tuple[str, str]] = Factory(set)
    ledger: accounts.Ledger = Factory(accounts.Ledger)
    state: str = ""
    current: str = ""
    seconds: float = 0.0
    met: frozenset[str] = frozenset()
    # While it lasts.
    rig: Rig | None = None
    observer: Observer | None = None
    drainers: list[asyncio.Task[None]] = field(factory=list)
    watches: contextlib.ExitStack = Factory(contextlib.ExitStack)
    stalled: bool = False  # nobody reads what the plugin sends
    locks: dict[str, int] = Factory(dict)
    blocked: Blocked = Factory(Blocked)
    ran: Counter[str] = Factory(Counter)
    hurt: bool = False  # a fault, or a declared failure, has happened

    def trouble(self, slug: str, what: str, hook: str, expected: str) -> None:
        """Take note of something that is wrong."""
        self.troubles.append(Trouble(slug, what, len(self.done), hook, expected))

    @property
    def plugin(self) -> Plugin:
        """The plugin of this run."""
        assert self.rig is not None
        return self.rig.plugin

    @property
    def _observer(self) -> Observer:
        assert self.observer is not None
        return self.observer

    @property
    def _initial(self) -> str:
        return self.done[0].source if self.done else self.state

    def outcome(self, script: Script) -> Outcome:
        """Return what came of it."""
        return Outcome(
            script,
            tuple(self.done),
            self.state,
            tuple(self.troubles),
            tuple(self.steps),
            frozenset(self.probed),
            self.met,
            self.seconds,
            self.ledger,
        )

    async def _awaited(self, call: Any) -> BaseException | None:
        """Await a call, and return what it raised. A cancellation that reached it has ended with it."""
        task = asyncio.current_task()
        assert task is not None
        error: BaseException | None = None
        try:
            await call
        except (KeyboardInterrupt, GeneratorExit, Stuck):
            raise
        except BaseException as raised:
            error = raised
        while task.cancelling():
            task.uncancel()
        return error

    def _note(self, call: Call, source: str, run: HookRun | None) -> None:
        kinds = tuple(point.kinds for point in run.awaits) if run is not None else ()
        text = call.name
        if call.fault is not None and run is not None and run.fired:
            told = {"cancel": "CancelledError", "raise": "exception", "timeout": "deadline"}[call.fault.kind]
            text = f"{call.name}[{told} at await {call.fault.at}, {run.place}]"
        self.done.append(Done(call, str(source), str(self.plugin.state), text, kinds))

    def _check_invariant(self) -> None:
        """Look at what has to hold after every call: nothing blocked, and what the caller says."""
        if self.blocked.calls and not self.troubles:
            what = f"{self.blocked.calls[0]}, blocks the event loop"
            self.trouble("blocking-call", what, self.current, "something that waits without blocking")
        self.blocked.calls.clear()
        if self.invariant is None or self.troubles:
            return
        name = getattr(self.invariant, "__name__", "the invariant")
        try:
            held = self.invariant(self.plugin)
        except Exception as error:
            self.trouble("invariant-broken", f"{name} raised {describe(error)}", name, f"{name} holds after every call")
            return
        if held is not None and not held:
            self.trouble("invariant-broken", f"{name} does not hold", name, f"{name} holds after every call")


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
