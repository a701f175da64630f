"""What is known of a plugin in the zoo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen

from fsm_plugins import Plugin, Receiver, Sender, channel
from fsm_plugins.ports import ports_of

__all__ = ["FAULTS", "SCHEDULES", "SEQUENCES", "SLUGS", "STATIC", "Clock", "Ends", "Layer", "Specimen"]

Layer: TypeAlias = Literal["L0", "L1", "L2", "L4"]
Clock: TypeAlias = Literal["either", "real"]
Ends: TypeAlias = Mapping[str, Sender[Any] | Receiver[Any]]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STATIC: Final = _words(
    "unreachable-state dead-end no-way-to-rest unreachable-arc hook-signature port-problem blocking-call"
)
SEQUENCES: Final = _words(
    "hook-raises hook-hangs illegal-call-has-effect invariant-broken second-run-fails not-at-rest"
)
FAULTS: Final = _words(
    "leak-task leak-async-generator leak-thread leak-fd leak-socket leak-process leak-channel-end "
    "leak-temporary-file never-awaited unretrieved-exception signal-handler-left environment-changed "
    "working-directory-changed cancellation-swallowed stop-after-fault-fails lock-held health-check-raises "
    "message-lost double-release"
)
SCHEDULES: Final = _words("not-linearizable deadlock race uncontrolled")
SLUGS: Final = STATIC | SEQUENCES | FAULTS | SCHEDULES


_ports = cache(ports_of)  # looked up a thousand times


def _several(slug: str | tuple[str, ...]) -> tuple[str, ...]:
    return (slug,) if isinstance(slug, str) else slug


def _known(_specimen: object, _attribute: object, slugs: tuple[str, ...]) -> None:
    if unknown := set(slugs) - SLUGS:
        raise ValueError(f"unknown slugs: {', '.join(sorted(unknown))}")


@frozen(eq=False)
class Specimen:
    """One plugin, and what is known of it.

    The shortest counterexample is written as a walk: calls with `` -> `` between them. After each call the event loop
    runs until nothing is ready. ``start[CancelledError at await 2]`` is a call whose caller is cancelled where the hook
    gives way to the loop for the second time; any other exception is raised there. ``new`` throws the plugin away and
    makes another one. ``a || b`` are two calls at the same time.

    Attributes:
        factory: the class, or a function that makes the plugin; it takes ports by keyword.
        settings: the other keywords it is given.
        slug: what is wrong; each of several is right. Empty for a correct plugin.
        layer: the cheapest kind of check that can find it: L0 by looking, L1 by calling in order, L2 with a fault at an
            await (or with none, where only the leak check tells), L4 with a schedule.
        shortest: the shortest counterexample; empty where no call is needed to see the mistake.
        why: what the mistake is, in one line.
        invariant: what has to hold of the plugin whenever no call is under way.
        messages: for each input port, what its producers send before the first call.
        clock: ``real`` if it waits for a socket, a thread or a process, which virtual time would overtake.
        reset: what a fresh process would forget, for the mistakes that outlive the plugin.
    """

    factory: Callable[..., Plugin]
    settings: Mapping[str, Any] = field(factory=dict)
    slug: tuple[str, ...] = field(default=(), converter=_several, validator=_known)
    layer: Layer | None = None
    shortest: str = ""
    why: str = ""
    invariant: Callable[[Any], bool] | None = None
    messages: Mapping[str, Sequence[object]] = field(factory=dict)
    clock: Clock = "either"
    reset: Callable[[], object] | None = None

    @property
    def name(self) -> str:
        """The name of the factory, with its settings if it has any."""
        settings = ",".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.factory.__name__}({settings})" if settings else self.factory.__name__

    @property
    def steps(self) -> int:
        """How many calls the shortest counterexample has."""
        return len(self.shortest.split(" -> ")) if self.shortest else 0

    def wire(self, capacity: int = 8) -> tuple[Plugin, Ends]:
        """Make the plugin with a channel for each of its ports, and return it with the other ends of the channels.

        The producers of an input port have sent ``messages`` and are still there.

        Raises:
            DefinitionError: the ports are declared wrongly, which is the mistake of some.
        """
        own: dict[str, Sender[Any] | Receiver[Any]] = {}
        others: dict[str, Sender[Any] | Receiver[Any]] = {}
        for port in _ports(self.factory):
            sender: Sender[Any]
            receiver: Receiver[Any]
            sender, receiver = channel(capacity)
            for message in self.messages.get(port.name, ()):
                sender.try_send(message)
            reads = port.direction == "input"
            own[port.name], others[port.name] = (receiver, sender) if reads else (sender, receiver)
        return self.factory(**own, **self.settings), others

    def build(self) -> Plugin:
        """Make the plugin as `wire` does, for those who do not need the other ends."""
        return self.wire()[0]
