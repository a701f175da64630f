"""Names in commands and documents -> diagrams: a plugin class, a lifecycle or a machine, as ``module:name``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fsm_plugins.diagrams.extract import of_lifecycle, of_machine
from fsm_plugins.diagrams.model import Diagram
from fsm_plugins.errors import LoadError
from fsm_plugins.lifecycle import LIFECYCLE, Lifecycle
from fsm_plugins.loading import load
from fsm_plugins.plugin import Plugin

__all__ = ["diagram_of"]


def diagram_of(target: str | None, path: Sequence[Path] = ()) -> Diagram:
    """Return the diagram of what ``target`` names.

    Args:
        target: a plugin class, a `Lifecycle` or a machine of ``transitions`` as ``module:name``, or a plugin class by
            the name of its entry point; None is the default lifecycle.
        path: directories with modules that are not installed.

    Raises:
        LoadError: it cannot be had, or has no lifecycle; the text says why.

    >>> diagram_of("fsm_plugins:LIFECYCLE") == diagram_of(None)
    True
    """
    if target is None:
        return of_lifecycle(LIFECYCLE)
    try:
        made = load(target, path)
    except LoadError:
        # What is refused as a plugin may be a lifecycle or a machine, and is loaded then.
        found = _value(target)
        if isinstance(found, Lifecycle):
            return of_lifecycle(found)
        if hasattr(found, "states") and hasattr(found, "events"):
            return of_machine(found)
        raise
    if not (isinstance(made, type) and issubclass(made, Plugin)):
        raise LoadError(target, "it is a function that makes a plugin; name the plugin class, which has the lifecycle")
    return of_lifecycle(made.lifecycle)


def _value(target: str) -> object:
    """Return the value that ``module:name`` names in a module that has been imported, or None."""
    module, _, name = target.partition(":")
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
