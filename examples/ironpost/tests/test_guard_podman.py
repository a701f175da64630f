"""The guard against a real engine: Podman's socket, with containers made of busybox alone. Nothing is pulled."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from fsm_plugins import Receiver, Sender, channel
from ironpost.events import ActionEvent, AlertEvent, Severity
from ironpost.guard import ContainerGuard, DockerEngine, Retries

MISSING = [name for name in ("podman", "runc", "busybox", "unshare", "nsenter") if shutil.which(name) is None]
NETWORK = "ironpost-test"
# Seconds that anything may take. On an idle machine all comes within one, and a test goes on as soon as it is there.
PATIENCE = 120.0


class Podman:
    """An engine with a store of its own, in a network name space of its own, where it may make networks.

    Args:
        where: the directory of its store and its socket.
        space: the process whose network name space it is.
    """

    def __init__(self, where: Path, space: int) -> None:
        self.inside = ("nsenter", f"--net=/proc/{space}/ns/net", "podman")
        self.socket = where / "podman.sock"
        limits = 'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]'
        engine = 'runtime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"'
        network = f'network_backend = "netavark"\nnetwork_config_dir = "{where}/networks"'
        (where / "containers.conf").write_text(f"[containers]\n{limits}\n[engine]\n{engine}\n[network]\n{network}\n")
        storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{where}/graph"\nrunroot = "{where}/run"\n'
        (where / "storage.conf").write_text(storage)
        self.environment = os.environ | {
            "CONTAINERS_CONF": str(where / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(where / "storage.conf"),
        }
        root = where / "root" / "bin"
        root.mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "", root / "busybox")
        for name in ("sh", "sleep"):
            (root / name).symlink_to("busybox")
        subprocess.run(["tar", "-C", where / "root", "-cf", where / "root.tar", "."], check=True)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.inside, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return done.stdout.strip()

    def run(self, name: str, network: str = "none") -> str:
        """Run a container; return its id."""
        command = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
        image = "localhost/busy:1"
        return self("run", "--detach", f"--network={network}", "--name", name, image, "/bin/sh", "-c", command)

    def addresses(self, name: str) -> list[str]:
        """Return the addresses that a container has in its networks."""
        networks = json.loads(self("inspect", "--format", "{{json .NetworkSettings.Networks}}", name)) or {}
        return [network["IPAddress"] for network in networks.values() if network["IPAddress"]]

    def status(self, name: str) -> str:
        return self("inspect", "--format", "{{.State.Status}}", name)

    def serve(self) -> subprocess.Popen[bytes]:
        self.socket.unlink(missing_ok=True)
        command = [*self.inside, "system", "service", "--time=0", f"unix://{self.socket}"]
        return subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL)


# A real engine takes as long as it takes, and that depends on the machine: these run where they are asked for.
pytestmark = pytest.mark.skipif(os.environ.get("SYSTEM_TESTS") != "1", reason="a real engine is for make test-system")


@pytest.fixture(scope="module")
def space() -> Iterator[int]:
    """A network name space, held open by a process that does nothing."""
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}; see make test-system")
    if os.geteuid() != 0:
        pytest.skip("containers of runc without systemd need root; see make test-system")
    command = ["unshare", "--net", "sh", "-c", "echo there; exec sleep infinity"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != "there\n":
            pytest.skip("a network name space cannot be made here")
        yield holder.pid
        holder.kill()


@pytest.fixture(scope="module")
def podman(space: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    engine = Podman(tmp_path_factory.mktemp("podman"), space)
    try:
        engine("import", str(engine.socket.parent / "root.tar"), "localhost/busy:1")
        engine.run("probe")
        engine("rm", "--force", "--time=0", "probe")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"no container can be run here: {said_by(error)}")
    service = engine.serve()
    try:
        yield engine
    finally:
        for name in engine("ps", "--all", "--quiet").split():
            engine("rm", "--force", "--time=0", name)
        service.terminate()
        service.wait(PATIENCE)


@pytest.fixture(scope="module")
def network(podman: Podman) -> str:
    """A network that containers can join."""
    try:
        podman("network", "create", NETWORK)
        podman.run("joins", NETWORK)
        podman("rm", "--force", "--time=0", "joins")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"no network can be made here, which needs netavark: {said_by(error)}")
    return NETWORK


def said_by(error: subprocess.CalledProcessError | subprocess.TimeoutExpired) -> str:
    """Return the last line of what a command said about its failure."""
    lines = error.stderr.strip().splitlines() if isinstance(error.stderr, str) else []
    return lines[-1] if lines else str(error)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that another process does."""
    while not await condition():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def until_known(guard: ContainerGuard, name: str, state: str = "running") -> None:
    """Wait for the inventory to say so; it has only the events of the engine to go by."""

    async def known() -> bool:
        return any(each.name == name and each.state == state for each in guard.containers)

    await until(known)


def guard_of(
    podman: Podman, where: Path, **given: Any
) -> tuple[ContainerGuard, Sender[AlertEvent], Receiver[ActionEvent]]:
    alerts: Receiver[AlertEvent]
    into: Sender[AlertEvent]
    out: Sender[ActionEvent]
    actions: Receiver[ActionEvent]
    into, alerts = channel(10)
    out, actions = channel(10)
    (where / "policies.toml").write_text(
        "".join(
            f'[[policy]]\nname = "{action}"\naction = "{action}"\nrules = ["{action}"]\nimages = ["localhost/busy:*"]\n'
            for action in ("pause", "stop", "kill", "network-disconnect")
        )
    )
    settings = {
        "policies": where / "policies.toml",
        "audit": where / "audit.jsonl",
        "engine": f"unix://{podman.socket}",
        # An engine under load is slow, not broken.
        "retries": Retries(seconds=PATIENCE / 3),
        "grace": PATIENCE / 3,
    }
    return ContainerGuard(alerts=alerts, actions=out, **{**settings, **given}), into, actions


