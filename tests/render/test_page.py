"""The HTML page does what it says, in a real browser without a network."""

from __future__ import annotations

import html as html_
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fsm_plugins import LIFECYCLE
from fsm_plugins.diagrams import Diagram, Edge, Group, Node, Step, html, of_lifecycle

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed (apt-get install chromium)")

_HELPERS = """
const $ = (id) => document.getElementById(id);
const press = (text) => [...document.querySelectorAll("button")].find((b) => b.textContent.startsWith(text)).click();
const told = {};
const tell = (key) => { told[key] = { state: $("state").textContent, said: $("said").textContent, hash: location.hash,
  slider: $("slider").value, max: $("slider").max, log: [...$("log").children].map((li) => li.textContent),
  legal: [...$("legal").children].map((b) => b.textContent),
  illegal: [...$("illegal").children].map((b) => b.textContent),
  current: [...document.querySelectorAll("svg .current")].map((g) => g.getAttribute("data-id")),
  taken: [...document.querySelectorAll("svg .taken")].map((g) => g.getAttribute("data-source") + ">" +
    g.getAttribute("data-dest")), focus: document.activeElement.textContent }; };
"""


def drive(page: str, script: str, tmp_path: Path, fragment: str = "") -> dict[str, dict[str, object]]:
    """Run ``script`` in ``page`` after its own, and return what it told."""
    assert BROWSER is not None
    after = f"<script>try {{ {_HELPERS}{script} document.title = JSON.stringify(told); }}"
    after += " catch (error) { document.title = String(error); }</script></body>"
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", after), encoding="utf-8")
    ran = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=4000",
            "--dump-dom",
            f"{file.as_uri()}{fragment}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", ran.stdout, re.DOTALL)
    assert title is not None
    told: dict[str, dict[str, object]] = json.loads(html_.unescape(title[1]))
    return told


def test_a_walk_through_the_lifecycle(tmp_path: Path) -> None:
    """Triggers move it, illegal ones are refused with the reason, undo takes back, the address keeps all of it."""
    page = html(of_lifecycle(LIFECYCLE))
    script = """
    tell("begin"); press("init"); tell("init"); press("stop"); tell("refused"); press("Undo"); tell("undone");
    press("start"); $("slider").value = "1"; $("slider").dispatchEvent(new Event("input")); tell("earlier");
    press("fail"); tell("branch"); press("Begin again"); tell("again");
    document.querySelector('svg .edge[data-source="created"][data-dest="failed"]').dispatchEvent(new Event("click"));
    tell("clicked"); document.querySelector('svg .edge[data-source="created"]').dispatchEvent(new Event("click"));
    tell("wrong arrow"); [...document.querySelectorAll("#legal button")][0].focus(); press("stop"); tell("focus");
    """
    told = drive(page, script, tmp_path)
    assert told["begin"]["state"] == "created"
    assert told["begin"]["legal"] == ["init → initialized", "fail → failed"]
    assert told["begin"]["illegal"] == ["start", "stop"]
    assert (told["init"]["state"], told["init"]["hash"]) == ("initialized", "#moves=0")
    assert told["init"]["current"] == ["initialized"]
    assert told["init"]["taken"] == ["created>initialized"]
    assert told["refused"]["said"] == "stop is refused in initialized; it is legal in: running, failed."
    assert (told["refused"]["state"], told["refused"]["hash"]) == ("initialized", "#moves=0,!stop")
    assert (told["undone"]["hash"], told["undone"]["log"]) == ("#moves=0", ["init: created → initialized"])
    assert (told["earlier"]["state"], told["earlier"]["max"]) == ("initialized", "2")
    assert (told["branch"]["state"], told["branch"]["max"], told["branch"]["slider"]) == ("failed", "2", "2")
    assert (told["again"]["state"], told["again"]["hash"]) == ("created", "")
    assert told["clicked"]["state"] == "failed"
    assert told["wrong arrow"]["said"] == "init is refused in failed; it is legal in: created."
    assert told["focus"]["state"] == "stopped" and told["focus"]["focus"] in ("Undo", "init")


def test_a_link_is_a_walk(tmp_path: Path) -> None:
    """Opened with moves in its address, the page has made them; it stops at one that makes no sense."""
    page = html(of_lifecycle(LIFECYCLE))
    told = drive(page, 'tell("now");', tmp_path, "#moves=0,!stop,2,0,2")["now"]
    assert (told["state"], told["hash"]) == ("running", "#moves=0,!stop,2")
    assert told["log"] == [
        "init: created → initialized",
        "stop is refused in initialized; it is legal in: running, failed",
        "start: initialized → running",
    ]


def test_a_recorded_trace_is_played(tmp_path: Path) -> None:
    """A plugin is chosen, the slider goes through what it did, and playing comes to the end by itself."""
    steps = [
        Step("a", "init", "created", "initialized"),
        Step("b", "init", "created", "initialized"),
        Step("a", "stop", "initialized", None),
        Step("a", "fail", "initialized", "failed", cause="OSError: </script>"),
    ]
    script = """
    $("traces").value = "a"; $("traces").dispatchEvent(new Event("change")); tell("loaded");
    $("slider").value = "3"; $("slider").dispatchEvent(new Event("input")); tell("last");
    $("slider").value = "0"; $("slider").dispatchEvent(new Event("input")); press("Play");
    setTimeout(() => { tell("played"); document.title = JSON.stringify(told); }, 3500);
    """
    told = drive(html(of_lifecycle(LIFECYCLE), trace=steps), script, tmp_path)
    assert (told["loaded"]["state"], told["loaded"]["max"], told["loaded"]["hash"]) == ("created", "3", "")
    assert told["last"]["said"] == "fail: initialized → failed (OSError: </script>)."
    assert (told["played"]["slider"], told["played"]["state"]) == ("3", "failed")


def test_groups_are_entered_and_left(tmp_path: Path) -> None:
    """A move into a group comes to its initial state; a move of the group is possible from every state in it."""
    diagram = Diagram(
        [Node("a", "a", initial=True), Node("b", "b", "g"), Node("c", "c", "g", initial=True)],
        [Edge("a", "g", "go"), Edge("c", "b", "on"), Edge("g", "a", "back"), Edge("b", "b", "poke", "internal")],
        [Group("g", "G")],
    )
    script = 'press("go"); tell("in"); press("on"); press("poke"); tell("inner"); press("back"); tell("out");'
    told = drive(html(diagram), script, tmp_path)
    assert told["in"]["state"] == "c" and sorted(map(str, told["in"]["current"])) == ["c", "g"]  # type: ignore[call-overload]
    assert told["inner"]["state"] == "b" and told["out"]["state"] == "a"
