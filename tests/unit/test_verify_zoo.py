"""The verifier in the zoo: every faulty plugin is found out with its check, and no correct one is accused."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType

import pytest

import tests.zoo.correct
import tests.zoo.faulty
from fsm_plugins.verify import Report, Scope, replay, verify
from fsm_plugins.verify.base.script import PAUSES, calls_of
from fsm_plugins.verify.verifying import ALL_LAYERS
from tests.zoo.specimen import Specimen


def specimens(package: ModuleType, name: str) -> list[Specimen]:
    """Return the specimens that the modules of a package keep."""
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return [specimen for module in modules for specimen in getattr(module, name, ())]


ALL_FAULTY = specimens(tests.zoo.faulty, "FAULTY")
FAULTY = [specimen for specimen in ALL_FAULTY if specimen.layer != "L4"]
RACING = [specimen for specimen in ALL_FAULTY if specimen.layer == "L4"]
CORRECT = specimens(tests.zoo.correct, "CORRECT")


def look(specimen: Specimen, depth: int, layers: Sequence[str] = ALL_LAYERS, preemptions: int = 2) -> Report:
    """Verify a specimen."""
    if specimen.reset is not None:
        specimen.reset()
    try:
        return verify(
            specimen.factory,
            settings=specimen.settings,
            invariant=specimen.invariant,
            messages=specimen.messages,
            scope=Scope(depth=depth, preemptions=preemptions),
            layers=layers,
        )
    finally:
        if specimen.reset is not None:
            specimen.reset()


def test_the_zoo_is_large_enough() -> None:
    """Thirty that are faulty, fifty that are not."""
    assert len(FAULTY) >= 30
    assert len(CORRECT) >= 50


@pytest.mark.parametrize("specimen", FAULTY, ids=lambda specimen: specimen.name)
def test_a_faulty_plugin_is_found_out(specimen: Specimen) -> None:
    """By the check that the zoo names, with a trace of at most the calls that the zoo needs, and those of a first run.

    What is no call of the lifecycle does not count: the zoo lets the loop run until it is idle after every call, and
    throws a plugin away without stopping it.
    """
    report = look(specimen, max(4, specimen.steps), ("L0", "L1", "L2"))
    found = [finding for finding in report.findings if finding.slug in specimen.slug]
    assert found, report
    shortest = min(sum(call.name not in PAUSES for call in calls_of(finding.calls)) for finding in found)
    anew = " -> new" in specimen.shortest
    assert shortest <= specimen.steps + 2 * anew, report


@pytest.mark.parametrize("specimen", RACING, ids=lambda specimen: specimen.name)
def test_a_plugin_with_a_race_is_found_out(specimen: Specimen) -> None:
    """By the schedules, with the check that the zoo names; what is found can be run again, if anything can."""
    report = look(specimen, 3)
    (found,) = [finding for finding in report.findings if finding.layer == "L4"]
    assert found.slug in specimen.slug
    if found.slug == "uncontrolled":
        assert report.exit_code == 3 and not found.token
        return
    assert report.exit_code == 1
    assert found.schedule and found.trace
    again = replay(found.token, specimen.factory, settings=specimen.settings, invariant=specimen.invariant)
    assert again.findings == (found,)


@pytest.mark.parametrize("specimen", CORRECT, ids=lambda specimen: specimen.name)
def test_a_correct_plugin_is_not_accused(specimen: Specimen) -> None:
    """Nothing is found, and everything was tried; what cannot be tried is said."""
    report = look(specimen, 4, preemptions=1)
    report.assert_holds()
    tried, cells = report.coverage.concurrent_cells
    if "L4" in report.completed:
        assert tried == cells > 0
    else:
        assert any("no schedules were explored" in note for note in report.notes)
