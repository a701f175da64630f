"""The scanner as a plugin: documents, alerts, accounts, and an end at any time."""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL
from spdx_tools.spdx.model.document import Document
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from fsm_plugins import ConfigError, HookFailed, Receiver, Sender, channel
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from ironpost.events import AlertEvent, Severity
from ironpost.sample import packages as sample
from ironpost.sbom import CYCLONEDX_FILE, SPDX_FILE, Limits, Package, SbomScanner, Scan, cyclonedx, spdx
from ironpost.sbom import plugin as plugin_module
from ironpost.threads import Token, in_thread

WHEN = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)

names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6)
packages = st.builds(Package, st.sampled_from(["PyPI", "npm", "crates.io"]), names, names)


def scanner(where: Path, capacity: int = 100, **settings: object) -> tuple[SbomScanner, Receiver[AlertEvent]]:
    sender: Sender[AlertEvent]
    alerts: Receiver[AlertEvent]
    sender, alerts = channel(capacity)
    given_here = {"root": where / "project", "advisories": where / "advisories", "output": where / "out"}
    plugin = SbomScanner(alerts=sender, **{**given_here, **settings})  # type: ignore[arg-type]
    plugin.clock = lambda: WHEN.timestamp()
    return plugin, alerts


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def started(plugin: SbomScanner) -> None:
    await plugin.init()
    await plugin.start()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    sample.write(tmp_path)
    return tmp_path


# Documents.


def _sorted(components: Any) -> list[dict[str, str]]:
    return sorted(components, key=lambda component: str(component["bom-ref"]))


@given(st.sets(packages, max_size=6))
def test_cyclonedx_is_what_its_library_writes(found: set[Package]) -> None:
    """Byte for byte the same values, and valid against the strict schema."""
    document = cyclonedx("root", found, WHEN)
    metadata = BomMetaData(component=Component(name="root", type=ComponentType.APPLICATION, bom_ref="subject"))
    metadata.tools.components.add(Component(name="ironpost", type=ComponentType.APPLICATION))
    metadata.timestamp = WHEN
    components = [
        Component(
            name=each.name,
            version=each.version,
            type=ComponentType.LIBRARY,
            purl=PackageURL.from_string(each.purl),
            bom_ref=each.purl,
        )
        for each in found
    ]
    with warnings.catch_warnings(action="ignore"):  # about the dependencies
        theirs = json.loads(JsonV1Dot6(Bom(components=components, metadata=metadata)).output_as_string())
    for each in (document, theirs):
        each.pop("serialNumber")
    theirs.pop("dependencies")  # who needs whom is not read from lockfiles, and is left open
    assert _sorted(document.pop("components", [])) == _sorted(theirs.pop("components", []))
    assert document == theirs
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(cyclonedx("root", found, WHEN))) is None


def test_documents_depend_on_the_packages_only() -> None:
    """Not on their order; other packages have another number."""
    some = [Package("PyPI", "a", "1"), Package("npm", "@b/c", "2.0.0"), Package("PyPI", "a", "2")]
    for make, number in ((cyclonedx, "serialNumber"), (spdx, "documentNamespace")):
        assert make("root", some, WHEN) == make("root", [*reversed(some), some[0]], WHEN)
        numbers = {str(make(name, found, WHEN)[number]) for name in ("x", "y") for found in (some, some[:2], [])}
        assert len(numbers) == 6


def test_spdx_is_valid(tmp_path: Path) -> None:
    """Says the library of SPDX; and it has every package with its address."""
    some = [Package("PyPI", "a", "1"), Package("npm", "@b/c", "2.0.0"), Package("crates.io", "x_y", "0.1.0+z")]
    path = tmp_path / "a.spdx.json"
    path.write_text(json.dumps(spdx("root", some, WHEN)))
    document = parse_file(str(path))
    assert isinstance(document, Document)
    assert validate_full_spdx_document(document) == []
    found = {(each.name, each.version, each.external_references[0].locator) for each in document.packages}
    assert found == {(each.name, each.version, each.purl) for each in some}


# The plugin.


def test_the_sample_is_found(project: Path) -> None:
    """Each finding once, with its severity, its evidence and a chain of its own; then the channel ends."""

    async def main() -> list[AlertEvent]:
        plugin, alerts = scanner(project)
        await started(plugin)
        found = [alert async for alert in alerts]
        assert (await plugin.health_check()).is_healthy
        assert plugin.account() == {
            "scans": 1,
            "findings": 4,
            "known": 0,
            "sent": 4,
            "unsent": 0,
            "advisories": 5,
            "advisories refused": 0,
            "lockfiles": 4,
            "packages": 7,
            "left out": 0,
            "orderless": 0,
        }
        await plugin.stop()
        return found

    found = asyncio.run(main())
    assert {(alert.fields["package"], alert.rule): str(alert.severity) for alert in found} == sample.FINDINGS
    assert len({alert.trace for alert in found}) == 4 and all(alert.trace == alert.id for alert in found)
    ember = next(alert for alert in found if alert.fields["package"] == "ember-web")
    assert ember.title == "ember-web 2.3.1 is affected by SAMPLE-2024-0001"
    assert (ember.source, ember.time, ember.fields["score"]) == ("sbom-scanner", WHEN.timestamp(), 9.8)
    assert ember.fields["files"] == ("api/requirements.txt", "api/uv.lock")
    assert ember.fields["fixed"] == ("2.3.2",)
    for name in (CYCLONEDX_FILE, SPDX_FILE):
        assert "ember-web" in (project / "out" / name).read_text()
    assert sorted(path.name for path in (project / "out").iterdir()) == [CYCLONEDX_FILE, SPDX_FILE]


