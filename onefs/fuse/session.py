"""`Session`: serves a mount by speaking the FUSE protocol with the kernel itself.

Its loop answers at once what needs no waiting, and looks for the next request for a moment before it waits for one.
Data is written with writev, not with splice: large verified files are passed through instead, where the kernel can.
`negotiation` has INIT, `dispatch` the other requests, `protocol` their layouts, `callers` interrupts, `notify` what the
kernel is to forget, `folders` when it can, and `passthrough` which files it reads by itself.
"""

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from struct import Struct
from time import perf_counter
from types import CoroutineType
from typing import Any, NoReturn

import trio

from onefs.errors import MountError
from onefs.fuse import protocol
from onefs.fuse.callers import Answer, Request
from onefs.fuse.directory_waits import LOCKING, DirectoryWaits
from onefs.fuse.dispatch import Handler, Handlers, Reply
from onefs.fuse.errnos import FuseError
from onefs.fuse.kernel import KernelFacts
from onefs.fuse.negotiation import BUFFER_BYTES, Features, negotiate
from onefs.fuse.operations import Operations
from onefs.fuse.passthrough import Passthrough
from onefs.fuse.protocol import HEADER, LARGEST_ERRNO, UNANSWERED, MalformedError, Opcode

LOOK_AGAIN_S = 50e-6
"""How long to look for the next request, before waiting for it, which takes longer than to look."""
TURN_REQUESTS, TURN_S = 64, 2e-3
"""How much to answer before other tasks have their turn."""
ENDED = (errno.ENODEV, errno.ECONNABORTED, errno.EBADF)
"""Errors of a connection that has ended."""
REFUSING_S = 0.01
"""How often to refuse what programs ask for, while a call to the kernel waits for the answers to them."""
GONE = (errno.ENOENT, errno.EINTR)
"""Errors of a request that was aborted before it was read or answered."""
REPORT = "Mount again; if it stays, report it with the log of the mount (onefs log)."
NOT_ASKED_FOR = "It was not asked for."
NOT_NEGOTIATED = "The kernel has not yet asked what the mount offers."
_BACKING_OPEN, _BACKING_CLOSE = 0x4010E501, 0x4004E502
_BACKING_MAP, _BACKING_ID = Struct("=iI8x"), Struct("=I")
_log = logging.getLogger(__name__)


