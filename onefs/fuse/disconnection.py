"""The connections of this process to the kernel, and waiting until one has ended.

The kernel ends one once the mount is gone and nobody has a file of it open, or when somebody aborts the connection.
What programs asked for before that, such as read-ahead, may still be under way; nobody takes those answers.
"""

import os
import select
from contextlib import suppress
from pathlib import Path

import trio


async def until_disconnected(connection: int) -> None:
    """Wait until an open connection to the kernel has ended."""
    with select.epoll() as ended:
        ended.register(connection, 0)  # errors alone, which are always told; requests do not wake it
        await trio.lowlevel.wait_readable(ended.fileno())


def connections() -> set[int]:
    """The open `/dev/fuse` of this process; there can be more than that of its mount, such as inherited ones."""
    numbers = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            if os.readlink(path).endswith("/fuse"):  # noqa: PTH115
                numbers.add(int(path.name))
    return numbers
