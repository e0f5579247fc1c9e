"""`cluster_workers`, which runs tasks on a Dask cluster; distributed is imported only when that is used."""

import asyncio
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from onefs import __version__
from onefs.cluster_connection import await_workers, check_versions, connect, no_workers, other_versions, without_onefs
from onefs.digests import digest64
from onefs.errors import ClusterError, OnefsError, UsageError, WorkerLostError
from onefs.workers import counting

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as DaskFuture

T = TypeVar("T")
CLOSE_S = 10.0
WORKERS_AWAITED_S = 60.0
"""How long to wait for a first worker, and for another when all are lost."""
SILENT_S = 60.0
"""How long the scheduler may take to answer."""
LOOK_EVERY_S = 2.0
TASKS_PER_THREAD = 3
"""Enough that no worker is idle while this process handles results."""
_AGAIN = "Look at its log, start it again if it has ended, and run the same command again."
_log = logging.getLogger(__name__)


@contextmanager
def cluster_workers(
    scheduler: str, shared: Path | None = None, *, awaits_workers_s: float = WORKERS_AWAITED_S
) -> Iterator["ClusterWorkers"]:
    """The workers of a Dask cluster. At the end of the context all tasks that are still under way are cancelled.

    `scheduler` is its address as distributed takes it, or the path of its scheduler file. `shared` is a folder that
    the tasks read: a task fails on a worker where another folder, or none, has that path.
    Raises `ClusterError` if they cannot be used, `UsageError` if the extra is not installed or the address is wrong.
    """
    place = None if shared is None else _Place.here(shared)
    client = connect(scheduler)
    try:
        await_workers(client, scheduler, awaits_workers_s)
        check_versions(client)
        workers = ClusterWorkers(client, scheduler, place, awaits_workers_s)
        try:
            yield workers
        finally:
            workers.close()
    finally:
        with suppress(Exception):  # a scheduler that is gone needs no farewell
            client.close(CLOSE_S)


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder and its inode number, by which others at that path differ. (Device numbers differ by machine.)"""

    path: Path
    inode: int

    @classmethod
    def here(cls, folder: Path) -> Self:
        """A folder of this machine. Raises `UsageError` if there is none."""
        try:
            return cls(folder.resolve(), folder.stat().st_ino)
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be read: {error.strerror}.", "Name a folder that this machine and the workers see."
            ) from error

    def check(self) -> None:
        """Raise `ClusterError` if it is another folder on this machine, or none that may be read."""
        try:
            is_same = self.path.stat().st_ino == self.inode
            os.close(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            what = "another folder than here"
        except OSError as error:
            is_same = False
            what = f"not to be read ({(error.strerror or 'unknown').lower()})"
        if not is_same:
            raise ClusterError(
                f"On the worker {worker_address()}, {self.path} is {what}.",
                "Use workers that see the folder under the same path, and may read it.",
            )


@dataclass(eq=False, slots=True)
class _Task:
    """A task under way. `key` chooses its host, if it has one; `is_moved` while another host is to be chosen."""

    payload: bytes
    key: str
    future: "Future[Any]"
    host: str = ""
    dask: "DaskFuture[Any] | None" = None
    is_moved: bool = False


class ClusterWorkers:
    """Runs tasks on a Dask cluster. Safe to use from several threads.

    A task whose worker is lost is run again by another; results leave the cluster when they have arrived here.
    """

    def __init__(self, client: "Client", scheduler: str, place: _Place | None, awaits_workers_s: float) -> None:
        self._client = client
        self._scheduler = scheduler
        self._place = place
        self._awaits_workers_s = awaits_workers_s
        self._threads: Mapping[str, int] = client.nthreads()  # by the addresses of workers
        self.at_once = self._room()
        self._tasks: set[_Task] = set()  # used by the client's thread alone, as all below
        self._error: OnefsError | None = None
        client.loop.add_callback(self._watch)

    @property
    def n_threads(self) -> int:
        """How many tasks run at the same time."""
        return sum(self._threads.values()) or 1

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> "Future[T]":
        """Begin a task.

        Its future raises what the task raised; `WorkerLostError` if it took several workers down; `ClusterError` if
        the cluster is lost.
        """
        return self.submit_for("", function, *arguments)

    def submit_for(self, key: str, function: Callable[..., T], /, *arguments: Any) -> "Future[T]":
        """Begin a task on the host of its key, which is the same for all tasks of the key as long as it has workers."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        task = _Task(pickle.dumps((self._place, function, arguments)), key, future)
        try:
            self._client.loop.add_callback(self._run, task)
        except RuntimeError:  # its loop has ended
            future.set_exception(self._lost())
        return future

    def close(self) -> None:
        """Cancel what is under way. Tasks that run end at their next call of `is_wanted` or `count`."""
        with suppress(Exception):  # a scheduler that is gone runs nothing
            self._client.sync(
                self._cancel, ClusterError("The context of the workers has ended."), callback_timeout=CLOSE_S
            )

    async def _run(self, task: _Task) -> None:
        """Run a task to its end, on another host if its own is lost meanwhile."""
        self._tasks.add(task)
        try:
            while True:
                try:
                    result = await self._begun(task)
                except CancelledError:
                    if not task.is_moved or self._error is not None:
                        raise
                    task.is_moved = False
                else:
                    self._release(task)
                    task.future.set_result(result)
                    return
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            error_here = self._error_of(error, task)
            self._release(task)
            task.future.set_exception(error_here)

    def _begun(self, task: _Task) -> "DaskFuture[Any]":
        if self._error is not None:
            raise self._error
        task.host = self._host_for(task.key)
        task.dask = self._client.submit(_called, __version__, task.payload, pure=False, workers=task.host or None)
        return task.dask

    def _release(self, task: _Task) -> None:
        self._tasks.discard(task)
        if task.dask is not None:
            task.dask.release()

    def _host_for(self, key: str) -> str:
        """The host of a key. If one host is lost, only its keys get others."""
        if not key:
            return ""
        return max(
            self._hosts(), key=lambda host: digest64([host.encode(), key.encode(errors="surrogateescape")]), default=""
        )

    def _hosts(self) -> list[str]:
        from distributed.comm.addressing import get_address_host

        return sorted({get_address_host(address) for address in self._threads})

    def _room(self) -> int:
        return self.n_threads * TASKS_PER_THREAD

    def _error_of(self, error: BaseException, task: _Task) -> BaseException:
        """The error for the caller of a task: what the task raised, or ours for what happened to the cluster."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, OnefsError):
            return error
        if isinstance(error, KilledWorker):
            return WorkerLostError(
                f"{error.allowed_failures + 1} workers of the cluster ended, one after another, in the same task.",
                "Look for the cause in their logs, such as want of memory.",
            )
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "onefs":
            return without_onefs("a worker of the cluster")
        if task.dask is not None and task.dask.status == "error":
            return error
        self._error = self._error or self._lost()
        return self._error

    def _lost(self) -> ClusterError:
        return ClusterError(
            f"The Dask scheduler at {self._scheduler} ended or restarted, or the connection broke.", _AGAIN
        )

    async def _watch(self) -> None:
        """Keep track of the workers until the client is closed. Cancel all tasks if there are none for too long."""
        loop = asyncio.get_running_loop()
        seen_s = loop.time()
        while self._client.status in ("running", "connecting"):
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                self._threads = await asyncio.wait_for(self._client.nthreads(), SILENT_S)
            except TimeoutError:
                await self._cancel(ClusterError(f"The Dask scheduler at {self._scheduler} does not answer.", _AGAIN))
                return
            except Exception as error:  # noqa: BLE001 - the client itself notices a connection that broke
                _log.info("The scheduler at %s cannot be asked: %s", self._scheduler, error)
                continue
            self.at_once = self._room()
            if self._threads:
                seen_s = loop.time()
                await self._move_from_lost_hosts()
            elif self._tasks and loop.time() - seen_s > self._awaits_workers_s:
                await self._cancel(no_workers(self._scheduler))
                return

    async def _move_from_lost_hosts(self) -> None:
        hosts = self._hosts()
        for task in list(self._tasks):
            if task.host and task.host not in hosts and task.dask is not None:
                task.is_moved = True
                await self._client.cancel([task.dask])

    async def _cancel(self, error: OnefsError) -> None:
        """Cancel all tasks, and run no more. Their futures raise the error."""
        self._error = error
        begun = [task.dask for task in self._tasks if task.dask is not None]
        if begun:
            await self._client.cancel(begun)


def is_wanted() -> bool:
    """Whether the task that calls this, in its own thread, was not cancelled."""
    from distributed import get_worker

    worker = get_worker()
    state = worker.state.tasks.get(worker.get_current_task())
    return (
        state is not None and state.state != "cancelled" and worker.status.name not in ("closing", "closed", "failed")
    )


def worker_address() -> str:
    """The address of the worker that runs the task which calls this."""
    from distributed import get_worker

    return str(get_worker().address)


def _end_if_unwanted(done: int) -> None:
    del done
    if not is_wanted():
        raise ClusterError("This task was cancelled.")


def _called(version: str, payload: bytes) -> Any:
    """Run a task, on a worker."""
    if version != __version__:
        raise other_versions("onefs", version, "a worker of the cluster", __version__)
    place, function, arguments = pickle.loads(payload)  # noqa: S301 - it comes as the call itself does
    if place is not None:
        place.check()
    with counting(_end_if_unwanted):
        result = function(*arguments)
    if place is not None:
        place.check()
    return result
