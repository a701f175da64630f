"""What holds of embedded applications whatever their plugins do, and of a notifier whatever its socket does."""

from __future__ import annotations

import asyncio
import itertools
import socket
import tempfile
import threading
from pathlib import Path

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins import HookFailed, Plugin, PluginFailed, PluginInfo, StopFailed
from fsm_plugins.app import Application
from fsm_plugins.embedding import BlockingApplication, Notifier, lifespan
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from fsm_plugins.testing import run


class Mine(Exception):
    """What the block raises."""


@define
class Unreliable(Plugin):
    """Fails wherever it is told to."""

    info = PluginInfo("unreliable", "1.0.0")
    fails_in: frozenset[str] = frozenset()
    log: list[str] = field(factory=list)

    async def _step(self, hook: str) -> None:
        self.log.append(hook)
        await asyncio.sleep(0)
        if hook in self.fails_in:
            raise OSError(hook)

    async def on_init(self) -> None:
        await self._step("init")

    async def on_start(self) -> None:
        await self._step("start")

    async def on_stop(self) -> None:
        await self._step("stop")


class Source:
    """Makes the same application again and again, and keeps its plugins."""

    def __init__(self, fails: list[frozenset[str]]) -> None:
        self.fails = fails
        self.made: list[Unreliable] = []

    def __call__(self) -> Application:
        self.made.clear()
        specs = [PluginSpec(f"p{number}", self._make, {"number": number}) for number in range(len(self.fails))]
        return Application("unreliable", Orchestrator(specs, {}))

    def _make(self, number: int) -> Unreliable:
        self.made.append(Unreliable(fails_in=self.fails[number]))
        return self.made[-1]

    def expected(self, crash: int | None, raises: bool) -> type[BaseException] | None:
        """Return what has to come out of the block."""
        if any(fails & {"init", "start"} for fails in self.fails):
            return HookFailed
        if raises:
            return Mine
        if crash is not None:
            return PluginFailed
        return StopFailed if any("stop" in fails for fails in self.fails) else None

    def check(self) -> None:
        """Every plugin whose hooks were run has been stopped, once."""
        for plugin in self.made:
            assert plugin.log.count("stop") == bool(plugin.log)
            assert plugin.state in ("created", "stopped") or "stop" in plugin.fails_in
            assert not plugin.workers


FAILS = st.lists(st.frozensets(st.sampled_from(["init", "start", "stop"]), max_size=2), min_size=1, max_size=3)
RUNS = st.lists(st.tuples(FAILS, st.none() | st.integers(0, 2), st.booleans()), min_size=1, max_size=2)


@given(RUNS)
@settings(max_examples=60, deadline=None)
def test_a_blocking_application_raises_what_went_wrong_and_leaves_nothing(
    runs: list[tuple[list[frozenset[str]], int | None, bool]],
) -> None:
    """Whatever fails, however often it is entered: the right error, every plugin stopped, and no thread left."""
    before = threading.active_count()
    source = Source([])
    app = BlockingApplication(source)
    for source.fails, crash, raises in runs:
        crash = None if crash is None else crash % len(source.fails)
        came: BaseException | None = None
        try:
            with app:
                if crash is not None:
                    app.call(source.made[crash].fail, ConnectionError("reset"))
                if raises:
                    raise Mine
        except Exception as error:
            came = error
        assert type(came) is (source.expected(crash, raises) or type(None))
        source.check()
        assert threading.active_count() == before


@given(FAILS, st.none() | st.integers(0, 2), st.booleans(), st.booleans())
@settings(deadline=None)
def test_a_lifespan_raises_what_went_wrong_and_leaves_nothing(
    fails: list[frozenset[str]], crash: int | None, raises: bool, waits: bool
) -> None:
    """As the block of a blocking application, in the event loop of the server."""
    source = Source(fails)
    crash = None if crash is None else crash % len(fails)
    ends: list[object] = []

    async def main() -> None:
        before = asyncio.all_tasks()
        came: BaseException | None = None
        try:
            async with lifespan(source, on_end=ends.append)(None):
                if crash is not None:
                    await source.made[crash].fail(ConnectionError("reset"))
                    if waits:
                        await asyncio.sleep(1)
                if raises:
                    raise Mine
        except Exception as error:
            came = error
        assert type(came) is (source.expected(crash, raises) or type(None))
        assert asyncio.all_tasks() == before
        source.check()
        # The server goes on without the application only if it had the time to.
        assert len(ends) == (crash is not None and waits and not isinstance(came, HookFailed))
        assert all(isinstance(end, PluginFailed) for end in ends)

    run(main)


_numbers = itertools.count()
FIELDS = st.lists(
    st.tuples(st.sampled_from(["READY", "STATUS", "STOPPING", "X"]), st.text(max_size=8), st.booleans()), max_size=60
)


@given(FIELDS, st.booleans())
def test_the_last_value_of_everything_arrives_at_a_manager_that_is_slow(
    fields: list[tuple[str, str, bool]], abstract: bool
) -> None:
    """Whenever the manager reads, and however full its queue is: nothing blocks, and what counts arrives in the end."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = f"\0fsm-plugins-test-{next(_numbers)}" if abstract else str(Path(directory, "notify"))
        manager.bind(path)
        manager.settimeout(0)
        got: list[str] = []

        def read() -> None:
            try:
                while True:
                    got.append(manager.recv(100_000).decode())
            except BlockingIOError:
                pass

        async def main() -> None:
            notifier = Notifier(path.replace("\0", "@"))
            for name, value, reads in fields:
                notifier.notify(**{name: value})
                if reads:
                    read()
            read()
            await asyncio.sleep(1)  # of the virtual clock: what could not be sent is tried again
            read()
            notifier.close()

        run(main)
    last = dict(line.split("=", 1) for message in got for line in message.split("\n"))
    assert last == {name: " ".join(value.split()) for name, value, _ in fields}
