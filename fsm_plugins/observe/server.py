"""The HTTP endpoint of an application: how it is, what happens, and control. Its paths are in docs/observing.md.

It listens on a Unix socket, where whoever can open it may change things, and on a TCP address, where changing needs a
token and is off without one. A server that cannot be had (the port is taken, the socket is somebody else's) is reported
in one line, and the application goes on without it.

It runs on uvicorn in the application's own event loop. uvicorn would put its own handlers in place of the
application's signal handlers; here it does not. It also knows no limit for a client that sends nothing or half a
request, and none for one that never reads; here such clients are cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import logging
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict

from fsm_plugins.config import split_address
from fsm_plugins.errors import NotFound, PluginError
from fsm_plugins.guard import describe
from fsm_plugins.observe.feed import Feed, Follower
from fsm_plugins.observe.target import PluginStatus, Target

try:
    from h11 import LocalProtocolError
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from uvicorn import Config, Server
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.msg}; an endpoint needs: pip install 'fsm-plugins[web]'") from None

if TYPE_CHECKING:
    from fsm_plugins.observe.metrics import Metrics

__all__ = ["Endpoint"]

logger = logging.getLogger("fsm_plugins")

REQUEST_SECONDS: Final = 10.0
"""How long a client may take to send a request, and be idle between two, in seconds."""

HEARTBEAT_SECONDS: Final = 15.0
"""How often a follower of events hears something, even if nothing happens, in seconds."""

SEND_BUFFER: Final = 65536
"""How much the operating system keeps for a follower that does not read, in bytes."""

ACTIONS: Final = ("start", "stop", "restart")


class Endpoint:
    """Serves a target over HTTP.

    Args:
        target: the application.
        feed: what ``/events`` shows; subscribed to the target by whoever makes it.
        metrics: what ``/metrics`` shows; without it there is no such path.
        path: a Unix socket to listen on. Clients of this one may change things.
        http: a TCP address to listen on, such as ``127.0.0.1:9090``. Port 0 is any free port.
        token: what a client of the TCP address has to show as a bearer token to change things; without it, nobody can.

    Attributes:
        address: the TCP address it listens on, with the port that was taken; None if it does not.
    """

    def __init__(
        self,
        target: Target,
        feed: Feed,
        metrics: Metrics | None = None,
        *,
        path: Path | None = None,
        http: str | None = None,
        token: str | None = None,
    ) -> None:
        self.address: tuple[str, int] | None = None
        self._target, self._feed, self._metrics = target, feed, metrics
        self._path, self._http, self._token = path, http, token
        self._servers: list[tuple[_Server, asyncio.Task[None]]] = []
        self._inode: tuple[int, int] | None = None

    async def start(self) -> None:
        """Begin to serve. What cannot be served is logged as an error."""
        if self._path is not None:
            try:
                listener = bind_path(self._path)
            except (OSError, PluginError) as error:
                logger.error("no endpoint at the socket %s: %s; the plugins go on without it", self._path, _why(error))
            else:
                found = os.lstat(self._path)
                self._inode = found.st_dev, found.st_ino
                self._serve(listener, _app(self._target, self._feed, self._metrics, _anybody))
        if self._http is not None:
            try:
                listener = bind_tcp(self._http)
            except OSError as error:
                logger.error("no endpoint at http://%s: %s; the plugins go on without it", self._http, _why(error))
            else:
                self.address = listener.getsockname()[:2]
                self._serve(listener, _app(self._target, self._feed, self._metrics, _bearer(self._token)))
        for server, task in self._servers:
            up = asyncio.ensure_future(server.up.wait())
            await asyncio.wait([up, task], return_when=asyncio.FIRST_COMPLETED)
            up.cancel()

    async def stop(self) -> None:
        """Let requests under way end, for a second, and serve no more."""
        for server, _ in self._servers:
            server.should_exit = True
        self._feed.close()
        for server, task in self._servers:
            await asyncio.wait([task])
            for connection in list(server.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
        self._servers.clear()
        self.address = None
        if self._path is not None and self._inode is not None:
            with contextlib.suppress(OSError):
                found = os.lstat(self._path)
                if (found.st_dev, found.st_ino) == self._inode:  # else somebody else has put another one there
                    os.unlink(self._path)
            self._inode = None

    def _serve(self, listener: socket.socket, app: ASGIApp) -> None:
        config = Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="fsm_plugins endpoint")
        task.add_done_callback(_report)
        self._servers.append((server, task))


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the endpoint ended: %s; the plugins go on without it", describe(error))


# Whether what is logged now is logged by a server of ours, and not by one that the embedder has.
_ours: Final[ContextVar[bool]] = ContextVar("_ours", default=False)


def _is_news(record: logging.LogRecord) -> bool:
    """Keep uvicorn's own comings and goings, and its complaints about every bad request, out of the logs."""
    return record.levelno >= logging.ERROR or not _ours.get()


class _Server(Server):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is told to end."""
        _ours.set(True)  # for this task, and what becomes of the connections it accepts
        logging.getLogger("uvicorn.error").addFilter(_is_news)  # to add it again does nothing
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and tell."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the application."""
        yield


