"""A TOML file and the environment -> a `Config`, with everything that is wrong in one report."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsm_plugins.config.converter import RawTable, paths_from, structure
from fsm_plugins.config.environment import overlay
from fsm_plugins.config.flaws import Flaw, Invalid, key_path
from fsm_plugins.config.keywords import structure_keywords
from fsm_plugins.config.model import AppSection, ChannelSection, Config, ObserveSection, PluginSection, Seconds
from fsm_plugins.config.parameters import Parameter, Parameters, parameters_of
from fsm_plugins.errors import ConfigError, DefinitionError, Problem
from fsm_plugins.metadata import PluginInfo
from fsm_plugins.supervision import Policy

__all__ = ["load_config", "read_config"]


_ROOT = Parameters({key: Parameter(key, RawTable) for key in ("app", "supervisor", "channels", "plugins", "observe")})


def load_config(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Config:
    """Read a configuration, as `read_config` does, and accept it only if nothing is wrong with it.

    Raises:
        ConfigError: with every problem there is.
    """
    config, problems = read_config(path, environ)
    if config is None or problems:
        raise ConfigError(os.fspath(path), problems)
    return config


def read_config(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None
) -> tuple[Config | None, list[Problem]]:
    """Read a configuration, and find everything that is wrong with it.

    Args:
        path: a TOML file.
        environ: the environment, whose variables ``FSM_PLUGINS__...`` override keys; ``os.environ`` unless given.

    Returns:
        What is sound of the configuration, so that more of it can be checked, or None if the file cannot be read; and
        the problems, those with a key in the order of the file, then variables that override nothing. It can be run if
        there are none.
    """
    tree = _tree(path)
    if isinstance(tree, Problem):
        return None, [tree]
    refused = overlay(tree, os.environ if environ is None else environ)
    with paths_from(Path(path).absolute().parent):
        config, flaws = _config(path, tree)
    return config, [*(Problem(flaw.where("").lstrip("."), flaw.what) for flaw in flaws), *refused]


def _tree(path: str | os.PathLike[str]) -> dict[str, object] | Problem:
    """Return the file as raw values, or why that is not possible."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return Problem("", "there is no such file; give the path of a TOML file")
    except IsADirectoryError:
        return Problem("", "this is a directory; give the path of a TOML file in it")
    except PermissionError:
        return Problem("", "the file may not be read; let the user who runs this read it (chmod, chown)")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return Problem("", f"the file cannot be read ({reason}); give the path of a TOML file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Problem("", f"line {line} is not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8")
    try:
        return tomllib.loads(text)
    except RecursionError:
        return Problem("", "the tables and arrays are nested too deeply")
    except ValueError as error:
        what, line, column = str(error), text.count("\n") + 1, len(text) - text.rfind("\n")
        if at := re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", what, re.DOTALL):
            what, line, column = at[1], int(at[2] or line), int(at[3] or column)
            return Problem("", f"not TOML at line {line}, column {column}: {what}; correct it there or just before")
        return Problem("", f"not TOML: {what}")


def _config(path: str | os.PathLike[str], tree: Mapping[str, object]) -> tuple[Config, list[Flaw]]:
    """Return what is sound of the raw values, and what is not, in their order."""
    tables: dict[str, Any] = {"app": {}, "supervisor": {}, "channels": {}, "plugins": {}, "observe": {}}
    flaws: dict[str, list[Flaw]] = {}
    for key, value in tree.items():
        sound, flaws[key] = structure_keywords(_ROOT, {key: value})
        tables.update(sound)
    unsound = set()

    def check(section: type, table: object, *keys: str, **defaults: object) -> dict[str, Any]:
        """Return what is sound of the table at ``keys``."""
        found: Sequence[Flaw]
        try:
            raw: Any = structure(table, RawTable)
            values, found = structure_keywords(
                parameters_of(section), {**raw, **{k: v for k, v in defaults.items() if k not in raw}}
            )
            if "deadlines" in raw and "deadlines" not in values:
                values["deadlines"] = _sound(raw["deadlines"], Seconds)
        except Invalid as error:
            values, found = {}, error.flaws
        if len(keys) > 1 and not _is_name(keys[-1]):
            found = [Flaw("", _NAME_RULE), *found]
        if found:
            unsound.add("".join(map(key_path, keys)).lstrip("."))
        for key in reversed(keys):
            found = [flaw.below(key) for flaw in found]
        flaws.setdefault(keys[0], []).extend(found)
        return {**defaults, **values}

    app = AppSection(**check(AppSection, tables["app"], "app", name=Path(path).stem))
    # Who has a supervisor in a file wants to know of a blocked loop; in code it is asked for.
    policy = check(Policy, tables["supervisor"], "supervisor", watchdog=1.0)
    channels = {
        name: ChannelSection(**check(ChannelSection, raw, "channels", name)) for name, raw in tables["channels"].items()
    }
    plugins = {name: check(PluginSection, raw, "plugins", name) for name, raw in tables["plugins"].items()}
    observe = ObserveSection(**check(ObserveSection, tables["observe"], "observe"))
    config = Config(
        source=os.fspath(path),
        directory=Path(path).absolute().parent,
        app=app,
        supervisor=Policy(**policy) if "supervisor" in tree else None,
        channels={name: section for name, section in channels.items() if _is_name(name)},
        plugins={
            name: PluginSection(**{**values, "deadlines": {**app.deadlines, **values.get("deadlines", {})}})
            for name, values in plugins.items()
            if _is_name(name) and "use" in values
        },
        unsound=frozenset(unsound),
        observe=observe,
    )
    return config, [flaw for found in flaws.values() for flaw in found]


def _sound(table: object, kind: object) -> dict[str, object]:
    """Return what is sound of a table with something wrong in it, so that its other keys can be checked further."""
    sound = {}
    for key, value in table.items() if isinstance(table, dict) else ():
        with suppress(Exception):
            sound[str(key)] = structure(value, kind)
    return sound


_NAME_RULE = (
    "a name is a non-empty printable word without space around it, and without '__', "
    "which goes between two keys in the names of environment variables"
)


def _is_name(name: str) -> bool:
    try:
        PluginInfo(name, "0.0.0")
    except DefinitionError:
        return False
    return "__" not in name
