"""What the plugins say to each other.

Each event knows where it comes from, and carries the trace id of the first event of its chain: the trace id of a packet
or of a log line is that of the alert it raises, and that of the action the alert causes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from enum import IntEnum

from attrs import Factory, field, frozen

__all__ = ["ActionEvent", "AlertEvent", "Event", "LogEvent", "PacketEvent", "Severity", "new_id"]


def new_id() -> str:
    """Return an id that no other event has, 32 hexadecimal digits."""
    return uuid.uuid4().hex


class Severity(IntEnum):
    """How bad it is. They can be compared.

    >>> Severity.HIGH > Severity.LOW, str(Severity.HIGH)
    (True, 'high')
    """

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    def __str__(self) -> str:
        return self.name.lower()


@frozen(kw_only=True)
class Event:
    """What all events have.

    Attributes:
        source: the plugin it comes from.
        id: its own id.
        trace: the id of the chain it belongs to; the first event of a chain begins it.
        time: when it happened, in seconds since the epoch.
    """

    source: str
    id: str = Factory(new_id)
    trace: str = field(default=Factory(lambda self: self.id, takes_self=True))
    time: float = Factory(time.time)


@frozen(kw_only=True)
class PacketEvent(Event):
    """A packet, or a connection that was seen.

    Attributes:
        protocol: ``tcp``, ``udp``, ``icmp`` or the protocol's number.
        src, dst: addresses, as text.
        sport, dport: ports; 0 where the protocol has none.
        flags: the names of the TCP flags that are set, such as ``SYN``.
        length: bytes on the wire; 0 where it is not known.
        finding: what a detector made of it, such as ``port-scan``; empty for plain traffic.
        detail: what else is known, for people.
    """

    protocol: str
    src: str
    dst: str
    sport: int = 0
    dport: int = 0
    flags: tuple[str, ...] = ()
    length: int = 0
    finding: str = ""
    detail: str = ""


@frozen(kw_only=True)
class LogEvent(Event):
    """A line of a log, understood.

    Attributes:
        format: ``rfc3164``, ``rfc5424``, ``json`` or ``packet``.
        fields: what it says; ``message`` is always there.
        origin: the file or the address it came from.
    """

    format: str
    fields: Mapping[str, object]
    origin: str = ""


@frozen(kw_only=True)
class AlertEvent(Event):
    """Somebody should look at this.

    Attributes:
        rule: what found it.
        title: what it is, in one line.
        severity: how bad it is.
        fields: the evidence.
        count: how many events it stands for.
    """

    rule: str
    title: str
    severity: Severity
    fields: Mapping[str, object] = Factory(dict)
    count: int = 1

    def __str__(self) -> str:
        return f"{self.severity} {self.rule}: {self.title}"


@frozen(kw_only=True)
class ActionEvent(Event):
    """What was done about an alert, or would have been done.

    Attributes:
        alert: the id of the alert.
        policy: which policy asked for it.
        action: ``pause``, ``stop``, ``network-disconnect`` or ``kill``.
        container: the name of the container.
        dry_run: whether it was only said, not done.
        outcome: ``done``, ``dry-run`` or ``failed``.
        detail: why it failed, or what else there is to say.
    """

    alert: str
    policy: str
    action: str
    container: str
    dry_run: bool
    outcome: str
    detail: str = ""
