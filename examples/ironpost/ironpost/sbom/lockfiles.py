"""Lockfiles -> packages: what exactly a project was built with.

Five formats, told by the name of the file. Every entry of a lockfile becomes a `Package` or is counted with the reason
why not, so that ``entries == len(packages) + sum(ignored.values())``. A file that cannot be read as what its name says
is a `LockfileError`, whatever is in it.

The formats: https://doc.rust-lang.org/cargo/guide/cargo-toml-vs-cargo-lock.html,
https://docs.npmjs.com/cli/configuring-npm/package-lock-json, https://docs.astral.sh/uv/concepts/projects/layout/,
https://python-poetry.org/docs/basic-usage/, https://pip.pypa.io/en/stable/reference/requirements-file-format/.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

import tomli  # three times as fast as the tomllib of Python 3.11 to 3.13, and the same code
from attrs import Factory, define, field
from packageurl import PackageURL
from packaging.requirements import InvalidRequirement, Requirement

__all__ = ["PATTERNS", "Lockfile", "LockfileError", "Package", "format_of", "normalise", "parse"]


class LockfileError(ValueError):
    """A lockfile that cannot be read; the text says why."""


# OSV's names of the ecosystems -> the types of package URLs.
_PURL_TYPES: Final = {"PyPI": "pypi", "npm": "npm", "crates.io": "cargo"}


class Package(NamedTuple):
    """One version of a package. A tuple, because there may be hundreds of thousands, to be hashed and sorted.

    Attributes:
        ecosystem: as OSV calls it: ``PyPI``, ``npm`` or ``crates.io``.
        name: as the ecosystem writes it; that of a PyPI package is normalised.
        version: as the lockfile has it.

    >>> print(Package("npm", "@babel/core", "7.1.0").purl)
    pkg:npm/%40babel/core@7.1.0
    """

    ecosystem: str
    name: str
    version: str

    @property
    def purl(self) -> str:
        """The package URL, https://github.com/package-url/purl-spec."""
        namespace, _, name = self.name.rpartition("/") if self.ecosystem == "npm" else ("", "", self.name)
        return PackageURL(_PURL_TYPES[self.ecosystem], namespace or None, name, self.version).to_string()


def normalise(ecosystem: str, name: str) -> str:
    """Return the one way to write the name of a package.

    >>> normalise("PyPI", "Zope.Interface"), normalise("npm", "JSONStream")
    ('zope-interface', 'JSONStream')
    """
    return re.sub(r"[-_.]+", "-", name).lower() if ecosystem == "PyPI" else name


@define
class Lockfile:
    """What is in one lockfile.

    Attributes:
        packages: in the order of the file, each once.
        ignored: reason -> how many entries were no package to look at.
    """

    packages: dict[Package, None] = Factory(dict)
    ignored: Counter[str] = field(factory=Counter)
    entries: int = 0

    def add(self, ecosystem: str, name: object, version: object) -> None:
        """Take an entry, or count it as one without a name or a version, or as one that was there before."""
        self.entries += 1
        if not isinstance(name, str) or not name.strip():
            self.ignored["no name"] += 1
        elif not isinstance(version, str) or not version.strip():
            self.ignored["no version"] += 1
        else:
            package = Package(ecosystem, normalise(ecosystem, name.strip()), version.strip())
            if package in self.packages:
                self.ignored["repeated"] += 1
            else:
                self.packages[package] = None

    def ignore(self, reason: str) -> None:
        """Count an entry that is no package to look at."""
        self.entries += 1
        self.ignored[reason] += 1


def format_of(filename: str) -> str | None:
    """Return which of the patterns a file name fits, None if it is not that of a lockfile.

    >>> format_of("requirements-dev.txt"), format_of("Cargo.toml")
    ('requirements*.txt', None)
    """
    return next((pattern for pattern in PATTERNS if fnmatchcase(filename, pattern)), None)


