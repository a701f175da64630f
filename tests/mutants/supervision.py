"""Deliberate breakages of supervision, of ``registry.replace`` and of stopping, each of which some test has to notice.

A mutant is a name, a file, the snippet to be replaced (which occurs there exactly once), and what replaces it.
"""

from __future__ import annotations

__all__ = ["MUTANTS", "TESTS"]

TESTS = [
    "tests/unit/test_supervision_policy.py",
    "tests/unit/test_supervisor.py",
    "tests/unit/test_watchdog.py",
    "tests/unit/test_registry.py",
    "tests/unit/test_supervised_app.py",
    "tests/property/test_supervision.py",
]

_POLICY = "fsm_plugins/supervision/policy.py"
_TREE = "fsm_plugins/supervision/tree.py"
_CHILDREN = "fsm_plugins/supervision/children.py"
_RECOVERY = "fsm_plugins/supervision/recovery.py"
_SUPERVISOR = "fsm_plugins/supervision/supervisor.py"
_HEALTH = "fsm_plugins/supervision/health.py"
_WATCHDOG = "fsm_plugins/supervision/watchdog.py"
_ALONE = "fsm_plugins/supervision/alone.py"
_EVENTS = "fsm_plugins/supervision/events.py"
_STOPPING = "fsm_plugins/stopping.py"
_REGISTRY = "fsm_plugins/registry.py"
_APP = "fsm_plugins/app.py"
_ORCHESTRATOR = "fsm_plugins/orchestrator.py"

