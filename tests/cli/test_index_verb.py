"""`onefs index`: what it prints of what it indexed, skipped and could not read, its errors and its progress."""

import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from mounted import ONEFS
from one.alf import cache as reference

from onefs.cli import main
from onefs.digests import md5_of_file
from onefs.indexer.hash import ToHash, hash_files
from onefs.mountinfo import FILE_SYSTEM_TYPE, MountedDisk
from onefs.workers import LocalWorkers, Tasks

SESSION = "lab/Subjects/mouse/2024-01-02/001"
FILES = ("alf/spikes.times.npy", "alf/#2024-02-03#/spikes.times.npy", "_ibl_trials.table.pqt")
ODD_NAME = "alf/no alf\nname\udcff"
TOO_LARGE_FOR_ONE = 33 << 20
"""Of so many bytes, hashing is begun in other processes."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one session of three files, and two names that are skipped."""
    root = tmp_path / "data"
    for file in (*FILES, ODD_NAME):
        (root / SESSION / file).parent.mkdir(parents=True, exist_ok=True)
        (root / SESSION / file).write_bytes(b"x" * 1000)
    (root / "elsewhere").symlink_to("..")
    return root


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `onefs index` in this process; its exit code, and what it prints."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = main.run(["index", *map(str, words)])
        return code, *capfd.readouterr()

    return run


def make_unreadable(session: Path) -> Path:
    """Make a folder in a session that nobody can read by its path, which is too long for the system."""
    name = "a" * 250
    folder = os.open(session, os.O_RDONLY)
    for _ in range(17):
        os.mkdir(name, dir_fd=folder)
        below = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    return session / name


def test_what_was_indexed_is_said_and_that_nothing_has_changed(root, run):
    skipped = "Skipped 2 names: a link to a folder (1), not an ALF file name (1). --skipped lists them.\n"
    what = "1 session with 3 files (3.0 kB)"
    assert run(root) == (0, f"Indexed {what}. The tables are in {root}.\n{skipped}", "")
    assert run(root, "--hash") == (
        0,
        f"Indexed {what}; hashed 3 files (3.0 kB). The tables are in {root}.\n{skipped}",
        "",
    )
    assert run(root, "--hash") == (
        0,
        f"Nothing has changed: {what}. The tables in {root} stay as they are.\n{skipped}",
        "",
    )
    assert set(pd.read_parquet(root / "datasets.pqt")["hash"]) == {md5_of_file(root / SESSION / FILES[0])}


def test_what_is_skipped_is_listed_at_each_run_with_its_reason(root, run):
    for _ in range(2):
        code, out, err = run(root, "--skipped")
        assert code == 0
        assert sorted(out.splitlines()) == [
            f"a link to a folder\t{root}/elsewhere",
            rf"not an ALF file name{chr(9)}{root}/{SESSION}/alf/no alf\nname\xff",
        ]
        assert "Skipped 2 names: a link to a folder (1), not an ALF file name (1).\n" in err


def test_json_has_all_of_it_in_one_document(root, run):
    code, out, err = run(root, "--hash", "--json", "--skipped")
    assert (code, err) == (0, "")
    told = json.loads(out)
    paths = {each["reason"]: os.fsencode(each["path"]) for each in told.pop("skipped_paths")}
    assert paths == {
        "a link to a folder": os.fsencode(root / "elsewhere"),
        "not an ALF file name": os.fsencode(f"{root}/{SESSION}/{ODD_NAME}"),
    }
    assert told == {
        "root": str(root),
        "tables": [str(root / "sessions.pqt"), str(root / "datasets.pqt")],
        "is_new": True,
        "sessions": 1,
        "files": 3,
        "bytes": 3000,
        "hashed_files": 3,
        "hashed_bytes": 3000,
        "misplaced_sessions": 0,
        "skipped": dict.fromkeys(paths, 1),
        "unreadable": 0,
        "unreadable_paths": [],
    }
    for odd in (root / "elsewhere", root / SESSION / ODD_NAME):
        odd.unlink()
    assert json.loads(run(root, "--json", "--skipped")[1])["skipped_paths"] == []
    assert json.loads(run(root, "--json")[1])["is_new"] is False


def test_what_cannot_be_read_is_named_and_the_rest_is_indexed(root, run):
    unreadable = make_unreadable(root / SESSION)
    code, out, err = run(root)
    assert code == 1
    assert out.startswith("Indexed 1 session with 3 files (3.0 kB).")
    first, last = err.splitlines()
    assert first.startswith(f"onefs: {unreadable}")
    assert first.endswith(" cannot be read: File name too long.")
    assert last.startswith("onefs: 1 file or folder could not be read. ")
    code, out, err = run(root, "--json")
    assert (code, err) == (1, "")
    (named,) = json.loads(out)["unreadable_paths"]
    assert named["why"] == "File name too long"


