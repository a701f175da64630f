"""Every exception this package raises, and nothing else.

::

    PluginError                     what all of them are
    ├── InvalidState                a call the lifecycle does not allow now; nothing was changed
    │   └── UnknownTrigger          a call no state of the lifecycle allows
    ├── HookFailed                  a hook raised; its exception is the ``__cause__``
    │   └── DeadlineExceeded        a hook was late (also a ``TimeoutError``)
    ├── PluginFailed                a running plugin failed, and what it was part of ends with it
    ├── NotReady                    raised by hooks: try again later
    ├── PermanentError              raised by hooks and workers: it is no use to try again
    ├── Abandoned                   why a plugin that nobody will start any more was failed
    ├── Unhealthy                   why a plugin that said it is unhealthy was failed
    ├── Completed                   why a plugin was restarted that was done, but was to run for good
    ├── RestartsExhausted           a supervisor reached its limit of restarts, and stopped everything
    ├── StopFailed                  everything that went wrong in one ``stop_all`` (an ``ExceptionGroup``)
    ├── RegistryError
    │   ├── AlreadyRegistered       the name is taken
    │   ├── NotFound                no plugin has that name
    │   └── RegistryBusy            not while a bulk call is under way
    ├── ChannelError
    │   ├── ChannelClosed           the other end is gone
    │   └── ChannelFull             no room, and the caller did not want to wait
    ├── DefinitionError             a plugin class or a lifecycle that could never work (also a ``TypeError``)
    ├── LoadError                   the code of a plugin cannot be had
    └── ConfigError                 everything wrong with one configuration (a list of ``Problem``)

The errors carry fields; their text is made from the fields, when somebody reads it. All of them survive pickling.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from attrs import frozen

__all__ = [
    "Abandoned",
    "AlreadyRegistered",
    "ChannelClosed",
    "ChannelError",
    "ChannelFull",
    "Completed",
    "ConfigError",
    "DeadlineExceeded",
    "DefinitionError",
    "HookFailed",
    "InvalidState",
    "LoadError",
    "NotFound",
    "NotReady",
    "PermanentError",
    "PluginError",
    "PluginFailed",
    "Problem",
    "RegistryBusy",
    "RegistryError",
    "RestartsExhausted",
    "StopFailed",
    "Unhealthy",
    "UnknownTrigger",
    "suggestion",
]


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known word nearest to ``word``, or an empty string.

    >>> suggestion("rulez", ["rules", "packets"])
    " (did you mean 'rules'?)"
    >>> suggestion("zzz", ["rules", "packets"])
    ''
    """
    near = difflib.get_close_matches(word, sorted(set(known)), n=1)
    return f" (did you mean {str(near[0])!r}?)" if near else ""


class PluginError(Exception):
    """The base of every exception of this package."""


class InvalidState(PluginError):
    """A call that the lifecycle does not allow now. It ran no hook and changed nothing.

    Attributes:
        name: the plugin.
        current: the state it is in.
        expected: the states from which the call is legal, sorted.
        in_flight: the trigger of the call that is under way, if that is what stands in the way.

    >>> print(InvalidState("x", "created", ("initialized",)))
    invalid state for plugin 'x': current=created, expected=initialized
    """

    def __init__(self, name: str, current: str, expected: tuple[str, ...], in_flight: str | None = None) -> None:
        # BaseException.__new__ has kept the arguments already: a refusal is on the hot path of a busy supervisor.
        self.name = name
        self.current = current
        self.expected = expected
        self.in_flight = in_flight

    def __str__(self) -> str:
        text = f"invalid state for plugin {self.name!r}: current={self.current}, expected={'|'.join(self.expected)}"
        return f"{text}, in_flight={self.in_flight}" if self.in_flight else text


class UnknownTrigger(InvalidState):
    """A trigger that the plugin's lifecycle does not have in any state.

    Attributes:
        trigger: the unknown word.
        known: the triggers there are, sorted.

    >>> print(UnknownTrigger("x", "created", "paus", ("pause", "start")))
    plugin 'x' has no trigger 'paus' (did you mean 'pause'?); its lifecycle has: pause, start
    """

    def __init__(self, name: str, current: str, trigger: str, known: tuple[str, ...]) -> None:
        super().__init__(name, current, ())
        self.args = (name, current, trigger, known)
        self.trigger = trigger
        self.known = known

    def __str__(self) -> str:
        hint = suggestion(self.trigger, self.known)
        return f"plugin {self.name!r} has no trigger {self.trigger!r}{hint}; its lifecycle has: {', '.join(self.known)}"


