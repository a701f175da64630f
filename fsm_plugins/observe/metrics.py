"""Metrics in the format of Prometheus. The names and labels are listed in docs/observing.md.

Almost everything is looked up when somebody scrapes: states, health, channels. What happened in between has to be
counted. A transition puts its event in a list and does no more; the events are counted at each scrape, and once a
second, so that they do not pile up. The states are those of each plugin's lifecycle, the labels of transitions those of
its arcs.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, get_args, get_type_hints

from fsm_plugins.lifecycle import EventCells, Recorder
from fsm_plugins.metadata import HealthStatus
from fsm_plugins.observe.target import ChannelStatus, PluginStatus, Target

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.msg}; metrics need: pip install 'fsm-plugins[metrics]'") from None

__all__ = ["BUCKETS", "Metrics"]

BUCKETS: Final = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)
"""The upper bounds of the histogram of transitions, in seconds. A hook's deadline is 30 unless it says otherwise."""

DIGEST_SECONDS: Final = 1.0

_BOUNDS: Final = [*map(floatToGoString, BUCKETS), "+Inf"]
_LEVELS: Final[tuple[str, ...]] = (*get_args(get_type_hints(HealthStatus)["level"]), "unknown")
_PREFIX: Final = "fsm_plugins_"


class Metrics(Collector):
    """Counts what happens, and tells how a target is.

    Args:
        target: the application.
        extra: called at each scrape for more counters: the name without prefix and ``_total``, the help text, the
            value.

    Attributes:
        registry: a registry of its own, so that several applications can be in one process.
    """

    def __init__(self, target: Target, extra: Callable[[], Iterable[tuple[str, str, float]]] = tuple) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._target = target
        self._extra = extra
        self._events: list[EventCells] = []
        self._end: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # plugin, trigger, source, dest -> the sum of seconds, and how many there were in each bucket.
        self._transitions: dict[tuple[str, ...], list[float]] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self.registry.register(self)

    def start(self) -> None:
        """Begin to count what happens to the target. To be called in its event loop."""
        if self._end is None:
            self._end = self._target.subscribe(Recorder(self._events.append))
            self._digest_again()

    def stop(self) -> None:
        """End that. What was counted can still be had."""
        if self._end is not None:
            self._end()
            self._end = None
        if self._timer is not None:
            self._timer.cancel()
        self._digest()

    def _digest_again(self) -> None:
        self._digest()
        self._timer = asyncio.get_running_loop().call_later(DIGEST_SECONDS, self._digest_again)

    def _digest(self) -> None:
        """Count the events that have come."""
        transitions, bounds = self._transitions, BUCKETS
        events = self._events.copy()
        del self._events[: len(events)]
        for plugin, trigger, source, dest, _, seconds, cause, _ in events:
            key = (plugin, trigger, source, dest)
            if (cell := transitions.get(key)) is None:
                cell = transitions[key] = [0.0] * (len(BUCKETS) + 2)
            cell[0] += seconds
            cell[bisect_left(bounds, seconds) + 1] += 1
            if cause is not None:
                self._failures[plugin, type(cause).__name__] += 1

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Return all of them as text, and its content type.

        Args:
            accept: the header of that name of an HTTP request; it decides between the formats that there are.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Yield all of them, as the library wants it."""
        self._digest()
        status = self._target.status()
        yield _gauge("live", "Whether the application is live.", [((), status.live)])
        yield _gauge("ready", "Whether the application is ready.", [((), status.ready)])
        yield from _of_plugins(status.plugins)
        yield from _of_channels(status.channels)
        yield from self._of_transitions()
        for name, text, value in self._extra():
            yield _counter(name, text, [((), value)])

    def _of_transitions(self) -> Iterator[Metric]:
        cells = sorted(self._transitions.items())
        counts = [((*key,), sum(cell[1:])) for key, cell in cells]
        labels = ("plugin", "trigger", "source", "dest")
        yield _counter("transitions", "Transitions of plugins.", counts, *labels)
        by_trigger: dict[tuple[str, str], list[float]] = {}
        for (plugin, trigger, *_), cell in cells:
            old = by_trigger.get((plugin, trigger))
            by_trigger[plugin, trigger] = cell if old is None else [a + b for a, b in zip(old, cell, strict=True)]
        text = "How long transitions took, their hooks included."
        seconds = HistogramMetricFamily(f"{_PREFIX}transition_seconds", text, labels=("plugin", "trigger"))
        for key, (total, *buckets) in by_trigger.items():
            seconds.add_metric(key, list(zip(_BOUNDS, _running_sum(buckets), strict=True)), total)
        yield seconds
        failures = sorted(self._failures.items())
        yield _counter("failures", "Failures of plugins, by the type of the exception.", failures, "plugin", "cause")


def _of_plugins(plugins: Iterable[PluginStatus]) -> Iterator[Metric]:
    plugins = tuple(plugins)
    states = [((p.name, state), p.state == state) for p in plugins for state in p.states]
    yield _gauge("plugin_state", "1 for the state the plugin is in.", states, "plugin", "state")
    levels = [(p.name, "unknown" if p.health is None else p.health.level) for p in plugins]
    health = [((name, level), level == present) for name, present in levels for level in _LEVELS]
    yield _gauge("plugin_health", "1 for what the plugin said of itself last.", health, "plugin", "level")
    wanted = [((p.name,), p.wanted) for p in plugins]
    yield _gauge("plugin_wanted", "Whether the plugin is to run.", wanted, "plugin")
    since = [((p.name,), p.since) for p in plugins]
    yield _gauge("plugin_state_since_seconds", "Since when it is in its state, in Unix time.", since, "plugin")
    restarts = [((p.name,), p.restarts) for p in plugins]
    yield _counter("restarts", "How often plugins were started again.", restarts, "plugin")


def _of_channels(channels: Iterable[ChannelStatus]) -> Iterator[Metric]:
    channels = tuple(channels)
    for name, text, numbers in (
        ("length", "Messages in the channel.", [c.length for c in channels]),
        ("capacity", "Messages the channel holds at most.", [c.capacity for c in channels]),
    ):
        yield _gauge(f"channel_{name}", text, _by_name(channels, numbers), "channel")
    for name, text, numbers in (
        ("messages", "Messages the channel has accepted.", [c.messages for c in channels]),
        ("blocked_sends", "Sends that had to wait for room.", [c.waits for c in channels]),
    ):
        yield _counter(f"channel_{name}", text, _by_name(channels, numbers), "channel")


def _by_name(channels: Iterable[ChannelStatus], numbers: Iterable[int]) -> list[tuple[tuple[str, ...], float]]:
    return [((channel.name,), number) for channel, number in zip(channels, numbers, strict=True)]


def _running_sum(numbers: Iterable[float]) -> Iterator[float]:
    total = 0.0
    for number in numbers:
        total += number
        yield total


_Values = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, values: _Values, *labels: str) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, values: _Values, *labels: str) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family