class _Protocol(H11Protocol):
    """Cuts off a client that does not come to the end of its request."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, and let the application get at the connection."""
        super().connection_made(transport)
        app: Any = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope["fsm_plugins.transport"] = transport
            try:
                await app(scope, receive, send)
            except LocalProtocolError:  # the rest of the request was garbage, and was answered already
                transport.abort()
                while not self.cycle.disconnected:  # noqa: ASYNC110
                    await asyncio.sleep(0)

        self.app = with_transport
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._await_request()

    def _await_request(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


# Where it listens.


def bind_tcp(address: str) -> socket.socket:
    """Return a socket that listens at an address. Raises OSError."""
    host, port = split_address(address)
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def bind_path(path: Path) -> socket.socket:
    """Return a Unix socket that listens at a path, for the user of this process only (mode 0600).

    A socket that a process has left behind which is gone is replaced.

    Raises:
        PluginError: there is something else, or somebody listens there.
        OSError: it cannot be made.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISSOCK(found.st_mode):
            raise PluginError("there is something that is no socket, and it is left as it is")
        if _somebody_listens(path):
            raise PluginError("another process listens there")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # or else it would be open to others for a moment
    try:
        listener.bind(os.fspath(path))
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # such as one whose backlog is full
    return True


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        if error.errno == errno.EADDRINUSE:
            return "another process listens there"
        return error.strerror or str(error)
    return str(error)


# Who may change things.


class _Refusal(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


class _Anybody:
    def __call__(self, request: Request) -> None:
        """Let it pass."""


_anybody: Final = _Anybody()


class _bearer(_Anybody):  # noqa: N801
    """Asks for a bearer token (RFC 6750)."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: Request) -> None:
        """Raise _Refusal unless the request shows the token."""
        if not self._token:
            raise _Refusal(403, "control over TCP is off; use the Unix socket, or set token_file in [observe]")
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        # Headers are read as latin-1. Compared in constant time, as bytes.
        right = hmac.compare_digest(shown.strip().encode("latin-1"), self._token.encode())
        if not (right and scheme.lower() == "bearer"):
            raise _Refusal(401, "this needs the header 'Authorization: Bearer TOKEN' with the right token")


# What it answers.


def _app(target: Target, feed: Feed, metrics: Metrics | None, check: _Anybody) -> ASGIApp:
    async def livez(_: Request) -> Response:
        live = target.live()
        return PlainTextResponse("live\n" if live else "not live\n", 200 if live else 503)

    async def readyz(_: Request) -> Response:
        if target.ready():
            return PlainTextResponse("ready\n")
        missing = [_missing(plugin) for plugin in target.status().plugins if plugin.wanted]
        return PlainTextResponse("\n".join(["not ready", *filter(None, missing)]) + "\n", 503)

    async def status(_: Request) -> Response:
        return JSONResponse(asdict(target.status()))

    async def text(request: Request) -> Response:
        if metrics is None:
            return PlainTextResponse("metrics are off; set metrics = true in [observe]\n", 404)
        content, content_type = metrics.text(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})

    async def control(request: Request) -> Response:
        name, action = request.path_params["name"], request.path_params["action"]
        try:
            check(request)
            if action not in ACTIONS:
                raise _Refusal(404, f"there is no {action!r}; what can be done is: {', '.join(ACTIONS)}")
            await getattr(target, action)(name)
        except _Refusal as refusal:
            needs = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
            return JSONResponse({"ok": False, "error": refusal.text}, refusal.status, needs)
        except PluginError as error:
            return JSONResponse({"ok": False, "error": str(error)}, 404 if isinstance(error, NotFound) else 409)
        return JSONResponse({"ok": True, "plugin": name, "state": _state(target, name)})

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/status", status),
            Route("/metrics", text),
            Route("/events", _Events(feed)),
            Route("/plugins/{name:path}/{action}", control, methods=["POST"]),
        ]
    )


def _missing(plugin: PluginStatus) -> str:
    if not plugin.runs:
        return f"{plugin.name} is {plugin.state}" + (f": {plugin.failure}" if plugin.failure else "")
    if plugin.health is not None and plugin.health.is_unhealthy:
        return f"{plugin.name} is {plugin.health}"
    return ""


def _state(target: Target, name: str) -> str:
    return next((plugin.state for plugin in target.status().plugins if plugin.name == name), "")


class _Events:
    """``/events``: what happens, as server-sent events; with ``?follow=false``, what happened of late, as JSON."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if request.method not in ("GET", "HEAD"):
            await PlainTextResponse("Method Not Allowed", 405)(scope, receive, send)
            return
        if request.query_params.get("follow") == "false" or request.method == "HEAD":
            await JSONResponse({"dropped": self._feed.dropped, "events": self._feed.recent()})(scope, receive, send)
            return
        transport: asyncio.Transport = scope["fsm_plugins.transport"]
        if (connection := transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        follower = self._feed.follow(_after(request.headers))
        pump = asyncio.create_task(self._pump(follower, send))
        waits: list[asyncio.Task[Any]] = [
            pump,
            asyncio.create_task(_disconnected(receive)),
            asyncio.create_task(follower.ended.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if follower.ended.is_set() and not follower.dropped:
                await asyncio.wait([pump], timeout=0.2)
        finally:
            follower.close(dropped=follower.dropped)
            if not pump.done():
                transport.abort()  # it would wait for ever to send what is left
            waits[2].cancel()
            await asyncio.wait(waits, timeout=1.0)
            for wait in waits:
                wait.cancel()
            if pump.done() and not pump.cancelled():
                pump.exception()  # the client is gone either way

    async def _pump(self, follower: Follower, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": following\n\n", "more_body": True})
        while events := await follower.take(HEARTBEAT_SECONDS):
            await send({"type": "http.response.body", "body": events, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


def _after(headers: Mapping[str, str]) -> int | None:
    """Return from where a follower that was here before goes on."""
    last = headers.get("last-event-id", "")
    return int(last) if last.isascii() and last.isdigit() and len(last) < 19 else None
