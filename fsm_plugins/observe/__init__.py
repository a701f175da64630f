"""Observation: what plugins do, as logs, metrics, spans, a journal and an HTTP endpoint.

`Observation` puts together what a configuration asks for. The parts can be used on their own; those that need an extra
are not imported here: `fsm_plugins.observe.metrics`, `fsm_plugins.observe.tracing`, `fsm_plugins.observe.server`.
"""

from fsm_plugins.observe.feed import Feed
from fsm_plugins.observe.journal import Contents, Journal, JournalError, last_states, read_journal
from fsm_plugins.observe.logs import JsonFormatter, TextFormatter, configure, log_supervision, log_transition
from fsm_plugins.observe.observation import Observation, observation_problems
from fsm_plugins.observe.steps import Step, read_trace, steps_of, write_trace
from fsm_plugins.observe.stores import Row
from fsm_plugins.observe.target import (
    ChannelStatus,
    PluginStatus,
    RegistryTarget,
    Snapshot,
    SupervisorTarget,
    Target,
)

__all__ = [
    "ChannelStatus",
    "Contents",
    "Feed",
    "Journal",
    "JournalError",
    "JsonFormatter",
    "Observation",
    "PluginStatus",
    "RegistryTarget",
    "Row",
    "Snapshot",
    "Step",
    "SupervisorTarget",
    "Target",
    "TextFormatter",
    "configure",
    "last_states",
    "log_supervision",
    "log_transition",
    "observation_problems",
    "read_journal",
    "read_trace",
    "steps_of",
    "write_trace",
]
