"""Reading from `file://` locations: a data server's files on this machine's own disks."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from onefs.errors import AccessRefusedError, BrokenAnswerError, MissingOnServerError, OnefsError
from onefs.text import counted
from onefs.transports.base import Body, Location
from onefs.transports.limits import own_limit

CHUNK_BYTES = 1 << 20
LOCAL_HOSTS = ("", "localhost")
ERRORS: dict[int | None, type[OnefsError]] = {
    errno.ENOENT: MissingOnServerError,
    errno.ENOTDIR: MissingOnServerError,
    errno.EACCES: AccessRefusedError,
    errno.EPERM: AccessRefusedError,
}


class FileTransport:
    """Reads `file://` locations. Safe to use from several threads."""

    @contextmanager
    def open(self, location: Location, start: int = 0, edition: str = "", end: int | None = None) -> Iterator[Body]:
        """Begin reading at byte `start`; see `Transport.open`."""
        path = _path(location.url)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _problem(path, error) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BrokenAnswerError(f"{path} is not a file.")
            found = f"{status.st_mtime_ns}-{status.st_size}"
            if edition not in ("", found) or start > status.st_size:
                start, end = 0, None
            stop = status.st_size if end is None else min(end, status.st_size)
            chunks = _chunks(descriptor, path, start, stop)
            yield Body(start, status.st_size, found, chunks, is_part=end is not None)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing is kept open."""


def _path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in LOCAL_HOSTS:
        raise BrokenAnswerError(f"{parts.netloc} is another machine, which a file:// address cannot reach.")
    path = unquote(parts.path, errors="surrogateescape")
    if not path.startswith("/") or "\0" in path:
        raise BrokenAnswerError("A file:// address does not hold an absolute path.")
    return path


def _chunks(descriptor: int, path: str, start: int, end: int) -> Iterator[bytes]:
    position = start
    while position < end:
        try:
            piece = os.pread(descriptor, min(CHUNK_BYTES, end - position), position)
        except OSError as error:
            raise _problem(path, error) from error
        if not piece:
            raise BrokenAnswerError(f"{path} ended after {position} of {counted(end, 'byte')}.")
        position += len(piece)
        yield piece


def _problem(path: str, error: OSError) -> OnefsError:
    ours = own_limit(path, error)
    if ours is not None:
        return ours
    text = error.strerror or str(error)
    return ERRORS.get(error.errno, BrokenAnswerError)(f"{path} cannot be read: {text[:1].lower()}{text[1:]}.")
