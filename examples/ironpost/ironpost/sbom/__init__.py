"""The plugin ``sbom-scanner``: lockfiles -> bills of materials, and an alert for each package with an advisory."""

from ironpost.sbom.advisories import Advisories, Advisory, AdvisoryError, Finding, load_advisories
from ironpost.sbom.documents import cyclonedx, spdx
from ironpost.sbom.lockfiles import Lockfile, LockfileError, Package, parse
from ironpost.sbom.plugin import CYCLONEDX_FILE, SPDX_FILE, SbomScanner
from ironpost.sbom.scan import Scan, scan_tree
from ironpost.sbom.tree import Limits, Skipped

__all__ = [
    "CYCLONEDX_FILE",
    "SPDX_FILE",
    "Advisories",
    "Advisory",
    "AdvisoryError",
    "Finding",
    "Limits",
    "Lockfile",
    "LockfileError",
    "Package",
    "SbomScanner",
    "Scan",
    "Skipped",
    "cyclonedx",
    "load_advisories",
    "parse",
    "scan_tree",
    "spdx",
]
