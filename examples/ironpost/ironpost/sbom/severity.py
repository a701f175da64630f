"""CVSS vectors -> how bad it is, by the qualitative scale of FIRST (https://www.first.org/cvss/specification-document)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import cvss  # type: ignore[import-untyped]

from ironpost.events import Severity

__all__ = ["base_score", "severity_of", "word_severity"]

_KINDS: Final = {"CVSS_V2": cvss.CVSS2, "CVSS_V3": cvss.CVSS3, "CVSS_V4": cvss.CVSS4}
_LOWEST: Final = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM), (0.1, Severity.LOW))
_WORDS: Final = {**{str(severity): severity for severity in Severity}, "moderate": Severity.MEDIUM}


@lru_cache(maxsize=4096)
def base_score(kind: str, vector: str) -> float | None:
    """Return the base score of a vector, None if it is none of its kind.

    Args:
        kind: as OSV calls it: ``CVSS_V2``, ``CVSS_V3`` or ``CVSS_V4``.
        vector: such as ``CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H``.

    >>> base_score("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")
    9.8
    """
    if kind not in _KINDS or len(vector) > 1000:
        return None
    try:
        return float(_KINDS[kind](vector).base_score)
    except (cvss.exceptions.CVSSError, ValueError, ArithmeticError, LookupError):
        return None


def severity_of(score: float) -> Severity:
    """Return the severity of a base score.

    >>> str(severity_of(9.8)), str(severity_of(0.0))
    ('critical', 'info')
    """
    return next((severity for lowest, severity in _LOWEST if score >= lowest), Severity.INFO)


def word_severity(holder: object) -> Severity | None:
    """Return the severity that a database says in a word (``database_specific.severity``), if it does."""
    word = holder.get("severity") if isinstance(holder, Mapping) else None
    return _WORDS.get(word.lower()) if isinstance(word, str) else None
