"""`ContentStore`, the cache directory: adding files to it, stamping, evicting and quarantining them."""

import errno
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from math import inf
from pathlib import Path
from typing import Protocol
from uuid import UUID

from onefs.cache.atomic import cache_errors, give_name
from onefs.cache.descriptors import Descriptors
from onefs.cache.evict import AT_ONCE, Evictor
from onefs.cache.layout import CacheLayout, Copy
from onefs.cache.locks import DatasetLocks, StoppedError
from onefs.cache.part_files import PartRecords
from onefs.cache.quota import Limits, Quota, Usage
from onefs.cache.state import State
from onefs.cache.usage import LabUsage, footprint
from onefs.cache.verify import Signature, Stamp, Verdict, Verify, trusted, wanted
from onefs.catalogue.records import Dataset
from onefs.errors import BusyError, ContentError, KeptError

CLOSING_S = 5.0
QUARANTINE = "quarantine"
TOO_MANY = (errno.EMFILE, errno.ENFILE)


class NewFile(Protocol):
    """A file that is checked and has no name in the cache yet."""

    source: str
    """The URL that its bytes came from."""

    def status(self) -> os.stat_result:
        """The file's status, as it is on disk. Raises OSError."""

    def move_to(self, layout: CacheLayout) -> int:
        """Give it its name, and return a descriptor to read it from. Can be tried again if it raises OSError."""


