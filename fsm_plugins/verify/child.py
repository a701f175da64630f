"""Verifying in a process of its own, which is ended if it does not give way, and may end itself without harm.

The child is told what to do as JSON on its standard input, and tells what it does as JSON lines on a pipe: each run
before it is begun, and the report at the end. What the plugin prints goes to another pipe, of which the last few
lines are kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from attrs import asdict, define, field, frozen

from fsm_plugins.verify.base.leaks import NOT_THE_PLUGIN
from fsm_plugins.verify.base.script import Token, calls_of
from fsm_plugins.verify.base.targets import CannotVerify, subjects_of
from fsm_plugins.verify.reports.codes import CHECKS
from fsm_plugins.verify.reports.rendering import as_json, from_json
from fsm_plugins.verify.reports.report import Finding, Report, Scope
from fsm_plugins.verify.verifying import replay, verify_subjects

__all__ = ["Order", "Said", "carry_out"]

STALL: Final = 15.0
"""Real seconds that one run may take before the child is taken to be stuck."""
_GRACE: Final = 3.0
_PR_SET_PDEATHSIG: Final = 1
_KEPT_LINES: Final = 20
_KEPT_CHARACTERS: Final = 400


@frozen
class Order:
    """What the child is to do.

    Attributes:
        target: ``module:Class`` or a TOML file.
        settings: as they were read, to be converted as those of a TOML file.
        layers: which.
        scope: how far.
        token: the script to run again, instead of everything.
        path: the directory that modules are found in, in addition.
    """

    target: str
    settings: Mapping[str, Any]
    layers: tuple[str, ...]
    scope: Scope
    token: str = ""
    path: str = ""


@frozen
class Said:
    """What came of it.

    Attributes:
        report: what was found out.
        output: the last lines that the plugin printed.
    """

    report: Report
    output: tuple[str, ...]


@define
class _Watch:
    """What is known of the child."""

    plugin: str = ""
    calls: tuple[str, ...] = ()
    since: float = field(factory=time.monotonic)
    stuck_for: float = 0.0
    runs: int = 0
    report: Report | None = None
    refusal: str = ""
    interrupted: bool = False
    traceback: list[str] = field(factory=list)


def carry_out(order: Order, on_progress: Callable[[str, int], None] | None = None, stall: float = STALL) -> Said:
    """Let a child do it.

    Args:
        order: what.
        on_progress: called about once a second with what is under way, and how many runs there have been.
        stall: how long one run may take, in real seconds.

    Raises:
        CannotVerify: there is nothing to run, or it cannot even be imported in time.
        KeyboardInterrupt: it was interrupted before anything was run.
    """
    reads, writes = os.pipe()
    output_reads, output_writes = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "fsm_plugins.verify.child", str(writes), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=output_writes,
        stderr=output_writes,
        pass_fds=(writes,),
        start_new_session=True,
    )
    os.close(writes)
    os.close(output_writes)
    watch = _Watch()
    output = _Tail()
    listeners = [
        threading.Thread(target=_listen, args=(os.fdopen(reads, encoding="utf-8"), watch), daemon=True),
        threading.Thread(target=output.read, args=(output_reads,), daemon=True),
    ]
    for listener in listeners:
        listener.start()
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(asdict(order)).encode())
        process.stdin.close()
    stuck = _await(process, watch, order.scope.seconds, on_progress, stall)
    if not stuck:
        listeners[0].join(_GRACE)
    _end_group(process)
    for listener in listeners:
        listener.join(_GRACE)
    return Said(_conclude(order, watch, process.returncode, stuck, output), tuple(output.lines()))


def _await(
    process: subprocess.Popen[bytes],
    watch: _Watch,
    seconds: float | None,
    on_progress: Callable[[str, int], None] | None,
    stall: float,
) -> bool:
    """Wait for the end of the child, and end it if it takes too long. Returns whether that was necessary."""
    begin = time.monotonic()
    told = begin
    while True:
        try:
            process.wait(0.05)
            return False
        except subprocess.TimeoutExpired:
            pass
        except KeyboardInterrupt:
            if watch.interrupted:
                raise
            watch.interrupted = True
            _signal(process, signal.SIGINT)  # it has a session of its own, so it has not heard
            seconds, begin = _GRACE, time.monotonic()
        now = time.monotonic()
        if on_progress is not None and now - told >= 1.0:
            told = now
            on_progress(f"{watch.plugin}: {' -> '.join(watch.calls)}" if watch.plugin else "importing", watch.runs)
        late = now - watch.since > stall or (seconds is not None and now - begin > seconds + _GRACE)
        if late:
            _signal(process, signal.SIGUSR1)  # it tells where it is
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
            watch.stuck_for = now - watch.since
            return True


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the child, and what it has started and left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _listen(lines: TextIO, watch: _Watch) -> None:
    with lines:
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:  # of faulthandler, or cut off by the end of the process
                watch.traceback.append(line)
                continue
            watch.since = time.monotonic()
            if "calls" in said:
                watch.plugin, watch.calls = said["plugin"], tuple(said["calls"])
                watch.runs += not watch.calls
            elif "report" in said:
                watch.report = from_json(said["report"])
            elif "refusal" in said:
                watch.refusal = said["refusal"]


@define(eq=False)
class _Tail:
    """The end of what the plugin prints; the rest is thrown away, however much it is."""

    kept: deque[bytes] = field(factory=lambda: deque(maxlen=_KEPT_LINES))
    _last: bytes = b""

    def read(self, fd: int) -> None:
        with os.fdopen(fd, "rb", buffering=0) as stream:
            while chunk := stream.read(65536):
                *whole, last = (self._last + chunk).split(b"\n")
                self._last = last[-_KEPT_CHARACTERS:]
                self.kept.extend(line[:_KEPT_CHARACTERS] for line in whole[-_KEPT_LINES:])

    def lines(self) -> list[str]:
        """Return the last lines."""
        return [line.decode(errors="replace") for line in [*self.kept, self._last] if line.strip()]


def _conclude(order: Order, watch: _Watch, code: int, stuck: bool, output: _Tail) -> Report:
    """Make a report of what the child said, or of its end."""
    if watch.refusal:
        raise CannotVerify(watch.refusal)
    if watch.report is not None:
        return watch.report
    where = _place(watch.traceback)
    told = f"; it was at {where}" if where else ""
    if not watch.plugin:
        if watch.interrupted:
            raise KeyboardInterrupt
        if stuck:
            raise CannotVerify(f"{order.target}: importing it does not come to an end{told}")
        last = f": {output.lines()[-1]}" if output.lines() else ""
        raise CannotVerify(f"{order.target}: importing it ended the process with exit status {code}{last}")
    if watch.interrupted:
        return Report(
            order.scope, (watch.plugin,), incomplete=dict.fromkeys(order.layers, "interrupted"), runs=watch.runs
        )
    if stuck and watch.stuck_for < _GRACE / 2:
        return Report(
            order.scope, (watch.plugin,), incomplete=dict.fromkeys(order.layers, "out of time"), runs=watch.runs
        )
    if stuck:
        slug, what = "hook-hangs", f"it never gave way to the event loop again{told}"
        expected = "a hook waits with await, and computes elsewhere"
    else:
        how = f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        slug, what = "ends-process", f"the process ended, with {how}"
        expected = "a plugin does not end the process it runs in"
    calls = calls_of(watch.calls)
    finding = Finding(
        CHECKS[slug].code,
        slug,
        watch.plugin,
        what,
        expected,
        watch.calls,
        watch.calls,
        layer="L2" if any(call.fault for call in calls) else "L1",
        token=order.token or str(Token.make(order.target, order.settings, calls)),
        target=order.target,
        settings=repr(dict(order.settings)),
    )
    return Report(
        order.scope,
        (watch.plugin,),
        (finding,),
        incomplete=dict.fromkeys(order.layers, "the process had to be ended" if stuck else "the process ended"),
        runs=watch.runs,
    )


def _place(lines: Sequence[str]) -> str:
    """Return the line that the child was at, from what faulthandler printed: the innermost that is no library's."""
    for line in lines:
        if match := re.match(r'\s*File "(.*)", line (\d+) in (\S+)', line):
            file, number, name = match.groups()
            if not file.startswith((*NOT_THE_PLUGIN, "<")):
                return f"{os.path.basename(file)}:{number} in {name}"
    return ""


