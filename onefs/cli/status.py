"""`onefs status`: what is mounted, and how it is doing."""

import json
from pathlib import Path

import click

from onefs.cli.completion import complete_mounts
from onefs.cli.mounts import mount_at, status_of
from onefs.cli.options import PATH
from onefs.cli.printing import print_facts
from onefs.errors import OnefsError


@click.command("status")
@click.argument("path", type=PATH, required=False, shell_complete=complete_mounts)
@click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")
def command(path: Path | None, as_json: bool) -> None:
    """Tell about the mount that holds PATH, or about every mount."""
    from onefs.fuse.mounting import mounts

    found = [mount_at(path)] if path else mounts()
    reports = []
    for mount in found:
        try:
            reports.append(status_of(mount))
        except OnefsError as error:
            reports.append({"mountpoint": str(mount.mountpoint), "source": mount.source, "problem": str(error)})
    if as_json:
        click.echo(json.dumps(reports, indent=1))
    elif not reports:
        click.echo("Nothing is mounted.")
    else:
        from onefs.daemon.status import in_brief
        from onefs.daemon.wording import flatten

        for report in reports:
            print_facts(flatten(in_brief(report)), title=f"{report['source']} at {report['mountpoint']}")
