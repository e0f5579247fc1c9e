"""Folders in memory, for tests that make many: what they hold is synced, and that is most of the time on a disk."""

import os
from tempfile import TemporaryDirectory

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


def folder_in_memory() -> "TemporaryDirectory[str]":
    """A new folder, removed at the end of a `with`; on the disk where there is no shared memory."""
    return TemporaryDirectory(dir=MEMORY, prefix="onefs-test-")
