"""What programs record without a mount: kept in files, shown and saved by mounts of the same source, once each."""

import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from archives import make_tables
from recordings_of import entry_of

from onefs.catalogue.records import Dataset
from onefs.daemon.recording import Recording
from onefs.recording.manifest import Entry, manifest_text, read_manifest
from onefs.recording.processes import reader
from onefs.recording.programs import ProgramFiles, ProgramRecording

SOURCE = "archive"
NAMES = [f"alf/{letter}.x.npy" for letter in "abcdefgh"]


@pytest.fixture
def datasets(tmp_path: Path) -> list[Dataset]:
    return list(make_tables(tmp_path / "tables", {name: name.encode() for name in NAMES}).values())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def program(state: Path) -> Callable[[], ProgramRecording]:
    """Makes what one program records."""
    return lambda: ProgramRecording(state, SOURCE, lambda dataset, edition: dataset.md5, lambda dataset: True)


@pytest.fixture
def mount(tmp_path: Path, state: Path) -> Recording:
    """The recordings of a mount of the same source, which is not mounted."""
    return Recording(
        SOURCE,
        tmp_path / "mnt",
        state,
        lambda dataset, edition: dataset.md5,
        lambda dataset: True,
        lambda: tmp_path / "saved",
        lambda directory, remedy: None,
    )


def paths(entries: list[Entry]) -> list[str]:
    return [entry.path.rpartition("/")[2][0] for entry in entries]


def saved_in(directory: Path) -> list[Entry]:
    """All that stands in the manifests of a directory."""
    return [entry for file in sorted(directory.glob("*manifest.jsonl")) for entry in read_manifest(file).values()]


def test_a_mount_shows_and_saves_what_programs_loaded_with_its_own(
    datasets: list[Dataset], program: Callable[[], ProgramRecording], mount: Recording, tmp_path: Path
) -> None:
    one, other = program(), program()
    mount.recorder.turn_on()
    one.note(datasets[:2])
    mount.recorder.count(datasets[2], None, reader(os.getpid(), os.getuid()))
    other.note(datasets[1:5])
    assert paths(mount.recorder.entries()) == ["a", "b", "c", "d", "e"], "of several readers the first counts"
    assert paths(one.entries()) == ["a", "b"]
    mount.save(None, None, sessions_only=False, keep=False)
    assert sorted(paths(saved_in(tmp_path / "saved"))) == ["a", "b", "c", "d", "e"]
    assert mount.recorder.entries() == one.entries() == other.entries() == []
    entry = saved_in(tmp_path / "saved")[0]
    assert (entry.pid, entry.source, entry.label) == (os.getpid(), SOURCE, "")
    assert entry.program.startswith("python")


def test_what_was_saved_counts_again_when_it_is_loaded_again(
    datasets: list[Dataset], program: Callable[[], ProgramRecording], mount: Recording, tmp_path: Path
) -> None:
    one = program()
    one.note(datasets[:1])
    one.note(datasets[:1])
    assert len(mount.recorder.entries()) == 1
    mount.save(None, None, sessions_only=False, keep=False)
    assert one.save(tmp_path, sessions_only=False, keep=False) == ([], None), "it is saved already"
    one.note(datasets[:2])
    entries, saved = one.save(tmp_path / "mine", sessions_only=False, keep=False)
    assert paths(entries) == ["a", "b"]
    assert saved is not None
    assert saved.ids.read_text().splitlines() == ["dataset_uuid", *sorted(str(each.id) for each in datasets[:2])]
    assert paths(saved_in(tmp_path / "mine")) == ["a", "b"]
    assert mount.recorder.entries() == []


def test_what_is_kept_stays_for_the_next_time(
    datasets: list[Dataset], program: Callable[[], ProgramRecording], mount: Recording, tmp_path: Path
) -> None:
    one = program()
    one.note(datasets[:1])
    mount.save(None, None, sessions_only=False, keep=True)
    one.save(tmp_path / "mine", sessions_only=False, keep=True)
    assert paths(one.entries()) == paths(mount.recorder.entries()) == ["a"]


def test_a_label_is_the_mounts_own(
    datasets: list[Dataset], program: Callable[[], ProgramRecording], mount: Recording
) -> None:
    one = program()
    one.note(datasets[:1])
    mount.recorder.turn_on("fig2")
    mount.recorder.count(datasets[1], None, reader(os.getpid(), os.getuid()))
    mount.save("fig2", None, sessions_only=False, keep=False)
    assert paths(one.entries()) == ["a"]


def test_clearing_forgets_what_programs_loaded(
    datasets: list[Dataset], program: Callable[[], ProgramRecording], mount: Recording
) -> None:
    one = program()
    one.note(datasets[:1])
    clear = next(command for command in mount.commands() if command.usage.startswith("clear"))
    clear.run([])
    assert one.entries() == mount.recorder.entries() == []


