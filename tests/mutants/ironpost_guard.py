"""Deliberate breakages of the container guard of the reference application."""

from __future__ import annotations

_GUARD = "examples/ironpost/ironpost/guard/"
_TESTS = "examples/ironpost/tests/test_guard_"

TESTS = tuple(f"{_TESTS}{part}.py" for part in ("policies", "plugin", "engine"))

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "the lowest priority counts",
        _GUARD + "policies.py",
        "key=lambda policy: -policy.priority",
        "key=lambda policy: policy.priority",
    ),
    ("worse alerts only", _GUARD + "policies.py", "alert.severity >= Severity", "alert.severity > Severity"),
    ("the image does not matter", _GUARD + "policies.py", " and _match(container.image, self.images)", ""),
    ("every policy acts", _GUARD + "policies.py", "            if (policy.every or concerned) and", "            if"),
    (
        "all policies act",
        _GUARD + "policies.py",
        "                steps.append((policy, container))\n                break\n",
        "                steps.append((policy, container))\n",
    ),
    ("the target is acted on", _GUARD + "policies.py", 'alert.fields.get("src", "")', 'alert.fields.get("dst", "")'),
    (
        "any text is a name",
        _GUARD + "policies.py",
        "for name in missing if _NAME.fullmatch(name)]",
        "for name in missing]",
    ),
    ("a short id is one", _GUARD + "policies.py", "len(text) >= 12 and", ""),
    (
        "names are believed though the engine was asked",
        _GUARD + "policies.py",
        "    if not complete:\n",
        "    if True:\n",
    ),
    ("policies of one name", _GUARD + "policies.py", "if policy.name in found:", "if 0:"),
    ("a dry run acts", _GUARD + "plugin.py", "        if self.dry_run:\n", "        if 0:\n"),
    ("a dry run is not the default", _GUARD + "plugin.py", "dry_run: bool = True", "dry_run: bool = False"),
    (
        "what cannot be recorded is done",
        _GUARD + "plugin.py",
        'if not await self._write("intent", event):',
        'if await self._write("intent", event) is None:',
    ),
    ("an action that failed is not tried again", _GUARD + "plugin.py", 'if event.outcome != "failed":', "if True:"),
    ("the pause never ends", _GUARD + "plugin.py", "            del self._done[key]\n", "            pass\n"),
    (
        "refusals are tried again",
        _GUARD + "plugin.py",
        "isinstance(error, EngineError) and error.temporary",
        "isinstance(error, EngineError)",
    ),
    (
        "an engine that is gone is tried again",
        _GUARD + "plugin.py",
        "limits.attempts if self._inventory.connected else 1",
        "limits.attempts",
    ),
    (
        "a reader that is gone fails the guard",
        _GUARD + "plugin.py",
        "except ChannelClosed:",
        "except ZeroDivisionError:",
    ),
    (
        "what is cut off is not recorded",
        _GUARD + "plugin.py",
        'await self._write("outcome", evolve(event, outcome="failed", detail="cut off by the end of the guard"))',
        "pass",
    ),
    ("what is cut off is forgotten", _GUARD + "plugin.py", 'self.counts["cut off"] += left', "pass"),
    ("the trace is lost", _GUARD + "plugin.py", "            trace=alert.trace,\n", ""),
    ("the engine stays open", _GUARD + "plugin.py", "            await self.client.close()\n", "            pass\n"),
    ("a cut line is gone on with", _GUARD + "audit.py", 'if file.read(1) != b"\\n":', "if 0:"),
    ("anybody can read the audit file", _GUARD + "audit.py", "0o600", "0o644"),
    (
        "errors of the server are final",
        _GUARD + "engine.py",
        "error.status >= 500, error.status == 404",
        "False, error.status == 404",
    ),
    (
        "errors of the client may pass",
        _GUARD + "engine.py",
        "error.status >= 500, error.status == 404",
        "True, error.status == 404",
    ),
    (
        "what is done already is an error",
        _GUARD + "engine.py",
        "if said := await self._already(container, action):",
        "if said := None:",
    ),
    (
        "a strange answer is a crash",
        _GUARD + "engine.py",
        "ValueError, LookupError, TypeError, AttributeError) as error:",
        "ValueError) as error:",
    ),
    (
        "a container leaves one network",
        _GUARD + "engine.py",
        "names = _networks(await target.show())",
        "names = _networks(await target.show())[:1]",
    ),
    ("commands inside are changes", _GUARD + "engine.py", 'str(event.get("Action")).startswith(_IDLE)', "False"),
    ("what is gone stays", _GUARD + "inventory.py", "                self._known.pop(container, None)\n", ""),
    ("it waits no longer each time", _GUARD + "inventory.py", "min(wait * 2, longest)", "wait"),
    (
        "it waits ever longer",
        _GUARD + "inventory.py",
        "self.patience[0] if self.connected else min(wait * 2, longest)",
        "min(wait * 2, longest)",
    ),
    (
        "a lost engine seems to be there",
        _GUARD + "inventory.py",
        "self.connected, self.trouble = False, str(error)",
        "self.trouble = str(error)",
    ),
    (
        "Podman's events of networks are not understood",
        _GUARD + "engine.py",
        'found = named or (actor.get("ID") if joins_or_leaves else None)',
        "found = named",
    ),
    (
        "a network that is removed is taken for a container",
        _GUARD + "engine.py",
        'joins_or_leaves = event.get("Action") in ("connect", "disconnect")',
        "joins_or_leaves = True",
    ),
]
