"""The table and the concurrency of the core, broken in ways that the layers L3 and L4 have to notice by themselves.

Every arc of the shipped tables is dropped, and led to every other state. Of the breakages of the core, those that have
to do with locks (claims, walks, waiting, interrupting), with rollback (what becomes of a plugin when something breaks)
and with order are tried again here, with no other test than that of the two layers; and some more of that kind.
"""

from __future__ import annotations

from fsm_plugins import RESTARTABLE
from tests.mutants.core import MUTANTS as CORE

__all__ = ["MUTANTS", "TESTS"]

TESTS = ["tests/property/test_verify_core.py"]

_TABLE = "fsm_plugins/lifecycle/table.py"
_GUARD = "fsm_plugins/guard.py"
_FLIGHT = "fsm_plugins/flight.py"
_REGISTRY = "fsm_plugins/registry.py"
_STOPPING = "fsm_plugins/stopping.py"


def _arcs() -> list[tuple[str, str, str, str]]:
    found = []
    for arc in RESTARTABLE.arcs:
        head = f"Arc({arc.trigger.upper()}, State.{arc.source.upper()}, State."
        line = f"        {head}{arc.dest.upper()}),\n"
        found.append((f"no arc '{arc}'", _TABLE, line, ""))
        for state in RESTARTABLE.states:
            if state != arc.dest:
                changed = line.replace(f"State.{arc.dest.upper()})", f"State.{state.upper()})")
                found.append((f"'{arc}' leads to {state}", _TABLE, line, changed))
    return found


_AGAIN = {
    # Locks.
    "there is no claim",
    "a call under way does not stand in the way",
    "a claim is not given back after a failure",
    "fail does not wait for the end of the call",
    "fail does not interrupt the call",
    "fail from outside leaves its claim behind",
    "those who wait for a call are not woken",
    "an interrupted hook is not cancelled",
    "an interruption before the first wait is lost",
    "a health check is left behind",
    "two health checks run at the same time",
    "a stop does not wait for a health check",
    "registration during a walk",
    "registration during a bulk health check",
    "a bulk health check is busy for ever",
    "two bulk starts at a time",
    "stop_all does not end calls under way",
    "stop_all does not end a bulk start",
    "a bulk start goes on after stop_all has told it to end",
    "those who join a stop_all do not hear its problems",
    "an answer may be about the past",
    "an entry of a bulk check is of two moments",
    # Rollback.
    "a hook that raises does not fail its plugin",
    "a cancelled call does not fail the plugin",
    "the cause of a failure is forgotten",
    "an error of a hook is swallowed",
    "a call that was failed succeeds if its hook returns",
    "a failure does not cancel the workers",
    "workers are not cancelled",
    "a stop hook that raises leaves the workers alive",
    "a health check moves the plugin",
    "running does not stop after an error",
    "stop_all ends with the first error",
    "stop_all ends when it is cancelled",
    "errors of stop_all are swallowed",
    "a cancelled stop_all returns",
    "a cancelled stop is no problem",
    "an initialized plugin is not released",
    "a created plugin is failed by stop_all",
    "a bulk start goes on after an error",
    "register takes a name twice",
    "a plugin that left is still heard",
    "a cancellation that a hook swallows is lost",
    "a late hook that returns is on time",
    "a move is not committed",
    # Order.
    "the state is committed before the hook",
    "the hook of a stop does not run",
    "a success is not told",
    "a failure is not told",
    "a failure from outside is not told",
    "a success is told before the commit",
    "plugins are started in reverse",
    "plugins are stopped in reverse",
}

