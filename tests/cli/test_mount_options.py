"""Mounting by mount(8) and /etc/fstab: mount options, exit codes, and what is refused."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables
from mounted import run_onefs
from system_mounts import OTHER, onefs_of, surroundings, system_folder

from onefs.cli.mount_options import USAGE, run, settings_of, split
from onefs.errors import OnefsError, UsageError
from onefs.settings import table
from onefs.sources.names import look_up

FILES = {"alf/a.times.npy": b"some bytes"}
FILE = f"{MADE_SESSION}/alf/a.times.npy"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("", []),
        ("a,b=c", ["a", "b=c"]),
        (r"a=1\,2,b", ["a=1,2", "b"]),
        ('a="1,2",b', ["a=1,2", "b"]),
        (r"a=back\slash,b", [r"a=back\slash", "b"]),
        (",,a,,", ["a"]),
    ],
)
def test_options_are_split_at_commas(options: str, parts: list[str]) -> None:
    assert split(options) == parts


def test_every_setting_but_secrets_is_an_option_in_both_spellings() -> None:
    for entry in table():
        for key in {entry.key, entry.key.replace("_", "-")}:
            if entry.secret:
                with pytest.raises(UsageError, match="could be read by every user"):
                    settings_of(f"{key}=x")
            else:
                assert settings_of(f"rw,{key}=x,nofail") == {entry.key: "x"}


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ("allow_other", {"allow_other": "on"}),
        ("allow-other=off", {"allow_other": "off"}),
        (r"cache_dir=/a\,b", {"cache_dir": "/a,b"}),
        ("defaults,noauto,user,nofail,_netdev,x-systemd.automount,comment=mine,X-mount.mkdir,rw,ro,noexec,nosuid", {}),
        ("user=anne,helper=onefs", {}),
    ],
)
def test_mount_options_become_settings(options: str, given: dict[str, str]) -> None:
    assert settings_of(options) == given


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("cache_dri=/x", "Did you mean cache_dir?"),
        ("cache_dir", "Write cache_dir=VALUE."),
        ("alyx_password=secret", "give alyx_password_file=FILE"),
        ("alyx_token=secret", "/etc/onefs/NAME.toml"),
        ("remount,qc=FAIL", "cannot be remounted"),
        ('cache_dir="/x', "not closed"),
    ],
)
def test_wrong_options_are_refused_with_a_remedy(options: str, words: str) -> None:
    with pytest.raises(UsageError) as refusal:
        settings_of(options)
    assert words in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_what_is_not_known_is_ignored_if_asked_for() -> None:
    assert settings_of("nonsense=1,qc=FAIL", is_sloppy=True) == {"qc": "FAIL"}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Tables with the file in them, a mountpoint, and the program that mount(8) looks for."""
    with system_folder() as home:
        make_tables(home / "tables", FILES)
        (home / "tables" / FILE).parent.mkdir(parents=True)
        (home / "tables" / FILE).write_bytes(FILES["alf/a.times.npy"])
        (home / "mnt").mkdir()
        (home / "sbin").mkdir()
        program = home / "sbin" / "mount.onefs"
        python = " ".join(onefs_of(home)).removesuffix(" onefs")
        variables = " ".join(f"{name}={surroundings(home)[name]}" for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "HOME"))
        program.write_text(f'#!/bin/sh\ncd /\nexec env {variables} {python} onefs.cli.mount_options "$@"\n')
        program.chmod(0o755)
        yield home


