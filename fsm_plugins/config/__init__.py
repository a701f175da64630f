"""TOML and environment variables -> validated values, with all that is wrong in one report.

Two steps, because the settings of a plugin can be checked only when its class is there: `read_config` checks everything
but the settings, and `structure_settings` checks those against the class. Both return their problems as a list.
"""

from fsm_plugins.config.environment import PREFIX, EnvText
from fsm_plugins.config.model import (
    AppSection,
    ChannelSection,
    Config,
    JournalSection,
    ObserveSection,
    PluginSection,
    merge_deadlines,
    split_address,
)
from fsm_plugins.config.reading import load_config, read_config
from fsm_plugins.config.settings import paths_in, structure_settings

__all__ = [
    "PREFIX",
    "AppSection",
    "ChannelSection",
    "Config",
    "EnvText",
    "JournalSection",
    "ObserveSection",
    "PluginSection",
    "load_config",
    "merge_deadlines",
    "paths_in",
    "read_config",
    "split_address",
    "structure_settings",
]
