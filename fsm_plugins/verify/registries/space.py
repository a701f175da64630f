"""Every sequence of calls of a registry of a few plugins, on the real code, against the model (layer L3).

A breadth-first walk over the states of a registry: which plugins are registered, in which order, and in which state
each is. From every state every call is made, first with hooks that work, then with every choice of at most ``faults``
hooks that break, each in every way. What the call comes to is held against `SequentialModel`: its outcome, the hooks
that ran, the events, the failures, the order and the states of the plugins.

Instead of replaying the calls that lead to a state, the walk puts real plugins into it. That is sound because it also
checks, after every call, that nothing but the state is left: no claim, no worker, no health check, no bulk call. A
call that leaves such a thing behind is a finding, so what the walk puts plugins into is all there is to a state.

With ``symmetric``, states that differ only in the names of plugins are one: the plugins are of one class, and no call
looks at names but to tell them apart. Unregistered plugins are replaced by fresh ones, so N plugins of S states have
sum(S**k for k in 0..N) states, and without symmetry sum(N!/(N-k)! * S**k).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from math import perm
from typing import Final

from attrs import Factory, define, field, frozen

from fsm_plugins.errors import (
    DefinitionError,
)
from fsm_plugins.lifecycle import LIFECYCLE, STOP, Lifecycle
from fsm_plugins.verify.base.loop import ControlledLoop
from fsm_plugins.verify.registries.field import SET, Field, LeftBehind, quiet
from fsm_plugins.verify.registries.model import HEALTH, Call, Entry, Fault, Faults, Hook, Prediction
from fsm_plugins.verify.registries.model import SequentialModel as Model

__all__ = ["Departure", "RegistryResult", "expected_states", "explore_registry"]

FAULTS: Final[tuple[Fault, ...]] = ("raise", "cancel", "hang")
_BULK: Final = ("init_all", "start_all", "stop_all", "running", "health_check_all")


def expected_states(plugins: int, states: int, *, symmetric: bool) -> int:
    """Return how many states a registry has, by the closed form.

    >>> [expected_states(n, 5, symmetric=True) for n in range(1, 7)]
    [6, 31, 156, 781, 3906, 19531]
    >>> [expected_states(n, 5, symmetric=False) for n in range(1, 6)]
    [6, 61, 916, 18321, 458026]
    """
    return sum((1 if symmetric else perm(plugins, k)) * states**k for k in range(plugins + 1))


@frozen
class Departure:
    """Where the registry did something else than the model.

    Attributes:
        steps: the calls that lead there, the last of which departs. No shorter sequence departs.
        expected, got: what differs, in words.
    """

    steps: tuple[str, ...]
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{' -> '.join(self.steps)}: expected {self.expected}, got {self.got}"


@frozen
class RegistryResult:
    """What the walk over a registry established.

    Attributes:
        plugins, faults, symmetric: its scope: how many plugins, and how many hooks break in one call.
        states, edges: how many states were visited, and how many calls were made.
        total: how many states there are, by the closed form.
        seconds: how long it took.
        departure: the first difference from the model, if there is one.
        inconclusive: why not everything was visited, empty if it was.
    """

    plugins: int
    faults: int
    symmetric: bool
    states: int
    edges: int
    total: int
    seconds: float
    departure: Departure | None = None
    inconclusive: str = ""

    @property
    def holds(self) -> bool:
        """Whether every state was visited, and no call departed."""
        return self.departure is None and not self.inconclusive

    def __str__(self) -> str:
        names = "symmetric" if self.symmetric else "order kept"
        scope = (
            f"{self.plugins} plugins, {self.faults} faults per call, {names}: "
            f"{self.states} of {self.total} states, {self.edges} calls in {self.seconds:.1f} s"
        )
        if self.departure is not None:
            return f"departs from the model ({scope})\n{self.departure}"
        return f"inconclusive, {self.inconclusive} ({scope})" if self.inconclusive else f"holds ({scope})"


def _differences(expected: Prediction, got: Prediction) -> tuple[str, str]:
    """Say in words what differs."""
    for name in ("outcome", "entries", "hooks", "events", "failed"):
        wanted, seen = getattr(expected, name), getattr(got, name)
        if wanted != seen:
            return f"{name} {_words(wanted)}", _words(seen)
    raise AssertionError("nothing differs")


def _words(value: object) -> str:
    if isinstance(value, tuple):
        parts = [_words(part) for part in value]
        return " ".join(parts) if all(isinstance(part, str) for part in value) and value else f"({', '.join(parts)})"
    return str(value)


@define(eq=False)
class _Explorer:
    """One walk."""

    plugins: int
    faults: int
    symmetric: bool
    until: float
    model: Model
    real: Field
    progress: Callable[[], None] | None = None
    calls: dict[tuple[str, ...], tuple[Call, ...]] = Factory(dict)
    parents: dict[tuple[Entry, ...], tuple[tuple[Entry, ...], Call, Faults] | None] = field(init=False)
    edges: int = 0

    def __attrs_post_init__(self) -> None:
        self.parents = {(): None}

    def calls_from(self, entries: tuple[Entry, ...]) -> tuple[Call, ...]:
        """Return every call that can be made from a state; these depend on the names alone."""
        names = tuple([entry.name for entry in entries])
        calls = self.calls.get(names)
        if calls is None:
            unused = [name for name in map(_name, range(self.plugins)) if name not in names]
            fresh = unused[:1] if self.symmetric else unused
            nobody = unused[:1] or [_name(self.plugins)]
            triggers = self.model.lifecycle.triggers
            calls = self.calls[names] = (
                *(Call("register", name) for name in (*fresh, *names)),
                *(Call("unregister", name) for name in (*names, *nobody)),
                *(Call(trigger, name) for trigger in triggers for name in names),
                *(Call(name) for name in _BULK),
            )
        return calls

    async def walk(self) -> tuple[Departure | None, str]:
        """Visit every state; returns the first departure, and why it ended early."""
        todo: deque[tuple[Entry, ...]] = deque([()])
        while todo:
            entries = todo.popleft()
            same_names = False
            if time.monotonic() > self.until:
                return None, "the time is up"
            if self.progress is not None:
                self.progress()
            for call in self.calls_from(entries):
                plans: list[tuple[Faults, int]] = [({}, 0)]
                for faults, begin in plans:
                    expected = self.model.step(entries, call, faults)
                    self.real.put(entries, same_names=same_names)
                    self.real.script.faults = faults
                    self.edges += 1
                    try:
                        got = await self.real.make(call)
                    except LeftBehind as left:
                        return self.departure(entries, call, faults, "nothing left behind", str(left)), ""
                    if got != expected:
                        return self.departure(entries, call, faults, *_differences(expected, got)), ""
                    if len(faults) < self.faults and got.hooks:
                        plans += self.more(call, faults, got, begin)
                    same_names = call.name not in SET or got.outcome != ("done",)
                    after = got.entries if same_names else self.canonical(got.entries)
                    if after not in self.parents:
                        self.parents[after] = entries, call, faults
                        todo.append(after)
        return None, ""

    def more(self, call: Call, faults: Faults, got: Prediction, begin: int) -> Iterator[tuple[Faults, int]]:
        """Let one more hook break, in every way; hooks before ``begin`` have had their turn.

        What ``running`` does when it could not start is ``stop_all``, whose faults are explored for itself.
        """
        stopping = call.name == "running" and got.outcome[0] in ("refused", "failed", "late")
        for index, hook in islice(enumerate(got.hooks), begin, None):
            if stopping and hook[1] == STOP:
                continue
            for fault in FAULTS[:1] if hook[1] == HEALTH else FAULTS:
                yield {**faults, hook: fault}, index + 1

    def canonical(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Name the plugins in their order, if names do not matter."""
        if not self.symmetric:
            return entries
        return tuple([Entry(_name(index), entry.state) for index, entry in enumerate(entries)])

    def departure(self, entries: tuple[Entry, ...], call: Call, faults: Faults, expected: str, got: str) -> Departure:
        """Tell how to get there."""
        steps = [_step(call, faults)]
        parent = self.parents[entries]
        while parent is not None:
            before, by, broken = parent
            steps.append(_step(by, broken))
            parent = self.parents[before]
        return Departure(tuple(reversed(steps)), expected, got)


