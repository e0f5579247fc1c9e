"""The parts of ALF paths, as tuples or dicts. Absent parts are None."""

import os
import re
from typing import Any

from onefs import alf
from onefs.alf_files import spec
from onefs.one_errors import ALFInvalid

AnyPath = str | os.PathLike[str]
Parts = dict[str, str | None]

FILE = spec.regex(spec.FILE_SPEC)
REL_PATH = spec.regex(spec.REL_PATH_SPEC)
REL_PATH_IN_PATH = re.compile(rf"(?<![^/]){REL_PATH.pattern}")
_FOLDER = spec.regex(spec.COLLECTION_SPEC)
SESSION_PARTS, FOLDER_PARTS, FILE_PARTS = (tuple(each.groupindex) for each in (alf.SESSION, _FOLDER, FILE))
ALL_PARTS = SESSION_PARTS + FOLDER_PARTS + FILE_PARTS


def filename_parts(filename: AnyPath, as_dict: bool = False, assert_valid: bool = True) -> Any:
    """The parts of a file name. What is none raises `ALFInvalid`, or has no parts if not `assert_valid`."""
    path = spec.as_posix(filename)
    return _told(path, "file name", _groups(FILE.fullmatch(path)), FILE_PARTS, as_dict, assert_valid)


def rel_path_parts(rel_path: AnyPath, as_dict: bool = False, assert_valid: bool = True) -> Any:
    """The parts of a dataset's path inside its session; what is none as in `filename_parts`."""
    path = spec.as_posix(rel_path)
    names = FOLDER_PARTS + FILE_PARTS
    return _told(path, "path inside a session", _groups(REL_PATH.fullmatch(path)), names, as_dict, assert_valid)


def session_path_parts(session_path: AnyPath, as_dict: bool = False, assert_valid: bool = True) -> Any:
    """The parts of the session folder in a path; where there is none as in `filename_parts`."""
    path = spec.as_posix(session_path)
    found = _groups(alf.find_session(path))
    return _told(path, "path of a session or in one", found, SESSION_PARTS, as_dict, assert_valid)


def folder_parts(folder_path: AnyPath, as_dict: bool = False, assert_valid: bool = True) -> Any:
    """The parts of the path of a folder: session, collection, revision; what is none as in `filename_parts`."""
    path = spec.as_posix(folder_path)
    names = SESSION_PARTS + FOLDER_PARTS
    return _told(path, "path of a folder in a session", in_folder(path), names, as_dict, assert_valid)


def full_path_parts(path: AnyPath, as_dict: bool = False, assert_valid: bool = True) -> Any:
    """The parts of the path of a file or folder in a session; what is none as in `filename_parts`."""
    text = spec.as_posix(path).rstrip("/")
    return _told(text, "file name or path in a session", in_path(text), ALL_PARTS, as_dict, assert_valid)


def in_file(path: str) -> Parts | None:
    """The parts of the path of a dataset, from its session on."""
    session = alf.find_session(path)
    place = session and _groups(REL_PATH.fullmatch(_behind(session)))
    return {**session.groupdict(), **place} if session and place else None


def in_folder(path: str) -> Parts | None:
    """The parts of the path of a session's folder, or of one in it."""
    session = alf.find_session(path)
    place = session and in_place(_behind(session))
    return {**session.groupdict(), **place} if session and place else None


def in_place(folder: str) -> Parts | None:
    """The collection and revision of a folder inside a session; "" is the session's root."""
    return _groups(_FOLDER.fullmatch(f"{folder}/" if folder else ""))


def in_path(path: str) -> Parts | None:
    """The parts of a file name, or of the path of a dataset or folder in a session.

    A last name with a dot is a file's, unless it is a revision's.
    """
    folder, _, last = path.rpartition("/")
    if "." not in last or alf.REVISION_FOLDER.fullmatch(last):
        return in_folder(path)
    return in_file(path) if folder else _groups(FILE.fullmatch(last))


def that_fit(path: str) -> Parts:
    """All parts of any path, None where it does not fit the convention."""
    found: Parts = dict.fromkeys(ALL_PARTS)
    folder, _, name = path.rpartition("/")
    file = FILE.fullmatch(name)
    if file is None:
        found |= in_folder(path) or in_folder(folder) or session_path_parts(path, as_dict=True, assert_valid=False)
        return found
    return (
        found | (in_folder(folder) or session_path_parts(folder, as_dict=True, assert_valid=False)) | file.groupdict()
    )


def _behind(session: re.Match[str]) -> str:
    """What stands behind the session folder in a path."""
    return session.string[session.end() :].strip("/")


def _groups(match: re.Match[str] | None) -> Parts | None:
    return match.groupdict() if match else None


def _told(path: str, what: str, parts: Parts | None, names: tuple[str, ...], as_dict: bool, assert_valid: bool) -> Any:
    """All parts of these names, as was asked for."""
    if parts is None and assert_valid:
        raise ALFInvalid(f"{path!r} is no {what} that follows the ALF convention.")
    found = {**dict.fromkeys(names), **(parts or {})}
    return found if as_dict else tuple(found.values())
