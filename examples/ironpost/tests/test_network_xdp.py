"""The source in the kernel, as far as it can be tested without privilege: its records, its settings, and what it says.

What it does in a kernel is in test_network_interfaces.py.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import ipaddress
import re
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsm_plugins import HookFailed
from ironpost.network import EbpfEngine, SourceError, Xdp, decode, libbpf, program, xdp
from ironpost.network.libbpf import Loaded, Refused
from ironpost.network.links import ETHERNET, Link, NoLink, find_link, why_not_up

TCP, UDP, ICMP, SCTP = 6, 17, 1, 132
addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)
ports = st.integers(0, 65535)


@given(
    st.tuples(addresses, addresses).filter(lambda pair: pair[0].version == pair[1].version),
    ports,
    ports,
    st.integers(0, 255),
    st.sampled_from([TCP, UDP, ICMP, SCTP]),
    st.booleans(),
    st.integers(0, 2**62),
)
def test_a_record_is_the_packet_of_its_frame(
    pair: tuple[ipaddress.IPv4Address, ipaddress.IPv4Address],
    sport: int,
    dport: int,
    flags: int,
    protocol: int,
    whole: bool,
    at: int,
) -> None:
    """What the record says and what the frame says are one packet; with the header cut off, it has no ports."""
    src, dst = pair
    whole = whole and protocol in (TCP, UDP)
    inner = {
        TCP: struct.pack("!HHIIBBHHH", sport, dport, 1, 2, 5 << 4, flags, 1000, 0, 0),
        UDP: struct.pack("!HHHH", sport, dport, 8, 0),
    }.get(protocol, b"")
    inner = inner if whole else inner[:5]
    if src.version == 4:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inner), 0, 0, 64, protocol, 0)
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(inner), protocol, 64)
    frame = b"\2" * 12 + (b"\x08\x00" if src.version == 4 else b"\x86\xdd") + ip + src.packed + dst.packed + inner
    sport, dport, flags = (sport, dport, flags if protocol == TCP else 0) if whole else (0, 0, 0)
    record = xdp.RECORD.pack(at, len(frame), sport, dport, src.version, protocol, flags, whole, src.packed, dst.packed)
    assert xdp.read_record(record, 5) == decode(1, (5 + at) / 1e9, frame)


@given(st.lists(addresses.flatmap(lambda each: st.tuples(st.just(each), st.integers(0, each.max_prefixlen)))))
def test_networks_are_read(entries: list[tuple[ipaddress.IPv4Address, int]]) -> None:
    """With or without a prefix length."""
    networks = [ipaddress.ip_network(entry, strict=False) for entry in entries]
    assert xdp.read_networks(tuple(map(str, networks))) == networks
    alone = tuple(str(address) for address, _ in entries)
    assert [each.prefixlen for each in xdp.read_networks(alone)] == [each.max_prefixlen for each, _ in entries]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("192.0.2.1/24", "'192.0.2.1/24' is no network: 192.0.2.1/24 has host bits set"),
        ("here", "'here' is no network: 192.0.2.0/24 is one, or 2001:db8::1"),
        ("192.0.2.0/33", "'192.0.2.0/33' is no network"),
    ],
)
def test_what_is_no_network_is_told_before_the_start(text: str, says: str) -> None:
    """When the plugin is made."""
    with pytest.raises(ValueError, match=says):
        EbpfEngine(packets=None, source="xdp", block=(text,))


# What it says when it cannot be had.


def refusal(source: Xdp) -> str:
    with pytest.raises(SourceError) as refused:
        asyncio.run(source.open())
    source.close()
    text = str(refused.value)
    assert "\n" not in text
    return text


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An interface and a compiled program there are."""
    monkeypatch.setattr(xdp, "why_not_up", lambda name: "")
    monkeypatch.setattr(xdp, "find_link", lambda name: Link(1, ETHERNET, True))
    monkeypatch.setattr(xdp, "compile_program", lambda: b"program")
    return monkeypatch


class Fake:
    """A program in the kernel that refuses what it is told to."""

    def __init__(self, **refuses: int) -> None:
        self.refuses = refuses
        self.closed = 0

    def ring(self, name: str) -> Fake:
        return self

    def put(self, name: str, key: bytes, value: bytes) -> None:
        if "put" in self.refuses:
            raise Refused(self.refuses["put"])

    def attach(self, interface: int, flags: int) -> int:
        mode = {4: "native", 2: "generic"}[flags]
        if mode in self.refuses:
            raise Refused(self.refuses[mode])
        return 99

    def detach(self) -> None:
        pass

    def read_each(self, name: str, key: bytes) -> list[bytes]:
        return [struct.pack("=8Q", *range(8)), struct.pack("=8Q", *[10] * 8)]

    def close(self) -> None:
        self.closed += 1


