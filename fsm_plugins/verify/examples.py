"""For each check a plugin that breaks it, and one that does not: what ``explain`` shows, and what the tests run.

They leave out the imports: ``asyncio`` and other modules of the standard library, and names of ``fsm_plugins``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["EXAMPLES"]


def _plugin(body: str, before: str = "") -> str:
    head = f"{textwrap.dedent(before).strip()}\n\n\n" if before else ""
    inside = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return f'{head}class Example(Plugin):\n    info = PluginInfo("example", "1.0.0")\n\n{inside}\n'


def _both(bad: str, good: str, before: str = "") -> tuple[str, str]:
    return _plugin(bad, before), _plugin(good, before)


_PAUSABLE = """
    lifecycle = LIFECYCLE.extend([
        ("pause", "running", "paused"), ("resume", "paused", "running"),
        ("stop", "paused", "stopped"), ("fail", "paused", "failed"),
    ])
"""
_LOOP = """
    async def _work(self) -> None:
        while True:
            await asyncio.sleep(1)
"""
_WIRED = """
    lines: Receiver[str]
    copies: Sender[str]
"""

EXAMPLES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "unreachable-state": _both(
            "lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)\nlifecycle.machine.add_states(['paused'])",
            _PAUSABLE,
        ),
        "dead-end": _both(
            """
            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("stop", source="failed")
            """,
            "lifecycle = LIFECYCLE",
        ),
        "no-way-to-rest": _both(
            """
            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("stop")
            """,
            "lifecycle = LIFECYCLE",
        ),
        "unreachable-arc": _both(
            """
            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.add_transition("start", "initialized", "failed")  # the other one comes first
            """,
            "lifecycle = LIFECYCLE",
        ),
        "hook-signature": _both(
            "async def on_strat(self) -> None:\n    self.ready = True",
            "async def on_start(self) -> None:\n    self.ready = True",
        ),
        "port-problem": _both("lines: Receiver[str] | Sender[str]", "lines: Receiver[str] | None = None"),
        "blocking-call": _both(
            "async def on_start(self) -> None:\n    time.sleep(0.001)",
            "async def on_start(self) -> None:\n    await asyncio.sleep(0.001)",
        ),
        "hook-raises": _both(
            "async def on_start(self) -> None:\n    self.connection.open()  # there is none",
            "async def on_start(self) -> None:\n    self.connection = object()",
        ),
        "hook-hangs": _both(
            "async def on_stop(self) -> None:\n    await asyncio.Event().wait()  # nobody sets it",
            """
            async def on_init(self) -> None:
                self.done = asyncio.Event()

            async def on_start(self) -> None:
                self.done.set()
            """,
        ),
        "illegal-call-has-effect": _both(
            """
            tries = 0

            def may_start(self) -> bool:
                self.tries += 1  # also when it is refused
                return self.tries > 2

            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("start")
            lifecycle.machine.add_transition("start", "initialized", "running", conditions="may_start")
            """,
            """
            licensed = True

            def may_start(self) -> bool:
                return self.licensed

            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("start")
            lifecycle.machine.add_transition("start", "initialized", "running", conditions="may_start")
            """,
        ),
        "invariant-broken": _both(
            """
            jobs = 0

            async def on_start(self) -> None:
                self.jobs -= 1

            @staticmethod
            def invariant(plugin: "Example") -> bool:
                return plugin.jobs >= 0
            """,
            """
            jobs = 0

            async def on_start(self) -> None:
                self.jobs += 1

            @staticmethod
            def invariant(plugin: "Example") -> bool:
                return plugin.jobs >= 0
            """,
        ),
        "second-run-fails": _both(
            """
            taken: set[str] = set()  # of the class, so of every plugin in the process

            async def on_start(self) -> None:
                if "port" in self.taken:
                    raise OSError("the port is taken")
                self.taken.add("port")
            """,
            """
            taken: set[str] = set()

            async def on_start(self) -> None:
                if "port" in self.taken:
                    raise OSError("the port is taken")
                self.taken.add("port")

            async def on_stop(self) -> None:
                self.taken.discard("port")
            """,
        ),
        "not-at-rest": _both(
            """
            lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
            lifecycle.machine.remove_transition("stop", "running")
            lifecycle.machine.add_transition("stop", "running", "stopped", conditions=lambda: False)
            """,
            "lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)",
        ),
        "worker-crashes": _both(
            """
            async def on_start(self) -> None:
                self.spawn(self._work())

            async def _work(self) -> None:
                await asyncio.sleep(1)
                raise ConnectionError("reset by peer")
            """,
            """
            async def on_start(self) -> None:
                self.spawn(self._work())

            async def _work(self) -> None:
                while True:
                    await asyncio.sleep(1)
                    try:
                        raise ConnectionError("reset by peer")
                    except ConnectionError:
                        continue  # and connect again
            """,
        ),
        "health-check-raises": _both(
            """
            async def on_health_check(self) -> HealthStatus:
                return HealthStatus.degraded(self.reason)  # there is none
            """,
            """
            async def on_health_check(self) -> HealthStatus:
                return HealthStatus.degraded("no reason")
            """,
        ),
        "health-check-changes-state": _both(
            """
            async def on_health_check(self) -> HealthStatus:
                await self.fail(RuntimeError("unhealthy"))
                return HealthStatus.healthy()
            """,
            """
            async def on_health_check(self) -> HealthStatus:
                return HealthStatus.unhealthy("no connection")
            """,
        ),
        "ends-process": _both(
            "async def on_start(self) -> None:\n    sys.exit('no licence')",
            "async def on_start(self) -> None:\n    self.licence = 'free'",
        ),
        "caller-cancelled": _both(
            """
            async def on_start(self) -> None:
                self.spawn(self._work(asyncio.current_task()))

            async def _work(self, task: "asyncio.Task[object]") -> None:
                await asyncio.sleep(1)
                task.cancel()
            """,
            """
            async def on_start(self) -> None:
                self.work = self.spawn(self._work())

            async def _work(self) -> None:
                await asyncio.sleep(1)

            async def on_stop(self) -> None:
                if work := self.__dict__.get("work"):
                    work.cancel()
            """,
        ),
        "leak-task": _both(
            "async def on_start(self) -> None:\n    self.task = asyncio.create_task(self._work())\n"
            + textwrap.dedent(_LOOP),
            f"async def on_start(self) -> None:\n    self.task = self.spawn(self._work())\n{textwrap.dedent(_LOOP)}",
        ),
        "leak-async-generator": _both(
            """
            async def _rows(self):
                try:
                    yield 1
                    yield 2
                finally:
                    self.closed = True

            async def on_start(self) -> None:
                self.rows = self._rows()
                await anext(self.rows)
            """,
            """
            async def _rows(self):
                try:
                    yield 1
                    yield 2
                finally:
                    self.closed = True

            async def on_start(self) -> None:
                async with contextlib.aclosing(self._rows()) as rows:
                    await anext(rows)
            """,
        ),
        "leak-thread": _both(
            """
            async def on_start(self) -> None:
                self.end = threading.Event()
                threading.Thread(target=self.end.wait, args=(3,), daemon=True).start()
            """,
            """
            thread = None

            async def on_start(self) -> None:
                self.end = threading.Event()
                self.thread = threading.Thread(target=self.end.wait, args=(3,), daemon=True)
                self.thread.start()

            async def on_stop(self) -> None:
                if self.thread is not None:
                    self.end.set()
                    await asyncio.to_thread(self.thread.join)
            """,
        ),
        "leak-fd": _both(
            """
            async def on_start(self) -> None:
                file = os.open(os.devnull, os.O_RDONLY)
                await asyncio.sleep(0)  # a cancellation comes here
                self.file = file

            async def on_stop(self) -> None:
                if "file" in self.__dict__:
                    os.close(self.__dict__.pop("file"))
            """,
            """
            async def on_start(self) -> None:
                self.file = os.open(os.devnull, os.O_RDONLY)
                await asyncio.sleep(0)

            async def on_stop(self) -> None:
                if "file" in self.__dict__:
                    os.close(self.__dict__.pop("file"))
            """,
        ),
        "leak-socket": _both(
            "async def on_start(self) -> None:\n    self.socket = socket.socket()",
            """
            async def on_start(self) -> None:
                self.socket = socket.socket()

            async def on_stop(self) -> None:
                if "socket" in self.__dict__:
                    self.socket.close()
            """,
        ),
        "leak-process": _both(
            """
            async def on_start(self) -> None:
                self.child = await asyncio.create_subprocess_exec("sleep", "2")
            """,
            """
            child = None

            async def on_start(self) -> None:
                self.child = await asyncio.create_subprocess_exec("sleep", "2")

            async def on_stop(self) -> None:
                if self.child is not None and self.child.returncode is None:
                    self.child.kill()
                    await self.child.wait()
            """,
        ),
        "leak-channel-end": _both(
            """
            lines: Sender[str]

            async def on_start(self) -> None:
                self.more = [self.lines.clone()]
            """,
            """
            lines: Sender[str]
            more: list[Sender[str]] = []

            async def on_start(self) -> None:
                self.more = [self.lines.clone()]

            async def on_stop(self) -> None:
                for sender in self.more:
                    sender.close()
            """,
        ),
        "leak-temporary-file": _both(
            "async def on_start(self) -> None:\n    self.directory = tempfile.mkdtemp()",
            """
            directory = None

            async def on_start(self) -> None:
                self.directory = tempfile.TemporaryDirectory()

            async def on_stop(self) -> None:
                if self.directory is not None:
                    self.directory.cleanup()
            """,
        ),
        "never-awaited": _both(
            "async def on_start(self) -> None:\n    asyncio.sleep(1)",
            "async def on_start(self) -> None:\n    await asyncio.sleep(1)",
        ),
        "unretrieved-exception": _both(
            """
            async def on_start(self) -> None:
                self.task = asyncio.create_task(self._once())

            async def _once(self) -> None:
                raise ConnectionError("refused")
            """,
            """
            async def on_start(self) -> None:
                self.task = asyncio.create_task(self._once())
                try:
                    await self.task
                except ConnectionError:
                    self.connected = False

            async def _once(self) -> None:
                raise ConnectionError("refused")
            """,
        ),
        "signal-handler-left": _both(
            "async def on_start(self) -> None:\n    signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
            """
            before = None

            async def on_start(self) -> None:
                self.before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)

            async def on_stop(self) -> None:
                if self.before is not None:
                    signal.signal(signal.SIGUSR1, self.before)
            """,
        ),
        "environment-changed": _both(
            'async def on_start(self) -> None:\n    os.environ["EXAMPLE"] = "1"',
            """
            async def on_start(self) -> None:
                self.env = {**os.environ, "EXAMPLE": "1"}  # for the child
            """,
        ),
        "working-directory-changed": _both(
            'async def on_start(self) -> None:\n    os.chdir("/")',
            'async def on_start(self) -> None:\n    self.root = pathlib.Path("/")',
        ),
        "cancellation-swallowed": _both(
            """
            async def on_start(self) -> None:
                for _ in range(3):
                    try:
                        return await asyncio.sleep(1)
                    except BaseException:
                        continue  # try again
            """,
            """
            async def on_start(self) -> None:
                for _ in range(3):
                    try:
                        return await asyncio.sleep(1)
                    except Exception:
                        continue  # try again
            """,
        ),
        "stop-after-fault-fails": _both(
            """
            async def on_start(self) -> None:
                await asyncio.sleep(1)
                self.log = []

            async def on_stop(self) -> None:
                self.log.clear()
            """,
            """
            log: list[str] = []

            async def on_start(self) -> None:
                await asyncio.sleep(1)
                self.log = []

            async def on_stop(self) -> None:
                self.log.clear()
            """,
        ),
        "lock-held": _both(
            """
            def __init__(self) -> None:
                self.lock = asyncio.Lock()

            async def on_start(self) -> None:
                await self.lock.acquire()
                await asyncio.sleep(1)
                self.lock.release()
            """,
            """
            def __init__(self) -> None:
                self.lock = asyncio.Lock()

            async def on_start(self) -> None:
                async with self.lock:
                    await asyncio.sleep(1)
            """,
        ),
        "message-lost": _both(
            f"""{textwrap.dedent(_WIRED).rstrip()}

