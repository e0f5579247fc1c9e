"""How mounts are made, by mount(2) and fusermount3 or of a given connection, and how they are taken away."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from privileges import as_ordinary_user, may_mount

from onefs.errors import MountError
from onefs.fuse import mounting
from onefs.fuse.disconnection import is_connection
from onefs.fuse.mounters import GivenMount, Mounter
from onefs.mountinfo import TABLE, MountedDisk, mounted_disks

STRANGE = [
    "with space",
    "new\nline",
    "tab\there",
    "back\\slash",
    "octal\\040",
    "ends\\",
    "cr\rx",
    "ls\u2028x",
    "ünïcode",
    "no \udcff UTF-8",
    "[/red]",
    "a,b",
    "a\\,b",
    ",allow_other",
    "#hash",
    "'\"",
]


def here(function: Callable[..., None], *arguments: object) -> None:
    function(*arguments)


WAYS = [
    pytest.param(here, id="mount(2)", marks=pytest.mark.skipif(not may_mount(), reason="this user may not mount")),
    pytest.param(as_ordinary_user, id="fusermount3"),
]


@contextmanager
def mounted(mountpoint: Path, source: str, *, allow_other: bool = False) -> Iterator[tuple[Mounter, int]]:
    """A mount that nobody serves, and its connection."""
    mountpoint.mkdir(parents=True, exist_ok=True)
    mounter = Mounter(mountpoint, allow_other=allow_other)
    connection = mounter.mount(source)
    try:
        yield mounter, connection
    finally:
        if is_connection(connection):
            os.close(connection)
        mounter.close()


def disk_at(mountpoint: Path) -> MountedDisk:
    return next(disk for disk in mounted_disks() if disk.mountpoint == str(mountpoint))


def flags_at(mountpoint: Path) -> set[str]:
    """The flags of the mount itself."""
    number = disk_at(mountpoint).number
    return next(set(line.split()[5].split(",")) for line in TABLE.read_text().splitlines() if line.split()[0] == number)


def check_strange_names(home: Path) -> None:
    for number, name in enumerate(STRANGE):
        place = home / f"{number}{name}"
        with mounted(place, f"/tables/{name}"):
            (found,) = [mount for mount in mounting.mounts() if mount.mountpoint == place]
            assert found.source == f"/tables/{name}"
            assert mounting.mount_of(place / "lab") == found
        assert not any(disk.mountpoint == str(place) for disk in mounted_disks())


@pytest.mark.parametrize("way", WAYS)
def test_names_stand_in_the_kernels_table_as_they_are(tmp_path: Path, way: Callable[..., None]) -> None:
    way(check_strange_names, tmp_path)


def check_options(home: Path) -> None:
    for allow_other in (False, True):
        with mounted(home / "mnt", "source", allow_other=allow_other) as (_, connection):
            assert not os.get_inheritable(connection)
            disk = disk_at(home / "mnt")
            assert disk.kind == "fuse.onefs"
            assert {"nosuid", "nodev", "noatime"} <= flags_at(home / "mnt")
            assert {f"user_id={os.getuid()}", f"group_id={os.getgid()}"} <= disk.options
            assert ("allow_other" in disk.options) == allow_other


@pytest.mark.parametrize("way", WAYS)
def test_options(tmp_path: Path, way: Callable[..., None]) -> None:
    way(check_options, tmp_path)


def check_busy(home: Path) -> None:
    with mounted(home / "mnt", "source") as (mounter, connection):
        held = os.open(home / "mnt", os.O_PATH)
        os.close(connection)
        mounter.close()
        assert not any(disk.mountpoint == str(home / "mnt") for disk in mounted_disks())
        os.close(held)
        mounter.close()  # nothing the second time


@pytest.mark.parametrize("way", WAYS)
def test_a_mount_that_is_in_use_is_taken_away_all_the_same(tmp_path: Path, way: Callable[..., None]) -> None:
    way(check_busy, tmp_path)


def check_refused(mountpoint: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(MountError) as raised:
        Mounter(mountpoint).mount("source")
    assert str(mountpoint) in raised.value.reason
    assert "No such file or directory." in raised.value.reason
    assert raised.value.remedy
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("way", WAYS)
def test_a_mount_that_cannot_be_made_says_why_and_leaves_nothing_open(tmp_path: Path, way: Callable[..., None]) -> None:
    way(check_refused, tmp_path / "nothing")


def check_words_of_fusermount(home: Path) -> None:
    (home / "fusermount3").write_text("#!/bin/sh\necho 'fusermount3: one thing.' >&2\necho 'and another' >&2\nexit 1\n")
    (home / "fusermount3").chmod(0o755)
    os.environ["PATH"] = f"{home}:{os.environ['PATH']}"
    with pytest.raises(MountError) as raised:
        Mounter(home).mount("source")
    assert raised.value.reason == f"{home} cannot be mounted: fusermount3: one thing; and another."
    (home / "fusermount3").write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(MountError, match="fusermount3 gave no reason"):
        Mounter(home).mount("source")


def test_what_fusermount_says_is_the_reason(tmp_path: Path) -> None:
    as_ordinary_user(check_words_of_fusermount, tmp_path)


def check_without_fusermount(home: Path) -> None:
    os.environ["PATH"] = str(home)
    assert shutil.which("fusermount3") is None
    with pytest.raises(MountError) as raised:
        Mounter(home).mount("source")
    assert raised.value.reason == f"{home} cannot be mounted: mount: Operation not permitted."
    assert "SYS_ADMIN" in raised.value.remedy


def test_without_fusermount_the_kernels_refusal_is_the_reason(tmp_path: Path) -> None:
    as_ordinary_user(check_without_fusermount, tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_a_given_connection_is_found_and_taken_away(tmp_path: Path, way: Callable[..., None]) -> None:
    way(check_given, tmp_path / "mnt")


def check_given(mountpoint: Path) -> None:
    with mounted(mountpoint, "source") as (_, connection):
        os.set_inheritable(connection, True)
        given = GivenMount(Path(f"/dev/fd/{connection}"), mountpoint)
        assert given.mount("other name") == connection
        assert not os.get_inheritable(connection)
        os.close(connection)
        given.close()
        assert not any(disk.mountpoint == str(mountpoint) for disk in mounted_disks())
