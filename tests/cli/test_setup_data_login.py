"""`onefs setup` and the data server's login: asked for or given, tried, kept apart from the name, used there alone."""

import os
import pty
import select
import stat
import time
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from mounted import ONEFS
from setting_up_homes import Home
from waiting import PATIENCE_S

from onefs.demo.server import DemoServer

PATH = "lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy"
BUCKET = "/onefs-demo"


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put(PATH, b"bytes of a file")
    archive.publish()
    return archive


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def at_a_terminal(home: Home, *arguments: str, answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run one command line at a terminal, where each answer is typed once its prompt is shown; exit code and screen.

    The last answer is typed again while nothing happens: Python misses a Ctrl-C just before it begins to wait.
    """
    child, terminal = pty.fork()
    if not child:
        os.execve(ONEFS[0], [*ONEFS, *arguments], {**os.environ, **home.environment})
    screen, unread, left = b"", 0, list(answers)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            if not left:
                os.write(terminal, answers[-1][1].encode())
            continue
        try:
            screen += os.read(terminal, 1 << 16)
        except OSError:  # the other side is closed
            break
        if left and (at := screen.find(left[0][0].encode(), unread)) >= 0 and screen.rstrip().endswith(b":"):
            unread = at + len(left[0][0])
            os.write(terminal, left.pop(0)[1].encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), screen.decode()


def test_given_by_flags_it_is_kept_apart_and_used(server: DemoServer, home: Home, tmp_path: Path) -> None:
    done = home.setup(server.url, "--data-user", "demo", "--data-password-file", home.password)
    assert done.returncode == 0, done.stderr
    assert f"{server.url} accepts the login of demo" in done.stdout
    assert (home.config / "mine.toml").read_text() == f'source = "{server.url}"\n'
    assert f'data_server = "{server.url}"' in home.credentials.read_text()
    assert stat.S_IMODE(home.credentials.stat().st_mode) == 0o600
    server.fail(BUCKET)
    (tmp_path / "mnt").mkdir()
    assert home.onefs("mount", "mine", tmp_path / "mnt").returncode == 0
    try:
        assert (tmp_path / "mnt" / PATH).read_bytes() == b"bytes of a file"
        assert "data_user: \n" in (tmp_path / "mnt" / ".onefs" / "control").read_text()
    finally:
        assert home.onefs("umount", "--lazy", tmp_path / "mnt").returncode == 0


def test_without_it_the_reader_is_told_how_to_give_it(server: DemoServer, home: Home, tmp_path: Path) -> None:
    assert home.setup(server.url).returncode == 0
    assert "data_" not in home.credentials.read_text()
    server.fail(BUCKET, 404)
    (tmp_path / "mnt").mkdir()
    assert home.onefs("mount", "mine", tmp_path / "mnt").returncode == 0
    try:
        with pytest.raises(PermissionError):
            (tmp_path / "mnt" / PATH).read_bytes()
        told = (tmp_path / "mnt" / ".onefs" / "errors").read_text()
        assert "onefs setup, or --data-user and --data-password-file" in told
    finally:
        assert home.onefs("umount", "--lazy", tmp_path / "mnt").returncode == 0


def test_asked_for_at_a_terminal_that_shows_no_password(server: DemoServer, home: Home) -> None:
    answers = [
        ("Address of the database", f"{server.url}\n"),
        ("User name", "demo\n"),
        ("Password", "demo\n"),
        ("User name for the data server", "demo\n"),
        ("Password", "demo\n"),
        ("Cache directory", "\n"),
    ]
    code, screen = at_a_terminal(home, "setup", "mine", answers=answers)
    assert code == 0, screen
    assert screen.count("accepts the login of demo") == 2
    assert "demo" not in screen.partition("Password")[2].splitlines()[0]
    kept = home.credentials.read_text()
    assert 'data_user = "demo"' in kept
    # What is known need not be said again, and changing one login leaves the other.
    again = [("Address", "\n"), ("User name", "\n"), ("Password", "\n"), ("data server", "\n"), ("Password", "\n")]
    code, screen = at_a_terminal(home, "setup", "mine", answers=[*again, ("Cache directory", "\n")])
    assert code == 0, screen
    assert home.setup(server.url).returncode == 0
    assert 'data_user = "demo"' in home.credentials.read_text()


@pytest.mark.parametrize("at", ["Password", "User name for the data server", "Cache directory", "Name for it"])
def test_breaking_off_saves_nothing(server: DemoServer, home: Home, at: str) -> None:
    answers = [("Address", f"{server.url}\n"), ("User name", "demo\n"), ("Password", "demo\n")]
    answers += [("User name for the data server", "\n"), ("Cache directory", "\n"), ("Name for it", "\n")]
    before = [prompt for prompt, _ in answers].index(at)
    code, screen = at_a_terminal(home, "setup", answers=[*answers[:before], (at, "\x03")])
    assert code == 130, screen
    assert home.saved() == []


def test_a_wrong_password_is_told_and_nothing_is_saved(server: DemoServer, home: Home, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong-word\n")
    (tmp_path / "wrong").chmod(0o600)
    done = home.setup(server.url, "--data-user", "demo", "--data-password-file", tmp_path / "wrong")
    assert done.returncode == 1
    assert "refuses the login of demo" in done.stderr
    assert "wrong-word" not in done.stdout + done.stderr
    assert home.saved() == []


def test_half_a_login_is_told(server: DemoServer, home: Home) -> None:
    for half in (("--data-user", "demo"), ("--data-password-file", home.password)):
        done = home.setup(server.url, *half)
        assert done.returncode == 2
        assert "--data-" in done.stderr
    assert home.saved() == []


def test_the_server_s_address_is_kept_with_the_name_but_no_login_in_it(server: DemoServer, home: Home) -> None:
    done = home.setup(server.url, "--data-url", server.data_url.replace("//", "//demo:secret@"))
    assert done.returncode == 2
    assert "secret" not in done.stdout + done.stderr
    assert home.saved() == []
    done = home.setup(
        server.url, "--data-url", server.data_url, "--data-user", "demo", "--data-password-file", home.password
    )
    assert done.returncode == 0, done.stderr
    assert f'data_url = "{server.data_url}"' in (home.config / "mine.toml").read_text()


def test_a_folder_of_tables_may_want_one(server: DemoServer, home: Home, archive: AlyxArchive) -> None:
    flags = ("--data-url", server.data_url, "--data-user", "demo", "--data-password-file", home.password)
    done = home.onefs("setup", "tables", "--url", server.tables_url, *flags, "--no-input")
    assert done.returncode == 0, done.stderr
    assert "demo" not in (home.config / "tables.toml").read_text().replace("onefs-demo", "")
    assert 'data_password = "demo"' in home.credentials.read_text()


def test_a_name_that_another_source_has_is_not_taken_from_it(server: DemoServer, home: Home) -> None:
    home.config.mkdir(parents=True)
    (home.config / "lab.toml").write_text('source = "https://alyx.example"\n')
    (home.config / "127.0.0.1.toml").write_text('source = "https://alyx.example"\n')
    login = ("--user", "demo", "--password-file", home.password)
    done = home.onefs("setup", "--url", server.url, *login, "--no-input")
    assert done.returncode == 2
    assert "127.0.0.1 is the name of https://alyx.example" in done.stderr
    answers = [("User name for", "\n"), ("Cache directory", "\n"), ("Name for it", "lab\n")]
    arguments = [*map(str, ("setup", "--url", server.url, *login))]
    code, screen = at_a_terminal(home, *arguments, answers=answers)
    assert (code, "lab is the name of https://alyx.example" in screen) == (2, True), screen
    assert not home.credentials.exists()
    assert (home.config / "lab.toml").read_text() == 'source = "https://alyx.example"\n'
