"""OSV advisories, read from a directory or a zip file, and asked about packages without a network.

A database such as https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip is one JSON document for each
advisory. They are indexed by package; the ranges of a package are made ready when it is first asked for. Every document
ends up in exactly one place: ``documents == advisories + withdrawn + other ecosystems + refused``.

The format, and the rule by which a version is affected: https://ossf.github.io/osv-schema/
"""

from __future__ import annotations

import json
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import Factory, define, evolve, field, frozen

from ironpost.events import Severity
from ironpost.sbom.lockfiles import Package, normalise
from ironpost.sbom.severity import base_score, severity_of, word_severity
from ironpost.sbom.versions import Range, Version, VersionError, parse_version

__all__ = ["Advisories", "Advisory", "AdvisoryError", "Finding", "load_advisories"]

_ECOSYSTEMS: Final = frozenset({"PyPI", "npm", "crates.io"})
MAX_DOCUMENT: Final = 16 * 1024 * 1024
"""Bytes of one document; what is bigger is refused."""


# What zipfile and the decompressors raise about a file that is broken, encrypted, or packed in an unknown way.
_BROKEN: Final = (OSError, zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error, lzma.LZMAError)


class AdvisoryError(ValueError):
    """The advisories cannot be had; the text says why, and what to do."""


@frozen(order=True)
class Advisory:
    """One advisory, apart from what it affects.

    Attributes:
        id: such as ``PYSEC-2021-98``.
        aliases: what others call it, such as its CVE number.
        summary: one line, if it has any.
        score: the CVSS base score, None if there is none.
        severity: from the score, else from the word that the database has for it, else None.
    """

    id: str
    aliases: tuple[str, ...] = ()
    summary: str = ""
    score: float | None = None
    severity: Severity | None = None


@frozen(order=True)
class Finding:
    """A package that an advisory affects.

    Attributes:
        package: the package.
        advisory: the advisory.
        fixed: the versions in which it is mended, as far as the advisory says.
    """

    package: Package
    advisory: Advisory
    fixed: tuple[str, ...] = ()


@define
class _Affected:
    """What an advisory says about one package. The listed versions are parsed when they are first needed."""

    advisory: Advisory
    ecosystem: str
    listed: frozenset[str]
    ranges: tuple[tuple[str, Range], ...]  # each with the scheme of its versions
    fixed: tuple[str, ...]
    parsed: frozenset[Version] | None = None

    def affects(self, text: str) -> bool:
        if text in self.listed:
            return True
        try:
            if any(parse_version(scheme, text) in each for scheme, each in self.ranges):
                return True
            if self.parsed is None:
                self.parsed = frozenset(_parsed(self.ecosystem, self.listed))
            return bool(self.parsed) and parse_version(self.ecosystem, text) in self.parsed
        except VersionError:
            return False  # a version without an order can only be one that is listed


def _parsed(ecosystem: str, texts: Iterable[str]) -> Iterator[Version]:
    for text in texts:
        try:
            yield parse_version(ecosystem, text)
        except VersionError:
            continue  # it is still found as it is written


