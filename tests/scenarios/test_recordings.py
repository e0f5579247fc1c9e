"""The recorded archive through a real mount: every file right, every fault told."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from archives import FAULTY, ODD_SESSION, PASSWORD, RECORDINGS, WRONG_MD5, WRONG_SIZE, held_rows, recorded_rows
from mounted import Mounted, run_onefs

NOT_ON_SERVER = f"{ODD_SESSION}/alf/sparseNoise.xyPos.npy"
UNKNOWN_SIZE = f"{ODD_SESSION}/alf/clusters.table.pqt"
EMPTY = f"{ODD_SESSION}/raw_behavior_data/_iblrig_encoderEvents.raw.csv"
HASH_SIGN = f"{ODD_SESSION}/alf/#test#/misc.info.txt"


def on_server(path: str) -> bytes:
    """A file's bytes as the data server holds them."""
    row = next(row for row in recorded_rows() if row.path == path)
    return (RECORDINGS / "data" / "public" / row.archive_name).read_bytes()


def test_every_file_reads_back_as_the_tables_say(recorded: Mounted) -> None:
    rows = [row for row in held_rows() if row.path not in FAULTY]
    assert len(rows) > 200
    for row in rows:
        data = (recorded.path / row.path).read_bytes()
        assert data == on_server(row.path), row.path
        if row.md5:
            assert hashlib.md5(data).hexdigest() == row.md5, row.path
            assert recorded.xattr(row.path, "state") == "verified"


def test_the_tree_lists_exactly_the_tables(shared: Mounted) -> None:
    listed = {
        str((Path(folder) / name).relative_to(shared.path))
        for folder, _, names in os.walk(shared.path)
        for name in names
    }
    assert listed == {row.path for row in recorded_rows()} | {"sessions.pqt", "datasets.pqt"}


def test_sizes_are_the_tables(recorded: Mounted) -> None:
    for row in recorded_rows():
        assert (recorded.path / row.path).stat().st_size == (row.size or 0), row.path


def test_a_session_without_datasets_is_an_empty_directory(shared: Mounted) -> None:
    assert os.listdir(shared.path / "mainenlab/Subjects/ZFM-02368/2021-06-10/001") == []


@pytest.mark.parametrize(
    ("path", "state", "words"),
    [
        (WRONG_MD5, "quarantined", ["873e0d344a6255f9bd709303ab5d5066", "22a311b2c37079dce9ced7504e062abe"]),
        (WRONG_SIZE, "quarantined", ["2764", "999999"]),
        (NOT_ON_SERVER, "remote", ["404"]),
    ],
)
def test_a_fault_is_eio_and_says_why_everywhere(shared: Mounted, path: str, state: str, words: list[str]) -> None:
    with pytest.raises(OSError) as failure:
        (shared.path / path).read_bytes()
    assert failure.value.errno == errno.EIO
    assert shared.xattr(path, "state") == state
    for text in (shared.xattr(path, "error"), shared.errors(), shared.log()):
        assert path in text
        for word in words:
            assert word in text
    assert "EIO" in shared.errors()


def test_a_failure_is_remembered_and_not_asked_for_again(recorded: Mounted) -> None:
    for _ in range(3):
        with pytest.raises(OSError):
            (recorded.path / WRONG_MD5).read_bytes()
    assert recorded.status()["totals"]["failures"] == 1


def test_a_file_of_unknown_size_and_hash_reads_whole(recorded: Mounted) -> None:
    path = recorded.path / UNKNOWN_SIZE
    assert path.stat().st_size == 0
    data = path.read_bytes()
    assert data == on_server(UNKNOWN_SIZE)
    assert path.stat().st_size == len(data)
    assert path.read_bytes() == data


def test_an_empty_file_is_empty(shared: Mounted) -> None:
    assert (shared.path / EMPTY).read_bytes() == b""


def test_a_revision_folder_is_a_folder(shared: Mounted) -> None:
    assert (shared.path / HASH_SIGN).read_bytes() == on_server(HASH_SIGN)


def test_critical_datasets_are_hidden_by_default(data_server_flags: list[str], tmp_path: Path) -> None:
    critical = {row.path for row in recorded_rows() if row.qc == "CRITICAL"}
    assert len(critical) == 3
    with Mounted(RECORDINGS / "tables", tmp_path, *data_server_flags, ONEFS_DATA_PASSWORD=PASSWORD) as mount:
        assert not [path for path in critical if (mount.path / path).exists()]


def test_a_wrong_password_is_eacces_and_said(data_server_flags: list[str], tmp_path: Path) -> None:
    row = held_rows()[0]
    with Mounted(RECORDINGS / "tables", tmp_path, *data_server_flags, ONEFS_DATA_PASSWORD="wrong-word") as mount:
        with pytest.raises(PermissionError) as failure:
            (mount.path / row.path).read_bytes()
        assert failure.value.errno == errno.EACCES
        assert "login" in mount.errors()
        assert "wrong-word" not in mount.errors() + mount.log()


def test_the_tables_are_served_as_they_are(shared: Mounted) -> None:
    for name in ("sessions.pqt", "datasets.pqt"):
        assert (shared.path / name).read_bytes() == (RECORDINGS / "tables" / name).read_bytes()
        assert (shared.path / name).stat().st_size == (RECORDINGS / "tables" / name).stat().st_size


def test_info_tells_all_that_is_known(recorded: Mounted) -> None:
    row = next(row for row in held_rows() if row.md5 and row.path not in FAULTY)
    (recorded.path / row.path).read_bytes()
    done = run_onefs("info", recorded.path / row.path, "--json")
    told = json.loads(done.stdout)
    for value in (row.path, row.id, row.md5, row.size, row.qc, "verified", str(recorded.cache / row.path)):
        assert value in told.values(), value
