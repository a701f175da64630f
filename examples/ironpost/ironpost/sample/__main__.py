"""Write everything that a demonstration reads: ``python -m ironpost.sample DIRECTORY``.

Each module next to this one writes its part. What is there already is written anew; nothing else is touched.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

import ironpost.sample


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the samples, and return the exit code: 0, 1 if they cannot be written, or 2 for a wrong command line."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or given[0].startswith("-"):
        print("usage: python -m ironpost.sample DIRECTORY", file=sys.stderr)
        return 0 if given in (["-h"], ["--help"]) else 2
    directory = Path(given[0])
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for entry in sorted(pkgutil.iter_modules(ironpost.sample.__path__), key=lambda entry: entry.name):
            if not entry.name.startswith("_"):
                importlib.import_module(f"ironpost.sample.{entry.name}").write(directory)
    except OSError as error:
        print(f"the samples cannot be written: {error}", file=sys.stderr)
        return 1
    print(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
