"""PNG and PDF, by way of Graphviz: the program ``dot`` if it is there, else the package ``pygraphviz``."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from typing import Final, Literal, TypeAlias

from fsm_plugins.diagrams.as_dot import dot
from fsm_plugins.diagrams.model import Diagram
from fsm_plugins.diagrams.palette import Theme

__all__ = ["BINARY_FORMATS", "BinaryFormat", "CannotDraw", "picture"]

BinaryFormat: TypeAlias = Literal["png", "pdf"]
BINARY_FORMATS: Final[tuple[BinaryFormat, ...]] = ("png", "pdf")
_SECONDS: Final = 60


class CannotDraw(Exception):
    """A picture cannot be made here; the text says in one line what to do about it."""


def picture(diagram: Diagram, format: BinaryFormat, theme: Theme = "light") -> bytes:  # noqa: A002
    """Return ``diagram`` as the bytes of a PNG or PDF file, laid out by Graphviz.

    Raises:
        CannotDraw: Graphviz is not there, or it refuses.
    """
    text = dot(diagram, theme)
    program = shutil.which("dot")
    if program is not None:
        try:
            ran = subprocess.run(
                [program, f"-T{format}"], input=text.encode(), capture_output=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotDraw(f"{program} did not draw: {error}") from error
        if ran.returncode or not ran.stdout:
            lines = ran.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise CannotDraw(f"{program} did not draw: {lines[0]}")
        return ran.stdout
    try:
        pygraphviz = importlib.import_module("pygraphviz")
    except ImportError:
        raise CannotDraw(
            f"{format} is drawn by Graphviz, which is not here: install its program dot (apt-get install graphviz, "
            "brew install graphviz) or the package pygraphviz, or use --format svg"
        ) from None
    try:
        return bytes(pygraphviz.AGraph(string=text).draw(format=format, prog="dot"))
    except Exception as error:
        raise CannotDraw(f"pygraphviz did not draw: {error}") from error
