"""Opening, making, renaming and removing what is below a folder, whatever others put in the way."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from onefs.cache import beneath
from onefs.cache.beneath import NEW, Folder, PrivateFolder

SECRET = b"a private file"
WAYS = {"openat2": beneath.open_beneath, "step by step": beneath.open_stepwise}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path / "cache")
    folder.make_folders("lab/Subjects")
    folder.write("lab/Subjects/file", b"content")
    outside = tmp_path / "home"
    outside.mkdir()
    (outside / "file").write_bytes(SECRET)
    yield folder
    folder.close()


@pytest.mark.parametrize("way", WAYS)
def test_links_and_paths_that_lead_out_are_refused(place: Folder, way: str) -> None:
    (place.path / "link").symlink_to("lab")
    (place.path / "file").symlink_to(place.path.parent / "home" / "file")
    root = os.open(place.path, os.O_PATH)
    for path, code in {
        "link": errno.ELOOP,
        "link/Subjects/file": errno.ELOOP,
        "file": errno.ELOOP,
        "lab/../../home/file": errno.EXDEV,
        f"{place.path.parent}/home/file": errno.EXDEV,
        "lab/absent": errno.ENOENT,
        "lab/Subjects/file/below": errno.ENOTDIR,
    }.items():
        with pytest.raises(OSError) as error:
            WAYS[way](root, path, beneath.READING)
        assert error.value.errno == code, path
    number = WAYS[way](root, "lab/Subjects/file", beneath.READING)
    assert os.read(number, 100) == b"content"
    os.close(number)
    os.close(root)


def test_only_files_of_a_bounded_size_are_read(place: Folder) -> None:
    os.mkfifo(place.path / "fifo")
    for path, code in {"fifo": errno.EINVAL, "lab": errno.EINVAL}.items():
        with pytest.raises(OSError) as error:
            place.read(path, 100)
        assert error.value.errno == code
    assert place.read("lab/Subjects/file", 7) == b"content"
    with pytest.raises(OSError, match="large") as error:
        place.read("lab/Subjects/file", 6)
    assert error.value.errno == errno.EFBIG


def test_nothing_is_made_renamed_or_removed_behind_a_link(place: Folder) -> None:
    home = place.path.parent / "home"
    (place.path / "link").symlink_to(home)
    before = sorted(home.iterdir())
    for attempt in (
        lambda: place.write("link/new", b"x"),
        lambda: place.open("link/new", NEW, 0o600),
        lambda: place.make_folders("link/folder"),
        lambda: place.rename("lab/Subjects/file", "link/file"),
        lambda: place.rename("link/file", "lab/stolen"),
        lambda: place.link("link/file", "lab/stolen"),
        lambda: place.unlink("link/file"),
        lambda: place.remove_empty_tree("link"),
    ):
        with pytest.raises(OSError) as error:
            attempt()
        assert error.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert sorted(home.iterdir()) == before
    assert (home / "file").read_bytes() == SECRET
    place.rename("lab/Subjects/file", "lab/file")
    assert place.read("lab/file", 100) == b"content"


def test_a_file_that_is_written_is_its_users_alone(place: Folder) -> None:
    before = os.umask(0)
    try:
        place.write("state/note", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((place.path / "state/note").stat().st_mode) == 0o600


def test_a_folder_that_was_removed_or_moved_away_is_found_anew(place: Folder) -> None:
    assert place.status("lab/Subjects/file").st_size == len(b"content")
    place.path.rename(place.path.with_name("old"))
    with pytest.raises(FileNotFoundError):
        place.open("absent")
    place.path.mkdir()
    (place.path / "absent").write_bytes(b"new")
    assert place.read("absent", 3) == b"new"
    shutil.rmtree(place.path)
    place.write("lab/new", b"newer")
    assert (place.path / "lab/new").read_bytes() == b"newer"


@pytest.mark.parametrize("follows_links", [False, True])
def test_what_is_lacking_is_told_of_the_folder_as_it_is_now(tmp_path: Path, *, follows_links: bool) -> None:
    folder = Folder(tmp_path / "cache", follows_links=follows_links)
    with pytest.raises(FileNotFoundError):
        folder.status("lab")
    (tmp_path / "cache" / "lab").mkdir(parents=True)
    assert (folder.lacks("lab"), folder.lacks("lab/Subjects"), folder.lacks("other")) == (False, True, True)
    (tmp_path / "cache" / "lab" / "Subjects").mkdir()  # as another process would
    assert not folder.lacks("lab/Subjects")
    (tmp_path / "cache").rename(tmp_path / "away")
    assert folder.lacks("lab/Subjects") is follows_links  # what is held open is still there
    (tmp_path / "cache" / "other").mkdir(parents=True)
    assert not folder.lacks("other")
    folder.close()


def test_a_private_folder_lets_nobody_else_in(tmp_path: Path) -> None:
    outer = Folder(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o2775)
    before = os.umask(0o077)
    try:
        private = PrivateFolder(outer, ".onefs/users/0", os.geteuid())
        private.write("note", b"x")
    finally:
        os.umask(before)
    modes = {
        path: stat.S_IMODE((outer.path / path).stat().st_mode) for path in (".onefs", ".onefs/users", private.path)
    }
    assert list(modes.values()) == [0o3775, 0o3775, 0o2700]
    private.path.chmod(0o770)
    again = PrivateFolder(outer, ".onefs/users/0", os.geteuid())
    with pytest.raises(FileNotFoundError):
        again.read("note", 10)
    again.write("note", b"y")
    assert [path.name for path in again.path.iterdir()] == ["note"]
