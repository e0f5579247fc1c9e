"""Two ways to look at the recorded archive with one interface: in process, and through a real mount."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Protocol, TypeVar

from archives import PASSWORD, RECORDINGS, USER, flags_for
from file_systems import file_system_of
from mounted import Mounted
from servers import Nginx
from waiting import PATIENCE_S

from onefs.cache.store import ContentStore
from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.revisions import Rule
from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import OnefsError
from onefs.fetch.access import Content
from onefs.fuse.errnos import errno_of
from onefs.modes import Mode
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location, Login
from onefs.transports.http import HttpTransport
from onefs.vfs import inodes
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.links import resolvers
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

PIECE_BYTES = 1 << 17
T = TypeVar("T")


class ArchiveView(Protocol):
    """What a program sees of an archive. Paths are relative to its root; failures are OSErrors with their errno."""

    cache: Path

    def names(self, path: str) -> list[str]: ...
    def stat(self, path: str) -> tuple[int, bool, int, int]:
        """Inode number, whether it is a directory, size in bytes, time in seconds."""

    def read(self, path: str) -> bytes: ...
    def xattr(self, path: str, name: str) -> str: ...
    def xattrs(self, path: str) -> list[str]: ...


class InProcess:
    """The file system without a kernel."""

    def __init__(self, file_system: FileSystem, cache: Path) -> None:
        self._file_system = file_system
        self.cache = cache

    def names(self, path: str) -> list[str]:
        return [name for name, _ in self._do(lambda: list(self._file_system.entries(self._ino(path))))][2:]

    def stat(self, path: str) -> tuple[int, bool, int, int]:
        found = self._do(lambda: self._file_system.attributes(self._ino(path)))
        return found.ino, stat.S_ISDIR(found.mode), found.size_bytes, found.time_s

    def read(self, path: str) -> bytes:
        return self._do(lambda: self._read(self._ino(path)))

    def xattr(self, path: str, name: str) -> str:
        return self._do(lambda: self._file_system.xattr(self._ino(path), name)).decode()

    def xattrs(self, path: str) -> list[str]:
        return self._do(lambda: self._file_system.xattr_names(self._ino(path)))

    def _ino(self, path: str) -> int:
        ino = inodes.ROOT
        for name in filter(None, path.split("/")):
            ino = self._file_system.lookup(ino, name).ino
        return ino

    def _read(self, ino: int) -> bytes:
        opened = self._file_system.open(ino)
        pieces: list[bytes] = []
        with contextlib.closing(opened.file) as file:
            while True:
                at = sum(map(len, pieces))
                while (pending := file.wait(at, PIECE_BYTES)) is not None:
                    wait([pending], PATIENCE_S)
                piece = file.read_now(at, PIECE_BYTES)
                pieces.append(file.read(at, PIECE_BYTES) if piece is None else piece)
                if len(pieces[-1]) < PIECE_BYTES:
                    self._file_system.check_end(opened, at + len(pieces[-1]))
                    return b"".join(pieces)

    @staticmethod
    def _do(act: Callable[[], T]) -> T:
        try:
            return act()
        except OnefsError as error:
            raise OSError(errno_of(error), str(error)) from error


class OnMount:
    """The file system as programs have it."""

    def __init__(self, mount: Mounted) -> None:
        self._root = mount.path
        self.cache = mount.cache

    def names(self, path: str) -> list[str]:
        return os.listdir(self._root / path)

    def stat(self, path: str) -> tuple[int, bool, int, int]:
        found = os.stat(self._root / path)
        return found.st_ino, os.path.isdir(self._root / path), found.st_size, int(found.st_mtime)

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def xattr(self, path: str, name: str) -> str:
        return os.getxattr(self._root / path, name).decode()

    def xattrs(self, path: str) -> list[str]:
        return os.listxattr(self._root / path)


@contextlib.contextmanager
def in_process(server: Nginx, home: Path) -> Iterator[ArchiveView]:
    """The recorded archive, every QC outcome shown."""
    cache, archive = home / "cache", ArchiveServer(server.url, Login(USER, PASSWORD))

    def locate(dataset: Dataset) -> list[Location]:
        return [archive.location(dataset.path, dataset.id)]

    content = Content(
        ContentStore(cache, cache / ".onefs"),
        HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=8, proxy=""),
        locate,
        locate,
    )
    snapshot = load_snapshot(RECORDINGS / "tables", cache / ".onefs")
    views = {
        "local": Tree(snapshot, View(1, Rule(QC.CRITICAL)), {}),
        "auto": Tree(snapshot, View(2, Rule(QC.CRITICAL)), {}),
    }
    root = Tree(snapshot, View(rule=Rule(QC.CRITICAL)), {})
    shown = file_system_of(root, content, Mode.AUTO, views={"via": views}, links=resolvers(snapshot))
    try:
        yield InProcess(shown, cache)
    finally:
        content.close()


@contextlib.contextmanager
def on_mount(server: Nginx, home: Path) -> Iterator[ArchiveView]:
    """The same through the kernel."""
    flags = [*flags_for(server), "--qc", "CRITICAL"]
    with Mounted(RECORDINGS / "tables", home, *flags, ONEFS_DATA_PASSWORD=PASSWORD) as mount:
        yield OnMount(mount)


VIEWS = {"in_process": in_process, "mounted": on_mount}
