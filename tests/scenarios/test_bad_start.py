"""A unit's mount that cannot start: one sentence with its remedy for the journal, and an exit code without restarts."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from archives import make_tables
from lab_members import MEMBERS, as_member, lab_folder
from mounted import ONEFS, run_onefs
from notified import NotifySocket

FUSERMOUNT = shutil.which("fusermount3")
NO_RESTART = (2, 78)
"""The `RestartPreventExitStatus` of the units."""


class Unit:
    """A name whose file says what to mount where, started as its unit does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.mountpoint = home / "mnt"
        self.mountpoint.mkdir()
        make_tables(home / "tables", {"alf/a.b.npy": b"spikes"})
        self.file = home / "config/onefs/lab.toml"
        self.file.parent.mkdir(parents=True)

    def says(self, *lines: str, **changes: str) -> str:
        """What the journal holds of a start with these lines in the file."""
        values = {"source": self.home / "tables", "mountpoint": self.mountpoint, "cache_dir": self.home / "cache"}
        known = [f'{key} = "{value}"' for key, value in {**values, **changes}.items() if value]
        self.file.write_text("\n".join([*known, *lines, ""]))
        with NotifySocket(self.home / "notify") as socket:
            done = run_onefs(
                "mount",
                "lab",
                "--foreground",
                XDG_CONFIG_HOME=str(self.home / "config"),
                NOTIFY_SOCKET=socket.address,
            )
            statuses = [each for message in socket.pending() for each in message if each.startswith("STATUS=")]
        (self.home / "notify").unlink()
        assert done.returncode in NO_RESTART, done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith("onefs: ")
        assert done.stderr.count("\n") == 1, done.stderr
        assert statuses[-1] == f"STATUS={done.stderr.removeprefix('onefs: ').rstrip()}"
        assert not os.path.ismount(self.mountpoint)
        return done.stderr


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(tmp_path)


@pytest.mark.parametrize(
    ("line", "said", "remedy"),
    [
        ('open_wiat = "3s"', "open_wiat in HOME/config/onefs/lab.toml is not a setting", "Did you mean open_wait?"),
        ("open_wait = true", "open_wait in HOME/config/onefs/lab.toml cannot be", "Give a duration"),
        ("allow_other = 3.5", "allow_other in HOME/config/onefs/lab.toml cannot be", "Give"),
        ("cache_size = [1]", "cache_size in HOME/config/onefs/lab.toml is", "cache_size ="),
        ("[cache]\nsize = 1", "cache in HOME/config/onefs/lab.toml is", "="),
        ("mode = auto", "HOME/config/onefs/lab.toml is not valid TOML", "line 4"),
        ('run_as = "nobody-of-that-name"', "'nobody-of-that-name'", "useradd --system"),
    ],
)
def test_a_wrong_line_in_the_file_is_one_sentence_with_a_remedy(unit: Unit, line: str, said: str, remedy: str) -> None:
    found = unit.says(line)
    assert said.replace("HOME", str(unit.home)) in found
    assert remedy in found


@pytest.mark.parametrize(
    ("key", "value", "said", "remedy"),
    [
        ("source", "", "lab.toml does not say what to mount", "source ="),
        ("source", "HOME/nothing", "HOME/nothing", "Give"),
        ("source", "HOME/empty", "HOME/empty", "sessions.pqt"),
        ("mountpoint", "", "lab.toml does not say where lab is mounted", "mountpoint ="),
        ("mountpoint", "HOME/file", "HOME/file is not a directory", ""),
        ("mountpoint", "HOME/file/below", "HOME/file/below is not a directory", "Choose an empty directory"),
        ("mountpoint", "HOME/tables", "HOME/tables is not empty", ""),
        ("cache_dir", "HOME/file", "HOME/file", "--cache-dir"),
        ("cache_dir", "HOME/file/cache", "HOME/file/cache", "--cache-dir"),
    ],
)
def test_a_missing_source_or_place_is_one_sentence(unit: Unit, key: str, value: str, said: str, remedy: str) -> None:
    (unit.home / "file").touch()
    (unit.home / "empty").mkdir()
    found = unit.says('data_url = "http://127.0.0.1:9"', **{key: value.replace("HOME", str(unit.home))})
    assert said.replace("HOME", str(unit.home)) in found
    assert remedy in found


@pytest.mark.parametrize("mode", [0o644, 0o604])
def test_a_password_file_that_every_user_may_read_is_refused(unit: Unit, mode: int) -> None:
    secret = unit.home / "password"
    secret.write_text("w0rd\n")
    secret.chmod(mode)
    found = unit.says('data_url = "http://127.0.0.1:9"', 'data_user = "me"', f'data_password_file = "{secret}"')
    assert f"{secret} is open to every user. Run: chmod 600 {secret}" in found
    assert "w0rd" not in found


def on_a_machine(change: str, lab: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    """Try to mount as an ordinary user, where copies of the machine's files were changed."""
    unit = Unit(lab)
    (lab / "mine").mkdir()
    for folder in (unit.mountpoint, lab / "mine"):
        shutil.chown(folder, MEMBERS[0])
    words = ["mount", unit.home / "tables", unit.mountpoint, "--cache-dir", lab / "mine", *flags]
    mount = shlex.join(as_member(MEMBERS[0], *ONEFS, *words))
    script = f"""
        set -e
        cp -a /etc {lab}/etc && mount --bind {lab}/etc /etc
        cp -a {FUSERMOUNT} {lab}/fusermount3 && mount --bind {lab}/fusermount3 {FUSERMOUNT}
        {change}
        {mount}
    """
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(lab / "mine"), "XDG_CONFIG_HOME": str(lab / "config")},
        check=False,
    )


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("change", "flags", "said"),
    [
        (f"chmod u-s {FUSERMOUNT}", (), "fusermount3: mount failed: Operation not permitted"),
        ("rm /etc/mtab", (), "/etc/mtab is missing"),
        ("echo > /etc/fuse.conf", ("--allow-other", "on"), "user_allow_other"),
    ],
)
def test_a_machine_that_cannot_mount_is_one_sentence(change: str, flags: tuple[str, ...], said: str) -> None:
    with lab_folder() as lab:
        done = on_a_machine(change, lab, *flags)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("onefs: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr
