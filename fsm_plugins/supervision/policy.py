"""What a supervisor is told to do about failures. Values only, checked as they are made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias

from attrs import Attribute, field, frozen
from attrs.converters import optional

from fsm_plugins.errors import DefinitionError, Problem, suggestion

__all__ = ["Backoff", "Child", "Group", "Health", "Intensity", "Policy", "Restart", "Strategy", "problems_of"]

Intensity: TypeAlias = int | Literal["unlimited"]


class Strategy(StrEnum):
    """Who is restarted when a plugin fails, within its group. The first three are those of OTP's ``supervisor``.

    Attributes:
        ONE_FOR_ONE: the plugin alone.
        ONE_FOR_ALL: every member of the group.
        REST_FOR_ONE: the plugin and the members that were registered after it.
        DEPENDENTS: the plugin and the members that consume its channels, directly or through others.
    """

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"
    DEPENDENTS = "dependents"


class Restart(StrEnum):
    """When a plugin is restarted that was not stopped on request.

    Attributes:
        PERMANENT: when it failed, and when it is done: its last worker returned.
        TRANSIENT: when it failed.
        TEMPORARY: never.
    """

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


def _frozen(value: Mapping[str, Group]) -> Mapping[str, Group]:
    return MappingProxyType(dict(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(_instance: object, attribute: Attribute[float], value: float) -> None:
    if not (_is_number(value) and 0 < value < math.inf):
        raise DefinitionError(f"{attribute.name} is a positive number of seconds, not {value!r}")


def _intensity(_instance: object, _attribute: Attribute[Intensity], value: object) -> None:
    if value != "unlimited" and not (type(value) is int and value >= 0):
        raise DefinitionError(f"intensity is a number of restarts, 0 or more, or 'unlimited', not {value!r}")


@frozen
class Backoff:
    """How long to wait before a plugin is started again.

    The n-th failure in a row waits ``initial * factor ** (n - 1)`` seconds, at most ``cap``, of which a random share up
    to ``jitter`` is taken off, so that plugins that failed together do not come back together. A plugin that has run
    for ``stable`` seconds begins anew.

    Attributes:
        initial: the first delay, in seconds; 0 is none.
        factor: what it grows by, at least 1.
        cap: the longest delay, in seconds.
        jitter: the largest share that is taken off at random, from 0 to 1.
        stable: how long a plugin has to run, in seconds, for its failures to be forgotten.

    Raises:
        DefinitionError: a value is not as above.

    >>> backoff = Backoff(initial=1, factor=2, cap=10, jitter=0.5)
    >>> [backoff.delay(failures, 0.0) for failures in (1, 2, 3, 4, 5, 100_000)]
    [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    >>> backoff.delay(2, 1.0)
    1.0
    """

    initial: float = field(default=0.1)
    factor: float = field(default=2.0)
    cap: float = field(default=30.0)
    jitter: float = field(default=0.2)
    stable: float = field(default=60.0, validator=_positive)

    @initial.validator
    def _delay(self, _attribute: object, value: float) -> None:
        if not (_is_number(value) and 0 <= value < math.inf):
            raise DefinitionError(f"initial is a number of seconds, 0 or more, not {value!r}")

    @factor.validator
    def _growth(self, _attribute: object, value: float) -> None:
        if not (_is_number(value) and 1 <= value < math.inf):
            raise DefinitionError(f"factor is a number of at least 1, not {value!r}")

    @cap.validator
    def _ceiling(self, _attribute: object, value: float) -> None:
        if not (_is_number(value) and 0 <= value < math.inf):
            raise DefinitionError(f"cap is a number of seconds, 0 or more, not {value!r}")
        if value < self.initial:
            raise DefinitionError(f"cap, {value:g} s, is under the initial delay of {self.initial:g} s")

    @jitter.validator
    def _share(self, _attribute: object, value: float) -> None:
        if not (_is_number(value) and 0 <= value <= 1):
            raise DefinitionError(f"jitter is a share from 0 to 1, not {value!r}")

    def delay(self, failures: int, random: float) -> float:
        """Return how long to wait, in seconds, after so many ``failures`` in a row.

        Args:
            failures: at least 1.
            random: a number from 0 to 1; the larger, the shorter the delay.
        """
        try:
            delay = min(self.cap, self.initial * float(self.factor) ** (failures - 1))
        except OverflowError:
            delay = self.cap if self.initial else 0.0
        return delay * (1.0 - self.jitter * random)


@frozen
class Group:
    """Plugins that fail and restart under a limit of their own.

    When a group reaches its limit, that is a failure of the group as a whole in the group around it, whose strategy
    and limit then apply. So groups form a tree, and the supervisor is its root.

    Attributes:
        strategy: who is restarted with a member that failed.
        intensity: at most so many restarts per ``period``, or ``"unlimited"``.
        period: in seconds.
        group: the group around this one; None for the supervisor itself.

    Raises:
        DefinitionError: a value makes no sense.
    """

    strategy: Strategy = field(default=Strategy.ONE_FOR_ONE, converter=Strategy)
    intensity: Intensity = field(default=5, validator=_intensity)
    period: float = field(default=60.0, validator=_positive)
    group: str | None = None


@frozen
class Child:
    """What is different for one plugin.

    Attributes:
        restart: when it is restarted; None for what the policy says.
        backoff: its delays; None for those of the policy.
        group: the group it is in; None for the supervisor itself.
    """

    restart: Restart | None = field(default=None, converter=optional(Restart))
    backoff: Backoff | None = None
    group: str | None = None


@frozen
class Health:
    """When a plugin that says it is unhealthy counts as failed.

    Attributes:
        interval: how often every plugin is asked, in seconds.
        failures: how many times in a row it has to be unhealthy, at least 1.
    """

    interval: float = field(default=10.0, validator=_positive)
    failures: int = field(default=3)

    @failures.validator
    def _count(self, _attribute: object, value: object) -> None:
        if type(value) is not int or value < 1:
            raise DefinitionError(f"failures is a number of health checks, at least 1, not {value!r}")


@frozen
class Policy:
    """What a supervisor does when a plugin fails.

    Attributes:
        strategy, intensity, period: of the supervisor itself, the root of the groups; see `Group`.
        restart: when plugins are restarted that say nothing else.
        backoff: the delays of plugins that say nothing else.
        groups: by name.
        health: how plugins are asked for their health; None for not at all.
        watchdog: for how many seconds the event loop may be blocked before that is reported; None for no watchdog.

    Raises:
        DefinitionError: a value makes no sense.

    >>> Policy(intensity=-1)
    Traceback (most recent call last):
    ...
    fsm_plugins.errors.DefinitionError: intensity is a number of restarts, 0 or more, or 'unlimited', not -1
    """

    strategy: Strategy = field(default=Strategy.ONE_FOR_ONE, converter=Strategy)
    intensity: Intensity = field(default=5, validator=_intensity)
    period: float = field(default=60.0, validator=_positive)
    restart: Restart = field(default=Restart.TRANSIENT, converter=Restart)
    backoff: Backoff = Backoff()
    groups: Mapping[str, Group] = field(factory=dict, converter=_frozen)
    health: Health | None = None
    watchdog: float | None = field(default=None)

    @watchdog.validator
    def _seconds(self, attribute: Attribute[float], value: float | None) -> None:
        if value is not None:
            _positive(self, attribute, value)


def problems_of(policy: Policy, children: Mapping[str, Child], names: Iterable[str]) -> list[Problem]:
    """Return what does not fit together: groups that do not exist or go in a circle, children that are no plugin.

    Args:
        policy: the policy.
        children: plugin -> what is different for it.
        names: the plugins that there are.

    >>> for problem in problems_of(Policy(groups={"a": Group(group="b"), "b": Group(group="a")}), {}, []):
    ...     print(problem)
    supervisor.groups.a.group: the groups go in a circle: a in b in a; one of them has to be outside
    """
    known, problems, reported = set(names), [], set()
    for name, group in policy.groups.items():
        if group.group is not None and group.group not in policy.groups:
            what = f"there is no group {group.group!r}{suggestion(group.group, policy.groups)}"
            problems.append(Problem(f"supervisor.groups.{name}.group", what))
        path = [name]
        while (around := policy.groups[path[-1]].group) in policy.groups and around is not None:
            if around in path:
                circle = path[path.index(around) :]
                if frozenset(circle) not in reported:
                    reported.add(frozenset(circle))
                    what = f"the groups go in a circle: {' in '.join([*circle, around])}; one of them has to be outside"
                    problems.append(Problem(f"supervisor.groups.{circle[0]}.group", what))
                break
            path.append(around)
    for name, child in children.items():
        if name not in known:
            problems.append(Problem(f"plugins.{name}", f"there is no such plugin{suggestion(name, known)}"))
        if child.group is not None and child.group not in policy.groups:
            what = f"there is no group {child.group!r}{suggestion(child.group, policy.groups)}"
            if not policy.groups:
                what += "; add a table [supervisor.groups." + child.group + "]"
            problems.append(Problem(f"plugins.{name}.group", what))
    return problems
