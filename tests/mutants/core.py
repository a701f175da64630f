"""Deliberate breakages of the lifecycle, the guard, the drives and the registry, each of which some test has to notice.

A mutant is a name, a file, the snippet to be replaced (which occurs there exactly once), and what replaces it.
"""

from __future__ import annotations

import sys

__all__ = ["MUTANTS", "TESTS"]

TESTS = [
    "tests/unit/test_errors.py",
    "tests/unit/test_metadata.py",
    "tests/unit/test_plugin_styles.py",
    "tests/unit/test_pipeline_adapter.py",
    "tests/unit/test_driving.py",
    "tests/unit/test_workers.py",
    "tests/unit/test_health.py",
    "tests/unit/test_listeners.py",
    "tests/unit/test_registry.py",
    "tests/unit/test_custom_lifecycle.py",
    "tests/unit/test_hot_path.py",
    "tests/property/test_lifecycle_table.py",
    "tests/property/test_registry_invariants.py",
    "tests/property/test_plugin_invariants.py",
]

_TABLE = "fsm_plugins/lifecycle/table.py"
_MACHINE = "fsm_plugins/lifecycle/machine.py"
_EVENTS = "fsm_plugins/lifecycle/events.py"
_ERRORS = "fsm_plugins/errors.py"
_METADATA = "fsm_plugins/metadata.py"
_DRIVING = "fsm_plugins/driving.py"
_RESTING = "fsm_plugins/resting.py"
_GUARD = "fsm_plugins/guard.py"
_PLUGIN = "fsm_plugins/plugin.py"
_REGISTRY = "fsm_plugins/registry.py"
_STOPPING = "fsm_plugins/stopping.py"

