"""The cache tables that are at hand: whether they are whole, belong together, and what they say of themselves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from onefs.alf import STATE_FOLDER, TABLE_NAMES, is_safe_part
from onefs.catalogue.index import has_index
from onefs.catalogue.snapshot import Snapshot, load_indexed_snapshot, load_snapshot
from onefs.catalogue.tables import TableMetadata, find_tables, is_dated, read_metadata, tables_in
from onefs.errors import DamagedTableError, NewerTablesError, TableError, UsageError
from onefs.sources import table_digests
from onefs.table_times import table_time

UNDERSTOOD_API = (3, 6)
"""The newest ONE whose tables onefs was tried with; those that ask for a newer one are used with a warning."""

MOVE_AWAY = "Move them away to have the server's fetched, or give another --cache-dir."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pair of tables is, and its state (lock, index). `tag`: what they are restricted to, "" if to nothing."""

    tables_dir: Path
    state_dir: Path
    tag: str = ""

    def of_tag(self, tag: str) -> "Place":
        """Where the tables restricted to a tag are: apart from all others. Raises `UsageError` for a hostile name."""
        if not tag:
            return Place(self.tables_dir, self.state_dir)
        if not is_safe_part(tag) or tag.startswith(".") or tag in TABLE_NAMES or not tag.isprintable():
            raise UsageError(f"{tag!r} is no name of a tag.", "Give a tag as the database lists it.")
        directory = self.tables_dir / tag
        return Place(directory, directory / STATE_FOLDER, tag)


@dataclass(frozen=True, slots=True)
class AtHand:
    """The tables that fetched ones replace: their metadata, None if there are no tables, or their damage."""

    metadata: TableMetadata | None = None
    damage: DamagedTableError | None = None


def load_tables(place: Place) -> Snapshot:
    """The tables in a place. Raises `TableError` if they cannot be used, or are other than those of the place's tag."""
    return _of_its_tag(load_snapshot(place.tables_dir, place.state_dir), place)


def load_indexed_tables(place: Place) -> Snapshot | None:
    """The tables in a place as `load_tables` gives them, if `is_indexed`; else None."""
    snapshot = load_indexed_snapshot(place.tables_dir, place.state_dir)
    return None if snapshot is None else _of_its_tag(snapshot, place)


def _of_its_tag(snapshot: Snapshot, place: Place) -> Snapshot:
    if place.tag and place.tag not in snapshot.metadata.tags:
        raise TableError(
            f"The cache tables in {place.tables_dir} are not restricted to the tag {place.tag}.", MOVE_AWAY
        )
    return snapshot


def check_loadable(directory: Path) -> None:
    """Raise `TableError` unless a directory holds a pair of tables that can be used."""
    files = find_tables(directory)
    found = [read_metadata(file) for file in (files.sessions, files.datasets)]
    _check_pair(found, directory, "Save or export them again.")


def usable_tables(place: Place) -> tuple[str, ...]:
    """The names of the two tables that are in a place, but for any without a `date_created`, which is logged.

    Raises `TableError` for one that cannot be read.
    """
    if is_indexed(place):
        return TABLE_NAMES
    there = [name for name in TABLE_NAMES if (place.tables_dir / name).exists()]
    return tuple(name for name in there if is_dated(place.tables_dir / name))


def are_at_hand(place: Place) -> bool:
    """Whether both tables are there and of one edition. Raises `TableError` if what is there does not fit."""
    if ready_folder(place).exists() or not _is_any_there(place):
        return False
    try:
        files = find_tables(place.tables_dir)
        if is_indexed(place):
            return True
        found = [read_metadata(file) for file in (files.sessions, files.datasets)]
    except DamagedTableError:
        raise
    except TableError as error:
        there = " and ".join(name for name in TABLE_NAMES if (place.tables_dir / name).exists())
        remedy = f"Move {there} away to have the server's tables fetched, or give another --cache-dir."
        raise TableError(error.reason, remedy) from error
    _check_pair(found, place.tables_dir, MOVE_AWAY)
    return True


def are_saved(place: Place) -> bool:
    """Whether the tables at hand hold results that were saved into them, by onefs or by ONE."""
    metadata = _metadata(place)
    return metadata is not None and "date_modified" in metadata.raw


def what_is_at_hand(place: Place) -> AtHand:
    """The tables that fetched ones are to replace. Raises `TableError` if they do not fit."""
    damage = damage_of(place)
    return AtHand(damage=damage) if damage is not None else AtHand(_metadata(place))


def damage_of(place: Place) -> DamagedTableError | None:
    """The damage of the tables at hand, None if none is found without reading all their bytes."""
    try:
        _metadata(place)
    except DamagedTableError as error:
        return error
    except TableError:
        return None
    return None


def is_indexed(place: Place) -> bool:
    """Whether there is an index of the tables at hand, told by their stat, without reading them."""
    return has_index(tables_in(place.tables_dir), place.state_dir)


def check_bytes(place: Place) -> None:
    """Raise `DamagedTableError` if fetched tables are not what they were. Not read again if they have an index."""
    if _is_any_there(place) and not is_indexed(place):
        table_digests.check_digests(place.tables_dir, place.state_dir / table_digests.NAME)


def minute_of(created: str) -> datetime:
    """When tables were made, as they say themselves; long ago if that cannot be understood."""
    return table_time(created) or datetime(1970, 1, 1, tzinfo=UTC)


def version_warning(metadata: TableMetadata) -> str:
    """A warning if tables want a newer reader than this, though they can be read; "" if not."""
    if not is_for_newer(metadata.min_api_version):
        return ""
    return f"The cache tables {_for_newer(metadata.min_api_version)}: something in them may not be shown. Update onefs."


def check_understood(what: str, min_api_version: str) -> None:
    """Raise `NewerTablesError` if tables want a newer reader than this; `what` is what to call them."""
    if is_for_newer(min_api_version):
        raise NewerTablesError(f"{what} {_for_newer(min_api_version)}, so they are not taken.")


def _for_newer(min_api_version: str) -> str:
    ours = ".".join(map(str, UNDERSTOOD_API))
    return f"are for ONE {min_api_version} and newer, this onefs knows those for {ours}"


def is_for_newer(wanted: str) -> bool:
    """Whether a version of ONE is newer than those whose tables are known."""
    found = re.match(r"v?(\d+)(?:\.(\d+))?", wanted)
    return bool(found and (int(found[1]), int(found[2] or 0)) > UNDERSTOOD_API)


def ready_folder(place: Place) -> Path:
    """Where fetched tables stand, checked and synced, until both have their names.

    So a pair that is half replaced is known from this folder, and completed from it.
    """
    return place.state_dir / "tables.ready"


def _metadata(place: Place) -> TableMetadata | None:
    """The metadata of the tables at hand, None if there are none; from their index if they have one."""
    if not _is_any_there(place):
        return None
    check_bytes(place)
    files = find_tables(place.tables_dir)
    if is_indexed(place):
        return load_snapshot(place.tables_dir, place.state_dir).metadata
    return [read_metadata(file) for file in (files.datasets, files.sessions)][-1]


def _check_pair(found: Sequence[TableMetadata], directory: Path, remedy: str) -> None:
    sessions, datasets = (metadata.created for metadata in found)
    if sessions != datasets:
        raise TableError(
            f"The cache tables in {directory} do not belong together: created {sessions} and {datasets}.", remedy
        )


def _is_any_there(place: Place) -> bool:
    return any((place.tables_dir / table).exists() for table in TABLE_NAMES)
