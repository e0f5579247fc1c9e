"""Messages as the kernel writes them, and a session to which a test speaks as if it were the kernel."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from toy_operations import Served, ToyOperations

HEADER = struct.Struct("=IIQQIIIHH")
OUT_HEADER = struct.Struct("=IiQ")
LONGEST_REPLY = 1 << 21
EXTENDED = 1 << 30
EVERY_FLAG = 0x7FFFFFFF
PASSTHROUGH = 1 << 5
"""In the upper half of the flags of INIT."""
LOOKUP, FORGET, GETATTR, SETATTR, READLINK, OPEN, READ, WRITE, STATFS, RELEASE = 1, 2, 3, 4, 5, 14, 15, 16, 17, 18
GETXATTR, LISTXATTR, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS = 22, 23, 25, 26, 27, 28, 29, 34
INTERRUPT, DESTROY, IOCTL, NOTIFY_REPLY, BATCH_FORGET, READDIRPLUS, STATX = 36, 38, 39, 41, 42, 44, 52
UNANSWERED = {FORGET, INTERRUPT, NOTIFY_REPLY, BATCH_FORGET}


def message(opcode: int, payload: bytes = b"", *, unique: int = 2, ino: int = 1, pid: int = 0) -> bytes:
    """A request."""
    return HEADER.pack(HEADER.size + len(payload), opcode, unique, ino, 0, 0, pid, 0, 0) + payload


def init(minor: int, flags: int = EVERY_FLAG, flags2: int = 0, *, major: int = 7) -> bytes:
    """The payload of INIT, as a kernel of that version has it."""
    payload = struct.pack("=IIII", major, minor, 131072, flags & ~EXTENDED if minor < 36 else flags)
    return payload + struct.pack("=I44x", flags2) if minor >= 36 else payload


class FakeKernel:
    """The other side of a session's connection."""

    def __init__(self, operations: ToyOperations) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.served = Served(self._theirs.detach(), operations)

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._ours.send(request)

    def reply(self) -> tuple[int, int, bytes]:
        """The next reply: errno, unique number, and what follows its header."""
        received = self._ours.recv(LONGEST_REPLY)
        length, error, unique = OUT_HEADER.unpack_from(received)
        assert length == len(received)
        assert not error or length == OUT_HEADER.size
        return -error, unique, received[OUT_HEADER.size :]

    def ask(self, opcode: int, payload: bytes = b"", *, ino: int = 1, unique: int = 2) -> tuple[int, bytes]:
        """Errno and payload of the reply to a request."""
        self.send(message(opcode, payload, ino=ino, unique=unique))
        error, answered, rest = self.reply()
        assert answered == unique
        return error, rest

    def hang_up(self) -> None:
        """End the connection."""
        self._ours.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        self.served.end()
        self.served.session.close()


@contextmanager
def negotiated(operations: ToyOperations, minor: int = 45, flags: int = EVERY_FLAG) -> Iterator[FakeKernel]:
    """A session that was told of a kernel of that version."""
    with FakeKernel(operations) as kernel:
        error, _ = kernel.ask(INIT, init(minor, flags))
        assert not error
        yield kernel
