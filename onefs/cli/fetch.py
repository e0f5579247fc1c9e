"""`onefs fetch`: fetch files into the cache, whole and verified, with or without a mount."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from onefs.cli.completion import complete_sources
from onefs.cli.following import have_done, report
from onefs.cli.options import (
    PATTERN,
    CommandWithSettings,
    settings_from,
    with_place,
    with_report,
    with_settings_of,
)
from onefs.cli.printing import complain, say
from onefs.cli.progress import Display, Shown
from onefs.cli.verb_settings import FETCH
from onefs.errors import UsageError
from onefs.sources.names import look_up

if TYPE_CHECKING:
    from onefs.daemon.fetching import Fetching
    from onefs.daemon.job_state import JobState

LOOK_EVERY_S = 0.2


@click.command("fetch", cls=CommandWithSettings)
@click.argument("patterns", metavar="[PATTERN…]", nargs=-1, type=PATTERN)
@click.option(
    "--from",
    "lists",
    metavar="FILE",
    multiple=True,
    type=click.File("rb"),
    help="fetch the paths in FILE too, one a line or NUL-separated; - is standard input",
)
@click.option(
    "--source",
    metavar="SOURCE",
    shell_complete=complete_sources,
    help="fetch from SOURCE without a mount, into its cache; needs no FUSE",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="with --source: have the workers of this Dask cluster fetch, each into the cache of its machine; ADDRESS is "
    "that of the scheduler, or the path of its scheduler file",
)
@with_place
@click.option("--dry-run", is_flag=True, help="list the files with their sizes, and fetch none")
@with_report
@with_settings_of(FETCH)
def command(
    patterns: tuple[str, ...],
    lists: tuple[BinaryIO, ...],
    source: str | None,
    scheduler: str | None,
    place: Path | None,
    dry_run: bool,
    as_json: bool,
    is_verbose: bool,
    **flags: Any,
) -> None:
    """Fetch the files that PATTERN matches into the cache, whole and verified, many at once.

    PATTERN is a path, with all below if it is a folder, or a shell's pattern: * does not cross a /, ** does. In a
    mount, its own daemon fetches. With --source, as onefs mount takes it, nothing is mounted; paths are then from the
    archive's root on. The settings below go with --source alone: a mount has its own.

    A query folder stands for the datasets of its sessions: onefs fetch .onefs/query/saved/NAME. --from takes what
    onefs search and onefs list print: onefs search subject=KS014 | onefs fetch --from -

    What is in the cache already is only verified. Ctrl-C stops; what is whole stays, and the same command goes on.
    """
    patterns = (*patterns, *(path for stream in lists for path in _listed_in(stream)))
    if not patterns:
        if not lists:
            raise UsageError(
                "No PATTERN is given, so there is nothing to fetch.", "Give a path, a pattern, or --from FILE."
            )
        say("The list is empty, so nothing is fetched.")
        return
    if source is None:
        _check_for_mount(scheduler, flags)
        _fetch_in_mount(patterns, place, dry_run=dry_run, as_json=as_json, is_verbose=is_verbose)
        return
    if place is not None:
        raise UsageError("--source and --mount are two ways to say where from.", "Give one of them.")
    if dry_run and scheduler is not None:
        raise UsageError("--dry-run looks at the cache of this machine only.", "Leave out --scheduler.")
    fetch = _Fetch(source, patterns, flags, as_json=as_json, is_verbose=is_verbose)
    fetch.list() if dry_run else fetch.run(scheduler)


def _check_for_mount(scheduler: str | None, flags: Mapping[str, Any]) -> None:
    """Raise `UsageError` for options that go with --source only."""
    if scheduler is not None:
        raise UsageError("--scheduler is for fetches without a mount.", "Give --source, too.")
    given = next((key for key, value in flags.items() if value is not None), None)
    if given is not None:
        flag = given.replace("_", "-")
        raise UsageError(f"--{flag} is a setting of the mount, which fetches.", "Leave it out, or give --source, too.")


def _fetch_in_mount(
    patterns: Sequence[str], place: Path | None, *, dry_run: bool, as_json: bool, is_verbose: bool
) -> None:
    """Have the daemon of a mount fetch, or list what it would."""
    from onefs.cli.places import find

    mount, paths = find(patterns, place, "onefs fetch --mount PATH PATTERN…")
    if dry_run:
        from onefs.cli.listing import files_in, print_listing

        print_listing(files_in(mount, paths), as_json=as_json)
        return
    have_done(mount, "fetch", paths, as_json=as_json, is_verbose=is_verbose)


def _listed_in(stream: BinaryIO) -> list[str]:
    """The paths in a list, one a line, or each ended by a NUL if there is one."""
    data = stream.read()
    lines = data.split(b"\0") if b"\0" in data else data.split(b"\n")
    return [os.fsdecode(line) for line in lines if line]


class _Fetch:
    """A fetch without a mount, on this machine or a cluster."""

    def __init__(
        self, source: str, patterns: Sequence[str], flags: Mapping[str, Any], *, as_json: bool, is_verbose: bool
    ) -> None:
        self._source = source
        self._patterns = patterns
        self._flags = {key: value for key, value in flags.items() if value is not None}
        self._as_json = as_json
        self._is_verbose = is_verbose

    def list(self) -> None:
        """List what would be fetched."""
        from onefs.cli.listing import print_listing

        with self._opened() as archive:
            print_listing(archive.listed(self._patterns), as_json=self._as_json)

    def run(self, scheduler: str | None) -> None:
        """Fetch, on this machine or a cluster."""
        if scheduler is None:
            with self._opened() as archive:
                self._follow(archive.start(self._patterns))
            return
        from onefs.cluster import cluster_workers
        from onefs.daemon.cluster_job import fetch_on_cluster
        from onefs.daemon.cluster_task import source_spec

        spec = source_spec(self._source, look_up(self._source).source, self._flags)
        with ExitStack() as stack:
            with Shown(is_quiet=self._as_json):
                workers = stack.enter_context(cluster_workers(scheduler))
            self._follow(fetch_on_cluster(stack.enter_context(self._opened()), self._patterns, workers, spec))

    @contextmanager
    def _opened(self) -> "Iterator[Fetching]":
        """The source, with the log of what is done to it on standard error."""
        from onefs.daemon.fetching import fetching
        from onefs.daemon.log_formats import VisibleFormatter

        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(VisibleFormatter("onefs: %(message)s"))
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
        named = look_up(self._source)
        with ExitStack() as stack:
            try:
                with Shown(is_quiet=self._as_json):
                    archive = stack.enter_context(fetching(named.source, settings_from(self._flags, named.file)))
            except KeyboardInterrupt:
                click.echo(err=True)  # behind the ^C
                complain(f"stopped while {self._source} was being opened, before the first file.")
                raise
            yield archive

    def _follow(self, job: "JobState") -> None:
        """Show a job until it ends, and its results. Exits with 1 if any of it failed."""
        try:
            with Display(is_quiet=self._as_json) as display:
                while not job.wait(LOOK_EVERY_S):
                    display.show([job.facts()])
        except KeyboardInterrupt:
            job.stop()
            click.echo(err=True)  # behind the ^C
            complain(f"{job.sentence} What is whole stays; the same again goes on from there.")
            raise
        report([job.facts()], as_json=self._as_json, is_verbose=self._is_verbose)
