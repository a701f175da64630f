"""Faults in configuration and loading that the tests must notice.

Each is (name, file, the snippet, what stands there instead). The snippet occurs once in its file.
"""

from __future__ import annotations

__all__ = ["MUTANTS"]

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "a bool passes for a number",
        "fsm_plugins/config/converter.py",
        'float: ("a number", (int, float), float),',
        'float: ("a number", (int, float, bool), float),',
    ),
    (
        "simple values are compared loosely",
        "fsm_plugins/config/converter.py",
        "if type(value) in raw:",
        "if isinstance(value, raw):",
    ),
    (
        "the library's own hooks for simple types are used",
        "fsm_plugins/config/converter.py",
        "for _base in (bytes, float, int, str, Enum, Path):",
        "for _base in (bytes,):",
    ),
    (
        "a subclass is taken for its base",
        "fsm_plugins/config/converter.py",
        "_choice if issubclass(kind, Enum) else _refuse)(value, kind)",
        "_choice if issubclass(kind, Enum) else lambda value, kind: kind(value))(value, kind)",
    ),
    (
        "only the first flaw of an array is told",
        "fsm_plugins/config/flaws.py",
        "in error.group_exceptions()[0]:",
        "in error.group_exceptions()[0][:1]:",
    ),
    (
        "validators do not run",
        "fsm_plugins/config/keywords.py",
        "if name in values and field.validator is not None and hasattr(instance, field.name):",
        "if not name:",
    ),
    (
        "converters do not run before validators",
        "fsm_plugins/config/keywords.py",
        "convert(values[name]) if convert is not None else values[name]",
        "values[name]",
    ),
    (
        "missing keys are not told",
        "fsm_plugins/config/keywords.py",
        "if parameter.required and name not in keys",
        "if parameter.required and name not in keys and not keys",
    ),
    (
        "a problem from a variable names the key",
        "fsm_plugins/config/flaws.py",
        "return (self.variable or path) + self.path",
        "return path + self.path",
    ),
    (
        "a text for a string is read as TOML",
        "fsm_plugins/config/converter.py",
        "str(value) if kind in (str, Path) else value.parsed",
        "value.parsed",
    ),
    (
        "a text of several lines smuggles in more",
        "fsm_plugins/config/environment.py",
        'return table["v"] if len(table) == 1 else str(self)',
        'return table["v"]',
    ),
    (
        "of two sections that look alike the first is taken",
        "fsm_plugins/config/environment.py",
        "return alike[0] if len(alike) == 1 else None",
        "return alike[0] if alike else None",
    ),
    (
        "a refused variable leaves a table behind",
        "fsm_plugins/config/environment.py",
        "inner = here.get(key) if below is None else here.setdefault(key, {})",
        "inner = here.setdefault(key, {})",
    ),
    (
        "the deadlines of the application come first",
        "fsm_plugins/config/reading.py",
        '{**app.deadlines, **values.get("deadlines", {})}',
        '{**values.get("deadlines", {}), **app.deadlines}',
    ),
    (
        "an empty environment is taken for none",
        "fsm_plugins/config/reading.py",
        "os.environ if environ is None else environ",
        "environ or os.environ",
    ),
    (
        "a deadline may be nan",
        "fsm_plugins/config/model.py",
        "seconds > 0",
        "not seconds <= 0",
    ),
    (
        "unsound sections are not marked",
        "fsm_plugins/config/reading.py",
        "        if found:\n            unsound.add(",
        "        if not found:\n            unsound.add(",
    ),
    (
        "merging forgets the other triggers of the class",
        "fsm_plugins/config/model.py",
        "others={**base.others, **others}",
        "others=others",
    ),
    (
        "a key of a TypedDict that is not required is",
        "fsm_plugins/config/parameters.py",
        "required=origin is typing.Required or (key in required and origin is not typing.NotRequired)",
        "required=key in required",
    ),
    (
        "an annotation of a base class is looked up in the module of the heir",
        "fsm_plugins/config/parameters.py",
        "return next((base for base in cls.__mro__ if name in _own_annotations(base)), cls)",
        "return cls",
    ),
    (
        "plugin directories come first",
        "fsm_plugins/loading/loader.py",
        "sys.path.append(entry)",
        "sys.path.insert(0, entry)",
    ),
    (
        "a hidden module is not told",
        "fsm_plugins/loading/loader.py",
        '_check_not_hidden(name.partition(".")[0], path)',
        "pass",
    ),
    (
        "a module that exits ends the program",
        "fsm_plugins/loading/loader.py",
        "except (Exception, SystemExit) as error:",
        "except Exception as error:",
    ),
    (
        "a failed import blames the library that was called",
        "fsm_plugins/loading/loader.py",
        "(own or [place for _, place in places] or",
        "([place for _, place in places] or",
    ),
    (
        "caches of directories are not dropped",
        "fsm_plugins/loading/loader.py",
        "importlib.invalidate_caches()",
        "pass",
    ),
    (
        "of several offers the first is taken",
        "fsm_plugins/loading/loader.py",
        "if len(targets) > 1:",
        "if len(targets) > 9:",
    ),
    (
        "paths of a file are relative to the working directory",
        "fsm_plugins/config/converter.py",
        "return (_DIRECTORY.get() or Path()) / text",
        "return Path(text)",
    ),
    (
        "paths of variables are relative to the file",
        "fsm_plugins/config/converter.py",
        "None if _DIRECTORY.get() is None else Path.cwd()",
        "_DIRECTORY.get()",
    ),
    (
        "an empty path is the directory of the file",
        "fsm_plugins/config/converter.py",
        'if not text or "\\0" in text:',
        'if "\\0" in text:',
    ),
    (
        "the application reads settings without their directory",
        "fsm_plugins/app.py",
        'f"{where}.settings", ports, config.directory)',
        'f"{where}.settings", ports)',
    ),
    (
        "plugin_path and the paths of [observe] are as they are written",
        "fsm_plugins/config/reading.py",
        "    with paths_from(Path(path).absolute().parent):",
        "    with paths_from(None):",
    ),
    (
        "paths in arrays are not shown",
        "fsm_plugins/config/settings.py",
        "    elif isinstance(value, list | tuple):\n        items = list(enumerate(value))",
        "    elif isinstance(value, list | tuple):\n        items = []",
    ),
]