# In the child.


def _end_with(parent: int) -> None:
    """Be ended when the process is that waits for this one, however that comes about: nobody else would end a loop.

    Linux tells (``PR_SET_PDEATHSIG`` of prctl(2)). Elsewhere a plugin that does not give way outlives a parent that is
    killed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was over before it could be told
            os._exit(1)


def _main() -> None:
    _end_with(int(sys.argv[2]))
    # What the parent has to hear goes where no plugin writes by accident.
    says = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8", buffering=1)
    os.set_inheritable(says.fileno(), False)
    faulthandler.register(signal.SIGUSR1, says, all_threads=False)

    def say(**said: object) -> None:
        says.write(json.dumps(said) + "\n")

    order = json.loads(sys.stdin.buffer.read())
    scope = Scope(**order["scope"])
    path = [Path(order["path"])] if order["path"] else []
    try:
        if order["token"]:
            subject = subjects_of(order["target"], order["settings"], raw=False, path=path)[0]
            say(plugin=subject.name, calls=list(Token.read(order["token"]).calls))
            report = replay(order["token"], order["target"], settings=order["settings"] or None)
        else:
            subjects = subjects_of(order["target"], order["settings"], raw=True, path=path)
            report = verify_subjects(
                subjects,
                scope,
                order["layers"],
                None,
                {},
                (),
                lambda plugin, script: say(plugin=plugin, calls=list(map(str, script))),
            )
    except (CannotVerify, ValueError) as error:
        say(refusal=str(error))
        return
    except KeyboardInterrupt:
        return
    say(report=as_json(report))


if __name__ == "__main__":
    _main()
    sys.stdout.flush()
    os._exit(0)  # whatever threads the plugin left
