"""`LocalWorkers`: results and failures of tasks, and processes that are killed."""

import multiprocessing
import os
import signal
from concurrent.futures import wait
from multiprocessing.connection import Connection

import pytest

from onefs.errors import WorkerLostError
from onefs.workers import LocalWorkers, Tasks


def length(data: bytes) -> int:
    return len(data)


def fail(why: str) -> None:
    raise ValueError(why)


def own_pid() -> int:
    return os.getpid()


def end_while_answering(n_bytes: int) -> bytes:
    """A result of which only the first half is written when the process is killed."""

    def send_half(connection: Connection, data: memoryview) -> None:
        os.write(connection.fileno(), bytes(data)[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    Connection._send = send_half
    return bytes(n_bytes)


def end_at_once() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def something_local() -> object:
    return lambda: None


def results(tasks: Tasks) -> list:
    found = []
    while tasks:
        found += tasks.results()
    return found


def test_results_and_failures_come_back():
    with LocalWorkers(2) as workers:
        tasks = Tasks(workers)
        for n in range(20):
            tasks.begin(length, bytes(n * 10_000))
        assert sorted(results(tasks)) == [n * 10_000 for n in range(20)]
        tasks.begin(fail, "not so")
        with pytest.raises(ValueError, match="not so"):
            list(tasks.results())
    assert not multiprocessing.active_children()


def test_what_cannot_be_pickled_fails_alone():
    with LocalWorkers(1) as workers:
        for begun in (workers.submit(something_local), workers.submit(length, something_local())):
            with pytest.raises((AttributeError, TypeError), match=r"pickle|local"):
                begun.result()
        assert workers.submit(length, b"abc").result() == 3


@pytest.mark.parametrize("n_bytes", [1_000, 10_000_000])
def test_a_process_killed_while_it_answers_is_told(n_bytes):
    with pytest.raises(WorkerLostError, match="was killed"), LocalWorkers(2) as workers:
        tasks = Tasks(workers)
        tasks.begin(end_while_answering, n_bytes)
        results(tasks)
    assert not multiprocessing.active_children()


def test_a_lost_process_costs_no_result_of_another():
    with LocalWorkers(2) as workers:
        tasks = Tasks(workers)
        tasks._pending = {workers.submit(own_pid), workers.submit(own_pid), workers.submit(end_at_once)}
        wait(tasks._pending)
        found = []
        with pytest.raises(WorkerLostError):
            found.extend(tasks.results())
    assert len(found) == 2


def test_an_error_ends_what_is_under_way():
    def interrupted() -> None:
        with LocalWorkers(2) as workers:
            for _ in range(10):
                workers.submit(signal.pause)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not multiprocessing.active_children()


def test_ctrl_c_is_left_to_the_parent():
    with LocalWorkers(1) as workers:
        pid = workers.submit(own_pid).result()
        os.kill(pid, signal.SIGINT)
        assert workers.submit(own_pid).result() == pid
