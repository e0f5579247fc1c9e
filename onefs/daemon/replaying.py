"""Replays: whether an archive still gives what was read, and a source of exactly those datasets."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from onefs.alf import STATE_FOLDER, TABLE_NAMES
from onefs.archive.archive import Archive
from onefs.archive.opening import opened
from onefs.archive.questions import dataset_told
from onefs.cache.atomic import cache_errors
from onefs.catalogue.editions import without_odd_hash
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.tables import write_tables
from onefs.daemon.fates import Report, findings
from onefs.daemon.recorded import Recorded, described
from onefs.errors import (
    AccessRefusedError,
    OfflineError,
    OnefsError,
    TableError,
    UnreachableError,
    UsageError,
)
from onefs.modes import ALLOWED, Mode
from onefs.settings import Settings
from onefs.sources.source import Source, prepare
from onefs.sources.tables_at_hand import Place, are_saved
from onefs.table_times import table_time_text
from onefs.text import counted

FOLDER = "replay"
TOLD_FEW = 3
_log = logging.getLogger(__name__)


def settings_of_replay(settings: Settings, view: str = "full") -> Settings:
    """The settings that hold for a replay: all of it is shown, bytes are held to the manifest, and nobody is told.

    What is set for other mounts does not count. That an archive's newer bytes are not those of a manifest is no fault
    of the archive's.
    """
    verify = settings.verify if settings.verify in ("auto", "strict") else "auto"
    return replace(
        settings,
        view=view,
        as_of="",
        qc="CRITICAL",
        ignore_qc_not_set=False,
        verify=verify,
        report_mismatch=False,
    )


def check(recorded: Recorded, settings: Settings) -> Report:
    """What became of each dataset, by the newest tables that can be had. Raises any `OnefsError`."""
    with opened(recorded.source, settings) as source:
        prepare(source)
        archive = Archive(source, settings)
        try:
            warning = _renew(archive)
            found = findings(recorded, archive.tables, lambda datasets: _ask(archive, datasets))
            return Report(found, archive.tables.metadata.created, warning)
        finally:
            archive.close()


def _renew(archive: Archive) -> str:
    """Have the newest tables; why that could not be, or ""."""
    source = archive.source
    if source.tables_url is None and source.database is None:
        return ""
    if are_saved(Place(source.tables_dir, source.state_dir).of_tag(source.tag)):
        return (
            "Results were saved into these tables, so newer ones were not fetched in their place. "
            "Mount the source and give onefs tables reset to have the server's, without what was saved."
        )
    try:
        archive.refresher.refresh()
    except OnefsError as error:
        return str(error)
    return ""


def _ask(archive: Archive, datasets: Sequence[Dataset]) -> dict[UUID, Dataset]:
    """What a database tells of datasets that its tables do not list; nothing without one."""
    client = archive.client
    if client is None:
        return {}
    if archive.refresher.state.requested is Mode.LOCAL:
        raise OfflineError("Mode local asks no database.", "Give --mode auto.")
    wanted = {dataset.id: dataset for dataset in datasets}
    with client.no_cache():
        told = client.datasets_of_ids(wanted, existing_only=False)
    return {each.id: without_odd_hash(dataset_told(each, each.eid, wanted[each.id].session_path)) for each in told}


def source_of_replay(recorded: Recorded, source: Source, settings: Settings, tell: Callable[[str], None]) -> Source:
    """A source of exactly the recorded datasets, whose bytes come from where those of `source` do.

    Its tables stay as they are once made, in the state directory. `tell` is told of datasets that the archive does not
    list any more. Raises `UsageError`, and what is wrong with the disk.
    """
    if ALLOWED[source.mode].needs_database:
        raise UsageError(
            f"A replay has the tables of its manifest, so it cannot be in mode {source.mode}.",
            "Give --mode auto, or --mode local.",
        )
    tables = _tables_at_hand(source, settings)
    if tables is not None:
        _tell_unlisted(recorded.datasets, tables, tell)
    place = source.state_dir / FOLDER / recorded.digest
    if not _is_made(place):
        _make_tables(recorded, place, tables, source.name)
    return replace(source, tables_dir=place, tables_url=None, tag="", is_frozen=True)


def _tables_at_hand(source: Source, settings: Settings) -> Snapshot | None:
    """The source's tables, or None if they cannot be had: they tell little that the manifest does not."""
    try:
        archive = Archive(source, settings)
    except (OfflineError, UnreachableError, AccessRefusedError, TableError) as error:
        _log.warning("The replay is made without the tables of %s: %s", source.name, error)
        return None
    archive.close()
    return archive.tables


def _is_made(place: Path) -> bool:
    return all((place / name).is_file() for name in TABLE_NAMES)


def _make_tables(recorded: Recorded, place: Path, tables: Snapshot | None, origin: str) -> None:
    """Make the tables of a replay, both or none."""
    sessions, datasets = described(recorded, tables)
    fresh = place.with_name(f".{place.name}.{uuid4().hex}")
    with cache_errors("the replay's tables", place):
        fresh.mkdir(parents=True)
    try:
        write_tables(fresh, sessions, datasets, created=table_time_text(), origin=origin)
        _check_all_stand(recorded, fresh)
        with cache_errors("the replay's tables", place):
            _put(fresh, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _put(fresh: Path, place: Path) -> None:
    """Give the tables their place, unless another process has just made the same."""
    if place.exists() and not _is_made(place):
        shutil.rmtree(place)
    try:
        fresh.rename(place)
    except OSError:
        if not _is_made(place):
            raise


def _check_all_stand(recorded: Recorded, directory: Path) -> None:
    """Raise `UsageError` if some of the datasets cannot stand beside the others in one tree."""
    made = load_snapshot(directory, directory / STATE_FOLDER)
    for reason, left in made.left_out.items():
        raise UsageError(
            f"The manifest {recorded.manifest} cannot be replayed whole: {left.count} × {reason}, such as "
            f"{', '.join(left.examples[:TOLD_FEW])}.",
            "Take those lines out.",
        )


def _tell_unlisted(datasets: Sequence[Dataset], tables: Snapshot, tell: Callable[[str], None]) -> None:
    unlisted = [dataset.path for dataset in datasets if not _is_listed(dataset, tables)]
    if unlisted:
        few = ", ".join(unlisted[:TOLD_FEW]) + (", …" if len(unlisted) > TOLD_FEW else "")
        tell(
            f"Not in the tables of {tables.metadata.created} any more: {len(unlisted)} of "
            f"{counted(len(datasets), 'dataset')}. Their files are asked for all the same: {few}"
        )


def _is_listed(dataset: Dataset, tables: Snapshot) -> bool:
    known = tables.dataset_of_id(dataset.id)
    return known is not None and known.exists
