"""`Folder`: opens, renames and removes files below an open folder (openat2), following no symbolic link."""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""Opening a FIFO so, or a file on which somebody has a lease, waits for nobody."""
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK
DATA_MODE = 0o644
"""Of files that are, or become, cached files: what others may read, if the umask says so, and never write."""
STATE_MODE = 0o600
IN_USE = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)
"""What the system says if a folder is not empty, or something is mounted there."""
FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_STATUS = os.O_PATH | os.O_CLOEXEC
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPENAT2 = 437
_BENEATH_NO_SYMLINKS = 0x08 | 0x04
_HOW_BYTES = 24
_TRIES = 16
_PIECE_BYTES = 1 << 16
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
_syscall.restype = ctypes.c_long


class Folder:
    """A folder of the cache, held open. All paths are relative to it. Safe to use from several threads.

    Each method raises OSError: ELOOP if a symbolic link is in the way, EXDEV if the path leads out of the folder,
    EINVAL if there is something else than a file where a file must be. The folder's own path may be a link: it is
    resolved when the folder is opened, at the first use, and again if somebody removed the folder or moved it away.
    """

    def __init__(self, path: Path, *, follows_links: bool = False) -> None:
        """With `follows_links`, links below the folder are followed, as for a folder that is its owner's alone.

        It is not held open then, so that an archive on a disk of its own, or another mount, can be unmounted.
        """
        self.path = path
        self.follows_links = follows_links
        self._number = -1

    def open(self, path: str, flags: int = READING, mode: int = 0) -> int:
        """A descriptor of anything below the folder."""
        if self.follows_links:
            return os.open(self.path / path, flags, mode)
        try:
            try:
                return self._open(self._root(), path, flags, mode)
            except FileNotFoundError:
                if not (self._may_have_moved() and self._has_moved()):
                    raise
                return self._open(self._root(), path, flags, mode)
        except OSError as error:
            error.filename = f"{self.path}/{path}"
            raise

    def open_file(self, path: str, flags: int = READING, mode: int = 0) -> tuple[int, os.stat_result]:
        """A descriptor and the status of a regular file."""
        number = self.open(path, flags, mode)
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            os.close(number)
            raise OSError(errno.EINVAL, "Not a regular file", f"{self.path}/{path}")
        return number, status

    def status(self, path: str = "") -> os.stat_result:
        """The status of the folder itself, or of anything below it but a link."""
        number = self.open(path or ".", _STATUS)
        try:
            return os.fstat(number)
        finally:
            os.close(number)

    def lacks(self, path: str) -> bool:
        """Whether there is nothing at a path, in this folder and in the one that has its name now.

        Costs a fifth of asking for the status of what is not there. Raises OSError if the folder itself is not there.
        """
        if os.access(f"{self.path}/{path}", os.F_OK):
            return False
        return self.follows_links or not os.access(path, os.F_OK, dir_fd=self._root())

    def read(self, path: str, most_bytes: int) -> bytes:
        """The contents of a file; EFBIG if it is longer than `most_bytes`."""
        number, status = self.open_file(path)
        try:
            data = b""
            while status.st_size <= most_bytes and len(data) <= most_bytes:
                piece = os.read(number, _PIECE_BYTES)
                if not piece:
                    return data
                data += piece
        finally:
            os.close(number)
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), f"{self.path}/{path}")

    def write(self, path: str, data: bytes, mode: int = STATE_MODE) -> None:
        """Write a small file whole: temporary, renamed. Makes the folders above it."""
        with self.parent(path, make=True) as (at, name):
            write_whole_at(at, name, data, mode)

    def rename(self, path: str, target: str, to: "Folder | None" = None) -> None:
        """Rename a file, also into another folder that is held open."""
        with self.parent(path) as (at, name), (to or self).parent(target) as (there, new):
            os.rename(name, new, src_dir_fd=at, dst_dir_fd=there)

    def link(self, path: str, target: str, to: "Folder | None" = None) -> None:
        """Give a file a second name."""
        with self.parent(path) as (at, name), (to or self).parent(target) as (there, new):
            os.link(name, new, src_dir_fd=at, dst_dir_fd=there, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        with self.parent(path) as (at, name):
            os.unlink(name, dir_fd=at)

    def make_folders(self, path: str, mode: int = 0o777) -> None:
        """Make a folder and those above it, this one too, if need be."""
        with suppress(FileNotFoundError):
            os.close(self.open(path or ".", FOLDER))
            return
        self._make_itself()
        if not self.follows_links:
            self._has_moved()
        made = ""
        for part in path.split("/") if path else ():
            with self.parent(f"{made}{part}") as (at, name), suppress(FileExistsError):
                os.mkdir(name, mode, dir_fd=at)
            made = f"{made}{part}/"

    @contextmanager
    def parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that a path is in, and the name there, for the calls that take `dir_fd`."""
        folder, _, name = path.rpartition("/")
        if make:
            self.make_folders(folder)
        number = self.open(folder or ".", FOLDER)
        try:
            yield number, name
        finally:
            os.close(number)

    @contextmanager
    def scan(self, path: str = "") -> Iterator[Iterator["os.DirEntry[str]"]]:
        """What is in a folder, as `os.scandir` gives it. Ask an entry nothing that follows links."""
        number = self.open(path or ".", _LISTING)
        try:
            with os.scandir(number) as entries:
                yield entries
        finally:
            os.close(number)

    def remove_file(self, path: str, status: os.stat_result) -> bool:
        """Remove a file if it is still the one of `status`; False if it is not."""
        with self.parent(path) as (at, name):
            found = os.lstat(name, dir_fd=at)
            if not found.st_nlink:  # somebody removed it just now, which changed its ctime
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if _identity(found) != _identity(status):
                return False
            os.unlink(name, dir_fd=at)
        return True

    def remove_empty_tree(self, path: str) -> bool:
        """Remove a folder in which there is nothing but folders; False if there is more, or it is gone."""
        found = [path]
        try:
            for folder in found:  # which grows meanwhile
                with self.scan(folder) as entries:
                    inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
                if not all(is_folder for _, is_folder in inside):
                    return False
                found += [f"{folder}/{name}" for name, _ in inside]
        except FileNotFoundError:
            return False
        return all(self._remove_folder(folder) for folder in reversed(found))

    def remove_emptied(self, path: str, top: str) -> None:
        """Remove a folder that has become empty, and those above it for which that is so then, up to below `top`."""
        while path and path != top and self._remove_folder(path):
            path = path.rpartition("/")[0]

    def close(self) -> None:
        """Let go of the folder. It is opened anew if it is used again."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def _root(self) -> int:
        if self._number < 0:
            number = self._open_itself()
            if self._number < 0:
                self._number = number
            else:  # another thread was faster
                os.close(number)
        return self._number

    def _open_itself(self) -> int:
        return os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def _make_itself(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)

    def _may_have_moved(self) -> bool:
        """Whether another folder is at the path by now, or none."""
        try:
            return self._number < 0 or not os.path.samestat(os.fstat(self._number), self.path.stat())
        except OSError:
            return True

    def _has_moved(self) -> bool:
        """Open the folder anew if another is at its path by now, under the same number; False if there is none."""
        with suppress(OSError):
            held, number = self._root(), self._open_itself()
            try:
                if not os.path.samestat(os.fstat(held), os.fstat(number)):
                    os.dup2(number, held, inheritable=False)
                    return True
            finally:
                os.close(number)
        return False

    def _open(self, root: int, path: str, flags: int, mode: int) -> int:
        return open_beneath(root, path, flags, mode)

    def _remove_folder(self, path: str) -> bool:
        """Remove a folder if it is empty; whether it is not there any more."""
        try:
            with self.parent(path) as (at, name):
                os.rmdir(name, dir_fd=at)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in IN_USE:
                return False
            raise
        return True


class PrivateFolder(Folder):
    """A folder of one user's in a folder that others can write: nobody else may look into it.

    The folders above it are made such that every user of the outer one can make his own in them. EACCES if somebody
    else owns the folder. One that others have rights in is moved aside.
    """

    def __init__(self, outer: Folder, path: str, owner: int) -> None:
        super().__init__(outer.path / path)
        self._owner = owner
        self._outer = outer
        self._inside = path

    @property
    def anchor(self) -> str:
        """A path of this process that leads to the folder by its descriptor, whatever stands at its own path."""
        return f"/proc/self/fd/{self._root()}"

    def close(self) -> None:
        """Do nothing: paths may lead from it."""

    def _open_itself(self) -> int:
        number = self._outer.open(self._inside, FOLDER)
        status = os.fstat(number)
        if status.st_uid == self._owner and not stat.S_IMODE(status.st_mode) & 0o077:
            return number
        os.close(number)
        if status.st_uid != self._owner:
            raise PermissionError(errno.EACCES, "It belongs to another user", str(self.path))
        self._outer.rename(self._inside, f"{self._inside}.{uuid4().hex}")  # others may have put something there
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))

    def _make_itself(self) -> None:
        self._outer.make_folders("")
        rights = stat.S_IMODE(self._outer.status(".").st_mode) | stat.S_ISVTX
        above = self._inside.split("/")[:-1]
        for depth in range(1, len(above) + 1):
            self._make_open_to_all("/".join(above[:depth]), rights)
        with self._outer.parent(self._inside) as (at, name), suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=at)

    def _make_open_to_all(self, path: str, rights: int) -> None:
        """Make a folder with such rights, whatever the umask says."""
        self._outer.make_folders(path)
        number = self._outer.open(path, _LISTING)
        try:
            status = os.fstat(number)
            if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != rights:
                os.fchmod(number, rights)
        finally:
            os.close(number)


def write_whole_at(folder: int, name: str, data: bytes, mode: int = STATE_MODE) -> None:
    """Write a small file in an open folder whole: temporary, renamed. Raises OSError."""
    temporary = f"{name}.{uuid4().hex}.tmp"  # process numbers repeat on machines that share it
    number = os.open(temporary, NEW, mode, dir_fd=folder)
    try:
        try:
            if os.write(number, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), temporary)
        finally:
            os.close(number)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise


def open_beneath(folder: int, path: str, flags: int, mode: int = 0) -> int:
    """A descriptor of what is at a relative path; ELOOP for a link, EXDEV for a path that leads out. Raises OSError."""
    if "\0" in path:
        raise ValueError("embedded null byte")
    raw, how = os.fsencode(path), _how(flags, mode if flags & os.O_CREAT else 0)
    for _ in range(_TRIES):
        number: int = _syscall(_OPENAT2, folder, raw, how, _HOW_BYTES)
        if number >= 0:
            return number
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EPERM):  # an old kernel, or a container that forbids calls it does not know
            return open_stepwise(folder, path, flags, mode)
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code), path)


def open_stepwise(folder: int, path: str, flags: int, mode: int = 0) -> int:
    """The same with one call for each part of the path. Raises OSError."""
    parts = path.split("/")
    if ".." in parts or path.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    number = os.dup(folder)
    try:
        for part in parts[:-1]:
            below = _open_one(number, part or ".", FOLDER, 0)
            os.close(number)
            number = below
        return _open_one(number, parts[-1], flags, mode)
    finally:
        os.close(number)


def _open_one(folder: int, name: str, flags: int, mode: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=folder)
    except NotADirectoryError:
        if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


@lru_cache(256)
def _how(flags: int, mode: int) -> bytes:
    """A `struct open_how`."""
    return struct.pack("QQQ", flags, mode, _BENEATH_NO_SYMLINKS)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns
