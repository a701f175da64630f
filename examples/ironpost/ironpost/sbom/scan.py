"""One scan: a tree and a database of advisories -> packages, findings, and an account of everything that was met."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from ironpost.sbom.advisories import Advisories, Finding
from ironpost.sbom.lockfiles import LockfileError, Package, parse
from ironpost.sbom.tree import Limits, Skipped, Walk

__all__ = ["Scan", "scan_tree"]


@frozen
class Scan:
    """What a scan found.

    Attributes:
        lockfiles: the paths of the lockfiles that were read, relative to the root.
        packages: package -> the lockfiles it is in.
        findings: by package.
        entries: how many entries the lockfiles have.
        ignored: reason -> how many entries gave no package of their own; these and the packages are the entries.
        skipped: lockfiles and directories that were left out, with the reasons.
        orderless: packages with advisories whose version cannot be compared with anything.
        seconds: how long it took.
    """

    lockfiles: tuple[str, ...]
    packages: Mapping[Package, tuple[str, ...]]
    findings: tuple[Finding, ...]
    entries: int
    ignored: Mapping[str, int]
    skipped: tuple[Skipped, ...]
    orderless: tuple[Package, ...]
    seconds: float


def scan_tree(
    root: Path,
    advisories: Advisories,
    limits: Limits | None = None,
    exclude: frozenset[str] = frozenset(),
    check: Callable[[], None] = lambda: None,
) -> Scan:
    """Find the lockfiles below ``root``, read them, and look up their packages.

    Args:
        check: called often; it may raise to end the scan.
    """
    began = time.monotonic()
    walk = Walk(root, limits or Limits(), exclude)
    read: list[str] = []
    refused: list[Skipped] = []
    where: dict[Package, dict[str, None]] = {}
    ignored: Counter[str] = Counter()
    entries = 0
    for path, content in walk.lockfiles(check):
        try:
            found = parse(path.rpartition("/")[2], content)
        except LockfileError as error:
            refused.append(Skipped(path, str(error)))
            continue
        read.append(path)
        entries += found.entries
        ignored += found.ignored
        for package in found.packages:
            if package in where:
                ignored["in another lockfile, too"] += 1
            where.setdefault(package, {})[path] = None
    findings: list[Finding] = []
    orderless: list[Package] = []
    for number, package in enumerate(sorted(where)):
        if number % 256 == 0:
            check()
        findings += advisories.find(package)
        if advisories.orderless(package):
            orderless.append(package)
    return Scan(
        tuple(read),
        {package: tuple(files) for package, files in where.items()},
        tuple(findings),
        entries,
        dict(ignored),
        (*walk.skipped, *refused),
        tuple(orderless),
        time.monotonic() - began,
    )
