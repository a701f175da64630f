"""The base class of plugins: the hooks that an author writes, and the calls that everybody else makes.

What the calls do is in the guard, one module below; what is here is the face of it.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import ClassVar, Final, Protocol, Self, TypeVar, cast, final, runtime_checkable

from attrs import define, evolve, field

from fsm_plugins.errors import DefinitionError
from fsm_plugins.guard import Guard
from fsm_plugins.lifecycle import FAIL, INIT, LIFECYCLE, START, STOP, Lifecycle, State
from fsm_plugins.metadata import Deadlines, HealthStatus, PluginInfo

__all__ = ["Pipeline", "Plugin", "as_plugin", "has_default_health", "identify"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


def _asynchronous(function: F) -> F:
    """Mark a function that returns a coroutine as the coroutine function it is to those who ask before they call it.

    Mocks ask, and so do web frameworks that are given a function to call when they start. On Python 3.11 ``asyncio``
    can be told, ``inspect`` cannot.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    vars(function)["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]
    return function


class _OfInstance:
    """On a class, the value that was declared there; on an instance, what that instance was given."""

    def __init__(self, name: str, declared: object) -> None:
        self.name = name
        self.declared = declared

    def __get__(self, instance: Plugin | None, _owner: type | None = None) -> object:
        return self.declared if instance is None else getattr(instance._guard, self.name)


@define(eq=False)
class Plugin:
    """The base class of plugins.

    Write a class with ``info`` and any of the hooks ``on_init``, ``on_start``, ``on_stop``, ``on_health_check``. It may
    be an attrs class (slotted or not, frozen or not) or a plain one. Its fields typed ``Sender[T]`` or ``Receiver[T]``
    are its ports. Plugins are not thread-safe: call them from the event loop they run on.

    Class attributes:
        info: the metadata.
        deadlines: how long hooks may take, in seconds.
        lifecycle: the transition table, `LIFECYCLE` unless the class opts in to another one.

    Args:
        name: a name for this instance, instead of the one in ``info``; ``plugin.info.name`` is then this name.
        deadlines: the deadlines of this instance.

    Raises:
        DefinitionError: the class has no ``info``, overrides a call of the framework, or a name or deadline makes no
            sense.

    >>> class Clock(Plugin):
    ...     info = PluginInfo("clock", "1.0.0")
    ...     async def on_start(self) -> None:
    ...         print("tick")
    >>> async def main() -> None:
    ...     clock = Clock()
    ...     await clock.init()
    ...     await clock.start()
    ...     print(clock.state, await clock.health_check())
    ...     await clock.stop()
    >>> asyncio.run(main())
    tick
    running healthy
    """

    info: ClassVar[PluginInfo]
    deadlines: ClassVar[Deadlines] = Deadlines()
    lifecycle: ClassVar[Lifecycle] = LIFECYCLE

    # Made by __new__, so that a class with an __init__ of its own need not call super().__init__().
    _guard: Guard = field(init=False, repr=False)
    # These two make `name=` and `deadlines=` known to the constructors of attrs subclasses; __new__ reads the keywords,
    # whatever __init__ there is, and __attrs_post_init__ what an __init__ hands on.
    _name: str | None = field(default=None, kw_only=True, repr=False)
    _deadlines: Deadlines | None = field(default=None, kw_only=True, repr=False)

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        _check_class(cls)
        for name, kind in (("info", PluginInfo), ("deadlines", Deadlines)):
            declared = inspect.getattr_static(cls, name, None)  # it may come from a mixin
            if isinstance(declared, kind):
                setattr(cls, name, _OfInstance(name, declared))

    def __new__(cls, *_args: object, **kwargs: object) -> Self:
        """Make the instance with its guard, before any ``__init__``."""
        if not isinstance(getattr(cls, "info", None), PluginInfo):
            raise DefinitionError(f"{cls.__qualname__} has no metadata: add info = PluginInfo('my-plugin', '0.1.0')")
        plugin = super().__new__(cls)
        object.__setattr__(plugin, "_guard", Guard(plugin, cls.info, cls.deadlines, cls.lifecycle))
        name, deadlines = kwargs.get("name"), kwargs.get("deadlines")
        if name is not None or deadlines is not None:
            identify(plugin, cast("str | None", name), cast("Deadlines | None", deadlines))
        return plugin

    def __attrs_post_init__(self) -> None:
        """Take what a class with an ``__init__`` of its own gives to ``super().__init__(name=...)``."""
        name, deadlines = self._name, self._deadlines
        known = self._guard  # by __new__, as a rule
        if not (name in (None, known.info.name) and (deadlines is None or deadlines is known.deadlines)):
            identify(self, name, deadlines)

    # What an author writes. Every hook is optional.

    async def on_init(self) -> None:
        """Take what the plugin needs: open files, connect, check settings. Deadline ``init``."""

    async def on_start(self) -> None:
        """Begin to work, as a rule with `spawn`. Deadline ``start``."""

    async def on_stop(self) -> None:
        """Release what ``on_init`` and ``on_start`` took. Deadline ``stop``.

        Also called when the plugin failed half-way through one of these two: release what there is.
        """

    async def on_health_check(self) -> HealthStatus:
        """Say how the plugin is. Called only while it is running, once at a time. Deadline ``health``."""
        return HealthStatus.healthy()

    # What a caller uses.

    @final
    @property
    def state(self) -> State:
        """The state of the lifecycle the plugin is in. It cannot be assigned."""
        return self._guard.state

    @final
    @property
    def failure(self) -> BaseException | None:
        """What made the plugin fail: the exception itself, not a wrapper around it. None if nothing did."""
        return self._guard.failure

    @final
    @_asynchronous
    def init(self) -> Coroutine[object, object, None]:
        """Fire ``init``: run ``on_init``. Raises as `fire` does."""
        return self._guard.fire(INIT)

    @final
    @_asynchronous
    def start(self) -> Coroutine[object, object, None]:
        """Fire ``start``: run ``on_start``. Raises as `fire` does."""
        return self._guard.fire(START)

    @final
    @_asynchronous
    def stop(self) -> Coroutine[object, object, None]:
        """Fire ``stop``: let the plugin finish, and release everything it holds. Raises as `fire` does.

        In this order, each step whatever became of the one before: a running plugin whose producers are all gone drains
        its input ports; ``on_stop`` runs; the workers are cancelled and awaited; the ports are closed. A caller that is
        cancelled gets its ``CancelledError`` when that is done. All of it has the ``stop`` deadline, which runs from
        the first wait, as that of every hook; the hook and the workers have at least the ``grace`` period each.

        A worker that crashes meanwhile fails the stop. So does one that ignores its cancellation: it is closed.
        """
        return self._guard.fire(STOP)

    @final
    async def fire(self, trigger: str) -> None:
        """Make the move that ``trigger`` names, and run its hook ``on_<trigger>`` in the caller's task.

        Raises:
            InvalidState: the move is illegal in the present state, or another call is under way, or the hook that is
                asked for the plugin's health makes the call. Nothing happened.
            UnknownTrigger: the lifecycle has no such trigger. Nothing happened.
            HookFailed: the hook raised, or the plugin was failed meanwhile. The plugin is ``failed``.
            DeadlineExceeded: the hook was late. The plugin is ``failed``.
            asyncio.CancelledError: the caller was cancelled. The plugin is ``failed``.
        """
        if trigger == FAIL:
            raise TypeError("fail needs a cause: await plugin.fail(exception)")
        await self._guard.fire(trigger)

    @final
    async def fail(self, cause: BaseException) -> None:
        """Declare the plugin failed because of ``cause``, as a watchdog or a supervisor does.

        A call under way is cancelled and awaited first; its caller gets `HookFailed` from ``cause``. A hook or a worker
        that fails its own plugin is cancelled likewise.

        Raises:
            InvalidState: the plugin is in a state that cannot fail, such as ``stopped``.
        """
        if not isinstance(cause, BaseException):
            raise TypeError(f"fail() takes the exception that is the cause, not {cause!r}")
        await self._guard.fail(cause)

    @final
    async def health_check(self) -> HealthStatus:
        """Return how the plugin is. Never changes its state, and raises nothing but ``CancelledError``.

        How a plugin is that is not running, or that is just being moved, is known without its hook. One that hangs
        reads unhealthy at its deadline. Callers that ask at the same time share one run of the hook.
        """
        return await self._guard.health_check()

    @final
    def spawn(self, coroutine: Coroutine[object, object, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run ``coroutine`` as a worker of this plugin, and return its task.

        If it raises, the plugin fails with that cause; if it raises before ``start`` is done, the start fails. It is
        cancelled when the plugin fails or stops, and awaited by ``stop``.

        Raises:
            InvalidState: the plugin is not initialised yet, stopped or failed, so that nobody would end the worker.
            TypeError: it is given something else than a coroutine.
        """
        if not isinstance(coroutine, Coroutine):
            raise TypeError(f"spawn takes a coroutine, what calling an 'async def' function returns; not {coroutine!r}")
        return self._guard.spawn(coroutine, name)

    @final
    @property
    def workers(self) -> tuple[asyncio.Task[object], ...]:
        """The tasks of the workers that have not ended."""
        return tuple(worker.task for worker in self._guard.workers if not worker.task.done())

    def _set_state(self, state: str) -> None:
        """Let the machine set the state, in the middle of a guarded call and at no other time."""
        if self._guard.flight is None:
            raise DefinitionError(
                f"plugin {self._guard.info.name!r} is moved by its own calls only: await plugin.fire(trigger)"
            )
        self._guard.state = cast("State", state)


# On instances of classes that declare none, these are the deadlines of the instance as well.
setattr(Plugin, "deadlines", _OfInstance("deadlines", Plugin.deadlines))  # noqa: B010


def identify(plugin: Plugin, name: str | None, deadlines: Deadlines | None) -> None:
    """Give one plugin a name and deadlines of its own, as the constructor's keywords do.

    For those who build plugins with constructors that do not take the keywords; before registration.

    Raises:
        DefinitionError: the name or the deadlines make no sense.
    """
    guard = plugin._guard
    if name is not None:
        guard.info = evolve(guard.info, name=name)
    if deadlines is not None:
        if not isinstance(deadlines, Deadlines):
            raise DefinitionError(f"deadlines are given as Deadlines(start=5.0), not as {deadlines!r}")
        guard.deadlines = deadlines


def has_default_health(plugin: Plugin) -> bool:
    """Whether a plugin has no ``on_health_check`` of its own, so that it is known to be healthy while it runs."""
    return getattr(plugin.on_health_check, "__func__", None) is Plugin.on_health_check


# Names of the base class that a subclass cannot have for something else. `name` is taken by the constructor.
_CALLS: Final = ("init", "start", "stop", "fire", "fail", "health_check", "spawn", "workers", "state", "failure")


def _check_class(cls: type[Plugin]) -> None:
    """Refuse the mistakes that would otherwise show up in the middle of a start."""
    try:
        declared = inspect.get_annotations(cls)
    except NameError:  # Python 3.14 looks the annotations up now, and one is not defined yet
        declared = {}
    for name in _CALLS:
        if name in declared or inspect.getattr_static(cls, name) is not vars(Plugin)[name]:
            hook = f"; write the hook on_{name}" if hasattr(Plugin, f"on_{name}") else "; call yours something else"
            raise DefinitionError(
                f"{cls.__qualname__} overrides Plugin.{name}, which keeps the lifecycle{hook}, or wrap an object that "
                "has methods of these names with as_plugin(...)"
            )
    for name in ("info", "deadlines", "lifecycle"):
        if name in declared and "ClassVar" not in str(declared[name]):
            raise DefinitionError(
                f"{cls.__qualname__}.{name} belongs to the class, but an annotation makes it a field; "
                f"write '{name} = ...' without one"
            )
    for name, kind in (("info", PluginInfo), ("deadlines", Deadlines), ("lifecycle", Lifecycle)):
        value = vars(cls).get(name)
        if value is not None and not isinstance(value, kind | _OfInstance):
            raise DefinitionError(f"{cls.__qualname__}.{name} is a {kind.__name__}, not {value!r}")
    for name in ("name", "_name", "_deadlines", "_guard"):
        if name in declared:
            raise DefinitionError(
                f"{cls.__qualname__} declares a field {name!r}, which the constructor of every plugin takes already, "
                "for the plugin's own name and deadlines; call the field something else"
            )


@runtime_checkable
class Pipeline(Protocol):
    """Anything with these three methods: `as_plugin` makes a plugin of it, unchanged."""

    async def start(self) -> None:
        """Begin to work."""

    async def stop(self) -> None:
        """End the work and release everything."""

    async def health_check(self) -> HealthStatus:
        """Say how it is."""


class _PipelinePlugin(Plugin):
    info = PluginInfo("pipeline", "0.0.0")  # replaced in every instance

    def __init__(self, pipeline: Pipeline, init: Callable[[], Awaitable[object]] | None) -> None:
        self.pipeline = pipeline
        self._init = init

    async def on_init(self) -> None:
        if self._init is not None:
            await self._init()

    async def on_start(self) -> None:
        await self.pipeline.start()

    async def on_stop(self) -> None:
        await self.pipeline.stop()

    async def on_health_check(self) -> HealthStatus:
        return await self.pipeline.health_check()


def as_plugin(
    pipeline: Pipeline,
    *,
    info: PluginInfo,
    init: Callable[[], Awaitable[object]] | None = None,
    deadlines: Deadlines | None = None,
) -> Plugin:
    """Return a plugin that runs ``pipeline``.

    Args:
        pipeline: the object whose ``start``, ``stop`` and ``health_check`` are the hooks.
        info: the metadata of the plugin.
        init: an asynchronous function without arguments to run as ``on_init``.
        deadlines: how long the hooks may take, in seconds.

    Raises:
        TypeError: ``pipeline`` lacks one of the three methods; the text names it.

    >>> class Beeper:
    ...     async def start(self) -> None: print("beep")
    ...     async def stop(self) -> None: ...
    ...     async def health_check(self) -> HealthStatus: return HealthStatus.healthy()
    >>> plugin = as_plugin(Beeper(), info=PluginInfo("beeper", "1.0.0"))
    >>> plugin.info.name, plugin.state
    ('beeper', State('created'))
    """
    missing = [name for name in ("start", "stop", "health_check") if not callable(getattr(pipeline, name, None))]
    if missing:
        raise TypeError(f"{type(pipeline).__qualname__} is no Pipeline: it has no method {', '.join(missing)}")
    plugin = _PipelinePlugin(pipeline, init)
    plugin._guard.info = info
    identify(plugin, None, deadlines)
    return plugin
