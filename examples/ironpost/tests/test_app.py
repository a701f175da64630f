"""The whole application: what was put in the samples is found, and each action is traced to what it came from."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from fsm_plugins import Plugin, PluginInfo, Receiver, Sender
from fsm_plugins.app import Application, read_blueprint
from fsm_plugins.loading import discover
from ironpost.demo import Desk, prepare
from ironpost.demo.__main__ import main
from ironpost.events import PacketEvent
from ironpost.network import EbpfEngine
from ironpost.sample import capture, logs, packages

CONFIG = Path(__file__).parents[1] / "ironpost.toml"
PLUGINS = ("ebpf-engine", "log-pipeline", "sbom-scanner", "container-guard")

pytestmark = pytest.mark.skipif(
    not {found.name for found in discover()}.issuperset(PLUGINS), reason="the package ironpost is not installed here"
)

# Every alert leads to an action, and the connections of this machine, of which nothing is known, are left out.
POLICY = """
[[policy]]
name = "all"
action = "pause"
severity = "info"
containers = ["gate"]
every = true
"""
ENVIRON = {
    "FSM_PLUGINS__PLUGINS__EBPF_ENGINE__ENABLED": "false",
    "FSM_PLUGINS__PLUGINS__CAPTURE__OUTPUTS__PACKETS": "tapped",
}


@define
class Tap(Plugin):
    """Hands packets on, and keeps them."""

    info = PluginInfo("tap", "1.0.0")

    tapped: Receiver[PacketEvent]
    packets: Sender[PacketEvent]
    seen: dict[str, PacketEvent] = field(factory=dict, init=False)

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        async for packet in self.tapped:
            self.seen[packet.id] = packet
            await self.packets.send(packet)
        self.packets.close()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def run_the_samples(directory: Path) -> tuple[Application, list[dict[str, Any]]]:
    """Run the configuration of the demonstration on the samples; return the application and the actions."""
    (directory / "audit.jsonl").write_text("of another run\n", encoding="utf-8")
    config = prepare(directory)
    (directory / "policies.toml").write_text(POLICY, encoding="utf-8")
    tap = f'[channels.tapped]\ncapacity = 16\n[plugins.tap]\nuse = "{Tap.__module__}:Tap"\n'
    config.write_text(f"{config.read_text(encoding='utf-8')}\n{tap}", encoding="utf-8")
    application = Application.from_config(config, ENVIRON)
    asyncio.run(asyncio.wait_for(application.run(signals=False, until_idle=True), 60))
    actions = [json.loads(line) for line in (directory / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    return application, actions


def test_what_was_put_in_the_samples_is_found_and_each_action_has_its_trace(tmp_path: Path) -> None:
    """Nothing more and nothing less: log lines, packets and packages, up to the action."""
    application, actions = run_the_samples(tmp_path)
    desk, tap = application.registry["desk"], application.registry["tap"]
    assert isinstance(desk, Desk)
    assert isinstance(tap, Tap)
    findings = {(advisory, package): severity for (package, advisory), severity in packages.FINDINGS.items()}
    assert Counter(
        (alert.rule, alert.fields.get("src", alert.fields.get("package"))) for alert in desk.seen
    ) == Counter(
        [
            ("ssh-brute-force", logs.ATTACKER),
            ("ssh-root-login", logs.ATTACKER),
            ("ssh-user-enumeration", logs.ENUMERATOR),
            ("user-added", None),
            ("sudo-refused", None),
            ("port-scan", capture.SCANNER),
            ("syn-flood", next(alert.fields["src"] for alert in desk.seen if alert.rule == "syn-flood")),
            *findings,
        ]
    )

    acted = {action["alert"]: action for action in actions}
    assert len(actions) == len(acted) == len(desk.seen)
    lines = logs.lines_of_auth()
    for alert in desk.seen:
        action = acted[alert.id]
        assert (action["trace"], action["outcome"], action["dry_run"]) == (alert.trace, "dry-run", True)
        if alert.source == "sbom-scanner":
            assert str(alert.severity) == findings[alert.rule, str(alert.fields["package"])]
        elif alert.rule in ("port-scan", "syn-flood"):
            first = tap.seen[alert.trace]  # a trace is the id of the packet that began it
            assert first.source == "capture"
            assert not first.finding
            assert (first.src, first.time) == (alert.fields["src"], alert.time)
        else:
            assert sum(str(alert.fields["message"]) in line for line in lines) == 1
            assert alert.trace in alert.fields.get("traces", (alert.trace,))  # type: ignore[operator]
    assert len([packet for packet in tap.seen.values() if not packet.finding]) == capture.PACKETS
    assert all(receipt.clean and not receipt.undelivered for receipt in application.receipt())


def test_the_configuration_is_sound_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Producers come first, both that raise alerts raise them into one channel, and the policies are found."""
    monkeypatch.chdir(tmp_path)
    blueprint = read_blueprint(CONFIG, {})
    assert blueprint.problems == ()
    assert blueprint.plan.order == PLUGINS
    producers = {name: [end.plugin for end in each.producers] for name, each in blueprint.plan.channels.items()}
    guard = next(spec for spec in blueprint.specs if spec.name == "container-guard")
    assert guard.settings["policies"] == CONFIG.parent / "ironpost" / "policies" / "default.toml"
    assert CONFIG.parent.joinpath("ironpost", "policies", "default.toml").is_file()
    assert producers == {"packets": ["ebpf-engine"], "alerts": ["log-pipeline", "sbom-scanner"]}


