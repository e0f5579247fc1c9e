"""Names that are not plain: in the archive, as mountpoint, as cache directory, and relative to where one stands."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted, run_onefs
from servers import Nginx

NAMES = [
    "alf/with space/a b.times.npy",
    "alf/new\nline.times.npy",
    "alf/quo'te\"s.times.npy",
    "alf/ünï/Ωmega.times.npy",
    "alf/e\u0301.times.npy",
    "alf/\u00e9.times.npy",
    "alf/#2024-05-06#/rev.times.npy",
    "alf/100%.times.npy",
    "alf/a?b=c&d.times.npy",
    "alf/back\\slash.times.npy",
    "alf/-rf",
    "alf/~",
    "alf/...",
    "alf/.hidden",
    "alf/no_extension",
    "alf/[brackets]{braces}$(echo x);|*.times.npy",
    "alf/" + "long" * 50 + ".npy",
    "top.level.npy",
]
FILES = {name: f"bytes of {name}".encode() for name in NAMES}


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """An archive with such names on a real server, in a folder with such a name."""
    home = tmp_path_factory.mktemp("strange") / "my 'data'\n\"ö\" 100%,x"
    for name, dataset in make_tables(home / "tables", FILES).items():
        path = home / "served" / on_servers(dataset).removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES[name])
    with (
        Nginx((home / "served").rename(home.parent / "served")) as server,
        Mounted(home / "tables", home, "--data-url", server.url) as mount,
    ):
        yield mount


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_fetched_and_told_of(mount: Mounted, name: str) -> None:
    path = f"{MADE_SESSION}/{name}"
    assert (mount.path / path).read_bytes() == FILES[name]
    assert (mount.cache / path).read_bytes() == FILES[name]
    assert mount.xattr(path, "state") == "verified"
    assert subprocess.run(["cat", "--", mount.path / path], capture_output=True).stdout == FILES[name]
    done = run_onefs("info", mount.path / path)
    assert done.returncode == 0, done.stderr


def test_all_of_them_are_listed(mount: Mounted) -> None:
    session = mount.path / MADE_SESSION
    found = {str((Path(folder) / name).relative_to(session)) for folder, _, names in os.walk(session) for name in names}
    assert found == set(NAMES)


def test_a_copy_of_the_tree_is_the_tree(mount: Mounted, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", mount.path / "lab", tmp_path / "copy"], check=True)
    session = tmp_path / "copy" / MADE_SESSION.removeprefix("lab/")
    assert {name: (session / name).read_bytes() for name in NAMES} == FILES


def test_relative_paths_are_from_where_one_stands(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", FILES)
    (tmp_path / "here" / "mnt").mkdir(parents=True)

    def onefs(*arguments: str, folder: Path = tmp_path / "here") -> str:
        done = run_onefs(*arguments, folder=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    onefs("mount", "../tables", "mnt", "--cache-dir", "./cache dir")
    try:
        assert (tmp_path / "here" / "cache dir" / ".onefs").is_dir()
        assert "top.level.npy" in os.listdir(tmp_path / "here" / "mnt" / MADE_SESSION)
        assert str(tmp_path / "here" / "mnt") in onefs("status", "mnt")
        assert "top.level.npy" in onefs("info", "top.level.npy", folder=tmp_path / "here" / "mnt" / MADE_SESSION)
    finally:
        onefs("umount", "./mnt")
    assert not os.path.ismount(tmp_path / "here" / "mnt")


def test_a_mountpoint_that_looks_like_a_flag(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"x"})
    (tmp_path / "-f").mkdir()
    flags = ["--cache-dir", tmp_path / "cache", "--"]
    assert run_onefs("mount", *flags, "tables", "-f", folder=tmp_path).returncode == 0
    assert os.listdir(tmp_path / "-f" / MADE_SESSION) == ["alf"]
    assert run_onefs("umount", "--", "-f", folder=tmp_path).returncode == 0