def test_entries_are_accounted_for(project: Path) -> None:
    """Packages and what is ignored, with the reasons, are all there is."""

    async def main() -> Scan | None:
        plugin, alerts = scanner(project)
        await started(plugin)
        async for _ in alerts:
            pass
        await plugin.stop()
        return plugin.scan

    scan = asyncio.run(main())
    assert scan is not None
    assert scan.entries == len(scan.packages) + sum(scan.ignored.values()) == 12
    assert scan.ignored == {"not pinned": 1, "local": 3, "in another lockfile, too": 1}


def test_the_next_scan_reports_what_is_new(project: Path) -> None:
    """And nothing a second time; unrated findings have the severity that was set."""

    async def main() -> None:
        plugin, alerts = scanner(project, interval=0.001, unrated="critical")
        await started(plugin)
        first = [await alerts.recv() for _ in range(4)]
        gravel = next(alert for alert in first if alert.fields["package"] == "gravel")
        assert gravel.severity == Severity.CRITICAL
        put(project / "project/uv.lock", '[[package]]\nname = "Ember_Web"\nversion = "1.0"\n')
        second = await alerts.recv()
        assert (second.fields["version"], second.fields["files"]) == ("1.0", ("uv.lock",))
        await plugin.stop()
        assert plugin.counts["findings"] == plugin.counts["sent"] == 5
        again = plugin.counts["scans"] - 1
        assert 4 <= 4 * again <= plugin.counts["known"] <= 5 * again

    asyncio.run(main())


def test_what_a_stop_leaves_unsent_is_counted(project: Path) -> None:
    """A consumer that does not read holds the scanner up, and a stop ends that."""

    async def main() -> None:
        plugin, alerts = scanner(project, capacity=1)
        await started(plugin)
        await alerts.recv()
        await asyncio.sleep(0)  # the next one takes its place
        await plugin.stop()
        assert len(alerts) == 1
        assert (plugin.counts["findings"], plugin.counts["sent"], plugin.counts["unsent"]) == (4, 2, 2)

    asyncio.run(main())


def test_a_stop_ends_the_thread(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a scan; nothing is written, and no thread works on."""
    inside, ended = threading.Event(), threading.Event()

    def endless(*arguments: object) -> None:
        check = arguments[-1]
        assert callable(check)
        inside.set()
        try:
            while True:
                check()
        finally:
            ended.set()

    monkeypatch.setattr(plugin_module, "scan_tree", endless)

    async def main() -> None:
        plugin, _ = scanner(project)
        await started(plugin)
        await asyncio.to_thread(inside.wait)
        await plugin.stop()
        assert ended.is_set() and not plugin.workers and plugin.failure is None

    asyncio.run(main())
    assert not (project / "out").exists()


def test_a_thread_that_ends_badly_says_so() -> None:
    """Its exception is that of the caller; one that comes after the cancellation is nobody's."""

    def fail(token: Token) -> None:
        begun.set()
        go_on.wait()
        raise ZeroDivisionError

    begun, go_on = threading.Event(), threading.Event()

    async def main() -> None:
        task = asyncio.create_task(in_thread(fail))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ZeroDivisionError):
            await in_thread(fail)

    asyncio.run(main())


def test_what_is_wrong_is_told_before_the_start(project: Path) -> None:
    """A directory or advisories that are not there fail the init, with the name of the setting."""

    async def main() -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"root": project / "none"}, r"there is no directory .*none; set 'root'"),
            ({"advisories": project / "none.zip"}, r"there are no advisories at .*none.zip; set 'advisories'"),
        ]
        for settings, says in cases:
            plugin, _ = scanner(project, **settings)
            with pytest.raises(HookFailed, match=says):
                await plugin.init()
            await plugin.stop()

    asyncio.run(main())


def test_health_says_what_is_missing(project: Path) -> None:
    """No advisories, an empty database, lockfiles that were left out: it works, but not as it should."""
    put(project / "project/bad/uv.lock", "]")
    (project / "empty").mkdir()

    async def main() -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"advisories": None}, "no advisories are set"),
            ({"advisories": project / "empty"}, "there is no advisory in "),
            ({}, "1 left out, such as bad/uv.lock: not TOML: "),
            ({"limits": Limits(files=1)}, "such as api/requirements.txt: more than 1 lockfiles"),
        ]
        for settings, says in cases:
            plugin, alerts = scanner(project, **settings)
            await started(plugin)
            async for _ in alerts:
                pass
            health = await plugin.health_check()
            assert health.is_degraded and says in health.reason
            await plugin.stop()

    asyncio.run(main())


def test_settings_are_checked(project: Path) -> None:
    """As those of any plugin."""
    with pytest.raises(ValueError, match="unrated"):
        scanner(project, unrated="terrible")
    with pytest.raises(ValueError, match="interval"):
        scanner(project, interval=-1)


def test_it_is_wired_by_its_port(project: Path) -> None:
    """With an orchestrator, as in an application."""
    spec = PluginSpec("sbom-scanner", SbomScanner, settings={"root": project / "project"})
    with pytest.raises(ConfigError, match="alerts"):
        Orchestrator([spec], {"alerts": 1})
