"""The probes of the manifest, asked of a real process while a plugin fails."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from fsm_plugins.app import Application
from tests.system.embedded import DOCS, EXAMPLE, PATIENCE, Running, blocks, eventually, lay_out, running

MANIFEST = (DOCS / "kubernetes.yaml").read_text(encoding="utf-8")
PLUGIN = "FSM_PLUGINS__PLUGINS__TELL__USE"

served = pytest.mark.skipif(
    find_spec("fsm_plugins.observe") is None, reason="nothing of this application can be observed over HTTP"
)


def probes() -> dict[str, str]:
    """Return the path of each probe of the manifest."""
    return dict(re.findall(r"^ +(\w+)Probe:\n +httpGet: \{ path: (\S+), port: observe \}$", MANIFEST, re.MULTILINE))


@contextmanager
def pod(directory: Path, plugin: str = "beacon:Tell", on_failure: str = "stop") -> Iterator[tuple[Running, int]]:
    """Run the example as the manifest does, on a port of its own; yields the process and the port."""
    lay_out("kubernetes.md", directory)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (section,) = blocks("kubernetes.md", "toml")
    with (directory / "beacon.toml").open("a") as file:
        file.write("\n" + section.replace("0.0.0.0:9090", f"127.0.0.1:{port}"))
    more = {PLUGIN: plugin, "FSM_PLUGINS__APP__ON_FAILURE": on_failure}
    with running(["fsm-plugins", "run", "beacon.toml"], directory, more) as process:
        yield process, port


def ask(port: int, probe: str, seconds: float = PATIENCE) -> int | None:
    """Return the status that a probe gets; None if nobody listens, or nobody answers in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", probes()[probe])
        return connection.getresponse().status
    except (ConnectionError, TimeoutError):
        return None
    finally:
        connection.close()


def answers(port: int, seconds: float = PATIENCE) -> dict[str, int | None]:
    """Return what each probe gets."""
    return {probe: ask(port, probe, seconds) for probe in probes()}


def test_the_manifest_has_the_three_probes_and_the_page_shows_them() -> None:
    """Startup and readiness ask whether it is ready, liveness does not."""
    assert probes() == {"startup": "/readyz", "liveness": "/livez", "readiness": "/readyz"}
    (block,) = blocks("kubernetes.md", "yaml")
    lines = [line.strip() for line in MANIFEST.splitlines()]
    assert [line for line in block.splitlines() if line.strip() not in lines] == []
    (section,) = blocks("kubernetes.md", "toml")
    assert f"containerPort: {section.rpartition(':')[2].strip().strip(chr(34))}" in MANIFEST


def test_the_times_of_the_manifest_suit_the_deadlines_of_the_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes waits longer than all the plugins may take together."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # which the application adds its own directory to
    application = Application.from_config(EXAMPLE / "beacon.toml", {})
    deadlines = [plugin.deadlines for plugin in application.registry]
    found = re.search(r"startupProbe:.*?periodSeconds: (\d+).*?failureThreshold: (\d+)", MANIFEST, re.DOTALL)
    grace = re.search(r"terminationGracePeriodSeconds: (\d+)", MANIFEST)
    assert found is not None and grace is not None
    assert int(found[1]) * int(found[2]) > sum(d.init + d.start for d in deadlines)
    assert int(grace[1]) > sum(d.stop + 4 * d.grace for d in deadlines)


@served
def test_a_pod_is_started_live_and_ready_and_ends_when_it_is_deleted(tmp_path: Path) -> None:
    """Every probe succeeds when the plugins have been started; SIGTERM ends it with 0."""
    with pod(tmp_path) as (process, port):
        eventually(lambda: ask(port, "startup") == 200, process)
        assert answers(port) == {"startup": 200, "liveness": 200, "readiness": 200}
        process.process.send_signal(signal.SIGTERM)
        assert process.end() == 0, process.text
    assert answers(port) == {"startup": None, "liveness": None, "readiness": None}


@served
def test_a_pod_with_a_failed_plugin_is_live_and_not_ready(tmp_path: Path) -> None:
    """So it gets no traffic, and is not restarted."""
    with pod(tmp_path, "broken:FailsAtALine", "continue") as (process, port):
        eventually(lambda: ask(port, "readiness") == 200, process)
        process.tell("now")
        process.wait_for("plugin 'tell' failed: ConnectionError: reset")
        eventually(lambda: ask(port, "readiness") == 503, process)
        assert answers(port) == {"startup": 503, "liveness": 200, "readiness": 503}
        process.process.send_signal(signal.SIGTERM)
        process.end()


@served
def test_a_pod_whose_plugin_fails_ends_with_1(tmp_path: Path) -> None:
    """Unless it is to go on, so that Kubernetes restarts the container."""
    with pod(tmp_path, "broken:FailsAtALine") as (process, port):
        eventually(lambda: ask(port, "startup") == 200, process)
        process.tell("now")
        assert process.end() == 1, process.text


@served
def test_a_pod_that_is_being_started_is_live_and_not_ready(tmp_path: Path) -> None:
    """The startup probe goes on asking."""
    (tmp_path / "slow.py").write_text(
        "import asyncio, sys\nfrom broken import Quiet\n"
        "class Slow(Quiet):\n"
        "    async def on_start(self):\n"
        "        await asyncio.to_thread(sys.stdin.readline)\n"
    )
    with pod(tmp_path, "slow:Slow") as (process, port):
        eventually(lambda: ask(port, "liveness") == 200, process)
        assert answers(port) == {"startup": 503, "liveness": 200, "readiness": 503}
        process.tell("now")
        eventually(lambda: ask(port, "startup") == 200, process)


@served
def test_a_pod_whose_event_loop_is_blocked_does_not_answer(tmp_path: Path) -> None:
    """So that it is restarted after as many probes as the manifest says."""
    with pod(tmp_path, "broken:BlocksAtALine") as (process, port):
        eventually(lambda: ask(port, "startup") == 200, process)
        process.tell("block")
        process.wait_for("^blocked")
        assert ask(port, "liveness", 0.5) is None
        process.tell("go on")
        process.wait_for("^free")
        eventually(lambda: ask(port, "liveness") == 200, process)


def test_the_entry_point_that_the_page_names_takes_the_arguments_of_the_manifest(tmp_path: Path) -> None:
    """Together they are a command that runs."""
    lay_out("kubernetes.md", tmp_path)
    page = (DOCS / "kubernetes.md").read_text(encoding="utf-8")
    entry = re.search(r"entry point\n`(\[.*?\])`", page)
    arguments = re.search(r"^ +args: (\[.*\])$", MANIFEST, re.MULTILINE)
    assert entry is not None and arguments is not None
    with running([*json.loads(entry[1]), *json.loads(arguments[1])], tmp_path) as process:
        process.wait_for("^beat 1")
        process.process.send_signal(signal.SIGTERM)
        assert process.end() == 0, process.text
