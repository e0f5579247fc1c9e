"""Mountpoints: what is mounted where, whether one can be used, and unmounting."""

import ctypes
import errno
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue

from onefs.errors import MountError
from onefs.mountinfo import FILE_SYSTEM_TYPE, mounted_disks

_UNMOUNT_TIMEOUT_S = 30
_ANSWER_S = 3
_STACKED_MOUNTS = 10
_LINKS = 40
NO_DEVICE = "0:0"
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_STILL_MOUNTED = {
    "busy": "Close what uses it, or try: onefs umount --lazy {}",
    "/etc/mtab": "As root, run: ln -s ../proc/self/mounts /etc/mtab",
}
"""Remedies, by a part of the reason."""
NOT_YOURS = "Unmount it as the user who mounted it, or as root."
_ASKED_ALWAYS = "system.onefs"
"""An attribute that no node has. The kernel asks for it each time, while it answers much else from memory.

It does so for every user, also where one user alone may look into the mount.
"""
_DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


class Health(Enum):
    """How a mount's daemon is: answering, ended without unmounting, or not answering for now."""

    ALIVE = "alive"
    DEAD = "dead"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Mount:
    """One onefs mount of this machine."""

    mountpoint: Path
    source: str
    device: str


def mounts() -> list[Mount]:
    """The onefs mounts that this process sees."""
    return [
        Mount(Path(disk.mountpoint), disk.source, disk.device)
        for disk in mounted_disks()
        if disk.kind == FILE_SYSTEM_TYPE
    ]


def mount_of(path: Path) -> Mount | None:
    """The onefs mount that a path stands in, as it is written or where its symbolic links lead."""
    present = mounts()
    for whole_of in (os.path.abspath, os.path.realpath):  # the second asks the daemon, so that it comes second
        whole = Path(whole_of(path))
        containing = [mount for mount in present if whole.is_relative_to(mount.mountpoint)]
        if containing:
            return max(containing, key=lambda mount: len(mount.mountpoint.parts))
    return None


def health(mountpoint: Path) -> Health:
    """Whether the daemon of a mountpoint answers. A path that is no mountpoint answers too."""
    answers: SimpleQueue[Health] = SimpleQueue()

    def look() -> None:
        try:
            os.getxattr(mountpoint, _ASKED_ALWAYS)
        except OSError as error:  # a daemon that answers says that there is no such attribute
            answers.put(Health.DEAD if error.errno in _DEAD else Health.ALIVE)
        else:
            answers.put(Health.ALIVE)

    threading.Thread(target=look, daemon=True).start()
    try:
        return answers.get(timeout=_ANSWER_S)
    except Empty:
        return Health.SILENT


def check_health(mountpoint: Path) -> None:
    """Raise `MountError` if the daemon of a mountpoint has died, or does not answer."""
    found = health(mountpoint)
    if found is Health.DEAD:
        raise MountError(f"The daemon of {mountpoint} has died.", f"Clean up with: onefs umount {mountpoint}")
    if found is Health.SILENT:
        raise MountError(
            f"The daemon of {mountpoint} does not answer.",
            f"Wait, or take the mount away: onefs umount --lazy {mountpoint}",
        )


def check_machine() -> None:
    """Raise `MountError` if this machine cannot mount."""
    if not Path("/dev/fuse").exists():
        raise MountError("/dev/fuse is missing on this machine.", "Load the kernel module: sudo modprobe fuse.")
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise MountError("fusermount3 is missing.", "Install it: sudo apt install fuse3.")
    if os.geteuid() != 0 and not Path("/etc/mtab").exists():
        raise MountError(
            "/etc/mtab is missing, without which fusermount3 does not unmount.",
            "As root, run: ln -s ../proc/self/mounts /etc/mtab",
        )
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise MountError("/dev/fuse may not be used by this user.", "As root, run: chmod 0666 /dev/fuse")


def check_mountpoint(mountpoint: Path) -> None:
    """Raise `MountError` unless the directory can be mounted on. A dead daemon's mount there is removed."""
    for _ in range(_STACKED_MOUNTS):
        if not _is_ours(mountpoint):
            break
        found = health(mountpoint)
        if found is Health.SILENT:
            raise MountError(
                f"{mountpoint} is already mounted, and its daemon does not answer.",
                f"Wait, or take the mount away: onefs umount --lazy {mountpoint}",
            )
        if found is Health.ALIVE:
            raise _already_mounted(mountpoint)
        unmount(mountpoint, lazy=True)
    _check_empty(mountpoint)
    if os.geteuid() != 0 and not os.access(mountpoint, os.W_OK):
        raise MountError(f"The mountpoint {mountpoint} may not be written by this user.", "Choose one of your own.")


