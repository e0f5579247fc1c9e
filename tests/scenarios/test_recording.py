"""What programs in any language read from a mount is recorded, as ONE records it, and told apart by label."""

import csv
import errno
import mmap
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import RECORDINGS, WRONG_MD5, make_tables, sound_rows
from mounted import ONEFS, Mounted, is_alive, run_onefs
from one_of_tables import one_of
from privileges import remount
from waiting import wait_until

from onefs.recording.manifest import Entry, read_manifest

ROWS = {row.path: row for row in sound_rows()}
PATHS = list(ROWS)
EID = "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
C_PROGRAM = """
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char buffer[4096];
    for (int i = 1; i < argc; i++) {
        int file = open(argv[i], O_RDONLY);
        if (file < 0 || read(file, buffer, sizeof buffer) <= 0) return 3;
        close(file);
    }
    return 0;
}
"""


@pytest.fixture
def label(shared: Mounted, request: pytest.FixtureRequest) -> Iterator[str]:
    """A label of the test's own, which counts what this process and its children read."""
    name = request.node.name.removeprefix("test_")[:60]
    command(shared, f"record on --label {name} --pid {os.getpid()}")
    yield name
    command(shared, f"record off --label {name}")


def command(mount: Mounted, line: str) -> None:
    (mount.path / ".onefs/control").write_text(line + "\n")


def recorded_in(mount: Mounted, label: str = "") -> list[Entry]:
    return list(read_manifest(mount.path / ".onefs/recorded" / label / "manifest.jsonl").values())


def paths_in(mount: Mounted, label: str = "") -> list[str]:
    return [entry.path for entry in recorded_in(mount, label)]


def test_three_programs_that_read_at_the_same_time_are_told_apart(shared: Mounted, tmp_path: Path) -> None:
    common, *own = PATHS[:7]
    (tmp_path / "reads.c").write_text(C_PROGRAM)
    subprocess.run(["cc", "-o", tmp_path / "reads", tmp_path / "reads.c"], check=True)
    (tmp_path / "fit.py").write_text("import sys\nfor path in sys.argv[1:]:\n    open(path, 'rb').read()\n")
    (tmp_path / "fit.sh").write_text('for path; do head -c 10 "$path" >/dev/null; done\n')
    programs: dict[str, list[str | Path]] = {
        "in C": [tmp_path / "reads"],
        "in Python": [sys.executable, tmp_path / "fit.py"],
        "in a shell": ["sh", tmp_path / "fit.sh"],
    }
    read = {label: [common, *own[2 * number : 2 * number + 2]] for number, label in enumerate(programs)}
    running = [
        subprocess.Popen(
            [*ONEFS, "record", "run", "--label", label, "--mount", shared.path, "--", *program]
            + [shared.path / path for path in read[label]]
        )
        for label, program in programs.items()
    ]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    for label in programs:
        entries = recorded_in(shared, label)
        assert sorted(entry.path for entry in entries) == sorted(read[label])
        for entry in entries:
            row = ROWS[entry.path]
            assert (str(entry.id), entry.hash, entry.size) == (row.id, row.md5, row.size)
            assert (entry.label, entry.user, entry.source) == (label, "root", str(RECORDINGS / "tables"))
    told = {label: {entry.program for entry in recorded_in(shared, label)} for label in programs}
    python = Path(os.path.realpath(sys.executable)).name
    assert told["in C"] == {"reads"}
    assert told["in Python"] == {f"{python} {tmp_path / 'fit.py'}"}
    assert told["in a shell"] <= {"head", "coreutils"}
    assert set(paths_in(shared)) >= {path for paths in read.values() for path in paths}
    facts = {each["label"]: each for each in shared.status()["recording"]["recordings"]}
    assert not any(facts[label]["on"] for label in programs)


def test_what_the_kernel_still_has_counts_for_the_next_reader(shared: Mounted) -> None:
    path = shared.path / PATHS[7]
    before = path.read_bytes()
    command(shared, f"record on --label second --pid {os.getpid()}")
    assert paths_in(shared, "second") == []
    assert path.read_bytes() == before
    assert paths_in(shared, "second") == [PATHS[7]]
    command(shared, "record clear --label second")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:] == before
    assert paths_in(shared, "second") == [PATHS[7]]
    command(shared, "record off --label second")


