"""Deliberate breakages of what embeds an application, each of which some test has to notice.

A mutant is a name, a file, the snippet to be replaced (which occurs there exactly once), and what replaces it.
"""

from __future__ import annotations

_APP = "fsm_plugins/app.py"
_BLOCKING = "fsm_plugins/embedding/blocking.py"
_LIFESPAN = "fsm_plugins/embedding/lifespan.py"
_SYSTEMD = "fsm_plugins/embedding/systemd.py"
_CONTAINER = "fsm_plugins/embedding/container.py"
_COMMANDS = "fsm_plugins/cli/commands.py"

TESTS = (
    "tests/unit/test_embedding_blocking.py",
    "tests/unit/test_embedding_lifespan.py",
    "tests/unit/test_embedding_systemd.py",
    "tests/system/test_embedding_container.py",
    "tests/system/test_embedding_systemd.py",
    "tests/property/test_embedding.py",
    "tests/unit/test_app.py",
)

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "a plugin that fails while all is stopped in order makes the application fail",
        "fsm_plugins/app.py",
        ' or self.phase in ("stopping", "ended"):',
        ":",
    ),
    (
        "an application can be run twice",
        _APP,
        '        if self.phase != "created":\n',
        '        if self.phase == "running":\n',
    ),
    (
        "an application that was shut down before is started all the same",
        _APP,
        "            return  # nobody wants it any more",
        "            pass",
    ),
    (
        "an application says that it stops when it has stopped",
        _APP,
        '            if self.phase in ("starting", "running"):\n                self._enter("stopping")\n',
        "",
    ),
    (
        "the end is not told when the start failed",
        _APP,
        '        try:\n            yield\n        finally:\n            self._enter("ended")',
        '        yield\n        self._enter("ended")',
    ),
    (
        "the block is entered before the plugins have been started",
        _BLOCKING,
        '        if phase == "running":',
        '        if phase == "starting":',
    ),
    (
        "what went wrong at the start is not raised",
        _BLOCKING,
        "            self.gone(None)\n            self.tell()\n",
        "            self.gone(None)\n",
    ),
    (
        "an interrupt while it starts leaves the application running",
        _BLOCKING,
        '            run.end("its start was interrupted")\n',
        "",
    ),
    (
        "leaving the block does not wait",
        _BLOCKING,
        "            self._gone.set()\n        self.gone(None)\n",
        "            self._gone.set()\n",
    ),
    (
        "the wait for the end is a join that can be interrupted",
        _BLOCKING,
        "        if not _wait(self._gone, timeout):\n            return False\n",
        "        self.thread.join(timeout)\n        if self.thread.is_alive():\n            return False\n",
    ),
    (
        "what the application ended with is raised again and again",
        _BLOCKING,
        "            self._told = True\n",
        "",
    ),
    (
        "what a plugin failed with is swallowed when the block is left",
        _BLOCKING,
        "        if error is None:\n            run.tell()\n        elif",
        "        if",
    ),
    (
        "the error of the block is replaced by that of the application",
        _BLOCKING,
        "        if error is None:\n            run.tell()",
        "        if True:\n            run.tell()",
    ),
    (
        "a call that is late goes on",
        _BLOCKING,
        "            if future.cancel():\n",
        "            if not future.done():\n",
    ),
    (
        "a TimeoutError of the function is taken for one of the call",
        _BLOCKING,
        "            if future.cancel():\n",
        "            if future.cancel() or True:\n",
    ),
    (
        "calls are taken until the loop is gone",
        _BLOCKING,
        "                self.accepting = False\n",
        "",
    ),
    (
        "a call in the thread of the application waits for itself",
        _BLOCKING,
        '        self.check_outside("call")\n',
        "",
    ),
    (
        "the status waits for the event loop",
        _BLOCKING,
        "        return {plugin.info.name: plugin.state for plugin in list(self.application.registry)}",
        "        return {health.name: health.state for health in self.health()}",
    ),
    (
        "a second application is started beside the first",
        _BLOCKING,
        "            if self._entered is not None and not self._entered.gone():",
        "            if self._entered is not None and self._entered.gone():",
    ),
    (
        "the server starts before the plugins",
        _LIFESPAN,
        "        await begun.wait()\n",
        "        started = True\n",
    ),
    (
        "a plugin that does not start lets the server start",
        _LIFESPAN,
        "        if not started:\n            await run\n            raise PluginError",
        "        if not started and False:\n            await run\n            raise PluginError",
    ),
    (
        "a server that is cancelled while it stops leaves the application behind",
        _LIFESPAN,
        "        run.cancel()\n        await asyncio.wait([run])\n        raise",
        "        raise",
    ),
    (
        "leaving is taken for an end that the server did not want",
        _LIFESPAN,
        "    leaving = True\n    await _end(application, run)\n    await run\n",
        "    await _end(application, run)\n    await run\n",
    ),
    (
        "what a plugin failed with is not raised when the server ends",
        _LIFESPAN,
        "    await _end(application, run)\n    await run\n",
        "    await _end(application, run)\n",
    ),
    (
        "the error of the server loses the note",
        _LIFESPAN,
        "            error.add_note(",
        "            str(",
    ),
    (
        "ready is said at the beginning of the start",
        _SYSTEMD,
        '        if phase == "starting":\n            self._notifier.keep_alive()',
        '        if phase == "starting":\n            self._notifier.ready()\n            self._notifier.keep_alive()',
    ),
    (
        "stopping is not said",
        _SYSTEMD,
        "            self._notifier.stopping()\n",
        "            pass\n",
    ),
    (
        "the watchdog is fed just in time",
        _SYSTEMD,
        "self.watchdog / 2",
        "self.watchdog",
    ),
    (
        "the watchdog is fed once",
        _SYSTEMD,
        '            self.later("watchdog", self.watchdog / 2, self.keep_alive)\n',
        "",
    ),
    (
        "the watchdog is fed by a thread",
        _SYSTEMD,
        '            self.later("watchdog", self.watchdog / 2, self.keep_alive)\n',
        (
            "            import threading\n"
            "            thread = threading.Timer(self.watchdog / 2, self.keep_alive)\n"
            "            thread.daemon = True\n"
            "            thread.start()\n"
        ),
    ),
    (
        "the watchdog of another process is fed",
        _SYSTEMD,
        "    if not microseconds or (pid and pid != str(os.getpid())):",
        "    if not microseconds:",
    ),
    (
        "signs of life go on after the end",
        _SYSTEMD,
        "            timer.cancel()\n        self._timers.clear()",
        "            pass\n        self._timers.clear()",
    ),
    (
        "programs that plugins start inherit the socket",
        _SYSTEMD,
        'environ.pop(name, "")',
        'environ.get(name, "")',
    ),
    (
        "an abstract socket is taken for a path",
        _SYSTEMD,
        '"\\0" + address[1:] if address[0] == "@" else address',
        "address",
    ),
    (
        "a full queue blocks the event loop",
        _SYSTEMD,
        "                self._socket.setblocking(False)\n",
        "                self._socket.settimeout(0.0001)\n",
    ),
    (
        "what could not be sent is forgotten",
        _SYSTEMD,
        "        except BlockingIOError:  # its queue is full\n",
        "        except BlockingIOError:\n            self._unsent.clear()\n",
    ),
    (
        "a value can forge a field",
        _SYSTEMD,
        '" ".join(value.split())[:LONGEST]',
        "value[:LONGEST]",
    ),
    (
        "a value may be longer than a datagram",
        _SYSTEMD,
        '" ".join(value.split())[:LONGEST]',
        '" ".join(value.split())',
    ),
    (
        "every transition is a message",
        _SYSTEMD,
        '            self._notifier.later("status", PAUSE, self._report)',
        "            self._report()",
    ),
    (
        "a manager that is gone is told again and again",
        _SYSTEMD,
        "            self._broken = True\n",
        "",
    ),
    (
        "orphans are not reaped",
        _CONTAINER,
        "os.waitpid(-1, os.WNOHANG)",
        "os.waitpid(child, os.WNOHANG)",
    ),
    (
        "one orphan is reaped for each signal",
        _CONTAINER,
        "            while (ended := os.waitpid(-1, os.WNOHANG))[0]:\n",
        "            if (ended := os.waitpid(-1, os.WNOHANG))[0]:\n",
    ),
    (
        "signals are not handed on",
        _CONTAINER,
        "                os.kill(child, number)\n",
        "                os.kill(child, 0)\n",
    ),
    (
        "an application that was killed looks like one that ended well",
        _CONTAINER,
        "return code if code >= 0 else 128 - code",
        "return max(code, 0)",
    ),
    (
        "the application is in the process group of its parent",
        _CONTAINER,
        "    os.setpgid(0, 0)\n",
        "",
    ),
    (
        "the application is not in the foreground",
        _CONTAINER,
        "                os.tcsetpgrp(terminal, os.getpgrp())\n",
        "",
    ),
    (
        "the application starts with its signals blocked",
        _CONTAINER,
        "        signal.pthread_sigmask(signal.SIG_SETMASK, before)\n        return\n",
        "        return\n",
    ),
    (
        "the application outlives its parent",
        _CONTAINER,
        "            _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)\n",
        "",
    ),
    (
        "only process 1 adopts orphans",
        _CONTAINER,
        "        _prctl(_PR_SET_CHILD_SUBREAPER, 1)\n",
        "        pass\n",
    ),
    (
        "process 1 is not noticed",
        _COMMANDS,
        "init or (init is None and os.getpid() == 1)",
        "init",
    ),
    (
        "the command does not notify",
        _COMMANDS,
        "    attach(application)\n",
        "",
    ),
]
