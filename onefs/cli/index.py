"""`onefs index`: make cache tables of a folder of ALF files."""

import json
import os
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onefs.alf import PARTS
from onefs.cli.completion import complete_folders
from onefs.cli.options import PATH
from onefs.cli.printing import complain, ignore_output, say
from onefs.cli.progress import Shown
from onefs.errors import UsageError
from onefs.exit_codes import FAILED
from onefs.mountinfo import mountpoint_of_onefs
from onefs.text import counted, size_text, visible

if TYPE_CHECKING:
    from onefs.indexer.run import IndexResult
    from onefs.indexer.scan import Skipped
    from onefs.workers import Workers

MOST_NAMED = 5
"""So many of what cannot be read are named."""


@click.command("index")
@click.argument("root", metavar="ROOT", type=PATH, shell_complete=complete_folders)
@click.option(
    "--out",
    type=PATH,
    metavar="DIR",
    shell_complete=complete_folders,
    help="write the tables into DIR  [default: ROOT]",
)
@click.option("--hash", "hash_files", is_flag=True, help="read each file that is new or has changed, for its MD5")
@click.option("--lab", metavar="LAB", help="the lab of sessions whose path has none (SUBJECT/DATE/NUMBER)")
@click.option("--update", "updates", is_flag=True, help="keep the tables there, whoever made them; change what differs")
@click.option(
    "--workers",
    "n_workers",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="how many processes list and hash  [default: one for each processor]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="have the workers of this Dask cluster list and hash; ADDRESS is that of the scheduler, or the path of its "
    "scheduler file",
)
@click.option("--skipped", "lists_skipped", is_flag=True, help="list what is not indexed, each with the reason")
@click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")
def command(
    root: Path,
    out: Path | None,
    hash_files: bool,
    lab: str | None,
    updates: bool,
    n_workers: int | None,
    scheduler: str | None,
    lists_skipped: bool,
    as_json: bool,
) -> None:
    """Make cache tables of the ALF files below ROOT, which onefs mount, ONE and pandas read.

    Sessions are the folders LAB/Subjects/SUBJECT/DATE/NUMBER or SUBJECT/DATE/NUMBER, at whatever depth. The tables,
    sessions.pqt and datasets.pqt, are written into ROOT, or DIR. A folder .onefs beside them keeps the list of the
    files: the next run reads only files that are new or have another size, time or inode number, and goes on where an
    interrupted one ended. If nothing has changed, the tables stay as they are.

    Tables that onefs did not make of ROOT, or that were saved since, are not replaced. With --update they are brought
    up to date: files keep their ids, QC and all else in their rows, and get their new sizes and MD5s; new ones are
    added; those that indexing added and that are gone now are removed. All other rows stay.

    What has no ALF name, and links to folders, are skipped and counted. --skipped lists them: on each line the reason,
    a tab, and the path, in which control characters and bytes that are not UTF-8 are escaped. --json has the bytes as
    Python's os.fsencode takes them.

    \b
    onefs index /data/mylab --hash
    onefs mount /data/mylab ~/mylab

    Exits with 1 if something could not be read: it is named, and the rest is indexed.
    """
    from onefs.indexer.run import IndexOptions, index

    if lab is not None and not re.fullmatch(PARTS["lab"], lab):
        raise UsageError(f"{lab!r} cannot be the name of a lab.", "Give letters, digits and _.")
    _check_not_mounted(root)
    out = out or root
    options = IndexOptions(lab=lab or "", hash_files=hash_files, updates=updates)
    output = _Output(as_json=as_json, lists_skipped=lists_skipped)
    try:
        with Shown(is_quiet=output.is_for_progress_too), _workers(n_workers, scheduler, root) as workers:
            result = index(root, out, options, workers, output.skipped if lists_skipped else None)
    except KeyboardInterrupt:
        click.echo(err=True)  # behind the ^C
        complain("stopped. What was hashed stays known; the same command goes on from there.")
        raise
    output.end(result, root, out)
    if result.n_unreadable:
        click.get_current_context().exit(FAILED)


def _check_not_mounted(root: Path) -> None:
    """Raise `UsageError` if a folder is in a mount of onefs."""
    mountpoint = mountpoint_of_onefs(root)
    if mountpoint:
        raise UsageError(
            f"{root} is in a mount of onefs, {mountpoint}, whose archive has tables.",
            "Name a folder with the files themselves.",
        )


def _workers(processes: int | None, scheduler: str | None, root: Path) -> "AbstractContextManager[Workers]":
    """What lists and hashes."""
    if scheduler is None:
        from onefs.workers import LocalWorkers

        return LocalWorkers(processes)
    if processes is not None:
        raise UsageError("--workers are of this machine, --scheduler is a cluster with its own.", "Give one of them.")
    from onefs.cluster import cluster_workers

    return cluster_workers(scheduler, root)


