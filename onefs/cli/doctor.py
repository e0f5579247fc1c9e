"""`onefs doctor`: check what mounting and fetching need."""

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from onefs.cli.completion import complete_sources
from onefs.cli.heeded import DOCTOR
from onefs.cli.options import CommandWithSettings, settings_from, with_settings_of
from onefs.errors import OnefsError
from onefs.sources.names import look_up
from onefs.text import counted, visible

if TYPE_CHECKING:
    from onefs.daemon.doctor import Finding

CHECK_WIDTH = 15


@click.command("doctor", cls=CommandWithSettings)
@click.argument("source", required=False, shell_complete=complete_sources)
@click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")
@with_settings_of(DOCTOR)
def command(source: str | None, as_json: bool, **flags: Any) -> None:
    """Check this machine, and SOURCE if it is given: login, tables, one download, cache, disk and clock."""
    from onefs.daemon.doctor import examine

    named = look_up(source) if source is not None else None
    settings = settings_from(flags, named.file if named else None)
    findings = []
    for finding in examine(named.source if named else None, settings):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    bad = sum(not finding.is_well for finding in findings)
    if bad:
        raise OnefsError(f"{bad} of {counted(len(findings), 'check')} failed.", "Follow the remedies beside them.")


def _print(finding: "Finding") -> None:
    """Print what was found: wrapped and in colour on a terminal, elsewhere in one line, so that it can be searched."""
    from onefs.cli.terminal import print_styled, width
    from onefs.daemon.styled import Span, Style, wrapped

    style, word = (Style.GOOD, "ok") if finding.is_well else (Style.BAD, "FAIL")
    label = f"{word:<6}{visible(finding.check):<{CHECK_WIDTH}} "
    if not sys.stdout.isatty():
        print_styled([[Span(label), Span(visible(f"{finding.says} {finding.remedy}"))]])
        return
    indent = " " * len(label)
    lines = wrapped(finding.says, width(), Style.PLAIN, label, indent)
    lines[0][:1] = [Span(label[:6], style), Span(label[6:], Style.TITLE)]
    print_styled(lines)
    if finding.remedy:
        print_styled(wrapped(finding.remedy, width(), Style.WARNING, indent, indent))
