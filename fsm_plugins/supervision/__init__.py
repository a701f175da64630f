"""Supervision: plugins that fail come back, under a policy."""

from fsm_plugins.supervision.alone import of_the_plugin
from fsm_plugins.supervision.children import ChildStatus
from fsm_plugins.supervision.events import Action, SupervisionEvent, SupervisionListener
from fsm_plugins.supervision.phases import GIVEN_UP, LEFT_ALONE, PHASES, RECOVERING, UP
from fsm_plugins.supervision.policy import (
    Backoff,
    Child,
    Group,
    Health,
    Intensity,
    Policy,
    Restart,
    Strategy,
    problems_of,
)
from fsm_plugins.supervision.supervisor import Supervisor
from fsm_plugins.supervision.watchdog import Watchdog

__all__ = [
    "GIVEN_UP",
    "LEFT_ALONE",
    "PHASES",
    "RECOVERING",
    "UP",
    "Action",
    "Backoff",
    "Child",
    "ChildStatus",
    "Group",
    "Health",
    "Intensity",
    "Policy",
    "Restart",
    "Strategy",
    "SupervisionEvent",
    "SupervisionListener",
    "Supervisor",
    "Watchdog",
    "of_the_plugin",
    "problems_of",
]
