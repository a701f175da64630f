"""Environment variables that override keys of the configuration.

``FSM_PLUGINS__PLUGINS__DETECTOR__SETTINGS__PORT=80`` stands for the key ``plugins.detector.settings.port``. Variables
cannot spell every key, so their parts match keys whatever the case, with ``-``, ``.`` and ``_`` alike.

The overlay only puts the text where it belongs. What the text means depends on the type it is wanted for, which is
known later; until then it is marked with the variable it came from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Final, Self

from attrs import evolve, field, fields, frozen

from fsm_plugins.errors import Problem, suggestion
from fsm_plugins.supervision import Backoff, Group, Health, Policy

__all__ = ["PREFIX", "EnvKey", "EnvText", "find_key", "overlay", "plain"]

PREFIX: Final = "FSM_PLUGINS__"


class EnvText(str):
    """The text of an environment variable, to be read as the type that is wanted there.

    >>> text = EnvText("80", "FSM_PLUGINS__PLUGINS__WEB__SETTINGS__PORT")
    >>> text, text.parsed, EnvText("eighty", "X").parsed
    ('80', 80, 'eighty')
    """

    __slots__ = ("variable",)

    variable: str

    def __new__(cls, text: str, variable: str) -> EnvText:
        self = super().__new__(cls, text)
        self.variable = variable
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (str(self), self.variable)

    @property
    def parsed(self) -> object:
        """The text as a TOML value; a text that is none, such as a bare word, is a string."""
        try:
            table = tomllib.loads(f"v = {self}")
        except (ValueError, RecursionError):
            return str(self)
        return table["v"] if len(table) == 1 else str(self)  # a text of several lines can say more than a value


class EnvKey(str):
    """A key that only an environment variable names, and so in the spelling of that variable."""

    __slots__ = ("variable",)

    variable: str

    def __new__(cls, key: str, variable: str) -> EnvKey:
        self = super().__new__(cls, key)
        self.variable = variable
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (str(self), self.variable)


def plain(value: object) -> object:
    """Return a raw value without any marks: its texts from the environment read as TOML values."""
    if isinstance(value, EnvText):
        return value.parsed
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@frozen
class _Table:
    """A table of the format.

    Attributes:
        keys: the keys it has, and which of them are tables.
        kind: for a table of named things, what one of them is called; they are what the file says they are.
        items: what such a thing is; None for a value.
        open: whether a variable may add keys of any name, to any depth.
        whole: whether a variable may give the table itself.
    """

    keys: Mapping[str, _Table | None] = field(factory=dict)
    kind: str = ""
    items: _Table | None = None
    open: bool = False
    whole: bool = False


_MAPPING = _Table(open=True, whole=True)
_SETTINGS = _Table(open=True)
_APP = _Table({"name": None, "on_failure": None, "plugin_path": None, "deadlines": _MAPPING})


def _of(section: type, **tables: _Table) -> _Table:
    """Return the table of a class; which of its keys are tables is given."""
    return _Table({**dict.fromkeys(each.name for each in fields(section)), **tables}, whole=True)


_BACKOFF = _of(Backoff)
_SUPERVISOR = _of(Policy, backoff=_BACKOFF, health=_of(Health), groups=_Table(kind="group", items=_of(Group)))
_PLUGIN = _Table(
    {
        "use": None,
        "enabled": None,
        "inputs": _MAPPING,
        "outputs": _MAPPING,
        "deadlines": _MAPPING,
        "settings": _SETTINGS,
        "restart": None,
        "backoff": _BACKOFF,
        "group": None,
    }
)
_JOURNAL = _Table(dict.fromkeys(("path", "format", "max_bytes", "keep")), whole=True)
_OBSERVE = _Table(
    {**dict.fromkeys(("log", "metrics", "socket", "http", "token_file")), "journal": _JOURNAL},
)
_ROOT = _Table(
    {
        "app": _APP,
        "supervisor": evolve(_SUPERVISOR, whole=False),
        "channels": _Table(kind="channel", items=_Table({"capacity": None})),
        "plugins": _Table(kind="plugin", items=_PLUGIN),
        "observe": _OBSERVE,
    }
)


class _Refused(Exception):
    """Why a variable overrides nothing."""


def overlay(tree: dict[str, object], environ: Mapping[str, str]) -> list[Problem]:
    """Put the variables of ``environ`` that begin with ``FSM_PLUGINS__`` into ``tree``, as `EnvText`.

    Returns a problem for each variable that overrides nothing.

    >>> tree = {"plugins": {"log-pipeline": {"use": "logs:Logs"}}}
    >>> overlay(tree, {"FSM_PLUGINS__PLUGINS__LOG_PIPELINE__ENABLED": "false"})
    []
    >>> tree
    {'plugins': {'log-pipeline': {'use': 'logs:Logs', 'enabled': 'false'}}}
    """
    problems = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        try:
            _put(tree, variable, environ[variable])
        except _Refused as refused:
            problems.append(Problem(variable, str(refused)))
    return problems


def _put(tree: dict[str, object], variable: str, text: str) -> None:
    *parents, last = parts = variable.removeprefix(PREFIX).split("__")
    if not all(parts):
        raise _Refused(f"two underscores go between two keys, as in {PREFIX}PLUGINS__DETECTOR__ENABLED")
    here, shape = tree, _ROOT
    for part in parents:
        key = _key(here, shape, part, variable)
        below = shape if shape.open else shape.keys.get(key, shape.items)
        inner = here.get(key) if below is None else here.setdefault(key, {})
        if isinstance(inner, EnvText):
            raise _Refused(f"{inner.variable} gives {str(key)!r} as a whole already; unset one of the two")
        if below is None or not isinstance(inner, dict):
            raise _Refused(f"{str(key)!r} is not a table, so it has no key {last.lower()!r}; give it as a whole")
        here, shape = inner, below
    key = _key(here, shape, last, variable)
    if not shape.open:
        below = shape.keys.get(key, shape.items)
        if below is not None and not below.whole:
            values = [name for name, table in below.keys.items() if table is None or table.whole]
            known = f", such as {variable}__{min(values).upper()}" if values else ""
            raise _Refused(f"{str(key)!r} is a whole table; name one key of it{known}")
    present = here.get(key)
    if isinstance(present, EnvText):
        raise _Refused(f"{present.variable} says the same key; unset one of the two")
    here[key] = EnvText(text, variable)


def _key(here: Mapping[str, object], shape: _Table, part: str, variable: str) -> str:
    """Return the key of the table ``here`` that ``part`` of a variable stands for."""
    known = list(shape.keys) or [key for key in here if isinstance(key, str)]
    key = find_key(part, known)
    if key is not None:
        return key
    alike = [repr(key) for key in known if _normal(key) == _normal(part)]
    if alike:
        raise _Refused(f"{part!r} can be any of {', '.join(alike)}; rename all but one of them")
    if shape.open:
        return EnvKey(part.lower(), variable)
    hint = suggestion(part.lower(), known) or (f"; there are: {', '.join(known)}" if known else "")
    raise _Refused(f"there is no {shape.kind or 'key'} {part.lower()!r}{hint}")


def find_key(part: str, known: Iterable[str]) -> str | None:
    """Return the one key among ``known`` that ``part`` of a variable can stand for; None for no or several ones.

    >>> find_key("LOG_PIPELINE", ["log-pipeline", "detector"])
    'log-pipeline'
    >>> find_key("LOG_PIPELINE", ["log-pipeline", "log.pipeline"])
    """
    alike = [key for key in known if _normal(key) == _normal(part)]
    return alike[0] if len(alike) == 1 else None


def _normal(key: str) -> str:
    return key.casefold().replace("-", "_").replace(".", "_")
