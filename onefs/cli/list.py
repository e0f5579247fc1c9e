"""`onefs list`: the datasets that the tree shows, or their collections, revisions, subjects and labs."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from onefs.catalogue.filters import Filter
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.shown_datasets import collections_of, revisions_of
from onefs.cli.completion import TERMS, complete
from onefs.cli.options import CommandWithSettings
from onefs.cli.printing import say
from onefs.cli.queries import (
    Lists,
    Queries,
    open_queries,
    print_json_list,
    print_paths,
    print_table,
    with_archive,
    with_output,
)
from onefs.cli.verb_settings import LIST
from onefs.errors import UsageError
from onefs.text import counted

KINDS = ("datasets", "collections", "revisions", "subjects", "labs", "aggregates")
OF_DATASETS = ("datasets", "collections", "revisions", "aggregates")
Entry = tuple[str, Dataset]


@click.command("list", cls=CommandWithSettings)
@click.argument("kind", metavar="|".join(KINDS), type=click.Choice(KINDS), shell_complete=complete(*KINDS))
@click.argument("words", metavar="[TERM=VALUE…] [SESSION…]", nargs=-1, shell_complete=complete(*TERMS))
@click.option("--filename", multiple=True, metavar="PATTERN", help="file name, or path in the session")
@click.option("--collection", multiple=True, metavar="PATTERN", help="collection; '' is the session's own folder")
@click.option("--revision", multiple=True, metavar="PATTERN", help="revision; '' is none")
@click.option("--default-only", is_flag=True, help="only the default edition of each file")
@with_output
@with_archive(LIST)
def command(
    kind: str,
    words: tuple[str, ...],
    filename: tuple[str, ...],
    collection: tuple[str, ...],
    revision: tuple[str, ...],
    default_only: bool,
    is_null: bool,
    as_paths: bool,
    as_json: bool,
    source: str | None,
    place: Path | None,
    **flags: Any,
) -> None:
    """List what the tree shows: of all sessions, of those that meet every TERM, or of each SESSION given.

    Terms are those of onefs search. SESSION is an eid, a reference such as 2020-07-01_1_KS014, or a path.

    PATTERN is a shell pattern: * ? [ab]. In a file name * does not match a /, in a collection it does: alf* is alf
    and all below. If an option is given several times, any of its patterns may match.

    \b
    onefs list datasets subject=KS014 --filename '*spikes*' --default-only | onefs fetch --from -
    onefs list collections 2020-07-01_1_KS014

    On a terminal datasets are shown as a table, in a pipe as one path a line. Collections, revisions, subjects and labs
    are printed one a line; the session's own folder and no revision have no name, so only --json prints them, as "".
    """
    filtered = Filter(filename or None, collection or None, revision or None)
    _check(kind, words, is_filtered=filtered != Filter() or default_only)
    with open_queries(source, place, flags, "list", own=("qc", "ignore_qc_not_set")) as archive:
        lists = archive.lists(filtered, default_only=default_only)
        sessions = _sessions(archive, words)
        if kind not in ("datasets", "aggregates"):
            _print_names(_names(kind, lists, sessions), kind, as_json=as_json, is_null=is_null)
        elif kind == "datasets" and not as_json and not sys.stdout.isatty():
            _write(lists.blocks(sessions, b"\0" if is_null else b"\n"))
        else:
            found = lists.datasets(sessions) if kind == "datasets" else lists.aggregates()
            is_plain = as_paths or is_null or not sys.stdout.isatty()
            _print_datasets(found, as_json=as_json, is_plain=is_plain, is_null=is_null)


def _check(kind: str, words: Sequence[str], *, is_filtered: bool) -> None:
    if kind == "aggregates" and words:
        raise UsageError(
            f"Aggregates belong to no session, and {words[0]} chooses sessions.",
            "Leave it out, or filter: --filename, --collection.",
        )
    if kind not in OF_DATASETS and is_filtered:
        raise UsageError(
            f"--filename, --collection, --revision and --default-only filter datasets, and {kind} are listed.",
            "Leave them out, or give a term: dataset=NAME.",
        )


def _sessions(archive: Queries, words: Sequence[str]) -> list[Session] | None:
    """The sessions that meet the terms and are named; None for all."""
    if not words:
        return None
    terms = [word for word in words if "=" in word]
    named = {each.eid: each for word in words if "=" not in word for each in archive.named(word)}
    if not terms:
        return list(named.values())
    found = archive.search(terms)
    return [each for each in found if each.eid in named] if len(terms) < len(words) else found


def _names(kind: str, lists: Lists, sessions: list[Session] | None) -> list[str]:
    if kind in OF_DATASETS:
        of_paths = collections_of if kind == "collections" else revisions_of
        return of_paths(lists.rel_paths(sessions))
    if sessions is None:
        labs, subjects = lists.names()
    else:
        labs, subjects = {each.lab for each in sessions}, {each.subject for each in sessions}
    return sorted(labs if kind == "labs" else subjects)


def _write(blocks: Iterable[bytes | memoryview]) -> None:
    """Write whole blocks to standard output, past Python's buffers."""
    sys.stdout.flush()
    number = sys.stdout.fileno()
    for block in blocks:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(number, rest) :]


def _print_datasets(found: Iterator[Entry], *, as_json: bool, is_plain: bool, is_null: bool) -> None:
    if as_json:
        print_json_list(_facts(path, dataset) for path, dataset in found)
    elif is_plain:
        print_paths((path for path, _ in found), is_null=is_null)
    else:
        rows = [_row(path, dataset) for path, dataset in found]
        if rows:
            print_table(("size", "qc", "default", "path"), rows)
        say(f"{counted(len(rows), 'dataset')}.")


def _row(path: str, dataset: Dataset) -> tuple[object, ...]:
    size = "?" if dataset.size_bytes is None else dataset.size_bytes
    default = "" if dataset.default_revision is None else "yes" if dataset.default_revision else "no"
    return size, dataset.qc.name, default, path


def _facts(path: str, dataset: Dataset) -> dict[str, object]:
    return {
        "path": path,
        "id": str(dataset.id),
        "eid": None if dataset.eid is None else str(dataset.eid),
        "rel_path": dataset.rel_path,
        "size": dataset.size_bytes,
        "hash": dataset.md5,
        "qc": dataset.qc.name,
        "revision": dataset.revision,
        "default_revision": dataset.default_revision,
    }


def _print_names(names: list[str], kind: str, *, as_json: bool, is_null: bool) -> None:
    if as_json:
        print_json_list(names)
        return
    print_paths((name for name in names if name), is_null=is_null)
    if not names and sys.stdout.isatty():
        say(f"There are no {kind}.")
