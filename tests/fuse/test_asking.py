"""A real mount over a database that answers late, fails, or tells something new."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from asking import a_dataset, a_session, tables_of
from waiting import PATIENCE_S, wait_until

DATA = b"spikes" * 100
SESSION, TOLD = a_session(), a_session("told_lab")
HERE, THERE = a_dataset(SESSION, "alf/a.times.npy", DATA), a_dataset(TOLD, "alf/b.times.npy", DATA)
NEWER = a_session(day="2024-03-04")


class Asking:
    """The mount, and what its database tells."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "mnt"
        self.remote, self.local = self.root / ".onefs/via/remote", self.root / ".onefs/via/local"
        self.root.mkdir()
        (home / "bytes").write_bytes(DATA)
        tables_of(home / "tables", [SESSION], [HERE])
        tables_of(home / "told", [SESSION, TOLD], [HERE, THERE])
        program = Path(__file__).with_name("asking_mount.py")
        path = os.pathsep.join([str(program.parent.parent), *sys.path])
        command = [sys.executable, program, home, self.root]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def asked(self) -> list[str]:
        """The questions so far."""
        return (self.home / "asked").read_text().splitlines() if (self.home / "asked").exists() else []

    def errors(self) -> list[list[str]]:
        """The failures that are told of, by their fields."""
        return [line.split("\t") for line in (self.root / ".onefs/errors").read_text().splitlines()]

    def end(self) -> None:
        """Unmount, which a question that is waited for does not hold up."""
        subprocess.run(["fusermount3", "-u", "-z", self.root], check=True)
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.process.communicate()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Asking]:
    mount = Asking(tmp_path)
    try:
        yield mount
    finally:
        mount.end()


def fails(act: object, *arguments: object) -> int | None:
    with pytest.raises(OSError) as failure:
        act(*arguments)  # type: ignore[operator]
    return failure.value.errno


def test_what_only_the_database_knows_is_listed_and_read(mount: Asking) -> None:
    assert os.listdir(mount.remote) == ["lab", "told_lab"]
    assert (mount.remote / THERE.path).read_bytes() == DATA
    assert os.getxattr(mount.remote / TOLD.path, "user.onefs.datasets") == b"1"
    assert (mount.remote / HERE.path).stat().st_ino == (mount.root / HERE.path).stat().st_ino
    assert (mount.remote / SESSION.path).stat().st_ino != (mount.root / SESSION.path).stat().st_ino


def test_the_tables_are_listed_without_asking(mount: Asking) -> None:
    for view in (mount.root, mount.local):
        subprocess.run(["ls", "-lR", view], check=True, stdout=subprocess.DEVNULL)
        assert (view / HERE.path).read_bytes() == DATA
        assert not (view / TOLD.path).exists()
    assert mount.asked() == []


def test_what_is_learned_comes_to_exist_where_it_was_absent(mount: Asking) -> None:
    for view in (mount.root, mount.local):
        assert not (view / TOLD.path).exists()
        assert not (view / SESSION.path / "new").exists()
    tables_of(mount.home / "told", [SESSION, TOLD], [HERE, THERE, a_dataset(SESSION, "new/c.times.npy", DATA)])
    subprocess.run(["ls", "-R", mount.remote], check=True, stdout=subprocess.DEVNULL)
    for view in (mount.root, mount.local):
        wait_until((view / THERE.path).exists, "the kernel is told of the session")
        wait_until((view / SESSION.path / "new/c.times.npy").exists, "the kernel is told of the dataset")


def test_a_name_that_is_absent_is_asked_for_each_time(mount: Asking) -> None:
    new = mount.remote / NEWER.path
    assert not new.exists()
    tables_of(mount.home / "told", [SESSION, NEWER], [HERE])
    assert new.exists()


def test_who_stands_in_a_folder_stays_there_when_more_is_told(mount: Asking) -> None:
    tables_of(mount.home / "told", [SESSION, NEWER], [HERE])
    subject = (mount.remote / SESSION.path).parent.parent
    assert not (mount.local / NEWER.path).exists()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["sh"], cwd=subject, text=True, **pipes) as shell:  # type: ignore[call-overload]
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write("ls\n")
        shell.stdin.flush()
        assert [shell.stdout.readline() for _ in range(2)] == ["2024-01-02\n", "2024-03-04\n"]
        wait_until((mount.local / NEWER.path).exists, "the kernel is told")
        told = shell.communicate("/bin/pwd -P\n", PATIENCE_S)[0]
    assert told == f"{subject}\n"
    assert subject.stat().st_mtime == (subject / "2024-03-04").stat().st_mtime


def test_a_directory_that_is_gone_is_stale_for_who_has_it_open(mount: Asking) -> None:
    directory = os.open((mount.remote / THERE.path).parent, os.O_RDONLY)
    tables_of(mount.home / "told", [SESSION], [HERE])
    assert os.listdir(mount.remote) == ["lab"]
    assert fails(os.listdir, directory) == errno.ESTALE
    os.close(directory)
    assert not (mount.remote / TOLD.path).exists()


