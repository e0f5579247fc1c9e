"""Which archive a question is about: that of a mount, or a SOURCE without one; and printing what is found."""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from onefs.catalogue.filters import Filter
from onefs.catalogue.records import Dataset, Session
from onefs.cli.mounts import mount_at
from onefs.cli.options import PATH, settings_from, with_settings
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
    """An archive that can be asked."""

    saved: "SavedSearches"

    def path(self, inside: str) -> str:
        """A path in the archive as it is printed: in a mount, whole."""

    def search(self, words: Sequence[str]) -> list[Session]:
        """The sessions that meet all terms, newest first."""

    def named(self, word: str) -> list[Session]:
        """The sessions that an eid, a reference or a path names. Raises `NotInCatalogueError`, `UsageError`."""

    def lists(self, filter: Filter, *, default_only: bool) -> "Lists":  # noqa: A002
        """The datasets that are shown and pass."""


class Lists(Protocol):
    """The datasets that the tree of an archive shows, as far as they pass a filter. `sessions` are None for all."""

    def datasets(self, sessions: Sequence[Session] | None) -> Iterator[tuple[str, Dataset]]:
        """Paths as they are printed, and what is known of each dataset."""

    def aggregates(self) -> Iterator[tuple[str, Dataset]]:
        """The same of the datasets of no session."""

    def blocks(self, sessions: Sequence[Session] | None, end: bytes) -> Iterator[bytes | memoryview]:
        """Blocks of paths as they are printed, each path followed by `end`."""

    def rel_paths(self, sessions: Sequence[Session] | None) -> set[str]:
        """The distinct paths of datasets inside their sessions."""

    def names(self) -> tuple[set[str], set[str]]:
        """The names of all labs and of all subjects."""


def with_archive(command: Command) -> Command:
    """Give a command the flags that say which archive it asks."""
    command = with_settings(command)
    command = click.option("--mount", "place", type=PATH, metavar="PATH", help="ask the mount that holds PATH")(command)
    return click.option("--source", metavar="SOURCE", help="ask SOURCE without a mount, as onefs mount takes it")(
        command
    )


def with_output(command: Command) -> Command:
    """Give a command the flags that say how it prints what it finds."""
    for names, doc in (
        (("-0", "is_null"), "print paths, each ended by a NUL character"),
        (("--paths", "as_paths"), "print one path a line, also on a terminal"),
        (("--json", "as_json"), "print JSON, for programs"),
    ):
        command = click.option(*names, is_flag=True, help=doc)(command)
    return command


@contextmanager
def asked(
    source: str | None, place: Path | None, flags: dict[str, Any], verb: str, *, own: Sequence[str] = ()
) -> Iterator[Queries]:
    """The archive that the flags are about; the only mount there is, if they name none. Raises any `OnefsError`.

    `own` are settings that mean something on a mount, too.
    """
    if source is None:
        refuse_settings(flags, own)
        from onefs.cli.mount_queries import mounted

        yield mounted(mount_at(place, f"onefs {verb} --mount PATH"), flags)
        return
    if place is not None:
        raise UsageError("--source and --mount are two ways to say what to ask.", "Give one of them.")
    from onefs.cli.table_queries import opened

    with opened_source(source, flags) as (found, rule):
        yield opened(found, rule)


@contextmanager
def opened_source(source: str, flags: dict[str, Any]) -> "Iterator[tuple[Reading, Rule]]":
    """A source that is asked without a mount, and what its tree shows. Raises any `OnefsError`."""
    from onefs.archive.archive import rule_of
    from onefs.archive.reading import reading
    from onefs.cli.progress import Shown

    name, settings = named_source(source, flags)
    with ExitStack() as stack:
        with Shown(is_quiet=not sys.stderr.isatty()):
            found = stack.enter_context(reading(name, settings))
        yield found, rule_of(settings)


def named_source(source: str, flags: dict[str, Any]) -> "tuple[str, Settings]":
    """A source by what it is called, and the settings to ask it with. Warnings go to standard error from now on."""
    from onefs.daemon.logs import VisibleFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("onefs: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    named = look_up(source)
    return named.source, settings_from(flags, named.file)


def refuse_settings(flags: dict[str, Any], own: Sequence[str] = ()) -> None:
    """Raise `UsageError` if settings are given, but for some of the command's own: a mount has its settings."""
    given = next((key for key, value in flags.items() if value is not None and key not in own), None)
    if given is not None:
        flag = given.replace("_", "-")
        raise UsageError(f"--{flag} is a setting of the mount, which is asked.", "Leave it out, or give --source.")


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
