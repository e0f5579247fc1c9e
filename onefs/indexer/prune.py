"""Files and session folders of a cache directory that its tables do not have."""

import os
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from onefs import alf
from onefs.indexer.scan import SessionKey, alf_files, session_folders

__all__ = ["SessionKey", "find_missing", "remove"]


def find_missing(root: Path, known: Mapping[SessionKey, Set[str]], *, empty_sessions: bool = True) -> list[Path]:
    """The paths that `known`, the relative paths of each session, does not have, sorted.

    These are ALF files, and with `empty_sessions` folders of unknown sessions that hold nothing else. Where either the
    folder or the table tells no lab, it is the same session in any. Raises OSError.
    """
    at_any_lab: dict[SessionKey, Set[str]] = {}
    for key, paths in known.items():
        without_lab = key._replace(lab="")
        at_any_lab[without_lab] = at_any_lab.get(without_lab, frozenset()) | paths
    missing: list[Path] = []
    for folder, key in session_folders(root.absolute()):
        place = root / folder.relative_to(root.absolute())
        without_lab = key._replace(lab="")
        has = _paths_of(key, known, at_any_lab)
        unknown = {path for path in alf_files(folder) if not has or not {path, _plain(path)} & has}
        missing += [place / path for path in unknown]
        if has is None and empty_sessions and all(path in unknown for path in _all_files(folder)):
            missing.append(place)
    return sorted(missing)


def _paths_of(
    key: SessionKey, known: Mapping[SessionKey, Set[str]], at_any_lab: Mapping[SessionKey, Set[str]]
) -> Set[str] | None:
    """The paths that are known of the session whose folder has this key, None if there is no such session."""
    if key in known:
        return known[key]
    return (known if key.lab else at_any_lab).get(key._replace(lab=""))


def remove(missing: Iterable[Path]) -> None:
    """Remove these files, then these folders with the empty folders in them. Raises OSError."""
    folders = []
    for path in missing:
        if path.is_dir() and not path.is_symlink():
            folders.append(path)
        else:
            path.unlink(missing_ok=True)
    for folder in folders:
        for at, _, _ in os.walk(folder, topdown=False):
            Path(at).rmdir()  # refuses a folder in which something has appeared


def _plain(rel_path: str) -> str:
    """The path without the dataset's UUID that may stand in the file name."""
    folder, slash, name = rel_path.rpartition("/")
    return folder + slash + alf.without_uuid(name)


def _all_files(folder: Path) -> list[str]:
    """Everything below a folder that is not a folder itself."""
    found = []
    for at, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        found += [(Path(at) / name).relative_to(folder).as_posix() for name in (*files, *links)]
    return found
