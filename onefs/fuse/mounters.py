"""The ways to a mount: by this process itself, or by whoever gave it a connection that is open, as `/dev/fd/N`."""

import logging
import os
import re
from pathlib import Path

from onefs.errors import MountError
from onefs.fuse import mounting
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

    def mount(self, source: str) -> str:  # noqa: ARG002
        """What libfuse is to be given as mountpoint. Raises `MountError`."""
        return str(self.mountpoint)

    def let_many_wait(self) -> bool:
        """As `mounting.let_many_wait`."""
        return mounting.let_many_wait(self.mountpoint)

    def read_far_ahead(self) -> None:
        """As `mounting.read_far_ahead`."""
        mounting.read_far_ahead(self.mountpoint)

    def close(self) -> None:
        """Unmount if libfuse did not when it closed the connection; here it did. Does nothing the second time."""


class GivenMount(Mounter):
    """A mount that somebody else made, and whose connection this process was given open."""

    def __init__(self, descriptor: Path, mounted_at: Path | None) -> None:
        """Find out where it is mounted, unless that is said. Raises `MountError`."""
        super().__init__(mounted_at or mountpoint_of(descriptor))
        self._descriptor = descriptor

    def mount(self, source: str) -> str:  # noqa: ARG002
        """What libfuse is to be given as mountpoint."""
        return str(self._descriptor)

    def close(self) -> None:
        """Unmount if this user may: else whoever mounted finds the mountpoint dead."""
        try:
            mounting.unmount(self.mountpoint, lazy=True)
        except MountError as error:
            _log.info("%s", error)


def is_given(mountpoint: Path) -> bool:
    """Whether a mountpoint is a connection that is open already."""
    return _GIVEN.fullmatch(str(mountpoint)) is not None


def mountpoint_of(descriptor: Path) -> Path:
    """Where an open connection is mounted, as the kernel tells it. Raises `MountError`."""
    match = _GIVEN.fullmatch(str(descriptor))
    assert match is not None
    try:
        is_fuse = os.readlink(descriptor) == "/dev/fuse"  # noqa: PTH115
        found = _CONNECTION.search(Path(f"/proc/self/fdinfo/{match[1]}").read_text(encoding="ascii"))
    except OSError:
        is_fuse = False
    if not is_fuse:
        raise MountError(f"{descriptor} is not an open /dev/fuse.", "Give the descriptor that was mounted with.")
    number = found[1] if found else ""
    places = [disk.mountpoint for disk in mounted_disks() if disk.device == f"0:{number}"]
    if not places:
        raise MountError(
            f"Where {descriptor} is mounted cannot be told on this machine.",
            "Say it: --mounted-at DIRECTORY.",
        )
    return Path(places[-1])
