"""Owns the cache directory: where a dataset's file stands, how it comes there, and what leaves it."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onefs import alf
from onefs.catalogue.records import Dataset
from onefs.content import disks
from onefs.content.files import cache_error, cache_errors, make_folder
from onefs.content.locks import DatasetLocks
from onefs.content.partial import Partial
from onefs.content.quarantine import Quarantine
from onefs.content.renaming import part_from_others
from onefs.content.room import Limits, Room
from onefs.content.sparse import BLOCKS_ENDING, SparseFile
from onefs.content.stamps import Stamps
from onefs.content.verification import Signature, Stamp
from onefs.errors import ContentError

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
CLOSING_S = 5.0
COMMIT_TRIES = 3


@dataclass(frozen=True, slots=True)
class Copy:
    """A complete file in the cache, opened. Whoever gets it closes `descriptor`."""

    descriptor: int
    path: str
    signature: Signature


class ContentStore:
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
    ) -> None:
        self.data_dir = data_dir
        self.state_dir = state_dir
        self.is_cache = is_cache
        self.may_displace = may_displace
        self.stamps = Stamps(state_dir / "stamps")
        self._locks = DatasetLocks(state_dir / "locks")
        self.quarantine = Quarantine(state_dir / "quarantine", lambda: self._beside_data("quarantine"))
        self.room = Room(limits or Limits())
        self._root = os.fspath(data_dir)
        self._own_folder: Path | None = None

    def open_copy(self, dataset: Dataset) -> Copy | None:
        """The dataset's file as it stands in the cache, verified or not; None if there is none."""
        path = self._path(dataset)
        descriptor = _open(dataset, path)
        if descriptor is None:
            path = alf.archive_path(path, dataset.id)
            descriptor = _open(dataset, path)
        if descriptor is None:
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise ContentError(f"{path} in the cache is not a file.", "Remove it.")
        return Copy(descriptor, path, Signature.of(status))

    @cached_property
    def is_local_disk(self) -> bool:
        """Whether both directories are on disks of this machine, so that opening a file keeps nobody waiting."""
        return disks.is_local(self.data_dir) and disks.is_local(self.state_dir)

    def find_copy(self, dataset: Dataset) -> tuple[str, os.stat_result] | None:
        """Path and status of the dataset's file in the cache, verified or not; None if there is none."""
        plain = self._path(dataset)
        for path in (plain, alf.archive_path(plain, dataset.id)):
            with suppress(OSError):
                status = os.stat(path)  # noqa: PTH116  (a Path costs more than the call)
                if stat.S_ISREG(status.st_mode):
                    return path, status
        return None

    def vouch(self, dataset: Dataset, copy: Copy, md5: str, accepted: str = "", source: str = "") -> None:
        """Stamp a copy as verified (or, with `accepted`, as served though it differs)."""
        self.stamps.put(dataset.id, Stamp(copy.signature, md5, accepted, source), copy.path)

    def lock(self, dataset: Dataset, stop: threading.Event) -> AbstractContextManager[None]:
        """Hold the dataset against other processes. Raises OSError, StoppedError."""
        return self._locks.hold(dataset.id, stop)

    def begin(self, dataset: Dataset, stop: threading.Event) -> Partial:
        """Begin to store a dataset, or go on where an earlier try ended."""
        with cache_errors(dataset.path, self._root):
            make_folder(self.data_dir)
            make_folder(self.state_dir)
            folder = self._beside_data("partial")
            if self._locks.are_leased:
                part_from_others(folder / str(dataset.id))
            return Partial(folder, dataset, stop)

    def begin_blocks(self, dataset: Dataset, block_bytes: int) -> SparseFile:
        """Begin to store a large dataset block by block, or go on with the blocks that are there. Raises OSError."""
        make_folder(self.data_dir)
        make_folder(self.state_dir)
        return SparseFile(self._beside_data("partial"), dataset, dataset.size_bytes or 0, block_bytes)

    def commit(self, dataset: Dataset, partial: Partial | SparseFile) -> Copy:
        """Give a checked file its name in the cache, and return it opened."""
        path = self._path(dataset)
        with cache_errors(dataset.path, path):
            for last in (False,) * (COMMIT_TRIES - 1) + (True,):
                target = Path(path)
                make_folder(target.parent)
                try:
                    descriptor = partial.move_to(target)
                    break
                except FileNotFoundError:
                    # Somebody removed the folder between the two steps.
                    if last:
                        raise
            return Copy(descriptor, path, Signature.of(os.fstat(descriptor)))

    def put_away(self, dataset: Dataset, copy: Copy) -> bool:
        """Move a wrong file into quarantine; False if another stands there by now than the one that was judged."""
        return self._take_away(dataset, copy, lambda: self.quarantine.put_away(dataset, copy.path))

    def remove(self, dataset: Dataset, copy: Copy) -> bool:
        """Delete a file that another takes the place of; False if it is no longer the one that was judged."""
        return self._take_away(dataset, copy, Path(copy.path).unlink)

    def _take_away(self, dataset: Dataset, copy: Copy, take: Callable[[], object]) -> bool:
        with cache_errors(dataset.path, copy.path), suppress(FileNotFoundError):
            if Signature.of(os.stat(copy.path)) == copy.signature:  # noqa: PTH116
                self.stamps.drop(dataset.id)
                take()
                return True
        return False

    def partial_blocks(self, dataset: Dataset) -> int:
        """512-byte blocks of what is fetched of a dataset so far."""
        found = 0
        for ending in ("", BLOCKS_ENDING):
            with suppress(OSError):
                found += os.stat(f"{self._beside_data('partial')}/{dataset.id}{ending}").st_blocks  # noqa: PTH116
        return found

    def blocks_in(self, folder: str) -> dict[str, int]:
        """512-byte blocks of each file in one folder of the cache, by its name in the tree."""
        if folder and not alf.is_safe_relative(folder):
            return {}
        found: dict[str, int] = {}
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                for entry in entries:
                    if entry.is_file() and not entry.name.startswith("."):
                        plain = alf.without_uuid(entry.name)
                        if plain == entry.name or plain not in found:
                            found[plain] = entry.stat().st_blocks
        except OSError:
            return found
        return found

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until the stamps of all verified files are on disk."""
        return self.stamps.flush(timeout_s)

    def close(self) -> None:
        """Bring the stamps to disk, unless the disk takes too long."""
        self.stamps.close(CLOSING_S)

    def _path(self, dataset: Dataset) -> str:
        path = dataset.path
        if not alf.is_safe_relative(path):
            raise ContentError(f"{path!r} would lead outside the cache directory.", "Tell the archive's maintainers.")
        return f"{self._root}/{path}"

    def _beside_data(self, name: str) -> Path:
        """A folder of ours on the data's file system, so that a file can be renamed into place."""
        if self._own_folder is None:
            try:
                apart = self.data_dir.stat().st_dev != self.state_dir.stat().st_dev
            except OSError:
                return self.state_dir / name
            self._own_folder = self.data_dir / alf.STATE_FOLDER if apart else self.state_dir
        return self._own_folder / name


def _open(dataset: Dataset, path: str) -> int | None:
    """A descriptor; None if there is no such file. Raises what is wrong with the cache."""
    try:
        return os.open(path, READING)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise cache_error(dataset.path, path, error) from error
