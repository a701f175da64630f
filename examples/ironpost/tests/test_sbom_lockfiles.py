"""Lockfiles: what is in them, found in a tree that may be hostile."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement

from ironpost.sbom import Limits, LockfileError, Package, parse
from ironpost.sbom.lockfiles import PATTERNS, normalise
from ironpost.sbom.tree import Walk

NAMES = ["Cargo.lock", "package-lock.json", "npm-shrinkwrap.json", "uv.lock", "poetry.lock", "requirements.txt"]

words = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(rc[0-9])?", fullmatch=True)
pins = st.lists(st.tuples(words, versions), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def expected(ecosystem: str, pairs: list[tuple[str, str]]) -> list[Package]:
    return list(dict.fromkeys(Package(ecosystem, normalise(ecosystem, name), version) for name, version in pairs))


def toml(pairs: list[tuple[str, str]], source: str = "") -> bytes:
    tables = [f'[[package]]\nname = "{name}"\nversion = "{version}"\n{source}\n' for name, version in pairs]
    return "\n".join(tables).encode()


@given(pins)
def test_every_format_gives_the_packages_that_were_written(pairs: list[tuple[str, str]]) -> None:
    """In order, each once, and every entry is accounted for."""
    installed = {f"node_modules/x{n}/node_modules/{name}": {"version": v} for n, (name, v) in enumerate(pairs)}
    written = {
        "Cargo.lock": ("crates.io", toml(pairs, 'source = "registry+https://example.org"')),
        "uv.lock": ("PyPI", toml(pairs, 'source = { registry = "https://example.org" }')),
        "poetry.lock": ("PyPI", toml(pairs)),
        "package-lock.json": ("npm", json.dumps({"lockfileVersion": 3, "packages": installed}).encode()),
        "requirements.txt": ("PyPI", "\n".join(f"{name}=={version}" for name, version in pairs).encode()),
    }
    for name, (ecosystem, content) in written.items():
        found = parse(name, content)
        assert list(found.packages) == expected(ecosystem, pairs), name
        assert found.entries == len(pairs) == len(found.packages) + found.ignored.total()


@given(st.sampled_from(NAMES), st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@example("requirements.txt", b"a==" + b"9" * 5000)
@example("requirements.txt", b"a" * 50_000 + b"==1")
@example("package-lock.json", b"[" * 100_000)
@example("package-lock.json", b'{"lockfileVersion": 3, "packages": ' + b'{"a":' * 100_000)
@example("uv.lock", b"a = " + b"[" * 100_000)
@example("uv.lock", b"a = " + b"9" * 5000)
@example("uv.lock", b"a = 2024-99-99")
@example("uv.lock", b"package = 3")
@example("Cargo.lock", b"[package]\nname = 1")
@example("package-lock.json", b'{"lockfileVersion": true, "packages": {}}')
def test_anything_at_all_is_read_or_refused(name: str, content: bytes) -> None:
    """No other exception, whatever is in the file."""
    try:
        found = parse(name, content)
    except LockfileError as error:
        assert str(error)
    else:
        assert found.entries == len(found.packages) + found.ignored.total()


@given(json_values)
def test_any_json_is_read_or_refused(value: object) -> None:
    """Objects where texts should be, numbers for versions, and so on."""
    for document in (value, {"lockfileVersion": 3, "packages": value}, {"lockfileVersion": 2, "packages": {"": value}}):
        try:
            found = parse("package-lock.json", json.dumps(document).encode())
        except LockfileError:
            continue
        assert found.entries == len(found.packages) + found.ignored.total()


@given(st.lists(st.text(st.sampled_from("aB1-_.=<>!~;[]@# \\\t"), max_size=12), max_size=5))
def test_a_line_of_requirements_is_what_the_library_says(lines: list[str]) -> None:
    """A line that packaging reads as one exact version is that package, and no other line is one."""
    plain = [line for line in lines if "\\" not in line and "#" not in line and "--" not in line]
    found = parse("requirements.txt", "\n".join(plain).encode())
    wanted = []
    for line in plain:
        try:
            requirement = Requirement(line.strip())
        except InvalidRequirement:
            continue
        exact = [each for each in requirement.specifier if each.operator in ("==", "===")]
        pinned = len(exact) == 1 and not exact[0].version.endswith(".*")
        if pinned and requirement.url is None and not line.strip().startswith("-"):
            wanted.append((requirement.name, exact[0].version))
    assert list(found.packages) == expected("PyPI", wanted)


def test_what_is_no_package_is_counted_with_the_reason() -> None:
    """Members of a workspace, links, options, lines without a pin."""
    cargo = b'[[package]]\nname = "own"\nversion = "1.0.0"\n[[package]]\nname = "x"\nsource = "registry+u"\n'
    assert parse("Cargo.lock", cargo).ignored == Counter({"local": 1, "no version": 1})
    uv = b'[[package]]\nname = "a"\nversion = "1"\nsource = { editable = "." }\n[[package]]\nversion = "1"\n'
    assert parse("uv.lock", uv).ignored == Counter({"local": 1, "no name": 1})
    poetry = b'[[package]]\nname = "a"\nversion = "1"\n[package.source]\ntype = "directory"\nurl = "x"\n'
    assert parse("poetry.lock", poetry).ignored == Counter({"local": 1})
    npm = {"": {}, "lib/x": {}, "node_modules/x": {"link": True}, "node_modules/y": {"name": "z", "version": "1.0.0"}}
    found = parse("package-lock.json", json.dumps({"lockfileVersion": 2, "packages": npm}).encode())
    assert (list(found.packages), found.ignored) == ([Package("npm", "z", "1.0.0")], Counter({"local": 3}))


def test_requirements_as_pip_reads_them() -> None:
    """Extras, markers, hashes over several lines, comments, options, and what has no one version."""
    text = """\
    # a comment
    -r other.txt
    --index-url https://example.org/simple
    Django[bcrypt] == 1.2 ; python_version > "3"  # the old one
    zope.interface==5.0 \\
        --hash=sha256:0000 \\
        --hash=sha256:1111
    a>=1
    b==1.*
    c==1,!=1.1
    d
    e @ https://example.org/e.whl
    ???
    f===2.0-weird
    """
    found = parse("requirements-dev.txt", text.replace("\n    ", "\n").strip().encode())
    assert [(each.name, each.version) for each in found.packages] == [
        ("django", "1.2"),
        ("zope-interface", "5.0"),
        ("c", "1"),
        ("f", "2.0-weird"),
    ]
    assert found.ignored == Counter({"option": 2, "not pinned": 3, "by address": 1, "not understood": 1})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("package-lock.json", b'{"lockfileVersion": 1}', "lockfileVersion is 1, and 2 and 3 are read"),
        ("package-lock.json", b"{}", "no lockfileVersion"),
        ("package-lock.json", b"{", "not JSON"),
        ("uv.lock", b"a = ", "not TOML"),
        ("uv.lock", b"\xff", "not UTF-8: invalid start byte at byte 0"),
        ("uv.lock", b"package = 1", "not an array of tables"),
        ("Gemfile.lock", b"", "known are Cargo.lock, "),
    ],
)
def test_a_refusal_says_why(name: str, content: bytes, says: str) -> None:
    """In words that name the file's trouble."""
    with pytest.raises(LockfileError, match=says):
        parse(name, content)


