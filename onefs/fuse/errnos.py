"""The table that gives each failure its errno, and `FuseError`, which carries one to the kernel."""

import errno
import os

from onefs import errors

# The most particular class stands first: the first one that fits counts.
ERRNOS: tuple[tuple[type[errors.OnefsError], int], ...] = (
    (errors.NotInCatalogueError, errno.ENOENT),
    (errors.NameTooLongError, errno.ENAMETOOLONG),
    (errors.GoneError, errno.ESTALE),
    (errors.NotADirectoryInTreeError, errno.ENOTDIR),
    (errors.IsADirectoryInTreeError, errno.EISDIR),
    (errors.ReadOnlyError, errno.EROFS),
    (errors.NoAttributeError, errno.ENODATA),
    (errors.ForeignAttributeError, errno.EOPNOTSUPP),
    (errors.OfflineError, errno.ENETDOWN),
    (errors.TimedOutError, errno.ETIMEDOUT),
    (errors.UnreachableError, errno.EHOSTUNREACH),
    (errors.AccessRefusedError, errno.EACCES),
    (errors.NotAllowedError, errno.EACCES),
    (errors.BadCommandError, errno.EINVAL),
    (errors.BusyError, errno.EBUSY),
    (errors.UnknownRecordError, errno.ENOENT),
    (errors.NoRoomError, errno.ENOSPC),
    (errors.CrawlingError, errno.EDQUOT),
    (errors.KeptError, errno.EBUSY),
    (errors.InterruptedByCallerError, errno.EINTR),
    (errors.ContentError, errno.EIO),
    (errors.CacheDamagedError, errno.EIO),
    (errors.OnefsError, errno.EIO),
)


class FuseError(Exception):
    """The failure of a request: `number` is the errno that the kernel gives to the program."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


def errno_of(error: errors.OnefsError) -> int:
    """The errno that a program sees."""
    return next(number for kind, number in ERRNOS if isinstance(error, kind))


def errno_name(error: errors.OnefsError) -> str:
    """The errno's name, `EIO`."""
    return errno.errorcode[errno_of(error)]
