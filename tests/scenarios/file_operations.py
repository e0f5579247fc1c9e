"""Operations on files and folders that programs do, each with an answer that can be compared between file systems."""

import ctypes
import errno
import fcntl
import hashlib
import os
import select
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.opendir.restype = LIBC.readdir.restype = ctypes.c_void_p
LIBC.telldir.restype = ctypes.c_long
for function in (LIBC.readdir, LIBC.telldir, LIBC.closedir, LIBC.rewinddir):
    function.argtypes = (ctypes.c_void_p,)
LIBC.seekdir.argtypes = (ctypes.c_void_p, ctypes.c_long)
DIRENT_NAME = 19
AT_FDCWD, STATX_ALL, AT_SYMLINK_NOFOLLOW = -100, 0xFFF, 0x100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FS_IOC_GETFLAGS = 0x80086601
FLAGS = (
    0, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH, os.O_DIRECT, os.O_NONBLOCK, os.O_NOATIME, os.O_APPEND,
    os.O_PATH | os.O_NOFOLLOW, os.O_PATH | os.O_DIRECTORY, os.O_DIRECTORY | os.O_NOFOLLOW,
)  # fmt: skip
WRITING_FLAGS = (
    os.O_WRONLY, os.O_RDWR, os.O_TRUNC, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT, os.O_CREAT,
    os.O_CREAT | os.O_EXCL, os.O_WRONLY | os.O_CREAT | os.O_EXCL, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_TMPFILE,
    os.O_CREAT | os.O_NOFOLLOW, os.O_CREAT | os.O_DIRECTORY, os.O_WRONLY | os.O_DIRECTORY,
)  # fmt: skip
ATTRIBUTES = (
    "user.onefs.id", "user.onefs.state", "user.onefs.size", "user.onefs.eid", "user.onefs.loader", "user.onefs.probes",
    "user.onefs.hidden:alf", "user.other", "security.selinux", "system.posix_acl_access", "trusted.x", "user.", "x",
    "user." + "x" * 250, "user." + "x" * 251, "user.\udcff",
)  # fmt: skip


class Answer(dict[str, Any]):
    """What an operation answers, by name. Names that begin with `_` differ between a plain folder and a mount."""


