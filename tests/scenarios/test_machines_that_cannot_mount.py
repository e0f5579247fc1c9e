"""What a user is told on a machine that lacks what mounting needs: one sentence with its remedy."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import make_tables
from lab_members import kernel_for_all
from system_mounts import USER, onefs_of, surroundings, system_folder

pytestmark = pytest.mark.needs_root


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder of an ordinary user, with tables."""
    with system_folder() as home, kernel_for_all(home):
        make_tables(home / "tables", {"alf/a.times.npy": b"x"})
        (home / "mnt").mkdir()
        subprocess.run(["chown", USER.pw_name, home / "mnt", home], check=True)
        yield home


def as_user_where(
    home: Path, change: str, words: str, first: str = "", rights: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run onefs as the user, on this machine after a change to it that only this command sees."""
    who = f"setpriv --reuid {USER.pw_uid} --regid {USER.pw_gid} --clear-groups {rights}"
    onefs = f"{who} {' '.join(onefs_of(home))}"
    script = f"cd {home}; {first.format(onefs=onefs)} {change} && {onefs} {words}; code=$?; umount -l mnt; exit $code"
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        env=surroundings(home),
        capture_output=True,
        text=True,
        check=False,
    )


COPY = "cp /usr/bin/fusermount3 {0}/copy && chmod 0755 {0}/copy && mount --bind {0}/copy $(command -v fusermount3)"
MOUNT = "mount tables mnt --cache-dir cache"


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (COPY, MOUNT, "As root, run: chmod u+s /"),
        ("echo >{0}/fuse.conf && mount --bind {0}/fuse.conf /etc/fuse.conf", f"{MOUNT} --allow-other on", "user_allow"),
        ("chmod 0600 {0}/mnt && chown root {0}/mnt", MOUNT, "Choose"),
        ("install -d -m 0755 {0}/roots", "mount tables mnt --cache-dir roots", "as root, run: chown -R"),
        ("install -d -m 0700 {0}/closed", "mount tables mnt --cache-dir closed", "as root, run: chown -R"),
    ],
    ids=["fusermount3 without setuid", "no user_allow_other", "mountpoint of root", "cache of root", "cache closed"],
)
def test_what_the_machine_lacks_is_one_sentence(home: Path, change: str, words: str, said: str) -> None:
    done = as_user_where(home, change.format(home), words)
    subprocess.run(["chown", USER.pw_name, home / "mnt"], check=True)
    subprocess.run(["chmod", "0755", home / "mnt"], check=True)
    told = [line for line in done.stderr.splitlines() if not line.startswith("umount: ")]
    assert done.returncode == 1
    assert len(told) == 1
    assert said in told[0]
    assert told[0].startswith("onefs: ")


def test_no_new_privileges_is_one_sentence(home: Path) -> None:
    done = as_user_where(home, "true", MOUNT, rights="--no-new-privs")
    told = [line for line in done.stderr.splitlines() if not line.startswith("umount: ")]
    assert done.returncode == 1
    assert len(told) == 1
    assert "Run it without NoNewPrivileges" in told[0]


NO_MTAB = (
    "mount -t tmpfs none {0}/mnt2 && mkdir {0}/mnt2/up {0}/mnt2/work && "
    "mount -t overlay -o lowerdir=/etc,upperdir={0}/mnt2/up,workdir={0}/mnt2/work none /etc && rm -f /etc/mtab"
)


def test_without_etc_mtab_umount_says_why_it_fails(home: Path) -> None:
    (home / "mnt2").mkdir()
    done = as_user_where(home, NO_MTAB.format(home), "umount mnt", first="{onefs} " + MOUNT + ";")
    told = [line for line in done.stderr.splitlines() if not line.startswith("umount: ")]
    assert done.returncode == 1
    assert told == [
        f"onefs: {home}/mnt cannot be unmounted: failed to open /etc/mtab: No such file or directory. "
        "As root, run: ln -s ../proc/self/mounts /etc/mtab"
    ]
