"""The endpoint over real sockets: what it answers, whom it lets in, and whom it cuts off."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fsm_plugins import HealthStatus, Plugin, PluginInfo, PluginRegistry
from fsm_plugins.observe import Feed, Journal, Observation, RegistryTarget, last_states
from fsm_plugins.observe import server as server_module
from fsm_plugins.observe.server import Endpoint


class Clock(Plugin):
    info = PluginInfo("clock", "1.0.0")
    answer = HealthStatus.healthy()

    async def on_start(self) -> None:
        if self.info.name == "broken":
            raise OSError("no device")

    async def on_health_check(self) -> HealthStatus:
        return self.answer


@asynccontextmanager
async def application(
    tmp_path: Path, names: tuple[str, ...] = ("one", "a/b c"), **options: Any
) -> AsyncIterator[tuple[RegistryTarget, Observation]]:
    """Run plugins under observation, with a Unix socket and a TCP port."""
    registry = PluginRegistry()
    for name in names:
        registry.register(Clock(name=name))
    target = RegistryTarget(registry, "app")
    given: dict[str, Any] = {"socket": tmp_path / "s", "http": "127.0.0.1:0", "metrics": True, **options}
    async with Observation(**given).running(target) as observation:
        yield target, observation


Answer = tuple[int, dict[str, str], bytes]


async def ask(where: Path | tuple[str, int], request: str, *headers: str) -> Answer:
    """Send one request, and return the status, the headers and the body."""
    lines = [f"{request} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    data = await raw(where, "\r\n".join(lines).encode())
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    found = dict(line.lower().split(": ", 1) for line in rest)
    if found.get("transfer-encoding") == "chunked":
        body = b"".join(body.split(b"\r\n")[1::2])
    return int(first.split()[1]), found, body


async def connect(where: Path | tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(where, Path):
        return await asyncio.open_unix_connection(where)
    return await asyncio.open_connection(*where)


async def raw(where: Path | tuple[str, int], data: bytes) -> bytes:
    """Send bytes, and return what comes back until the end of the connection."""
    reader, writer = await connect(where)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                return await reader.read()
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def address(observation: Observation) -> tuple[str, int]:
    assert observation.endpoint is not None
    assert observation.endpoint.address is not None
    return observation.endpoint.address


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    threads = threading.active_count()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert not [t for t in threading.enumerate() if t.name.startswith("journal")] or threading.active_count() == threads


def test_it_answers_how_the_application_is(tmp_path: Path) -> None:
    """The same on both sockets: live, ready, status, metrics, and what is not there."""

    async def main() -> None:
        async with application(tmp_path, journal=Journal(tmp_path / "j")) as (target, observation):
            for where in (tmp_path / "s", address(observation)):
                assert (await ask(where, "GET /livez"))[0] == 200
                status, _, body = await ask(where, "GET /readyz")
                assert (status, body) == (503, b"not ready\none is created\na/b c is created\n")
            for plugin in target.registry:
                await target.start(plugin.info.name)
            assert (await ask(where, "GET /readyz"))[0] == 200
            status, headers, body = await ask(where, "GET /status")
            assert (status, headers["content-type"]) == (200, "application/json")
            assert [plugin["state"] for plugin in json.loads(body)["plugins"]] == ["running", "running"]
            status, headers, body = await ask(where, "GET /metrics")
            assert status == 200
            assert b'fsm_plugins_plugin_state{plugin="one",state="running"} 1.0' in body
            assert b"fsm_plugins_journal_lost_total 0.0" in body
            assert headers["content-type"].startswith("text/plain; version=")
            for request in ("GET /", "GET /plugins", "POST /status", "GET /plugins/one/stop", "PUT /events"):
                assert (await ask(tmp_path / "s", request))[0] in (404, 405)
            Clock.answer = HealthStatus.unhealthy("slow")
            target.note_health(await target.registry.health_check_all())
            assert (await ask(where, "GET /readyz"))[2].startswith(b"not ready\none is unhealthy: slow\n")
        assert {name: row.dest for name, row in last_states(tmp_path / "j").items()} == {
            "one": "running",
            "a/b c": "running",
        }

    try:
        asyncio.run(main())
    finally:
        Clock.answer = HealthStatus.healthy()


def test_metrics_that_are_off_are_not_there(tmp_path: Path) -> None:
    """And it says how to have them."""

    async def main() -> None:
        async with application(tmp_path, metrics=False):
            status, _, body = await ask(tmp_path / "s", "GET /metrics")
            assert (status, body) == (404, b"metrics are off; set metrics = true in [observe]\n")

    asyncio.run(main())


def test_whoever_can_open_the_socket_may_change_things(tmp_path: Path) -> None:
    """It is the user's own; what cannot be done is a conflict, and what is not there is not found."""

    async def main() -> None:
        async with application(tmp_path, ("one", "a/b c", "broken")) as (target, _):
            path = tmp_path / "s"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            status, _, body = await ask(path, "POST /plugins/a%2Fb%20c/start")
            assert (status, json.loads(body)) == (200, {"ok": True, "plugin": "a/b c", "state": "running"})
            assert (await ask(path, "POST /plugins/a%2Fb%20c/stop"))[0] == 200
            for request, expected, text in (
                ("POST /plugins/a%2Fb%20c/start", 409, "current=stopped, expected=initialized"),
                ("POST /plugins/one/restart", 409, "run the plugins under a supervisor"),
                ("POST /plugins/broken/start", 409, "no device"),
                ("POST /plugins/two/start", 404, "no plugin named 'two' is registered"),
                ("POST /plugins/one/explode", 404, "what can be done is: start, stop, restart"),
                ("POST /plugins/one/__init__", 404, "what can be done is"),
            ):
                status, _, body = await ask(path, request)
                assert (status, json.loads(body)["ok"]) == (expected, False)
                assert text in json.loads(body)["error"]
            assert target.registry["one"].state == "created"

    asyncio.run(main())


