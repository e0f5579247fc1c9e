"""`ClusterJob`: fetching datasets on the workers of a Dask cluster, each into the cache of its own machine."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace

from onefs.catalogue.records import Dataset
from onefs.cluster import ClusterWorkers
from onefs.daemon.cluster_task import SourceSpec, TaskResult, fetch_here
from onefs.daemon.fetching import Fetching
from onefs.daemon.job import MOST_WITHOUT_ROOM
from onefs.daemon.job_state import Extent, JobState, Stage, fault
from onefs.daemon.work import key_of, title_of
from onefs.digests import digest64
from onefs.errors import OfflineError, OnefsError

FILES_PER_PART = 64
BYTES_PER_PART = 256 << 20
"""A task gets no more files once it has so many of them, or so many bytes."""
BUCKETS = 512
"""Sessions are grouped by a hash of their paths: small ones share tasks, and each has the same host at every run."""
LOOK_EVERY_S = 0.5
Datasets = Callable[[], Iterator[Dataset]]


class ClusterJob(JobState):
    """A fetch on a cluster. Safe to use from several threads. The context of the workers ends tasks under way."""

    def __init__(self, paths: Sequence[str], datasets: Datasets, workers: ClusterWorkers, spec: SourceSpec) -> None:
        """`paths` are those of the command; `datasets` gives the datasets that they match, anew at each call."""
        super().__init__(1, title_of("fetch", paths), key_of("fetch", paths))
        self._datasets = datasets
        self._workers = workers
        self._spec = spec

    def begin(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._run, name="onefs-cluster-job", daemon=True).start()

    def _run(self) -> None:
        try:
            self._fetch()
        except OnefsError as error:
            self._end(Stage.FAILED, error)
        except BaseException:
            self._end(Stage.FAILED, fault(self._title))
            raise

    def _fetch(self) -> None:
        if not self._run_on(self._counted()):
            return
        parts = parts_of(self._datasets())
        pending: dict[Future[TaskResult], int] = {}
        is_more = True
        while (is_more or pending) and not self.is_over:
            while is_more and len(pending) < self._workers.at_once:
                bucket, datasets = next(parts, ("", []))
                if datasets:
                    future = self._workers.submit_for(bucket, fetch_here, self._spec, datasets)
                    pending[future] = sum(dataset.size_bytes or 0 for dataset in datasets)
                is_more = bool(datasets)
            for future in wait(pending, LOOK_EVERY_S, FIRST_COMPLETED).done:
                self._take(future.result(), pending.pop(future))
            self._measure({})
        self._end(Stage.DONE)

    def _counted(self) -> Extent:
        files = size_bytes = 0
        for dataset in self._datasets():
            if self.is_over:
                break
            files, size_bytes = files + 1, size_bytes + (dataset.size_bytes or 0)
        return Extent(files, size_bytes, size_bytes)  # the contents of the workers' caches are unknown here

    def _take(self, done: TaskResult, size_bytes: int) -> None:
        done.outcomes.settled_bytes = size_bytes
        without_room = self._note(done.outcomes)
        last = done.outcomes.failures[-1].error if done.outcomes.failures else None
        if without_room >= MOST_WITHOUT_ROOM or isinstance(last, OfflineError):
            self._end(Stage.FAILED, last)
        elif done.error is not None:
            self._end(Stage.FAILED, done.error)


def fetch_on_cluster(
    fetching: Fetching, patterns: Sequence[str], workers: ClusterWorkers, spec: SourceSpec
) -> ClusterJob:
    """Begin to fetch what patterns match on a cluster. Raises `NotInCatalogueError`; `OfflineError` in mode local."""
    fetching.check(patterns)
    settings = fetching.settings
    at_once = min(max(settings.max_transfers // workers.n_threads, 1), settings.connections)
    spec = replace(spec, at_once=at_once)
    job = ClusterJob(patterns, lambda: fetching.datasets(patterns), workers, spec)
    job.begin()
    return job


def parts_of(datasets: Iterator[Dataset]) -> Iterator[tuple[str, list[Dataset]]]:
    """The datasets of each task, and its bucket. All datasets of a session have the same bucket, at every run."""
    buckets: dict[int, list[Dataset]] = {}
    bucket_bytes: dict[int, int] = {}
    for dataset in datasets:
        bucket = digest64([dataset.session_path.encode(errors="surrogateescape")]) % BUCKETS
        part = buckets.setdefault(bucket, [])
        part.append(dataset)
        bucket_bytes[bucket] = bucket_bytes.get(bucket, 0) + (dataset.size_bytes or 0)
        if len(part) >= FILES_PER_PART or bucket_bytes[bucket] >= BYTES_PER_PART:
            yield str(bucket), buckets.pop(bucket)
            del bucket_bytes[bucket]
    for bucket, part in buckets.items():
        yield str(bucket), part
