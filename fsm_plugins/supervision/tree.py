"""Who is restarted with whom, and how often: the groups of a supervisor as a tree over the plugins of a plan.

The limit of OTP's supervisor counts restarts in a window of wall-clock time. If to stop the siblings of a plugin takes
longer than the window, the window is always empty again when the plugin fails next, and the limit never holds. Here
the window is one of the *failing plugin's own running time*: a plugin that does nothing but crash is never given time
to outlive its past, however long its back-off, its siblings or its own start may take. A restart within the last
``period`` seconds of the wall clock is also one within the last ``period`` seconds of running, so the limit is at least
as strict as OTP's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from fsm_plugins.specs import Plan
from fsm_plugins.supervision.policy import Child, Group, Intensity, Policy, Strategy

__all__ = ["Node", "Tree", "Uptime"]


class Uptime:
    """When a plugin was running, as far back as anybody asks for.

    Args:
        keep: how many seconds of running somebody may ask for.

    >>> uptime = Uptime(keep=60.0)
    >>> uptime.begin(0.0); uptime.end(10.0)
    >>> uptime.begin(100.0); uptime.end(105.0)
    >>> uptime.last, uptime.since(5.0), uptime.since(8.0)
    (5.0, 100.0, 7.0)
    """

    __slots__ = ("_keep", "_runs", "_since")

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._runs: deque[tuple[float, float]] = deque()
        self._since: float | None = None

    def begin(self, now: float) -> None:
        """It runs from now on."""
        self._since = now

    def end(self, now: float) -> None:
        """It does not run any more."""
        if self._since is None:
            return
        self._runs.append((self._since, now))
        self._since = None
        kept = 0.0
        for number, (begin, end) in enumerate(reversed(self._runs), 1):
            kept += end - begin
            if kept >= self._keep:
                while len(self._runs) > number:
                    self._runs.popleft()
                break

    @property
    def last(self) -> float:
        """How long it ran the last time, in seconds."""
        return self._runs[-1][1] - self._runs[-1][0] if self._runs else 0.0

    def since(self, seconds: float) -> float:
        """Return the time from which on it ran for so many ``seconds``; minus infinity if it never ran for so long."""
        left = seconds
        for begin, end in reversed(self._runs):
            if end - begin >= left:
                return end - left
            left -= end - begin
        return float("-inf")


class Node:
    """A group, or the supervisor itself, with its limit.

    Attributes:
        name: of the group; empty for the supervisor itself.
        strategy, intensity, period: as in `Group`.
        parent: the group around it; None for the supervisor itself.
        members: the plugins in it and in the groups within it, in order.
    """

    __slots__ = ("_restarts", "intensity", "members", "name", "parent", "period", "strategy")

    def __init__(self, name: str, group: Group | Policy, parent: Node | None) -> None:
        self.name = name
        self.strategy: Strategy = group.strategy
        self.intensity: Intensity = group.intensity
        self.period: float = group.period
        self.parent = parent
        self.members: list[str] = []
        # Only the latest count, as many as there may be.
        self._restarts: deque[float] = deque(maxlen=None if group.intensity == "unlimited" else group.intensity)

    def admit(self, uptime: Uptime, now: float) -> bool:
        """Say whether one more restart is within the limit, and count it if so.

        Args:
            uptime: of the plugin that failed.
            now: in seconds of the same clock.
        """
        if self.intensity == "unlimited":
            return True
        if self.intensity == 0:
            return False
        if len(self._restarts) == self.intensity and self._restarts[0] > uptime.since(self.period):
            return False
        self._restarts.append(now)
        return True

    def forget(self) -> None:
        """Count from nothing again."""
        self._restarts.clear()


class Tree:
    """The groups of ``policy`` over the plugins of ``plan``.

    Args:
        plan: the plugins in order, and their channels.
        policy: the groups; they fit together (see `problems_of`).
        children: which plugin is in which group.
    """

    def __init__(self, plan: Plan, policy: Policy, children: Mapping[str, Child]) -> None:
        self.root = Node("", policy, None)
        self._place = {name: place for place, name in enumerate(plan.order)}
        self._consumers: dict[str, list[str]] = {}
        for channel in plan.channels.values():
            for producer in channel.producers:
                self._consumers.setdefault(producer.plugin, []).append(channel.consumer.plugin)
        self.nodes: dict[str, Node] = {}
        for name in policy.groups:
            self._node(name, policy)
        self.group_of: dict[str, Node] = {}
        for name in plan.order:
            group = children[name].group if name in children else None
            node = self.group_of[name] = self.root if group is None else self.nodes[group]
            around: Node | None = node
            while around is not None:
                around.members.append(name)
                around = around.parent

    def _node(self, name: str, policy: Policy) -> Node:
        if name not in self.nodes:
            group = policy.groups[name]
            parent = self.root if group.group is None else self._node(group.group, policy)
            self.nodes[name] = Node(name, group, parent)
        return self.nodes[name]

    def affected(self, node: Node, failed: Sequence[str]) -> set[str]:
        """Return who is restarted in the group ``node`` when these ``failed``: one member, or a group in it."""
        if node.strategy is Strategy.ONE_FOR_ONE:
            return set(failed)
        if node.strategy is Strategy.ONE_FOR_ALL:
            return set(node.members)
        if node.strategy is Strategy.REST_FOR_ONE:
            first = min(self._place[name] for name in failed)
            return {name for name in node.members if self._place[name] >= first}
        affected, members, ahead = set(failed), set(node.members), list(failed)
        while ahead:
            for consumer in self._consumers.get(ahead.pop(), ()):
                if consumer in members and consumer not in affected:
                    affected.add(consumer)
                    ahead.append(consumer)
        return affected

    def in_order(self, names: Collection[str]) -> list[str]:
        """Return ``names`` in the order of the plan."""
        return sorted(names, key=self._place.__getitem__)
