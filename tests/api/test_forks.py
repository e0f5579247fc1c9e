"""One object used in several processes: those that a program forks off, as its pools of workers do."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alyx_archive import AlyxArchive

from onefs import OneAlyx
from onefs.demo.server import DemoServer

SESSION = "lab/Subjects/mouse/2024-01-02/001"
NAMES = [f"{SESSION}/alf/spikes.{name}.npy" for name in ("amps", "depths", "times")]
HANGS_S = 60.0


@pytest.fixture
def archive(home: Path) -> AlyxArchive:
    """A session with three arrays of one object."""
    archive = AlyxArchive(home / "archive")
    np.save(home / "array.npy", np.arange(10.0))
    archive.put_all(dict.fromkeys(NAMES, (home / "array.npy").read_bytes()))
    archive.publish()
    return archive


@pytest.fixture
def one(archive: AlyxArchive, server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneAlyx]:
    monkeypatch.setenv("ONEFS_DATA_URL", server.data_url)
    monkeypatch.setenv("ONEFS_DATA_USER", "demo")
    monkeypatch.setenv("ONEFS_DATA_PASSWORD", "demo")
    one = OneAlyx(base_url=server.url, username="demo", password="demo", cache_dir=home / "cache", silent=True)
    yield one
    one._archive.close()


def in_a_fork(ask: Callable[[], Any]) -> Any:
    """What a function returns in a process that is forked off."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(ask()))
    child.start()
    there.close()
    try:
        return here.recv() if here.poll(HANGS_S) else "it hangs"
    finally:
        child.kill()
        child.join()


def test_a_forked_process_loads_with_the_object_of_its_parent(archive: AlyxArchive, one: OneAlyx) -> None:
    eid = str(archive.sessions[SESSION].eid)
    one.load_dataset(eid, "spikes.amps")  # the threads that fetched it are idle now, and are not in the child
    assert in_a_fork(lambda: len(one.load_dataset(eid, "spikes.times"))) == 10
    assert in_a_fork(lambda: set(one.load_object(eid, "spikes"))) == {"amps", "depths", "times"}
    assert len(one.load_dataset(eid, "spikes.depths")) == 10


def test_a_forked_process_asks_the_database_on_connections_of_its_own(
    archive: AlyxArchive, server: DemoServer, one: OneAlyx
) -> None:
    eid = str(archive.sessions[SESSION].eid)

    def ask() -> tuple[int, str]:
        record = one.alyx.rest("sessions", "read", id=eid, no_cache=True)
        return os.getpid(), record["subject"]

    ask()
    session = one._client._connection._sender._session
    pid, subject = in_a_fork(ask)
    assert (pid != os.getpid(), subject) == (True, "mouse")
    assert in_a_fork(lambda: one._client._connection._sender._session is session) is False
    assert ask() == (os.getpid(), "mouse")
