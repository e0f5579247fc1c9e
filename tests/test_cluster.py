"""Tasks on the workers of a Dask cluster: real schedulers and workers, some of which are killed."""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cluster_tasks
import dask
import pytest
from cluster_questions import await_workers, n_executing, n_tasks, n_workers
from dask_cluster import DASK, DaskCluster
from mounted import run_onefs
from privileges import is_root
from waiting import wait_until

from onefs import __version__
from onefs.cluster import cluster_workers
from onefs.errors import ClusterError, MismatchError, OnefsError, UsageError, WorkerLostError
from onefs.indexer.hash import ToHash, hash_files

HOSTS = ("127.0.0.1", "127.0.0.2")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A cluster with two workers."""
    with DaskCluster(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        await_workers(cluster, 2)
        yield cluster


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[DaskCluster]:
    """A scheduler without workers, that gives a task up with the first worker that it costs."""
    with DaskCluster(tmp_path / "lone", 0, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as cluster:
        yield cluster


def test_each_task_runs_and_its_result_leaves_the_cluster(cluster: DaskCluster) -> None:
    with cluster_workers(str(cluster.file)) as workers:
        assert workers.n_threads == 2 <= workers.at_once
        futures = [workers.submit(cluster_tasks.new_id, "the", "same") for _ in range(20)]
        assert len({future.result() for future in futures}) == 20
        wait_until(lambda: n_tasks(cluster) == 0)


def test_a_task_raises_its_own_error_with_its_remedy(cluster: DaskCluster) -> None:
    with cluster_workers(cluster.address) as workers:
        with pytest.raises(MismatchError) as failed:
            workers.submit(cluster_tasks.fail, "a.npy").result()
        with pytest.raises(FileNotFoundError):
            workers.submit(os.stat, "/no/such/file").result()
    assert (failed.value.reason, failed.value.remedy) == ("a.npy is wrong.", "Look at it.")
    assert failed.value.retry_after_s == 2.0


def test_a_killed_worker_costs_its_tasks_only_which_run_again(cluster: DaskCluster, tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    started.mkdir()
    with cluster_workers(cluster.address) as workers:
        cluster.add_worker()
        futures = [workers.submit(cluster_tasks.pid_once_there, str(started), str(go)) for _ in range(6)]
        wait_until(lambda: len(list(started.iterdir())) == 3)
        killed = cluster.processes.pop()
        killed.kill()
        killed.wait()
        go.touch()
        assert {future.result() for future in futures} == {worker.pid for worker in cluster.processes}


def test_the_end_cancels_what_is_under_way(cluster: DaskCluster, tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    with pytest.raises(KeyboardInterrupt), cluster_workers(cluster.address) as workers:
        futures = [workers.submit(cluster_tasks.touch_when_unwanted, str(started), str(ended)) for _ in range(9)]
        wait_until(started.exists)
        raise KeyboardInterrupt
    assert all(isinstance(future.exception(), OnefsError) for future in futures)
    wait_until(ended.exists)
    wait_until(lambda: n_tasks(cluster) == 0)


def test_nobody_hashes_on_when_nobody_waits(cluster: DaskCluster, tmp_path: Path) -> None:
    with (tmp_path / "endless.bin").open("wb") as file:
        file.truncate(1 << 42)
    with cluster_workers(cluster.address, tmp_path) as workers:
        workers.submit(hash_files, [ToHash(0, 0, str(tmp_path / "endless.bin"))])
        wait_until(lambda: n_executing(cluster) == 1)
    wait_until(lambda: n_executing(cluster) == 0)


def test_a_key_keeps_its_host_until_that_is_lost(cluster: DaskCluster, tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    started.mkdir()
    keys = [f"session {number}" for number in range(12)]
    other = cluster.add_worker(host=HOSTS[1])
    await_workers(cluster, 3)
    with cluster_workers(cluster.address) as workers:
        found = {key: workers.submit_for(key, cluster_tasks.host).result() for key in keys}
        assert set(found.values()) == {f"tcp://{host}" for host in HOSTS}
        there = next(key for key, host in found.items() if host == f"tcp://{HOSTS[1]}")
        future = workers.submit_for(there, cluster_tasks.pid_once_there, str(started), str(go))
        wait_until((started / str(other.pid)).exists)
        cluster.processes.remove(other)
        other.kill()
        go.touch()
        assert future.result() in {worker.pid for worker in cluster.processes}
    with cluster_workers(cluster.address) as workers:
        kept = [key for key, host in found.items() if host == f"tcp://{HOSTS[0]}"]
        assert {workers.submit_for(key, cluster_tasks.host).result() for key in kept} == {f"tcp://{HOSTS[0]}"}


def test_a_worker_that_sees_another_folder_at_the_path_finds_nothing_in_it(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    """It says so instead: what it does not find would count as gone."""
    with cluster_workers(cluster.address, tmp_path) as workers:
        assert workers.submit(os.listdir, str(tmp_path)).result() == []
        (tmp_path / "aside").mkdir()
        moved = tmp_path.rename(tmp_path.with_name("moved"))
        with pytest.raises(
            ClusterError, match=rf"On the worker tcp://\S+, {tmp_path} is not to be read \(no such file"
        ):
            workers.submit(os.listdir, str(moved)).result()
        tmp_path.mkdir()
        with pytest.raises(ClusterError, match="is another folder than here"):
            workers.submit(os.listdir, str(moved)).result()


def test_a_worker_that_may_not_read_the_folder_says_so(lone: DaskCluster, tmp_path: Path) -> None:
    """Else each file in it would seem to be closed to whoever runs the command."""
    (tmp_path / "closed").mkdir(mode=0o300)
    ordinary = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--") if is_root() else ()
    lone.add_worker(*ordinary, *DASK, "worker")
    with (
        cluster_workers(lone.address, tmp_path / "closed") as workers,
        pytest.raises(ClusterError, match=r"closed is not to be read \(permission denied\)\. .* may read it"),
    ):
        workers.submit(os.getpid).result()


def test_a_task_that_ends_its_workers_is_given_up(lone: DaskCluster) -> None:
    lone.add_worker()
    with cluster_workers(lone.address) as workers, pytest.raises(WorkerLostError, match="1 workers of the cluster"):
        workers.submit(cluster_tasks.end_process).result()


def test_a_killed_scheduler_is_told_of_and_ends_the_work(lone: DaskCluster, tmp_path: Path) -> None:
    lone.add_worker()
    (tmp_path / "started").mkdir()
    with cluster_workers(lone.address) as workers:
        futures = [workers.submit(cluster_tasks.pid_once_there, str(tmp_path / "started"), "/none") for _ in range(3)]
        wait_until(lambda: any((tmp_path / "started").iterdir()))
        lone.scheduler.kill()
        for future in futures:
            with pytest.raises(ClusterError, match=lone.address):
                future.result()
        with pytest.raises(ClusterError):
            workers.submit(cluster_tasks.new_id).result()


def test_a_cluster_that_cannot_run_the_tasks_is_refused(lone: DaskCluster, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="has no workers"), cluster_workers(lone.address, awaits_workers_s=0.1):
        pass
    metadata = tmp_path / "other" / "onefs-9.9.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: onefs\nVersion: 9.9.9\n")
    other = lone.add_worker(PYTHONPATH=os.pathsep.join([str(tmp_path / "other"), *sys.path]))
    with (
        pytest.raises(ClusterError, match=rf"onefs is {__version__} here and 9\.9\.9 on the worker tcp"),
        cluster_workers(lone.address),
    ):
        pass
    other.kill()
    wait_until(lambda: n_workers(lone) == 0)
    bare = tmp_path / "bare"
    bare.mkdir()
    for entry in Path(dask.__file__).parents[1].iterdir():
        if not entry.name.startswith(("onefs", "_onefs")):
            (bare / entry.name).symlink_to(entry)
    lone.add_worker(sys._base_executable, "-m", "dask", "worker", PYTHONPATH=str(bare))
    with pytest.raises(ClusterError, match="onefs is not installed on the worker"), cluster_workers(lone.address):
        pass


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "closing", "http"])
def test_what_is_no_scheduler_is_told_within_bounds(answer: bytes | None) -> None:
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, dask.config.set(timeouts("500ms")):

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                if answer is None:
                    is_over.wait()
                else:
                    connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"No Dask scheduler answers at {address}"), cluster_workers(address):
            pass
        is_over.set()
        server.join()


def timeouts(connect: str) -> dict[str, str]:
    return {"distributed.comm.timeouts.connect": connect}


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "No Dask scheduler answers at 127.0.0.1:1"),
        ("http://127.0.0.1:8787", "unknown address scheme"),
        ("somewhere", "missing port number"),
        ("/no/such/scheduler.json", "no such file"),
        (f"{__file__}.json", "no such file"),
    ],
)
def test_an_address_where_no_scheduler_is_told_with_a_remedy(address: str, told: str) -> None:
    with dask.config.set(timeouts("200ms")), pytest.raises(OnefsError, match=told), cluster_workers(address):
        pass


def test_what_is_no_address_is_refused_in_a_sentence_alone(tmp_path: Path) -> None:
    """A client that is begun with it prints a traceback when the command ends, 20 s later."""
    done = run_onefs("index", tmp_path, "--scheduler", "somewhere")
    assert done.returncode == 2
    assert done.stderr == (
        "onefs: 'somewhere' is not the address of a Dask scheduler: missing port number in address 'somewhere'. "
        "Write HOST:PORT, tcp://HOST:PORT, or the path of a scheduler file, FILE.json.\n"
    )


def test_a_file_that_is_no_scheduler_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UsageError, match="no scheduler file"), cluster_workers(str(tmp_path / "other.json")):
        pass


def test_without_the_extra_its_installation_is_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'onefs\[cluster\]'"), cluster_workers("127.0.0.1:8786"):
        pass
