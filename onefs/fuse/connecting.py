"""Mounts, by mount(2) or else by fusermount3. Returns an open connection to the kernel (`/dev/fuse`), or tells why not.

`onefs.fuse.mounters` has the ways to mount, `onefs.fuse.mounting` what is mounted, and unmounting.
"""

import array
import ctypes
import errno
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

from onefs.errors import MountError
from onefs.mountinfo import FILE_SYSTEM_TYPE

_NOT_PERMITTED = "Operation not permitted"
_MS_NOSUID, _MS_NODEV, _MS_NOATIME = 2, 4, 1024
_FUSERMOUNT = "fusermount3"
_FUSERMOUNT_TIMEOUT_S = 30
_REFUSALS = {
    "allow_other": "Let /etc/fuse.conf have the line user_allow_other, or mount without --allow-other.",
    _NOT_PERMITTED: "Run it as a user who may mount; a container needs /dev/fuse and the right SYS_ADMIN.",
    "too many FUSE filesystems": "Unmount others, or raise mount_max in /etc/fuse.conf.",
}
"""Remedies, by a part of the reason."""


def connect(mountpoint: Path, source: str, *, allow_other: bool) -> int:
    """Mount as the user of this process, and return the open connection. Raises `MountError`."""
    place = os.path.abspath(mountpoint)
    connection = open_fuse(mountpoint)
    number = mount_by_kernel(connection, place, source, os.getuid(), os.getgid(), allow_other=allow_other)
    if not number:
        return connection
    os.close(connection)
    if number == errno.EPERM and shutil.which(_FUSERMOUNT):
        return _mount_by_fusermount(mountpoint, source, allow_other=allow_other)
    raise refusal(mountpoint, f"mount: {os.strerror(number)}")


def open_fuse(mountpoint: Path) -> int:
    """A new connection, which is still to be mounted. Raises `MountError`."""
    try:
        return os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise refusal(mountpoint, f"/dev/fuse: {error.strerror}") from error


def mount_by_kernel(connection: int, place: str, source: str, uid: int, gid: int, *, allow_other: bool) -> int:
    """Mount an open connection on a directory, for a user and group. Returns 0, or the number of the error."""
    data = f"fd={connection},rootmode=40000,user_id={uid},group_id={gid}{',allow_other' if allow_other else ''}"
    libc = ctypes.CDLL(None, use_errno=True)
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOATIME)
    failed = libc.mount(os.fsencode(source), os.fsencode(place), FILE_SYSTEM_TYPE.encode(), flags, data.encode())
    return ctypes.get_errno() if failed else 0


def _mount_by_fusermount(mountpoint: Path, source: str, *, allow_other: bool) -> int:
    """Have fusermount3 mount, which has root's rights, and return the connection that it sends."""
    escaped = source.replace("\\", "\\\\").replace(",", "\\,")
    options = f"fsname={escaped},subtype=onefs,nosuid,nodev,noatime{',allow_other' if allow_other else ''}"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            done = subprocess.run(
                [_FUSERMOUNT, "-o", options, "--", os.path.abspath(mountpoint)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno()), "LC_ALL": "C"},
                text=True,
                errors="replace",
                timeout=_FUSERMOUNT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise refusal(mountpoint, f"{_FUSERMOUNT} took too long") from None
        connection = None if done.returncode else _received(ours)
    if connection is None:
        said = "; ".join(line.strip().rstrip(".") for line in done.stderr.splitlines())
        raise refusal(mountpoint, said or f"{_FUSERMOUNT} gave no reason")
    return connection


def _received(channel: socket.socket) -> int | None:
    """The descriptor that another process has sent by now, if it did."""
    found = array.array("i")
    # socket.recv_fds takes no flags: programs that other threads start meanwhile would inherit the descriptor.
    flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
    try:
        _, parts, _, _ = channel.recvmsg(1, socket.CMSG_LEN(found.itemsize), flags)
    except BlockingIOError:
        return None
    for level, kind, data in parts:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data)
    return found[0] if found else None


def refusal(mountpoint: Path, said: str) -> MountError:
    """The error for a mount that could not be made; `said` is why."""
    remedy = next(
        (remedy for words, remedy in _REFUSALS.items() if words in said), "Check what it needs: onefs doctor."
    )
    program = shutil.which(_FUSERMOUNT)
    if _NOT_PERMITTED in said and os.geteuid() != 0 and program:
        if "\nNoNewPrivs:\t1\n" in Path("/proc/self/status").read_text(encoding="utf-8"):
            remedy = "Run it without NoNewPrivileges, which bars fusermount3, or have root mount, with run_as."
        elif not os.stat(program).st_mode & stat.S_ISUID:  # noqa: PTH116
            remedy = f"As root, run: chmod u+s {program}"
    return MountError(f"{mountpoint} cannot be mounted: {said}.", remedy)
