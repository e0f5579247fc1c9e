"""An archive given by the URL of a folder, from mounting to reading, with logins, and with its server gone."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_served_folder
from mounted import Mounted, run_onefs
from servers import Nginx

FILES = {f"alf/{name}.times.npy": os.urandom(5000) for name in "abc"}
A, B, C = (f"{MADE_SESSION}/{name}" for name in FILES)
USER, PASSWORD = "me", "correct horse"


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A folder with tables and files, as it stands on a server."""
    folder = tmp_path / "served"
    make_served_folder(folder, FILES, with_uuids=True)
    return folder


@pytest.fixture
def server(served: Path) -> Iterator[Nginx]:
    with Nginx(served, USER, PASSWORD) as server:
        yield server


def check(mount: Mounted) -> None:
    for name, data in FILES.items():
        assert (mount.path / MADE_SESSION / name).read_bytes() == data
        assert mount.xattr(f"{MADE_SESSION}/{name}", "hash") == hashlib.md5(data).hexdigest()
        assert mount.xattr(f"{MADE_SESSION}/{name}", "state") == "verified"


def secrets_in(mount: Mounted) -> list[str]:
    """Where the password can be seen by others."""
    process = Path(f"/proc/{mount.pid}")
    places = {
        "log": mount.log(),
        "status": (mount.path / ".onefs" / "status").read_text(),
        "arguments": (process / "cmdline").read_text(),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "source": mount.xattr(A, "source"),
    }
    return [place for place, text in places.items() if PASSWORD in text or "correct%20horse" in text]


def test_with_a_password_from_the_environment(server: Nginx, tmp_path: Path) -> None:
    mount = Mounted(server.url, tmp_path, "--data-user", USER, ONEFS_DATA_PASSWORD=PASSWORD)
    mount.in_new_interpreter = True
    with mount:
        check(mount)
        assert secrets_in(mount) == []
        assert (mount.path / "datasets.pqt").read_bytes() == (tmp_path / "served" / "datasets.pqt").read_bytes()


def test_with_a_password_from_a_file(server: Nginx, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "password").chmod(0o600)
    flags = ("--data-user", USER, "--data-password-file", str(tmp_path / "password"))
    mount = Mounted(server.url, tmp_path, *flags)
    mount.in_new_interpreter = True
    with mount:
        check(mount)
        assert secrets_in(mount) == []


def test_with_everything_from_the_configuration_file(server: Nginx, tmp_path: Path) -> None:
    (tmp_path / "config" / "onefs").mkdir(parents=True)
    lines = [f'data_user = "{USER}"', f'data_password = "{PASSWORD}"', 'log = "debug"']
    config = tmp_path / "config" / "onefs" / "config.toml"
    config.write_text("\n".join(lines))
    config.chmod(0o600)
    mount = Mounted(server.url, tmp_path)
    mount.in_new_interpreter = True
    with mount:
        check(mount)
        assert secrets_in(mount) == []


def test_with_a_login_in_the_url(server: Nginx, tmp_path: Path) -> None:
    """Whoever writes it there shows it in the arguments of `onefs mount`, but it goes no further."""
    url = server.url.replace("://", f"://{USER}:correct%20horse@")
    with Mounted(url, tmp_path) as mount:
        check(mount)
        assert mount.status()["source"] == server.url
        assert set(secrets_in(mount)) <= {"arguments"}


def test_with_a_wrong_password_mounting_fails_and_says_so(server: Nginx, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    done = run_onefs(
        "mount", server.url, tmp_path / "mnt", "--cache-dir", tmp_path / "cache", "--data-user", USER,
        ONEFS_DATA_PASSWORD="wrong-word",
    )  # fmt: skip
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert "login" in done.stderr
    assert "wrong-word" not in done.stderr
    assert not os.path.ismount(tmp_path / "mnt")


def test_with_its_server_down_it_mounts_from_the_tables_at_hand(server: Nginx, tmp_path: Path) -> None:
    mount = Mounted(server.url, tmp_path, "--data-user", USER, ONEFS_DATA_PASSWORD=PASSWORD)
    with mount:
        assert (mount.path / A).read_bytes() == FILES["alf/a.times.npy"]
    server.stop()
    with mount:
        assert sorted(os.listdir(mount.path / MADE_SESSION / "alf")) == [Path(name).name for name in FILES]
        assert (mount.path / A).read_bytes() == FILES["alf/a.times.npy"]
        with pytest.raises(OSError) as failure:
            (mount.path / B).read_bytes()
        assert failure.value.errno == errno.EHOSTUNREACH
        server.start()
        assert (mount.path / C).exists()


def test_in_mode_local_what_is_not_cached_is_enetdown_with_a_sentence(server: Nginx, tmp_path: Path) -> None:
    flags = ("--data-user", USER)
    with Mounted(server.url, tmp_path, *flags, ONEFS_DATA_PASSWORD=PASSWORD) as mount:
        assert (mount.path / A).read_bytes() == FILES["alf/a.times.npy"]
    asked = len(server.access_log())
    with Mounted(server.url, tmp_path, *flags, "--mode", "local", ONEFS_DATA_PASSWORD=PASSWORD) as mount:
        assert mount.status()["mode"] == {"requested": "local", "effective": "local"}
        assert (mount.path / A).read_bytes() == FILES["alf/a.times.npy"]
        with pytest.raises(OSError) as failure:
            (mount.path / B).read_bytes()
        assert failure.value.errno == errno.ENETDOWN
        assert f"ENETDOWN\t{B}\t" in mount.errors()
        assert "not in the cache" in mount.errors()
    assert len(server.access_log()) == asked


@pytest.mark.parametrize("change", [b"", b"short", b"x" * 5000, b"x" * 9001], ids=["empty", "short", "same", "long"])
def test_verify_warn_serves_what_differs_as_it_is(server: Nginx, served: Path, tmp_path: Path, change: bytes) -> None:
    (file,) = served.glob(f"{MADE_SESSION}/alf/a.times.*.npy")
    file.write_bytes(change)
    with Mounted(server.url, tmp_path, "--data-user", USER, "--verify", "warn", ONEFS_DATA_PASSWORD=PASSWORD) as mount:
        for _ in range(2):
            assert (mount.path / A).read_bytes() == change
        shutil.copyfile(mount.path / A, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == change
        assert mount.xattr(A, "state") == "mismatch"
        assert "differs from the catalogue" in mount.log()
        assert (mount.path / B).read_bytes() == FILES["alf/b.times.npy"]
        assert mount.xattr(B, "state") == "verified"
        assert (mount.cache / A).read_bytes() == change
