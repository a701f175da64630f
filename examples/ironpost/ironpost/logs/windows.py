"""What is remembered of a rule: which events lead up to an alert, and which alerts would only repeat one.

Time is that of the events, in seconds, so that a file that is read late, or twice as fast, gives the same alerts.
Events may come out of order. All memory is bounded.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict, deque
from collections.abc import Hashable
from operator import itemgetter
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from ironpost.logs.rules import Limit, Threshold

__all__ = ["GROUPS", "Counting", "Reason", "Restraint"]

GROUPS: Final = 10_000
"""How many groups are remembered for one rule. Beyond it the one that was heard of least recently is forgotten."""

T = TypeVar("T")
Reason: TypeAlias = Literal["repeated", "limit"]
"""Why an alert is held back: there was a like one, or there were too many."""

_time_of: Final = itemgetter(0)


class Counting(Generic[T]):
    """Counts events in groups within a sliding window, for one threshold.

    An event counts for ``window`` seconds: as long as the newest one of its group is less than that after it. When
    ``count`` events count at the same time, that is it: they are given out, and the group starts anew.

    Attributes:
        forgotten: how many groups were forgotten because there were too many.

    >>> counting = Counting[str](Threshold(2, 10.0))
    >>> counting.add("a", 0.0, "first"), counting.add("a", 10.0, "second"), counting.add("a", 19.0, "third")
    (None, None, ['second', 'third'])
    """

    def __init__(self, threshold: Threshold, groups: int = GROUPS) -> None:
        self._count = threshold.count
        self._window = threshold.window
        self._groups: OrderedDict[Hashable, list[tuple[float, T]]] = OrderedDict()
        self._most = groups
        self.forgotten = 0

    def __len__(self) -> int:
        """Return how many groups there are."""
        return len(self._groups)

    def add(self, group: Hashable, at: float, event: T) -> list[T] | None:
        """Count an event; return those that reached the threshold together, the earliest first."""
        events = self._groups.get(group)
        if events is None:
            events = self._groups[group] = []
            if len(self._groups) > self._most:
                self._groups.popitem(last=False)
                self.forgotten += 1
        else:
            self._groups.move_to_end(group)
        if not events or at >= events[-1][0]:
            events.append((at, event))
        else:
            insort(events, (at, event), key=_time_of)
        del events[: bisect_right(events, events[-1][0] - self._window, key=_time_of)]
        if len(events) < self._count:
            return None
        del self._groups[group]
        return [event for _, event in events]


class Restraint:
    """Holds back the alerts of one rule that repeat another one, or are too many.

    Attributes:
        held_back: how many were held back as repeated since the alert before the one that was let through last.
        forgotten: how many alerts were forgotten, so that a like one is not held back, because there were too many.

    >>> restraint = Restraint(60.0, Limit(2, 3600.0))
    >>> [restraint.check(key, at) for key, at in [("a", 0.0), ("a", 59.0), ("b", 60.0), ("c", 61.0), ("a", 3601.0)]]
    [None, 'repeated', None, 'limit', None]
    >>> restraint.held_back  # before the alert that was let through last
    1
    """

    def __init__(self, repeat: float, limit: Limit, alerts: int = GROUPS) -> None:
        self._repeat = repeat
        self._limit = limit
        self._last: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        self._sent: deque[float] = deque(maxlen=limit.count)
        self.held_back = 0
        self._most = alerts
        self.forgotten = 0

    def check(self, alike: Hashable, at: float) -> Reason | None:
        """Return why an alert is held back; None if it is let through, of which note is taken.

        Distances in time count, not directions: a single time in the future must not silence a rule until then.
        """
        last = self._last.get(alike)
        if last is not None and abs(at - last[0]) < self._repeat:
            self._last[alike] = (last[0], last[1] + 1)
            return "repeated"
        if len(self._sent) == self._limit.count and abs(at - self._sent[0]) < self._limit.window:
            return "limit"
        self._sent.append(at)
        self.held_back = 0 if last is None else last[1]
        self._last[alike] = (at, 0)
        self._last.move_to_end(alike)
        if len(self._last) > self._most:
            self._last.popitem(last=False)
            self.forgotten += 1
        return None
