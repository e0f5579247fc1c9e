"""Which archive a question is about: that of a mount, or a SOURCE without one; and printing what is found."""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onefs.catalogue.interface import Catalogue
from onefs.cli.mounts import mount_at, status_of
from onefs.cli.options import PATH, settings_from, with_settings
from onefs.errors import UsageError
from onefs.sources.names import look_up
from onefs.text import visible

if TYPE_CHECKING:
    from onefs.archive.searches import Searches

Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Asked:
    """An archive that can be asked. `mountpoint` is None without a mount, `searches` are those of the source."""

    catalogue: Catalogue
    searches: "Searches"
    cache_dir: Path
    mountpoint: Path | None = None

    def path(self, inside: str) -> str:
        """A path in the archive as it is printed: in a mount, whole."""
        return inside if self.mountpoint is None else f"{self.mountpoint}/{inside}"


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
def asked(source: str | None, place: Path | None, flags: dict[str, Any], verb: str) -> Iterator[Asked]:
    """The archive that the flags are about; the only mount there is, if they name none. Raises any `OnefsError`."""
    if source is None:
        given = next((key for key, value in flags.items() if value is not None), None)
        if given is not None:
            flag = given.replace("_", "-")
            raise UsageError(f"--{flag} is a setting of the mount, which is asked.", "Leave it out, or give --source.")
        yield _mounted(place, verb)
        return
    if place is not None:
        raise UsageError("--source and --mount are two ways to say what to ask.", "Give one of them.")
    from onefs.archive.reading import reading
    from onefs.cli.progress import Shown
    from onefs.daemon.logs import VisibleFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("onefs: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    named = look_up(source)
    with ExitStack() as stack:
        with Shown(is_quiet=not sys.stderr.isatty()):
            found = stack.enter_context(reading(named.source, settings_from(flags, named.file)))
        yield Asked(found.catalogue, found.searches, found.archive.source.data_dir)


def _mounted(place: Path | None, verb: str) -> Asked:
    """A mount's tables, opened beside it."""
    from onefs.archive.searches import Searches
    from onefs.catalogue.snapshot import load_snapshot

    mount = mount_at(place, f"onefs {verb} --mount PATH")
    facts = status_of(mount)
    state_dir = Path(facts["cache"]["state"])
    tables = load_snapshot(Path(facts["tables"]["directory"]), state_dir)
    return Asked(tables, Searches(lambda: tables, state_dir), Path(facts["cache"]["directory"]), mount.mountpoint)


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
