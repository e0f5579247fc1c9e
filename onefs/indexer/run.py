"""`index`: makes cache tables of the files below a folder, on this machine or on a cluster."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onefs.catalogue.schema import TableFiles
from onefs.catalogue.tables import tables_in
from onefs.errors import SourceError, UsageError
from onefs.indexer.checks import check_folder, check_replaceable, check_tables
from onefs.indexer.hash import BYTES_PER_TASK, FILES_PER_TASK, Hashed, ToHash, hash_files
from onefs.indexer.listings import Listings
from onefs.indexer.placement import Misplaced, common_base, misplaced
from onefs.indexer.scan import Scanned, ScanOptions, Skipped, Unreadable, scan_folders
from onefs.indexer.session_folder import FACTS_BYTES, UNKNOWN
from onefs.indexer.update import update_tables
from onefs.indexer.write import eid_of, key_of, write_index
from onefs.mountinfo import onefs_mountpoints
from onefs.progress import report
from onefs.workers import LocalWorkers, Tasks, ThisProcess, Workers

MOST_NAMED = 1_000
"""How many paths that could not be read, or are misplaced, are kept to be named. All are counted."""
_ALONE_TASKS = 4
_ALONE_BYTES = 32 << 20
"""So much is done in this process: less is not worth starting workers."""
_REPORT_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How to make the tables.

    `lab` is that of sessions without one in their path. `hash_files`: each file is hashed. Not `hash_ids`: ids are the
    paths. With `replaces`, tables that are there are replaced, whoever made them; with `updates`, they are brought up
    to date. With `may_be_empty`, tables without rows are made of a folder without sessions. With `one_base`, the base
    is the `common_base` of the sessions, with `preferred_base`, and the tables leave out misplaced sessions; else it
    is the folder itself.
    """

    lab: str = ""
    hash_files: bool = False
    hash_ids: bool = True
    replaces: bool = False
    updates: bool = False
    may_be_empty: bool = False
    one_base: bool = False
    preferred_base: str = ""


@dataclass(slots=True)
class IndexResult:
    """The results. `is_new`: the tables were written; else they were up to date.

    `skipped` is the number of files and folders that are not indexed, by reason; `unreadable` names the first that
    the system did not let us read, of `n_unreadable`. Readers of the tables look for the sessions below `base`:
    `misplaced` names the first session folders that are not found there, of `n_misplaced`.
    """

    files: TableFiles
    is_new: bool = False
    n_sessions: int = 0
    n_files: int = 0
    size_bytes: int = 0
    n_hashed: int = 0
    hashed_bytes: int = 0
    skipped: Counter[Skipped] = field(default_factory=Counter)
    unreadable: list[Unreadable] = field(default_factory=list)
    n_unreadable: int = 0
    base: str = ""
    misplaced: list[Misplaced] = field(default_factory=list)
    n_misplaced: int = 0


OnSkipped = Callable[[Skipped, str], None]


def index(
    root: Path, out: Path, options: IndexOptions, workers: Workers, on_skipped: OnSkipped | None = None
) -> IndexResult:
    """Make tables in `out` of the ALF files below `root`, which may be the same folder.

    MD5s from an earlier run, however it ended, are used for files that have not changed. `on_skipped` is called with
    each file and folder that is not indexed. Raises `UsageError`, `SourceError` if there is no session,
    `TableError` if there are tables that may not be replaced, `NoRoomError`, `BusyError`, `WorkerLostError`.
    """
    root, out = Path(os.path.realpath(root)), out.absolute()
    check_folder(root, "be indexed", "Name the folder that holds the labs or subjects.")
    check_folder(out, "hold the tables", "Make that folder, or name another.")
    run = _Run(os.fspath(root), options, workers, IndexResult(tables_in(out)))
    with Listings(run.root, out) as listings:
        if options.updates:
            check_tables(out)
        elif not options.replaces:
            check_replaceable(run.result.files, (run.root, listings.former_root()))
        run.scan(listings, on_skipped)
        run.find_misplaced(listings)
        if options.hash_files:
            run.hash(listings)
        run.count(listings)
        run.check_found(run.result.n_sessions)
        run.write(listings)
    return run.result


