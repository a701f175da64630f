"""A second opinion on what a registry does: written from the design's words, without a look at the code.

It is a small discrete simulation. Hooks are named by how they behave; time moves by `World.advance`; every call reports
its outcome to a callback. Nothing is imported from the package.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

TABLE = {
    ("init", "created"): "initialized",
    ("start", "initialized"): "running",
    ("stop", "running"): "stopped",
    ("stop", "failed"): "stopped",
    ("fail", "created"): "failed",
    ("fail", "initialized"): "failed",
    ("fail", "running"): "failed",
}

DEADLINE = {"init": 20.0, "start": 30.0, "stop": 10.0}
GRACE = 1.0
SLOW = 3.0

# How a hook behaves. `ok`, `callback`, `raise` and `cancel itself` are done at once; `slow` ones after three seconds;
# the others wait for ever. When they are told to end, all but one of those that wait end at once (`absorb` by returning
# as if nothing had happened); `swallow` ignores it, so that it is abandoned after the grace period.
AT_ONCE = {"ok": "done", "callback": "done", "raise": "raised", "cancel itself": "cancelled"}
AFTER_A_WHILE = {"slow": "done", "slow raise": "raised"}
FOR_EVER = ("hang", "absorb", "swallow")
BEHAVIOURS = (*AT_ONCE, *AFTER_A_WHILE, *FOR_EVER)

Outcome = tuple[str, ...]
Report = Callable[[Outcome], None]


@dataclass(eq=False)
class Call:
    """A hook on its way."""

    plugin: Plugin
    trigger: str
    behaviour: str
    started: float
    report: Report
    told: float | None = None
    cancelled: bool = False
    cause: str | None = None
    expired: bool = False
    ended: list[Callable[[], None]] = field(default_factory=list)

    def next_event(self) -> tuple[float, str]:
        """When something happens to it by itself, and what."""
        if self.told is not None:
            return self.told + GRACE, "abandon"
        deadline = self.started + DEADLINE[self.trigger]
        if self.behaviour in AFTER_A_WHILE and self.started + SLOW < deadline:
            return self.started + SLOW, AFTER_A_WHILE[self.behaviour]
        return deadline, "expire"


@dataclass(eq=False)
class Plugin:
    """What is known of one plugin."""

    name: str
    behaviours: dict[str, str]
    state: str = "created"
    failure: str | None = None
    call: Call | None = None
    workers: int = 0
    attempts: dict[str, int] = field(default_factory=lambda: {"init": 0, "start": 0, "stop": 0})


@dataclass(eq=False)
class Walk:
    """A bulk call on its way."""

    kind: str
    report: Report
    order: list[Plugin]
    index: int = -1
    ending: bool = False
    cancelled: bool = False
    own: Call | None = None
    joined: Walk | None = None
    queue: list[Callable[[], None]] = field(default_factory=list)  # those who wait for the same end, itself included
    go_on: Callable[[], None] | None = None
    problems: list[str] = field(default_factory=list)
    ended: list[Callable[[], None]] = field(default_factory=list)


class World:
    """The plugins, the time, and what is under way."""

    def __init__(self) -> None:
        self.now = 0.0
        self.everybody: list[Plugin] = []
        self.plugins: dict[str, Plugin] = {}  # those that are registered
        self.walk: Walk | None = None
        self.events: list[tuple[str, str, str, str]] = []
        # Those who waited for the end of something go on after the one whose call it was, in the order they came.
        self.soon: deque[Callable[[], None]] = deque()

    def settle(self) -> None:
        """Let everybody go on who can."""
        while self.soon:
            self.soon.popleft()()

    # Moves.

    def _move(self, plugin: Plugin, trigger: str) -> bool:
        dest = TABLE.get((trigger, plugin.state))
        if dest is None:
            return False
        if self.plugins.get(plugin.name) is plugin:
            self.events.append((plugin.name, trigger, plugin.state, dest))
        plugin.state = dest
        return True

    def _fail(self, plugin: Plugin, cause: str) -> None:
        if self._move(plugin, "fail"):
            plugin.failure = cause
            plugin.workers = 0
        elif plugin.failure is None:
            plugin.failure = cause

    def _refusal(self, plugin: Plugin, trigger: str) -> Outcome:
        expected = "|".join(sorted(source for (word, source) in TABLE if word == trigger))
        return ("refused", plugin.state, expected, plugin.call.trigger if plugin.call else "")

    # Calls of one plugin.

    def begin(self, plugin: Plugin, trigger: str, report: Report) -> Call | None:
        """Somebody calls ``trigger``."""
        if plugin.call is not None or (trigger, plugin.state) not in TABLE:
            report(self._refusal(plugin, trigger))
            return None
        call = Call(plugin, trigger, plugin.behaviours[trigger], self.now, report)
        plugin.call = call
        plugin.attempts[trigger] += 1
        if call.behaviour in AT_ONCE:
            self._end(call, AT_ONCE[call.behaviour])
            return None
        return call

    def tell(self, call: Call, *, cancelled: bool = False, cause: str | None = None) -> None:
        """Somebody tells a call to end."""
        call.cancelled = call.cancelled or cancelled
        call.cause = call.cause or cause
        if call.told is None:
            call.told = self.now
            if call.behaviour != "swallow":
                self._end(call, "told")

    def _end(self, call: Call, how: str) -> None:
        plugin = call.plugin
        if call.cancelled:
            outcome: Outcome = ("cancelled",)
            cause: str | None = call.cause or "cancelled"
        elif call.cause is not None:
            outcome = ("failed", call.trigger, call.cause)
            cause = call.cause
        elif call.expired:
            outcome = ("late", call.trigger)
            cause = "late"
        elif how == "raised":
            outcome = ("failed", call.trigger, f"boom in {call.trigger}")
            cause = f"boom in {call.trigger}"
        elif how == "cancelled":
            outcome, cause = ("cancelled", "itself"), "cancelled"
        else:
            outcome, cause = ("done",), None
        if call.trigger == "stop":
            plugin.workers = 0
        if cause is None:
            self._move(plugin, call.trigger)
        else:
            self._fail(plugin, cause)
        plugin.call = None
        self.soon.extend(call.ended)
        call.report(outcome)

    def fail(self, plugin: Plugin, cause: str, report: Report) -> None:
        """Somebody calls ``fail``."""
        if ("fail", plugin.state) not in TABLE:
            report(self._refusal(plugin, "fail"))
        elif plugin.call is None:
            self._fail(plugin, cause)
            report(("done",))
        else:
            call = plugin.call

            def go_on() -> None:
                if plugin.failure == cause:
                    report(("done",))
                else:
                    self.fail(plugin, cause, report)

            call.ended.append(go_on)
            self.tell(call, cause=cause)

    def crash(self, plugin: Plugin, cause: str) -> None:
        """A worker of ``plugin`` raises."""
        plugin.workers -= 1
        if plugin.call is None:
            if ("fail", plugin.state) in TABLE:
                self._fail(plugin, cause)
        elif plugin.call.trigger == "stop":
            plugin.call.cause = plugin.call.cause or cause
        else:
            self.tell(plugin.call, cause=cause)

    # Bulk calls.

    def start_walk(self, kind: str, report: Report) -> Walk | None:
        """Somebody calls ``init_all`` or ``start_all``."""
        if self.walk is not None:
            report(("busy", kind, self.walk.kind))
            return None
        walk = self.walk = Walk(kind, report, list(self.plugins.values()))
        self._next_start(walk, ("done",))
        return walk if self.walk is walk else None

    def _next_start(self, walk: Walk, outcome: Outcome) -> None:
        while outcome == ("done",) and not walk.ending:
            walk.index += 1
            if walk.index == len(walk.order):
                break
            box: list[Outcome] = []
            waiting = self.begin(walk.order[walk.index], walk.kind, box.append)
            if waiting is not None:
                waiting.report = lambda later: self._next_start(walk, later)
                return
            outcome = box[0]
        self.walk = None
        self.soon.extend(walk.ended)
        walk.report(outcome)

    def stop_all(self, report: Report) -> Walk:
        """Somebody calls ``stop_all``."""
        walk = Walk("stop", report, [])
        self._enter_stop(walk)
        return walk

    def _enter_stop(self, walk: Walk) -> None:
        other = self.walk
        if other is None:
            self.walk = walk
            walk.order = list(self.plugins.values())
            self._next_stop(walk)
        elif other.kind == "stop":
            walk.joined = other
            other.ended.append(lambda: self._report_stop(walk, other))
        else:
            self._wait(walk, other.ended, lambda: self._enter_stop(walk))
            if not other.ending:
                other.ending = True
                call = other.order[other.index].call
                assert call is not None
                self.tell(call, cause=f"abandoned {call.plugin.state}")

    def _next_stop(self, walk: Walk) -> None:
        walk.index += 1
        if walk.index < len(walk.order):
            self._stop_one(walk)
            return
        self.walk = None
        self.soon.extend(walk.ended)
        self._report_stop(walk, walk)

    def _report_stop(self, walk: Walk, done: Walk) -> None:
        if walk.cancelled:
            walk.report(("cancelled",))
        else:
            walk.report(("stop failed", *done.problems) if done.problems else ("done",))

    def _stop_one(self, walk: Walk) -> None:
        plugin = walk.order[walk.index]
        if plugin.call is not None:
            call = plugin.call
            self._wait(walk, call.ended, lambda: self._stop_one(walk))
            if call.trigger != "stop":
                self.tell(call, cause=f"abandoned {plugin.state}")
            return
        if plugin.state in ("created", "stopped"):
            self._next_stop(walk)
            return
        if plugin.state == "initialized":
            self._fail(plugin, "abandoned initialized")

        def report(outcome: Outcome) -> None:
            walk.own = None
            walk.cancelled = walk.cancelled or outcome == ("cancelled",)
            if outcome != ("done",):  # a cancelled stop included: others who wait for this walk hear of it
                walk.problems.append(plugin.name)
            self._next_stop(walk)

        own = self.begin(plugin, "stop", report)
        if own is not None:
            walk.own = own

    def cancel_stop(self, walk: Walk) -> None:
        """Somebody cancels the task that called ``stop_all``."""
        if walk.joined is not None:
            walk.report(("cancelled",))
        elif walk.own is not None:
            self.tell(walk.own, cancelled=True)
        else:  # it waits for a call of somebody else, and goes on doing so, but queues up anew
            walk.cancelled = True
            if walk.go_on in walk.queue:
                walk.queue.remove(walk.go_on)
                walk.queue.append(walk.go_on)

    def _wait(self, walk: Walk, queue: list[Callable[[], None]], go_on: Callable[[], None]) -> None:
        walk.queue, walk.go_on = queue, go_on
        queue.append(go_on)

    # Time.

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while True:
            calls = [plugin.call for plugin in self.everybody if plugin.call is not None]
            due = min(((*call.next_event(), call) for call in calls), key=lambda entry: entry[0], default=None)
            if due is None or due[0] > until:
                break
            self.now, what, call = due
            if what == "expire":
                call.expired = True
                call.told = self.now
                if call.behaviour != "swallow":
                    self._end(call, "told")
            else:
                self._end(call, "told" if what == "abandon" else what)
            self.settle()
        self.now = until
