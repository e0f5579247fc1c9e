"""Paths in a cache directory: files of datasets, whole or in parts, and how to find, open and name them."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from onefs import alf, mountinfo
from onefs.cache.atomic import NamelessFile, cache_error, give_name
from onefs.cache.beneath import Folder, PrivateFolder
from onefs.cache.held_folders import HeldFolders
from onefs.cache.part_files import BLOCKS_ENDING
from onefs.cache.sharing import hold_state, others_can_write, state_folder
from onefs.cache.verify import Signature
from onefs.catalogue.records import Dataset
from onefs.errors import CacheDamagedError, ContentError, OnefsError
from onefs.forks import cached_property

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
PARTS = "partial"
NAMING_TRIES = 2


class Copy(NamedTuple):
    """A complete file in the cache, opened. Whoever gets it closes `descriptor`."""

    descriptor: int
    path: str
    signature: Signature


class FolderBlocks(dict[str, int]):
    """512-byte blocks of the files in a folder of the cache, by their names in the tree.

    `are_sure` is False if a file there has a UUID in its name: it may be of another dataset than the tree shows.
    """

    are_sure = True


class CacheLayout:
    """A directory laid out as ONE's, and the folder of what onefs keeps beside it. Safe to use from several threads.

    A dataset's file may have its UUID in its name, or not; with `uuid_filenames`, which may be switched at any time,
    onefs itself puts it there. No symbolic link below the directory is followed, but in an archive that is read in
    place (`is_cache` false) and that nobody else can write.
    """

    def __init__(self, data_dir: Path, state_dir: Path, *, is_cache: bool = True, uuid_filenames: bool = False) -> None:
        self.data_dir = data_dir
        self.state_dir = state_dir
        self.is_cache = is_cache
        self.uuid_filenames = uuid_filenames
        self.folder = Folder(data_dir, follows_links=not is_cache and not others_can_write(data_dir))
        """Where the copies are."""
        self._held = HeldFolders(self.folder)
        self.state_folder = hold_state(state_dir)
        """Where onefs keeps what it knows."""
        if isinstance(self.state_folder, PrivateFolder):
            _make_private(self.state_folder)
        self._root = os.fspath(data_dir)
        self._beside: Folder | None = None

    def open_copies(self, dataset: Dataset) -> Iterator[Copy]:
        """The dataset's files in the cache, opened, verified or not; first the one with the name that onefs gives.

        Raises what is wrong with the cache if none can be opened, and something else stands under one of the names.
        """
        problem: OnefsError | None = None
        found = False
        for path in self._paths(dataset):
            try:
                copy = self.open_at(dataset, path)
            except OnefsError as error:
                problem = problem or error
                continue
            if copy is not None:
                found = True
                yield copy
        if problem is not None and not found:
            raise problem

    @cached_property
    def is_local_disk(self) -> bool:
        """Whether both directories are on disks of this machine, so that opening a file keeps nobody waiting."""
        return mountinfo.is_local(self.data_dir) and mountinfo.is_local(self.state_dir)

    @cached_property
    def read_now_flags(self) -> int:
        """Flags of `preadv` for a read that never waits for a disk. tmpfs has none, and refuses RWF_NOWAIT."""
        return 0 if mountinfo.is_in_memory(self.data_dir) else os.RWF_NOWAIT

    def find_copies(self, dataset: Dataset) -> list[tuple[str, os.stat_result]]:
        """Path and status of the dataset's files in the cache; first the one with the name that onefs gives."""
        return list(self.each_copy(dataset))

    def each_copy(self, dataset: Dataset) -> Iterator[tuple[str, os.stat_result]]:
        """The same one by one, so that whoever wants the first only looks no further."""
        for path in self._paths(dataset):
            try:
                status = self.folder.status(path)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield f"{self._root}/{path}", status

    def has_name(self, dataset: Dataset) -> bool:
        """Whether there is anything under one of the names that the dataset's file may have."""
        for path in self._paths(dataset):
            try:
                self.folder.status(path)
            except OSError as error:
                if error.errno in ABSENT:
                    continue
            return True
        return False

    def lacks_copy(self, dataset: Dataset) -> bool:
        """Whether there is surely nothing under the name that onefs gives the dataset's file. Costs little."""
        with suppress(OSError):
            return self.folder.lacks(next(self._paths(dataset)))
        return False

    def blocks(self, dataset: Dataset) -> int:
        """512-byte blocks of the complete file, or of what is fetched of a dataset so far."""
        for path in () if self.lacks_folder(dataset) else self._paths(dataset):
            try:
                status = self._held.status(path)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                return status.st_blocks
        return self.partial_blocks(dataset)

    def partial_blocks(self, dataset: Dataset) -> int:
        """512-byte blocks of what is fetched of a dataset so far."""
        found = 0
        for ending in ("", BLOCKS_ENDING):
            path = f"{PARTS}/{dataset.id}{ending}"
            with suppress(OSError):
                found += 0 if self.beside.lacks(path) else self.beside.status(path).st_blocks
        return found

    def lacks_folder(self, dataset: Dataset) -> bool:
        """Whether the folder of the dataset's file is known to be absent. False if that cannot be told."""
        with suppress(OSError):
            return self.folder.lacks(dataset.path.rpartition("/")[0])
        return False

    def blocks_in(self, folder: str) -> FolderBlocks:
        """512-byte blocks of each file in one folder of the cache, by its name in the tree."""
        found = FolderBlocks()
        follows = self.folder.follows_links
        with suppress(OSError):
            if self.folder.lacks(folder) or (folder and not alf.is_safe_relative(folder)):
                return found
            with self.folder.scan(folder) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=follows) and not entry.name.startswith("."):
                        plain = alf.without_uuid(entry.name)
                        has_uuid = plain != entry.name
                        if has_uuid is self.uuid_filenames or plain not in found:
                            found[plain] = entry.stat(follow_symlinks=follows).st_blocks
                            found.are_sure &= not has_uuid
        return found

    def names_in(self, folder: str) -> set[str]:
        """The names in the tree of what stands in one folder of the cache, whatever it is."""
        found: set[str] = set()
        if not folder or alf.is_safe_relative(folder):
            with suppress(OSError), self.folder.scan(folder) as entries:
                found.update(alf.without_uuid(entry.name) for entry in entries)
        return found

    def holds(self, folder: str) -> bool:
        """Whether there may be copies below a folder of the tree."""
        with suppress(OSError):
            return stat.S_ISDIR(self.folder.status(folder or ".").st_mode)
        return False

    def unfinished(self) -> set[UUID]:
        """The ids of datasets of which a part is there."""
        found: set[UUID] = set()
        with suppress(OSError), self.beside.scan(PARTS) as entries:
            for entry in entries:
                with suppress(ValueError):
                    found.add(UUID(entry.name.partition(".")[0]))
        return found

    def path(self, dataset: Dataset) -> str:
        """Where onefs puts the dataset's file. Raises ContentError."""
        return f"{self._root}/{next(self._paths(dataset))}"

    def nameless(self, dataset: Dataset) -> NamelessFile:
        """A new file without a name, to be filled and then named as the dataset's. Raises OSError."""
        return NamelessFile(self.folder, next(self._paths(dataset)))

    def name_part(self, part: str, reader: int, dataset: Dataset) -> int:
        """Give a part file that is complete and checked its name in the cache; a descriptor to read it from.

        `reader` reads the part file. It is returned, or closed if the file had to be copied. Raises OSError.
        """
        target = next(self._paths(dataset))
        for _ in range(NAMING_TRIES):
            with suppress(FileNotFoundError):  # the folder is not there yet, or somebody removed it since it was made
                return give_name(self.beside, f"{PARTS}/{part}", reader, self.folder, target)
            self.folder.make_folders(target.rpartition("/")[0])
        return give_name(self.beside, f"{PARTS}/{part}", reader, self.folder, target)

    def partials(self) -> Path:
        """Where files stand that are not complete, made if need be. Raises OSError."""
        if self._beside is None:  # which of the two disks they go to cannot be told before both folders are there
            self.folder.make_folders("")
            self.state_folder.make_folders("")
        self.beside.make_folders(PARTS)
        return self.parts_dir()

    def parts_dir(self) -> Path:
        """Where files stand that are not complete."""
        apart = self.beside is not self.state_folder
        return (state_folder(self.data_dir) if apart else self.state_dir) / PARTS

    @property
    def beside(self) -> Folder:
        """A folder of ours on the data's file system, so that a file can be renamed into place."""
        if self._beside is None:
            try:
                apart = self.folder.status(".").st_dev != self.state_folder.status(".").st_dev
            except OSError:
                return self.state_folder
            self._beside = hold_state(state_folder(self.data_dir)) if apart else self.state_folder
        return self._beside

    def close(self) -> None:
        """Let go of the folders."""
        for folder in (self._held, self.folder, self.state_folder, self.beside):
            folder.close()

    def _inside(self, path: str) -> str:
        """A path below the directory, relative to it."""
        return path.removeprefix(f"{self._root}/")

    def open_path(self, path: str) -> int:
        """A descriptor of a file of the cache. Raises OSError."""
        return self._open(self._inside(path))

    def _open(self, path: str) -> int:
        return self.folder.open(path)

    def open_at(self, dataset: Dataset, path: str) -> Copy | None:
        """The dataset's file at a path, opened; None if there is none. Raises what is wrong with the cache."""
        try:
            descriptor = self._open(path)
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise cache_error(dataset.path, path, error) from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise self._no_file(path)
        return Copy(descriptor, f"{self._root}/{path}", Signature.of(status))

    def _no_file(self, path: str) -> ContentError:
        return ContentError(f"{self._root}/{path} in the cache is not a file.", "Remove it.")

    def _paths(self, dataset: Dataset) -> Iterator[str]:
        """Both relative paths that the dataset's file may have, first the one that onefs gives. Raises ContentError."""
        plain, uuid_first = dataset.path, self.uuid_filenames
        if not alf.is_safe_relative(plain):
            raise ContentError(f"{plain!r} would lead outside the cache directory.", "Tell the archive's maintainers.")
        if not uuid_first:
            yield plain  # the usual case: the other name is not needed
        with_uuid = alf.archive_path(plain, dataset.id)
        if not uuid_first:
            yield with_uuid
        elif alf.is_safe_part(with_uuid.rpartition("/")[2]):
            yield from (with_uuid, plain)
        else:  # it would be too long
            yield from (plain, with_uuid)


def _make_private(state: PrivateFolder) -> None:
    """Make a user's own state folder. Raises CacheDamagedError if another's, or a link, is in its place."""
    try:
        state.make_folders("")
    except OSError:
        try:
            state.status(".")
        except FileNotFoundError:
            return  # it cannot be made: whoever writes there is told
        except PermissionError as error:
            raise CacheDamagedError(
                f"What is known of the cache cannot be kept in {state.path}: {(error.strerror or '').lower()}.",
                "Remove it, or choose another cache directory with --cache-dir.",
            ) from error
        except OSError as error:
            raise cache_error("What is known of the cache", state.path, error) from error
