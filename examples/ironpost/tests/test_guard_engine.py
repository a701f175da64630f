"""The engine behind its socket, with all that can go wrong with it: a small server speaks as Docker does."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fsm_plugins.testing import run
from ironpost.guard import Container, DockerEngine, EngineError, Inventory, find_engine
from ironpost.guard.engine import _changed
from ironpost.guard.policies import Action

WEB = Container("a" * 64, "web-1", "nginx:1", "running", frozenset({"10.0.0.1"}))
DB = Container("b" * 64, "db", "postgres", "running")


class Server:
    """Containers behind a socket, and the faults that are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.containers = {each.id: each for each in (WEB, DB)}
        self.networks = {WEB.id: {"bridge", "back"}}
        self.requests: list[str] = []
        self.faults: deque[tuple[int, str] | str] = deque()
        self.streams: list[web.StreamResponse] = []
        self.streaming = asyncio.Event()
        self.wait = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        app = web.Application(middlewares=[self._faulty])
        app.router.add_get("/version", self._version)
        app.router.add_get("/v1.41/events", self._events)
        app.router.add_get("/v1.41/containers/json", self._list)
        app.router.add_get("/v1.41/containers/{id}/json", self._show)
        app.router.add_post("/v1.41/containers/{id}/{action}", self._act)
        app.router.add_get("/v1.41/networks/{name}", self._network)
        app.router.add_post("/v1.41/networks/{name}/disconnect", self._disconnect)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.UnixSite(runner, str(self.path)).start()
        try:
            yield self
        finally:
            self.wait.set()
            await runner.cleanup()

    @web.middleware
    async def _faulty(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path.removeprefix('/v1.41')}")
        if self.faults and not request.path.endswith(("/version", "/events")):
            fault = self.faults.popleft()
            if isinstance(fault, tuple):
                return web.Response(status=fault[0], text=fault[1], content_type="application/json")
            if fault == "slow":
                await self.wait.wait()
            elif fault == "gone":
                assert request.transport is not None
                request.transport.close()
        return await handler(request)

    async def _json(self, data: object) -> web.Response:
        return web.json_response(data)

    async def _version(self, _: web.Request) -> web.Response:
        return await self._json({"ApiVersion": "1.41"})

    async def _network(self, request: web.Request) -> web.Response:
        return await self._json({"Id": request.match_info["name"]})

    async def _list(self, _: web.Request) -> web.Response:
        return await self._json(
            [
                {
                    "Id": each.id,
                    "Names": [f"/{each.name}"],
                    "Image": each.image,
                    "State": each.state,
                    "NetworkSettings": {"Networks": self._networks(each)},
                }
                for each in self.containers.values()
            ]
        )

    def _networks(self, each: Container) -> dict[str, object] | None:
        address = {"IPAddress": next(iter(each.addresses), ""), "GlobalIPv6Address": ""}
        return dict.fromkeys(sorted(self.networks[each.id]), address) if each.id in self.networks else None

    async def _show(self, request: web.Request) -> web.Response:
        each = self._find(request)
        state = {"Status": each.state, "Paused": each.state == "paused", "Running": each.state in ("running", "paused")}
        shown = {"Id": each.id, "Name": f"/{each.name}", "Config": {"Image": each.image}, "State": state}
        return await self._json(shown | {"NetworkSettings": {"Networks": self._networks(each)}})

    def _find(self, request: web.Request) -> Container:
        wanted = request.match_info["id"]
        for each in self.containers.values():
            if wanted in (each.id, each.name):
                return each
        raise web.HTTPNotFound(text='{"message": "no such container"}', content_type="application/json")

    async def _act(self, request: web.Request) -> web.Response:
        each, action = self._find(request), request.match_info["action"]
        goal = {"pause": "paused", "stop": "exited", "kill": "exited"}[action]
        if each.state == goal:
            raise web.HTTPConflict(text='{"message": "no"}', content_type="application/json")
        await self.change(Container(each.id, each.name, each.image, goal, each.addresses), action)
        return web.Response(status=204)

    async def _disconnect(self, request: web.Request) -> web.Response:
        container = (await request.json())["Container"]
        self.networks[container].discard(request.match_info["name"])
        return web.Response(status=200, text="{}", content_type="application/json")

    async def change(self, each: Container, action: str) -> None:
        self.containers[each.id] = each
        await self.tell({"Type": "container", "Action": action, "Actor": {"ID": each.id}})

    async def tell(self, event: object) -> None:
        for stream in self.streams:
            await stream.write(json.dumps(event).encode() + b"\n")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        self.streams.append(stream)
        self.streaming.set()
        await self.wait.wait()
        return stream


def refusal(status: int) -> tuple[int, str]:
    return status, '{"message": "trouble"}'


