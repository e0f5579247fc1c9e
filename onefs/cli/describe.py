"""`onefs describe`: descriptions of dataset types, datasets and revisions, from the database."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onefs.cli.completion import complete
from onefs.cli.mounts import mount_at, status_of
from onefs.cli.options import CommandWithSettings
from onefs.cli.printing import print_facts, say
from onefs.cli.queries import named_source, print_json, print_table, refuse_both, refuse_settings, with_archive
from onefs.cli.verb_settings import DESCRIBE
from onefs.errors import OfflineError, UsageError
from onefs.modes import Mode
from onefs.text import counted

if TYPE_CHECKING:
    from onefs.archive.descriptions import Descriptions

ALL_TYPES, ALL_REVISIONS, TYPE, DATASET, REVISION = "dataset-types", "revisions", "dataset-type", "dataset", "revision"
KINDS = (ALL_TYPES, TYPE, DATASET, ALL_REVISIONS, REVISION)
NEED_A_NAME = (TYPE, DATASET, REVISION)
FIELDS = ("name", "description", "filename_pattern", "created_by")
Record = dict[str, Any]


@click.command("describe", cls=CommandWithSettings)
@click.argument("kind", metavar="|".join(KINDS), type=click.Choice(KINDS), shell_complete=complete(*KINDS))
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--json", "as_json", is_flag=True, help="print the database's whole records as JSON, for programs")
@with_archive(DESCRIBE)
def command(kind: str, name: str | None, as_json: bool, source: str | None, place: Path | None, **flags: Any) -> None:
    """Print how the database describes a dataset type, a dataset or a revision; or list all types or revisions.

    \b
    onefs describe dataset-types                   all, with their descriptions
    onefs describe dataset-type spikes.times       one
    onefs describe dataset spikes.times.npy        the type of a file name, or of a dataset's id
    onefs describe revision 2024-05-06

    The database is that of the mount, or of --source. It is not asked in mode local: choose another mode.
    """
    if name is None and kind in NEED_A_NAME:
        raise UsageError(f"No {kind} is named.", f"Write: onefs describe {kind} NAME")
    refuse_both(source, place)
    if source is None:
        source, flags = _source_of_mount(place, flags)
    from onefs.archive.descriptions import describing

    with describing(*named_source(source, flags)) as descriptions:
        _print(kind, name, descriptions, as_json=as_json)


def _source_of_mount(place: Path | None, flags: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The source of a mount, and the settings to query it with: its cache directory and mode."""
    refuse_settings(flags)
    facts = status_of(mount_at(place, "onefs describe … --mount PATH"))
    if facts["mode"]["requested"] == Mode.LOCAL:
        raise OfflineError(
            "Descriptions come from the database, and the mount is in mode local, which does not ask it.",
            "Switch the mode: onefs mode auto; or give --source.",
        )
    return facts["source"], {**flags, "cache_dir": facts["cache"]["directory"]}


def _print(kind: str, name: str | None, descriptions: "Descriptions", *, as_json: bool) -> None:
    match kind:
        case "dataset-types" | "revisions" if name is None:
            _print_all(descriptions.all(kind), kind, as_json=as_json)
            return
        case "dataset-types" | "dataset-type":
            record = descriptions.dataset_type(name or "")
        case "revisions" | "revision":
            record = descriptions.revision(name or "")
        case _:
            record = descriptions.dataset(name or "")
    if as_json:
        print_json(record)
        return
    print_facts((field, record[field]) for field in FIELDS if record.get(field))
    if not record.get("description"):
        say("The database has no description of it.")


def _print_all(records: list[Record], kind: str, *, as_json: bool) -> None:
    if as_json:
        print_json(records)
        return
    rows = [[str(record.get(field) or "") for field in ("name", "description")] for record in records]
    if not sys.stdout.isatty():
        for name, description in rows:
            click.echo(f"{name}\t{' '.join(description.split())}".rstrip())
        return
    if rows:
        print_table(("name", "description"), rows)
    say(f"{counted(len(rows), kind.removesuffix('s').replace('-', ' '))}.")
