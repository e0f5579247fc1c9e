"""`onefs status`: what is mounted, and how it is doing."""

import json
from pathlib import Path
from typing import Any

import click

from onefs.cli.completion import complete_mounts
from onefs.cli.mounts import mount_at, status_of
from onefs.cli.options import PATH
from onefs.cli.printing import say
from onefs.errors import NotAllowedError, OnefsError, UsageError
from onefs.exit_codes import FAILED
from onefs.fuse.mounting import Mount, mounts

INTERVAL_S = 2.0
SHORTEST_INTERVAL_S = 0.1


@click.command("status")
@click.argument("path", type=PATH, required=False, shell_complete=complete_mounts)
@click.option("--json", "as_json", is_flag=True, help="print JSON, for programs; onefs help status explains it")
@click.option(
    "--watch",
    "watch",
    is_flag=False,
    flag_value=str(INTERVAL_S),
    metavar="[SECONDS]",
    help="show a live view, updated every SECONDS (2); q ends it",
)
def command(path: Path | None, as_json: bool, watch: str | None) -> None:
    """Show how the mount that holds PATH is doing, or every mount.

    For scripts: the exit code is 0 if every mount answers, and 1 if one has died or does not answer. A mount that
    works with restrictions, such as offline, answers; concerns in its JSON lists them.
    """
    if watch is not None:
        from onefs.cli.watching import watch as watch_mounts

        interval_s, path = _interval(watch, path)
        if as_json:
            raise UsageError("--watch is for people, --json for programs.", "Give one of them.")
        watch_mounts(path, interval_s)
        return
    reports = [report_of(mount) for mount in ([mount_at(path)] if path else mounts())]
    if as_json:
        click.echo(json.dumps([report for report, _ in reports], indent=1))
    elif not reports:
        say("Nothing is mounted.")
    else:
        _print([report for report, _ in reports])
    if not all(answers for _, answers in reports):
        click.get_current_context().exit(FAILED)


def report_of(mount: Mount) -> tuple[dict[str, Any], bool]:
    """The facts of a mount, or the problem of one that gives none; and whether it answers, to this user or another."""
    try:
        return status_of(mount), True
    except OnefsError as error:
        report = {"mountpoint": str(mount.mountpoint), "source": mount.source, "problem": str(error)}
        return report, isinstance(error, NotAllowedError)


def _print(reports: list[dict[str, Any]]) -> None:
    from onefs.cli.terminal import print_styled, width
    from onefs.monitoring.status_text import status_lines

    for number, report in enumerate(reports):
        if number:
            say("")
        print_styled(status_lines(report, width()))


def _interval(word: str, path: Path | None) -> tuple[float, Path | None]:
    """The seconds of --watch, and PATH, which may stand behind it where seconds are left out."""
    try:
        interval_s = float(word.removesuffix("s"))
    except ValueError:
        if path is not None:
            raise UsageError(f"{word!r} is no number of seconds.", "Give one, such as --watch 5.") from None
        return INTERVAL_S, Path(word)
    if not SHORTEST_INTERVAL_S <= interval_s < float("inf"):
        raise UsageError(f"{word} seconds are too few or too many.", f"Give at least {SHORTEST_INTERVAL_S}.")
    return interval_s, path
