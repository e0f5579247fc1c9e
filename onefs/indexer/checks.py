"""Checks before indexing: that the folders are there, and that tables may be replaced or brought up to date."""

import stat
from pathlib import Path

from onefs.catalogue.schema import TableFiles
from onefs.catalogue.tables import CREATOR, creator_of, read_metadata, tables_in
from onefs.errors import TableError, UsageError


def check_folder(folder: Path, purpose: str, remedy: str) -> None:
    """Raise `UsageError` if a path is not that of a folder."""
    try:
        if stat.S_ISDIR(folder.stat().st_mode):
            return
        why = "it is not a folder"
    except OSError as error:
        why = error.strerror or str(error)
    raise UsageError(f"{folder} cannot {purpose}: {why}.", remedy)


def check_replaceable(files: TableFiles, roots: tuple[str, str]) -> None:
    """Raise `TableError` unless the tables there, if any, were made from one of `roots` and not changed since.

    `roots` are the paths of the folder now and when its tables were written.
    """
    for file in (files.sessions, files.datasets):
        if not file.exists():
            continue
        try:
            metadata = read_metadata(file)
        except TableError as error:
            raise TableError(
                error.reason, f"Remove {file}, or give --out DIR to have the new tables elsewhere."
            ) from error
        if metadata.origin not in roots:
            why = f"is of {metadata.origin or 'an unknown origin'}, not of {roots[0]}"
        elif set(metadata.raw) != {"date_created", "origin"} or creator_of(file) != CREATOR:
            why = f"is not as indexing {roots[0]} made it"
        else:
            continue
        raise TableError(
            f"The table {file} {why}: it may hold more than can be read from the files, so it is kept.",
            "Give --update to bring it up to date, or --out DIR to have the new tables elsewhere.",
        )


def check_tables(directory: Path) -> bool:
    """Whether there are tables to be brought up to date. Raises `TableError` if they cannot be."""
    files = tables_in(directory)
    there = [file for file in (files.sessions, files.datasets) if file.exists()]
    for file in there:
        read_metadata(file)
    if len(there) == 1:
        missing = files.datasets if there == [files.sessions] else files.sessions
        raise TableError(
            f"There is {there[0]}, but no {missing.name} beside it, so it cannot be brought up to date.",
            f"Put {missing.name} back, or remove {there[0].name}: then both are made anew.",
        )
    return bool(there)
