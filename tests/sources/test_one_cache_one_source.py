"""A cache directory belongs to one source, and stands outside of the mountpoint."""

import json
import os
from pathlib import Path

from archives import make_tables
from mounted import Mounted, run_onefs
from servers import Nginx


def publish(folder: Path, lab: str) -> Path:
    make_tables(folder, {"alf/a.times.npy": b"x"}, created="2999-01-03 00:00", lab=lab)
    (folder / "cache_info.json").write_text(json.dumps({"date_created": "2999-01-03 00:00"}))
    return folder


def test_the_tables_of_another_source_are_not_served(tmp_path: Path) -> None:
    with Nginx(publish(tmp_path / "one", "one")) as one, Nginx(publish(tmp_path / "two", "two")) as two:
        with Mounted(one.url, tmp_path) as mount:
            assert "one" in os.listdir(mount.path)
        (tmp_path / "other").mkdir()
        done = run_onefs("mount", two.url, tmp_path / "other", "--cache-dir", tmp_path / "cache")
        assert done.returncode == 1
        assert f"holds the tables of {one.url}" in done.stderr
        assert not os.path.ismount(tmp_path / "other")
        with Mounted(one.url, tmp_path) as mount:
            mount.may_log_errors = True  # the refusal stands in the cache's logs
            assert os.listdir(mount.path / "one/Subjects") == ["mouse"]


def test_a_cache_inside_the_mountpoint_is_refused(tmp_path: Path) -> None:
    """The daemon would wait for itself for ever."""
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"x"})
    (tmp_path / "mnt").mkdir()
    done = run_onefs("mount", tmp_path / "tables", tmp_path / "mnt", "--cache-dir", tmp_path / "mnt" / "cache")
    assert done.returncode == 1
    assert "inside the mountpoint" in done.stderr
    assert os.listdir(tmp_path / "mnt") == []
