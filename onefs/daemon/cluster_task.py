"""The tasks of `onefs fetch --scheduler`: fetching some files on a worker of the cluster."""

import atexit
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from onefs.archive.archive import Archive
from onefs.archive.opening import opened
from onefs.catalogue.empty_snapshot import empty_snapshot
from onefs.catalogue.records import Dataset
from onefs.cluster import is_wanted, worker_address
from onefs.configuration import config_file, merge
from onefs.daemon.fetching import at_work
from onefs.daemon.job_state import Failure, Outcomes
from onefs.daemon.jobs import Jobs
from onefs.daemon.orders import Orders
from onefs.errors import CacheDamagedError, NoRoomError, OnefsError, UsageError
from onefs.forks import new_lock
from onefs.redaction import without_logins
from onefs.settings import Settings, table
from onefs.sources.names import is_name, look_up, named, source_of
from onefs.sources.source import prepare

LOOK_EVERY_S = 0.2
IDLE_S = 60.0
"""How long a source stays open on a worker after the last task."""
_OF_A_HOST = (NoRoomError, CacheDamagedError)
"""Errors whose cause is the worker's host and not the file; they name the worker."""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What a worker needs to open a source: where it is, and the flags that override the worker's configuration.

    `name` is the source's name in the configuration, "" if the user gave none. Each task fetches `at_once` files at
    the same time.
    """

    source: str
    name: str
    flags: tuple[tuple[str, str], ...]
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The outcomes of the files of one task; `error` is why it ended early, None if it did not."""

    outcomes: Outcomes
    error: OnefsError | None


def source_spec(name: str, source: str, flags: Mapping[str, str]) -> SourceSpec:
    """What workers need to open a source. Raises `UsageError` if that would send them a login."""
    directory = os.path.expanduser(source)  # noqa: PTH111 - leaves a user that does not exist as it is
    if os.path.isdir(directory):  # noqa: PTH112
        source = os.path.realpath(directory)
    for what, value in (("SOURCE", source), *((f"--{key.replace('_', '-')}", value) for key, value in flags.items())):
        if without_logins(value) != value:
            raise UsageError(
                f"The URL in {what} holds a login, which is not sent to the workers of a cluster.",
                "Put it into ~/.config/onefs/config.toml on the workers' machines, and leave it out here.",
            )
    whole = {entry.key: entry.text(entry.parse(flags[entry.key])) for entry in table() if entry.key in flags}
    return SourceSpec(source, name if is_name(name) else "", tuple(sorted(whole.items())))


def fetch_here(spec: SourceSpec, datasets: Sequence[Dataset]) -> TaskResult:
    """Fetch datasets into the cache of this machine. Raises any `OnefsError` if the source cannot be opened here."""
    try:
        with _sources.using(spec) as source:
            return source.fetch(datasets)
    except OnefsError as error:
        raise _with_worker(error) from error


class _OpenSource:
    """An open source. It is closed when it had no `users` for `idle_s`."""

    def __init__(self, spec: SourceSpec) -> None:
        self.users = 0
        self.idle_s = IDLE_S
        self.idle: threading.Timer | None = None
        self._stack = ExitStack()
        with ExitStack() as stack:
            settings = _settings(spec)
            source = stack.enter_context(opened(spec.source, settings))
            prepare(source)
            # Datasets come with all that is needed to fetch them, so this machine needs no tables.
            self._archive = Archive(source, settings, tables=empty_snapshot(source.tables_dir))
            stack.callback(self._archive.close)
            work = stack.enter_context(at_work(self._archive, spec.at_once))
            self._orders: Orders = work[0]
            self._jobs: Jobs = work[1]
            self._stack = stack.pop_all()

    def fetch(self, datasets: Sequence[Dataset]) -> TaskResult:
        """Fetch datasets; stop if the task was cancelled."""
        work = self._orders.fetch([dataset.path for dataset in datasets], lambda: iter(datasets))
        job = self._jobs.start(work)
        while not job.wait(LOOK_EVERY_S):
            if not is_wanted():
                job.stop()
                self.idle_s = 0.0  # nothing else ends the transfers that are under way
        self._archive.content.flush()  # this process may be killed
        outcomes = job.outcomes
        outcomes.failures = [
            Failure(each.path, _with_worker(each.error)) if isinstance(each.error, _OF_A_HOST) else each
            for each in outcomes.failures
        ]
        return TaskResult(outcomes, job.error)

    def close(self) -> None:
        """Close it."""
        self._stack.close()


class _OpenSources:
    """The open sources of this process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = new_lock()  # guards all below, and is held while a source is opened or closed
        self._open: dict[SourceSpec, _OpenSource] = {}
        self._is_registered = False

    @contextmanager
    def using(self, spec: SourceSpec) -> Iterator[_OpenSource]:
        """A source, opened if it is not open; it is closed when nobody has used it for its `idle_s`."""
        with self._lock:
            if not self._is_registered:
                atexit.register(self.close)
                self._is_registered = True
            source = self._open.get(spec)
            if source is None:
                source = self._open[spec] = _OpenSource(spec)
            source.users += 1
            if source.idle is not None:
                source.idle.cancel()
                source.idle = None
        try:
            yield source
        finally:
            with self._lock:
                source.users -= 1
                if not source.users:
                    source.idle = threading.Timer(source.idle_s, self._close_idle, (spec, source))
                    source.idle.daemon = True
                    source.idle.start()

    def close(self) -> None:
        """Close all."""
        with self._lock:
            for source in self._open.values():
                source.close()
            self._open.clear()

    def _close_idle(self, spec: SourceSpec, source: _OpenSource) -> None:
        with self._lock:
            if not source.users and self._open.get(spec) is source:
                del self._open[spec]
                source.close()


_sources = _OpenSources()


def _settings(spec: SourceSpec) -> Settings:
    """The settings in force on this machine: those of its configuration, below the flags that were given."""
    is_known = bool(spec.name) and source_of(spec.name) == spec.source
    found = look_up(spec.name) if is_known else named(spec.source)
    return merge(dict(spec.flags), os.environ, config_file(), found.file)


def _with_worker(error: OnefsError) -> OnefsError:
    return type(error)(f"On the worker {worker_address()}: {error.reason}", error.remedy)