WAITING = {
    "readdir": ["ls", "told_lab/Subjects"],
    "lookup": ["stat", "told_lab/Subjects/nobody"],
    "path": ["cat", "lab/Subjects/nobody/2024-01-02/001/alf/a.npy"],
}


@pytest.mark.parametrize("kind", WAITING)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_waits_for_an_answer_can_be_interrupted(mount: Asking, kind: str, number: int) -> None:
    os.listdir(mount.remote / "told_lab")
    before = len(mount.asked())
    (mount.home / "held").touch()
    program = subprocess.Popen(WAITING[kind], cwd=mount.remote)
    wait_until(lambda: len(mount.asked()) > before, "it waits for the database")
    assert (mount.root / HERE.path).read_bytes() == DATA
    assert os.listdir(mount.local / SESSION.path) == ["alf"]
    assert program.poll() is None
    program.send_signal(number)
    assert program.wait(PATIENCE_S) == -number
    (mount.home / "held").unlink()
    assert os.listdir(mount.remote / "told_lab/Subjects") == ["mouse"]


def test_an_outage_fails_what_is_not_known_and_is_told_once(mount: Asking) -> None:
    os.listdir(mount.remote / "told_lab")
    (mount.home / "down").touch()
    for _ in range(3):
        assert fails(os.listdir, mount.remote / "told_lab/Subjects") == errno.EHOSTUNREACH
        assert fails(os.stat, mount.remote / "told_lab/Subjects/mouse") == errno.EHOSTUNREACH
    assert os.listdir(mount.remote / SESSION.path) == ["alf"]
    told = [(path, number) for _, number, path, *_ in mount.errors()]
    assert told == [(".onefs/via/remote/told_lab/Subjects", "EHOSTUNREACH")]
    assert mount.errors()[0][-1] == "×1"
    (mount.home / "down").unlink()
    assert os.listdir(mount.remote / "told_lab/Subjects") == ["mouse"]
    (mount.home / "down").touch()
    assert os.listdir(mount.remote / "told_lab/Subjects") == ["mouse"]


def test_a_check_before_a_listing_may_tell_the_kernel_of_that_listing(mount: Asking) -> None:
    listed = subprocess.run(
        ["ls", mount.root / ".onefs/via/refresh"], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert listed.stdout == "lab\n"
    assert mount.asked() == ["tables"]
    assert (mount.root / ".onefs/via/refresh" / HERE.path).exists()
    assert mount.asked() == ["tables"]


def test_links_lead_into_the_tree(mount: Asking) -> None:
    control = mount.root / ".onefs"
    pid = UUID(int=SESSION.eid.int + 1)
    for link in (f"by-eid/{SESSION.eid}", f"by-pid/{pid}", "by-ref/2024-01-02_1_mouse"):
        assert os.readlink(control / link) == f"../../{SESSION.path}"
        assert os.path.realpath(control / link) == str(mount.root / SESSION.path)
        assert os.listdir(control / link) == ["alf"]
        assert os.listdir((control / link).parent) == []
    assert (control / f"by-id/{HERE.id}").read_bytes() == DATA
    assert (control / f"by-id/{HERE.id}").lstat().st_size == len(f"../../{HERE.path}")
    for absent in (f"by-id/{THERE.id}", "by-id/x", f"by-pid/{UUID(int=1)}", f"by-eid/{HERE.id}"):
        assert fails(os.readlink, control / absent) == errno.ENOENT
    os.listdir(mount.remote / TOLD.path)
    assert (control / f"by-id/{THERE.id}").read_bytes() == DATA
    assert fails(os.symlink, "x", control / "by-id/x") == errno.EROFS


def test_a_link_moves_with_its_session(mount: Asking) -> None:
    link = mount.root / f".onefs/by-eid/{SESSION.eid}"
    assert os.path.realpath(link) == str(mount.root / SESSION.path)
    moved = replace(SESSION, number=2)
    tables_of(mount.home / "told", [moved], [replace(HERE, session_path=moved.path)])
    os.listdir((mount.remote / SESSION.path).parent.parent)
    wait_until(lambda: os.path.realpath(link) == str(mount.root / moved.path), "the link leads elsewhere")
    assert (link / "alf/a.times.npy").read_bytes() == DATA


def test_a_probe_cannot_be_found_during_an_outage(mount: Asking) -> None:
    (mount.home / "down").touch()
    probe = mount.root / f".onefs/by-pid/{UUID(int=SESSION.eid.int + 1)}"
    assert fails(os.readlink, probe) == errno.EHOSTUNREACH
    assert mount.errors()[0][2] == ".onefs/by-pid"
    (mount.home / "down").unlink()
    assert os.listdir(probe) == ["alf"]
