"""Where one message of syslog over TCP ends and the next begins (RFC 6587): octet counting, or a newline.

Which of the two it is, is told for each message anew: one that begins with a digit other than 0 has its length in
front. A message of syslog begins with ``<``, and a line of JSON with ``{``, so nothing is ambiguous.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LONGEST", "Frames"]

LONGEST: Final = 64 * 1024
"""The longest message that is taken, in bytes. RFC 5425, section 4.3.1 wants at least 8192 to be possible."""

_DIGITS: Final = len(str(LONGEST))


class Frames:
    """Cuts the bytes of one connection into messages.

    Args:
        longest: the longest message that is taken, in bytes.

    Attributes:
        broken: why nobody can tell where the next message begins; empty while all is well.

    >>> frames = Frames()
    >>> frames.feed(b"5 <1>hi<2>by"), frames.feed(b"e\\n"), frames.rest()
    ([b'<1>hi'], [b'<2>bye'], b'')
    """

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._buffer = b""
        self.broken = ""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are complete with ``data``, without what frames them. Empty ones are left out.

        If a length is not a number of at most ``longest``, or a line is longer, then ``broken`` says so, and what
        comes later makes no more messages. `rest` has what is left.
        """
        buffer = self._buffer + data
        at = 0
        messages: list[bytes] = []
        while at < len(buffer) and not self.broken:
            if buffer[at] in b"123456789":
                space = buffer.find(b" ", at, at + _DIGITS + 1)
                if space < 0 and len(buffer) - at <= _DIGITS and buffer[at:].isdigit():
                    break
                length = buffer[at:space] if space >= 0 else b""
                if not length.isdigit() or int(length) > self._longest:
                    self.broken = _error(f"a length of at most {self._longest} and a space", buffer[at:])
                    break
                end = space + 1 + int(length)
                if end > len(buffer):
                    break
                messages.append(buffer[space + 1 : end])
                at = end
            else:
                end = buffer.find(b"\n", at, at + self._longest + 1)
                if end < 0:
                    if len(buffer) - at > self._longest:
                        self.broken = _error(f"a line of at most {self._longest} bytes", buffer[at:])
                    break
                if end > at:
                    messages.append(buffer[at:end])
                at = end + 1
        self._buffer = buffer[at:]
        return messages

    def rest(self) -> bytes:
        """Return the beginning of a message that has not ended, and forget it."""
        rest, self._buffer = self._buffer, b""
        return rest


def _error(wanted: str, found: bytes) -> str:
    return f"expected {wanted}, got {found[:32]!r}"
