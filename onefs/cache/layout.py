"""Paths in a cache directory: files of datasets, whole or in parts, and how to find and open them."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from onefs import alf
from onefs.cache import disks
from onefs.cache.atomic import cache_error, make_folder
from onefs.cache.marks import BLOCKS_ENDING
from onefs.cache.verify import Signature
from onefs.catalogue.records import Dataset
from onefs.errors import ContentError
from onefs.forks import cached_property

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class Copy(NamedTuple):
    """A complete file in the cache, opened. Whoever gets it closes `descriptor`."""

    descriptor: int
    path: str
    signature: Signature


class Places:
    """A directory laid out as ONE's, and the folder of what onefs keeps beside it. Safe to use from several threads.

    A dataset's file may have its UUID in its name, or not; with `uuid_filenames`, which may be switched at any time,
    onefs itself puts it there.
    """

    def __init__(self, data_dir: Path, state_dir: Path, *, uuid_filenames: bool = False) -> None:
        self.data_dir = data_dir
        self.state_dir = state_dir
        self._root = os.fspath(data_dir)
        self.uuid_filenames = uuid_filenames
        self._own_folder: Path | None = None

    def open_copies(self, dataset: Dataset) -> Iterator[Copy]:
        """The dataset's files in the cache, opened, verified or not; first the one with the name that onefs gives."""
        for path in self._paths(dataset):
            copy = open_at(dataset, path)
            if copy is not None:
                yield copy

    @cached_property
    def is_local_disk(self) -> bool:
        """Whether both directories are on disks of this machine, so that opening a file keeps nobody waiting."""
        return disks.is_local(self.data_dir) and disks.is_local(self.state_dir)

    @cached_property
    def read_now_flags(self) -> int:
        """Flags of `preadv` for a read that never waits for a disk. tmpfs has none, and refuses RWF_NOWAIT."""
        return 0 if disks.is_in_memory(self.data_dir) else os.RWF_NOWAIT

    def find_copies(self, dataset: Dataset) -> list[tuple[str, os.stat_result]]:
        """Path and status of the dataset's files in the cache; first the one with the name that onefs gives."""
        return list(self.each_copy(dataset))

    def each_copy(self, dataset: Dataset) -> Iterator[tuple[str, os.stat_result]]:
        """The same one by one, so that whoever wants the first only looks no further."""
        for path in self._paths(dataset):
            with suppress(OSError):
                status = os.stat(path)  # noqa: PTH116  (a Path costs more than the call)
                if stat.S_ISREG(status.st_mode):
                    yield path, status

    def partial_blocks(self, dataset: Dataset) -> int:
        """512-byte blocks of what is fetched of a dataset so far."""
        found = 0
        for ending in ("", BLOCKS_ENDING):
            with suppress(OSError):
                found += os.stat(f"{self.beside_data('partial')}/{dataset.id}{ending}").st_blocks  # noqa: PTH116
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
                        has_uuid = plain != entry.name
                        if has_uuid is self.uuid_filenames or plain not in found:
                            found[plain] = entry.stat().st_blocks
        except OSError:
            return found
        return found

    def unfinished(self) -> set[UUID]:
        """The ids of datasets of which a part is there."""
        found: set[UUID] = set()
        with suppress(OSError):
            for entry in self.beside_data("partial").iterdir():
                with suppress(ValueError):
                    found.add(UUID(entry.name.partition(".")[0]))
        return found

    def path(self, dataset: Dataset) -> str:
        """Where onefs puts the dataset's file. Raises ContentError."""
        return next(self._paths(dataset))

    def _paths(self, dataset: Dataset) -> Iterator[str]:
        """Both paths that the dataset's file may have, first the one that onefs gives. Raises ContentError."""
        path = dataset.path
        if not alf.is_safe_relative(path):
            raise ContentError(f"{path!r} would lead outside the cache directory.", "Tell the archive's maintainers.")
        plain, uuid_first = f"{self._root}/{path}", self.uuid_filenames
        if not uuid_first:
            yield plain  # the usual case: the other name is not needed
        with_uuid = alf.archive_path(plain, dataset.id)
        if not uuid_first:
            yield with_uuid
        elif alf.is_safe_part(with_uuid.rpartition("/")[2]):
            yield from (with_uuid, plain)
        else:  # it would be too long
            yield from (plain, with_uuid)

    def partials(self) -> Path:
        """Where files stand that are not complete. Raises OSError."""
        if self._own_folder is None:  # which of the two disks they go to cannot be told before both folders are there
            make_folder(self.data_dir)
            make_folder(self.state_dir)
        return self.beside_data("partial")

    def beside_data(self, name: str) -> Path:
        """A folder of ours on the data's file system, so that a file can be renamed into place."""
        if self._own_folder is None:
            try:
                apart = self.data_dir.stat().st_dev != self.state_dir.stat().st_dev
            except OSError:
                return self.state_dir / name
            self._own_folder = self.data_dir / alf.STATE_FOLDER if apart else self.state_dir
        return self._own_folder / name


def open_at(dataset: Dataset, path: str) -> Copy | None:
    """The dataset's file at a path, opened; None if there is none. Raises what is wrong with the cache."""
    try:
        descriptor = os.open(path, READING)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise cache_error(dataset.path, path, error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ContentError(f"{path} in the cache is not a file.", "Remove it.")
    return Copy(descriptor, path, Signature.of(status))
