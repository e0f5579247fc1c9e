"""onefs prune on a cache that a mount uses: what is open can be read on, and what the mount shows is fetched again."""

import json
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import mount_of
from mounted import run_onefs
from waiting import PATIENCE_S, wait_until

from onefs.cache.state import State
from onefs.catalogue.tables import write_tables
from onefs.demo.server import DemoServer

SESSION = "lab/Subjects/mouse/2024-01-02/001"
KEPT, GONE, RENAMED, OTHERS = (f"{SESSION}/alf/{name}.times.npy" for name in ("kept", "gone", "renamed", "others"))
GONE_SESSION = "lab/Subjects/mouse/2024-01-03/001"
FILES = {path: path.encode() * 1000 for path in (KEPT, GONE, RENAMED, f"{GONE_SESSION}/alf/x.times.npy")}


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put_all(FILES)
    archive.publish()
    return archive


def removed(cache: Path) -> list[str]:
    done = run_onefs("prune", cache, "--delete", "--json")
    assert done.returncode == 0, done.stderr
    return [str(Path(each["path"]).relative_to(cache)) for each in json.loads(done.stdout) if each["removed"]]


def test_a_mount_goes_on_while_its_cache_is_pruned(archive: AlyxArchive, server: DemoServer, tmp_path: Path) -> None:
    with mount_of(server, tmp_path, "--cache-expiry", "365d") as mount:
        assert {path: (mount.path / path).read_bytes() for path in FILES} == FILES
        assert run_onefs("pin", mount.path / RENAMED, **mount.environment).returncode == 0
        state = State(mount.cache / ".onefs", mount.cache)
        wait_until(lambda: len(list(state.copies())) == len(FILES), "all files are recorded")
        state.close(PATIENCE_S)
        (mount.cache / OTHERS).write_bytes(b"others")
        assert removed(mount.cache) == []
        refused = run_onefs("prune", mount.path)
        assert (refused.returncode, refused.stderr) == (
            2,
            f"onefs: {mount.path} is in a mount of onefs, {mount.path}, which is read-only. "
            "Give the cache directory: onefs status shows it.\n",
        )
        opened = (mount.path / GONE).open("rb", buffering=0)
        begun = opened.read(100)

        archive.remove(GONE)
        archive.remove_session(GONE_SESSION)
        archive.rename(RENAMED, RENAMED.replace("renamed", "other"))
        archive.publish()
        (mount.path / ".onefs/control").write_text("refresh\n")
        assert removed(mount.cache) == [GONE, f"{GONE_SESSION}/alf/x.times.npy", GONE_SESSION]
        with opened:
            assert begun + opened.readall() == FILES[GONE]
        assert (mount.path / KEPT).read_bytes() == FILES[KEPT]

        listed = [each for path, each in archive.datasets.items() if path != KEPT]
        write_tables(mount.cache, list(archive.sessions.values()), listed, created="2030-01-01 00:00", origin="x")
        assert removed(mount.cache) == [KEPT]
        assert (mount.path / KEPT).read_bytes() == FILES[KEPT]
        assert (mount.cache / KEPT).read_bytes() == FILES[KEPT]
