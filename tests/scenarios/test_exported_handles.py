"""File handles, by which an NFS server finds what its clients have open: they outlive the mount that gave them."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted
from servers import FaultServer

pytestmark = pytest.mark.needs_root

AT_FDCWD, MOST_BYTES = -100, 128
LIBC = ctypes.CDLL(None, use_errno=True)
FILES = {"alf/a.times.npy": os.urandom(3000), "alf/#2024-03-01#/a.times.npy": os.urandom(4000)}


class Handle(ctypes.Structure):
    """`struct file_handle` of Linux."""

    _fields_ = (("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * MOST_BYTES))


def handle_of(path: Path) -> Handle:
    handle, mount = Handle(bytes=MOST_BYTES), ctypes.c_int()
    failed = LIBC.name_to_handle_at(AT_FDCWD, bytes(path), ctypes.byref(handle), ctypes.byref(mount), 0)
    assert not failed, os.strerror(ctypes.get_errno())
    return handle


@contextmanager
def opened(mountpoint: Path, handle: Handle) -> Iterator[int]:
    """What a handle names, opened."""
    root = os.open(mountpoint, os.O_RDONLY)
    try:
        number = LIBC.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
        assert number >= 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(root)
    try:
        yield number
    finally:
        os.close(number)


def test_handles_of_files_and_folders_outlive_a_remount(tmp_path: Path) -> None:
    with FaultServer() as server:
        for name, dataset in make_tables(tmp_path / "tables", FILES).items():
            server.put(on_servers(dataset), FILES[name])
        flags = ("--data-url", server.url)
        with Mounted(tmp_path / "tables", tmp_path, *flags) as mount:
            session = mount.path / MADE_SESSION
            names = [f"{MADE_SESSION}/{name}" for name in FILES]
            folders = ["", "lab", MADE_SESSION, os.path.dirname(names[-1]), ".onefs"]
            handles = {name: handle_of(mount.path / name) for name in [*folders, *names]}
            assert (session / "alf/a.times.npy").read_bytes() == FILES["alf/a.times.npy"]
        with Mounted(tmp_path / "tables", tmp_path, *flags) as mount:
            for folder in folders:
                with opened(mount.path, handles[folder]) as number:
                    assert os.readlink(f"/proc/self/fd/{number}") == str(mount.path / folder).rstrip("/")
                    assert os.listdir(number)
            for name, data in FILES.items():
                with opened(mount.path, handles[f"{MADE_SESSION}/{name}"]) as number:
                    assert os.pread(number, 10_000, 0) == data
