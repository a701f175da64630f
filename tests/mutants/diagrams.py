"""Deliberate breakages of the diagrams, each of which some test has to notice.

A mutant is a name, a file, the snippet to be replaced (which occurs there exactly once), and what replaces it.
"""

from __future__ import annotations

_MODEL = "fsm_plugins/diagrams/model.py"
_EXTRACT = "fsm_plugins/diagrams/extract.py"
_TEXT = "fsm_plugins/diagrams/text.py"
_MERMAID = "fsm_plugins/diagrams/as_mermaid.py"
_DOT = "fsm_plugins/diagrams/as_dot.py"
_PLANTUML = "fsm_plugins/diagrams/as_plantuml.py"
_TABLES = "fsm_plugins/diagrams/tables.py"
_TERMINAL = "fsm_plugins/diagrams/terminal.py"
_LAYERING = "fsm_plugins/diagrams/layout/layering.py"
_ORDERING = "fsm_plugins/diagrams/layout/ordering.py"
_PLACING = "fsm_plugins/diagrams/layout/placing.py"
_ROUTING = "fsm_plugins/diagrams/layout/routing.py"
_SCENE = "fsm_plugins/diagrams/scene.py"
_SVG = "fsm_plugins/diagrams/as_svg.py"

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "the table of a topology speaks of triggers",
        "fsm_plugins/diagrams/topology.py",
        ', edge_kind="channel"',
        "",
    ),
    (
        "edges keep the order they were given in",
        _MODEL,
        "tuple(sorted(dict.fromkeys(self.edges), key=place))",
        "tuple(dict.fromkeys(self.edges))",
    ),
    (
        "an edge is drawn as often as it was given",
        _MODEL,
        "sorted(dict.fromkeys(self.edges), key",
        "sorted(self.edges, key",
    ),
    ("an edge may end nowhere", _MODEL, "if end not in rank:", "if end is None:"),
    ("a highlight may name nothing", _MODEL, "if mark not in known:", "if mark is None:"),
    ("what transitions adds is drawn", _EXTRACT, "if not automatic and", "if"),
    ("a declared to_x is left out", _EXTRACT, "automatic = self.automatic and transition", "automatic = transition"),
    ("a negated condition looks like a condition", _EXTRACT, 'else f"not {name}"', "else name"),
    (
        "only the first transition of a trigger is drawn",
        _EXTRACT,
        "for transition in candidates:",
        "for transition in candidates[:1]:",
    ),
    (
        "transitions declared in a compound state are lost",
        _EXTRACT,
        "self._nested_events(machine.states, None)",
        "pass",
    ),
    (
        "the table is drawn, not the machine",
        _EXTRACT,
        "of_machine(lifecycle.machine, title",
        "of_machine(Lifecycle(lifecycle.initial, lifecycle.arcs).machine, title",
    ),
    (
        "plugins of two lifecycles are counted in one",
        _EXTRACT,
        "members.setdefault(plugin.lifecycle, [])",
        "members.setdefault(next(iter(members), plugin.lifecycle), [])",
    ),
    ("two ids get one identifier", _TEXT, "while word.lower() in taken:", "while False:"),
    ("a reserved word is an identifier", _TEXT, "or one.lower() in _RESERVED or", "or"),
    ("case tells identifiers apart", _TEXT, " or one.lower() in kept", ""),
    (
        "a bell rings",
        _TEXT,
        'return _UNPRINTABLE.sub("\\ufffd", _NEWLINES.sub("\\n", text))',
        'return _NEWLINES.sub("\\n", text)',
    ),
    ("a long word is cut off", _TEXT, "while measure(line) > most and len(line) > 1:", "while False:"),
    ("Mermaid sees quotes", _MERMAID, '" _-.,()/+=!?"', '" _-.,()/+=!?\\""'),
    ("Mermaid sees comments", _MERMAID, '" _-.,()/+=!?"', '" _-.,()/+=!?%"'),
    ("a title may be no YAML", _MERMAID, "json.dumps(clean(title), ensure_ascii=False)", "clean(title)"),
    ("Mermaid shows no final state", _MERMAID, "for item in members if item.final)", "for item in members if False)"),
    ("DOT sees an escape", _DOT, '.replace("\\\\", "\\\\\\\\")', ""),
    ("DOT sees an entity", _DOT, '.replace("&", "&amp;")', ""),
    (
        "PlantUML shows no initial state",
        _PLANTUML,
        "for item in members if item.initial)",
        "for item in members if False)",
    ),
    ("conditions are not in the tables", _TABLES, "if edge.detail else text", "if False else text"),
    ("a terminal joins the arms of two states", _TERMINAL, "if edge.source == item.id]", "if edge.source >= item.id]"),
    (
        "plain ASCII is not",
        _TERMINAL,
        'text if unicode else text.encode("ascii", "backslashreplace").decode("ascii")',
        "text",
    ),
    ("labels have no room of their own", _LAYERING, "half = link.across / 2 if has_label else 0.0", "half = 0.0"),
    ("a cycle stays", _LAYERING, "turned[number] = True", "pass"),
    ("the order of layers is left as it is", _ORDERING, "if now < crossed:", "if False:"),
    (
        "neighbours may touch",
        _PLACING,
        "return left.after + gap + right.before",
        "return left.after + right.before - 3",
    ),
    (
        "who is pooled forgets the others",
        _PLACING,
        "weight, size = heavy + weight, size + many",
        "weight, size = heavy, size",
    ),
    ("a straight line may pass through others", _PLACING, "max(low, least), min(high, most)", "-inf, inf"),
    ("a turned arrow points the wrong way", _ROUTING, "points[::-1] if sheet.turned[number] else points", "points"),
    (
        "arrows end beside the box",
        _ROUTING,
        "ports[number, down] = min(max(wish, low), high)",
        "ports[number, down] = high + 99",
    ),
    ("a loop has no room", _SCENE, "after=box.after + _LOOP + across + 10", "after=box.after"),
    ("an edge into a group does not tell where it leads", _SCENE, "if edge.dest != dest:", "if False:"),
    ("a group is as small as its name", _SCENE, "max(width, inner.width + 2 * _PAD)", "width"),
    ("the title is not in the picture", _SCENE, "width = max(width, text.width)", "pass"),
    (
        "parallel edges lose their names",
        _SCENE,
        "for edge, source, dest in edges:",
        "for edge, source, dest in edges[:1]:",
    ),
    ("a name may close the picture", _SVG, "return escape(clean(text), quote=False)", "return clean(text)"),
    (
        "a channel with two producers has one arrow",
        "fsm_plugins/diagrams/topology.py",
        "for end in channel.producers",
        "for end in channel.producers[:1]",
    ),
    ("a failed plugin looks well", "fsm_plugins/diagrams/topology.py", "marks.get(plugin.state,", "marks.get(None,"),
    ("refusals count as moves", "fsm_plugins/diagrams/covering.py", "if step.dest is not None)", ")"),
    (
        "what was never taken looks ordinary",
        "fsm_plugins/diagrams/covering.py",
        'tone="warning", style="dotted"',
        'style="dotted"',
    ),
    (
        "a strange move is not shown",
        "fsm_plugins/diagrams/covering.py",
        "not in drawn and dest is not None:",
        "not in drawn and dest is None:",
    ),
    (
        "only the first part of a product moves",
        "fsm_plugins/diagrams/products.py",
        "for place, name in enumerate(parts):",
        "for place, name in enumerate(list(parts)[:1]):",
    ),
    (
        "two combinations have one id",
        "fsm_plugins/diagrams/products.py",
        "repr(combination) if any",
        "str(len(combination)) if any",
    ),
    (
        "a trace forgets its causes",
        "fsm_plugins/observe/steps.py",
        "None if event.cause is None else describe(event.cause)",
        "None",
    ),
    ("true is a number of seconds", "fsm_plugins/observe/steps.py", " or isinstance(value[key], bool)", ""),
    (
        "a sequence always tells times",
        "fsm_plugins/diagrams/sequence.py",
        'when = f" {sequence.since(step)}" if sequence.times else ""\n        lines.append(f"    {word}',
        'when = f" {sequence.since(step)}"\n        lines.append(f"    {word}',
    ),
    (
        "a name may close the picture of a sequence",
        "fsm_plugins/diagrams/sequence.py",
        "{escape(clean(text), quote=False)}</text>",
        "{clean(text)}</text>",
    ),
    ("blocks in code are filled", "fsm_plugins/diagrams/blocks.py", "begin = None if fence else", "begin ="),
    (
        "a block that does not end takes the rest",
        "fsm_plugins/diagrams/blocks.py",
        "        else:\n            raise ValueError(",
        "        else:\n            str(",
    ),
    ("a check writes", "fsm_plugins/diagrams/command.py", "elif not output.check:", "elif True:"),
    (
        "a difference is no failure",
        "fsm_plugins/diagrams/command.py",
        '_fail(f"{output.out} differs; write it anew without --check")',
        "pass",
    ),
    (
        "the suffix is not looked at",
        "fsm_plugins/diagrams/command.py",
        "_SUFFIXES.get(self.out.suffix, otherwise) if self.out is not None else",
        "",
    ),
    ("a lifecycle is no target", "fsm_plugins/diagrams/targets.py", "if isinstance(found, Lifecycle):", "if False:"),
    (
        "an application is a state diagram",
        "fsm_plugins/diagrams/command.py",
        'output = output._replace(format="flowchart")',
        "pass",
    ),
    (
        "an invalid configuration is drawn",
        "fsm_plugins/diagrams/command.py",
        "if blueprint.problems or blueprint.config is None:",
        "if blueprint.config is None:",
    ),
    ("every terminal is taken for UTF-8", "fsm_plugins/diagrams/command.py", "unicode=_is_utf8()", "unicode=True"),
    (
        "the theme is forgotten",
        "fsm_plugins/diagrams/command.py",
        "render(drawn, wanted, theme=output.theme)",
        "render(drawn, wanted)",
    ),
    (
        "a Graphviz that fails is believed",
        "fsm_plugins/diagrams/pictures.py",
        "if ran.returncode or not ran.stdout:",
        "if False:",
    ),
    ("a name may end the script", "fsm_plugins/diagrams/as_html.py", '.replace("<", "\\\\u003c")', ""),
    (
        "a title may be markup",
        "fsm_plugins/diagrams/as_html.py",
        "title = escape(one_line(diagram.title) or",
        "title = (one_line(diagram.title) or",
    ),
    (
        "a page is never dark",
        "fsm_plugins/diagrams/as_html.py",
        "    if theme is None:\n        yield",
        "    if False:\n        yield",
    ),
    ("nothing is announced", "fsm_plugins/diagrams/as_html.py", ' role="status" aria-live="polite"', ""),
    ("every fence is a diagram", "fsm_plugins/diagrams/fences.py", 'if language != "fsm-diagram":', "if not language:"),
    (
        "an option is misspelt in silence",
        "fsm_plugins/diagrams/fences.py",
        "if not colon or key not in _OPTIONS:",
        "if not colon:",
    ),
    (
        "a block does not tell its line",
        "fsm_plugins/diagrams/fences.py",
        'raise ValueError(f"line {at + 1}: {error}") from error',
        "raise",
    ),
    ("a picture has empty lines", _SVG, "palette).lines() if line]", "palette).lines()]"),
]
