"""The packet program: its source is ``xdp.c``, next to this module, and clang makes an object of it.

Compiling takes about a tenth of a second and nothing is kept of it, so there is no file that a privileged process would
have to trust. The object is the same for every Linux on machines of one byte order: for a machine without a compiler,
make it on another::

    python -m ironpost.network.program xdp.o
"""

from __future__ import annotations

import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

__all__ = ["VERSION", "CannotCompile", "compile_program"]

SOURCE: Final = Path(__file__).with_name("xdp.c")
VERSION: Final = 1
"""Of the layout of maps and records; part of the names of the programs."""
SECONDS: Final = 60


class CannotCompile(Exception):
    """There is no object; the text says why, and what to do."""


def compile_program(compiler: str = "clang") -> bytes:
    """Return the object.

    Raises:
        CannotCompile: there is no compiler, or it failed.
    """
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    command = [compiler, "-O2", "-g", "-Wall", "-target", "bpf", f"-I/usr/include/{multiarch}"]  # Debian's asm/types.h
    try:
        done = subprocess.run([*command, "-c", SOURCE, "-o", "-"], capture_output=True, timeout=SECONDS, check=False)
    except FileNotFoundError:
        raise CannotCompile(
            f"{compiler} is missing; install it (apt install clang libbpf-dev), or set 'object' to a file made "
            "elsewhere: python -m ironpost.network.program xdp.o"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{compiler} did not do its work: {error}") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        first = next((line for line in lines if "error" in line), f"exit status {done.returncode}")
        raise CannotCompile(f"{compiler} failed: {first}; are its headers here? (apt install libbpf-dev)")
    return done.stdout


def main(arguments: list[str]) -> int:
    """Write the object to a file."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m ironpost.network.program FILE", file=sys.stderr)
        return 2
    try:
        Path(arguments[0]).write_bytes(compile_program())
    except (CannotCompile, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
