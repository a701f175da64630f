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
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from attrs import Factory, define, evolve, field, frozen

from fsm_plugins.channels import Receiver, Sender
from fsm_plugins.diagrams import Step
from fsm_plugins.errors import ChannelClosed, ChannelError, ConfigError, DeadlineExceeded, HookFailed, InvalidState
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import FAIL, START, STOP, Lifecycle, TransitionEvent
from fsm_plugins.plugin import Plugin
from fsm_plugins.verify import accounts
from fsm_plugins.verify.auditing import Blocked, watching
from fsm_plugins.verify.clock import PACE, RunLoop, Stuck
from fsm_plugins.verify.leaks import Leak, Process, attributes, found, held_locks, of_warning
from fsm_plugins.verify.observing import HookRun, InjectedFault, Observer, observed
from fsm_plugins.verify.script import END, FEED, HEALTH, NEW, STALL, WORK, Call, Script
from fsm_plugins.verify.subject import CannotVerify, Rig, Subject, explain

__all__ = ["Done", "Outcome", "Trouble", "lifecycle_of", "run_script", "temporary_files"]

Invariant = Callable[[Plugin], object]

_WORK_SECONDS: Final = 2.0
_SETTLE_TURNS: Final = 8
_GRACE: Final = 1.0  # seconds of the clock, for tasks that were cancelled
_REAL_PATIENCE: Final = 0.6  # real seconds, for what threads, processes and sockets take to end


class DeclaredFailed(Exception):
    """The cause that the verifier gives to ``fail``."""


@frozen
class Trouble:
    """Something that went wrong in a run.

    Attributes:
        slug: the check it breaks.
        what: what was seen, in words.
        at: after how many of the calls that were made.
        hook: the hook, or the call, that it is about.
        expected: what should have been.
    """

    slug: str
    what: str
    at: int
    hook: str
    expected: str


@frozen
class Done:
    """A call that was made.

    Attributes:
        call: what was called.
        source, dest: the states before and after.
        text: how a trace shows it.
        kinds: for each await of its hook, the faults that may happen there.
        refused: whether the machine refused it.
    """

    call: Call
    source: str
    dest: str
    text: str
    kinds: tuple[tuple[str, ...], ...]
    refused: bool = False


@frozen
class Outcome:
    """What became of a script.

    Attributes:
        script: the calls that were to be made.
        done: those that were made, with those that brought the plugin to rest.
        state: where the plugin was after the script, before it was brought to rest.
        troubles: what went wrong.
        steps: the transitions and refusals.
        probed: the illegal calls that were tried, as (state, trigger).
        met: the kinds of real things that were waited for.
        seconds: of the clock, for all of it.
        ledger: what became of messages.
    """

    script: Script
    done: tuple[Done, ...]
    state: str
    troubles: tuple[Trouble, ...]
    steps: tuple[Step, ...]
    probed: frozenset[tuple[str, str]]
    met: frozenset[str]
    seconds: float
    ledger: accounts.Ledger

    @property
    def complete(self) -> bool:
        """Whether every call of the script did what the table says, or failed because of its fault."""
        return len(self.done) >= len(self.script) and not self.troubles


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