async def on_start(self) -> None:
    self.spawn(self._copy())

async def _copy(self) -> None:
    batch = []
    while True:
        try:
            async with asyncio.timeout(0.5):
                batch.append(await self.lines.recv())
        except TimeoutError:
            while batch:
                await self.copies.send(batch.pop(0))
        except ChannelClosed:
            return  # and what is in the batch is lost
""",
            f"""{textwrap.dedent(_WIRED).rstrip()}

async def on_start(self) -> None:
    self.spawn(self._copy())

async def _copy(self) -> None:
    async for line in self.lines:
        await self.copies.send(line)
""",
        ),
        "double-release": _both(
            """
            def __init__(self) -> None:
                self.lock = asyncio.Lock()

            async def on_start(self) -> None:
                await self.lock.acquire()

            async def on_stop(self) -> None:
                if self.state == "running" or self.failure is not None:
                    self.lock.release()
                    await asyncio.sleep(1)
            """,
            """
            def __init__(self) -> None:
                self.lock = asyncio.Lock()

            async def on_start(self) -> None:
                await self.lock.acquire()

            async def on_stop(self) -> None:
                if self.lock.locked():
                    self.lock.release()
                await asyncio.sleep(1)
            """,
        ),
        "registry-departs": (
            _plugin(
                """
                lifecycle = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
                lifecycle.machine.get_transitions("init")[0].dest = "running"  # behind the back of the table
                """
            ),
            _plugin("lifecycle = LIFECYCLE"),
        ),
        "not-linearizable": _both(
            """
            count = 0

            async def add(self) -> None:
                before = self.count
                await asyncio.sleep(0)
                self.count = before + 1
            """,
            """
            count = 0

            async def add(self) -> None:
                await asyncio.sleep(0)
                self.count += 1
            """,
        ),
        "deadlock": _both(
            """
            async def transfer(self, first: asyncio.Lock, second: asyncio.Lock) -> None:
                async with first:
                    await asyncio.sleep(0)  # another transfer takes the second one
                    async with second:
                        await asyncio.sleep(0)
            """,
            """
            async def transfer(self, first: asyncio.Lock, second: asyncio.Lock) -> None:
                one, two = sorted((first, second), key=id)  # always in the same order
                async with one:
                    await asyncio.sleep(0)
                    async with two:
                        await asyncio.sleep(0)
            """,
        ),
        "race": _both(
            """
            session = None
            made = 0

            async def connect(self) -> None:
                if self.session is None:
                    await asyncio.sleep(0)  # another call comes in between
                    self.made += 1
                    self.session = object()
            """,
            """
            def __init__(self) -> None:
                self.session = None
                self.made = 0
                self.lock = asyncio.Lock()

            async def connect(self) -> None:
                async with self.lock:
                    if self.session is None:
                        await asyncio.sleep(0)
                        self.made += 1
                        self.session = object()
            """,
        ),
        "uncontrolled": _both(
            """
            async def on_start(self) -> None:
                for _ in range(random.randrange(100)):
                    await asyncio.sleep(0)
            """,
            """
            def __init__(self, seed: int = 0) -> None:
                self.random = random.Random(seed)

            async def on_start(self) -> None:
                for _ in range(self.random.randrange(100)):
                    await asyncio.sleep(0)
            """,
        ),
        "trace-departs": (
            '{"plugin": "clock", "trigger": "start", "source": "created", "dest": "running"}\n',
            (
                '{"plugin": "clock", "trigger": "init", "source": "created", "dest": "initialized"}\n'
                '{"plugin": "clock", "trigger": "start", "source": "initialized", "dest": "running"}\n'
            ),
        ),
    }
)
"""By slug: the bad one, the good one."""
