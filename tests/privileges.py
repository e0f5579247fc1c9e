"""What this process may do that an ordinary user may not, and the tests that need it."""

import ctypes
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
CAP_SYS_ADMIN = 21
CAPABILITY_VERSION = 0x20080522
NEEDS = {
    "needs_root": "needs root, since it acts as several users",
    "needs_mount": "needs root, or a namespace of its own (unshare -Urm), to mount a disk",
}
"""Why a test with this marker is skipped."""


def is_root() -> bool:
    """Whether this is root, rather than an ordinary user who is called root in a namespace of his own."""
    mapped = [int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return os.geteuid() == 0 and sum(mapped) > 1


def may_mount() -> bool:
    """Whether this process may mount file systems that are no FUSE."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return bool(int(status["CapEff"], 16) >> CAP_SYS_ADMIN & 1)


def remount(disk: Path, options: str) -> None:
    """Mount a disk again with other options.

    Those at hand are ignored: they name its owner by a number that a namespace need not have.
    """
    command = ["mount", "--options-mode", "ignore", "-o", f"remount,{options}", disk]
    subprocess.run(command, check=True)


def skip_what_is_not_allowed(items: list[pytest.Item]) -> None:
    """Skip tests that need more than this process may do."""
    allowed = {"needs_root": is_root(), "needs_mount": may_mount()}
    for item in items:
        for marker, reason in NEEDS.items():
            if not allowed[marker] and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def left_to_root(skipped: list[pytest.TestReport]) -> int:
    """How many of these skipped tests are skipped for want of a right."""
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    return sum(any(why in reason for why in NEEDS.values()) for reason in reasons)


def as_ordinary_user(function: Callable[..., T], *arguments: Any) -> T:
    """What a function returns, or raises, in a process that the permissions of files and folders count for."""
    with ProcessPoolExecutor(1, get_context("fork"), drop_capabilities) as pool:
        return pool.submit(function, *arguments).result()


def drop_capabilities() -> None:
    """Take from this thread what root may do beyond an ordinary user."""
    header, none = struct.pack("Ii", CAPABILITY_VERSION, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def another_disk(path: Path) -> Iterator[None]:
    """Mount an empty file system in memory at a path, which is made."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
