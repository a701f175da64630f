"""An application in a thread: what the facade does, what it raises, and what it leaves."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest
from attrs import define, field

from fsm_plugins import (
    ConfigError,
    Deadlines,
    HealthStatus,
    HookFailed,
    Plugin,
    PluginError,
    PluginFailed,
    PluginInfo,
    StopFailed,
)
from fsm_plugins.app import Application
from fsm_plugins.embedding import BlockingApplication
from fsm_plugins.orchestrator import Orchestrator, PluginSpec

# No test waits for as long as this, unless what it tests is broken.
PATIENCE = 30.0


@define
class Scripted(Plugin):
    """Does what the test says, and keeps what it saw."""

    info = PluginInfo("scripted", "1.0.0")
    deadlines = Deadlines(start=PATIENCE, stop=PATIENCE)

    fail_in: str = ""
    crash: threading.Event = field(factory=threading.Event)
    starting: threading.Event = field(factory=threading.Event)
    threads: set[int] = field(factory=set)
    made_in: int = field(factory=threading.get_ident)

    async def on_start(self) -> None:
        self.threads.add(threading.get_ident())
        self.starting.set()
        if self.fail_in == "start":
            raise OSError("no device")
        if self.fail_in == "hang":
            await asyncio.Event().wait()
        self.spawn(self._work())

    async def _work(self) -> None:
        while not self.crash.is_set():  # noqa: ASYNC110 - the event is set in another thread
            await asyncio.sleep(0.001)
        raise ConnectionError("reset")

    async def on_stop(self) -> None:
        self.threads.add(threading.get_ident())
        if self.fail_in == "stop":
            raise OSError("device is gone")

    async def on_health_check(self) -> HealthStatus:
        self.threads.add(threading.get_ident())
        return HealthStatus.degraded("tired")


class Maker:
    """A source: makes an application of one plugin, and keeps the plugins it made."""

    def __init__(self, fail_in: str = "") -> None:
        self.fail_in = fail_in
        self.crash = threading.Event()
        self.starting = threading.Event()
        self.made: list[Scripted] = []

    def __call__(self) -> Application:
        return Application("scripted", Orchestrator([PluginSpec("one", self._plugin)], {}))

    def _plugin(self) -> Scripted:
        self.made.append(Scripted(fail_in=self.fail_in, crash=self.crash, starting=self.starting))
        return self.made[-1]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After each test no thread of an application and no open event loop is left."""
    before = set(threading.enumerate())
    loops = {id(loop) for loop in _open_loops()}
    yield
    assert set(threading.enumerate()) <= before
    gc.collect()
    assert {id(loop) for loop in _open_loops()} <= loops


def _open_loops() -> list[asyncio.AbstractEventLoop]:
    return [o for o in gc.get_objects() if isinstance(o, asyncio.BaseEventLoop) and not o.is_closed()]


def test_plugins_run_in_the_block_and_are_stopped_after_it() -> None:
    """Everything of a plugin happens in one thread, which is not that of the program."""
    maker = Maker()
    with BlockingApplication(maker) as app:
        assert app.status() == {"one": "running"}
        (health,) = app.health()
        assert (health.name, health.status) == ("one", HealthStatus.degraded("tired"))
    assert app.status() == {"one": "stopped"}
    assert [(receipt.name, receipt.clean) for receipt in app.receipt()] == [("one", True)]
    (plugin,) = maker.made
    assert plugin.threads == {plugin.made_in}
    assert threading.get_ident() not in plugin.threads


def test_it_works_twice_in_a_row() -> None:
    """Each time it makes a new application; what the first one ended with is not told again."""
    maker = Maker()
    app = BlockingApplication(maker)
    with app:
        first = app.application
    maker.crash.set()
    with pytest.raises(PluginFailed):
        with app:
            app.wait(PATIENCE)
    maker.crash.clear()
    with app:
        assert app.status() == {"one": "running"}
        assert app.application is not first
    assert len(maker.made) == 3


def test_it_cannot_be_entered_while_it_runs() -> None:
    """The one that runs goes on."""
    with BlockingApplication(Maker()) as app:
        with pytest.raises(PluginError, match="is running already"):
            with app:
                pass
        assert app.status() == {"one": "running"}


def test_what_is_wrong_with_the_file_is_raised_in_the_callers_thread(tmp_path: Path) -> None:
    """All of it, as the command would tell it."""
    path = tmp_path / "app.toml"
    path.write_text("[app]\nnam = 1\n[plugins.x]\n")
    with pytest.raises(ConfigError) as info:
        with BlockingApplication(path):
            pytest.fail("it was entered")
    assert [problem.where for problem in info.value.problems] == ["app.nam", "plugins.x.use"]
    app = BlockingApplication(path)
    with pytest.raises(ConfigError):
        app.__enter__()
    with pytest.raises(PluginError, match="there is no application: none could be made"):
        app.status()
    with pytest.raises(ConfigError, match="there is no such file"):
        with BlockingApplication(str(tmp_path / "none.toml")):
            pytest.fail("it was entered")


