"""Open files that are not datasets: generated text, logs that grow, and tables as they are on the disk."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Protocol

from onefs.errors import CacheDamagedError, GoneError, OnefsError
from onefs.fetch.descriptors import Edition, Source
from onefs.vfs.spare import SPARE

SIZE_KEPT_S = 1.0
"""How long `stat` reports the size of a text that was generated before."""
_CLOSED = -1


class Origin(Protocol):
    """Tells an edition, perhaps only later."""

    edition: Edition | None


class ReadableFile(Protocol):
    """An open file. `onefs.fetch` gives one for datasets, `MemoryFile` is one for everything else."""

    @property
    def size_bytes(self) -> int | None:
        """Length as far as it is known now."""

    @property
    def edition(self) -> Edition | None:
        """Which copy its bytes come from; None as long as that is not known, or if it is no file on a disk."""

    @property
    def origin(self) -> Origin | None:
        """What will tell the edition of bytes that were read before it is known; None if there are none."""

    @property
    def source(self) -> Source:
        """Where the bytes come from that can be read now."""

    @property
    def is_whole(self) -> bool:
        """Whether no read waits for a server any more."""

    def wait(self, offset: int, size: int) -> "Future[None] | None":
        """None if the bytes can be read now; else what completes when it is worth asking again.

        Raises the error, if they cannot be had.
        """

    def read_now(self, offset: int, size: int) -> bytes | bytearray | None:
        """The bytes, or None if reading them would wait for the disk."""

    def read(self, offset: int, size: int) -> bytes | bytearray | None:
        """The bytes; fewer only at the end of the file. None if they went since `wait` was asked, which may happen.

        Raises `CopyRemovedError` if the file must be opened again to be read.
        """

    def close(self) -> None:
        """Let go of it. May be called twice."""


class MemoryFile:
    """An open file whose bytes are in memory."""

    is_whole = True
    origin = None
    source = Source.CONTROL

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)

    @property
    def size_bytes(self) -> int | None:
        """Length."""
        return len(self._content)

    @property
    def edition(self) -> Edition | None:
        """No file on a disk."""
        return None

    def wait(self, offset: int, size: int) -> "Future[None] | None":  # noqa: ARG002
        """Never waits."""
        return None

    def read_now(self, offset: int, size: int) -> bytes | None:
        """The bytes."""
        return self.read(offset, size)

    def read(self, offset: int, size: int) -> bytes:
        """The bytes."""
        return bytes(self._content[offset : offset + size])

    def close(self) -> None:
        """Nothing to let go of."""


class LiveText(Protocol):
    """A text that changes while it is open, such as a log."""

    @property
    def changed_s(self) -> float:
        """When it changed last."""

    def size_now(self) -> int:
        """Length."""

    def read(self, offset: int, size: int) -> bytes:
        """The bytes at an offset, as they are now; fewer than `size` at the end."""

    def open(self) -> "LiveFile":
        """An open file of it."""


class LiveFile(MemoryFile):
    """An open file that shows a text as it is when it is read."""

    def __init__(self, text: LiveText) -> None:
        super().__init__(b"")
        self._text = text

    @property
    def size_bytes(self) -> int | None:
        """Length now."""
        return self._text.size_now()

    def read_now(self, offset: int, size: int) -> bytes | None:  # noqa: ARG002
        """None: `read` must be used, which may block."""
        return None

    def read(self, offset: int, size: int) -> bytes:
        """The bytes."""
        with SPARE.lent():
            return self._text.read(offset, size)


class GeneratedText:
    """A text that is generated at each opening. `stat` reports the size of the last one, if that is recent."""

    def __init__(
        self,
        generate: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._generate = generate
        self._clock = clock
        self._wall_clock = wall_clock
        self._digest: int | None = None
        self.changed_s = 0.0
        """When it was first generated as it is now: rsync takes a file of equal size and time for the same."""
        self._generated_s = float("-inf")
        self._size_bytes = 0
        SPARE.fill()

    def size_now(self) -> int:
        """Length of the text that was generated lately, else of one generated now; the last known if that fails."""
        if self._clock() - self._generated_s > SIZE_KEPT_S:
            with suppress(OnefsError):
                self.open()
        return self._size_bytes

    def open(self) -> MemoryFile:
        """The text as it is now."""
        with SPARE.lent():
            content = self._generate().encode("utf-8", "backslashreplace")
        digest = hash(content)
        if digest != self._digest:
            self._digest, self.changed_s = digest, self._wall_clock()
        self._size_bytes, self._generated_s = len(content), self._clock()
        return MemoryFile(content)


class DiskFile:
    """An open file as it is on the disk: the edition it was opened with, whatever is put in its place later.

    What nobody closes is closed when the last who could read it is gone.
    """

    is_whole = True
    origin = None
    source = Source.CONTROL
    _number = _CLOSED

    def __init__(self, path: Path) -> None:
        """Raises `CacheDamagedError`."""
        self._path = path
        try:
            self._number = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise CacheDamagedError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
        self.edition = self._found()

    def again(self) -> "DiskFile":
        """Another opening of the same edition. Raises `GoneError` if it was written over."""
        if self._found() != self.edition:
            raise GoneError(f"{self._path} was written over while it was mounted.", "Mount again.")
        number = os.dup(self._number)
        other = copy(self)
        other._number = number
        return other

    @property
    def size_bytes(self) -> int | None:
        """Length."""
        return self.edition[0]

    def wait(self, offset: int, size: int) -> "Future[None] | None":  # noqa: ARG002
        """Never waits for anything but the disk."""
        return None

    def read_now(self, offset: int, size: int) -> bytes | None:  # noqa: ARG002
        """None: `read` must be used, which may block."""
        return None

    def read(self, offset: int, size: int) -> bytes:
        """The bytes. Raises `GoneError` if the edition was written over."""
        data = os.pread(self._number, size, offset)
        if self._found() != self.edition:
            raise GoneError(f"{self._path} was written over while it was mounted.", "Mount again.")
        return data

    def close(self) -> None:
        """Close the descriptor. Does nothing the second time."""
        number, self._number = self._number, _CLOSED
        if number != _CLOSED:
            os.close(number)

    __del__ = close

    def _found(self) -> Edition:
        status = os.fstat(self._number)
        return status.st_size, status.st_mtime_ns, status.st_ino
