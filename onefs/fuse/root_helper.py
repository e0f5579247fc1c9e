"""A helper process that keeps root for a daemon that gives it up: mounts, tunes the mount, and unmounts.

The daemon starts it while it is root itself, and asks it by a pipe. When the daemon ends, by SIGKILL too, the pipe
does, and the helper takes the mount away: no dead mountpoint is left behind.
"""

import ctypes
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from onefs.fuse import mounting
from onefs.fuse.mounters import Mounter
from onefs.mountinfo import FILE_SYSTEM_TYPE

_MS_NOSUID, _MS_NODEV, _MS_NOATIME = 2, 4, 1024
_MOUNT, _MAX_BACKGROUND, _READ_AHEAD, _END = "mount", "max background", "read ahead", "end"
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class RootHelper(Mounter):
    """The helper process, as the daemon sees it. Start it as root; the other methods need no right."""

    def __init__(self, mountpoint: Path, uid: int, gid: int) -> None:
        """Start the helper for one mount, whose daemon runs as this user and group. Raises `MountError`."""
        super().__init__(mountpoint)
        try:
            self._fuse = os.open("/dev/fuse", os.O_RDWR)
        except OSError as error:
            raise mounting.refusal(mountpoint, f"/dev/fuse: {error.strerror}") from error
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        self._pid = os.fork()
        if not self._pid:
            try:
                _help(_Mounting(mountpoint, self._fuse, uid, gid), commands, answers)
            finally:
                os._exit(0)  # never on into what the daemon does, as root
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(commands)
        os.close(answers)

    def mount(self, source: str) -> str:
        """Mount, and give what libfuse takes in place of a mountpoint: the open connection. Raises `MountError`."""
        why = self._ask(_MOUNT, source)
        if why:
            raise mounting.refusal(self.mountpoint, why)
        return f"/dev/fd/{self._fuse}"

    def raise_max_background(self) -> bool:
        """As `mounting.raise_max_background`, with root's rights."""
        return not self._ask(_MAX_BACKGROUND)

    def raise_read_ahead(self) -> None:
        """As `mounting.raise_read_ahead`, with root's rights."""
        self._ask(_READ_AHEAD)

    def close(self) -> None:
        """Have the helper unmount and end. Close the connection before, so that no reader waits for an answer."""
        if not self._pid:
            return
        with suppress(OSError):
            os.write(self._commands, json.dumps([_END]).encode() + b"\n")
        os.close(self._commands)
        os.close(self._answers)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._pid = 0

    def _ask(self, *words: str) -> str:
        """Why a command failed; "" if it did not."""
        try:
            os.write(self._commands, json.dumps(words).encode() + b"\n")
            answer = os.read(self._answers, 4096)
        except OSError:
            answer = b""
        return str(json.loads(answer)) if answer else "the process that keeps root has ended"


class _Mounting:
    """The mount, as the helper process makes it and takes it away."""

    def __init__(self, mountpoint: Path, fuse: int, uid: int, gid: int) -> None:
        self._mountpoint = mounting.place(mountpoint)
        self.fuse = fuse
        self._data = f"rootmode=40000,user_id={uid},group_id={gid},allow_other"
        self._device = ""

    def carry_out(self, command: str, *words: str) -> str:
        """Why a command failed; "" if it did not."""
        if command == _MOUNT and not self._device:
            return self._mount(*words)
        if command == _MAX_BACKGROUND and self._device:
            return "" if mounting.raise_max_background(self._mountpoint) else "the kernel does not take it"
        if command == _READ_AHEAD and self._device:
            mounting.raise_read_ahead(self._mountpoint)
            return ""
        return f"{command} is not possible now"

    def _mount(self, source: str) -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(
            os.fsencode(source),
            os.fsencode(self._mountpoint),
            FILE_SYSTEM_TYPE.encode(),
            ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOATIME),
            f"fd={self.fuse},{self._data}".encode(),
        ):
            return f"mount: {os.strerror(ctypes.get_errno())}"
        os.close(self.fuse)  # the daemon's own is then the only one, and the connection ends with the daemon
        self._device = mounting.device(self._mountpoint)
        return ""

    def end(self) -> None:
        """Unmount lazily, unless something else is mounted there by now."""
        if self._device and mounting.device(self._mountpoint) == self._device:
            mounting.unmount(self._mountpoint, lazy=True)


def _help(mount: _Mounting, commands: int, answers: int) -> None:
    """Run the helper process until the daemon ends. It ignores signals, which are meant for the daemon."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    _close_all_but(commands, answers, mount.fuse)
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
