"""An archive laid out as the README tells, its files under their plain names: on a web server and in a bucket."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_served_folder
from mounted import Mounted, run_onefs
from s3_service import shared_service
from servers import Nginx

FILES = {f"alf/#2024-05-06#/a b+{name}.times.npy": name.encode() * 5000 for name in "abc"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tables, `cache_info.json`, and files without UUIDs in their names."""
    folder = tmp_path / "laid-out"
    make_served_folder(folder, FILES, with_uuids=False)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Nginx]:
    with Nginx(folder) as server:
        yield server


def test_a_mount_reads_them_and_a_404_names_the_urls(server: Nginx, folder: Path, tmp_path: Path) -> None:
    *sound, gone = (f"{MADE_SESSION}/{name}" for name in FILES)
    (folder / gone).unlink()
    with Mounted(server.url, tmp_path, "--prefetch", "off") as mount:
        for path in sound:
            assert (mount.path / path).read_bytes() == FILES[path.removeprefix(f"{MADE_SESSION}/")]
            assert mount.xattr(path, "state") == "verified"
        with pytest.raises(OSError, match="Input/output"):
            (mount.path / gone).read_bytes()
        said = mount.errors()
    asked = [request.path for request in server.access_log() if request.path.endswith(".npy")]
    assert len(asked) == len(set(asked)) == 1 + len(sound) + 2
    for path in asked[-2:]:
        assert f"{server.url}{path} answered 404" in said


def test_doctor_tries_both_names(server: Nginx, folder: Path, tmp_path: Path) -> None:
    def download() -> tuple[bool, str]:
        done = run_onefs("doctor", server.url, "--cache-dir", tmp_path / "cache", "--json")
        (found,) = (each for each in json.loads(done.stdout) if each["check"] == "download")
        return found["is_well"], found["says"]

    is_well, says = download()
    assert is_well, says
    for path in folder.rglob("*.npy"):
        path.unlink()
    is_well, says = download()
    assert not is_well
    assert says.count(f"{server.url}/{MADE_SESSION}/alf/%23") == 2
    assert says.count("answered 404") == 2


def test_they_may_be_in_a_bucket(folder: Path, tmp_path: Path) -> None:
    service = shared_service()
    service.put_folder("mine", "archive", folder)
    flags = ("--s3-endpoint", service.url)
    with Mounted("s3://mine/archive", tmp_path, *flags, **service.environment(service.keys)) as mount:
        for name, data in FILES.items():
            assert (mount.path / MADE_SESSION / name).read_bytes() == data
            assert mount.xattr(f"{MADE_SESSION}/{name}", "state") == "verified"
