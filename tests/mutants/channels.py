"""Deliberate breakages of the channels, each of which some test has to notice.

A mutant is a name, a file, the snippet to be replaced (which occurs there exactly once), and what replaces it.
"""

from __future__ import annotations

_FILE = "fsm_plugins/channels.py"

_TURN = """            if waiter.done() and not waiter.cancelled() and waiter.result():
                channel.promised -= 1
            elif place in channel.waiting:
                channel.waiting.remove(place)
            channel.settle()
            raise
"""

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "a cancelled sender keeps the slot it was granted",
        _FILE,
        _TURN,
        _TURN.replace("channel.promised -= 1", "pass"),
    ),
    (
        "a cancelled sender frees its slot but wakes nobody",
        _FILE,
        _TURN,
        _TURN.replace("            channel.settle()\n", ""),
    ),
    (
        "a cancelled sender stays in line",
        _FILE,
        "                channel.waiting.remove(place)\n            channel.settle()",
        "                channel.waiting.count(place)\n            channel.settle()",
    ),
    (
        "a slot is granted to a sender that was cancelled",
        _FILE,
        (
            "            if not waiter.done():  # else it was cancelled, and its task has not run since\n"
            "                waiter.set_result(True)\n"
            "                self.promised += 1\n"
            "                room -= 1"
        ),
        (
            "            if not waiter.done():\n"
            "                waiter.set_result(True)\n"
            "            self.promised += 1\n"
            "            room -= 1"
        ),
    ),
    (
        "only one of the waiting senders is served",
        _FILE,
        "        while waiting and room:",
        "        if waiting and room:",
    ),
    (
        "the sender that came last is served first",
        _FILE,
        "            waiter, _ = waiting.popleft()\n            if not waiter",
        "            waiter, _ = waiting.pop()\n            if not waiter",
    ),
    (
        "the sender that came last gets the slot of a message that is taken",
        _FILE,
        "        waiter, _ = waiting.popleft()\n        if waiter",
        "        waiter, _ = waiting.pop()\n        if waiter",
    ),
    (
        "the slot of a message that is taken is not promised",
        _FILE,
        "            waiter.set_result(True)\n            self.promised += 1\n            if not waiting:",
        "            waiter.set_result(True)\n            if not waiting:",
    ),
    (
        "the slot of a message that is taken is lost with a cancelled sender",
        _FILE,
        "        if waiter.done():\n            self.settle()\n        else:",
        "        if not waiter.done():",
    ),
    (
        "a send that has waited wakes no receiver",
        _FILE,
        "        if not promised or gate.reader is not None:",
        "        if not promised:",
    ),
    (
        "a granted slot is not promised, so that others may take it",
        _FILE,
        "                self.promised += 1\n                room -= 1",
        "                room -= 1",
    ),
    (
        "a receive does not see that senders wait",
        _FILE,
        "        channel.ready = _NOTHING  # the next receive has to serve this one\n",
        "",
    ),
    (
        "the gate for receiving opens while senders wait",
        _FILE,
        "            self.ready = _NOTHING if waiting else self.queue",
        "            self.ready = self.queue",
    ),
    (
        "capacity off by one",
        _FILE,
        "return len(channel.queue) + channel.promised < channel.capacity",
        "return len(channel.queue) + channel.promised <= channel.capacity",
    ),
    (
        "credit off by one",
        _FILE,
        "            self.credit = repeat(None, room)\n",
        "            self.credit = repeat(None, room + 1)\n",
    ),
    (
        "promised slots count as free: try_send overtakes those who wait",
        _FILE,
        "return len(channel.queue) + channel.promised < channel.capacity",
        "return len(channel.queue) < channel.capacity",
    ),
    (
        "permits do not count against the capacity",
        _FILE,
        "        channel.promised += 1\n        channel.permits += 1\n",
        "        channel.permits += 1\n        channel.promised += 0\n",
    ),
    (
        "a permit does not keep the channel from ending",
        _FILE,
        "return not self.queue and not self.permits and (self.closed or not self.senders)",
        "return not self.queue and (self.closed or not self.senders)",
    ),
    (
        "a permit sends twice",
        _FILE,
        "        self._channel.queue.append(item)\n        self._channel.sent += 1\n        self.release()",
        (
            "        channel = self._channel\n"
            "        channel.queue.append(item)\n"
            "        self.release()\n"
            "        self._channel = channel\n"
            "        channel.promised += 1\n"
            "        channel.permits += 1"
        ),
    ),
    (
        "a permit that is used does not tell anybody",
        _FILE,
        "            channel.permits -= 1\n            channel.settle()",
        "            channel.permits -= 1",
    ),
    (
        "the last sender closes and the receiver is not woken",
        _FILE,
        "        self._channel.turn_away(self)\n        self._channel.settle()",
        "        self._channel.turn_away(self)",
    ),
    (
        "closing a sender leaves its sends waiting",
        _FILE,
        "        self._channel.turn_away(self)\n        self._channel.settle()",
        "        self._channel.settle()",
    ),
    (
        "closing a sender turns away the sends of all",
        _FILE,
        "self._channel.turn_away(self)",
        "self._channel.turn_away()",
    ),
    (
        "a sender that was granted a slot sends although it was closed",
        _FILE,
        "            if self._closed or channel.closed:\n                self._has_room()\n",
        "",
    ),
    (
        "a closed sender goes on as long as there is credit",
        _FILE,
        "        self._gate = _SHUT\n        self._channel.senders -= 1",
        "        self._channel.senders -= 1",
    ),
    (
        "closing a sender again counts again",
        _FILE,
        "        if self._closed:\n            return\n        self._closed = True",
        "        self._closed = True",
    ),
    (
        "a clone does not count",
        _FILE,
        "        return Sender(self._channel)",
        "        self._channel.senders -= 1\n        return Sender(self._channel)",
    ),
    (
        "closing the receiver leaves the senders waiting",
        _FILE,
        "            channel.closed = True\n            channel.turn_away()",
        "            channel.closed = True",
    ),
    (
        "a closed channel has room",
        _FILE,
        "        room = 0 if self.closed else self.capacity - len(self.queue) - self.promised",
        "        room = self.capacity - len(self.queue) - self.promised",
    ),
    (
        "the receiver is not woken by a message",
        _FILE,
        "            if self.queue or self.finished():",
        "            if self.finished():",
    ),
    (
        "the receiver is not woken by the end",
        _FILE,
        "            if self.queue or self.finished():",
        "            if self.queue:",
    ),
    (
        "senders have credit while the receiver waits, so nobody wakes it",
        _FILE,
        "            channel.credit = _NO_CREDIT  # the next message has to wake this task\n",
        "",
    ),
    (
        "credit is set again while the receiver waits",
        _FILE,
        "                room = 0  # the next message has to wake it",
        "                pass",
    ),
    (
        "another task takes what the receiver was woken for",
        _FILE,
        "        if reader is None:\n            self.ready",
        "        if reader is None or reader.done():\n            self.ready",
    ),
    (
        "a second consumer is not refused",
        _FILE,
        "        if channel.reader is not None:",
        "        if channel.reader is not None and channel.reader.cancelled():",
    ),
    (
        "a cancelled receiver is still waiting in the books",
        _FILE,
        "            finally:\n                if channel.reader is reader:  # else",
        "            finally:\n                if channel.reader is reader and not reader.cancelled():  # else",
    ),
    (
        "a lease that was closed throws out the one that follows",
        _FILE,
        "                if channel.reader is reader:  # else",
        "                if channel.reader:  # else",
    ),
    (
        "the channel ends before it is drained",
        _FILE,
        (
            "        if self._has_message() or await self._arrival():\n"
            "            return self._channel.take()  # type: ignore[no-any-return]\n"
            "        raise ChannelClosed(self._end())"
        ),
        (
            "        if not self._channel.closed and (self._has_message() or await self._arrival()):\n"
            "            return self._channel.take()  # type: ignore[no-any-return]\n"
            "        raise ChannelClosed(self._end())"
        ),
    ),
    (
        "a receive that had to look serves nobody",
        _FILE,
        "        waiting = self.waiting\n        if not waiting:\n            # With",
        "        waiting = self.waiting\n        if waiting or not waiting:\n            # With",
    ),
    (
        "last in, first out",
        _FILE,
        "        item = self.queue.popleft()\n",
        "        item = self.queue.pop()\n",
    ),
    (
        "recv_many loses a message",
        _FILE,
        "batch = list(map(deque.popleft, repeat(queue, limit)))",
        "batch = list(map(deque.popleft, repeat(queue, limit)))[:-1] or [queue.popleft()]",
    ),
    (
        "recv_many returns more than its limit",
        _FILE,
        "        if len(queue) <= limit:",
        "        if len(queue) <= limit + 1:",
    ),
    (
        "recv_many makes room and tells nobody",
        _FILE,
        "        if channel.ready is not queue:\n            channel.settle()\n",
        "",
    ),
    (
        "closing a lease closes the channel",
        _FILE,
        "            self._owner._lease = None\n",
        "            self._owner._lease = None\n            channel.closed = True\n",
    ),
    (
        "closing a lease does not give the receiving end back",
        _FILE,
        "            self._owner._gate = channel\n",
        "",
    ),
    (
        "closing a lease leaves its receive waiting",
        _FILE,
        (
            "            if reader is not None and not reader.done():\n"
            "                reader.set_result(None)\n"
            "        else:"
        ),
        "        else:",
    ),
    (
        "the owner closes and the lease goes on",
        _FILE,
        "            if self._lease is not None:\n                self._lease.close()\n",
        "",
    ),
    (
        "the owner receives what it has lent",
        _FILE,
        "        self._has_message()\n        self._gate = _SHUT\n",
        "        self._has_message()\n",
    ),
    (
        "drained is not told of the end",
        _FILE,
        "        channel.end_seen = True\n        channel.notify()",
        "        channel.end_seen = True",
    ),
    (
        "drained does not wait for the reader to come back",
        _FILE,
        "        while not (channel.end_seen or self._closed):",
        "        while not (channel.finished() or self._closed):",
    ),
    (
        "drained is not told of the closing",
        _FILE,
        "        channel.settle()\n        channel.notify()\n\n    def _has_message",
        "        channel.settle()\n\n    def _has_message",
    ),
]
