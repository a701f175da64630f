"""Plugin lifecycles as explicit finite state machines that you can run, prove and draw.

The names here are the core: write a `Plugin`, put it in a `PluginRegistry`, connect plugins with `channel`.
"""

from fsm_plugins.channels import Permit, Receiver, Sender, channel
from fsm_plugins.errors import (
    Abandoned,
    AlreadyRegistered,
    ChannelClosed,
    ChannelError,
    ChannelFull,
    Completed,
    ConfigError,
    DeadlineExceeded,
    DefinitionError,
    HookFailed,
    InvalidState,
    LoadError,
    NotFound,
    NotReady,
    PermanentError,
    PluginError,
    PluginFailed,
    Problem,
    RegistryBusy,
    RegistryError,
    RestartsExhausted,
    StopFailed,
    Unhealthy,
    UnknownTrigger,
)
from fsm_plugins.lifecycle import LIFECYCLE, RELOADABLE, RESTARTABLE, Arc, Lifecycle, State, TransitionEvent
from fsm_plugins.metadata import Deadlines, HealthStatus, PluginInfo, PluginType
from fsm_plugins.plugin import Pipeline, Plugin, as_plugin
from fsm_plugins.registry import PluginHealth, PluginRegistry

CREATED = State.CREATED
INITIALIZED = State.INITIALIZED
RUNNING = State.RUNNING
STOPPED = State.STOPPED
FAILED = State.FAILED

__version__ = "0.1.0"

__all__ = [
    "CREATED",
    "FAILED",
    "INITIALIZED",
    "LIFECYCLE",
    "RELOADABLE",
    "RESTARTABLE",
    "RUNNING",
    "STOPPED",
    "Abandoned",
    "AlreadyRegistered",
    "Arc",
    "ChannelClosed",
    "ChannelError",
    "ChannelFull",
    "Completed",
    "ConfigError",
    "DeadlineExceeded",
    "Deadlines",
    "DefinitionError",
    "HealthStatus",
    "HookFailed",
    "InvalidState",
    "Lifecycle",
    "LoadError",
    "NotFound",
    "NotReady",
    "PermanentError",
    "Permit",
    "Pipeline",
    "Plugin",
    "PluginError",
    "PluginFailed",
    "PluginHealth",
    "PluginInfo",
    "PluginRegistry",
    "PluginType",
    "Problem",
    "Receiver",
    "RegistryBusy",
    "RegistryError",
    "RestartsExhausted",
    "Sender",
    "State",
    "StopFailed",
    "TransitionEvent",
    "Unhealthy",
    "UnknownTrigger",
    "as_plugin",
    "channel",
]
