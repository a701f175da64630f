"""``use = "..."`` -> the class or function that builds the plugin, or a `LoadError` that says what to do.

Directories with plugins that are not packaged are added at the end of ``sys.path``, once, and stay there: a plugin may
import its neighbours later, in a hook. At the end, so that nothing which is installed can be replaced by a file
that happens to have its name. The other way round, that file would not be found; this is told, not passed over.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TypeAlias, cast

from fsm_plugins.errors import DefinitionError, LoadError, suggestion
from fsm_plugins.loading.discovery import Found, discover
from fsm_plugins.plugin import Plugin

__all__ = ["Factory", "load"]

Factory: TypeAlias = type[Plugin] | Callable[..., Plugin]
"""What builds a plugin: its class, or a function that returns one."""

_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"


class _Refused(Exception):
    """Why something cannot be loaded."""


def load(use: str, path: Sequence[Path] = ()) -> Factory:
    """Load what builds a plugin.

    Args:
        use: ``module:attribute``, or the name of an entry point of the group ``fsm_plugins.plugins``.
        path: directories with modules that are not installed. They come after everything that is, in this order, and
            stay importable.

    Raises:
        LoadError: it cannot be had; the text says why, and what to do.
        KeyboardInterrupt: it was pressed during the import.

    >>> load("fsm_plugins:as_plugin").__name__
    'as_plugin'
    >>> try:
    ...     load("fsm_plugins:as_plugn")
    ... except LoadError as error:
    ...     print(error.reason)
    module 'fsm_plugins' has no 'as_plugn' (did you mean 'as_plugin'?)
    """
    try:
        module_name, attribute = _target(use)
        module = _import(module_name, [Path(entry).absolute() for entry in path])
        return _checked(_attribute(module, attribute), f"{module_name}:{attribute}")
    except _Refused as refused:
        raise LoadError(use, str(refused)) from refused.__cause__


# What is meant.


def _target(use: str) -> tuple[str, str]:
    """Return the names of the module and of the attribute in it."""
    if ":" not in use:
        use = _offered(use)
    module, _, attribute = use.partition(":")
    if not (re.fullmatch(_DOTTED, module) and re.fullmatch(_DOTTED, attribute)):
        raise _Refused("write module:attribute, like mymodule:Detector, or the name of an entry point")
    return module, attribute


def _offered(name: str) -> str:
    """Return what the entry point of that name points to."""
    if not name or name != name.strip():
        raise _Refused("write module:attribute, like mymodule:Detector, or the name of an entry point")
    offers = discover()
    targets = {offer.value for offer in offers if offer.name == name}
    if len(targets) > 1:
        several = ", ".join(_origin(offer) for offer in offers if offer.name == name)
        raise _Refused(f"several packages offer a plugin of this name: {several}; write module:attribute instead")
    if not targets:
        raise _Refused(_not_offered(name, sorted({offer.name for offer in offers})))
    target = targets.pop()
    written = re.fullmatch(rf"({_DOTTED}) *: *({_DOTTED}) *(\[.*\])?", target)
    if written is None:
        raise _Refused(f"its entry point says {target!r}, which is not module:attribute; tell its author")
    return f"{written[1]}:{written[2]}"


def _origin(offer: Found) -> str:
    return f"{offer.value} ({offer.distribution or 'unknown'} {offer.version})".replace(" )", ")")


def _not_offered(name: str, known: Sequence[str]) -> str:
    hint = suggestion(name, known)
    offered = f"there are: {', '.join(known)}" if known else "there are none"
    dotted, dot, last = name.rpartition(".")
    instead = f"{dotted}:{last}" if dot and dotted and last else f"module:{name}"
    return f"no installed package offers a plugin of this name{hint}; {offered}; for a class, write {instead}"


# The module.


def _import(name: str, path: Sequence[Path]) -> ModuleType:
    importlib.invalidate_caches()  # a file may be newer than what Python remembers of its directory
    for entry in map(str, path):
        if entry not in sys.path:
            sys.path.append(entry)
    _check_not_hidden(name.partition(".")[0], path)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _Refused(_why_not(error, name, path)) from error


def _check_not_hidden(top: str, path: Sequence[Path]) -> None:
    """Refuse a module of a plugin directory that is not the one which Python finds under its name."""
    local = PathFinder.find_spec(top, [str(entry) for entry in path])
    if local is None:
        return
    loaded = sys.modules.get(top)
    found = importlib.util.find_spec(top) if loaded is None else getattr(loaded, "__spec__", None)
    if found is None or os.path.realpath(_place(found)) == os.path.realpath(_place(local)):
        return
    loaded_already = " is loaded already and" if loaded is not None else ""
    raise _Refused(
        f"{_place(local)} has the name of another module, which{loaded_already} comes first: {_place(found)}; "
        "give the file another name"
    )


def _place(spec: ModuleSpec) -> str:
    if spec.has_location and spec.origin:
        return spec.origin
    return next(iter(spec.submodule_search_locations or ()), None) or f"the {spec.origin or 'built-in'} one"


def _why_not(error: BaseException, name: str, path: Sequence[Path]) -> str:
    at = _line(error, name)
    if isinstance(error, ModuleNotFoundError) and not at:
        return _not_found(error.name or name, name, path)
    if isinstance(error, DefinitionError):
        return f"{error} (at {at})"
    if isinstance(error, SystemExit):
        return f"importing module {name!r} ends the program, at {at}; put that under if __name__ == '__main__'"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"importing module {name!r} raised {what}" + (f", at {at}" if at else "")


def _line(error: BaseException, module: str) -> str:
    """Return the file and the line of the module at which the error came out of it; empty if it was not in code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    places = [
        (frame.f_globals.get("__name__"), f"{frame.f_code.co_filename}:{line}")
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith("<frozen importlib")
        and frame.f_globals.get("__name__") not in ("importlib", __name__)
    ]
    own = [place for owner, place in places if owner == module]
    return (own or [place for _, place in places] or [""])[-1]


