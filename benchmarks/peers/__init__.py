"""What the benchmarks compare with. Each is used as its own documentation shows; what is not installed is left out."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["installed"]


def installed(module: str) -> Any:
    """Return a module, or None if it is not there. Untyped: the type checker runs without the peers."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        return None
