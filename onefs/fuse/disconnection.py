"""`until_disconnected`: waits until the kernel has ended the connection of a mount.

The kernel does so once the mount is gone and nobody has a file of it open, or when somebody aborts the connection.
What programs asked for before that, such as read-ahead, may still be under way; nobody takes those answers.
"""

import os
import select
from contextlib import suppress
from pathlib import Path

import trio


async def until_disconnected() -> None:
    """Wait until a connection of this process to the kernel has ended. Never returns without such a connection."""
    with select.epoll() as ended:
        for number in _connections():
            ended.register(number, 0)  # errors alone, which are always told; requests do not wake it
        await trio.lowlevel.wait_readable(ended.fileno())


def _connections() -> list[int]:
    """The open `/dev/fuse` of this process."""
    numbers = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            if os.readlink(path) == "/dev/fuse":  # noqa: PTH115
                numbers.append(int(path.name))
    return numbers