MUTANTS: list[tuple[str, str, str, str]] = [
    # Policies.
    (
        "true is an intensity of 1",
        _POLICY,
        "type(value) is int and value >= 0",
        "isinstance(value, int) and value >= 0",
    ),
    ("true is a number", _POLICY, " and not isinstance(value, bool)", ""),
    ("an endless period is accepted", _POLICY, "0 < value < math.inf", "0 < value"),
    ("a shrinking delay is accepted", _POLICY, "1 <= value < math.inf", "0 < value < math.inf"),
    (
        "an endless cap is accepted",
        _POLICY,
        """        if not (_is_number(value) and 0 <= value < math.inf):
            raise DefinitionError(f"cap""",
        """        if not (_is_number(value) and 0 <= value):
            raise DefinitionError(f"cap""",
    ),
    ("a cap may be under the initial delay", _POLICY, "if value < self.initial:", "if False:"),
    ("more than all may be jitter", _POLICY, "0 <= value <= 1)", "0 <= value)"),
    ("delays grow from the second failure on only", _POLICY, "** (failures - 1))", "** max(0, failures - 2))"),
    ("there is no cap", _POLICY, "delay = min(self.cap, self.initial", "delay = max(0, self.initial"),
    ("jitter adds to the delay", _POLICY, "(1.0 - self.jitter * random)", "(1.0 + self.jitter * random)"),
    ("a delay of nothing grows to the cap", _POLICY, "self.cap if self.initial else 0.0", "self.cap"),
    ("0 health checks are enough", _POLICY, "value < 1:", "value < 0:"),
    ("any watchdog will do", _POLICY, "            _positive(self, attribute, value)\n", "            pass\n"),
    ("the groups of a policy can be changed", _POLICY, "return MappingProxyType(dict(value))", "return dict(value)"),
    ("a circle is told once for each group in it", _POLICY, "reported.add(frozenset(circle))", "pass"),
    (
        "a group around that does not exist is overlooked",
        _POLICY,
        "if group.group is not None and group.group not in",
        "if False and group.group not in",
    ),
    ("a plugin that does not exist is overlooked", _POLICY, "        if name not in known:", "        if False:"),
    (
        "a group of a plugin that does not exist is overlooked",
        _POLICY,
        "if child.group is not None and child.group not in",
        "if False and child.group not in",
    ),
    # Limits and groups.
    ("uptime is forgotten at once", _TREE, "if kept >= self._keep:", "if kept >= 0:"),
    ("uptime is kept for ever", _TREE, "                    self._runs.popleft()", "                    break"),
    ("an end counts twice", _TREE, "        self._since = None\n        kept", "        kept"),
    (
        "the last run is all of them",
        _TREE,
        "self._runs[-1][1] - self._runs[-1][0] if",
        "self._runs[-1][1] - self._runs[0][0] if",
    ),
    ("time at rest counts as running", _TREE, "left -= end - begin", "left -= end - begin + 1"),
    ("a plugin that never ran so long has done so for ever", _TREE, 'return float("-inf")', "return 0.0"),
    (
        "one more than the limit",
        _TREE,
        'maxlen=None if group.intensity == "unlimited" else group.intensity)',
        'maxlen=None if group.intensity == "unlimited" else group.intensity + 1)',
    ),
    (
        "a restart just a period ago counts",
        _TREE,
        "self._restarts[0] > uptime.since",
        "self._restarts[0] >= uptime.since",
    ),
    ("the limit is by the clock", _TREE, "> uptime.since(self.period)", "> now - self.period"),
    ("restarts are not counted", _TREE, "        self._restarts.append(now)\n", ""),
    ("a group at its limit does not begin anew", _SUPERVISOR, "            node.forget()\n", ""),
    (
        "a group has only its own members",
        _TREE,
        "                around = around.parent\n",
        "                around = None\n",
    ),
    (
        "one for one takes everybody",
        _TREE,
        "            return set(failed)\n",
        "            return set(node.members)\n",
    ),
    ("the rest begins after the one that failed", _TREE, "self._place[name] >= first", "self._place[name] > first"),
    ("dependents are those next to it", _TREE, "                    ahead.append(consumer)\n", ""),
    ("dependents outside of the group are restarted", _TREE, "if consumer in members and", "if"),
    # What is known of a plugin.
    (
        "one permanent error among others is overlooked",
        _CHILDREN,
        "return any(map(is_permanent",
        "return all(map(is_permanent",
    ),
    ("one that is not ready is enough", _CHILDREN, "return all(map(is_not_ready", "return any(map(is_not_ready"),
    ("the cause is the call", _CHILDREN, "        error = error.__cause__\n    while", "        pass\n    while"),
    (
        "a supervisor in a supervisor hides what was permanent",
        _CHILDREN,
        "        return is_permanent(cause.__cause__)\n",
        "        return False\n",
    ),
    (
        "one that was given up is still wanted",
        _CHILDREN,
        'is to run: nobody stopped it, and it was not given up."""\n        return self.phase in (UP, RECOVERING)',
        'is to run: nobody stopped it, and it was not given up."""\n        return True',
    ),
    (
        "a plugin that is withdrawn is started nevertheless",
        _CHILDREN,
        "            self.recovery.pending.discard(self.name)\n",
        "",
    ),
    ("waiters are told that all went well", _CHILDREN, "waiter.set_exception(error)", "waiter.set_result(None)"),
    ("health is always good", _CHILDREN, "if not health.is_healthy]", "if False]"),
    # Recoveries.
    ("recoveries do not wait for the start", _RECOVERY, "        await self._open.wait()\n", ""),
    (
        "recoveries that meet stay apart",
        _RECOVERY,
        "            recovery, *others = met\n",
        "            recovery, others = next(iter(met)), []\n",
    ),
    ("the earlier of two delays counts", _RECOVERY, "            due = max(due, other.due)\n", ""),
    (
        "a new failure does not delay those that wait",
        _RECOVERY,
        "recovery.due = max(recovery.due, due)",
        "recovery.due = recovery.due or due",
    ),
    (
        "a recovery that was taken over is not waited for",
        _RECOVERY,
        "            recovery.after |= {other.task, *other.after}\n",
        "",
    ),
    (
        "plugins are started as they come",
        _RECOVERY,
        """    async def _start_pending(self, recovery: Recovery) -> None:
        for name in self._in_order(recovery.pending):""",
        """    async def _start_pending(self, recovery: Recovery) -> None:
        for name in reversed(self._in_order(recovery.pending)):""",
    ),
    (
        "plugins are stopped as they come",
        _RECOVERY,
        """    async def _stop_pending(self, recovery: Recovery) -> None:
        for name in self._in_order(recovery.pending):""",
        """    async def _stop_pending(self, recovery: Recovery) -> None:
        for name in reversed(self._in_order(recovery.pending)):""",
    ),
    (
        "nobody waits for the back-off",
        _RECOVERY,
        "                await self._until_due(recovery)\n",
        "                pass\n",
    ),
    ("attempts outlive the supervisor", _RECOVERY, "                task.cancel()\n", "                return None\n"),
    (
        "the channels of one that is stopped end",
        _RECOVERY,
        "            self._orchestrator.hold(child.name)\n",
        "            pass\n",
    ),
    (
        "a stop by others is the supervisor's own",
        _RECOVERY,
        "            if self._decisions.stopped_by_others(child):",
        "            if False:",
    ),
    (
        "temporary plugins come back with their siblings",
        _RECOVERY,
        "if child.restart is Restart.TEMPORARY and child.wanted and",
        "if False and",
    ),
    ("temporary plugins cannot be restarted by hand", _RECOVERY, " and not child.waiters:", ":"),
    (
        "the channels of a temporary plugin stay open",
        _RECOVERY,
        "                    self._orchestrator.release(name)\n",
        "                    pass\n",
    ),
    (
        "one that was given up stays in its recovery",
        _RECOVERY,
        "            if not child.wanted and child.recovery is recovery:",
        "            if False:",
    ),
    (
        "a failed attempt holds the others up",
        _RECOVERY,
        "                self._decisions.failed(child, cause)\n            if recovery.changed.is_set():",
        (
            "                self._decisions.failed(child, cause)\n"
            "                return\n"
            "            if recovery.changed.is_set():"
        ),
    ),
    (
        "an attempt that was interrupted is a crash",
        _RECOVERY,
        "elif isinstance(cause := cause_of(error), Abandoned):",
        "elif isinstance(cause := cause_of(error), Abandoned) and not ours and False:",
    ),
    (
        "an attempt of before ends the recovery of now",
        _RECOVERY,
        "            ours = child.recovery is recovery or",
        "            ours = child.recovery is not None or",
    ),
    ("whoever waits for an attempt is not told", _RECOVERY, "                    child.settle(None)\n", ""),
    (
        "whoever waits for a failed attempt is not told",
        _RECOVERY,
        "                if ours:\n                    child.settle(error)\n",
        "",
    ),
    ("the old instance is started again", _RECOVERY, "if plugin.state != plugin.lifecycle.initial:", "if False:"),
    ("a hook that cancels itself cancels the recovery", _RECOVERY, "if task.cancelling() > requests:", "if True:"),
    (
        "a factory that raises is given up",
        _RECOVERY,
        "            raise  # its factory raised, and may do better the next time\n",
        "            raise PermanentError('x') from None\n",
    ),
    # The supervisor.
    (
        "not ready in the first start is the end",
        _SUPERVISOR,
        "            if not is_not_ready(cause_of(error)):\n                raise\n",
        "            raise\n",
    ),
    (
        "a plugin that is not ready yet is started all the same",
        _SUPERVISOR,
        "in plugin.lifecycle.expected(START) and child.recovery is None:",
        "in plugin.lifecycle.states:",
    ),
    (
        "what is known at the start of a permanent plugin is not looked at",
        _SUPERVISOR,
        "                await self._first(child, START)\n                self._look(child, plugin)\n",
        "                await self._first(child, START)\n",
    ),
    (
        "everything is stopped twice in the end",
        _SUPERVISOR,
        "if self._exhausted is not None and self._ended.is_set():",
        "if False:",
    ),
    (
        "what did not stop in the end is not told",
        _SUPERVISOR,
        'self._exhausted.add_note(f"and while stopping: {problem}")',
        "pass",
    ),
    (
        "wait returns when it gave up",
        _SUPERVISOR,
        "        await self._ended.wait()\n        if self._exhausted is not None:",
        "        await self._ended.wait()\n        if False:",
    ),
    (
        "nobody is told that the supervisor gave up",
        _SUPERVISOR,
        "        finally:\n            self._ended.set()\n        raise self._exhausted\n",
        "        finally:\n            self._ended.set()\n",
    ),
    (
        "those who wait for a restart wait for ever",
        _SUPERVISOR,
        '            child.settle(PluginError(f"plugin {child.name!r} was not started: its supervisor stops"))\n',
        "",
    ),
    (
        "a stop that goes wrong is a failure",
        _SUPERVISOR,
        "if leads_to_rest(plugin, event) and not child.busy:",
        "if False:",
    ),
    (
        "a plugin that is only initialised crashes as all is stopped",
        _SUPERVISOR,
        "elif self._stopping and isinstance(event.cause, Abandoned):",
        "elif False:",
    ),
    (
        "failed attempts are told twice",
        _SUPERVISOR,
        "elif not (child.stopping or (child.busy and event.call)):",
        "elif not child.stopping:",
    ),
    (
        "a stop by others is no request",
        _SUPERVISOR,
        "            if not child.busy:\n                self._left_alone(child)\n",
        "",
    ),
    (
        "its own stop is a request",
        _SUPERVISOR,
        "            if not child.busy:\n                self._left_alone(child)\n",
        "            self._left_alone(child)\n",
    ),
    (
        "one that somebody starts again is not wanted",
        _SUPERVISOR,
        (
            "                    child.ask_for()\n"
            "                    child.withdraw()\n"
            '                    child.move("restarted")\n'
        ),
        "                    child.withdraw()\n",
    ),
    (
        "bad answers of the one before count",
        _SUPERVISOR,
        "                child.unhealthy = 0\n                if not child.busy:",
        "                if not child.busy:",
    ),
    (
        "whoever waits is not told of a stop by others",
        _SUPERVISOR,
        '            child.settle(PluginError(f"plugin {child.name!r} was stopped on request"))\n',
        "",
    ),
    ("a transient plugin that is done is restarted", _SUPERVISOR, "if child.restart is not Restart.PERMANENT or", "if"),
    (
        "a permanent plugin without workers is done",
        _SUPERVISOR,
        "if not workers and plugin._guard.had_workers:",
        "if not workers:",
    ),
    (
        "a permanent plugin is done during a call",
        _SUPERVISOR,
        "or plugin._guard.in_flight is not None:\n            return  # there",
        "and False:\n            return  # there",
    ),
    (
        "every worker of a permanent plugin is watched again each time",
        _SUPERVISOR,
        (
            "elif workers and (child.watched is None or child.watched.done()):\n"
            "            child.watched = workers[0]\n"
            "            workers[0].add_done_callback(lambda _: self._look(child, plugin))"
        ),
        "for worker in workers:\n            worker.add_done_callback(lambda _: self._look(child, plugin))",
    ),
    (
        "health is told again and again",
        _SUPERVISOR,
        'if status.level != ("healthy" if child.health is None else child.health.level):',
        "if True:",
    ),
    (
        "degraded is unhealthy",
        _SUPERVISOR,
        "child.unhealthy + 1 if status.is_unhealthy else 0",
        "child.unhealthy + 1 if not status.is_healthy else 0",
    ),
    (
        "bad answers need not come in a row",
        _SUPERVISOR,
        "child.unhealthy + 1 if status.is_unhealthy else 0",
        "child.unhealthy + status.is_unhealthy",
    ),
    ("health counts while all is stopped", _SUPERVISOR, "        if self._stopping:\n            return 0\n", ""),
    (
        "what was stopped on request is restarted",
        _SUPERVISOR,
        "        if not child.wanted:\n            return  # it",
        "        if False:\n            return  # it",
    ),
    (
        "failures in a row are never forgotten",
        _SUPERVISOR,
        "if ran and child.uptime.last >= child.backoff.stable:",
        "if False:",
    ),
    (
        "just the stable time is not enough",
        _SUPERVISOR,
        "child.uptime.last >= child.backoff.stable",
        "child.uptime.last > child.backoff.stable",
    ),
    (
        "a temporary plugin comes back",
        _SUPERVISOR,
        "if is_permanent(cause) or child.restart is Restart.TEMPORARY:",
        "if is_permanent(cause):",
    ),
    ("a permanent error is tried again", _SUPERVISOR, "if is_permanent(cause) or child.restart", "if child.restart"),
    (
        "a plugin that is to be restarted anyway counts again",
        _SUPERVISOR,
        "        elif child.recovery is not None:\n            return  # it is to be restarted anyway\n",
        "",
    ),
    ("not ready counts towards the limit", _SUPERVISOR, "elif is_not_ready(cause):", "elif False:"),
    (
        "those stopped on request and those given up come back with their siblings",
        _SUPERVISOR,
        "return child.wanted and not self._stopped_by_others(child)",
        "return not self._stopped_by_others(child)",
    ),
    (
        "those being stopped by others come back with their siblings",
        _SUPERVISOR,
        "return child.wanted and not self._stopped_by_others(child)",
        "return child.wanted",
    ),
    (
        "plugins are started after it gave up",
        _SUPERVISOR,
        "                    other.withdraw()\n",
        "                    pass\n",
    ),
    ("a restart by hand does not reset the limit", _SUPERVISOR, "        child.node.forget()\n", ""),
    (
        "a restart by hand does not reset the failures",
        _SUPERVISOR,
        "        child.failures = 0\n        child.ask_for()\n",
        "        child.ask_for()\n",
    ),
    ("a restart by hand waits for the back-off", _SUPERVISOR, "            child.recovery.due = now\n", ""),
    (
        "a restart by hand does not wait for a stop by others",
        _SUPERVISOR,
        "        while self._stopped_by_others(child):\n",
        "        while False:\n",
    ),
    (
        "a stop does not outdo a restart that waits",
        _SUPERVISOR,
        "            if child.stops != stops:",
        "            if False:",
    ),
    (
        "start_plugin restarts one that runs",
        _SUPERVISOR,
        "        if self._runs(child):\n            raise",
        "        if False:\n            raise",
    ),
    (
        "whoever waits for a restart is not told of the stop",
        _SUPERVISOR,
        '        child.settle(PluginError(f"plugin {name!r} was stopped on request"))\n        self._tell',
        "        self._tell",
    ),
    (
        "a stop that goes wrong is not told",
        _SUPERVISOR,
        "        if problem is not None:\n            raise problem\n",
        "",
    ),
    (
        "requests are served when it does not run",
        _SUPERVISOR,
        "if self._stopping or self.state != State.RUNNING:",
        "if False:",
    ),
    ("the watchdog lives on", _SUPERVISOR, "            self._watchdog.stop()\n", "            pass\n"),
    ("uptime is kept though nobody asks", _SUPERVISOR, ' if limit.intensity != "unlimited")', ")"),
    # Its parts.
    ("one bad answer less is enough", _HEALTH, ">= health.failures", ">= health.failures - 1"),
    ("nobody is failed", _HEALTH, "                    await plugin.fail(", "                    (lambda _: None)("),
    (
        "the thread waits for an answer that nobody gives",
        _WATCHDOG,
        "                if self._stopped.is_set():  # in between",
        "                if False:  # in between",
    ),
    (
        "the thread outlives its loop",
        _WATCHDOG,
        "                    if self._loop.is_closed():",
        "                    if False:",
    ),
    ("a block is told without its length", _WATCHDOG, "blocked = time.monotonic() - asked", "blocked = 0.0"),
    (
        "the report comes from the thread",
        _WATCHDOG,
        "self._loop.call_soon_threadsafe(self._on_blocked, blocked, place)",
        "self._on_blocked(blocked, place)",
    ),
    ("the thread shows itself", _WATCHDOG, "sys._current_frames().get(self._loop_thread)", "sys._getframe()"),
    ("to stop does not wait for the thread", _WATCHDOG, "            self._thread.join()\n", "            pass\n"),
    ("the block goes on when all is over", _ALONE, "            task.cancel()\n", "            pass\n"),
    ("a stop in the block that fails cancels it", _ALONE, " and not leads_to_rest(plugin, event):", ":"),
    (
        "a cancellation from outside is taken for the end",
        _ALONE,
        "interrupted and task.uncancel() <= requests",
        "interrupted and task.uncancel() >= 0",
    ),
    (
        "the cancellation is left over where the block raised",
        _ALONE,
        "interrupted and task.uncancel() <= requests",
        "interrupted and isinstance(error, asyncio.CancelledError) and task.uncancel() <= requests",
    ),
    (
        "the cancellation is left over where the block took no notice",
        _ALONE,
        "        task.uncancel()\n        raise",
        "        raise",
    ),
    ("a block that took no notice is not told", _ALONE, "    if interrupted:  # and", "    if False:  # and"),
    (
        "what made a block raise is not told",
        _ALONE,
        '            error.add_note(f"after {_failure(plugin)}")\n',
        "            pass\n",
    ),
    (
        "the errors of supervisors hide those of plugins",
        _ALONE,
        "            raise of_the_plugin(error) from None\n",
        "            raise\n",
    ),
    ("a failure has no cause", _ALONE, "    failed.__cause__ = cause\n", ""),
    ("an event does not say for how long", _EVENTS, 'text += f" of {self.delay:.3f} s" if', 'text += "" if'),
    ("an event does not say which failure it was", _EVENTS, 'text += f" after failure {self.attempt}"', "pass"),
    # What it is built on.
    ("a plugin that was never initialised is stopped", _STOPPING, " or guard.state == guard.lifecycle.initial:", ":"),
    (
        "one that is initialised only keeps what it took",
        _STOPPING,
        "        if not guard.can(STOP):\n            await guard.fail(Abandoned(plugin.info.name, guard.state))\n",
        "        if not guard.can(STOP):\n            return None, urgent\n",
    ),
    (
        "a call under way is waited for",
        _STOPPING,
        "            interrupt(plugin)\n        told",
        "            pass\n        told",
    ),
    (
        "a stop under way is interrupted",
        _STOPPING,
        "if flight is not told and not guard.coming_to_rest:",
        "if flight is not told:",
    ),
    ("a cancellation is lost", _STOPPING, "            urgent = urgent or cancelled\n", "            pass\n"),
    (
        "a hook that cancels itself cancels the caller",
        _STOPPING,
        "None if isinstance(error, Exception) or cancelled_itself else error",
        "None if isinstance(error, Exception) else error",
    ),
    ("every failure is that of a stop", _STOPPING, "(arc.trigger, arc.source) == (event.call, event.source) and", ""),
    (
        "one that is replaced still tells",
        _REGISTRY,
        "old._guard.hub, plugin._guard.hub = None, self._hub",
        "plugin._guard.hub = self._hub",
    ),
    (
        "one that replaces another does not tell",
        _REGISTRY,
        "old._guard.hub, plugin._guard.hub = None, self._hub",
        "old._guard.hub = None",
    ),
    (
        "one can be replaced during a walk",
        _REGISTRY,
        "        self._check_walk(wanted)\n        if plugin._guard.hub",
        "        if plugin._guard.hub",
    ),
    (
        "one that is registered can replace another",
        _REGISTRY,
        "        if plugin._guard.hub is not None:\n            raise AlreadyRegistered(plugin.info.name)\n",
        "",
    ),
    (
        "a plugin without channels cannot come back once it was let go",
        _ORCHESTRATOR,
        "if member.gone and member.handles:",
        "if member.gone:",
    ),
    (
        "an attempt that fails leaves handles open",
        _ORCHESTRATOR,
        (
            "        except PluginError:  # a channel has come to its end\n"
            "            for handle in ports.values():\n"
            "                if handle is not None:\n"
            "                    handle.close()\n"
        ),
        "        except PluginError:\n            pass\n",
    ),
    (
        "a permanent error is not the end of the application",
        _APP,
        "if event.action is not Action.GAVE_UP or",
        "if True or",
    ),
    (
        "a temporary plugin is the end of the application",
        _APP,
        " or self.supervisor.status_of(event.plugin).restart is Restart.TEMPORARY:",
        ":",
    ),
    (
        "a plugin in its back-off is idle",
        _APP,
        "            *(self.supervisor.recoveries if self.supervisor is not None else ()),\n",
        "",
    ),
    (
        "that the supervisor gave up is a failure like any other",
        _APP,
        "if isinstance(event.cause, RestartsExhausted) and not self._told.is_set():",
        "if False:",
    ),
    (
        "a key that nobody would heed is not told",
        _APP,
        "            if getattr(config.plugins[name], key) is not None\n",
        "            if False\n",
    ),
]