def _name(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f"p{index}"


def _step(call: Call, faults: Mapping[Hook, str]) -> str:
    words = {"raise": "raises", "cancel": "is cancelled", "hang": "hangs"}
    broken = ", ".join(f"{plugin}.on_{trigger} {words[fault]}" for (plugin, trigger), fault in faults.items())
    text = f"{call.name} {call.plugin}" if call.name in SET else str(call)
    return f"{text} [{broken}]" if broken else text


def explore_registry(
    plugins: int = 4,
    faults: int = 1,
    symmetric: bool = True,
    seconds: float | None = None,
    *,
    lifecycle: Lifecycle = LIFECYCLE,
    reference: Lifecycle | None = None,
    progress: Callable[[], None] | None = None,
) -> RegistryResult:
    """Make every call in every state of a registry, on the real code, and hold it against the model.

    Args:
        plugins: at most how many plugins are registered.
        faults: at most how many hooks break in one call; each raises, is cancelled, or hangs until its deadline.
        symmetric: whether states that differ in names alone are visited once.
        seconds: when to give up, in seconds of real time.
        lifecycle: of the plugins.
        reference: the table that the model follows, if that is another one.
        progress: called before the calls from each state.

    Raises:
        DefinitionError: ``plugins`` or ``faults`` makes no sense.
        RuntimeError: it is called from a running event loop.

    >>> result = explore_registry(plugins=2)
    >>> result.states, result.holds
    (31, True)
    """
    if plugins < 1 or faults < 0:
        raise DefinitionError(
            f"a registry is explored with 1 or more plugins and 0 or more faults, not {plugins}, {faults}"
        )
    begin = time.monotonic()
    until = begin + seconds if seconds is not None else float("inf")
    model = Model(reference or lifecycle)
    explorer = _Explorer(plugins, faults, symmetric, until, model, Field(lifecycle), progress)
    loop = ControlledLoop()
    with quiet(), loop.running():
        task = loop.create_task(explorer.walk())
        loop.drive([task], limit=2**62)
        loop.settle()
        departure, inconclusive = task.result()
    return RegistryResult(
        plugins,
        faults,
        symmetric,
        len(explorer.parents),
        explorer.edges,
        expected_states(plugins, len((reference or lifecycle).states), symmetric=symmetric),
        time.monotonic() - begin,
        departure,
        inconclusive,
    )
