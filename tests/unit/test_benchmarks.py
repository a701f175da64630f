"""The parts of the benchmarks that measure nothing: what is kept, compared, drawn and written."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import _page, counts
from benchmarks._charts import bars
from benchmarks._measure import Sample, quantity, ratio
from benchmarks._results import Report, Role, Series, Table, Target, load, save
from benchmarks.check import losses

ROOT = Path(__file__).resolve().parent.parent.parent

seconds = st.floats(1e-9, 1e3)
samples = st.lists(seconds, min_size=1, max_size=5).map(lambda values: Sample(tuple(values)))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Return a table in which ours, the limit and one peer were measured."""
    points = tuple(sorted(draw(st.sets(st.integers(1, 10**5), min_size=1, max_size=4))))
    roles = [Role.OURS, Role.LIMIT, Role.PEER, *draw(st.lists(st.sampled_from(Role), max_size=4))]
    series = [
        Series(
            f"{role} {number} <&>",
            role,
            tuple(draw(samples if number < 3 else st.none() | samples) for _ in points),
            draw(st.sampled_from(["", "swallows time-outs"])),
        )
        for number, role in enumerate(roles)
    ]
    axis = "plugins" if len(points) > 1 else ""
    return Table("a-key", "What <was> & done", tuple(series), axis=axis, points=points, more=draw(st.booleans()))


def slower(table: Table, factor: float) -> Table:
    """Return the table as it would be if ours were worse by that factor."""
    change = 1 / factor if table.more else factor
    series = [
        each
        if each.role is not Role.OURS
        else evolve(
            each,
            samples=tuple(s and Sample(tuple(value * change for value in s.values)) for s in each.samples),
        )
        for each in table.series
    ]
    return evolve(table, series=tuple(series))


@given(tables())
def test_what_is_no_worse_loses_no_ground(table: Table) -> None:
    before = Report("one", [table])
    assert not list(losses(before, before))
    assert not list(losses(before, Report("two", [slower(table, 1.2)])))
    assert not list(losses(before, Report("two", [slower(table, 0.5)])))


@given(tables())
def test_what_is_worse_by_more_than_the_tolerance_is_told_for_each_rival_at_each_point(table: Table) -> None:
    found = list(losses(Report("one", [table]), Report("two", [slower(table, 1.5)])))
    expected = 0
    for index in range(len(table.points)):
        rivals = sum(each.samples[index] is not None for each in table.of(Role.LIMIT)) + 1  # and the best peer
        expected += rivals * sum(each.samples[index] is not None for each in table.of(Role.OURS))
    assert len(found) == expected
    assert all(each.now > each.before for each in found)


@given(tables(), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))
def test_a_report_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, table: Table, env: dict[str, str]
) -> None:
    directory = tmp_path_factory.mktemp("results")
    report = Report("Title", [table], ["a note"], [Target("a promise", 1.25, 1.5)], env)
    save(report, directory / "one.json")
    read = load(directory)["one"]
    assert (read.title, read.notes, read.targets, read.environment) == ("Title", ["a note"], report.targets, env)
    for mine, theirs in zip(table.series, read.tables[0].series, strict=True):
        assert (mine.name, mine.role, mine.note) == (theirs.name, theirs.role, theirs.note)
        for one, other in zip(mine.samples, theirs.samples, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert other.values == pytest.approx(one.values, rel=1e-3)


@given(tables())
def test_a_picture_has_a_bar_for_each_that_was_measured(table: Table) -> None:
    index = _page.shown(table)
    picture = ET.fromstring(bars(table, index))
    drawn = picture.findall("{http://www.w3.org/2000/svg}rect")
    assert len(drawn) == sum(each.samples[index] is not None for each in table.series)
    width = float(picture.attrib["width"])
    assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width for bar in drawn)
    lengths = [float(bar.attrib["width"]) for bar in drawn]
    assert lengths == sorted(lengths, reverse=table.more)


@given(tables())
def test_the_page_says_where_we_lose_and_names_every_contender(table: Table) -> None:
    text = _page.page({"lifecycle": Report("Title", [table])})
    assert all(each.name in text for each in table.series)
    lost = False
    for index in range(len(table.points)):
        ours = [each.samples[index] for each in table.of(Role.OURS)]
        peers = [each.samples[index] for each in table.of(Role.PEER)]
        best = (max if table.more else min)((sample for sample in ours if sample), key=lambda sample: sample.median)
        lost |= any((ratio(best, peer) if table.more else ratio(peer, best)) < 0.95 for peer in peers if peer)
    assert ("Nowhere in the tables below." in text) is not lost


def test_a_target_that_is_missed_says_by_how_much() -> None:
    assert Target("x", 3.83, 3.0).verdict == "short by 0.83 x"
    assert Target("x", 3.7, 4.0, at_least=True).verdict == "short by 0.30 x"
    assert Target("x", 4.0, 4.0, at_least=True).verdict == Target("x", 3.0, 3.0).verdict == "PASS"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.5, "s", "1.50 s"),
        (0.0123, "s", "12.3 ms"),
        (1.9e-5, "s", "19.0 us"),
        (1.9e-6, "s", "1,900 ns"),
        (297, "B", "297 B"),
    ],
)
def test_quantities_are_for_people(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_the_page_is_what_the_kept_results_make_of_it() -> None:
    reports = load()
    assert reports, "no results are kept: make bench SAVE=1"
    assert _page.PAGE.read_text(encoding="utf-8") == _page.page(reports), "python -m benchmarks._page writes it anew"
    drawn = {path.name: path.read_text(encoding="utf-8") for path in _page.PICTURES.glob("*.svg")}
    assert drawn == _page.pictures(reports), "python -m benchmarks._page writes them anew"


def test_no_hot_path_executes_more_than_was_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.counts"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_counts_that_grew_or_went_missing_are_told() -> None:
    before = {"start": {"instructions": 100.0, "calls": 2.0}, "creation": {"instructions": 50.0}}
    assert not list(
        counts.worse(before, {"start": {"instructions": 105.0, "calls": 2.0}, "creation": {"instructions": 9.0}})
    )
    told = list(counts.worse(before, {"start": {"instructions": 106.0, "calls": 3.0}}))
    assert len(told) == 3
    assert "106" in told[0]


def test_counting_is_exact(tmp_path: Path) -> None:
    assert counts.counted() == counts.counted()
    kept = tmp_path / "counts.json"
    kept.write_text(json.dumps({counts._version(): {"start, an empty hook": {"instructions": 10}}}))
    assert counts.compare(kept) == 1