@pytest.mark.parametrize("token", [None, "s3cret"])
def test_over_tcp_control_needs_the_token_and_is_off_without_one(token: str | None, tmp_path: Path) -> None:
    """Nothing near the token will do."""

    async def main() -> None:
        async with application(tmp_path, token=token) as (target, observation):
            where = address(observation)
            for shown in ("", "Bearer ", "Bearer s3cre", "Bearer s3crett", "Basic s3cret", "Bearer S3CRET", "s3cret",
                          "Bearer None", "Bearer s3cr\xe9t"):  # fmt: skip
                header = [f"Authorization: {shown}"] if shown else []
                status, headers, _ = await ask(where, "POST /plugins/one/start", *header)
                assert status == (401 if token else 403)
                assert headers.get("www-authenticate") == ("bearer" if token else None)
            assert target.registry["one"].state == "created"
            status, _, _ = await ask(where, "POST /plugins/one/start", "Authorization: bearer s3cret")
            assert (status, str(target.registry["one"].state)) == ((200, "running") if token else (403, "created"))

    asyncio.run(main())


def test_the_token_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As bytes of any length, by the function that is made for it."""
    seen: list[tuple[object, object]] = []
    compare = hmac.compare_digest

    def watched(shown: bytes, token: bytes) -> bool:
        seen.append((shown, token))
        return compare(shown, token)

    monkeypatch.setattr(hmac, "compare_digest", watched)

    async def main() -> None:
        async with application(tmp_path, token="s3cret") as (_, observation):
            await ask(address(observation), "POST /plugins/one/start", "Authorization: Bearer x")

    asyncio.run(main())
    assert seen == [(b"x", b"s3cret")]


def test_events_are_followed(tmp_path: Path) -> None:
    """As they happen, from where a follower left off; and a list of the latest for those who do not follow."""

    async def main() -> None:
        async with application(tmp_path) as (target, _):
            await target.start("one")
            reader, writer = await connect(tmp_path / "s")
            writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 1\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"text/event-stream" in head
            await target.stop("one")
            got: list[dict[str, Any]] = []
            async with asyncio.timeout(20):
                while len(got) < 2:
                    line = await reader.readline()
                    if line.startswith(b"data: "):
                        got.append(json.loads(line[6:]))
            assert [(event["id"], event["trigger"]) for event in got] == [(2, "start"), (3, "stop")]
            body = (await ask(tmp_path / "s", "GET /events?follow=false"))[2]
            assert [event["trigger"] for event in json.loads(body)["events"]] == ["init", "start", "stop"]
        # The application has ended, and with it the stream.
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("tcp", [False, True])
def test_a_follower_that_never_reads_is_dropped(tcp: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its connection is cut, it is counted, the plugins and the others notice nothing; so nothing piles up."""

    async def main() -> None:
        async with application(tmp_path) as (target, observation):
            where = address(observation) if tcp else tmp_path / "s"
            family = socket.AF_INET if tcp else socket.AF_UNIX
            client = socket.socket(family, socket.SOCK_STREAM)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(os.fspath(where) if isinstance(where, Path) else where)
            client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            assert observation.endpoint is not None
            feed = observation.endpoint._feed
            await until(lambda: feed.followers)
            event = next(iter(await _events(target)))
            for number in range(40_000):
                feed(event._replace(plugin="x" * 100))
                if number % 50 == 0:
                    await asyncio.sleep(0)
                if feed.dropped:
                    break
            assert feed.dropped == 1
            server = observation.endpoint._servers[1 if tcp else 0][0]
            await until(lambda: not server.server_state.connections)
            _, _, body = await ask(where, "GET /metrics")
            assert b"fsm_plugins_event_followers_dropped_total 1.0" in body
            client.close()

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def _events(target: RegistryTarget) -> list[Any]:
    heard: list[Any] = []
    end = target.subscribe(heard.append)
    await target.start("one")
    end()
    return heard


