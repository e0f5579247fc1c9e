"""What the tasks of a fetch on a cluster are, and what is sent with them."""

from pathlib import Path
from uuid import UUID

import pytest

from onefs.catalogue.records import QC, Dataset
from onefs.daemon.cluster_job import BYTES_PER_PART, FILES_PER_PART, parts_of
from onefs.daemon.cluster_task import source_spec
from onefs.errors import UsageError


def datasets(n_sessions: int, n_files: int, size_bytes: int) -> list[Dataset]:
    return [
        Dataset(
            UUID(int=session * n_files + file),
            None,
            f"lab/Subjects/mouse{session}/2024-01-02/001",
            f"alf/a{file}.npy",
            size_bytes,
            "",
            True,
            QC.PASS,
            True,
        )
        for session in range(n_sessions)
        for file in range(n_files)
    ]


@pytest.mark.parametrize(
    ("n_sessions", "n_files", "size_bytes"), [(3000, 1, 10), (5, 1000, 10), (4, 5, BYTES_PER_PART)]
)
def test_each_file_is_in_one_bounded_task_and_a_session_in_one_bucket(
    n_sessions: int, n_files: int, size_bytes: int
) -> None:
    wanted = datasets(n_sessions, n_files, size_bytes)
    parts = list(parts_of(iter(wanted)))
    found = [dataset for _, part in parts for dataset in part]
    assert sorted(found, key=lambda dataset: dataset.id) == wanted
    assert all(part and len(part) <= FILES_PER_PART for _, part in parts)
    assert all(sum(dataset.size_bytes or 0 for dataset in part[:-1]) < BYTES_PER_PART for _, part in parts)
    buckets = {(dataset.session_path, bucket) for bucket, part in parts for dataset in part}
    assert len(buckets) == n_sessions
    assert list(parts_of(iter(wanted))) == parts


def test_paths_are_sent_whole_and_logins_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = source_spec("./here", ".", {"cache_dir": "cache", "read_timeout": "2min"})
    assert spec.source == str(tmp_path)
    assert dict(spec.flags)["cache_dir"] == str(tmp_path / "cache")
    for source, flags in (("https://me:pw@host", {}), ("https://host", {"data_url": "http://me:pw@host/"})):
        with pytest.raises(UsageError, match="holds a login") as refused:
            source_spec(source, source, flags)
        assert "pw" not in str(refused.value)
