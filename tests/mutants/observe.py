"""Deliberate breakages of observation, each of which some test has to notice."""

from __future__ import annotations

_CHANNELS = "fsm_plugins/channels.py"
_CONTROL = "fsm_plugins/cli/control.py"
_FEED = "fsm_plugins/observe/feed.py"
_JOURNAL = "fsm_plugins/observe/journal.py"
_LOGS = "fsm_plugins/observe/logs.py"
_METRICS = "fsm_plugins/observe/metrics.py"
_OBSERVATION = "fsm_plugins/observe/observation.py"
_SERVER = "fsm_plugins/observe/server.py"
_STORES = "fsm_plugins/observe/stores.py"
_TARGET = "fsm_plugins/observe/target.py"
_TRACING = "fsm_plugins/observe/tracing.py"

TESTS = (
    "tests/unit/test_observe_journal.py",
    "tests/unit/test_observe.py",
    "tests/property/test_observe_channels.py",
    "tests/unit/test_observe_endpoint.py",
    "tests/property/test_observe_journal.py",
    "tests/system/test_observe.py",
)

MUTANTS: list[tuple[str, str, str, str]] = [
    ("a message on the slow path is not counted", _CHANNELS, "        self._channel.sent += 1\n", ""),
    (
        "credit that is taken back counts as sent",
        _CHANNELS,
        "            self.sent += self.granted - length_hint(self.credit)\n",
        "            self.sent += self.granted\n",
    ),
    (
        "credit that a reader takes back is forgotten",
        _CHANNELS,
        "                channel.sent = channel.accepted()\n",
        "",
    ),
    ("a send that waits is not counted", _CHANNELS, "        channel.waits += 1\n", ""),
    (
        "half a write stays",
        _STORES,
        "            if begun and self._regular:\n                os.ftruncate(self._file, self.size)\n",
        "",
    ),
    ("one write is enough", _STORES, "            while begun < len(data):", "            if begun < len(data):"),
    ("a torn line is not taken away", _STORES, "            os.ftruncate(self._file, size - len(torn))\n", ""),
    ("a line without its break is torn", _STORES, "        if torn and _is_step(torn):", "        if False:"),
    (
        "a foreign file may be ours",
        _STORES,
        "        if not (_is_step(head) or (not rest and _may_be_torn(head))):",
        "        if False:",
    ),
    (
        "two may write one journal",
        _STORES,
        "                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "                    pass\n",
    ),
    ("damage anywhere is a torn line", _STORES, "            if number > len(lines):", "            if True:"),
    (
        "a foreign database is written to",
        _STORES,
        "        if tables and number != APPLICATION_ID:",
        "        if False:",
    ),
    (
        "what is no character breaks a line",
        _STORES,
        'return "".join(lines).encode("utf-8", "backslashreplace")',
        'return "".join(lines).encode()',
    ),
    (
        "microseconds lose their zeros",
        _STORES,
        '_DIGITS: Final = tuple(f"{number:03}" for',
        '_DIGITS: Final = tuple(f"{number}" for',
    ),
    ("a duration before the epoch of durations", _STORES, "if 0.0 <= duration < 1.0:", "if duration < 1.0:"),
    ("the next file begins empty", _JOURNAL, "        self._fresh = True\n", ""),
    ("what was carried over counts twice", _JOURNAL, "        rows.setdefault(", "        rows.__setitem__("),
    (
        "copies fill the file",
        _JOURNAL,
        "                self._base = self._store.size\n",
        "                self._base = -self._max_bytes\n",
    ),
    (
        "what could not be written is dropped",
        _JOURNAL,
        "            self._fails(error)\n            return\n",
        ("            self._fails(error)\n            self._pending.clear()\n            return\n"),
    ),
    ("every attempt is told", _JOURNAL, "        if not self.failing:\n", "        if True:\n"),
    (
        "there is no limit",
        _JOURNAL,
        "        if (surplus := len(pending) - self._limit) > 0:",
        "        if (surplus := 0):",
    ),
    ("the newest are dropped", _JOURNAL, "            del pending[:surplus]\n", "            del pending[-surplus:]\n"),
    ("what was trimmed leaves no gap", _JOURNAL, "        self._seq += skipped\n", ""),
    ("an exception without words ends the thread", _JOURNAL, "else _in_words(item[6])", "else describe(item[6])"),
    (
        "every event wakes the thread",
        _JOURNAL,
        "                    time.sleep(REST_SECONDS)\n",
        "                    pass\n",
    ),
    ("digits are swapped", _STORES, "{second}.{_DIGITS[high]}{_DIGITS[low]}", "{second}.{_DIGITS[low]}{_DIGITS[high]}"),
    ("digits of durations are swapped", _STORES, "0.{_DIGITS[high]}{_DIGITS[low]}", "0.{_DIGITS[low]}{_DIGITS[high]}"),
    ("what is counted is counted again", _METRICS, "        del self._events[: len(events)]\n", ""),
    ("a target does not keep the times", _TARGET, "        registry._hub.keep_times()\n", ""),
    ("the last run is the first", _JOURNAL, "if row.run == rows[-1].run", "if row.run == rows[0].run"),
    ("copies are gaps", _JOURNAL, "        if row.run and not row.carried:", "        if row.run:"),
    (
        "buckets exclude their bounds",
        _METRICS,
        "bisect_left(bounds, seconds)",
        "bisect_left(bounds, seconds + 1e-12)",
    ),
    ("buckets are not cumulative", _METRICS, "        total += number\n", "        total = number\n"),
    ("failures have no cause", _METRICS, "type(cause).__name__", '""'),
    (
        "events pile up until somebody scrapes",
        _METRICS,
        "    def _digest_again(self) -> None:\n        self._digest()\n",
        ("    def _digest_again(self) -> None:\n"),
    ),
    ("the state is any", _METRICS, "((p.name, state), p.state == state)", "((p.name, state), True)"),
    ("an unhealthy plugin is ready", _TARGET, "and not (plugin.health and plugin.health.is_unhealthy)", ""),
    (
        "what was stopped on request is missed",
        _TARGET,
        "for plugin in plugins if plugin.wanted]",
        "for plugin in plugins]",
    ),
    ("health outlives the state", _TARGET, "                health = None  # that", "                pass  # that"),
    ("what was given up is not missed", _TARGET, "child.wanted or bool(child.given_up)", "child.wanted"),
    ("a supervisor that gave up is live", _TARGET, "return self.supervisor.failure is None", "return True"),
    ("a slow follower is kept", _FEED, "            if len(follower.waiting) >= self._limit:", "            if False:"),
    (
        "the last events are not told",
        _FEED,
        "        if dropped:\n            self.waiting",
        "        if True:\n            self.waiting",
    ),
    ("the socket is everybody's", _SERVER, "os.umask(0o177)", "os.umask(0o000)"),
    ("any file gives way to a socket", _SERVER, "        if not stat.S_ISSOCK(found.st_mode):", "        if False:"),
    ("a socket in use is taken over", _SERVER, "        if _somebody_listens(path):", "        if False:"),
    (
        "somebody else's socket is taken away",
        _SERVER,
        "                if (found.st_dev, found.st_ino) == self._inode:",
        "                if True:",
    ),
    ("control over TCP is on without a token", _SERVER, "        if not self._token:\n", "        if False:\n"),
    ("any token will do", _SERVER, "        if not (right and scheme", "        if not (scheme"),
    (
        "the token is compared as it comes",
        _SERVER,
        'hmac.compare_digest(shown.strip().encode("latin-1"), self._token.encode())',
        'shown.strip().encode("latin-1") == self._token.encode()',
    ),
    (
        "any method of the target can be called",
        _SERVER,
        "            if action not in ACTIONS:",
        "            if False:",
    ),
    (
        "uvicorn takes the signals",
        _SERVER,
        '        """Leave the signals to the application."""\n        yield\n',
        "        with super().capture_signals():\n            yield\n",
    ),
    ("uvicorn chats", _SERVER, "record.levelno >= logging.ERROR or not _ours.get()", "True"),
    (
        "a follower that never reads holds its connection",
        _SERVER,
        "                transport.abort()  # it would",
        "                pass  # it would",
    ),
    ("nobody loses patience", _SERVER, "            self.transport.abort()\n\n\n#", "            pass\n\n\n#"),
    (
        "garbage is a traceback",
        _SERVER,
        "            except LocalProtocolError:",
        "            except ZeroDivisionError:",
    ),
    ("a supervision event is logged twice", _LOGS, "logging.DEBUG if event.action in _TOLD else ", ""),
    ("numbers that JSON does not have", _LOGS, "allow_nan=False", "allow_nan=True"),
    ("a span has no duration", _TRACING, "end - round(event.duration * 1e9)", "end"),
    ("an empty token is a token", _OBSERVATION, "    if not token:\n", "    if False:\n"),
    ("a failure to answer is a success", _CONTROL, "    if response.status != 200:", "    if False:"),
    ("a text may move the cursor", _CONTROL, 'if letter.isprintable() else " "', 'if True else " "'),
]
