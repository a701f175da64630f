"""How a supervisor stands with a plugin, as a table: what it does, and what that comes to."""

from __future__ import annotations

from typing import Final

from fsm_plugins.lifecycle import Arc, State

__all__ = ["GIVEN_UP", "LEFT_ALONE", "MOVES", "PHASES", "RECOVERING", "UP"]

UP: Final = State("up")
"""It runs, or it is just being started with all the others."""

RECOVERING: Final = State("recovering")
"""It failed, or belongs to one that failed; it is stopped, waits for its back-off, and is started again."""

GIVEN_UP: Final = State("given_up")
"""It failed for good. It is started again only if somebody asks for it."""

LEFT_ALONE: Final = State("left_alone")
"""Somebody stopped it. It is started again only if somebody asks for it."""

PHASES: Final = (
    Arc("recover", UP, RECOVERING),
    Arc("recover", RECOVERING, RECOVERING),
    Arc("restarted", RECOVERING, UP),
    Arc("give_up", UP, GIVEN_UP),
    Arc("give_up", RECOVERING, GIVEN_UP),
    Arc("leave_alone", UP, LEFT_ALONE),
    Arc("leave_alone", RECOVERING, LEFT_ALONE),
    Arc("leave_alone", GIVEN_UP, LEFT_ALONE),
    Arc("leave_alone", LEFT_ALONE, LEFT_ALONE),
    Arc("ask_for", UP, RECOVERING),
    Arc("ask_for", RECOVERING, RECOVERING),
    Arc("ask_for", GIVEN_UP, RECOVERING),
    Arc("ask_for", LEFT_ALONE, RECOVERING),
)
"""Every move. ``ask_for`` is what ``restart`` and ``start_plugin`` do."""

MOVES: Final = {(arc.trigger, arc.source): arc.dest for arc in PHASES}
