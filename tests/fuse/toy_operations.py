"""Operations over a small tree in memory, which count what they are asked, and a mount that a session serves."""

import ctypes
import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from onefs.fuse.callers import AFTER_SIGNAL_S, Request, wants_to_stop
from onefs.fuse.errnos import FuseError
from onefs.fuse.operations import ABSENT, OpenReply
from onefs.fuse.session import Session
from onefs.vfs.filesystem import Usage
from onefs.vfs.nodes import Attributes

ROOT = 1
LOOK_S = 0.02
"""How often to see whether a gate is open."""
DIRECTORY, FILE, LINK = 0o040755, 0o100644, 0o120777
FORBIDDEN = b"forbidden"
"""A name that the kernel is to believe nothing of."""


@dataclass(eq=False)
class ToyListing:
    """The entries of a directory at one time."""

    inode: int
    entries: list[tuple[bytes, Attributes]]


@dataclass
class Node:
    """A node: a folder has children, a file or a link has content. A file with a gate opens once that is set.

    `reply` is how the kernel is to read it, where that differs from the usual. Once `found` is
    set, it is found, and listed if it is a folder.
    """

    attributes: Attributes
    parent: int = ROOT
    children: dict[bytes, int] = field(default_factory=dict)
    content: bytes = b""
    gate: trio.Event | None = None
    found: trio.Event | None = None
    reply: dict[str, Any] = field(default_factory=dict)


class ToyOperations:
    """What `Operations` answers, for a tree of one's own. `asked` counts the calls."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.read_sizes: list[int] = []
        self.nodes = {ROOT: Node(Attributes(ROOT, 0, DIRECTORY, 0, 0, 1000))}
        self.open_files: dict[int, int] = {}
        self.forgotten: Counter[int] = Counter()
        self.xattrs = {b"user.short": b"value", b"user.long": b"x" * 5000}
        self.on_open: Callable[[], object] = lambda: None
        self._next_handle = 1

    def add(self, parent: int, name: bytes, mode: int = FILE, content: bytes = b"", **about: Any) -> int:
        """Add a node; returns its number."""
        ino = len(self.nodes) + 1
        attributes = Attributes(ino, 0, mode, len(content), 0, 1000, **about)
        self.nodes[ino] = Node(attributes, parent, content=content)
        self.nodes[parent].children[name] = ino
        return ino

    def replace(self, ino: int, **changed: Any) -> None:
        """Give a node other attributes."""
        self.nodes[ino].attributes = self.nodes[ino].attributes._replace(**changed)

    def _node(self, ino: int) -> Node:
        if ino not in self.nodes:
            raise FuseError(errno.ESTALE)
        return self.nodes[ino]

    def _file(self, handle: int) -> Node:
        if handle not in self.open_files:
            raise FuseError(errno.EBADF)
        return self.nodes[self.open_files[handle]]

    def lookup(self, parent: int, name: bytes, request: Request) -> Any:
        self.asked["lookup"] += 1
        node = self._node(parent)
        if name == FORBIDDEN:
            raise FuseError(errno.ENOSYS)
        if name in (b".", b".."):
            return (node if name == b"." else self.nodes[node.parent]).attributes
        child = self.nodes.get(node.children.get(name, 0))
        if child is None:
            return ABSENT
        return child.attributes if child.found is None else self._look_up_later(child, child.found, request)

    async def _look_up_later(self, child: Node, found: trio.Event, request: Request) -> Attributes:
        self.asked["waiting"] += 1
        await self._wait_at(found, request)
        return child.attributes

    def getattr(self, ino: int, request: Request) -> Attributes:
        self.asked["getattr"] += 1
        return self._node(ino).attributes

    def readlink(self, ino: int) -> bytes:
        self.asked["readlink"] += 1
        return self._node(ino).content

    def opendir(self, ino: int, request: Request) -> Any:
        self.asked["opendir"] += 1
        found = self._node(ino).found
        return self._list(ino) if found is None else self._list_later(ino, found, request)

    async def _list_later(self, ino: int, found: trio.Event, request: Request) -> ToyListing:
        self.asked["waiting"] += 1
        await self._wait_at(found, request)
        return self._list(ino)

    def _list(self, ino: int) -> ToyListing:
        node = self._node(ino)
        dots = [(b".", node.attributes), (b"..", self._node(node.parent).attributes)]
        return ToyListing(ino, dots + [(name, self.nodes[child].attributes) for name, child in node.children.items()])

    def readdir(self, listing: ToyListing, position: int, request: Request) -> Any:
        self.asked["readdir"] += 1
        return listing.entries[position : position + 500]

    def open(self, ino: int, flags: int, request: Request) -> Any:
        self.asked["open"] += 1
        self.on_open()
        gate = self._node(ino).gate
        return self._open(ino) if gate is None else self._open_later(ino, gate, request)

    def _open(self, ino: int) -> OpenReply:
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self.open_files[handle] = ino
        return OpenReply(handle, direct_io=False, keep_cache=True)._replace(**self.nodes[ino].reply)

    async def _open_later(self, ino: int, gate: trio.Event, request: Request) -> OpenReply:
        self.asked["waiting"] += 1
        await self._wait_at(gate, request)
        return self._open(ino)

    async def _wait_at(self, gate: trio.Event, request: Request) -> None:
        while not gate.is_set():
            if request.is_interrupted and wants_to_stop(request.pid):
                self.asked["interrupted"] += 1
                raise FuseError(errno.EINTR)
            await request.pause(trio.current_time() + (AFTER_SIGNAL_S if request.is_interrupted else LOOK_S))

    def read(self, handle: int, offset: int, size: int, request: Request) -> Any:
        self.asked["read"] += 1
        self.read_sizes.append(size)
        return self._file(handle).content[offset : offset + size]

    def release(self, handle: int) -> None:
        self.asked["release"] += 1
        self._file(handle)
        del self.open_files[handle]

    def write(self, handle: int, data: bytes, request: Request) -> int:
        self.asked["write"] += 1
        self._file(handle).content += data
        return len(data)

    def setattr(self, ino: int, sets_size: bool, request: Request) -> Attributes:
        self.asked["setattr"] += 1
        if not sets_size:
            raise FuseError(errno.EROFS)
        return self._node(ino).attributes

    def statfs(self, request: Request) -> Any:
        self.asked["statfs"] += 1
        return Usage(archive_bytes=40960, free_bytes=409600, files=7)

    def access(self, ino: int, mode: int, request: Request) -> None:
        self.asked["access"] += 1
        self._node(ino)

    def getxattr(self, ino: int, name: bytes, request: Request) -> bytes:
        self.asked["getxattr"] += 1
        if name not in self.xattrs:
            raise FuseError(errno.ENODATA)
        return self.xattrs[name]

    def listxattr(self, ino: int, request: Request) -> list[bytes]:
        self.asked["listxattr"] += 1
        return list(self.xattrs)

    def modify(self, ino: int, request: Request) -> None:
        self.asked["modify"] += 1
        raise FuseError(errno.EROFS)

    def forget(self, ino: int, times: int) -> None:
        self.asked["forget"] += 1
        self.forgotten[ino] += times


def mount(path: Path) -> int:
    """Mount a new connection there, and return it."""
    libc = ctypes.CDLL(None, use_errno=True)
    connection = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={connection},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other".encode()
    if libc.mount(b"toy", bytes(path), b"fuse.toy", 6, options):
        raise OSError(ctypes.get_errno(), "mount")
    return connection


def unmount(path: Path, *, lazily: bool = False) -> None:
    """Unmount. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(bytes(path), 2 if lazily else 0):
        raise OSError(ctypes.get_errno(), "umount")