@pytest.mark.parametrize(
    ("source", "says"),
    [(3, "made of the path of a TOML file or by a function"), (lambda: 3, "returned 3, which is not an Application")],
)
def test_a_source_that_is_none_is_refused(source: Callable[[], Application], says: str) -> None:
    """The error says what it takes."""
    with pytest.raises(TypeError, match=says):
        with BlockingApplication(source):
            pytest.fail("it was entered")


def test_a_plugin_that_does_not_start_is_raised_at_the_start() -> None:
    """The block is not entered, and the plugin has been stopped again."""
    maker = Maker("start")
    with pytest.raises(HookFailed, match="plugin 'one' failed in start: OSError: no device") as info:
        with BlockingApplication(maker):
            pytest.fail("it was entered")
    assert isinstance(info.value.__cause__, OSError)
    assert maker.made[0].state == "stopped"


def test_a_machine_that_starts_no_thread_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And when it does again, the application can be entered."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    app = BlockingApplication(Maker())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            app.__enter__()
    with app:
        assert app.status() == {"one": "running"}


def test_a_call_before_everything_was_started_is_refused() -> None:
    """Another thread may have come too early; it is told so, and does not wait for the end."""
    maker = Maker("hang")
    app = BlockingApplication(maker)
    said: list[str] = []

    def early() -> None:
        assert maker.starting.wait(PATIENCE)
        try:
            app.health()
        except PluginError as error:
            said.append(str(error))
        app._run.end("the test is done")

    thread = threading.Thread(target=early)
    thread.start()
    with pytest.raises(PluginError, match="shut down before its plugins were started"):
        app.__enter__()
    thread.join(PATIENCE)
    assert said == ["the application has not been started yet"]


def test_a_shutdown_before_everything_was_started_is_an_error() -> None:
    """The block cannot be entered, for there is nothing that runs."""

    def source() -> Application:
        application = maker()
        application.follow(lambda phase: application.shutdown() if phase == "starting" else None)
        return application

    maker = Maker("hang")
    with pytest.raises(PluginError, match="shut down before its plugins were started"):
        with BlockingApplication(source):
            pytest.fail("it was entered")


def test_a_plugin_that_fails_later_is_raised_when_the_block_is_left() -> None:
    """Or by wait, whichever comes first; and only once."""
    maker = Maker()
    with pytest.raises(PluginFailed, match="'one' failed while it was running: ConnectionError: reset"):
        with BlockingApplication(maker) as app:
            maker.crash.set()
            assert app._run.gone(PATIENCE)
    with BlockingApplication(maker) as app:
        with pytest.raises(PluginFailed):
            app.wait(PATIENCE)
        assert app.wait()
        assert app.status() == {"one": "stopped"}
        with pytest.raises(PluginError, match="the application has ended") as info:
            app.health()
        assert isinstance(info.value.__cause__, PluginFailed)


def test_a_stop_that_fails_is_raised_when_the_block_is_left() -> None:
    """By leaving the block as well as by stop, and only once."""
    with pytest.raises(StopFailed, match="'one'"):
        with BlockingApplication(Maker("stop")):
            pass
    with BlockingApplication(Maker("stop")) as app:
        with pytest.raises(StopFailed):
            app.stop()
        app.stop()


def test_what_the_block_raises_goes_on_with_a_note() -> None:
    """The error of the program is not replaced by that of a plugin."""
    with pytest.raises(KeyError) as info:
        with BlockingApplication(Maker("stop")):
            raise KeyError("mine")
    assert info.value.__notes__ == [
        "and the application ended with: StopFailed: plugins that did not stop cleanly: 'one' (1 sub-exception)"
    ]


def test_wait_for_a_time() -> None:
    """False when the time is up, True when the application has ended by itself."""
    with BlockingApplication(Maker()) as app:
        assert not app.wait(0)

        async def end() -> None:
            app.application.shutdown()

        app.call(end)
        assert app.wait(PATIENCE)


def test_a_call_runs_in_the_event_loop() -> None:
    """It gets its arguments; what it returns and raises comes back."""

    async def divide(a: int, b: int) -> tuple[float, int]:
        await asyncio.sleep(0)
        return a / b, threading.get_ident()

    maker = Maker()
    with BlockingApplication(maker) as app:
        assert app.call(divide, 3, 2) == (1.5, maker.made[0].made_in)
        with pytest.raises(ZeroDivisionError):
            app.call(divide, 3, 0)
        # The calls of a plugin are such functions, too.
        app.call(maker.made[0].stop)
        assert app.status() == {"one": "stopped"}


