"""Everything that the demonstration reads, written to a directory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from ironpost.sample import capture, logs, packages

__all__ = ["AUDIT", "CONFIG", "prepare"]

CONFIG: Final = "demo.toml"
AUDIT: Final = "audit.jsonl"

_HERE: Final = Path(__file__).parent


def prepare(directory: Path) -> Path:
    """Write the samples, the policies and the configuration to ``directory``, and return the path of the last.

    The audit file of a demonstration before is removed.

    Raises:
        OSError: it cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for write in (capture.write, logs.write, packages.write):
        write(directory)
    for name in (CONFIG, "policies.toml"):
        shutil.copyfile(_HERE / name, directory / name)
    (directory / AUDIT).unlink(missing_ok=True)
    return directory / CONFIG
