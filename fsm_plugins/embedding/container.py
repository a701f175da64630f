"""What process 1 of a container has to do, done by a process of its own around the application.

Process 1 is special twice. The kernel ignores signals for it that it does not handle, so that ``docker stop`` of a
program that does not know ends with SIGKILL. And processes whose parent has ended become its children, which stay
zombies until it waits for them. A program that waits for any child, however, takes the exit status of those that it
started itself from the code that waits for them.

So the process forks before anything else is done: the parent hands signals on and waits for all children, the
child runs the application and never sees a process that it did not start. It is what tini(1) does, without tini.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Final

from fsm_plugins.errors import PluginError

__all__ = ["run_as_init"]

# Not handed on: those of the parent itself, those that tell of an error in it, and those of a terminal, which sends
# them to the application's own process group.
_KEPT: Final = {
    signal.SIGCHLD,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGSYS,
    signal.SIGKILL,
    signal.SIGSTOP,
}

# prctl(2)
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


def run_as_init() -> None:
    """Fork, and return in the child only. The parent stays until the child ends, and exits with its exit status.

    The parent hands on every signal that it gets, and reaps every process whose parent has ended. If the child was
    ended by a signal, the exit status is 128 + its number. To be called first of all, before threads are started.

    As process 1 the parent adopts such processes anyway. Otherwise it asks for them, which needs Linux, and the child
    gets SIGTERM should the parent be killed.

    Raises:
        PluginError: it is not process 1, and cannot become one that adopts others.
    """
    parent = os.getpid()
    if parent != 1:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    sys.stdout.flush()
    sys.stderr.flush()
    # Blocked signals wait for sigwait. They do so for process 1 as well, for which others may be dropped by the kernel.
    handed_on = signal.valid_signals() - _KEPT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handed_on | {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        _take_group()
        if parent != 1:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_serve(child, handed_on))  # what else is to be done at an exit is the child's business


def _serve(child: int, handed_on: set[signal.Signals]) -> int:
    """Hand on signals and reap processes until ``child`` has ended; return what to exit with."""
    for quiet in (signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(quiet, signal.SIG_IGN)  # the terminal is the child's
    while True:
        number = signal.sigwait(handed_on | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(child, number)
            continue
        # One SIGCHLD may stand for many.
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    code = os.waitstatus_to_exitcode(ended[1])
                    return code if code >= 0 else 128 - code


def _take_group() -> None:
    """Make a process group of this process alone, and put it in the foreground if the present one is.

    Ctrl-C on a terminal then comes once, from the terminal, and not a second time from the parent.
    """
    present = os.getpgrp()
    os.setpgid(0, 0)
    with suppress(OSError):  # there is no terminal
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.tcgetpgrp(terminal) == present:
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
                os.tcsetpgrp(terminal, os.getpgrp())
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        finally:
            os.close(terminal)


def _prctl(option: int, value: int) -> None:
    import ctypes  # only for those who are not process 1

    try:
        failed = ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)
    except AttributeError:
        raise PluginError("only Linux lets a process other than process 1 adopt others; leave --init out") from None
    if failed:
        number = ctypes.get_errno()
        raise PluginError(f"this process cannot adopt others: {os.strerror(number)}")