class HookFailed(PluginError):
    """A hook raised. What it raised is the ``__cause__``; the plugin is ``failed``.

    Attributes:
        name: the plugin.
        trigger: the move whose hook it was.
        reason: the failure in words.

    >>> print(HookFailed("x", "start", "OSError: port 80 is taken"))
    plugin 'x' failed in start: OSError: port 80 is taken
    """

    def __init__(self, name: str, trigger: str, reason: str) -> None:
        super().__init__(name, trigger, reason)
        self.name = name
        self.trigger = trigger
        self.reason = reason

    def __str__(self) -> str:
        return f"plugin {self.name!r} failed in {self.trigger}: {self.reason}"


class DeadlineExceeded(HookFailed, TimeoutError):
    """A hook, or what has to end with it, was not done in time; it was cancelled, and the plugin is ``failed``.

    Attributes:
        name, trigger: as in `HookFailed`.
        seconds: the deadline that passed.
        where: the place in the plugin's code that was waiting, or what was waited for; may be empty.
        abandoned: whether the code ignored its cancellation and was dropped after the grace period.

    >>> print(DeadlineExceeded("x", "start", 30.0, "db.py:41 in connect"))
    plugin 'x' failed in start: not done within its deadline of 30 s, waiting at db.py:41 in connect
    """

    def __init__(self, name: str, trigger: str, seconds: float, where: str = "", abandoned: bool = False) -> None:
        reason = f"not done within its deadline of {seconds:g} s"
        if where:
            reason += f", waiting at {where}"
        if abandoned:
            reason += "; it ignored its cancellation and was abandoned"
        super().__init__(name, trigger, reason)
        self.args = (name, trigger, seconds, where, abandoned)
        self.seconds = seconds
        self.where = where
        self.abandoned = abandoned


class Abandoned(PluginError):
    """Why a plugin was failed that nobody will start any more: ``stop_all`` came first.

    >>> print(Abandoned("x", "initialized"))
    plugin 'x' was abandoned in state initialized: the registry is stopping
    """

    def __init__(self, name: str, state: str) -> None:
        super().__init__(name, state)
        self.name = name
        self.state = state

    def __str__(self) -> str:
        return f"plugin {self.name!r} was abandoned in state {self.state}: the registry is stopping"


class PluginFailed(PluginError):
    """A running plugin failed, and the application stopped because of that. What made it fail is the ``__cause__``.

    >>> print(PluginFailed("x", "ConnectionError: reset by peer"))
    plugin 'x' failed while it was running: ConnectionError: reset by peer
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"plugin {self.name!r} failed while it was running: {self.reason}"


class NotReady(PluginError):
    """Raised by a hook: what it needs is not there yet. A supervisor tries again later, for as long as it takes.

    >>> raise NotReady("the database does not answer")
    Traceback (most recent call last):
    ...
    fsm_plugins.errors.NotReady: the database does not answer
    """


class PermanentError(PluginError):
    """Raised by a hook or a worker: to try again cannot help. A supervisor gives the plugin up.

    >>> raise PermanentError("the licence has expired")
    Traceback (most recent call last):
    ...
    fsm_plugins.errors.PermanentError: the licence has expired
    """


class Unhealthy(PluginError):
    """Why a plugin was failed that said too often that it is unhealthy.

    >>> print(Unhealthy("x", 3, "no packet for 60 s"))
    plugin 'x' was unhealthy 3 times in a row: no packet for 60 s
    """

    def __init__(self, name: str, times: int, reason: str) -> None:
        super().__init__(name, times, reason)
        self.name = name
        self.times = times
        self.reason = reason

    def __str__(self) -> str:
        return f"plugin {self.name!r} was unhealthy {self.times} times in a row: {self.reason}"


class Completed(PluginError):
    """Why a permanent plugin was restarted that did not fail: its last worker returned.

    >>> print(Completed("x"))
    plugin 'x' is done, but was to run for good: its last worker returned
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"plugin {self.name!r} is done, but was to run for good: its last worker returned"


class RestartsExhausted(PluginError):
    """A supervisor gave up, and stopped everything. What the plugin failed of last is the ``__cause__``.

    Attributes:
        name: the supervisor.
        plugin: whose failure was one too many.
        intensity, period: the limit: so many restarts in so many seconds.

    >>> print(RestartsExhausted("supervisor", "x", 5, 60.0))
    supervisor 'supervisor' gave up: plugin 'x' failed once more after 5 restarts within 60 s
    """

    def __init__(self, name: str, plugin: str, intensity: int, period: float) -> None:
        super().__init__(name, plugin, intensity, period)
        self.name = name
        self.plugin = plugin
        self.intensity = intensity
        self.period = period

    def __str__(self) -> str:
        allowed = f"{self.intensity} restart{'s' if self.intensity != 1 else ''} within {self.period:g} s"
        return f"supervisor {self.name!r} gave up: plugin {self.plugin!r} failed once more after {allowed}"