@define(eq=False)
class _Run:
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
    errors: list[str] = Factory(list)
    dropped: list[str] = Factory(list)
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

    # The whole.

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

    def trouble(self, slug: str, what: str, hook: str, expected: str) -> None:
        """Take note of something that is wrong."""
        self.troubles.append(Trouble(slug, what, len(self.done), hook, expected))

    @property
    def plugin(self) -> Plugin:
        """The plugin of this run."""
        assert self.rig is not None
        return self.rig.plugin

    def _heard(self, event: TransitionEvent) -> None:
        if event.plugin == self.plugin.info.name:
            cause = None if event.cause is None else describe(event.cause)
            self.steps.append(
                Step(event.plugin, event.trigger, str(event.source), str(event.dest), event.at, event.duration, cause)
            )

    # Calls.

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
        held = _shape(plugin)
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

    def _judge(self, trigger: str, run: HookRun | None, error: BaseException | None, fired: bool, call: Call) -> None:
        """Find out whether a legal call went as it should."""
        hook = f"on_{trigger}"
        to_rest = self.plugin.lifecycle.dest(trigger, self.done[-1].source) in self.plugin.lifecycle.rest
        place = f", {run.awaits[-1].place}" if run is not None and run.awaits else ""
        if run is not None and run.outcome == "not awaitable":
            self.trouble("hook-signature", f"{hook} is not asynchronous", hook, f"async def {hook}(self)")
            return
        if fired and (run is None or run.outcome in ("closed", "running")):
            self.trouble(
                "cancellation-swallowed",
                f"{hook} went on for longer than the grace period after it was told to end{place}",
                hook,
                "it lets CancelledError out, after a short clean-up",
            )
            return
        abandoned = isinstance(error, DeadlineExceeded) and error.abandoned and "worker " in error.where
        if abandoned:
            assert isinstance(error, DeadlineExceeded)
            self.trouble(
                "cancellation-swallowed",
                f"a worker ignored its cancellation: {error.where}",
                error.where.partition("(worker ")[2].rstrip(")") or hook,
                "a worker ends when it is cancelled",
            )
            return
        if fired and run is not None and call.fault is not None:
            if call.fault.kind != "raise" and run.outcome == "returned" and not to_rest:
                self.trouble(
                    "cancellation-swallowed",
                    f"{hook} was told to end at await {call.fault.at}, {run.place}, and returned all the same",
                    hook,
                    "it lets CancelledError out",
                )
            return  # whatever else it raised is because of the fault
        if error is None:
            return
        text = describe(error.__cause__ or error) if isinstance(error, HookFailed) else describe(error)
        if isinstance(error, DeadlineExceeded):
            if self.stalled and "inputs" in error.where:
                return  # it cannot deal with them while nobody reads what it sends
            waited = f": {error.where}" if "inputs" in error.where else place
            what = f"{hook} was not done within {error.seconds:g} s{waited}"
            self._failing(trigger, to_rest, "hook-hangs", what, "it ends before its deadline")
            return
        if isinstance(error, SystemExit):
            self.trouble("ends-process", f"{hook} raised {text}", hook, "a plugin does not end the process it runs in")
            return
        own = run is not None and run.outcome == "raised"
        if self.stalled:
            return  # it is not wrong to give up on a consumer that has gone
        if not own and isinstance(error, HookFailed):
            self.trouble("worker-crashes", f"a worker raised {text}", "worker", "workers end without an exception")
            return
        cause = error.__cause__ if isinstance(error, HookFailed) else error
        if to_rest and _is_release(cause):
            self.trouble("double-release", f"{hook} raised {text}", hook, "what was released is not released again")
            return
        self._failing(trigger, to_rest, "hook-raises", f"{hook} raised {text}", "it raises nothing")

    def _failing(self, trigger: str, to_rest: bool, slug: str, what: str, expected: str) -> None:
        hook = f"on_{trigger}"
        if any(trouble.hook == hook for trouble in self.troubles):
            return  # a second stop that fails as the first one did says nothing new
        if to_rest and self.ran[trigger] and self.hurt:
            slug = "double-release" if slug == "hook-raises" else slug
            expected = "on_stop can be run again after it failed"
        elif to_rest and self.hurt:
            slug = "stop-after-fault-fails"
            expected = "on_stop releases what there is, however far the plugin has come"
        elif trigger != STOP and self.ran[trigger]:
            slug = "second-run-fails"
            expected = f"the second {trigger} of the same plugin is as good as the first"
        self.trouble(slug, what, hook, expected)

    def _refused(
        self, trigger: str, source: str, error: BaseException | None, run: HookRun | None, held: dict[str, object]
    ) -> bool:
        """Judge a call that had to be refused. Returns whether it was, and changed nothing."""
        plugin = self.plugin
        what = f"the illegal call {trigger} in {source}"
        changed = sorted(name for name, value in _shape(plugin).items() if held.get(name) != value)
        if plugin.state != source:
            what += f" led to {plugin.state}"
        elif run is not None:
            what += f" ran {run.hook}"
        elif not isinstance(error, InvalidState):
            what += " was let pass" if error is None else f" raised {describe(error)}"
        elif changed:
            what += f" changed {', '.join(changed)}"
        else:
            return True
        self.trouble("illegal-call-has-effect", what, trigger, "InvalidState, and nothing changes")
        return False

    # What is no call of the lifecycle.

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
        error = await self._awaited(_turns(3))
        return self._worked(call, source, error)

    async def _end_inputs(self, call: Call) -> bool:
        source = self.plugin.state
        self.current = END
        assert self.rig is not None
        for sender in self.rig.sources.values():
            sender.close()
        self.ledger.ended = True
        error = await self._awaited(_turns(1))
        return self._worked(call, source, error)

    async def _stall(self, call: Call) -> bool:
        source = self.plugin.state
        self.current = STALL
        self.stalled = True
        for drainer in self.drainers:
            drainer.cancel()
        error = await self._awaited(_turns(1))
        return self._worked(call, source, error)

    async def _replace(self, call: Call) -> bool:
        """Throw the plugin away, and make another one."""
        source = self.plugin.state
        self.current = NEW
        self._leave()
        self.forget()
        await _turns(1)
        self.ran.clear()
        self.hurt = False
        self._begin()
        self._note(call, source, None)
        self.done[-1] = evolve(self.done[-1], text="a new plugin")
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

    def _judge_health(self, run: HookRun, error: BaseException | None, hook: str) -> None:
        place = f", {run.awaits[-1].place}" if run.awaits else ""
        if run.outcome == "not awaitable":
            self.trouble("hook-signature", f"{hook} is not asynchronous", hook, f"async def {hook}(self)")
        elif run.outcome == "closed" or isinstance(run.error, asyncio.CancelledError):
            seconds = self.plugin.deadlines.health
            self.trouble("hook-hangs", f"{hook} gave no answer within {seconds:g} s{place}", hook, "it answers in time")
        elif run.outcome == "raised":
            assert run.error is not None
            self.trouble(
                "health-check-raises", f"{hook} raised {describe(run.error)}", hook, "it returns a HealthStatus"
            )
        elif error is not None:
            self.trouble("health-check-raises", f"its caller got {describe(error)}", hook, "it returns a HealthStatus")

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
            held = _shape(plugin)
            error = await self._awaited(self._firing(trigger))
            self.probed.add((str(state), trigger))
            self.steps.append(Step(plugin.info.name, trigger, str(state), None, self.loop.time()))
            run = self._observer.runs[runs] if len(self._observer.runs) > runs else None
            self._note(Call(trigger), state, None)
            if not self._refused(trigger, state, error, run, held):
                return
            self.done.pop()
        self._check_invariant()

    # Rest.

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

    async def _look_for_leaks(self) -> None:
        """Tell what the plugin left, after everything that is just ending has had the time for it."""
        leaks: list[Leak] = []
        await _turns(_SETTLE_TURNS)
        self.blocked.thread = 0  # from here on it is this module that waits
        for attempt in range(3):
            leaks = self._leaks()
            if not leaks:
                return
            if attempt == 0:
                gc.collect()  # what nobody holds any more closes itself; that it had to is told all the same
                if any(task.cancelling() for task in self._tasks()):
                    await asyncio.sleep(_GRACE)
            elif attempt == 1 and any(self._may_yet_end(leak) for leak in leaks):
                leaks = await self._after_a_while()
        self._tell(leaks)

    async def _after_a_while(self) -> list[Leak]:
        for _ in range(12):
            time.sleep(_REAL_PATIENCE / 12)  # noqa: ASYNC251 - what is waited for is outside of the loop
            await _turns(4)
            leaks = self._leaks()
            if not any(self._may_yet_end(leak) for leak in leaks):
                break
        return leaks

    def _may_yet_end(self, leak: Leak) -> bool:
        """Whether real time may show that it is no leak; not if it has shown before that it is."""
        return (leak.slug in _SLOW or bool(self.loop.met)) and leak.slug not in self.known

    async def _settle_accounts(self) -> None:
        """Take note of where the messages are now."""
        assert self.rig is not None
        for drainer in self.drainers:
            drainer.cancel()
        await _turns(2)
        for sink in self.rig.sinks.values():
            while len(sink):
                self._received(await sink.recv_many(sink.capacity))
        self.ledger.queued = sum(len(sender) for sender in self.rig.sources.values())
        if self.ledger.fed:
            for _, value in attributes(self.plugin):
                if not isinstance(value, Sender | Receiver):
                    self.ledger.kept.extend(accounts.marks(value))

    def _received(self, messages: list[object]) -> None:
        self.ledger.sent += len(messages)
        for message in messages:
            self.ledger.out.extend(accounts.marks(message))

    def _tasks(self) -> list[asyncio.Task[Any]]:
        own = {asyncio.current_task(self.loop), *self.drainers}
        return [task for task in asyncio.all_tasks(self.loop) if task not in own]

    def _leaks(self) -> list[Leak]:
        leaks = [Leak("leak-task", f"task of {_coroutine_name(task)}") for task in self._tasks()]
        leaks += [Leak("leak-async-generator", f"async generator {name}") for name in self.loop.open_generators()]
        leaks += [Leak("not-at-rest", f"timer for {name}") for name in self.loop.open_timers()]
        leaks += found(self.before, self.temporary)
        assert self.rig is not None
        for name, value in attributes(self.plugin):
            if isinstance(value, Sender | Receiver) and not value.closed:
                leaks.append(Leak("leak-channel-end", f"channel end {name}"))
        for port, sink in self.rig.sinks.items():
            if not sink.producers_gone and not any(leak.slug == "leak-channel-end" for leak in leaks):
                leaks.append(Leak("leak-channel-end", f"sender of {port}"))
        if self.plugin.state in self.plugin.lifecycle.rest:
            for name, held in held_locks(self.plugin).items():
                if held > self.locks.get(name, 0):
                    leaks.append(Leak("lock-held", f"lock {name}"))
        return sorted(leaks, key=lambda leak: (leak.slug, leak.what))

    def _tell(self, leaks: list[Leak]) -> None:
        for slug in dict.fromkeys(leak.slug for leak in leaks):
            named = Counter(leak.what for leak in leaks if leak.slug == slug)
            what = ", ".join(f"{count} {what}" for what, count in named.items())
            self.trouble(slug, f"{what} {_VERB.get(slug, 'leaked')}", "leak", "a plugin at rest leaves nothing")

    def tell_garbage(self, warned: Iterator[str]) -> None:
        """Tell what showed only when everything was thrown away."""
        leaks = [leak for text in warned if (leak := of_warning(text)) is not None]
        leaks += [Leak("leak-async-generator", f"async generator {name}") for name in self.loop.dropped]
        told = {trouble.slug for trouble in self.troubles}
        for context in self.loop.errors:
            message, error = context.get("message", ""), context.get("exception")
            if "never retrieved" in message or error is not None:
                if isinstance(error, InjectedFault | DeclaredFailed):
                    continue
                what = f"exception {describe(error)}" if error is not None else message
                leaks.append(Leak("unretrieved-exception", what))
            elif "was destroyed" in message and "leak-task" not in told:
                leaks.append(Leak("leak-task", "task that nobody kept"))
        self.loop.errors.clear()
        if self.state != str(self._initial):
            self._tell(
                sorted({leak for leak in leaks if leak.slug not in told}, key=lambda leak: (leak.slug, leak.what))
            )

    @property
    def _initial(self) -> str:
        return self.done[0].source if self.done else self.state

    # Always.

    @property
    def _observer(self) -> Observer:
        assert self.observer is not None
        return self.observer

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


_SLOW: Final = frozenset({"leak-thread", "leak-process"})
_VERB: Final = {
    "never-awaited": "never awaited",
    "unretrieved-exception": "never retrieved",
    "signal-handler-left": "left behind",
    "environment-changed": "left changed",
    "working-directory-changed": "left changed",
    "lock-held": "still held",
    "not-at-rest": "still set",
}


def _shape(plugin: Plugin) -> dict[str, object]:
    """Return what can be compared of the attributes of a plugin: which objects they are, and how long."""
    return {
        name: (id(value), len(value) if isinstance(value, list | dict | set | tuple | str | bytes) else 0)
        for name, value in attributes(plugin)
    }


def _nobody(_calls: Script) -> None:
    """Take no note."""


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _coroutine_name(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", "an unknown coroutine"))


_RELEASES: Final = (
    "not acquired",
    "released too many",
    "unlocked lock",
    "un-acquired",
    "already closed",
    "already released",
)


def _is_release(error: BaseException | None) -> bool:
    """Whether an exception is what comes of releasing something twice."""
    return error is not None and any(words in str(error).lower() for words in _RELEASES)