class _Output:
    """Prints what is skipped as it is found, and in the end what was indexed."""

    def __init__(self, *, as_json: bool, lists_skipped: bool) -> None:
        self._as_json = as_json
        self._lists_skipped = lists_skipped
        self._is_begun = False
        self._is_read = True

    @property
    def is_for_progress_too(self) -> bool:
        """Whether progress would stand between the lines, or nobody wants it."""
        return self._as_json or (self._lists_skipped and sys.stdout.isatty())

    def skipped(self, why: "Skipped", path: str) -> None:
        """Print what is not indexed."""
        if not self._as_json:
            self._write(f"{why}\t{visible(path)}\n")
            return
        before = "," if self._is_begun else '{"skipped_paths": ['
        self._is_begun = True
        self._write(f"{before}\n{json.dumps({'reason': why, 'path': path})}")

    def end(self, result: "IndexResult", root: Path, out: Path) -> None:
        """Print what was indexed, and name what could not be read."""
        if not self._as_json:
            for sentence in _sentences(result, out, is_listed=self._lists_skipped):
                if self._lists_skipped:
                    click.echo(visible(sentence), err=True)
                else:
                    say(sentence)
            _warn_of_misplaced(result, root)
            _name_unreadable(result)
            return
        facts = json.dumps(_facts(result, root), indent=1)
        if self._lists_skipped:
            begun = "\n" if self._is_begun else '{"skipped_paths": ['
            facts = f"{begun}],{facts.removeprefix('{')}"
        self._write(f"{facts}\n")

    def _write(self, text: str) -> None:
        """Write to standard output at once: what is in its buffer would be written by each process begun later."""
        if not self._is_read:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read it has seen enough, and the work goes on
            self._is_read = False
            ignore_output(sys.stdout)


def _sentences(result: "IndexResult", out: Path, *, is_listed: bool) -> list[str]:
    what = f"{counted(result.n_sessions, 'session')} with {counted(result.n_files, 'file')}"
    what = f"{what} ({size_text(result.size_bytes)})"
    if result.is_new:
        hashed = f"{counted(result.n_hashed, 'file')} ({size_text(result.hashed_bytes)})"
        found = f"Indexed {what}{f'; hashed {hashed}' if result.n_hashed else ''}. The tables are in {out}."
    else:
        found = f"Nothing has changed: {what}. The tables in {out} stay as they are."
    if not result.skipped:
        return [found]
    reasons = ", ".join(f"{why} ({number})" for why, number in result.skipped.most_common())
    skipped = counted(result.skipped.total(), "name")
    return [found, f"Skipped {skipped}: {reasons}.{'' if is_listed else ' --skipped lists them.'}"]


def _warn_of_misplaced(result: "IndexResult", root: Path) -> None:
    if not result.n_misplaced:
        return
    folder, path = result.misplaced[0]
    complain(
        f"the files of {counted(result.n_misplaced, 'session')} will not be found below {root} by these tables: those "
        f"in {folder} are looked for in {root / path}. {_remedy(Path(folder), Path(path))}"
    )


def _remedy(folder: Path, path: Path) -> str:
    """What has a session's folder found that stands elsewhere than at its path."""
    if folder.name != path.name:
        return f"Give the number three digits: rename the folder to {path.name}."
    above = folder.parents[2]
    if above.name == "Subjects" and not re.fullmatch(PARTS["lab"], above.parent.name):
        return f"Rename the lab's folder {above.parent.name}: give letters, digits and _."
    return "Index the folder above the labs, or move them there."


def _name_unreadable(result: "IndexResult") -> None:
    for each in result.unreadable[:MOST_NAMED]:
        complain(f"{each.path} cannot be read: {each.why}.")
    if result.n_unreadable:
        number = result.n_unreadable
        what = "1 file or folder" if number == 1 else f"{number} files and folders"
        names = " (--json names more)" if number > MOST_NAMED else ""
        complain(f"{what} could not be read{names}. Mend that, then run it again: it reads only what is missing.")


def _facts(result: "IndexResult", root: Path) -> dict[str, object]:
    return {
        "root": os.path.realpath(root),
        "tables": [str(result.files.sessions), str(result.files.datasets)],
        "is_new": result.is_new,
        "sessions": result.n_sessions,
        "files": result.n_files,
        "bytes": result.size_bytes,
        "hashed_files": result.n_hashed,
        "hashed_bytes": result.hashed_bytes,
        "misplaced_sessions": result.n_misplaced,
        "skipped": dict(result.skipped),
        "unreadable": result.n_unreadable,
        "unreadable_paths": [each._asdict() for each in result.unreadable],
    }
