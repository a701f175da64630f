"""Pictures in Markdown files, between two comments, filled in and checked by a program.

A block begins with ``<!-- diagram: NAME -->`` and ends with ``<!-- /diagram -->``, each on a line of its own. What is
between belongs to the program.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from fsm_plugins.errors import suggestion

__all__ = ["difference", "fenced", "fill"]

_BEGIN = re.compile(r"^ {0,3}<!-- diagram: (.*?) -->[ \t]*$")
_END = re.compile(r"^ {0,3}<!-- /diagram -->[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")


def fenced(text: str, language: str = "mermaid") -> str:
    """Return ``text`` as a fenced block of Markdown, with more backticks than there are in it.

    >>> print(fenced("stateDiagram-v2"))
    ```mermaid
    stateDiagram-v2
    ```
    """
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def fill(text: str, pictures: Mapping[str, str]) -> str:
    """Return the text of a Markdown file with each of its blocks filled. Blocks in fenced code are left alone.

    Args:
        text: of the file.
        pictures: by name, what goes between the comments.

    Raises:
        ValueError: a block names no picture, or does not end; the text tells the line.

    >>> print(fill("<!-- diagram: x -->\\nold\\n<!-- /diagram -->\\n", {"x": "new"}), end="")
    <!-- diagram: x -->
    new
    <!-- /diagram -->
    """
    return "".join(_filled(text, pictures))


def _filled(text: str, pictures: Mapping[str, str]) -> Iterator[str]:
    lines = iter(enumerate(text.splitlines(keepends=True), 1))
    fence = ""
    for number, line in lines:
        yield line
        if found := _FENCE.match(line):
            run = found[1]
            if not fence:
                fence = run
            elif run.startswith(fence) and not line.strip().strip(run[0]):
                fence = ""
            continue
        begin = None if fence else _BEGIN.match(line.rstrip("\r\n"))
        if begin is None:
            continue
        if begin[1] not in pictures:
            hint = suggestion(begin[1], pictures)
            raise ValueError(
                f"line {number}: there is no diagram {begin[1]!r}{hint}; there are: {', '.join(sorted(pictures))}"
            )
        for _, inside in lines:
            if _END.match(inside.rstrip("\r\n")):
                yield f"{pictures[begin[1]].rstrip()}\n"
                yield inside
                break
        else:
            raise ValueError(f"line {number}: the diagram {begin[1]!r} does not end; add <!-- /diagram -->")


def difference(name: str, found: str | None, wanted: str) -> str:
    """Return how the text of the file ``name`` differs from what it should be, as a unified diff; empty if it does not.

    >>> print(difference("x.md", "one\\n", "two\\n"), end="")
    --- x.md
    +++ x.md (generated)
    @@ -1 +1 @@
    -one
    +two
    """
    old = [] if found is None else found.splitlines(keepends=True)
    lines = difflib.unified_diff(
        old, wanted.splitlines(keepends=True), name if found is not None else "/dev/null", f"{name} (generated)"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
