"""Environment variables that override keys of the configuration."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fsm_plugins.config import Config, EnvText, read_config, structure_settings

FILE = """
[app.deadlines]
stop = 10
[channels.raw-packets]
[plugins.log-pipeline]
use = "logs:Logs"
[plugins.log-pipeline.settings]
max-size = 3
rules = [1]
retry = { times = 3 }
[plugins.Guard]
use = "guard:Guard"
[plugins.a-b]
use = "x"
[plugins.a_b]
use = "y"
"""

Read = Callable[..., tuple[Config, list[str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """A function that reads the file above with the given variables, whose common prefix is left out."""
    file = tmp_path / "a.toml"
    file.write_text(FILE)

    def read(**variables: str) -> tuple[Config, list[str]]:
        config, problems = read_config(file, {f"FSM_PLUGINS__{name}": text for name, text in variables.items()})
        assert config is not None
        return config, [str(problem).replace("FSM_PLUGINS__", "") for problem in problems]

    return read


def test_a_variable_overrides_a_leaf_of_each_section(read: Read) -> None:
    """Whether the file has the key or not; the text is read as the type that the key has."""
    config, problems = read(
        APP__NAME="10",
        APP__PLUGIN_PATH='["x", "y"]',
        APP__DEADLINES__STOP="2.5",
        APP__DEADLINES__PAUSE="inf",
        CHANNELS__RAW_PACKETS__CAPACITY="8",
        PLUGINS__LOG_PIPELINE__ENABLED="false",
        PLUGINS__LOG_PIPELINE__INPUTS__EVENTS="raw-packets",
        PLUGINS__LOG_PIPELINE__OUTPUTS='{ out = "raw-packets" }',
    )
    assert problems == []
    assert config.supervisor is None
    assert (config.app.name, config.app.plugin_path) == ("10", (Path.cwd() / "x", Path.cwd() / "y"))
    assert config.app.deadlines == {"stop": 2.5, "pause": float("inf")}
    assert config.channels["raw-packets"].capacity == 8
    plugin = config.plugins["log-pipeline"]
    assert (plugin.enabled, plugin.inputs, plugin.outputs) == (False, {"events": "raw-packets"}, {"out": "raw-packets"})


def test_a_variable_can_bring_a_supervisor_and_change_it(read: Read) -> None:
    """Its tables are open to variables key by key and as a whole, and so is what a plugin says for itself."""
    config, problems = read(
        SUPERVISOR__INTENSITY="unlimited",
        SUPERVISOR__BACKOFF__CAP="5",
        SUPERVISOR__HEALTH="{ interval = 1 }",
        PLUGINS__LOG_PIPELINE__RESTART="permanent",
        PLUGINS__LOG_PIPELINE__BACKOFF="{ initial = 2 }",
    )
    assert problems == []
    assert config.supervisor is not None
    assert (config.supervisor.intensity, config.supervisor.backoff.cap) == ("unlimited", 5.0)
    assert config.supervisor.health is not None
    assert config.supervisor.health.interval == 1.0
    child = config.children["log-pipeline"]
    assert (child.restart, child.backoff and child.backoff.initial) == ("permanent", 2.0)
    assert read(SUPERVISOR__GROUPS__EDGE__INTENSITY="1")[1] == [
        "SUPERVISOR__GROUPS__EDGE__INTENSITY: there is no group 'edge'"
    ]
    assert read(SUPERVISOR__BACKOFF__CAP="0.05")[1] == [
        "SUPERVISOR__BACKOFF__CAP: cap, 0.05 s, is under the initial delay of 0.1 s"
    ]


@pytest.mark.parametrize("part", ["GUARD", "guard", "Guard", "gUaRd"])
def test_the_case_of_a_part_does_not_matter(read: Read, part: str) -> None:
    """A part is the key that it equals but for case, with '-', '.' and '_' alike."""
    config, problems = read(**{f"PLUGINS__{part}__USE": "other"})
    assert problems == [] and config.plugins["Guard"].use == "other"


def test_settings_stay_marked_until_their_type_is_known(read: Read) -> None:
    """A key that the file has keeps its spelling there; nested ones and new ones can be given, too."""
    config, problems = read(
        PLUGINS__LOG_PIPELINE__SETTINGS__MAX_SIZE="5",
        PLUGINS__LOG_PIPELINE__SETTINGS__RETRY__TIMES="6",
        PLUGINS__LOG_PIPELINE__SETTINGS__NEW__DEEP="x",
    )
    settings = config.plugins["log-pipeline"].settings
    assert problems == []
    assert settings == {"max-size": "5", "rules": [1], "retry": {"times": "6"}, "new": {"deep": "x"}}
    text = settings["max-size"]
    assert isinstance(text, EnvText) and text.variable == "FSM_PLUGINS__PLUGINS__LOG_PIPELINE__SETTINGS__MAX_SIZE"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("PLUGINS__LOGS_PIPELINE__USE", "x", "there is no plugin 'logs_pipeline' (did you mean 'log-pipeline'?)"),
        ("CHANNELS__ZZZ__CAPACITY", "1", "there is no channel 'zzz'; there are: raw-packets"),
        ("PLUGIN__GUARD__USE", "x", "there is no key 'plugin' (did you mean 'plugins'?)"),
        ("APP__NAM", "x", "there is no key 'nam' (did you mean 'name'?)"),
        ("PLUGINS__A_B__USE", "x", "'A_B' can be any of 'a-b', 'a_b'; rename all but one of them"),
        (
            "PLUGINS__GUARD",
            "x",
            "'Guard' is a whole table; name one key of it, such as PLUGINS__GUARD__BACKOFF",
        ),
        ("PLUGINS__GUARD__SETTINGS", "{}", "'settings' is a whole table; name one key of it"),
        ("APP____NAME", "x", "two underscores go between two keys, as in PLUGINS__DETECTOR__ENABLED"),
        ("", "x", "two underscores go between two keys, as in PLUGINS__DETECTOR__ENABLED"),
        ("APP__NAME__X", "x", "'name' is not a table, so it has no key 'x'; give it as a whole"),
        (
            "PLUGINS__LOG_PIPELINE__SETTINGS__RULES__0",
            "x",
            "'rules' is not a table, so it has no key '0'; give it as a whole",
        ),
        ("CHANNELS__RAW_PACKETS__CAPACITY", "many", "expected an integer of at least 1, got 'many'"),
        ("PLUGINS__GUARD__ENABLED", "yes", "expected true or false, got 'yes'"),
        ("PLUGINS__GUARD__ENABLED", '"true"', "expected true or false, got 'true'"),
        ("PLUGINS__GUARD__INPUTS", "x", "expected a table, got 'x'"),
        ("PLUGINS__GUARD__DEADLINES__STOP", "0", "expected a positive number of seconds, got 0"),
        ("PLUGINS__GUARD__DEADLINES__STOP__X", "0", "expected a positive number of seconds, got a table"),
        ("APP__ON_FAILURE", "stopp", "expected 'stop' or 'continue', got 'stopp' (did you mean 'stop'?)"),
    ],
)
def test_a_problem_with_a_variable_names_the_variable(read: Read, variable: str, text: str, expected: str) -> None:
    """Whoever reads it looks for the mistake in the environment, not in the file."""
    assert read(**{variable: text})[1] == [f"{variable}: {expected}"]


def test_a_flaw_inside_a_variable_is_told_with_its_path_there(read: Read) -> None:
    """The path begins at the variable."""
    assert read(APP__PLUGIN_PATH='["a", 2]')[1] == ["APP__PLUGIN_PATH[1]: expected a path, got 2"]


def test_two_variables_cannot_say_the_same(read: Read) -> None:
    """Not one that differs in case only, and not a whole together with a part of it."""
    assert read(APP__NAME="a", APP__Name="b")[1] == ["APP__Name: APP__NAME says the same key; unset one of the two"]
    assert read(PLUGINS__GUARD__SETTINGS__A="{}", PLUGINS__GUARD__SETTINGS__A__B="1")[1] == [
        "PLUGINS__GUARD__SETTINGS__A__B: PLUGINS__GUARD__SETTINGS__A gives 'a' as a whole already; unset one of the two"
    ]


def test_other_variables_are_left_alone(tmp_path: Path) -> None:
    """A single underscore after the prefix is the twin of a flag, and another case is another variable."""
    (tmp_path / "a.toml").write_text("")
    environ = {"FSM_PLUGINS_CONFIG": "x", "fsm_plugins__APP__NAME": "x", "XFSM_PLUGINS__APP__NAME": "x"}
    config, problems = read_config(tmp_path / "a.toml", environ)
    assert problems == [] and config is not None and config.app.name == "a"


def logs(maxSize: int, level: "str | None" = None, *, more: "int | str" = 0, any_one: object = None) -> None:  # noqa: N803
    """A factory whose spelling no variable can have."""


def test_a_new_key_finds_its_parameter_whatever_the_spelling(read: Read) -> None:
    """Only a key from the environment; the file has to spell keys as they are."""
    config, _ = read(PLUGINS__GUARD__SETTINGS__MAXSIZE="5", PLUGINS__GUARD__SETTINGS__ANY_ONE="[1]")
    assert structure_settings(logs, config.plugins["Guard"].settings, "s") == ({"maxSize": 5, "any_one": [1]}, [])
    assert [str(p) for p in structure_settings(logs, {"maxsize": 5, "maxSize": 5}, "s")[1]] == [
        "s.maxsize: unknown key (did you mean 'maxSize'?)"
    ]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("level", "10", "10"),
        ("level", '"quoted"', '"quoted"'),
        ("more", "10", 10),
        ("more", "bare word", "bare word"),
        ("more", "2024-05-01", "2024-05-01"),
        ("more", "1\nv2 = 3", "1\nv2 = 3"),
        ("more", "", ""),
        ("any_one", "true", True),
        ("any_one", "{ a = [1] }", {"a": [1]}),
        ("any_one", '"10"', "10"),
        ("any_one", "[" * 9000, "[" * 9000),
    ],
)
def test_a_text_is_read_as_the_type_that_is_wanted(key: str, text: str, value: object) -> None:
    """For a string it is taken as it is; for anything else as a TOML value, and a text that is none as a string."""
    assert structure_settings(logs, {"maxSize": 1, key: EnvText(text, "V")}, "s") == ({"maxSize": 1, key: value}, [])


def test_an_unknown_setting_from_the_environment_names_its_variable(read: Read) -> None:
    """Also when it is the name of a table on the way."""
    config, _ = read(PLUGINS__GUARD__SETTINGS__LEVLE="x", PLUGINS__GUARD__SETTINGS__MAXSIZE__DEEP="1")
    problems = structure_settings(logs, config.plugins["Guard"].settings, "s")[1]
    assert [str(problem).replace("FSM_PLUGINS__PLUGINS__GUARD__SETTINGS__", "") for problem in problems] == [
        "LEVLE: unknown key 'levle' (did you mean 'level'?)",
        "MAXSIZE__DEEP: expected an integer, got a table",
    ]
