"""Indexing on a Dask cluster: a scheduler and four workers as processes, one of which is killed in the midst."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cluster_questions import addresses, asked, await_workers
from dask_cluster import DaskCluster
from mounted import run_onefs

from onefs.alf import TABLE_NAMES
from onefs.cluster import cluster_workers
from onefs.indexer.run import IndexOptions, index
from onefs.progress import Listener, Step
from onefs.workers import ThisProcess

SESSIONS, FILES = 200, 60
SIZE_BYTES = 3_000
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with more sessions than a few tasks list, and more bytes than are hashed without workers."""
    root = tmp_path_factory.mktemp("lab") / "root"
    for number in range(SESSIONS):
        folder = root / f"lab/Subjects/mouse{number % 10}/2024-01-{1 + number // 10:02d}/001/alf"
        folder.mkdir(parents=True)
        for at in range(FILES):
            (folder / f"a{at}.times.npy").write_bytes(f"{number} {at} ".encode().ljust(SIZE_BYTES, b"x"))
    return root


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with DaskCluster(tmp_path_factory.mktemp("dask"), 4) as cluster:
        await_workers(cluster, 4)
        yield cluster


class Killer(Listener):
    """Kills a worker that has tasks, as soon as the first hashes have come."""

    def __init__(self, cluster: DaskCluster) -> None:
        super().__init__()
        self._cluster = cluster
        self._addresses = addresses(cluster)
        self.has_killed = False

    def show(self, step: Step) -> None:
        """Kill a worker if files are being hashed."""
        if step.what.startswith("hashing") and step.done and not self.has_killed:
            self.has_killed = self._kill_one_at_work()

    def _kill_one_at_work(self) -> bool:
        for process in self._cluster.processes:
            process.send_signal(signal.SIGSTOP)  # so that it does not end its task before it is killed
            if processing(self._cluster, self._addresses[process.pid]):
                self._cluster.processes.remove(process)
                process.kill()
                process.wait()
                return True
            process.send_signal(signal.SIGCONT)
        return False


def processing(cluster: DaskCluster, worker: str) -> int:
    """How many tasks a worker has that is perhaps stopped."""
    return int(asked(cluster, lambda dask_scheduler: len(dask_scheduler.workers[worker].processing)))


def content(directory: Path) -> list[object]:
    """The tables of a directory, byte for byte but for their `date_created`: their pages, and what describes them."""
    found: list[object] = []
    for name in TABLE_NAMES:
        data = (directory / name).read_bytes()
        footer_bytes = int.from_bytes(data[-8:-4], "little")
        schema = pq.read_schema(directory / name)
        metadata = dict(schema.metadata)
        told = json.loads(metadata.pop(b"one_metadata"))
        del told["date_created"]
        groups = pq.read_metadata(directory / name).to_dict()["row_groups"]
        found.append((data[: -8 - footer_bytes], schema.remove_metadata(), metadata, told, groups))
    return found


def test_the_tables_are_those_of_one_machine_though_a_worker_is_killed(
    root: Path, cluster: DaskCluster, tmp_path: Path
) -> None:
    options = IndexOptions(hash_files=True)
    outs = [tmp_path / name for name in ("here", "cluster")]
    for out in outs:
        out.mkdir()
    here = index(root, outs[0], options, ThisProcess())
    with Killer(cluster) as killer, cluster_workers(cluster.address, root) as workers:
        there = index(root, outs[1], options, workers)
    assert killer.has_killed
    assert (there.n_sessions, there.n_files, there.n_hashed) == (SESSIONS, SESSIONS * FILES, SESSIONS * FILES)
    assert (there.hashed_bytes, there.n_unreadable) == (here.hashed_bytes, 0)
    assert content(outs[0]) == content(outs[1])


def test_the_verb_indexes_on_the_cluster(root: Path, cluster: DaskCluster, tmp_path: Path) -> None:
    done = run_onefs("index", root, "--out", tmp_path, "--scheduler", cluster.file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Indexed {SESSIONS} sessions with {SESSIONS * FILES} files")
    again = run_onefs("index", root, "--out", tmp_path, "--scheduler", cluster.file)
    assert again.stdout.startswith("Nothing has changed")


def test_one_says_where_the_work_is_done(root: Path, tmp_path: Path) -> None:
    both = run_onefs("index", root, "--scheduler", "127.0.0.1:1", "--workers", "2")
    assert (both.returncode, both.stdout) == (2, "")
    assert "Give one of them." in both.stderr
    none = run_onefs("index", tmp_path / "none", "--scheduler", "127.0.0.1:1")
    assert (none.returncode, none.stdout) == (2, "")
    assert f"{tmp_path / 'none'} cannot be read: No such file or directory." in none.stderr
