"""`Syncer`: brings verified files to the disk in the background, and marks the rows of those whose bytes are there."""

import ctypes
import errno
import functools
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from onefs import mountinfo
from onefs.cache.beneath import Folder
from onefs.cache.verify import CopyRecord, record_of, row_of

T = TypeVar("T")
SYNC_AFTER_S = 2.0
FEW = 8
"""So many files are synced one by one, as the rest would bring what other programs write to the disk, too."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TELLS_ERRORS_FROM = (5, 8)
"""The first kernel whose `syncfs` tells of bytes that were lost."""
log = logging.getLogger(__name__)


class Rows(Protocol):
    """The rows of copies."""

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T: ...

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T: ...

    def drop(self, dataset_id: UUID) -> None: ...


class Syncer:
    """Syncs the files of a cache below `root`, some seconds after one came. Safe to use from several threads."""

    def __init__(self, rows: Rows, root: Path, *, follows_links: bool = False) -> None:
        """With `follows_links`, files behind links are synced too, as in an archive that is its owner's alone."""
        self._rows = rows
        self._root = root
        self._folder = Folder(root, follows_links=follows_links)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin without a thread, in a process that was forked off."""
        self._changed = threading.Condition()  # guards all below
        self._number = -1  # of the folder, open since before files were written
        self._run = ""
        self._wanted = self._done = 0
        self._hurries = self._has_thread = self._closed = False

    @property
    def run(self) -> str:
        """Names this boot of the machine and this mount of the cache; "" if that cannot be told."""
        if not self._run:
            with self._changed, suppress(OSError, StopIteration):
                if self._number < 0:
                    self._number = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                lines = Path(f"/proc/self/fdinfo/{self._number}").read_text().splitlines()
                mount = next(line for line in lines if line.startswith("mnt_id:"))
                self._run = f"{BOOT_ID.read_text().strip()} {mount.split()[1]}"
        return self._run

    def note(self) -> None:
        """A file came: have it synced soon."""
        with self._changed:
            self._wanted += 1
            if not (self._has_thread or self._closed):
                self._has_thread = True
                try:
                    threading.Thread(target=self._work, name="onefs-sync", daemon=True).start()
                except RuntimeError:
                    self._has_thread = False  # the next one, or another process, syncs it

    def flush(self, timeout_s: float | None) -> bool:
        """Sync what came until now, and wait for that; False if it took longer."""
        with self._changed:
            wanted = self._wanted
            if self._done >= wanted or not self._has_thread:
                return self._done >= wanted
            self._hurries = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= wanted, timeout_s)

    def close(self) -> None:
        """End the thread, and let go of the folder, which may be on a disk that is to be unmounted."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._close_folder()

    def _close_folder(self) -> None:
        if not self._closed or self._has_thread:
            return
        self._folder.close()
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._hurries or self._closed, SYNC_AFTER_S)
                wanted = self._wanted
            try:
                self._sync()
            except Exception:
                log.exception("Unforeseen failure while files were synced; they are verified anew after a restart")
            with self._changed:
                self._done = wanted
                self._changed.notify_all()
                if self._done == self._wanted or self._closed:
                    self._hurries = self._has_thread = False
                    self._close_folder()
                    return

    def _sync(self) -> None:
        """Sync all files whose rows are not marked, also those of a process that was killed."""
        run = self.run
        query = "SELECT * FROM copies WHERE run = ? AND NOT synced"
        rows = self._rows.read(lambda connection: connection.execute(query, (run,)).fetchall()) if run else []
        all_at_once = len(rows) > FEW and self._sync_at_once()
        synced: list[tuple[Any, ...]] = []
        for row in rows:
            record = record_of(row, run)
            if record is None:
                continue
            is_on_disk = self._sync_file(record, is_synced=all_at_once)
            if is_on_disk:
                synced.append((*row_of(record, run, synced=True)[-3:-1], row[0], row[-2]))
            elif is_on_disk is not None:
                self._rows.drop(record.dataset.id)
        if synced:
            change = "UPDATE copies SET synced = ?, checksum = ? WHERE id = ? AND checksum = ?"
            self._rows.write(lambda connection: connection.executemany(change, synced))

    def _sync_at_once(self) -> bool:
        """Sync the file system of the cache; False if each file must be synced by itself."""
        library = _library()
        if library is None or not mountinfo.tells_lost_bytes(self._root):
            return False
        while library.syncfs(self._number):
            if ctypes.get_errno() != errno.EAGAIN:  # bytes were lost, or a sandbox forbids it
                return False
            time.sleep(SYNC_AFTER_S)
        return True

    def _sync_file(self, record: CopyRecord, *, is_synced: bool) -> bool | None:
        """Bring a file's bytes to the disk; False if they were lost, None if that cannot be told now.

        After an error the kernel takes the pages that it could not write for written: they must not be hashed again.
        So a file that onefs fetched goes, and another program's is read from the disk at its next look.
        """
        found = record.find_file(os.fspath(self._root))
        if found is None:
            return True  # no file that the row is about
        path, status = found[0].removeprefix(f"{self._root}/"), found[1]
        if is_synced and status.st_dev == os.fstat(self._number).st_dev:
            return True
        try:
            number, _ = self._folder.open_file(path)
        except OSError as error:
            return True if isinstance(error, FileNotFoundError) else None
        try:
            os.fsync(number)
        except OSError as error:
            log.warning("%s could not be written to disk (%s); it will be checked again.", path, error)
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
            if record.is_fetched:
                with suppress(OSError):
                    self._folder.remove_file(path, status)
            return False
        finally:
            os.close(number)
        return True


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The C library, if it has a `syncfs` that tells of errors."""
    release = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2] if number.isdecimal())
    try:
        library = ctypes.CDLL(None, use_errno=True)
        library.syncfs.argtypes = [ctypes.c_int]
    except (OSError, AttributeError):
        return None
    return library if release >= TELLS_ERRORS_FROM else None
