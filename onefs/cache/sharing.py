"""Whether other users can write a cache directory, and where onefs keeps its own files in it."""

import grp
import os
import pwd
import shlex
import stat
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from onefs.alf import STATE_FOLDER
from onefs.cache.beneath import Folder, PrivateFolder
from onefs.errors import UsageError

USERS = "users"
ACCESS_LIST = "system.posix_acl_access"


def state_folder(cache_dir: Path) -> Path:
    """Where the state of a cache is: this user's own folder in a cache that others can write."""
    state = cache_dir / STATE_FOLDER
    return state / USERS / str(os.geteuid()) if others_can_write(cache_dir) else state


def hold_state(state_dir: Path) -> Folder:
    """The folder of a cache's state; nobody else is let into this user's own in a cache that others can write."""
    if state_dir.parts[-3:-1] == (STATE_FOLDER, USERS):
        return PrivateFolder(Folder(state_dir.parents[2]), "/".join(state_dir.parts[-3:]))
    return Folder(state_dir)


def make_state_folder(cache_dir: Path) -> Path:
    """The same, made if need be and if it can be: whoever writes there is told why not."""
    state = state_folder(cache_dir)
    with closing(hold_state(state)) as folder, suppress(OSError):
        folder.make_folders("")
    return state


def others_can_write(cache_dir: Path) -> bool:
    """Whether anybody but this user and root can change what is at `cache_dir`, which need not exist.

    That is so if they can write it, its state folder, or a folder above it, from which they could move it away.
    """
    real = Path(os.path.realpath(cache_dir))
    above = [place for place in real.parents if not _keeps_entries(place)]
    return any(map(_is_open, (real, real / STATE_FOLDER))) or any(_is_open(place, _unmapped()) for place in above)


def refuse_shared(cache_dir: Path, *, serves_others: bool, is_trusted: bool) -> None:
    """Raise `UsageError` for a mount as root, or with `serves_others`, on a cache that others can write."""
    is_root = os.geteuid() == 0
    if is_trusted or not (serves_others or is_root) or not others_can_write(cache_dir):
        return
    place = shlex.quote(str(cache_dir))
    raise UsageError(
        f"{'A mount by root' if is_root else 'A mount with allow_other'} may not use the cache directory {cache_dir}: "
        "other users can write there, or in a folder above it.",
        f"Make it yours alone (chown {_me()}: {place}; chmod go-w {place}), choose another with --cache-dir, or, if "
        "you trust all who can write there, mount with --trust-cache on.",
    )


def _is_open(place: Path, trusted_uid: int = 0) -> bool:
    """Whether others own a folder, or can write in it; False if it is not there."""
    try:
        status = place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if status.st_uid not in (0, os.geteuid(), trusted_uid) or status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and (_has_access_list(place) or _has_others(status.st_gid))


def _keeps_entries(place: Path) -> bool:
    """Whether a folder is such that nobody can move away what is another's, as /tmp is."""
    try:
        status = place.stat()
    except OSError:
        return False
    return bool(status.st_mode & stat.S_ISVTX) and status.st_uid in (0, os.geteuid(), _unmapped())


def _has_access_list(place: Path) -> bool:
    """Whether a folder has an access control list, where the group's permissions are those of all whom it names."""
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
