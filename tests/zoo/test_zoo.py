"""The zoo is what it says: each mistake shows as it is documented, and what is called correct stands up to anything."""

from __future__ import annotations

import inspect
import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from fsm_plugins import Plugin
from tests.zoo.correct import CORRECT
from tests.zoo.faulty import FAULTY
from tests.zoo.specimen import SLUGS, Specimen
from tests.zoo.walk import hooks_of, observe, parse, static

KINDS = ("CancelledError", "TimeoutError", "OSError")
UNDISTURBED = "init -> start -> health_check -> stop"

BY_CALLING = [specimen for specimen in FAULTY if specimen.shortest and specimen.layer != "L4"]
BY_SCHEDULE = [specimen for specimen in FAULTY if specimen.layer == "L4" and "uncontrolled" not in specimen.slug]
BY_LOOKING = [specimen for specimen in FAULTY if not specimen.shortest]


def named(specimen: Specimen) -> str:
    return specimen.factory.__name__


def shows(specimen: Specimen, walk: str, turns: int = 12) -> bool:
    """Whether ``walk`` shows one of the mistakes that the specimen has."""
    return bool(observe(specimen, walk, turns=turns)[0] & set(specimen.slug))


# The census.


def test_the_zoo_is_large_and_covers_every_slug() -> None:
    """At least as many animals as were asked for, and at least one for each slug."""
    assert len(FAULTY) >= 36
    assert len({specimen.factory for specimen in CORRECT}) >= 55
    assert {slug for specimen in FAULTY for slug in specimen.slug} == SLUGS
    assert not any(specimen.slug or specimen.layer or specimen.why for specimen in CORRECT)


def test_every_specimen_is_labelled() -> None:
    """A name of its own, a line that says what it is, and for the faulty ones what is wrong and where it shows."""
    assert not [name for name, count in Counter(named(specimen) for specimen in FAULTY).items() if count > 1]
    for specimen in [*FAULTY, *CORRECT]:
        assert inspect.getdoc(specimen.factory), specimen.name
    for specimen in FAULTY:
        assert specimen.slug and specimen.layer and specimen.why, specimen.name
        assert specimen.layer == "L0" or specimen.shortest, specimen.name


# What is wrong with the faulty ones.


@pytest.mark.parametrize("specimen", BY_LOOKING, ids=named)
def test_a_static_mistake_can_be_seen(specimen: Specimen) -> None:
    """In the table, in a signature or in a port, and nothing else that is not said of it can be seen there."""
    found = static(specimen)
    assert found & set(specimen.slug)
    related = {"unreachable-state": {"unreachable-arc"}, "no-way-to-rest": {"dead-end"}}
    assert found <= set(specimen.slug).union(*(related.get(slug, set()) for slug in specimen.slug))


@pytest.mark.parametrize("specimen", BY_CALLING, ids=named)
def test_the_documented_walk_shows_the_mistake(specimen: Specimen) -> None:
    """The walk does, on fresh ground, as often as one likes; and to look is not enough."""
    assert shows(specimen, specimen.shortest)
    if specimen.clock == "either":
        assert shows(specimen, specimen.shortest)
    assert not static(specimen)


@pytest.mark.parametrize("specimen", [one for one in BY_CALLING if one.clock == "either"], ids=named)
def test_no_shorter_walk_shows_the_mistake(specimen: Specimen) -> None:
    """Neither the same one without its fault, nor any legal one with fewer calls, with or without a fault."""
    walks = set(shorter(specimen))
    if "[" in specimen.shortest:
        walks.add(" -> ".join(step.call for step in parse(specimen.shortest)))
    told = [walk for walk in sorted(walks) if shows(specimen, walk)]
    assert not told


def shorter(specimen: Specimen) -> Iterator[str]:
    """Return the legal walks that have fewer calls than the shortest counterexample, up to three."""
    if specimen.layer == "L0" or " new" in specimen.shortest:
        return  # with two plugins, what is shorter is the walk of one
    plugin = specimen.build()
    lifecycle = type(plugin).lifecycle
    for length in range(1, min(specimen.steps, 4)):
        for calls in itertools.product([*lifecycle.triggers, "health_check"], repeat=length):
            state = lifecycle.initial
            for call in calls:
                dest = lifecycle.dest(call, state) if call != "health_check" else state
                if dest is None:
                    break
                state = dest
            else:
                yield " -> ".join(calls)
                for kind, at in itertools.product(KINDS[::2], (1, 2)):
                    if hasattr(plugin, f"on_{calls[-1]}"):
                        yield " -> ".join(calls) + f"[{kind} at await {at}]"


