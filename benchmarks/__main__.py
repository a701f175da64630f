"""Run the benchmarks: print what they find, and one table of what was promised and what was measured.

``python -m benchmarks [NAME ...] [--save]``, from the root of the repository, in an environment with
``benchmarks/requirements.txt``. A peer that is not installed is left out. With ``--save`` the results are kept under
``benchmarks/results`` and ``docs/benchmarks.md`` is written anew. Exit status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import _page
from benchmarks._results import RESULTS, Report, load
from benchmarks._suites import SUITES, run


def main() -> int:
    """Run the suites that are named, or all."""
    parser = argparse.ArgumentParser(description="What the package costs, beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(SUITES)} (default: all)")
    parser.add_argument("--save", action="store_true", help="keep the results, and write docs/benchmarks.md anew")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in SUITES]:
        parser.error(f"there is no {unknown[0]!r}; there are: {', '.join(SUITES)}")
    with TemporaryDirectory() as scratch:
        directory = RESULTS if options.save else Path(scratch)
        names = options.names or list(SUITES)
        for name in names:
            run(name, directory)
        reports = load(directory)
        met = summary({name: reports[name] for name in names if name in reports})
        complete = met and all(name in reports for name in names)
    if options.save:
        _page.write()
    return 0 if complete else 1


def summary(reports: dict[str, Report]) -> bool:
    """Print every target, and return whether all are met."""
    print(f"\n{'target':<62}{'limit':<15}measured")
    for report in reports.values():
        for target in report.targets:
            print(target)
    return all(target.met for report in reports.values() for target in report.targets)


if __name__ == "__main__":
    sys.exit(main())
