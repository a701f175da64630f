"""Deliberate breakages of the reference application as a whole: its wiring, and its demonstration."""

from __future__ import annotations

_IRONPOST = "examples/ironpost/"
_PLUGINS = _IRONPOST + "ironpost/"

TESTS = (
    _IRONPOST + "tests/test_guard_reload.py",
    _IRONPOST + "tests/test_logs_plugin.py",
    _IRONPOST + "tests/test_app_drill.py",
    _IRONPOST + "tests/test_app.py",
    _IRONPOST + "tests/test_app_faults.py",
)

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "packets that nobody reads are counted as reported",
        _PLUGINS + "network/plugin.py",
        'self.counts["unreported" if output is None else "reported"] += 1',
        'self.counts["reported"] += 1',
    ),
    (
        "findings that nobody reads are dropped in silence",
        _PLUGINS + "network/plugin.py",
        'logger.warning("%s: %s", finding.kind, finding.detail)',
        "pass",
    ),
    (
        "alerts of the logs that nobody reads are dropped in silence",
        _PLUGINS + "logs/plugin.py",
        'logger.warning("%s", pending[0])',
        "pass",
    ),
    (
        "alerts of the scanner that nobody reads are dropped in silence",
        _PLUGINS + "sbom/plugin.py",
        'logger.warning("%s", alert)',
        "pass",
    ),
    (
        "a finding begins a trace of its own",
        _PLUGINS + "network/plugin.py",
        'chain = {"trace": trace} if trace else {}',
        "chain: dict[str, str] = {}",
    ),
    ("an action begins a trace of its own", _PLUGINS + "guard/plugin.py", "trace=alert.trace,", 'trace="",'),
    (
        "an alert in hand is forgotten in a crash",
        _PLUGINS + "guard/plugin.py",
        'self.counts["cut off"] += left',
        "pass",
    ),
    (
        "alerts that are pending at a stop are given up",
        _PLUGINS + "logs/plugin.py",
        """            self._handle_inbox()
            await self._send()
""",
        """            self._handle_inbox()
            self._engine.give_up()
""",
    ),
    (
        "the desk keeps alerts for itself",
        _PLUGINS + "demo/desk.py",
        "await self.alerts.send(alert)",
        "pass",
    ),
    (
        "the audit of the demonstration before is kept",
        _PLUGINS + "demo/prepare.py",
        "    (directory / AUDIT).unlink(missing_ok=True)\n",
        "",
    ),
    (
        "what was found last is not told",
        _PLUGINS + "demo/view.py",
        """    finally:
        _tell(look(), said, alerts, told)""",
        """    finally:
        pass""",
    ),
    (
        "the scanner has a channel of its own",
        _IRONPOST + "ironpost.toml",
        'use = "sbom-scanner"\n',
        'use = "sbom-scanner"\noutputs = { alerts = "packets" }\n',
    ),
    (
        "policies that are wrong fail the guard",
        _PLUGINS + "guard/plugin.py",
        """        except ConfigError as error:
            logger.error("%s goes on""",
        """        except KeyError as error:
            logger.error("%s goes on""",
    ),
    (
        "policies that are wrong are not told of by the health",
        _PLUGINS + "guard/plugin.py",
        "        if self._refused:\n",
        "        if False:\n",
    ),
    (
        "a guard whose policies were refused once stays degraded",
        _PLUGINS + "guard/plugin.py",
        'self.rules, self._refused = rules, ""',
        "self.rules = rules",
    ),
    (
        "readings of policies overtake each other",
        _PLUGINS + "guard/plugin.py",
        "        async with self._reading:  # so that what was read last is what counts\n            try:",
        "        if True:\n            try:",
    ),
    (
        "the policies are cleared while new ones are read",
        _PLUGINS + "guard/plugin.py",
        "                rules = await in_thread(lambda _token: load_policies(self.policies))",
        """                self.rules = Policies()
                rules = await in_thread(lambda _token: load_policies(self.policies))""",
    ),
    (
        "an alert is judged by the policies of each moment",
        _PLUGINS + "guard/plugin.py",
        "                event = await self._carry_out(alert, policy, container)",
        """                policy = next((p for p in self.rules.policies if p.covers(container)), policy)
                event = await self._carry_out(alert, policy, container)""",
    ),
    (
        "rules that are wrong fail the pipeline",
        _PLUGINS + "logs/plugin.py",
        """        except ConfigError as error:
            logger.error("%s goes on""",
        """        except KeyError as error:
            logger.error("%s goes on""",
    ),
    (
        "a Sigma rule with an id that is taken is told without its file",
        _PLUGINS + "logs/plugin.py",
        "            if rule.id in taken\n",
        "            if not taken\n",
    ),
    (
        "packets that a crash leaves unsent are not counted",
        _PLUGINS + "network/plugin.py",
        'self.counts["unsent"] += left',
        "pass",
    ),
    (
        "findings that a crash leaves unsent are not counted",
        _PLUGINS + "sbom/plugin.py",
        'self.counts["unsent"] += unsent',
        "pass",
    ),
    (
        "positions are saved up to what was read",
        _PLUGINS + "logs/plugin.py",
        "                follower.done(batch, len(lines))",
        "                follower.done(batch, len(batch.lines))",
    ),
]
