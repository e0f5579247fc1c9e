"""The set-up of the content's tests: datasets on a faulty server, caches in front of it, other processes."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from servers import FaultServer
from waiting import PATIENCE_S

from onefs import alf
from onefs.cache.quota import Limits
from onefs.cache.sharing import state_folder
from onefs.cache.store import ContentStore
from onefs.catalogue.records import QC, Dataset
from onefs.errors import OnefsError
from onefs.fetch.access import BlockRules, Content, OpenFile, Patience, Verify
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location
from onefs.transports.http import HttpTransport

SESSION = "lab/Subjects/KS014/2020-01-01/001"
OTHER_PROCESS = Path(__file__).with_name("other_process.py")
QUICK = Patience(tries=3, first_pause_s=0.01, longest_pause_s=0.05, slow_window_s=PATIENCE_S, settled_s=0)


def dataset_of(number: int, data: bytes, name: str = "", *, md5: str | None = None, size: int | None = -1) -> Dataset:
    """A dataset whose catalogue entry fits `data`, unless told otherwise."""
    return Dataset(
        id=UUID(int=0x4000_0000 + number),
        eid=UUID(int=1),
        session_path=SESSION,
        rel_path=name or f"alf/#2024-05-06#/_ibl_trials.table{number}.npy",
        size_bytes=len(data) if size == -1 else size,
        md5=hashlib.md5(data).hexdigest() if md5 is None else md5,
        exists=True,
        qc=QC.PASS,
        default_revision=True,
    )


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ArchiveAndCache:
    """A server with datasets, and as many `Content`s on one cache as a test asks for. A context manager."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cache = home / "cache"
        self.server = FaultServer()
        self.others: list[FaultServer] = []
        self.clock = Clock()
        self.failures: list[tuple[Dataset, OnefsError]] = []
        self.changes: list[Dataset] = []
        self.withdrawals: list[Dataset] = []
        self.mismatches: list[tuple[Dataset, Location]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def another_server(self) -> FaultServer:
        """A further location of every dataset, after those before."""
        server = self._stack.enter_context(FaultServer())
        self.others.append(server)
        return server

    def add(self, data: bytes, number: int = 1, name: str = "", **catalogue: Any) -> Dataset:
        """Put a dataset on every server."""
        dataset = dataset_of(number, data, name, **catalogue)
        for server in (self.server, *self.others):
            server.put(self.url_path(dataset), data)
        return dataset

    def url_path(self, dataset: Dataset) -> str:
        """The dataset's path on the servers, as `FaultServer` takes it."""
        return "/" + alf.archive_path(dataset.path, dataset.id)

    def file(self, dataset: Dataset, *, with_uuid: bool = False) -> Path:
        """Where the dataset's file belongs in the cache."""
        return self.cache / (alf.archive_path(dataset.path, dataset.id) if with_uuid else dataset.path)

    def put_in_cache(self, dataset: Dataset, data: bytes, *, with_uuid: bool = False) -> Path:
        """Put a file into the cache as another program would."""
        path = self.file(dataset, with_uuid=with_uuid)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def locate(self, dataset: Dataset) -> Sequence[Location]:
        """The dataset's locations, a signature in each URL."""
        servers = [ArchiveServer(server.url) for server in (self.server, *self.others)]
        found = [server.location(dataset.path, dataset.id) for server in servers]
        return [dataclasses.replace(location, url=f"{location.url}?signature=secret") for location in found]

    def content(
        self,
        *,
        verify: Verify = Verify.AUTO,
        is_cache: bool = True,
        may_displace: bool = True,
        read_timeout_s: float = PATIENCE_S,
        patience: Patience = QUICK,
        max_transfers: int = 256,
        prefetches: int = 64,
        blocks: BlockRules | None = None,
        locate: Callable[[Dataset], Iterable[Location]] | None = None,
        limits: Limits | None = None,
        uuid_filenames: bool = False,
    ) -> Content:
        """A `Content` on the cache, closed at the end of the test."""
        store = ContentStore(
            self.cache,
            state_folder(self.cache),
            is_cache=is_cache,
            may_displace=may_displace,
            limits=limits,
            uuid_filenames=uuid_filenames,
        )
        transport = HttpTransport(
            connect_timeout_s=PATIENCE_S, read_timeout_s=read_timeout_s, max_connections=max_transfers
        )
        content = Content(
            store,
            transport,
            locate or self.locate,
            self.locate,
            verify=verify,
            blocks=blocks,
            max_transfers=max_transfers,
            prefetches=prefetches,
            patience=patience,
            events=self,
            clock=self.clock,
        )
        self._stack.callback(transport.close)
        self._stack.callback(content.close)
        return content

    def changed(self, dataset: Dataset) -> None:
        self.changes.append(dataset)

    def failed(self, dataset: Dataset, error: OnefsError) -> None:
        self.failures.append((dataset, error))

    def mismatched(self, dataset: Dataset, location: Location) -> None:
        self.mismatches.append((dataset, location))

    def withdrawn(self, dataset: Dataset) -> None:
        self.withdrawals.append(dataset)

    def other_process(
        self, dataset: Dataset, blocks: BlockRules | None = None, *, dies: bool = False, uuid_filenames: bool = False
    ) -> "subprocess.Popen[str]":
        """Start another process that reads the dataset through the same cache and prints its MD5, or `dies` then."""
        argument = json.dumps(
            {
                "cache": str(self.cache),
                "url": self.server.url,
                "id": str(dataset.id),
                "session_path": dataset.session_path,
                "rel_path": dataset.rel_path,
                "size_bytes": dataset.size_bytes,
                "md5": dataset.md5,
                "blocks": None if blocks is None else dataclasses.asdict(blocks),
                "dies": dies,
                "uuid_filenames": uuid_filenames,
            }
        )
        process = subprocess.Popen(
            [sys.executable, OTHER_PROCESS, argument], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._stack.callback(_end, process)
        return process

    def partial(self, dataset: Dataset) -> Path:
        """Where what is fetched so far lies."""
        return self.cache / ".onefs" / "partial" / f"{dataset.id}.blocks"

    def quarantined(self) -> list[bytes]:
        """The contents of the files in quarantine."""
        folder = self.cache / ".onefs" / "quarantine"
        return [path.read_bytes() for path in folder.glob("*") if path.suffix != ".json"] if folder.exists() else []


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def read(content: Content, dataset: Dataset, *, may_fetch: bool = True) -> bytes:
    """The whole file, waited for."""
    file = content.open(dataset, may_fetch=may_fetch)
    try:
        return read_open(file)
    finally:
        file.close()


def read_open(file: OpenFile) -> bytes:
    """The whole of an open file, waited for."""
    pieces: list[bytes] = []
    while True:
        offset = sum(map(len, pieces))
        waiting = file.wait(offset, 1 << 20)
        if waiting is not None:
            waiting.result(timeout=PATIENCE_S)
            continue
        piece = file.read(offset, 1 << 20)
        if piece == b"":
            return b"".join(pieces)
        if piece is not None:
            pieces.append(piece)


def together(job: Callable[[int], object], count: int) -> None:
    """Run a job in so many threads at once; fails if one does."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait()
            job(number)
        except BaseException as error:  # noqa: BLE001  (raised again below)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
