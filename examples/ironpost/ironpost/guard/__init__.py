"""The plugin ``container-guard``: alerts -> actions on containers, by policies; a dry run unless told otherwise."""

from ironpost.guard.audit import Audit
from ironpost.guard.engine import DockerEngine, Engine, EngineError, find_engine
from ironpost.guard.inventory import Inventory
from ironpost.guard.plugin import ContainerGuard, Retries
from ironpost.guard.policies import Container, Decision, Policies, Policy, decide, load_policies

__all__ = [
    "Audit",
    "Container",
    "ContainerGuard",
    "Decision",
    "DockerEngine",
    "Engine",
    "EngineError",
    "Inventory",
    "Policies",
    "Policy",
    "Retries",
    "decide",
    "find_engine",
    "load_policies",
]