class _Run:
    """One run of `index`."""

    def __init__(self, root: str, options: IndexOptions, workers: Workers, result: IndexResult) -> None:
        self.root = root
        self.result = result
        self._options = options
        self._workers = workers

    def scan(self, listings: Listings, on_skipped: OnSkipped | None) -> None:
        """Bring the listings up to date."""
        options = ScanOptions(on_skipped is not None, _mounts_below(self.root))
        folders = [self.root]
        closed: list[str] = []
        n_sessions, n_files, n_known_files = 0, 0, listings.n_files()
        for scanned in self._scanned(folders, options):
            n_sessions += len(scanned.listings)
            for listing in scanned.listings:
                key = key_of(listing.folder, self._options.lab)
                if self._options.lab and key.lab != self._options.lab:
                    raise UsageError(
                        f"{listing.folder} is of the lab {key.lab}, and not of {self._options.lab}.",
                        "Leave out the lab, or index that lab's folder.",
                    )
                listings.put(listing, eid_of(key))
                n_files += len(listing.facts) // FACTS_BYTES
            self.result.skipped += scanned.skipped
            if on_skipped is not None:
                for why, path in scanned.skipped_paths:
                    on_skipped(why, path)
            closed += scanned.closed
            self._cannot_read(scanned.unreadable)
            total = n_known_files if n_files <= n_known_files else None  # as many as at the last run, or more
            report(f"listing {self.root}", n_files, total, "file")
        for first in self.result.unreadable[:1]:
            if first.path == self.root:
                raise SourceError(f"{self.root} cannot be read: {first.why}.", "Mend its permissions.")
        self.check_found(n_sessions + len(closed))  # what was known stays so: its disk may not be mounted now
        listings.forget_unseen(closed)

    def find_misplaced(self, listings: Listings) -> None:
        """Find the base and the misplaced sessions; with `one_base`, leave these out of the listings."""
        options, result = self._options, self.result
        result.base = self.root
        if options.one_base:
            result.base = common_base(self.root, list(listings.folders()), options.preferred_base)
        left_out = []
        for each in misplaced(listings.folders(), result.base, options.lab):
            result.n_misplaced += 1
            if result.n_misplaced <= MOST_NAMED:
                result.misplaced.append(each)
            if options.one_base:
                left_out.append(each.folder)
        listings.leave_out(left_out)

    def _scanned(self, folders: list[str], options: ScanOptions) -> Iterator[Scanned]:
        """What is in some folders and all below them."""
        for _ in range(_ALONE_TASKS):
            if folders:
                scanned = scan_folders(folders, options)
                folders = scanned.rest
                yield scanned
        tasks: Tasks[Scanned] = Tasks(self._workers)
        while folders or tasks:
            while folders and tasks.has_room:
                share = max(1, min(len(folders) // self._workers.at_once, 64))
                given = folders[-share:]
                del folders[-share:]
                tasks.begin(scan_folders, given, options)
            for scanned in tasks.results():
                folders += scanned.rest
                yield scanned

    def _cannot_read(self, unreadable: list[Unreadable]) -> None:
        self.result.n_unreadable += len(unreadable)
        self.result.unreadable += unreadable[: MOST_NAMED - len(self.result.unreadable)]

    def check_found(self, number: int) -> None:
        """Raise `SourceError` if nothing was found where there should be something."""
        if not number and not self._options.may_be_empty:
            raise SourceError(
                f"There is no session folder below {self.root}, such as LAB/Subjects/SUBJECT/2024-01-31/001.",
                "Name the folder that holds the labs or subjects.",
            )

    def hash(self, listings: Listings) -> None:
        """Hash the files whose MD5 is not known."""
        total_bytes = listings.unhashed_bytes()
        workers = ThisProcess() if total_bytes <= _ALONE_BYTES else self._workers
        batches = _batches(_unhashed(listings))
        tasks: Tasks[list[Hashed]] = Tasks(workers)
        is_more = True
        while is_more or tasks:
            while is_more and tasks.has_room:
                batch = next(batches, None)
                if batch is None:
                    is_more = False
                else:
                    tasks.begin(hash_files, batch)
            for hashed in tasks.results(_REPORT_EVERY_S):
                self._take_hashed(hashed, listings)
            begun_bytes = workers.counted() if isinstance(workers, LocalWorkers) else 0
            done_bytes = max(self.result.hashed_bytes, min(begun_bytes, total_bytes))
            report(f"hashing {self.root}", done_bytes, total_bytes)
        listings.take_in_hashes()

    def _take_hashed(self, hashed: list[Hashed], listings: Listings) -> None:
        listings.add_hashes(hashed)
        self._cannot_read([Unreadable(each.path, each.why) for each in hashed if each.why])
        for each in hashed:
            if each.md5:
                self.result.n_hashed += 1
                self.result.hashed_bytes += int.from_bytes(each.facts[:8], "little")

    def count(self, listings: Listings) -> None:
        """Count what is listed."""
        self.result.n_sessions, self.result.n_files, self.result.size_bytes = listings.totals()

    def write(self, listings: Listings) -> None:
        """Write the tables, unless they are up to date."""
        options = self._options
        wanted = [self.root, options.lab, options.hash_ids, self.result.base]
        updated = [*wanted, "updated"]
        note = listings.note()
        if note and note in [self._note(each) for each in ((wanted, updated) if options.updates else (wanted,))]:
            return
        report("writing the tables")
        directory = self.result.files.sessions.parent
        if options.updates and check_tables(directory):
            self.result.is_new = update_tables(directory, listings, origin=self.root, lab=options.lab)
            wanted = updated
        else:
            if not options.replaces:
                check_replaceable(self.result.files, (self.root, listings.former_root()))  # hashing may take hours
            write_index(directory, listings, origin=self.root, lab=options.lab, hash_ids=options.hash_ids)
            self.result.is_new = True
        listings.set_note(self._note(wanted))

    def _note(self, wanted: list[object]) -> str:
        """A text that is the same as at the last run if the tables there are those that this run would write."""
        stats = self.result.files.stats()
        return json.dumps([wanted, stats]) if stats else ""


def _mounts_below(root: str) -> frozenset[str]:
    """The mounts of onefs at or below a folder: what they show is no part of it."""
    return frozenset(
        mountpoint for mountpoint in onefs_mountpoints() if f"{mountpoint}/".startswith(f"{root.rstrip('/')}/")
    )


def _unhashed(listings: Listings) -> Iterator[tuple[ToHash, int]]:
    """The files without an MD5, and their sizes in bytes: neighbours on the disk one after another."""
    for session in listings.sessions_as_found():
        files = session.files
        if UNKNOWN not in files.md5s:
            continue
        sizes, inodes = files.sizes, files.inodes
        for at in sorted(range(len(files.paths)), key=inodes.__getitem__):
            if files.md5_of(at) == UNKNOWN:
                yield ToHash(session.number, at, f"{session.folder}/{files.paths[at]}"), sizes[at]


def _batches(files: Iterator[tuple[ToHash, int]]) -> Iterator[list[ToHash]]:
    """The files of one task each."""
    batch: list[ToHash] = []
    batch_bytes = 0
    for file, size_bytes in files:
        if batch and (batch_bytes + size_bytes > BYTES_PER_TASK or len(batch) >= FILES_PER_TASK):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(file)
        batch_bytes += size_bytes
    if batch:
        yield batch
