"""Small files that are fetched before a program reads them: what a server is asked for, of a mounted archive."""

import hashlib
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest
from mounted import Mounted, run_onefs
from servers import Nginx
from waiting import wait_until

from onefs.alf import archive_path
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.tables import write_tables

SIZE_BYTES = 1000
N_SESSIONS = 24
N_FILES = 20
FIRST_DAY = date(2024, 1, 1)
TRIALS = "alf/_ibl_trials.table.pqt"
LARGE = "raw/large.data.bin"
LIMIT_BYTES = 100_000


def bytes_of(path: str, size_bytes: int) -> bytes:
    return random.Random(path).randbytes(size_bytes)


def sessions() -> list[Session]:
    return [
        Session(uuid5(NAMESPACE_URL, f"prefetch{at}"), "lab", "mouse", FIRST_DAY + timedelta(at), 1, "", "")
        for at in range(N_SESSIONS)
    ]


def datasets_of(session: Session) -> list[Dataset]:
    names = [f"alf/data{number:02d}.values.npy" for number in range(N_FILES - 1)]
    found = []
    for name in (*names, TRIALS, LARGE):
        size_bytes = 2 * LIMIT_BYTES if name == LARGE else SIZE_BYTES
        md5 = hashlib.md5(bytes_of(f"{session.path}/{name}", size_bytes)).hexdigest()
        dataset_id = uuid5(session.eid, name)
        found.append(Dataset(dataset_id, session.eid, session.path, name, size_bytes, md5, True, QC.PASS, True))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as it is on a server."""
    folder = tmp_path_factory.mktemp("served")
    datasets = [dataset for session in sessions() for dataset in datasets_of(session)]
    write_tables(folder, sessions(), datasets, created="2024-06-01 00:00", origin="tests")
    (folder / "cache_info.json").write_text(json.dumps({"date_created": "2024-06-01 00:00"}))
    for dataset in datasets:
        path = folder / archive_path(dataset.path, dataset.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_of(dataset.path, dataset.size_bytes or 0))
    return folder


class Watched(Mounted):
    """A mount of it, and what its server was asked for."""

    def __init__(self, server: Nginx, home: Path, *flags: str) -> None:
        super().__init__(server.url, home, "--whole-file-max", str(LIMIT_BYTES), *flags)
        self.server = server

    def folder(self, at: int) -> Path:
        return self.path / sessions()[at].path / "alf"

    def prefetched(self) -> tuple[int, int, int]:
        """How many files were prefetched, used, and wasted."""
        facts = self.status()["prefetch"]
        return facts["prefetched_files"], facts["used_files"], facts["wasted_files"]

    def requests(self) -> Counter[str]:
        """The files that were asked for, by path, once nothing is under way any more."""
        wait_until(lambda: not self.status()["transfers"], "nothing is being fetched")
        asked = self.server.access_log(at_least=self.status()["requests"]["data"])
        return Counter(request.path for request in asked if "/Subjects/" in request.path)


@pytest.fixture
def mount(folder: Path, tmp_path: Path) -> Iterator[Watched]:
    """The archive, mounted anew."""
    with Nginx(folder) as server, Watched(server, tmp_path) as mount:
        yield mount


@pytest.fixture(scope="module")
def shared(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The same, for tests that have nothing prefetched."""
    with Nginx(folder) as server, Watched(server, tmp_path_factory.mktemp("shared")) as mount:
        yield mount


def read(path: Path) -> bytes:
    """What a program of its own reads of a file, as in a shell's loop."""
    return subprocess.run(["cat", path], capture_output=True, check=True).stdout


def is_right(mount: Mounted, path: Path, data: bytes) -> bool:
    return data == bytes_of(str(path.relative_to(mount.path)), SIZE_BYTES)


def test_a_walk_goes_on_in_the_next_folders(mount: Watched) -> None:
    for at in range(4):
        for path in sorted(mount.folder(at).iterdir()):
            assert is_right(mount, path, read(path))
    # The first of each folder is asked for by the program, and of the first folder the second, too.
    assert mount.prefetched() == (4 * N_FILES - 5, 4 * N_FILES - 5, 0)
    assert set(mount.requests().values()) == {1}
    assert len(mount.requests()) == 4 * N_FILES


