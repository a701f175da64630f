"""The plugins of the zoo under layer L4: what needs a schedule is found, and what is correct gives no alarm."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest

import tests.zoo.correct
import tests.zoo.faulty
from fsm_plugins.verify.schedules.exploring import explore_schedules
from tests.zoo.specimen import Specimen

# What the zoo calls a finding, where that is another word: a race shows in what a hook raises.
SLUGS = {"invariant": "invariant-broken", "race": "hook-raises"}


def specimens(package: ModuleType, name: str) -> list[Specimen]:
    found: list[Specimen] = []
    for module in pkgutil.iter_modules(package.__path__):
        found += getattr(importlib.import_module(f"{package.__name__}.{module.name}"), name, [])
    return found


def named(specimen: Specimen) -> str:
    return specimen.name


FAULTY = [specimen for specimen in specimens(tests.zoo.faulty, "FAULTY") if specimen.layer == "L4"]
CORRECT = [specimen for specimen in specimens(tests.zoo.correct, "CORRECT") if specimen.clock == "either"]


@pytest.mark.parametrize("specimen", FAULTY, ids=named)
def test_what_needs_a_schedule_is_found(specimen: Specimen) -> None:
    """With one call, or two at the same time; and it is called what it is."""
    for tasks in (1, 2):
        result = explore_schedules(specimen.build, tasks=tasks, invariant=specimen.invariant)
        if result.finding is not None:
            break
    assert result.finding is not None
    assert {result.finding.kind, SLUGS.get(result.finding.kind)} & set(specimen.slug)


@pytest.mark.parametrize("specimen", CORRECT, ids=named)
def test_what_is_correct_gives_no_alarm(specimen: Specimen) -> None:
    """Each call alone and cancelled, with the workers of the plugin in every order."""
    result = explore_schedules(specimen.build, tasks=1, invariant=specimen.invariant, seconds=1.0)
    assert result.finding is None, result
    assert not result.unreached
