"""An archive in a public bucket, given as s3://bucket/prefix: tables and files from there, without any login."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables
from mounted import Mounted, run_onefs
from servers import Nginx

from onefs.alf import archive_path

NAME = "alf/#2024-05-06#/a b+c.times.npy"
PREFIX = "some prefix/of it"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Nginx]:
    """An S3 service that is asked in path style, as it answers those who sign nothing."""
    folder = tmp_path / "buckets" / "public" / PREFIX
    for dataset in make_tables(folder, {NAME: b"spikes"}).values():
        file = folder / archive_path(dataset.path, dataset.id)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"spikes")
    (folder / "cache_info.json").write_text(json.dumps({"date_created": "2024-01-03 00:00"}))
    with Nginx(tmp_path / "buckets") as server:
        yield server


def test_it_is_mounted_and_read(service: Nginx, tmp_path: Path) -> None:
    with Mounted(f"s3://public/{PREFIX}/", tmp_path, "--s3-endpoint", service.url) as mount:
        assert (mount.path / MADE_SESSION / NAME).read_bytes() == b"spikes"
        assert mount.xattr(f"{MADE_SESSION}/{NAME}", "state") == "verified"
        assert mount.status()["source"] == f"s3://public/{PREFIX}"
        assert mount.status()["mode"]["requested"] == "auto"
        assert run_onefs("mode", "remote", mount.path).returncode == 2
        mount.may_log_errors = True
    service.stop()
    with Mounted(f"s3://public/{PREFIX}", tmp_path, "--s3-endpoint", service.url) as mount:
        assert (mount.path / MADE_SESSION / NAME).read_bytes() == b"spikes"
        mount.may_log_errors = True


def test_files_of_other_tables_may_be_in_a_bucket(service: Nginx, tmp_path: Path) -> None:
    tables = tmp_path / "buckets" / "public" / PREFIX
    flags = ("--s3-endpoint", service.url, "--data-url", f"s3://public/{PREFIX}")
    with Mounted(tables, tmp_path, *flags) as mount:
        assert (mount.path / MADE_SESSION / NAME).read_bytes() == b"spikes"


def test_a_bucket_without_tables_says_so(service: Nginx, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    done = run_onefs("mount", "s3://public/elsewhere", tmp_path / "mnt", "--s3-endpoint", service.url,
                     "--cache-dir", tmp_path / "cache")  # fmt: skip
    assert done.returncode == 1
    assert "cache_info.json" in done.stderr
    assert not os.path.ismount(tmp_path / "mnt")
