"""A plugin may be written as a plain class, with attrs, as a dataclass, generic, or with mixins."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import weakref
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import pytest

from fsm_plugins import Deadlines, DefinitionError, HealthStatus, Plugin, PluginInfo, PluginRegistry
from fsm_plugins.testing import run

T = TypeVar("T")
INFO = PluginInfo("declared", "1.0.0")
SHORT = Deadlines(stop=0.5)


class Plain(Plugin):
    info = INFO


class OwnInit(Plugin):
    info = INFO

    def __init__(self, size: int = 3, **_keywords: object) -> None:
        self.size = size


class OwnInitWithSuper(Plugin):
    info = INFO

    def __init__(self, size: int = 3, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.size = size


@attrs.define
class Defined(Plugin):
    info = INFO
    size: int = 3


@attrs.frozen
class Frozen(Plugin):
    info = INFO
    size: int = 3


@attrs.define(slots=False, eq=True)
class Equal(Plugin):
    info = INFO
    size: int = 3


@attrs.define
class Of(Plugin, Generic[T]):
    info = INFO
    size: T | None = None


class InfoMixin:
    """Gives a class its metadata, from before Plugin in the line of bases."""

    info = INFO
    deadlines = Deadlines(stop=9.0)


class Mixed(InfoMixin, Plugin):
    pass


class Registering(Plugin):
    """Knows its subclasses, as a framework on top would."""

    info = INFO
    known: ClassVar[list[str]] = []

    def __init_subclass__(cls, *, label: str = "", **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        cls.known.append(label)


class Registered(Registering, label="leaf"):
    pass


@dataclasses.dataclass
class Data(Plugin):
    info = INFO
    size: int = 3


@dataclasses.dataclass(eq=False)
class PlainData(Plugin):
    info = INFO
    size: int = 3


STYLES = [Plain, OwnInit, OwnInitWithSuper, Defined, Frozen, Equal, Of, Of[int], Mixed, Registered]


@pytest.mark.parametrize("style", [*STYLES, Data, PlainData], ids=lambda style: str(getattr(style, "__name__", style)))
def test_every_style_lives(style: Any) -> None:
    """It is initialised, started, asked and stopped, alone and in a registry; two of a kind do not meet."""

    async def main() -> None:
        plugin, other = style(), style()
        registry = PluginRegistry()
        registry.register(plugin)
        async with registry.running():
            assert (await plugin.health_check()).is_healthy
            assert other.state == "created"
        assert (plugin.state, other.state) == ("stopped", "created")
        assert plugin.info == style.info == INFO

    run(main)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: str(getattr(style, "__name__", style)))
def test_name_and_deadlines_can_be_given_to_an_instance(style: Any) -> None:
    """``name=`` and ``deadlines=`` are those of the instance; the class keeps what it declared."""
    plugin = style(name="given", deadlines=SHORT)
    assert (plugin.info.name, plugin.info.version) == ("given", "1.0.0")
    assert plugin.deadlines == plugin._guard.deadlines == SHORT
    assert style().info == style.info == INFO
    assert style().deadlines == style.deadlines != SHORT


def test_an_own_init_can_hand_them_on() -> None:
    """``super().__init__(name=...)`` works, however the class itself came to the name."""

    class Numbered(Plugin):
        info = INFO

        def __init__(self, number: int) -> None:
            super().__init__(name=f"pump-{number}", deadlines=SHORT)

    assert Numbered(7).info.name == "pump-7"
    assert Numbered(7).deadlines == SHORT


def test_a_class_may_declare_deadlines_and_a_subclass_others() -> None:
    """Class attributes are inherited and overridden as any others."""

    class Base(Plain):
        deadlines = SHORT

    class Leaf(Base):
        info = PluginInfo("leaf", "2.0.0")

    assert (Base.deadlines, Leaf.deadlines, Leaf().deadlines) == (SHORT, SHORT, SHORT)
    assert (Base().info.name, Leaf().info.name, Leaf.info.version) == ("declared", "leaf", "2.0.0")


def body(**attributes: object) -> dict[str, object]:
    return {"info": INFO, **attributes}


class CallMixin:
    async def start(self) -> None:
        """Would replace the call that keeps the lifecycle."""


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: type("P", (Plugin,), {})(), r"P has no metadata: add info = PluginInfo\('my-plugin', '0.1.0'\)"),
        (lambda: Plugin(), "Plugin has no metadata"),
        (lambda: type("P", (Plugin,), body(start=lambda self: None)), "P overrides Plugin.start, .*the hook on_start"),
        (lambda: type("P", (Plugin,), body(spawn=5)), "P overrides Plugin.spawn, .*call yours something else"),
        (lambda: type("P", (CallMixin, Plugin), body()), "P overrides Plugin.start, .*as_plugin"),
        (lambda: type("P", (Plugin,), body(__annotations__={"state": str})), "P overrides Plugin.state"),
        (lambda: type("P", (Plugin,), body(__annotations__={"info": "PluginInfo"})), "P.info belongs to the class"),
        (lambda: type("P", (Plugin,), body(__annotations__={"name": str})), "P declares a field 'name'"),
        (lambda: type("P", (Plugin,), {"info": "declared"}), "P.info is a PluginInfo, not 'declared'"),
        (lambda: type("P", (Plugin,), body(deadlines=5)), "P.deadlines is a Deadlines, not 5"),
        (lambda: type("P", (Plugin,), body(lifecycle=[])), r"P.lifecycle is a Lifecycle, not \[\]"),
        (lambda: Plain(name=""), "a plugin's name is a non-empty printable word"),
        (lambda: Plain(name=5), "a plugin's name is a non-empty printable word"),  # type: ignore[arg-type]
        (lambda: Plain(deadlines=5), r"deadlines are given as Deadlines\(start=5.0\), not as 5"),  # type: ignore[arg-type]
    ],
)
def test_a_class_that_could_never_work_is_refused(make: Any, text: str) -> None:
    """Where it is defined, or where the instance is made; and the text names the remedy."""
    with pytest.raises(DefinitionError, match=text):
        make()


def test_a_mixin_after_plugin_overrides_nothing() -> None:
    """Only the line of bases decides: there the calls of Plugin come first."""

    class After(Plain, CallMixin):
        pass

    assert After.start is Plugin.start


def test_hooks_of_mixins_are_called() -> None:
    """A mixin may bring hooks, and they may call each other."""
    log = []

    class Base(Plain):
        async def on_start(self) -> None:
            log.append("base")

    class Mixin(Plugin):
        async def on_start(self) -> None:
            log.append("mixin")
            await super().on_start()

        async def on_health_check(self) -> HealthStatus:
            return HealthStatus.degraded("mixed")

    class Both(Mixin, Base):
        pass

    async def main() -> None:
        both = Both()
        await both.init()
        await both.start()
        assert log == ["mixin", "base"]
        assert await both.health_check() == HealthStatus.degraded("mixed")

    run(main)


@pytest.mark.parametrize("name", ["state", "failure"])
def test_state_and_failure_cannot_be_assigned(name: str) -> None:
    """Only the plugin's own calls move it, and the machine outside of them cannot either."""
    plugin = Plain()
    with pytest.raises(AttributeError):
        setattr(plugin, name, "running")
    with pytest.raises(DefinitionError, match="moved by its own calls only"):
        plugin._set_state("running")
    assert plugin.state == "created"


def test_a_plugin_can_be_referred_to_weakly_and_is_collected() -> None:
    """After its life nothing holds on to a plugin or to its registry: no task, no timer, no table."""

    class Busy(Plain):
        async def on_start(self) -> None:
            self.spawn(work())

        async def on_stop(self) -> None:
            await work(0.1)

    async def work(seconds: float = 100.0) -> None:
        await asyncio.sleep(seconds)

    async def main() -> list[weakref.ref[Any]]:
        plugin, registry = Busy(), PluginRegistry()
        registry.register(plugin)
        registry.subscribe(lambda event: None)
        async with registry.running():
            await registry.health_check_all()
        references: list[weakref.ref[Any]] = [weakref.ref(plugin), weakref.ref(registry)]
        del plugin, registry
        gc.collect()
        return references

    assert [reference() for reference in run(main)] == [None, None]
