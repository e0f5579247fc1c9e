"""Runs that are killed, or interrupted, anywhere: tables stay whole, nothing stays behind, and the next run goes on."""

import json
import mmap
import os
import random
import select
import shutil
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pyarrow.parquet as pq
import pytest
from indexed import contents, fill, left_over, make_tables

from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import WorkerLostError
from onefs.indexer import run
from onefs.indexer.listings import Listings
from onefs.indexer.session_folder import UNKNOWN

PHASES = ("scan", "hash", "take_in_hashes", "write")
TASKS = ("scan_folders", "hash_files")
DONE, LOST, INTERRUPTED = 0, 3, 4
OLD = tuple(f"S{n}/2020-07-01/00{m}/alf/{name}.b.npy" for n in range(8) for m in range(3) for name in "abc")
NEW = (*OLD[5:], *(f"T{n}/2020-07-02/001/#2024-01-01#/{name}.b.npy" for n in range(8) for name in "abc"))


class Striking:
    """A profile function: sends a signal at the `at`th call or return, also of C functions, within a function.

    `struck` is how many there were. It counts in the process that indexes, else in the first of its workers to come.
    """

    def __init__(self, function: str, at: int, number: signal.Signals, *, in_worker: bool = False) -> None:
        self._function, self._at, self._number, self._in_worker = function, at, number, in_worker
        self._counts = mmap.mmap(-1, 8)
        self._frame: FrameType | None = None
        self._pid = 0

    def begin(self) -> None:
        """Count in this process, and in those that it forks."""
        self._pid = os.getpid()
        sys.setprofile(self)

    @property
    def count(self) -> int:
        """How many calls and returns there were."""
        return struct.unpack("q", self._counts[:])[0]

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Count."""
        if (os.getpid() != self._pid) is not self._in_worker:
            return
        if self._frame is None:
            if (
                event == "call"
                and frame.f_code.co_name == self._function
                and "onefs/indexer" in frame.f_code.co_filename
            ):
                self._frame = frame
        elif frame is self._frame and event == "return":
            self._frame = None
        else:
            self._counts[:] = struct.pack("q", self.count + 1)
            if self.count == self._at:
                self._strike()

    def _strike(self) -> None:
        if self._number is signal.SIGINT:
            os.killpg(self._pid, self._number)  # as a terminal does
        else:
            os.kill(os.getpid(), self._number)


def run_to_its_end(striking: Striking, *arguments: Path) -> int:
    """Index in a process of its own, and wait until all that it started has ended. Its exit code, or -signal."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        os._exit(_index(striking, *arguments))
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    ended, _, _ = select.select([reading], [], [], 60)  # its end is closed when nobody has the other any more
    os.close(reading)
    assert ended, "a process stays behind"
    return os.waitstatus_to_exitcode(status)


def _index(striking: Striking, root: Path, out: Path) -> int:
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    run._ALONE_TASKS, run._ALONE_BYTES = 0, -1  # so that there are workers
    try:
        striking.begin()
        make_tables(root, out, hash_files=True)
    except WorkerLostError:
        return LOST
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException:  # noqa: BLE001
        return 99
    return DONE


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("killed") / "data"


@pytest.fixture(scope="module")
def before(root):
    """Where a run has ended, before files come, go and change."""
    fill(root, *OLD)
    out = root.with_name("before")
    out.mkdir()
    make_tables(root, out, hash_files=True)
    for path in OLD[:5]:
        (root / path).unlink()
    fill(root, *NEW)
    (root / NEW[0]).write_bytes(b"changed")
    return out


@pytest.fixture(scope="module")
def after(root, before):
    """Where the next run is to end."""
    out = root.with_name("after")
    shutil.copytree(before, out)
    make_tables(root, out, hash_files=True)
    return out


@pytest.fixture
def struck(root, before, after, tmp_path) -> Callable[[Striking], int]:
    """Has a run struck; then looks at what is there, and has another end it."""
    outs = iter(range(1_000))

    def strike(striking: Striking) -> int:
        out = tmp_path / str(next(outs))
        shutil.copytree(before, out)
        code = run_to_its_end(striking, root, out)
        assert code in (DONE, LOST, INTERRUPTED, -signal.SIGKILL)
        check_tables(out, before, after)
        if code == INTERRUPTED:
            assert left_over(out) == []
        n_known = n_hashed(root, out)
        result = make_tables(root, out, hash_files=True)
        assert result.n_hashed == len(NEW) - n_known
        check_ended(out, after)
        return code

    return strike


def check_tables(out: Path, before: Path, after: Path) -> None:
    """Each table is the old or the new one, whole; and onefs can read them, whatever comes between the two renames."""
    sessions, datasets = contents(out)
    old, new = contents(before), contents(after)
    assert (sessions, datasets) in ((old[0], old[1]), (new[0], old[1]), (new[0], new[1]))
    snapshot = load_snapshot(out, out / "index")
    assert snapshot.n_sessions == len(sessions)
    shutil.rmtree(out / "index")


def check_ended(out: Path, after: Path) -> None:
    """The tables are those of a run that was never killed, byte for byte but for the date."""
    assert contents(out) == contents(after)
    assert left_over(out) == []
    for name in ("sessions.pqt", "datasets.pqt"):
        ours, theirs = out / name, after / name
        if created(ours) == created(theirs):
            assert ours.read_bytes() == theirs.read_bytes()


def created(table: Path) -> str:
    return json.loads(pq.read_schema(table).metadata[b"one_metadata"])["date_created"]


def n_hashed(root: Path, out: Path) -> int:
    """Of how many of the files that are there the listings know the MD5."""
    with Listings(str(root), out) as listings:
        return sum(
            session.files.md5_of(at) != UNKNOWN
            for session in listings.sessions()
            for at, path in enumerate(session.files.paths)
            if session.files.facts_of(at)[:8] == size_of(Path(session.folder, path))
        )


def size_of(path: Path) -> bytes:
    return path.stat().st_size.to_bytes(8, "little") if path.exists() else b""


def points(function: str, number: int, struck: Callable[[Striking], int], *, in_worker: bool = False) -> list[int]:
    """Random moments within a function."""
    counting = Striking(function, -1, signal.SIGKILL, in_worker=in_worker)
    assert struck(counting) == DONE
    assert counting.count > number
    return random.Random(f"12 {function}").sample(range(1, counting.count + 1), number)


@pytest.mark.parametrize("phase", PHASES)
def test_killed_at_a_random_moment(phase, struck):
    codes = [struck(Striking(phase, at, signal.SIGKILL)) for at in points(phase, 10, struck)]
    assert codes.count(-signal.SIGKILL) >= 8  # the last of those points may not be reached every time


@pytest.mark.parametrize("task", TASKS)
def test_a_worker_killed_at_a_random_moment(task, struck):
    moments = points(task, 5, struck, in_worker=True)
    codes = [struck(Striking(task, at, signal.SIGKILL, in_worker=True)) for at in moments]
    assert codes.count(LOST) >= 3


@pytest.mark.parametrize("phase", PHASES)
def test_interrupted_at_a_random_moment(phase, struck):
    codes = [struck(Striking(phase, at, signal.SIGINT)) for at in points(phase, 3, struck)]
    assert codes.count(INTERRUPTED) >= 2
