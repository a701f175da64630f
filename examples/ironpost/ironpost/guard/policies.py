"""Policies: which alert leads to which action on which container. Read from TOML, and decided here, without an engine.

An alert concerns the containers that it names, in its fields ``container``, ``container_name`` or ``container_id``, and
the one whose address is its ``src``: a container that attacks. The target of an attack is not acted on because of that;
whoever can send packets could otherwise switch it off. A policy with ``every = true`` acts on all containers that its
globs match, whatever the alert names.

Of the policies that suit an alert and a container, the one with the highest priority counts, and of equals the first in
the file. So there is at most one action for each container.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias, get_args

from attrs import Attribute, field, frozen
from attrs.validators import in_

from fsm_plugins import ConfigError, Problem
from fsm_plugins.config import structure_settings
from ironpost.events import AlertEvent, Severity

__all__ = ["Action", "Container", "Decision", "Policies", "Policy", "decide", "load_policies"]

Action: TypeAlias = Literal["pause", "stop", "network-disconnect", "kill"]
SeverityName: TypeAlias = Literal["info", "low", "medium", "high", "critical"]

# The names that engines allow. An alert may carry any text, and a name becomes part of a request.
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_GLOB: Final = frozenset("*?[")


@frozen
class Container:
    """A container, as far as is known.

    Attributes:
        id: empty if the engine could not be asked.
        name: without the slash that engines put before it.
        image: empty if it is not known.
        state: ``running``, ``paused``, ``exited`` and so on; empty if it is not known.
        addresses: in all its networks.
    """

    id: str
    name: str
    image: str = ""
    state: str = ""
    addresses: frozenset[str] = frozenset()


def _globs(_instance: object, attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    if not value or not all(value):
        raise ValueError(f"'{attribute.name}' has no glob, so that nothing would match; leave it out for all")


@frozen
class Policy:
    """One policy.

    Attributes:
        name: what the action events call it.
        action: what is done.
        severity: of alerts that are at least as bad.
        rules: globs, one of which matches the rule that raised the alert.
        containers, images: globs, one of each of which matches the container.
        priority: the highest counts.
        every: whether it acts on all that match, and not only on what the alert names.

    >>> policy = Policy("hold", "pause", severity="high", containers=("web-*",))
    >>> policy.covers(Container("1", "web-1")), policy.covers(Container("2", "db"))
    (True, False)
    """

    name: str = field()
    action: Action = field(validator=in_(get_args(Action)))
    severity: SeverityName = field(default="high", validator=in_(get_args(SeverityName)))
    rules: tuple[str, ...] = field(default=("*",), validator=_globs)
    containers: tuple[str, ...] = field(default=("*",), validator=_globs)
    images: tuple[str, ...] = field(default=("*",), validator=_globs)
    priority: int = 0
    every: bool = False

    @name.validator
    def _named(self, _attribute: object, value: str) -> None:
        if not value.strip():
            raise ValueError("'name' is empty")

    def suits(self, alert: AlertEvent) -> bool:
        """Return whether it is about such alerts."""
        return alert.severity >= Severity[self.severity.upper()] and _match(alert.rule, self.rules)

    def covers(self, container: Container) -> bool:
        """Return whether it is about such containers. An image that is not known suits only if any would."""
        return _match(container.name, self.containers) and _match(container.image, self.images)


def _match(text: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def _by_priority(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    return tuple(sorted(policies, key=lambda policy: -policy.priority))


@frozen
class Policies:
    """A set of policies, in the order in which they count. It is one value, to be replaced as a whole."""

    policies: tuple[Policy, ...] = field(default=(), converter=_by_priority)

    @property
    def literal(self) -> set[str]:
        """The containers that policies with ``every`` name without any wildcard."""
        return {name for each in self.policies if each.every for name in each.containers if _GLOB.isdisjoint(name)}


@frozen
class Decision:
    """What is to be done about an alert.

    Attributes:
        steps: the actions: by which policy, on which container.
        reason: why there are none; empty if there are some.
    """

    steps: tuple[tuple[Policy, Container], ...]
    reason: str = ""


def named_in(alert: AlertEvent) -> set[str]:
    """Return the containers that an alert names: names or ids."""
    found = (alert.fields.get(key) for key in ("container", "container_name", "container_id"))
    return {text.removeprefix("/") for text in found if isinstance(text, str) and text}


def decide(
    policies: Policies, alert: AlertEvent, containers: Collection[Container], *, complete: bool = True
) -> Decision:
    """Return what the policies want done about an alert.

    Args:
        containers: the inventory.
        complete: whether that is all there are. If it is not, because the engine cannot be asked, what the alert or a
            policy names is taken to be there.
    """
    suitable = [policy for policy in policies.policies if policy.suits(alert)]
    if not suitable:
        return Decision((), "no policy")
    named, src = named_in(alert), str(alert.fields.get("src", ""))
    known = list(containers)
    if not complete:
        there = {text for each in known for text in (each.name, each.id)}
        missing = sorted((named | Policies(tuple(suitable)).literal) - there)
        known += [Container("", name) for name in missing if _NAME.fullmatch(name)]
    steps = []
    for container in known:
        concerned = src in container.addresses or any(
            text == container.name or _is_id(text, container.id) for text in named
        )
        for policy in suitable:
            if (policy.every or concerned) and policy.covers(container):
                steps.append((policy, container))
                break
    return Decision(tuple(steps), "" if steps else "no container")


def _is_id(text: str, known: str) -> bool:
    """Return whether a text is an id, whole or the twelve digits or more that people see of it."""
    return len(text) >= 12 and known.startswith(text)


def load_policies(path: str | os.PathLike[str]) -> Policies:
    """Read policies from a TOML file: an array of tables ``policy``.

    Raises:
        ConfigError: with everything that is wrong with the file, each with its place.
    """
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise ConfigError(where, [Problem("", f"it cannot be read: {error.strerror or error}")]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(where, [Problem("", f"not TOML: {error}")]) from None
    policies, problems = read_policies(raw)
    if problems:
        raise ConfigError(where, problems)
    return policies


def read_policies(raw: Mapping[str, object]) -> tuple[Policies, Sequence[Problem]]:
    """Return the policies that are sound, and all that is wrong."""
    problems = [Problem(key, "unknown key; policies are [[policy]] tables") for key in raw if key != "policy"]
    tables = raw.get("policy", [])
    if not isinstance(tables, list):
        return Policies(), [*problems, Problem("policy", "expected an array of tables: [[policy]]")]
    found: dict[str, Policy] = {}
    for number, table in enumerate(tables):
        place = f"policy[{number}]"
        if not isinstance(table, dict):
            problems.append(Problem(place, "expected a table"))
            continue
        values, wrong = structure_settings(Policy, table, place)
        problems += wrong
        if wrong:
            continue
        policy = Policy(**values)  # type: ignore[arg-type]
        if policy.name in found:
            problems.append(Problem(f"{place}.name", f"there is another policy {policy.name!r}; their names are told"))
        found[policy.name] = policy
    return Policies(tuple(found.values())), problems
