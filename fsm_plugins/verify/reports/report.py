"""What a verification comes to: findings with their counterexamples, what was tried, and the scope it holds in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import Factory, field, frozen

from fsm_plugins.diagrams import Sequence, Step
from fsm_plugins.errors import DefinitionError
from fsm_plugins.verify.reports.codes import CHECKS

__all__ = ["HOLDS", "INCONCLUSIVE", "REFUTED", "Counterexample", "Coverage", "Finding", "Report", "Scope"]

HOLDS: Final = 0
REFUTED: Final = 1
USAGE: Final = 2
INCONCLUSIVE: Final = 3


def _count(least: int, most: int | None = None) -> Callable[[object, object, int], None]:
    def check(_instance: object, attribute: object, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            name = getattr(attribute, "name", "?")
            raise DefinitionError(f"the {name} of a scope is a whole number of at least {least}, not {value!r}")
        if most is not None and value > most:
            name = getattr(attribute, "name", "?")
            raise DefinitionError(f"the {name} of a scope are at most {most}, not {value!r}")

    return check


def _seconds(_instance: object, _attribute: object, value: float | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise DefinitionError(f"the seconds of a scope are a positive number or None, not {value!r}")


@frozen
class Scope:
    """How far a verification goes.

    Attributes:
        depth: how many calls a sequence has at most.
        faults: how many things go wrong in one sequence at most.
        plugins: how many plugins a registry holds at most.
        tasks: how many calls are made at the same time at most; no more than 4.
        preemptions: how often a schedule departs from the order of asyncio at most, with so many calls; with each call
            fewer, once more.
        seconds: how long it may take; None for as long as it needs.

    Raises:
        DefinitionError: a value makes no sense.

    >>> print(Scope(depth=4))
    depth 4, faults 1, plugins 3, tasks 2, preemptions 2
    """

    depth: int = field(default=8, validator=_count(1))
    faults: int = field(default=1, validator=_count(0))
    plugins: int = field(default=3, validator=_count(1))
    tasks: int = field(default=2, validator=_count(1, 4))
    preemptions: int = field(default=2, validator=_count(0))
    seconds: float | None = field(default=None, validator=_seconds)

    def __str__(self) -> str:
        text = (
            f"depth {self.depth}, faults {self.faults}, plugins {self.plugins}, tasks {self.tasks}, "
            f"preemptions {self.preemptions}"
        )
        return text if self.seconds is None else f"{text}, at most {self.seconds:g} s"


@frozen
class Finding:
    """Something that is wrong.

    Attributes:
        code: of the check, ``FP012``.
        slug: of the check, in words.
        plugin: its name.
        summary: what was seen: ``1 socket leaked``.
        expected: what should have been.
        trace: the calls that lead there, as they are shown; empty for what needs none.
        calls: the same, as words that can be done again.
        hook: the hook, or the call, that it is about.
        layer: who found it.
        token: for ``replay``; empty if there is nothing to run.
        target: the plugin as it can be imported, or None.
        settings: as Python text, for a test; None if they have no such text.
        steps: the transitions on the way.
        schedule: of calls at the same time: which task went on when, in words.
    """

    code: str
    slug: str
    plugin: str
    summary: str
    expected: str = ""
    trace: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    hook: str = ""
    layer: str = ""
    token: str = ""
    target: str | None = None
    settings: str | None = "{}"
    steps: tuple[Step, ...] = ()
    schedule: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{' -> '.join(self.trace)}: {self.summary}" if self.trace else self.summary

    @property
    def key(self) -> tuple[str, str, str]:
        """What is the same when the same thing is found again."""
        return self.code, self.plugin, self.hook

    @property
    def counterexample(self) -> Counterexample:
        """The calls that lead there."""
        return Counterexample(self)


@frozen
class Counterexample:
    """How to see for oneself that something is wrong.

    ``str()`` is one line: the calls, each with its fault, and what came of them.
    """

    finding: Finding

    def __str__(self) -> str:
        return str(self.finding)

    @property
    def token(self) -> str:
        """What ``fsm-plugins replay`` takes."""
        return self.finding.token

    def to_pytest(self) -> str:
        """Return a test file that fails as long as the plugin does this, and can be kept afterwards."""
        finding = self.finding
        target, settings = finding.target, finding.settings
        name = "".join(c if c.isalnum() else "_" for c in f"{finding.plugin}_{finding.slug}").lower()
        lines = [f'"""{finding.plugin}: {_plain(finding.summary)}"""', ""]
        if target is None:
            lines += ["from fsm_plugins.verify import replay", "", "", "def make_plugin():"]
            lines += [
                '    raise NotImplementedError("return a fresh plugin; it was verified without a name to import")'
            ]
            made = "make_plugin"
        elif "#" in target or not target.partition(":")[2].isidentifier():
            lines += ["from fsm_plugins.verify import replay"]
            made = repr(target)
        else:
            module, _, made = target.partition(":")
            first, second = sorted([f"from {module} import {made}", "from fsm_plugins.verify import replay"])
            lines += [first, second]
        layer = finding.layer or "L0"
        lines += ["", "", f"def test_{name}() -> None:"]
        lines += [f'    """{_plain(finding.expected or "It holds")}."""']
        keywords = f", settings={settings}" if settings not in (None, "{}") else ""
        calls = ", ".join(map(repr, finding.calls))
        if finding.calls:
            lines += [f"    # {_plain(str(finding))}", f"    replay([{calls}], {made}{keywords}).assert_holds()"]
        else:
            lines[2:] = [line.replace("import replay", "import verify") for line in lines[2:]]
            lines += [f'    verify({made}{keywords}, layers=["{layer}"]).assert_holds()']
        return "\n".join([*lines, ""])

    def sequence_diagram(self) -> Sequence:
        """Return the transitions as a diagram; see `fsm_plugins.diagrams.render_sequence`."""
        return Sequence(self.finding.steps, f"{self.finding.code} {self.finding.slug}")


def _plain(text: str) -> str:
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


@frozen
class Coverage:
    """What was tried, of what there is. Each is a pair (tried, total).

    Attributes:
        states: of the lifecycle.
        arcs: moves of the lifecycle.
        arc_pairs: two moves, one right after the other.
        illegal_cells: a trigger in a state where it is illegal.
        await_points: a kind of fault at an await of a hook, by the state the hook was run in.
        concurrent_cells: calls at the same time in a state.
        registry_states: states of a registry with plugins of the lifecycle.
    """

    states: tuple[int, int] = (0, 0)
    arcs: tuple[int, int] = (0, 0)
    arc_pairs: tuple[int, int] = (0, 0)
    illegal_cells: tuple[int, int] = (0, 0)
    await_points: tuple[int, int] = (0, 0)
    concurrent_cells: tuple[int, int] = (0, 0)
    registry_states: tuple[int, int] = (0, 0)

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(*((a + c, b + d) for (a, b), (c, d) in zip(self.pairs, other.pairs, strict=True)))

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The seven pairs, in their order."""
        return (
            self.states,
            self.arcs,
            self.arc_pairs,
            self.illegal_cells,
            self.await_points,
            self.concurrent_cells,
            self.registry_states,
        )

    def __str__(self) -> str:
        names = ("states", "arcs", "arc pairs", "illegal cells", "await points", "concurrent cells", "registry states")
        return ", ".join(f"{name} {a}/{b}" for name, (a, b) in zip(names, self.pairs, strict=True))