@pytest.mark.parametrize("disabled", PLUGINS)
def test_each_plugin_can_be_disabled(disabled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others run to the end, and whoever has lost the reader logs what is found."""
    variable = f"FSM_PLUGINS__PLUGINS__{disabled.upper().replace('-', '_')}__ENABLED"
    assert read_blueprint(CONFIG, {variable: "false"}).problems == ()
    config = tmp_path / "app.toml"
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    config.write_text(CONFIG.read_text(encoding="utf-8"), encoding="utf-8")
    settings = {
        "EBPF_ENGINE__SETTINGS__SOURCE": "pcap",
        "EBPF_ENGINE__SETTINGS__FILE": "capture.pcap",
        "LOG_PIPELINE__SETTINGS__FILES": '["logs/auth.log"]',
        "LOG_PIPELINE__SETTINGS__FOLLOW": "false",
        "SBOM_SCANNER__SETTINGS__INTERVAL": "0",
        "SBOM_SCANNER__SETTINGS__ADVISORIES": "advisories",
        "CONTAINER_GUARD__SETTINGS__POLICIES": "policies.toml",
        "CONTAINER_GUARD__SETTINGS__ENGINE": "unix://no-engine.sock",
    }
    environ = {f"FSM_PLUGINS__PLUGINS__{key}": value for key, value in settings.items()} | {variable: "false"}
    application = Application.from_config(config, environ)
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("ironpost")
    logging.disable(logging.NOTSET)
    logger.addHandler(handler)
    try:
        asyncio.run(asyncio.wait_for(application.run(signals=False, until_idle=True), 60))
    finally:
        logger.removeHandler(handler)
    assert [receipt.name for receipt in application.receipt() if receipt.clean] == [
        name for name in PLUGINS if name != disabled
    ]
    unread = {
        "ebpf-engine": 0,
        "log-pipeline": 2,  # the port scan and the flood
        "sbom-scanner": 0,
        "container-guard": 7 + len(packages.FINDINGS),
    }
    assert len(said) == unread[disabled]
    if disabled == "log-pipeline":
        engine = application.registry["ebpf-engine"]
        assert isinstance(engine, EbpfEngine)
        assert engine.counts["unreported"] == engine.counts["packets"] == capture.PACKETS


def test_the_demonstration_runs_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain lines where there is no terminal; at the end what was found, the receipt, and the files."""
    before = Path.cwd()
    assert main([str(tmp_path / "demo")]) == 0
    assert Path.cwd() == before
    out, err = capsys.readouterr()
    assert err == ""
    assert "\nlog-pipeline: running, healthy\n" in out
    assert "\nlog-pipeline: stopped, -\n" in out
    assert "dry run: pause gate (pause what is broken into)" in out
    assert "\n  container-guard: stopped in " in out
    files = out.partition("\nFiles:\n")[2].split()
    assert len(files) == 3
    assert all(Path(file).stat().st_size for file in files)


def test_a_wrong_command_line_and_a_place_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each, and an exit code."""
    (tmp_path / "file").write_text("")
    assert main(["--wrong"]) == 2
    assert main([str(tmp_path / "file")]) == 1
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "usage",
        "the demonstration cannot be run",
    ]
