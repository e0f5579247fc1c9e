"""Owns the exceptions of onefs: each failure knows its sentence and its remedy; errno is the kernel adapter's."""


class OnefsError(Exception):
    """A failure that can be told to a person in one sentence.

    `reason` says what, which and why; `remedy` says what to do about it, or is empty. `retry_after_s` is how long the
    server asks to be left alone, 0 if it does not say.
    """

    def __init__(self, reason: str, remedy: str = "", *, retry_after_s: float = 0.0) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.reason} {self.remedy}".rstrip()


class UsageError(OnefsError):
    """What the user asked for cannot be meant: an unknown setting, source or name."""


class SourceError(OnefsError):
    """A source that is not known, or that holds no archive."""


class TableError(OnefsError):
    """A cache table cannot be used: unreadable, or it lacks a needed column."""


class DamagedTableError(TableError):
    """A cache table is not what was put there: cut short, or with other bytes."""


class MountError(OnefsError):
    """The archive cannot be mounted where it was asked for."""


class NotInCatalogueError(OnefsError):
    """The name is not in the catalogue."""


class NameTooLongError(OnefsError):
    """A name longer than any that a directory can hold."""


class GoneError(OnefsError):
    """The kernel still knows an inode whose dataset has left the catalogue."""


class NotADirectoryInTreeError(OnefsError):
    """A directory was needed where a file stands."""


class IsADirectoryInTreeError(OnefsError):
    """A file was needed where a directory stands."""


class ReadOnlyError(OnefsError):
    """Something would have been written into the tree."""


class NoAttributeError(OnefsError):
    """The node has no extended attribute of that name."""


class ForeignAttributeError(OnefsError):
    """An extended attribute outside `user.`, which onefs does not serve."""


class OfflineError(OnefsError):
    """The file is not in the cache and fetching is off."""


class BadCommandError(OnefsError):
    """A control command that is not understood."""


class BusyError(OnefsError):
    """What is asked for is under way already, or has to wait for something that is."""


class NotAllowedError(OnefsError):
    """The user may not do this."""


class UnreachableError(OnefsError):
    """A server cannot be reached, or broke off the connection."""


class TimedOutError(UnreachableError):
    """A server took too long to answer."""


class ConnectTimedOutError(TimedOutError):
    """A server took too long to accept a connection."""


class AccessRefusedError(OnefsError):
    """The server refused the login or the permission."""


class NoKeysError(AccessRefusedError):
    """A server that wants a login was not asked, as there is none that could be sent."""


class UnknownRecordError(OnefsError):
    """The database has no record of that name or id."""


class ContentError(OnefsError):
    """No location gives the right bytes."""


class BrokenAnswerError(ContentError):
    """The server's answer is not what was asked for: a short body, another range, an error status."""


class OverloadedError(BrokenAnswerError):
    """The server, or one before it, has too much to do just now. It may say how long to stay away."""


class MissingOnServerError(ContentError):
    """The catalogue lists the file, the server does not have it."""


class MismatchError(ContentError):
    """Bytes do not agree with the catalogue's size or hash."""


class CacheDamagedError(OnefsError):
    """The cache directory cannot be read or written."""


class NoRoomError(OnefsError):
    """The cache's disk is full and no room can be made."""


class NotSavedError(OnefsError):
    """What was to be saved cannot be written there."""


class KeptError(OnefsError):
    """A file must stay in the cache: it is pinned, or another program put it there."""


class InterruptedByCallerError(OnefsError):
    """The program that waited was interrupted by a signal."""


def again(error: OnefsError) -> OnefsError:
    """The same failure as a new exception, as one object must not be raised in several threads."""
    return type(error)(error.reason, error.remedy, retry_after_s=error.retry_after_s)
