"""Permissions: whether other users can write a cache directory, and where onefs keeps its own files in it."""

import errno
import grp
import os
import pwd
import shlex
import stat
from contextlib import closing, suppress
from functools import cache
from pathlib import Path, PosixPath

from onefs.alf import STATE_FOLDER
from onefs.cache.beneath import Folder, PrivateFolder
from onefs.errors import CacheDamagedError

USERS = "users"
MOST_STEPS = 4096
ACCESS_LIST = "system.posix_acl_access"


class UserPath(PosixPath):
    """A path in a user's own state folder of a cache that others can write.

    It is shown like any other. Opened, it leads from the descriptor by which that folder is held, so that nobody can
    have a link followed on the way there. As a string, which is what other processes get, it is just a path.
    """

    def __fspath__(self) -> str:
        """The path for calls to the system. Raises OSError if the folder is not this user's own."""
        for end in range(len(self.parts), 2, -1):
            if _is_of_one_user(self.parts[:end]):
                state = os.path.join(*self.parts[:end])  # noqa: PTH118 - a path here would be one of this class
                with suppress(FileNotFoundError):
                    return "/".join((_held(state).anchor, *self.parts[end:]))
                break
        return super().__fspath__()


def state_folder(cache_dir: Path) -> Path:
    """Where the state of a cache is: this user's own folder in a cache that others can write."""
    state = cache_dir / STATE_FOLDER
    return UserPath(state / USERS / str(os.geteuid())) if others_can_write(cache_dir) else state


def path_of(text: str) -> Path:
    """The path that another process told, as this one is to use it."""
    path = Path(text)
    is_state = any(_is_of_one_user(place.parts) for place in (path, *path.parents))
    return UserPath(path) if is_state else path


def hold_state(state_dir: Path) -> Folder:
    """The folder of a cache's state; nobody else is let into this user's own in a cache that others can write."""
    return _held(str(state_dir)) if _is_of_one_user(state_dir.parts) else Folder(state_dir)


def _is_of_one_user(parts: tuple[str, ...]) -> bool:
    return parts[-3:-1] == (STATE_FOLDER, USERS) and parts[-1].isdecimal()


@cache
def _held(state: str) -> PrivateFolder:
    """The one of this process, which is never closed: paths lead from it."""
    folder, *inside = state.rsplit("/", 3)
    return PrivateFolder(Folder(Path(folder)), "/".join(inside), int(inside[-1]))


def make_state_folder(cache_dir: Path) -> Path:
    """The same, made if need be and if it can be: whoever writes there is told why not."""
    state = state_folder(cache_dir)
    with suppress(OSError), closing(hold_state(state)) as folder:
        folder.make_folders("")
    return state


def others_can_write(cache_dir: Path) -> bool:
    """Whether anybody but this user and root can change what is at `cache_dir`, which need not exist.

    That is so if they can write it, its state folder, or a folder on the way to it, whose entries they could replace.
    """
    passed, links, real = _walked(cache_dir)
    above = [place for place in passed if not _keeps_entries(place)]
    own = (real, real / STATE_FOLDER)
    return (
        any(_is_open(place) or _is_for_a_group(place) for place in own)
        or any(_is_open(place, _unmapped()) for place in above)
        or any(_is_of_another(link) for link in links)
    )


def others_can_change(descriptor: int, status: os.stat_result) -> bool:
    """Whether anybody but this user and root can write an open file, whose status is this."""
    return _is_writable(status, descriptor, 0)


def refuse_shared(cache_dir: Path, *, serves_others: bool, is_trusted: bool) -> None:
    """Raise `CacheDamagedError` for a mount as root, or with `serves_others`, on a cache that others can write."""
    is_root = os.geteuid() == 0
    if is_trusted or not (serves_others or is_root) or not others_can_write(cache_dir):
        return
    place = shlex.quote(str(cache_dir))
    raise CacheDamagedError(
        f"{'A mount by root' if is_root else 'A mount with allow_other'} may not use the cache directory {cache_dir}: "
        "other users can write there, or in a folder above it.",
        f"Make it yours alone (chown {_me()}: {place}; chmod go-w {place}), choose another with --cache-dir, or, if "
        "you trust all who can write there, mount with --trust-cache on.",
    ) from PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # tells systemd that another start fails, too


def _walked(path: Path) -> tuple[list[Path], list[Path], Path]:
    """The folders in which parts of a path are looked up, the symbolic links among those parts, and where it leads."""
    place, passed, links = Path("/"), dict[Path, None](), list[Path]()
    ahead = list(reversed(Path(os.path.abspath(path)).parts[1:]))
    for _ in range(MOST_STEPS):
        if not ahead:
            break
        part = ahead.pop()
        passed[place] = None
        try:
            target = (place / part).readlink()
        except OSError:  # no link, or nothing at all
            place = place.parent if part == ".." else place / part
        else:
            links.append(place / part)
            place = Path("/") if target.is_absolute() else place
            ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return list(passed), links, place


def _is_of_another(link: Path) -> bool:
    """Whether a link is another user's, who can replace it where everybody keeps what is his."""
    return _keeps_entries(link.parent) and link.lstat().st_uid not in (0, os.geteuid(), _unmapped())


def _is_open(place: Path, trusted_uid: int = 0) -> bool:
    """Whether others own a folder, or can write in it; False if it is not there."""
    try:
        status = place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return _is_writable(status, place, trusted_uid)


def _is_writable(status: os.stat_result, place: Path | int, trusted_uid: int) -> bool:
    """Whether others own what is at a path or descriptor, or can write it."""
    if status.st_uid not in (0, os.geteuid(), trusted_uid) or status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and (_has_access_list(place) or _has_others(status.st_gid))


def _is_for_a_group(place: Path) -> bool:
    """Whether a folder was made for a group (mode 2775), whose members the machine's tables need not know."""
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)


def _keeps_entries(place: Path) -> bool:
    """Whether a folder is such that nobody can move away what is another's, as /tmp is."""
    try:
        status = place.stat()
    except OSError:
        return False
    return bool(status.st_mode & stat.S_ISVTX) and status.st_uid in (0, os.geteuid(), _unmapped())


def _has_access_list(place: Path | int) -> bool:
    """Whether there is an access control list: the group's permissions are those of all whom it names, then."""
    try:
        return bool(os.getxattr(place, ACCESS_LIST))
    except OSError:
        return False


@cache
def _has_others(gid: int) -> bool:
    """Whether there is another member than this user and root in a group, or may be."""
    try:
        members = grp.getgrgid(gid).gr_mem
    except KeyError:
        return True
    ours = {_me(), "root"}
    return bool(set(members) - ours) or any(user.pw_gid == gid and user.pw_name not in ours for user in pwd.getpwall())


def _me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


@cache
def _unmapped() -> int:
    """The user who is shown as the owner of what is root's outside of a user namespace; 0 outside of one."""
    try:
        mapped = [int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines()]
        return 0 if sum(mapped) >= 0xFFFF_FFFF else int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError, IndexError):
        return 0
