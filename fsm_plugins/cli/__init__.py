"""The command ``fsm-plugins``: the only place that prints.

Data goes to stdout, messages go to stderr. Exit status: 0 all is well, 1 it failed, 2 wrong usage, 78 the configuration
is invalid (``EX_CONFIG`` of sysexits.h). After a second SIGTERM or SIGINT it is 128 + the number of the signal.
"""

from fsm_plugins.cli.main import main

__all__ = ["main"]
