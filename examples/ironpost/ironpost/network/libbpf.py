"""As much of libbpf as a packet program needs: load it, fill and read its maps, attach it, read its ring buffer.

The library is called directly. Whatever it hands out belongs to a `Loaded` or a `Ring`, which release it when they are
closed; the kernel releases it in any case when the process ends. https://libbpf.readthedocs.io/en/latest/api.html
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Final

from attrs import define, field

__all__ = ["Loaded", "Missing", "Refused", "Ring", "attached_to", "library"]

LIBRARY: Final = "libbpf.so.1"
_XDP: Final = 37  # enum bpf_attach_type, in linux/bpf.h
_LOG: Final = 64 * 1024  # bytes kept of what the verifier says; it keeps the last


class Missing(Exception):
    """The library is not on this machine."""


class Refused(OSError):
    """The kernel or the library would not do it.

    Attributes:
        log: what the verifier said, if it was the verifier.
    """

    def __init__(self, number: int, log: str = "") -> None:
        super().__init__(number, os.strerror(number))
        self.log = log


class _LinkOptions(ctypes.Structure):
    _fields_ = (("size", c_size_t), ("flags", c_uint32), ("padding", c_uint32))


class _LinkInfo(ctypes.Structure):
    """``struct bpf_link_info``; after the first fields, what the kernel says of a link of XDP."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("program", c_uint32),
        ("padding", c_uint32),
        ("interface", c_uint32),
        ("rest", ctypes.c_uint8 * 64),
    )


_SAMPLE = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)

