"""New tables while an archive is mounted: what is open lives on, what is new appears, what fails changes nothing."""

import errno
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables
from mounted import Mounted, run_onefs
from servers import Nginx
from waiting import wait_until

OLD = {"alf/a.times.npy": b"old " * 5000, "alf/b.times.npy": b"same " * 4000, "raw/gone.raw.npy": b"gone " * 100}
NEW = {"alf/a.times.npy": b"new! " * 5000, "alf/b.times.npy": b"same " * 4000, "alf/probe00/c.times.npy": b"came " * 9}
# Tables of the future never expire by themselves; those of the past have expired when they are mounted.
FIRST, SECOND = "2999-01-03 00:00", "2999-01-04 00:00"
PAST = "2024-01-04 00:00"


class Server:
    """A folder of tables and data behind nginx, whose edition can be replaced."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.publish(OLD, FIRST)
        self.nginx = Nginx(root)

    def publish(self, files: dict[str, bytes], created: str) -> None:
        """Serve other tables, and the bytes that they list."""
        self.root.mkdir(exist_ok=True)
        datasets = make_tables(self.root, files, created=created)
        for name, dataset in datasets.items():
            stem, _, extension = dataset.path.rpartition(".")
            path = self.root / f"{stem}.{dataset.id}.{extension}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        (self.root / "cache_info.json").write_text(json.dumps({"date_created": created}))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    with server.nginx:
        yield server


@pytest.fixture
def mount(server: Server, tmp_path: Path) -> Iterator[Mounted]:
    with Mounted(server.nginx.url, tmp_path) as mount:
        yield mount


def test_new_tables_are_taken_when_told(server: Server, mount: Mounted) -> None:
    session = mount.path / MADE_SESSION
    held = (session / "alf/a.times.npy").open("rb")
    assert held.read(4) == b"old "
    ino = os.fstat(held.fileno()).st_ino
    assert not (session / "alf/probe00").exists()
    assert (session / "raw/gone.raw.npy").exists()
    same = (session / "alf/b.times.npy").stat().st_ino
    assert "no newer" in run_onefs("refresh", mount.path).stdout

    server.publish(NEW, SECOND)
    assert SECOND in run_onefs("refresh", mount.path).stdout
    assert (session / "alf/a.times.npy").read_bytes() == NEW["alf/a.times.npy"]
    assert (session / "alf/a.times.npy").stat().st_ino != ino
    assert (session / "alf/probe00/c.times.npy").read_bytes() == NEW["alf/probe00/c.times.npy"]
    assert not (session / "raw").exists()
    assert sorted(os.listdir(session)) == ["alf"]
    assert (session / "alf/b.times.npy").stat().st_ino == same
    assert b"old " + held.read() == OLD["alf/a.times.npy"]
    assert os.fstat(held.fileno()).st_ino == ino
    held.close()
    assert mount.status()["tables"]["created"] == SECOND
    assert b"2999-01-04" in (mount.path / "sessions.pqt").read_bytes()


def test_a_session_that_comes_and_one_that_goes(server: Server, mount: Mounted) -> None:
    lab = mount.path / "lab"
    assert lab.exists()
    assert not (mount.path / "elsewhere").exists()
    make_tables(server.root, {"alf/x.y.npy": b"z"}, created=SECOND, lab="elsewhere")
    (server.root / "cache_info.json").write_text(json.dumps({"date_created": SECOND}))
    subprocess.run(["sh", "-c", f"echo refresh > {mount.path}/.onefs/control"], check=True)
    assert (mount.path / "elsewhere/Subjects/mouse/2024-01-02/001/alf/x.y.npy").exists()
    assert not lab.exists()
    assert "lab" not in os.listdir(mount.path)


def test_expired_tables_are_renewed_without_being_told(server: Server, tmp_path: Path) -> None:
    server.publish(OLD, PAST)
    with Mounted(server.nginx.url, tmp_path, "--cache-expiry", "1s") as mount:
        server.publish(NEW, SECOND)
        wait_until(lambda: mount.status()["tables"]["created"] == SECOND, "the new tables are in use")
        assert (mount.path / MADE_SESSION / "alf/probe00/c.times.npy").exists()


def test_a_server_that_is_away_leaves_all_as_it_was_and_is_told(server: Server, tmp_path: Path) -> None:
    server.publish(OLD, PAST)
    with Mounted(server.nginx.url, tmp_path, "--cache-expiry", "1s") as mount:
        session = mount.path / MADE_SESSION
        cached = (session / "alf/a.times.npy").read_bytes()
        server.nginx.stop()
        wait_until(lambda: mount.status()["mode"]["effective"] == "local", "it has noticed")
        told = mount.status()["mode"]
        assert told["requested"] == "auto"
        assert "cannot be reached" in told["reason"]
        assert told["next_try"] > told["since"]
        assert (session / "alf/a.times.npy").read_bytes() == cached
        with pytest.raises(OSError) as failure:
            (session / "alf/b.times.npy").read_bytes()
        assert failure.value.errno == errno.EHOSTUNREACH
        server.nginx.start()
        assert run_onefs("refresh", mount.path).returncode == 0
        assert mount.status()["mode"] == {"requested": "auto", "effective": "auto"}
        run_onefs("retry", mount.path)
        assert (session / "alf/b.times.npy").read_bytes() == OLD["alf/b.times.npy"]


@pytest.mark.parametrize("spoil", ["html", "no date", "damaged table", "one table missing"])
def test_spoilt_tables_are_refused_and_the_old_ones_serve_on(server: Server, mount: Mounted, spoil: str) -> None:
    assert (mount.path / MADE_SESSION / "alf/a.times.npy").read_bytes() == OLD["alf/a.times.npy"]
    server.publish(NEW, SECOND)
    if spoil == "html":
        (server.root / "cache_info.json").write_text("<html>Moved</html>")
    elif spoil == "no date":
        (server.root / "cache_info.json").write_text("{}")
    elif spoil == "damaged table":
        (server.root / "datasets.pqt").write_bytes((server.root / "datasets.pqt").read_bytes()[:-100])
    else:
        (server.root / "datasets.pqt").unlink()
    done = run_onefs("refresh", mount.path)
    assert done.returncode == 1
    assert done.stderr.startswith("onefs: ")
    assert mount.status()["tables"]["created"] == FIRST
    assert (mount.path / MADE_SESSION / "alf/a.times.npy").read_bytes() == OLD["alf/a.times.npy"]
    server.publish(NEW, SECOND)
    assert run_onefs("refresh", mount.path).returncode == 0
    assert mount.status()["tables"]["created"] == SECOND


def test_readers_during_many_refreshes_see_one_edition_or_the_other(server: Server, mount: Mounted) -> None:
    path = mount.path / MADE_SESSION / "alf/a.times.npy"
    right = {OLD["alf/a.times.npy"], NEW["alf/a.times.npy"]}
    wrong: list[bytes] = []
    stop = threading.Event()
    assert path.read_bytes() in right  # in the cache from now on: the server may already hold what the tables lack

    def read() -> None:
        while not stop.is_set():
            data = path.read_bytes()
            if data not in right:
                wrong.append(data)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for day, files in enumerate([NEW, OLD] * 2, 4):
        server.publish(files, f"2999-01-{day:02} 00:00")
        assert run_onefs("refresh", mount.path).returncode == 0
        assert path.read_bytes() == files["alf/a.times.npy"]
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_a_folder_without_a_server_cannot_be_renewed(tmp_path: Path) -> None:
    make_tables(tmp_path / "folder", OLD)
    with Mounted(tmp_path / "folder", tmp_path) as mount:
        done = run_onefs("refresh", mount.path)
        assert done.returncode == 1
        assert "no server" in done.stderr


def test_a_servers_refusal_is_told_as_such(server: Server, mount: Mounted) -> None:
    (server.root / "cache_info.json").unlink()
    (server.root / "cache_info.json").mkdir()  # which nginx does not list: 403
    done = run_onefs("refresh", mount.path)
    assert done.returncode == 1
    assert "answered 403 Forbidden" in done.stderr
    assert "control cannot be written" not in done.stderr
