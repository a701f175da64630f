"""The sample logs, from the command that writes them to the alerts that a whole application makes of them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path

import pytest
from attrs import define, field

from fsm_plugins import Plugin, PluginInfo, Receiver
from fsm_plugins.app import Application
from fsm_plugins.loading import discover, load
from ironpost.events import AlertEvent
from ironpost.logs import LogPipeline
from ironpost.sample import logs
from ironpost.sample.__main__ import main


@define
class Sink(Plugin):
    """Keeps the alerts."""

    info = PluginInfo("sink", "1.0.0")

    alerts: Receiver[AlertEvent]
    seen: list[AlertEvent] = field(factory=list, init=False)

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        async for alert in self.alerts:
            self.seen.append(alert)


def test_the_command_writes_the_same_every_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever parts there are; twice into one directory as well."""
    for directory in ("a", "b", "b"):
        assert main([str(tmp_path / directory)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "a")
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert {Path("logs/auth.log"), Path("logs/app.log")} <= set(files)
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_wrong_command_line_and_a_place_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each, and an exit code."""
    assert main([]) == 2
    assert main(["--help"]) == 0
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == 1
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "usage",
        "usage",
        "the samples cannot be written",
    ]


def test_an_application_finds_in_the_samples_what_was_put_there(tmp_path: Path) -> None:
    """From one TOML file, with the shipped rules: who tried passwords, who got in, and what came of it."""
    logs.write(tmp_path)
    (tmp_path / "app.toml").write_text(
        f"""
        [channels.alerts]
        capacity = 4
        [plugins.log-pipeline]
        use = "ironpost.logs:LogPipeline"
        [plugins.log-pipeline.settings]
        files = ["{tmp_path}/logs/auth.log", "{tmp_path}/logs/app.log"]
        positions = "{tmp_path}/positions.json"
        follow = false
        [plugins.sink]
        use = "{Sink.__module__}:Sink"
        """
    )
    application = Application.from_config(tmp_path / "app.toml", {})
    logging.disable()
    try:
        asyncio.run(asyncio.wait_for(application.run(signals=False, until_idle=True), 30))
    finally:
        logging.disable(logging.NOTSET)
    sink, pipeline = application.registry["sink"], application.registry["log-pipeline"]
    assert isinstance(sink, Sink)
    assert isinstance(pipeline, LogPipeline)
    found = Counter((alert.rule, alert.fields.get("src")) for alert in sink.seen)
    assert found == {
        ("ssh-brute-force", logs.ATTACKER): 1,
        ("ssh-root-login", logs.ATTACKER): 1,
        ("ssh-user-enumeration", logs.ENUMERATOR): 1,
        ("user-added", None): 1,
        ("sudo-refused", None): 1,
    }
    assert all(logs.BEGIN < alert.time < logs.BEGIN + 3600 for alert in sink.seen)
    counts = pipeline.counts
    assert counts.lines == len(logs.lines_of_auth()) + len(logs.lines_of_app())
    assert (counts.bad, counts.sent, counts.lost) == (1, len(sink.seen), 0)
    assert all(receipt.clean and not receipt.undelivered for receipt in application.receipt())


def test_the_plugin_is_found_by_its_entry_point() -> None:
    """As that of any third party, where the package is installed."""
    if "log-pipeline" not in {found.name for found in discover()}:
        pytest.skip("the package ironpost is not installed here")
    assert load("log-pipeline") is LogPipeline