def loading(outcome: Fake | Exception) -> Callable[..., Fake]:
    def load(image: bytes, name: str, entries: dict[str, int]) -> Fake:
        assert image == b"program" and name in ("ironpost_all_v1", "ironpost_few_v1")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return load


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            libbpf.Missing("no such file"),
            r"libbpf 1\.0 is missing \(no such file\); install it \(apt install libbpf1\)",
        ),
        (Refused(errno.EPERM), "needs CAP_BPF and CAP_NET_ADMIN; run as root"),
        (Refused(errno.EACCES, "0: x\n1: y\nR1 out of\nbounds\n"), "refused the program .*: 1: y / R1 out of / bounds"),
        (Refused(errno.EINVAL), "cannot be loaded: Invalid argument; Linux 5.9 or later is needed, this is "),
    ],
)
def test_why_it_is_not_loaded(ready: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    """In one line, with what to do."""
    ready.setattr(xdp, "Loaded", loading(error))
    text = refusal(Xdp("eth0"))
    assert re.search(says, text), text


@pytest.mark.parametrize(
    ("mode", "refuses", "says"),
    [
        ("auto", {"native": errno.EBUSY}, "another XDP program is attached to 'eth0', and stays"),
        ("auto", {"native": errno.EEXIST}, "another XDP program is attached to 'eth0', and stays"),
        ("generic", {"generic": errno.EBUSY}, "another XDP program is attached to 'eth0', and stays"),
        ("native", {"native": errno.EOPNOTSUPP}, "does not run the program: .*; set mode = 'auto'"),
        ("auto", {"native": errno.EOPNOTSUPP, "generic": errno.EINVAL}, "Invalid argument; Linux 5.9 or later"),
        ("auto", {"native": errno.EPERM}, "needs CAP_BPF and CAP_NET_ADMIN"),
        ("auto", {"put": errno.ENOMEM}, "the block list was refused: "),
    ],
)
def test_why_it_is_not_attached(ready: pytest.MonkeyPatch, mode: xdp.Mode, refuses: dict[str, int], says: str) -> None:
    """In one line, with what to do; what was loaded is released."""
    fake = Fake(**refuses)
    ready.setattr(xdp, "Loaded", loading(fake))
    text = refusal(Xdp("eth0", tuple(xdp.read_networks(("192.0.2.0/24",))), mode))
    assert re.search(says, text), text
    assert fake.closed == (1 if "put" in refuses else 2)  # the program, and the ring buffer if there is one


def test_generic_is_what_native_falls_back_to(ready: pytest.MonkeyPatch) -> None:
    """And closing counts what was not read: numbers of all processors, of which 3 + 10 were recorded."""
    fake = Fake(native=errno.EOPNOTSUPP)
    ready.setattr(xdp, "Loaded", loading(fake))
    source = Xdp("eth0")
    asyncio.run(source.open())
    source.close()
    source.close()
    assert fake.closed == 2  # the ring and the program
    assert source.counts["seen"] == 10 and source.counts["unneeded"] == 17
    assert source.counts["recorded"] == source.counts["unread"] == 13
    assert source.trouble == "14 packets came faster than they could be read"


def test_a_program_that_is_none_is_told(ready: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is not there, and one of another version."""
    assert "xdp.o cannot be read: No such file" in refusal(Xdp("eth0", object=tmp_path / "xdp.o"))
    (tmp_path / "xdp.o").write_bytes(b"program")
    for number in (errno.EINVAL, errno.ENOENT):
        ready.setattr(xdp, "Loaded", loading(Refused(number)))
        text = refusal(Xdp("eth0", object=tmp_path / "xdp.o"))
        assert "is no packet program of this version of ironpost; make it anew: python -m" in text


def test_frames_that_are_no_ethernet_are_refused(ready: pytest.MonkeyPatch) -> None:
    """The program would take them for what they are not."""
    ready.setattr(xdp, "find_link", lambda name: Link(1, 65534, True))
    assert "has no Ethernet frames; set source = 'af_packet'" in refusal(Xdp("tun0"))


def test_a_start_that_is_cancelled_while_it_loads_releases_what_was_loaded(ready: pytest.MonkeyPatch) -> None:
    """Whenever the thread comes to its end."""
    fake = Fake()

    async def main() -> None:
        source = Xdp("eth0")
        opening = asyncio.create_task(source.open())
        loop = asyncio.get_running_loop()
        loaded = asyncio.Event()

        def load(*_: object) -> Fake:
            loop.call_soon_threadsafe(opening.cancel)
            loop.call_soon_threadsafe(loaded.set)
            return fake

        ready.setattr(xdp, "Loaded", load)
        await loaded.wait()
        with pytest.raises(asyncio.CancelledError):
            await opening
        source.close()

    asyncio.run(main())
    assert fake.closed == 2


def test_a_start_that_is_given_up_while_it_loads_releases_what_is_loaded_later(ready: pytest.MonkeyPatch) -> None:
    """A second cancellation does not wait for the thread, which finds nobody when it has come to its end."""
    fake = Fake()
    given_up = threading.Event()

    async def main() -> None:
        source = Xdp("eth0")
        loop = asyncio.get_running_loop()
        loading = asyncio.Event()

        def load(*_: object) -> Fake:
            loop.call_soon_threadsafe(loading.set)
            assert given_up.wait(60)
            return fake

        ready.setattr(xdp, "Loaded", load)
        opening = asyncio.create_task(source.open())
        await loading.wait()
        for _ in range(2):
            opening.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not fake.closed
        given_up.set()

    asyncio.run(main())  # and waits for its threads
    assert fake.closed == 2


def test_the_library_that_is_missing_is_told(ready: pytest.MonkeyPatch) -> None:
    """And one that is another."""
    libbpf.library.cache_clear()
    try:
        for name in ("libnone.so.1", "libc.so.6"):
            ready.setattr(libbpf, "LIBRARY", name)
            assert refusal(Xdp("eth0")).startswith("libbpf 1.0 is missing (")
    finally:
        libbpf.library.cache_clear()


def test_a_compiler_that_is_missing_or_fails_is_told(ready: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what to install, or what else to do."""
    with pytest.raises(
        program.CannotCompile, match=r"no-clang is missing; install it .* or set 'object' to a file made"
    ):
        program.compile_program("no-clang")
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho \"xdp.c:9:10: fatal error: 'x.h' file not found\" >&2; exit 1\n")
    broken.chmod(0o700)
    with pytest.raises(program.CannotCompile, match=r"failed: .*'x\.h' file not found; are its headers here\?"):
        program.compile_program(str(broken))

    def missing() -> bytes:
        raise program.CannotCompile("clang is missing")

    ready.setattr(xdp, "compile_program", missing)
    assert refusal(Xdp("eth0")) == "clang is missing"


def test_the_command_that_compiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Writes a file, or says why not."""
    monkeypatch.setattr(program, "compile_program", lambda: b"program")
    assert program.main([str(tmp_path / "xdp.o")]) == 0
    assert (tmp_path / "xdp.o").read_bytes() == b"program"
    assert program.main([str(tmp_path / "none" / "xdp.o")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert program.main([]) == program.main(["--help"]) == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.parametrize("image", [b"", b"hello", b"\x7fELF" + b"\0" * 100])
def test_bytes_that_are_no_object_are_refused(image: bytes) -> None:
    """By the library, without a word of its own on the terminal."""
    try:
        libbpf.library()
    except libbpf.Missing as missing:
        pytest.skip(f"no libbpf: {missing}")
    with pytest.raises(Refused):
        Loaded(image, "ironpost_all_v1", {})


def test_interfaces_are_found_by_name() -> None:
    """With the names that there are, if there is none."""
    names = dict(socket.if_nameindex())
    assert find_link("lo").index in names
    for name in ("no-such-if", "", "a\0b", "x" * 100):
        with pytest.raises(NoLink, match=r"there are: .*lo"):
            find_link(name)
        assert why_not_up(name).endswith("set 'interface' to one of them")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"source": "xdp"}, "source = 'xdp' needs an interface; set 'interface'"),
        ({"block": ("192.0.2.0/24",)}, "source = 'connections' drops nothing; take 'block' out, or set source = 'xdp'"),
        ({"source": "xdp", "interface": "no-such-if"}, "there is no interface 'no-such-if'; there are: "),
    ],
)
def test_what_is_wrong_with_the_settings_is_told(settings: dict[str, str], says: str) -> None:
    """Before the start, with the name of the setting."""

    async def main() -> None:
        plugin = EbpfEngine(packets=None, **settings)  # type: ignore[arg-type]
        with pytest.raises(HookFailed, match=says):
            await plugin.init()
        await plugin.stop()

    asyncio.run(main())


def test_the_layouts_have_the_size_that_they_have_in_the_program() -> None:
    """56 bytes, and with the head that the kernel puts before it a power of two."""
    assert xdp.RECORD.size == 56
    assert ctypes.sizeof(ctypes.c_uint64) * len(xdp.COUNTERS) == 64
