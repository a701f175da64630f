"""The settings of a plugin, checked against what its class or factory takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs
from attrs import evolve

from fsm_plugins.config.converter import paths_from
from fsm_plugins.config.flaws import Flaw, key_path
from fsm_plugins.config.keywords import structure_keywords
from fsm_plugins.config.parameters import parameters_of
from fsm_plugins.errors import Problem
from fsm_plugins.plugin import Plugin

__all__ = ["paths_in", "structure_settings"]


def structure_settings(
    factory: Callable[..., object],
    raw: Mapping[str, object],
    where: str,
    exclude: frozenset[str] = frozenset(),
    directory: Path | None = None,
) -> tuple[dict[str, object], list[Problem]]:
    """Turn raw settings into the keyword arguments of a plugin's class or factory. Nothing is built.

    An attrs class or a dataclass takes its fields, anything else the parameters that can be given by keyword. What has
    no annotation is passed on as it is.

    Args:
        factory: what builds the plugin.
        raw: the settings as they were read, `PluginSection.settings`.
        where: the key path of the settings, such as ``plugins.detector.settings``.
        exclude: the keywords that somebody else gives, which are the ports.
        directory: what relative paths are relative to. Those of environment variables are then relative to the working
            directory. Without it, paths stay as they are written.

    Returns:
        The keyword arguments that are sound, and every problem with the others.

    >>> def clock(interval: float, label: str = "clock") -> None: ...
    >>> structure_settings(clock, {"interval": 2}, "plugins.clock.settings")
    ({'interval': 2.0}, [])
    >>> for problem in structure_settings(clock, {"lable": "x"}, "plugins.clock.settings")[1]:
    ...     print(problem)
    plugins.clock.settings.lable: unknown key (did you mean 'label'?)
    plugins.clock.settings.interval: missing; expected a number
    """
    own = frozenset({"name", "deadlines"} if isinstance(factory, type) and issubclass(factory, Plugin) else ())
    try:
        parameters = parameters_of(factory)
    except (TypeError, ValueError) as error:
        return {}, [Problem(where, f"what settings there are cannot be found out: {error}")]
    named = {name: each for name, each in parameters.named.items() if name not in exclude | own}
    misplaced = {key: _MISPLACED.get(key, _PORT) for key in raw if key in exclude | own}
    rest = {key: value for key, value in raw.items() if key not in misplaced}
    try:
        with paths_from(directory):
            values, flaws = structure_keywords(evolve(parameters, named=named), rest)
    except RecursionError:
        return {}, [Problem(where, "the tables and arrays here are nested too deeply")]
    flaws = [Flaw("", what, getattr(raw[key], "variable", "")).below(key) for key, what in misplaced.items()] + flaws
    return values, [Problem(flaw.where(where), flaw.what) for flaw in flaws]


_PORT = "not a setting but a port, which is connected with 'inputs' and 'outputs'"
_MISPLACED = {
    "name": "not a setting; the name of a plugin is that of its section",
    "deadlines": "not a setting; deadlines have a table of their own next to 'settings'",
}


def paths_in(value: object, where: str) -> Iterator[tuple[str, Path]]:
    """Yield every path in a checked value, with its key path, which begins with ``where``.

    >>> list(paths_in({"files": (Path("/a"),), "poll": 1.0}, "settings"))
    [('settings.files[0]', PosixPath('/a'))]
    """
    items: list[tuple[str | int, object]] = []
    if isinstance(value, Path):
        yield where, value
    elif isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    elif isinstance(value, set | frozenset):
        items = list(enumerate(sorted(item for item in value if isinstance(item, Path))))
    elif attrs.has(kind := type(value)):
        items = [(each.alias or each.name, getattr(value, each.name)) for each in attrs.fields(kind)]
    elif dataclasses.is_dataclass(value):
        items = [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
    for key, item in items:
        yield from paths_in(item, where + key_path(key))
