"""Properties of configurations: whatever is in the file and the environment, the answer is values and problems."""

from __future__ import annotations

import copy
import json
import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from attrs import field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm_plugins.config import (
    AppSection,
    ChannelSection,
    Config,
    PluginSection,
    paths_in,
    read_config,
    structure_settings,
)
from fsm_plugins.errors import Problem

Tree = dict[str, Any]

# Texts and trees.


def to_toml(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_toml(str(key))} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    return value.isoformat() if isinstance(value, date | time) else repr(value)


def to_file(tree: Tree) -> str:
    """Write a whole file."""
    return "".join(f"{to_toml(str(key))} = {to_toml(value)}\n" for key, value in tree.items())


def read(text: str, environ: dict[str, str] | None = None) -> tuple[Config, list[Problem]]:
    """Read a text as a file."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "a.toml"
        file.write_bytes(text.encode())
        config, problems = read_config(file, environ or {})
    assert config is not None, problems
    return config, problems


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | texts | st.dates() | st.datetimes() | st.times()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
names = st.text(
    st.characters(codec="utf-8", categories=("L", "Nd"), include_characters="-._ "), min_size=1, max_size=8
).filter(lambda name: name == name.strip() and "__" not in name and name.isprintable())
words = st.text("abcdefg", min_size=1, max_size=4)
seconds = st.floats(min_value=0, exclude_min=True, allow_nan=False)
deadlines = st.dictionaries(st.sampled_from(["init", "start", "stop", "health", "grace", "pause"]), seconds, max_size=3)
ports = st.dictionaries(words, words, max_size=2)
paths = texts.filter(lambda text: "\0" not in text).map(lambda text: Path("/", text))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Valid configurations, as values."""
    app = draw(
        st.builds(
            AppSection, texts, st.sampled_from(["stop", "continue"]), st.lists(paths, max_size=2).map(tuple), deadlines
        )
    )
    sections = st.builds(
        PluginSection,
        texts,
        st.booleans(),
        ports,
        ports,
        deadlines.map(lambda own: {**app.deadlines, **own}),
        st.dictionaries(texts, values, max_size=3),
    )
    return Config(
        source="a.toml",
        directory=Path("/"),
        app=app,
        channels=draw(st.dictionaries(names, st.builds(ChannelSection, st.integers(1, 2**63)), max_size=2)),
        plugins=draw(st.dictionaries(names, sections, max_size=3)),
    )


def tree_of(config: Config) -> Tree:
    """Return a configuration as raw values, everything spelled out."""
    return {
        "app": {
            "name": config.app.name,
            "on_failure": config.app.on_failure,
            "plugin_path": list(map(str, config.app.plugin_path)),
            "deadlines": dict(config.app.deadlines),
        },
        "channels": {name: {"capacity": section.capacity} for name, section in config.channels.items()},
        "plugins": {
            name: {
                "use": section.use,
                "enabled": section.enabled,
                "inputs": dict(section.inputs),
                "outputs": dict(section.outputs),
                "deadlines": dict(section.deadlines),
                "settings": dict(section.settings),
            }
            for name, section in config.plugins.items()
        },
    }


def same(one: object, other: object) -> bool:
    """Whether two values are equal, to the type, with nan equal to itself."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


def steps(where: str) -> list[str | int]:
    """Take a key path apart."""
    found: list[str | int] = []
    position = 0
    while position < len(where):
        match = re.compile(r'\.?(?:([A-Za-z0-9_-]+)|("(?:[^"\\]|\\.)*"))|\[(\d+)\]').match(where, position)
        assert match is not None, where
        bare, quoted, index = match.groups()
        found.append(int(index) if index else bare or json.loads(quoted))
        position = match.end()
    return found


def leads_somewhere(tree: Tree, where: str) -> bool:
    """Whether a key path is in the tree, or would be if one key were added."""
    here: Any = tree
    *parents, last = steps(where)
    for step in parents:
        here = here[step]
    return isinstance(here, dict) or here[last] is not None


# Properties.


@given(st.dictionaries(texts | st.sampled_from(["app", "channels", "plugins"]), values, max_size=4))
def test_any_file_gives_values_and_problems_that_lead_somewhere(tree: Tree) -> None:
    """Nothing is raised, and every path is in the file, or that of a key which is missing there."""
    _, problems = read(to_file(tree))
    assert all(leads_somewhere(tree, problem.where) for problem in problems)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_configuration_or_one_problem(data: bytes) -> None:
    """A file that cannot be read is told in one problem that has a text."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "a.toml"
        file.write_bytes(data)
        config, problems = read_config(file, {})
    assert config is not None or (len(problems) == 1 and problems[0].what)


