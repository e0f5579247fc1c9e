"""What tests ask the scheduler of a Dask cluster."""

from collections.abc import Callable
from typing import Any

from dask_cluster import DaskCluster
from distributed import Client


def asked(cluster: DaskCluster, question: Callable[..., Any]) -> Any:
    """What the scheduler answers to a question."""
    with Client(cluster.address, set_as_default=False) as client:
        return client.run_on_scheduler(question)


def n_workers(cluster: DaskCluster) -> int:
    """How many workers there are."""
    return int(asked(cluster, lambda dask_scheduler: len(dask_scheduler.workers)))


def n_tasks(cluster: DaskCluster) -> int:
    """How many tasks the scheduler knows."""
    return int(asked(cluster, lambda dask_scheduler: len(dask_scheduler.tasks)))


def n_executing(cluster: DaskCluster) -> int:
    """How many tasks run, though perhaps nobody wants them any more."""
    with Client(cluster.address, set_as_default=False) as client:
        return sum(client.run(lambda dask_worker: len(dask_worker.active_threads)).values())
