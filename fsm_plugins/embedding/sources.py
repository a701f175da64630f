"""What an application can be made of, where it is made again each time it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from fsm_plugins.app import Application

__all__ = ["Source", "make"]

# A TOML file, or a function that makes an application.
Source: TypeAlias = str | os.PathLike[str] | Callable[[], Application]


def make(source: Source) -> Application:
    """Return a new application of ``source``.

    Raises:
        ConfigError: the file, the environment, the plugins or the wiring are wrong.
        TypeError: it is neither a path nor a function, or the function made something else.
    """
    if isinstance(source, str | os.PathLike):
        return Application.from_config(source)
    if not callable(source):
        raise TypeError(
            f"an application is made of the path of a TOML file or by a function that returns one, not of {source!r}"
        )
    application = source()
    if not isinstance(application, Application):
        raise TypeError(f"{getattr(source, '__name__', source)} returned {application!r}, which is not an Application")
    return application
