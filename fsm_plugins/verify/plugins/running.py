"""One run: a fresh plugin on a fresh loop goes through a script, is brought to rest, and what it left is looked for.

What comes out depends on the script, the plugin and its settings, and on nothing else: time is virtual, garbage is
collected at one place, and everything that is told is text, so that nothing of a run lives on in what is said of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import evolve

from fsm_plugins.channels import Receiver
from fsm_plugins.diagrams import Step
from fsm_plugins.errors import ChannelClosed, ChannelError, ConfigError, InvalidState
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import FAIL, START, STOP, Lifecycle, TransitionEvent
from fsm_plugins.verify.base.clock import PACE, RunLoop, Stuck
from fsm_plugins.verify.base.leaks import Process, held_locks
from fsm_plugins.verify.base.script import END, FEED, HEALTH, NEW, STALL, WORK, Call, Script
from fsm_plugins.verify.base.targets import CannotVerify, Rig, Subject, explain
from fsm_plugins.verify.plugins import accounts
from fsm_plugins.verify.plugins.aftermath import Aftermath
from fsm_plugins.verify.plugins.auditing import watching
from fsm_plugins.verify.plugins.judging import shape_of
from fsm_plugins.verify.plugins.observing import observed
from fsm_plugins.verify.plugins.outcomes import DeclaredFailed, Done, Outcome, Trouble
from fsm_plugins.verify.plugins.run_state import Invariant, turns

__all__ = ["Done", "Invariant", "Outcome", "Trouble", "lifecycle_of", "run_script", "temporary_files"]

_WORK_SECONDS: Final = 2.0


def run_script(
    subject: Subject,
    script: Script,
    *,
    pace: float = PACE,
    invariant: Invariant | None = None,
    again: bool = False,
    known: frozenset[str] = frozenset(),
    temporary: Path | None = None,
    on_call: Callable[[Script], None] | None = None,
) -> Outcome:
    """Run ``script`` on a fresh plugin.

    Args:
        subject: the plugin.
        script: what is done to it. Calls that are illegal in the table are made, too, and have to be refused.
        pace: of the clock, see `RunLoop`.
        invariant: is asked after each call; it returns False, or raises, if it does not hold.
        again: whether to start and stop the plugin once more after the script, if its lifecycle lets it.
        known: checks that it is known to break, for which no real time is spent any more.
        temporary: the directory of `temporary_files`, where many runs share one.
        on_call: is told the calls so far before each one, it included; and of none as the run begins.

    Raises:
        CannotVerify: the plugin cannot be made.
        KeyboardInterrupt: it was pressed.
    """
    with contextlib.ExitStack() as own, warnings.catch_warnings(record=True) as warned:
        temporary = temporary or own.enter_context(temporary_files())
        warnings.simplefilter("always")
        collects = gc.isenabled()
        gc.disable()
        loop = RunLoop(pace)
        before = Process.now()
        loop.known_threads(before.threads)
        run = _Run(subject, loop, before, temporary, invariant, known, on_call or _nobody)
        try:
            asyncio.set_event_loop(loop)
            try:
                loop.run_until_complete(run.main(script, again))
            except Stuck:
                run.trouble("hook-hangs", "nothing can ever happen any more", run.current, "the call comes to an end")
            run.end()
            if run.troubles:
                before.end_children()
            _end_tasks(loop)
        finally:
            run.forget()
            asyncio.set_event_loop(None)
            gc.collect()
            loop.close()
            if run.troubles:
                gc.collect()  # what only the loop still knew of
            before.restore()
            _empty(temporary)
            if collects:
                gc.enable()
        run.tell_garbage(str(warning.message) for warning in warned)
        return run.outcome(script)


def lifecycle_of(subject: Subject) -> Lifecycle:
    """Return the lifecycle that the plugins of ``subject`` have.

    Raises:
        CannotVerify: the plugin cannot be made.
    """

    async def main() -> Lifecycle:
        return _built(subject, loop).plugin.lifecycle

    loop = RunLoop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def _built(subject: Subject, loop: RunLoop) -> Rig:
    try:
        return subject.build(loop.time)
    except ConfigError as error:
        raise CannotVerify(f"{subject.name} cannot be made: {explain(error)}") from error
    except SystemExit as error:
        raise CannotVerify(f"{subject.name} cannot be made: it raised {describe(error)}") from error


def _end_tasks(loop: RunLoop) -> None:
    """End what a faulty plugin left, so that the next run begins clean."""
    with contextlib.suppress(Stuck):
        for _ in range(3):
            loop.run_until_complete(asyncio.sleep(0))
            tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
            if not tasks:
                continue
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=0.01))
    with contextlib.suppress(Stuck, RuntimeError):
        loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), 1.0))


@contextlib.contextmanager
def temporary_files() -> Iterator[Path]:
    """Let temporary files be made where they can be counted, for as long as the block lasts."""
    before = tempfile.tempdir
    directory = tempfile.mkdtemp(prefix="fsm-")
    tempfile.tempdir = directory
    try:
        yield Path(directory)
    finally:
        tempfile.tempdir = before
        shutil.rmtree(directory, ignore_errors=True)


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class _Run(Aftermath):
    """One run, step by step."""

    __slots__ = ()

    async def main(self, script: Script, again: bool) -> None:
        """Do it."""
        with watching() as self.blocked:
            self.on_call(())
            self._begin()
            try:
                self._check_invariant()
                for call in script:
                    if not await self._make(call):
                        break
                else:
                    await self._probe()
                if self.rig is None:
                    return  # there is no plugin any more
                self.state = str(self.plugin.state)
                if self.plugin.state != self.plugin.lifecycle.initial:
                    await self._come_to_rest()
                    if again and not self.troubles:
                        await self._once_more()
                    await self._look_for_leaks()
                    await self._settle_accounts()
            finally:
                self._leave()

    def _begin(self) -> None:
        """Make the plugin, and begin to watch it."""
        self.rig = _built(self.subject, self.loop)
        self.locks = held_locks(self.plugin)
        self.rig.registry.subscribe(self._heard)
        if not self.stalled:
            self.drainers = [asyncio.create_task(self._drain(sink)) for sink in self.rig.sinks.values()]
        self.observer = self.watches.enter_context(observed(self.plugin))

    def _leave(self) -> None:
        """Watch the plugin no longer."""
        self.watches.close()
        for drainer in self.drainers:
            drainer.cancel()

    def end(self) -> None:
        """Keep what is to be kept as text."""
        self.seconds = self.loop.time()
        self.met = self.loop.met

    def forget(self) -> None:
        """Let go of the plugin, so that what it holds can be collected."""
        self.rig = self.observer = None
        self.drainers.clear()

    def _heard(self, event: TransitionEvent) -> None:
        if event.plugin == self.plugin.info.name:
            cause = None if event.cause is None else describe(event.cause)
            self.steps.append(
                Step(event.plugin, event.trigger, str(event.source), str(event.dest), event.at, event.duration, cause)
            )

    async def _make(self, call: Call) -> bool:
        """Make one call of the script. Returns whether the script can go on."""
        self._announce(call)
        match call.name:
            case "work":
                return await self._work(call)
            case "feed":
                return await self._feed(call)
            case "end":
                return await self._end_inputs(call)
            case "stall":
                return await self._stall(call)
            case "health":
                return await self._ask(call)
            case "new":
                return await self._replace(call)
            case _:
                return await self._fire(call)

    def _announce(self, call: Call) -> None:
        self.on_call((*(done.call for done in self.done), call))

    async def _fire(self, call: Call) -> bool:
        """Fire a trigger, and judge what comes of it."""
        plugin, observer = self.plugin, self._observer
        trigger, source = call.name, plugin.state
        move = plugin.lifecycle.machine.moves[source].get(trigger)
        self.current = trigger
        observer.fault = call.fault
        runs = len(observer.runs)
        held = shape_of(plugin)
        error = await self._awaited(self._firing(trigger))
        run = observer.runs[runs] if len(observer.runs) > runs else None
        observer.fault = None
        self._note(call, source, run)
        if move is None:
            return self._refused(trigger, source, error, run, held)
        if isinstance(error, InvalidState) and move.stock and plugin.state == source:
            self._refused(trigger, source, error, run, held)
            self.done[-1] = Done(call, str(source), str(source), f"{call.name}: refused", (), refused=True)
            return False  # the conditions of the machine had their say
        fired = run is not None and run.fired
        before = len(self.troubles)
        if call.fault is not None and not fired:
            pass  # the hook has no such await; the call counts as one without a fault
        self._judge(trigger, run, error, fired, call)
        self.ran[trigger] += 1
        self.hurt = self.hurt or fired or trigger == FAIL
        if len(self.troubles) == before and error is None and plugin.state != move.dest:
            self.trouble(
                "worker-crashes" if plugin.failure is not None else "not-at-rest",
                f"it is {plugin.state} right after {trigger}"
                + (f": {describe(plugin.failure)}" if plugin.failure is not None else ""),
                trigger,
                f"{trigger} leads to {move.dest}",
            )
        self._check_invariant()
        return len(self.troubles) == before

    async def _firing(self, trigger: str) -> None:
        if trigger == FAIL:
            await self.plugin.fail(DeclaredFailed("declared failed by the verifier"))
        else:
            await self.plugin.fire(trigger)

    async def _work(self, call: Call) -> bool:
        """Let messages come in and time pass."""
        source = self.plugin.state
        self.current = WORK
        self._send()
        error = await self._awaited(asyncio.sleep(_WORK_SECONDS))
        return self._worked(call, source, error)

    async def _feed(self, call: Call) -> bool:
        source = self.plugin.state
        self.current = FEED
        self._send()
        error = await self._awaited(turns(3))
        return self._worked(call, source, error)

    async def _end_inputs(self, call: Call) -> bool:
        source = self.plugin.state
        self.current = END
        assert self.rig is not None
        for sender in self.rig.sources.values():
            sender.close()
        self.ledger.ended = True
        error = await self._awaited(turns(1))
        return self._worked(call, source, error)

    async def _stall(self, call: Call) -> bool:
        source = self.plugin.state
        self.current = STALL
        self.stalled = True
        for drainer in self.drainers:
            drainer.cancel()
        error = await self._awaited(turns(1))
        return self._worked(call, source, error)

    async def _replace(self, call: Call) -> bool:
        """Throw the plugin away, and make another one."""
        source = self.plugin.state
        self.current = NEW
        self._leave()
        self.forget()
        await turns(1)
        self.ran.clear()
        self.hurt = False
        self.done.append(Done(call, source, source, "a new plugin", ()))
        try:
            self._begin()
        except CannotVerify as error:
            expected = "it can be made as often as one likes"
            self.trouble("second-run-fails", f"the second plugin in the same process: {error}", "constructor", expected)
            return False
        self.done[-1] = evolve(self.done[-1], dest=str(self.plugin.state))
        return True

    def _worked(self, call: Call, source: str, error: BaseException | None) -> bool:
        plugin = self.plugin
        self._note(call, source, None)
        if error is not None:
            self.trouble("caller-cancelled", f"its caller got {describe(error)}", call.name, "it works on")
        elif plugin.state != source:
            failure = describe(plugin.failure) if plugin.failure is not None else "for no cause"
            self.trouble("worker-crashes", f"it is {plugin.state}: {failure}", "worker", f"it stays {source}")
        self._check_invariant()
        return not self.troubles

    def _send(self) -> None:
        assert self.rig is not None
        samples, _ = self.subject.samples()
        for port, messages in samples.items():
            sender = self.rig.sources[port]
            for message in messages:
                with contextlib.suppress(ChannelError):  # full, or closed by the plugin
                    sender.try_send(message)
                    self.ledger.fed.append(accounts.mark(message))

    async def _drain(self, sink: Receiver[object]) -> None:
        """Take what the plugin sends, at a pace that lets the clock go on."""
        with contextlib.suppress(ChannelClosed):
            while True:
                self._received(await sink.recv_many(sink.capacity))
                await asyncio.sleep(0.05)

    async def _ask(self, call: Call) -> bool:
        """Ask for the plugin's health, and judge the answer."""
        plugin, observer = self.plugin, self._observer
        source = plugin.state
        self.current = HEALTH
        observer.fault = call.fault
        runs = len(observer.runs)
        error = await self._awaited(plugin.health_check())
        observer.fault = None
        run = observer.runs[runs] if len(observer.runs) > runs else None
        self._note(call, source, run)
        hook = "on_health_check"
        fired = run is not None and run.fired
        self.hurt = self.hurt or fired
        if plugin.state != source:
            self.trouble("health-check-changes-state", f"{hook} left it {plugin.state}", hook, f"it stays {source}")
        elif run is not None and run.outcome in ("closed", "running") and fired:
            self.trouble(
                "cancellation-swallowed", f"{hook} ignored its cancellation", hook, "it lets CancelledError out"
            )
        elif not fired and run is not None:
            self._judge_health(run, error, hook)
        return not self.troubles

    async def _probe(self) -> None:
        """Make every call that is illegal here."""
        plugin = self.plugin
        if self.troubles:
            return
        state = plugin.state
        for trigger in plugin.lifecycle.machine.events:
            if trigger in plugin.lifecycle.machine.moves[state]:
                continue
            runs = len(self._observer.runs)
            held = shape_of(plugin)
            error = await self._awaited(self._firing(trigger))
            self.probed.add((str(state), trigger))
            self.steps.append(Step(plugin.info.name, trigger, str(state), None, self.loop.time()))
            run = self._observer.runs[runs] if len(self._observer.runs) > runs else None
            self._note(Call(trigger), state, None)
            if not self._refused(trigger, state, error, run, held):
                return
            self.done.pop()
        self._check_invariant()

    async def _come_to_rest(self) -> None:
        """Stop the plugin, as its owner would: twice if the first stop fails, by way of ``fail`` if it has to be."""
        plugin = self.plugin
        moves = plugin.lifecycle.machine.moves
        rest = plugin.lifecycle.rest
        for _ in range(4):
            if plugin.state in rest:
                return
            known = bool(self.troubles)
            if STOP in moves[plugin.state]:
                went = await self._make(Call(STOP))
            elif FAIL in moves[plugin.state]:
                went = await self._make(Call(FAIL))
            else:
                break
            if not went and known:
                break
        if plugin.state not in rest and not self.troubles:
            self.trouble("not-at-rest", f"it is still {plugin.state}", "on_stop", "stop brings every plugin to rest")

    async def _once_more(self) -> None:
        """Start and stop the plugin again, if its lifecycle has a way from rest."""
        plugin = self.plugin
        if plugin.state in plugin.lifecycle.rest and START in plugin.lifecycle.machine.moves[plugin.state]:
            await self._make(Call(START))
            await self._come_to_rest()


def _nobody(_calls: Script) -> None:
    """Take no note."""