def is_stuck(thread: threading.Thread) -> bool:
    """Whether a thread of this process waits in the kernel, out of reach of signals."""
    return Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()[0] == "D"


class Served:
    """A session that a thread of its own serves. It is given `more`."""

    def __init__(self, connection: int, operations: ToyOperations, path: Path | None = None, *more: Any) -> None:
        self.session = Session(connection, operations, *more)  # type: ignore[arg-type]
        self.operations = operations
        self.path = path
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        self._begun, self._scope = threading.Event(), trio.CancelScope()
        self._thread.start()
        self._begun.wait()

    def _serve(self) -> None:
        async def serve() -> None:
            self._token = trio.lowlevel.current_trio_token()
            with self._scope:
                self._begun.set()
                await self.session.serve()

        try:
            trio.run(serve)
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def in_loop(self, function: Any, *about: Any) -> Any:
        """Call a function in the loop of the session."""
        return trio.from_thread.run_sync(function, *about, trio_token=self._token)

    def cancel(self) -> None:
        """Cancel serving. For the loop of the session."""
        self._scope.cancel()

    def abort(self) -> None:
        """Abort the connection, as an administrator can."""
        assert self.path is not None
        number = os.minor(os.stat(self.path).st_dev)
        Path(f"/sys/fs/fuse/connections/{number}/abort").write_text("1")

    def end(self) -> None:
        """Wait until the session has ended. Raises what it raised."""
        self._thread.join()
        if self.error is not None:
            raise self.error


@contextmanager
def mounted(path: Path, operations: ToyOperations, *more: Any) -> Iterator[Served]:
    """A mount that a session serves until the end of the block."""
    path.mkdir(exist_ok=True)
    served = Served(mount(path), operations, path, *more)
    try:
        yield served
    finally:
        with suppress(OSError):
            unmount(path, lazily=True)
        served.end()
        served.session.close()
