"""A type of messages that a plugin of the zoo imports for its type checker only."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Packet"]


@frozen
class Packet:
    """A packet, or what is left of it."""

    source: str
    size: int
