"""Deliberate breakages of the SBOM scanner of the reference application."""

from __future__ import annotations

_SBOM = "examples/ironpost/ironpost/sbom/"
_TESTS = "examples/ironpost/tests/test_sbom_"

TESTS = tuple(f"{_TESTS}{part}.py" for part in ("lockfiles", "advisories", "plugin"))

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "a link out of the tree is followed",
        _SBOM + "tree.py",
        "if not target.is_relative_to(root):",
        "if not target:",
    ),
    (
        "directories are entered through links",
        _SBOM + "tree.py",
        "entry.is_dir(follow_symlinks=False)",
        "entry.is_dir()",
    ),
    ("a pipe is waited for", _SBOM + "tree.py", " | os.O_NONBLOCK", ""),
    (
        "a pipe is read",
        _SBOM + "tree.py",
        "if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):",
        "if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):",
    ),
    (
        "a file of the very size is refused",
        _SBOM + "tree.py",
        "if len(content) > self.limits.bytes:",
        "if len(content) >= self.limits.bytes:",
    ),
    ("lockfiles beyond the limit are read", _SBOM + "tree.py", "                read += 1\n", ""),
    (
        "names of PyPI are taken as they are",
        _SBOM + "lockfiles.py",
        'if ecosystem == "PyPI" else name',
        "if 0 else name",
    ),
    ("members of a workspace are packages", _SBOM + "lockfiles.py", 'if package.get("source") is None:', "if 0:"),
    (
        "an alias is taken for the package",
        _SBOM + "lockfiles.py",
        'found.add("npm", package.get("name", name)',
        'found.add("npm", name',
    ),
    ("the first of nested modules is taken", _SBOM + "lockfiles.py", "path.rpartition(", "path.partition("),
    ("a pin with a wildcard is a version", _SBOM + "lockfiles.py", 'or pins[0].endswith(".*")', ""),
    ("hashes are part of the requirement", _SBOM + "lockfiles.py", '_OPTION.sub("", line).strip()', "line"),
    ("deep nesting is a crash", _SBOM + "lockfiles.py", "except RecursionError:", "except ZeroDivisionError:"),
    ("lockfiles of version 1 are read", _SBOM + "lockfiles.py", "version not in (2, 3)", "version not in (1, 2, 3)"),
    ("build metadata counts", _SBOM + "versions.py", '.value.truncate("prerelease")', ".value"),
    (
        "the version that mends is affected",
        _SBOM + "versions.py",
        "or version < self.end or",
        "or version <= self.end or",
    ),
    (
        "the last affected version is not affected",
        _SBOM + "versions.py",
        'spans.append(Span(begin, end, ending == "last_affected"))',
        "spans.append(Span(begin, end))",
    ),
    ("pairs are put in order", _SBOM + "versions.py", "spans = _as_pairs(bounds)", "spans = None"),
    ("limits do not count", _SBOM + "versions.py", "if self.limits and not any(", "if 0 and not any("),
    ("withdrawn advisories are matched", _SBOM + "advisories.py", 'if document.get("withdrawn"):', "if 0:"),
    ("listed versions are texts only", _SBOM + "advisories.py", "return bool(self.parsed) and", "return False and"),
    ("an oldest score is taken", _SBOM + "advisories.py", "rated = max((", "rated = min(("),
    (
        "a finding is told for each range",
        _SBOM + "advisories.py",
        "found.setdefault(affected.advisory.id, Finding",
        "found.setdefault(str(id(affected)), Finding",
    ),
    (
        "of a broken zip file what there is is taken",
        _SBOM + "advisories.py",
        "zipfile.BadZipFile, NotImplementedError",
        "NotImplementedError",
    ),
    ("nine is high", _SBOM + "severity.py", "if score >= lowest)", "if score > lowest)"),
    (
        "documents depend on the order",
        _SBOM + "documents.py",
        "enumerate(sorted(set(packages)))",
        "enumerate(packages)",
    ),
    ("findings are told again", _SBOM + "plugin.py", "                self._known.add(finding)\n", ""),
    ("what was not sent is forgotten", _SBOM + "plugin.py", 'self.counts["unsent"] += unsent', "pass"),
    ("the port stays open", _SBOM + "plugin.py", "        self.alerts.close()\n", ""),
    ("a thread goes on after a stop", "examples/ironpost/ironpost/threads.py", "        token.revoke()\n", ""),
    (
        "a stop does not wait for the thread",
        "examples/ironpost/ironpost/threads.py",
        "        await asyncio.wait([future])\n",
        "",
    ),
]
