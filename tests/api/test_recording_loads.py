"""Python beside a mount on one cache: nothing is fetched twice, and reads of both stand in one manifest."""

import json
from collections import Counter
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive, archive_of_arrays
from alyx_mounts import mount_of
from mounted import Mounted, run_onefs

from onefs import One, OneAlyx
from onefs.demo.server import DemoServer
from onefs.one_errors import ALFObjectNotFound
from onefs.recording.manifest import read_manifest

SESSION = "lab/Subjects/mouse/2024-01-02/001"
NAMES = [f"{SESSION}/alf/spikes.{name}.npy" for name in ("amps", "depths", "times")]


@pytest.fixture
def archive(home: Path) -> AlyxArchive:
    """A session with three arrays."""
    return archive_of_arrays(home, NAMES)


@pytest.fixture
def one(archive: AlyxArchive, server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> OneAlyx:
    """The server's Alyx, over the cache that mounts have."""
    monkeypatch.setenv("ONEFS_DATA_URL", server.data_url)
    monkeypatch.setenv("ONEFS_DATA_USER", "demo")
    monkeypatch.setenv("ONEFS_DATA_PASSWORD", "demo")
    return OneAlyx(base_url=server.url, username="demo", password="demo", cache_dir=home / "cache", silent=True)


def mounted(server: DemoServer, home: Path, *flags: str) -> Mounted:
    return mount_of(server, home, *flags)


def downloads(server: DemoServer) -> Counter[str]:
    """How often each file was asked for."""
    asked = [visit.path.rpartition("/")[2] for visit in server.requests() if visit.method == "GET"]
    return Counter(name.split(".")[1] for name in asked if name.endswith(".npy"))


def recorded(mount: Mounted) -> list[tuple[str, str]]:
    """Names and programs in the mount's manifest."""
    lines = (mount.path / ".onefs" / "recorded" / "manifest.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [(entry["path"].split(".")[-2], entry["program"].split()[0]) for entry in entries]


def test_nothing_is_fetched_twice_and_all_stands_in_one_manifest(
    archive: AlyxArchive, one: OneAlyx, server: DemoServer, home: Path
) -> None:
    eid = archive.sessions[SESSION].eid
    with mounted(server, home, "--record", "on") as mount:
        one.record_loaded = True
        assert set(one.load_object(eid, "spikes", attribute=["amps", "depths"])) == {"amps", "depths"}
        (mount.path / NAMES[0]).read_bytes()
        (mount.path / NAMES[2]).read_bytes()
        assert set(one.load_object(eid, "spikes")) == {"amps", "depths", "times"}
        assert downloads(server) == {"amps": 1, "depths": 1, "times": 1}
        found = recorded(mount)
        assert [name for name, _ in found] == ["amps", "depths", "times"]
        assert list(one._cache["_loaded_datasets"]) == sorted(str(archive.id_of(name)) for name in NAMES)
        done = run_onefs("record", "save", "--mount", mount.path)
        assert done.returncode == 0, done.stderr
        ids, manifest = map(Path, done.stdout.split())
        expected = sorted(str(archive.id_of(name)) for name in NAMES)
        assert ids.read_text().splitlines() == ["dataset_uuid", *expected]
        assert sorted(entry.path for entry in read_manifest(manifest).values()) == NAMES
        assert recorded(mount) == []
        with pytest.warns(UserWarning, match="Nothing was recorded"):
            assert one.save_loaded_ids() == ([], None)


def test_what_python_saves_is_no_longer_the_mounts(
    archive: AlyxArchive, one: OneAlyx, server: DemoServer, home: Path
) -> None:
    eid = archive.sessions[SESSION].eid
    one.record_loaded = True
    one.load_dataset(eid, "spikes.amps")
    one.load_datasets(eid, ["spikes.depths.npy"], download_only=True)
    with mounted(server, home, "--record", "on") as mount:
        (mount.path / NAMES[2]).read_bytes()
        assert [name for name, _ in recorded(mount)] == ["amps", "depths", "times"], "what was there before it, too"
        ids, path = one.save_loaded_ids()
        assert list(ids) == sorted(str(archive.id_of(name)) for name in NAMES[:2])
        assert path is not None
        assert path.parent == home / "cache"
        assert path.name.endswith("_loaded_dataset_uuids.csv")
        assert path.read_text().splitlines() == ["dataset_uuid", *ids]
        assert [name for name, _ in recorded(mount)] == ["times"]
        assert "_loaded_datasets" not in one._cache


def test_sessions_may_be_saved_and_the_list_kept(archive: AlyxArchive, one: OneAlyx, home: Path) -> None:
    eid = archive.sessions[SESSION].eid
    with pytest.warns(UserWarning, match="Nothing was recorded"):
        assert one.save_loaded_ids() == ([], None)
    one.load_dataset(eid, "spikes.amps")
    one.record_loaded = True
    with pytest.raises(ALFObjectNotFound):
        one.load_dataset(eid, "no.such")
    with pytest.warns(UserWarning, match="Nothing was recorded"):
        one.save_loaded_ids()
    one.load_collection(eid, "alf", download_only=True)
    one.record_loaded = False
    ids, first = one.save_loaded_ids(sessions_only=True, clear_list=False)
    assert list(ids) == [str(eid)]
    assert first is not None
    assert first.read_text().splitlines() == ["session_uuid", str(eid)]
    ids, second = one.save_loaded_ids()
    assert len(ids) == 3
    assert second is not None
    assert {first.name, second.name} <= {file.name for file in (home / "cache").iterdir()}


def test_one_on_a_mountpoint_reads_through_the_mount(
    archive: AlyxArchive, server: DemoServer, home: Path, tmp_path: Path
) -> None:
    eid = archive.sessions[SESSION].eid
    with mounted(server, home, "--record", "on") as mount:
        one = One(mount.path)
        assert set(one.load_object(eid, "spikes")) == {"amps", "depths", "times"}
        assert one.load_dataset(eid, "spikes.amps", download_only=True) == mount.path / NAMES[0]
        assert sorted(name for name, _ in recorded(mount)) == ["amps", "depths", "times"]
        assert mount.xattr(NAMES[0], "state") == "verified"
        assert downloads(server) == {"amps": 1, "depths": 1, "times": 1}