def alert(rule: str, container: str) -> AlertEvent:
    return AlertEvent(source="t", rule=rule, title="t", severity=Severity.HIGH, fields={"container": container})


@pytest.mark.parametrize(
    ("action", "status"),
    [("pause", "paused"), ("stop", "exited"), ("kill", "exited"), ("network-disconnect", "running")],
)
def test_the_engine_does_what_it_is_told(podman: Podman, tmp_path: Path, action: str, status: str) -> None:
    """A container that came up after the guard is known by its events, and is acted on; its neighbour is not."""

    async def main() -> None:
        guard, alerts, actions = guard_of(podman, tmp_path, dry_run=False)
        await guard.init()
        await guard.start()
        names = f"{action}-1", f"{action}-2"
        for name in names:
            await asyncio.to_thread(podman.run, name)
            await until_known(guard, name)
        await alerts.send(alert(action, names[0]))
        event = await actions.recv()
        assert (event.outcome, event.dry_run) == ("done", False), event
        assert await asyncio.to_thread(podman.status, names[0]) == status
        assert await asyncio.to_thread(podman.status, names[1]) == "running"
        await until_known(guard, names[0], status)
        assert (await guard.health_check()).is_healthy
        alerts.close()
        await guard.stop()
        lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
        assert [line["phase"] for line in lines] == ["intent", "outcome"]

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_container_that_attacks_is_taken_off_its_network(podman: Podman, network: str, tmp_path: Path) -> None:
    """It is known by its address, which the alert has as the source; its neighbour on the network stays there."""

    async def main() -> None:
        guard, alerts, actions = guard_of(podman, tmp_path, dry_run=False)
        await guard.init()
        await guard.start()
        for name in ("attacker", "neighbour"):
            await asyncio.to_thread(podman.run, name, network)
            await until_known(guard, name)
        (address,) = await asyncio.to_thread(podman.addresses, "attacker")
        cause = AlertEvent(
            source="t", rule="network-disconnect", title="t", severity=Severity.HIGH, fields={"src": address}
        )
        await alerts.send(cause)
        event = await actions.recv()
        assert (event.container, event.outcome, event.detail) == ("attacker", "done", f"left {network}"), event
        assert await asyncio.to_thread(podman.addresses, "attacker") == []
        assert await asyncio.to_thread(podman.status, "attacker") == "running"
        assert len(await asyncio.to_thread(podman.addresses, "neighbour")) == 1

        async def forgotten() -> bool:
            return all(address not in each.addresses for each in guard.containers)

        await until(forgotten)
        alerts.close()
        await guard.stop()
        engine = DockerEngine(f"unix://{podman.socket}", PATIENCE / 3)
        assert await engine.act("attacker", "network-disconnect") == "it is in no network"
        await engine.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_dry_run_leaves_the_engine_alone(podman: Podman, tmp_path: Path) -> None:
    """And what it says about a container, by its id, is what it would have done."""

    async def main() -> None:
        guard, alerts, actions = guard_of(podman, tmp_path)
        await guard.init()
        await guard.start()
        container = await asyncio.to_thread(podman.run, "dry")
        await until_known(guard, "dry")
        await alerts.send(alert("kill", container[:12]))
        event = await actions.recv()
        assert (event.container, event.action, event.outcome) == ("dry", "kill", "dry-run")
        assert await asyncio.to_thread(podman.status, "dry") == "running"
        alerts.close()
        await guard.stop()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("action", ["pause", "stop", "kill", "network-disconnect"])
def test_what_is_done_or_gone_already_is_done(
    podman: Podman, action: Literal["pause", "stop", "kill", "network-disconnect"]
) -> None:
    """However this engine says no to a second time."""

    async def main() -> None:
        engine = DockerEngine(f"unix://{podman.socket}", PATIENCE / 3)
        name = f"twice-{action}"
        await asyncio.to_thread(podman.run, name)
        first = await engine.act(name, action)
        second = await engine.act(name, action)
        expected = {"pause": ("", "it was paused already"), "network-disconnect": ("it is in no network",) * 2}
        assert (first, second) in (expected.get(action, ("", "it was not running")), ("", "")), (first, second)
        await asyncio.to_thread(podman, "rm", "--force", "--time=0", name)
        assert await engine.act(name, action) == "it is gone"
        await engine.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_an_engine_that_goes_away_and_comes_back(podman: Podman, space: int, tmp_path: Path) -> None:
    """The guard says so, goes on, and finds it again."""

    async def main() -> None:
        async def found() -> bool:
            return (await guard.health_check()).is_healthy

        async def lost() -> bool:
            return not await found()

        own = Podman(tmp_path, space)
        own.environment = podman.environment
        service = own.serve()
        guard, alerts, actions = guard_of(own, tmp_path, dry_run=False)
        await guard.init()
        await guard.start()
        await asyncio.to_thread(podman.run, "stays")
        await until_known(guard, "stays")
        service.terminate()
        await asyncio.to_thread(service.wait, PATIENCE)
        await until(lost)
        await alerts.send(alert("pause", "stays"))
        event = await actions.recv()
        assert event.outcome == "failed" and "cannot pause" in event.detail
        service = own.serve()
        try:
            await until(found)
            await alerts.send(alert("pause", "stays"))
            assert (await actions.recv()).outcome == "done"
            alerts.close()
            await guard.stop()
        finally:
            service.terminate()
            await asyncio.to_thread(service.wait, PATIENCE)

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