@pytest.mark.parametrize("specimen", BY_SCHEDULE, ids=named)
def test_a_race_is_lost_in_some_schedules_and_won_in_others(specimen: Specimen) -> None:
    """The same calls, with the loop given more or fewer turns in between."""
    lost = [shows(specimen, specimen.shortest, turns=turns) for turns in range(12)]
    assert any(lost)
    if "||" in specimen.shortest:
        for one_by_one in (" -> ", " -> reload -> "):
            assert not shows(specimen, specimen.shortest.replace(" || ", one_by_one))
    else:
        assert not all(lost)


def test_chance_cannot_be_controlled() -> None:
    """The same walk has another number of awaits, sooner or later."""
    (specimen,) = [specimen for specimen in FAULTY if "uncontrolled" in specimen.slug]
    awaits = {observe(specimen, specimen.shortest)[1]["start"] for _ in range(40)}
    assert len(awaits) > 1


# What is right with the correct ones.


def spotless(specimen: Specimen, walk: str, *, turns: int = 12, work: float = 0.0) -> None:
    found, _ = observe(specimen, walk, turns=turns, work=work, rest=True)
    assert not found, f"{specimen.name}: {walk}"


@pytest.mark.parametrize("specimen", CORRECT, ids=named)
def test_a_correct_plugin_lives_twice_on_a_real_loop(specimen: Specimen) -> None:
    """Init, start, stop, and the same again with a fresh instance, leave nothing; and there is nothing to see."""
    if specimen.factory.__name__ == "Slow":
        specimen = Specimen(specimen.factory, {"warm_up": 0.004})  # real seconds
    found, _ = observe(specimen, "init -> start -> stop -> new -> init -> start -> stop", real=True)
    assert not found
    assert not static(specimen)


@pytest.mark.parametrize("specimen", CORRECT, ids=named)
def test_a_correct_plugin_survives_a_fault_at_every_await_of_every_hook(specimen: Specimen) -> None:
    """Cancelled, too late, or with an exception: after a stop nothing is left, though the stop be disturbed itself."""
    plugin = specimen.build()
    before = {call: walk for call, walk in walks_to(plugin).items() if call in hooks_of(plugin)}
    for call, walk in before.items():
        _, awaits = observe(specimen, f"{walk}{call}", rest=True)
        for kind, at in itertools.product(KINDS, range(1, awaits.get(call, 0) + 1)):
            spotless(specimen, f"{walk}{call}[{kind} at await {at}]")


def walks_to(plugin: Plugin) -> dict[str, str]:
    """Return, for each call of ``plugin``, a shortest walk to where it is legal."""
    lifecycle = type(plugin).lifecycle
    walks = {lifecycle.initial: ""}
    for state in (states := [lifecycle.initial]):
        for arc in lifecycle.arcs:
            if arc.source == state and arc.dest not in walks and arc.trigger != "fail":
                walks[arc.dest] = f"{walks[state]}{arc.trigger} -> "
                states.append(arc.dest)
    legal = {arc.trigger: walks[arc.source] for arc in reversed(lifecycle.arcs) if arc.source in walks}
    return {**legal, "health_check": "init -> start -> "}


@pytest.mark.parametrize("specimen", CORRECT, ids=named)
def test_a_correct_plugin_takes_calls_in_any_order(specimen: Specimen) -> None:
    """Legal and illegal, at once and while it works, alone and two at a time."""
    working = 0.01 if specimen.clock == "real" else 1.0
    spotless(specimen, UNDISTURBED, work=working)
    spotless(specimen, UNDISTURBED, turns=0)
    spotless(specimen, "init -> start -> stop", turns=2)
    spotless(specimen, "fail -> stop")
    spotless(specimen, "init -> fail -> stop")
    spotless(specimen, "init -> start -> fail -> health_check -> stop", work=working)
    spotless(specimen, "stop -> start -> init -> init -> stop -> start -> start -> init -> stop -> stop -> init")
    for both in ("start || fail", "start || health_check", "start || stop"):
        spotless(specimen, f"init -> {both}")
    for both in ("stop || stop", "stop || fail", "health_check || stop", "health_check || fail"):
        spotless(specimen, f"init -> start -> {both}", turns=2)
