"""What plugin authors import in their tests: time that passes at once, and tests that are there already.

A deadline of 30 seconds, a back-off of five minutes or a drain that hangs is tested without waiting for it: on a
`VirtualClockLoop` the clock jumps to the next timer as soon as nothing else is left to do.

`PluginContract` is a test class to derive from. `machine_of`, `sequences_of` and `triggers_of` are for Hypothesis
(``pip install 'fsm-plugins[verify]'``). They are imported when they are asked for.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from fsm_plugins.verify.contract import PluginContract
    from fsm_plugins.verify.stateful import machine_of, sequences_of, triggers_of

__all__ = [
    "PluginContract",
    "Stalled",
    "VirtualClockLoop",
    "machine_of",
    "run",
    "sequences_of",
    "triggers_of",
]

_ELSEWHERE = {
    "PluginContract": "fsm_plugins.verify.contract",
    "machine_of": "fsm_plugins.verify.stateful",
    "sequences_of": "fsm_plugins.verify.stateful",
    "triggers_of": "fsm_plugins.verify.stateful",
}


def __getattr__(name: str) -> object:
    """Import what is kept elsewhere when it is asked for: tests of a clock need neither the verifier nor Hypothesis."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE[name]), name)


T = TypeVar("T")


class Stalled(RuntimeError):
    """Nothing can ever happen any more: every task waits, and no timer is set. A deadlock, or a lost wake-up."""


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the clock to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        # How long, in real seconds, a thread or a process may take to report to a loop that has nothing else to do.
        self.patience = 5.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            ready = super().select(self.patience)
            if not ready:
                raise Stalled("every task waits for something that nobody is going to do")
            return ready
        self.now += max(timeout, 0.0)
        return ready


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and jumps to the next timer when nothing else is left to do.

    Sockets, pipes and threads work, but they are real: a timer that is set meanwhile may well fire before they do.

    >>> async def main() -> float:
    ...     await asyncio.sleep(3600)
    ...     return asyncio.get_running_loop().time()
    >>> with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
    ...     runner.run(main())
    3600.0
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # Timers that rounding puts a hair beyond the time that was jumped to are due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._jumping.now


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the asynchronous function ``main`` on a `VirtualClockLoop` and return its result.

    Raises:
        Stalled: the test can never end.

    >>> run(lambda: asyncio.sleep(86400, "a day later"))
    'a day later'
    """
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main())
