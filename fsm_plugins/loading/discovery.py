"""What plugins the installed packages offer, through the entry points of one group."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Final

from attrs import frozen

__all__ = ["GROUP", "Found", "discover"]

GROUP: Final = "fsm_plugins.plugins"
"""The group of entry points in which packages offer plugins."""


@frozen(order=True)
class Found:
    """A plugin that an installed distribution offers.

    Attributes:
        name: the name of the entry point.
        value: where the code is, ``module:attribute``.
        distribution: who offers it; empty if its metadata does not say.
        version: the version of the distribution; empty likewise.

    >>> print(Found("detector", "ironpost.detector:Detector", "ironpost", "1.2.0"))
    detector = ironpost.detector:Detector (ironpost 1.2.0)
    """

    name: str
    value: str
    distribution: str = ""
    version: str = ""

    def __str__(self) -> str:
        origin = f"{self.distribution} {self.version}".strip()
        return f"{self.name} = {self.value}" + (f" ({origin})" if origin else "")


def discover() -> list[Found]:
    """Return what the installed distributions offer, sorted. Reads their metadata, and imports nothing.

    A name that is offered more than once is listed as often.
    """
    return sorted(_found(entry) for entry in metadata.entry_points(group=GROUP))


def _found(entry: metadata.EntryPoint) -> Found:
    distribution: Any = entry.dist
    try:
        about = distribution.metadata
        return Found(entry.name, entry.value, about.get("Name") or "", about.get("Version") or "")
    except Exception:  # what is missing or damaged differs from one version of Python to the next
        return Found(entry.name, entry.value)