def with_server(tmp_path: Path, test: Callable[[Server, DockerEngine], Awaitable[None]], seconds: float = 30.0) -> None:
    async def main() -> None:
        async with Server(tmp_path / "engine.sock").running() as server:
            engine = DockerEngine(f"unix://{server.path}", seconds)
            try:
                await test(server, engine)
            finally:
                await engine.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_containers_are_listed_and_looked_at(tmp_path: Path) -> None:
    """The same from both requests; one that is not there is None."""

    async def test(server: Server, engine: DockerEngine) -> None:
        assert await engine.list() == [WEB, DB]
        assert await engine.inspect("web-1") == WEB
        assert await engine.inspect(DB.id) == DB
        assert await engine.inspect("none") is None

    with_server(tmp_path, test)


@pytest.mark.parametrize(
    ("action", "state", "again"),
    [
        ("pause", "paused", "it was paused already"),
        ("stop", "exited", "it was not running"),
        ("kill", "exited", "it was not running"),
    ],
)
def test_actions(tmp_path: Path, action: Action, state: str, again: str) -> None:
    """What is done already is done; what is gone cannot do any harm."""

    async def test(server: Server, engine: DockerEngine) -> None:
        assert await engine.act(WEB.id, action) == ""
        assert server.containers[WEB.id].state == state
        assert await engine.act(WEB.id, action) == again
        assert await engine.act("none", action) == "it is gone"

    with_server(tmp_path, test)


def test_a_container_leaves_all_its_networks(tmp_path: Path) -> None:
    """One by one."""

    async def test(server: Server, engine: DockerEngine) -> None:
        assert await engine.act(WEB.id, "network-disconnect") == "left back, bridge"
        assert server.networks[WEB.id] == set()
        assert await engine.act(DB.id, "network-disconnect") == "it is in no network"
        assert await engine.act("none", "network-disconnect") == "it is gone"

    with_server(tmp_path, test)


@pytest.mark.parametrize("fault", ["gone", refusal(500), refusal(503), (502, "<html>")])
def test_faults_that_may_pass(tmp_path: Path, fault: tuple[int, str] | str) -> None:
    """An error of the server, whatever it says, and a connection that breaks."""

    async def test(server: Server, engine: DockerEngine) -> None:
        server.faults.extend([fault, fault])
        with pytest.raises(EngineError) as failed:
            await engine.act(WEB.id, "pause")
        assert failed.value.temporary and str(failed.value).startswith(f"cannot pause {WEB.id}: ")
        server.faults.clear()
        assert await engine.act(WEB.id, "pause") in ("", "it was paused already")  # if only the answer was lost
        assert server.containers[WEB.id].state == "paused"

    with_server(tmp_path, test)


def test_faults_that_will_not_pass(tmp_path: Path) -> None:
    """A request that the engine refuses."""

    async def test(server: Server, engine: DockerEngine) -> None:
        server.faults.append(refusal(403))
        with pytest.raises(EngineError, match="trouble") as failed:
            await engine.act(WEB.id, "pause")
        assert not failed.value.temporary

    with_server(tmp_path, test)


def test_an_engine_that_does_not_answer(tmp_path: Path) -> None:
    """Is not waited for longer than was said."""

    async def test(server: Server, engine: DockerEngine) -> None:
        server.faults.append("slow")
        with pytest.raises(EngineError, match="did not answer in time") as failed:
            await engine.list()
        assert failed.value.temporary

    with_server(tmp_path, test, seconds=0.05)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '[{"Id": 1}]', '{"State": 3}', '[{"Names": null}]', "[[]]"]
)
def test_an_answer_that_is_none(tmp_path: Path, text: str) -> None:
    """Is an error of the engine, too; an empty list is a list."""

    async def test(server: Server, engine: DockerEngine) -> None:
        for _ in range(2):
            server.faults.append((200, text))
        if text == "[]":
            assert await engine.list() == []
        else:
            with pytest.raises(EngineError):
                await engine.list()
        with pytest.raises(EngineError):
            await engine.inspect("web-1")

    with_server(tmp_path, test)


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    """Says where it was looked for. An address that is none will not get better."""

    async def main() -> None:
        engine = DockerEngine(f"unix://{tmp_path}/none.sock")
        with pytest.raises(EngineError, match=r"none\.sock") as failed:
            await engine.list()
        assert failed.value.temporary
        await engine.close()
        await engine.close()
        with pytest.raises(EngineError, match="'nowhere' is no address of an engine") as failed:
            await DockerEngine("nowhere").list()
        assert not failed.value.temporary

    asyncio.run(main())


