"""Finding plugins and loading their code."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from fsm_plugins import LoadError, Plugin
from fsm_plugins.loading import Found, discover, load

PLUGIN = """
from fsm_plugins import Plugin, PluginInfo

class Clock(Plugin):
    info = PluginInfo("clock", "1.0.0")
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """A function that writes a module into a plugin directory; what a test imports is forgotten after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def offered(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distributions that offer plugins, one of them with damaged metadata and one without any."""
    site = tmp_path_factory.mktemp("site")
    offers = {
        "alpha": (
            "Name: alpha\nVersion: 1.2.0\n",
            "guard = alpha_mod:Guard\nclock = alpha_mod:Clock\nbare = alpha_mod\n",
        ),
        "beta": ("Name: beta\nVersion: 0.3.0\n", "clock = beta_mod:Clock\n"),
        "gamma": ("Metadata-Version: 2.1\n", "odd = gamma_mod:Odd [extra]\nwhere = no where\n"),
        "delta": ("", "lost = delta_mod:Lost\n"),
    }
    for name, (about, entries) in offers.items():
        info = site / f"{name}-1.dist-info"
        info.mkdir()
        if about:
            (info / "METADATA").write_text(about)
        (info / "entry_points.txt").write_text(f"[fsm_plugins.plugins]\n{entries}\n[console_scripts]\nx = y:z\n")
    (site / "gamma_mod.py").write_text(PLUGIN.replace("Clock", "Odd"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    importlib.invalidate_caches()


def refusal(use: str, *path: Path) -> str:
    """Return the reason for which ``use`` cannot be loaded."""
    with pytest.raises(LoadError) as caught:
        load(use, path)
    assert caught.value.use == use
    assert str(caught.value) == f"cannot load {use!r}: {caught.value.reason}"
    return caught.value.reason


# Discovery.


@pytest.mark.usefixtures("offered")
def test_discovery_lists_every_offer_sorted_with_its_distribution() -> None:
    """A name that two distributions offer is listed twice; damaged metadata gives empty strings, not an error."""
    offers = [offer for offer in discover() if offer.value.split("_")[0] in ("alpha", "beta", "gamma", "delta")]
    assert offers == [
        Found("bare", "alpha_mod", "alpha", "1.2.0"),
        Found("clock", "alpha_mod:Clock", "alpha", "1.2.0"),
        Found("clock", "beta_mod:Clock", "beta", "0.3.0"),
        Found("guard", "alpha_mod:Guard", "alpha", "1.2.0"),
        Found("lost", "delta_mod:Lost"),
        Found("odd", "gamma_mod:Odd [extra]"),
    ]
    assert [str(offer) for offer in (offers[1], offers[-1])] == [
        "clock = alpha_mod:Clock (alpha 1.2.0)",
        "odd = gamma_mod:Odd [extra]",
    ]


@pytest.mark.usefixtures("offered")
def test_discovery_imports_nothing() -> None:
    """The modules that the entry points name are not loaded; one of them does not even exist."""
    discover()
    assert not {"alpha_mod", "beta_mod", "gamma_mod"} & set(sys.modules)


@pytest.mark.usefixtures("write", "offered")
def test_an_entry_point_is_loaded_by_its_name() -> None:
    """The extras that an entry point may name are no part of the attribute."""
    assert load("odd").__name__ == "Odd"


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("use", "reason"),
    [
        ("guards", "no installed package offers a plugin of this name (did you mean 'guard'?); there are: "),
        ("mymodule.Clock", "; for a class, write mymodule:Clock"),
        ("Clock", "; for a class, write module:Clock"),
        (
            "clock",
            (
                "several packages offer a plugin of this name: alpha_mod:Clock (alpha 1.2.0), beta_mod:Clock (beta "
                "0.3.0); write module:attribute instead"
            ),
        ),
        ("bare", "its entry point says 'alpha_mod', which is not module:attribute; tell its author"),
        ("where", "its entry point says 'no where', which is not module:attribute; tell its author"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_told_with_what_there_is(use: str, reason: str) -> None:
    """An unknown name gets a suggestion, the names, and how a class is written; an ambiguous one its owners."""
    assert reason in refusal(use)


def test_without_offers_it_is_said_that_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """No empty list is shown."""
    monkeypatch.setattr(metadata, "entry_points", lambda group: metadata.EntryPoints())
    assert refusal("guard") == (
        "no installed package offers a plugin of this name; there are none; for a class, write module:guard"
    )


@pytest.mark.parametrize(
    "use", ["", " ", "clock ", ":Clock", "clock:", "a:b:c", "my-module:Clock", "a..b:C", "a:b c", "1a:B"]
)
def test_a_malformed_use_says_how_it_is_written(use: str) -> None:
    """Whatever cannot be a module and an attribute gets the form with an example."""
    assert refusal(use) == "write module:attribute, like mymodule:Detector, or the name of an entry point"


# Modules.


def test_a_file_in_a_plugin_directory_is_a_plugin(write: Write) -> None:
    """A plugin needs no package: one file, and the directory it is in."""
    path = write("clock_one.py", PLUGIN)
    factory = load("clock_one:Clock", [path])
    assert isinstance(factory, type) and issubclass(factory, Plugin)
    assert load("clock_one:Clock", [path]) is factory


def test_a_plugin_can_import_its_neighbours_later(write: Write) -> None:
    """The directory stays importable, once and at the end, for imports inside hooks."""
    path = write(
        "clock_two.py", PLUGIN + "    def late(self):\n        import neighbour_two\n        return neighbour_two.X\n"
    )
    write("neighbour_two.py", "X = 5\n")
    before = list(sys.path)
    factory = load("clock_two:Clock", [path])
    load("clock_two:Clock", [path])
    assert factory().late() == 5  # type: ignore[attr-defined]
    assert sys.path == [*before, str(path)]


def test_the_first_directory_that_has_the_module_counts(write: Write, tmp_path: Path) -> None:
    """Directories are searched in the order in which they are given."""
    write("one/clock_three.py", PLUGIN + "\nWHERE = 1\n")
    write("two/clock_three.py", PLUGIN + "\nWHERE = 2\n")
    load("clock_three:Clock", [tmp_path / "two", tmp_path / "one"])
    assert sys.modules["clock_three"].WHERE == 2


def test_a_file_that_is_newer_than_the_directory_listing_is_found(write: Write) -> None:
    """A file written after a failed attempt is found by the next one."""
    path = write("other_file.py", "")
    times = path.stat()
    refusal("clock_four:Clock", path)
    write("clock_four.py", PLUGIN)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as on a file system with coarse times
    assert load("clock_four:Clock", [path])


@pytest.mark.parametrize("name", ["json", "sys", "attrs"])
def test_a_file_with_the_name_of_an_installed_module_is_told(write: Write, name: str) -> None:
    """Neither the file nor the module is taken silently in place of the other; the text names both."""
    path = write(f"{name}.py", PLUGIN)
    found = sys.modules[name].__spec__
    assert found is not None
    place = found.origin if found.has_location else "the built-in one"
    assert refusal(f"{name}:Clock", path) == (
        f"{path / name}.py has the name of another module, which is loaded already and comes first: {place}; "
        "give the file another name"
    )


def test_two_directories_with_one_module_name_are_told_apart(write: Write, tmp_path: Path) -> None:
    """A module loaded from one directory is not passed off as that of another directory."""
    write("one/clock_five.py", PLUGIN)
    write("two/clock_five.py", PLUGIN)
    load("clock_five:Clock", [tmp_path / "one"])
    assert "is loaded already and comes first" in refusal("clock_five:Clock", tmp_path / "two")


def test_a_directory_reached_in_two_ways_is_one(write: Write, tmp_path: Path) -> None:
    """A symbolic link to the directory does not make its modules look like others."""
    write("real/clock_six.py", PLUGIN)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert load("clock_six:Clock", [tmp_path / "real"]) is load("clock_six:Clock", [tmp_path / "link"])


@pytest.mark.usefixtures("write")
def test_a_missing_module_is_told_with_where_was_looked(write: Write, tmp_path: Path) -> None:
    """The text names the missing part, the nearest name, and the directories, also those that do not exist."""
    assert refusal("clock_none:Clock") == (
        "there is no module 'clock_none'; install it, or name the directory it is in under plugin_path in [app]"
    )
    path = write("clock_some.py", PLUGIN)
    write("pack_some/__init__.py", "")
    write("pack_some/inner.py", PLUGIN)
    assert refusal("clock_soem:Clock", path, tmp_path / "nowhere") == (
        "there is no module 'clock_soem' (did you mean 'clock_some'?); it is neither installed nor in the directories "
        f"of plugin_path: {path}, {tmp_path / 'nowhere'} (no such directory)"
    )
    assert refusal("no_such.deep:Clock").startswith("there is no module 'no_such' (of 'no_such.deep'); install it")
    assert refusal("pack_some.iner:Clock", path) == "package 'pack_some' has no module 'iner' (did you mean 'inner'?)"
    assert (
        refusal("clock_some.x:Clock", path)
        == "there is no module 'clock_some.x': 'clock_some' is a module, not a package"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n1 / 0\n", "importing module 'bad' raised ZeroDivisionError: division by zero, at {}:2"),
        (
            "import json\n\njson.loads('{')\n",
            "importing module 'bad' raised JSONDecodeError: Expecting property ",
        ),
        ("import json\n\njson.loads('{')\n", ", at {}:3"),
        (
            "import no_such_thing\n",
            "importing module 'bad' raised ModuleNotFoundError: No module named 'no_such_thing', at {}:1",
        ),
        ("def f(:\n", "importing module 'bad' raised SyntaxError: invalid syntax, at {}:1"),
        (
            "\nimport sys\nsys.exit(3)\n",
            "importing module 'bad' ends the program, at {}:3; put that under if __name__ == ",
        ),
        (
            "from fsm_plugins import Plugin\nclass C(Plugin):\n    state = 1\n",
            "C overrides Plugin.state, which keeps the",
        ),
    ],
)
def test_an_import_that_fails_is_told_with_its_place_in_the_module(write: Write, text: str, reason: str) -> None:
    """The exception, and the file and line of the author's own module, not of the library it called."""
    path = write("bad.py", text)
    assert reason.format(path / "bad.py") in refusal("bad:Clock", path)


def test_what_was_raised_is_the_cause(write: Write) -> None:
    """Whoever wants the whole traceback finds it."""
    path = write("bad_cause.py", "1 / 0\n")
    with pytest.raises(LoadError) as caught:
        load("bad_cause:Clock", [path])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_keyboard_interrupt_is_not_held_back(write: Write) -> None:
    """Ctrl-C during a slow import ends the program."""
    path = write("slow.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("slow:Clock", [path])


# Attributes.

MODULE = (
    PLUGIN
    + '''
import abc
from fsm_plugins import HealthStatus, as_plugin

class Box:
    Clock = Clock

class Bare(Plugin):
    """No info."""

class Abstract(Plugin, abc.ABC):
    info = PluginInfo("abstract", "1.0.0")
    @abc.abstractmethod
    def beat(self): ...

class Worker:
    async def start(self): ...

made = Clock()
number = 5
async def later(): ...
def factory() -> Plugin: return Clock()
def __getattr__(name):
    if name == "broken":
        raise RuntimeError("no luck")
    raise AttributeError(name)
'''
)


@pytest.mark.parametrize("attribute", ["Clock", "Box.Clock", "factory"])
def test_a_class_or_a_function_is_a_factory(write: Write, attribute: str) -> None:
    """A dotted attribute is followed; a function is taken at its word, and not called."""
    factory = load(f"things:{attribute}", [write("things.py", MODULE)])
    assert isinstance(factory(), Plugin)


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        (
            "Clok",
            "module 'things' has no 'Clok' (did you mean 'Clock'?); its plugin classes are: Clock, Bare, Abstract",
        ),
        (
            "factori",
            "module 'things' has no 'factori' (did you mean 'factory'?); its plugin classes are: Clock, Bare, Abstract",
        ),
        ("Box.Clok", "'Box' has no 'Clok' (did you mean 'Clock'?)"),
        ("number.real.x", "'real' has no 'x'"),
        ("broken", "looking up 'broken' in module 'things' raised RuntimeError: no luck"),
        ("Bare", "Bare has no metadata: add info = PluginInfo('my-plugin', '0.1.0')"),
        (
            "Worker",
            (
                "things:Worker is a class, but not a Plugin; derive it from fsm_plugins.Plugin, or write a function "
                "that returns as_plugin(...) of it"
            ),
        ),
        ("made", "things:made is a plugin that is made already; name its class, or a function that makes one"),
        ("number", "things:number is a int; name a Plugin class, or a function that returns a plugin"),
        ("later", "things:later is an async function; plugins are built by an ordinary one, and on_init may wait"),
    ],
)
def test_an_attribute_that_is_no_factory_is_told(write: Write, attribute: str, reason: str) -> None:
    """Each mistake has a text of its own, with what to do."""
    assert refusal(f"things:{attribute}", write("things.py", MODULE)) == reason


def test_an_abstract_class_is_told_with_what_it_lacks(write: Write) -> None:
    """It would fail when it is built; that is known before."""
    assert "beat" in refusal("things:Abstract", write("things.py", MODULE))