def test_tables_elsewhere_have_their_lab_and_leave_the_folder_as_it_is(tmp_path, run):
    file = tmp_path / "data/mouse/2024-01-02/001/spikes.times.npy"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    (tmp_path / "tables").mkdir()
    code, out, err = run(tmp_path / "data", "--out", tmp_path / "tables", "--lab", "mylab", "--workers", "1")
    assert (code, out) == (0, f"Indexed 1 session with 1 file (1 B). The tables are in {tmp_path}/tables.\n")
    assert err == (
        f"onefs: the files of 1 session will not be found below {tmp_path}/data by these tables: those in "
        f"{file.parent} are looked for in {tmp_path}/data/mylab/Subjects/mouse/2024-01-02/001. "
        "Index the folder above the labs, or move them there.\n"
    )
    assert os.listdir(tmp_path / "data") == ["mouse"]
    assert sorted(os.listdir(tmp_path / "tables")) == [".onefs", "datasets.pqt", "sessions.pqt"]
    for lab in ("", "my lab", "a/b"):
        code, _, err = run("--lab", lab, tmp_path / "data")
        assert (code, err) == (2, f"onefs: {lab!r} cannot be the name of a lab. Give letters, digits and _.\n")


@pytest.mark.parametrize(
    ("folder", "remedy"),
    [
        ("lab/Subjects/mouse/2024-01-02/1", "Give the number three digits: rename the folder to 001."),
        ("our-lab/Subjects/mouse/2024-01-02/001", "Rename the lab's folder our-lab: give letters, digits and _."),
        ("lab/subjects/mouse/2024-01-02/001", "Index the folder above the labs, or move them there."),
    ],
)
def test_why_files_will_not_be_found_is_told_with_what_to_do(tmp_path, run, folder, remedy):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "spikes.times.npy").write_bytes(b"x")
    code, _, err = run(tmp_path)
    assert (code, err.count("\n")) == (0, 1)
    assert f"those in {tmp_path}/{folder} are looked for in " in err
    assert err.endswith(f". {remedy}\n")


def test_what_cannot_be_indexed_is_said_and_writes_nothing(tmp_path, root, run, monkeypatch):
    nowhere, file = tmp_path / "nowhere", root / SESSION / FILES[0]
    name_it = "Name the folder that holds the labs or subjects."
    (tmp_path / "loop").symlink_to("loop")
    for words, sentence in (
        ([nowhere], f"{nowhere} cannot be indexed: No such file or directory. {name_it}"),
        ([file], f"{file} cannot be indexed: it is not a folder. {name_it}"),
        ([tmp_path / "loop"], f"{tmp_path}/loop cannot be indexed: Too many levels of symbolic links. {name_it}"),
        ([root, "--out", nowhere], f"{nowhere} cannot hold the tables: No such file or directory. "
         "Make that folder, or name another."),
    ):  # fmt: skip
        assert run(*words) == (2, "", f"onefs: {sentence}\n")
    monkeypatch.setattr("onefs.mountinfo.mounted_disks", lambda: [MountedDisk(str(root), FILE_SYSTEM_TYPE, "x", "0:1")])
    code, _, err = run(root / "lab")
    assert (code, err[: err.index(",")]) == (2, f"onefs: {root}/lab is in a mount of onefs")
    assert not (root / ".onefs").exists()


def test_what_keeps_tables_from_being_written_is_said(tmp_path, root, run, monkeypatch):
    assert run(root)[0] == 0
    (tmp_path / "others").mkdir()
    for name in ("sessions.pqt", "datasets.pqt"):
        shutil.copy(root / name, tmp_path / "others")
    code, _, err = run(root / "lab", "--out", tmp_path / "others")
    assert code == 1
    assert err == (
        f"onefs: The table {tmp_path}/others/sessions.pqt is of {root}, not of {root}/lab: "
        "it may hold more than can be read from the files, so it is kept. "
        "Give --update to bring it up to date, or --out DIR to have the new tables elsewhere.\n"
    )
    code, _, err = run(root, "--lab", "other")
    assert (code, err[: err.index(",")]) == (2, f"onefs: {root}/{SESSION} is of the lab lab")
    (empty := tmp_path / "empty").mkdir()
    code, _, err = run(empty)
    assert (code, err[: err.index(",")]) == (1, f"onefs: There is no session folder below {empty}")
    monkeypatch.setattr("onefs.indexer.listings.LOCK_TIMEOUT_S", 0)
    with FileLock(root / ".onefs/index.lock"):
        code, _, err = run(root)
    assert (code, err[: err.index(".")]) == (1, f"onefs: Another process is indexing into {root}")


