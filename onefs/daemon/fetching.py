"""Fetching without a mount: finding files of a source by paths and patterns, and the job that fetches them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from onefs.alf import STATE_FOLDER
from onefs.archive.archive import Archive, rule_of
from onefs.archive.catalogues import Catalogues, Known
from onefs.archive.opening import opened
from onefs.archive.questions import AlyxQuestions
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.records import Dataset
from onefs.daemon.file_commands import each_once, nothing_at
from onefs.daemon.job import Job
from onefs.daemon.jobs import Jobs
from onefs.daemon.orders import Orders, nothing_fetched
from onefs.modes import ALLOWED, Mode
from onefs.settings import Settings
from onefs.sources.source import prepare
from onefs.vfs import inodes
from onefs.vfs.forest import Forest
from onefs.vfs.nodes import Directory
from onefs.vfs.patterns import datasets_of
from onefs.vfs.tree import Tree
from onefs.vfs.views import View


class Listed(NamedTuple):
    """A file that would be fetched. `size_bytes` is None where the catalogue does not know it."""

    path: str
    size_bytes: int | None
    is_cached: bool


@dataclass(frozen=True, slots=True)
class Fetching:
    """An archive whose files can be fetched into its cache. Safe to use from several threads."""

    archive: Archive
    forest: Forest
    orders: Orders
    jobs: Jobs

    def listed(self, patterns: Sequence[str]) -> Iterator[Listed]:
        """The files that paths and patterns mean. Raises `NotInCatalogueError` if one means none."""
        content = self.archive.content
        for dataset in self._datasets(patterns):
            yield Listed(dataset.path, dataset.size_bytes, content.cached_size(dataset) is not None)

    def start(self, patterns: Sequence[str]) -> Job:
        """Begin to fetch them. Raises `NotInCatalogueError`; `OfflineError` in mode local."""
        source = self.archive.source
        if not ALLOWED[source.mode].fetching:
            raise nothing_fetched(source.mode, "Give --mode auto.", has_server=source.abilities.has_server)
        for pattern in patterns:
            if next(datasets_of(self.forest, pattern), None) is None:
                raise nothing_at(pattern)
        return self.jobs.start(self.orders.fetch(patterns, lambda: self._datasets(patterns)))

    def _datasets(self, patterns: Sequence[str]) -> Iterator[Dataset]:
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
    with opened(source_name, settings) as source:
        prepare(source)
        archive = Archive(source, settings)
        jobs = Jobs()
        try:
            archive.refresher.refresh_if_due()
            orders = Orders(
                archive.content,
                lambda: source.mode,
                max_transfers=settings.max_transfers,
                has_server=source.abilities.has_server,
            )
            yield Fetching(archive, _forest(_catalogue(archive, source.mode), settings), orders, jobs)
            archive.content.flush()  # closing waits for a while only, and what has no stamp is hashed once more
        finally:
            jobs.close()
            archive.close()


def _catalogue(archive: Archive, mode: Mode) -> Catalogue:
    client = archive.client
    if client is None or not ALLOWED[mode].live_catalogue:
        return archive.tables

    def questions(known: Known) -> AlyxQuestions:
        assert client is not None
        return AlyxQuestions(client, known, archive.source.tag)

    return Catalogues(
        archive.tables,
        questions,
        lambda edition, changes: None,  # noqa: ARG005
        lambda error: None,  # noqa: ARG005
        expiry_s=lambda: client.default_expiry_s,
    ).asking


def _forest(catalogue: Catalogue, settings: Settings) -> Forest:
    """The tree as a mount would show it."""
    control = Directory(inodes.ROOT + 1, inodes.ROOT, STATE_FOLDER, STATE_FOLDER, 0)
    return Forest(Tree(catalogue, View(0, rule_of(settings)), {}), control, {}, {})