GARBAGE = [
    b"\x00\xff\x16\x03\x01",
    b"\r\n" * 1000,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"POST /plugins/one/start HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /plugins/one/start HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: " + b"9" * 5000 + b"\r\nConnection: close\r\n\r\n",
    b"GET /plugins/%ff%00/start HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 50 + b"garbage",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


def test_garbage_breaks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is sent, and whenever it ends: the plugins run, the next client is served, and the log stays quiet."""

    async def throw(path: Path, data: bytes) -> None:
        reader, writer = await connect(path)
        writer.write(data)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read()
        writer.transport.abort()

    async def main() -> None:
        async with application(tmp_path) as (target, _):
            await target.start("a/b c")
            for data in GARBAGE:
                for part in (data, data[: len(data) // 2], data[:3]):
                    await throw(tmp_path / "s", part)
                assert (await ask(tmp_path / "s", "GET /livez"))[0] == 200
            assert target.registry["a/b c"].state == "running"

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert not [record for record in caplog.records if record.name.startswith(("uvicorn", "asyncio"))]


def test_a_client_that_does_not_ask_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its first request, in the middle of one, and after one."""
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 0.05)

    async def main() -> None:
        async with application(tmp_path):
            for data in (
                b"",
                b"GET /liv",
                b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGE",
            ):
                await raw(tmp_path / "s", data)  # returns because the connection ends

    asyncio.run(main())