@given(configs())
def test_a_valid_configuration_survives_a_round_trip(config: Config) -> None:
    """Values -> TOML -> values: nothing is lost, added or converted."""
    found, problems = read(to_file(tree_of(config)))
    assert problems == [] and found.unsound == frozenset()
    assert same(tree_of(found), tree_of(config))


# Ways to break a tree, each of which is at least one mistake of its own: they touch different keys.
BREAKS: dict[str, Any] = {
    "app.name": 1,
    "app.on_failure": "never",
    "app.plugin_path": "x",
    "app.deadlines.init": 0,
    "app.deadlines.start": "soon",
    "app.zzz": 1,
    "channels.c.capacity": True,
    "channels.d": [],
    "plugins.p.use": 3,
    "plugins.p.enabled": 1,
    "plugins.p.inputs.a": 1,
    "plugins.p.inputs.b": False,
    "plugins.p.outputs": "x",
    "plugins.p.deadlines.stop": float("nan"),
    "plugins.p.settings": 1,
    "plugins.p.yyy": {},
    "plugins.q__r.use": "x",
    "plugins.s": 5,
    "zzz": 1,
}


def put(tree: Tree, where: str, value: object) -> None:
    """Put a value into a tree."""
    *parents, last = where.split(".")
    for step in parents:
        tree = tree.setdefault(step, {})
    tree[last] = value


@given(configs(), st.sets(st.sampled_from(sorted(BREAKS))))
def test_every_mistake_is_reported(config: Config, broken: set[str]) -> None:
    """However many there are, each is there, at its path or, for a bad name, at that of the section."""
    tree = tree_of(config)
    tree["plugins"].setdefault("p", {"use": "x"})
    for where in broken:
        put(tree, where, copy.deepcopy(BREAKS[where]))
    found, problems = read(to_file(tree))
    expected = {where.removesuffix(".use") if "__" in where else where for where in broken}
    assert {problem.where for problem in problems} == expected
    assert len(problems) == len(broken)
    assert all(leads_somewhere(tree, problem.where) for problem in problems)
    assert {".".join(where.split(".")[:2]) for where in expected if where[0] == "p"} <= found.unsound


OVERRIDES: dict[str, st.SearchStrategy[Any]] = {
    "app.on_failure": st.sampled_from(["stop", "continue"]),
    "app.plugin_path": st.lists(paths.map(str), max_size=2),
    "app.deadlines.init": seconds,
    "channels.my-channel.capacity": st.integers(-1, 9),
    "plugins.my-plugin.enabled": st.booleans() | st.integers(),
    "plugins.my-plugin.inputs.a": words,
    "plugins.my-plugin.inputs": ports,
    "plugins.my-plugin.deadlines.pause": seconds | st.just(0),
    "plugins.my-plugin.settings.count": values,
    "plugins.my-plugin.settings.label": texts,
    "plugins.my-plugin.settings.more.deep": values,
}


def factory(count: int | bool | list[int], label: str = "", more: dict[str, object] | None = None) -> None:
    """What the settings are for."""


def checked(tree: Tree, environ: dict[str, str]) -> tuple[object, ...]:
    """Read a tree, its settings too; return the values and how many problems there are."""
    config, problems = read(to_file(tree), environ)
    plain = tree_of(config)
    for name, section in config.plugins.items():
        plain["plugins"][name]["settings"], more = structure_settings(factory, section.settings, "s")
        problems += more
    return plain, len(problems)


@given(st.sampled_from(sorted(OVERRIDES)).flatmap(lambda key: st.tuples(st.just(key), OVERRIDES[key])), st.data())
def test_a_variable_is_the_same_as_the_value_in_the_file(override: tuple[str, Any], data: st.DataObject) -> None:
    """For any key and value, good or bad, and any case of the variable."""
    where, value = override
    tree: Tree = {"channels": {"my-channel": {}}, "plugins": {"my-plugin": {"use": "x", "settings": {"label": "old"}}}}
    variable = where.replace(".", "__").replace("-", "_")
    if data.draw(st.booleans()):
        variable = variable.upper()
    of_string = where.endswith((".label", ".inputs.a"))
    environ = {f"FSM_PLUGINS__{variable}": value if of_string else to_toml(value)}
    from_environment = checked(copy.deepcopy(tree), environ)
    put(tree, where, value)
    by_file = checked(tree, {})
    assert from_environment[1] == by_file[1]
    left, right = from_environment[0], by_file[0]
    assert isinstance(left, dict) and isinstance(right, dict)
    assert same(sort(left), sort(right))


@frozen
class Log:
    """A log, of which a plugin may have several."""

    file: Path
    lines: int = 0


@frozen
class Places:
    """Paths wherever settings can have them."""

    one: Path | None = None
    many: tuple[Path, ...] = ()
    named: Mapping[str, Path] = field(factory=dict)
    either: int | Path = 0
    log: Log | None = None
    logs: Sequence[Log] = ()
    text: str = ""


