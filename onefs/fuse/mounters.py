"""Two ways to mount: this process mounts, or it serves an open connection that it was given as `/dev/fd/N`."""

import logging
import os
import re
from pathlib import Path

from onefs.errors import MountError
from onefs.fuse import mounting
from onefs.fuse.disconnection import is_connection
from onefs.mountinfo import mounted_disks

_GIVEN = re.compile(r"/dev/fd/([0-9]{1,9})")
_CONNECTION = re.compile(r"^fuse_connection:\s*([0-9]+)$", re.MULTILINE)
_log = logging.getLogger(__name__)


class Mounter:
    """Mounts as the user of this process: libfuse does it, by fusermount3 for all but root."""

    def __init__(self, mountpoint: Path) -> None:
        self.mountpoint = mountpoint
        self.shown_as = ""
        """The source in the kernel's table of mounts, if that is not its own name."""
        self._device = mounting.NO_DEVICE

    def mount(self, source: str) -> str:  # noqa: ARG002
        """Prepare the mount, and return the mountpoint to give to libfuse. Raises `MountError`."""
        return str(self.mountpoint)

    def raise_max_background(self) -> bool:
        """As `mounting.raise_max_background`, as soon as it is mounted."""
        self._device = mounting.device(self.mountpoint)
        return mounting.raise_max_background(self._device)

    def raise_read_ahead(self) -> None:
        """As `mounting.raise_read_ahead`."""
        mounting.raise_read_ahead(self._device)

    def close(self) -> None:
        """Unmount if libfuse did not when it closed the connection, as after an abort. Does nothing the second time."""
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
        self._descriptor = descriptor
        os.set_inheritable(int(descriptor.name), False)  # or the connection would outlive this process

    def mount(self, source: str) -> str:  # noqa: ARG002
        """Return the mountpoint to give to libfuse."""
        return str(self._descriptor)


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
