"""`onefs doctor`: check what mounting and fetching need."""

import dataclasses
import json
from typing import Any

import click

from onefs.cli.completion import complete_sources
from onefs.cli.heeded import DOCTOR
from onefs.cli.options import CommandWithSettings, settings_from, with_settings_of
from onefs.cli.printing import say
from onefs.errors import OnefsError
from onefs.sources.names import look_up
from onefs.text import counted


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
            say(f"{'ok  ' if finding.is_well else 'FAIL'} {finding.check}: {finding.says} {finding.remedy}".rstrip())
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    bad = sum(not finding.is_well for finding in findings)
    if bad:
        raise OnefsError(f"{bad} of {counted(len(findings), 'check')} failed.", "Follow the remedies beside them.")
