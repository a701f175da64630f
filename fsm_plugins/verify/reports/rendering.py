"""A report as text, JSON, JUnit XML, HTML, or a pytest file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from types import MappingProxyType
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import cattrs
from attrs import asdict

from fsm_plugins.diagrams import render_sequence
from fsm_plugins.verify.reports.codes import CHECKS
from fsm_plugins.verify.reports.report import Finding, Report

__all__ = ["FORMATS", "as_text", "from_json", "render"]


def render(report: Report, format: str) -> str:  # noqa: A002
    """Return a report in one of the `FORMATS`; see `Report.render`."""
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r} for a report; there are: {', '.join(FORMATS)}")
    return FORMATS[format](report)


def as_text(report: Report) -> str:
    """Return a report for a terminal."""
    lines = [f"{', '.join(report.plugins) or 'nothing'}: {report.verdict}"]
    for finding in report.findings:
        lines += ["", f"{finding.code} {finding.slug} ({finding.plugin})", f"  {finding}"]
        if finding.expected:
            lines.append(f"  expected: {finding.expected}")
        lines += [f"  {number}. {step}" for number, step in enumerate(finding.schedule, 1)]
        if finding.token:
            lines.append(f"  again: fsm-plugins replay {finding.token}")
    if report.findings:
        lines.append("")
    for finding, reason in report.ignored:
        lines.append(f"ignored: {finding.code} {finding.slug} ({finding.plugin}): {reason}")
    for layer, why in report.incomplete.items():
        lines.append(f"not completed: {layer}: {why}")
    for name in report.vacuous:
        lines.append(f"never came true: {name}")
    lines += [f"note: {note}" for note in report.notes]
    if report.coverage.states[1]:
        lines.append(f"tried: {report.coverage}")
    if report.runs:
        lines.append(f"{report.runs} run{'s' if report.runs != 1 else ''} in {report.seconds:.2f} s")
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """Return a report as one JSON document, which `from_json` reads."""
    value = asdict(report)
    value = {"exit_code": report.exit_code, "verdict": report.verdict, **value}
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Report:
    """Return the report that ``text`` is.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(text)
        report: Report = cattrs.structure(value, Report)
    except Exception as error:
        raise ValueError("it is not a report of this command; make one with --report json") from error
    if not isinstance(value, dict) or "findings" not in value:
        raise ValueError("it is not a report of this command; make one with --report json")
    return report


def _layers(report: Report) -> list[tuple[str, list[Finding]]]:
    """Return the findings of each layer that was run, also where there are none."""
    names = [*report.completed, *(layer.rpartition(": ")[2] for layer in report.incomplete)]
    names += [finding.layer for finding in report.findings]
    return [(name, [f for f in report.findings if f.layer == name]) for name in dict.fromkeys(names)]


def _as_junit(report: Report) -> str:
    cases: list[str] = []
    for name, findings in _layers(report):
        head = f"  <testcase classname={quoteattr(', '.join(report.plugins))} name={quoteattr(name)}"
        body = []
        for finding in findings:
            told = f"{finding}\nexpected: {finding.expected}\nfsm-plugins replay {finding.token}"
            body.append(
                f"    <failure message={quoteattr(f'{finding.code} {finding.summary}')} "
                f"type={quoteattr(finding.slug)}>{_xml(told)}</failure>"
            )
        why = next((w for layer, w in report.incomplete.items() if layer.rpartition(": ")[2] == name), None)
        if why is not None and not findings:
            body.append(f"    <skipped message={quoteattr(why)}/>")
        cases.append(f"{head}/>" if not body else "\n".join([f"{head}>", *body, "  </testcase>"]))
    failures = sum(bool(findings) for _, findings in _layers(report))
    skipped = sum("<skipped" in case for case in cases)
    counts = f'tests="{len(cases)}" failures="{failures}" errors="0" skipped="{skipped}"'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="utf-8"?>',
            f'<testsuite name="fsm-plugins verify" {counts} time="{report.seconds:.3f}">',
            f'  <properties><property name="scope" value={quoteattr(str(report.scope))}/></properties>',
            *cases,
            "</testsuite>",
            "",
        ]
    )


def _xml(text: str) -> str:
    """Return text without what XML 1.0 cannot hold."""
    return escape("".join(c for c in text if c in "\n\t" or (c >= " " and c not in "\ufffe\uffff")), quote=False)


_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font:14px/1.4 ui-monospace,monospace;overflow-wrap:anywhere;white-space:pre-wrap}"
    "section{border-top:1px solid;padding:.5rem 0}"
)


def _as_html(report: Report) -> str:
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>fsm-plugins verify</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(', '.join(report.plugins))}</h1><p>{escape(report.verdict)}</p>",
    ]
    for finding in report.findings:
        parts.append(f"<section><h2>{finding.code} {finding.slug}</h2><p><code>{escape(str(finding))}</code></p>")
        if finding.expected:
            parts.append(f"<p>Expected: {escape(finding.expected)}</p>")
        if finding.schedule:
            parts.append(f"<ol>{''.join(f'<li>{escape(step)}</li>' for step in finding.schedule)}</ol>")
        parts.append(f"<p>{escape(CHECKS[finding.slug].why)}</p>")
        if finding.steps:
            parts.append(render_sequence(finding.counterexample.sequence_diagram(), "svg"))
        if finding.token:
            parts.append(f"<p><code>fsm-plugins replay {escape(finding.token)}</code></p>")
        parts.append("</section>")
    rest = (
        as_text(report).splitlines()[1:] if not report.findings else as_text(report).rpartition("\n\n")[2].splitlines()
    )
    parts += [f"<p>{escape(line)}</p>" for line in rest if line]
    return "\n".join([*parts, "</body></html>", ""])


def _as_pytest(report: Report) -> str:
    """Return one file with a test for each finding."""
    if not report.findings:
        return f"# {report.verdict}\n"
    imports: dict[str, None] = {}
    bodies: list[str] = []
    names: set[str] = set()
    for finding in report.findings:
        head, _, body = finding.counterexample.to_pytest().partition("\n\n\n")
        imports.update(dict.fromkeys(line for line in head.splitlines() if line.startswith(("from ", "import "))))
        while (name := body.partition("def test_")[2].partition("(")[0]) in names:
            body = body.replace(f"def test_{name}(", f"def test_{name}_again(")
        names.add(name)
        bodies.append(body.strip())
    return (
        "\n\n\n".join(
            [f'"""Found by fsm-plugins verify."""\n\n{chr(10).join(sorted(imports))}', *dict.fromkeys(bodies)]
        )
        + "\n"
    )


FORMATS: Final[Mapping[str, Callable[[Report], str]]] = MappingProxyType(
    {
        "text": lambda report: as_text(report) + "\n",
        "json": as_json,
        "junit": _as_junit,
        "html": _as_html,
        "pytest": _as_pytest,
    }
)
"""What a report can be written as."""


def as_dict(report: Report) -> dict[str, Any]:
    """Return a report as plain values."""
    value: dict[str, Any] = json.loads(as_json(report))
    return value
