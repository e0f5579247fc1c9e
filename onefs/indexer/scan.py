"""Finding session folders and the ALF files in them."""

import errno
import os
import re
import stat
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from onefs import alf

FILES_PER_TASK = 2_000
FOLDERS_PER_TASK = 1_000
"""A task ends after so many: large enough that handing it out costs little, small enough to spread the work."""

_FOLDER = re.compile(r"[\w.-]+")
_OLD_NAMESPACE = re.compile(r"\._[a-z]+_(?=[a-zA-Z0-9])")
"""A namespace at the attribute, as in `channels._phy_ids.csv`: deprecated, but valid."""
_LAB = re.compile(alf.PARTS["lab"])
_OWN_NAMES = frozenset((alf.STATE_FOLDER, *alf.TABLE_NAMES))
"""Names that indexing itself adds if the tables are written into a session's folder."""
_64_BITS = (1 << 64) - 1
_LEADS_NOWHERE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)


class Skipped(StrEnum):
    """Why a file or folder is not indexed, though it can be read."""

    OUTSIDE = "not in a session folder"
    FILE_NAME = "not an ALF file name"
    FOLDER_NAME = "not an ALF folder name"
    FOLDER_LINK = "a link to a folder"
    BROKEN_LINK = "a link that leads nowhere"
    SPECIAL = "not a regular file"
    TOO_LONG = "path too long"
    MOUNT = "a mount of onefs"


class SessionKey(NamedTuple):
    """What identifies a session. `lab` may be ""."""

    lab: str
    subject: str
    date: date
    number: int

    @property
    def path(self) -> str:
        """The path of its folder in a cache directory."""
        return alf.session_path(*self)

    @property
    def text(self) -> str:
        """`[lab/]subject/YYYY-MM-DD/NNN`."""
        place = f"{self.subject}/{self.date.isoformat()}/{self.number:03d}"
        return f"{self.lab}/{place}" if self.lab else place


class Listing(NamedTuple):
    """The datasets in a session folder: their paths in it, one a line, and the `FACTS` of each as 64-bit integers.

    `unreadable` are the paths of files in it that could not be read, and of folders, which end in a slash; "" is all
    of it.
    """

    folder: str
    paths: str
    facts: bytes
    unreadable: tuple[str, ...] = ()


FACTS = ("size in bytes", "mtime in ns", "inode number")
"""A file has changed if one of these has."""


def facts_of(found: os.stat_result) -> "array[int]":
    """The `FACTS` of a file."""
    return array("Q", (found.st_size, found.st_mtime_ns & _64_BITS, found.st_ino))


class Unreadable(NamedTuple):
    """A file or folder that cannot be read, and why."""

    path: str
    why: str


@dataclass(slots=True)
class Scanned:
    """What a scan task found.

    `rest` are folders that it left for other tasks. `closed` are unreadable folders of no session: what is below them
    is not known.
    """

    listings: list[Listing] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    skipped: Counter[Skipped] = field(default_factory=Counter)
    skipped_paths: list[tuple[Skipped, str]] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """`lists_skipped`: return the paths of what is skipped, too. `left_out`: folders that are not entered."""

    lists_skipped: bool = False
    left_out: frozenset[str] = frozenset()


def scan_folders(folders: Sequence[str], options: ScanOptions) -> Scanned:
    """List the sessions at or below folders, given by absolute paths, until enough for one task is found.

    Links to folders are not followed.
    """
    return _Scan(options).run(list(folders))