class ContentStore(CacheLayout):
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
        super().__init__(data_dir, state_dir, is_cache=is_cache, uuid_filenames=uuid_filenames)
        self.may_displace = may_displace
        self._locks = DatasetLocks(self.state_folder)
        self.state = State(state_dir, data_dir, follows_links=self.folder.follows_links)
        self.part_records = PartRecords(self.state)
        self.descriptors = Descriptors(self)
        self._evictor = Evictor(self, self.state, self._locks, self.descriptors)
        self.quota = Quota(limits or Limits(), data_dir, self.state, self._evictor)

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
        return self.open_at(dataset, self._inside(found[0] if found is not None else self.path(dataset)))

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

    @property
    def is_leased(self) -> bool:
        """Whether an owner of a lock that stalls for long may lose it, and not know it."""
        return self._locks.are_leased

    def lock(self, dataset_id: UUID, stop: threading.Event, longest_s: float = inf) -> AbstractContextManager[None]:
        """Hold a dataset against other processes. Raises OSError, StoppedError, HeldError."""
        return self._locks.hold(dataset_id, stop, longest_s)

    def commit(self, dataset: Dataset, file: NewFile) -> Copy:
        """Give a checked file its name in the cache, and return it opened."""
        path = self.path(dataset)
        with cache_errors(dataset.path, path):
            self.state.expect(dataset, Stamp(Signature.of(file.status()), "", source=file.source))
            try:
                descriptor = file.move_to(self)
            except IsADirectoryError:
                raise ContentError(f"{path} in the cache is not a file.", "Remove it.") from None
            except OSError:
                self.state.drop(dataset.id)
                raise
            return Copy(descriptor, path, Signature.of(os.fstat(descriptor)))

    def put_away(self, dataset: Dataset, copy: Copy) -> bool:
        """Move a wrong file into quarantine; False if another stands there by now than the one that was judged."""
        return self._take_away(dataset, copy, keeps=True)

    def remove(self, dataset: Dataset, copy: Copy) -> bool:
        """Delete a file that another takes the place of; False if it is no longer the one that was judged."""
        return self._take_away(dataset, copy, keeps=False)

    def _take_away(self, dataset: Dataset, copy: Copy, *, keeps: bool) -> bool:
        path = self._inside(copy.path)
        with cache_errors(dataset.path, copy.path), suppress(FileNotFoundError):
            reader, status = self.folder.open_file(path)
            try:
                if Signature.of(status) != copy.signature:
                    return False
                stamp = self.state.reload(dataset.id)
                others = [
                    Signature.of(found).edition for there, found in self.find_copies(dataset) if there != copy.path
                ]
                if stamp is None or stamp.signature.edition not in others:
                    self.state.drop(dataset.id)
                self.descriptors.open_now(dataset.id)
                if keeps:
                    self._to_quarantine(dataset, path, reader)
                else:
                    self.folder.unlink(path)
            finally:
                os.close(reader)
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
        self.quota.invalidate_scan()

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
        for copy in self.open_copies(dataset) if found is None else ():  # which says so if it is behind a link
            os.close(copy.descriptor)
        try:
            with cache_errors(dataset.path, self.state_dir), self._locks.hold(dataset.id, AT_ONCE):
                freed_bytes = self._evictor.drop_parts(dataset.id)
                if found is not None:
                    freed_bytes += self._evict_copy(dataset, *found)
        except StoppedError:
            raise BusyError(f"{dataset.path} is being fetched.", "Try again once it is there.") from None
        self._evictor.evicted_bytes += freed_bytes
        self._evictor.evicted_files += found is not None
        self.quota.invalidate_scan()
        return freed_bytes

    def usage(self, *, counts: bool = False) -> Usage:
        """What the cache holds, and what it may. With `counts` that is compared with the disk now and then."""
        if counts and self.is_cache:
            self.quota.count()
        used = self.quota.used() if self.is_cache else None
        evictor = self._evictor
        size_bytes, files = used or (None, None)
        return Usage(size_bytes, files, self.quota.limits, evictor.evicted_bytes, evictor.evicted_files)

    def labs(self) -> list[tuple[str, LabUsage]] | None:
        """What the cache holds of each lab, the largest first; None if it is no cache."""
        return self.quota.labs() if self.is_cache else None

    def free_bytes(self) -> int:
        """Bytes that the cache may still take; 0 where nothing is fetched, or the disk cannot be asked."""
        if not self.is_cache:
            return 0
        try:
            return self.quota.free_bytes()
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
        self.quota.close()
        self.state.close(CLOSING_S)
        self._locks.close()
        super().close()

    def _open(self, path: str) -> int:
        """A descriptor of a file of the cache, for which another is closed if there are too many. Raises OSError."""
        try:
            return super()._open(path)
        except OSError as error:
            if error.errno not in TOO_MANY:
                raise
        self.descriptors.close_half()
        return super()._open(path)

    def _evict_copy(self, dataset: Dataset, path: str, status: os.stat_result) -> int:
        stamp = self.state.reload(dataset.id)
        edition = Signature.of(status).edition
        is_ours = self.is_cache and stamp is not None and stamp.source and stamp.signature.edition == edition
        self.descriptors.open_now(dataset.id)
        if not is_ours or not self.folder.remove_file(self._inside(path), status):
            raise KeptError(
                f"{path} was put there by another program than onefs, or was changed since.",
                "Remove it yourself if it is not needed.",
            )
        self.state.drop(dataset.id)
        return footprint(status.st_size)

    def _to_quarantine(self, dataset: Dataset, path: str, reader: int) -> None:
        """Move a wrong file, which `reader` reads, out of the cache; nothing is deleted. Raises OSError.

        A JSON file beside it tells where it stood, so that it can be put back. Its mtime is changed, by which all who
        have it open, in whatever process, know that it is wrong.
        """
        target = f"{QUARANTINE}/{dataset.id}.{time.time_ns()}{Path(path).suffix}"
        origin = {"from": str(self.folder.path / path), "dataset": str(dataset.id), "wanted": wanted(dataset)}
        self.beside.write(f"{target}.json", json.dumps(origin).encode())
        number = os.dup(reader)
        try:
            number = give_name(self.folder, path, number, self.beside, target)
        except OSError:
            self.beside.unlink(f"{target}.json")
            raise
        finally:
            os.close(number)
        with suppress(OSError):
            os.utime(reader)
