"""The supervisor of Erlang/OTP, where ``erl`` and ``erlc`` are installed: another runtime and its own clocks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks._measure import Taken

__all__ = ["NAME", "NOTE", "built", "life", "release"]

NAME: Final = "OTP supervisor"
NOTE: Final = "another runtime: each child is a process, with a heap and a mailbox of its own, started one by one"

SOURCE: Final = Path(__file__).with_name("fleet.erl")
# One scheduler, as an event loop has, that sleeps when there is nothing to do: spinning is CPU time, too.
FLAGS: Final = ("-noshell", "-noinput", "+S", "1", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none")
LEAST: Final = 20_000
"""Its clock of CPU time counts milliseconds, so small fleets live often."""


def built(directory: Path) -> bool:
    """Compile the module into ``directory``; False where there is no Erlang."""
    if shutil.which("erl") is None or shutil.which("erlc") is None:
        return False
    subprocess.run(["erlc", "-o", str(directory), str(SOURCE)], check=True)
    return True


def release() -> str:
    """Return the version of OTP."""
    expression = "io:put_chars(erlang:system_info(otp_release)), halt()."
    return subprocess.run(
        ["erl", *FLAGS, "-eval", expression], check=True, capture_output=True, text=True
    ).stdout.strip()


def life(directory: Path, number: int) -> dict[str, Taken]:
    """Let so many children live, until the measurement is long enough; return what each step took for one child."""
    rounds = max(1, LEAST // number)
    processes = ("+P", str(max(262_144, 2 * number)))
    command = ["erl", *FLAGS, *processes, "-pa", str(directory), "-eval", f"fleet:main({number}, {rounds})."]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {}
    for line in answer.splitlines():
        step, cpu, wall = line.split()
        found[step] = Taken(int(cpu) / 1e3 / number / rounds, int(wall) / 1e6 / number / rounds)
    assert set(found) == {"start_all", "health_check_all", "stop_all"}, answer
    return found
