"""`onefs prune`: list, or remove, the files and empty session folders of a cache that its tables do not have."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onefs.cli.completion import complete_folders
from onefs.cli.options import PATH
from onefs.cli.printing import complain, say
from onefs.cli.queries import print_json_list, print_paths, with_output
from onefs.errors import UsageError
from onefs.exit_codes import FAILED
from onefs.mountinfo import mountpoint_of_onefs
from onefs.text import counted, size_text, visible

if TYPE_CHECKING:
    from onefs.archive.pruning import Unlisted


@dataclass(slots=True)
class Totals:
    """What was found, so far."""

    files: int = 0
    size_bytes: int = 0
    folders: int = 0
    staying: int = 0
    failures: int = 0

    def add(self, found: "Unlisted") -> None:
        """Count one more."""
        if found.failure:
            self.failures += 1
        elif found.stays:
            self.staying += 1
        elif found.is_folder:
            self.folders += 1
        else:
            self.files += 1
            self.size_bytes += found.size_bytes


@click.command("prune")
@click.argument("cache", metavar="CACHE", type=PATH, shell_complete=complete_folders)
@click.option("--delete", "is_delete", is_flag=True, help="remove them; without it they are only listed")
@with_output
@click.pass_context
def command(context: click.Context, cache: Path, is_delete: bool, is_null: bool, as_paths: bool, as_json: bool) -> None:
    """List the ALF files, and the empty session folders, of a cache directory that its tables do not list.

    With --delete they are removed, and so are folders of collections, dates and subjects that become empty by that.

    \b
    onefs prune ~/ibl-cache
    onefs prune ~/ibl-cache --delete

    The tables are those in CACHE, those of releases in folders below it, and those of replays. A file that any of them
    lists is kept, also if it is listed as not existing. Never removed: files that are not ALF or not in a session
    folder, links, the folder .onefs, folders with tables of their own, and files that you have pinned (in a cache
    that others can write, each user has pins of his own).

    Files that another program than onefs put there, or changed, stay for a day, and as long as they are newer than the
    day before the tables were made: bring the tables up to date first (onefs refresh, onefs index). All of them stay if
    the tables are of releases only, if they list none of the files there, or if they were made of CACHE itself (onefs
    index), as they then lack only what could not be read.

    On a terminal files are shown with their sizes and why some stay; in a pipe one path a line, and what stays on
    standard error. --json prints path, kind, size, stays (why, or null), removed, and failure (why, or null).
    """
    from onefs.archive.cache_tables import CacheTables
    from onefs.archive.pruning import Rules, prune
    from onefs.cli.progress import Shown

    mountpoint = mountpoint_of_onefs(cache)
    if mountpoint:
        raise UsageError(
            f"{cache} is in a mount of onefs, {mountpoint}, which is read-only.",
            "Give the cache directory: onefs status shows it.",
        )
    with Shown(is_quiet=not sys.stderr.isatty()):
        tables = CacheTables(cache)
    rules = Rules(is_delete=is_delete, others_before_s=tables.others_before_s(time.time()), emptied_folders=True)
    totals = Totals()
    found = _counted(prune(cache, tables, rules), totals)
    if as_json:
        print_json_list(_facts(cache, each, is_delete=is_delete) for each in found)
    elif as_paths or is_null or not sys.stdout.isatty():
        print_paths(_going(cache, found), is_null=is_null)
        complain(_sentence(totals, is_delete=is_delete))
    else:
        for each in found:
            click.echo(_line(cache, each))
        say(_sentence(totals, is_delete=is_delete))
    context.exit(FAILED if totals.failures else 0)


def _counted(found: Iterable["Unlisted"], totals: Totals) -> Iterator["Unlisted"]:
    for each in found:
        totals.add(each)
        yield each


def _path(cache: Path, found: "Unlisted") -> str:
    return os.path.join(cache, found.path)  # noqa: PTH118 - paths are strings here


def _going(cache: Path, found: Iterable["Unlisted"]) -> Iterator[str]:
    """The paths that are, or would be, removed. Writes the others to standard error, with the reason."""
    for each in found:
        if each.failure or each.stays:
            sys.stdout.flush()
            complain(f"{_path(cache, each)} {_why(each)}.")
        else:
            yield _path(cache, each)


def _line(cache: Path, found: "Unlisted") -> str:
    size = "folder" if found.is_folder else size_text(found.size_bytes)
    why = f"  ({_why(found)})" if found.failure or found.stays else ""
    return f"{size:>10}  {visible(_path(cache, found))}{why}"


def _why(found: "Unlisted") -> str:
    if found.failure:
        return f"could not be {'read or removed' if found.is_folder else 'removed'}: {found.failure.lower()}"
    return f"stays: {found.stays}"


def _facts(cache: Path, found: "Unlisted", *, is_delete: bool) -> dict[str, object]:
    return {
        "path": _path(cache, found),
        "kind": "folder" if found.is_folder else "file",
        "size": None if found.is_folder else found.size_bytes,
        "stays": found.stays or None,
        "removed": is_delete and not (found.stays or found.failure),
        "failure": found.failure or None,
    }


def _sentence(totals: Totals, *, is_delete: bool) -> str:
    what = f"{counted(totals.files, 'file')} ({size_text(totals.size_bytes)})"
    what += f" and {counted(totals.folders, 'empty session folder')}" if totals.folders else ""
    more = f", {totals.staying} {'stays' if totals.staying == 1 else 'stay'}" if totals.staying else ""
    more += f", {counted(totals.failures, 'failure')}" if totals.failures else ""
    if is_delete:
        return f"Removed {what} not in the tables{more}."
    if not (totals.files or totals.folders):
        return f"Nothing to remove{more}."
    return f"{what} not in the tables{more}. Nothing was removed: run it again with --delete."