def test_nothing_is_lost_or_saved_twice_when_all_save_at_once(
    program: Callable[[], ProgramRecording], mount: Recording, tmp_path: Path
) -> None:
    files = {f"alf/a{number}.x.npy": b"" for number in range(24)}
    loaded = list(make_tables(tmp_path / "many", files).values())
    start = threading.Barrier(4)

    def load_and_save(datasets: list[Dataset], directory: Path) -> None:
        one = program()
        start.wait()
        for dataset in datasets:
            one.note([dataset])
            one.save(directory, sessions_only=False, keep=False)

    def save_the_mounts() -> None:
        start.wait()
        while any(thread.is_alive() for thread in programs):
            mount.save(None, None, sessions_only=False, keep=False)

    folders = [tmp_path / f"of-{number}" for number in range(3)]
    programs = [
        threading.Thread(target=load_and_save, args=(loaded[number::3], folder))
        for number, folder in enumerate(folders)
    ]
    saver = threading.Thread(target=save_the_mounts)
    for thread in (*programs, saver):
        thread.start()
    for thread in (*programs, saver):
        thread.join()
    mount.save(None, None, sessions_only=False, keep=False)
    saved = [entry.path for folder in (*folders, tmp_path / "saved") for entry in saved_in(folder)]
    assert sorted(saved) == sorted(dataset.path for dataset in loaded)
    assert ProgramFiles(tmp_path / "state", SOURCE).entries() == []


@pytest.mark.parametrize("round_", range(3))
def test_each_entry_is_saved_once_by_whoever_is_first(
    datasets: list[Dataset], program: Callable[[], ProgramRecording], mount: Recording, tmp_path: Path, round_: int
) -> None:
    one = program()
    one.note(datasets)
    savers = [
        threading.Thread(target=one.save, args=(tmp_path / "mine",), kwargs={"sessions_only": False, "keep": False}),
        threading.Thread(target=mount.save, args=(None, None), kwargs={"sessions_only": False, "keep": False}),
    ]
    for thread in savers if round_ % 2 else reversed(savers):
        thread.start()
    for thread in savers:
        thread.join()
    assert sorted(paths([*saved_in(tmp_path / "mine"), *saved_in(tmp_path / "saved")])) == list("abcdefgh")


def test_a_program_that_is_killed_loses_nothing_that_it_told(
    datasets: list[Dataset], mount: Recording, state: Path
) -> None:
    code = """
import os, pickle, signal, sys
from pathlib import Path
from onefs.recording.programs import ProgramRecording
datasets = pickle.loads(sys.stdin.buffer.read())
ProgramRecording(Path(sys.argv[1]), sys.argv[2], lambda dataset, edition: "", lambda dataset: True).note(datasets)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, state, SOURCE], input=pickle.dumps(datasets[:3]), check=False)
    assert done.returncode == -signal.SIGKILL
    assert paths(mount.recorder.entries()) == ["a", "b", "c"]


def test_half_a_line_is_left_out(datasets: list[Dataset], state: Path) -> None:
    entries = [entry_of(dataset, SOURCE) for dataset in datasets[:2]]
    folder = ProgramFiles(state, SOURCE).folder
    folder.mkdir(parents=True)
    (folder / "x.program.jsonl").write_text(manifest_text(entries)[:-1])
    assert ProgramFiles(state, SOURCE).entries() == entries[:1]


def test_what_is_of_another_source_is_left_alone(
    datasets: list[Dataset], program: Callable[[], ProgramRecording], state: Path
) -> None:
    one = program()
    one.note(datasets[:1])
    others = ProgramFiles(state, "another")
    assert others.entries() == []
    others.remove()
    assert paths(one.entries()) == ["a"]


def test_only_its_owner_may_read_it(
    datasets: list[Dataset], program: Callable[[], ProgramRecording], state: Path
) -> None:
    program().note(datasets[:1])
    (file,) = (state / "recorded").glob("*.program.jsonl")
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_is_kept_in_memory(
    datasets: list[Dataset],
    program: Callable[[], ProgramRecording],
    tmp_path: Path,
    state: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state.write_text("in the way")
    one = program()
    with caplog.at_level(logging.WARNING):
        one.note(datasets[:1])
        one.note(datasets[1:2])
    assert caplog.text.count("in memory alone") == 1
    assert paths(one.entries()) == ["a", "b"]
    state.unlink()
    one.note(datasets[2:3])
    assert paths(ProgramFiles(state, SOURCE).entries()) == ["a", "b", "c"]
    assert paths(one.save(tmp_path / "mine", sessions_only=False, keep=False)[0]) == ["a", "b", "c"]


def test_what_was_recorded_outlives_the_state_folder(
    datasets: list[Dataset], program: Callable[[], ProgramRecording], state: Path, tmp_path: Path
) -> None:
    one = program()
    one.note(datasets[:1])
    shutil.rmtree(state)
    one.note(datasets[1:2])
    assert paths(ProgramFiles(state, SOURCE).entries()) == ["a", "b"]
    shutil.rmtree(state)
    assert paths(one.save(tmp_path / "mine", sessions_only=False, keep=False)[0]) == ["a", "b"]


def test_a_child_begins_anew(datasets: list[Dataset], program: Callable[[], ProgramRecording], state: Path) -> None:
    one = program()
    one.note(datasets[:1])
    child = os.fork()
    if not child:
        try:
            one.note(datasets[1:2])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    entries = ProgramFiles(state, SOURCE).entries()
    assert sorted(paths(entries)) == ["a", "b"]
    assert {entry.pid for entry in entries} == {os.getpid(), child}
    assert paths(one.entries()) == ["a"]


def test_sessions_only(datasets: list[Dataset], program: Callable[[], ProgramRecording], tmp_path: Path) -> None:
    one = program()
    one.note(datasets)
    entries, saved = one.save(tmp_path / "mine", sessions_only=True, keep=False)
    assert saved is not None
    assert saved.ids.read_text().splitlines() == ["session_uuid", str(datasets[0].eid)]
    assert len(entries) == len(datasets)
    assert all(entry.first_read <= datetime.now(UTC) for entry in entries)
