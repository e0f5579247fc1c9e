"""Fetching without a mount: finding files of a source by paths and patterns, and the job that fetches them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from onefs.archive.archive import Archive
from onefs.archive.reading import reading
from onefs.catalogue.records import Dataset
from onefs.daemon.file_commands import each_once, nothing_at
from onefs.daemon.job import Job
from onefs.daemon.jobs import Jobs
from onefs.daemon.orders import Orders, nothing_fetched
from onefs.modes import ALLOWED
from onefs.settings import Settings
from onefs.vfs.forest import Forest
from onefs.vfs.patterns import datasets_of


class Listed(NamedTuple):
    """A file that would be fetched. `size_bytes` is None where the catalogue does not know it."""

    path: str
    size_bytes: int | None
    is_cached: bool


@dataclass(frozen=True, slots=True)
class Fetching:
    """An archive whose files can be fetched into its cache. Safe to use from several threads."""

    archive: Archive
    settings: Settings
    forest: Forest
    orders: Orders
    jobs: Jobs

    def listed(self, patterns: Sequence[str]) -> Iterator[Listed]:
        """The files of `datasets`, as they are listed."""
        content = self.archive.content
        for dataset in self.datasets(patterns):
            yield Listed(dataset.path, dataset.size_bytes, content.cached_size(dataset) is not None)

    def start(self, patterns: Sequence[str]) -> Job:
        """Begin to fetch them. Raises `NotInCatalogueError`; `OfflineError` in mode local."""
        self.check(patterns)
        return self.jobs.start(self.orders.fetch(patterns, lambda: self.datasets(patterns)))

    def check(self, patterns: Sequence[str]) -> None:
        """Raise an error if nothing may be fetched, or a pattern means nothing."""
        source = self.archive.source
        if not ALLOWED[source.mode].fetching:
            raise nothing_fetched(source.mode, "Give --mode auto.", has_server=source.abilities.has_server)
        for pattern in patterns:
            if next(datasets_of(self.forest, pattern), None) is None:
                raise nothing_at(pattern)

    def datasets(self, patterns: Sequence[str]) -> Iterator[Dataset]:
        """The datasets that paths and patterns mean. Raises `NotInCatalogueError` if one means none."""
        return each_once([self._meant(pattern) for pattern in patterns])

    def _meant(self, pattern: str) -> Iterator[Dataset]:
        is_found = False
        for dataset in datasets_of(self.forest, pattern):
            is_found = True
            yield dataset
        if not is_found:
            raise nothing_at(pattern)


@contextmanager
def fetching(source_name: str, settings: Settings) -> Iterator[Fetching]:
    """A source, ready to be fetched from; its tables are renewed first if they are old. Raises any `OnefsError`."""
    at_once = min(settings.connections, settings.max_transfers)
    with reading(source_name, settings) as found, at_work(found.archive, at_once) as (orders, jobs):
        yield Fetching(found.archive, settings, found.forest, orders, jobs)


@contextmanager
def at_work(archive: Archive, fetches_at_once: int) -> Iterator[tuple[Orders, Jobs]]:
    """What makes the work of fetching into an archive's cache, and what does it."""
    jobs, source = Jobs(fetches_at_once), archive.source
    try:
        yield (
            Orders(
                archive.content,
                lambda: source.mode,
                fetches_at_once=fetches_at_once,
                has_server=source.abilities.has_server,
            ),
            jobs,
        )
        archive.content.flush()  # closing waits for a while only, and what has no stamp is hashed once more
    finally:
        jobs.close()
