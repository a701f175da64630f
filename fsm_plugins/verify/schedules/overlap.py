"""What may come of calls that overlap: the rules of the documentation, as a small nondeterministic machine.

The calls of a plugin are linearizable in two points each: a call *claims* its plugin, at once or not at all, and later
*commits*. In between others are refused, wait, or interrupt it. So a call is a small program of atomic steps, and what
a few calls at a time may do is the set of the interleavings of their programs. `Overlap` is that set, as an automaton:
its visible steps are the entries of a history (a call begins, a transition is told, a call returns with an outcome, and
at last the states), the others (a hook that ends, a question that is answered) are not seen.

`Overlap.check` holds a history against it: the history is accepted if some interleaving makes it. That is
linearizability (Herlihy and Wing 1990) with the order of the real calls kept, and with two points for each call. The
automaton is made deterministic as it is used, so a history that resembles an earlier one costs a few look-ups.

The calls alone, one after the other, are what `fsm_plugins.verify.registries.model` says; a property test
holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from fsm_plugins.lifecycle import FAIL, INIT, START, STOP, Lifecycle, State
from fsm_plugins.verify.registries.model import HEALTH, Call, Outcome, health_of

__all__ = ["ANY_HEALTH", "ANY_HOOK", "CANCEL", "History", "Label", "Overlap", "Refuted", "Standing", "Verdict"]

CANCEL: Final = "cancel"
"""A call that cancels the task of another call; in the place of the plugin it has the number of that call."""

Verdict: TypeAlias = str
ANY_HOOK: Final = ("ok", "raise", "late", "cancel")
"""What a hook may do that nothing is known of."""
ANY_HEALTH: Final = ("healthy", "degraded", "unhealthy")

Label: TypeAlias = tuple[object, ...]
"""An entry of a history: ``("call", i)``, ``("event", plugin, trigger, source, dest)``, ``("return", i, outcome)``,
``("end", ((state, cause, works), ...))``. A cause is ``""`` for none, ``hook``, ``watchdog i`` or ``abandoned``;
``works`` is ``at work`` where a worker goes on that should have been ended."""
History: TypeAlias = tuple[Label, ...]

_NOBODY: Final = -1
_BULK: Final = {"init_all": INIT, "start_all": START}


class Standing(NamedTuple):
    """One plugin: where it is, why it failed, which call has claimed it, and what that was told to fail with."""

    state: State
    cause: str = ""
    holder: int = _NOBODY
    trigger: str = ""
    told: str = ""


class _Progress(NamedTuple):
    """How far a call has come.

    Attributes:
        at: the step of its program.
        place: which of the registered plugins it is at, for the calls that go through all of them.
        plugin: the plugin it is at.
        other: the call that it waits for.
        cancelled: ``pending`` if its task was cancelled, ``delivered`` once a hook or a wait of ``stop_all`` met that.
        noted: the problems of ``stop_all``, the answers of ``health_check_all``.
        outcome: what it will return.
    """

    at: str = "idle"
    place: int = 0
    plugin: int = 0
    other: int = _NOBODY
    cancelled: str = ""
    noted: tuple[object, ...] = ()
    outcome: Outcome = ()


class _Walk(NamedTuple):
    call: int
    ending: bool = False


class _World(NamedTuple):
    plugins: tuple[Standing, ...]
    calls: tuple[_Progress, ...]
    registered: tuple[int, ...]
    walk: _Walk | None = None
    checks: int = 0


class Refuted(NamedTuple):
    """Where a history leaves what is allowed: the place in it, and what could have stood there."""

    at: int
    expected: tuple[Label, ...]


_Step: TypeAlias = tuple[Label | None, _World]


class Overlap:
    """What may come of ``calls`` on a registry whose plugins are as ``plugins`` says.

    Args:
        names, lifecycles, plugins: of the registered plugins, in their order.
        calls: what is called at the same time; the last one may be called when the others are done.
        hooks: for a plugin and a trigger, what the hook may do: of ``ok``, ``raise``, ``late``, ``cancel``.
        healths: the levels that the health hooks may answer.
        crashes: whether workers may crash at any time.
    """

    def __init__(
        self,
        names: Sequence[str],
        lifecycles: Sequence[Lifecycle],
        plugins: Sequence[Standing],
        calls: Sequence[Call],
        *,
        hooks: Mapping[tuple[str, str], Sequence[Verdict]] | None = None,
        healths: Sequence[str] = ANY_HEALTH,
        crashes: bool = True,
    ) -> None:
        self._names = tuple(names)
        self._lifecycles = tuple(lifecycles)
        self._dests = [{(arc.trigger, arc.source): arc.dest for arc in table.arcs} for table in lifecycles]
        self._calls = tuple(calls)
        self._hooks = hooks or {}
        self._healths = tuple(healths)
        self._crashes = crashes
        begin = _World(tuple(plugins), (_Progress(),) * len(self._calls), tuple(range(len(self._names))))
        self._nodes: list[frozenset[_World]] = []
        self._numbers: dict[frozenset[_World], int] = {}
        self._edges: dict[int, dict[Label, tuple[list[_World], int | None]]] = {}
        self._begin = self._node(self._closure([begin]))

    # The automaton.

    def check(self, history: Iterable[Label]) -> Refuted | None:
        """Return where ``history`` leaves what is allowed, or None if it does not."""
        node = self._begin
        for at, label in enumerate(history):
            following = self._following(node, label)
            if following is None:
                return Refuted(at, tuple(sorted(self._edges[node], key=str)))
            node = following
        return None

    def _following(self, node: int, label: Label) -> int | None:
        edges = self._edges.get(node)
        if edges is None:
            found: dict[Label, list[_World]] = {}
            for before in self._nodes[node]:
                for seen, world in self.steps(before):
                    if seen is not None:
                        found.setdefault(seen, []).append(world)
            edges = self._edges[node] = {seen: (worlds, None) for seen, worlds in found.items()}
        if label not in edges:
            return None
        worlds, following = edges[label]
        if following is None:
            following = self._node(self._closure(worlds))
            edges[label] = worlds, following
        return following

    def _node(self, worlds: frozenset[_World]) -> int:
        number = self._numbers.setdefault(worlds, len(self._nodes))
        if number == len(self._nodes):
            self._nodes.append(worlds)
        return number

    def _closure(self, worlds: Iterable[_World]) -> frozenset[_World]:
        """Return all that ``worlds`` can become without being seen."""
        todo = list(worlds)
        seen = set(todo)
        while todo:
            for label, after in self.steps(todo.pop()):
                if label is None and after not in seen:
                    seen.add(after)
                    todo.append(after)
        return frozenset(seen)

    def steps(self, world: _World) -> Iterator[_Step]:
        """Return every step that may come next."""
        for i, progress in enumerate(world.calls):
            match progress.at:
                case "idle":
                    for label, after in self._begin_call(i, world):
                        # The first step is made in the moment of the call, unless it is to be seen itself.
                        yield ("call", i), after if label is None else _set(world, i, at="begun")
                case "returning":
                    yield ("return", i, progress.outcome), _set(world, i, at="over")
                case "over":
                    pass
                case _:
                    for label, after in self._go_on(i, progress, world):
                        done = after.calls[i]
                        if label is None and done.at == "returning":  # nothing comes between the end and the return
                            yield ("return", i, done.outcome), _set(after, i, at="over")
                        else:
                            yield label, after
        if self._crashes:
            yield from self._crash(world)
        if all(progress.at in ("over", "idle") for progress in world.calls):
            yield ("end", tuple([(plugin.state, plugin.cause, "") for plugin in world.plugins])), world

    def _begin_call(self, i: int, world: _World) -> Iterator[_Step]:
        name, plugin = self._calls[i]
        if name == CANCEL:
            yield None, _return(self._cancel(world, int(plugin)), i, "done")
        elif name == "stop_all":
            yield from self._end_bulk_start(i, world)
        elif name == "health_check_all":
            asked = _set(world, i, at="asking all", noted=(None,) * len(world.registered))
            yield None, asked._replace(checks=world.checks + 1)
        elif name in _BULK:
            if world.walk is not None:
                yield None, _return(world, i, "busy", name, self._calls[world.walk.call].name)
            else:
                yield None, self._next_start(i, 0, world._replace(walk=_Walk(i)))
        else:
            k = self._names.index(plugin)
            if name == "unregister":
                yield None, self._unregister(i, k, world)
            elif name == FAIL:
                yield from self._fail(i, k, world)
            elif name == HEALTH:
                known = self._known(k, world)
                asking = _set(world, i, at="asking", plugin=k)
                yield None, asking if known is None else _return(world, i, "health", *known)
            else:
                yield None, self._claim(i, k, name, world)

    def _go_on(self, i: int, progress: _Progress, world: _World) -> Iterator[_Step]:
        pending = progress.cancelled == "pending"
        match progress.at:
            case "begun":
                yield from self._begin_call(i, world)
            case "in hook":
                yield from self._end_hook(i, progress.plugin, world)
            case "waiting to fail" | "asking" | "answered" | "asking all" | "joined" if pending:
                checks = world.checks - (progress.at == "asking all")
                yield None, _return(world._replace(checks=checks), i, "cancelled")
            case "waiting to fail":
                plugin = world.plugins[progress.plugin]
                if plugin.holder != progress.other:
                    if plugin.cause == f"watchdog {i}":
                        yield None, _return(world, i, "done")
                    else:
                        yield from self._fail(i, progress.plugin, world)
            case "asking":
                for answer in self._answers(progress.plugin, world):
                    yield None, _set(world, i, at="answered", noted=answer)
            case "answered":  # by somebody else's question, it may be, who was told earlier
                yield None, _return(world, i, "health", *progress.noted)
            case "asking all":
                yield from self._ask_all(i, progress, world)
            case "ending a start":
                if world.walk is None or world.walk.call != progress.other:
                    yield from self._end_bulk_start(i, world)
            case "joined":
                if world.calls[progress.other].at in ("returning", "over"):
                    yield None, self._stopped(i, progress.other, world)
            case "stopping":
                yield from self._next_stop(i, world)
            case "waiting to stop":
                if world.plugins[progress.plugin].holder != progress.other:
                    yield from self._next_stop(i, world)

    def _unregister(self, i: int, k: int, world: _World) -> _World:
        busy = self._calls[world.walk.call].name if world.walk else "health_check_all" if world.checks else ""
        if busy:
            return _return(world, i, "busy", "unregister", busy)
        if k not in world.registered:
            return _return(world, i, "unknown", self._names[k])
        return _return(world._replace(registered=tuple([n for n in world.registered if n != k])), i, "done")

    def _cancel(self, world: _World, i: int) -> _World:
        match world.calls[i].at:
            case "idle" | "returning" | "over":
                return world
            case "ending a start" | "waiting to stop":  # stop_all goes on, and tells of it in the end
                return _set(world, i, cancelled="delivered")
            case _:
                return _set(world, i, cancelled="pending")

    def _crash(self, world: _World) -> Iterator[_Step]:
        """Let a worker crash."""
        for k, plugin in enumerate(world.plugins):
            if plugin.holder != _NOBODY:
                if not plugin.told:
                    yield None, _plugin(world, k, plugin._replace(told="hook"))
            elif (FAIL, plugin.state) in self._dests[k]:
                yield self._failed(k, "hook", world)

    # Claims, hooks and commits.

    def _claim(self, i: int, k: int, trigger: str, world: _World) -> _World:
        plugin = world.plugins[k]
        if plugin.holder != _NOBODY or (trigger, plugin.state) not in self._dests[k]:
            return _return(world, i, *self._refusal(k, trigger, plugin))
        world = _plugin(world, k, plugin._replace(holder=i, trigger=trigger, told=""))
        return _set(world, i, at="in hook", plugin=k)

    def _refusal(self, k: int, trigger: str, plugin: Standing) -> Outcome:
        return "refused", plugin.state, self._lifecycles[k].expected(trigger), plugin.trigger

    def _end_hook(self, i: int, k: int, world: _World) -> Iterator[_Step]:
        """Let the hook end that call ``i`` runs on plugin ``k``, in every way it may end."""
        plugin, name = world.plugins[k], self._names[k]
        trigger = plugin.trigger
        if world.calls[i].cancelled == "pending":
            ways = [("cancel", plugin.told or "hook")]
        elif plugin.told:
            ways = [("raise", plugin.told)]
        else:
            ways = [(way, "hook") for way in self._hooks.get((name, trigger), ANY_HOOK)]
        for way, cause in ways:
            label: Label | None
            if way == "ok":
                dest = self._dests[k][trigger, plugin.state]
                label = self._event(k, trigger, plugin.state, dest, world)
                after = _plugin(world, k, plugin._replace(state=dest))
                outcome: Outcome = ("done",)
            else:
                label, after = self._failed(k, cause, world)
                outcome = {
                    "raise": ("failed", name, trigger, cause),
                    "late": ("late", name, trigger),
                    "cancel": ("cancelled",),
                }[way]
            free = after.plugins[k]._replace(holder=_NOBODY, trigger="", told="")
            yield label, self._after_hook(i, k, outcome, _plugin(after, k, free))

    def _failed(self, k: int, cause: str, world: _World) -> _Step:
        plugin = world.plugins[k]
        dest = self._dests[k].get((FAIL, plugin.state))
        if dest is None:
            return None, _plugin(world, k, plugin._replace(cause=plugin.cause or cause))
        event = self._event(k, FAIL, plugin.state, dest, world)
        return event, _plugin(world, k, plugin._replace(state=dest, cause=cause))

    def _event(self, k: int, trigger: str, source: State, dest: State, world: _World) -> Label | None:
        """Return what listeners of the registry hear: nothing of a plugin that has left it."""
        return ("event", self._names[k], trigger, source, dest) if k in world.registered else None

    def _after_hook(self, i: int, k: int, outcome: Outcome, world: _World) -> _World:
        """Go on with call ``i``, whose hook on plugin ``k`` has ended."""
        name, progress = self._calls[i].name, world.calls[i]
        if name in _BULK:
            assert world.walk is not None
            if outcome == ("done",) and not world.walk.ending:
                return self._next_start(i, progress.place + 1, world)
            if outcome == ("done",):
                outcome = ("abandoned", self._names[k], world.plugins[k].state)
            return _return(world._replace(walk=None), i, *outcome)
        if name == "stop_all":
            if outcome != ("done",):
                world = _set(world, i, noted=(*progress.noted, self._names[k]))
            if progress.cancelled:
                world = _set(world, i, cancelled="delivered")
            return _set(world, i, at="stopping", place=progress.place + 1)
        return _return(world, i, *outcome)

    def _next_start(self, i: int, place: int, world: _World) -> _World:
        if place == len(world.registered):
            return _return(world._replace(walk=None), i, "done")
        trigger = _BULK[self._calls[i].name]
        world = self._claim(i, world.registered[place], trigger, _set(world, i, place=place))
        return world if world.calls[i].at == "in hook" else world._replace(walk=None)

    # fail and health checks.

    def _fail(self, i: int, k: int, world: _World) -> Iterator[_Step]:
        plugin, cause = world.plugins[k], f"watchdog {i}"
        if (FAIL, plugin.state) not in self._dests[k]:
            yield None, _return(world, i, *self._refusal(k, FAIL, plugin))
        elif plugin.holder == _NOBODY:
            label, failed = self._failed(k, cause, world)
            yield label, _return(failed, i, "done")
        else:
            told = _plugin(world, k, plugin._replace(told=plugin.told or cause))
            yield None, _set(told, i, at="waiting to fail", plugin=k, other=plugin.holder)

    def _known(self, k: int, world: _World) -> tuple[str, str] | None:
        plugin = world.plugins[k]
        return health_of(self._lifecycles[k], plugin.state, plugin.trigger)

    def _answers(self, k: int, world: _World) -> Iterator[tuple[str, str]]:
        known = self._known(k, world)
        if known is not None:
            yield known
        else:
            for level in self._healths:
                yield level, ""

    def _ask_all(self, i: int, progress: _Progress, world: _World) -> Iterator[_Step]:
        for place, answer in enumerate(progress.noted):
            if answer is None:
                for one in self._answers(world.registered[place], world):
                    yield None, _set(world, i, noted=(*progress.noted[:place], one, *progress.noted[place + 1 :]))
        if None not in progress.noted:
            healths = []
            for k, answer in zip(world.registered, progress.noted, strict=True):
                assert isinstance(answer, tuple)
                healths.append((self._names[k], world.plugins[k].state, *(self._known(k, world) or answer)))
            yield None, _return(world._replace(checks=world.checks - 1), i, "healths", tuple(healths))

    # stop_all.

    def _end_bulk_start(self, i: int, world: _World) -> Iterator[_Step]:
        walk = world.walk
        if walk is None:
            yield from self._next_stop(i, _set(world._replace(walk=_Walk(i)), i, at="stopping", place=0))
        elif self._calls[walk.call].name == "stop_all":
            yield None, _set(world, i, at="joined", other=walk.call)
        else:
            if not walk.ending:
                k = world.calls[walk.call].plugin
                plugin = world.plugins[k]
                if plugin.holder != _NOBODY:
                    world = _plugin(world, k, plugin._replace(told=plugin.told or "abandoned"))
                world = world._replace(walk=walk._replace(ending=True))
            yield None, _set(world, i, at="ending a start", other=walk.call)

    def _next_stop(self, i: int, world: _World) -> Iterator[_Step]:
        place = world.calls[i].place
        if place == len(world.registered):
            yield None, self._stopped(i, i, world._replace(walk=None))
            return
        k = world.registered[place]
        plugin, lifecycle = world.plugins[k], self._lifecycles[k]
        if plugin.holder != _NOBODY:
            if self._dests[k].get((plugin.trigger, plugin.state)) not in lifecycle.rest:
                world = _plugin(world, k, plugin._replace(told=plugin.told or "abandoned"))
            yield None, _set(world, i, at="waiting to stop", plugin=k, other=plugin.holder)
        elif plugin.state in lifecycle.rest or plugin.state == lifecycle.initial:
            yield from self._next_stop(i, _set(world, i, at="stopping", place=place + 1))
        elif (STOP, plugin.state) not in self._dests[k]:
            label, failed = self._failed(k, "abandoned", world)
            yield label, self._claim(i, k, STOP, failed)
        else:
            yield None, self._claim(i, k, STOP, world)

    def _stopped(self, i: int, walk: int, world: _World) -> _World:
        """Let call ``i`` return what became of the ``stop_all`` of call ``walk``, its own or another one."""
        if world.calls[i].cancelled:
            return _return(world, i, "cancelled")
        problems = world.calls[walk].noted
        return _return(world, i, *(("stop failed", problems) if problems else ("done",)))


def _set(world: _World, i: int, **changes: object) -> _World:
    plugins, calls, registered, walk, checks = world
    progress = calls[i]._replace(**changes)  # type: ignore[arg-type]
    return _World(plugins, (*calls[:i], progress, *calls[i + 1 :]), registered, walk, checks)


def _return(world: _World, i: int, *outcome: object) -> _World:
    return _set(world, i, at="returning", outcome=outcome)


def _plugin(world: _World, k: int, plugin: Standing) -> _World:
    plugins, calls, registered, walk, checks = world
    return _World((*plugins[:k], plugin, *plugins[k + 1 :]), calls, registered, walk, checks)
