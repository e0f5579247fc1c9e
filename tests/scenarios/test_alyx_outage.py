"""What a mount of an Alyx does while its server is away, silent, busy, broken, or will not let it in."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from alyx_archive import AlyxArchive
from alyx_mounts import PASSWORD, Asked, control, errno_of, mount_of, tree_of
from waiting import wait_until

from onefs.demo.database_file import USERS, DatabaseFile, User
from onefs.demo.server import DemoServer

SESSION = "lab/Subjects/mouse/2024-01-02/001"
CACHED, OTHER, LAST = (f"{SESSION}/alf/{name}" for name in ("a.times.npy", "b.times.npy", "c.times.npy"))
BYTES = {CACHED: b"cached" * 100, OTHER: b"other" * 100, LAST: b"last" * 100}
NEVER = ("--cache-expiry", "365d")
LONGEST_AWAY_S = 120
"""A server that was away is passed over for a minute."""


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put_all(BYTES)
    archive.publish()
    return archive


def set_password(archive: AlyxArchive, server: DemoServer, password: str) -> None:
    """Change the user's password in the database, which ends all tokens."""
    others = [user for user in USERS if user.username != "demo"]
    known = DatabaseFile.read(archive.directory)
    replace(known, users=[*others, User("demo", password)]).write(archive.directory)
    server.answers.logins.forget()


def token_of(server: DemoServer, password: str) -> str:
    """The token that the user has now."""
    answer = requests.post(f"{server.url}/auth-token", json={"username": "demo", "password": password}, timeout=60)
    token: str = answer.json()["token"]
    return token


def test_a_server_that_goes_away_and_comes_back(server: DemoServer, archive: AlyxArchive, tmp_path: Path) -> None:
    mount = mount_of(server, tmp_path, "--cache-expiry", "0s")
    with mount:
        assert (mount.path / CACHED).read_bytes() == BYTES[CACHED]
        server.stop()
        assert (mount.path / CACHED).read_bytes() == BYTES[CACHED]
        for path in (OTHER, OTHER, LAST):
            assert errno_of((mount.path / path).read_bytes) == errno.EHOSTUNREACH
        assert tree_of(mount.path) == set(BYTES)
        assert control(mount, "refresh") == errno.EHOSTUNREACH
        mode = mount.status()["mode"]
        assert (mode["requested"], mode["effective"]) == ("auto", "local")
        assert server.url.removeprefix("http://") in mode["reason"]
        assert mode["since"] <= mode["next_try"]
        assert "EHOSTUNREACH" in mount.errors()
        archive.put(f"{SESSION}/alf/new.times.npy", b"new")
        archive.publish()
        server.start()
        wait_until(lambda: mount.status()["mode"]["effective"] == "auto", "it comes back by itself", LONGEST_AWAY_S)
        wait_until(lambda: errno_of((mount.path / OTHER).read_bytes) == 0, "files are fetched again", LONGEST_AWAY_S)
        assert "reason" not in mount.status()["mode"]
        assert (mount.path / OTHER).read_bytes() == BYTES[OTHER]
        assert (mount.path / f"{SESSION}/alf/new.times.npy").read_bytes() == b"new"


def test_a_silent_server_is_a_time_out(server: DemoServer, tmp_path: Path) -> None:
    mount = mount_of(server, tmp_path, *NEVER, "--read-timeout", "1s")
    with mount:
        assert (mount.path / CACHED).read_bytes() == BYTES[CACHED]
        server.hold()
        assert errno_of((mount.path / OTHER).read_bytes) == errno.ETIMEDOUT
        assert (mount.path / CACHED).read_bytes() == BYTES[CACHED]
        server.recover()
        assert control(mount, "retry") == 0
        assert (mount.path / OTHER).read_bytes() == BYTES[OTHER]


@pytest.mark.parametrize("status", [500, 502])
def test_error_pages_instead_of_answers_change_nothing(server: DemoServer, tmp_path: Path, status: int) -> None:
    mount = mount_of(server, tmp_path, *NEVER, "--retry-max", "1s")
    with mount:
        assert (mount.path / CACHED).read_bytes() == BYTES[CACHED]
        server.fail("/", status)
        assert control(mount, "refresh") != 0
        assert mount.status()["mode"]["effective"] == "local"
        assert tree_of(mount.path) == set(BYTES)
        assert "<" not in mount.status()["mode"]["reason"]
        server.recover()
        assert control(mount, "refresh") == 0
        assert mount.status()["mode"] == {"requested": "auto", "effective": "auto"}


def test_an_error_page_instead_of_a_file_is_no_file(server: DemoServer, tmp_path: Path) -> None:
    mount = mount_of(server, tmp_path, *NEVER, "--retry-max", "1s")
    with mount:
        assert (mount.path / CACHED).read_bytes() == BYTES[CACHED]
        server.fail()
        assert errno_of((mount.path / OTHER).read_bytes) in (errno.EIO, errno.EHOSTUNREACH)
        server.recover()
        assert control(mount, "retry") == 0
        assert (mount.path / OTHER).read_bytes() == BYTES[OTHER]


