"""Applications inside something else: a synchronous program, a web server, systemd, a container.

::

    BlockingApplication     an application in a thread, for a program that is not asynchronous
    lifespan                an application or a registry for as long as a web server runs
    attach, Notifier        systemd is told when an application is ready, how it is, and that its event loop turns
    run_as_init             a process that does what process 1 of a container has to do, around this one

What each is for, with complete programs, is in ``docs/embedding``.
"""

from fsm_plugins.embedding.blocking import BlockingApplication
from fsm_plugins.embedding.container import run_as_init
from fsm_plugins.embedding.lifespan import lifespan
from fsm_plugins.embedding.systemd import Notifier, attach

__all__ = ["BlockingApplication", "Notifier", "attach", "lifespan", "run_as_init"]
