"""A project with old packages, and advisories about them: all of it made up, and the same every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

__all__ = ["ADVISORIES", "FINDINGS", "write"]

_CRATES: Final = "registry+https://github.com/rust-lang/crates.io-index"

LOCKFILES: Final = {
    "api/requirements.txt": """\
# Pinned by hand.
ember-web==2.3.1
lantern[cache]==0.9.4 ; python_version >= "3.9"
paper-boat>=1.0
""",
    "api/uv.lock": """\
version = 1
requires-python = ">=3.11"

[[package]]
name = "api"
version = "0.1.0"
source = { virtual = "." }

[[package]]
name = "ember-web"
version = "2.3.1"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "tinder-box"
version = "1.0rc2"
source = { registry = "https://pypi.org/simple" }
""",
    "agent/Cargo.lock": f"""\
version = 4

[[package]]
name = "agent"
version = "0.1.0"
dependencies = ["gravel"]

[[package]]
name = "gravel"
version = "0.4.0+build.7"
source = "{_CRATES}"
""",
    "page/package-lock.json": json.dumps(
        {
            "name": "page",
            "lockfileVersion": 3,
            "packages": {
                "": {"name": "page", "version": "1.0.0"},
                "node_modules/@quarry/flint": {"version": "3.1.0"},
                "node_modules/left-lane": {"version": "1.2.9"},
                "node_modules/left-lane/node_modules/@quarry/flint": {"version": "3.2.0"},
            },
        },
        indent=2,
    )
    + "\n",
}


def _advisory(
    number: int, ecosystem: str, name: str, events: list[dict[str, str]], summary: str, vector: str = ""
) -> dict[str, object]:
    kind = "ECOSYSTEM" if ecosystem == "PyPI" else "SEMVER"
    document: dict[str, object] = {
        "schema_version": "1.6.0",
        "id": f"SAMPLE-2024-{number:04}",
        "modified": "2024-05-01T00:00:00Z",
        "published": "2024-05-01T00:00:00Z",
        "summary": summary,
        "affected": [
            {
                "package": {"ecosystem": ecosystem, "name": name},
                "ranges": [{"type": kind, "events": events}],
            }
        ],
    }
    return document | ({"severity": [{"type": "CVSS_V3", "score": vector}]} if vector else {})


ADVISORIES: Final = [
    _advisory(
        1,
        "PyPI",
        "ember-web",
        [{"introduced": "0"}, {"fixed": "2.3.2"}],
        "A crafted header runs code",
        "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
    ),
    _advisory(
        2,
        "PyPI",
        "tinder-box",
        [{"introduced": "0.5"}, {"fixed": "1.0"}],
        "The session key is guessed from its time",
        "CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:H/A:N",
    ),
    _advisory(3, "PyPI", "lantern", [{"introduced": "0"}, {"fixed": "0.9.4"}], "Mended in the version that is used"),
    _advisory(4, "crates.io", "gravel", [{"introduced": "0.3.0"}, {"last_affected": "0.4.0"}], "Reads past its end"),
    _advisory(
        5,
        "npm",
        "@quarry/flint",
        [{"introduced": "3.0.0"}, {"fixed": "3.2.0"}],
        "A long string takes for ever",
        "CVSS:3.1/AV:L/AC:H/PR:L/UI:R/S:U/C:N/I:N/A:L",
    ),
]

FINDINGS: Final = {
    ("ember-web", "SAMPLE-2024-0001"): "critical",
    ("tinder-box", "SAMPLE-2024-0002"): "high",
    ("gravel", "SAMPLE-2024-0004"): "medium",
    ("@quarry/flint", "SAMPLE-2024-0005"): "low",
}
"""What a scan finds here: (package, advisory) -> severity."""


def write(directory: Path) -> None:
    """Write lockfiles below ``directory/project``, and advisories to ``directory/advisories``."""
    for name, text in LOCKFILES.items():
        path = directory / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for advisory in ADVISORIES:
        path = directory / "advisories" / f"{advisory['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(advisory, indent=2) + "\n", encoding="utf-8")
