"""Open files that are not datasets."""

import gc
from pathlib import Path

import pytest

from onefs.errors import CacheDamagedError, GoneError
from onefs.vfs.handles import DiskFile, MemoryFile


@pytest.mark.parametrize(("offset", "size", "data"), [(0, 100, b"abcdef"), (2, 2, b"cd"), (6, 1, b""), (100, 1, b"")])
def test_both_kinds_read_any_range(tmp_path: Path, offset: int, size: int, data: bytes) -> None:
    (tmp_path / "file").write_bytes(b"abcdef")
    for file in (MemoryFile(b"abcdef"), DiskFile(tmp_path / "file")):
        assert file.wait(offset, size) is None
        assert file.read(offset, size) == data
        assert file.read_now(offset, size) in (data, None)
        assert file.size_bytes == 6
        file.close()
        file.close()


def test_a_disk_file_keeps_the_edition_it_was_made_of(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"old")
    first = DiskFile(tmp_path / "table")
    (tmp_path / "new").write_bytes(b"newer")
    (tmp_path / "new").replace(tmp_path / "table")
    second = first.again()
    first.close()
    assert (second.read(0, 10), second.size_bytes) == (b"old", 3)
    second.close()


def test_a_disk_file_that_is_written_over_gives_no_mixture(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"old edition")
    first = DiskFile(tmp_path / "table")
    second = first.again()
    (tmp_path / "table").write_bytes(b"another one, longer")
    with pytest.raises(GoneError, match="written over"):
        first.again()
    with pytest.raises(GoneError, match="written over"):
        second.read(0, 5)
    for file in (first, second):
        file.close()


def test_a_disk_file_that_nobody_can_read_any_more_is_closed(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"old")
    holder = [DiskFile(tmp_path / "table")]
    number = next(int(link.name) for link in Path("/proc/self/fd").iterdir() if tmp_path / "table" == _target(link))
    holder.append(holder)  # type: ignore[arg-type]  # a cycle, which only the garbage collector ends
    second = holder[0].again()
    del holder
    gc.collect()
    assert _target(Path(f"/proc/self/fd/{number}")) != tmp_path / "table"
    assert second.read(0, 10) == b"old"
    second.close()


def _target(link: Path) -> Path | None:
    """Where a link leads, None if it is gone."""
    try:
        return link.readlink()
    except OSError:
        return None


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(CacheDamagedError, match="table"):
        DiskFile(tmp_path / "table")
