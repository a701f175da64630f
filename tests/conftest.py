"""What all tests start from."""

from __future__ import annotations

import signal

from hypothesis import settings

# How long an example takes depends on what else the machine does, and is no property of the code.
settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")

# Whoever starts the tests in the background, or under nohup, has them begin with signals ignored, and so would every
# program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
