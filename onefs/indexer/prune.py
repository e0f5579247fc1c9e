"""Finding what a cache directory holds that its tables do not have: ALF files, and folders of unknown sessions."""

import os
import stat
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Protocol

from onefs import alf
from onefs.indexer.scan import SessionKey, is_dataset, session_key
from onefs.mountinfo import onefs_mountpoints

_OF_AN_ARCHIVE = frozenset((alf.STATE_FOLDER, *alf.TABLE_NAMES))
"""What tells the folder of an archive or cache."""


class ListedFiles(Protocol):
    """The files that tables have."""

    def rel_paths(self, lab: str, subject: str, day: date, number: int) -> Set[str] | None:
        """Relative paths of a session's datasets; None if the tables do not have the session.

        Without a lab, here or in a table, it is the session in any lab.
        """


@dataclass(slots=True)
class UnlistedFiles:
    """The ALF files in a session's folder that the tables do not have, by relative path and sorted.

    `folder` is relative to the cache directory. `status` is that of the folder. `has_others`: there is more in an
    unknown session's folder than these files and further folders.
    """

    folder: str
    status: os.stat_result
    is_listed: bool
    files: dict[str, os.stat_result] = field(default_factory=dict)
    has_others: bool = False


def unlisted_files(root: Path, known: ListedFiles) -> Iterator[UnlistedFiles | OSError]:
    """What the session folders below a cache directory hold that is not known, one folder at a time, in their order.

    A session's lab, subject, date and number are told by the path below the cache directory only. Links are not
    followed, and are never among the files. State folders, mounts of onefs, and folders with tables of
    their own, which are those of other archives, are left out. Gives an OSError for each folder that cannot be read.
    """
    root = root.absolute()
    for found in _session_folders(root):
        if isinstance(found, OSError):
            yield found
        else:
            yield from _in_session(root, *found, known)


def is_any_known(root: Path, known: ListedFiles) -> bool:
    """Whether a session folder below a cache directory has a known file. Looks until it finds one."""
    for found in _session_folders(root.absolute()):
        if not isinstance(found, OSError) and (has := known.rel_paths(*found[1])):
            paths = _paths_in(f"{root}/{found[0]}", [])
            if any(path in has or alf.path_without_uuid(path) in has for path in paths):
                return True
    return False


def _session_folders(root: Path) -> Iterator[tuple[str, SessionKey] | OSError]:
    """The session folders below a cache directory, relative to it, with their sessions; or what cannot be read."""
    mounts = _mounts_below(root)
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        key = session_key(f"/{folder}")  # what stands above the cache directory is no part of it, as it may be renamed
        if key is not None:
            yield folder, key
        elif folder not in mounts:
            try:
                waiting += reversed(_folders_in(root, folder))
            except FileNotFoundError:
                continue  # somebody removed it meanwhile
            except OSError as error:
                yield error


def _folders_in(root: Path, folder: str) -> list[str]:
    """The folders in a folder above the sessions, sorted; none if it is another archive. Raises OSError."""
    with os.scandir(root / folder) as entries:
        found = list(entries)
    if folder and not _OF_AN_ARCHIVE.isdisjoint(entry.name for entry in found):
        return []
    names = sorted(each.name for each in found if each.is_dir(follow_symlinks=False))
    return [f"{folder}/{name}" if folder else name for name in names if name != alf.STATE_FOLDER]


def _in_session(root: Path, folder: str, key: SessionKey, known: ListedFiles) -> Iterator[UnlistedFiles | OSError]:
    """What is not known in a session's folder, if anything; only errors if a part of it cannot be read."""
    place = f"{root}/{folder}"
    has = known.rel_paths(*key)
    errors: list[OSError] = []
    paths = [path for path in _paths_in(place, errors) if has is None or path not in has]
    if errors:
        yield from errors
        return
    try:
        found = UnlistedFiles(folder, os.lstat(place), is_listed=has is not None)
        for path in sorted(paths):
            _add(found, place, path, has or frozenset())
    except FileNotFoundError:
        return
    except OSError as error:
        yield error
        return
    if found.files or has is None:
        yield found


def _paths_in(place: str, errors: list[OSError]) -> Iterator[str]:
    """Relative paths of all that is no folder in a session's folder or below; links and state folders included."""
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(f"{place}/{prefix}") as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False) and entry.name != alf.STATE_FOLDER:
                        waiting.append(f"{prefix}{entry.name}/")
                    else:
                        yield prefix + entry.name
        except FileNotFoundError:
            continue
        except OSError as error:
            errors.append(error)


def _add(found: UnlistedFiles, place: str, path: str, has: Set[str]) -> None:
    """Add a path that is not known as such, unless it is that of a known file, or no ALF file. Raises OSError."""
    is_chunk = path.rpartition(".")[2].isdigit()  # as in the folder of a zarr array: 0.0.0
    if alf.path_without_uuid(path) not in has and is_dataset(path) and not is_chunk:
        try:
            status = os.lstat(f"{place}/{path}")
        except FileNotFoundError:
            return
        if stat.S_ISREG(status.st_mode):
            found.files[path] = status
            return
    found.has_others = True


def _mounts_below(root: Path) -> set[str]:
    """Where onefs is mounted below a folder, relative to it."""
    above = os.path.realpath(root) + "/"
    return {place.removeprefix(above) for place in onefs_mountpoints() if place.startswith(above)}
