"""One plugin, as it is and as somebody would write it by hand: the limit of what its guarantees can cost.

`ByHand` is the class that somebody would write who wants these guarantees of one plugin and knows asyncio well. It is
equal where it is measured, and `keeps_its_word` holds both to it before anything is measured:

- a call in the wrong state raises an error with the same four fields, and changes nothing;
- the claim is taken before the first wait, so a concurrent call is refused and told what stands in its way;
- the hook runs in the caller's task, and as soon as it waits it has a deadline;
- a hook that raises, is late or is cancelled leaves the state ``failed`` and the exception as the cause.

It takes the same short cut too: a hook that never waits gets no timer. Written the plain way, with ``asyncio.timeout``
around every hook, it is slower, and that is shown for comparison. What it does not have (workers, ports, listeners,
health checks, other tables, and dropping a hook that ignores its cancellation) is what the factor is for.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from attrs import define

from fsm_plugins import Deadlines, Plugin, PluginInfo

__all__ = ["ByHand", "ByHandPlainly", "Ours", "Refused", "keeps_its_word"]

Call = Callable[[], Awaitable[object]]


@define
class Ours(Plugin):
    """A plugin with an empty hook."""

    info = PluginInfo("ours", "1.0.0")

    async def on_start(self) -> None:
        """Do nothing."""


class Refused(Exception):
    """What `InvalidState` is, without its text."""

    def __init__(self, name: str, current: str, expected: tuple[str, ...], in_flight: str | None = None) -> None:
        self.name = name
        self.current = current
        self.expected = expected
        self.in_flight = in_flight


@types.coroutine
def _carry_on(hook: Coroutine[Any, None, object], waits_for: object) -> Generator[object, None, None]:
    """Await a coroutine that has taken its first step already."""
    try:
        while True:
            try:
                yield waits_for
            except BaseException as error:
                waits_for = hook.throw(error)
            else:
                waits_for = hook.send(None)
    except StopIteration:
        return


class ByHand:
    """The guarantees of one guarded call, written for this class only."""

    __slots__ = ("failure", "in_flight", "name", "seconds", "state")

    def __init__(self, name: str, seconds: float = 30.0) -> None:
        self.name = name
        self.seconds = seconds
        self.state = "created"
        self.failure: BaseException | None = None
        self.in_flight: str | None = None

    async def init(self) -> None:
        """Become ready to start."""
        self.state = "initialized"

    async def on_start(self) -> None:
        """Do nothing."""

    async def start(self) -> None:
        """Run the hook; the state is then ``running``, or ``failed``."""
        if self.state != "initialized" or self.in_flight is not None:
            raise Refused(self.name, self.state, ("initialized",), self.in_flight)
        self.in_flight = "start"
        try:
            hook = self.on_start()
            try:
                waits_for = hook.send(None)
            except StopIteration:
                pass
            else:
                async with asyncio.timeout(self.seconds):
                    await _carry_on(hook, waits_for)
        except BaseException as error:
            self.failure = error
            self.state = "failed"
            raise
        else:
            self.state = "running"
        finally:
            self.in_flight = None


class ByHandPlainly(ByHand):
    """The same, with a timer for every hook."""

    __slots__ = ()

    async def start(self) -> None:
        """Run the hook; the state is then ``running``, or ``failed``."""
        if self.state != "initialized" or self.in_flight is not None:
            raise Refused(self.name, self.state, ("initialized",), self.in_flight)
        self.in_flight = "start"
        try:
            async with asyncio.timeout(self.seconds):
                await self.on_start()
        except BaseException as error:
            self.failure = error
            self.state = "failed"
            raise
        else:
            self.state = "running"
        finally:
            self.in_flight = None


async def keeps_its_word(cls: type[Ours] | type[ByHand], refusal: type[Exception]) -> None:
    """Raise AssertionError unless ``cls`` gives the guarantees at the head of this module."""

    def make(hook: Call, seconds: float = 30.0) -> Any:
        sub: Any = type("Sub", (cls,), {"on_start": lambda self: hook(), "__slots__": ()})
        return sub("by-hand", seconds) if issubclass(cls, ByHand) else sub(deadlines=Deadlines(start=seconds))

    async def outcome(call: Awaitable[object]) -> BaseException:
        try:
            await call
        except BaseException as error:
            return error
        raise AssertionError("it was expected to raise")

    async def breaks() -> None:
        raise OSError("port 80 is taken")

    async def waits() -> None:
        await asyncio.sleep(3600)

    def told(error: Any) -> tuple[type, str, tuple[str, ...], str | None]:
        return type(error), error.current, error.expected, error.in_flight

    created = make(waits)
    assert told(await outcome(created.start())) == (refusal, "created", ("initialized",), None)
    assert (created.state, created.failure) == ("created", None)

    broken = make(breaks)
    await broken.init()
    await outcome(broken.start())
    assert broken.state == "failed"
    assert isinstance(broken.failure, OSError)

    late = make(waits, 0.01)
    await late.init()
    assert isinstance(await outcome(late.start()), TimeoutError)
    assert late.state == "failed"

    busy = make(waits)
    await busy.init()
    call = asyncio.ensure_future(busy.start())
    await asyncio.sleep(0)
    assert told(await outcome(busy.start())) == (refusal, "initialized", ("initialized",), "start")
    assert busy.state == "initialized"
    call.cancel()
    assert isinstance(await outcome(call), asyncio.CancelledError)
    assert busy.state == "failed"
    assert isinstance(busy.failure, asyncio.CancelledError)
