"""Breakages of the explorations themselves: the loop, the searches, the models, the judgement, the export."""

from __future__ import annotations

__all__ = ["MUTANTS", "TESTS"]

TESTS = [
    "tests/unit/test_verify_loop.py",
    "tests/unit/test_verify_export.py",
    "tests/property/test_verify_schedules.py",
    "tests/property/test_verify_registry.py",
    "tests/property/test_verify_core.py",
]

_LOOP = "fsm_plugins/verify/base/loop.py"
_SEARCH = "fsm_plugins/verify/schedules/search.py"
_FOOTPRINTS = "fsm_plugins/verify/schedules/footprints.py"
_MODEL = "fsm_plugins/verify/registries/model.py"
_OVERLAP = "fsm_plugins/verify/schedules/overlap.py"
_FIELD = "fsm_plugins/verify/registries/field.py"
_REGISTRY = "fsm_plugins/verify/registries/space.py"
_RUNNING = "fsm_plugins/verify/schedules/cells.py"
_SCHEDULES = "fsm_plugins/verify/schedules/exploring.py"
_PLUGINS = "fsm_plugins/verify/schedules/plugins.py"
_SUBJECTS = "fsm_plugins/verify/schedules/subjects.py"
_EXPORT = "fsm_plugins/verify/registries/export.py"
_REAL = "fsm_plugins/verify/schedules/real_loop.py"

