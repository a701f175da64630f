"""Every check: its example breaks it, the repaired example does not, and its page is where it should be."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import linecache
import os
import pathlib
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator
from typing import Any

import pytest

import fsm_plugins
from fsm_plugins import Plugin
from fsm_plugins.diagrams import read_trace
from fsm_plugins.verify import CHECKS, Scope, conform, find_check, verify
from fsm_plugins.verify.schedules.exploring import explore_schedules

ROOT = pathlib.Path(__file__).parents[2]
_MODULES = (asyncio, contextlib, os, pathlib, random, signal, socket, sys, tempfile, threading, time)
_numbers = itertools.count()

RUN = [slug for slug, check in CHECKS.items() if check.layer in ("L0", "L1", "L2")]
LAYERS = ("L0", "L1", "L2")
# What the other layers find is tried with those layers: what `verify` calls itself, and methods of one's own.
WHOLE = ("registry-departs", "uncontrolled")
OWN = {"not-linearizable": ["add"], "race": ["connect"]}


@contextlib.contextmanager
def example(source: str) -> Iterator[Any]:
    """Make the class of an example, in a module whose source can be read."""
    name = f"verify_example_{next(_numbers)}"
    module = types.ModuleType(name)
    module.__dict__.update({name: getattr(fsm_plugins, name) for name in fsm_plugins.__all__})
    module.__dict__.update({each.__name__: each for each in _MODULES})
    file = f"{name}.py"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    sys.modules[name] = module
    try:
        exec(compile(source, file, "exec"), module.__dict__)
        yield module.__dict__["Example"]
    finally:
        del sys.modules[name], linecache.cache[file]


def invariant_of(cls: type[Plugin]) -> Any:
    """Return what the example says has to hold."""
    return getattr(cls, "invariant", None)


@pytest.mark.parametrize("slug", RUN)
def test_the_bad_example_of_a_check_breaks_it(slug: str) -> None:
    """The finding has the code, a trace where there is one, and a place to look at."""
    with example(CHECKS[slug].bad) as cls:
        report = verify(cls, invariant=invariant_of(cls), scope=Scope(depth=6), layers=LAYERS)
    found = [finding for finding in report.findings if finding.slug == slug]
    assert found, report
    assert report.exit_code == 1 and not report.holds
    assert {finding.code for finding in found} == {CHECKS[slug].code}
    assert all(finding.summary and finding.expected for finding in found)


@pytest.mark.parametrize("slug", RUN)
def test_the_good_example_of_a_check_holds(slug: str) -> None:
    """Nothing at all is found in it."""
    with example(CHECKS[slug].good) as cls:
        verify(cls, invariant=invariant_of(cls), scope=Scope(depth=6), layers=LAYERS).assert_holds()


@pytest.mark.parametrize("slug", WHOLE)
def test_the_examples_of_registries_and_runs_are_told_apart(slug: str) -> None:
    """The bad one is found by its layer, the good one holds."""
    check = CHECKS[slug]
    with example(check.bad) as cls:
        report = verify(cls, layers=[check.layer])
    assert [(finding.slug, finding.code, finding.layer) for finding in report.findings] == [
        (slug, check.code, check.layer)
    ]
    assert report.exit_code == (3 if slug == "uncontrolled" else 1)
    with example(check.good) as cls:
        verify(cls, layers=[check.layer]).assert_holds()


@pytest.mark.parametrize("slug", OWN)
def test_the_examples_of_overlapping_calls_are_told_apart(slug: str) -> None:
    """Two calls of the bad one come to what no order explains, two of the good one do not."""
    calls = OWN[slug]

    def seen(plugin: Any) -> object:
        return getattr(plugin, "count", None), getattr(plugin, "made", None)

    for source, holds in ((CHECKS[slug].bad, False), (CHECKS[slug].good, True)):
        with example(source) as cls:
            functions = [getattr(cls, name) for name in calls]
            result = explore_schedules(cls, functions, tasks=2, states=["created"], observe=seen)
        assert result.holds == holds, result


def test_the_examples_of_deadlocks_are_told_apart() -> None:
    """Two transfers in opposite directions wait for each other, unless both lock in the same order."""
    for source, holds in ((CHECKS["deadlock"].bad, False), (CHECKS["deadlock"].good, True)):
        with example(source) as cls:

            def make(cls: Any = cls) -> Any:
                plugin = cls()
                object.__setattr__(plugin, "locks", (asyncio.Lock(), asyncio.Lock()))
                return plugin

            async def there(plugin: Any) -> None:
                await plugin.transfer(*plugin.locks)

            async def back(plugin: Any) -> None:
                await plugin.transfer(*reversed(plugin.locks))

            result = explore_schedules(make, [there, back], tasks=None, states=["created"])
        assert result.holds == holds, result
        assert holds or (result.finding is not None and result.finding.kind == "deadlock")


def test_the_examples_of_traces_are_told_apart() -> None:
    """The bad trace departs, the good one does not."""
    check = CHECKS["trace-departs"]
    assert conform(read_trace(check.bad)) is not None
    assert conform(read_trace(check.good)) is None
    assert all(json.loads(line) for line in check.good.splitlines())


def test_codes_are_unique_and_can_be_looked_up() -> None:
    """By code, in any case, and by slug; a wrong word is answered with the nearest."""
    codes = [check.code for check in CHECKS.values()]
    assert len(set(codes)) == len(codes) and codes == sorted(codes)
    for slug, check in CHECKS.items():
        assert check.slug == slug
        assert find_check(slug) is find_check(check.code) is find_check(check.code.lower()) is check
    with pytest.raises(LookupError, match="did you mean 'leak-task'"):
        find_check("leak-tasks")


@pytest.mark.parametrize("slug", CHECKS)
def test_every_check_has_a_page_and_is_in_the_documentation(slug: str) -> None:
    """The page has both examples; the table of the documentation has its code, its slug and its title."""
    check = CHECKS[slug]
    page = check.page()
    assert check.bad in page and check.good in page and check.why in page and check.bad != check.good
    row = f"| {check.code} | `{slug}` | {check.layer} | {check.title} |"
    assert row in (ROOT / "docs" / "verification.md").read_text(encoding="utf-8").splitlines()
