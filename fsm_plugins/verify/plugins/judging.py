"""Judging a call: whether it went as the table and the contract of hooks say."""

from __future__ import annotations

import asyncio
from typing import Final

from fsm_plugins.errors import DeadlineExceeded, HookFailed, InvalidState
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import STOP
from fsm_plugins.plugin import Plugin
from fsm_plugins.verify.base.leaks import attributes
from fsm_plugins.verify.base.script import Call
from fsm_plugins.verify.plugins.observing import HookRun
from fsm_plugins.verify.plugins.run_state import RunState

__all__ = ["Judging", "shape_of"]


class Judging(RunState):
    """A run that can tell what is wrong with a call."""

    __slots__ = ()

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
        changed = sorted(name for name, value in shape_of(plugin).items() if held.get(name) != value)
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


def shape_of(plugin: Plugin) -> dict[str, object]:
    """Return what can be compared of the attributes of a plugin: which objects they are, and how long."""
    return {
        name: (id(value), len(value) if isinstance(value, list | dict | set | tuple | str | bytes) else 0)
        for name, value in attributes(plugin)
    }


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
