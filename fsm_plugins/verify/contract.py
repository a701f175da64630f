"""What a plugin's own tests say in one class: it keeps the contract of plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from fsm_plugins.plugin import Plugin
from fsm_plugins.verify.base.targets import CannotVerify
from fsm_plugins.verify.reports.report import Scope
from fsm_plugins.verify.verifying import verify

__all__ = ["PluginContract"]


class PluginContract:
    """A test class for pytest: tests for the layers of `fsm_plugins.verify`.

    Derive from it, say how to make the plugin, and give the class a name that pytest collects. A plugin with ports
    is named as ``target``, because only whoever makes the channels can fill in the ports.

    >>> from fsm_plugins import PluginInfo
    >>> class Clock(Plugin):
    ...     info = PluginInfo("clock", "1.0.0")
    >>> class TestClock(PluginContract):
    ...     def plugin(self) -> Plugin:
    ...         return Clock()
    >>> TestClock().test_every_await_may_fail()

    Class attributes:
        target: the class or the function that makes the plugin, instead of the method `plugin`.
        settings: keywords for it.
        scope: how far to go.
        messages: input port -> messages to feed it with.
        ignore: code or slug of a check -> why it may be broken.
    """

    target: ClassVar[object] = None
    settings: ClassVar[Mapping[str, object]] = {}
    scope: ClassVar[Scope] = Scope()
    messages: ClassVar[Mapping[str, Sequence[object]]] = {}
    ignore: ClassVar[Mapping[str, str]] = {}

    def plugin(self) -> Plugin:
        """Return a fresh plugin."""
        raise CannotVerify(f"{type(self).__qualname__} does not say what to verify: write the method plugin, or target")

    def invariant(self, plugin: Plugin) -> bool | None:
        """Return False, or raise, if something does not hold of ``plugin`` that has to after every call."""
        del plugin
        return None

    def test_definition(self) -> None:
        """The lifecycle, the hooks and the ports are as they have to be, and nothing blocks."""
        self._verify("L0")

    def test_every_sequence_of_calls(self) -> None:
        """Every sequence of calls goes as the lifecycle says, and leaves nothing behind."""
        self._verify("L1")

    def test_every_await_may_fail(self) -> None:
        """Whatever is cancelled, raises, or never comes: the plugin can be stopped, and leaves nothing behind."""
        self._verify("L2")

    def test_calls_at_the_same_time(self) -> None:
        """Calls that overlap come to what some order of them would, in whatever order their tasks go on."""
        self._verify("L3", "L4")  # a plugin with sockets or threads has no schedules that could be explored

    def _verify(self, *layers: str) -> None:
        __tracebackhide__ = True
        verify(
            vars(type(self)).get("target") or type(self).target or self.plugin,  # type: ignore[arg-type]
            settings=self.settings,
            scope=self.scope,
            layers=layers,
            invariant=self.invariant,
            messages=self.messages,
            ignore=self.ignore,
        ).assert_holds()
