"""Every failure has its errno, and none is left to chance."""

import errno
import inspect

import pytest

from onefs import errors
from onefs.fuse.errnos import ERRNOS, errno_name, errno_of

EXPECTED = {
    "BadTermError": errno.ENOENT,
    "WorkerLostError": errno.EIO,
    "ClusterError": errno.EIO,
    "NotInCatalogueError": errno.ENOENT,
    "NameTooLongError": errno.ENAMETOOLONG,
    "GoneError": errno.ESTALE,
    "CopyRemovedError": errno.ESTALE,
    "NotADirectoryInTreeError": errno.ENOTDIR,
    "IsADirectoryInTreeError": errno.EISDIR,
    "ReadOnlyError": errno.EROFS,
    "NoAttributeError": errno.ENODATA,
    "ForeignAttributeError": errno.EOPNOTSUPP,
    "OfflineError": errno.ENETDOWN,
    "UnreachableError": errno.EHOSTUNREACH,
    "TimedOutError": errno.ETIMEDOUT,
    "ConnectTimedOutError": errno.ETIMEDOUT,
    "TooSlowError": errno.ETIMEDOUT,
    "AccessRefusedError": errno.EACCES,
    "NoKeysError": errno.EACCES,
    "NotAllowedError": errno.EACCES,
    "BadCommandError": errno.EINVAL,
    "BusyError": errno.EBUSY,
    "UnknownRecordError": errno.ENOENT,
    "ContentError": errno.EIO,
    "BrokenAnswerError": errno.EIO,
    "BadHttpError": errno.EIO,
    "OverloadedError": errno.EIO,
    "MissingOnServerError": errno.EIO,
    "MismatchError": errno.EIO,
    "CacheDamagedError": errno.EIO,
    "NoRoomError": errno.ENOSPC,
    "CrawlingError": errno.EDQUOT,
    "KeptError": errno.EBUSY,
    "InterruptedByCallerError": errno.EINTR,
    "NotSavedError": errno.EIO,
    # These are told before there is a mount; should one come up in it, it is an I/O error.
    "OnefsError": errno.EIO,
    "UnknownPartError": errno.EIO,
    "UsageError": errno.EIO,
    "SourceError": errno.EIO,
    "TableError": errno.EIO,
    "DamagedTableError": errno.EIO,
    "NewerTablesError": errno.EIO,
    "MountError": errno.EIO,
}
KINDS = dict(inspect.getmembers(errors, inspect.isclass))


def test_every_kind_of_failure_is_expected_here() -> None:
    assert set(KINDS) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_errno_of_each(name: str) -> None:
    error = KINDS[name]("It failed.")
    assert errno_of(error) == EXPECTED[name]
    assert getattr(errno, errno_name(error)) == EXPECTED[name]


def test_a_new_kind_without_a_row_has_that_of_its_parent() -> None:
    class HalfBrokenError(errors.BrokenAnswerError):
        pass

    assert errno_of(HalfBrokenError("It failed.")) == errno.EIO


def test_no_row_hides_a_later_one() -> None:
    for position, (kind, _) in enumerate(ERRNOS):
        assert not any(issubclass(kind, before) for before, _ in ERRNOS[:position])
