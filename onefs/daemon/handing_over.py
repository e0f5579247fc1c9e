"""Making a folder that holds exactly the datasets of a manifest, with tables of its own, to hand to others."""

from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from onefs.alf import STATE_FOLDER
from onefs.archive.archive import Archive, told_of_a_replay
from onefs.archive.opening import opened
from onefs.cache.atomic import read_json, write_json
from onefs.cache.layout import CacheLayout
from onefs.cache.sharing import make_state_folder, state_folder
from onefs.cache.store import ContentStore
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.tables import write_tables
from onefs.daemon.recorded import Recorded
from onefs.daemon.replaying import source_of_replay
from onefs.errors import BusyError, CacheDamagedError, NoRoomError, OnefsError, UsageError
from onefs.fetch.access import Content
from onefs.modes import ALLOWED
from onefs.settings import Settings
from onefs.sources.source import Source, prepare
from onefs.transports.base import Location

NOTE = "replay.json"
AT_ONCE = 16
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a folder has come."""

    files: int
    all_files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A dataset that could not be had, and why."""

    path: str
    error: OnefsError


def hand_over(
    recorded: Recorded,
    settings: Settings,
    folder: Path,
    on_progress: Callable[[Progress], None],
    tell: Callable[[str], None],
) -> list[Missing]:
    """Fill a folder with what was recorded, and give what could not be had; it can be called again for the rest.

    The tables come last; they say of each dataset whether it is there. Raises `UsageError` for a folder that holds
    other things, `NoRoomError`, and what is wrong with the source. Then what is there already stays.
    """
    folder = folder.absolute()
    with opened(recorded.source, settings) as source:
        _check_free(folder, recorded, source)
        prepare(source)
        frozen = source_of_replay(recorded, source, settings, tell)
        if not ALLOWED[frozen.mode].fetching:
            frozen = replace(frozen, servers=(), database=None)
        _claim(folder, recorded)
        archive = Archive(frozen, settings)
        try:
            with _content(archive, folder, settings) as content:
                missing = _fetch_all(content, recorded.datasets, on_progress)
                content.flush()
            _write_tables(folder, archive.tables, {each.path for each in missing}, source.name)
        finally:
            archive.close()
    return missing


def _check_free(folder: Path, recorded: Recorded, source: Source) -> None:
    """Raise `UsageError` unless a folder is empty, or holds what an earlier replay of the same manifest put there."""
    note = state_folder(folder) / NOTE
    if folder.resolve() in (source.data_dir.resolve(), source.tables_dir.resolve()):
        raise UsageError(f"{folder} is where the archive's own files are kept.", "Give another folder.")
    try:
        present = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    except NotADirectoryError:
        raise UsageError(f"{folder} is a file.", "Give a folder that is empty, or a new one.") from None
    except OSError as error:
        raise CacheDamagedError(f"{folder} cannot be looked into: {error.strerror}.", "Give another folder.") from error
    if present - {STATE_FOLDER} and read_json(note).get("digest") != recorded.digest:
        raise UsageError(
            f"{folder} holds other things than a replay of {recorded.manifest}.",
            "Give a folder that is empty, or a new one.",
        )


def _claim(folder: Path, recorded: Recorded) -> None:
    """Note what a folder is to hold."""
    note = state_folder(folder) / NOTE
    try:
        make_state_folder(folder)
        write_json(note, {"digest": recorded.digest, "source": recorded.source})
    except OSError as error:
        raise CacheDamagedError(f"{folder} cannot be written: {error.strerror}.", "Give another folder.") from error


@contextmanager
def _content(archive: Archive, folder: Path, settings: Settings) -> Iterator[Content]:
    """The archive's files in the folder; those that its cache has already are taken from there."""
    cache = CacheLayout(archive.source.data_dir, archive.source.state_dir, is_cache=archive.source.is_cache)

    def near(dataset: Dataset) -> Iterator[Location]:
        for path, _ in cache.find_copies(dataset):
            yield Location(Path(path).as_uri())

    whole = replace(settings, whole_file_max=1 << 62)
    content = archive.content_in(ContentStore(folder, state_folder(folder)), whole, near)
    try:
        yield content
    finally:
        content.close()
        cache.close()


def _fetch_all(content: Content, datasets: Sequence[Dataset], on_progress: Callable[[Progress], None]) -> list[Missing]:
    """Have every file in the folder, verified; those that could not be had. Raises `NoRoomError` at the first."""
    content.retry(None)
    missing: dict[str, OnefsError] = {}
    told_bytes = done_bytes = done = 0
    with ThreadPoolExecutor(AT_ONCE, "onefs-hand-over") as pool:
        left = {pool.submit(_fetch, content, dataset): dataset for dataset in datasets}
        try:
            while left:
                for future in wait(left, LOOK_S, FIRST_COMPLETED).done:
                    dataset = left.pop(future)
                    error = _error_of(future)
                    if error is not None:
                        missing[dataset.path] = told_of_a_replay(error)
                    done += 1
                    done_bytes += future.result() if error is None else 0
                on_the_way = sum(transfer.done_bytes for transfer in content.transfers())
                told_bytes = max(told_bytes, done_bytes + on_the_way)  # one that has just ended is in neither
                on_progress(Progress(done, len(datasets), told_bytes))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            content.close()  # those that wait for a server end now
            raise
    return [Missing(dataset.path, missing[dataset.path]) for dataset in datasets if dataset.path in missing]


def _fetch(content: Content, dataset: Dataset) -> int:
    """Have one file whole and verified; its size in bytes.

    What is there from an earlier time is hashed anew: a disk or a program may have spoilt it in a way that no time of
    change tells of, and others are to rely on it.
    """
    with suppress(BusyError):  # one that changed just now: opening it waits until it is settled
        content.keeping.verify(dataset, lambda size_bytes: None)  # noqa: ARG005
    file = content.open(dataset, may_fetch=True)
    try:
        file.wait_whole()
        return file.size_bytes or 0
    finally:
        file.close()


def _error_of(future: "Future[int]") -> OnefsError | None:
    """Why a file could not be had; None if it was. Raises what stands in the way of all files."""
    error = future.exception()
    if isinstance(error, OnefsError) and not isinstance(error, NoRoomError | CacheDamagedError):
        return error
    if error is not None:
        raise error
    return None


def _write_tables(folder: Path, tables: Snapshot, missing: Set[str], origin: str) -> None:
    """The folder's own tables, in which datasets that are missing do not exist."""
    rows = range(tables.n_sessions + (tables.aggregates is not None))
    sessions: list[Session] = [tables.session(row) for row in range(tables.n_sessions)]
    datasets: list[Dataset] = []
    for row in rows:
        found = tables.datasets(row)
        datasets += [found.dataset(at) for at in range(len(found))]
    shown = [replace(dataset, exists=dataset.path not in missing) for dataset in datasets]
    write_tables(folder, sessions, shown, created=tables.metadata.created, origin=origin)
