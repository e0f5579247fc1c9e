"""`Descriptions`: how a database describes dataset types, datasets and revisions."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from onefs import alf
from onefs.alyx.client import AlyxClient
from onefs.alyx.lookups import find_dataset_by_name, find_record
from onefs.alyx.pages import AlyxRecord
from onefs.alyx.told import DATASETS
from onefs.archive.opening import opened
from onefs.errors import NotInCatalogueError, OfflineError, UsageError
from onefs.modes import Mode
from onefs.outages import Outages
from onefs.settings import Settings
from onefs.sources.databases import open_database
from onefs.sources.source import prepare

TYPES, REVISIONS = "dataset-types", "revisions"


@contextmanager
def describing(source_name: str, settings: Settings) -> "Iterator[Descriptions]":
    """The descriptions of a source's database; its tables are not opened.

    Raises `UsageError` if it has none, `OfflineError` in mode local, and what opening a source raises.
    """
    with opened(source_name, settings) as source:
        if source.database is None:
            raise UsageError(
                f"Descriptions come from a database, and {source.name} has none.",
                "Name one with --source, such as openalyx.",
            )
        if source.mode is Mode.LOCAL:
            raise OfflineError(
                "Descriptions come from the database, which mode local does not ask.", "Choose --mode auto."
            )
        prepare(source)
        client = open_database(source.database, settings, source.state_dir, outages=Outages())
        try:
            yield Descriptions(client)
        finally:
            client.close()


class Descriptions:
    """Records of a database with descriptions. Raises what the client raises, and `NotInCatalogueError`."""

    def __init__(self, client: AlyxClient) -> None:
        self._client = client

    def all(self, endpoint: str) -> list[AlyxRecord]:
        """All dataset types, or all revisions, sorted by name."""
        return sorted(self._client.records(endpoint), key=lambda record: str(record.get("name", "")))

    def dataset_type(self, name: str) -> AlyxRecord:
        """A dataset type by its name."""
        return self._named(TYPES, name, "dataset type", "See all: onefs describe dataset-types.")

    def revision(self, name: str) -> AlyxRecord:
        """A revision by its name, with or without the signs around it."""
        return self._named(REVISIONS, name.strip("#"), "revision", "See those of a session: onefs list revisions.")

    def dataset(self, name: str) -> AlyxRecord:
        """The type of a dataset, by the dataset's id or its whole file name."""
        return self.dataset_type(self._type_of(name))

    def _type_of(self, name: str) -> str:
        if alf.UUID_PART.fullmatch(name):
            record = find_record(self._client, DATASETS, str(UUID(name)))
        else:
            record = find_dataset_by_name(self._client, name)
        found = (record or {}).get("dataset_type")
        if not found:
            raise NotInCatalogueError(
                f"The database has no dataset {name}.", "Give an id, or the whole name of a file, without its folder."
            )
        return str(found)

    def _named(self, endpoint: str, name: str, what: str, remedy: str) -> AlyxRecord:
        record = find_record(self._client, endpoint, name)
        if record is None:
            raise NotInCatalogueError(f"The database describes no {what} {name}.", remedy)
        return record
