"""Owns the stamps: which copies were verified, in memory at once and on disk once the bytes are synced."""

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from onefs import alf
from onefs.catalogue.records import QC, Dataset
from onefs.content.arrivals import Arrivals
from onefs.content.files import read_json, write_json
from onefs.content.verification import Signature, Stamp

KEPT_IN_MEMORY = 200_000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The stamp on disk of a file that onefs fetched.

    `dataset` is as the catalogue had it then; when it was last used is the time of the stamp's own file.
    """

    dataset: Dataset
    signature: Signature
    last_use_s: float


class Stamps:
    """Stamps by dataset, one small JSON file each under `folder`, of copies below `root`.

    Safe to use from several threads. A stamp reaches the disk only after the bytes that it vouches for, in a thread
    of its own, so that nobody waits for the disk; until then it counts in this process only.
    """

    def __init__(self, folder: Path, root: Path, arrivals: Arrivals) -> None:
        self._folder = folder
        self._root = root
        self._arrivals = arrivals
        self._lock = threading.Condition()  # guards the arrivals, and the six below
        self._known: dict[UUID, Stamp | None] = {}
        self._unsynced: dict[UUID, Stamp] = {}
        self._unwritten: dict[UUID, Fetched] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._complained = False
        self._waiting: queue.SimpleQueue[tuple[Dataset, Stamp, str] | None] = queue.SimpleQueue()

    def get(self, dataset_id: UUID) -> Stamp | None:
        """The stamp of a dataset's copy, from memory after the first time."""
        try:
            return self._known[dataset_id]
        except KeyError:
            return self.reload(dataset_id)

    def reload(self, dataset_id: UUID) -> Stamp | None:
        """The stamp as it is on disk now, where another process may have written it."""
        stamp = _parse(read_json(self.path(dataset_id)))
        with self._lock:
            # What was never written to disk still counts here: it vouches for one file only, by its signature.
            stamp = self._unsynced.get(dataset_id) or stamp or self._known.get(dataset_id)
            self._remember(dataset_id, stamp)
        return stamp

    def put(self, dataset: Dataset, stamp: Stamp, path: str) -> None:
        """Vouch for the file at `path`: at once in this process, on disk once the file is synced."""
        with self._lock:
            self._remember(dataset.id, stamp)
            if self._closed:
                return
            if not self._has_thread():
                return
            self._unsynced[dataset.id] = stamp
            self._note_unwritten(dataset, stamp)
        self._waiting.put((dataset, stamp, path))

    def expect(self, dataset: Dataset, signature: Signature, source: str) -> None:
        """A file is about to get its name: should this process be killed then, it is still known whose it is."""
        with self._lock:
            self._note_unwritten(dataset, Stamp(signature, "", source=source))

    def drop(self, dataset_id: UUID) -> None:
        """Forget a stamp, on disk too."""
        with self._lock:
            self._unsynced.pop(dataset_id, None)
            self._unwritten.pop(dataset_id, None)
            self._remember(dataset_id, None)
            self._lock.notify_all()
        try:
            self.path(dataset_id).unlink(missing_ok=True)
        except OSError as error:
            self._complain(error)

    def fetched(self, dataset_id: UUID) -> Fetched | None:
        """The stamp on disk now, if it is that of a file that onefs fetched."""
        return _read_fetched(dataset_id, os.fspath(self.path(dataset_id)))

    def all_fetched(self) -> Iterator[Fetched]:
        """The stamps on disk of the files that onefs fetched. Raises OSError."""
        for folder in _names(self._folder):
            for name in _names(self._folder / folder):
                with suppress(ValueError):
                    found = _read_fetched(UUID(name.removesuffix(".json")), f"{self._folder}/{folder}/{name}")
                    if found is not None:
                        yield found

    def unwritten_anywhere(self) -> dict[tuple[UUID, Signature], Fetched]:
        """As `unwritten`, those of other processes too; some of them may be written, or gone, by now.

        What was left by a process that was killed is stamped: as ours, and as not verified.
        """
        found = {(each.dataset.id, each.signature): each for each in self.unwritten().values()}
        for path, is_there, values in self._arrivals.of_others():
            for value in values:
                with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                    fetched = _fetched(UUID(value["id"]), value, time.time())
                    if fetched is not None and is_there:
                        found[fetched.dataset.id, fetched.signature] = fetched
                    elif fetched is not None:
                        self._adopt(fetched, value)
            if not is_there:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        return found

    def unwritten(self) -> dict[UUID, Fetched]:
        """The stamps of files that onefs fetched that are not on disk yet."""
        with self._lock:
            return self._unwritten.copy()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every stamp is on disk; False if that took longer than `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            while self._unsynced and self._thread is not None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._lock.wait(left)
        return True

    def close(self, timeout_s: float) -> None:
        """Write what waits, for so long at most, and end the thread."""
        self.flush(timeout_s)
        with self._lock, suppress(OSError):
            self._closed = True
            self._arrivals.close()
        self._waiting.put(None)

    def _has_thread(self) -> bool:
        """Start the thread that writes stamps; False if the machine gives none, and this one stays in memory."""
        if self._thread is None:
            thread = threading.Thread(target=self._sync_all, name="onefs-stamps", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def _remember(self, dataset_id: UUID, stamp: Stamp | None) -> None:
        self._known.pop(dataset_id, None)
        self._known[dataset_id] = stamp
        if len(self._known) > KEPT_IN_MEMORY:
            del self._known[next(iter(self._known))]

    def path(self, dataset_id: UUID) -> Path:
        """Where a dataset's stamp is kept; the time of that file is when the dataset was last used."""
        name = str(dataset_id)
        return self._folder / name[:2] / f"{name}.json"

    def _sync_all(self) -> None:
        while (item := self._waiting.get()) is not None:
            dataset, stamp, path = item
            with self._lock:
                wanted = self._unsynced.get(dataset.id) == stamp and not self._closed
            if wanted:
                self._sync(dataset, stamp, path)

    def _sync(self, dataset: Dataset, stamp: Stamp, path: str) -> None:
        lost = False
        try:
            if _sync_file(path, stamp):
                self._write(dataset, stamp)
        except FileNotFoundError:
            log.debug("%s went away before it was synced.", path)
        except OSError as error:
            lost = True  # what is in memory may never come to disk
            log.warning("%s could not be written to disk (%s); it will be checked again.", path, error)
        with self._lock:
            if self._unsynced.get(dataset.id) == stamp:
                del self._unsynced[dataset.id]
                self._unwritten.pop(dataset.id, None)
                if not self._unwritten:
                    with suppress(OSError):
                        self._arrivals.clear()
                if lost:
                    self._remember(dataset.id, None)
            self._lock.notify_all()

    def _write(self, dataset: Dataset, stamp: Stamp) -> None:
        try:
            write_json(self.path(dataset.id), _value(dataset, stamp))
        except OSError as error:
            self._complain(error)

    def _note_unwritten(self, dataset: Dataset, stamp: Stamp) -> None:
        known = self._unwritten.get(dataset.id)
        if stamp.source and (known is None or known.signature != stamp.signature):
            self._unwritten[dataset.id] = Fetched(dataset, stamp.signature, time.time())
            with suppress(OSError):
                self._arrivals.add({"id": str(dataset.id), **_value(dataset, stamp)})

    def _adopt(self, fetched: Fetched, value: dict[str, Any]) -> None:
        if Signature.of((self._root / fetched.dataset.path).stat()) != fetched.signature:
            return
        path = self.path(fetched.dataset.id)
        there = read_json(path)
        if there.get("signature") != value["signature"]:
            write_json(path, {**value, "md5": ""})
        elif not there.get("source"):
            write_json(path, {**value, "md5": there["md5"]})

    def _complain(self, error: OSError) -> None:
        """Once: without stamps on disk all works, but copies are hashed again after a restart."""
        if not self._complained:
            self._complained = True
            log.warning("%s cannot be written (%s): files are verified anew after a restart.", self._folder, error)


def _sync_file(path: str, stamp: Stamp) -> bool:
    """Bring a file's bytes to disk; False if it is no longer the one that was verified.

    After an error the kernel takes the pages that it could not write for written: they must not be hashed again. So
    a file that onefs fetched goes, and another program's is read from the disk at its next look.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        return Signature.of(os.fstat(descriptor)) == stamp.signature
    except OSError:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        with suppress(OSError):
            if stamp.source and Signature.of(os.stat(path)) == stamp.signature:  # noqa: PTH116
                os.unlink(path)  # noqa: PTH108  (paths are strings here)
        raise
    finally:
        os.close(descriptor)


def _value(dataset: Dataset, stamp: Stamp) -> dict[str, Any]:
    eid = "" if dataset.eid is None else str(dataset.eid)
    return {"eid": eid, "session": dataset.session_path, "path": dataset.rel_path, **asdict(stamp)}


def _read_fetched(dataset_id: UUID, path: str) -> Fetched | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (a Path costs more than the call)
            return _fetched(dataset_id, json.loads(file.read()), os.fstat(file.fileno()).st_mtime)
    except (OSError, ValueError):
        return None


def _fetched(dataset_id: UUID, value: Any, last_use_s: float) -> Fetched | None:
    try:
        stamp, session, rel_path = _parse(value), str(value["session"]), str(value["path"])
        eid = UUID(value["eid"]) if value["eid"] else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if stamp is None or not stamp.source or not alf.is_safe_relative(f"{session}/{rel_path}"):
        return None
    size_bytes = stamp.signature.size_bytes
    dataset = Dataset(dataset_id, eid, session, rel_path, size_bytes, stamp.md5, True, QC.NOT_SET, None)
    return Fetched(dataset, stamp.signature, last_use_s)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  (names are strings here)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _parse(value: dict[str, Any]) -> Stamp | None:
    try:
        signature = Signature(**{key: int(number) for key, number in value["signature"].items()})
        return Stamp(signature, str(value["md5"]), str(value["accepted"]), str(value["source"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
