"""Servers, clients and datagrams, on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile

from attrs import Factory, define

from fsm_plugins import Deadlines, HealthStatus, Plugin, PluginInfo, PluginType
from tests.zoo.specimen import Specimen


@define
class EchoServer(Plugin):
    """A server on a free port. Connections are kept in a set, so that stop can close those that are open.

    The server is kept before it serves. ``start_server`` by itself listens, gives way once more, and then returns: who
    is cancelled in between never gets to know the server (seen on CPython 3.11 to 3.13).
    """

    info = PluginInfo("echo-server", "1.0.0", "Says what it is told", PluginType.DETECTOR)
    host: str = "127.0.0.1"
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = Factory(set)

    async def on_start(self) -> None:
        self._server = await asyncio.start_server(self._talk, self.host, 0, start_serving=False)
        await self._server.start_serving()

    async def on_stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._writers:
            self._writers.pop().close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


@define
class RetryingClient(Plugin):
    """Connects from a worker, with a pause that grows; a refused connection is an everyday matter."""

    info = PluginInfo("retrying-client", "1.0.0", "Sends a heartbeat to whoever listens")
    host: str = "127.0.0.1"
    port: int = 1  # nobody listens there
    longest: float = 0.05
    attempts: int = 0

    async def on_start(self) -> None:
        self.spawn(self._run())

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.degraded("not connected") if self.attempts > 3 else HealthStatus.healthy()

    async def _run(self) -> None:
        pause = 0.001
        while True:
            self.attempts += 1
            try:
                _reader, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, self.longest)
                continue
            with contextlib.closing(writer):
                writer.write(b"alive\n")
                await writer.drain()
                await asyncio.sleep(self.longest)


class _Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: list[bytes] = []

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self.received.append(data)


class DatagramListener(Plugin):
    """An endpoint of datagrams. Its transport is closed at once, which needs no waiting."""

    info = PluginInfo("datagram-listener", "1.0.0", "Takes statistics from whoever sends them")

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.inbox = _Inbox()
        self.transport: asyncio.DatagramTransport | None = None

    async def on_start(self) -> None:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.bind((self.host, 0))
            loop = asyncio.get_running_loop()
            self.transport, _ = await loop.create_datagram_endpoint(lambda: self.inbox, sock=bound)
        except BaseException:
            bound.close()
            raise

    async def on_stop(self) -> None:
        if self.transport is not None:
            self.transport.close()
            self.transport = None


class UnixServer(Plugin):
    """A server on a socket in the file system, in a directory of its own that goes with it."""

    info = PluginInfo("unix-server", "1.0.0", "Takes commands from the same machine")

    def __init__(self) -> None:
        self.directory: tempfile.TemporaryDirectory[str] | None = None
        self.server: asyncio.Server | None = None
        self.commands = 0

    async def on_init(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="commands-")

    async def on_start(self) -> None:
        assert self.directory is not None
        path = os.path.join(self.directory.name, "socket")
        self.server = await asyncio.start_unix_server(self._command, path, start_serving=False)
        await self.server.start_serving()

    async def on_stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        if self.directory is not None:
            self.directory.cleanup()
            self.directory = None

    async def _command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.readline()
            self.commands += 1


class Acceptor(Plugin):
    """Accepts on a socket of its own from a worker, without the streams of asyncio."""

    info = PluginInfo("acceptor", "1.0.0", "Counts who knocks")

    def __init__(self, backlog: int = 4) -> None:
        self.backlog = backlog
        self.listening: socket.socket | None = None
        self.knocks = 0

    async def on_init(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=self.backlog)
        self.listening.setblocking(False)

    async def on_start(self) -> None:
        assert self.listening is not None
        self.spawn(self._accept(self.listening))

    async def on_stop(self) -> None:
        # The worker is ended by the framework after this hook: closing under its feet would leave it waiting on a
        # descriptor that may be somebody else's by then. So the loop is told first.
        if self.listening is not None:
            asyncio.get_running_loop().remove_reader(self.listening)
            self.listening.close()
            self.listening = None

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            knocking, _ = await asyncio.get_running_loop().sock_accept(listening)
            knocking.close()
            self.knocks += 1


class Pair(Plugin):
    """Both ends of a connection in one plugin: it writes to one and reads from the other."""

    info = PluginInfo("pair", "1.0.0", "Measures how long a byte takes")

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self.bytes = 0

    async def on_start(self) -> None:
        self.ends.extend(socket.socketpair())
        for end in self.ends:
            end.setblocking(False)
        self.spawn(self._measure(*self.ends))

    async def on_stop(self) -> None:
        for worker in self.workers:
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)
        while self.ends:
            self.ends.pop().close()

    async def _measure(self, near: socket.socket, far: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await loop.sock_sendall(near, b".")
                self.bytes += len(await loop.sock_recv(far, 1))
                await asyncio.sleep(0.001)
        finally:
            near.close()
            far.close()


@define
class Prober(Plugin):
    """Its health check connects to its own server, with a time limit, and closes the connection in any case."""

    info = PluginInfo("prober", "1.0.0", "Serves, and knows whether it does")
    deadlines = Deadlines(health=2.0)
    patience: float = 1.0
    _server: asyncio.Server | None = None

    async def on_start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, start_serving=False)
        await self._server.start_serving()

    async def on_stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def on_health_check(self) -> HealthStatus:
        if self._server is None:
            return HealthStatus.unhealthy("no server")
        port = self._server.sockets[0].getsockname()[1]
        try:
            async with asyncio.timeout(self.patience):
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, TimeoutError) as error:
            return HealthStatus.unhealthy(str(error))
        writer.close()
        return HealthStatus.healthy()

    async def _serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()


class HeartbeatSender(Plugin):
    """Sends a datagram to itself every so often, from a timer and not from a task."""

    info = PluginInfo("heartbeat-sender", "1.0.0", "Is heard")

    def __init__(self, every: float = 0.002) -> None:
        self.every = every
        self.socket: socket.socket | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.sent = 0

    async def on_start(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        self._beat()

    async def on_stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _beat(self) -> None:
        assert self.socket is not None
        with contextlib.suppress(BlockingIOError):
            self.socket.sendto(b"alive", self.socket.getsockname())
        self.sent += 1
        self.timer = asyncio.get_running_loop().call_later(self.every, self._beat)


CORRECT = [
    Specimen(cls, clock="real")
    for cls in (
        EchoServer,
        RetryingClient,
        DatagramListener,
        UnixServer,
        Acceptor,
        Pair,
        Prober,
        HeartbeatSender,
    )
]