class _Scan:
    """One scan task."""

    def __init__(self, options: ScanOptions) -> None:
        self._options = options
        self._found = Scanned()
        self._entered = self._listed = 0
        self._unknown: list[str] = []
        """Paths in the session that is being listed that could not be read."""

    def run(self, folders: list[str]) -> Scanned:
        while folders and self._listed < FILES_PER_TASK and self._entered < FOLDERS_PER_TASK:
            folder = folders.pop()
            if folder in self._options.left_out:
                self._skip(Skipped.MOUNT, folder)
            elif session_key(folder) is None:
                self._enter(folder, folders)
            else:
                self._list(folder)
        self._found.rest = folders
        return self._found

    def _enter(self, folder: str, folders: list[str]) -> None:
        """Find the folders in a folder that is of no session."""
        self._entered += 1
        inner = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != alf.STATE_FOLDER:
                            inner.append(entry.path)
                    elif entry.name not in (*alf.TABLE_NAMES, alf.INSERTIONS_NAME):
                        self._skip(Skipped.FOLDER_LINK if _leads_to_folder(entry) else Skipped.OUTSIDE, entry.path)
        except FileNotFoundError:
            return  # it is gone by now
        except OSError as error:
            self._unreadable(folder, error)
            self._found.closed.append(folder)
        folders += sorted(inner, reverse=True)  # the last one comes first

    def _list(self, session: str) -> None:
        """List the datasets in a session's folder."""
        paths: list[str] = []
        facts = array("Q")
        below = [""]
        self._unknown = []
        while below:
            inner = below.pop()
            self._entered += 1
            try:
                with os.scandir(f"{session}/{inner}") as entries:
                    self._list_folder(entries, inner, below, paths, facts)
            except FileNotFoundError:
                if not inner:
                    return
            except OSError as error:
                self._unknown.append(inner)
                self._unreadable(f"{session}/{inner}", error)
        self._listed += len(paths)
        self._found.listings.append(Listing(session, "\n".join(paths), facts.tobytes(), tuple(self._unknown)))

    def _list_folder(
        self,
        entries: Iterable[os.DirEntry[str]],
        inner: str,
        below: list[str],
        paths: list[str],
        facts: "array[int]",
    ) -> None:
        """Add the folders and datasets in the folder `inner` of a session; it is "" or ends in a slash."""
        is_valid = is_collection(inner[:-1])
        for entry in entries:
            path = inner + entry.name
            if path in _OWN_NAMES:
                continue
            if entry.is_dir(follow_symlinks=False):
                if why := self._why_not_entered(entry):
                    self._skip(why, entry.path)
                else:
                    below.append(f"{path}/")
            elif not is_valid or not _is_file_name(entry.name):
                self._skip(Skipped.FILE_NAME if is_valid else Skipped.FOLDER_NAME, entry.path)
            elif (found := self._look_at(entry, path)) is not None:
                paths.append(path)
                facts.extend((found.st_size, found.st_mtime_ns & _64_BITS, found.st_ino))

    def _why_not_entered(self, entry: os.DirEntry[str]) -> Skipped | None:
        if entry.path in self._options.left_out:
            return Skipped.MOUNT
        return None if _is_folder_name(entry.name) else Skipped.FOLDER_NAME

    def _look_at(self, entry: os.DirEntry[str], path: str) -> os.stat_result | None:
        """The status of a file; None if it is no dataset."""
        try:
            found = entry.stat()
        except OSError as error:
            if error.errno not in _LEADS_NOWHERE:
                self._unknown.append(path)
                self._unreadable(entry.path, error)
            elif entry.is_symlink():  # else it is gone by now
                self._skip(Skipped.BROKEN_LINK, entry.path)
            return None
        if not stat.S_ISREG(found.st_mode):
            self._skip(Skipped.FOLDER_LINK if stat.S_ISDIR(found.st_mode) else Skipped.SPECIAL, entry.path)
            return None
        if len(path) > alf.MOST_PARTS and not alf.is_safe_relative(path):
            self._skip(Skipped.TOO_LONG, entry.path)
            return None
        return found

    def _skip(self, why: Skipped, path: str) -> None:
        self._found.skipped[why] += 1
        if self._options.lists_skipped:
            self._found.skipped_paths.append((why, path))

    def _unreadable(self, path: str, error: OSError) -> None:
        self._found.unreadable.append(Unreadable(path.rstrip("/") or "/", error.strerror or str(error)))


def session_key(folder: str) -> SessionKey | None:
    """The session whose folder has this path; None if it is no session's path."""
    parts = folder.rsplit("/", 5)
    match = alf.SESSION.fullmatch("/".join(parts[-3:]))
    day = alf.calendar_date(match["date"]) if match else None
    if match is None or day is None:
        return None
    has_lab = len(parts) > 5 and parts[-4] == "Subjects" and _LAB.fullmatch(parts[-5])
    return SessionKey(parts[-5] if has_lab else "", match["subject"], day, int(match["number"]))


def is_dataset(rel_path: str) -> bool:
    """Whether a path in a session's folder follows the ALF specification."""
    folder, _, name = rel_path.rpartition("/")
    return is_collection(folder) and _is_file_name(name)


def is_collection(folder: str) -> bool:
    """Whether datasets may stand in a folder of a session's folder. "" is the session's folder itself."""
    collection = alf.split_relative(f"{folder}/" if folder else "").collection
    return not collection or all(map(_FOLDER.fullmatch, collection.split("/")))


def _is_folder_name(name: str) -> bool:
    return bool(_FOLDER.fullmatch(name) or alf.REVISION_FOLDER.fullmatch(name))


@lru_cache(1 << 16)  # sessions have the same names again and again
def _is_file_name(name: str) -> bool:
    return alf.parse_file_name(_OLD_NAMESPACE.sub(".", name, count=1)) is not None


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:  # such as a loop
        return False
