"""Mounts by users who may not mount: in a namespace of their own, and on connections that somebody else mounted."""

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables
from lab_members import kernel_for_all
from system_mounts import OTHER, USER, as_user, onefs_of, run_root, surroundings, system_folder
from waiting import wait_until

pytestmark = pytest.mark.needs_root

FILE = f"{MADE_SESSION}/alf/a.times.npy"
BYTES = b"some bytes"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Tables with the file in them, and a mountpoint of the daemon's user."""
    with system_folder() as home, kernel_for_all(home):
        make_tables(home / "tables", {"alf/a.times.npy": BYTES})
        (home / "tables" / FILE).parent.mkdir(parents=True)
        (home / "tables" / FILE).write_bytes(BYTES)
        (home / "mnt").mkdir()
        os.chown(home / "mnt", USER.pw_uid, USER.pw_gid)
        yield home


def in_user_namespace(home: Path, flags: str, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in the folder as the user, who is root in namespaces of his own."""
    return subprocess.run(
        ["unshare", flags, *(["--mount-proc"] if "p" in flags else []), "sh", "-c", f"set -e; {script}"],
        cwd=home,
        env=surroundings(home),
        user=USER.pw_uid,
        group=USER.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_user_mounts_in_a_namespace_of_their_own(home: Path) -> None:
    onefs = " ".join(onefs_of(home))
    done = in_user_namespace(
        home,
        "-rm",
        f"{onefs} mount tables mnt --cache-dir cache; cat mnt/{FILE}; {onefs} status mnt >/dev/null;"
        f"{onefs} umount mnt; ls mnt",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{BYTES.decode()}{home}/mnt is unmounted.\n"


def test_a_mount_in_a_pid_namespace_ends_with_the_shell(home: Path) -> None:
    onefs = " ".join(onefs_of(home))
    words = f"mount {home}/tables mnt --cache-dir cache"
    done = in_user_namespace(home, "-rmpf", f"{onefs} {words}; cat mnt/{FILE}")
    assert (done.returncode, done.stdout, done.stderr) == (0, BYTES.decode(), "")
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert words not in running


def mounted_connection(mountpoint: Path, user: int) -> int:
    """An open /dev/fuse that is mounted, for a program that is started."""
    connection = os.open("/dev/fuse", os.O_RDWR)
    os.set_inheritable(connection, True)
    options = f"fd={connection},rootmode=40000,user_id={user},group_id={user},allow_other"
    assert not ctypes.CDLL(None).mount(b"given", bytes(mountpoint), b"fuse.onefs", 0, options.encode())
    return connection


@pytest.mark.parametrize("said", [True, False], ids=["said where", "not said"])
def test_a_given_connection_is_served(home: Path, said: bool) -> None:
    mountpoint = home / "mnt"
    connection = mounted_connection(mountpoint, USER.pw_uid)
    flags = ["--mounted-at", str(mountpoint)] if said else []
    done = run_root(
        home,
        "mount", home / "tables", f"/dev/fd/{connection}", "--cache-dir", home / "cache", *flags,
        user=USER.pw_uid, group=USER.pw_gid, extra_groups=[], pass_fds=[connection],
    )  # fmt: skip
    os.close(connection)
    assert (done.returncode, done.stderr) == (0, "")
    assert (mountpoint / FILE).read_bytes() == BYTES
    status = json.loads((mountpoint / ".onefs" / "status.json").read_text())
    assert status["mountpoint"] == str(mountpoint)
    assert as_user(USER, "kill", str(status["pid"])).returncode == 0
    wait_until(lambda: not os.path.ismount(mountpoint), "it is unmounted")


def test_mount_fuse3_mounts_with_dropped_privileges(home: Path) -> None:
    (home / "bin").mkdir()
    program = home / "bin" / "onefs"
    program.write_text(f'#!/bin/sh\ncd /\nexec {" ".join(onefs_of(home))} "$@"\n')
    program.chmod(0o755)
    variables = surroundings(home)
    options = f"drop_privileges,setuid={USER.pw_name},allow_other,cache_dir={home}/cache,_netdev"
    done = subprocess.run(
        ["mount.fuse3", f"onefs#{home}/tables", home / "mnt", "-o", options],
        env={**variables, "PATH": f"{home}/bin:{variables['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    try:
        read = as_user(OTHER, "cat", home / "mnt" / FILE)
        assert read.stdout == BYTES.decode(), read.stderr
        status = json.loads((home / "mnt" / ".onefs" / "status.json").read_text())
        assert status["mountpoint"] == str(home / "mnt")
        kept = Path(f"/proc/{status['pid']}/status").read_text()
        assert f"Uid:\t{USER.pw_uid}\t" in kept
        assert "NoNewPrivs:\t1\n" in kept
    finally:
        subprocess.run(["umount", home / "mnt"], check=True)


@pytest.mark.parametrize("descriptor", [0, 900])
def test_a_descriptor_that_is_no_connection_is_refused(home: Path, descriptor: int) -> None:
    done = run_root(home, "mount", home / "tables", f"/dev/fd/{descriptor}", stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stderr == (
        f"onefs: /dev/fd/{descriptor} is no open /dev/fuse. Give the descriptor that was mounted with.\n"
    )