def test_find_that_reads_one_byte_of_each_file(mount: Watched) -> None:
    command = ["find", mount.folder(0), "-type", "f", "-exec", "head", "-c", "1", "{}", ";"]
    assert len(subprocess.run(command, capture_output=True, check=True).stdout) == N_FILES
    assert mount.prefetched() == (N_FILES - 2, N_FILES - 2, 0)
    assert len(mount.requests()) == sum(mount.requests().values()) == N_FILES


def test_a_reader_that_stops_has_no_more_fetched_than_it_read(mount: Watched) -> None:
    assert run_onefs("record", "on", "--mount", mount.path).returncode == 0
    paths = sorted(mount.folder(0).iterdir())
    for path in paths[:7]:
        read(path)
    assert mount.prefetched() == (5 + 7, 5, 0)
    assert len(mount.requests()) == sum(mount.requests().values()) == 7 + 7
    states = [mount.xattr(path.relative_to(mount.path), "state") for path in paths]
    assert states == ["verified"] * 14 + ["remote"] * (N_FILES - 14)
    # It counts for what it read, whoever had it fetched; and that alone is recorded.
    (program,) = mount.status()["programs"]
    assert (program["program"], program["fetched_files"]) == ("cat", 7)
    assert len((mount.path / ".onefs/recorded/datasets.csv").read_text().split()) == 1 + 7


def test_one_name_of_session_after_session(mount: Watched) -> None:
    script = f'for session in */001; do cat "$session/{TRIALS}"; done'
    subject = mount.path / "lab/Subjects/mouse"
    shown = subprocess.run(["sh", "-c", script], cwd=subject, capture_output=True, check=True).stdout
    assert shown == b"".join(bytes_of(f"{session.path}/{TRIALS}", SIZE_BYTES) for session in sessions())
    assert mount.prefetched() == (N_SESSIONS - 2, N_SESSIONS - 2, 0)
    assert len(mount.requests()) == sum(mount.requests().values()) == N_SESSIONS


def test_mode_local_prefetches_nothing(mount: Watched) -> None:
    paths = sorted(mount.folder(0).iterdir())
    for path in paths[:2]:
        read(path)
    before = mount.requests()
    assert run_onefs("mode", "local", mount.path).returncode == 0
    read(paths[2])  # which was prefetched
    for path in paths[3:6]:
        with pytest.raises(OSError, match="Network is down"):
            path.read_bytes()
    assert mount.requests() == before
    assert mount.prefetched() == (1, 1, 0)


def test_it_can_be_switched_off(folder: Path, tmp_path: Path) -> None:
    with Nginx(folder) as server, Watched(server, tmp_path, "--prefetch", "off") as mount:
        for path in sorted(mount.folder(0).iterdir()):
            read(path)
        assert mount.prefetched() == (0, 0, 0)
        assert mount.requests().total() == N_FILES


def test_files_here_and_there_prefetch_nothing(shared: Watched) -> None:
    before = shared.requests()
    rng = random.Random(13)
    for at in rng.sample(range(N_SESSIONS), 12):
        path = rng.choice(sorted(shared.folder(at).iterdir()))
        assert is_right(shared, path, read(path))
    assert shared.prefetched() == (0, 0, 0)
    assert (shared.requests() - before).total() == 12


def test_who_only_looks_has_nothing_fetched(shared: Watched) -> None:
    before = shared.requests()
    subprocess.run(["ls", "-lR", shared.folder(0)], stdout=subprocess.DEVNULL, check=True)
    for path in shared.folder(0).iterdir():
        os.stat(path)
        os.close(os.open(path, os.O_RDONLY | os.O_PATH))
    assert shared.requests() == before


def test_large_files_are_not_prefetched(shared: Watched) -> None:
    before = shared.requests()
    large = [shared.path / session.path / LARGE for session in sessions()[:4]]
    for path in large:
        with path.open("rb", buffering=0) as file:
            file.read(1)
    assert shared.prefetched() == (0, 0, 0)
    assert (shared.requests() - before).total() == 4


def test_who_may_fetch_no_more_is_not_given_what_was_prefetched(folder: Path, tmp_path: Path) -> None:
    with Nginx(folder) as server, Watched(server, tmp_path, "--crawl-limit", "5") as mount:
        paths = sorted(mount.folder(0).iterdir())
        for path in paths[:5]:
            read(path)
        assert mount.requests().total() == 10
        refused = subprocess.run(["cat", *paths[5:12]], capture_output=True, check=False)
        assert refused.stderr.count(b"Disk quota exceeded") == 7
        assert mount.requests().total() == 10
        assert is_right(mount, paths[0], read(paths[0]))
