"""The plugin classes of a package."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from fsm_plugins.guard import describe
from fsm_plugins.metadata import PluginInfo
from fsm_plugins.plugin import Plugin
from fsm_plugins.verify.base.targets import CannotVerify

__all__ = ["classes_of"]


def classes_of(name: str) -> list[type[Plugin]]:
    """Return the plugin classes that a package, its subpackages and their modules define, in the order of their names.

    Classes without ``info`` are bases of others, and those whose names begin with an underscore are nobody's business.

    Raises:
        CannotVerify: a module cannot be imported; the text says why.
    """
    modules: list[ModuleType] = [_imported(name)]
    if hasattr(modules[0], "__path__"):
        for found in pkgutil.walk_packages(modules[0].__path__, f"{name}.", onerror=_refuse):
            if not found.name.endswith(".__main__"):  # each is imported before the search goes on into it
                modules.append(_imported(found.name))  # noqa: PERF401
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Plugin)
        and value.__module__ == module.__name__
        and isinstance(getattr(value, "info", None), PluginInfo)
        and not value.__name__.startswith("_")
    }
    return sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__))


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise CannotVerify(f"{name} cannot be imported: {describe(error)}") from error


def _refuse(name: str) -> None:
    _imported(name)