MUTANTS: list[tuple[str, str, str, str]] = [
    # The table and the machine.
    (
        "stop is illegal from failed",
        _TABLE,
        "        Arc(STOP, State.FAILED, State.STOPPED),\n",
        "",
    ),
    (
        "an initialized plugin cannot fail",
        _TABLE,
        "        Arc(FAIL, State.INITIALIZED, State.FAILED),\n",
        "",
    ),
    (
        "start leads to initialized",
        _TABLE,
        "Arc(START, State.INITIALIZED, State.RUNNING)",
        "Arc(START, State.INITIALIZED, State.INITIALIZED)",
    ),
    (
        "a stopped plugin can be started in the default lifecycle",
        _TABLE,
        "        Arc(FAIL, State.CREATED, State.FAILED),\n",
        (
            "        Arc(FAIL, State.CREATED, State.FAILED),\n"
            "        Arc(START, State.STOPPED, State.RUNNING),\n"
            "        Arc(FAIL, State.STOPPED, State.FAILED),\n"
        ),
    ),
    (
        "a second start cannot fail",
        _TABLE,
        "        Arc(FAIL, State.STOPPED, State.FAILED),\n",
        "",
    ),
    (
        "two arcs for one trigger and source are taken",
        _TABLE,
        "        if other is not arc:\n",
        "        if False:\n",
    ),
    (
        "any way out of a state will do",
        _TABLE,
        "or (failed and (STOP, failed.dest) in taken)",
        "or failed",
    ),
    (
        "what ends in failure need not be stoppable",
        _TABLE,
        "if not (state in lifecycle.rest or",
        "if not (state in lifecycle.rest or state in lifecycle.failures or",
    ),
    (
        "a hook may break where fail is illegal",
        _TABLE,
        "        if hooked and state not in",
        "        if False and state not in",
    ),
    (
        "the compiled table is stale when a transition is added",
        _MACHINE,
        ("        super().add_transition(*args, **kwargs)  # type: ignore[arg-type]\n        if self._ready:\n"),
        ("        super().add_transition(*args, **kwargs)  # type: ignore[arg-type]\n        if False:\n"),
    ),
    (
        "the compiled table is stale when a transition is removed",
        _MACHINE,
        ("        super().remove_transition(*args, **kwargs)  # type: ignore[arg-type]\n        if self._ready:\n"),
        ("        super().remove_transition(*args, **kwargs)  # type: ignore[arg-type]\n        if False:\n"),
    ),
    (
        "a callback that is set later goes unnoticed",
        _MACHINE,
        ("        if self._changed is not None:\n            self._changed()\n"),
        "",
    ),
    (
        "conditions are not asked",
        _MACHINE,
        "if all(condition.check(data) for condition in candidate.conditions):",
        "if True:",
    ),
    (
        "prepare callbacks are not called",
        _MACHINE,
        "            self.callbacks(candidate.prepare, data)\n",
        "",
    ),
    (
        "enter comes before exit",
        _MACHINE,
        ("                self.states[chosen.source].exit(data)\n                self.set_state(chosen.dest, model)\n"),
        ("                self.set_state(chosen.dest, model)\n                self.states[chosen.source].exit(data)\n"),
    ),
    # The claim and the commit.
    (
        "there is no claim",
        _GUARD,
        "            self.flight = trigger\n",
        "",
    ),
    (
        "a call under way does not stand in the way",
        _GUARD,
        "if move is None or self.flight is not None or (hook",
        "if move is None or (hook",
    ),
    (
        "a claim is not given back after a failure",
        _GUARD,
        "            if self.flight is trigger:\n",
        ("            if failure is not None:\n                pass\n            elif self.flight is trigger:\n"),
    ),
    (
        "the state is committed before the hook",
        _GUARD,
        ("            if move.to_rest:\n                await self._come_to_rest(move, hook)\n"),
        (
            "            if admission is None:\n"
            "                self.state = move.dest\n"
            "            if move.to_rest:\n"
            "                await self._come_to_rest(move, hook)\n"
        ),
    ),
    (
        "a move is not committed",
        _GUARD,
        ("                self.state = move.dest\n            else:\n"),
        ("                pass\n            else:\n"),
    ),
    (
        "an error of a hook is swallowed",
        _GUARD,
        ("            raise failure.error from failure.cause\n        raise failure.error\n"),
        "            raise failure.error from failure.cause\n",
    ),
    (
        "the cause of a failed hook is not chained",
        _GUARD,
        "raise failure.error from failure.cause",
        "raise failure.error from None",
    ),
    (
        "a hook that raises does not fail its plugin",
        _GUARD,
        "                failed = self._commit_failure(failure.cause)\n",
        "                failed = None\n",
    ),
    (
        "a cancelled call does not fail the plugin",
        _GUARD,
        "                failed = self._commit_failure(failure.cause)\n",
        (
            "                failed = None\n"
            "                if not isinstance(failure.error, asyncio.CancelledError):\n"
            "                    failed = self._commit_failure(failure.cause)\n"
        ),
    ),
    (
        "the cause of a failure is forgotten",
        _GUARD,
        ("        self.failure = cause\n        try:\n"),
        "        try:\n",
    ),
    (
        "a failure does not cancel the workers",
        _GUARD,
        ("                worker.task.cancel()\n        return move\n"),
        ("                pass\n        return move\n"),
    ),
    (
        "a condition can keep a plugin from being failed",
        _GUARD,
        ("            self.state = move.dest\n            for worker"),
        "            for worker",
    ),
    (
        "a callback of the machine can break a failure",
        _GUARD,
        ('        except (Exception, asyncio.CancelledError):\n            logger.exception("plugin %r: a callback'),
        ('        except ZeroDivisionError:\n            logger.exception("plugin %r: a callback'),
    ),
    (
        "a call that was failed succeeds if its hook returns",
        _GUARD,
        ("            if self.flight is not trigger:\n                self._check_interrupted()\n"),
        "",
    ),
    (
        "fail does not wait for the end of the call",
        _GUARD,
        ("            flight.interrupt(cause)\n            await flight.ended()\n"),
        ("            flight.interrupt(cause)\n            return\n"),
    ),
    (
        "fail does not interrupt the call",
        _GUARD,
        ("            flight.interrupt(cause)\n            await flight.ended()\n"),
        "            await flight.ended()\n",
    ),
    (
        "fail from outside leaves its claim behind",
        _GUARD,
        ("            move = self._commit_failure(cause)\n        finally:\n            self._release()\n"),
        ("            move = self._commit_failure(cause)\n        finally:\n            pass\n"),
    ),
    (
        "those who wait for a call are not woken",
        _GUARD,
        ("        if isinstance(flight, Flight):\n            flight.end()\n"),
        "",
    ),
    (
        "an interrupted hook is not cancelled",
        "fsm_plugins/flight.py",
        ("        if self.drive is not None:\n            self.drive.interrupt()\n"),
        "",
    ),
    (
        "an interruption before the first wait is lost",
        _GUARD,
        ("        if flight.cause is not None:\n            drive.interrupt()\n        raised:"),
        "        raised:",
    ),
    (
        "a late hook that returns is on time",
        _GUARD,
        "        if drive.expired and flight.cause is None:",
        "        if drive.expired and flight.cause is None and raised is not None:",
    ),
    (
        "a cancellation that a hook swallows is lost",
        _GUARD,
        ("        if drive.cancelled:\n            cancelled ="),
        ("        if drive.cancelled and raised is not None:\n            cancelled ="),
    ),
    (
        "what an awaitable hook returns is not awaited",
        _GUARD,
        "    return await answer\n",
        "    return answer\n",
    ),
    (
        "a success is not told",
        _GUARD,
        ("            if self.hub is not None:\n                self._tell(move, None, trigger)\n"),
        "",
    ),
    (
        "a failure is not told",
        _GUARD,
        ("        if failed is not None:\n            self._tell(failed, failure.cause, trigger)\n"),
        "",
    ),
    (
        "a failure from outside is not told",
        _GUARD,
        ('        if move is not None:\n            self._tell(move, cause, "")\n'),
        "",
    ),
    (
        "a success is told before the commit",
        _GUARD,
        ("            if admission is None:\n                self.state = move.dest\n"),
        (
            "            if admission is None:\n"
            "                self._tell(move, None, trigger)\n"
            "                self.state = move.dest\n"
        ),
    ),
    (
        "an event has no duration",
        _GUARD,
        "                self._since = hub.now()\n",
        "                pass\n",
    ),
    # Workers and rest.
    (
        "a worker may stop its own plugin",
        _GUARD,
        "            self.check_not_own_worker(trigger)\n",
        "            pass\n",
    ),
    (
        "a crash of a worker fails nothing",
        _GUARD,
        ("            if self.can(FAIL):\n                self._fail_now(error)\n            return\n"),
        "            return\n",
    ),
    (
        "a crash of a worker does not fail a start",
        _GUARD,
        "            flight.interrupt(error)\n",
        "            pass\n",
    ),
    (
        "a crash of a worker ends a stop",
        _GUARD,
        "            flight.cause = flight.cause or error\n",
        "            flight.interrupt(error)\n",
    ),
    (
        "a crash of a worker during a stop is forgotten",
        _GUARD,
        "            flight.cause = flight.cause or error\n",
        "            pass\n",
    ),
    (
        "workers can be started on a plugin at rest",
        _GUARD,
        "        idle = {self.lifecycle.initial} | self.lifecycle.rest | self.lifecycle.failures\n",
        "        idle = {self.lifecycle.initial} | self.lifecycle.failures\n",
    ),
    (
        "a refused worker is not closed",
        _GUARD,
        ("            coroutine.close()\n            raise InvalidState"),
        "            raise InvalidState",
    ),
    (
        "the inputs are not drained",
        _GUARD,
        "            late, cancelled = await drain(inputs, self.workers, until, self._hold().alarm())\n",
        "            late = False\n",
    ),
    (
        "a failed plugin drains its inputs",
        _GUARD,
        " and move.source not in self.lifecycle.failures:",
        ":",
    ),
    (
        "inputs are drained although producers live",
        _GUARD,
        " and port.producers_gone and not port.closed]",
        " and not port.closed]",
    ),
    (
        "a drain that was too long is not told",
        _GUARD,
        "                problems.append(_Failure(undrained, undrained))\n",
        "",
    ),
    (
        "the hook of a stop does not run",
        _GUARD,
        (
            "            if (waiting := self._begin(hook)) is not None:\n"
            "                now = get_running_loop().time()\n"
        ),
        ("            if (waiting := None) is not None:\n                now = get_running_loop().time()\n"),
    ),
    (
        "a stop hook that raises leaves the workers alive",
        _GUARD,
        ("        if self.workers:\n            self._hold()\n"),
        ("        if self.workers and not problems:\n            self._hold()\n"),
    ),
    (
        "the workers are ended before the hook",
        _GUARD,
        (
            "        try:\n"
            "            if (waiting := self._begin(hook)) is not None:\n"
            "                now = get_running_loop().time()\n"
        ),
        (
            "        await end_workers(self.workers, until or 0.0, grace)\n"
            "        try:\n"
            "            if (waiting := self._begin(hook)) is not None:\n"
            "                now = get_running_loop().time()\n"
        ),
    ),
    (
        "a hook that an instance was given is not asked in bulk",
        "fsm_plugins/plugin.py",
        'getattr(plugin.on_health_check, "__func__", None) is Plugin.on_health_check',
        "type(plugin).on_health_check is Plugin.on_health_check",
    ),
    (
        "the wait for a health check does not count for the stop",
        _GUARD,
        "        waits = self.workers or self._health is not None\n",
        "        waits = bool(self.workers)\n",
    ),
    (
        "the ports stay open",
        _GUARD,
        "            port.close()\n",
        "            pass\n",
    ),
    (
        "a stop is not told of workers that were closed",
        _GUARD,
        "                problems.append(_Failure(survived, survived))\n",
        "",
    ),
    (
        "a stop hook has no time of its own after a long drain",
        _GUARD,
        "max(until - now, grace)",
        "until - now + 1e-9",
    ),
    (
        "an exit in a stop hook is one problem among others",
        _GUARD,
        "        problems.sort(key=lambda problem: isinstance(problem.error, Exception))\n",
        "",
    ),
    (
        "workers are not cancelled",
        _RESTING,
        "    worker.task.cancel()\n",
        "    pass\n",
    ),
    (
        "workers are not waited for",
        _RESTING,
        ("        if left <= 0:\n            break\n        try:\n"),
        ("        if told:\n            break\n        try:\n"),
    ),
    (
        "workers that ignore their cancellation are left alone",
        _RESTING,
        "        cancelled = await _end(workers, Worker.kill, loop.time() + grace) or cancelled\n",
        "        pass\n",
    ),
    (
        "workers that come late are not told to end",
        _RESTING,
        "        for worker in live - told:\n",
        "        for worker in live if not told else ():\n",
    ),
    (
        "workers have no grace period of their own",
        _RESTING,
        "max(until, loop.time() + grace))",
        "until)",
    ),
    (
        "a drain does not notice that the last worker is gone",
        _RESTING,
        ("            if not working:\n                break\n"),
        "",
    ),
    (
        "a drain goes on after its plugin was failed",
        _RESTING,
        " and not alarm.done():",
        ":",
    ),
    (
        "a drain leaves its readers behind",
        _RESTING,
        "        await asyncio.sleep(0)  # they end",
        "        pass  # they end",
    ),
    (
        "a cancelled drain forgets the cancellation",
        _RESTING,
        ("    except asyncio.CancelledError as error:\n        cancelled = error\n    finally:\n"),
        ("    except asyncio.CancelledError:\n        pass\n    finally:\n"),
    ),
    (
        "a killed worker goes on",
        _DRIVING,
        ("            if self._killed:\n                raise asyncio.CancelledError\n"),
        "",
    ),
    (
        "a worker that ended is kept",
        _DRIVING,
        '        self._owner.worker_ended(cast("Worker[object]", self))\n',
        "",
    ),
    # Drives.
    (
        "a deadline never passes",
        _DRIVING,
        "self._loop.call_later(seconds, self._expire) if seconds < math.inf else None",
        "None",
    ),
    (
        "a late hook is not cancelled",
        _DRIVING,
        ("        self.expired = True\n        if not told:\n            self._cancel()\n"),
        "        self.expired = True\n",
    ),
    (
        "a hook that swallows its cancellation is never abandoned",
        _DRIVING,
        ("            self.abandoned = True\n            self._wake()\n"),
        "            pass\n",
    ),
    (
        "there is no grace period",
        _DRIVING,
        "self._loop.call_later(self._grace, self._abandon)",
        "self._loop.call_soon(self._abandon)",
    ),
    (
        "a hook is abandoned because it timed out by itself",
        _DRIVING,
        ("        if self.expired or self._interrupted or self.cancelled:\n            self.abandoned"),
        ("        if True:\n            self.abandoned"),
    ),
    (
        "an abandoned hook is not closed",
        _DRIVING,
        ("                self._grace_timer.cancel()\n            _close(self._coroutine)\n"),
        "                self._grace_timer.cancel()\n",
    ),
    (
        "a time-out of its own shortens the grace period",
        _DRIVING,
        (
            "            if self._grace_timer is not None:\n"
            "                self._grace_timer.cancel()\n"
            "                self._grace_timer = None\n"
        ),
        "",
    ),
    (
        "the place of an old time-out is told",
        _DRIVING,
        ('            self.place = ""\n            if'),
        "            if",
    ),
    (
        "a deadline ends a clean-up",
        _DRIVING,
        ("        self.expired = True\n        if not told:\n"),
        ("        self.expired = True\n        if True:\n"),
    ),
    (
        "a second watchdog ends a clean-up",
        _DRIVING,
        "        if not told:  # else it is",
        "        if True:  # else it is",
    ),
    (
        "a request that was taken back still stands",
        _DRIVING,
        " and self._task.cancelling() >= self._level",
        "",
    ),
    (
        "a hook may wait for its own task",
        _DRIVING,
        "            and waits_for is not self._task\n",
        "",
    ),
    (
        "a hook may wait for a future of another loop",
        _DRIVING,
        "            and waits_for.get_loop() is self._loop\n",
        "",
    ),
    # Health.
    (
        "a health check moves the plugin",
        _GUARD,
        "                answer = HealthStatus.unhealthy(describe(error))\n",
        (
            "                answer = HealthStatus.unhealthy(describe(error))\n"
            "                self.state = State.FAILED\n"
        ),
    ),
    (
        "an error of a health check reaches the caller",
        _GUARD,
        ("            except (Exception, asyncio.CancelledError) as error:\n                answer"),
        ("            except ZeroDivisionError as error:\n                answer"),
    ),
    (
        "a health check has no deadline",
        _GUARD,
        "answer = await drive.finish(waits_for, seconds)",
        "answer = await drive.finish(waits_for, 1e9)",
    ),
    (
        "a late answer is an answer",
        _GUARD,
        "            if drive is not None and drive.expired:\n",
        "            if False:\n",
    ),
    (
        "an answer may be about the past",
        _GUARD,
        "            flight.health = self.known_health() or answer\n",
        '            flight.health = cast("HealthStatus", answer)\n',
    ),
    (
        "a health check is left behind",
        _GUARD,
        ("        finally:\n            self._health = None\n            flight.end()\n"),
        ("        finally:\n            flight.end()\n"),
    ),
    (
        "two health checks run at the same time",
        _GUARD,
        ("            if self._health is None:\n                return"),
        ("            if True:\n                return"),
    ),
    (
        "a stop does not wait for a health check",
        _GUARD,
        "cancelled = await self._end_health_check() if self._health is not None else None",
        "cancelled: asyncio.CancelledError | None = None",
    ),
    (
        "a health hook may move its plugin",
        _GUARD,
        ("        if self._health is not None and self.in_own_hook():\n            raise"),
        ("        if False:\n            raise"),
    ),
    (
        "a health hook may ask itself",
        _GUARD,
        ("            if self.in_own_hook():\n                return HealthStatus.degraded"),
        ("            if False:\n                return HealthStatus.degraded"),
    ),
    (
        "a plugin that is not running is asked",
        _GUARD,
        "        if self.state != State.RUNNING:\n",
        "        if False:\n",
    ),
    (
        "a failed plugin is healthy",
        _GUARD,
        "            return HealthStatus.unhealthy(describe(self.failure) if",
        (
            "            return HealthStatus.healthy() if self.failure else "
            "HealthStatus.unhealthy(describe(self.failure) if"
        ),
    ),
    # Events.
    (
        "a recorder that raises breaks the transition",
        _EVENTS,
        "            except BaseException:  #",
        "            except ZeroDivisionError:  #",
    ),
    (
        "whoever records alone is not heard of",
        _EVENTS,
        "        self.heard = self._timed or bool(entries)\n",
        "        self.heard = self._timed or bool(self.listeners)\n",
    ),
    (
        "a recorder is told twice",
        _EVENTS,
        "for each in listeners if not isinstance(each, Recorder))",
        "for each in listeners)",
    ),
    (
        "a loop that has ended keeps the time",
        _GUARD,
        "hub.loop is None or not hub.loop.is_running()",
        "hub.loop is None",
    ),
    (
        "an event is told in the middle of another one",
        _EVENTS,
        ("        if self._telling:\n            self._untold.append(event)\n            return\n"),
        "",
    ),
    (
        "an error of a listener breaks the transition",
        _EVENTS,
        "                except (Exception, asyncio.CancelledError):\n",
        "                except ZeroDivisionError:\n",
    ),
    (
        "an exit of a listener is swallowed",
        _EVENTS,
        ("        if urgent is not None:\n            raise urgent\n"),
        "",
    ),
    (
        "an exit of a listener leaves the hub telling",
        _EVENTS,
        "                    urgent = urgent or error\n",
        "                    raise\n",
    ),
    (
        "only the first listener is told",
        _EVENTS,
        ("                    listener(event)\n                except"),
        ("                    listener(event)\n                    break\n                except"),
    ),
    (
        "to end one subscription ends all of that listener",
        _EVENTS,
        "if other is not entry)",
        "if other[0] is not listener)",
    ),
    (
        "asynchronous objects are taken for listeners",
        _EVENTS,
        "(listener, type(listener).__call__)",
        "(listener,)",
    ),
    # Plugins.
    (
        "a mixin may replace a call",
        _PLUGIN,
        "inspect.getattr_static(cls, name) is not vars(Plugin)[name]",
        "name in vars(cls)",
    ),
    (
        "metadata of a mixin cannot be overridden",
        _PLUGIN,
        "inspect.getattr_static(cls, name, None)  # it may come from a mixin",
        "vars(cls).get(name)",
    ),
    (
        "name= that an __init__ hands on is ignored",
        _PLUGIN,
        "            identify(self, self._name, self._deadlines)\n",
        "            pass\n",
    ),
    (
        "name= is ignored",
        _PLUGIN,
        '            identify(plugin, cast("str | None", name), cast("Deadlines | None", deadlines))\n',
        "            pass\n",
    ),
    (
        "the machine can set the state at any time",
        _PLUGIN,
        ("        if self._guard.flight is None:\n            raise DefinitionError"),
        ("        if False:\n            raise DefinitionError"),
    ),
    (
        "fail can be fired without a cause",
        _PLUGIN,
        "        if trigger == FAIL:\n",
        "        if False:\n",
    ),
    (
        "anything can be spawned",
        _PLUGIN,
        "        if not isinstance(coroutine, Coroutine):\n",
        "        if False:\n",
    ),
    (
        "init of a pipeline is not run",
        _PLUGIN,
        "            await self._init()\n",
        "            pass\n",
    ),
    (
        "any version will do",
        _METADATA,
        "not _SEMVER.fullmatch(value)",
        "not _SEMVER.match(value)",
    ),
    (
        "a bool is a number of seconds",
        _METADATA,
        "isinstance(value, bool) or not isinstance(value, int | float)",
        "not isinstance(value, int | float)",
    ),
    (
        "deadlines cannot be copied",
        _METADATA,
        "    def __reduce__(self) -> tuple[object, ...]:",
        "    def reduced(self) -> tuple[object, ...]:",
    ),
    (
        "a copied error loses its fields",
        _ERRORS,
        "        self.args = (name, trigger, seconds, where, abandoned)\n",
        "",
    ),
    (
        "a part of a StopFailed is any group",
        _ERRORS,
        "        return StopFailed([e for e in excs if isinstance(e, PluginError)])\n",
        "        return ExceptionGroup(self.message, excs)\n",
    ),
    # The registry.
    (
        "register takes a name twice",
        _REGISTRY,
        "        if name in self._plugins:\n",
        "        if False:\n",
    ),
    (
        "a plugin may be in two registries",
        _REGISTRY,
        "        if plugin._guard.hub is not None:\n            raise AlreadyRegistered",
        "        if False:\n            raise AlreadyRegistered",
    ),
    (
        "register is not atomic",
        _REGISTRY,
        "        if name in self._plugins:\n",
        "        plugin._guard.hub = self._hub\n        if name in self._plugins:\n",
    ),
    (
        "a plugin that left is still heard",
        _REGISTRY,
        ("        plugin._guard.hub = None\n        return plugin\n"),
        "        return plugin\n",
    ),
    (
        "registration during a walk",
        _REGISTRY,
        ("        if self._walk is not None:\n            raise RegistryBusy(wanted, self._walk.call)\n"),
        "",
    ),
    (
        "registration during a bulk health check",
        _REGISTRY,
        "        if self._health_checks:\n",
        "        if False:\n",
    ),
    (
        "a bulk health check is busy for ever",
        _REGISTRY,
        "            self._health_checks -= 1\n",
        "            pass\n",
    ),
    (
        "plugins are started in reverse",
        _REGISTRY,
        (
            "            for plugin in self._plugins.values():\n"
            "                walk.current = plugin\n"
            "                await plugin._guard.fire(trigger)\n"
        ),
        (
            "            for plugin in reversed(self._plugins.values()):\n"
            "                walk.current = plugin\n"
            "                await plugin._guard.fire(trigger)\n"
        ),
    ),
    (
        "plugins are stopped in reverse",
        _REGISTRY,
        (
            "            for plugin in self._plugins.values():\n"
            "                walk.current = plugin\n"
            "                since"
        ),
        (
            "            for plugin in reversed(self._plugins.values()):\n"
            "                walk.current = plugin\n"
            "                since"
        ),
    ),
    (
        "a bulk start goes on after an error",
        _REGISTRY,
        ("                await plugin._guard.fire(trigger)\n                if walk.ending:\n"),
        (
            "                try:\n"
            "                    await plugin._guard.fire(trigger)\n"
            "                except HookFailed:\n"
            "                    continue\n"
            "                if walk.ending:\n"
        ),
    ),
    (
        "two bulk starts at a time",
        _REGISTRY,
        "        self._check_walk(call)\n",
        "",
    ),
    (
        "stop_all ends with the first error",
        _REGISTRY,
        "                walk.urgent = walk.urgent or urgent\n",
        (
            "                walk.urgent = walk.urgent or urgent\n"
            "                if walk.problems:\n"
            "                    break\n"
        ),
    ),
    (
        "stop_all ends when it is cancelled",
        _REGISTRY,
        "                walk.urgent = walk.urgent or urgent\n",
        (
            "                walk.urgent = walk.urgent or urgent\n"
            "                if walk.urgent:\n"
            "                    break\n"
        ),
    ),
    (
        "errors of stop_all are swallowed",
        _REGISTRY,
        ("        if walk.problems:\n            raise StopFailed(walk.problems)\n"),
        "",
    ),
    (
        "a cancelled stop_all returns",
        _REGISTRY,
        "            raise walk.urgent\n",
        "            return\n",
    ),
    (
        "those who join a stop_all do not hear its problems",
        _REGISTRY,
        ("            if other.problems:\n                raise StopFailed(other.problems)\n"),
        "",
    ),
    (
        "a cancelled stop is no problem",
        _STOPPING,
        "        return failed, urgent or",
        "        return failed if isinstance(error, Exception) else None, urgent or",
    ),
    (
        "a hook that cancels itself ends stop_all",
        _STOPPING,
        "(None if isinstance(error, Exception) or cancelled_itself else error)",
        "(None if isinstance(error, Exception) else error)",
    ),
    (
        "an initialized plugin is not released",
        _STOPPING,
        "            await guard.fail(Abandoned(plugin.info.name, guard.state))\n",
        "            return None, urgent\n",
    ),
    (
        "a created plugin is failed by stop_all",
        _STOPPING,
        "    if guard.state in guard.lifecycle.rest or guard.state == guard.lifecycle.initial:\n",
        "    if guard.state in guard.lifecycle.rest:\n",
    ),
    (
        "stop_all does not end calls under way",
        _STOPPING,
        ("        if flight is not told and not guard.coming_to_rest:\n            interrupt(plugin)\n"),
        "",
    ),
    (
        "stop_all does not end a bulk start",
        _REGISTRY,
        "        urgent = await self._end_bulk_start()\n",
        "        urgent = None\n",
    ),
    (
        "a bulk start goes on after stop_all has told it to end",
        _REGISTRY,
        ("                if walk.ending:\n                    raise Abandoned(plugin.info.name, plugin.state)\n"),
        "",
    ),
    (
        "a hook may stop the registry that waits for it",
        _REGISTRY,
        (
            "        if self._walk is not None and self._walk.task is asyncio.current_task():\n"
            '            raise RegistryBusy("stop_all, called by a hook,", self._walk.call)\n'
            "        for plugin in self._plugins.values():\n"
            "            if plugin._guard.in_own_hook():\n"
        ),
        ("        for plugin in self._plugins.values():\n            if False:\n"),
    ),
    (
        "a worker may stop the registry of its plugin",
        _REGISTRY,
        '            plugin._guard.check_not_own_worker("stop_all")\n',
        "",
    ),
    (
        "the owner is not told of problems",
        _REGISTRY,
        "time() - since, problem)",
        "time() - since, None)",
    ),
    (
        "health is asked for one after the other",
        _REGISTRY,
        (
            "            async with asyncio.TaskGroup() as group:\n"
            "                answers = [group.create_task(plugin.health_check()) for plugin in plugins]\n"
        ),
        (
            "            answers = [asyncio.create_task(plugin.health_check()) for plugin in plugins[:0]]\n"
            "            for plugin in plugins:\n"
            "                answers.append(asyncio.create_task(plugin.health_check()))\n"
            "                await answers[-1]\n"
        ),
    ),
    (
        "an entry of a bulk check is of two moments",
        _REGISTRY,
        "plugin._guard.known_health() or answer.result()",
        "answer.result()",
    ),
    (
        "running does not stop after an error",
        _REGISTRY,
        ("        except BaseException as error:\n            try:\n                await self.stop_all()\n"),
        ("        except BaseException as error:\n            try:\n                pass\n"),
    ),
    (
        "running does not tell what went wrong in the end",
        _REGISTRY,
        '                    error.add_note(f"and while stopping: {problem}")\n',
        "                    pass\n",
    ),
]

if sys.version_info >= (3, 12):  # without eager tasks these make no difference
    MUTANTS += [
        (
            "an eager callback can move the plugin under the feet of a call",
            _GUARD,
            " or self.state != admission.move.source:",
            ":",
        ),
        (
            "a worker is known only when it has begun",
            _GUARD,
            ('        self.workers.add(cast("Worker[object]", worker))\n        return worker.begin()\n'),
            (
                "        task = worker.begin()\n"
                '        self.workers.add(cast("Worker[object]", worker))\n'
                "        return task\n"
            ),
        ),
        (
            "an eager worker does not know its task",
            _DRIVING,
            '        self.task = cast("asyncio.Task[T]", asyncio.current_task())',
            "        pass",
        ),
    ]
