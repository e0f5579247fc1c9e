"""Recordings: what is counted under which label, and what is forgotten."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from onefs.catalogue.records import QC, Dataset
from onefs.errors import BusyError, UsageError
from onefs.fetch.descriptors import Edition
from onefs.recording.labels import LONGEST_LABEL, LONGEST_LABEL_BYTES, check_label
from onefs.recording.processes import Reader, reader
from onefs.recording.recorder import Recorder
from onefs.recording.saving import datasets_csv, sessions_csv, write_recording

EID = UUID(int=7)
READER = Reader(4711, "python3.11 fit.py", "mouse", frozenset(), frozenset())
EDITION: Edition = (6, 1, 2)


def dataset(name: str, md5: str = "0" * 32, **changes: object) -> Dataset:
    fields = {
        "id": uuid5(EID, name),
        "eid": EID,
        "session_path": "lab/Subjects/mouse/2024-01-02/001",
        "rel_path": f"alf/#2024-05-06#/{name}",
        "size_bytes": 6,
        "md5": md5,
        "exists": True,
        "qc": QC.PASS,
        "default_revision": True,
    }
    return Dataset(**{**fields, **changes})  # type: ignore[arg-type]


class Hashes:
    """MD5s by id, as they become known; and a clock that never stands still."""

    def __init__(self) -> None:
        self.known: dict[UUID, str] = {}
        self._ticks = count()
        self.added: list[str] = []

    def md5_of(self, dataset: Dataset, edition: Edition | None) -> str:
        return self.known.get(dataset.id, dataset.md5)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self._ticks))

    def recorder(self) -> Recorder:
        return Recorder("archive", self.md5_of, now=self.now, on_added=lambda entry: self.added.append(entry.path[-7:]))


def names(recorder: Recorder, label: str | None = None) -> list[str]:
    return [entry.path.rpartition("/")[2] for entry in recorder.entries(label)]


def test_an_entry_says_what_was_read_and_by_whom() -> None:
    recorder = Hashes().recorder()
    recorder.turn_on()
    recorder.count(dataset("a.x.npy", size_bytes=None), EDITION, READER)
    [entry] = recorder.entries()
    assert (entry.id, entry.eid, entry.path) == (
        uuid5(EID, "a.x.npy"),
        EID,
        "lab/Subjects/mouse/2024-01-02/001/alf/#2024-05-06#/a.x.npy",
    )
    assert (entry.revision, entry.hash, entry.size) == ("2024-05-06", "0" * 32, 6)
    assert (entry.pid, entry.program, entry.user) == (4711, "python3.11 fit.py", "mouse")
    assert (entry.label, entry.source) == ("", "archive")


def test_a_dataset_counts_once_and_each_edition_of_it() -> None:
    hashes = Hashes()
    recorder = hashes.recorder()
    recorder.turn_on()
    for md5 in ("0" * 32, "0" * 32, "1" * 32):
        recorder.count(dataset("a.x.npy", md5), EDITION, READER)
    assert [entry.hash[0] for entry in recorder.entries()] == ["0", "1"]
    assert datasets_csv(recorder.entries()) == f"dataset_uuid\n{uuid5(EID, 'a.x.npy')}\n"
    assert len(hashes.added) == 2


def test_ids_are_sorted_and_unique_and_aggregates_are_of_no_session() -> None:
    recorder = Hashes().recorder()
    recorder.turn_on()
    all_of_them = [dataset(f"{name}.x.npy") for name in "abcdef"] + [dataset("all.x.npy", eid=None)]
    for each in all_of_them:
        recorder.count(each, EDITION, READER)
    assert datasets_csv(recorder.entries()).splitlines()[1:] == sorted(str(each.id) for each in all_of_them)
    assert sessions_csv(recorder.entries()) == f"session_uuid\n{EID}\n"
    assert datasets_csv([]) == "dataset_uuid\n"


def test_a_hash_that_becomes_known_is_filled_in() -> None:
    hashes = Hashes()
    recorder = hashes.recorder()
    recorder.turn_on()
    unknown = dataset("a.x.npy", "")
    recorder.count(unknown, None, READER)
    assert [entry.hash for entry in recorder.entries()] == [""]
    hashes.known[unknown.id] = "2" * 32
    recorder.count(unknown, EDITION, READER)
    assert [entry.hash for entry in recorder.entries()] == ["2" * 32]


def test_nothing_counts_while_all_is_off() -> None:
    recorder = Hashes().recorder()
    assert recorder.turn == 0
    recorder.count(dataset("a.x.npy"), EDITION, READER)
    recorder.turn_on("fit")
    recorder.turn_off("fit")
    assert recorder.turn == 0
    recorder.count(dataset("a.x.npy"), EDITION, READER)
    assert recorder.entries() == []


def test_labels_count_apart_and_are_cleared_apart() -> None:
    recorder = Hashes().recorder()
    recorder.turn_on("early")
    recorder.count(dataset("a.x.npy"), EDITION, READER)
    recorder.turn_on("late")
    recorder.count(dataset("b.x.npy"), EDITION, READER)
    assert names(recorder, "early") == ["a.x.npy", "b.x.npy"]
    assert names(recorder, "late") == ["b.x.npy"]
    assert names(recorder) == ["a.x.npy", "b.x.npy", "b.x.npy"]
    before = recorder.turn
    recorder.clear("early")
    assert recorder.turn != before  # so that what is open counts again
    assert names(recorder) == ["b.x.npy"]
    recorder.count(dataset("a.x.npy"), EDITION, READER)
    assert names(recorder, "early") == ["a.x.npy"]


def test_only_what_was_saved_is_cleared() -> None:
    recorder = Hashes().recorder()
    recorder.turn_on("fit")
    recorder.count(dataset("a.x.npy"), EDITION, READER)
    saved = recorder.entries("fit")
    recorder.count(dataset("b.x.npy"), EDITION, READER)
    recorder.clear("fit", saved)
    assert names(recorder, "fit") == ["b.x.npy"]


def test_a_label_of_programs_counts_theirs_until_they_end() -> None:
    recorder = Hashes().recorder()
    shell = subprocess.Popen(["sh", "-c", "cat; :"], stdin=subprocess.PIPE)
    recorder.turn_on("fit", shell.pid)
    recorder.turn_on("fit", os.getpid())
    with pytest.raises(BusyError):
        recorder.turn_on("fit")
    recorder.turn_off("fit", os.getpid())
    recorder.count(dataset("a.x.npy"), EDITION, reader(os.getpid(), 0))
    recorder.count(dataset("b.x.npy"), EDITION, reader(shell.pid, 0))
    shell.communicate()
    assert recorder.facts() == {"fit": {"on": False, "pids": [], "datasets": 1}}
    assert recorder.turn == 0
    assert names(recorder) == ["b.x.npy"]


@pytest.mark.parametrize("label", [None, "fit"])
def test_what_is_off_again_is_kept(label: str | None) -> None:
    recorder = Hashes().recorder()
    recorder.turn_on("fit")
    recorder.count(dataset("a.x.npy"), EDITION, READER)
    recorder.turn_off(label)
    assert names(recorder, "fit") == ["a.x.npy"]
    assert recorder.turn == 0


def test_what_is_unknown_is_refused() -> None:
    recorder = Hashes().recorder()
    for refused in (
        lambda: recorder.turn_off("nobody"),
        lambda: recorder.clear("nobody"),
        lambda: recorder.entries("nobody"),
        lambda: recorder.turn_on("fit", 2**30),
    ):
        with pytest.raises(UsageError):
            refused()
    assert recorder.turn == 0


def test_the_longest_label_in_any_script_still_names_a_file(tmp_path: Path) -> None:
    recorder = Hashes().recorder()
    recorder.turn_on()
    recorder.count(dataset("a.x.npy"), EDITION, READER)
    for letter in "x\N{GREEK SMALL LETTER MU}\N{CJK UNIFIED IDEOGRAPH-9F20}\N{MOUSE FACE}":
        label = letter * min(LONGEST_LABEL, LONGEST_LABEL_BYTES // len(letter.encode()))
        write_recording(tmp_path, recorder.entries(), check_label(label), sessions_only=False)
        with pytest.raises(UsageError):
            check_label(label + letter)
    assert len(list(tmp_path.iterdir())) == 8
