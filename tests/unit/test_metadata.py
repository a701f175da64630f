"""What describes a plugin is checked where it is written, and the text says what is wrong."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from fsm_plugins import Deadlines, DefinitionError, HealthStatus, PluginInfo, PluginType

WORD = "is a non-empty printable word without space around it, not"
SEMVER = "is not a semantic version like 1.0.0"
SECONDS = "is a positive number of seconds (or math.inf), not"

# how it is made, what is said
BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: PluginInfo("", "1.0.0"), f"a plugin's name {WORD} ''"),
    (lambda: PluginInfo(" x", "1.0.0"), f"a plugin's name {WORD} ' x'"),
    (lambda: PluginInfo("x\n", "1.0.0"), f"a plugin's name {WORD} 'x\\n'"),
    (lambda: PluginInfo("x\x00y", "1.0.0"), f"a plugin's name {WORD} 'x\\x00y'"),
    (lambda: PluginInfo(5, "1.0.0"), f"a plugin's name {WORD} 5"),  # type: ignore[arg-type]
    (lambda: PluginInfo("x", "1.0"), f"version '1.0' of plugin 'x' {SEMVER}"),
    (lambda: PluginInfo("x", "01.0.0"), f"version '01.0.0' of plugin 'x' {SEMVER}"),
    (lambda: PluginInfo("x", "1.0.0-"), f"version '1.0.0-' of plugin 'x' {SEMVER}"),
    (lambda: PluginInfo("x", "1.0.0-01"), f"version '1.0.0-01' of plugin 'x' {SEMVER}"),
    (lambda: PluginInfo("x", "1.0.0\n"), f"version '1.0.0\\n' of plugin 'x' {SEMVER}"),
    (lambda: PluginInfo("x", "1.0.٣"), f"version '1.0.٣' of plugin 'x' {SEMVER}"),
    (lambda: PluginInfo("x", 1.0), f"version 1.0 of plugin 'x' {SEMVER}"),  # type: ignore[arg-type]
    (lambda: PluginInfo("x", "1.0.0", "a\nb"), "the description of plugin 'x' is one line, not 'a\\nb'"),
    (lambda: PluginInfo("x", "1.0.0", None), "the description of plugin 'x' is one line, not None"),  # type: ignore[arg-type]
    (
        lambda: PluginInfo("x", "1.0.0", "", "detector"),  # type: ignore[arg-type]
        (
            "the type of plugin 'x' is PluginType.DETECTOR, another one of the four, or PluginType.custom('name'), "
            "not 'detector'"
        ),
    ),
    (lambda: PluginType.custom(""), f"a plugin's name {WORD} ''"),
    (lambda: PluginType("two\nlines"), f"a plugin's name {WORD} 'two\\nlines'"),
    (lambda: Deadlines(init=0), f"the deadline 'init' {SECONDS} 0"),
    (lambda: Deadlines(start=-1.5), f"the deadline 'start' {SECONDS} -1.5"),
    (lambda: Deadlines(stop=math.nan), f"the deadline 'stop' {SECONDS} nan"),
    (lambda: Deadlines(health=True), f"the deadline 'health' {SECONDS} True"),
    (lambda: Deadlines(grace="1"), f"the deadline 'grace' {SECONDS} '1'"),  # type: ignore[arg-type]
    (lambda: Deadlines(others={"pause": 0}), f"the deadline 'pause' {SECONDS} 0"),
]


@pytest.mark.parametrize(("make", "text"), BAD, ids=[text for _, text in BAD])
def test_bad_metadata_is_refused(make: Callable[[], object], text: str) -> None:
    """The error names what is wrong, whose it is, and what it should be."""
    with pytest.raises(DefinitionError) as refused:
        make()
    assert str(refused.value) == text


@pytest.mark.parametrize("version", ["0.0.0", "1.2.3", "1.0.0-rc.1", "1.0.0-alpha-1+build.007", "10.20.30+x"])
def test_semantic_versions_are_taken(version: str) -> None:
    """What semver.org calls a version is one."""
    assert PluginInfo("x", version).version == version


def test_plugin_types_print_their_name() -> None:
    """The four well-known kinds and those of one's own, as they appear in a table."""
    kinds = [PluginType.DETECTOR, PluginType.LOG_PIPELINE, PluginType.SCANNER, PluginType.ENFORCER]
    assert [str(kind) for kind in kinds] == ["detector", "log-pipeline", "scanner", "enforcer"]
    assert str(PluginType.custom("geo")) == "custom:geo"
    assert PluginType.custom("geo") == PluginType.custom("geo") != PluginType("geo")


def test_deadlines_of_triggers() -> None:
    """The three of the default lifecycle have their own, others are looked up, and 30 seconds is the rule."""
    deadlines = Deadlines(init=1, start=2, stop=3, health=4, grace=5, others={"pause": 6})
    assert [deadlines.of(trigger) for trigger in ("init", "start", "stop", "pause", "resume")] == [1, 2, 3, 6, 30.0]
    assert deadlines.of("health") == deadlines.of("grace") == 30.0  # not triggers


def test_the_mapping_of_other_deadlines_cannot_change() -> None:
    """Deadlines are a value: whoever made the mapping cannot change it later, and nobody else either."""
    others = {"pause": 6.0}
    deadlines = Deadlines(others=others)
    others["pause"] = 7.0
    assert deadlines.of("pause") == 6.0
    with pytest.raises(TypeError):
        deadlines.others["pause"] = 8.0  # type: ignore[index]
    assert hash(deadlines) == hash(Deadlines())
    assert deadlines == Deadlines(others={"pause": 6.0}) != Deadlines()


@pytest.mark.parametrize(
    "value",
    [
        PluginInfo("x", "1.0.0", "words", PluginType.custom("geo")),
        Deadlines(stop=math.inf, others={"pause": 6.0}),
        HealthStatus.unhealthy("no"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_metadata_can_be_copied_and_pickled(value: Any) -> None:
    """It travels to other processes, and in configurations that are copied."""
    for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert again == value


@pytest.mark.parametrize(
    ("status", "healthy", "degraded", "unhealthy", "text"),
    [
        (HealthStatus.healthy(), True, False, False, "healthy"),
        (HealthStatus.degraded("slow"), False, True, False, "degraded: slow"),
        (HealthStatus.unhealthy("gone"), False, False, True, "unhealthy: gone"),
    ],
)
def test_health_is_one_of_three(
    status: HealthStatus, healthy: bool, degraded: bool, unhealthy: bool, text: str
) -> None:
    """Exactly one of the three questions is answered with yes."""
    assert (status.is_healthy, status.is_degraded, status.is_unhealthy) == (healthy, degraded, unhealthy)
    assert str(status) == text