_PROTOTYPES: Final[Mapping[str, tuple[object, tuple[object, ...]]]] = {
    "libbpf_set_print": (c_void_p, (c_void_p,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "bpf_object__open_mem": (c_void_p, (c_char_p, c_size_t, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, ctypes.c_bool)),
    "bpf_program__set_log_buf": (c_int, (c_void_p, c_void_p, c_size_t)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map_update_elem": (c_int, (c_int, c_char_p, c_char_p, c_uint64)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_char_p, c_void_p)),
    "bpf_link_create": (c_int, (c_int, c_int, c_int, POINTER(_LinkOptions))),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, POINTER(_LinkInfo), POINTER(c_uint32))),
    "ring_buffer__new": (c_void_p, (c_int, _SAMPLE, c_void_p, c_void_p)),
    "ring_buffer__epoll_fd": (c_int, (c_void_p,)),
    "ring_buffer__consume": (c_int, (c_void_p,)),
    "ring_buffer__free": (None, (c_void_p,)),
}


@cache
def library() -> ctypes.CDLL:
    """Return the library, and keep it from writing to the standard error stream.

    Raises:
        Missing: it is not there, or too old.
    """
    try:
        found = ctypes.CDLL(LIBRARY, use_errno=True)
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise Missing(str(error)) from None
    found.libbpf_set_print(None)
    return found


def _check(result: int) -> int:
    """Return a result that is none of an error: the library returns the negative number of an error."""
    if result < 0:
        raise Refused(-result)
    return result


@define
class Loaded:
    """A program in the kernel, and its maps.

    Args:
        image: the compiled object (ELF).
        program: the name of the one to load; others in the object are left out.
        entries: how many entries a map has, for those that have not what the object says.

    Raises:
        Missing: there is no library.
        Refused: EINVAL, the object is none; ENOENT, it has no such program or map; else, what the kernel says.
    """

    image: bytes = field(repr=False)
    program: str
    entries: Mapping[str, int]
    _object: int | None = field(default=None, init=False)
    _fd: int = field(default=-1, init=False)
    _links: list[int] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        lib = library()
        self._object = lib.bpf_object__open_mem(self.image, len(self.image), None)
        if not self._object:
            raise Refused(errno.EINVAL)
        try:
            self._load(lib)
        except BaseException:
            self.close()
            raise

    def _load(self, lib: ctypes.CDLL) -> None:
        chosen = each = None
        while each := lib.bpf_object__next_program(self._object, each):
            if lib.bpf_program__name(each) == self.program.encode():
                chosen = each
            else:
                _check(lib.bpf_program__set_autoload(each, False))
        if chosen is None:
            raise Refused(errno.ENOENT)
        for name, entries in self.entries.items():
            _check(lib.bpf_map__set_max_entries(self._map(name), entries))
        log = ctypes.create_string_buffer(_LOG)
        _check(lib.bpf_program__set_log_buf(chosen, log, _LOG))
        result = lib.bpf_object__load(self._object)
        if result < 0:
            raise Refused(-result, log.value.decode(errors="replace"))
        self._fd = _check(lib.bpf_program__fd(chosen))

    def _map(self, name: str) -> int:
        found = library().bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise Refused(errno.ENOENT)
        return int(found)

    def fileno(self) -> int:
        """Return the file descriptor of the program."""
        return self._fd

    def put(self, name: str, key: bytes, value: bytes) -> None:
        """Put an entry into a map."""
        lib = library()
        _check(lib.bpf_map_update_elem(lib.bpf_map__fd(self._map(name)), key, value, 0))

    def read_each(self, name: str, key: bytes) -> list[bytes]:
        """Return the value that each processor has of an entry in a map that has one for each."""
        lib = library()
        found = self._map(name)
        size = -(-lib.bpf_map__value_size(found) // 8) * 8
        values = ctypes.create_string_buffer(size * _check(lib.libbpf_num_possible_cpus()))
        _check(lib.bpf_map_lookup_elem(lib.bpf_map__fd(found), key, values))
        return [values.raw[at : at + size] for at in range(0, len(values), size)]

    def ring(self, name: str) -> Ring:
        """Return the reading end of a ring buffer."""
        return Ring(library().bpf_map__fd(self._map(name)))

    def attach(self, interface: int, flags: int) -> int:
        """Let the program see the packets of an interface until it is closed. Returns the descriptor of the link."""
        options = _LinkOptions(ctypes.sizeof(_LinkOptions), flags)
        link = _check(library().bpf_link_create(self._fd, interface, _XDP, ctypes.byref(options)))
        self._links.append(link)
        return link

    def detach(self) -> None:
        """Take the program off all interfaces. The maps stay."""
        while self._links:
            os.close(self._links.pop())

    def close(self) -> None:
        """Detach, and release everything. To close it again does nothing."""
        self.detach()
        held, self._object, self._fd = self._object, None, -1
        if held is not None:
            library().bpf_object__close(held)


def attached_to(link: int) -> int:
    """Return the number of the interface that a link is attached to, 0 when the interface is gone."""
    info = _LinkInfo()
    size = c_uint32(ctypes.sizeof(info))
    _check(library().bpf_obj_get_info_by_fd(link, ctypes.byref(info), ctypes.byref(size)))
    return int(info.interface)


@define
class Ring:
    """The reading end of a ring buffer. `fileno` is readable when there is something to `take`."""

    descriptor: int
    _ring: int | None = field(default=None, init=False)
    _taken: list[bytes] = field(factory=list, init=False)
    _most: int = field(default=0, init=False)
    _callback: object = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        def sample(_context: int, data: int, size: int) -> int:
            self._taken.append(ctypes.string_at(data, size))
            return 0 if len(self._taken) < self._most else -1  # the library goes on until there is nothing, or a -1

        self._callback = _SAMPLE(sample)  # held here: the library only has its address
        self._ring = library().ring_buffer__new(self.descriptor, self._callback, None, None)
        if not self._ring:
            raise Refused(ctypes.get_errno() or errno.EINVAL)

    def fileno(self) -> int:
        """Return the file descriptor to wait for."""
        return int(library().ring_buffer__epoll_fd(self._ring))

    def take(self, most: int) -> list[bytes]:
        """Take what is there, at most so many, without waiting."""
        self._most = most
        library().ring_buffer__consume(self._ring)
        taken, self._taken = self._taken, []
        return taken

    def close(self) -> None:
        """Release it. To close it again does nothing."""
        held, self._ring, self._callback = self._ring, None, None
        if held is not None:
            library().ring_buffer__free(held)
