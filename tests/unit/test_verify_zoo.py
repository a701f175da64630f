"""The verifier in the zoo: every faulty plugin is found out with its check, and no correct one is accused."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest

import tests.zoo.correct
import tests.zoo.faulty
from fsm_plugins.verify import Report, Scope, verify
from fsm_plugins.verify.script import PAUSES, calls_of
from tests.zoo.specimen import Specimen


def specimens(package: ModuleType, name: str) -> list[Specimen]:
    """Return the specimens that the modules of a package keep."""
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return [specimen for module in modules for specimen in getattr(module, name, ())]


# What needs two calls at the same time is for the schedules.
FAULTY = [specimen for specimen in specimens(tests.zoo.faulty, "FAULTY") if specimen.layer != "L4"]
CORRECT = specimens(tests.zoo.correct, "CORRECT")


def look(specimen: Specimen, depth: int) -> Report:
    """Verify a specimen."""
    if specimen.reset is not None:
        specimen.reset()
    try:
        return verify(
            specimen.factory,
            settings=specimen.settings,
            invariant=specimen.invariant,
            messages=specimen.messages,
            scope=Scope(depth=depth),
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
    report = look(specimen, max(4, specimen.steps))
    found = [finding for finding in report.findings if finding.slug in specimen.slug]
    assert found, report
    shortest = min(sum(call.name not in PAUSES for call in calls_of(finding.calls)) for finding in found)
    anew = " -> new" in specimen.shortest
    assert shortest <= specimen.steps + 2 * anew, report


@pytest.mark.parametrize("specimen", CORRECT, ids=lambda specimen: specimen.name)
def test_a_correct_plugin_is_not_accused(specimen: Specimen) -> None:
    """Nothing is found, and everything was tried."""
    look(specimen, 4).assert_holds()
