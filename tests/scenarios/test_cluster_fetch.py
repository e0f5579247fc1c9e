"""`onefs fetch --scheduler`: a fetch that is spread over the machines of a Dask cluster, each with a cache of its own.

Two loopback addresses stand for two machines.
"""

import hashlib
import json
import signal
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from archives import on_servers
from cluster_questions import await_workers, n_executing, n_tasks
from dask_cluster import DaskCluster
from mounted import ONEFS, run_onefs
from servers import Fault, FaultServer
from table_shapes import a_dataset, a_session
from waiting import PATIENCE_S, wait_until

from onefs.catalogue.records import Dataset
from onefs.catalogue.tables import write_tables

HOSTS = ("127.0.0.1", "127.0.0.2")
SESSIONS = [a_session(number, day=date(2024, 1, 1) + timedelta(number), number=1) for number in range(12)]
FILES = ("alf/a.times.npy", "alf/b.times.npy", "raw/c.txt")


def data_of(path: str) -> bytes:
    return f"{path}\n".encode() * 400


def dataset_of(number: int, name: str) -> Dataset:
    data = data_of(f"{SESSIONS[number].path}/{name}")
    return a_dataset(SESSIONS[number], name, size=len(data), md5=hashlib.md5(data).hexdigest())


DATASETS = [dataset_of(number, name) for number in range(len(SESSIONS)) for name in FILES]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    """An archive on a server, with its tables."""
    (tmp_path / "tables").mkdir()
    write_tables(tmp_path / "tables", SESSIONS, DATASETS, created="2024-01-03 00:00", origin="tests")
    with FaultServer() as server:
        for table in ("sessions.pqt", "datasets.pqt"):
            server.put(f"/{table}", (tmp_path / "tables" / table).read_bytes())
        server.put("/cache_info.json", json.dumps({"date_created": "2024-01-03 00:00"}).encode())
        for dataset in DATASETS:
            server.put(on_servers(dataset), data_of(dataset.path))
        yield server


class Machines:
    """A cluster of two machines, the first with two workers."""

    def __init__(self, home: Path, cluster: DaskCluster) -> None:
        self._home = home
        self.cluster = cluster
        for host in (HOSTS[0], *HOSTS):
            self.add_worker(host)

    def add_worker(self, host: str) -> None:
        home = self._home / host
        self.cluster.add_worker(
            host=host, HOME=str(home), XDG_CACHE_HOME=str(home / "cache"), XDG_CONFIG_HOME=str(home / "config")
        )

    def configure(self, host: str, name: str, text: str) -> None:
        """Give a machine a file of settings for a source that has a name there."""
        file = self._home / host / "config" / "onefs" / f"{name}.toml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
        file.chmod(0o600)

    def holders(self, dataset: Dataset, server: FaultServer) -> list[str]:
        """The machines whose caches of a server have a dataset, whole."""
        place = f"*-{server.url.rpartition(':')[2]}-*/{dataset.path}"
        found = [(host, (self._home / host / "cache" / "onefs").glob(place)) for host in HOSTS]
        return [host for host, files in found for file in files if file.read_bytes() == data_of(dataset.path)]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    home = tmp_path_factory.mktemp("machines")
    with DaskCluster(home / "dask", 0) as cluster:
        machines = Machines(home, cluster)
        await_workers(cluster, 3)
        yield machines


@pytest.fixture
def words(machines: Machines, server: FaultServer) -> list[str]:
    """A command that fetches all on the cluster."""
    return ["fetch", "**", "--source", server.url, "--scheduler", str(machines.cluster.file)]


def job_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    (job,) = json.loads(done.stdout)
    assert isinstance(job, dict)
    return job


