"""Deliberate breakages of the network engine of the reference application."""

from __future__ import annotations

_NETWORK = "examples/ironpost/ironpost/network/"
_TESTS = "examples/ironpost/tests/test_network_"

TESTS = tuple(f"{_TESTS}{part}.py" for part in ("windows", "plugin", "sources", "xdp"))

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "the window is one instant longer",
        _NETWORK + "windows.py",
        "<= now - self.threshold.seconds or",
        "< now - self.threshold.seconds or",
    ),
    (
        "the pause is one instant longer",
        _NETWORK + "windows.py",
        "if watched.raised > now - self.pause:",
        "if watched.raised >= now - self.pause:",
    ),
    (
        "one more is needed",
        _NETWORK + "windows.py",
        "if len(entries) < self.threshold.count:",
        "if len(entries) <= self.threshold.count:",
    ),
    ("a repeated entry keeps its old place", _NETWORK + "windows.py", "        entries.pop(entry, None)\n", ""),
    ("time runs backwards", _NETWORK + "windows.py", "self._now = max(self._now, time)", "self._now = time"),
    ("a new time forgets nothing", _NETWORK + "windows.py", "            self._watched.clear()\n", ""),
    ("quiet keys are kept", _NETWORK + "windows.py", "            del self._watched[oldest]\n", "            break\n"),
    (
        "those in a pause are forgotten",
        _NETWORK + "windows.py",
        "max(self.threshold.seconds, self.pause)",
        "self.threshold.seconds",
    ),
    (
        "the busiest key is forgotten",
        _NETWORK + "windows.py",
        "            self._watched.move_to_end(key)\n",
        "            pass\n",
    ),
    ("a settled connection counts", _NETWORK + "windows.py", "        if packet.settles:\n", "        if 0:\n"),
    ("a refusal does not settle", _NETWORK + "windows.py", 'if "RST" in packet.flags:', "if 0:"),
    ("ordinary packets are scans", _NETWORK + "windows.py", "if not packet.probes:", "if 0:"),
    ("an answer opens a connection", _NETWORK + "packets.py", "== dpkt.tcp.TH_SYN,", "!= 0,"),
    ("a refusal is a probe", _NETWORK + "packets.py", "(dpkt.tcp.TH_ACK | dpkt.tcp.TH_RST),", "dpkt.tcp.TH_ACK,"),
    (
        "a broken frame is a crash",
        _NETWORK + "packets.py",
        "    except Exception:\n",
        "    except ZeroDivisionError:\n",
    ),
    (
        "a cut header is an end",
        _NETWORK + "sources.py",
        'raise ValueError("it breaks off in the header of a frame")',
        "return",
    ),
    ("a cut frame is a frame", _NETWORK + "sources.py", "if len(frame) < captured:", "if 0:"),
    ("nanoseconds are microseconds", _NETWORK + "sources.py", '(">", 1e-9)', '(">", 1e-6)'),
    (
        "what comes before the break is lost",
        _NETWORK + "sources.py",
        "frames.extend(islice(self._frames, BATCH))",
        "frames = list(islice(self._frames, BATCH))",
    ),
    ("known connections are told again", _NETWORK + "sources.py", "if was is not None and not settled:", "if 0:"),
    (
        "every connection is outbound",
        _NETWORK + "sources.py",
        "if inbound else (each.local, each.peer)",
        "if 0 else (each.local, each.peer)",
    ),
    (
        "the first look is a scan",
        _NETWORK + "sources.py",
        "new = was is None and not first and",
        "new = was is None and",
    ),
    ("packets of loopback come twice", _NETWORK + "sources.py", "kind == _OUTGOING and hardware == LOOPBACK:", "0:"),
    (
        "a finding has a trace of its own",
        _NETWORK + "plugin.py",
        'chain = {"trace": trace} if trace else {}',
        "chain: dict[str, str] = {}",
    ),
    ("what was not sent is forgotten", _NETWORK + "plugin.py", 'self.counts["unsent"] += left', "pass"),
    (
        "findings that were not sent are forgotten",
        _NETWORK + "plugin.py",
        'self.counts["findings unsent"] += left',
        "pass",
    ),
    ("the source stays open", _NETWORK + "plugin.py", "            self.opened.close()\n", "            pass\n"),
    ("the port stays open", _NETWORK + "plugin.py", "        self.packets.close()\n", ""),
    (
        "what goes out is judged",
        _NETWORK + "sources.py",
        "judged = new and inbound and (",
        "judged = new and (",
    ),
    (
        "this machine scans itself",
        _NETWORK + "sources.py",
        "(loopback or not (each.peer[0] in own or _is_loopback(each.peer[0])))",
        "True",
    ),
    (
        "own addresses are those of loopback only",
        _NETWORK + "sources.py",
        "(each.peer[0] in own or _is_loopback(each.peer[0]))",
        "_is_loopback(each.peer[0])",
    ),
    ("loopback is never judged", _NETWORK + "sources.py", "(loopback or not (", "(not ("),
    (
        "mapped addresses are others",
        _NETWORK + "sources.py",
        'address.removeprefix("::ffff:") if "." in address else address',
        "address",
    ),
    (
        "a later fragment has ports behind other headers",
        _NETWORK + "packets.py",
        "fragment is not None and fragment.frag_off > 0",
        "False",
    ),
    ("encrypted packets are malformed", _NETWORK + "packets.py", 'getattr(ip, "p", dpkt.ip.IP_PROTO_ESP)', "ip.p"),
    (
        "a record without a header is a probe",
        _NETWORK + "xdp.py",
        "if protocol == _TCP and header:",
        "if protocol == _TCP:",
    ),
    ("records have the time of the machine's start", _NETWORK + "xdp.py", "(epoch + at) / 1e9", "at / 1e9"),
    ("blocking is left to nobody", _NETWORK + "plugin.py", 'if self.block and self.source != "xdp":', "if 0:"),
    (
        "another program is taken for one that native cannot do",
        _NETWORK + "xdp.py",
        "if refused.errno in (errno.EBUSY, errno.EEXIST):",
        "if refused.errno == errno.EBUSY:",
    ),
    ("generic is never tried", _NETWORK + "xdp.py", '"auto": ("native", "generic"),', '"auto": ("native",),'),
    (
        "a start that was cancelled stays attached",
        _NETWORK + "xdp.py",
        "            if not self._closed:\n                self._held = held\n                return\n",
        "            if not self._closed:\n                self._held = held\n            return\n",
    ),
    (
        "a start that failed leaves the program loaded",
        _NETWORK + "xdp.py",
        "            loaded.close()\n            raise SourceError(\n                f",
        "            raise SourceError(\n                f",
    ),
    (
        "what was not read is forgotten",
        _NETWORK + "xdp.py",
        'self.counts["unread"] = self.counts["recorded"] - self._taken',
        'self.counts["unread"] = 0',
    ),
    (
        "losses are no trouble",
        _NETWORK + "xdp.py",
        'if lost := self.counts["lost"]:',
        'if lost := self.counts["never"]:',
    ),
]
