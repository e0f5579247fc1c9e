"""Settings of the kernel for one mount: read-ahead, and how many reads may be under way (max_background)."""

import ctypes
import logging
import os
from pathlib import Path

READ_AHEAD_KIB = 512
"""With more, the kernel fetches far more than is wanted around places that are read at random, by mmap above all."""
MAX_BACKGROUND = 10_000
"""Reads that the kernel makes ahead of programs and that may be under way."""
ENOUGH_BACKGROUND = 1000
"""From so many on, stalled files do not hold up others."""
_CONNECTIONS = Path("/sys/fs/fuse/connections")
_MOST_FOR_USERS = Path("/sys/module/fuse/parameters/max_user_bgreq")
_log = logging.getLogger(__name__)


def tune(device: str) -> bool:
    """Raise both settings of a mount as far as this user may. Returns whether enough reads may be under way.

    Call it once the mount has answered: with the first answer the kernel sets them back. It asks the daemon nothing.
    """
    _write(_read_ahead(device), READ_AHEAD_KIB)
    return _raise_max_background(device) >= ENOUGH_BACKGROUND


def read_ahead_kib(device: str) -> int | None:
    """How far the kernel reads ahead of a mount, at most; None if it does not say."""
    return _read(_read_ahead(device))


def _raise_max_background(device: str) -> int:
    """Let the kernel have many reads of a mount under way. Returns how many; 0 if it does not say.

    It queues reads behind those that it made ahead of programs, a dozen if nobody sets more: a dozen stalled files
    would hold up every other.
    """
    if os.geteuid() == 0 and _CONNECTIONS.is_dir() and not any(_CONNECTIONS.iterdir()):
        ctypes.CDLL(None).mount(b"fusectl", bytes(_CONNECTIONS), b"fusectl", 0, None)
    connection = _CONNECTIONS / device.partition(":")[2]
    for most in (MAX_BACKGROUND, _read(_MOST_FOR_USERS)):  # the kernel takes no more from users than the second
        if most and _write(connection / "max_background", most):
            _write(connection / "congestion_threshold", most)
            break
    return _read(connection / "max_background") or 0


def _read_ahead(device: str) -> Path:
    return Path(f"/sys/class/bdi/{device}/read_ahead_kb")


def _read(setting: Path) -> int | None:
    try:
        return int(setting.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _write(setting: Path, number: int) -> bool:
    try:
        setting.write_text(str(number), encoding="ascii")
    except OSError as error:
        _log.debug("%s is not set to %d: %s", setting, number, error)
        return False
    return True