def parse(filename: str, content: bytes) -> Lockfile:
    """Read a lockfile.

    Args:
        filename: its name without the directory, which says the format.
        content: what is in it.

    Raises:
        LockfileError: it is not what its name says, or its format has a version that is not known here.

    >>> found = parse("requirements.txt", b"Django==1.2\\nrequests>=2")
    >>> list(found.packages), dict(found.ignored)
    ([Package(ecosystem='PyPI', name='django', version='1.2')], {'not pinned': 1})
    """
    pattern = format_of(filename)
    if pattern is None:
        raise LockfileError(f"{filename} is not the name of a lockfile; known are {', '.join(PATTERNS)}")
    try:
        text = content.decode("utf-8-sig")
        found = Lockfile()
        PATTERNS[pattern](text, found)
    except UnicodeDecodeError as error:
        raise LockfileError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise LockfileError("nested too deeply") from None
    return found


# TOML: Cargo, uv, Poetry. All have an array of tables `package`.


def _toml_packages(text: str) -> Iterator[Mapping[str, object]]:
    try:
        document = tomli.loads(text.replace("\r\n", "\n"))
    except ValueError as error:  # tomli's own, and what int() and date() raise inside it
        raise LockfileError(f"not TOML: {error}") from None
    packages = document.get("package", [])
    if not isinstance(packages, list) or not all(isinstance(package, dict) for package in packages):
        raise LockfileError("'package' is not an array of tables")
    return iter(packages)


def _cargo(text: str, found: Lockfile) -> None:
    for package in _toml_packages(text):
        if package.get("source") is None:
            found.ignore("local")  # a member of the workspace, or a path
        else:
            found.add("crates.io", package.get("name"), package.get("version"))


def _uv(text: str, found: Lockfile) -> None:
    for package in _toml_packages(text):
        source = package.get("source")
        if isinstance(source, dict) and not source.keys().isdisjoint({"editable", "virtual", "directory"}):
            found.ignore("local")
        else:
            found.add("PyPI", package.get("name"), package.get("version"))


def _poetry(text: str, found: Lockfile) -> None:
    for package in _toml_packages(text):
        source = package.get("source")
        if isinstance(source, dict) and source.get("type") == "directory":
            found.ignore("local")
        else:
            found.add("PyPI", package.get("name"), package.get("version"))


# JSON: npm.


def _npm(text: str, found: Lockfile) -> None:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise LockfileError(f"not JSON: {error}") from None
    version = document.get("lockfileVersion") if isinstance(document, dict) else None
    if not isinstance(document, dict) or version not in (2, 3):
        raise LockfileError(
            f"lockfileVersion is {version!r}, and 2 and 3 are read; npm 7 and later write these"
            if isinstance(version, int)
            else "it has no lockfileVersion"
        )
    packages = document.get("packages", {})
    if not isinstance(packages, dict):
        raise LockfileError("'packages' is not an object")
    for path, package in packages.items():
        # Where it is installed: "" is the project itself, "lib/x" a workspace, "node_modules/a/node_modules/@b/c" a
        # package. An alias is installed under another name, and says its own.
        _, installed, name = path.rpartition("node_modules/")
        if not isinstance(package, dict):
            found.ignore("not an object")
        elif not installed or package.get("link") is True:
            found.ignore("local")
        else:
            found.add("npm", package.get("name", name), package.get("version"))


# Lines: pip.

_OPTION: Final = re.compile(r"(?:^|\s)--[a-z][a-z-]*(?:[=\s]\S+)?")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")


def _requirements(text: str, found: Lockfile) -> None:
    joined = re.sub(r"\\\r?\n", " ", text)
    for raw in joined.splitlines():
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        if line.startswith("-"):
            found.ignore("option")
            continue
        try:
            requirement = Requirement(_OPTION.sub("", line).strip())
        except (InvalidRequirement, ValueError):
            found.ignore("not understood")
            continue
        pins = [each.version for each in requirement.specifier if each.operator in ("==", "===")]
        if requirement.url is not None:
            found.ignore("by address")
        elif len(pins) != 1 or pins[0].endswith(".*"):
            found.ignore("not pinned")
        else:
            found.add("PyPI", requirement.name, pins[0])


PATTERNS: Final[Mapping[str, Callable[[str, Lockfile], None]]] = {
    "Cargo.lock": _cargo,
    "package-lock.json": _npm,
    "npm-shrinkwrap.json": _npm,
    "uv.lock": _uv,
    "poetry.lock": _poetry,
    "requirements*.txt": _requirements,
}
"""The names of lockfiles, as globs, and what reads them."""
