"""The plugin: scans, writes the bills of materials, and raises an alert for each finding."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias, get_args

from attrs import Factory, define, field
from attrs.validators import ge, in_

from fsm_plugins import Deadlines, HealthStatus, Plugin, PluginInfo, PluginType, Sender
from ironpost.events import AlertEvent, Severity
from ironpost.sbom.advisories import Advisories, Finding, load_advisories
from ironpost.sbom.documents import cyclonedx, spdx, write_json
from ironpost.sbom.lockfiles import Package
from ironpost.sbom.scan import Scan, scan_tree
from ironpost.sbom.tree import Limits
from ironpost.threads import Token, in_thread

__all__ = ["CYCLONEDX_FILE", "SPDX_FILE", "SbomScanner"]

CYCLONEDX_FILE = "sbom.cdx.json"
SPDX_FILE = "sbom.spdx.json"

logger = logging.getLogger("ironpost.sbom")

SeverityName: TypeAlias = Literal["info", "low", "medium", "high", "critical"]


@define
class SbomScanner(Plugin):
    """Finds lockfiles, says what is in them, and which of it is known to be vulnerable.

    A finding is reported once, however often the tree is scanned. ``findings == sent + unsent``, over all scans.
    Without a channel, findings are logged.

    Args:
        root: the directory to scan.
        output: the directory for the two documents, made if need be; none are written without it.
        advisories: OSV advisories, a directory or a zip file; nothing is matched without it.
        interval: seconds between the end of a scan and the next one; 0 scans once, and then closes the port.
        unrated: the severity of advisories that say none: info, low, medium, high or critical.
        exclude: names of directories that are not searched.
        limits: how much is looked at.

    Attributes:
        scan: the last scan, None before the first is done.
        counts: ``scans``, ``findings`` (new ones), ``known`` (seen again), ``sent``, ``unsent`` (lost to a stop).
    """

    info = PluginInfo("sbom-scanner", "0.1.0", "Matches lockfiles with advisories", PluginType.SCANNER)
    deadlines: ClassVar = Deadlines(stop=10, grace=5)

    alerts: Sender[AlertEvent] | None
    root: Path
    output: Path | None = None
    advisories: Path | None = None
    interval: float = field(default=0.0, validator=ge(0))
    unrated: SeverityName = field(default="medium", validator=in_(get_args(SeverityName)))
    exclude: frozenset[str] = frozenset({".git", "node_modules"})
    limits: Limits = Factory(Limits)
    clock: Callable[[], float] = field(default=time.time, init=False)
    scan: Scan | None = field(default=None, init=False)
    counts: Counter[str] = field(factory=Counter, init=False)
    _known: set[Finding] = field(factory=set, init=False)
    _database: Advisories = field(factory=Advisories, init=False)

    async def on_init(self) -> None:
        """Read the advisories.

        Raises:
            NotADirectoryError: there is no directory ``root``.
            AdvisoryError: the advisories cannot be had.
        """
        if not self.root.is_dir():
            raise NotADirectoryError(f"there is no directory {self.root}; set 'root' to the one to scan")
        path = self.advisories
        if path is not None:
            self._database = await in_thread(lambda token: load_advisories(path, token.check))

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def on_health_check(self) -> HealthStatus:
        scan = self.scan
        if self.advisories is None:
            return HealthStatus.degraded("no advisories are set, so that nothing is matched")
        if not len(self._database):
            return HealthStatus.degraded(f"there is no advisory in {self.advisories}")
        if scan is not None and scan.skipped:
            return HealthStatus.degraded(f"{len(scan.skipped)} left out, such as {scan.skipped[0]}")
        return HealthStatus.healthy()

    def account(self) -> dict[str, int]:
        """Return the counts of the scans, the findings, and what the advisories and the last scan came to."""
        known = self._database
        counts = {**self.counts, "advisories": len(known), "advisories refused": len(known.refused)}
        if self.scan is not None:
            counts |= {
                "lockfiles": len(self.scan.lockfiles),
                "packages": len(self.scan.packages),
                "left out": len(self.scan.skipped),
                "orderless": len(self.scan.orderless),
            }
        return counts

    async def _work(self) -> None:
        while True:
            self.scan = scan = await in_thread(self._scan)
            self.counts["scans"] += 1
            await self._report(scan)
            if not self.interval:
                break
            await asyncio.sleep(self.interval)
        if self.alerts is not None:
            self.alerts.close()

    def _scan(self, token: Token) -> Scan:
        """Scan and write the documents, in a thread."""
        scan = scan_tree(self.root, self._database, self.limits, self.exclude, token.check)
        if self.output is not None:
            name, created = self.root.resolve().name or "root", datetime.fromtimestamp(self.clock(), UTC)
            write_json(self.output / CYCLONEDX_FILE, cyclonedx(name, scan.packages, created, token.check))
            write_json(self.output / SPDX_FILE, spdx(name, scan.packages, created, token.check))
        return scan

    async def _report(self, scan: Scan) -> None:
        new = [finding for finding in scan.findings if finding not in self._known]
        self.counts["findings"] += len(new)
        self.counts["known"] += len(scan.findings) - len(new)
        unsent = len(new)
        try:
            for finding in new:
                alert = self._alert(finding, scan.packages[finding.package])
                if self.alerts is not None:
                    await self.alerts.send(alert)
                else:
                    logger.warning("%s", alert)
                self._known.add(finding)
                self.counts["sent"] += 1
                unsent -= 1
        finally:
            self.counts["unsent"] += unsent

    def _alert(self, finding: Finding, files: tuple[str, ...]) -> AlertEvent:
        package, advisory = finding.package, finding.advisory
        also = f" ({', '.join(advisory.aliases)})" if advisory.aliases else ""
        return AlertEvent(
            source=self.info.name,
            time=self.clock(),
            rule=advisory.id,
            title=f"{package.name} {package.version} is affected by {advisory.id}{also}",
            severity=Severity[self.unrated.upper()] if advisory.severity is None else advisory.severity,
            fields=_fields(package, finding, files),
        )


def _fields(package: Package, finding: Finding, files: tuple[str, ...]) -> dict[str, object]:
    return {
        "package": package.name,
        "version": package.version,
        "ecosystem": package.ecosystem,
        "purl": package.purl,
        "advisory": finding.advisory.id,
        "aliases": finding.advisory.aliases,
        "summary": finding.advisory.summary,
        "score": finding.advisory.score,
        "fixed": finding.fixed,
        "files": files,
    }