relative = st.text("ab./", min_size=1, max_size=6)
PLACES: dict[str, Callable[[str], object]] = {
    "one": lambda path: path,
    "many": lambda path: [path, "/x"],
    "named": lambda path: {"a": path},
    "either": lambda path: path,
    "log": lambda path: {"file": path, "lines": 2},
    "logs": lambda path: [{"file": path}],
    "text": lambda path: path,
}


@given(st.dictionaries(st.sampled_from(sorted(PLACES)), st.tuples(relative, st.booleans()), min_size=1), relative)
def test_a_path_is_relative_to_where_it_is_written(given: dict[str, tuple[str, bool]], elsewhere: str) -> None:
    """That of a file to its directory, that of a variable to the working directory; what is no path stays as it is."""
    settings_of: Tree = {name: PLACES[name](path) for name, (path, by_file) in given.items() if by_file}
    tree: Tree = {
        "app": {"plugin_path": [elsewhere]},
        "observe": {"journal": {"path": elsewhere}, "socket": elsewhere},
        "plugins": {"p": {"use": "x", "settings": settings_of}},
    }
    environ = {
        f"FSM_PLUGINS__PLUGINS__P__SETTINGS__{name.upper()}": raw if isinstance(raw, str) else to_toml(raw)
        for name, (path, by_file) in given.items()
        if not by_file
        for raw in [PLACES[name](path)]
    }
    config, problems = read(to_file(tree), {**environ, "FSM_PLUGINS__OBSERVE__TOKEN_FILE": elsewhere})
    assert problems == []
    there, here = config.directory, Path.cwd()
    assert config.app.plugin_path == (there / elsewhere,)
    assert config.observe.journal is not None
    assert config.observe.journal.path == config.observe.socket == there / elsewhere
    assert config.observe.token_file == here / elsewhere

    raw_settings = config.plugins["p"].settings
    values, problems = structure_settings(Places, raw_settings, "s", directory=there)
    assert problems == []
    wanted = {name: (there if by_file else here) / path for name, (path, by_file) in given.items() if name != "text"}
    where = {"many": ".many[0]", "named": ".named.a", "log": ".log.file", "logs": ".logs[0].file"}
    found = {key: path for key, path in paths_in(values, "s") if path != Path("/x")}
    assert found == {"s" + where.get(name, f".{name}"): path for name, path in wanted.items() if path != Path("/x")}
    assert dict(paths_in(Places(**values), "s")).items() >= found.items()  # type: ignore[arg-type]
    assert values.get("text") == (given["text"][0] if "text" in given else None)

    as_written, _ = structure_settings(Places, raw_settings, "s")
    assert {path for _, path in paths_in(as_written, "s")} - {Path("/x")} == {Path(given[name][0]) for name in wanted}


def sort(value: object) -> object:
    """Return a tree with its keys in order: a key from the environment comes last in its table."""
    return {key: sort(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


@given(
    st.dictionaries(
        st.lists(
            st.sampled_from(["APP", "PLUGINS", "CHANNELS", "P", "DEADLINES", "SETTINGS", "USE", "X", "", "_"]),
            max_size=5,
        ).map(lambda parts: "FSM_PLUGINS__" + "__".join(parts)),
        texts,
        max_size=4,
    ),
    st.dictionaries(st.sampled_from(["app", "channels", "plugins"]), values | st.just({"p": {"use": "x"}}), max_size=3),
)
def test_any_environment_gives_values_and_problems(environ: dict[str, str], tree: Tree) -> None:
    """Nothing is raised, and whatever is wrong with a variable names it."""
    _, without = read(to_file(tree))
    _, problems = read(to_file(tree), environ)
    known = {problem.where for problem in without}
    assert all(problem.where in known or problem.where.startswith(tuple(environ)) for problem in problems)


@settings(max_examples=50)
@given(st.dictionaries(texts, values, max_size=4))
def test_any_settings_give_values_and_problems(raw: Tree) -> None:
    """Nothing is raised, whatever is given to whatever type, and every key is either a value or a problem."""
    kinds: list[object] = [
        int,
        float,
        str,
        list[int],
        dict[str, float],
        tuple[int, str],
        int | str | None,
        date,
        time,
        datetime,
    ]

    for kind in kinds:

        def taker(a: object = None, *, b: object = None) -> None: ...

        taker.__annotations__.update(a=kind, b=kind)
        given_raw = dict(zip("ab", raw.values(), strict=False)) | {"c": 1}
        found, problems = structure_settings(taker, given_raw, "s")
        assert {steps(problem.where)[1] for problem in problems} == set(given_raw) - set(found)
