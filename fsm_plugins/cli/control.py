"""``status``, ``start``, ``stop``, ``restart`` and ``events``: they speak to an application over its Unix socket.

They need nothing but the standard library; it is the application that needs the extra ``web``.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from urllib.parse import quote

import click

from fsm_plugins.cli.output import fail, print_json, print_table

__all__ = ["events", "restart", "start", "status", "stop"]

_Command: TypeAlias = Callable[..., None]

_socket = click.option(
    "--socket",
    "path",
    envvar="FSM_PLUGINS_SOCKET",
    type=click.Path(),
    required=True,
    metavar="PATH",
    help="Where the application listens, its observe.socket; also FSM_PLUGINS_SOCKET.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")

PATIENCE = 10.0
"""How long the application may take to answer what it knows, in seconds. To start or stop a plugin has no limit."""


@click.command()
@_socket
@_json
def status(path: str, as_json: bool) -> None:
    """Show how the plugins of a running application are.

    Exit status: 0 it is ready, 1 it is not, or there is none.
    """
    found = _ask(path, "GET", "/status", PATIENCE)
    if as_json:
        print_json(found)
    else:
        head = ["plugin", "state", "since", "health", "restarts", ""]
        print_table(head, [_row(plugin) for plugin in found["plugins"]])
    if not found["ready"]:
        fail(f"application {found['name']!r} is not ready")


def _row(plugin: dict[str, Any]) -> list[str]:
    health = plugin["health"]
    return [
        _one_line(plugin["name"]),
        plugin["state"] if plugin["wanted"] or plugin["failure"] else f"{plugin['state']} (on request)",
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(plugin["since"])),
        "-" if health is None else health["level"],
        str(plugin["restarts"]),
        _one_line(plugin["failure"] or ("" if health is None or not plugin["runs"] else health["reason"])),
    ]


def _one_line(text: str) -> str:
    """Return a text as one line that does nothing to a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _action(name: str, text: str) -> click.Command:
    @click.command(name, help=f"{text}\n\nExit status: 0 it is done, 1 it could not be.")
    @click.argument("plugin")
    @_socket
    @_json
    def command(plugin: str, path: str, as_json: bool) -> None:
        answer = _ask(path, "POST", f"/plugins/{quote(plugin, safe='')}/{name}", None)
        if as_json:
            print_json(answer)
        else:
            click.echo(f"{_one_line(plugin)} {answer['state']}")

    return command


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on, and show what happens, until it ends.")
@_socket
@_json
def events(follow: bool, path: str, as_json: bool) -> None:
    """Show the latest transitions of a running application, and what its supervisor did.

    With --json, one JSON object on each line.
    """
    show: Callable[[dict[str, Any]], None] = _print_line if as_json else _print_event
    if not follow:
        for event in _ask(path, "GET", "/events?follow=false", PATIENCE)["events"]:
            show(event)
        return
    try:
        for event in _follow(path):
            show(event)
    except KeyboardInterrupt:
        sys.exit(130)
    fail("the application has ended, or this command was too slow to follow")


def _print_line(event: dict[str, Any]) -> None:
    click.echo(json.dumps(event))


def _print_event(event: dict[str, Any]) -> None:
    when = time.strftime("%H:%M:%S", time.localtime(event["at"]))
    if event["kind"] == "transition":
        what = f"{event['source']} -> {event['dest']} ({event['trigger']}, {event['duration']:.3f} s)"
        why = event["cause"]
    else:
        what, why = event["action"], event["reason"]
    click.echo(_one_line(f"{when} {event['plugin']}: {what}" + (f": {why}" if why else "")))


# How they go.


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, patience: float | None) -> None:
        super().__init__("localhost")
        self._path = path
        self._patience = patience

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)
        self.sock.settimeout(self._patience)


def _request(path: str, method: str, target: str, patience: float | None, **headers: str) -> http.client.HTTPResponse:
    connection = _Connection(path, patience)
    try:
        connection.request(method, target, headers=headers)
        return connection.getresponse()
    except FileNotFoundError:
        fail(f"no application listens at {path}: there is no such socket")
    except ConnectionRefusedError:
        fail(f"no application listens at {path}: the one that did has ended")
    except PermissionError:
        fail(f"{path} may not be opened: it belongs to another user")
    except TimeoutError:
        fail(f"the application at {path} does not answer")
    except http.client.HTTPException:
        fail(f"what answers at {path} is no application of fsm-plugins")
    except OSError as error:
        fail(f"the application at {path} cannot be asked: {error.strerror or error}")


def _ask(path: str, method: str, target: str, patience: float | None) -> dict[str, Any]:
    """Return the answer, or fail with what it says."""
    answer: Any
    try:
        response = _request(path, method, target, patience)
        text = response.read()
        answer = json.loads(text)
        if not isinstance(answer, dict):
            raise ValueError
    except (OSError, http.client.HTTPException):
        fail(f"the application at {path} has ended in the middle of its answer")
    except ValueError:
        fail(f"what answers at {path} is no application of fsm-plugins")
    if response.status != 200:
        fail(_one_line(str(answer.get("error", f"the answer is HTTP {response.status}"))))
    return answer


def _follow(path: str) -> Iterator[dict[str, Any]]:
    """Yield the latest events, and then those that happen."""
    # To begin after number 0 is to begin with the oldest that is known.
    response = _request(path, "GET", "/events", None, **{"Last-Event-ID": "0"})
    if response.getheader("content-type", "").partition(";")[0] != "text/event-stream":
        fail(f"what answers at {path} is no application of fsm-plugins")
    try:
        for line in response:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))
    except (OSError, http.client.HTTPException):
        return


start = _action("start", "Start a plugin of a running application.")
stop = _action("stop", "Stop a plugin of a running application.")
restart = _action("restart", "Put a fresh plugin in the place of one of a running application.")
