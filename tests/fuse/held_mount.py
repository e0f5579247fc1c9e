"""A mount in this process of whose servers, database, commands and disk none answers until it is told to."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio
from archives import make_tables, on_servers
from asking import Database, tables_of
from servers import Fault, FaultServer
from toy_operations import LOOK_S, Served, ToyOperations, mount, mounted, unmount
from waiting import PATIENCE_S
from waiting_program import HALF

from onefs.cache.store import ContentStore
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import load_snapshot
from onefs.daemon.logs import MemoryLog
from onefs.fetch.access import BlockRules, Content, Patience
from onefs.fuse.callers import Request
from onefs.fuse.errnos import errno_name
from onefs.fuse.notify import Notifier
from onefs.fuse.operations import Operations
from onefs.modes import Mode
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location
from onefs.transports.http import HttpTransport
from onefs.vfs.control import Command, Daemon, control_directory
from onefs.vfs.filesystem import FileSystem, Usage
from onefs.vfs.forest import Forest
from onefs.vfs.journal import Journal
from onefs.vfs.links import resolvers
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

WHOLE, BLOCKS, UNSIZED, VERIFIED = (f"alf/{name}.times.npy" for name in ("whole", "blocks", "unsized", "verified"))
FILES = {WHOLE: b"whole" * 1000, BLOCKS: bytes(3 * HALF), UNSIZED: bytes(3 * HALF), VERIFIED: b"verified" * 1000}


class HeldDatabase(Database):
    """Counts its questions, and answers none while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.n_asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def told(self, *question: str) -> Any:
        self.n_asked += 1
        self.answers.wait(PATIENCE_S)
        return super().told(*question)


class HeldDisk(ToyOperations):
    """A disk that does not tell how much room it has."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()

    def statfs(self, request: Request) -> Any:
        return self._usage()

    async def _usage(self) -> Usage:
        self.asked["statfs"] += 1
        while not self.gate.is_set():
            await trio.sleep(LOOK_S)
        return Usage(0, 0, 0)


class HeldMount:
    """The mount, at `path`. A context manager, at whose end everything answers."""

    def __init__(self, home: Path, files: dict[str, bytes] = FILES, *, max_transfers: int = 1000) -> None:
        self.path = home / "mnt"
        self.home = home
        self.files = files
        self.server = FaultServer()
        self.database = HeldDatabase()
        self.n_commands_under_way = 0
        self.command_done = threading.Event()
        self.notifier = Notifier()
        self.datasets: dict[str, Dataset] = {}
        self._max_transfers = max_transfers
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.server)
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _begin(self) -> None:
        home = self.home
        self.datasets = make_tables(home / "sized", self.files)
        if UNSIZED in self.datasets:
            self.datasets[UNSIZED] = replace(self.datasets[UNSIZED], size_bytes=None)
        for name, dataset in self.datasets.items():
            self.server.put(on_servers(dataset), self.files[name])
        sessions = [load_snapshot(home / "sized", home / "state").session(0)]
        snapshot = load_snapshot(tables_of(home / "tables", sessions, self.datasets.values()), home / "state")
        self.database.all_sessions = sessions
        self.database.all_datasets = list(self.datasets.values())
        archive = ArchiveServer(self.server.url)

        def locate(dataset: Dataset) -> Sequence[Location]:
            return [archive.location(dataset.path, dataset.id)]

        transport = HttpTransport(
            connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=self._max_transfers
        )
        self._stack.callback(transport.close)
        self.content = Content(
            ContentStore(home / "cache", home / "state"),
            transport,
            locate,
            locate,
            blocks=BlockRules(whole_file_max_bytes=HALF),
            max_transfers=self._max_transfers,
            patience=Patience(tries=1, settled_s=0),
        )
        self._stack.callback(self.content.close)
        self.file_system = self._file_system(snapshot)
        self.operations = Operations(self.file_system, open_wait_s=0)
        self.path.mkdir()
        self.served = Served(mount(self.path), self.operations, self.path)  # type: ignore[arg-type]
        self.notifier.start(self.served.session)
        self._stack.callback(self._end)

    def _file_system(self, snapshot: Any) -> FileSystem:
        live = LiveSnapshot(
            self.database,
            snapshot,
            expiry_s=lambda: -1,
            retry_s=-1,
            on_change=lambda changes: self.notifier.tell_names(self.file_system.learned(changes)),
        )
        journal = Journal(errno_name)
        daemon = Daemon(
            *(str, str, str, str),
            log=MemoryLog(),
            mode=lambda: Mode.AUTO,
            pinned=str,
            commands={"hold": Command("hold", "waits", self._hold)},
        )
        forest = Forest(
            Tree(live.silent(), View(), {}),
            control_directory(daemon, journal),
            {"via": {"remote": Tree(live, View(1), {})}},
            resolvers(live),
        )
        return FileSystem(forest, self.content, journal, lambda: Mode.AUTO, serves_mismatches=False)

    def _hold(self, words: list[str]) -> None:
        self.n_commands_under_way += 1
        self.command_done.wait(PATIENCE_S)
        self.n_commands_under_way -= 1

    def _end(self) -> None:
        self.answer()
        self.notifier.stop()
        with suppress(OSError):
            unmount(self.path, lazily=True)
        self.served.end()
        self.served.session.close()

    def answer(self) -> None:
        """Have everything answer from now on."""
        self.server.release()
        self.database.answers.set()
        self.command_done.set()

    @contextmanager
    def held_disk(self) -> Iterator[None]:
        """A block in which the cache's disk does not tell how much room it has."""
        disk = HeldDisk()
        with mounted(self.home / "cache", disk) as served:
            yield
            served.in_loop(disk.gate.set)

    def wait_at_open(self, *, is_on: bool = True) -> None:
        """Have programs wait where they open a file until it has come, or where they read it."""
        self.operations._open_wait_s = inf if is_on else 0

    def hold(self, name: str, fault: Fault) -> None:
        """Set what the server does not send of a file."""
        self.server.fault(on_servers(self.datasets[name]), fault)

    def request_of(self, pid: int) -> Request | None:
        """The request of a process that waits for its answer."""
        return self.served.in_loop(lambda: next((each for each in self._waiting() if each.pid == pid), None))

    def is_interrupted(self, pid: int) -> bool:
        """Whether the kernel has told that a process which waits has a signal."""
        request = self.request_of(pid)
        return request is not None and request.is_interrupted

    def n_waiting(self) -> int:
        """How many requests wait for their answers."""
        return len(self.served.in_loop(self._waiting))

    def _waiting(self) -> list[Request]:
        return list(self.served.session._waiting.values())

    def left(self) -> list[str]:
        """What is under way for programs, or open."""
        return self.served.in_loop(self._left)

    def _left(self) -> list[str]:
        session, operations = self.served.session, self.operations
        assert session._handlers is not None
        handles = session._handlers._handles | operations._files.keys() | operations._writers.keys()
        return [f"request {unique}" for unique in session._waiting] + [f"handle {number}" for number in handles]
