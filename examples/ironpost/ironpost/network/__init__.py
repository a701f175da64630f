"""The plugin ``ebpf-engine``: packets and connections, and the port scans and SYN floods among them."""

from ironpost.network.packets import Packet, Undecoded, decode
from ironpost.network.plugin import EbpfEngine
from ironpost.network.sources import Capture, Connection, Connections, Interface, Source, SourceError
from ironpost.network.windows import Finding, PortScans, SynFloods, Threshold
from ironpost.network.xdp import Xdp

__all__ = [
    "Capture",
    "Connection",
    "Connections",
    "EbpfEngine",
    "Finding",
    "Interface",
    "Packet",
    "PortScans",
    "Source",
    "SourceError",
    "SynFloods",
    "Threshold",
    "Undecoded",
    "Xdp",
    "decode",
]