MUTANTS: list[tuple[str, str, str, str]] = [
    # The loop.
    (
        "tasks overtake callbacks",
        _LOOP,
        "            if entry.number == CALLBACK:\n                break\n",
        "",
    ),
    (
        "callbacks are not among the options",
        _LOOP,
        "            options.append(entry)\n            if entry.number == CALLBACK:\n                break\n",
        "            if entry.number == CALLBACK:\n                break\n            options.append(entry)\n",
    ),
    (
        "timers run in any order",
        _LOOP,
        "        heapq.heappush(self._timers, (when, self._timer_number, handle))\n",
        "        heapq.heappush(self._timers, (when, -self._timer_number, handle))\n",
    ),
    (
        "cancelled timers run",
        _LOOP,
        "            if not handle.cancelled():\n                self._ready",
        "            if True:\n                handle._cancelled = False\n                self._ready",
    ),
    (
        "time does not pass",
        _LOOP,
        "        self._now = max(self._now, timers[0][0])\n",
        "        self._now = max(self._now, 0.0)\n",
    ),
    (
        "tasks are hashed by their address",
        _LOOP,
        (
            "    number: int = -1\n\n    def __hash__(self) -> int:\n        return self.number\n\n\n"
            "class _ControlledFuture"
        ),
        "    number: int = -1\n    __hash__ = object.__hash__\n\n\nclass _ControlledFuture",
    ),
    (
        "what cannot be controlled is not noted",
        _LOOP,
        "        self.met.append(error)\n",
        "",
    ),
    (
        "a run has no end",
        _LOOP,
        "            left -= 1\n",
        "            left -= 0 if limit < 9_999 else 1\n",
    ),
    (
        "callbacks of tasks that ended do not run",
        _LOOP,
        "                self._step(self._ready.pop(0))\n            if all(",
        "                break\n            if all(",
    ),
    (
        "twins are not told",
        _RUNNING,
        "            loop.twins[base + 1 + i] = base + 1 + twin\n",
        "            pass\n",
    ),
    (
        "twins never begin",
        _LOOP,
        "                if entry.number in begun or entry.number not in twins or twins[entry.number] in begun\n",
        "                if entry.number in begun or entry.number not in twins\n",
    ),
    # Searches.
    (
        "the last option is not tried",
        _SEARCH,
        "            if last + 1 < len(options[-1]) and",
        "            if last + 2 < len(options[-1]) and",
    ),
    (
        "a bound counts one too few",
        _SEARCH,
        "(bound is None or last > 0 or departures < bound)",
        "(bound is None or departures < bound)",
    ),
    (
        "runs that are not repeatable go unnoticed",
        _SEARCH,
        "            if options[depth] != given:\n",
        "            if False:\n",
    ),
    (
        "choices that are not among the options are made",
        _SEARCH,
        "        if number not in options:\n",
        "        if False:\n",
    ),
    (
        "priorities never change",
        _SEARCH,
        "        if self._made in self._change_at:\n",
        "        if False:\n",
    ),
    (
        "writes are not seen",
        _FOOTPRINTS,
        "                self._touch(subject, name, True)\n",
        "                pass\n",
    ),
    (
        "what a step needs does not come before it",
        _FOOTPRINTS,
        "                yield tuple([steps[k].number for k in (*range(i), *between, j)])\n",
        "                yield tuple([steps[k].number for k in (*range(i), j)])\n",
    ),
    (
        "a cell is complete although runs were cut off",
        _SCHEDULES,
        "most=EACH) and not bench.cut\n",
        "most=EACH)\n",
    ),
    (
        "a failure is not made smaller",
        _SCHEDULES,
        "        if search.found is not None and search.found.kind == finding.kind:\n",
        "        if False:\n",
    ),
    (
        "a failure is run once",
        _SCHEDULES,
        "    if runs[0] != runs[1] or runs[0].finding is None:\n",
        "    if False:\n",
    ),
    (
        "time is not looked at",
        _SCHEDULES,
        "        if now > self.until:\n",
        "        if False:\n",
    ),
    # Judgement.
    (
        "every history is allowed",
        _OVERLAP,
        "            if following is None:\n                return Refuted",
        "            if following is None:\n                return None\n                return Refuted",
    ),
    (
        "a claim can be shared",
        _OVERLAP,
        "        if plugin.holder != _NOBODY or (trigger, plugin.state)",
        "        if (trigger, plugin.state)",
    ),
    (
        "hooks may do what they like",
        _OVERLAP,
        "self._hooks.get((name, trigger), ANY_HOOK)]",
        "ANY_HOOK]",
    ),
    (
        "crashes are always allowed",
        _OVERLAP,
        "        if self._crashes:\n",
        "        if True:\n",
    ),
    (
        "a deadlock is no finding",
        _RUNNING,
        '        elif finding is None and ending == "stalled":\n            finding = self.stalled(session)\n',
        "",
    ),
    (
        "what is raised in some orders only is no finding",
        _RUNNING,
        "        if finding is None and session.errors:\n",
        "        if False:\n",
    ),
    (
        "an invariant is not asked",
        _RUNNING,
        "            broken = None if self.invariant is None else self.check_invariant(session, self.invariant)\n",
        "            broken = None\n",
    ),
    (
        "an invariant that returns False holds",
        _RUNNING,
        "        if answer is False:\n",
        "        if False:\n",
    ),
    (
        "the calls one after the other are made in one order",
        _RUNNING,
        "        return list(itertools.permutations([i for i in range(len(calls)) if calls[i].name != CANCEL]))\n",
        "        return list(itertools.permutations([i for i in range(len(calls)) if calls[i].name != CANCEL]))[:1]\n",
    ),
    (
        "no call is cancelled",
        _SUBJECTS,
        "                self.tasks[target].cancel()\n",
        "                pass\n",
    ),
    (
        "a worker that goes on is not seen",
        _PLUGINS,
        "        if idle and any(not (worker.task.done()",
        "        if False and any(not (worker.task.done()",
    ),
    (
        "a state that is not reached counts as complete",
        _SCHEDULES,
        '                unreached.append(f"{cell}: {bench.unreached}")\n            elif complete:\n',
        "                completed += 1\n            elif complete:\n",
    ),
    # The registry space.
    (
        "outcomes are not compared",
        _REGISTRY,
        "                    if got != expected:\n",
        "                    if got.entries != expected.entries:\n",
    ),
    (
        "no hook breaks",
        _REGISTRY,
        "                    if len(faults) < self.faults and",
        "                    if False and",
    ),
    (
        "hooks break in one way only",
        _REGISTRY,
        'FAULTS: Final[tuple[Fault, ...]] = ("raise", "cancel", "hang")',
        'FAULTS: Final[tuple[Fault, ...]] = ("raise",)',
    ),
    (
        "what is left behind goes unnoticed",
        _FIELD,
        "            if guard.flight is not None or guard._health is not None or guard.workers:\n",
        "            if False:\n",
    ),
    (
        "names matter although they do not",
        _REGISTRY,
        "        if not self.symmetric:\n            return entries\n        return tuple(",
        "        return entries\n        return tuple(",
    ),
    (
        "a registry is walked for longer than it may be",
        _REGISTRY,
        "            if time.monotonic() > self.until:\n",
        "            if False:\n",
    ),
    # The model.
    (
        "the model goes on after an error",
        _MODEL,
        '            if outcome != ("done",):\n                return outcome\n        return ("done",)\n',
        '            if outcome != ("done",):\n                pass\n        return ("done",)\n',
    ),
    (
        "the model stops what is at rest",
        _MODEL,
        "            if state == lifecycle.initial or state in lifecycle.rest:\n",
        "            if state == lifecycle.initial:\n",
    ),
    (
        "the model does not abandon",
        _MODEL,
        '                self.fail(name, "abandoned")\n',
        "                continue\n",
    ),
    # The export.
    (
        "a hook that breaks in SPIN stays where it is",
        _EXPORT,
        'f"   if :: i == {broken} -> {_move(FAIL)}; if :: on -> at[i] = was :: else fi; assert({failed})",',
        'f"   if :: i == {broken} -> {_move(FAIL)}; assert({failed})",',
    ),
    (
        "what is used within a step is part of the state",
        _EXPORT,
        '    yield "      i = 0; on = false; was = 0"\n',
        '    yield "      skip"\n',
    ),
    (
        "a module of TLA+ is not ended",
        _EXPORT,
        "Released == call",
        "Released = call",
    ),
    # The real loop.
    (
        "a real loop is not shuffled",
        _REAL,
        "        loop.numbers = self.numbers\n",
        "        loop.numbers = None\n",
    ),
]
