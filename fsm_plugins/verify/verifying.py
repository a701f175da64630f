"""`verify` and `replay`: the layers put together, and what they find as a report."""

from __future__ import annotations

import functools
import gc
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from attrs import evolve

from fsm_plugins.errors import DefinitionError
from fsm_plugins.verify.base import sometime
from fsm_plugins.verify.base.clock import CALM
from fsm_plugins.verify.base.script import Script, Token, calls_of
from fsm_plugins.verify.base.targets import CannotVerify, Subject, Target, subjects_of
from fsm_plugins.verify.plugins.exploring import Budget, Exploration, OutOfTime
from fsm_plugins.verify.plugins.running import Invariant, Outcome, Trouble, run_script, temporary_files
from fsm_plugins.verify.plugins.static import look_at, of_definition
from fsm_plugins.verify.reports.codes import CHECKS, find_check
from fsm_plugins.verify.reports.report import Coverage, Finding, Report, Scope
from fsm_plugins.verify.upper_layers import Part, again, as_python, calls_at_once, held_settings, registry_of

__all__ = ["ALL_LAYERS", "replay", "verify"]

ALL_LAYERS: Final = ("L0", "L1", "L2", "L3", "L4")

Progress = Callable[[str, Script], None]


def verify(
    target: Target,
    *,
    settings: Mapping[str, object] | None = None,
    scope: Scope | None = None,
    layers: Iterable[str] = ALL_LAYERS,
    invariant: Invariant | None = None,
    messages: Mapping[str, Sequence[object]] | None = None,
    ignore: Mapping[str, str] | None = None,
    sometimes: Iterable[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Try a plugin in every way there is within ``scope``, and report what went wrong.

    Fresh plugins are made and run in this process, on event loops of their own, hundreds of times: as in a test, they
    really open files and sockets. A hook that never gives way to its loop cannot be ended from within; the command
    ``fsm-plugins verify`` does it all in a process of its own, and ends that.

    Args:
        target: a plugin class, a function that makes a plugin, ``"module:Class"``, or the path of a TOML file, whose
            plugins are verified one by one, as they are wired.
        settings: keywords for the class or the function.
        scope: how far to go; ``Scope()`` unless given.
        layers: ``L0`` static, ``L1`` sequences of calls, ``L2`` faults at every await, ``L3`` a registry of plugins
            with its lifecycle, ``L4`` calls at the same time.
        invariant: a function of the plugin that is asked after each call. It returns False or raises if it is broken.
        messages: input port -> messages to feed it with. Without, they are made up from the type of the port.
        ignore: code or slug of a check -> why it may be broken. A class can have these as ``verify_ignore``.
        sometimes: names that a call of `sometimes` has to make true at least once, or else the report is inconclusive.
        progress: called with the name of the plugin and the calls so far, as each run begins and before each call.

    Raises:
        CannotVerify: there is nothing to run. The text says why.
        ValueError: there is no such layer or check, or a reason is empty.

    >>> from fsm_plugins import Plugin, PluginInfo
    >>> class Clock(Plugin):
    ...     info = PluginInfo("clock", "1.0.0")
    >>> print(verify(Clock, scope=Scope(depth=4)).verdict)
    holds within the scope: L0, L1, L2, L3, L4; depth 4, faults 1, plugins 3, tasks 2, preemptions 2
    """
    scope = scope or Scope()
    wanted = _checked_layers(layers)
    reasons = _checked_reasons(ignore or {})
    subjects = subjects_of(target, settings, messages)
    return verify_subjects(subjects, scope, wanted, invariant, reasons, tuple(sometimes), progress)


def verify_subjects(
    subjects: Sequence[Subject],
    scope: Scope,
    layers: Sequence[str],
    invariant: Invariant | None,
    reasons: Mapping[str, str],
    awaited: Sequence[str],
    progress: Progress | None,
) -> Report:
    """Verify what has been found already; see `verify`."""
    begin = time.monotonic()
    budget = Budget(scope.seconds)
    parts: list[Report] = []
    with _quiet(), temporary_files() as temporary, sometime.watching(awaited) as seen:
        for subject in subjects:
            told = None if progress is None else functools.partial(progress, subject.name)
            exploration = Exploration(subject, scope, budget, invariant, told, temporary)
            part = _verify_one(exploration, layers)
            parts.append(_with_ignored(part, {**_class_reasons(subject), **reasons}))
            if "interrupted" in part.incomplete.values():
                break
    report = _together(scope, parts)
    return evolve(report, vacuous=seen.never(), seconds=time.monotonic() - begin)


def replay(
    calls: str | Iterable[str],
    target: Target | None = None,
    *,
    settings: Mapping[str, object] | None = None,
    invariant: Invariant | None = None,
    messages: Mapping[str, Sequence[object]] | None = None,
) -> Report:
    """Run one script again.

    Args:
        calls: a replay token, or the calls as words: ``["init", "start[cancel@1]", "stop"]``.
        target: as for `verify`; what the token names unless given.
        settings: as for `verify`; those in the token unless given.
        invariant, messages: as for `verify`.

    Raises:
        ValueError: this is no token, or a word is no call.
        CannotVerify: the plugin cannot be had, or the token does not name one.
    """
    token = Token.read(calls) if isinstance(calls, str) else None
    script = token.script if token is not None else calls_of(calls)
    if target is None:
        target = token.target if token is not None else None
        if target is None:
            raise CannotVerify("the token does not say which plugin it is about; name it as well: module:Class")
    if settings is None and token is not None:
        if token.settings is None:
            raise CannotVerify(
                "the token does not hold the settings, because JSON cannot; give them with settings={...}"
            )
        settings = None if "#" in str(token.target) else token.settings
    begin = time.monotonic()
    (subject, *others) = subjects_of(target, settings, messages)
    if others:
        raise CannotVerify(f"{target} has several plugins; name one of them: {target}#{subject.name}")
    if token is not None and token.cell:
        with _quiet():
            found = again(subject, token, invariant)
        completed = (f"replay of {token.cell}",)
        return Report(Scope(), (subject.name,), found, completed=completed, runs=1, seconds=time.monotonic() - begin)
    with _quiet():
        outcome = run_script(subject, script, invariant=invariant, again=_has_fault(script))
        if outcome.met and outcome.troubles:
            outcome = run_script(subject, script, invariant=invariant, again=_has_fault(script), pace=CALM)
    findings = tuple(_finding(subject, trouble, outcome, "") for trouble in outcome.troubles)
    return Report(
        Scope(depth=max(1, len(script))),
        (subject.name,),
        findings,
        completed=("replay of " + " -> ".join(done.text for done in outcome.done),),
        runs=1,
        seconds=time.monotonic() - begin,
    )


def _has_fault(script: Script) -> bool:
    return any(call.fault is not None for call in script)


# One plugin.


_UNDER_WAY: Final = "interrupted"
_POISONED: Final = "what one plugin leaves behind makes the next one fail"


def _verify_one(exploration: Exploration, layers: Sequence[str]) -> Report:
    subject, scope = exploration.subject, exploration.scope
    completed: list[str] = []
    incomplete: dict[str, str] = {}
    static: list[Trouble] = []
    parts: list[Part] = []
    try:
        refused = _learn(exploration)
        if refused is not None:
            return Report(scope, (subject.name,), (refused,), completed=tuple(layers)[:1])
        if "L0" in layers:
            static = look_at(subject, exploration.lifecycle)
            completed.append("L0")
        if {"L1", "L2", "L4"} & set(layers):
            exploration.settle()
        for layer, go in (("L1", exploration.sequences), ("L2", exploration.faults)):
            if layer not in layers:
                continue
            incomplete[layer] = "not begun"
            if exploration.poisoned:
                incomplete[layer] = _POISONED
                continue
            incomplete[layer] = _UNDER_WAY
            go()
            del incomplete[layer]
            completed.append(layer)
        for layer, find in (("L3", _registry), ("L4", _schedules)):
            if layer not in layers:
                continue
            incomplete[layer] = _UNDER_WAY
            exploration.budget.check()
            part = find(exploration)
            parts.append(part)
            del incomplete[layer]
            if part.incomplete or (part.left and not completed):
                incomplete[layer] = part.incomplete or part.left
            elif not part.left:
                completed.append(layer)
    except OutOfTime as reason:
        late = {layer: str(reason) for layer in layers if layer not in completed}
        incomplete = {**late, **{layer: why for layer, why in incomplete.items() if why != _UNDER_WAY}}
    except KeyboardInterrupt:
        incomplete = {layer: "interrupted" for layer in layers if layer not in completed}
    except CannotVerify as error:
        if exploration.lifecycle is None:
            raise
        exploration.not_again(str(error))
        incomplete = {layer: _POISONED for layer in layers if layer not in completed}
    return _with_parts(_report(exploration, static, tuple(completed), incomplete), parts)


_NOT_TWICE: Final = {
    "blocking-call": "it blocks the event loop, so that schedules would take too long",
    "ends-process": "it ends the process it runs in",
}


def _registry(exploration: Exploration) -> Part:
    assert exploration.lifecycle is not None
    told = exploration.progress or _nobody
    return registry_of(exploration.subject, exploration.lifecycle, exploration.scope, exploration.budget.left, told)


def _schedules(exploration: Exploration) -> Part:
    if exploration.poisoned:
        return Part(incomplete=_POISONED)
    for slug, why in _NOT_TWICE.items():
        if any(found == slug for found, _ in exploration.troubles):
            return Part(incomplete=why)
    if exploration.met:
        return Part(left=f"{', '.join(sorted(exploration.met))} cannot be controlled")
    told = exploration.progress or _nobody
    left = exploration.budget.left
    return calls_at_once(exploration.subject, exploration.scope, left, exploration.invariant, told)


def _nobody(_script: Script) -> None:
    """Hear of it."""


def _with_parts(report: Report, parts: Sequence[Part]) -> Report:
    """Add what the registry and the schedules came to."""
    coverage, findings, notes, runs = report.coverage, list(report.findings), list(report.notes), report.runs
    for part in parts:
        coverage += part.coverage
        findings += part.findings
        runs += part.runs
        if part.left:
            notes.append(f"{report.plugins[0]}: no schedules were explored (L4): {part.left}")
        if part.note:
            notes.append(part.note)
    return evolve(report, coverage=coverage, findings=tuple(findings), notes=tuple(notes), runs=runs)


def _learn(exploration: Exploration) -> Finding | None:
    """Make the first plugin. Returns a finding if its definition is refused in a way that has a code."""
    try:
        exploration.learn()
    except CannotVerify as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, DefinitionError) and (slug := of_definition(str(cause))):
                return Finding(CHECKS[slug].code, slug, exploration.subject.name, str(cause), layer="L0")
            cause = cause.__cause__
        for trouble in look_at(exploration.subject, None):
            if trouble.slug == "port-problem":
                return _finding(exploration.subject, trouble, None, "L0")
        raise
    return None


def _report(
    exploration: Exploration, static: Sequence[Trouble], completed: tuple[str, ...], incomplete: Mapping[str, str]
) -> Report:
    subject = exploration.subject
    findings = [_finding(subject, trouble, None, "L0") for trouble in static]
    known = {(finding.slug, finding.hook) for finding in findings}
    for trouble, outcome in exploration.troubles.values():
        if (trouble.slug, trouble.hook) not in known:
            layer = "L2" if _has_fault(outcome.script) else "L1"
            findings.append(_finding(subject, trouble, outcome, layer))
    findings.sort(key=lambda finding: (len(finding.trace), finding.code, finding.hook))
    notes = [f"{name} is not fed: {why}" for name, why in subject.samples()[1].items()]
    if exploration.met:
        kinds = ", ".join(sorted(exploration.met))
        notes.append(f"{subject.name} uses {kinds}: while they were under way the clock ran, and did not jump")
    incomplete = dict(incomplete)
    if exploration.unsteady:
        notes += exploration.unsteady
        incomplete["repeatability"] = "a run came out otherwise when it was done again"
    coverage = exploration.coverage() if exploration.lifecycle is not None else Coverage()
    return Report(
        exploration.scope,
        (subject.name,),
        tuple(findings),
        coverage,
        completed,
        incomplete,
        notes=tuple(notes),
        runs=exploration.runs,
    )


def _finding(subject: Subject, trouble: Trouble, outcome: Outcome | None, layer: str) -> Finding:
    made = () if outcome is None else outcome.done[: trouble.at]
    calls = tuple(done.call for done in made)
    token = str(Token.make(subject.target, held_settings(subject), calls)) if outcome is not None else ""
    return Finding(
        CHECKS[trouble.slug].code,
        trouble.slug,
        subject.name,
        trouble.what,
        trouble.expected,
        tuple(done.text for done in made),
        tuple(map(str, calls)),
        trouble.hook,
        layer,
        token,
        subject.target,
        as_python(subject),
        () if outcome is None else tuple(step for step in outcome.steps if step.dest is not None),
    )


# Together.


def _together(scope: Scope, parts: Sequence[Report]) -> Report:
    coverage = Coverage()
    for part in parts:
        coverage += part.coverage
    incomplete: dict[str, str] = {}
    for part in parts:
        prefix = "" if len(parts) == 1 else f"{part.plugins[0]}: "
        incomplete.update({prefix + layer: why for layer, why in part.incomplete.items()})
    completed = [layer for layer in ALL_LAYERS if all(layer in part.completed for part in parts)]
    return Report(
        scope,
        tuple(name for part in parts for name in part.plugins),
        tuple(sorted((f for part in parts for f in part.findings), key=lambda finding: len(finding.trace))),
        coverage,
        tuple(completed),
        incomplete,
        tuple(found for part in parts for found in part.ignored),
        notes=tuple(note for part in parts for note in part.notes),
        runs=sum(part.runs for part in parts),
    )


def _with_ignored(report: Report, reasons: Mapping[str, str]) -> Report:
    kept = tuple(finding for finding in report.findings if finding.code not in reasons)
    ignored = tuple((finding, reasons[finding.code]) for finding in report.findings if finding.code in reasons)
    return evolve(report, findings=kept, ignored=ignored)


def _class_reasons(subject: Subject) -> dict[str, str]:
    declared = getattr(subject.plugin_class, "verify_ignore", {})
    if not isinstance(declared, Mapping):
        raise ValueError(f"verify_ignore of {subject.name} is a mapping of codes to reasons, not {declared!r}")
    return _checked_reasons(declared)


def _checked_reasons(ignore: Mapping[str, str]) -> dict[str, str]:
    reasons = {}
    for name, reason in ignore.items():
        try:
            check = find_check(name)
        except LookupError as error:
            raise ValueError(str(error)) from None
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{check.code} cannot be ignored without a reason; write ignore={{{check.code!r}: 'why'}}")
        reasons[check.code] = reason
    return reasons


def _checked_layers(layers: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys([layers] if isinstance(layers, str) else layers))
    for layer in wanted:
        if layer not in ALL_LAYERS:
            raise ValueError(f"there is no layer {layer!r}; there are: {', '.join(ALL_LAYERS)}")
    return tuple(layer for layer in ALL_LAYERS if layer in wanted)


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing meanwhile about failures that are wanted, and look for garbage only in what is new."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        logging.disable(level)
