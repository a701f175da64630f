"""What happened: every transition is an event, and a hub tells it to whoever listens.

A listener is a plain function, called in the order of the transitions, after the transition is done. Nothing a
listener does can break a transition: what it raises is logged, and events that it causes wait until the present one
has been told to everybody.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from attrs import frozen

from fsm_plugins.lifecycle.table import State

__all__ = ["EventCells", "Hub", "Listener", "Recorder", "TransitionEvent", "TransitionHub"]

logger = logging.getLogger("fsm_plugins")

E = TypeVar("E")


class TransitionEvent(NamedTuple):
    """A plugin moved from one state to another. A tuple, because it is made of every transition that somebody hears of.

    Attributes:
        plugin: its name.
        trigger: the trigger of the arc it took; ``fail`` where a hook or a worker broke.
        source, dest: the states before and after.
        at: when, in seconds since the epoch, by the hub's clock.
        duration: how long the call took, in seconds of the event loop's clock.
        cause: what made it fail, otherwise None.
        call: the trigger of the call that came to this; empty where a plugin failed outside of any call.
    """

    plugin: str
    trigger: str
    source: State
    dest: State
    at: float
    duration: float
    cause: BaseException | None = None
    call: str = ""

    def __str__(self) -> str:
        text = f"{self.plugin}: {self.source} -> {self.dest} ({self.trigger}, {self.duration:.3f} s)"
        return f"{text}: {self.cause!r}" if self.cause is not None else text


Listener: TypeAlias = Callable[[TransitionEvent], object]

EventCells: TypeAlias = tuple[str, str, State, State, float, float, BaseException | None, str]
"""What is in a `TransitionEvent`, as a plain tuple, or the event itself."""

_new: Final = tuple.__new__  # makes an event in half the time that its class takes


@frozen
class Recorder:
    """A listener that only puts events aside, to look at them later. No event object is made for it.

    A hub calls ``put`` with the plain tuple of an event, and at once: also while an earlier event is still being told
    to other listeners. What ``put`` raises is logged, whatever it is.

    Args:
        put: takes the event. As a function written in C, such as the ``append`` of a list, it costs the least.
    """

    put: Callable[[EventCells], object]

    def __call__(self, event: TransitionEvent) -> None:
        """Put an event aside."""
        self.put(event)


class Hub(Generic[E]):
    """Tells events to listeners, one event at a time.

    Args:
        clock: what ``at`` is read from, in seconds since the epoch.
    """

    __slots__ = ("_entries", "_telling", "_untold", "clock", "listeners")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.listeners: tuple[Callable[[E], object], ...] = ()
        self._entries: tuple[tuple[Callable[[E], object]], ...] = ()
        self._untold: deque[E] = deque()
        self._telling = False

    def subscribe(self, listener: Callable[[E], object]) -> Callable[[], None]:
        """Call ``listener`` with every event from now on. Returns a function that ends it.

        Raises:
            TypeError: ``listener`` cannot be called, or is asynchronous and so would never run.
        """
        if not callable(listener) or any(map(inspect.iscoroutinefunction, (listener, type(listener).__call__))):
            raise TypeError(
                f"a listener is a plain function of one event, not {listener!r}; "
                "to act asynchronously, put the event in a queue or start a task from the listener"
            )
        # Each subscription is its own, so that subscribing a function twice and ending one of the two works.
        entry = (listener,)
        self._subscribe((*self._entries, entry))
        return lambda: self._subscribe(tuple(other for other in self._entries if other is not entry))

    def _subscribe(self, entries: tuple[tuple[Callable[[E], object]], ...]) -> None:
        self._entries = entries
        self.listeners = tuple(listener for (listener,) in entries)

    def publish(self, event: E) -> None:
        """Tell ``event`` to every listener, after the events that are still being told."""
        if self._telling:
            self._untold.append(event)
            return
        self._telling = True
        urgent: BaseException | None = None
        while True:
            for listener in self.listeners:
                try:
                    listener(event)
                except (Exception, asyncio.CancelledError):
                    logger.exception("a listener raised on the event '%s'; what happened stands", event)
                except BaseException as error:  # such as SystemExit: it goes on, but only when all have been told
                    urgent = urgent or error
            if not self._untold:
                break
            event = self._untold.popleft()
        self._telling = False
        if urgent is not None:
            raise urgent


class TransitionHub(Hub[TransitionEvent]):
    """Tells transitions: to recorders as plain tuples, and to listeners as events, which are made for them only.

    Attributes:
        heard: whether there is anybody to tell, or the times are kept.
        loop: the event loop that the tellers run in.
        now: the clock of that loop, for durations.
    """

    __slots__ = ("_recorders", "_timed", "heard", "loop", "now")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self.heard = self._timed = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.now: Callable[[], float] = time.monotonic
        self._recorders: tuple[Callable[[EventCells], object], ...] = ()

    def run_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take ``loop`` for the one that the tellers run in."""
        self.loop = loop
        # Without the detour where it is one: this is called twice for every transition.
        plain = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
        self.now = time.monotonic if plain else loop.time

    def keep_times(self) -> None:
        """Let plugins know since when they are in their states, from now on, even if nobody listens."""
        self.heard = self._timed = True

    def tell(self, cells: EventCells) -> None:
        """Tell a transition to everybody."""
        for put in self._recorders:
            try:
                put(cells)
            except BaseException:  # a recorder has no business to end anything, and the others are still to be told
                logger.exception("a recorder raised on the event %s; what happened stands", cells)
        if self.listeners:
            self.publish(_new(TransitionEvent, cells))

    def _subscribe(self, entries: tuple[tuple[Listener], ...]) -> None:
        self._entries = entries
        listeners = [listener for (listener,) in entries]
        self._recorders = tuple(each.put for each in listeners if isinstance(each, Recorder))
        self.listeners = tuple(each for each in listeners if not isinstance(each, Recorder))
        self.heard = self._timed or bool(entries)
