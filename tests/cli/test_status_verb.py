"""`onefs status` and `onefs info`: what they print for people and for programs."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import ONEFS, Mounted, run_onefs
from servers import FaultServer

from onefs import __version__

NAME = "alf/a.b.npy"


@pytest.fixture
def mount(tmp_path: Path) -> Mounted:
    make_tables(tmp_path / "tables", {NAME: b"spikes"})
    return Mounted(tmp_path / "tables", tmp_path)


def reports(*arguments: str | Path) -> list[dict[str, object]]:
    done = run_onefs("status", *arguments, "--json")
    assert done.stderr == ""
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_text_and_json_of_one_mount(mount: Mounted) -> None:
    with mount:
        (report,) = reports(mount.path)
        assert report == {**mount.status(), "cache": report["cache"]}
        assert report["version"] == __version__
        assert report["pid"] == mount.pid
        assert report["mountpoint"] == str(mount.path)
        assert report["tables"]["datasets"] == 1  # type: ignore[index]
        for path in (mount.path, mount.path / MADE_SESSION, mount.path / ".onefs"):
            assert run_onefs("status", path).returncode == 0
        done = run_onefs("status", mount.path)
        for words in (
            str(mount.path),
            str(mount.source),
            "state      well",
            "mode       local",
            "1 dataset",
            "2024-01-03",
        ):
            assert words in done.stdout
        assert mount.path in [Path(str(each["mountpoint"])) for each in reports()]


def test_when_nothing_is_mounted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from onefs.cli.main import run

    monkeypatch.setattr("onefs.cli.status.mounts", list)
    assert run(["status"]) == 0
    assert capsys.readouterr().out == "Nothing is mounted.\n"
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_path_in_no_mount(tmp_path: Path) -> None:
    done = run_onefs("status", tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"onefs: {tmp_path} is in no onefs mount. List the mounts: onefs status.\n"


def test_a_dead_daemon(mount: Mounted) -> None:
    mount.start()
    mount.kill()
    try:
        (report,) = reports(mount.path)
        assert report["mountpoint"] == str(mount.path)
        assert "has died" in str(report["problem"])
        done = run_onefs("status", mount.path)
        assert done.returncode == 1
        assert "onefs umount" in " ".join(done.stdout.split())
        assert run_onefs("status", mount.path, "--json").returncode == 1
        done = run_onefs("info", mount.path / MADE_SESSION / NAME)
        assert done.returncode == 1
        assert "has died" in done.stderr
    finally:
        assert run_onefs("umount", mount.path).returncode == 0


def test_failures_and_totals_are_told(tmp_path: Path) -> None:
    datasets = make_tables(tmp_path / "tables", {NAME: b"spikes", "alf/c.d.npy": b"clusters"})
    with FaultServer() as server:
        server.put(on_servers(datasets["alf/c.d.npy"]), b"clusters")
        with Mounted(tmp_path / "tables", tmp_path, "--data-url", server.url) as mount:
            assert (mount.path / MADE_SESSION / "alf/c.d.npy").read_bytes() == b"clusters"
            with pytest.raises(OSError):
                (mount.path / MADE_SESSION / NAME).read_bytes()
            (report,) = reports(mount.path)
            assert report["totals"] == {"files_fetched": 1, "bytes_fetched": 8, "failures": 1}
            (error,) = report["errors"]  # type: ignore[misc]
            assert (error["path"], error["errno"], error["count"]) == (f"{MADE_SESSION}/{NAME}", "EIO", 1)
            assert "404" in error["reason"]
            told = run_onefs("status", mount.path).stdout
            assert "404" in told
            assert all(line == line.rstrip() for line in told.splitlines()), "one long line makes no other longer"


def test_info_of_a_file_and_of_a_session(mount: Mounted) -> None:
    with mount:
        done = run_onefs("info", mount.path / MADE_SESSION / NAME)
        assert done.returncode == 0
        for words in (f"{MADE_SESSION}/{NAME}", "PASS", "state"):
            assert words in done.stdout
        told = json.loads(run_onefs("info", mount.path / MADE_SESSION, "--json").stdout)
        assert (told["path"], told["datasets"], told["size"]) == (MADE_SESSION, 1, 6)
        assert "cache_path" not in told


def test_strange_names_do_not_upset_the_terminal(tmp_path: Path) -> None:
    """Brackets are markup to the library that prints the tables, and escape codes to the terminal."""
    home = tmp_path / "[/red] \x1b[31m"
    name = "alf/[bold]x\x1b]0;y\x07[/].b.npy"
    make_tables(home / "tables", {name: b"x"})
    with Mounted(home / "tables", home) as mount:
        for arguments in (["status"], ["status", os.fspath(mount.path)], ["info", mount.path / MADE_SESSION / name]):
            done = run_onefs(*arguments)
            assert done.returncode == 0, done.stderr
            assert "[/red]" in done.stdout
            assert "\x1b" not in done.stdout
        told = json.loads(run_onefs("info", mount.path / MADE_SESSION / name, "--json").stdout)
        assert told["path"] == f"{MADE_SESSION}/{name}"


def test_a_mountpoint_that_is_no_utf8(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {NAME: b"x"})
    mount = Mounted(tmp_path / "tables", tmp_path)
    mount.path = tmp_path / "mnt\udcff"
    mount.start()
    assert os.listdir(mount.path / MADE_SESSION) == ["alf"]
    path = mount.path / MADE_SESSION / NAME
    for arguments in (["status"], ["status", mount.path, "--json"], ["info", path], ["umount", mount.path]):
        done = subprocess.run([*ONEFS, *arguments], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
    assert not os.path.ismount(mount.path)
