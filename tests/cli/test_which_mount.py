"""Which mount a verb is about: by a path, by where one stands, and never another one by mistake."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted, run_onefs
from servers import FaultServer

from onefs.cli.places import find
from onefs.errors import MountError
from onefs.fuse.mounting import Mount

NAME = "alf/a.b.npy"


@contextmanager
def two_mounts(home: Path) -> Iterator[tuple[Mounted, Mounted]]:
    make_tables(home / "tables", {NAME: b"spikes"})
    with Mounted(home / "tables", home / "one") as one, Mounted(home / "tables", home / "two") as two:
        yield one, two


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Mounted, Mounted]]:
    with two_mounts(tmp_path) as mounts:
        yield mounts


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mounted, Mounted]]:
    """Two mounts for tests that leave them as they are."""
    with two_mounts(tmp_path_factory.mktemp("two")) as mounts:
        yield mounts


def standing_in(folder: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return run_onefs(*arguments, folder=folder)


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (["mode"], "onefs mode [MODE] PATH"),
        (["mode", "local"], "onefs mode local PATH"),
        (["refresh"], "onefs refresh PATH"),
        (["retry"], "onefs retry PATH"),
        (["pin"], "onefs pin --mount PATH"),
        (["evict", "all"], "onefs evict --mount PATH all"),
        (["verify"], "onefs verify --mount PATH"),
        (["umount"], "onefs umount MOUNTPOINT"),
        (["tables", "save"], "onefs tables save --mount PATH"),
        (["tables", "load"], "onefs tables load --mount PATH"),
        (["tables", "tag", "x"], "onefs tables tag x --mount PATH"),
        (["tables", "reset"], "onefs tables reset --mount PATH"),
        (["rest-cache", "clear"], "onefs rest-cache clear --mount PATH"),
        (["rest-cache", "expiry", "1h"], "onefs rest-cache expiry 1h --mount PATH"),
    ],
)
def test_of_several_one_has_to_be_named(
    lasting: tuple[Mounted, Mounted], tmp_path: Path, words: list[str], how: str
) -> None:
    done = standing_in(tmp_path, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert all(str(mount.path) in done.stderr for mount in lasting)
    assert done.stderr.endswith(f"Say which one: {how}\n")


def test_a_path_outside_is_not_taken_for_one_of_the_only_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor for one of several mounts, which are listed, whether it exists or not."""
    present = [Mount(Path("/mnt/one"), "source", "0:1")]
    monkeypatch.setattr("onefs.cli.places.mounts", lambda: present)
    monkeypatch.setattr("onefs.fuse.mounting.mounts", lambda: present)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").mkdir()
    how = "onefs evict --mount PATH PATTERN…"
    for words in ("the mount /mnt/one", "any of the mounts /mnt/one, /mnt/two"):
        for pattern in ("lab", "lab/**", "northlab", "**/*.npy"):
            with pytest.raises(MountError) as refused:
                find([pattern], None, how)
            assert refused.value.reason == f"{pattern} is not in {words}."
            assert refused.value.remedy.endswith(how)
        assert find(["lab"], Path("/mnt/one"), how) == (present[0], ["lab"])
        present.append(Mount(Path("/mnt/two"), "source", "0:2"))


def test_of_several_the_one_that_one_stands_in_is_meant(two: tuple[Mounted, Mounted]) -> None:
    for mount in two:
        for folder in (mount.path, mount.path / MADE_SESSION / "alf"):
            assert standing_in(folder, "mode", "local").stdout == f"{mount.path} is in mode local now.\n"
            assert standing_in(folder, "mode").stdout == "local\n"
            assert str(mount.path) in standing_in(folder, "retry").stdout


def test_only_a_mountpoint_is_unmounted(two: tuple[Mounted, Mounted], tmp_path: Path) -> None:
    mount, other = two
    for path in (mount.path / "lab", mount.path / MADE_SESSION / NAME, mount.path / ".onefs", mount.path / "no such"):
        done = run_onefs("umount", path)
        assert (done.returncode, done.stdout) == (2, "")
        words = f"{path} lies inside the mount at {mount.path}. Run: onefs umount {mount.path}"
        assert done.stderr == f"onefs: {words}\n"
        assert os.path.ismount(mount.path)
    (tmp_path / "link").symlink_to(mount.path)
    done = run_onefs("umount", tmp_path / "link")
    assert (done.returncode, done.stdout) == (0, f"{mount.path} is unmounted.\n")
    assert not os.path.ismount(mount.path)
    assert os.path.ismount(other.path)


def test_what_could_not_be_had_is_asked_for_again_by_any_of_its_paths(tmp_path: Path) -> None:
    names = ["alf/a.b.npy", "alf/c.d.npy", "alf/e.f.npy", "alf/g.h.npy", "alf/i.j.npy"]
    datasets = make_tables(tmp_path / "tables", {name: name.encode() for name in names})
    with FaultServer() as server, Mounted(tmp_path / "tables", tmp_path, "--data-url", server.url) as mount:
        files = [mount.path / MADE_SESSION / name for name in names]
        (tmp_path / "link").symlink_to(files[2])
        by_id = mount.path / ".onefs/by-id" / str(datasets[names[3]].id)
        told = [files[0], files[1].parent, files[2], files[3], mount.path]
        for name, file, path, where in zip(
            names, files, [files[0], files[1].parent, tmp_path / "link", by_id, mount.path], told, strict=True
        ):
            with pytest.raises(OSError):
                file.read_bytes()
            server.put(on_servers(datasets[name]), name.encode())
            done = run_onefs("retry", path)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith(f"The failures of {where} are forgotten")
            assert file.read_bytes() == name.encode()
