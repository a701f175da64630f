"""Deliberate breakages of the verifier, each of which some test has to notice.

A mutant is a name, a file, the snippet to be replaced (which occurs there exactly once), and what replaces it.
"""

from __future__ import annotations

TESTS = [
    "tests/unit/test_verify.py",
    "tests/unit/test_verify_checks.py",
    "tests/property/test_verify.py",
    "tests/unit/test_verify_zoo.py",
]

_RUNNING = "fsm_plugins/verify/plugins/running.py"
_RUN_STATE = "fsm_plugins/verify/plugins/run_state.py"
_JUDGING = "fsm_plugins/verify/plugins/judging.py"
_AFTERMATH = "fsm_plugins/verify/plugins/aftermath.py"
_EXPLORING = "fsm_plugins/verify/plugins/exploring.py"
_OBSERVING = "fsm_plugins/verify/plugins/observing.py"
_CLOCK = "fsm_plugins/verify/base/clock.py"
_LEAKS = "fsm_plugins/verify/base/leaks.py"
_STATIC = "fsm_plugins/verify/plugins/static.py"
_REPORT = "fsm_plugins/verify/reports/report.py"
_VERIFYING = "fsm_plugins/verify/verifying.py"
_CONFORMANCE = "fsm_plugins/verify/conformance.py"

MUTANTS: list[tuple[str, str, str, str]] = [
    ("no fault is ever tried", _EXPLORING, "for at, kinds in enumerate(done.kinds, 1):", "for at, kinds in ():"),
    ("only the first await is tried", _EXPLORING, "enumerate(done.kinds, 1):", "enumerate(done.kinds[:1], 1):"),
    ("the fault happens one await later", _OBSERVING, "fault.at == len(run.awaits)", "fault.at == len(run.awaits) - 1"),
    ("a cancellation is not delivered", _OBSERVING, "task.cancel()", "pass"),
    ("the plugin is not stopped after a run", _RUNNING, "await self._come_to_rest()\n                    if", "if"),
    ("tasks are not looked for", _AFTERMATH, "for task in self._tasks()]\n", "for task in ()]\n"),
    ("descriptors are not compared", _LEAKS, "if before.fds.get(fd) != what]", "if False]"),
    ("children are not compared", _LEAKS, "sorted(now.children - before.children)", "()"),
    ("the environment is not put back", _LEAKS, "if os.environ != self.environ:", "if False:"),
    ("the environment is not compared", _LEAKS, "if now.environ.get(key) != before.environ.get(key)", "if False"),
    ("idle executor threads are leaks", _LEAKS, "return thread in executors._threads_queues and", "return False and"),
    ("every open generator is clean", _LEAKS, '== "PUSH_EXC_INFO"', '== "NOTHING"'),
    ("illegal calls are not tried", _RUNNING, "self.probed.add((str(state), trigger))", "break"),
    ("illegal calls may change attributes", _JUDGING, "        elif changed:", "        elif False:"),
    ("the invariant is not asked", _RUN_STATE, "if self.invariant is None or self.troubles:", "if True:"),
    ("a hook that returns is never at fault", _JUDGING, 'run.outcome == "returned" and not to_rest', "False"),
    ("the second plugin is not tried", _EXPLORING, "(*tour, Call(NEW), *tour)", "tour"),
    (
        "a longer trace replaces a shorter one",
        _EXPLORING,
        "trouble.at >= known[0].at:\n            return\n        if known is None:",
        "trouble.at < known[0].at:\n            return\n        if known is None:",
    ),
    ("time that is up is not told", _EXPLORING, 'raise OutOfTime("out of time")', "return"),
    ("lost messages are not counted", _EXPLORING, "if lost > 0:", "if lost > 9:"),
    ("a filter loses messages", _EXPLORING, '"keeps": reference.keeps_all', '"keeps": True'),
    ("the clock jumps over threads", _CLOCK, "if self.jobs:", "if False:"),
    ("timers are not looked for", _CLOCK, "if not handle.cancelled() and code", "if handle.cancelled() and code"),
    ("hooks stay wrapped", _OBSERVING, "                delattr(cls, hook)", "                pass"),
    ("a misspelt hook is passed over", _STATIC, "            elif near:", "            elif False:"),
    ("time.sleep does not block", _STATIC, "    time.sleep: ", "    time.monotonic: "),
    ("unreachable states are passed over", _STATIC, "if state not in reached:", "if state is None:"),
    (
        "an unfinished layer holds",
        _REPORT,
        "self.findings or self.incomplete or self.vacuous",
        "self.findings or self.vacuous",
    ),
    (
        "a vacuous pass holds",
        _REPORT,
        "self.findings or self.incomplete or self.vacuous",
        "self.findings or self.incomplete",
    ),
    ("an empty reason will do", _VERIFYING, "or not reason.strip()", ""),
    ("the class may not ignore", _VERIFYING, "{**_class_reasons(subject), **reasons}", "dict(reasons)"),
    ("a gap in a trace conforms", _CONFORMANCE, "known != step.source and not fresh", "False"),
    ("any destination conforms", _CONFORMANCE, "if step.dest not in destinations:", "if False:"),
    ("a fresh plugin departs", _CONFORMANCE, "fresh = known is not None and", "fresh = False and"),
]