def test_each_session_is_fetched_once_by_one_machine_which_has_it_the_next_time(
    machines: Machines, server: FaultServer, words: list[str], home: Path
) -> None:
    machines.configure(HOSTS[1], "lab", f'source = "{server.url}"\ndata_user = "machine"\ndata_password = "its own"\n')
    login = {"ONEFS_DATA_USER": "me", "ONEFS_DATA_PASSWORD": "a secret of this machine"}
    done = run_onefs(*words, "--json", **login)
    assert done.returncode == 0, done.stderr
    job = job_of(done)
    assert (job["stage"], job["files"], job["done_files"]) == ("done", {"fetched": 36}, 36)
    assert job["done_bytes"] == job["total_bytes"] == sum(dataset.size_bytes or 0 for dataset in DATASETS)
    holders = {dataset.path: machines.holders(dataset, server) for dataset in DATASETS}
    assert all(len(hosts) == 1 for hosts in holders.values())
    assert {dataset.session_path for dataset in DATASETS} == {session.path for session in SESSIONS}
    by_session = {session.path: {holders[f"{session.path}/{name}"][0] for name in FILES} for session in SESSIONS}
    assert all(len(hosts) == 1 for hosts in by_session.values())
    assert set.union(*by_session.values()) == set(HOSTS)
    assert not list(home.glob("**/a.times.npy"))
    for dataset in DATASETS:
        (headers,) = server.headers(on_servers(dataset))
        own = f"Basic {b64encode(b'machine:its own').decode()}" if holders[dataset.path] == [HOSTS[1]] else None
        assert headers.get("authorization") == own
    assert any("authorization" in headers for headers in server.headers("/datasets.pqt"))

    again = run_onefs(*words)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("fetch **: 36 in the cache already")
    assert all(server.requests(on_servers(dataset)) == 1 for dataset in DATASETS)


def test_what_cannot_be_fetched_is_named_and_the_rest_is_there(
    machines: Machines, server: FaultServer, words: list[str], home: Path
) -> None:
    missing, wrong = DATASETS[4], DATASETS[20]
    server.fault(on_servers(missing), Fault(status=404))
    server.fault(on_servers(wrong), Fault(wrong_bytes=True))
    done = run_onefs(*words)
    assert done.returncode == 1
    assert "fetch **: 2 failed, 34 fetched" in done.stdout
    assert missing.path in done.stderr
    assert wrong.path in done.stderr
    assert not machines.holders(missing, server)
    assert not machines.holders(wrong, server)


def test_a_killed_worker_costs_no_file(machines: Machines, server: FaultServer, words: list[str], home: Path) -> None:
    for dataset in DATASETS:
        server.fault(on_servers(dataset), Fault(stall_after=1000, times=1))
    with subprocess.Popen([*ONEFS, *words, "--json"], stdout=subprocess.PIPE, text=True) as process:
        server.wait_for_requests(len(DATASETS) // 2)
        machines.cluster.processes.pop().kill()
        server.release()
        (job,) = json.loads(process.communicate(timeout=PATIENCE_S)[0])
    assert (process.returncode, job["stage"], job["done_files"]) == (0, "done", 36)
    assert all(HOSTS[0] in machines.holders(dataset, server) for dataset in DATASETS)
    machines.add_worker(HOSTS[1])
    await_workers(machines.cluster, 3)


def test_ctrl_c_ends_it_here_and_on_the_cluster(
    machines: Machines, server: FaultServer, words: list[str], home: Path
) -> None:
    for dataset in DATASETS:
        server.fault(on_servers(dataset), Fault(stall_before_headers=True))
    with subprocess.Popen([*ONEFS, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        server.wait_for_requests(12)
        process.send_signal(signal.SIGINT)
        said, failures = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (130, "")
    assert "What is whole stays; the same again goes on from there." in failures
    assert "Traceback" not in failures
    wait_until(lambda: n_tasks(machines.cluster) == 0)
    wait_until(lambda: n_executing(machines.cluster) == 0)
    for dataset in DATASETS:
        server.fault(on_servers(dataset))
    server.release()
    assert job_of(run_onefs(*words, "--json"))["files"] == {"fetched": 36}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--mount", "/"], "Give --source, too."),
        (["--source", "demo", "--dry-run"], "Leave out --scheduler."),
        (["--source", "https://me:secret@localhost/archive"], "The URL in SOURCE holds a login"),
        (["--source", "https://localhost", "--proxy", "http://me:secret@localhost:3128"], "The URL in --proxy holds a"),
    ],
)
def test_what_cannot_be_spread_is_refused(more: list[str], told: str, home: Path) -> None:
    done = run_onefs("fetch", "**", "--scheduler", "127.0.0.1:1", *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "secret" not in done.stderr
