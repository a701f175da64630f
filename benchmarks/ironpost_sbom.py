"""How long a scan of 100,000 packages takes, and what the bills of materials cost on top.

``python -m benchmarks.ironpost_sbom [--json FILE]``, from the root of the repository. Exit status 1
if a target is missed. The advisories are those of PyPI where they are at hand, or else made up: the same number, with
as many ranges. The lockfiles are written for the purpose, 25,000 packages in each of four formats; a third of the
Python packages have advisories.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks._measure import Sample, alternate
from benchmarks._results import Report, Target, plain
from benchmarks._suites import alone
from ironpost.sbom import Advisories, Scan, cyclonedx, load_advisories, scan_tree, spdx

EACH: Final = 25_000
REPEATS: Final = 5
REAL: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "pypi-osv.zip"
REGISTRY: Final = "registry+https://example.org/index"


def made_up() -> Advisories:
    """Return as many advisories as PyPI's database has, each with two ranges."""
    found = Advisories()
    for number in range(2651):
        events = [{"introduced": "0"}, {"fixed": f"1.{number % 40}.2"}, {"introduced": "2.0"}, {"fixed": "2.3.1"}]
        package = {"ecosystem": "PyPI", "name": f"known-{number // 4}"}
        entry = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        found.add(f"{number}.json", json.dumps({"id": f"MADE-{number}", "affected": [entry]}).encode())
    return found


def names(advisories: Advisories) -> Iterator[str]:
    """Yield names of Python packages; every third has advisories."""
    known = sorted({name for _, name in advisories.packages()})
    for number in range(EACH):
        yield known[number // 3 % len(known)] if number % 3 == 0 else f"plain-{number}"


def write_lockfiles(root: Path, advisories: Advisories) -> None:
    """Write four lockfiles that look like real ones: with hashes, addresses and dependencies."""
    digest = "0123456789abcdef" * 4
    cargo = (
        f'[[package]]\nname = "crate-{n}"\nversion = "1.{n % 50}.0"\nsource = "{REGISTRY}"\nchecksum = "{digest}"\n'
        f'dependencies = [\n "crate-{n + 1}",\n "crate-{n + 2}",\n]\n'
        for n in range(EACH)
    )
    wheel = f'{{ url = "https://example.org/packages/some-1.0-py3-none-any.whl", hash = "sha256:{digest}", size = 9 }}'
    python = list(enumerate(names(advisories)))
    uv = (
        f'[[package]]\nname = "{name}"\nversion = "{n % 5}.{n % 17}"\nsource = {{ registry = "https://example.org" }}\n'
        f"wheels = [\n    {wheel},\n    {wheel},\n    {wheel},\n]\n"
        for n, name in python
    )
    pinned = (f"{name}=={n % 3}.{n % 19}.1 \\\n    --hash=sha256:{digest}" for n, name in python)
    installed = {
        f"node_modules/module-{n}": {
            "version": f"1.{n % 30}.0",
            "resolved": "https://example.org/x",
            "integrity": digest,
        }
        for n in range(EACH)
    }
    (root / "Cargo.lock").write_text("version = 4\n\n" + "\n".join(cargo))
    (root / "uv.lock").write_text("version = 1\n\n" + "\n".join(uv))
    (root / "requirements.txt").write_text("\n".join(pinned))
    (root / "package-lock.json").write_text(json.dumps({"lockfileVersion": 3, "packages": installed}, indent=2))


def benchmark() -> Report:
    """Measure the scan, and each document, in CPU seconds."""
    advisories = load_advisories(REAL) if REAL.is_file() else made_up()
    last: list[Scan] = []
    when = datetime(2024, 5, 1, tzinfo=UTC)
    with tempfile.TemporaryDirectory(prefix="ironpost-") as directory:
        root = Path(directory)
        write_lockfiles(root, advisories)
        size = sum(path.stat().st_size for path in root.iterdir())

        def scan() -> float:
            begin = time.process_time()
            last[:] = [scan_tree(root, advisories)]
            return time.process_time() - begin

        def load() -> float:
            begin = time.process_time()
            if REAL.is_file():
                load_advisories(REAL)
            else:
                made_up()
            return time.process_time() - begin

        def write_cyclonedx() -> float:
            begin = time.process_time()
            cyclonedx("root", last[0].packages, when)
            return time.process_time() - begin

        def write_spdx() -> float:
            begin = time.process_time()
            spdx("root", last[0].packages, when)
            return time.process_time() - begin

        samples = alternate(
            {
                "load the advisories": load,
                "scan: read, parse, match": scan,
                "make the CycloneDX document": write_cyclonedx,
                "make the SPDX document": write_spdx,
            },
            repeats=REPEATS,
        )
    scan_seconds: Sample = samples["scan: read, parse, match"]
    found = last[0]
    return Report(
        f"Scanning {found.entries:,} entries of {len(found.lockfiles)} lockfiles, {size / 1e6:.0f} MB",
        [plain("ironpost-scan", "One scan", samples)],
        [
            f"{len(advisories):,} advisories {'of PyPI' if REAL.is_file() else 'made up'}",
            f"{len(found.packages):,} packages, {len(found.findings):,} findings",
            f"{found.entries / scan_seconds.median:,.0f} packages a second",
        ],
        [Target("100,000 packages are scanned in", max(scan_seconds.values), 10.0, "s")],
    )


if __name__ == "__main__":
    sys.exit(alone("What a scan of lockfiles costs.", benchmark))