@frozen
class Report:
    """What came of a verification.

    Attributes:
        scope: how far it went.
        plugins: the names of what was verified.
        findings: what is wrong, the shortest first.
        coverage: what was tried.
        completed: the layers that were done with.
        incomplete: the layers that were not, each with the reason.
        ignored: findings that the plugin, the caller or the baseline takes responsibility for, each with the reason.
        vacuous: the names given to `sometimes` that never came true.
        notes: what else a reader has to know, such as real sockets that were met.
        runs: how many plugins were made and run.
        seconds: how long it took.
    """

    scope: Scope
    plugins: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    coverage: Coverage = Coverage()
    completed: tuple[str, ...] = ()
    incomplete: Mapping[str, str] = Factory(dict)
    ignored: tuple[tuple[Finding, str], ...] = ()
    vacuous: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    runs: int = 0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether nothing was found, and everything in the scope was tried."""
        return not self.findings and not self.inconclusive

    @property
    def inconclusive(self) -> bool:
        """Whether no mistake was found, but not everything was tried, or something never happened that should have.

        A run that cannot be repeated is no mistake, but nothing can be established with it.
        """
        return not self.refuted and bool(self.findings or self.incomplete or self.vacuous)

    @property
    def refuted(self) -> bool:
        """Whether there is a counterexample."""
        return any(finding.slug != "uncontrolled" for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 it holds within the scope, 1 there is a counterexample, 3 it is inconclusive."""
        return REFUTED if self.refuted else INCONCLUSIVE if self.inconclusive else HOLDS

    @property
    def counterexample(self) -> Counterexample | None:
        """The shortest counterexample, if there is one."""
        return self.findings[0].counterexample if self.findings else None

    @property
    def verdict(self) -> str:
        """The result in one line, with its scope."""
        layers = ", ".join(self.completed) or "no layer"
        if self.refuted:
            count = len(self.findings)
            return f"refuted: {count} finding{'s' if count != 1 else ''} ({self.scope})"
        if self.inconclusive:
            found = "a run cannot be repeated" if self.findings else "nothing was found, but not everything was tried"
            return f"inconclusive: {found} ({layers} done; {self.scope})"
        return f"holds within the scope: {layers}; {self.scope}"

    def assert_holds(self) -> None:
        """Raise AssertionError, with the whole report as its text, unless it holds."""
        if not self.holds:
            raise AssertionError("\n" + str(self))

    def __str__(self) -> str:
        from fsm_plugins.verify.reports.rendering import as_text

        return as_text(self)

    def render(self, format: str = "text") -> str:  # noqa: A002
        """Return the report as ``text``, ``json``, ``junit`` (XML), ``html``, or ``pytest`` (a test file).

        Raises:
            ValueError: there is no such format; the text says which there are.
        """
        from fsm_plugins.verify.reports.rendering import render

        return render(self, format)


def check_slug(slug: str) -> str:
    """Return the code of a check."""
    return CHECKS[slug].code
