"""What a configuration says, as values. How it is read from a file is in `reading`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from attrs import evolve, field, frozen

from fsm_plugins.config.converter import Check, RawTable
from fsm_plugins.metadata import Deadlines
from fsm_plugins.supervision import Backoff, Child, Policy, Restart

__all__ = [
    "AppSection",
    "ChannelSection",
    "Config",
    "JournalSection",
    "ObserveSection",
    "PluginSection",
    "merge_deadlines",
    "split_address",
]


Capacity = Annotated[int, Check("an integer of at least 1", lambda capacity: capacity >= 1)]
Seconds = Annotated[float, Check("a positive number of seconds", lambda seconds: seconds > 0)]


@frozen
class AppSection:
    """The table ``[app]``.

    Attributes:
        name: what the application is called.
        on_failure: what it does when a plugin fails.
        plugin_path: directories to look for plugin modules in.
        deadlines: what was given for all plugins, in seconds.
    """

    name: str
    on_failure: Literal["stop", "continue"] = "stop"
    plugin_path: tuple[Path, ...] = ()
    deadlines: Mapping[str, Seconds] = field(factory=dict)


@frozen
class ChannelSection:
    """A table ``[channels.NAME]``.

    Attributes:
        capacity: how many messages the channel holds, at least 1.
    """

    capacity: Capacity = 64


@frozen
class PluginSection:
    """A table ``[plugins.NAME]``.

    Attributes:
        use: what builds the plugin, ``module:attribute`` or the name of an entry point.
        enabled: whether it takes part.
        inputs, outputs: for a port that is not connected to the channel of its own name, that channel.
        deadlines: what was given for this plugin or else for all of them, in seconds; see `merge_deadlines`.
        settings: what its class is to be built with, unchecked; see `structure_settings`.
        restart, backoff, group: what is different for it under the supervisor; see `Child`.
    """

    use: str
    enabled: bool = True
    inputs: Mapping[str, str] = field(factory=dict)
    outputs: Mapping[str, str] = field(factory=dict)
    deadlines: Mapping[str, Seconds] = field(factory=dict)
    settings: RawTable = field(factory=dict)
    restart: Restart | None = None
    backoff: Backoff | None = None
    group: str | None = None


def split_address(address: str) -> tuple[str, int]:
    """Return the host and the port of an address.

    Raises:
        ValueError: it is no such address.

    >>> split_address("127.0.0.1:9090"), split_address("[::1]:9090")
    (('127.0.0.1', 9090), ('::1', 9090))
    """
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""  # IPv6 without brackets: nobody can tell where it ends
    if not host or not host.isprintable() or " " in host or not (port.isascii() and port.isdigit()):
        raise ValueError(f"expected an address such as '127.0.0.1:9090', got {address!r}")
    if int(port) > 65535:
        raise ValueError(f"expected a port of at most 65535, got {port}")
    return host, int(port)


def _is_address(address: str) -> bool:
    return bool(split_address(address))


Address = Annotated[str, Check("an address such as '127.0.0.1:9090'", _is_address)]


@frozen
class JournalSection:
    """The table ``journal`` in ``[observe]``.

    Attributes:
        path: the file.
        format: JSON lines or a SQLite database.
        max_bytes: from which size a new file is begun, at least 4096 bytes.
        keep: how many full files are kept, at least 1.
    """

    path: Path
    format: Literal["jsonl", "sqlite"] = "jsonl"
    max_bytes: Annotated[int, Check("an integer of at least 4096", lambda size: size >= 4096)] = 10 * 2**20
    keep: Annotated[int, Check("an integer of at least 1", lambda count: count >= 1)] = 5


@frozen
class ObserveSection:
    """The table ``[observe]``.

    Attributes:
        log: how the command logs.
        journal: where transitions are written, if they are.
        metrics: whether the endpoint has metrics.
        socket: the Unix socket of the endpoint.
        http: the TCP address of the endpoint.
        token_file: the file with the token that control over TCP needs.
    """

    log: Literal["text", "json"] = "text"
    journal: JournalSection | None = None
    metrics: bool = False
    socket: Path | None = None
    http: Address | None = None
    token_file: Path | None = None


@frozen
class Config:
    """A whole configuration. The paths in it are absolute: those of the file were relative to its directory, and those
    of environment variables to the working directory.

    Attributes:
        source: the file, as it was given.
        directory: where the file is, an absolute path.
        app: the table ``[app]``.
        supervisor: the table ``[supervisor]``; None if there is none.
        channels, plugins: the sections by their names, in the order of the file.
        observe: the table ``[observe]``.
        unsound: the key paths of the sections in which a problem was found. What is wrong there is at its default, and
            a plugin without a usable ``use`` or name is left out: who checks how things fit together
            leaves these alone.
    """

    source: str
    directory: Path
    app: AppSection
    supervisor: Policy | None = None
    channels: Mapping[str, ChannelSection] = field(factory=dict)
    plugins: Mapping[str, PluginSection] = field(factory=dict)
    unsound: frozenset[str] = frozenset()
    observe: ObserveSection = ObserveSection()

    @property
    def children(self) -> dict[str, Child]:
        """What is different for single plugins under the supervisor."""
        return {
            name: Child(section.restart, section.backoff, section.group)
            for name, section in self.plugins.items()
            if (section.restart, section.backoff, section.group) != (None, None, None)
        }


def merge_deadlines(base: Deadlines, given: Mapping[str, float]) -> Deadlines:
    """Return ``base`` with the ``given`` deadlines in place of its own, key by key, all in seconds.

    ``base`` is what the plugin's class declares; ``given`` is `PluginSection.deadlines`. A key that is no attribute of
    `Deadlines` is the name of a trigger.

    Raises:
        DefinitionError: a given value is not a positive number.

    >>> merged = merge_deadlines(Deadlines(start=5, stop=5), {"stop": 10, "pause": 2})
    >>> merged.start, merged.stop, merged.of("pause")
    (5, 10, 2)
    """
    own = {key: value for key, value in given.items() if key in ("init", "start", "stop", "health", "grace")}
    others = {key: value for key, value in given.items() if key not in own}
    return evolve(base, **own, others={**base.others, **others})
