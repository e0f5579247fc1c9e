"""One set of cases over the file system in process and over a real mount: both answer the same."""

import errno
import hashlib
from collections.abc import Iterator
from datetime import date

import pytest
from archive_views import VIEWS, ArchiveView
from archives import FAULTY, ODD_SESSION, RECORDINGS, WRONG_MD5, WRONG_SIZE, held_rows, recorded_rows, sound_rows
from servers import Nginx

SESSION = "cortexlab/Subjects/KS014/2020-07-01/001"
FILE = f"{SESSION}/alf/_ibl_wheel.position.npy"
NOT_ON_SERVER = f"{ODD_SESSION}/alf/sparseNoise.xyPos.npy"
UNKNOWN_SIZE = f"{ODD_SESSION}/alf/clusters.table.pqt"
EMPTY_SESSION = "mainenlab/Subjects/ZFM-02368/2021-06-10/001"
TABLES = {"sessions.pqt", "datasets.pqt"}


def walk(view: ArchiveView, path: str = "") -> Iterator[tuple[str, tuple[int, bool, int, int]]]:
    for name in view.names(path):
        below = f"{path}/{name}" if path else name
        found = view.stat(below)
        yield below, found
        if found[1]:
            yield from walk(view, below)


def test_the_listing_is_the_tables(archive_view: ArchiveView) -> None:
    listed = {path: found for path, found in walk(archive_view) if path not in TABLES}
    files = {path for path, found in listed.items() if not found[1]}
    assert files == {row.path for row in recorded_rows()}
    folders = {path.rsplit("/", depth)[0] for path in files for depth in range(1, path.count("/") + 1)}
    above_empty = {EMPTY_SESSION.rsplit("/", depth)[0] for depth in range(1, 5)}
    assert set(listed) - files == folders | above_empty | {EMPTY_SESSION}
    assert len({found[0] for found in listed.values()}) == len(listed)


def test_sizes_and_times_are_the_tables(archive_view: ArchiveView) -> None:
    for row in recorded_rows():
        _, is_directory, size, time_s = archive_view.stat(row.path)
        assert not is_directory
        assert size == row.size or row.size is None
        if "#" not in row.path:
            day = date.fromisoformat(row.path.split("/")[3])
            assert time_s == (day - date(1970, 1, 1)).days * 86400


def test_sound_files_read_as_the_tables_say(archive_view: ArchiveView) -> None:
    rows = sound_rows()
    assert len(rows) > 200
    for row in rows[::3]:
        data = archive_view.read(row.path)
        assert hashlib.md5(data).hexdigest() == row.md5, row.path
        assert len(data) == row.size
        assert archive_view.xattr(row.path, "user.onefs.state") == "verified"
        assert (archive_view.cache / row.path).read_bytes() == data


def test_a_file_of_unknown_size_reads_whole(archive_view: ArchiveView) -> None:
    row = next(row for row in held_rows() if row.path == UNKNOWN_SIZE)
    held = (RECORDINGS / "data" / "public" / row.archive_name).read_bytes()
    assert archive_view.read(UNKNOWN_SIZE) == held


@pytest.mark.parametrize("path", [*sorted(FAULTY), NOT_ON_SERVER])
def test_each_deliberate_fault_is_eio_and_told(archive_view: ArchiveView, path: str) -> None:
    for _ in range(2):
        with pytest.raises(OSError) as failure:
            archive_view.read(path)
        assert failure.value.errno == errno.EIO
    assert path in archive_view.xattr(path, "user.onefs.error")
    state = "quarantined" if path in (WRONG_MD5, WRONG_SIZE) else "remote"
    assert archive_view.xattr(path, "user.onefs.state") == state
    assert not (archive_view.cache / path).exists()


def test_extended_attributes_are_the_tables(archive_view: ArchiveView) -> None:
    for row in recorded_rows()[::10]:
        told = {name: archive_view.xattr(row.path, name) for name in archive_view.xattrs(row.path)}
        assert told["user.onefs.id"] == row.id
        assert told["user.onefs.hash"] == row.md5
        assert told["user.onefs.size"] == ("" if row.size is None else str(row.size))
        assert told["user.onefs.qc"] == row.qc
    assert archive_view.xattr(SESSION, "user.onefs.eid") == "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
    assert archive_view.xattrs(SESSION.rpartition("/")[0]) == []


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("user.other", errno.ENODATA),
        ("user.onefs.other", errno.ENODATA),
        ("security.capability", errno.EOPNOTSUPP),
        ("trusted.other", errno.EOPNOTSUPP),
    ],
)
def test_attributes_that_are_not_there(archive_view: ArchiveView, name: str, number: int) -> None:
    for path in (FILE, SESSION, "cortexlab", ""):
        with pytest.raises(OSError) as failure:
            archive_view.xattr(path, name)
        assert failure.value.errno == number


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("nolab", errno.ENOENT),
        (f"{SESSION}/nothing.npy", errno.ENOENT),
        (f"{SESSION}/alf/_ibl_wheel.position.NPY", errno.ENOENT),
        (f"{SESSION}/alf/{'n' * 255}", errno.ENOENT),
        (f"{SESSION}/alf/{'n' * 256}", errno.ENAMETOOLONG),
        (f"{SESSION}/alf/{'ä' * 128}", errno.ENAMETOOLONG),
        (f"{FILE}/x", errno.ENOTDIR),
    ],
)
def test_names_that_are_not_there(archive_view: ArchiveView, path: str, number: int) -> None:
    for _ in range(2):
        with pytest.raises(OSError) as failure:
            archive_view.stat(path)
        assert failure.value.errno == number


def test_files_are_no_directories_and_the_reverse(archive_view: ArchiveView) -> None:
    with pytest.raises(NotADirectoryError):
        archive_view.names(FILE)
    with pytest.raises(IsADirectoryError):
        archive_view.read(SESSION)


def test_the_control_directory_is_entered_by_name(archive_view: ArchiveView) -> None:
    assert ".onefs" not in archive_view.names("")
    assert archive_view.stat(".onefs")[1]
    assert b"status.json" in archive_view.read(".onefs/README")
    for _ in range(2):  # without a daemon only the opening is told, which fails from the second time on
        with pytest.raises(OSError):
            archive_view.read(WRONG_MD5)
    assert WRONG_MD5.encode() in archive_view.read(".onefs/errors")


def test_both_have_the_same_numbers(data_server: Nginx, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = []
    for name, view in VIEWS.items():
        with view(data_server, tmp_path_factory.mktemp(name)) as archive:
            found.append({path: stat[0] for path, stat in walk(archive) if path not in TABLES})
    assert found[0] == found[1]


@pytest.mark.parametrize("mode", ["local", "auto"])
def test_the_tree_in_another_mode_is_the_same_tree(archive_view: ArchiveView, mode: str) -> None:
    via = f".onefs/via/{mode}"
    assert sorted(archive_view.names(".onefs/via")) == ["auto", "local"]
    root = {path: found for path, found in walk(archive_view) if path not in TABLES}
    other = {path.removeprefix(f"{via}/"): found for path, found in walk(archive_view, via)}
    assert {path: found[1:] for path, found in other.items() if path not in TABLES} == {
        path: found[1:] for path, found in root.items()
    }
    for path, (ino, is_directory, *_) in root.items():
        assert (other[path][0] != ino) == is_directory
    assert archive_view.read(f"{via}/{FILE}") == archive_view.read(FILE)
    assert archive_view.xattr(f"{via}/{SESSION}", "user.onefs.eid") == archive_view.xattr(SESSION, "user.onefs.eid")
