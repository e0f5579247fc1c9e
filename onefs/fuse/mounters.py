"""Ways to mount: this process mounts, or it serves an open connection that it was given as `/dev/fd/N`."""

import logging
import os
import re
from pathlib import Path

from onefs.errors import MountError
from onefs.fuse import mounting, tuning
from onefs.fuse.connecting import connect
from onefs.fuse.disconnection import is_connection
from onefs.mountinfo import mounted_disks

_GIVEN = re.compile(r"/dev/fd/([0-9]{1,9})")
_CONNECTION = re.compile(r"^fuse_connection:\s*([0-9]+)$", re.MULTILINE)
_log = logging.getLogger(__name__)


class Mounter:
    """Mounts as the user of this process: by mount(2) if that is allowed, else by fusermount3."""

    def __init__(self, mountpoint: Path, *, allow_other: bool = False) -> None:
        self.mountpoint = mountpoint
        self.shown_as = ""
        """The source in the kernel's table of mounts, if that is not its own name."""
        self._allow_other = allow_other
        self._device = mounting.NO_DEVICE

    def mount(self, source: str) -> int:
        """Mount, and return the open connection to the kernel, which the caller closes. Raises `MountError`."""
        connection = connect(self.mountpoint, source, allow_other=self._allow_other)
        self._device = mounting.device(self.mountpoint)
        return connection

    def tune(self) -> bool:
        """As `tuning.tune`."""
        return tuning.tune(self._device)

    def read_ahead_kib(self) -> int | None:
        """As `tuning.read_ahead_kib`."""
        return tuning.read_ahead_kib(self._device)

    def close(self) -> None:
        """Unmount, lazily if it is in use. Does nothing the second time. Close the connection first.

        As long as it is open, whoever looks into the mount waits for an answer.
        """
        device, self._device = self._device, mounting.NO_DEVICE
        try:
            mounting.take_away(self.mountpoint, device)
        except MountError as error:
            _log.warning("%s", error)


class GivenMount(Mounter):
    """A mount that somebody else made, and whose connection this process was given open.

    It is unmounted in the end if this user may: else whoever mounted finds the mountpoint dead.
    """

    def __init__(self, descriptor: Path, mounted_at: Path | None) -> None:
        """Find where it is mounted, else take `mounted_at`. Raises `MountError`."""
        super().__init__(mountpoint_of(descriptor, mounted_at))
        self._connection = int(descriptor.name)
        os.set_inheritable(self._connection, False)  # or the connection would outlive this process

    def mount(self, source: str) -> int:  # noqa: ARG002
        """Return the connection, which the caller closes."""
        self._device = mounting.device(self.mountpoint)
        return self._connection


def is_given(mountpoint: Path) -> bool:
    """Whether a mountpoint is a connection that is open already."""
    return _GIVEN.fullmatch(str(mountpoint)) is not None


def mountpoint_of(descriptor: Path, otherwise: Path | None = None) -> Path:
    """Where an open connection is mounted, as the kernel tells it. Raises `MountError`."""
    number = int(descriptor.name)
    if not is_connection(number):
        raise MountError(f"{descriptor} is no open /dev/fuse.", "Give the descriptor that was mounted with.")
    found = _CONNECTION.search(Path(f"/proc/self/fdinfo/{number}").read_text(encoding="ascii"))
    device = f"0:{found[1]}" if found else ""  # before Linux 6.16 there is none
    places = [Path(disk.mountpoint) for disk in mounted_disks() if disk.device == device]
    if not places and otherwise is None:
        raise MountError(f"The kernel does not tell where {descriptor} is mounted.", "Say it: --mounted-at DIRECTORY.")
    return places[-1] if places else Path(os.path.abspath(otherwise or ""))
