"""Owns `SparseFile`: a large file that fills up block by block on disk, and the note and map that outlive a process."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from onefs.cache.atomic import make_folder, read_json, write_json
from onefs.cache.blocks import BlockMap
from onefs.cache.marks import BLOCKS_ENDING, mark_open
from onefs.cache.partial import WRITING
from onefs.cache.quota import Quota
from onefs.cache.renaming import give_name, has_its_name, reopened
from onefs.cache.usage import footprint
from onefs.cache.verify import wanted
from onefs.catalogue.records import Dataset


class SparseFile:
    """A dataset's file in the making. To be made and changed only by who holds the dataset's lock. Raises OSError.

    Two maps are kept beside it. The one in the note tells of blocks that were synced before it was written: it
    counts always. The other is written with each block, and counts until the machine is started anew: what a killed
    process wrote is with the kernel, but a power loss may take it.
    """

    is_kept = True

    def __init__(self, folder: Path, dataset: Dataset, size_bytes: int, block_bytes: int, quota: Quota) -> None:
        self.path = parts_path(folder, dataset)
        self._map_path = map_path(folder, dataset)
        self._note_path = note_path(folder, dataset)
        self._wanted = wanted(dataset)
        self.is_mixed = False
        self._reader = -1
        self._synced = b""
        make_folder(folder)
        note = self._note_of(size_bytes)
        self.source, self.edition = str(note.get("source", "")), str(note.get("edition", ""))
        self.map = BlockMap(size_bytes, int(note.get("block_bytes", block_bytes)), _bits(note))
        self._file = os.open(self.path, WRITING, 0o666)
        mark_open(self._file)
        self._reservation = quota.reserve(dataset.id, os.fstat(self._file).st_blocks * 512, comes_whole=False)
        self._map_file = -1
        try:
            self._map_file = os.open(self._map_path, WRITING, 0o666)
            os.ftruncate(self._file, size_bytes)
            self._synced = bytes(self.map.bits)
            self._merge_unsynced(note)
            if note and note.get("boot") != _boot():
                # What was not synced before the machine was started anew must not count from now on either.
                self._renew_map()
        except OSError:
            self.close()
            raise
        self.was_begun = self.map.count > 0
        """Whether an earlier try left some of it."""

    @property
    def is_synced(self) -> bool:
        """Whether all blocks would outlive a power loss."""
        return self._synced == bytes(self.map.bits)

    def reader(self) -> int:
        """A new descriptor to read it from."""
        return reopened(self._file)

    def take_room(self, size_bytes: int) -> None:
        """Have room for so many bytes that come now. Raises NoRoomError, StoppedError or OSError."""
        self._reservation.take(size_bytes)

    def give_back_room(self, size_bytes: int) -> None:
        """So many of them did not come."""
        self._reservation.give_back(size_bytes)

    def comes_from(self, source: str, edition: str) -> None:
        """Say where the bytes come from; noted on disk for a later process if that can be told apart from others."""
        self.source, self.edition = source, edition
        self._write_note()

    def write(self, chunk: "memoryview[int]", offset: int) -> None:
        """Put bytes into their place."""
        written = os.pwrite(self._file, chunk, offset)
        while written < len(chunk):
            written += os.pwrite(self._file, chunk[written:], offset + written)

    def add(self, first: int, stop: int) -> None:
        """Note blocks whose bytes were written."""
        self.map.add(first, stop)
        low, high = first >> 3, (stop + 7) >> 3
        os.pwrite(self._map_file, self.map.bits[low:high], low)

    def sync(self, bits: bytes) -> None:
        """Bring to disk what was written, and then note `bits`, the map as it was before. May take long."""
        os.fdatasync(self._file)
        self._synced = bits
        self._write_note()

    def take_up(self) -> bool:
        """Look again after the lock was let go; False if this is no longer the file that is to be filled."""
        note = read_json(self._note_path)
        if not note and not self.edition:
            return has_its_name(self.path, self._file)  # whoever begins it anew takes the name away
        if not self._is_ours(note):
            return False
        if not is_of_this_run(note):
            self._go_on_after_another_machine(_bits(note))
            return True
        self.map.merge(_bits(note))
        self._merge_unsynced(note)
        return True

    def move_to(self, target: Path) -> int:
        """Give the whole file its name and return a descriptor to read it from. Can be tried again if it raises."""
        if self._reader < 0:
            self._reader = self.reader()
            self._end_writing()
        self._reader = give_name(self.path, self._reader, target)
        self._forget_notes()
        self._reservation.end(footprint(self.map.size_bytes))
        reader, self._reader = self._reader, -1
        return reader

    def drop(self) -> None:
        """Remove it from disk, if it is still what stands there."""
        if self._file >= 0 and has_its_name(self.path, self._file):
            self._forget_notes()
            self.path.unlink(missing_ok=True)
            self._reservation.end(0)

    def close(self) -> None:
        """Let go of it; what is on disk stays for another try. Does nothing the second time."""
        if self._file >= 0:
            with suppress(OSError):
                self._end_writing()
        self._reservation.end(self._reservation.size_bytes)
        for number in (self._map_file, self._reader):
            if number >= 0:
                with suppress(OSError):
                    os.close(number)
        self._map_file = self._reader = -1

    def _note_of(self, size_bytes: int) -> dict[str, Any]:
        """The note beside what an earlier try left; {} and nothing left if that is of no use."""
        note = read_json(self._note_path)
        with suppress(OSError):
            status = self.path.lstat()
            fits = status.st_nlink == 1 and status.st_ino == note.get("inode") and status.st_size == size_bytes
            may_write = os.access(self.path, os.W_OK) and os.access(self._map_path, os.W_OK)
            if fits and may_write and note.get("wanted") == self._wanted and note.get("edition"):
                return note
        self._forget_notes()
        self.path.unlink(missing_ok=True)
        return {}

    def _is_ours(self, note: dict[str, Any]) -> bool:
        same = has_its_name(self.path, self._file) and note.get("inode") == os.fstat(self._file).st_ino
        return same and (note.get("edition"), note.get("source")) == (self.edition, self.source)

    def _merge_unsynced(self, note: dict[str, Any]) -> None:
        if is_of_this_run(note):
            self.map.merge(os.pread(self._map_file, len(self.map.bits), 0))

    def _go_on_after_another_machine(self, synced: bytes) -> None:
        """Of what that one has, and of what this one has, only that counts which is on the disk that they share."""
        os.fdatasync(self._file)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)  # else gaps that were read would stay gaps here
        self.map.merge(synced)
        self._synced = bytes(self.map.bits)
        self._renew_map()

    def _renew_map(self) -> None:
        """Begin the map of what is not synced anew, as this machine's. It comes first, as the note says whose it is."""
        os.ftruncate(self._map_file, 0)
        os.pwrite(self._map_file, self.map.bits, 0)
        self._write_note()

    def _end_writing(self) -> None:
        number, self._file = self._file, -1
        try:
            os.close(number)
        except OSError:
            # So NFS tells that what was written is lost: only what was synced counts from now on.
            with suppress(OSError):
                os.ftruncate(self._map_file, 0)
            raise

    def _write_note(self) -> None:
        if not self.edition:
            return
        note = {
            "wanted": self._wanted,
            "source": self.source,
            "edition": self.edition,
            "block_bytes": self.map.block_bytes,
            "inode": os.fstat(self._file).st_ino,
            "boot": _boot(),
            "synced": self._synced.hex(),
        }
        write_json(self._note_path, note)

    def _forget_notes(self) -> None:
        self._note_path.unlink(missing_ok=True)
        self._map_path.unlink(missing_ok=True)


def parts_path(folder: Path, dataset: Dataset) -> Path:
    """Where a dataset's blocks are."""
    return folder / f"{dataset.id}{BLOCKS_ENDING}"


def map_path(folder: Path, dataset: Dataset) -> Path:
    """Which of them were written by this run of the machine."""
    return folder / f"{dataset.id}.map"


def note_path(folder: Path, dataset: Dataset) -> Path:
    """Of which edition they are, and which of them were synced."""
    return folder / f"{dataset.id}{BLOCKS_ENDING}.json"


def _bits(note: dict[str, Any]) -> bytes:
    try:
        return bytes.fromhex(str(note.get("synced", "")))
    except ValueError:
        return b""


def is_of_this_run(note: dict[str, Any]) -> bool:
    """Whether the map beside a note was written since this machine was started."""
    return bool(note.get("boot")) and note.get("boot") == _boot()


@cache
def _boot() -> str:
    """What tells this run of the machine from others; "" if nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
