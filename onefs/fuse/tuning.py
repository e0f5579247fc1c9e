"""Settings of the kernel for one mount: how many reads may be under way, and how far it reads ahead."""

import ctypes
import logging
import os
from pathlib import Path

READ_AHEAD_KIB = 512
"""With more, the kernel fetches far more than is wanted around places that are read at random, by mmap above all."""
MAX_BACKGROUND = 10_000
_CONNECTIONS = Path("/sys/fs/fuse/connections")
_log = logging.getLogger(__name__)


def raise_max_background(device: str) -> bool:
    """Let the kernel have many reads of a mount under way. Asks the daemon nothing.

    The kernel queues reads behind the first dozen that it made ahead of a program: a dozen stalled files would hold
    up every other.
    """
    if os.geteuid() == 0 and _CONNECTIONS.is_dir() and not any(_CONNECTIONS.iterdir()):
        ctypes.CDLL(None).mount(b"fusectl", bytes(_CONNECTIONS), b"fusectl", 0, None)
    connection = _CONNECTIONS / device.partition(":")[2]
    _write(connection / "congestion_threshold", MAX_BACKGROUND)
    return _write(connection / "max_background", MAX_BACKGROUND)


def raise_read_ahead(device: str) -> None:
    """Let the kernel read further ahead of a mount, if it may be told so: in fewer and longer requests.

    Call it once the mount has answered: with the first answer the kernel sets it back.
    """
    _write(_read_ahead(device), READ_AHEAD_KIB)


def read_ahead_kib(device: str) -> int | None:
    """How far the kernel reads ahead of a mount, at most; None if it does not say."""
    try:
        return int(_read_ahead(device).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _read_ahead(device: str) -> Path:
    return Path(f"/sys/class/bdi/{device}/read_ahead_kb")


def _write(setting: Path, number: int) -> bool:
    try:
        setting.write_text(str(number), encoding="ascii")
    except OSError as error:
        _log.debug("%s stays as it is: %s", setting, error)
        return False
    return True
