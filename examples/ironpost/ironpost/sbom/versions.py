"""Which version comes before which, by the rules of the ecosystem; and what a range of OSV has in it.

PyPI orders by PEP 440, npm and crates.io by Semantic Versioning 2.0.0, whose rule 10 leaves build metadata out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

from attrs import frozen
from univers.versions import PypiVersion, SemverVersion

__all__ = ["Range", "Span", "Version", "VersionError", "parse_version"]


class VersionError(ValueError):
    """A version that its ecosystem has no order for."""


class Version(Protocol):
    """Something that has an order."""

    def __lt__(self, other: object, /) -> bool: ...
    def __le__(self, other: object, /) -> bool: ...


def _semver(text: str) -> Version:
    version: Version = SemverVersion(text).value.truncate("prerelease")
    return version


def _pep440(text: str) -> Version:
    version: Version = PypiVersion(text).value
    return version


_SCHEMES: Final = {"PyPI": _pep440, "npm": _semver, "crates.io": _semver, "SEMVER": _semver}


@lru_cache(maxsize=65536)
def parse_version(scheme: str, text: str) -> Version:
    """Return something that has the order of versions.

    Args:
        scheme: an ecosystem, or ``SEMVER``.
        text: the version.

    Raises:
        VersionError: it is no version.

    >>> parse_version("PyPI", "1.0rc1") < parse_version("PyPI", "1.0")
    True
    >>> parse_version("npm", "1.10.0") < parse_version("npm", "1.9.0")
    False
    """
    try:
        if len(text) > 256:
            raise VersionError("longer than 256 characters")
        return _SCHEMES[scheme](text)
    except (ValueError, TypeError) as error:
        raise VersionError(f"{text[:60]!r} is no version of {scheme}") from error


@frozen
class Span:
    """Versions from ``begin`` on (None: from the first), up to ``end`` (None: no end), which ``closed`` includes."""

    begin: Version | None
    end: Version | None = None
    closed: bool = False

    def __contains__(self, version: Version) -> bool:
        if self.begin is not None and version < self.begin:
            return False
        return self.end is None or version < self.end or (self.closed and version <= self.end)


@frozen
class Range:
    """A range of an advisory, as the spans of versions that are affected.

    The rule is that of https://ossf.github.io/osv-schema/#evaluation, which puts the events in the order of their
    versions. Real databases also write pairs of events whose spans overlap or touch, and order would then cut the spans
    short. So events that are written as pairs are taken as pairs; the two readings agree on spans that are apart.

    Attributes:
        spans: a version in any of them is affected.
        limits: versions of which one has to be later; without any, all are in.
    """

    spans: tuple[Span, ...]
    limits: tuple[Version, ...] = ()

    @classmethod
    def of(cls, scheme: str, events: Iterable[tuple[str, str]]) -> Range:
        """Make a range of the events as they are written: (kind, version).

        Raises:
            VersionError: a version is none.

        >>> one = Range.of("PyPI", [("introduced", "0"), ("fixed", "1.4.2")])
        >>> parse_version("PyPI", "1.4.2rc1") in one, parse_version("PyPI", "1.4.2") in one
        (True, False)
        """
        bounds: list[_Event] = []
        limits: list[Version] = []
        boundless = False
        for kind, text in events:
            if kind not in _TIES and kind != "limit":
                continue
            unbounded = (kind, text) in (("introduced", "0"), ("limit", "*"))
            version = None if unbounded else parse_version(scheme, text)
            if kind != "limit":
                bounds.append((kind, version))
            elif version is None:
                boundless = True
            else:
                limits.append(version)
        spans = _as_pairs(bounds)
        if spans is None:
            spans = _in_order(bounds)
        return cls(tuple(spans), () if boundless else tuple(limits))

    def __contains__(self, version: Version) -> bool:
        if self.limits and not any(version < limit for limit in self.limits):
            return False
        return any(version in span for span in self.spans)


_Event: TypeAlias = tuple[str, Version | None]


def _as_pairs(events: Sequence[_Event]) -> list[Span] | None:
    """Return a span for each beginning and the end behind it; None if the events are not written like that."""
    spans = []
    for number in range(0, len(events), 2):
        kind, begin = events[number]
        ending, end = events[number + 1] if number + 1 < len(events) else ("fixed", None)
        if kind != "introduced" or ending == "introduced":
            return None
        if begin is not None and end is not None and end < begin:
            return None
        spans.append(Span(begin, end, ending == "last_affected"))
    return spans


# At one version: what ends there ends before anything begins, unless it includes the version.
_TIES: Final = {"fixed": 0, "introduced": 1, "last_affected": 2}


def _in_order(events: Sequence[_Event]) -> list[Span]:
    """Return the spans that the events bound in the order of their versions."""
    spans: list[Span] = []
    inside: list[Version | None] = []  # where the present span begins, if there is one
    known = [(version, kind) for kind, version in events if version is not None]
    known.sort(key=lambda event: _TIES.get(event[1], 0))
    known.sort(key=lambda event: event[0])
    if len(known) < len(events):
        inside.append(None)
    for version, kind in known:
        if kind == "introduced":
            inside = inside or [version]
        elif inside:
            spans.append(Span(inside.pop(), version, kind == "last_affected"))
    return [*spans, *(Span(begin) for begin in inside)]