def test_a_call_that_is_late_is_cancelled() -> None:
    """It says so; a TimeoutError of the function itself is left as it is."""
    cancelled = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def its_own() -> None:
        raise TimeoutError("of the database")

    with BlockingApplication(Maker()) as app:
        with pytest.raises(TimeoutError, match=r"not done within 0\.01 s, and was cancelled"):
            app.call(hang, timeout=0.01)
        assert cancelled.wait(PATIENCE)
        with pytest.raises(TimeoutError, match="of the database"):
            app.call(its_own, timeout=PATIENCE)


def test_a_call_under_way_is_told_that_the_application_ended() -> None:
    """It does not wait for ever."""
    maker = Maker()

    async def hang() -> None:
        maker.crash.set()
        await asyncio.Event().wait()

    with pytest.raises(PluginError, match="the call was cancelled, for the application has ended") as info:
        with BlockingApplication(maker) as app:
            app.call(hang)
    assert isinstance(info.value.__cause__, PluginFailed)


def test_every_call_of_many_threads_gets_an_answer_when_the_application_ends() -> None:
    """Calls that are made at the very moment of the end are done, cancelled or refused, and none is forgotten."""

    async def one() -> int:
        await asyncio.sleep(0)
        return 1

    answers: list[object] = []

    def caller() -> None:
        while True:
            try:
                app.call(one, timeout=PATIENCE)
            except PluginError as error:
                answers.append(str(error))
                return

    with BlockingApplication(Maker()) as app:
        threads = [threading.Thread(target=caller) for _ in range(4)]
        for thread in threads:
            thread.start()
        app.call(one)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert set(answers) <= {"the application has ended", "the call was cancelled, for the application has ended"}
    assert len(answers) == 4


def test_a_call_that_cancels_itself_is_told_apart() -> None:
    """The application goes on."""

    async def cancels() -> None:
        raise asyncio.CancelledError

    with BlockingApplication(Maker()) as app:
        with pytest.raises(PluginError, match=r"^the call was cancelled$"):
            app.call(cancels)
        assert app.status() == {"one": "running"}


@pytest.mark.parametrize("name", ["call", "wait", "stop"])
def test_nothing_that_would_wait_for_itself_is_done(name: str) -> None:
    """In the application's own thread it is an error, and no deadlock."""
    with BlockingApplication(Maker()) as app:

        async def inside() -> None:
            calls: dict[str, Callable[[], object]] = {
                "call": lambda: app.call(inside),
                "wait": app.wait,
                "stop": app.stop,
            }
            calls[name]()

        with pytest.raises(PluginError, match=f"{name} was called in the thread of the application"):
            app.call(inside, timeout=PATIENCE)


@pytest.mark.parametrize("name", ["status", "health", "wait", "stop", "receipt"])
def test_before_it_was_entered_nothing_can_be_asked(name: str) -> None:
    """The error says how to enter it."""
    with pytest.raises(PluginError, match=r"with BlockingApplication\(\.\.\.\) as app:"):
        getattr(BlockingApplication(Maker()), name)()


def test_the_status_of_a_blocked_loop_can_be_asked() -> None:
    """It is what somebody wants to know then, so it does not wait for the loop."""
    blocked, free = threading.Event(), threading.Event()

    async def block() -> None:
        blocked.set()
        free.wait(PATIENCE)  # what a plugin should not do

    with BlockingApplication(Maker()) as app:
        caller = threading.Thread(target=app.call, args=(block,))
        caller.start()
        assert blocked.wait(PATIENCE)
        assert app.status() == {"one": "running"}
        with pytest.raises(TimeoutError):
            app.health(timeout=0.01)
        free.set()
        caller.join(PATIENCE)


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """SIGINT is a KeyboardInterrupt, even if the tests run in the background of a shell, which ignores it there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupt_when(event: threading.Event) -> None:
    """Send SIGINT to the main thread, where it is a KeyboardInterrupt, when the event comes."""

    def wait() -> None:
        main = threading.main_thread().ident
        assert event.wait(PATIENCE) and main is not None
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=wait).start()


def _hang(event: threading.Event) -> Callable[[], Coroutine[object, object, None]]:
    async def hang() -> None:
        event.set()
        await asyncio.Event().wait()

    return hang


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("where", ["wait", "call", "start"])
def test_an_interrupt_in_the_main_thread_stops_it_cleanly(where: str) -> None:
    """KeyboardInterrupt comes out, wherever the main thread waits, and the plugins have been stopped."""
    maker = Maker("hang" if where == "start" else "")
    waiting = maker.starting if where != "call" else threading.Event()
    app = BlockingApplication(maker)
    _interrupt_when(waiting)
    with pytest.raises(KeyboardInterrupt):
        with app:
            if where == "call":
                app.call(_hang(waiting))
            app.wait(PATIENCE)
    assert app.status() == {"one": "stopped"}