@contextmanager
def opened(path: bytes, flags: int = os.O_RDONLY, dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor."""
    number = os.open(path, flags | os.O_NONBLOCK, 0o644, dir_fd=dir_fd)
    try:
        yield number
    finally:
        os.close(number)


def _facts(found: os.stat_result) -> Answer:
    is_file = stat.S_ISREG(found.st_mode)
    return Answer(
        mode=stat.filemode(found.st_mode),
        size_bytes=found.st_size if is_file else None,
        _number=found.st_ino,
        _time=found.st_mtime_ns // 10**9,
        _owner=(found.st_uid, found.st_gid),
        _blocks=(found.st_blksize, found.st_blocks),
    )


def look(path: bytes, other: bytes, choice: int) -> Answer:
    """stat and lstat, by the path and by a descriptor."""
    found = os.stat(path, follow_symlinks=bool(choice % 2))
    if choice % 3 == 0:
        with opened(path, os.O_PATH | (0 if choice % 2 else os.O_NOFOLLOW)) as number:
            assert os.fstat(number) == found
    return _facts(found)


def look_with_statx(path: bytes, other: bytes, choice: int) -> Answer:
    """statx, perhaps without asking the file system."""
    answer = ctypes.create_string_buffer(256)
    flags = (0, 0x2000, 0x4000)[choice % 3] | AT_SYMLINK_NOFOLLOW * (choice % 2)  # FORCE_SYNC, DONT_SYNC
    if LIBC.statx(AT_FDCWD, path, flags, STATX_ALL, answer):
        raise OSError(ctypes.get_errno(), "statx")
    mask, _, _, n_links, _, _, mode, number, size = struct.unpack_from("=IIQIIIHxxQQ", answer)
    is_file = stat.S_ISREG(mode)
    return Answer(mode=stat.filemode(mode), size=size if is_file else None, _rest=(mask, n_links, number))


def list_names(path: bytes, other: bytes, choice: int) -> Answer:
    """A folder's names with their types; their numbers must be those that stat tells."""
    kinds, numbers = {}, {}
    with os.scandir(path) as entries:
        for entry in entries:
            kinds[entry.name] = (entry.is_dir(follow_symlinks=False), entry.is_symlink())
            numbers[entry.name] = entry.inode()
            if choice % 3 == 0:
                assert entry.stat(follow_symlinks=False).st_ino == entry.inode(), entry.path
                assert os.stat(entry.path, follow_symlinks=False).st_ino == entry.inode(), entry.path
    return Answer(names=kinds, _numbers=numbers)


def _names(directory: int, most: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < most and (entry := LIBC.readdir(directory)):
        found.append(ctypes.string_at(entry + DIRENT_NAME))
    return found


def go_back(path: bytes, other: bytes, choice: int) -> Answer:
    """A folder's names, part of which are listed again from a place that was noted, and once more from the start."""
    directory = LIBC.opendir(path)
    if not directory:
        raise OSError(ctypes.get_errno(), "opendir")
    try:
        before = _names(directory, choice * 7)
        place = LIBC.telldir(directory)
        rest = _names(directory, 10**6)
        for _ in range(2):
            LIBC.seekdir(directory, place)
            assert _names(directory, 10**6) == rest
        LIBC.seekdir(directory, place)
        assert _names(directory, choice) == rest[:choice]
        LIBC.rewinddir(directory)
        assert _names(directory, 10**6) == before + rest
    finally:
        LIBC.closedir(directory)
    assert len(before) == min(choice * 7, len(before + rest))
    return Answer(names=sorted(before + rest))


def open_so(path: bytes, other: bytes, choice: int) -> Answer:
    """Open with some flags."""
    return _opened(path, FLAGS[choice % len(FLAGS)])


def open_to_write(path: bytes, other: bytes, choice: int) -> Answer:
    """Open with flags that would change a file."""
    return _opened(path, WRITING_FLAGS[choice % len(WRITING_FLAGS)])


def _opened(path: bytes, flags: int) -> Answer:
    with opened(path, flags) as number:
        return Answer(mode=stat.filemode(os.fstat(number).st_mode))


def read(path: bytes, other: bytes, choice: int) -> Answer:
    """Bytes from somewhere on, and where the descriptor stands then."""
    with opened(path) as number:
        size = os.fstat(number).st_size
        offset = (choice * 997) % (size + 10) if choice else 0
        os.lseek(number, offset, os.SEEK_SET)
        data = os.read(number, choice * 501)
        place = os.lseek(number, 0, os.SEEK_CUR)
        return Answer(bytes=hashlib.md5(data).hexdigest(), place=place, end=os.lseek(number, -1, os.SEEK_END))


def control(path: bytes, other: bytes, choice: int) -> Answer:
    """What is done with an open file beside reading it."""
    with opened(path) as number:
        match choice % 8:
            case 0:
                os.fsync(number)
            case 1:
                fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
            case 2:
                fcntl.lockf(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
            case 3:
                poll = select.poll()
                poll.register(number)
                return Answer(events=[events for _, events in poll.poll(0)])
            case 4:
                fcntl.ioctl(number, FS_IOC_GETFLAGS, bytes(8))
            case 5:
                os.ftruncate(number, 0)
            case 6:
                os.write(number, b"x")
            case 7:
                os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
    return Answer()


def from_a_folder(path: bytes, other: bytes, choice: int) -> Answer:
    """What stands in an open folder, and what stands above it."""
    with opened(path, os.O_PATH if choice % 2 else os.O_DIRECTORY) as folder:
        name = os.path.basename(other) or b"."
        if not choice % 3:
            return _facts(os.stat(b"..", dir_fd=folder)) if path.count(b"/") > 9 else Answer()
        if not choice % 5:
            with opened(name, dir_fd=folder) as number:
                return Answer(bytes=hashlib.md5(os.read(number, 10**6)).hexdigest())
        return _facts(os.stat(name, dir_fd=folder, follow_symlinks=False))


def attribute(path: bytes, other: bytes, choice: int) -> Answer:
    """The value of an extended attribute."""
    return Answer(_value=os.getxattr(path, ATTRIBUTES[choice % len(ATTRIBUTES)], follow_symlinks=bool(choice % 3)))


def attributes(path: bytes, other: bytes, choice: int) -> Answer:
    """The names of the extended attributes."""
    return Answer(_names=os.listxattr(path, follow_symlinks=bool(choice % 3)))


def may(path: bytes, other: bytes, choice: int) -> Answer:
    """What access tells."""
    if LIBC.access(path, choice % 8):
        raise OSError(ctypes.get_errno(), "access")
    return Answer()


def _exchange(path: bytes, other: bytes, choice: int) -> None:
    if LIBC.renameat2(AT_FDCWD, path, AT_FDCWD, other, choice % 3):
        raise OSError(ctypes.get_errno(), "renameat2")


def change(path: bytes, other: bytes, choice: int) -> Answer:
    """What would change something."""
    name, act = list(CHANGES.items())[choice % len(CHANGES)]
    act(path, other, choice)
    raise AssertionError(f"{name} was not refused")


Change = Callable[[bytes, bytes, int], object]
CHANGES: dict[str, Change] = {
    "mkdir": lambda path, _, __: os.mkdir(path),
    "rmdir": lambda path, _, __: os.rmdir(path),
    "unlink": lambda path, _, __: os.unlink(path),
    "rename": lambda path, other, _: os.rename(path, other),
    "renameat2": _exchange,
    "link": lambda path, other, choice: os.link(path, other, follow_symlinks=bool(choice % 2)),
    "symlink": lambda path, _, __: os.symlink(b"x", path),
    "mknod": lambda path, _, __: os.mkfifo(path),
    "chmod": lambda path, _, __: os.chmod(path, 0o600),
    "chown": lambda path, _, __: os.lchown(path, 1, 1),
    "utime": lambda path, _, __: os.utime(path, (1, 1)),
    "truncate": lambda path, _, choice: os.truncate(path, choice),
    "setxattr": lambda path, _, choice: os.setxattr(path, ATTRIBUTES[choice % len(ATTRIBUTES)], b"x"),
    "removexattr": lambda path, _, choice: os.removexattr(path, ATTRIBUTES[choice % len(ATTRIBUTES)]),
}


def link(path: bytes, other: bytes, choice: int) -> Answer:
    """Where a symbolic link leads."""
    return Answer(target=os.readlink(path))


def room(path: bytes, other: bytes, choice: int) -> Answer:
    """What statvfs tells of names."""
    return Answer(longest=os.statvfs(path).f_namemax)


READING = (
    look, look_with_statx, list_names, go_back, open_so, read, control, from_a_folder, attribute, attributes, may, link,
    room,
)  # fmt: skip
WRITING = (open_to_write, change)


def answer_of(operation: Callable[[bytes, bytes, int], Answer], path: bytes, other: bytes, choice: int) -> Answer:
    """What an operation answers; of one that fails, its error."""
    try:
        return operation(path, other, choice)
    except OSError as error:
        return Answer(error=errno.errorcode[error.errno or 0])
