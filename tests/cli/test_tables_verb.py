"""`onefs tables` and `onefs rest-cache` on a mount of a database, with `onefs info` below its control directory."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from mounted import Mounted, run_onefs

from onefs.catalogue.snapshot import load_snapshot
from onefs.demo.plan import demo_id
from onefs.demo.server import DemoServer

FILE = "lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy"
OTHER = "lab/Subjects/rat/2024-01-02/001/alf/b.times.npy"


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put(FILE, b"spikes")
    archive.publish()
    return archive


@pytest.fixture
def mount(archive: AlyxArchive, tmp_path: Path) -> Iterator[Mounted]:
    login = {"ONEFS_ALYX_USER": "demo", "ONEFS_ALYX_PASSWORD": "demo", "HOME": str(tmp_path / "home")}
    with DemoServer(archive.directory) as server, Mounted(server.url, tmp_path, **login) as mount:
        mount.may_log_errors = True  # refused commands are told in the log
        yield mount


def test_tables_are_saved_where_one_stands(mount: Mounted, tmp_path: Path) -> None:
    (tmp_path / "it's here").mkdir()
    done = run_onefs("tables", "save", "my tables", "--clobber", "--mount", mount.path, folder=tmp_path / "it's here")
    assert done.returncode == 0, done.stderr
    saved = load_snapshot(tmp_path / "it's here" / "my tables", tmp_path / "index")
    assert (saved.n_sessions, saved.n_datasets) == (1, 1)


def test_other_tables_are_loaded_and_left_again(mount: Mounted, archive: AlyxArchive, tmp_path: Path) -> None:
    assert run_onefs("tables", "save", tmp_path / "before", "--mount", mount.path).returncode == 0
    archive.put(OTHER, b"more")
    newest = archive.publish()
    assert run_onefs("refresh", mount.path).returncode == 0
    assert sorted(os.listdir(mount.path / "lab/Subjects")) == ["mouse", "rat"]
    done = run_onefs("tables", "load", "before", "--mount", mount.path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert os.listdir(mount.path / "lab/Subjects") == ["mouse"]
    done = run_onefs("tables", "reset", "--mount", mount.path)
    assert done.returncode == 0, done.stderr
    assert newest in done.stdout
    assert sorted(os.listdir(mount.path / "lab/Subjects")) == ["mouse", "rat"]


def test_what_cannot_be_done_is_said(mount: Mounted, tmp_path: Path) -> None:
    for words in (["tables", "load", tmp_path / "nowhere"], ["tables", "tag", "no such"]):
        done = run_onefs(*words, "--mount", mount.path)
        assert done.returncode == 1, done.stdout
        assert done.stderr.startswith("onefs: ")
        assert "unforeseen" not in done.stderr
    assert "has no tables of a release no such. Look its tag up" in done.stderr
    assert os.listdir(mount.path / "lab/Subjects") == ["mouse"]
    assert run_onefs("tables", "tidy").returncode == 2


def test_an_empty_tag_or_directory_changes_and_writes_nothing(mount: Mounted, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for words in (["tag", ""], ["tag", " "], ["save", ""], ["load", ""]):
        done = run_onefs("tables", *words, "--mount", mount.path, folder=tmp_path / "here")
        assert (done.returncode, done.stdout) == (2, "")
        assert "empty" in done.stderr
    for command in ("tables tag ''", "tables save ''", "tables load ''"):
        with pytest.raises(OSError) as failure:
            (mount.path / ".onefs/control").write_text(command)
        assert failure.value.errno == errno.EINVAL
    assert "The tag is empty" in mount.errors()
    assert os.listdir(tmp_path / "here") == []


def test_the_help_says_how_long_it_lasts() -> None:
    for words in (["tables"], ["tables", "tag"], ["tables", "load"], ["mode"]):
        assert "until the mount ends" in " ".join(run_onefs(*words, "--help").stdout.split())
    for words in (["tables"], ["tables", "tag"], ["mode"]):
        assert "onefs mount --tag TAG" in " ".join(run_onefs(*words, "--help").stdout.split())


def test_the_responses_of_a_database(mount: Mounted) -> None:
    for words in (["off"], ["on"], ["clear"], ["expiry", "30m"]):
        done = run_onefs("rest-cache", *words, "--mount", mount.path)
        assert done.returncode == 0, done.stderr
        assert str(mount.path) in done.stdout
    assert run_onefs("rest-cache", "expiry", "soon", "--mount", mount.path).returncode == 2


def test_a_mount_without_a_database_has_no_responses(archive: AlyxArchive, tmp_path: Path) -> None:
    with Mounted(archive.directory / "tables", tmp_path / "other") as plain:
        plain.may_log_errors = True
        done = run_onefs("rest-cache", "clear", "--mount", plain.path)
        assert done.returncode == 1
        assert "database" in done.stderr


def test_info_follows_links_and_views_into_the_tree(mount: Mounted, archive: AlyxArchive) -> None:
    def facts(path: Path) -> dict[str, str]:
        done = run_onefs("info", "--json", path)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    plain = facts(mount.path / FILE)
    by_id = facts(mount.path / ".onefs/by-id" / str(archive.id_of(FILE)))
    assert by_id == plain
    session = archive.put(FILE.replace("a.times", "probe00/a.times"), b"probe")
    archive.publish()
    pid = str(demo_id(f"{session.eid}/probe00"))
    assert facts(mount.path / ".onefs/by-pid" / pid)["probes"] == f"probe00 ({pid})"
    assert facts(mount.path / ".onefs/via/local" / FILE) == {**plain, "view": "via/local"}
    assert plain["path"] == FILE
