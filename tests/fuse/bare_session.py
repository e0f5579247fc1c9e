"""A mount of a few files by a bare loop over the kernel's protocol, one request after the other, and programs on it."""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import reading_program
from privileges import drop_capabilities

from onefs.errors import OnefsError
from onefs.fetch.open_file import OpenFile
from onefs.fuse.counters import Counters
from onefs.fuse.errnos import errno_of
from onefs.fuse.passthrough import Passthrough
from onefs.recording.recorder import Recorder
from onefs.vfs.filesystem import FileSystem, Opened

PROGRAM = Path(reading_program.__file__)
OPEN_BACKING, CLOSE_BACKING = 0x4010E501, 0x4004E502
LOOKUP, GETATTR, OPEN, READ, RELEASE, INIT = 1, 3, 14, 15, 18, 26
UNANSWERED = (2, 36, 42)
DIRECT_IO, PASSTHROUGH = 1 << 0, 1 << 7
ASYNC_READ, MAX_PAGES, INIT_EXT, PASSTHROUGH_OFFERED = 1, 1 << 22, 1 << 30, 1 << 5
HOUR_S, ROOT, MIB = 3600, 1, 1 << 20
HEAD, OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")


class BareBackings:
    """The kernel's table of backing files. `ids` are those in it."""

    def __init__(self, connection: int) -> None:
        self._connection = connection
        self.ids: set[int] = set()

    def open_backing(self, descriptor: int) -> int:
        entry = bytearray(struct.pack("<iIQ", descriptor, 0, 0))
        backing_id = fcntl.ioctl(self._connection, OPEN_BACKING, entry, True)
        self.ids.add(backing_id)
        return backing_id

    def close_backing(self, backing_id: int) -> None:
        fcntl.ioctl(self._connection, CLOSE_BACKING, struct.pack("<I", backing_id))
        self.ids.remove(backing_id)


class BareSession:
    """A mount whose root has `files`, inode numbers by name. With `is_direct`, opens bypass the kernel's cache.

    Without `has_rights`, it is served as by an ordinary user. A context manager. `passthrough` may be looked at while
    no request is under way.
    """

    def __init__(
        self,
        mountpoint: Path,
        file_system: FileSystem,
        files: Mapping[str, int],
        recorder: Recorder,
    ) -> None:
        self.mountpoint = mountpoint
        self.is_direct = False
        self.has_rights = True
        self.n_reads = 0
        self.errors: list[OnefsError] = []
        self._file_system = file_system
        self._inodes = files
        self._connection = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.backings = BareBackings(self._connection)
        self.counters = Counters()
        self.passthrough = Passthrough(recorder, self.counters)
        self.passthrough.begin(self.backings)
        self._opened: dict[int, tuple[int, int, Opened]] = {}
        self._thread = threading.Thread(target=self._serve)
        self._programs = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.mountpoint.mkdir(exist_ok=True)
        _mount(self.mountpoint, f"fd={self._connection},rootmode=40000,user_id=0,group_id=0,allow_other")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._programs.close()
        subprocess.run(["umount", self.mountpoint], check=True)
        self._thread.join()
        for handle in list(self._opened):  # whose release the kernel did not send any more
            self._release(handle)
        os.close(self._connection)

    def program(self) -> "Program":
        """A program that reads, ended with the mount."""
        program = Program(self.mountpoint)
        self._programs.callback(program.end)
        return program

    def _serve(self) -> None:
        if not self.has_rights:
            drop_capabilities()
        buffer = bytearray(2 * MIB)
        while True:
            try:
                size = os.readv(self._connection, [buffer])
            except OSError as failure:
                if failure.errno == errno.ENODEV:
                    return
                continue
            _, code, unique, ino, *_ = HEAD.unpack_from(buffer)
            if code in UNANSWERED:
                continue
            number, answer = 0, b""
            try:
                answer = self._answer(code, ino, memoryview(buffer)[HEAD.size : size])
            except OnefsError as failure:
                self.errors.append(failure)
                number = errno_of(failure)
            except NotImplementedError:
                number = errno.ENOSYS
            os.writev(self._connection, [OUT.pack(OUT.size + len(answer), -number, unique), answer])

    def _answer(self, code: int, ino: int, body: memoryview) -> bytes:
        if code == INIT:
            flags = (ASYNC_READ | MAX_PAGES | INIT_EXT, PASSTHROUGH_OFFERED)
            return struct.pack("<4I2H2I2H2I24x", 7, 40, MIB, flags[0], 64, 48, MIB, 1, 256, 0, flags[1], 1)
        if code == LOOKUP:
            return self._entry(bytes(body[:-1]).decode())
        if code == GETATTR:
            return struct.pack("<QII", HOUR_S, 0, 0) + self._attributes(ino)
        if code == OPEN:
            return self._open(ino)
        if code == READ:
            return self._read(*struct.unpack_from("<QQI", body))
        if code == RELEASE:
            return self._release(*struct.unpack_from("<Q", body))
        raise NotImplementedError

    def _entry(self, name: str) -> bytes:
        ino = self._inodes.get(name, 0)
        return struct.pack("<QQQQII", ino, 0, HOUR_S, HOUR_S, 0, 0) + (self._attributes(ino) if ino else bytes(88))

    def _attributes(self, ino: int) -> bytes:
        if ino == ROOT:
            return struct.pack("<6Q10I", ino, 0, 0, 0, 0, 0, 0, 0, 0, 0o40555, 2, 0, 0, 0, 4096, 0)
        found = self._file_system.attributes(ino)
        return struct.pack("<6Q10I", ino, found.size_bytes, 0, 0, 0, 0, 0, 0, 0, 0o100444, 1, 0, 0, 0, 4096, 0)

    def _open(self, ino: int) -> bytes:
        opened = self._file_system.open(ino)
        try:
            assert isinstance(opened.file, OpenFile)
            opened.file.wait_whole()
            backing_id = self.passthrough.open(ino, opened)
        except OnefsError:
            opened.file.close()
            raise
        handle = max(self._opened, default=0) + 1
        self._opened[handle] = (ino, backing_id, opened)
        return struct.pack("<QIi", handle, PASSTHROUGH if backing_id else DIRECT_IO * self.is_direct, backing_id)

    def _read(self, handle: int, offset: int, size: int) -> bytes:
        self.n_reads += 1
        data = self._opened[handle][2].file.read(offset, size)
        assert data is not None
        return bytes(data)

    def _release(self, handle: int) -> bytes:
        ino, backing_id, opened = self._opened.pop(handle)
        self.passthrough.released(ino, backing_id)
        opened.file.close()
        return b""


class Program:
    """Another process that reads files of the mount."""

    def __init__(self, mountpoint: Path) -> None:
        self._mountpoint = mountpoint
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def open(self, handle: str, name: str, flags: int = os.O_RDONLY) -> Any:
        """Open a file, and return its size, or what is wrong."""
        return self.ask("open", handle, str(self._mountpoint / name), flags)

    def close(self, handle: str) -> None:
        """Close it."""
        self.ask("close", handle)

    def ask(self, *words: object) -> Any:
        """What the program answers to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """End the program."""
        self._process.communicate()


def _mount(mountpoint: Path, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bare", os.fsencode(mountpoint), b"fuse", 6, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
