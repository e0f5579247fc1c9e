"""Removing files and empty folders below an open folder, without following links that somebody puts in the way."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
IN_USE = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)
"""What the system says if a folder is not empty, or something is mounted there."""


@contextmanager
def opened_folder(path: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of a folder, for the functions below. Raises OSError."""
    number = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield number
    finally:
        os.close(number)


def remove_file(root: int, path: str, status: os.stat_result) -> bool:
    """Remove a file if it is still the one of `status`; False if it is not. Raises OSError, if it is gone, too."""
    folder, _, name = path.rpartition("/")
    with _opened(root, folder) as at:
        found = os.lstat(name, dir_fd=at)
        if not found.st_nlink:  # somebody removed it just now, which changed its ctime
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if _identity(found) != _identity(status):
            return False
        os.unlink(name, dir_fd=at)
    return True


def remove_file_in(folder: str, path: str, status: os.stat_result) -> bool:
    """The same for a path that begins with that of the folder below which no link is followed."""
    with opened_folder(folder) as root:
        return remove_file(root, path.removeprefix(f"{folder}/"), status)


def remove_empty_tree(root: int, path: str) -> bool:
    """Remove a folder in which there is nothing but folders; False if there is more, or it is gone. Raises OSError."""
    found = [path]
    try:
        for folder in found:  # which grows meanwhile
            inside = _folders_in(root, folder)
            if inside is None:
                return False
            found += inside
    except FileNotFoundError:
        return False
    return all(_remove_folder(root, folder) for folder in reversed(found))


def remove_emptied(root: int, path: str, top: str) -> None:
    """Remove a folder that has become empty, and those above it for which that is so then, up to below `top`.

    Raises OSError.
    """
    while path and path != top and _remove_folder(root, path):
        path = path.rpartition("/")[0]


def _remove_folder(root: int, path: str) -> bool:
    """Remove a folder if it is empty; whether it is not there any more. Raises OSError."""
    folder, _, name = path.rpartition("/")
    try:
        with _opened(root, folder) as at:
            os.rmdir(name, dir_fd=at)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in IN_USE:
            return False
        raise
    return True


def _folders_in(root: int, folder: str) -> list[str] | None:
    """The folders in a folder; None if there is something else in it. Raises OSError."""
    with _opened(root, folder) as at:
        number = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    try:
        with os.scandir(number) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    finally:
        os.close(number)
    return [f"{folder}/{name}" for name, _ in found] if all(is_folder for _, is_folder in found) else None


@contextmanager
def _opened(root: int, folder: str) -> Iterator[int]:
    """A descriptor of a folder below another one; a link on the way there is an error. Raises OSError."""
    number = os.dup(root)
    try:
        for name in folder.split("/") if folder else ():
            below = os.open(name, FOLDER, dir_fd=number)
            os.close(number)
            number = below
        yield number
    finally:
        os.close(number)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns
