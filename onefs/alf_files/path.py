"""Paths that know the ALF parts in them, and the same as plain functions."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PosixPath, PurePath, PureWindowsPath
from typing import Any, Self
from uuid import UUID

from onefs import alf
from onefs.alf_files import parts, spec
from onefs.alf_files.parts import (
    AnyPath,
    filename_parts,
    folder_parts,
    full_path_parts,
    rel_path_parts,
    session_path_parts,
)
from onefs.alf_files.pure_path import PureALFPath, PurePosixALFPath, PureWindowsALFPath, with_id

__all__ = [
    "ALFPath", "PureALFPath", "PurePosixALFPath", "PureWindowsALFPath", "add_uuid_string", "ensure_alf_path",
    "filename_parts", "folder_parts", "full_path_parts", "get_alf_path", "get_session_path", "padded_sequence",
    "rel_path_parts", "remove_uuid_string", "session_path_parts", "without_revision",
]  # fmt: skip


class ALFPath(PureALFPath, PosixPath):
    """A `pathlib.Path` with what `PureALFPath` has."""

    __slots__ = ()

    def is_valid_alf(self) -> bool:
        """As for a pure path; but a file that is there needs a dataset's name, and a folder the path of one."""
        if Path(self).is_dir():
            return parts.in_folder(spec.as_posix(self)) is not None
        return PureALFPath.is_valid_alf(self) and (PureALFPath.is_dataset(self) or not Path(self).is_file())

    def is_dataset(self) -> bool:
        """Whether the last part is a dataset's name, and no folder."""
        return PureALFPath.is_dataset(self) and not Path(self).is_dir()

    def is_session_path(self) -> bool:
        """Whether it is the path of a session's folder, and no file."""
        return PureALFPath.is_session_path(self) and not Path(self).is_file()

    def iter_datasets(self, recursive: bool = False) -> Iterator[Self]:
        """The files with a dataset's name in this folder, or in all below it too, in the order of their names."""
        if not self.is_dir():
            return
        for entry in sorted(os.scandir(self), key=lambda entry: entry.name):
            if recursive and entry.is_dir(follow_symlinks=False):
                yield from type(self)(entry.path).iter_datasets(recursive=True)
            elif spec.is_valid(entry.name) and entry.is_file():
                yield type(self)(entry.path)


def ensure_alf_path(path: Any) -> Any:
    """A path as an ALF path, pure if it is: itself if it is one already. Of a list of paths, a list."""
    if isinstance(path, PureALFPath):
        return path
    if isinstance(path, PurePath) and not isinstance(path, Path):
        return PureWindowsALFPath(path) if isinstance(path, PureWindowsPath) else PurePosixALFPath(path)
    if isinstance(path, str | os.PathLike):
        return ALFPath(path)
    if isinstance(path, Iterable):
        return [ensure_alf_path(each) for each in path]
    raise TypeError(f"{path!r} is no path.")


def get_session_path(path: AnyPath | None) -> Any:
    """The session folder that a path is, or is in; None if there is none."""
    return None if path is None else ensure_alf_path(path).session_path()


def get_alf_path(path: AnyPath) -> str | None:
    """The part of a path that follows the convention: from the session's lab on, or collection and file name."""
    text = spec.as_posix(path).strip("/")
    found = alf.find_session(text) or parts.REL_PATH_IN_PATH.search(text)
    return text[found.start() :] if found else None


def padded_sequence(file_path: AnyPath) -> Any:
    """The path with the number of the session filled up to three digits."""
    return ensure_alf_path(file_path).with_padded_sequence()


def without_revision(file_path: AnyPath) -> Any:
    """The path without its revision folder."""
    return ensure_alf_path(file_path).without_revision()


def add_uuid_string(file_path: AnyPath, uuid: UUID | str, strict: bool = False) -> Any:
    """The path with a UUID before the extension, in place of one that is there; another one raises if `strict`."""
    return with_id(ensure_alf_path(file_path), uuid, strict)


def remove_uuid_string(file_path: AnyPath) -> Any:
    """The path without a UUID before the extension."""
    return ensure_alf_path(file_path).without_uuid()
