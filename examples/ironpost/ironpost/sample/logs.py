"""Logs of a small company on an ordinary day, in which somebody tries passwords: made up, and the same every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

__all__ = ["ATTACKER", "BEGIN", "ENUMERATOR", "FAILURES", "lines_of_app", "lines_of_auth", "write"]

BEGIN: Final = 1_714_564_800.0
"""When the logs begin: 1 May 2024, 12:00 UTC. Addresses are those kept for documentation (RFC 5737)."""

ATTACKER: Final = "203.0.113.9"
"""Who tries passwords; and at last finds one."""

ENUMERATOR: Final = "203.0.113.77"
"""Who tries names of users."""

FAILURES: Final = 60
"""How many passwords are tried."""

_PEOPLE: Final = ("alice", "bob", "carol", "dave", "erin")


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _auth() -> Iterator[tuple[float, str]]:
    random = Random(9)
    for number in range(400):  # people come and go, and sometimes mistype
        at = BEGIN + number * 9 + random.random()
        user, src = random.choice(_PEOPLE), f"198.51.100.{random.randrange(1, 200)}"
        pid, port = random.randrange(1000, 30000), random.randrange(30000, 60000)
        if random.random() < 0.1:
            yield at, f"sshd[{pid}]: Failed password for {user} from {src} port {port} ssh2"
        yield at + 2, f"sshd[{pid}]: Accepted publickey for {user} from {src} port {port} ssh2"
        yield at + 3, f"sshd[{pid}]: pam_unix(sshd:session): session opened for user {user} by (uid=0)"
    for number in range(FAILURES):
        at = BEGIN + 600 + number * 2
        yield at, f"sshd[{31000 + number}]: Failed password for root from {ATTACKER} port {40000 + number} ssh2"
    at = BEGIN + 600 + FAILURES * 2
    yield at, f"sshd[31999]: Accepted password for root from {ATTACKER} port 41000 ssh2"
    yield at + 30, "useradd[32001]: new user: name=support, UID=1009, GID=1009, home=/home/support, shell=/bin/bash"
    for number in range(20):
        at = BEGIN + 1500 + number * 5
        yield at, f"sshd[{33000 + number}]: Invalid user test{number} from {ENUMERATOR} port {42000 + number}"
    yield (
        BEGIN + 2000,
        "sudo[34000]: dave : user NOT in sudoers ; TTY=pts/1 ; PWD=/home/dave ; USER=root ; COMMAND=/bin/sh",
    )


def lines_of_auth() -> list[str]:
    """Return the lines of ``auth.log``, as a syslog daemon writes them; one was damaged."""
    lines = [f"{_stamp(at)} gate {text}" for at, text in sorted(_auth())]
    lines.insert(len(lines) // 2, "\ufffd\ufffd a line that a full disk cut in half")
    return lines


def lines_of_app() -> list[str]:
    """Return the lines of ``app.log``: JSON, as programs write it today."""
    random = Random(10)
    lines = []
    for number in range(300):
        event = {
            "time": _stamp(BEGIN + number * 12),
            "level": "info",
            "message": f"GET /orders/{random.randrange(1000)} 200",
            "client": {"address": f"198.51.100.{random.randrange(1, 200)}"},
        }
        lines.append(json.dumps(event))
    return lines


def write(directory: Path) -> None:
    """Write ``logs/auth.log`` and ``logs/app.log`` below ``directory``."""
    logs = directory / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for name, lines in (("auth.log", lines_of_auth()), ("app.log", lines_of_app())):
        (logs / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
