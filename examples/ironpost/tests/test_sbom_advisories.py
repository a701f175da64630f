"""Advisories: which versions they affect, by the rules of OSV and of each ecosystem."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging import version as pep440
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from ironpost.events import Severity
from ironpost.sbom import Advisories, AdvisoryError, Package, load_advisories, scan_tree
from ironpost.sbom.advisories import MAX_DOCUMENT
from ironpost.sbom.severity import base_score, severity_of
from ironpost.sbom.versions import Range, VersionError, parse_version

ROOT = Path(__file__).resolve().parents[3]
DATABASE = ROOT.parent / "shared" / "data" / "pypi-osv.zip"
HERE = Path(__file__).parent

real = pytest.mark.skipif(not DATABASE.is_file(), reason=f"the advisories of PyPI are not at {DATABASE}")


@cache
def Version(text: str) -> pep440.Version:  # noqa: N802
    return pep440.Version(text)


def document(**fields: object) -> dict[str, object]:
    return {"id": "X-1", "modified": "2024-01-01T00:00:00Z", **fields}


def affecting(
    *events: dict[str, str], ecosystem: str = "PyPI", name: str = "a", kind: str = "ECOSYSTEM", **more: object
) -> dict[str, object]:
    ranges = [{"type": kind, "events": list(events)}]
    return {"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges, **more}


def database(*documents: object) -> Advisories:
    found = Advisories()
    for number, each in enumerate(documents):
        found.add(f"{number}.json", json.dumps(each).encode())
    return found


def affected(advisories: Advisories, version: str, ecosystem: str = "PyPI", name: str = "a") -> bool:
    return bool(advisories.find(Package(ecosystem, name, version)))


# Against the real ones, by a check of another make: intervals as they are written, compared by packaging itself.


def intervals(events: list[dict[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield (first, kind of end, end) for each pair of events."""
    begin = None
    for event in events:
        ((kind, version),) = event.items()
        if kind == "introduced":
            assert begin is None
            begin = version
        else:
            assert begin is not None
            yield begin, kind, version
            begin = None
    if begin is not None:
        yield begin, "", ""


