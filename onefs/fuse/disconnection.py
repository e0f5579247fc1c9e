"""Connections to the kernel: whether a descriptor is one, and waiting until one has ended.

The kernel ends one once the mount is gone and nobody has a file of it open, or when somebody aborts the connection.
What programs asked for before that, such as read-ahead, may still be under way; nobody takes those answers.
"""

import os
import select
import stat

import trio

_FUSE = os.makedev(10, 229)
"""The device /dev/fuse, whose number never changes."""


async def until_disconnected(connection: int) -> None:
    """Wait until an open connection to the kernel has ended."""
    with select.epoll() as ended:
        ended.register(connection, 0)  # errors alone, which are always told; requests do not wake it
        await trio.lowlevel.wait_readable(ended.fileno())


def is_connection(number: int) -> bool:
    """Whether a descriptor is an open `/dev/fuse`, by whatever name it was opened."""
    try:
        status = os.fstat(number)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _FUSE