def test_tables_that_are_no_zip_change_nothing(server: DemoServer, archive: AlyxArchive, tmp_path: Path) -> None:
    mount = mount_of(server, tmp_path, *NEVER)
    with mount:
        archive.put(f"{SESSION}/alf/new.times.npy", b"new")
        archive.publish()
        whole = (archive.directory / "tables/cache.zip").read_bytes()
        (archive.directory / "tables/cache.zip").write_bytes(whole[: len(whole) // 2])
        assert control(mount, "refresh") == errno.EIO
        assert tree_of(mount.path) == set(BYTES)
        (archive.directory / "tables/cache.zip").write_bytes(whole)
        assert control(mount, "refresh") == 0
        assert f"{SESSION}/alf/new.times.npy" in tree_of(mount.path)


def test_a_refresh_without_news_has_what_failed_tried_again(
    server: DemoServer, archive: AlyxArchive, tmp_path: Path
) -> None:
    with mount_of(server, tmp_path, *NEVER) as mount:
        file = archive.file(OTHER)
        away = file.rename(file.with_name("away"))
        assert errno_of((mount.path / OTHER).read_bytes) == errno.EIO
        away.rename(file)
        assert errno_of((mount.path / OTHER).read_bytes) == errno.EIO
        assert control(mount, "refresh") == 0
        assert (mount.path / OTHER).read_bytes() == BYTES[OTHER]


def test_a_boot_without_a_network(server: DemoServer, tmp_path: Path) -> None:
    mount = mount_of(server, tmp_path, "--cache-expiry", "0s")
    with mount:
        (mount.path / CACHED).read_bytes()
    server.stop()
    again = mount_of(server, tmp_path, "--cache-expiry", "0s")
    with again:
        assert tree_of(again.path) == set(BYTES)
        assert (again.path / CACHED).read_bytes() == BYTES[CACHED]
        wait_until(lambda: again.status()["mode"]["effective"] == "local", "it is seen that nobody answers")
        assert errno_of((again.path / OTHER).read_bytes) == errno.EHOSTUNREACH


def test_a_wrong_password_at_boot(server: DemoServer, archive: AlyxArchive, tmp_path: Path) -> None:
    with mount_of(server, tmp_path) as mount:
        (mount.path / CACHED).read_bytes()
    set_password(archive, server, "another")
    mount = mount_of(server, tmp_path, "--cache-expiry", "0s", password="m1staken")
    with mount:
        wait_until(lambda: mount.status()["mode"]["effective"] == "local", "the login fails")
        mode = mount.status()["mode"]
        assert mode["requested"] == "auto"
        assert "password" in mode["reason"]
        assert mode["next_try"] > mode["since"]
        assert tree_of(mount.path) == set(BYTES)
        assert (mount.path / CACHED).read_bytes() == BYTES[CACHED]
        assert control(mount, "refresh") == errno.EACCES
        assert "m1staken" not in mount.log() + mount.errors() + mode["reason"]
        set_password(archive, server, "m1staken")
        assert control(mount, "refresh") == 0
        assert mount.status()["mode"] == {"requested": "auto", "effective": "auto"}


def test_a_token_that_ends_is_replaced_unseen(server: DemoServer, archive: AlyxArchive, tmp_path: Path) -> None:
    mount = mount_of(server, tmp_path, *NEVER)
    with mount:
        (mount.path / CACHED).read_bytes()
        server.answers.logins.forget()
        archive.put(f"{SESSION}/alf/new.times.npy", b"new")
        archive.publish()
        asked = Asked(server)
        assert control(mount, "refresh") == 0
        assert asked.kinds()["auth-token"] == 1
        assert (mount.path / f"{SESSION}/alf/new.times.npy").read_bytes() == b"new"


def test_no_secret_is_shown_anywhere(server: DemoServer, archive: AlyxArchive, tmp_path: Path) -> None:
    set_password(archive, server, "s3cret-word")
    mount = mount_of(server, tmp_path, *NEVER, "--log", "debug", password="s3cret-word")
    mount.in_new_interpreter = True
    with mount:
        (mount.path / ".onefs/mode").write_text("remote\n")
        assert tree_of(mount.path) == set(BYTES)
        (mount.path / ".onefs/mode").write_text("auto\n")
        token = token_of(server, "s3cret-word")
        assert control(mount, "refresh") == 0
        set_password(archive, server, PASSWORD)
        assert control(mount, "refresh") == errno.EACCES
        told = (
            mount.log()
            + mount.errors()
            + "".join(
                (mount.path / ".onefs" / name).read_text() for name in ("status", "status.json", "control", "log")
            )
        )
        told += Path(f"/proc/{mount.pid}/cmdline").read_text()
        assert "s3cret-word" not in told
        assert token not in told


def test_too_many_requests_leave_what_is_at_hand(server: DemoServer, tmp_path: Path) -> None:
    mount = mount_of(server, tmp_path, *NEVER, "--retry-max", "1s")
    with mount:
        assert (mount.path / CACHED).read_bytes() == BYTES[CACHED]
        server.answers.throttle.requests_per_minute = 3
        assert [control(mount, "refresh") for _ in range(4)][-1] == errno.EHOSTUNREACH
        assert mount.status()["mode"]["effective"] == "local"
        assert tree_of(mount.path) == set(BYTES)
        assert (mount.path / CACHED).read_bytes() == BYTES[CACHED]
        (passed_over,) = mount.status()["passed_over"]
        assert passed_over["server"] == server.url.removeprefix("http://")
        assert "throttled" in passed_over["reason"]
        assert passed_over["asked_again"] >= mount.status()["started"]
        assert passed_over["waiting"] == []
        told = (mount.path / ".onefs/status").read_text()
        assert "It is asked again in" in " ".join(told.split())
        assert "works, but" in told
        server.answers.throttle.requests_per_minute = None
        asked = Asked(server)
        assert control(mount, "refresh") == errno.EHOSTUNREACH
        assert asked.paths() == [], "it said for how long it wants to be left alone"
        assert "too busy until" in mount.status()["mode"]["reason"]
        assert control(mount, "retry") == 0
        assert control(mount, "refresh") == 0
