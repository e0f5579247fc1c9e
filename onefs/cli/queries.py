"""Queries of a mount or of a SOURCE without one: the flags `--mount` and `--source`, opening it, printing results."""

import json
import logging
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from onefs.catalogue.filters import Filter
from onefs.catalogue.records import Dataset, Session
from onefs.cli.completion import complete_mounts, complete_sources
from onefs.cli.mounts import mount_at
from onefs.cli.options import PATH, settings_from, with_settings_of
from onefs.errors import UsageError
from onefs.sources.names import look_up
from onefs.text import visible

if TYPE_CHECKING:
    from onefs.archive.reading import Reading
    from onefs.archive.saved_searches import SavedSearches
    from onefs.catalogue.revisions import Rule
    from onefs.settings import Settings

Command = Callable[..., None]


class Queries(Protocol):
    """The queries that a mount and a source both answer."""

    saved: "SavedSearches"

    def path(self, inside: str) -> str:
        """A path in the archive as it is printed: in a mount, the whole path."""

    def search(self, words: Sequence[str]) -> list[Session]:
        """The sessions that meet all terms, newest first."""

    def n_left_out(self, words: Sequence[str]) -> int:
        """The number of sessions that meet all terms and have no place in the tree."""

    def named(self, word: str) -> list[Session]:
        """The sessions of an eid, a reference or a path. Raises `NotInCatalogueError`, `UsageError`."""

    def lists(self, filter: Filter, *, default_only: bool) -> "Lists":  # noqa: A002
        """The datasets that the tree shows and that pass the filter."""


class Lists(Protocol):
    """The datasets that the tree of an archive shows and that pass a filter. `sessions` None means all sessions."""

    def datasets(self, sessions: Sequence[Session] | None) -> Iterator[tuple[str, Dataset]]:
        """Each dataset with its path as it is printed."""

    def aggregates(self) -> Iterator[tuple[str, Dataset]]:
        """Each dataset of no session, with its path as it is printed."""

    def blocks(self, sessions: Sequence[Session] | None, end: bytes) -> Iterator[bytes | memoryview]:
        """Blocks of paths as they are printed, each path followed by `end`."""

    def rel_paths(self, sessions: Sequence[Session] | None) -> set[str]:
        """The distinct paths of datasets inside their sessions."""

    def names(self) -> tuple[set[str], set[str]]:
        """The names of all labs and of all subjects."""


def with_archive(settings: Collection[str]) -> Callable[[Command], Command]:
    """Add the flags that choose the archive to query: `--mount`, `--source` and `settings` of a source."""

    def decorate(command: Command) -> Command:
        for option in (
            with_settings_of(settings),
            click.option(
                "--mount",
                "place",
                type=PATH,
                metavar="PATH",
                shell_complete=complete_mounts,
                help="query the mount that holds PATH",
            ),
            click.option(
                "--source",
                metavar="SOURCE",
                shell_complete=complete_sources,
                help="query SOURCE without a mount; SOURCE as for onefs mount",
            ),
        ):
            command = option(command)
        return command

    return decorate


def with_output(command: Command) -> Command:
    """Add the flags that choose the form of output."""
    for names, doc in (
        (("-0", "is_null"), "print paths, each ended by a NUL character"),
        (("--paths", "as_paths"), "print one path a line, also on a terminal"),
        (("--json", "as_json"), "print JSON, for programs"),
    ):
        command = click.option(*names, is_flag=True, help=doc)(command)
    return command


@contextmanager
def open_queries(
    source: str | None, place: Path | None, flags: dict[str, Any], verb: str, *, own: Sequence[str] = ()
) -> Iterator[Queries]:
    """Open the archive that the flags name, or the only mount if they name none. Raises any `OnefsError`.

    `own` are settings that the command also takes for a mount.
    """
    if source is None:
        refuse_settings(flags, own)
        from onefs.cli.mount_queries import queries_of_mount

        yield queries_of_mount(mount_at(place, f"onefs {verb} --mount PATH"), flags)
        return
    refuse_both(source, place)
    from onefs.cli.table_queries import queries_of_source

    with opened_source(source, flags) as (found, rule):
        yield queries_of_source(found, rule)


@contextmanager
def opened_source(source: str, flags: dict[str, Any]) -> "Iterator[tuple[Reading, Rule]]":
    """Open a source without a mount; also gives the rule of what its tree shows. Raises any `OnefsError`."""
    from onefs.archive.archive import rule_of
    from onefs.archive.reading import reading
    from onefs.cli.progress import Shown

    name, settings = named_source(source, flags)
    with ExitStack() as stack:
        with Shown(is_quiet=not sys.stderr.isatty()):
            found = stack.enter_context(reading(name, settings))
        yield found, rule_of(settings)


def named_source(source: str, flags: dict[str, Any]) -> "tuple[str, Settings]":
    """The source and the settings of a name, URL or folder. From now on warnings are printed on standard error."""
    from onefs.daemon.log_formats import VisibleFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("onefs: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    named = look_up(source)
    return named.source, settings_from(flags, named.file)


def refuse_both(source: str | None, place: Path | None) -> None:
    """Raise `UsageError` if `--source` and `--mount` are both given."""
    if source is not None and place is not None:
        raise UsageError("--source and --mount are both given.", "Give one of them.")


def refuse_settings(flags: dict[str, Any], own: Sequence[str] = ()) -> None:
    """Raise `UsageError` if settings other than `own` are given: a mount has its own settings."""
    given = next((key for key, value in flags.items() if value is not None and key not in own), None)
    if given is not None:
        flag = given.replace("_", "-")
        raise UsageError(
            f"--{flag} is a setting of the mount, and cannot be set for one query.",
            "Leave it out, or give --source.",
        )


def print_paths(paths: Iterable[str], *, is_null: bool) -> None:
    """Print paths on standard output, one a line, with control characters escaped on a terminal, or NUL-terminated."""
    end = "\0" if is_null else "\n"
    escape = sys.stdout.isatty() and not is_null
    write = sys.stdout.buffer.write
    for path in paths:
        write(((visible(path) if escape else path) + end).encode(errors="surrogateescape"))
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in aligned columns under their names. Nothing is cut, so that each can be copied."""
    cells = [[visible(str(cell)) for cell in row] for row in [columns, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=1, default=str))


def print_json_list(values: Iterable[object]) -> None:
    """Print a list as JSON, a line for each member, as they come."""
    write = sys.stdout.write
    before = "["
    for value in values:
        write(f"{before}\n{json.dumps(value)}")
        before = ","
    write("[]\n" if before == "[" else "\n]\n")
    sys.stdout.flush()