def _check_empty(mountpoint: Path) -> None:
    try:
        is_empty = not any(mountpoint.iterdir())
    except FileNotFoundError:
        raise MountError(f"The mountpoint {mountpoint} does not exist.", f"Make it: mkdir -p {mountpoint}") from None
    except NotADirectoryError:
        raise MountError(f"The mountpoint {mountpoint} is not a directory.", "Choose an empty directory.") from None
    except OSError as error:
        raise MountError(f"The mountpoint {mountpoint} cannot be read: {error.strerror}.", "Choose another.") from error
    if not is_empty and _is_ours(mountpoint):  # by an automount, as it was looked into just now
        raise _already_mounted(mountpoint)
    if not is_empty:
        raise MountError(f"The mountpoint {mountpoint} is not empty.", "Choose an empty directory.")


def _already_mounted(mountpoint: Path) -> MountError:
    return MountError(f"{mountpoint} is already mounted.", f"Use it, or unmount it first: onefs umount {mountpoint}")


def _is_ours(mountpoint: Path) -> bool:
    """Whether an onefs is mounted there."""
    return any(mount.mountpoint == place(mountpoint) for mount in mounts())


def place(mountpoint: Path) -> Path:
    """A mountpoint as the kernel's table has it, links followed. Asks no daemon: a dead one could not even be told."""
    for _ in range(_LINKS):
        mountpoint = mountpoint.parent.resolve() / mountpoint.name
        try:
            mountpoint = mountpoint.parent / os.readlink(mountpoint)  # noqa: PTH115 - the kernel answers it by itself
        except OSError:  # no link
            break
    return mountpoint


def device(mountpoint: Path) -> str:
    """The number of the mount of onefs there; `NO_DEVICE` if there is none, or something else is mounted over it."""
    where = str(place(mountpoint))
    found = [disk for disk in mounted_disks() if disk.mountpoint == where]
    return found[-1].device if found and found[-1].kind == FILE_SYSTEM_TYPE else NO_DEVICE


def take_away(mountpoint: Path, number: str) -> None:
    """Unmount the mount of that number, whose connection has ended, if it is still there. Raises `MountError`.

    The number can be another's by now, whose daemon answers: the kernel gives it anew once it is free.
    """
    is_there = number != NO_DEVICE and device(mountpoint) == number
    if is_there and health(mountpoint) is not Health.ALIVE:
        unmount(mountpoint, lazy=True)


def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
    """Unmount; lazily: at once for new users, for the others when they are done. Raises `MountError`."""
    number = _unmount_by_kernel(mountpoint, lazy)
    if number == errno.EPERM:
        said = _unmount_by_fusermount(mountpoint, lazy)
    else:
        said = {0: "", errno.EINVAL: "not mounted"}.get(number, os.strerror(number))
    if said:
        remedy = next((remedy for words, remedy in _STILL_MOUNTED.items() if words in said), NOT_YOURS)
        remedy = remedy.format(mountpoint)
        raise MountError(f"{mountpoint} cannot be unmounted: {said}.", remedy)


def _unmount_by_kernel(mountpoint: Path, lazy: bool) -> int:
    """0, or the number of the error. Asks the daemon nothing, as umount(8) may, for one that does not answer."""
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.umount2(os.fsencode(place(mountpoint)), _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0))
    return ctypes.get_errno() if failed else 0


def _unmount_by_fusermount(mountpoint: Path, lazy: bool) -> str:
    """Why it failed; "" if it did not."""
    try:
        done = subprocess.run(
            ["fusermount3", "-u", *(["-z"] if lazy else []), "--", str(mountpoint)],
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            timeout=_UNMOUNT_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise MountError("fusermount3 is missing.", "Install it: sudo apt install fuse3.") from None
    except subprocess.TimeoutExpired:
        raise MountError(f"Unmounting {mountpoint} took too long.", f"Try: onefs umount --lazy {mountpoint}") from None
    if not done.returncode:
        return ""
    said = done.stderr.strip().removeprefix("fusermount3: ").rstrip(".")
    return (said if "mtab" in said else said.rpartition(": ")[2]) or "no reason given"