def test_an_idle_client_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Half a request, a follower: stop takes a second at most, and a little."""

    async def main() -> None:
        writers: list[asyncio.StreamWriter] = []
        async with application(tmp_path):
            for data in (
                b"GET /li",
                b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n",
                b"POST /plugins/one/start HTTP/1.1\r\n",
            ):
                _, writer = await connect(tmp_path / "s")
                writer.write(data)
                writers.append(writer)
            await asyncio.sleep(0.05)
            begin = time.monotonic()
        assert time.monotonic() - begin < 5
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)
        assert not (tmp_path / "s").exists()

    asyncio.run(main())


# Where it listens.


def test_a_busy_port_is_told_and_the_rest_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line, and the socket is served."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            async with application(tmp_path, http=f"127.0.0.1:{port}") as (target, observation):
                assert observation.endpoint is not None
                assert observation.endpoint.address is None
                await target.start("one")
                assert (await ask(tmp_path / "s", "GET /livez"))[0] == 200
        assert caplog.messages == [
            f"no endpoint at http://127.0.0.1:{port}: another process listens there; the plugins go on without it"
        ]

    asyncio.run(main())


def test_a_host_that_is_not_ours_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As is a name that nobody knows."""

    async def main() -> None:
        for host in ("192.0.2.1", "nobody.invalid"):
            async with application(tmp_path, http=f"{host}:1"):
                pass
            assert f"no endpoint at http://{host}:1: " in caplog.messages[-1]

    asyncio.run(main())


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """That of a process that was killed."""
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(os.fspath(tmp_path / "s"))

    async def main() -> None:
        async with application(tmp_path):
            assert (await ask(tmp_path / "s", "GET /livez"))[0] == 200

    asyncio.run(main())
    assert not (tmp_path / "s").exists()


def test_a_foreign_file_is_refused_and_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also one that a symbolic link leads to."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "precious")

    async def main() -> None:
        for name in ("precious", "link"):
            async with application(tmp_path, socket=tmp_path / name, http=None):
                pass

    asyncio.run(main())
    assert (tmp_path / "link").read_text() == "mine"
    assert caplog.messages[0] == (
        f"no endpoint at the socket {tmp_path / 'precious'}: there is something that is no socket, "
        "and it is left as it is; the plugins go on without it"
    )
    assert len(caplog.messages) == 2


def test_a_socket_that_is_in_use_is_left_to_its_owner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second application is told, the first one is still there, and keeps its socket."""

    async def main() -> None:
        async with application(tmp_path, ("first",)):
            async with application(tmp_path, ("second",)):
                assert json.loads((await ask(tmp_path / "s", "GET /status"))[2])["plugins"][0]["name"] == "first"
            assert "another process listens there" in caplog.text
            assert (await ask(tmp_path / "s", "GET /livez"))[0] == 200

    asyncio.run(main())


def test_a_socket_that_somebody_put_in_its_place_is_left(tmp_path: Path) -> None:
    """Only what it made itself is taken away."""

    async def main() -> None:
        async with application(tmp_path):
            (tmp_path / "s").unlink()
            (tmp_path / "s").write_text("mine")

    asyncio.run(main())
    assert (tmp_path / "s").read_text() == "mine"


def test_signals_stay_the_applications(tmp_path: Path) -> None:
    """uvicorn would have taken them."""

    async def main() -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, told.set)
        try:
            async with application(tmp_path):
                os.kill(os.getpid(), signal.SIGTERM)
                async with asyncio.timeout(10):
                    await told.wait()
                assert (await ask(tmp_path / "s", "GET /livez"))[0] == 200
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(main())


def test_what_is_not_asked_for_is_not_there() -> None:
    """No socket, no listener, no import."""

    async def main() -> None:
        registry = PluginRegistry()
        target = RegistryTarget(registry)
        before = len(registry._hub.listeners)
        async with Observation().running(target) as observation:
            assert observation.endpoint is None
            assert len(registry._hub.listeners) == before

    asyncio.run(main())


def test_a_journal_that_is_refused_does_not_end_the_application(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and everything else is there."""
    (tmp_path / "j").write_text("mine")

    async def main() -> None:
        async with application(tmp_path, journal=Journal(tmp_path / "j")):
            assert (await ask(tmp_path / "s", "GET /livez"))[0] == 200

    asyncio.run(main())
    assert caplog.messages[0].startswith("no journal: ")
    assert (tmp_path / "j").read_text() == "mine"


def test_an_endpoint_of_ones_own(tmp_path: Path) -> None:
    """Without an Observation; stopping it twice does nothing."""

    async def main() -> None:
        registry = PluginRegistry()
        endpoint = Endpoint(RegistryTarget(registry), Feed(), path=tmp_path / "s")
        await endpoint.start()
        assert (await ask(tmp_path / "s", "GET /livez"))[0] == 200
        await endpoint.stop()
        await endpoint.stop()

    asyncio.run(main())