def test_it_is_said_if_files_are_not_where_readers_of_the_tables_look(root, run):
    assert run(root)[2] == ""
    code, _, err = run(root / "lab/Subjects")
    assert code == 0
    assert f" are looked for in {root}/lab/Subjects/{SESSION}. Index the folder above the labs" in err


def test_tables_in_a_session_folder_are_no_skipped_names(root, run):
    session = root / SESSION
    assert run(session)[0] == 0
    code, out, _ = run(session, "--skipped")
    assert (code, len(out.splitlines())) == (0, 1)


def test_a_reader_that_has_seen_enough_does_not_end_the_indexing(root):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*ONEFS, "index", root, "--skipped"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr.count(b"Indexed 1 session")) == (0, 1)
    assert (root / "datasets.pqt").exists()


# -- progress --------------------------------------------------------------------------------------------------------


def test_progress_within_a_task_is_counted(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(8 << 20)
    with LocalWorkers(1) as workers:
        assert workers.counted() == 0
        tasks: Tasks[object] = Tasks(workers)
        tasks.begin(hash_files, [ToHash(1, 0, str(large))])
        while tasks:
            list(tasks.results())
        assert workers.counted() == workers.counted() == 8 << 20


def test_worker_processes_leave_the_streams_alone_that_a_bar_writes_to(tmp_path, monkeypatch):
    parent = os.getpid()

    class Stream(io.StringIO):
        """Notes that another process flushes it, which may wait for ever for a lock of this one."""

        def flush(self) -> None:
            if os.getpid() != parent:
                (tmp_path / "flushed").touch()

    monkeypatch.setattr(sys, "stderr", Stream())
    with LocalWorkers(1) as workers:
        assert workers.submit(abs, -1).result() == 1
    assert not (tmp_path / "flushed").exists()


def test_a_terminal_shows_the_progress_and_then_what_was_indexed(root: Path) -> None:
    large = root / SESSION / "alf/raw.ephys.bin"
    with large.open("wb") as stream:
        stream.truncate(TOO_LARGE_FOR_ONE)
    master, terminal = pty.openpty()
    done = subprocess.Popen(
        [*ONEFS, "index", root, "--hash"], stderr=terminal, stdout=terminal, env={**os.environ, "COLUMNS": "200"}
    )
    os.close(terminal)
    said = b""
    while True:
        try:
            said += os.read(master, 1 << 16)
        except OSError:  # all has been read, and nobody is left to write
            break
    os.close(master)
    assert done.wait() == 0, said
    for shown in (f"listing {root}", f"hashing {root}", "34.6 MB of 34.6 MB", "Indexed 1 session with 4 files"):
        assert shown.encode() in said


def test_progress_of_writing_is_told_in_files(root, run, monkeypatch):
    monkeypatch.setattr("onefs.cli.progress.PLAIN_STEP_EVERY_S", -1.0)
    monkeypatch.setattr("onefs.indexer.write.ROWS_AT_ONCE", 1)
    (root / "lab/Subjects/rat/2024-01-02/001").mkdir(parents=True)
    (root / "lab/Subjects/rat/2024-01-02/001/spikes.times.npy").write_bytes(b"x")
    lines = run(root)[2].splitlines()
    assert lines[-2] in ("writing the tables: 1 of 4 files", "writing the tables: 3 of 4 files")
    assert lines[-1].startswith("writing the tables: 4 of 4 files")


def test_ctrl_c_says_that_the_same_command_goes_on(root: Path) -> None:
    script = f"""
import os, signal, sys
from onefs.indexer import run as indexing
from onefs.cli.main import run
def interrupted(*words):
    os.kill(os.getpid(), signal.SIGINT)
indexing.report = interrupted
sys.exit(run(["index", {str(root)!r}]))
"""
    done = subprocess.run([ONEFS[0], "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stdout == ""
    assert done.stderr.strip() == "onefs: stopped. What was hashed stays known; the same command goes on from there."
    assert not (root / "datasets.pqt").exists()


def test_tables_of_one_are_kept_and_brought_up_to_date(root: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    reference.make_parquet_db(root)
    ids = set(pd.read_parquet(root / "datasets.pqt").index)
    code, _, errors = run(root)
    assert code == 1
    assert "Give --update to bring it up to date" in errors
    (root / SESSION / "new.file.npy").write_bytes(b"new")
    assert run(root, "--update")[0] == 0
    assert ids < set(pd.read_parquet(root / "datasets.pqt").index)
    assert "Nothing has changed" in run(root, "--update")[1]