def test_package_urls_are_those_of_the_specification() -> None:
    """Scopes of npm are namespaces, and what is not plain is escaped."""
    assert Package("npm", "@a/b", "1.0.0").purl == "pkg:npm/%40a/b@1.0.0"
    assert Package("crates.io", "serde", "1.0.0+x").purl == "pkg:cargo/serde@1.0.0%2Bx"
    assert Package("PyPI", "zope-interface", "5.0").purl == "pkg:pypi/zope-interface@5.0"


# The walk.


def found_in(root: Path, limits: Limits | None = None) -> tuple[list[str], list[str]]:
    walk = Walk(root, limits or Limits(), frozenset({"node_modules"}))
    paths = [path for path, _ in walk.lockfiles()]
    return paths, [str(skipped) for skipped in walk.skipped]


def put(path: Path, text: str = "a==1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_lockfiles_are_found_at_any_depth_in_order(tmp_path: Path) -> None:
    """Other files are left alone, and so is what is excluded."""
    for name in ("b/uv.lock", "b/c/Cargo.lock", "a/requirements-x.txt", "a/readme.txt", "node_modules/x/uv.lock"):
        put(tmp_path / name)
    assert found_in(tmp_path) == (["a/requirements-x.txt", "b/uv.lock", "b/c/Cargo.lock"], [])


def test_links_do_not_lead_out_of_the_tree(tmp_path: Path) -> None:
    """Nor in circles. One to a file inside is followed, also where the root itself was reached by one."""
    outside = put(tmp_path / "secret.txt")
    put(tmp_path / "other/uv.lock")
    root = tmp_path / "root"
    put(root / "locks/pinned.txt", "inside==1")
    os.symlink(outside, root / "requirements.txt")
    os.symlink(tmp_path / "other", root / "linked")
    os.symlink(root, root / "locks/again")
    os.symlink("locks/pinned.txt", root / "requirements-in.txt")
    os.symlink("nowhere", root / "uv.lock")
    os.symlink("poetry.lock", root / "poetry.lock")
    os.symlink(root, tmp_path / "way")
    for start in (root, tmp_path / "way"):
        paths, skipped = found_in(start)
        assert paths == ["requirements-in.txt"]
        assert skipped[1] == "requirements.txt: a link that leads out of the tree"
        assert skipped[2] == "uv.lock: No such file or directory"
        assert skipped[0].startswith("poetry.lock: ") and len(skipped) == 3


@pytest.mark.skipif(os.name != "posix", reason="pipes in the file system are a matter of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Nor is a directory read as a file."""
    os.mkfifo(tmp_path / "Cargo.lock")
    (tmp_path / "uv.lock").mkdir()
    put(tmp_path / "uv.lock/poetry.lock")
    assert found_in(tmp_path) == (["uv.lock/poetry.lock"], ["Cargo.lock: not a regular file"])


def test_the_bounds_are_kept_and_told(tmp_path: Path) -> None:
    """The size of a file, the number of lockfiles, and of everything."""
    for name in "abc":
        put(tmp_path / name / "uv.lock", "#" * 10)
    put(tmp_path / "d/uv.lock", "#" * 11)
    assert found_in(tmp_path, Limits(bytes=10))[1] == ["d/uv.lock: bigger than 10 bytes"]
    assert found_in(tmp_path, Limits(files=3)) == (
        ["a/uv.lock", "b/uv.lock", "c/uv.lock"],
        ["d/uv.lock: more than 3 lockfiles"],
    )
    paths, skipped = found_in(tmp_path, Limits(entries=5))
    assert paths == ["a/uv.lock"]
    assert skipped == ["b: more than 5 files and directories; the rest is left out"]
    with pytest.raises(ValueError, match="'files' must be >= 1"):
        Limits(files=0)


def test_a_name_that_is_no_text_is_told_nevertheless(tmp_path: Path) -> None:
    """File names are bytes; a report is text."""
    odd = tmp_path / os.fsdecode(b"\xff")
    put(odd / "uv.lock")
    (paths, _) = found_in(tmp_path)
    assert [path.encode() for path in paths] == ["\ufffd/uv.lock".encode()]


def test_a_walk_can_be_ended(tmp_path: Path) -> None:
    """Between any two files."""
    put(tmp_path / "uv.lock")
    put(tmp_path / "a/uv.lock")

    def check() -> None:
        if seen:
            raise KeyboardInterrupt

    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        for path, _ in Walk(tmp_path, Limits()).lockfiles(check):
            seen.append(path)
    assert seen == ["uv.lock"]


def test_every_format_has_a_pattern() -> None:
    """The list above is the one that there is."""
    assert len(PATTERNS) == len(NAMES)
