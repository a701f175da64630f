"""Deliberate breakages of how an application reloads, and of what becomes of a wrong configuration in an init."""

from __future__ import annotations

TESTS = ("tests/unit/test_reload.py", "tests/system/test_cli.py")

_APP = "fsm_plugins/app.py"

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "a reload goes on beside the shutdown",
        _APP,
        "            await asyncio.wait([self._reloading])",
        "            pass",
    ),
    (
        "a shutdown reloads the others, too",
        _APP,
        'if self.phase == "running" and plugin.state in plugin.lifecycle.expected(RELOAD):',
        "if plugin.state in plugin.lifecycle.expected(RELOAD):",
    ),
    (
        "a second call is forgotten",
        _APP,
        "        while self._reload_wanted:\n",
        "        for _ in range(1):\n",
    ),
    (
        "a call during the start is forgotten",
        _APP,
        "                if self._reload_wanted:\n                    self.reload()\n",
        "",
    ),
    (
        "one that cannot be reloaded ends the round",
        _APP,
        """                    except PluginError as error:
                        logger.error("not reloaded: %s", error)""",
        """                    except PluginError as error:
                        logger.error("not reloaded: %s", error)
                        return""",
    ),
    (
        "the signal is always handled",
        _APP,
        "if any(RELOAD in plugin.lifecycle.triggers for plugin in self.registry):",
        "if True:",
    ),
    (
        "only what an init raises itself is a wrong configuration",
        _APP,
        "        cause = cause.__cause__\n    if cause is None:",
        "        cause = None\n    if cause is None:",
    ),
    (
        "what a start raises is one, too",
        _APP,
        "if not isinstance(error, HookFailed) or error.trigger != INIT:",
        "if not isinstance(error, HookFailed):",
    ),
    (
        "the command takes it for any other failure",
        "fsm_plugins/cli/commands.py",
        """    except ConfigError as error:
        invalid(config, error.problems, as_json)
    except PluginError""",
        "    except PluginError",
    ),
]
