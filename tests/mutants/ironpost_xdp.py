"""Deliberate breakages of what the reference application does with real interfaces, and runs in the kernel.

The tests that notice them need root, clang and libbpf: run them as ``SYSTEM_TESTS=1 python -m tests.mutants
ironpost_xdp``. Elsewhere there are none.
"""

from __future__ import annotations

import os

_NETWORK = "examples/ironpost/ironpost/network/"

TESTS = ("examples/ironpost/tests/test_network_interfaces.py",)

_ALL: list[tuple[str, str, str, str]] = [
    (
        "options of IPv4 are part of the header of TCP",
        _NETWORK + "xdp.c",
        "parse_transport(context, record, at + length, end);",
        "parse_transport(context, record, at + 20, end);",
    ),
    ("a header of IPv4 may be short", _NETWORK + "xdp.c", "    if (length < 20)\n        return MALFORMED;\n", ""),
    ("padding is part of the packet", _NETWORK + "xdp.c", "    if (total && at + total < end) // 0", "    if (0) // 0"),
    (
        "padding of IPv6 is part of the packet",
        _NETWORK + "xdp.c",
        "end)\n        end = at + total;\n    record->version = 6;",
        "end)\n        end += 0;\n    record->version = 6;",
    ),
    ("fragments begin with ports", _NETWORK + "xdp.c", "(header[6] & 0x1f) << 8 | header[7]", "0"),
    ("fragments of IPv6 begin with ports", _NETWORK + "xdp.c", "if (header[2] || header[3] & 0xf8)", "if (0)"),
    ("the last bits of an offset do not count", _NETWORK + "xdp.c", "header[3] & 0xf8)", "0)"),
    ("one tag only", _NETWORK + "xdp.c", "#define VLAN_TAGS 2", "#define VLAN_TAGS 1"),
    ("tags of providers are unknown", _NETWORK + "xdp.c", " && type != ETH_P_8021AD", ""),
    ("an authentication header is as long as others", _NETWORK + "xdp.c", "(header[1] + 2) * 4", "(header[1] + 1) * 8"),
    ("a header of TCP may be short", _NETWORK + "xdp.c", " || header[12] >> 4 < 5", ""),
    ("flags are those of ECN", _NETWORK + "xdp.c", "record->flags = header[13];", "record->flags = header[12];"),
    ("who is blocked is passed", _NETWORK + "xdp.c", "        return XDP_DROP;\n", "        return XDP_PASS;\n"),
    ("IPv6 is never blocked", _NETWORK + "xdp.c", "return bpf_map_lookup_elem(&block6, &prefix) != 0;", "return 0;"),
    ("losses are not counted", _NETWORK + "xdp.c", "        counters->lost++;\n", ""),
    ("what is blocked is not seen", _NETWORK + "xdp.c", "        counters->blocked++;\n", ""),
    (
        "every ACK settles",
        _NETWORK + "xdp.c",
        "if (flags & TCP_SYN || !bpf_map_lookup_elem(&pending, &connection))",
        "if (flags & TCP_SYN)",
    ),
    (
        "no ACK settles",
        _NETWORK + "xdp.c",
        "if (flags & TCP_SYN || !bpf_map_lookup_elem(&pending, &connection))",
        "if (1)",
    ),
    (
        "refusals are not needed",
        _NETWORK + "xdp.c",
        "} else if (flags & TCP_ACK && !(flags & TCP_RST)) {",
        "} else if (flags & (TCP_ACK | TCP_RST)) {",
    ),
    ("a link is not closed", _NETWORK + "libbpf.py", "os.close(self._links.pop())", "self._links.pop()"),
    ("a ring is not released", _NETWORK + "libbpf.py", "library().ring_buffer__free(held)", "pass"),
    ("a program is not released", _NETWORK + "libbpf.py", "library().bpf_object__close(held)", "pass"),
    (
        "a batch has no end",
        _NETWORK + "libbpf.py",
        "return 0 if len(self._taken) < self._most else -1",
        "return 0",
    ),
    ("native is generic", _NETWORK + "xdp.py", '"native": 1 << 2', '"native": 1 << 1'),
    ("an interface that was removed is only quiet", _NETWORK + "xdp.py", "if not attached_to(held.link):", "if 0:"),
    (
        "an interface that was switched off is only quiet",
        _NETWORK + "xdp.py",
        "return why_not_up(self.name)",
        "return ''",
    ),
    (
        "what was recorded before an interface went is lost",
        _NETWORK + "xdp.py",
        "            if records:\n                epoch",
        "            if records and not gone:\n                epoch",
    ),
    ("the times are those of reading", _NETWORK + "xdp.py", "(epoch + at) / 1e9", "epoch / 1e9"),
    (
        "the list is put into the kernel without its prefixes",
        _NETWORK + "xdp.py",
        'struct.pack("=I", each.prefixlen)',
        'struct.pack("=I", each.max_prefixlen)',
    ),
    (
        "what was captured before an interface went is lost",
        _NETWORK + "sources.py",
        "            except OSError as error:\n                failed =",
        "            except OSError as error:\n                drained = True\n                failed =",
    ),
    (
        "an interface that went away is the end",
        _NETWORK + "sources.py",
        "            if failed and drained:\n                raise",
        "            if failed and drained:\n                return\n                raise",
    ),
    (
        "a busy interface keeps its turn",
        _NETWORK + "sources.py",
        "            await asyncio.sleep(0)  # others",
        "            pass  # others",
    ),
    (
        "what was captured and not read is forgotten",
        _NETWORK + "sources.py",
        "self._captured += captured - drops",
        "self._captured += 0",
    ),
    ("an interface that is down is captured", _NETWORK + "links.py", 'return "" if up else', 'return "" if 1 else'),
]
MUTANTS = _ALL if os.environ.get("SYSTEM_TESTS") == "1" and os.geteuid() == 0 else []
