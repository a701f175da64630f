"""Reading a configuration file."""

import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from fsm_plugins import ConfigError, Deadlines, DefinitionError
from fsm_plugins.config import (
    AppSection,
    ChannelSection,
    Config,
    PluginSection,
    load_config,
    merge_deadlines,
    read_config,
)

Read = Callable[[str], tuple[Config, list[str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """A function that reads a text as the file edge.toml, without an environment."""

    def read(text: str) -> tuple[Config, list[str]]:
        file = tmp_path / "edge.toml"
        file.write_text(text)
        config, problems = read_config(file, {})
        assert config is not None
        return config, [str(problem) for problem in problems]

    return read


FULL = """
[app]
name = "edge-monitor"
on_failure = "continue"
plugin_path = ["plugins", "/opt/plugins"]
[app.deadlines]
stop = 10
health = 2
[channels.packets]
capacity = 1024
[channels.alerts]
[plugins.sniffer]
use = "sniffer"
[plugins.detector]
use = "mymodule:Detector"
enabled = false
inputs = { events = "packets" }
outputs = { out = "alerts" }
deadlines = { init = 30, health = inf, grace = 0.5, pause = 2 }
[plugins.detector.settings]
threshold = 3
nested = { a = [1, { b = 2 }] }
"""


def test_every_key_of_the_format_is_read(tmp_path: Path) -> None:
    """The whole format gives the values, in the order of the file; deadlines of [app] lie beneath a plugin's."""
    file = tmp_path / "edge.toml"
    file.write_text(FULL)
    config = load_config(file, {})
    assert config == Config(
        source=str(file),
        directory=tmp_path,
        app=AppSection(
            "edge-monitor",
            "continue",
            (tmp_path / "plugins", Path("/opt/plugins")),
            {"stop": 10.0, "health": 2.0},
        ),
        channels={"packets": ChannelSection(1024), "alerts": ChannelSection(64)},
        plugins={
            "sniffer": PluginSection("sniffer", deadlines={"stop": 10.0, "health": 2.0}),
            "detector": PluginSection(
                "mymodule:Detector",
                enabled=False,
                inputs={"events": "packets"},
                outputs={"out": "alerts"},
                deadlines={"stop": 10.0, "health": math.inf, "init": 30.0, "grace": 0.5, "pause": 2.0},
                settings={"threshold": 3, "nested": {"a": [1, {"b": 2}]}},
            ),
        },
    )
    assert list(config.plugins) == ["sniffer", "detector"]


def test_an_empty_file_is_a_configuration(read: Read) -> None:
    """Everything has a default; the application is called as its file."""
    config, problems = read("")
    assert (config.app, config.channels, config.plugins, problems) == (AppSection("edge"), {}, {}, [])


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    """Editors on Windows write both."""
    (tmp_path / "a.toml").write_bytes(b'\xef\xbb\xbf[app]\r\nname = "x"\r\n')
    assert load_config(tmp_path / "a.toml", {}).app.name == "x"


def test_the_directory_is_absolute_and_the_source_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths keep their meaning when the working directory changes."""
    (tmp_path / "a.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    config = load_config("a.toml", {})
    assert (config.source, config.directory) == ("a.toml", tmp_path)


def test_the_environment_is_that_of_the_process_unless_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty environment that is given is not mistaken for none."""
    (tmp_path / "a.toml").write_text("")
    monkeypatch.setenv("FSM_PLUGINS__APP__NAME", "other")
    assert load_config(tmp_path / "a.toml").app.name == "other"
    assert load_config(tmp_path / "a.toml", {}).app.name == "a"


BAD_NAME = (
    "a name is a non-empty printable word without space around it, and without '__', "
    "which goes between two keys in the names of environment variables"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ap]", ["ap: unknown key (did you mean 'app'?)"]),
        ("zzz = 1", ["zzz: unknown key; there are: app, supervisor, channels, plugins, observe"]),
        ("app = 1", ["app: expected a table, got 1"]),
        ("plugins = []", ["plugins: expected a table, got an array"]),
        ("[app]\nname = 1", ["app.name: expected a string, got 1"]),
        ("[app]\nname = 0x" + "f" * 5000, ["app.name: expected a string, got a very large integer"]),
        (
            "[app]\non_failure = 'stopp'",
            ["app.on_failure: expected 'stop' or 'continue', got 'stopp' (did you mean 'stop'?)"],
        ),
        ("[app]\non_failure = true", ["app.on_failure: expected 'stop' or 'continue', got true"]),
        ("[app]\nplugin_path = 'plugins'", ["app.plugin_path: expected an array, got 'plugins'"]),
        ("[app]\nplugin_path = ['a', 2]", ["app.plugin_path[1]: expected a path, got 2"]),
        ("[app]\nplugin_path = ['']", ["app.plugin_path[0]: expected a path, got ''"]),
        ("[app.deadlines]\nstop = 0", ["app.deadlines.stop: expected a positive number of seconds, got 0"]),
        ("[app.deadlines]\nstop = nan", ["app.deadlines.stop: expected a positive number of seconds, got nan"]),
        ("[app.deadlines]\nstop = -inf", ["app.deadlines.stop: expected a positive number of seconds, got -inf"]),
        ("[app.deadlines]\nstop = true", ["app.deadlines.stop: expected a positive number of seconds, got true"]),
        ("[app.deadlines]\nstop = '5'", ["app.deadlines.stop: expected a positive number of seconds, got '5'"]),
        ("[channels]\npackets = 5", ["channels.packets: expected a table, got 5"]),
        ("[channels.p]\ncapacity = 0", ["channels.p.capacity: expected an integer of at least 1, got 0"]),
        ("[channels.p]\ncapacity = true", ["channels.p.capacity: expected an integer of at least 1, got true"]),
        ("[channels.p]\ncapacity = 1.0", ["channels.p.capacity: expected an integer of at least 1, got 1.0"]),
        ("[channels.p]\ncapacity = 'many'", ["channels.p.capacity: expected an integer of at least 1, got 'many'"]),
        ("[channels.p]\ncapcity = 1", ["channels.p.capcity: unknown key (did you mean 'capacity'?)"]),
        ("[channels.a__b]", [f"channels.a__b: {BAD_NAME}"]),
        ('[channels." a"]', [f'channels." a": {BAD_NAME}']),
        ("[plugins.x]", ["plugins.x.use: missing; expected a string"]),
        ("[plugins.x]\nuse = ''\nenabled = 1", ["plugins.x.enabled: expected true or false, got 1"]),
        ("[plugins.x]\nuse = ''\nenabled = 'yes'", ["plugins.x.enabled: expected true or false, got 'yes'"]),
        ("[plugins.x]\nuse = ''\ninputs = { a = 1 }", ["plugins.x.inputs.a: expected a string, got 1"]),
        ("[plugins.x]\nuse = ''\noutputs = ['a']", ["plugins.x.outputs: expected a table, got an array"]),
        ("[plugins.x]\nuse = ''\nsettings = 3", ["plugins.x.settings: expected a table, got 3"]),
        ("[plugins.x]\nuse = ''\nsettigns = {}", ["plugins.x.settigns: unknown key (did you mean 'settings'?)"]),
        (
            "[plugins.x]\nuse = ''\ndeadlines = { start = 2024-05-01 }",
            ["plugins.x.deadlines.start: expected a positive number of seconds, got 2024-05-01"],
        ),
        (
            '[plugins."a b".deadlines]\n"on fire" = 0\n[plugins."a b"]\nuse = ""',
            ['plugins."a b".deadlines."on fire": expected a positive number of seconds, got 0'],
        ),
        ('[plugins.""]\nuse = ""', [f'plugins."": {BAD_NAME}']),
        ('[plugins."a\\u0000"]\nuse = ""', [f'plugins."a\\u0000": {BAD_NAME}']),
    ],
)
def test_each_mistake_is_told_with_its_key_path(read: Read, text: str, expected: list[str]) -> None:
    """Nothing is coerced, nothing unknown is passed over, and the text says what would be right."""
    assert read(text)[1] == expected


def test_all_mistakes_are_in_one_report_in_the_order_of_the_file(tmp_path: Path) -> None:
    """What is missing comes at the end of its section."""
    file = tmp_path / "bad.toml"
    file.write_text(
        """
        [plugins.b]
        us = "x"
        [plugins.b.deadlines]
        stop = 0
        start = 0
        [plugins.a]
        use = 1
        [channels.c]
        capacity = 0
        [app]
        nam = "x"
        """
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert str(caught.value).splitlines() == [
        f"{file}: 7 problems",
        "  plugins.b.us: unknown key (did you mean 'use'?)",
        "  plugins.b.deadlines.stop: expected a positive number of seconds, got 0",
        "  plugins.b.deadlines.start: expected a positive number of seconds, got 0",
        "  plugins.b.use: missing; expected a string",
        "  plugins.a.use: expected a string, got 1",
        "  channels.c.capacity: expected an integer of at least 1, got 0",
        "  app.nam: unknown key (did you mean 'name'?)",
    ]


def test_what_is_sound_can_be_checked_further(read: Read) -> None:
    """A value that is wrong is at its default, a plugin that cannot be loaded is left out, and both are marked."""
    config, problems = read(
        """
        [app]
        name = 3
        on_failure = "continue"
        [channels.c]
        capacity = 0
        [channels.d__e]
        [plugins.a]
        use = "a"
        enabled = "no"
        settings = { x = 1 }
        [plugins.b]
        [plugins.c__d]
        use = "c"
        [plugins.ok]
        use = "ok"
        """
    )
    assert len(problems) == 6
    assert config.app == AppSection("edge", "continue")
    assert config.channels == {"c": ChannelSection()}
    assert config.plugins == {"a": PluginSection("a", settings={"x": 1}), "ok": PluginSection("ok")}
    assert config.unsound == {"app", "channels.c", "channels.d__e", "plugins.a", "plugins.b", "plugins.c__d"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[app", "not TOML at line 1, column 5: Expected ']' at the end of a table declaration; correct it"),
        (b"x = 1\n\ny = = 2\n", "not TOML at line 3, column 5: Invalid value; correct it there or just before"),
        (
            b"[app]\n[app]\n",
            "not TOML at line 2, column 5: Cannot declare ('app',) twice; correct it there or just before",
        ),
        (b"x = 1\r\ny = 'caf\xe9'", "line 2 is not UTF-8 (byte 0xe9); save the file as UTF-8"),
        (b"\xff\xfe[\x00", "line 1 is not UTF-8 (byte 0xff); save the file as UTF-8"),
        (b"x = " + b"9" * 5000, "not TOML"),
        (b"x = " + b"[" * 50000, "the tables and arrays are nested too deeply"),
    ],
)
def test_a_file_that_is_no_toml_is_one_problem_with_its_place(tmp_path: Path, data: bytes, expected: str) -> None:
    """There is no configuration then, and the problem says where to look."""
    (tmp_path / "a.toml").write_bytes(data)
    config, (problem,) = read_config(tmp_path / "a.toml", {})
    assert config is None
    assert problem.where == "" and problem.what.startswith(expected)


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """Each reason has a remedy."""
    cases = {
        tmp_path / "none.toml": "there is no such file; give the path of a TOML file",
        tmp_path: "this is a directory; give the path of a TOML file in it",
        tmp_path / "a\0b": "the file cannot be read (embedded null byte); give the path of a TOML file",
    }
    for path, expected in cases.items():
        config, problems = read_config(path, {})
        assert config is None and [str(problem) for problem in problems] == [expected]
    with pytest.raises(ConfigError, match=r"none\.toml: 1 problem\n  there is no such file"):
        load_config(tmp_path / "none.toml", {})


def test_a_file_that_may_not_be_read_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system's refusal is told, with what to do; other refusals are quoted."""
    for error, expected in [
        (PermissionError(13, "Permission denied"), "the file may not be read; let the user who runs this read it"),
        (
            OSError(5, "Input/output error"),
            "the file cannot be read (Input/output error); give the path of a TOML file",
        ),
    ]:

        def refuse(_path: Path, error: OSError = error) -> bytes:
            raise error

        monkeypatch.setattr(Path, "read_bytes", refuse)
        config, (problem,) = read_config(tmp_path / "a.toml", {})
        assert config is None and problem.what.startswith(expected)


def test_deadlines_are_merged_key_by_key() -> None:
    """What is given replaces what the class declares; a trigger of a custom lifecycle goes to the others."""
    base = Deadlines(start=5, others={"pause": 2, "resume": 3})
    merged = merge_deadlines(base, {"stop": 1.5, "pause": 9, "drain": 4})
    assert merged == Deadlines(start=5, stop=1.5, others={"pause": 9, "resume": 3, "drain": 4})
    assert merge_deadlines(base, {}) == base
    with pytest.raises(DefinitionError, match="positive number of seconds"):
        merge_deadlines(base, {"stop": 0})


def test_a_configuration_survives_pickling_with_its_marks(tmp_path: Path) -> None:
    """A host in another process can be sent the settings, texts from the environment included."""
    (tmp_path / "a.toml").write_text("[plugins.x]\nuse = 'x'")
    config = load_config(tmp_path / "a.toml", {"FSM_PLUGINS__PLUGINS__X__SETTINGS__PORT": "80"})
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config
    ((key, value),) = copy.plugins["x"].settings.items()
    assert (key.variable, value.variable) == ("FSM_PLUGINS__PLUGINS__X__SETTINGS__PORT",) * 2


def test_a_path_is_taken_in_any_form(tmp_path: Path) -> None:
    """As a string and as an os.PathLike."""
    (tmp_path / "a.toml").write_text("")
    assert load_config(os.fspath(tmp_path / "a.toml"), {}) == load_config(tmp_path / "a.toml", {})
