"""For pytest: ``--fsm-verify PACKAGE`` verifies every plugin class of a package, one test for each.

A class that needs settings is skipped, with the reason; write a `PluginContract` for it. Nothing but pytest is imported
before the option is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fsm_plugins.plugin import Plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("fsm-plugins", "plugins as finite state machines")
    group.addoption(
        "--fsm-verify", action="append", default=[], metavar="PACKAGE", help="Verify every plugin class of PACKAGE."
    )
    group.addoption("--fsm-depth", type=int, default=None, metavar="CALLS", help="How many calls a sequence has.")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Refuse a package that cannot be imported before anything is run."""
    for name in session.config.getoption("--fsm-verify"):
        from fsm_plugins.verify.base.targets import CannotVerify
        from fsm_plugins.verify.discovery import classes_of

        try:
            classes_of(name)
        except CannotVerify as error:
            raise pytest.UsageError(f"--fsm-verify: {error}") from error


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add a test for each plugin class."""
    for name in session.config.getoption("--fsm-verify"):
        items.extend(_Package.from_parent(session, name=name, nodeid=f"fsm-verify {name}").collect())


class _Package(pytest.Collector):
    """The plugin classes of one package."""

    def collect(self) -> Iterator[_Verification]:
        from fsm_plugins.verify.discovery import classes_of

        for cls in classes_of(self.name):
            yield _Verification.make(self, cls)


class _Verification(pytest.Item):
    """The verification of one class."""

    cls: type[Plugin]

    @classmethod
    def make(cls, parent: _Package, plugin_class: type[Plugin]) -> _Verification:
        item: _Verification = cls.from_parent(parent, name=f"{plugin_class.__module__}:{plugin_class.__qualname__}")
        item.cls = plugin_class
        return item

    def runtest(self) -> None:
        """Verify it."""
        from fsm_plugins.verify.base.targets import CannotVerify
        from fsm_plugins.verify.reports.report import Scope
        from fsm_plugins.verify.verifying import verify

        depth = self.config.getoption("--fsm-depth")
        try:
            report = verify(self.cls, scope=Scope() if depth is None else Scope(depth=depth))
        except CannotVerify as error:
            pytest.skip(str(error))
        report.assert_holds()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """Return the report, without a traceback."""
        del style
        return str(excinfo.value).strip() if isinstance(excinfo.value, AssertionError) else str(excinfo.getrepr())

    def reportinfo(self) -> tuple[str, None, str]:
        """Return what the test is called."""
        return "fsm-verify", None, f"fsm-verify {self.name}"