def affected_by_hand(entry: dict[str, Any], text: str) -> bool:
    version = Version(text)
    for listed in entry.get("versions", []):
        try:
            if Version(listed) == version:
                return True
        except InvalidVersion:
            continue
    for each in entry.get("ranges", []):
        if each["type"] != "ECOSYSTEM":
            continue
        try:
            for begin, kind, end in intervals(each["events"]):
                after = begin == "0" or version >= Version(begin)
                before = not kind or (version < Version(end) if kind == "fixed" else version <= Version(end))
                if after and before:
                    return True
        except InvalidVersion:
            continue
    return False


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    with zipfile.ZipFile(DATABASE) as archive:
        return [json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json")]


@pytest.fixture(scope="module")
def loaded() -> Advisories:
    return load_advisories(DATABASE)


def by_package(documents: list[dict[str, Any]]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for each in documents:
        if "withdrawn" not in each:
            for entry in each["affected"]:
                found.setdefault(canonicalize_name(entry["package"]["name"]), []).append((each["id"], entry))
    return found


def releases(entries: list[tuple[str, dict[str, Any]]]) -> set[str]:
    """Return the versions at which something begins or ends, with neighbours, and some of those that are listed."""
    found = {"0.0.1", "1.0", "99999"}
    for _, entry in entries:
        listed = entry.get("versions", [])
        found |= {*listed[:2], *listed[len(listed) // 2 :][:1], *listed[-2:]}
        for each in entry.get("ranges", []):
            if each["type"] == "ECOSYSTEM":
                found |= {version for event in each["events"] for version in event.values()}
    sound = set()
    for text in found:
        try:
            sound |= {text, str(Version(text)), f"{Version(text).public}.post1", f"{Version(text).base_version}rc1"}
        except InvalidVersion:
            continue
    return {text for text in sound if _is_version(text)}


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


@real
def test_the_real_advisories_are_accounted_for(documents: list[dict[str, Any]], loaded: Advisories) -> None:
    """Every document is used, withdrawn, or refused."""
    withdrawn = sum("withdrawn" in each for each in documents)
    assert (loaded.documents, loaded.withdrawn, loaded.elsewhere, loaded.refused) == (len(documents), withdrawn, 0, {})
    assert len(loaded) == len(documents) - withdrawn > 2000


@real
def test_a_lockfile_with_every_old_release_is_matched_as_by_hand(
    tmp_path: Path, documents: list[dict[str, Any]], loaded: Advisories
) -> None:
    """Tens of thousands of releases around every boundary of every range, and not one finding more or less."""
    entries = by_package(documents)
    pins = [(name, version) for name, found in entries.items() for version in sorted(releases(found))]
    (tmp_path / "requirements.txt").write_text("\n".join(f"{name}=={version}" for name, version in pins))
    scan = scan_tree(tmp_path, loaded)
    found = {(each.package.name, each.package.version, each.advisory.id) for each in scan.findings}
    by_hand = {
        (name, version, advisory)
        for name, version in pins
        for advisory, entry in entries[name]
        if affected_by_hand(entry, version)
    }
    assert found == by_hand
    assert len(scan.packages) == len(pins) > 20_000 and len(found) > 20_000
    assert len(found) == len(scan.findings)


@real
def test_an_old_environment_is_matched_as_by_hand(documents: list[dict[str, Any]], loaded: Advisories) -> None:
    """Django, Flask, Pillow and what comes with them, as a resolver pinned them."""
    entries = by_package(documents)
    scan = scan_tree(HERE / "data", loaded)
    assert scan.lockfiles == ("requirements-old.txt",) and not scan.ignored
    found = {(each.package, each.advisory.id) for each in scan.findings}
    by_hand = {
        (package, advisory)
        for package in scan.packages
        for advisory, entry in entries.get(package.name, ())
        if affected_by_hand(entry, package.version)
    }
    assert found == by_hand and len(found) > 80
    assert not scan.orderless


# The rule, on made-up ranges.

numbers = st.integers(0, 6)


@given(
    st.lists(st.tuples(numbers, numbers), max_size=4), st.randoms(use_true_random=False), numbers, st.sampled_from("nf")
)
def test_a_range_is_the_union_of_its_intervals(
    pairs: list[tuple[int, int]], random: Any, version: int, end: str
) -> None:
    """However its events are ordered, as long as the intervals do not overlap."""
    bounds = sorted({number for pair in pairs for number in pair})
    spans = list(zip(bounds[::2], bounds[1::2], strict=False))
    kind = "fixed" if end == "f" else "last_affected"
    events = [event for low, high in spans for event in (("introduced", f"1.{low}"), (kind, f"1.{high}"))]
    random.shuffle(events)
    inside = any(low <= version < high or (kind != "fixed" and version == high) for low, high in spans)
    for scheme in ("PyPI", "npm"):
        assert (parse_version(scheme, f"1.{version}.0") in Range.of(scheme, events)) is inside


@pytest.mark.parametrize(
    ("events", "inside", "outside"),
    [
        ([{"introduced": "0"}, {"fixed": "1.4.2"}], ["0.1", "1.4.2rc1", "1.4.2.dev1", "1.4.1.post9"], ["1.4.2", "2"]),
        ([{"introduced": "0"}, {"last_affected": "1.4"}], ["1.4.0", "1.4", "1.4rc1"], ["1.4.post1", "1.4.1"]),
        ([{"introduced": "1!1"}], ["1!1.0", "2!0"], ["2000"]),
        ([{"introduced": "0"}, {"limit": "2"}], ["1.9"], ["2", "3"]),
        ([{"introduced": "0"}, {"limit": "*"}], ["9"], []),
    ],
)
def test_ranges_of_pypi(events: list[dict[str, str]], inside: list[str], outside: list[str]) -> None:
    """PEP 440: release candidates come before, post releases after; epochs before everything else."""
    advisories = database(document(affected=[affecting(*events)]))
    assert [version for version in [*inside, *outside] if affected(advisories, version)] == inside


@pytest.mark.parametrize("ecosystem", ["npm", "crates.io"])
def test_ranges_of_semantic_versions(ecosystem: str) -> None:
    """Numbers count, not digits; pre-releases come before; build metadata does not count (rule 10)."""
    entry = affecting({"introduced": "1.9.0"}, {"fixed": "1.10.0"}, ecosystem=ecosystem, kind="SEMVER")
    advisories = database(document(affected=[entry]))
    inside = ["1.9.0", "1.9.0+b", "1.9.11", "1.10.0-rc.1", "1.10.0-alpha+1"]
    outside = ["1.9.0-rc.1", "1.10.0", "1.10.0+a", "1.11.0", "1.2.0"]
    assert [version for version in [*inside, *outside] if affected(advisories, version, ecosystem)] == inside
    last = affecting({"introduced": "0"}, {"last_affected": "0.4.0"}, ecosystem=ecosystem, kind="SEMVER")
    assert affected(database(document(affected=[last])), "0.4.0+build.7", ecosystem)


def test_spans_that_overlap_or_touch_are_not_cut_short() -> None:
    """As some advisories of PyPI are written. In no order at all, the events count in that of their versions."""
    overlap = [("introduced", "2.11"), ("fixed", "2.11.7"), ("introduced", "0"), ("fixed", "2.11.6")]
    touch = [("introduced", "1"), ("fixed", "2"), ("introduced", "0.5"), ("fixed", "1")]
    heap = [("fixed", "2"), ("introduced", "3"), ("introduced", "0"), ("fixed", "2.5"), ("last_affected", "3")]
    empty = [("introduced", "1"), ("fixed", "1")]
    backwards = [("introduced", "3"), ("fixed", "2"), ("introduced", "1")]
    for events, inside, outside in (
        (overlap, ["1", "2.11.6", "2.11.6.post1"], ["2.11.7"]),
        (touch, ["0.5", "1", "1.5"], ["0.4", "2"]),
        (heap, ["1", "3"], ["2", "2.1", "3.1"]),
        (empty, [], ["0.9", "1", "2"]),
        (backwards, ["1", "3"], ["0.9", "2"]),
    ):
        found = Range.of("PyPI", events)
        assert [v for v in [*inside, *outside] if parse_version("PyPI", v) in found] == inside, events


def test_listed_versions_count_as_well() -> None:
    """As they are written, and as they are meant; also those that have no order."""
    entry = {"package": {"ecosystem": "PyPI", "name": "A_b"}, "versions": ["1.0", "2.0-weird-one"]}
    advisories = database(document(affected=[entry]))
    found = [v for v in ("1", "1.0.0", "1.1", "2.0-weird-one", "2.0-odd") if affected(advisories, v, name="a-b")]
    assert found == ["1", "1.0.0", "2.0-weird-one"]
    crate = {"package": {"ecosystem": "crates.io", "name": "a"}, "versions": ["1.0.0+one"]}
    assert affected(database(document(affected=[crate])), "1.0.0+other", "crates.io")
    assert advisories.orderless(Package("PyPI", "a-b", "2.0-odd"))
    assert not advisories.orderless(Package("PyPI", "a-b", "1"))
    assert not advisories.orderless(Package("PyPI", "other", "odd"))


def test_an_unordered_range_is_told_and_the_rest_is_used() -> None:
    """One bad version does not hide the advisory."""
    entry = affecting({"introduced": "0"}, {"fixed": "bad-1"}, versions=["3"])
    entry["ranges"] = [*entry["ranges"], {"type": "ECOSYSTEM", "events": [{"introduced": "7"}]}]  # type: ignore[misc]
    advisories = database(document(affected=[entry]))
    assert advisories.unordered == {"X-1": "'bad-1' is no version of PyPI"}
    assert [v for v in ("1", "3", "7") if affected(advisories, v)] == ["3", "7"]


def test_a_package_is_found_once_for_an_advisory() -> None:
    """However many of its entries say so; and only in its own ecosystem."""
    entry = affecting({"introduced": "0"}, {"fixed": "9"})
    advisories = database(document(affected=[entry, entry]), document(id="X-0", affected=[entry]))
    found = advisories.find(Package("PyPI", "a", "1"))
    assert [(each.advisory.id, each.fixed) for each in found] == [("X-0", ("9",)), ("X-1", ("9",))]
    assert not affected(advisories, "1.0.0", "npm")


def test_commits_and_other_ecosystems_are_left_out() -> None:
    """They are counted."""
    git = {"package": {"ecosystem": "PyPI", "name": "a"}, "ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}
    advisories = database(
        document(affected=[git]),
        document(affected=[affecting({"introduced": "0"}, ecosystem="Go")]),
        document(),
        document(affected=[affecting({"introduced": "0"})], withdrawn="2024-01-01T00:00:00Z"),
    )
    assert (len(advisories), advisories.elsewhere, advisories.withdrawn, advisories.documents) == (1, 2, 1, 4)
    assert not affected(advisories, "1")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not JSON: "),
        (b"\xff", "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b"[]", "not an object"),
        (b"{}", "it has no 'id'"),
        (b'{"id": 3}', "'id' is not a string"),
        (b'{"id": "x", "aliases": [1]}', "'aliases' is not an array of strings"),
        (b'{"id": "x", "affected": {}}', "'affected' is not an array of objects"),
        (b" " * (MAX_DOCUMENT + 1), f"bigger than {MAX_DOCUMENT} bytes"),
    ],
)
def test_a_document_that_is_none_is_told(content: bytes, says: str) -> None:
    """Under its name, and the others are read."""
    advisories = Advisories()
    advisories.add("bad.json", content)
    advisories.add("good.json", json.dumps(document(affected=[affecting({"introduced": "0"})])).encode())
    assert list(advisories.refused) == ["bad.json"] and advisories.refused["bad.json"].startswith(says)
    assert affected(advisories, "1")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["PyPI", "ECOSYSTEM", "0", "1", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["package", "ecosystem", "name", "ranges", "type", "events", "introduced", "versions"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(json_values, json_values, st.binary(max_size=50))
@example([{"package": {"ecosystem": "PyPI", "name": "a"}, "ranges": [{"type": "ECOSYSTEM", "events": [{}]}]}], 0, b"")
def test_any_document_is_used_or_refused(first: object, second: object, junk: bytes) -> None:
    """And then asked, without another exception."""
    advisories = database(document(affected=first), document(affected=[first]), document(severity=second), second)
    advisories.add("junk", junk)
    assert advisories.documents == len(advisories) + advisories.elsewhere + advisories.withdrawn + len(
        advisories.refused
    )
    advisories.find(Package("PyPI", "a", "1"))


@given(st.sampled_from(["PyPI", "npm", "crates.io", "SEMVER"]), st.text(max_size=20))
@example("PyPI", "9" * 5000)
@example("npm", "9" * 5000)
@example("npm", "1." * 100)
def test_any_text_is_a_version_or_none(scheme: str, text: str) -> None:
    """No other exception than the one that says so."""
    try:
        version = parse_version(scheme, text)
    except VersionError:
        return
    assert not version < version and version <= version


# Severity.


@pytest.mark.parametrize(
    ("kind", "vector", "score"),
    [
        # Scores as published with these vulnerabilities by the NVD, or in the examples of the specification.
        ("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),  # CVE-2021-44228
        ("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5),  # CVE-2014-0160
        ("CVSS_V3", "CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),  # CVE-2013-1937
        ("CVSS_V2", "AV:N/AC:L/Au:N/C:N/I:N/A:C", 7.8),  # CVE-2002-0392
        ("CVSS_V3", "CVSS:3.1/AV:N", None),
        ("CVSS_V3", "", None),
        ("CVSS_V9", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", None),
    ],
)
def test_base_scores(kind: str, vector: str, score: float | None) -> None:
    """As others have computed them."""
    assert base_score(kind, vector) == score


@given(st.sampled_from(["CVSS_V2", "CVSS_V3", "CVSS_V4"]), st.text(max_size=40), st.sampled_from("34"))
def test_any_text_is_a_vector_or_none(kind: str, text: str, version: str) -> None:
    """Without an exception."""
    for vector in (text, f"CVSS:{version}.0/{text}", f"CVSS:{version}.1/AV:N/AC:L/{text}"):
        score = base_score(kind, vector)
        assert score is None or 0 <= score <= 10


def test_the_scale() -> None:
    """None, low, medium, high, critical, at the bounds of the specification."""
    scores = [0.0, 0.1, 3.9, 4.0, 6.9, 7.0, 8.9, 9.0, 10.0]
    assert [severity_of(score) for score in scores] == [0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_where_the_severity_comes_from() -> None:
    """That of the package before that of the advisory, a score before a word, the newest scale before older ones."""
    critical = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}
    low = {"type": "CVSS_V2", "score": "AV:L/AC:H/Au:M/C:N/I:N/A:P"}
    word = {"database_specific": {"severity": "MODERATE"}}
    entry = affecting({"introduced": "0"})

    def rated(entry: dict[str, object], **fields: object) -> tuple[float | None, Severity | None]:
        (found,) = database(document(affected=[entry], **fields)).find(Package("PyPI", "a", "1"))
        return found.advisory.score, found.advisory.severity

    assert rated(entry) == (None, None)
    assert rated(entry, **word) == (None, Severity.MEDIUM)
    assert rated(entry, severity=[low, critical], **word) == (9.8, Severity.CRITICAL)
    assert rated({**entry, "severity": [low]}, severity=[critical]) == (0.8, Severity.LOW)
    assert rated(entry, severity=[{"type": "CVSS_V3", "score": "nonsense"}], **word) == (None, Severity.MEDIUM)


# Where they are read from.


def test_a_directory_and_a_zip_file_are_the_same(tmp_path: Path) -> None:
    """Directories at any depth; what is no JSON file is no document."""
    text = json.dumps(document(affected=[affecting({"introduced": "0"})]))
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/X-1.json").write_text(text)
    (tmp_path / "d/readme.md").write_text("no")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(tmp_path / "d/e/X-1.json", "e/X-1.json")
        archive.write(tmp_path / "d/readme.md", "readme.md")
    assert load_advisories(tmp_path / "d") == load_advisories(tmp_path / "z.zip")
    assert affected(load_advisories(tmp_path / "d"), "1")


def test_advisories_that_are_not_there(tmp_path: Path) -> None:
    """The error says what to do; a file that is no zip file, or a broken one, is none."""
    with pytest.raises(AdvisoryError, match=r"there are no advisories at .*; set 'advisories'"):
        load_advisories(tmp_path / "none")
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(AdvisoryError, match="cannot be read: File is not a zip file"):
        load_advisories(tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "y.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", "{}" * 1000)
    content = bytearray((tmp_path / "y.zip").read_bytes())
    content[40:50] = b"\xff" * 10
    (tmp_path / "y.zip").write_bytes(content)
    with pytest.raises(AdvisoryError, match="cannot be read"):
        load_advisories(tmp_path / "y.zip")


@given(st.binary(max_size=200))
def test_any_file_is_a_database_or_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever is in it."""
    path = tmp_path_factory.mktemp("fuzz") / "a.zip"
    path.write_bytes(content)
    with pytest.raises(AdvisoryError):
        load_advisories(path)
