"""What a plugin leaves behind (L2)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Final

from fsm_plugins.verify.reports.examples.writing import both

__all__ = ["OF_LEAKS"]

_LOOP = """
    async def _work(self) -> None:
        while True:
            await asyncio.sleep(1)
"""

OF_LEAKS: Final[Mapping[str, tuple[str, str]]] = {
    "leak-task": both(
        "async def on_start(self) -> None:\n    self.task = asyncio.create_task(self._work())\n"
        + textwrap.dedent(_LOOP),
        f"async def on_start(self) -> None:\n    self.task = self.spawn(self._work())\n{textwrap.dedent(_LOOP)}",
    ),
    "leak-async-generator": both(
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
    "leak-thread": both(
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
    "leak-fd": both(
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
    "leak-socket": both(
        "async def on_start(self) -> None:\n    self.socket = socket.socket()",
        """
            async def on_start(self) -> None:
                self.socket = socket.socket()

            async def on_stop(self) -> None:
                if "socket" in self.__dict__:
                    self.socket.close()
            """,
    ),
    "leak-process": both(
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
    "leak-channel-end": both(
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
    "leak-temporary-file": both(
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
    "never-awaited": both(
        "async def on_start(self) -> None:\n    asyncio.sleep(1)",
        "async def on_start(self) -> None:\n    await asyncio.sleep(1)",
    ),
    "unretrieved-exception": both(
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
    "signal-handler-left": both(
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
    "environment-changed": both(
        'async def on_start(self) -> None:\n    os.environ["EXAMPLE"] = "1"',
        """
            async def on_start(self) -> None:
                self.env = {**os.environ, "EXAMPLE": "1"}  # for the child
            """,
    ),
    "working-directory-changed": both(
        'async def on_start(self) -> None:\n    os.chdir("/")',
        'async def on_start(self) -> None:\n    self.root = pathlib.Path("/")',
    ),
}
