"""The values a plugin is described with: what it is, how long it may take, how it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

from attrs import Attribute, field, fields, frozen

from fsm_plugins.errors import DefinitionError

__all__ = ["Deadlines", "HealthStatus", "PluginInfo", "PluginType"]

# The pattern of semver.org, version 2.0.0.
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-((0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(\+([0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*))?",
    re.ASCII,
)


def _name(_instance: object, attribute: Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not value or value != value.strip() or not value.isprintable():
        raise DefinitionError(
            f"a plugin's {attribute.name} is a non-empty printable word without space around it, not {value!r}"
        )


@frozen
class PluginType:
    """What kind of plugin it is: one of four well-known kinds, or ``PluginType.custom("name")``.

    >>> print(PluginType.LOG_PIPELINE, PluginType.custom("geo"))
    log-pipeline custom:geo
    """

    name: str = field(validator=_name)

    DETECTOR: ClassVar[PluginType]
    LOG_PIPELINE: ClassVar[PluginType]
    SCANNER: ClassVar[PluginType]
    ENFORCER: ClassVar[PluginType]

    @classmethod
    def custom(cls, name: str) -> PluginType:
        """Return the kind ``custom:name``.

        Raises:
            DefinitionError: ``name`` is empty, not printable, or has space around it.
        """
        _name(None, fields(cls).name, name)
        return cls(f"custom:{name}")

    def __str__(self) -> str:
        return self.name


PluginType.DETECTOR = PluginType("detector")
PluginType.LOG_PIPELINE = PluginType("log-pipeline")
PluginType.SCANNER = PluginType("scanner")
PluginType.ENFORCER = PluginType("enforcer")


@frozen
class PluginInfo:
    """A plugin's metadata.

    Attributes:
        name: unique in a registry.
        version: a semantic version (semver.org 2.0.0), like ``1.2.0`` or ``1.0.0-rc.1``.
        description: one line.
        plugin_type: a `PluginType`.

    Raises:
        DefinitionError: a value is not as above.

    >>> PluginInfo("detector", "1.0")
    Traceback (most recent call last):
    ...
    fsm_plugins.errors.DefinitionError: version '1.0' of plugin 'detector' is not a semantic version like 1.0.0
    """

    name: str = field(validator=_name)
    version: str = field()
    description: str = field(default="")
    plugin_type: PluginType = field(default=PluginType("custom:plugin"))

    @version.validator
    def _semantic(self, _attribute: object, value: object) -> None:
        if not isinstance(value, str) or not _SEMVER.fullmatch(value):
            raise DefinitionError(f"version {value!r} of plugin {self.name!r} is not a semantic version like 1.0.0")

    @description.validator
    def _one_line(self, _attribute: object, value: object) -> None:
        if not isinstance(value, str) or len(value.splitlines()) > 1:
            raise DefinitionError(f"the description of plugin {self.name!r} is one line, not {value!r}")

    @plugin_type.validator
    def _type(self, _attribute: object, value: object) -> None:
        if not isinstance(value, PluginType):
            raise DefinitionError(
                f"the type of plugin {self.name!r} is PluginType.DETECTOR, another one of the four, or "
                f"PluginType.custom('name'), not {value!r}"
            )


def _seconds(instance: object, attribute: Attribute[float], value: object) -> None:
    _check_seconds(attribute.name, value)


def _check_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value <= 0:
        raise DefinitionError(f"the deadline {name!r} is a positive number of seconds (or math.inf), not {value!r}")


def _frozen_mapping(value: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(value))


@frozen
class Deadlines:
    """How long each hook may take, in seconds. ``math.inf`` is no limit.

    Attributes:
        init, start, stop: for the hooks of these names. ``stop`` covers the whole call: draining the inputs,
            the hook, and the end of the workers.
        health: for one health check.
        grace: how long code that has been cancelled may take to end. Then it is abandoned.
        others: for the hooks of triggers that a lifecycle adds; 30 for one that is not named here.

    Raises:
        DefinitionError: a value is not a positive number.

    >>> Deadlines(start=5, others={"pause": 2}).of("pause")
    2
    """

    init: float = field(default=30.0, validator=_seconds)
    start: float = field(default=30.0, validator=_seconds)
    stop: float = field(default=30.0, validator=_seconds)
    health: float = field(default=5.0, validator=_seconds)
    grace: float = field(default=1.0, validator=_seconds)
    others: Mapping[str, float] = field(factory=dict, converter=_frozen_mapping, hash=False)

    @others.validator
    def _all_seconds(self, _attribute: object, value: Mapping[str, float]) -> None:
        for trigger, seconds in value.items():
            _check_seconds(trigger, seconds)

    def __reduce__(self) -> tuple[object, ...]:  # a mapping proxy can be neither copied nor pickled
        return type(self), (self.init, self.start, self.stop, self.health, self.grace, dict(self.others))

    def of(self, trigger: str) -> float:
        """Return the deadline of the hook of ``trigger``, in seconds."""
        if trigger in ("init", "start", "stop"):
            seconds: float = getattr(self, trigger)
            return seconds
        return self.others.get(trigger, 30.0)


@frozen
class HealthStatus:
    """How a plugin is: healthy, degraded (it works, but not as it should), or unhealthy.

    >>> print(HealthStatus.degraded("queue is 90 % full"))
    degraded: queue is 90 % full
    """

    level: Literal["healthy", "degraded", "unhealthy"]
    reason: str = ""

    @classmethod
    def healthy(cls) -> HealthStatus:
        """All is well."""
        return cls("healthy")

    @classmethod
    def degraded(cls, reason: str) -> HealthStatus:
        """It works, but not as it should. Reported, never a ground to restart."""
        return cls("degraded", reason)

    @classmethod
    def unhealthy(cls, reason: str) -> HealthStatus:
        """It does not do its work."""
        return cls("unhealthy", reason)

    @property
    def is_healthy(self) -> bool:
        """Whether the level is healthy."""
        return self.level == "healthy"

    @property
    def is_degraded(self) -> bool:
        """Whether the level is degraded."""
        return self.level == "degraded"

    @property
    def is_unhealthy(self) -> bool:
        """Whether the level is unhealthy."""
        return self.level == "unhealthy"

    def __str__(self) -> str:
        return f"{self.level}: {self.reason}" if self.reason else self.level