@define
class Advisories:
    """A database of advisories.

    Attributes:
        documents: how many were read.
        count: how many of them can be matched.
        withdrawn: how many were taken back by their authors.
        elsewhere: how many are about other ecosystems only.
        refused: document -> why it was not understood.
        unordered: advisory -> why a range of it cannot be compared with; the rest of it is used.
    """

    documents: int = 0
    count: int = 0
    withdrawn: int = 0
    elsewhere: int = 0
    refused: dict[str, str] = Factory(dict)
    unordered: dict[str, str] = Factory(dict)
    _index: dict[tuple[str, str], list[_Affected]] = field(factory=dict, repr=False)

    def __len__(self) -> int:
        return self.count

    def add(self, name: str, content: bytes) -> None:
        """Take one document. What is wrong with it is noted under its name."""
        self.documents += 1
        try:
            if len(content) > MAX_DOCUMENT:
                raise _Malformed(f"bigger than {MAX_DOCUMENT} bytes")
            document = json.loads(content)
            advisory = _advisory(document)
            if document.get("withdrawn"):
                self.withdrawn += 1
                return
            affected = list(self._affected(advisory, document))
        except (ValueError, RecursionError) as error:
            self.refused[name] = str(error) if isinstance(error, _Malformed) else f"not JSON: {error}"
            return
        if not affected:
            self.elsewhere += 1
            return
        self.count += 1
        for key, each in affected:
            self._index.setdefault(key, []).append(each)

    def packages(self) -> Iterable[tuple[str, str]]:
        """Return (ecosystem, name) of each package that there is something about."""
        return self._index.keys()

    def find(self, package: Package) -> list[Finding]:
        """Return what is known about a package, by id of the advisory.

        A package is found once for each advisory, however often that names it.
        """
        found: dict[str, Finding] = {}
        for affected in self._index.get((package.ecosystem, package.name), ()):
            if affected.affects(package.version):
                found.setdefault(affected.advisory.id, Finding(package, affected.advisory, affected.fixed))
        return [found[key] for key in sorted(found)]

    def orderless(self, package: Package) -> bool:
        """Return whether there are advisories about a package, and its version has no order to compare it by."""
        if (package.ecosystem, package.name) not in self._index:
            return False
        try:
            parse_version(package.ecosystem, package.version)
        except VersionError:
            return True
        return False

    def _affected(
        self, advisory: Advisory, document: Mapping[str, object]
    ) -> Iterator[tuple[tuple[str, str], _Affected]]:
        for each in _items(document, "affected"):
            package = each.get("package")
            if not isinstance(package, dict):
                continue  # the schema wants one only for ranges that are not of GIT
            ecosystem, name = _text(package, "ecosystem"), _text(package, "name")
            if ecosystem not in _ECOSYSTEMS:
                continue
            ranges: list[tuple[str, Range]] = []
            fixed: dict[str, None] = {}
            for one in _items(each, "ranges"):
                kind = _text(one, "type")
                if kind not in ("ECOSYSTEM", "SEMVER"):
                    continue  # commits are not in lockfiles
                scheme = "SEMVER" if kind == "SEMVER" else ecosystem
                events = [(key, _text(event, key)) for event in _items(one, "events") for key in event]
                fixed |= {text: None for key, text in events if key == "fixed"}
                try:
                    ranges.append((scheme, Range.of(scheme, events)))
                except VersionError as error:
                    self.unordered[advisory.id] = str(error)
            listed = frozenset(_texts(each, "versions"))
            affected = _Affected(_rate(advisory, each), ecosystem, listed, tuple(ranges), tuple(fixed))
            yield (ecosystem, normalise(ecosystem, name)), affected


class _Malformed(ValueError):
    """Not as the schema wants it."""


def _text(holder: Mapping[str, object], key: str) -> str:
    value = holder.get(key, "")
    if not isinstance(value, str):
        raise _Malformed(f"{key!r} is not a string")
    return value


def _items(holder: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _Malformed(f"{key!r} is not an array of objects")
    return value


def _texts(holder: Mapping[str, object], key: str) -> list[str]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _Malformed(f"{key!r} is not an array of strings")
    return value


def _advisory(document: object) -> Advisory:
    if not isinstance(document, dict):
        raise _Malformed("not an object")
    name = _text(document, "id")
    if not name:
        raise _Malformed("it has no 'id'")
    return _rate(Advisory(name, tuple(_texts(document, "aliases")), _text(document, "summary").strip()), document)


def _rate(advisory: Advisory, holder: Mapping[str, object]) -> Advisory:
    """Return the advisory with the severity that ``holder`` says, or else the one that it has."""
    scores = [
        (_text(each, "type"), base_score(_text(each, "type"), _text(each, "score")))
        for each in _items(holder, "severity")
    ]
    rated = max(((kind, score) for kind, score in scores if score is not None), default=None)  # the newest CVSS
    if rated is not None:
        return evolve(advisory, score=rated[1], severity=severity_of(rated[1]))
    return evolve(advisory, severity=word_severity(holder.get("database_specific")) or advisory.severity)


# Reading from a disk.


def load_advisories(path: Path, check: Callable[[], None] = lambda: None) -> Advisories:
    """Read all advisories of a directory, or of a zip file.

    Args:
        path: the directory, which is searched for ``*.json``, or the file.
        check: called for each document; it may raise to end the reading.

    Raises:
        AdvisoryError: there is nothing there, or it is no zip file.
    """
    found = Advisories()
    try:
        documents = _in_directory(path) if path.is_dir() else _in_zip(path)
        for name, content in documents:
            check()
            found.add(name, content)
    except FileNotFoundError:
        raise AdvisoryError(
            f"there are no advisories at {path}; set 'advisories' to a directory or a zip file"
        ) from None
    except _BROKEN as error:
        raise AdvisoryError(f"the advisories at {path} cannot be read: {error}") from None
    return found


def _in_directory(path: Path) -> Iterator[tuple[str, bytes]]:
    for directory, inner, files in os.walk(path):
        inner.sort()
        for name in sorted(files):
            if name.endswith(".json"):
                where = Path(directory, name)
                with where.open("rb") as file:
                    yield where.relative_to(path).as_posix(), file.read(MAX_DOCUMENT + 1)


def _in_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".json"):
                with archive.open(entry) as file:
                    yield entry.filename, file.read(MAX_DOCUMENT + 1)
