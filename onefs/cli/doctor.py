"""`onefs doctor`: check what mounting and fetching need."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onefs.cli.completion import complete_sources
from onefs.cli.options import PATH, CommandWithSettings, settings_from, with_settings_of
from onefs.cli.printing import complain
from onefs.cli.verb_settings import DOCTOR
from onefs.errors import OnefsError
from onefs.settings import Settings
from onefs.sources.names import look_up
from onefs.text import counted, visible

if TYPE_CHECKING:
    from onefs.daemon.doctor import Finding

CHECK_WIDTH = 15


@click.command("doctor", cls=CommandWithSettings)
@click.argument("source", required=False, shell_complete=complete_sources)
@click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")
@click.option(
    "--bundle",
    type=PATH,
    metavar="FILE",
    help="also write what a bug report needs, without secrets, to the new file FILE (.tar.gz)",
)
@with_settings_of(DOCTOR)
def command(source: str | None, as_json: bool, bundle: Path | None, **flags: Any) -> None:
    """Check this machine, and SOURCE if it is given: login, tables, one download, cache, disk and clock."""
    from onefs.daemon.bundle import check_new
    from onefs.daemon.doctor import examine

    if bundle is not None:
        check_new(bundle)
    named = look_up(source) if source is not None else None
    settings = settings_from(flags, named.file if named else None)
    findings = []
    for finding in examine(named.source if named else None, settings):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if bundle is not None:
        _write_bundle(bundle, settings, findings)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    bad = sum(not finding.is_well for finding in findings)
    if bad:
        raise OnefsError(f"{bad} of {counted(len(findings), 'check')} failed.", "Follow the remedies beside them.")


def _print(finding: "Finding") -> None:
    """Print what was found: wrapped and in colour on a terminal, elsewhere in one line, so that it can be searched."""
    from onefs.cli.terminal import print_styled, width
    from onefs.monitoring.styled import Span, Style, wrapped

    if not sys.stdout.isatty():
        print_styled([[Span(visible(_line(finding)))]])
        return
    style, word = (Style.GOOD, "ok") if finding.is_well else (Style.BAD, "FAIL")
    label = f"{word:<6}{visible(finding.check):<{CHECK_WIDTH}} "
    indent = " " * len(label)
    lines = wrapped(finding.says, width(), Style.PLAIN, label, indent)
    lines[0][:1] = [Span(label[:6], style), Span(label[6:], Style.TITLE)]
    print_styled(lines)
    if finding.remedy:
        print_styled(wrapped(finding.remedy, width(), Style.WARNING, indent, indent))


def _line(finding: "Finding") -> str:
    word = "ok" if finding.is_well else "FAIL"
    return f"{word:<6}{finding.check:<{CHECK_WIDTH}} {finding.says} {finding.remedy}".rstrip()


def _write_bundle(file: Path, settings: Settings, findings: "Sequence[Finding]") -> None:
    from onefs.daemon.bundle import write_bundle

    names = write_bundle(file, settings, "".join(f"{_line(finding)}\n" for finding in findings))
    complain(
        f"{file} holds {', '.join(names)}. Passwords, tokens and keys are redacted, but it names files, folders, "
        f"users and servers. Look it through before you send it: tar -xzf {file}"
    )
