"""`SourceInfo`: what `onefs info --source` tells of a session, dataset or probe, without a mount."""

from contextlib import suppress
from uuid import UUID

from onefs.archive.probes import Probes
from onefs.archive.reading import Reading
from onefs.catalogue.identifiers import FORMS, Identifier, identifier_of, resolve
from onefs.catalogue.records import Dataset
from onefs.catalogue.revisions import Rule, shown, why_hidden
from onefs.catalogue.sharing import datasets_shown
from onefs.errors import NotInCatalogueError, OfflineError, OnefsError, UsageError
from onefs.modes import Mode
from onefs.transports.addresses import shown as shown_url

Facts = dict[str, object]


class SourceInfo:
    """Tells all that is known of a session, dataset or probe of one source."""

    def __init__(self, reading: Reading, rule: Rule) -> None:
        self._archive = reading.archive
        self._catalogue = reading.catalogue
        self._rule = rule
        self._mode = self._archive.source.mode
        self._probes = Probes(self._archive.tables.insertions, self._archive.client, self._mode)

    def facts_of(self, word: str) -> list[Facts]:
        """The facts of each thing that a word names. Raises `UsageError`, `NotInCatalogueError`."""
        identifier = identifier_of(word)
        if identifier is None:
            raise not_an_identifier(word)
        found = resolve(self._catalogue, identifier, self._insertion)
        facts = [self._of_dataset(dataset) for dataset in found.datasets]
        facts += [self._of_session(row) for row in found.sessions]
        for pid, (eid, name) in found.probes.items():
            row = self._catalogue.find_session(eid)
            of_session: Facts = {"eid": str(eid)} if row is None else self._of_session(row)
            facts.append({"probe": name, "pid": str(pid), **of_session})
        if not facts:
            raise unknown(word, identifier, self._archive.source.name)
        return facts

    def _insertion(self, pid: UUID) -> tuple[UUID, str] | None:
        try:
            return self._probes.find(pid)
        except OfflineError:
            return None  # mode local: the id stays unknown

    def _of_session(self, row: int) -> Facts:
        session = self._catalogue.session(row)
        rows = datasets_shown(self._catalogue, self._catalogue.newest(row))
        names = shown(rows, self._rule)
        sizes = [max(size, 0) for size, name in zip(rows.sizes, names, strict=True) if name is not None]
        return {
            "path": session.path,
            "reference": session.reference,
            "eid": str(session.eid),
            "projects": session.projects,
            "task_protocol": session.task_protocol,
            "datasets": len(sizes),
            "size": sum(sizes),
            "probes": ", ".join(f"{name} ({pid})" for name, pid in self._probes.of_session(session.eid)),
            "cache_folder": str(self._archive.source.data_dir / session.path),
        }

    def _of_dataset(self, dataset: Dataset) -> Facts:
        content = self._archive.content
        inspection = content.inspect(dataset)
        cached = content.cached_path(dataset)
        row = self._catalogue.session_of_eid(dataset.eid) if dataset.eid else self._catalogue.aggregates
        rows = None if row is None else datasets_shown(self._catalogue, self._catalogue.newest(row))
        hidden = why_hidden(rows, self._rule, dataset.rel_path) if rows is not None else None
        of_session = {}
        if dataset.eid is not None and row is not None:
            of_session = {"reference": self._catalogue.session(row).reference}
        return {
            "path": dataset.path,
            **of_session,
            "id": str(dataset.id),
            "eid": None if dataset.eid is None else str(dataset.eid),
            "hash": dataset.md5 or None,
            "size": dataset.size_bytes,
            "qc": dataset.qc.name,
            "revision": dataset.revision,
            "default_revision": dataset.default_revision,
            "state": inspection.state.value,
            "source": inspection.source or None,
            "urls": list(inspection.urls) or self._urls_asked_for(dataset),
            "error": inspection.error or None,
            "cache_path": None if cached is None else str(cached),
            **({} if hidden is None else {"hidden": hidden[0]}),
        }

    def _urls_asked_for(self, dataset: Dataset) -> list[str]:
        """URLs of the file on servers, as the database tells them; none in mode local."""
        found: list[str] = []
        if self._mode is not Mode.LOCAL:
            with suppress(OnefsError):  # what is known without it is all that can be told
                found += [location.url for location in self._archive.locations.of(dataset) if not location.instead_of]
        return list(dict.fromkeys(map(shown_url, found)))


def not_an_identifier(word: str) -> UsageError:
    """The error for a word that has no form of an identifier."""
    return UsageError(f"{word!r} names nothing in an archive.", FORMS)


def unknown(word: str, identifier: Identifier, where: object) -> NotInCatalogueError:
    """The error for what is not in a catalogue."""
    if identifier.id is not None or identifier.reference is not None:
        remedy = "Look for it with onefs search, or in another source."
    else:
        remedy = "Look for its name with onefs list datasets."
    return NotInCatalogueError(f"{word} is not in the catalogue of {where}.", remedy)