def test_changes_are_told(tmp_path: Path) -> None:
    """Those that matter, by the id of the container; the end of the stream is an error."""

    async def test(server: Server, engine: DockerEngine) -> None:
        changes = engine.changes(0.0)
        first = asyncio.ensure_future(anext(changes))
        await server.streaming.wait()
        await server.tell({"Type": "container", "Action": "exec_start: ls", "Actor": {"ID": DB.id}})
        await server.tell(
            {"Type": "network", "Action": "connect", "Actor": {"ID": "n", "Attributes": {"container": WEB.id}}}
        )
        await server.tell({"Type": "container", "Action": "die", "Actor": {"ID": DB.id}})
        # Podman's own way.
        podmans = {"ID": WEB.id, "Attributes": {"name": "web", "image": ""}}
        await server.tell({"Type": "network", "Action": "remove", "Actor": {"ID": "n", "Attributes": {}}})
        await server.tell({"Type": "network", "Action": "disconnect", "Actor": podmans})
        assert [await first, *[await anext(changes) for _ in range(2)]] == [WEB.id, DB.id, WEB.id]
        server.wait.set()
        with pytest.raises(EngineError, match="ended the stream"):
            await anext(changes)

    with_server(tmp_path, test)


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.sampled_from(["network", "container"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["Type", "Action", "Actor", "ID", "Attributes", "container"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)


@given(json_values)
def test_any_event_is_understood_or_ignored(event: object) -> None:
    """An engine of another version may say anything."""
    assert isinstance(_changed(event), str)


def test_where_an_engine_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment says, or at the first usual socket that exists, or at the usual one."""
    assert find_engine({"DOCKER_HOST": "tcp://a:1"}) == "tcp://a:1"
    monkeypatch.setattr("ironpost.guard.engine._PLACES", (f"{tmp_path}/none.sock",))
    assert find_engine({}) == f"unix://{tmp_path}/none.sock"
    (tmp_path / "podman").mkdir()

    async def main() -> None:
        server = await asyncio.start_unix_server(lambda *_: None, tmp_path / "podman/podman.sock")
        assert find_engine({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"unix://{tmp_path}/podman/podman.sock"
        server.close()
        await server.wait_closed()

    asyncio.run(main())


# The inventory, over an engine without a socket and on a virtual clock.


class Scripted:
    """Answers as it is told to."""

    def __init__(self, *lists: list[Container] | EngineError) -> None:
        self.lists = deque(lists)
        self.asked: list[float] = []
        self.now: dict[str, Container] = {}
        self.queue: asyncio.Queue[str | EngineError] = asyncio.Queue()

    async def list(self) -> list[Container]:
        self.asked.append(asyncio.get_running_loop().time())
        answer = self.lists.popleft() if len(self.lists) > 1 else self.lists[0]
        if isinstance(answer, EngineError):
            raise answer
        self.now = {each.id: each for each in answer}
        return answer

    async def inspect(self, container: str) -> Container | None:
        return self.now.get(container)

    async def changes(self, since: float) -> Any:
        while True:
            answer = await self.queue.get()
            if isinstance(answer, EngineError):
                raise answer
            yield answer

    async def act(self, container: str, action: Action) -> str:
        return ""

    async def close(self) -> None: ...


def following(test: Callable[[Inventory], Awaitable[None]], engine: Scripted) -> None:
    async def main() -> None:
        inventory = Inventory(engine, patience=(1.0, 8.0))
        task = asyncio.create_task(inventory.follow())
        try:
            await inventory.asked()
            await test(inventory)
        finally:
            task.cancel()
            await asyncio.wait([task])

    run(main)


def test_the_inventory_follows_the_events() -> None:
    """What changes is looked at again, what is gone is forgotten, what is new is known."""
    engine = Scripted([WEB, DB])

    async def test(inventory: Inventory) -> None:
        assert inventory.containers == [DB, WEB] and inventory.connected
        paused, new = Container(WEB.id, "web-1", "nginx:1", "paused"), Container("c" * 64, "new")
        engine.now = {each.id: each for each in (paused, new)}
        for each in (WEB.id, DB.id, new.id, "unknown"):
            engine.queue.put_nowait(each)
        await asyncio.sleep(1)
        assert inventory.containers == [new, paused]
        assert inventory.counts == {"listed": 1, "refreshed": 4}

    following(test, engine)


def test_a_lost_engine_is_asked_again_ever_more_slowly() -> None:
    """What was known stays. Once it is back the list is made anew, and the next loss begins with the first wait."""
    gone = EngineError("gone")
    engine = Scripted([WEB], gone, gone, gone, gone, gone, [DB])

    async def test(inventory: Inventory) -> None:
        engine.queue.put_nowait(gone)
        await asyncio.sleep(0.5)
        assert not inventory.connected and inventory.trouble == "gone" and inventory.containers == [WEB]
        await asyncio.sleep(60)
        assert inventory.connected and not inventory.trouble and inventory.containers == [DB]
        assert engine.asked == [0.0, 1.0, 3.0, 7.0, 15.0, 23.0, 31.0]
        assert inventory.counts["lost"] == 1
        engine.queue.put_nowait(gone)
        await asyncio.sleep(1.5)
        assert inventory.connected and inventory.counts["lost"] == 2

    following(test, engine)


def test_an_engine_that_never_was() -> None:
    """Is asked once before anybody goes on."""

    async def test(inventory: Inventory) -> None:
        assert not inventory.connected and inventory.trouble == "none" and inventory.containers == []

    following(test, Scripted(EngineError("none")))