def test_a_first_read_through_a_map_counts_and_looks_do_not(shared: Mounted, label: str) -> None:
    mapped_path, looked_at = PATHS[8:10]
    with (shared.path / mapped_path).open("rb") as file:
        assert paths_in(shared, label) == []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert len(mapped[:]) == ROWS[mapped_path].size
    path = shared.path / looked_at
    os.stat(path)
    os.listxattr(path)
    os.getxattr(path, "user.onefs.state")
    os.listdir(path.parent)
    os.close(os.open(path, os.O_RDONLY))
    assert paths_in(shared, label) == [mapped_path]


def test_what_could_not_be_read_does_not_count(shared: Mounted, label: str) -> None:
    with pytest.raises(OSError) as failure:
        (shared.path / WRONG_MD5).read_bytes()
    assert failure.value.errno == errno.EIO
    assert paths_in(shared, label) == []


def test_a_link_by_identifier_counts_as_its_dataset(shared: Mounted, label: str) -> None:
    (shared.path / ".onefs/by-id" / ROWS[PATHS[10]].id).read_bytes()
    assert paths_in(shared, label) == [PATHS[10]]


@pytest.mark.filterwarnings("ignore")
def test_the_ids_are_those_that_one_saves(shared: Mounted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    one = one_of(shared.path)
    one.record_loaded = True
    command(shared, f"record on --label one --pid {os.getpid()}")
    one.load_dataset(EID, "_ibl_wheel.timestamps.npy", collection="alf")
    one.load_object(EID, "spikes", collection="alf/probe00/pykilosort")
    other = next(
        row for row in ROWS.values() if "KS014" not in row.path and "/alf/" in row.path and row.path.endswith(".npy")
    )
    session, _, name = other.path.partition("/alf/")
    one.load_dataset(one.path2eid(session), f"alf/{name}")
    one.load_object(EID, "spikes", collection="alf/probe00/pykilosort")
    one._tables_dir = tmp_path / "saved by one"
    one._tables_dir.mkdir()
    check_saved(shared, one, tmp_path / "datasets", sessions=False)
    assert len(recorded_in(shared, "one")) > 2
    check_saved(shared, one, tmp_path / "sessions", sessions=True)
    assert recorded_in(shared, "one") == []
    command(shared, "record off --label one")


def check_saved(mount: Mounted, one: Any, folder: Path, *, sessions: bool) -> None:
    """What is recorded under the label is what ONE saves; the datasets are kept for the next time."""
    _, theirs = one.save_loaded_ids(sessions_only=sessions, clear_list=sessions)
    live = mount.path / ".onefs/recorded/one" / ("sessions.csv" if sessions else "datasets.csv")
    assert live.read_bytes() == theirs.read_bytes()
    word = "--sessions" if sessions else "--keep"
    done = run_onefs("record", "save", word, "--label", "one", "--to", folder, "--mount", mount.path)
    assert done.returncode == 0, done.stderr
    ours, manifest = map(Path, done.stdout.splitlines())
    assert ours.read_bytes() == theirs.read_bytes()
    moment, _, kind = theirs.name.partition("_")
    assert ours.name.endswith(f"_one_{kind}")
    assert len(ours.name.partition("_")[0]) == len(moment)
    assert [manifest] == list(folder.glob("*_one_manifest.jsonl"))
    column = 1 if sessions else 0
    told = {(str(entry.id), str(entry.eid))[column] for entry in read_manifest(manifest).values()}
    assert told == {row[0] for row in csv.reader(ours.open())} - {"dataset_uuid", "session_uuid"}
    assert len(list(folder.iterdir())) == 2


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """An archive on this machine whose tables know no hashes. Recording is on from the start."""
    home = tmp_path_factory.mktemp("plain")
    files = {f"alf/{name}.x.npy": name.encode() for name in "abcdef"}
    for name, dataset in make_tables(home / "archive", files, md5="").items():
        file = home / "archive" / dataset.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(files[name])
    with Mounted(home / "archive", home, "--record", "on") as mount:
        yield mount


def alf(mount: Mounted) -> Path:
    return mount.path / "lab/Subjects/mouse/2024-01-02/001/alf"


def test_what_was_recorded_outlives_a_daemon_that_is_killed(plain: Mounted) -> None:
    (alf(plain) / "a.x.npy").read_bytes()
    (alf(plain) / "b.x.npy").read_bytes()
    [first, second] = recorded_in(plain)
    assert (first.hash, first.size) == ("0cc175b9c0f1b6a831c399e269772661", 1)  # nobody but the cache knows it
    wait_until(lambda: any(second.line() in file.read_text() for file in kept(plain)), "it is on the disk")
    plain.kill()
    run_onefs("umount", plain.path)
    plain.start()
    assert recorded_in(plain) == [first, second]
    (alf(plain) / "a.x.npy").read_bytes()
    assert recorded_in(plain) == [first, second]
    command(plain, "record clear")
    wait_until(lambda: not kept(plain), "what is cleared leaves the disk")


def kept(mount: Mounted) -> list[Path]:
    return list((mount.cache / ".onefs/recorded").glob("*.jsonl"))


def test_a_save_without_a_place_goes_to_the_tables_and_a_second_one_over_no_other(plain: Mounted) -> None:
    archive = Path(plain.source)
    (alf(plain) / "c.x.npy").read_bytes()
    first, second = (run_onefs("record", "save", "--keep", "--mount", plain.path) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    files = [Path(each.stdout.splitlines()[0]) for each in (first, second)]
    assert files[0] != files[1]
    assert {file.parent for file in files} == {archive}
    assert files[0].read_bytes() == files[1].read_bytes() == (plain.path / ".onefs/recorded/datasets.csv").read_bytes()
    command(plain, "record clear")
    nothing = run_onefs("record", "save", "--mount", plain.path)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "nothing was recorded" in nothing.stderr
    assert len(list(archive.glob("*_loaded_dataset_uuids.csv"))) == 2


def test_the_labels_are_in_the_names_of_files(plain: Mounted, tmp_path: Path) -> None:
    for label, name in (("fig2", "e"), ("fig3", "f")):
        command(plain, f"record on --label {label}")
        (alf(plain) / f"{name}.x.npy").read_bytes()
        command(plain, f"record off --label {label}")
    done = run_onefs("record", "save", "--to", tmp_path / "saved", "--mount", plain.path)
    ids, manifest = map(Path, done.stdout.splitlines())
    assert ids.name.endswith("_fig2+fig3_loaded_dataset_uuids.csv")
    assert manifest.name.endswith("_fig2+fig3_manifest.jsonl")
    assert {entry.path.rpartition("/")[2] for entry in read_manifest(manifest).values()} >= {"e.x.npy", "f.x.npy"}


@pytest.mark.needs_mount
def test_a_full_or_locked_disk_leaves_all_as_it_was(plain: Mounted, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        (alf(plain) / "d.x.npy").read_bytes()
        command(plain, f"record save keep --to {disk}")
        before = {file.name: file.read_bytes() for file in disk.iterdir()}
        (disk / "fill").write_bytes(bytes((os.statvfs(disk).f_bavail - 1) * 4096))
        with pytest.raises(OSError) as full:
            command(plain, f"record save --to {disk}")
        assert full.value.errno == errno.ENOSPC
        (disk / "fill").unlink()
        remount(disk, "ro")
        locked = run_onefs("record", "save", "--to", disk, "--mount", plain.path)
        assert locked.returncode == 1
        assert "Read-only file system" in locked.stderr
        assert "onefs record save --to DIR" in locked.stderr
        assert {file.name: file.read_bytes() for file in disk.iterdir()} == before
        assert len(paths_in(plain)) == 1
    finally:
        subprocess.run(["umount", disk], check=True)
        command(plain, "record clear")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("record on --label a/b", "cannot be a label: a slash"),
        ("record on --label ..", "cannot be a label: it begins with a dot"),
        ("record on --label .hid", "cannot be a label: it begins with a dot"),
        ("record on --label -x", "cannot be a label: it begins with a dot, a dash"),
        ("record on --label ''", "cannot be a label: it is empty"),
        ("record on --label datasets.csv", "cannot be a label: .onefs/recorded has a file of that name"),
        (f"record on --label {'x' * 65}", "cannot be a label: it is longer than 64"),
        ("record on --label", "needs a value"),
        ("record on --label a --label b", "is not understood"),
        ("record on --pid 1", "need a label"),
        ("record on --label a --pid 0", "no number of a process"),
        ("record on --label a --pid one", "no number of a process"),
        ("record on --label a --pid 999999999", "There is no process"),
        ("record off --label nobody", "Nothing was recorded under the label"),
        ("record save --label nobody", "Nothing was recorded under the label"),
        ("record clear --label ''", "cannot be a label"),
        ("record save everything", "is not understood"),
        ("record save --to here", "is no whole path"),
        ("record save --to MOUNT/lab", "lies in the mount itself"),
        ("record", "too few"),
        ("record all", "is nothing that record does"),
    ],
)
def test_what_cannot_be_meant_is_said(line: str, words: str, plain: Mounted) -> None:
    before = sorted(os.listdir(plain.path / ".onefs/recorded"))
    with pytest.raises(OSError) as failure:
        command(plain, line.replace("MOUNT", str(plain.path)))
    assert failure.value.errno == errno.EINVAL
    assert words in plain.errors()
    assert sorted(os.listdir(plain.path / ".onefs/recorded")) == before


def test_it_runs_a_program_and_gives_its_exit_code(plain: Mounted) -> None:
    run = ("record", "run", "--label", "code", "--mount", plain.path, "--")
    assert run_onefs(*run, "sh", "-c", "exit 7").returncode == 7
    assert run_onefs(*run, "sh", "-c", "kill -TERM $$").returncode == 143
    missing, folder = run_onefs(*run, "no-such-program"), run_onefs(*run, "/")
    assert (missing.returncode, folder.returncode) == (127, 126)
    assert "no-such-program cannot be run" in missing.stderr
    assert "code\toff" in run_onefs("record", "status", "--mount", plain.path).stdout


def test_a_program_that_unmounts_what_it_reads_gives_its_exit_code_too(tmp_path: Path) -> None:
    make_tables(tmp_path / "archive", {})
    with Mounted(tmp_path / "archive", tmp_path) as mount:
        gone = ["sh", "-c", f"{shlex.join(ONEFS)} umount {mount.path} >{tmp_path}/said; exit 5"]
        done = run_onefs("record", "run", "--label", "gone", "--mount", mount.path, "--", *gone)
        assert (done.returncode, done.stdout) == (5, "")
        [line] = done.stderr.splitlines()
        assert line.startswith(f"onefs: {mount.path} was unmounted meanwhile")
        mount.start()


def test_a_label_that_is_off_and_cleared_is_listed_no_more(plain: Mounted) -> None:
    folder = plain.path / ".onefs/recorded"
    command(plain, f"record on --label brief --pid {os.getpid()}")
    (alf(plain) / "a.x.npy").read_bytes()
    command(plain, "record clear --label brief")
    assert "brief" in os.listdir(folder), "it is on"
    (alf(plain) / "a.x.npy").read_bytes()
    command(plain, "record off --label brief")
    assert "brief" in os.listdir(folder), "it has something"
    command(plain, "record clear --label brief")
    assert "brief" not in os.listdir(folder)
    assert "brief" not in run_onefs("record", "status", "--mount", plain.path).stdout
    command(plain, f"record on --label brief --pid {os.getpid()}")
    assert paths_in(plain, "brief") == []
    (alf(plain) / "a.x.npy").read_bytes()
    assert len(paths_in(plain, "brief")) == 1
    command(plain, "record off --label brief")
    command(plain, "record clear")


def test_an_orphan_counts_as_long_as_the_program_runs(plain: Mounted, tmp_path: Path) -> None:
    """It left its parent, its group and its session, as daemons do."""
    script = tmp_path / "orphan.sh"
    script.write_text('mkfifo "$2"\n(setsid sh -c \'cat "$1" >"$2"\' sh "$1" "$2" &)\ncat "$2"\n')
    done = run_onefs(
        *("record", "run", "--label", "orphan", "--mount", plain.path, "--"),
        *("sh", script, alf(plain) / "e.x.npy", tmp_path / "fifo"),
    )
    assert (done.returncode, done.stdout) == (0, "e")
    assert [path[-7:] for path in paths_in(plain, "orphan")] == ["e.x.npy"]
    (alf(plain) / "f.x.npy").read_bytes()
    assert len(paths_in(plain, "orphan")) == 1


def test_a_runner_that_is_killed_leaves_nothing_on(plain: Mounted, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    words = ["sh", "-c", f'echo $$; read go <{fifo}; cat "{alf(plain)}/f.x.npy"']
    runner = subprocess.Popen(
        [*ONEFS, "record", "run", "--label", "killed", "--mount", plain.path, "--", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None
    program = int(runner.stdout.readline())
    facts = {each["label"]: each for each in plain.status()["recording"]["recordings"]}
    assert facts["killed"]["pids"] == [runner.pid]
    runner.kill()
    runner.wait()
    fifo.write_text("go\n")
    assert runner.stdout.read() == "f"
    wait_until(lambda: not is_alive(program), "the program ends")
    assert paths_in(plain, "killed") == []
    facts = {each["label"]: each for each in plain.status()["recording"]["recordings"]}
    assert not facts["killed"]["on"]
    runner.stdout.close()
