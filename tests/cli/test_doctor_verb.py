"""`onefs doctor`: all well, and each thing that is not, with its remedy and exit code 1."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from archives import PASSWORD, RECORDINGS, flags_for, make_tables, on_servers
from mounted import Mounted, run_onefs
from servers import Fault, FaultServer, Nginx

from onefs.cli.main import run
from onefs.demo.server import DemoServer

CHECKS = ["machine", "mounts", "kernel", "cache", "disk", "tables", "clock", "download"]


@pytest.fixture(scope="module")
def server() -> Iterator[Nginx]:
    with Nginx(RECORDINGS / "data" / "public", "iblmember", PASSWORD) as server:
        yield server


def doctor(*arguments: str | Path, password: str = PASSWORD) -> "subprocess.CompletedProcess[str]":
    return run_onefs("doctor", *arguments, ONEFS_DATA_PASSWORD=password)


def findings(*arguments: str | Path, password: str = PASSWORD) -> dict[str, dict[str, object]]:
    done = doctor(*arguments, "--json", password=password)
    found = json.loads(done.stdout)
    assert done.returncode == (0 if all(each["is_well"] for each in found) else 1)
    assert "Traceback" not in done.stderr
    return {each["check"]: each for each in found}


def test_a_machine_alone() -> None:
    done = doctor()
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("ok    machine         /dev/fuse")


def test_a_mount_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tables(tmp_path / "tables", {})
    monkeypatch.setattr("onefs.fuse.mounting._ANSWER_S", 0.1)
    with Mounted(tmp_path / "tables", tmp_path) as mount:
        os.kill(mount.pid, signal.SIGSTOP)
        try:
            assert run(["doctor"]) == 1
        finally:
            os.kill(mount.pid, signal.SIGCONT)
    assert f"FAIL  mounts          The daemon of {mount.path} does not answer." in capsys.readouterr().out


def test_a_source_that_is_well(server: Nginx, tmp_path: Path) -> None:
    done = doctor(RECORDINGS / "tables", *flags_for(server), "--cache-dir", tmp_path / "cache")
    assert done.returncode == 0, done.stdout
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["ok", check] for check in CHECKS]
    assert done.stderr == ""


def test_a_wrong_password(server: Nginx, tmp_path: Path) -> None:
    source = (RECORDINGS / "tables", *flags_for(server), "--cache-dir", tmp_path / "cache")
    found = findings(*source, password="wrong-word")
    assert [check for check, each in found.items() if not each["is_well"]] == ["download"]
    assert "login" in str(found["download"])
    assert found["download"]["remedy"]
    done = doctor(*source, password="wrong-word")
    assert "FAIL  download  " in done.stdout
    assert "wrong-word" not in done.stdout + done.stderr
    assert done.stderr == "onefs: 1 of 8 checks failed. Follow the remedies beside them.\n"


def test_a_server_that_is_down(tmp_path: Path) -> None:
    found = findings(RECORDINGS / "tables", "--data-url", "http://127.0.0.1:9/x", "--cache-dir", tmp_path / "cache")
    assert "127.0.0.1:9" in str(found["download"]["says"])
    found = findings("http://127.0.0.1:9/tables", "--cache-dir", tmp_path / "other")
    assert not found["source"]["is_well"]
    assert "127.0.0.1:9" in str(found["source"]["says"])
    assert "download" not in found


def test_a_source_that_is_none() -> None:
    found = findings("nonsense")
    assert "nonsense" in str(found["source"]["says"])
    assert not found["source"]["is_well"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    found = findings(RECORDINGS / "tables", "--cache-dir", "/proc/nowhere")
    assert "/proc/nowhere" in str(found["cache"]["says"])
    assert "--cache-dir" in str(found["cache"]["remedy"])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(wrong_bytes=True), "MD5"),
        (Fault(cut_after=2), "127.0.0.1"),
        (Fault(status=404), "404"),
        (Fault(status=503), "503"),
    ],
)
def test_a_download_that_is_not_right(tmp_path: Path, fault: Fault, words: str) -> None:
    datasets = make_tables(tmp_path / "tables", {"alf/a.b.npy": b"spikes"})
    with FaultServer() as server:
        server.put(on_servers(datasets["alf/a.b.npy"]), b"spikes")
        server.fault(on_servers(datasets["alf/a.b.npy"]), fault)
        found = findings(tmp_path / "tables", "--data-url", server.url, "--cache-dir", tmp_path / "cache")
    assert not found["download"]["is_well"]
    assert words in str(found["download"]["says"])
    if fault.status == 404:
        assert f"{server.url}{on_servers(datasets['alf/a.b.npy'])}" in str(found["download"]["says"])
    assert found["download"]["remedy"]


def test_a_download_that_does_not_end(tmp_path: Path) -> None:
    datasets = make_tables(tmp_path / "tables", {"alf/a.b.npy": b"spikes"})
    with FaultServer() as server:
        path = on_servers(datasets["alf/a.b.npy"])
        server.put(path, bytes(32 << 20))
        found = findings(tmp_path / "tables", "--data-url", server.url, "--cache-dir", tmp_path / "cache")
        assert "more bytes than the tables say" in str(found["download"]["says"])
        assert server.bytes_sent(path) < 32 << 20


@pytest.mark.parametrize(
    ("created", "is_well"), [("2999-01-01 00:00", False), ("2020-01-01T00:00:00Z", True), ("June", True)]
)
def test_the_clock(tmp_path: Path, created: str, is_well: bool) -> None:
    from onefs.catalogue.tables import write_tables

    (tmp_path / "tables").mkdir()
    write_tables(tmp_path / "tables", [], [], created=created, origin="tests")
    found = findings(tmp_path / "tables", "--cache-dir", tmp_path / "cache")
    assert found["clock"]["is_well"] == is_well


def test_a_mount_whose_daemon_died(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"x"})
    mount = Mounted(tmp_path / "tables", tmp_path)
    mount.start()
    mount.kill()
    found = findings()
    assert str(mount.path) in str(found["mounts"]["says"])
    assert run_onefs("umount", mount.path).returncode == 0
    assert str(mount.path) not in str(findings()["mounts"])


class TestDatabase:
    """An Alyx as source."""

    @pytest.fixture
    def archive(self, tmp_path: Path) -> AlyxArchive:
        archive = AlyxArchive(tmp_path / "archive")
        archive.put("lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy", b"spikes")
        archive.publish()
        return archive

    @pytest.fixture
    def alyx(self, archive: AlyxArchive) -> Iterator[DemoServer]:
        with DemoServer(archive.directory) as server:
            yield server

    def findings(self, alyx: DemoServer, home: Path, password: str = "demo") -> dict[str, dict[str, object]]:
        done = run_onefs(
            "doctor", alyx.url, "--cache-dir", home / "cache", "--alyx-user", "demo", "--data-user", "demo", "--json",
            ONEFS_ALYX_PASSWORD=password, ONEFS_DATA_PASSWORD="demo", HOME=str(home), XDG_CONFIG_HOME=str(home),
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert password == "demo" or password not in done.stdout + done.stderr
        return {each["check"]: each for each in json.loads(done.stdout)}

    def test_that_is_well(self, alyx: DemoServer, archive: AlyxArchive, tmp_path: Path) -> None:
        created = archive.publish()
        found = self.findings(alyx, tmp_path)
        assert [name for name, each in found.items() if not each["is_well"]] == []
        assert "accepts the login of demo" in str(found["login"])
        assert created in str(found["newest tables"])
        assert "verified" in str(found["download"])

    def test_that_refuses_the_login(self, alyx: DemoServer, tmp_path: Path) -> None:
        found = self.findings(alyx, tmp_path, password="wrong-word")
        assert "wrong name or password" in str(found["login"]["says"])
        assert found["login"]["remedy"]
        assert not found["tables"]["is_well"]

    def test_that_has_no_tables(self, alyx: DemoServer, archive: AlyxArchive, tmp_path: Path) -> None:
        for table in (archive.directory / "tables").iterdir():
            table.unlink()
        found = self.findings(alyx, tmp_path)
        assert found["login"]["is_well"]
        assert not found["newest tables"]["is_well"]
        assert "export" in str(found["newest tables"]["remedy"])

    def test_whose_file_is_nowhere(self, alyx: DemoServer, archive: AlyxArchive, tmp_path: Path) -> None:
        for file in archive.datasets:
            archive.file(file).unlink()
        found = self.findings(alyx, tmp_path)
        assert [name for name, each in found.items() if not each["is_well"]] == ["download"]
        assert "404" in str(found["download"]["says"])
