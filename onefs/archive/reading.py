"""`reading`: opens a source, with its catalogue and searches, to query and read it without a mount."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from onefs.alf import STATE_FOLDER
from onefs.archive.archive import Archive, rule_of
from onefs.archive.catalogues import Catalogues, Known
from onefs.archive.opening import opened
from onefs.archive.questions import AlyxQuestions
from onefs.archive.searches import Searches, searches_of_database
from onefs.catalogue.changes import Changes
from onefs.catalogue.interface import Catalogue
from onefs.modes import ALLOWED
from onefs.settings import Settings
from onefs.sources.source import prepare
from onefs.vfs import inodes
from onefs.vfs.forest import Forest
from onefs.vfs.nodes import Directory
from onefs.vfs.queries import Queries
from onefs.vfs.tree import Tree
from onefs.vfs.views import View


@dataclass(frozen=True, slots=True)
class Reading:
    """An archive, its catalogue, its searches, and its tree as a mount would show it."""

    archive: Archive
    catalogue: Catalogue
    searches: Searches
    forest: Forest


@contextmanager
def reading(source_name: str, settings: Settings) -> Iterator[Reading]:
    """Open a source by its name, after renewing its tables if they are old. Raises any `OnefsError`."""
    with opened(source_name, settings) as source:
        prepare(source)
        archive = Archive(source, settings)
        try:
            archive.refresher.refresh_if_due()
            catalogues = _catalogues(archive)
            is_live = ALLOWED[source.mode].live_catalogue
            catalogue = catalogues.asking if is_live else archive.tables
            database = searches_of_database(archive.client, catalogues) if is_live else None
            searches = Searches(lambda: catalogue, source.state_dir, lambda: database)
            control = Directory(inodes.ROOT + 1, inodes.ROOT, STATE_FOLDER, STATE_FOLDER, 0)
            root = Tree(catalogue, View(0, rule_of(settings)), {})
            yield Reading(
                archive, catalogue, searches, Forest(root, control, {}, {}, queries=Queries(control, searches))
            )
        finally:
            archive.close()


def _catalogues(archive: Archive) -> Catalogues:
    client = archive.client

    def questions(known: Known) -> AlyxQuestions:
        assert client is not None
        return AlyxQuestions(client, known, archive.source.tag)

    def expiry_s() -> float:
        return client.default_expiry_s if client is not None else 0.0

    def learned(edition: int, changes: Changes) -> None:
        del changes
        catalogues.takes(edition)

    catalogues = Catalogues(
        archive.tables,
        None if client is None else questions,
        learned,
        lambda error: None,  # noqa: ARG005
        expiry_s=expiry_s,
    )
    return catalogues
