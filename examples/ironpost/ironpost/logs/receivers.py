"""Syslog over the network: sockets that put messages into a bounded inbox, and nothing else.

When the inbox is full, TCP connections are not read until there is room, so that their senders wait. UDP has nothing of
the kind: what arrives then is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Final, cast
from urllib.parse import urlsplit

from attrs import frozen

from ironpost.logs.framing import Frames

__all__ = ["Address", "Inbox", "Message", "listen"]

logger = logging.getLogger("ironpost.logs")

CAPACITY: Final = 16_384
"""How many messages an inbox holds. A TCP connection can exceed it by what one read brings."""

CONNECTIONS: Final = 512
"""How many TCP connections there may be at a time to one address."""


@frozen
class Message:
    """A message that was received.

    Attributes:
        data: its bytes.
        origin: who sent it, such as ``udp://192.0.2.1``.
        time: when it was received, in seconds since the epoch.
        broken: why it is none, if it is the beginning of one that never became complete.
    """

    data: bytes
    origin: str
    time: float
    broken: str = ""


@frozen
class Address:
    """Where to listen.

    Attributes:
        transport: ``udp`` or ``tcp``.
        host: a name or an address.
        port: 0 for any that is free.

    >>> print(Address.parse("tcp://127.0.0.1:5514"))
    tcp://127.0.0.1:5514
    >>> Address.parse("http://here")
    Traceback (most recent call last):
    ...
    ValueError: expected an address such as udp://127.0.0.1:5514 or tcp://[::1]:5514, got 'http://here'
    """

    transport: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address that a text such as ``udp://127.0.0.1:5514`` means.

        Raises:
            ValueError: it means none.
        """
        try:
            parts = urlsplit(text)
            sound = parts.scheme in ("udp", "tcp") and parts.hostname and parts.port is not None
            if sound and not (parts.path or parts.query or parts.fragment or parts.username is not None):
                return cls(parts.scheme, cast(str, parts.hostname), cast(int, parts.port))
        except ValueError:  # the port is not a number of 16 bits
            pass
        raise ValueError(f"expected an address such as udp://127.0.0.1:5514 or tcp://[::1]:5514, got {text!r}")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}"


class Inbox:
    """Messages that were received and not handled yet.

    Args:
        capacity: how many there may be.

    Attributes:
        dropped: how many datagrams were dropped because it was full, and how many connections because of their number.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.dropped = 0
        self._messages: deque[Message] = deque()
        self._capacity = capacity
        self._paused: set[_Connection] = set()
        self._arrived = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return len(self._messages) >= self._capacity

    def put(self, message: Message) -> None:
        """Take a message in."""
        self._messages.append(message)
        self._arrived.set()

    def put_aside(self, connection: _Connection) -> None:
        """Remember a connection that is to be read again when there is room."""
        self._paused.add(connection)

    def close(self) -> None:
        """Let `arrival` come to the end when nothing is left."""
        self._closed = True
        self._arrived.set()

    async def arrival(self) -> bool:
        """Wait until there is a message. Return False at the end: there is none, and the inbox was closed."""
        while not self._messages and not self._closed:
            self._arrived.clear()
            await self._arrived.wait()
        return bool(self._messages)

    def take(self, limit: int | None = None) -> list[Message]:
        """Take out up to ``limit`` messages, or all."""
        count = len(self._messages) if limit is None else min(limit, len(self._messages))
        taken = [self._messages.popleft() for _ in range(count)]
        while self._paused and not self.full:
            self._paused.pop().resume()
        return taken


async def listen(address: Address, inbox: Inbox) -> tuple[Address, Listener]:
    """Listen, and put what arrives into the inbox; return the address, with the port that it has, and who listens.

    Raises:
        OSError: the address cannot be had.
    """
    loop = asyncio.get_running_loop()
    if address.transport == "udp":
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(inbox), local_addr=(address.host, address.port)
        )
        name = transport.get_extra_info("sockname")
        return Address("udp", address.host, name[1]), Listener(transport, set())
    connections: set[_Connection] = set()
    server = await loop.create_server(lambda: _Connection(inbox, connections), address.host, address.port)
    name = server.sockets[0].getsockname()
    return Address("tcp", address.host, name[1]), Listener(server, connections)


class Listener:
    """A socket that is listened on."""

    def __init__(
        self,
        transport: asyncio.DatagramTransport | asyncio.Server,
        connections: set[_Connection],
    ) -> None:
        self._transport = transport
        self._connections = connections

    async def close(self) -> None:
        """Stop listening, and end the connections; what is complete in them has been put into the inbox."""
        self._transport.close()
        for connection in list(self._connections):
            connection.end("the receiver was stopped")
        if isinstance(self._transport, asyncio.Server):
            await self._transport.wait_closed()
        await asyncio.sleep(0)  # the transports close their sockets in this turn of the loop


class _Datagrams(asyncio.DatagramProtocol):
    """Each datagram is one message (RFC 5426)."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        if self._inbox.full:
            self._inbox.dropped += 1
        else:
            self._inbox.put(Message(data.rstrip(b"\r\n\0"), f"udp://{addr[0]}", time.time()))

    def error_received(self, exc: Exception) -> None:
        logger.warning("syslog over UDP: %s", exc)


class _Connection(asyncio.Protocol):
    """One TCP connection, and the messages that come over it."""

    def __init__(self, inbox: Inbox, connections: set[_Connection]) -> None:
        self._inbox = inbox
        self._connections = connections
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._origin = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._origin = f"tcp://{peer[0] if peer else '?'}"
        if len(self._connections) >= CONNECTIONS:
            self._inbox.dropped += 1
            self._transport.abort()
            return
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        for message in self._frames.feed(data):
            self._inbox.put(Message(message, self._origin, now))
        if self._frames.broken:
            self.end(self._frames.broken)
        elif self._inbox.full and self._transport is not None:
            self._transport.pause_reading()
            self._inbox.put_aside(self)

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def end(self, why: str) -> None:
        """End the connection. The beginning of a message that is left is passed on as a broken one."""
        rest = self._frames.rest()
        if rest:
            self._inbox.put(Message(rest, self._origin, time.time(), why))
        if self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> None:
        # RFC 6587 wants a newline behind the last message, too; many senders leave it out.
        rest = self._frames.rest()
        if rest[:1].isdigit():
            self._inbox.put(Message(rest, self._origin, time.time(), "the connection ended within a message"))
        elif rest:
            self._inbox.put(Message(rest, self._origin, time.time()))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.end(f"the connection was lost: {exc}")
        self._connections.discard(self)
        self._transport = None
