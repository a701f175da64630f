"""States, the transition table, and the machine that runs it. The only package that knows ``transitions``."""

from fsm_plugins.lifecycle.events import EventCells, Hub, Listener, Recorder, TransitionEvent, TransitionHub
from fsm_plugins.lifecycle.machine import LifecycleMachine, Move
from fsm_plugins.lifecycle.table import (
    FAIL,
    INIT,
    LIFECYCLE,
    RELOAD,
    RELOADABLE,
    RESTARTABLE,
    START,
    STOP,
    Arc,
    Lifecycle,
    State,
)

__all__ = [
    "FAIL",
    "INIT",
    "LIFECYCLE",
    "RELOAD",
    "RELOADABLE",
    "RESTARTABLE",
    "START",
    "STOP",
    "Arc",
    "EventCells",
    "Hub",
    "Lifecycle",
    "LifecycleMachine",
    "Listener",
    "Move",
    "Recorder",
    "State",
    "TransitionEvent",
    "TransitionHub",
]
