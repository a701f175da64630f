"""Deliberate breakages of the zoo: a look that misses something, a mistake repaired, a correct plugin that is not.

A mutant is a name, a file, the snippet to be replaced (which occurs there exactly once), and what replaces it.
"""

from __future__ import annotations

_WALK = "tests/zoo/walk.py"
_WATCH = "tests/zoo/watch.py"
_HOLDING = "tests/zoo/faulty/holding.py"
_CANCELLING = "tests/zoo/faulty/cancelling.py"
_SCHEDULES = "tests/zoo/faulty/schedules.py"
_SEQUENCES = "tests/zoo/faulty/sequences.py"
_NETWORKING = "tests/zoo/correct/networking.py"
_PORTS = "tests/zoo/correct/ports.py"
_PROCESSES = "tests/zoo/correct/processes.py"
_STRUCTURED = "tests/zoo/correct/structured.py"
_STYLES = "tests/zoo/correct/styles.py"
_THREADS = "tests/zoo/correct/threads.py"
_TIMING = "tests/zoo/correct/timing.py"

MUTANTS: list[tuple[str, str, str, str]] = [
    # Looks that miss something.
    (
        "tasks are not looked for",
        _WALK,
        "        if asyncio.all_tasks() - tasks:\n",
        "        if False:\n",
    ),
    (
        "open ends are not looked for",
        _WALK,
        "and not end.producers_gone:",
        "and False:",
    ),
    (
        "locks are not looked for",
        _WALK,
        "        if _held_locks(plugin):\n",
        "        if False:\n",
    ),
    (
        "activity is not looked for",
        _WALK,
        ('        if _visible(plugin) != before:\n            self.found.add("not-at-rest")'),
        "        pass",
    ),
    (
        "swallowed cancellations are forgiven",
        _WALK,
        "record.swallowed |= cancelled",
        "record.swallowed |= False",
    ),
    (
        "exceptions nobody retrieves are forgiven",
        _WALK,
        '            self.found.add("unretrieved-exception")\n',
        "            pass\n",
    ),
    (
        "generators are not looked for",
        _WALK,
        '            found.add("leak-async-generator")\n',
        "            pass\n",
    ),
    (
        "faults come one await late",
        _WALK,
        "awaits == fault.at:",
        "awaits == fault.at + 1:",
    ),
    (
        "a refused call may do what it likes",
        _WALK,
        ('            if _visible(plugin) != before:\n                self.found.add("illegal'),
        ('            if False:\n                self.found.add("illegal'),
    ),
    (
        "two calls at the same time come one after the other",
        _WALK,
        ("            await asyncio.sleep(0)\n            calls.append("),
        ("            await asyncio.wait(calls)\n            calls.append("),
    ),
    (
        "threads are not looked for",
        _WATCH,
        "        if threads:\n",
        "        if False:\n",
    ),
    (
        "children are not looked for",
        _WATCH,
        "        if self.children - before.children:\n",
        "        if False:\n",
    ),
    (
        "descriptors are not looked for",
        _WATCH,
        "            if before.descriptors.get(descriptor) != target:\n",
        "            if False:\n",
    ),
    (
        "idle threads of the executor count",
        _WATCH,
        '_HARMLESS: Final = ("asyncio_", "waitpid-")',
        '_HARMLESS: Final = ("waitpid-",)',
    ),
    (
        "coroutines that are never awaited are forgiven",
        _WATCH,
        '    "was never awaited": "never-awaited",\n',
        "",
    ),
    (
        "blocking calls are let through",
        _WATCH,
        '        world.found.add("blocking-call")\n',
        "",
    ),
    # Mistakes that are repaired, so that the label is wrong.
    (
        "the clones are closed",
        _HOLDING,
        "        self.clones.clear()  #",
        "        [clone.close() for clone in self.clones]  #",
    ),
    (
        "the server is kept before it serves",
        _HOLDING,
        "asyncio.start_server(self._answer, self.host, 0)",
        "asyncio.start_server(self._answer, self.host, 0, start_serving=False)",
    ),
    (
        "the flag is set first",
        _HOLDING,
        "        self.mirror = asyncio.create_task(self._mirror())\n",
        ("        self.mirror = asyncio.create_task(self._mirror())\n        self.started = True\n"),
    ),
    (
        "only errors are retried",
        _CANCELLING,
        "            except BaseException:\n",
        "            except Exception:\n",
    ),
    (
        "the leases are forgotten first",
        _CANCELLING,
        ("        for lease in self.leases:\n            await lease.give_back()\n        self.leases.clear()"),
        ("        while self.leases:\n            await self.leases.pop().give_back()"),
    ),
    (
        "stop takes the locks in the order of the worker",
        _SCHEDULES,
        ("        async with self.log:\n            await asyncio.sleep(0)\n            async with self.index:\n"),
        ("        async with self.index:\n            await asyncio.sleep(0)\n            async with self.log:\n"),
    ),
    (
        "the health check replaces the rules in one step",
        _SCHEDULES,
        ("        self.rules = None\n        self.rules = await self._fetch()\n"),
        "        self.rules = await self._fetch()\n",
    ),
    (
        "the metric is unregistered",
        _SEQUENCES,
        '        _register("seen_total")\n',
        '        _metrics["seen_total"] = 0.0\n',
    ),
    # Correct plugins that are not.
    (
        "a thread is not told to end",
        _THREADS,
        (
            "        if self.thread is not None:\n"
            "            self.letters.put(None)  # one more than needed does no harm\n"
            "            await asyncio.to_thread(self.thread.join)\n"
        ),
        "        if self.thread is not None:\n",
    ),
    (
        "a child is forgotten before it has ended",
        _PROCESSES,
        ("            await asyncio.to_thread(self.children[-1].wait)\n            self.children.pop()\n"),
        "            await asyncio.to_thread(self.children.pop().wait)\n",
    ),
    (
        "a server is forgotten and not closed",
        _NETWORKING,
        "            self._server.close()\n            self._server = None\n        while",
        "            self._server = None\n        while",
    ),
    (
        "a directory is restored by the success only",
        _STYLES,
        ("        finally:\n            os.chdir(before)\n"),
        ("        except ZeroDivisionError:\n            raise\n        else:\n            os.chdir(before)\n"),
    ),
    (
        "a batch is dropped when it is cancelled",
        _PORTS,
        ("                finally:\n                    permit.send(row)\n                    self.delivered += 1\n"),
        (
            "                finally:\n"
            "                    pass\n"
            "                permit.send(row)\n"
            "                self.delivered += 1\n"
        ),
    ),
    (
        "a session is forgotten after it was closed",
        _STRUCTURED,
        "            await self.sessions.pop().close()\n",
        ("            await self.sessions[-1].close()\n            self.sessions.pop()\n"),
    ),
    (
        "a task is not kept",
        _STRUCTURED,
        "            self.children.add(child)\n",
        "",
    ),
    (
        "a timer is not disarmed",
        _TIMING,
        ("    async def on_stop(self) -> None:\n        self._disarm()\n"),
        ("    async def on_stop(self) -> None:\n        pass\n"),
    ),
]
