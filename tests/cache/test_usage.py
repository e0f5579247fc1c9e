"""How much is in a cache: kept up in the database with what comes and goes, and with what processes have reserved."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefs.cache.locks import has_ended, may_run_elsewhere, this_process
from onefs.cache.quota import HOPELESS_AFTER_S, OWN_STALLED_AFTER_S, STALLED_AFTER_S, Progress
from onefs.cache.state import State
from onefs.cache.usage import (
    PartBytes,
    Reservations,
    Reserved,
    Taken,
    bytes_of_parts,
    footprint,
    pinned_bytes,
    put_reserved,
    usage_by_lab,
)
from onefs.cache.verify import Signature, Stamp
from onefs.catalogue.records import QC, Dataset

LIMIT = 1 << 30
FILES = st.tuples(
    st.integers(1, 6), st.sampled_from(["alab/Subjects/a/1/1", "blab/Subjects", "mouse", ""]), st.integers(0, 9999)
)


def dataset(number: int, session_path: str) -> Dataset:
    return Dataset(UUID(int=number), None, session_path, "alf/x.y.npy", None, "", True, QC.NOT_SET, None)


def stamp(size_bytes: int, source: str = "https://server/x") -> Stamp:
    return Stamp(Signature(size_bytes, 1, 1, 1), "", source=source)


@contextmanager
def closing_state(folder: Path) -> Iterator[State]:
    state = State(folder, folder)
    yield state
    state.close(10)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with closing_state(tmp_path) as state:
        yield state


@pytest.fixture
def reservations(state: State) -> Reservations:
    return Reservations(LIMIT, state)


@pytest.mark.parametrize(
    ("session", "lab"),
    [("alab/Subjects/a/2024-01-01/001", "alab"), ("mouse/2024-01-01/001", ""), ("a/b/Subjects/c", ""), ("", "")],
)
def test_the_lab_of_a_path(state: State, reservations: Reservations, session: str, lab: str) -> None:
    assert state.read(usage_by_lab) == []
    state.put(dataset(1, session), stamp(5))
    assert state.read(usage_by_lab) == [(lab, (footprint(5), 1))]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["fetched", "found", "dropped"]), FILES), max_size=30))
def test_what_comes_and_goes_is_counted(changes: list[tuple[str, tuple[int, str, int]]]) -> None:
    there: dict[int, tuple[str, int]] = {}
    with TemporaryDirectory() as folder, closing_state(Path(folder)) as state:
        Reservations(LIMIT, state)
        for change, (number, session, size_bytes) in changes:
            there.pop(number, None)
            if change == "dropped":
                state.drop(UUID(int=number))
            else:
                state.put(dataset(number, session), stamp(size_bytes, "" if change == "found" else "https://server/x"))
            if change == "fetched":
                there[number] = (session.partition("/")[0] if "/Subjects" in session else "", footprint(size_bytes))
            if number == 1:
                state.read(usage_by_lab)  # writes what waits
        found = state.read(usage_by_lab)
    expected: dict[str, tuple[int, int]] = {}
    for lab, size_bytes in there.values():
        before_bytes, files = expected.get(lab, (0, 0))
        expected[lab] = (before_bytes + size_bytes, files + 1)
    assert dict(found) == expected
    assert [usage.size_bytes for _, usage in found] == sorted((size for size, _ in expected.values()), reverse=True)


def test_pinned_files_are_counted_once_they_are_there(state: State, reservations: Reservations) -> None:
    state.pin(UUID(int=1))
    assert state.read(pinned_bytes) == 0
    state.put(dataset(1, "any"), stamp(5000))
    state.put(dataset(2, "any"), stamp(5000))
    assert state.read(pinned_bytes) == footprint(5000)


def test_two_processes_share_one_limit(state: State, reservations: Reservations) -> None:
    other = Reservations(LIMIT, state)
    mine, others = Taken(UUID(int=1), 0, True), Taken(UUID(int=2), 0, True)
    assert reservations.ask(mine, LIMIT // 2, {})[0] == 0
    missing_bytes, used_bytes = other.ask(others, LIMIT // 2 + 1, {})
    assert (missing_bytes, used_bytes) == (1, LIMIT // 2)
    assert other.ask(others, LIMIT // 4, {})[0] == 0
    reservations.end(mine, 0)
    assert other.ask(Taken(UUID(int=3), 0, True), LIMIT // 2, {})[0] == 0
    other.close()
    assert reservations.ask(mine, LIMIT, {})[0] == 0


def test_bytes_are_free_again_once_they_were_given_back(state: State, reservations: Reservations) -> None:
    file = Taken(UUID(int=1), 0, True)
    for kept_bytes in (0, 1000):
        for _ in range(3):
            assert reservations.ask(file, 5000, {})[0] == 0
            reservations.give_back(file, 1000)
            assert reservations.reserved().parts == {file.dataset_id: PartBytes(file.there_bytes, 4000)}
            reservations.end(file, kept_bytes)
            assert reservations.reserved().parts == {}
            assert 0 <= reservations.reserved().free_bytes <= LIMIT // 128
    on_disk = {file.dataset_id: 1000}
    assert state.read(lambda connection: bytes_of_parts(on_disk, reservations.totals(connection)[1])) == 1000


def test_a_small_file_does_not_ask_the_database(state: State, reservations: Reservations) -> None:
    assert reservations.ask(Taken(UUID(int=1), 0, True), 10_000, {})[0] == 0
    for number in range(2, LIMIT // 256 // 10_000):
        assert reservations.take(Taken(UUID(int=number), 0, True), 10_000)


@pytest.mark.parametrize("ends", [True, False])
def test_what_an_ended_process_had_reserved_is_dropped(state: State, reservations: Reservations, ends: bool) -> None:
    code = "from onefs.cache.locks import this_process; print(this_process(), flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert not has_ended(name)
        assert not may_run_elsewhere(name)
        row = Reserved(LIMIT // 2, {UUID(int=1): PartBytes(0, LIMIT // 2)})
        state.write(lambda connection: put_reserved(connection, f"its-own {name}", row))
        if ends:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert has_ended(name) == ends
        assert (reservations.ask(Taken(UUID(int=2), 0, True), LIMIT, {})[0] == 0) == ends
        process.kill()


def test_which_processes_have_ended() -> None:
    machine, boot, namespace, pid, started = this_process().split(" ")
    assert not has_ended(this_process())
    assert has_ended(f"{machine} {boot} {namespace} {pid} {int(started) + 1}"), "another with the same number"
    assert has_ended(f"{machine} another-boot {namespace} {pid} {started}")
    for elsewhere in (f"other {boot} {namespace} 1 1", f"{machine} {boot} pid:[1] 1 1", "", "no name", "a b c d e f"):
        assert may_run_elsewhere(elsewhere)
        assert not has_ended(elsewhere)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_no_byte_of_an_incomplete_file_is_missed_or_counted_twice(
    there: int, first: int, second: int, written: int, beside: int
) -> None:
    """Two processes write to one file; another file is of nobody."""
    one, other = UUID(int=1), UUID(int=2)
    on_disk = {one: there + min(written, first + second), other: beside}
    reserved = [Reserved(5, {one: PartBytes(there, first)}), Reserved(7, {one: PartBytes(there, second)})]
    assert bytes_of_parts(on_disk, reserved) == there + first + second + beside
    assert bytes_of_parts(on_disk, []) == on_disk[one] + beside
    assert bytes_of_parts({}, reserved) == first + second


def test_how_long_others_are_waited_for() -> None:
    progress = Progress(100.0)
    assert progress.is_going_on("a", 100.0, is_own=False)
    assert not progress.is_going_on("a", 100.0 + HOPELESS_AFTER_S, is_own=False)
    assert progress.is_going_on("b", 104.0, is_own=False)
    assert progress.is_going_on("b", 104.0 + STALLED_AFTER_S - 1, is_own=False)
    assert not progress.is_going_on("b", 104.0 + STALLED_AFTER_S, is_own=False)
    assert progress.is_going_on("b", 104.0 + STALLED_AFTER_S, is_own=True)
    assert not progress.is_going_on("b", 104.0 + OWN_STALLED_AFTER_S, is_own=True), "never for ever"