class StopFailed(PluginError, ExceptionGroup[PluginError]):
    """Everything that went wrong in one ``stop_all``, in the order of the plugins. Every plugin was attempted.

    ``exceptions`` holds a `HookFailed` or `DeadlineExceeded` for each plugin that did not stop cleanly.
    """

    def __new__(cls, exceptions: Sequence[PluginError]) -> StopFailed:
        names = ", ".join(repr(getattr(e, "name", "?")) for e in exceptions)
        return super().__new__(cls, f"plugins that did not stop cleanly: {names}", exceptions)

    def __init__(self, exceptions: Sequence[PluginError]) -> None:
        super().__init__(self.message, exceptions)

    def derive(self, excs: Sequence[Exception]) -> ExceptionGroup[Exception]:  # type: ignore[override]
        """Keep the class when ``split`` and ``subgroup`` make smaller groups of it."""
        return StopFailed([e for e in excs if isinstance(e, PluginError)])

    def __reduce__(self) -> tuple[type[StopFailed], tuple[list[PluginError]]]:
        return type(self), (list(self.exceptions),)  # type: ignore[arg-type]


class RegistryError(PluginError):
    """A registry refused a call; it is as it was before."""


class AlreadyRegistered(RegistryError):
    """The name is taken, in this registry or (for the very same plugin) in another one.

    >>> print(AlreadyRegistered("x"))
    a plugin named 'x' is registered already; give this one another name: MyPlugin(name='x-2')
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"a plugin named {self.name!r} is registered already; "
            f"give this one another name: MyPlugin(name={self.name + '-2'!r})"
        )


class NotFound(RegistryError, LookupError):
    """No plugin of that name is registered.

    >>> print(NotFound("detectr", ("detector", "guard")))
    no plugin named 'detectr' is registered (did you mean 'detector'?)
    """

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        return f"no plugin named {self.name!r} is registered{suggestion(self.name, self.known)}"


class RegistryBusy(RegistryError):
    """The call would change the set of plugins, or start a second walk, while a bulk call is under way.

    Attributes:
        wanted: the refused call.
        in_flight: the bulk call under way.

    >>> print(RegistryBusy("register", "start_all"))
    register is not possible while start_all is under way
    """

    def __init__(self, wanted: str, in_flight: str) -> None:
        super().__init__(wanted, in_flight)
        self.wanted = wanted
        self.in_flight = in_flight

    def __str__(self) -> str:
        return f"{self.wanted} is not possible while {self.in_flight} is under way"


class ChannelError(PluginError):
    """The base of what channels raise."""


class ChannelClosed(ChannelError):
    """The other end of the channel is gone, or this end was closed."""

    def __str__(self) -> str:
        return self.args[0] if self.args else "the channel is closed"


class ChannelFull(ChannelError):
    """The channel has no room now; ``await send(...)`` would have waited for it.

    Attributes:
        capacity: how many messages the channel holds.

    >>> print(ChannelFull(16))
    the channel is full: it holds 16 messages
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.capacity = capacity

    def __str__(self) -> str:
        return f"the channel is full: it holds {self.capacity} messages"


class DefinitionError(PluginError, TypeError):
    """A plugin class or a lifecycle that could never work, told where it is defined."""


class LoadError(PluginError):
    """The class or function that builds a plugin cannot be had. What was raised, if anything, is the ``__cause__``.

    Attributes:
        use: what was to be loaded, ``module:attribute`` or the name of an entry point.
        reason: why it cannot be had, and what to do.

    >>> print(LoadError("clock:Clock", "there is no module 'clock'"))
    cannot load 'clock:Clock': there is no module 'clock'
    """

    def __init__(self, use: str, reason: str) -> None:
        super().__init__(use, reason)
        self.use = use
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot load {self.use!r}: {self.reason}"


@frozen
class Problem:
    """One thing wrong with a configuration.

    Attributes:
        where: the key path, ``plugins.detector.settings.port``, or the environment variable.
        what: what is wrong, and what to do about it.

    >>> print(Problem("channels.packets.capacity", "expected an integer, got 'many'"))
    channels.packets.capacity: expected an integer, got 'many'
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class ConfigError(PluginError):
    """A configuration that cannot be run. Nothing was started.

    Attributes:
        source: the file, as it was given.
        problems: everything that is wrong, not only the first thing.

    >>> print(ConfigError("app.toml", [Problem("app.nam", "unknown key")]))
    app.toml: 1 problem
      app.nam: unknown key
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        super().__init__(source, tuple(problems))
        self.source = source
        self.problems = tuple(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.source}: {count} problem{'s' if count != 1 else ''}"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])
