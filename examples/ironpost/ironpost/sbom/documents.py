"""Packages -> software bills of materials: CycloneDX 1.6 and SPDX 2.3, both as JSON.

The same packages always give the same documents, so that two scans can be compared: the serial number and the namespace
are made of the packages, and the time is given.

The envelope of CycloneDX is made by its library, the components are written here in the same form. For the library
looks up each component in all others as it writes them, and 100,000 would take it the better part of an hour; the
tests hold that both write the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6

from ironpost.sbom.lockfiles import Package

__all__ = ["cyclonedx", "spdx", "write_json"]

_NAMESPACE: Final = uuid.UUID("7f9c0f4e-3d0b-4a53-9a51-1f6c2d6a7f10")
_TOOL: Final = "ironpost"


def _digest(name: str, purls: Iterable[str]) -> uuid.UUID:
    """Return an id that only the same packages have."""
    return uuid.uuid5(_NAMESPACE, hashlib.sha256("\n".join([name, *purls]).encode()).hexdigest())


def _ordered(packages: Iterable[Package], check: Callable[[], None]) -> list[tuple[Package, str]]:
    """Return each package once, in order, with its package URL."""
    found = []
    for number, package in enumerate(sorted(set(packages))):
        if number % 1000 == 0:
            check()
        found.append((package, package.purl))
    return found


def cyclonedx(
    name: str, packages: Iterable[Package], created: datetime, check: Callable[[], None] = lambda: None
) -> dict[str, object]:
    """Return a CycloneDX 1.6 document (https://cyclonedx.org/docs/1.6/json/).

    Args:
        name: what the packages make up.
        packages: in any order.
        created: when, with its time zone.
        check: called now and then; it may raise to end the work.
    """
    ordered = _ordered(packages, check)
    subject = Component(name=name, type=ComponentType.APPLICATION, bom_ref="subject")
    tool = Component(name=_TOOL, type=ComponentType.APPLICATION)
    metadata = BomMetaData(component=subject, timestamp=created)
    metadata.tools.components.add(tool)
    envelope = Bom(serial_number=_digest(name, (purl for _, purl in ordered)), metadata=metadata)
    document: dict[str, object] = json.loads(JsonV1Dot6(envelope).output_as_string())
    document.pop("dependencies")  # who needs whom is left open: an entry would say that nobody needs anything
    components = [
        {"bom-ref": purl, "name": package.name, "purl": purl, "type": "library", "version": package.version}
        for package, purl in ordered
    ]
    return document | {"components": components} if components else document


def spdx(
    name: str, packages: Iterable[Package], created: datetime, check: Callable[[], None] = lambda: None
) -> dict[str, object]:
    """Return an SPDX 2.3 document (https://spdx.github.io/spdx-spec/v2.3/). The arguments are those of `cyclonedx`."""
    ordered = _ordered(packages, check)
    listed: list[Mapping[str, object]] = [
        {
            "SPDXID": f"SPDXRef-Package-{number}",
            "name": package.name,
            "versionInfo": package.version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "externalRefs": [
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
            ],
        }
        for number, (package, purl) in enumerate(ordered, 1)
    ]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:uuid:{_digest(name, (purl for _, purl in ordered))}",
        "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": [f"Tool: {_TOOL}"]},
        "packages": listed,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package["SPDXID"],
            }
            for package in listed
        ],
    }


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write a document so that whoever reads the file finds the old or the new one, and nothing in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