def in_namespace(home: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script where /sbin has the program too, and /etc/fstab is a file of the test."""
    (home / "fstab").touch()
    prepare = (
        "set -e; sbin=$(readlink -f /sbin); "
        f"mkdir -p {home}/over; mount -t tmpfs none {home}/over; mkdir {home}/over/upper {home}/over/work; "
        f"mount -t overlay -o lowerdir=$sbin,upperdir={home}/over/upper,workdir={home}/over/work none $sbin; "
        f"cp {home}/sbin/mount.onefs $sbin/; mount --bind {home}/fstab /etc/fstab; set +e; cd {home}; "
    )
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", prepare + script],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.needs_root
def test_mount_8_mounts_and_umount_8_unmounts(home: Path) -> None:
    done = in_namespace(
        home,
        f"mount -v -t onefs {home}/tables mnt -o 'cache-dir=\"{home}/a,b\",noatime' || exit 1;"
        f"cat mnt/{FILE}; pid=$(sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' mnt/.onefs/status.json);"
        "umount mnt || exit 2; while kill -0 $pid 2>/dev/null; do :; done; ls mnt",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{home}/tables is mounted at {home}/mnt.\nsome bytes"
    assert (home / "a,b" / ".onefs").is_dir()


@pytest.mark.needs_root
def test_a_line_of_fstab_mounts(home: Path) -> None:
    options = f"allow_other,cache_dir={home}/c,_netdev,nofail,x-systemd.automount,noexec"
    (home / "fstab").write_text(f"{home}/tables {home}/mnt onefs {options} 0 0\n")
    done = in_namespace(
        home,
        f"mount -a || exit 1; setpriv --reuid {OTHER.pw_uid} --clear-groups cat mnt/{FILE} || exit 2;"
        "mount -a || exit 3; mount -a -v; grep -c onefs /proc/self/mountinfo; umount mnt",
    )
    assert done.returncode == 0, done.stderr
    assert "already mounted" in done.stdout
    assert done.stdout.startswith("some bytes")


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("{home}/tables mnt -o nonsense", 1, "nonsense is no mount option of onefs"),
        ("-s {home}/nothing mnt -o nonsense", 32, "is no folder on this machine"),
        ("{home}/tables mnt -o alyx_password=pw", 1, "alyx_password_file=FILE"),
        ("{home}/tables {home}/fstab", 32, "is not a directory"),
        ("-f {home}/tables mnt -o qc=nonsense", 1, "Give one of"),
    ],
)
def test_exit_codes_are_those_of_mount(home: Path, words: str, code: int, said: str) -> None:
    done = in_namespace(home, f"mount -t onefs {words.format(home=home)}")
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.startswith("onefs: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.needs_root
def test_faking_mounts_nothing(home: Path) -> None:
    done = in_namespace(home, f"mount -f -t onefs {home}/tables mnt && grep fuse.onefs /proc/self/mountinfo")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (UsageError("It cannot be meant."), 1, "onefs: It cannot be meant."),
        (OnefsError("It failed.", "Try again."), 32, "onefs: It failed. Try again."),
        (ZeroDivisionError("by zero"), 2, "onefs: Unforeseen failure: ZeroDivisionError('by zero')"),
        (KeyboardInterrupt(), 8, ""),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(
    failure: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(source: str) -> None:
        raise failure

    monkeypatch.setattr("onefs.sources.names.look_up", fails)
    assert run(["lab", "mnt"]) == code
    assert capsys.readouterr().err.startswith(words)


def test_a_flag_that_is_not_known_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lab", "mnt", "-x"]) == 1
    assert capsys.readouterr().err == f"onefs: option -x not recognized. {USAGE}\n"


def test_help_has_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-h"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == USAGE


def test_a_name_counts_before_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config" / "onefs" / "mylab.toml"
    file.parent.mkdir(parents=True)
    file.write_text('source = "https://alyx.example.org"\n')
    (tmp_path / "mylab").mkdir()
    (tmp_path / "plain").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    assert look_up("mylab").source == "https://alyx.example.org"
    assert [look_up(source).file for source in ("./mylab", "plain", str(tmp_path / "mylab"))] == [None] * 3
    file.rename(file.with_name("kept"))
    file.mkdir()
    with pytest.raises(UsageError, match=r"mylab\.toml cannot be read: is a directory"):
        look_up("mylab")


def test_a_name_is_mounted_where_its_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tables(tmp_path / "tables", FILES)
    file = tmp_path / "config" / "onefs" / "ibl.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'source = "{tmp_path}/tables"\ncache_dir = "{tmp_path}/cache"\nmountpoint = "{tmp_path}/mnt"\n')
    places = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = run_onefs("mount", "ibl", **places)
    assert done.returncode == 0, done.stderr
    assert "lab" in os.listdir(tmp_path / "mnt")
    done = run_onefs("umount", "ibl", **places)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/mnt is unmounted.\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", places["XDG_CONFIG_HOME"])
    assert look_up("ibl").mountpoint == tmp_path / "mnt"
    file.write_text(f'source = "{tmp_path}/tables"\n')
    done = run_onefs("mount", "ibl", **places)
    assert done.returncode == 2
    assert 'mountpoint = "/mnt/ibl"' in done.stderr
    file.unlink()
    done = run_onefs("mount", "ibl", **places)
    assert done.returncode == 2
    assert "No MOUNTPOINT is given, and there is no /etc/onefs/ibl.toml" in done.stderr
    assert done.stderr.count("\n") == 1
