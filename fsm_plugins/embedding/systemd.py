"""What systemd is told of a service with ``Type=notify``: that it is ready, how it is, and that its event loop turns.

The protocol is that of sd_notify(3): datagrams of ``NAME=value`` lines to the socket that ``$NOTIFY_SOCKET`` names. The
signs of life that the watchdog wants (``$WATCHDOG_USEC``, sd_watchdog_enabled(3)) come from the event loop, so that a
plugin that blocks it ends them, and systemd does what the unit says.

Nothing here can fail an application: what cannot be sent is logged once, and tried again with what follows.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Final, Self

from fsm_plugins.app import Application, Phase
from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import TransitionEvent

__all__ = ["Notifier", "attach"]

logger = logging.getLogger("fsm_plugins")

# Seconds after which a message is sent again that found the socket's queue full, and for which news of the plugins are
# collected before a status is sent: a thousand plugins that start are not a thousand messages.
PAUSE: Final = 0.1

# Characters of a value at most: a message has to fit into a datagram.
LONGEST: Final = 1000


class Notifier:
    """Sends messages to the socket of a service manager, without ever waiting for it.

    Args:
        address: the path of the socket; with ``@`` at its beginning, a name in the abstract namespace.
        watchdog: send a sign of life at least this often, in seconds; None for never.

    Raises:
        ValueError: the address is neither an absolute path nor an abstract name.
    """

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        if address[:1] not in ("/", "@") or len(address) < 2:
            raise ValueError(f"NOTIFY_SOCKET is {address!r}; only a socket that is a path or @name can be notified")
        self.address = address
        self.watchdog = watchdog
        self._to = "\0" + address[1:] if address[0] == "@" else address
        self._socket: socket.socket | None = None
        self._unsent: dict[str, str] = {}
        self._broken = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str] | None = None) -> Self | None:
        """Return the notifier that the environment asks for, or None if there is nobody to notify.

        The variables are taken out of the environment: they are meant for this process, and a program that a plugin
        starts must not speak for it.
        """
        environ = os.environ if environ is None else environ
        taken = {name: environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}
        if not taken["NOTIFY_SOCKET"]:
            return None
        try:
            return cls(taken["NOTIFY_SOCKET"], _watchdog(taken["WATCHDOG_USEC"], taken["WATCHDOG_PID"]))
        except ValueError as error:
            logger.warning("nobody is notified: %s", error)
            return None

    def notify(self, **fields: str) -> None:
        """Send ``fields`` as one message, together with those that could not be sent before.

        >>> with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        ...     manager.bind("\\0fsm-plugins-doctest")
        ...     notifier = Notifier("@fsm-plugins-doctest")
        ...     notifier.notify(READY="1", STATUS="all is well")
        ...     manager.recv(100)
        ...     notifier.close()
        b'READY=1\\nSTATUS=all is well'
        """
        for name, value in fields.items():
            self._unsent[name] = " ".join(value.split())[:LONGEST]  # a value is one line
        self._send()

    def ready(self) -> None:
        """Say that the start, or the reload, is done."""
        self._unsent.pop("RELOADING", None)
        self.notify(READY="1")

    def reloading(self) -> None:
        """Say that the configuration is being loaded again; `ready` has to follow."""
        self.notify(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    def stopping(self) -> None:
        """Say that the end has begun."""
        self.notify(STOPPING="1")

    def keep_alive(self) -> None:
        """Begin to send the watchdog's sign of life, twice as often as is asked for, from the running event loop."""
        if self.watchdog is not None:
            self.later("watchdog", self.watchdog / 2, self.keep_alive)
            self.notify(WATCHDOG="1")

    def later(self, name: str, seconds: float, what: Callable[[], object]) -> None:
        """Call ``what`` in the running event loop, unless `close` or another call of that name comes first."""
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, what)

    def close(self) -> None:
        """End the signs of life and close the socket. What is still unsent is tried once more."""
        self._send()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self) -> None:
        message = "\n".join(f"{name}={value}" for name, value in self._unsent.items())
        if not message:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            self._socket.sendto(message.encode("utf-8", "replace"), self._to)
        except BlockingIOError:  # its queue is full
            with suppress(RuntimeError):  # outside of an event loop it goes with the next message
                self.later("retry", PAUSE, self._send)
        except OSError as error:
            if not self._broken:
                logger.warning("the service manager cannot be notified at %s: %s", self.address, describe(error))
            self._broken = True
        else:
            self._unsent.clear()
            self._broken = False


def attach(application: Application, environ: MutableMapping[str, str] | None = None) -> Notifier | None:
    """Keep the service manager informed while ``application`` runs, if the environment says that there is one.

    It is told ``READY=1`` when every plugin has been started, ``STOPPING=1`` before the first one is stopped, in
    ``STATUS`` how many plugins are in which state and what failed last, and ``WATCHDOG=1`` for as long as the event
    loop turns. ``fsm-plugins run`` calls this by itself.

    Args:
        application: one that was not run yet.
        environ: where the variables are, and are taken out of; ``os.environ`` unless given.

    Returns:
        The notifier, or None if nobody is to be notified.

    >>> from fsm_plugins.orchestrator import Orchestrator
    >>> attach(Application("quiet", Orchestrator([], {})), {}) is None
    True
    """
    started = os.environ.get("SYSTEMD_EXEC_PID") if environ is None else environ.get("SYSTEMD_EXEC_PID")
    notifier = Notifier.from_environ(environ)
    if notifier is None:
        return None
    if started and started != str(os.getpid()):
        logger.warning(
            "systemd started process %s, but this is process %d, to which it listens only with NotifyAccess=all; "
            "a script that starts the command should do so with exec",
            started,
            os.getpid(),
        )
    reporter = _Reporter(notifier, application)
    application.follow(reporter.phase)
    application.registry.subscribe(reporter.event)
    return notifier


class _Reporter:
    """Tells the notifier of one application."""

    def __init__(self, notifier: Notifier, application: Application) -> None:
        self._notifier = notifier
        self._application = application
        self._failure = ""
        self._pending = False

    def phase(self, phase: Phase) -> None:
        if phase == "starting":
            self._notifier.keep_alive()
        elif phase == "running":
            self._notifier.ready()
        elif phase == "stopping":
            self._notifier.stopping()
        self._report()
        if phase == "ended":
            self._notifier.close()

    def event(self, event: TransitionEvent) -> None:
        if event.cause is not None:
            self._failure = f"; {event.plugin} failed: {describe(event.cause)}"
        if not self._pending:
            self._pending = True
            self._notifier.later("status", PAUSE, self._report)

    def _report(self) -> None:
        self._pending = False
        states = Counter(str(plugin.state) for plugin in self._application.registry)
        counted = ", ".join(f"{count} {state}" for state, count in states.items()) or "no plugins"
        self._notifier.notify(STATUS=f"{self._application.phase}: {counted}{self._failure}")


def _watchdog(microseconds: str, pid: str) -> float | None:
    """Return the seconds within which a sign of life is expected of this process, if it is."""
    if not microseconds or (pid and pid != str(os.getpid())):
        return None
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0):
        logger.warning("there is no watchdog: WATCHDOG_USEC is %r, not a positive number", microseconds)
        return None
    return int(microseconds) / 1e6
