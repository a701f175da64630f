"""The network interfaces of this machine: whether there is one of a name, of what kind it is, and whether it is up."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Final

from attrs import frozen

__all__ = ["ETHERNET", "LOOPBACK", "Link", "NoLink", "find_link", "why_not_up"]

ETHERNET: Final = 1  # ARPHRD_ETHER, in linux/if_arp.h
LOOPBACK: Final = 772
_GET_FLAGS: Final = 0x8913  # SIOCGIFFLAGS
_GET_ADDRESS: Final = 0x8927  # SIOCGIFHWADDR
_UP: Final = 1  # IFF_UP


class NoLink(Exception):
    """There is no such interface; the text says which there are."""


@frozen
class Link:
    """An interface.

    Attributes:
        index: its number.
        hardware: its kind, as in linux/if_arp.h.
        up: whether it is switched on.
    """

    index: int
    hardware: int
    up: bool


def find_link(name: str) -> Link:
    """Return the interface of a name. Linux only; needs no privilege.

    Raises:
        NoLink: there is none.
    """
    import fcntl

    try:
        index = socket.if_nametoindex(name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("16s24x", name.encode())
            flags = struct.unpack_from("16xH", fcntl.ioctl(any_socket, _GET_FLAGS, request))[0]
            hardware = struct.unpack_from("16xH", fcntl.ioctl(any_socket, _GET_ADDRESS, request))[0]
    except (OSError, ValueError):  # as for a name with a NUL in it
        names: list[str] = []
        with suppress(OSError):
            names = sorted(each for _, each in socket.if_nameindex())
        raise NoLink(f"there is no interface {name!r}; there are: {', '.join(names)}") from None
    return Link(index, hardware, bool(flags & _UP))


def why_not_up(name: str) -> str:
    """Return why there is nothing to be seen on an interface, and what to do; empty if it is up."""
    try:
        up = find_link(name).up
    except NoLink as error:
        return f"{error}; set 'interface' to one of them"
    return "" if up else f"the interface {name!r} is down; switch it on: ip link set dev {name} up"
