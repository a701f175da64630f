"""Layers L3 and L4 for a plugin that is verified: a registry of plugins with its lifecycle, and calls at the same time.

L3 is about the registry and the table, not about hooks: it runs once for each lifecycle, with plugins whose hooks break
when they are told to. L4 runs the plugin itself, with its ports wired, and with as many messages as L1 feeds it.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable
from typing import Final, NamedTuple

from attrs import evolve

from fsm_plugins.errors import ConfigError
from fsm_plugins.lifecycle import Lifecycle
from fsm_plugins.plugin import Plugin
from fsm_plugins.verify.base.leaks import Process
from fsm_plugins.verify.base.script import HEALTH, Call, Script, Token
from fsm_plugins.verify.base.targets import CannotVerify, Rig, Subject, explain
from fsm_plugins.verify.plugins.run_state import Invariant
from fsm_plugins.verify.registries import space as registry_space
from fsm_plugins.verify.registries.model import HEALTH as HEALTH_CHECK
from fsm_plugins.verify.reports.codes import CHECKS
from fsm_plugins.verify.reports.report import Coverage, Finding, Scope
from fsm_plugins.verify.schedules import exploring as schedules
from fsm_plugins.verify.schedules.overlap import CANCEL
from fsm_plugins.verify.schedules.results import ScheduleFinding, ScheduleResult
from fsm_plugins.verify.schedules.subjects import Cell

__all__ = ["Part", "again", "as_python", "calls_at_once", "held_settings", "registry_of"]


class Part(NamedTuple):
    """What one layer came to.

    Attributes:
        findings: what is wrong.
        coverage: what was tried.
        incomplete: why not everything was tried; empty if it was.
        left: why nothing can be tried of this plugin; empty if it can.
        note: what else there is to know.
        runs: how many plugins were made and run.
    """

    findings: tuple[Finding, ...] = ()
    coverage: Coverage = Coverage()
    incomplete: str = ""
    left: str = ""
    note: str = ""
    runs: int = 0


# L3.

_MOST_KNOWN: Final = 64
_known: dict[tuple[int, int, int], tuple[Lifecycle, registry_space.RegistryResult]] = {}
"""What holds of a lifecycle that is still the same object need not be found out twice in a process."""


def registry_of(
    subject: Subject, lifecycle: Lifecycle, scope: Scope, seconds: float | None, progress: Callable[[Script], None]
) -> Part:
    """Make every call in every state of a registry of plugins with this lifecycle."""
    key = id(lifecycle), scope.plugins, scope.faults
    if key in _known:
        result = _known[key][1]
    else:
        beat = _Beat(lambda: progress((Call(str(lifecycle.triggers[0])),)))
        result = registry_space.explore_registry(
            scope.plugins, scope.faults, seconds=seconds, lifecycle=lifecycle, progress=beat
        )
        if result.holds:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[key] = lifecycle, result
    coverage = Coverage(registry_states=(result.states, result.total))
    if result.departure is None:
        why = f"{result.inconclusive}, {result.states} of {result.total} states" if result.inconclusive else ""
        return Part(coverage=coverage, incomplete=why)
    departure = result.departure
    found = Finding(
        CHECKS["registry-departs"].code,
        "registry-departs",
        subject.name,
        f"got {departure.got}",
        departure.expected,
        departure.steps,
        layer="L3",
        target=subject.target,
        settings=as_python(subject),
    )
    return Part((found,), coverage)


class _Beat:
    """Calls something about once a second."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._next = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 1.0
            self._tell()


# L4.


