"""Registries of plugins, one call at a time (L3): a model, the walk through all states, and other checkers."""

from fsm_plugins.verify.registries.export import to_promela, to_tla
from fsm_plugins.verify.registries.space import RegistryResult, explore_registry

__all__ = ["RegistryResult", "explore_registry", "to_promela", "to_tla"]
