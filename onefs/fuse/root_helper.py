"""A helper process that keeps root for a daemon that gives it up: mounts, tunes the mount, and unmounts.

The daemon starts it while it is root itself, and asks it by a pipe. When the daemon ends, by SIGKILL too, the pipe
does, and the helper takes the mount away: no dead mountpoint is left behind.
"""

import ctypes
import json
import os
import re
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from onefs.fuse import mounting, tuning
from onefs.fuse.connecting import mount_by_kernel, open_fuse, refusal
from onefs.fuse.mounters import Mounter
from onefs.mountinfo import FILE_SYSTEM_TYPE, mounted_disks

_MNT_DETACH = 2
_MOUNT_NUMBER = re.compile(r"^mnt_id:\s*([0-9]+)$", re.MULTILINE)
_MOUNT, _TUNE, _END = "mount", "tune", "end"
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class RootHelper(Mounter):
    """The helper process, as the daemon sees it. Start it as root; the other methods need no right."""

    def __init__(self, mountpoint: Path, uid: int, gid: int) -> None:
        """Start the helper for one mount, whose daemon runs as this user and group. Raises `MountError`."""
        super().__init__(mountpoint)
        self._fuse = open_fuse(mountpoint)
        mount = _Mounting(mountpoint, self._fuse, uid, gid)
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        self._turn = threading.Lock()  # guards the pipes, which `close` closes
        self._pid = os.fork()
        if not self._pid:
            try:
                _help(mount, commands, answers)
            finally:
                os._exit(0)  # never on into what the daemon does, as root
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number in (commands, answers, mount.directory):
            os.close(number)

    def mount(self, source: str) -> int:
        """Mount, and return the open connection, which the caller closes. Raises `MountError`."""
        why = self._ask(_MOUNT, source)
        if why:
            raise refusal(self.mountpoint, why)
        self._device = mounting.device(self.mountpoint)
        return self._fuse

    def tune(self) -> bool:
        """As `tuning.tune`, with root's rights."""
        return not self._ask(_TUNE)

    def close(self) -> None:
        """Have it unmount and end. Does nothing the second time. Close the connection first, as for `Mounter`."""
        with self._turn:
            if not self._pid:
                return
            with suppress(OSError):
                os.write(self._commands, json.dumps([_END]).encode() + b"\n")
            os.close(self._commands)
            os.close(self._answers)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0
        super().close()  # if somebody killed the helper

    def _ask(self, *words: str) -> str:
        """Why a command failed; "" if it did not."""
        answer = b""
        with self._turn, suppress(OSError):
            if self._pid:  # else the pipes are closed, and their numbers may be those of other files
                os.write(self._commands, json.dumps(words).encode() + b"\n")
                answer = os.read(self._answers, 4096)
        return str(json.loads(answer)) if answer else "the process that keeps root has ended"


class _Mounting:
    """The mount, as the helper process makes it and takes it away.

    Users who own a directory above the mountpoint can put another in its place at any time, or a link: so it is opened
    once, and what is mounted or unmounted is the directory that is open.
    """

    def __init__(self, mountpoint: Path, fuse: int, uid: int, gid: int) -> None:
        """Open the mountpoint, which has been checked. Raises `MountError`."""
        try:
            self.directory = os.open(mounting.place(mountpoint), os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise refusal(mountpoint, f"open: {error.strerror}") from error
        self._mountpoint = mountpoint
        self.fuse = fuse
        self._user = (uid, gid)
        self._device = ""

    def carry_out(self, command: str, *words: str) -> str:
        """Why a command failed; "" if it did not."""
        if command == _MOUNT and not self._device:
            return self._mount(*words)
        if command == _TUNE and self._device:
            return "" if tuning.tune(self._device) else "the kernel does not take it"
        return f"{command} is not possible now"

    def _mount(self, source: str) -> str:
        if os.listdir(self.directory):  # noqa: PTH208
            return f"{self._mountpoint} is not empty"
        self._mountpoint = Path(os.readlink(_path(self.directory)))  # noqa: PTH115
        number = mount_by_kernel(self.fuse, _path(self.directory), source, *self._user, allow_other=True)
        if number:
            return f"mount: {os.strerror(number)}"
        os.close(self.fuse)  # the daemon's own is then the only one, and the connection ends with the daemon
        os.close(self.directory)
        self._device = mounting.device(self._mountpoint)
        return ""

    def end(self) -> None:
        """Unmount, at once for new users, unless something else is mounted there by now.

        A mount that answers is another's, which got the number since: the connection of this one has ended.
        """
        with suppress(OSError):
            root = os.open(self._mountpoint, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
            path = _path(root)
            if _device_of(root) == self._device and mounting.health(Path(path)) is not mounting.Health.ALIVE:
                ctypes.CDLL(None).umount2(path.encode(), _MNT_DETACH)


def _path(number: int) -> str:
    """A path to what is open, wherever it is by now."""
    return f"/proc/self/fd/{number}"


def _device_of(number: int) -> str:
    """The number of the mount of onefs that an open directory is of; `NO_DEVICE` if it is of none."""
    found = _MOUNT_NUMBER.search(Path(f"/proc/self/fdinfo/{number}").read_text(encoding="ascii"))
    disks = [disk for disk in mounted_disks() if found is not None and disk.number == found[1]]
    return disks[0].device if disks and disks[0].kind == FILE_SYSTEM_TYPE else mounting.NO_DEVICE


def _help(mount: _Mounting, commands: int, answers: int) -> None:
    """Run the helper process until the daemon ends. It ignores signals, which are meant for the daemon."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    _close_all_but(commands, answers, mount.fuse, mount.directory)
    try:
        with open(commands, encoding="utf-8") as asked, suppress(BrokenPipeError):
            _answer(mount, asked, answers)
    finally:
        mount.end()


def _answer(mount: _Mounting, asked: TextIO, answers: int) -> None:
    for line in asked:
        command, *words = json.loads(line)
        if command == _END:
            return
        try:
            problem = mount.carry_out(command, *words)
        except OSError as error:
            problem = str(error)
        os.write(answers, json.dumps(problem).encode())


def _close_all_but(*kept: int) -> None:
    """Close what the daemon has open: pipes that the helper held open would never end for their readers."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number not in kept:
            with suppress(OSError):
                os.close(number)