def calls_at_once(
    subject: Subject,
    scope: Scope,
    seconds: float | None,
    invariant: Invariant | None,
    progress: Callable[[Script], None],
) -> Part:
    """Run the schedules of one call beside the workers, of two calls, ... up to ``scope.tasks``.

    Fewer calls leave more room: with one call fewer there may be one departure more.
    """
    until = None if seconds is None else time.monotonic() + seconds
    done = cells = runs = 0
    unfinished: list[str] = []
    findings: tuple[Finding, ...] = ()
    unreached: list[str] = []
    left = ""
    before = Process.now()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # L2 has told of what is left behind
        try:
            for tasks in range(1, scope.tasks + 1):
                result = schedules.explore_schedules(
                    _maker(subject),
                    tasks=tasks,
                    preemptions=scope.preemptions + scope.tasks - tasks,
                    seconds=None if until is None else max(0.0, until - time.monotonic()),
                    invariant=invariant,
                    progress=lambda cell: progress(_script_of(cell)),
                )
                done, cells, runs = done + result.completed, cells + result.cells, runs + result.schedules
                if result.finding is not None and result.finding.beyond_control:
                    left = result.finding.got
                elif result.finding is not None:
                    findings = (_finding(subject, result.finding),)
                    if result.finding.kind == "uncontrolled":
                        unfinished.append(result.inconclusive)
                elif result.inconclusive:
                    unfinished.append(_unfinished(result))
                unreached += result.unreached
                if left or findings:
                    break
        except ConfigError as error:
            raise CannotVerify(f"{subject.name} cannot be made: {explain(error)}") from error
        finally:
            gc.collect()  # what plugins that were given up still hold, while nobody is warned of it
            before.end_children()
            before.restore()
    note = ""
    if unreached:
        note = f"{subject.name}: {len(unreached)} concurrent cells are not reached, such as {unreached[0]}"
    return Part(findings, Coverage(concurrent_cells=(done, cells)), "; ".join(unfinished), left, note, runs)


def again(subject: Subject, token: Token, invariant: Invariant | None) -> tuple[Finding, ...]:
    """Run the schedule of a token again; returns what is wrong with it."""
    before = Process.now()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run = schedules.replay(_maker(subject), token.cell, token.choices, invariant=invariant)
        except schedules.Departed as error:
            raise CannotVerify(f"the plugin is another one than that of the token: {error}") from error
        finally:
            before.restore()
    return () if run.finding is None else (_finding(subject, run.finding),)


def _maker(subject: Subject) -> Callable[[], Plugin]:
    """Return what makes the plugin, with its ports wired and messages waiting, in no registry."""
    kept: list[Rig] = []  # the other ends of the channels, as long as the plugin is used

    def make() -> Plugin:
        rig = subject.build(lambda: 0.0)
        kept[:] = [rig]
        for port, messages in subject.samples()[0].items():
            for message in messages:
                rig.sources[port].try_send(message)
        return rig.registry.unregister(rig.plugin.info.name)

    return make


def _unfinished(result: ScheduleResult) -> str:
    told = f"{result.tasks} at a time: {result.inconclusive}, {result.completed} of {result.cells} cells completed"
    return f"{told}, not {result.incomplete[0]}" if result.incomplete else told


def _script_of(cell: Cell) -> Script:
    """Return the calls of a cell as if they were made one after the other."""
    named = [call.name for call in (*cell.setup, *cell.calls) if call.name != CANCEL]
    return tuple([Call(HEALTH if name == HEALTH_CHECK else name) for name in named])


_SLUGS: Final = {"invariant": "invariant-broken"}


def _finding(subject: Subject, found: ScheduleFinding) -> Finding:
    slug = _SLUGS.get(found.kind, found.kind)
    own = f"{subject.name}."
    calls = found.cell.partition(": ")[2].split(" | ")
    trace = (*found.setup, " || ".join([call.removeprefix(own) for call in calls]))
    token = evolve(Token.make(subject.target, held_settings(subject), ()), cell=found.cell, choices=found.choices)
    return Finding(
        CHECKS[slug].code,
        slug,
        subject.name,
        found.got,
        found.expected,
        tuple([call.removeprefix(own) for call in trace]),
        layer="L4",
        token=str(token) if found.kind != "uncontrolled" else "",
        target=subject.target,
        settings=as_python(subject),
        schedule=found.steps,
    )


def held_settings(subject: Subject) -> dict[str, object]:
    """Return the settings that a token has to hold; those of a TOML file stay there."""
    return {} if subject.target is not None and "#" in subject.target else dict(subject.spec.settings)


def as_python(subject: Subject) -> str | None:
    """Return the settings as they are written in a program; None if that is not possible for all of them."""
    plain = (str, bytes, int, float, bool, type(None), list, tuple, dict, set)
    settings = held_settings(subject)
    return repr(settings) if all(isinstance(value, plain) for value in settings.values()) else None
