"""Deliberate breakages of the log pipeline of the reference application."""

from __future__ import annotations

_LOGS = "examples/ironpost/ironpost/logs/"
_TESTS = "examples/ironpost/tests/test_logs_"

TESTS = tuple(f"{_TESTS}{part}.py" for part in ("rules", "formats", "follow", "plugin", "sigma", "rulefiles"))

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "a rotated log is given up at once",
        _LOGS + "follow.py",
        "if self._follow and now - file.quiet_since < self._wait:",
        "if self._follow and now - file.quiet_since < 0:",
    ),
    (
        "a log that was emptied is read on where it was",
        _LOGS + "follow.py",
        "            if not file.intact():",
        "            if os.fstat(file.descriptor).st_size < file.offset:",
    ),
    (
        "what is in the copy of an emptied log is lost",
        _LOGS + "follow.py",
        "        if copy is not None:\n            self._files.insert",
        "        if copy is None:\n            self._files.insert",
    ),
    (
        "logs between two looks are not read",
        _LOGS + "follow.py",
        "                self._files.append(between)",
        "                os.close(between.descriptor)",
    ),
    (
        "a copy of what was read is read again",
        _LOGS + "follow.py",
        "any(\n                mark.offset and mark.fits(between.descriptor) for mark in before\n            )",
        "any([])",
    ),
    (
        "half a line is a line",
        _LOGS + "follow.py",
        "if data and (rest or len(data) == CHUNK):",
        "if data:",
    ),
    (
        "the files beside a log are never known",
        _LOGS + "follow.py",
        "        elif unchanged:\n",
        "        elif not unchanged:\n",
    ),
    (
        "a log that was copied and emptied before it was read is lost",
        _LOGS + "follow.py",
        "        if unchanged and not self._files[-1].offset:",
        "        if False:",
    ),
    (
        "an inode is enough to know a file again",
        _LOGS + "positions.py",
        "return os.fstat(descriptor).st_size >= self.offset and tuple(map(digest, found)) == (self.head, self.tail)",
        "return os.fstat(descriptor).st_size >= self.offset and bool(found)",
    ),
    (
        "a batch is done one line too far",
        _LOGS + "plugin.py",
        "follower.done(batch, len(lines))",
        "follower.done(batch, len(lines) + 1)",
    ),
    (
        "positions are saved before alerts are sent",
        _LOGS + "plugin.py",
        "        async with self._saving:\n            await self._send()\n",
        "        async with self._saving:\n",
    ),
    (
        "alerts that are pending at the stop are forgotten",
        _LOGS + "plugin.py",
        "            self._handle_inbox()\n            await self._send()\n            await self._save()\n",
        "            self._handle_inbox()\n",
    ),
    (
        "an alert is forgotten while it waits for room",
        _LOGS + "plugin.py",
        (
            "                if self.alerts is not None:\n"
            "                    await self.alerts.send(pending[0])\n"
            "                else:\n"
            '                    logger.warning("%s", pending[0])\n'
            "                self._engine.sent()\n"
        ),
        (
            "                alert = pending[0]\n"
            "                self._engine.sent()\n"
            "                if self.alerts is not None:\n"
            "                    await self.alerts.send(alert)\n"
            "                else:\n"
            '                    logger.warning("%s", alert)\n'
        ),
    ),
    (
        "the alerts stay open when nothing can come",
        _LOGS + "plugin.py",
        "            self.alerts.close()",
        "            pass",
    ),
    (
        "the time of a message from the network is what it claims",
        _LOGS + "engine.py",
        "when = parsed.time if received is None else received",
        "when = parsed.time",
    ),
    (
        "the trace of a packet is lost",
        _LOGS + "engine.py",
        "                    trace=packet.trace,\n",
        "",
    ),
    (
        "a swap of the rules forgets what led up to an alert",
        _LOGS + "engine.py",
        "old[rule.id] if rule.id in old and old[rule.id].rule == rule else _Memory(rule)",
        "_Memory(rule)",
    ),
    (
        "a swap of the rules keeps what a changed rule remembered",
        _LOGS + "engine.py",
        "old[rule.id] if rule.id in old and old[rule.id].rule == rule else _Memory(rule)",
        "old[rule.id] if rule.id in old else _Memory(rule)",
    ),
    (
        "an inbox that is full is read on",
        _LOGS + "receivers.py",
        "            self._transport.pause_reading()\n",
        "",
    ),
    (
        "a connection that waited is never read again",
        _LOGS + "receivers.py",
        "            self._transport.resume_reading()",
        "            pass",
    ),
    (
        "the last message without a newline is lost",
        _LOGS + "receivers.py",
        "        elif rest:\n            self._inbox.put(Message(rest, self._origin, time.time()))",
        "        elif rest:\n            pass",
    ),
    (
        "a window has both its ends",
        _LOGS + "windows.py",
        "events[-1][0] - self._window, key=_time_of)",
        "events[-1][0] - self._window - 0.001, key=_time_of)",
    ),
    (
        "a threshold is reached again by the same events",
        _LOGS + "windows.py",
        "        del self._groups[group]\n        return",
        "        return",
    ),
    (
        "groups are never forgotten",
        _LOGS + "windows.py",
        "if len(self._groups) > self._most:",
        "if len(self._groups) > 2 * self._most:",
    ),
    (
        "a time in the future silences a rule",
        _LOGS + "windows.py",
        "abs(at - last[0]) < self._repeat",
        "at - last[0] < self._repeat",
    ),
    (
        "an alert that was held back for its number counts as sent",
        _LOGS + "windows.py",
        '            return "limit"\n',
        '            self._last[alike] = (at, 0)\n            return "limit"\n',
    ),
    (
        "a condition under not is an anchor",
        _LOGS + "conditions.py",
        "        case _:\n            return None\n",
        "        case Not(part):\n            return anchors_of(part, rank)\n",
    ),
    (
        "one part of any is enough of an anchor",
        _LOGS + "conditions.py",
        "                if anchors is None:\n                    return None\n",
        "                if anchors is None:\n                    continue\n",
    ),
    (
        "a rule is found twice",
        _LOGS + "rules.py",
        "sorted({one.number: one.rule for one in found}.items(), key=itemgetter(0))]",
        "sorted(((one.number, one.rule) for one in found), key=itemgetter(0))]",
    ),
    (
        "lists are not looked up in the index",
        _LOGS + "rules.py",
        "else texts_of(value):\n                if text in values:",
        "else ():\n                if text in values:",
    ),
    (
        "letters beyond ASCII are looked for in lower case",
        _LOGS + "conditions.py",
        "if operator in _LIKE and all(value.isascii() for value in values):",
        "if operator in _LIKE:",
    ),
    (
        "what is looked for at once has the case it has",
        _LOGS + "rules.py",
        "expressions.matching(text.lower())",
        "expressions.matching(text)",
    ),
    (
        "only the first of many expressions is found",
        _LOGS + "patterns.py",
        "return sorted(found) if found else ()",
        "return sorted(found)[:1] if found else ()",
    ),
    (
        "the year is always this one",
        _LOGS + "formats.py",
        "                    if found <= now + 86400:\n                        return found",
        "                    if candidate == year:\n                        return found",
    ),
    (
        "lone surrogates stay",
        _LOGS + "formats.py",
        'if "\\\\u" in line:',
        "if False:",
    ),
    (
        "escapes in structured data stay",
        _LOGS + "formats.py",
        '_ESCAPED.sub(r"\\1", match[2])',
        "match[2]",
    ),
    (
        "a length may be as long as it likes",
        _LOGS + "framing.py",
        "if not length.isdigit() or int(length) > self._longest:",
        "if not length.isdigit():",
    ),
    (
        "Sigma compares with regard to case",
        _LOGS + "sigma.py",
        "ignore_case=not cased and text.lower() != text.upper()",
        "ignore_case=False",
    ),
    (
        "a star of Sigma ends at a line",
        _LOGS + "sigma.py",
        "(?s)",
        "",
    ),
    (
        "a Sigma rule for a service is for every program",
        _LOGS + "sigma.py",
        "condition=found if service is None else All((service, found)),",
        "condition=found,",
    ),
    (
        "one bad Sigma rule ends the reading",
        _LOGS + "sigma.py",
        "                skipped.append(Skipped(str(file), title, _one_line(error)))\n                continue\n",
        "                skipped.append(Skipped(str(file), title, _one_line(error)))\n                break\n",
    ),
    (
        "a key that is there twice is read once",
        _LOGS + "rulefiles.py",
        "            if key.value in seen:",
        "            if False:",
    ),
    (
        "a rule with something wrong is used",
        _LOGS + "rulefiles.py",
        "if rule is not None and len(self.problems) == before:",
        "if rule is not None:",
    ),
    (
        "a log that was copied and emptied before a start is not recovered",
        "examples/ironpost/ironpost/logs/follow.py",
        """            self._put_last(here.identity)
            return True
""",
        """            self._put_last(here.identity)
            return False
""",
    ),
    (
        "a save that was cut off goes on behind the stop",
        "examples/ironpost/ironpost/logs/plugin.py",
        "await in_thread(lambda _token: save_positions(file, places))",
        "await asyncio.to_thread(save_positions, file, places)",
    ),
]