_MORE: list[tuple[str, str, str, str]] = [
    (
        "a claim is given back before the commit",
        _GUARD,
        (
            "            if self.flight is not trigger:\n"
            "                self._check_interrupted()\n"
            "            if admission"
        ),
        (
            "            if self.flight is not trigger:\n"
            "                self._check_interrupted()\n"
            "            self._release()\n"
            "            await asyncio.sleep(0)\n"
            "            if admission"
        ),
    ),
    (
        "the commit gives way to others",
        _GUARD,
        (
            "            if self.flight is not trigger:\n"
            "                self._check_interrupted()\n"
            "            if admission"
        ),
        (
            "            if self.flight is not trigger:\n"
            "                self._check_interrupted()\n"
            "            await asyncio.sleep(0)\n"
            "            if admission"
        ),
    ),
    (
        "the claim comes after a turn of the loop",
        _GUARD,
        "        failure: _Failure | None = None\n        try:\n            self.flight = trigger\n",
        (
            "        failure: _Failure | None = None\n"
            "        await asyncio.sleep(0)\n"
            "        try:\n"
            "            self.flight = trigger\n"
        ),
    ),
    (
        "the last cause counts",
        _FLIGHT,
        "        if self.cause is None:\n            self.cause = cause\n",
        "        self.cause = cause\n",
    ),
    (
        "only the first who waits is woken",
        _FLIGHT,
        "                future.set_result(None)\n\n\nclass Flight",
        "                future.set_result(None)\n                break\n\n\nclass Flight",
    ),
    (
        "fail gives up when the call ended otherwise",
        _GUARD,
        "            if self.failure is cause:\n                return\n",
        "            return\n",
    ),
    (
        "fail waits in the wrong order",
        _GUARD,
        "            flight.interrupt(cause)\n            await flight.ended()\n",
        "            await flight.ended()\n            flight.interrupt(cause)\n",
    ),
    (
        "a stopped plugin is stopped again by stop_all",
        _STOPPING,
        "    if guard.state in guard.lifecycle.rest or guard.state == guard.lifecycle.initial:\n",
        "    if guard.state == guard.lifecycle.initial:\n",
    ),
    (
        "stop_all interrupts a stop under way",
        _STOPPING,
        "        if flight is not told and not guard.coming_to_rest:\n",
        "        if flight is not told:\n",
    ),
    (
        "stop_all does not wait for a call under way",
        _STOPPING,
        "            await flight.ended()\n",
        "            break\n",
    ),
    (
        "stop_all does not wait for the end of a bulk start",
        _REGISTRY,
        "                await walk.ended()\n            except asyncio.CancelledError as error:\n",
        "                break\n            except asyncio.CancelledError as error:\n",
    ),
    (
        "two stop_all at a time",
        _REGISTRY,
        "        if (other := self._walk) is not None:\n",
        "        if (other := None) is not None:\n",
    ),
    (
        "a bulk start keeps its walk after an error",
        _REGISTRY,
        (
            "                    raise Abandoned(plugin.info.name, plugin.state)\n"
            "        finally:\n"
            "            self._walk = None\n"
        ),
        (
            "                    raise Abandoned(plugin.info.name, plugin.state)\n"
            "        finally:\n"
            "            self._walk = walk if walk.ending else None\n"
        ),
    ),
    (
        "who waits for a bulk start is not woken",
        _REGISTRY,
        (
            "                    raise Abandoned(plugin.info.name, plugin.state)\n"
            "        finally:\n"
            "            self._walk = None\n"
            "            walk.end()\n"
        ),
        (
            "                    raise Abandoned(plugin.info.name, plugin.state)\n"
            "        finally:\n"
            "            self._walk = None\n"
        ),
    ),
    (
        "who joins a stop_all does not wait for it",
        _REGISTRY,
        "            await other.ended()\n",
        "            pass\n",
    ),
    (
        "an abandoned bulk start does not tell the hook",
        _REGISTRY,
        "                interrupt(walk.current)\n",
        "                pass\n",
    ),
    (
        "a cancellation of stop_all is forgotten while it waits",
        _STOPPING,
        "            urgent = urgent or cancelled\n",
        "            pass\n",
    ),
    (
        "stop_all fails a plugin and does not stop it",
        _STOPPING,
        "        await guard.fire(STOP)\n",
        "        if guard.state not in guard.lifecycle.failures:\n            await guard.fire(STOP)\n",
    ),
    (
        "a registry is busy from the beginning",
        _REGISTRY,
        "        self._walk: _Walk | None = None\n        self._health_checks = 0\n",
        "        self._walk: _Walk | None = None\n        self._health_checks = 1\n",
    ),
    (
        "a start_all initialises",
        _REGISTRY,
        'await self._advance("start_all", START)',
        'await self._advance("start_all", INIT)',
    ),
]

MUTANTS = [*_arcs(), *[mutant for mutant in CORE if mutant[0] in _AGAIN], *_MORE]
assert {mutant[0] for mutant in CORE} >= _AGAIN, "a mutant has another name now"
