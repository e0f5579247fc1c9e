"""The exceptions of onefs: each has a sentence and a remedy. Their errnos are in the kernel adapter."""

from typing import ClassVar


class OnefsError(Exception):
    """A failure that can be told to a person in one sentence.

    `reason` says what, which and why; `remedy` says what to do about it: that of the class if none is given.
    `retry_after_s` is the `Retry-After` of the server, 0 if it sent none; `status` the HTTP status of its refusal, 0
    if there was none.
    """

    status = 0
    default_remedy: ClassVar[str] = "Please report it, with the log of the mount (onefs log)."

    def __init__(self, reason: str, remedy: str = "", *, retry_after_s: float = 0.0) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy or self.default_remedy
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.reason} {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """What Exception gives. But distributed has exceptions without this pickled by a way that ours do not take."""
        return type(self), self.args, self.__dict__


class UsageError(OnefsError):
    """What the user asked for cannot be meant: an unknown setting, source or name."""

    default_remedy = "See what is possible: onefs --help."


class UnknownPartError(OnefsError, KeyError):
    """A dict of ALF parts has a key that is no part."""

    default_remedy = "Use namespace, object, attribute, timescale, extra, extension or collection."


class SourceError(OnefsError):
    """A source that is not known, or that holds no archive."""

    default_remedy = (
        "Give the URL of a database or of a folder with cache tables, such a folder, or a name from onefs setup."
    )


class TableError(OnefsError):
    """A cache table cannot be used: unreadable, or it lacks a needed column."""

    default_remedy = "Have the tables exported anew, or fetch newer ones with onefs refresh."


class DamagedTableError(TableError):
    """A cache table is not what was put there: cut short, or with other bytes."""


class NewerTablesError(TableError):
    """A server's tables are for a newer reader than this, and were not fetched."""

    default_remedy = "Update onefs."


class MountError(OnefsError):
    """The archive cannot be mounted where it was asked for."""

    default_remedy = "Check what mounting needs: onefs doctor."


class NotInCatalogueError(OnefsError):
    """The name is not in the catalogue."""

    default_remedy = "List the folder above it to see what is there."


class BadTermError(NotInCatalogueError):
    """The name of a query folder is no term of a search."""

    default_remedy = "List .onefs/query to see the terms."


class NameTooLongError(OnefsError):
    """A name longer than any that a directory can hold."""

    default_remedy = "Use a name of at most 255 bytes."


class GoneError(OnefsError):
    """The kernel still knows an inode whose dataset has left the catalogue."""

    default_remedy = "Look the path up again."


class CopyRemovedError(GoneError):
    """The cached copy of an open file was removed or replaced while it had no descriptor."""


class NotADirectoryInTreeError(OnefsError):
    """A directory was needed where a file stands."""

    default_remedy = "Give the path of a folder."


class IsADirectoryInTreeError(OnefsError):
    """A file was needed where a directory stands."""

    default_remedy = "Give the path of a file."


class ReadOnlyError(OnefsError):
    """Something would have been written into the tree."""

    default_remedy = "Write outside the mount."


class NoAttributeError(OnefsError):
    """The node has no extended attribute of that name."""

    default_remedy = "List the attributes that there are: getfattr -d PATH."


class ForeignAttributeError(OnefsError):
    """An extended attribute outside `user.`, which onefs does not serve."""

    default_remedy = "Ask for attributes whose names begin with user.onefs."


class OfflineError(OnefsError):
    """The file is not in the cache and fetching is off."""

    default_remedy = "Switch to a mode that fetches: onefs mode auto."


class BadCommandError(OnefsError):
    """A control command that is not understood."""

    default_remedy = "Read .onefs/control of the mount for its commands."


class BusyError(OnefsError):
    """What is asked for is under way already, or has to wait for something that is."""

    default_remedy = "Wait until that is done; onefs status shows it."


class NotAllowedError(OnefsError):
    """The user may not do this."""

    default_remedy = "Ask the user who mounted it, or mount the archive yourself."


class UnreachableError(OnefsError):
    """A server cannot be reached, or broke off the connection."""

    default_remedy = "Check the network and the address."


class TimedOutError(UnreachableError):
    """A server took too long to answer."""

    default_remedy = "Check the network, or try again later."


class ConnectTimedOutError(TimedOutError):
    """A server took too long to accept a connection."""


class TooSlowError(TimedOutError):
    """A server sends less than `slow_limit`, as good as nothing."""

    default_remedy = "Check the network, or lower the setting slow_limit (bytes/s; 0 = off)."


class AccessRefusedError(OnefsError):
    """The server refused the login or the permission."""

    default_remedy = "Give another login, or ask for the permission."


class NoKeysError(AccessRefusedError):
    """A bucket was not asked, as there are no keys to sign the request with."""


class CrawlingError(OnefsError):
    """So many files are fetched for one program that it may be searching the whole archive."""

    default_remedy = "End the program, or switch fetching off while it runs (echo local > .onefs/mode)."


class UnknownRecordError(OnefsError):
    """The database has no record of that name or id."""

    default_remedy = "Check the name or the id."


class ContentError(OnefsError):
    """No location gives the right bytes."""

    default_remedy = "Tell the archive's maintainers."


class BrokenAnswerError(ContentError):
    """The server's answer is not what was asked for: a short body, another range, an error status."""

    default_remedy = "Try again later; if it stays so, tell the server's maintainers."


class BadHttpError(BrokenAnswerError):
    """What answers does not speak HTTP, or breaks its rules."""

    default_remedy = "Check the address; if it is right, tell the server's maintainers."


class OverloadedError(BrokenAnswerError):
    """The server, or one before it, has too much to do just now. It may say how long to stay away."""


class MissingOnServerError(ContentError):
    """The catalogue lists the file, the server does not have it."""

    default_remedy = "Fetch newer tables (onefs refresh); if that does not help, tell the archive's maintainers."


class MismatchError(ContentError):
    """Bytes do not agree with the catalogue's size or hash."""

    default_remedy = "Tell the archive's maintainers; --verify warn serves such files all the same."


class CacheDamagedError(OnefsError):
    """The cache directory cannot be read or written."""

    default_remedy = "Check the disk and the permissions of the cache directory, or choose another with --cache-dir."


class NoRoomError(OnefsError):
    """The cache's disk is full and no room can be made."""

    default_remedy = "Free some space, or choose another cache directory with --cache-dir."


class NotSavedError(OnefsError):
    """What was to be saved cannot be written there."""

    default_remedy = "Save to another directory."


class WorkerLostError(OnefsError):
    """A process that did a part of the work is gone, or cannot be had."""

    default_remedy = "See what ended it, such as want of memory; then run it again, and it goes on."


class KeptError(OnefsError):
    """A file must stay in the cache: it is pinned, or another program put it there."""

    default_remedy = "Unpin it with onefs unpin, or remove it from the cache directory yourself."


class ClusterError(OnefsError):
    """A Dask cluster cannot be used, or is lost."""

    default_remedy = "Check that its scheduler and workers run, and run the same command again."


class InterruptedByCallerError(OnefsError):
    """The program that waited was interrupted by a signal."""

    default_remedy = "Start the program again."


def again(error: OnefsError) -> OnefsError:
    """A copy of an error, to raise again: one object must not be raised in several threads."""
    return type(error)(error.reason, error.remedy, retry_after_s=error.retry_after_s)
