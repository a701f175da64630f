"""An application for as long as an ASGI server runs: what Starlette, FastAPI and others take as ``lifespan``.

Nothing of these frameworks is imported here: a lifespan is a function of the web application that returns an
asynchronous context manager, whose value is what requests find in ``request.state``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fsm_plugins.app import Application, Phase
from fsm_plugins.embedding.sources import Source, make
from fsm_plugins.errors import PluginError
from fsm_plugins.guard import describe
from fsm_plugins.registry import PluginRegistry

__all__ = ["lifespan"]

logger = logging.getLogger("fsm_plugins")


def lifespan(
    source: Source | Application | PluginRegistry, *, on_end: Callable[[PluginError | None], object] | None = None
) -> Callable[[object], AbstractAsyncContextManager[dict[str, object]]]:
    """Return a lifespan that starts the plugins before the server takes requests, and stops them after the last one.

    Requests find the registry as ``request.state.registry`` and, unless ``source`` is a registry, the application as
    ``request.state.application``. Signals are left to the server.

    Args:
        source: a TOML file or a function that returns an application; either makes a new one each time the server
            starts. An `Application` or a registry can be given too, for one start.
        on_end: a plain function that is called if the application ends while the server goes on, with what a plugin
            failed with, or None if somebody called ``shutdown``. To end the server, too, let it send SIGTERM to
            ``os.getpid()``.

    The context manager raises, when it is entered:
        ConfigError: the application cannot be made.
        HookFailed, DeadlineExceeded: a plugin did not start. The others have been stopped again.
        PluginError: the application was shut down before its plugins were started, or it was run before.

    and when it is left:
        PluginFailed: a plugin failed, and the application ended because of that.
        StopFailed: plugins did not stop cleanly.

    >>> async def main() -> None:
    ...     async with lifespan(PluginRegistry())(None) as state:
    ...         print(state)
    >>> asyncio.run(main())
    {'registry': <PluginRegistry: >}
    """

    @asynccontextmanager
    async def running(_: object) -> AsyncIterator[dict[str, object]]:
        if isinstance(source, PluginRegistry):
            async with source.running() as registry:
                yield {"registry": registry}
            return
        application = source if isinstance(source, Application) else make(source)
        async with _running(application, on_end):
            yield {"application": application, "registry": application.registry}

    return running


@asynccontextmanager
async def _running(
    application: Application, on_end: Callable[[PluginError | None], object] | None
) -> AsyncIterator[None]:
    begun = asyncio.Event()
    started = leaving = False

    def follow(phase: Phase) -> None:
        nonlocal started
        if phase == "running":
            started = True
            begun.set()

    def ended(run: asyncio.Task[None]) -> None:
        begun.set()
        error = None if run.cancelled() else run.exception()
        if leaving or run.cancelled() or not started:
            return
        why = describe(error) if error else "shutdown was called"
        logger.error("application %r ended, but the server goes on: %s", application.name, why)
        if on_end is not None:
            on_end(error if isinstance(error, PluginError) else None)

    application.follow(follow)
    # A task of its own, so that a plugin that fails ends the application at once, whatever the server is doing.
    run = asyncio.create_task(application.run(signals=False), name=f"application {application.name}")
    run.add_done_callback(ended)
    try:
        await begun.wait()
        if not started:
            await run
            raise PluginError(f"application {application.name!r} was shut down before its plugins were started")
        yield
    except BaseException as error:
        leaving = True
        await _end(application, run)
        if not run.cancelled() and (failed := run.exception()) not in (None, error):
            error.add_note(f"and the application ended with: {describe(failed)}")
        raise
    leaving = True
    await _end(application, run)
    await run


async def _end(application: Application, run: asyncio.Task[None]) -> None:
    """Wait until the application has ended. To be cancelled meanwhile hurries it, but loses nothing."""
    if not run.done():
        application.shutdown("the server stops")
    try:
        await asyncio.wait([run])
    except asyncio.CancelledError:
        run.cancel()
        await asyncio.wait([run])
        raise
