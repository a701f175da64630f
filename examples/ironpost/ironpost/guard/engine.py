"""The container engine: Docker, or Podman's socket, which speaks the same.

Everything that can go wrong with it is an `EngineError`, which says whether it makes sense to try again.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import aiodocker
import aiohttp
from attrs import define, field

from ironpost.guard.policies import Action, Container

__all__ = ["DockerEngine", "Engine", "EngineError", "find_engine"]


class EngineError(Exception):
    """What the engine could not do.

    Attributes:
        temporary: whether it may well work later: no connection, too late, or an error of the server.
        missing: whether there is no such thing.
    """

    def __init__(self, text: str, *, temporary: bool = True, missing: bool = False) -> None:
        super().__init__(text)
        self.temporary = temporary
        self.missing = missing


class Engine(Protocol):
    """What the guard needs of an engine. Each call raises `EngineError`."""

    async def list(self) -> list[Container]:
        """Return all containers, running or not."""

    async def inspect(self, container: str) -> Container | None:
        """Return one, by its id or name; None if there is none."""

    def changes(self, since: float) -> AsyncGenerator[str, None]:
        """Give the id of each container that changed after a point in time (seconds since the epoch), without end."""

    async def act(self, container: str, action: Action) -> str:
        """Do it, unless it is done already. Returns what there is to say about it."""

    async def close(self) -> None:
        """Release the connections. To close it again does nothing."""


_NO_CONNECTION: Final = 900  # the client's own number, among those of HTTP
_PLACES: Final = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")


def find_engine(environ: Mapping[str, str] | None = None) -> str:
    """Return where an engine is to be expected: ``DOCKER_HOST``, or the first of the usual sockets that exists.

    >>> find_engine({"DOCKER_HOST": "unix:///tmp/engine.sock"})
    'unix:///tmp/engine.sock'
    """
    environ = os.environ if environ is None else environ
    if host := environ.get("DOCKER_HOST"):
        return host
    own = environ.get("XDG_RUNTIME_DIR")
    places = [*_PLACES, *([f"{own}/podman/podman.sock"] if own else [])]
    return f"unix://{next((place for place in places if Path(place).is_socket()), places[0])}"


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Make an `EngineError` of whatever the client raises."""
    try:
        yield
    except aiodocker.DockerError as error:
        temporary, missing = error.status >= 500, error.status == 404
        raise EngineError(f"{what}: {error.message}", temporary=temporary, missing=missing) from None
    except TimeoutError:
        raise EngineError(f"{what}: the engine did not answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        # The last four: an answer that is not what an engine says.
        raise EngineError(f"{what}: {type(error).__name__}: {error}") from None


@define
class DockerEngine:
    """An engine behind a URL, such as ``unix:///run/docker.sock``.

    Args:
        url: where it is.
        seconds: how long one request may take.
    """

    url: str
    seconds: float = 10.0
    _client: aiodocker.Docker | None = field(default=None, init=False)

    @property
    def client(self) -> aiodocker.Docker:
        """The client, made when it is first needed."""
        if self._client is None:
            timeout = aiohttp.ClientTimeout(total=self.seconds)
            try:
                self._client = aiodocker.Docker(self.url, timeout=timeout)
            except ValueError as error:
                raise EngineError(f"{self.url!r} is no address of an engine: {error}", temporary=False) from None
        return self._client

    async def list(self) -> list[Container]:
        with _translated("cannot list the containers"):
            listed = await self.client.containers.list(all=True)
            return [_from_listing(each) for each in listed]

    async def inspect(self, container: str) -> Container | None:
        try:
            with _translated(f"cannot look at {container}"):
                return _from_inspection(await self._show(container))
        except EngineError as error:
            if error.missing:
                return None
            raise

    async def changes(self, since: float) -> AsyncGenerator[str, None]:
        docker = self.client
        subscriber = docker.events.subscribe(create_task=False)  # type: ignore[no-untyped-call]
        wanted = json.dumps({"type": ["container", "network"]})
        reading = asyncio.ensure_future(docker.events.run(since=int(since), filters=wanted))
        try:
            while (event := await subscriber.get()) is not None:
                if container := _changed(event):
                    yield container
            with _translated("cannot follow the engine"):
                await reading
            raise EngineError("the engine ended the stream of its events")
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()

    async def act(self, container: str, action: Action) -> str:
        with _translated(f"cannot {action} {container}"):
            try:
                return await self._do(container, action)
            except aiodocker.DockerError as error:
                if error.status == _NO_CONNECTION:
                    raise
                if said := await self._already(container, action):
                    return said
                raise

    async def _do(self, container: str, action: Action) -> str:
        target = self.client.containers.container(container)
        if action == "pause":
            await target.pause()
        elif action == "stop":
            await target.stop(t=max(1, int(self.seconds / 2)), timeout=self.seconds)
        elif action == "kill":
            await target.kill()
        else:
            names = _networks(await target.show())
            for name in names:
                network = await self.client.networks.get(name)
                await network.disconnect({"Container": container, "Force": True})
            return f"left {', '.join(names)}" if names else "it is in no network"
        return ""

    async def _already(self, container: str, action: Action) -> str:
        """Return why there is nothing to do, empty if there is."""
        try:
            now = await self._show(container)
        except EngineError as error:
            return "it is gone" if error.missing else ""
        state = now["State"]
        if action == "pause":
            return "it was paused already" if state.get("Paused") else ""
        if action == "network-disconnect":
            return "" if _networks(now) else "it is in no network"
        return "" if state.get("Running") else "it was not running"

    async def _show(self, container: str) -> Mapping[str, Any]:
        with _translated(f"cannot look at {container}"):
            return await self.client.containers.container(container).show()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


# What engines say -> values.


def _from_listing(listed: aiodocker.containers.DockerContainer) -> Container:
    names, networks = listed["Names"], listed["NetworkSettings"] or {}
    return Container(
        str(listed["Id"]),
        str(names[0]).removeprefix("/") if names else "",
        str(listed["Image"]),
        str(listed["State"]),
        _addresses(networks.get("Networks")),
    )


def _from_inspection(shown: Mapping[str, Any]) -> Container:
    return Container(
        str(shown["Id"]),
        str(shown["Name"]).removeprefix("/"),
        str(shown["Config"]["Image"]),
        str(shown["State"]["Status"]),
        _addresses((shown.get("NetworkSettings") or {}).get("Networks")),
    )


def _addresses(networks: Mapping[str, Mapping[str, object]] | None) -> frozenset[str]:
    found = (network.get(key) for network in (networks or {}).values() for key in ("IPAddress", "GlobalIPv6Address"))
    return frozenset(address for address in found if isinstance(address, str) and address)


def _networks(shown: Mapping[str, Any]) -> list[str]:
    return sorted(shown["NetworkSettings"]["Networks"] or ())


# A command that runs inside, or a probe of its health, changes nothing that is kept here.
_IDLE: Final = ("exec_", "health_status", "top", "attach", "resize")


def _changed(event: object) -> str:
    """Return the id of the container that an event is about, empty if it changes none."""
    if not isinstance(event, dict) or not isinstance(actor := event.get("Actor"), dict):
        return ""
    if event.get("Type") == "network":
        # Docker names the network, and the container in an attribute; Podman the container in place of the network.
        attributes = actor.get("Attributes")
        named = attributes.get("container") if isinstance(attributes, dict) else None
        joins_or_leaves = event.get("Action") in ("connect", "disconnect")
        found = named or (actor.get("ID") if joins_or_leaves else None)
    else:
        found = "" if str(event.get("Action")).startswith(_IDLE) else actor.get("ID")
    return found if isinstance(found, str) else ""
