"""What is verified: a plugin as something that can be made again for every run, with channels on its ports."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import Factory, define, evolve, field, frozen

from fsm_plugins.app import read_blueprint
from fsm_plugins.channels import Receiver, Sender
from fsm_plugins.config import structure_settings
from fsm_plugins.errors import ConfigError, LoadError, PluginError
from fsm_plugins.guard import describe
from fsm_plugins.loading import load
from fsm_plugins.metadata import PluginInfo
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from fsm_plugins.plugin import Plugin
from fsm_plugins.ports import Port, ports_of
from fsm_plugins.registry import PluginRegistry
from fsm_plugins.specs import Plan
from fsm_plugins.verify.base.samples import NoSample, sample

__all__ = ["CannotVerify", "Rig", "Subject", "Target", "subjects_of"]

Target: TypeAlias = "type[Plugin] | Callable[..., Plugin] | str | os.PathLike[str]"
"""A plugin class, a function that makes a plugin, ``module:Class``, or a TOML file with an application."""

_CAPACITY: Final = 64
_MESSAGES: Final = 3


class CannotVerify(PluginError):
    """There is nothing to run: it cannot be imported, is no plugin, or cannot be made. The text says what to do."""


@frozen
class Subject:
    """One plugin to verify.

    Attributes:
        name: what the report calls it.
        spec: how it is made.
        ports: of it.
        target: how a command names it; None if it cannot be imported by name.
        messages: port -> messages to feed it with; made up where there are none.
        capacities: port -> capacity of its channel.
    """

    name: str
    spec: PluginSpec
    ports: tuple[Port, ...]
    target: str | None
    messages: Mapping[str, Sequence[object]] = Factory(dict)
    capacities: Mapping[str, int] = Factory(dict)
    _planned: list[Plan] = field(factory=list, init=False, eq=False, repr=False)  # once, for thousands of runs

    @property
    def factory(self) -> Callable[..., Plugin]:
        """What makes it."""
        return self.spec.factory

    @property
    def plugin_class(self) -> type[Plugin] | None:
        """The class, where the factory is one."""
        made = self.factory.func if isinstance(self.factory, functools.partial) else self.factory
        return made if isinstance(made, type) and issubclass(made, Plugin) else None

    def build(self, clock: Callable[[], float]) -> Rig:
        """Make a fresh plugin, in a registry, with channels on all its ports.

        Raises:
            ConfigError: it cannot be made.
        """
        stubs = [
            PluginSpec(_stub_name(port), _Source if port.direction == "input" else _Sink, **_wires(port))
            for port in self.ports
        ]
        channels = {port.name: self.capacities.get(port.name, _CAPACITY) for port in self.ports}
        spec = evolve(self.spec, inputs={}, outputs={}, enabled=True)  # each port to the channel of its own name
        planned = self._planned[0] if self._planned else None
        orchestrator = Orchestrator([spec, *stubs], channels, clock=clock, planned=planned)
        self._planned[:] = [orchestrator.plan]
        registry = orchestrator.build()
        rig = Rig(registry, registry[spec.name], orchestrator)
        for port in self.ports:
            stub = registry[_stub_name(port)]
            if isinstance(stub, _Source):
                rig.sources[port.name] = stub.into
            elif isinstance(stub, _Sink):
                rig.sinks[port.name] = stub.out
        return rig

    def samples(self) -> tuple[dict[str, list[object]], dict[str, str]]:
        """Return messages for each input, and the reason for each input that has none."""
        made: dict[str, list[object]] = {}
        without: dict[str, str] = {}
        for port in self.ports:
            if port.direction == "input":
                try:
                    given = self.messages.get(port.name)
                    made[port.name] = (
                        list(given) if given is not None else [sample(port.type, n) for n in range(1, _MESSAGES + 1)]
                    )
                except NoSample as error:
                    without[port.name] = str(error)
        return made, without


@define(eq=False)
class Rig:
    """A fresh plugin and what surrounds it in one run."""

    registry: PluginRegistry
    plugin: Plugin
    orchestrator: Orchestrator
    sources: dict[str, Sender[object]] = Factory(dict)
    sinks: dict[str, Receiver[object]] = Factory(dict)


@define(eq=False)
class _Source(Plugin):
    """Holds the other end of an input."""

    info = PluginInfo("source", "1.0.0")
    into: Sender[Any]


@define(eq=False)
class _Sink(Plugin):
    """Holds the other end of an output."""

    info = PluginInfo("sink", "1.0.0")
    out: Receiver[Any]


def _stub_name(port: Port) -> str:
    return f"verifier {port.direction} {port.name}"


def _wires(port: Port) -> dict[str, Any]:
    return {"outputs": {"into": port.name}} if port.direction == "input" else {"inputs": {"out": port.name}}


# What a target means.


def subjects_of(
    target: Target,
    settings: Mapping[str, object] | None = None,
    messages: Mapping[str, Sequence[object]] | None = None,
    *,
    raw: bool = False,
    path: Sequence[Path] = (),
) -> tuple[Subject, ...]:
    """Return the plugins that ``target`` names.

    Args:
        target: see `Target`. ``app.toml#name`` is one plugin of an application.
        settings: keywords for the class or the factory. Not with a TOML file, which has its own.
        messages: port -> messages to feed it with.
        raw: whether the settings are to be converted as those of a TOML file are.
        path: directories with modules that are not installed.

    Raises:
        CannotVerify: it cannot be had; the text says why, and what to do.
    """
    given = dict(settings or {})
    if isinstance(target, os.PathLike) or (isinstance(target, str) and _is_file(target)):
        if given:
            raise CannotVerify("settings are given in the TOML file, not next to it; edit [plugins.NAME.settings]")
        return _application(os.fspath(target), messages or {})
    name: str | None
    if isinstance(target, str):
        name = target
        try:
            factory = load(target, path)
        except LoadError as error:
            raise CannotVerify(str(error)) from error
    else:
        factory, name = target, _importable(target)
        if isinstance(target, Plugin):
            raise CannotVerify("a plugin that is made already cannot be made again for every run; give its class, or "
                               "a function that makes it")  # fmt: skip
        if isinstance(target, type) and not issubclass(target, Plugin):
            raise CannotVerify(f"{target.__qualname__} is a class, but not a Plugin; derive it from fsm_plugins.Plugin")
        if not callable(target):
            raise CannotVerify(f"{target!r} is no plugin; give a Plugin class, a function that makes a plugin, "
                               "'module:Class', or a TOML file")  # fmt: skip
    return (_single(factory, name, given, messages or {}, raw),)


def _is_file(target: str) -> bool:
    return target.partition("#")[0].endswith(".toml")


def _single(
    factory: Callable[..., Plugin],
    target: str | None,
    settings: dict[str, object],
    messages: Mapping[str, Sequence[object]],
    raw: bool,
) -> Subject:
    own: dict[str, Any] = {}
    if isinstance(factory, type):  # what every plugin class takes beside its settings
        own = {key: settings.pop(key) for key in ("name", "deadlines") if key in settings}
    try:
        ports = ports_of(factory)
        names = frozenset(port.name for port in ports)
        structured, problems = structure_settings(factory, settings, "settings", names)
    except TypeError:
        ports, structured, problems = (), settings, []  # a finding of the static layer
    if raw:
        settings = structured
    lacking = [problem for problem in problems if raw or problem.what.startswith("missing")]
    if lacking:
        told = "; ".join(map(str, lacking))
        raise CannotVerify(
            f"{_called(factory)} needs other settings: {told}; give them with settings={{...}}, or --set"
        )
    info = getattr(factory, "info", None)
    name = own.get("name") or (info.name if isinstance(info, PluginInfo) else _plain(_called(factory)))
    _check_messages(messages, ports)
    return Subject(name, PluginSpec(name, factory, settings, deadlines=own.get("deadlines")), ports, target, messages)


def _check_messages(messages: Mapping[str, Sequence[object]], ports: Sequence[Port]) -> None:
    inputs = sorted(port.name for port in ports if port.direction == "input")
    for name in messages:
        if name not in inputs:
            raise CannotVerify(f"there is no input port {name!r} to feed; there are: {', '.join(inputs) or 'none'}")


def _application(file: str, messages: Mapping[str, Sequence[object]]) -> tuple[Subject, ...]:
    source, _, only = file.partition("#")
    blueprint = read_blueprint(source)
    if blueprint.problems or blueprint.config is None:
        raise CannotVerify(str(ConfigError(source, blueprint.problems)))
    subjects = []
    for spec in blueprint.specs:
        if not spec.enabled or (only and spec.name != only):
            continue
        wired = blueprint.plan.ports[spec.name]
        # An optional port that the application leaves open is open here.
        ports = tuple(port for port in ports_of(spec.factory) if wired.get(port.name) is not None)
        capacities = {port: blueprint.plan.channels[name].capacity for port, name in wired.items() if name is not None}
        own = {port: given for port, given in messages.items() if port in wired}
        subjects.append(Subject(spec.name, spec, ports, f"{source}#{spec.name}", own, capacities))
    if not subjects:
        raise CannotVerify(f"{source} has no enabled plugin" + (f" {only!r}" if only else ""))
    return tuple(subjects)


def _importable(factory: object) -> str | None:
    """Return ``module:name`` if the object can be had by it."""
    module, name = getattr(factory, "__module__", None), getattr(factory, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)):
        return None
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is factory else None


def _called(factory: object) -> str:
    return str(getattr(factory, "__name__", None) or type(factory).__name__)


def _plain(name: str) -> str:
    return "plugin" if not name.isidentifier() else name


def explain(error: BaseException) -> str:
    """Return why a plugin could not be made, in one line."""
    if isinstance(error, ConfigError):
        return "; ".join(problem.what for problem in error.problems)
    return describe(error)
