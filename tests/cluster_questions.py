"""What tests ask the scheduler of a Dask cluster."""

import os
from collections.abc import Callable
from typing import Any

from dask_cluster import DaskCluster
from distributed import Client
from waiting import PATIENCE_S


def asked(cluster: DaskCluster, question: Callable[..., Any]) -> Any:
    """What the scheduler answers to a question."""
    with Client(cluster.address, set_as_default=False) as client:
        return client.run_on_scheduler(question)


def await_workers(cluster: DaskCluster, number: int) -> None:
    """Return once there are so many workers."""
    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(number, timeout=PATIENCE_S)


def n_workers(cluster: DaskCluster) -> int:
    """How many workers there are."""
    return int(asked(cluster, lambda dask_scheduler: len(dask_scheduler.workers)))


def addresses(cluster: DaskCluster) -> dict[int, str]:
    """The addresses of the workers by the numbers of their processes."""
    with Client(cluster.address, set_as_default=False) as client:
        return {pid: address for address, pid in client.run(os.getpid).items()}


def n_tasks(cluster: DaskCluster) -> int:
    """How many tasks the scheduler knows."""
    return int(asked(cluster, lambda dask_scheduler: len(dask_scheduler.tasks)))


def n_executing(cluster: DaskCluster) -> int:
    """How many tasks run, though perhaps nobody wants them any more."""
    with Client(cluster.address, set_as_default=False) as client:
        return sum(client.run(lambda dask_worker: len(dask_worker.active_threads)).values())