class Session:
    """One mount. Requests are answered at once where that is possible, else in tasks.

    `serve` runs in an event loop; whatever invalidates, or opens a backing file, may run in any thread.
    """

    def __init__(self, connection: int, operations: Operations, passthrough: Passthrough | None = None) -> None:
        """`connection` is an open `/dev/fuse` that is mounted. With `passthrough`, the kernel may read files itself."""
        self.features: Features | None = None
        """What was agreed on with the kernel; None until it has asked for it."""
        self._connection = connection
        self._calls_changed = threading.Condition()  # guards _connection, once it may be closed, and _n_calls
        self._n_calls = 0
        """Calls to the kernel, other than answers, that are under way."""
        self._operations = operations
        self._passthrough = passthrough
        self._buffer = bytearray(BUFFER_BYTES)
        self._buffers, self._message = [self._buffer], memoryview(self._buffer)
        self._handlers: Handlers | None = None
        self._table: Mapping[int, Handler] = {
            Opcode.INIT: Handler(protocol.INIT_IN.size, self._init),
            Opcode.INTERRUPT: Handler(protocol.INTERRUPT_IN.size, self._interrupt),
            Opcode.DESTROY: Handler(0, self._destroy),
        }
        self._waiting, self._directory_waits = dict[int, Request](), DirectoryWaits()
        self._has_ended = False
        self._error: MountError | None = None
        """Why it had to end."""

    @property
    def facts(self) -> KernelFacts:
        """What was agreed on with the kernel."""
        features = self.features
        if features is None:
            return KernelFacts("session", "", NOT_NEGOTIATED, NOT_NEGOTIATED, 0)
        return KernelFacts(
            "session",
            f"{protocol.MAJOR}.{features.minor}",
            features.no_passthrough or (self._passthrough.why_not if self._passthrough is not None else ""),
            features.no_kept_listings,
            features.read_ahead_bytes >> 10,
        )

    async def serve(self) -> None:
        """Answer the kernel until the mount is gone. Raises `MountError` if the kernel cannot be served."""
        os.set_blocking(self._connection, False)
        try:
            async with trio.open_nursery() as nursery:
                await self._answer_all(nursery)
                nursery.cancel_scope.cancel()  # nobody takes the answers any more
        finally:
            if self._handlers is not None:
                self._handlers.close()
            if self._error is not None:
                raise self._error

    def close(self) -> None:
        """Close the connection. The mount stays, without anybody who serves it. Call it once `serve` has ended.

        Until then the kernel keeps the connection for a call that is under way. Such a call may wait for answers, so
        whatever programs still ask for is refused.
        """
        with self._calls_changed:
            connection, self._connection = self._connection, -1
            while self._n_calls and not self._calls_changed.wait(REFUSING_S):
                self._refuse_all(connection)
        if connection >= 0:
            os.close(connection)

    def _refuse_all(self, connection: int) -> None:
        """Refuse the requests that nobody has read yet."""
        with suppress(OSError):  # there are no more, or the mount has gone
            while os.readv(connection, self._buffers) >= HEADER.size:
                _, opcode, unique, *_ = HEADER.unpack_from(self._buffer)
                reply = _refusal(opcode, unique, errno.ENOTCONN)
                if reply is not None:
                    os.write(connection, reply)

    def invalidate_inode(self, ino: int, *, attributes_only: bool) -> None:
        """Have the kernel forget a node's attributes, and its pages or its listing. Raises OSError."""
        message = protocol.pack_invalidate_inode(ino, attributes_only=attributes_only)
        with self._connected() as connection:
            os.write(connection, message)

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        """Have the kernel forget an entry of a directory, once requests waiting there are answered. Raises OSError."""
        message = protocol.pack_invalidate_entry(parent, name)
        with self._directory_waits.forgetting(parent), self._connected() as connection:
            os.write(connection, message)

    def open_backing(self, descriptor: int) -> int:
        """Have the kernel know a file that it may read by itself. Returns its id, above 0. Raises OSError."""
        return self._control(_BACKING_OPEN, _BACKING_MAP.pack(descriptor, 0))

    def close_backing(self, backing_id: int) -> None:
        """Have the kernel forget such a file. What is open stays readable. Raises OSError."""
        self._control(_BACKING_CLOSE, _BACKING_ID.pack(backing_id))

    def _control(self, command: int, argument: bytes) -> int:
        with self._connected() as connection:
            number: int = fcntl.ioctl(connection, command, bytearray(argument))
        return number

    @contextmanager
    def _connected(self) -> Iterator[int]:
        """The connection, whose number is no other file's within the block. Raises OSError."""
        with self._calls_changed:
            connection = self._connection
            if connection < 0:
                raise OSError(errno.EBADF, "The connection to the kernel is closed")
            self._n_calls += 1
        try:
            yield connection
        finally:
            with self._calls_changed:
                self._n_calls -= 1
                self._calls_changed.notify_all()

    async def _answer_all(self, nursery: trio.Nursery) -> None:
        """Answer requests until the connection ends."""
        n_answered, look_until_s, turn_until_s = 0, 0.0, perf_counter() + TURN_S
        while not self._has_ended:
            try:
                size = os.readv(self._connection, self._buffers)
            except BlockingIOError:
                if perf_counter() < look_until_s:
                    continue
                await trio.lowlevel.wait_readable(self._connection)
                n_answered, turn_until_s = 0, perf_counter() + TURN_S
                continue
            except OSError as error:
                if error.errno in GONE:
                    continue
                if error.errno not in ENDED:
                    self._error = MountError(f"The kernel gives no more requests: {error.strerror}.", REPORT)
                return
            task = self._answer(size)
            now_s = perf_counter()
            look_until_s = now_s + LOOK_AGAIN_S
            if task is not None:
                nursery.start_soon(self._answer_later, *task)
                look_until_s = 0.0  # the task shall begin
            n_answered += 1
            if n_answered >= TURN_REQUESTS or now_s >= turn_until_s:
                await trio.lowlevel.checkpoint()
                n_answered, turn_until_s = 0, perf_counter() + TURN_S

    def _answer(self, size: int) -> tuple[int, int, Coroutine[Any, Any, Reply]] | None:
        """Answer the request in the buffer. Returns opcode, unique number and coroutine of one that has to wait."""
        if size < HEADER.size:
            self._has_ended |= not size
            return None
        length, opcode, unique, ino, uid, _, pid, extensions = HEADER.unpack_from(self._buffer)
        handler = self._table.get(opcode)
        if handler is None:
            self._send(opcode, unique, _refusal(opcode, unique, errno.ENOSYS))
            return None
        request = Request(pid, uid, is_told_of_signals=True)
        end = size - 8 * extensions
        reply: Answer[Reply]
        try:
            if length != size or end - HEADER.size < handler.least_bytes:
                _refuse(size, length, end - HEADER.size)
            reply = handler.reply(unique, ino, self._message[HEADER.size : end], request)
        except Exception as error:  # noqa: BLE001
            reply = _failure(opcode, unique, error)
        if isinstance(reply, CoroutineType):
            self._waiting[unique] = request
            return opcode, unique, self._directory_waits.answer(opcode, ino, reply) if opcode in LOCKING else reply
        self._send(opcode, unique, reply)  # type: ignore[arg-type]  # mypy takes any Coroutine for a CoroutineType
        return None

    async def _answer_later(self, opcode: int, unique: int, rest: Coroutine[Any, Any, Reply]) -> None:
        try:
            reply = await rest
        except Exception as error:  # noqa: BLE001
            reply = _failure(opcode, unique, error)
        except trio.Cancelled:  # the mount ends; what waits for this answer may keep the kernel from ending it
            self._send(opcode, unique, _refusal(opcode, unique, errno.ENOTCONN))
            raise
        finally:
            self._waiting.pop(unique, None)
        self._send(opcode, unique, reply)

    def _send(self, opcode: int, unique: int, reply: Reply) -> None:
        try:
            if isinstance(reply, tuple):
                os.writev(self._connection, reply)
            elif reply is not None:
                os.write(self._connection, reply)
        except OSError as error:
            if isinstance(reply, bytes) and self._handlers is not None:
                self._handlers.not_taken(opcode, reply)
            if error.errno not in GONE and error.errno not in ENDED:
                _log.error("The kernel refused the answer to a request of kind %d: %s", opcode, error)
                with suppress(OSError):  # else the program could wait for ever
                    os.write(self._connection, protocol.pack_error(unique, errno.EIO))

    def _init(self, unique: int, ino: int, payload: memoryview, request: Request) -> bytes:  # noqa: ARG002
        no_passthrough = NOT_ASKED_FOR if self._passthrough is None else self._passthrough.why_not
        try:
            reply, features = negotiate(unique, payload, no_passthrough=no_passthrough)
        except MountError as error:
            self._error, self._has_ended = error, True
            return protocol.pack_error(unique, errno.EPROTO)
        if features is not None:
            self.features = features
            self._handlers = Handlers(self._operations, features)
            others = {opcode: handler for opcode, handler in self._table.items() if opcode != Opcode.INIT}
            self._table = {**others, **self._handlers.table()}
            if self._passthrough is not None and not features.no_passthrough:
                self._passthrough.begin(self)
        return reply

    def _interrupt(self, unique: int, ino: int, payload: memoryview, request: Request) -> None:  # noqa: ARG002
        """Wake whoever waits on behalf of a program that has a signal. What is answered already needs nothing."""
        waiting = self._waiting.get(*protocol.INTERRUPT_IN.unpack_from(payload))
        if waiting is not None:
            waiting.interrupt()

    def _destroy(self, unique: int, ino: int, payload: memoryview, request: Request) -> bytes:  # noqa: ARG002
        self._has_ended = True
        return protocol.pack_done(unique)


def _refuse(size: int, length: int, payload_bytes: int) -> NoReturn:
    raise MalformedError(f"It has {size} bytes, and tells of {length}; what follows its header are {payload_bytes}.")


def _failure(opcode: int, unique: int, error: Exception) -> Reply:
    """The reply that a request failed. ENOSYS is kept for what no mount has: the kernel never asks for that again."""
    if isinstance(error, FuseError):
        is_known = error.number != errno.ENOSYS and 0 < error.number <= LARGEST_ERRNO
        number = error.number if is_known else errno.EIO
    elif isinstance(error, MalformedError):
        _log.warning("A request of kind %d is malformed: %s", opcode, error)
        number = errno.EINVAL
    else:
        _log.error("Unforeseen failure of a request of kind %d; the mount goes on", opcode, exc_info=error)
        number = errno.EIO
    return _refusal(opcode, unique, number)


def _refusal(opcode: int, unique: int, number: int) -> bytes | None:
    return None if opcode in UNANSWERED else protocol.pack_error(unique, number)
