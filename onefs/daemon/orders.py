"""What fetch, pin, unpin, evict and verify mean: the work of each, and what it counts."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from onefs.cache.locks import StoppedError
from onefs.cache.usage import footprint
from onefs.catalogue.records import Dataset
from onefs.daemon.work import Done, Work
from onefs.errors import KeptError, OfflineError, OnefsError
from onefs.fetch.access import Content, OpenFile
from onefs.fetch.copies import Outcome
from onefs.fetch.keeping import Keeping
from onefs.modes import ALLOWED, Mode

EVICTED_AT_ONCE = 4
BLOCK_BYTES = 512
Datasets = Callable[[], Iterator[Dataset]]
_OUTCOMES = {
    Outcome.RIGHT: "verified",
    Outcome.HASHED: "hashed",
    Outcome.WRONG: "wrong",
    Outcome.MOVED: "quarantined",
    Outcome.ABSENT: "absent",
}


class Orders:
    """Makes the work of commands over one content. Safe to use from several threads.

    `mode` is the one asked for; `record` is told of each failure that nobody else is told of. `has_server` says
    whether there is a server that files could be fetched from.
    """

    def __init__(
        self,
        content: Content,
        mode: Callable[[], Mode],
        record: Callable[[str, OnefsError], None] = lambda path, error: None,  # noqa: ARG005
        *,
        fetches_at_once: int,
        has_server: bool,
    ) -> None:
        self._content = content
        self._has_server = has_server
        self._keeping: Keeping = content.keeping
        self._mode = mode
        self._record = record
        self._fetches_at_once = fetches_at_once
        self._checks_at_once = 2 * (os.cpu_count() or 1)

    def fetch(self, paths: Sequence[str], datasets: Datasets) -> Work:
        """Have datasets in the cache, whole and verified. Raises `OfflineError` if nothing may be fetched."""
        self._check_may_fetch()
        return self._fetching("fetch", paths, datasets, pins=False)

    def pin(self, paths: Sequence[str], datasets: Datasets) -> Work:
        """Have datasets in the cache, and keep them there. Raises `OfflineError` if one would have to be fetched."""
        if not ALLOWED[self._mode()].fetching and any(self._size_there(dataset) is None for dataset in datasets()):
            self._check_may_fetch()
        return self._fetching("pin", paths, datasets, pins=True)

    def unpin(self, datasets: Datasets) -> None:
        """Let datasets leave the cache when room is wanted."""
        for dataset in datasets():
            self._keeping.unpin(dataset)

    def evict(self, paths: Sequence[str], datasets: Datasets, *, skips: bool) -> Work:
        """Remove datasets from the cache. Those that must stay are failures, or with `skips` only counted."""

        def act(dataset: Dataset) -> Done:
            try:
                freed_bytes = self._keeping.evict(dataset)
            except KeptError as error:
                if skips:
                    return Done("pinned" if self._keeping.is_pinned(dataset) else "foreign")
                self._record(dataset.path, error)
                raise
            except OnefsError as error:
                self._record(dataset.path, error)
                raise
            return Done("evicted", freed_bytes)

        def cached() -> Iterator[Dataset]:
            return (dataset for dataset in datasets() if self._is_there(dataset))

        return Work(
            "evict", paths, cached, act, lambda dataset: (self._footprint(dataset), 0), EVICTED_AT_ONCE, is_local=True
        )

    def verify(self, paths: Sequence[str], datasets: Datasets) -> Work:
        """Hash the copies of datasets anew; those without a copy are passed over."""
        read: dict[str, int] = {}
        stopped = threading.Event()

        def cached() -> Iterator[Dataset]:
            return (dataset for dataset in datasets() if self._size_there(dataset) is not None)

        def act(dataset: Dataset) -> Done:
            def add(size_bytes: int) -> None:
                if stopped.is_set():
                    raise StoppedError
                read[dataset.path] = read.get(dataset.path, 0) + size_bytes

            try:
                outcome, wrong = self._keeping.verify(dataset, add)
            except OnefsError as error:
                if not stopped.is_set():
                    self._record(dataset.path, error)
                raise
            finally:
                size_bytes = read.pop(dataset.path, 0)
            return Done(_OUTCOMES[outcome], size_bytes, size_bytes, wrong)

        def size(dataset: Dataset) -> tuple[int, int]:
            there_bytes = self._size_there(dataset) or 0
            return there_bytes, there_bytes

        return Work(
            "verify", paths, cached, act, size, self._checks_at_once, is_local=True, coming=read.copy, stop=stopped.set
        )

    def _fetching(self, verb: str, paths: Sequence[str], datasets: Datasets, *, pins: bool) -> Work:
        open_files = _OpenFiles()

        def act(dataset: Dataset) -> Done:
            if pins:
                self._keeping.pin(dataset)
            there_bytes = self._size_there(dataset)
            size_bytes = self._have(dataset, open_files)
            if pins and self._size_there(dataset) is None:  # it left the cache while it was being pinned
                there_bytes, size_bytes = None, self._have(dataset, open_files)
            return Done("fetched", size_bytes, size_bytes) if there_bytes is None else Done("cached", size_bytes)

        def size(dataset: Dataset) -> tuple[int, int]:
            there_bytes = self._size_there(dataset)
            size_bytes = dataset.size_bytes or 0
            return size_bytes, size_bytes if there_bytes is None else 0

        return Work(verb, paths, datasets, act, size, self._fetches_at_once, coming=self._coming, stop=open_files.close)

    def _have(self, dataset: Dataset, open_files: "_OpenFiles") -> int:
        """Have a dataset whole and verified; its size. An earlier failure is no reason not to try."""
        self._keeping.forget_failure(dataset)
        try:
            file = self._content.open(dataset, may_fetch=ALLOWED[self._mode()].fetching)
        except OnefsError as error:
            self._record(dataset.path, error)
            raise
        with open_files.holding(dataset, file):
            file.wait_whole()
            return file.size_bytes or 0

    def _coming(self) -> Mapping[str, int]:
        return {transfer.path: transfer.done_bytes for transfer in self._content.transfers()}

    def _size_there(self, dataset: Dataset) -> int | None:
        return self._content.cached_size(dataset)

    def _footprint(self, dataset: Dataset) -> int:
        """Bytes that come free if a dataset goes."""
        size_bytes = self._size_there(dataset)
        if size_bytes is not None:
            return footprint(size_bytes)
        return self._content.cached_blocks(dataset) * BLOCK_BYTES

    def _is_there(self, dataset: Dataset) -> bool:
        """Whether there is anything of a dataset, whole or not."""
        return self._size_there(dataset) is not None or self._content.cached_blocks(dataset) > 0

    def _check_may_fetch(self) -> None:
        mode = self._mode()
        if not ALLOWED[mode].fetching:
            raise nothing_fetched(mode, "Switch to mode auto first: onefs mode auto.", has_server=self._has_server)


def nothing_fetched(mode: Mode, remedy: str, *, has_server: bool) -> OfflineError:
    """The error for a fetch in a mode that fetches nothing. `remedy` is used if the source has a server."""
    if has_server:
        return OfflineError(f"Mode {mode} fetches nothing.", remedy)
    return OfflineError(
        "The source is a folder without a server, so there is nowhere to fetch from.",
        "Copy the files into the folder, or mount it with --data-url URL of a server that has them.",
    )


class _OpenFiles:
    """The files that a job waits for. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._files: set[OpenFile] = set()
        self._is_closed = False

    @contextmanager
    def holding(self, dataset: Dataset, file: OpenFile) -> Iterator[None]:
        """A block that waits for a file, which is closed after it. Raises `OfflineError` if it is closed before."""
        with self._lock:
            self._files.add(file)
        try:
            if self._is_closed:
                file.close()
            yield
        except ValueError:  # what a closed file raises
            if not self._is_closed:
                raise
            raise OfflineError(f"{dataset.path} is not waited for any more.", "Fetch it again.") from None
        finally:
            with self._lock:
                self._files.discard(file)
            file.close()

    def close(self) -> None:
        """Wait for none any more."""
        with self._lock:
            self._is_closed = True
            files = list(self._files)
        for file in files:
            file.close()
