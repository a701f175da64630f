"""A real server with plugins in its lifespan, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.embedded import PATIENCE, Running, blocks, lay_out, running

PLUGIN = "FSM_PLUGINS__PLUGINS__TELL__USE"


@contextmanager
def serving(module: str, directory: Path, more: dict[str, str] | None = None) -> Iterator[Running]:
    """Run the command of the page on a port of its own."""
    lay_out("web.md", directory)
    (console,) = blocks("web.md", "console")
    command = console.removeprefix("$ ").replace("web:app", f"{module}:app").split()
    with running([*command, "--port", "0"], directory, more) as process:
        yield process


def port_of(process: Running) -> int:
    """Wait until the server takes requests."""
    return int(process.wait_for(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")[1])


def get(port: int, path: str = "/ready") -> tuple[int, object]:
    """Ask the server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("module", ["web", "api"])
def test_requests_find_the_plugins_and_signals_stay_with_the_server(module: str, tmp_path: Path) -> None:
    """The plugins run before the first request, and are stopped when the server gets SIGTERM."""
    with serving(module, tmp_path) as process:
        port = port_of(process)
        if "beat 1" not in process.lines:
            process.wait_for("^beat 1")
        assert get(port) == (200, {"beat": "running", "tell": "running"})
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("Application shutdown complete")
        process.end()
    assert "Traceback" not in process.text


@pytest.mark.parametrize("module", ["web", "api", "both"])
def test_a_plugin_that_does_not_start_keeps_the_server_from_starting(module: str, tmp_path: Path) -> None:
    """With the message of the plugin, and exit status 3, which is uvicorn's."""
    with serving(module, tmp_path, {PLUGIN: "broken:Unstartable"}) as process:
        assert process.end() == 3
    assert "HookFailed: plugin 'tell' failed in start: OSError: no device" in process.text
    assert "Application startup failed" in process.text


def test_a_file_that_is_wrong_keeps_the_server_from_starting(tmp_path: Path) -> None:
    """With everything that is wrong."""
    with serving("web", tmp_path, {PLUGIN: "broken:Gone"}) as process:
        assert process.end() == 3
    assert f"{PLUGIN}: cannot load" in process.text or "plugins.tell.use: cannot load" in process.text


def test_the_server_goes_on_without_its_plugins_and_says_so(tmp_path: Path) -> None:
    """The readiness route of the page tells that they are gone; the end of the server raises why."""
    with serving("web", tmp_path, {PLUGIN: "broken:FailsAtALine"}) as process:
        port = port_of(process)
        assert get(port)[0] == 200
        process.tell("now")
        process.wait_for("ended, but the server goes on: PluginFailed: plugin 'tell' failed while it was running")
        assert get(port) == (503, {"beat": "stopped", "tell": "stopped"})
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("PluginFailed: plugin 'tell' failed while it was running: ConnectionError: reset")
        process.end()


def test_a_server_that_wants_to_ends_with_its_plugins(tmp_path: Path) -> None:
    """As the page shows: on_end sends it the signal that it stops at."""
    with serving("strict", tmp_path, {PLUGIN: "broken:FailsAtALine"}) as process:
        port_of(process)
        process.tell("now")
        process.wait_for("Shutting down")
        process.end()


def test_a_lifespan_in_a_lifespan_gives_the_state_of_both(tmp_path: Path) -> None:
    """As the page shows; the plugins are stopped by the outer one."""
    (tmp_path / "asks.py").write_text(
        "from both import app\n"
        "from starlette.responses import JSONResponse\n"
        "from starlette.routing import Route\n"
        "async def state(request):\n"
        "    return JSONResponse([request.state.answer, request.state.application.phase])\n"
        "app.router.routes.append(Route('/state', state))\n"
    )
    with serving("asks", tmp_path) as process:
        assert get(port_of(process), "/state") == (200, [42, "running"])
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("Application shutdown complete")
        process.end()
