"""Ports: the ends of channels that a plugin holds."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import lru_cache

from fsm_plugins.channels import Receiver, Sender

__all__ = ["handles"]


def handles(plugin: object) -> list[Sender[object] | Receiver[object]]:
    """Return the channel ends among the attributes of ``plugin``, declared as ports or not."""
    return [value for value in _values(plugin) if isinstance(value, Sender | Receiver)]


def _values(plugin: object) -> Iterator[object]:
    cls: Hashable = type(plugin)
    for slot in _slots(cls):
        try:
            yield getattr(plugin, slot)
        except AttributeError:
            continue
    yield from getattr(plugin, "__dict__", {}).values()


@lru_cache(maxsize=1024)
def _slots(cls: Hashable) -> tuple[str, ...]:
    """Return the attributes that instances of ``cls`` keep in slots."""
    found: dict[str, None] = {}
    assert isinstance(cls, type)
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot.startswith("__") and not slot.endswith("__"):  # a private name is mangled with its class
                slot = f"_{base.__name__.lstrip('_')}{slot}"
            if slot not in ("__dict__", "__weakref__"):
                found[slot] = None
    return tuple(found)
