"""Finding session folders and the ALF files in them."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

from onefs import alf
from onefs.digests import md5_of_file
from onefs.errors import UsageError

_FOLDER = re.compile(r"[\w.-]+")
_OLD_NAMESPACE = re.compile(r"\._[a-z]+_(?=[a-zA-Z0-9])")
"""A namespace at the attribute, as in `channels._phy_ids.csv`: deprecated, but valid."""


class SessionKey(NamedTuple):
    """What tells sessions apart. `lab` may be ""."""

    lab: str
    subject: str
    date: date
    number: int

    @property
    def text(self) -> str:
        """`[lab/]subject/YYYY-MM-DD/NNN`."""
        place = f"{self.subject}/{self.date.isoformat()}/{self.number:03d}"
        return f"{self.lab}/{place}" if self.lab else place


class FoundFile(NamedTuple):
    """A dataset: its path in the session's folder, size, and MD5, "" if that was not asked for."""

    rel_path: str
    size_bytes: int
    md5: str


@dataclass(frozen=True, slots=True)
class FoundSession:
    """A session and its files, sorted by path."""

    key: SessionKey
    files: list[FoundFile] = field(default_factory=list)


def scan(root: Path, *, lab: str = "", hash_files: bool = False) -> list[FoundSession]:
    """All sessions below a folder, in the order of their paths, those without files included.

    `lab` is that of sessions whose path tells none. Folders of one session (`1` and `001`) are taken together; of
    files with one path the first counts. Raises `UsageError` if a path tells another lab, `OSError`.
    """
    found: dict[SessionKey, FoundSession] = {}
    for folder, key in session_folders(root.resolve()):
        if lab and key.lab and key.lab != lab:
            raise UsageError(
                f"{folder} is of the lab {key.lab}, and not of {lab}.", "Leave out the lab, or index that lab's folder."
            )
        key = key if key.lab else key._replace(lab=lab)
        session = found.setdefault(key, FoundSession(key))
        known = {file.rel_path for file in session.files}
        for rel_path in alf_files(folder):
            file = _found(folder, rel_path, hash_files=hash_files) if rel_path not in known else None
            if file is not None:
                session.files.append(file)
    return list(found.values())


def _found(folder: Path, rel_path: str, *, hash_files: bool) -> FoundFile | None:
    """What is known of a file, None if it is gone by now."""
    file = folder / rel_path
    try:
        return FoundFile(rel_path, file.stat().st_size, md5_of_file(file) if hash_files else "")
    except FileNotFoundError:
        return None


def session_folders(root: Path) -> Iterator[tuple[Path, SessionKey]]:
    """All session folders at or below a folder, which is given from `/` on, in the order of their paths.

    Links are not followed.
    """
    key = session_key(root)
    if key is not None:
        yield root, key
        return
    for folder in _folders(root):
        yield from session_folders(folder)


def session_key(folder: Path) -> SessionKey | None:
    """The session whose folder a path is, None if it is that of none."""
    match = alf.SESSION.fullmatch("/".join(folder.parts[-3:]))
    day = alf.calendar_date(match["date"]) if match else None
    if match is None or day is None:
        return None
    above = folder.parts[:-3]
    has_lab = len(above) > 1 and above[-1] == "Subjects" and re.fullmatch(r"\w+", above[-2])
    return SessionKey(above[-2] if has_lab else "", match["subject"], day, int(match["number"]))


def alf_files(session: Path, below: str = "") -> Iterator[str]:
    """Paths of the datasets in a session's folder, relative to it, sorted by their parts. Links to folders stay out."""
    with os.scandir(session / below) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            if _FOLDER.fullmatch(entry.name) or alf.REVISION_FOLDER.fullmatch(entry.name):
                yield from alf_files(session, path)
        elif is_dataset(path) and entry.is_file():
            yield path


def is_dataset(rel_path: str) -> bool:
    """Whether a path in a session's folder follows the ALF specification."""
    collection, _, name = alf.split_relative(rel_path)
    folders = collection.split("/") if collection else []
    name = _OLD_NAMESPACE.sub(".", name, count=1)
    return all(map(_FOLDER.fullmatch, folders)) and alf.parse_file_name(name) is not None


def _folders(root: Path) -> list[Path]:
    """The folders in a folder, sorted by name; not those of onefs's state."""
    with os.scandir(root) as entries:
        names = [one.name for one in entries if one.name != alf.STATE_FOLDER and one.is_dir(follow_symlinks=False)]
    return [root / name for name in sorted(names)]
