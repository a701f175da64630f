"""Run by `make wheel` in an environment that has the built wheel and its dependencies, and nothing else."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys

import fsm_plugins
from fsm_plugins import Plugin, PluginInfo, PluginRegistry


class Clock(Plugin):
    info = PluginInfo("clock", "1.0.0")


async def core() -> None:
    registry = PluginRegistry()
    registry.register(Clock())
    async with registry.running():
        assert [str(health.status) for health in await registry.health_check_all()] == ["healthy"]
    assert registry["clock"].state == fsm_plugins.STOPPED


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fsm_plugins", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def main() -> None:
    asyncio.run(core())
    for extra in ("hypothesis", "pytest", "rich", "prometheus_client", "starlette"):
        assert importlib.util.find_spec(extra) is None, f"{extra} is installed: this is no bare environment"
    ran = command("run", "words.toml", "--until-idle", "--json")
    assert ran.returncode == 0, ran.stderr
    receipt = json.loads(ran.stdout[ran.stdout.index("{") :])
    assert receipt["ok"], receipt
    assert [plugin["name"] for plugin in receipt["plugins"]] == ["read", "split", "report"]
    assert command("check", "nothing.toml").returncode == 78
    print(f"the wheel of fsm-plugins {fsm_plugins.__version__} works from {fsm_plugins.__file__}")


if __name__ == "__main__":
    main()