def _not_found(missing: str, name: str, path: Sequence[Path]) -> str:
    parent, _, last = missing.rpartition(".")
    if package := sys.modules.get(parent):
        if not hasattr(package, "__path__"):
            return f"there is no module {missing!r}: {parent!r} is a module, not a package"
        inside = [module.name for module in pkgutil.iter_modules(package.__path__)]
        return f"package {parent!r} has no module {last!r}{suggestion(last, inside)}"
    searched = [f"{entry}{'' if entry.is_dir() else ' (no such directory)'}" for entry in path]
    near = suggestion(missing, [module.name for module in pkgutil.iter_modules(map(str, path))])
    if searched:
        where = f"it is neither installed nor in the directories of plugin_path: {', '.join(searched)}"
    else:
        where = "install it, or name the directory it is in under plugin_path in [app]"
    part = "" if missing == name else f" (of {name!r})"
    return f"there is no module {missing!r}{part}{near}; {where}"


# The attribute.


def _attribute(module: ModuleType, dotted: str) -> object:
    found: object = module
    reached = f"module {module.__name__!r}"
    for name in dotted.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise _Refused(_no_attribute(found, name, reached)) from None
        except Exception as error:
            raise _Refused(f"looking up {name!r} in {reached} raised {type(error).__name__}: {error}") from error
        reached = repr(name)
    return found


def _no_attribute(owner: object, name: str, reached: str) -> str:
    values = getattr(owner, "__dict__", {})
    module = getattr(owner, "__name__", "")
    classes = [
        key
        for key, value in values.items()
        if isinstance(value, type) and issubclass(value, Plugin) and value.__module__ == module
    ]
    hint = suggestion(name, classes) or suggestion(name, [key for key in values if not key.startswith("_")])
    return f"{reached} has no {name!r}{hint}" + (f"; its plugin classes are: {', '.join(classes)}" if classes else "")


def _checked(found: object, name: str) -> Factory:
    if isinstance(found, type):
        if not issubclass(found, Plugin):
            raise _Refused(
                f"{name} is a class, but not a Plugin; derive it from fsm_plugins.Plugin, or write a function that "
                "returns as_plugin(...) of it"
            )
        try:
            Plugin.__new__(found)  # what it checks, and nothing of the class's own
        except (DefinitionError, TypeError) as error:
            raise _Refused(str(error)) from error
        return found
    if isinstance(found, Plugin):
        raise _Refused(f"{name} is a plugin that is made already; name its class, or a function that makes one")
    if inspect.iscoroutinefunction(found):
        raise _Refused(f"{name} is an async function; plugins are built by an ordinary one, and on_init may wait")
    if not callable(found):
        raise _Refused(f"{name} is a {type(found).__name__}; name a Plugin class, or a function that returns a plugin")
    return cast(Factory, found)
