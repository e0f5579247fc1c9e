"""`ContentStore`, the cache directory: adding files to it, stamping, evicting and quarantining them."""

import errno
import functools
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from math import inf
from pathlib import Path
from uuid import UUID

from onefs.cache.atomic import cache_errors, make_folder, write_json
from onefs.cache.beneath import remove_file_in
from onefs.cache.beside import View
from onefs.cache.evict import AT_ONCE, Evictor
from onefs.cache.eviction import footprint
from onefs.cache.labs import LabUsage
from onefs.cache.layout import Copy, Places, open_at
from onefs.cache.ledger import Ledger
from onefs.cache.locks import DatasetLocks, StoppedError
from onefs.cache.partial import Partial
from onefs.cache.quota import Limits, Room, Usage
from onefs.cache.renaming import part_from_others
from onefs.cache.shares import Shares
from onefs.cache.sparse import SparseFile
from onefs.cache.state import State
from onefs.cache.verify import Signature, Stamp, Verdict, Verify, trusted, wanted
from onefs.catalogue.records import Dataset
from onefs.errors import BusyError, KeptError

CLOSING_S = 5.0
COMMIT_TRIES = 3


class ContentStore(Places):
    """A cache directory laid out as ONE's, and the state beside it. Safe to use from several threads.

    With `is_cache` false, `data_dir` is a local archive: its files are read in place and never touched. With
    `may_displace` false, it is fetched into, but wrong files that others put there are not moved out of the way.
    """

    def __init__(
        self,
        data_dir: Path,
        state_dir: Path,
        *,
        is_cache: bool = True,
        may_displace: bool = True,
        limits: Limits | None = None,
        uuid_filenames: bool = False,
    ) -> None:
        super().__init__(data_dir, state_dir, uuid_filenames=uuid_filenames)
        self.is_cache = is_cache
        self.may_displace = may_displace
        self._locks = DatasetLocks(state_dir / "locks")
        room = state_dir / "room"
        self.state = State(state_dir, data_dir)
        partials = functools.partial(self.beside_data, "partial")
        self._evictor = Evictor(data_dir, self.state, partials, self._locks)
        ledger, shares = Ledger(room, self._locks.hold), Shares(room / "daemons", self._sees_all_marks)
        self.room = Room(limits or Limits(), data_dir, ledger, shares, self._evictor, self._locks.hold)

    def find_copy(self, dataset: Dataset) -> tuple[str, os.stat_result] | None:
        """Path and status of the dataset's file in the cache, verified or not; None if there is none.

        Of two under different names the stamped one, as that is served.
        """
        found = self.find_copies(dataset)
        if len(found) > 1:
            stamp = self.state.stamp(dataset.id)
            if stamp is not None and stamp.signature.edition == Signature.of(found[1][1]).edition:
                return found[1]
        return found[0] if found else None

    def open_copy(self, dataset: Dataset) -> Copy | None:
        """The same file, opened. Raises what is wrong with the cache."""
        found = self.find_copy(dataset)
        return open_at(dataset, found[0] if found is not None else self.path(dataset))

    def vouch(self, dataset: Dataset, copy: Copy, md5: str, accepted: str = "", source: str = "") -> None:
        """Stamp a copy as verified (or, with `accepted`, as served though it differs)."""
        self.state.put(dataset, Stamp(copy.signature, md5, accepted, source))

    def find_trusted(self, dataset: Dataset, policy: Verify) -> tuple[str, Verdict] | None:
        """Path of a copy that may be read without hashing it, and what is known of it; None if there is none."""
        stamp = self.state.stamp(dataset.id)
        for path, status in self.each_copy(dataset):
            verdict = trusted(dataset, Signature.of(status), stamp, policy)
            if verdict is not None:
                return path, verdict
        return None

    def lock(self, dataset_id: UUID, stop: threading.Event, longest_s: float = inf) -> AbstractContextManager[None]:
        """Hold a dataset against other processes. Raises OSError, StoppedError, HeldError."""
        return self._locks.hold(dataset_id, stop, longest_s)

    def begin(self, dataset: Dataset, stop: threading.Event) -> Partial:
        """Begin to store a dataset, or go on where an earlier try ended."""
        with cache_errors(dataset.path, self._root):
            folder = self.partials()
            if self._locks.are_leased:
                part_from_others(folder / str(dataset.id))
            partial = Partial(folder, dataset, stop, functools.partial(self.room.reserve, dataset.id))
            try:
                partial.make_room(dataset.size_bytes or 0)
            except BaseException:
                partial.close()
                raise
            return partial

    def begin_blocks(self, dataset: Dataset, block_bytes: int) -> SparseFile:
        """Begin to store a large dataset block by block, or go on with the blocks that are there. Raises OSError."""
        return SparseFile(self.partials(), dataset, dataset.size_bytes or 0, block_bytes, self.room)

    def view_blocks(self, dataset: Dataset) -> View:
        """What another process has of a large dataset that it fetches. Raises OSError."""
        return View(self.beside_data("partial"), dataset, sees_blocks=self.is_local_disk)

    def commit(self, dataset: Dataset, partial: Partial | SparseFile) -> Copy:
        """Give a checked file its name in the cache, and return it opened."""
        path = self.path(dataset)
        with cache_errors(dataset.path, path):
            with suppress(FileNotFoundError):
                self.state.expect(dataset, Stamp(Signature.of(partial.path.stat()), "", source=partial.source))
            try:
                descriptor = self._named(Path(path), partial)
            except OSError:
                self.state.drop(dataset.id)
                raise
            if isinstance(partial, SparseFile):
                self.room.reserve(dataset.id, 0).end(0, is_file=True)  # its bytes count since they came
            signature = Signature.of(os.fstat(descriptor))
            self._evictor.labs.added(dataset, footprint(signature.size_bytes))
            return Copy(descriptor, path, signature)

    @staticmethod
    def _named(target: Path, partial: Partial | SparseFile) -> int:
        for _ in range(COMMIT_TRIES - 1):
            with suppress(FileNotFoundError):  # the folder is not there yet, or somebody removed it since it was made
                return partial.move_to(target)
            make_folder(target.parent)
        return partial.move_to(target)

    def put_away(self, dataset: Dataset, copy: Copy) -> bool:
        """Move a wrong file into quarantine; False if another stands there by now than the one that was judged."""
        return self._take_away(dataset, copy, lambda: self._to_quarantine(dataset, Path(copy.path)))

    def remove(self, dataset: Dataset, copy: Copy) -> bool:
        """Delete a file that another takes the place of; False if it is no longer the one that was judged."""
        return self._take_away(dataset, copy, Path(copy.path).unlink)

    def _take_away(self, dataset: Dataset, copy: Copy, take: Callable[[], object]) -> bool:
        with cache_errors(dataset.path, copy.path), suppress(FileNotFoundError):
            if Signature.of(os.stat(copy.path)) == copy.signature:  # noqa: PTH116
                stamp = self.state.reload(dataset.id)
                others = [
                    Signature.of(status).edition for path, status in self.find_copies(dataset) if path != copy.path
                ]
                if stamp is None or stamp.signature.edition not in others:
                    self.state.drop(dataset.id)
                take()
                if stamp is not None and stamp.source and stamp.signature.edition == copy.signature.edition:
                    size_bytes = footprint(copy.signature.size_bytes)
                    self.room.give_back(size_bytes)
                    self._evictor.labs.removed(dataset, size_bytes)
                return True
        return False

    def used(self, dataset: Dataset) -> None:
        """Somebody opens the dataset: remembered at once, and on disk after a while."""
        if self.is_cache:
            self.state.use(dataset.id)

    def pin(self, dataset: Dataset) -> None:
        """Keep a dataset in the cache, once it is there. Raises CacheDamagedError."""
        self.state.pin(dataset.id)

    def unpin(self, dataset: Dataset) -> None:
        """Let it be evicted again. Raises CacheDamagedError."""
        self.state.unpin(dataset.id)
        self.room.tell()

    def is_pinned(self, dataset_id: UUID) -> bool:
        """Whether it is pinned, by this or another daemon."""
        return self.state.is_pinned(dataset_id)

    def pinned(self) -> set[str]:
        """The ids of all that are pinned, as text."""
        return self.state.pinned()

    def evict(self, dataset: Dataset) -> int:
        """Remove what onefs fetched of a dataset; bytes that came free, 0 if nothing was there.

        Raises KeptError, or BusyError if it is being fetched.
        """
        if self.is_pinned(dataset.id):
            raise KeptError(f"{dataset.path} is pinned.", "Unpin it first (onefs unpin).")
        found = self.find_copy(dataset)
        try:
            with cache_errors(dataset.path, self.state_dir), self._locks.hold(dataset.id, AT_ONCE):
                freed_bytes = self._evictor.drop_parts(dataset.id)
                if found is not None:
                    freed_bytes += self._evict_copy(dataset, *found)
        except StoppedError:
            raise BusyError(f"{dataset.path} is being fetched.", "Try again once it is there.") from None
        with suppress(OSError, StoppedError):
            self.room.evicted(freed_bytes, int(found is not None))
        return freed_bytes

    def usage(self, *, counts: bool = False) -> Usage:
        """What the cache holds, and what it may. With `counts`, later answers tell more."""
        if counts and self.is_cache:
            self.room.count()
        return self.room.usage()

    def labs(self) -> list[tuple[str, LabUsage]] | None:
        """What the cache holds of each lab, the largest first; None if it was not counted yet, or is no cache."""
        return self._evictor.labs.largest_first()

    def free_bytes(self) -> int:
        """Bytes that the cache may still take; 0 where nothing is fetched, or the disk cannot be asked."""
        if not self.is_cache:
            return 0
        if self.room.limits.cache_size_bytes:
            self.room.count()
        try:
            return self.room.free_bytes()
        except OSError:
            return 0

    def on_evicted(self, tell: Callable[[Dataset], None]) -> None:
        """Have somebody told of each complete file that leaves the cache to make room."""
        self._evictor.on_evicted = tell

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all verified files are recorded, and on disk."""
        return self.state.flush(timeout_s)

    def close(self) -> None:
        """Record what was verified, unless the disk takes too long."""
        self.room.close()
        self.state.close(CLOSING_S)

    def _evict_copy(self, dataset: Dataset, path: str, status: os.stat_result) -> int:
        stamp = self.state.reload(dataset.id)
        edition = Signature.of(status).edition
        is_ours = self.is_cache and stamp is not None and stamp.source and stamp.signature.edition == edition
        if not is_ours or not remove_file_in(self._root, path, status):
            raise KeptError(
                f"{path} was put there by another program than onefs, or was changed since.",
                "Remove it yourself if it is not needed.",
            )
        self.state.drop(dataset.id)
        self._evictor.labs.removed(dataset, footprint(status.st_size))
        return footprint(status.st_size)

    def _sees_all_marks(self) -> bool:
        return not self._locks.are_leased

    def _to_quarantine(self, dataset: Dataset, path: Path) -> None:
        """Move a wrong file out of the cache. Beside it a JSON file tells where it stood. Raises OSError."""
        folder = self.beside_data("quarantine")
        target = folder / f"{dataset.id}.{time.time_ns()}{path.suffix}"
        origin = folder / f"{target.name}.json"
        write_json(origin, {"from": os.fspath(path), "dataset": str(dataset.id), "wanted": wanted(dataset)})
        try:
            _move(path, target)
        except OSError:
            origin.unlink(missing_ok=True)
            raise


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        try:
            shutil.move(source, target)
        except OSError:
            target.unlink(missing_ok=True)  # half of a copy, where there was no room for the whole
            raise
