"""What became of the datasets of a manifest: whether the archive still gives the bytes that were read."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from onefs.catalogue.interface import Catalogue, Rows
from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.revisions import Rule, edition_of, shown
from onefs.catalogue.snapshot import NO_EID
from onefs.daemon.recorded import Recorded
from onefs.errors import OnefsError
from onefs.recording.manifest import Entry
from onefs.text import counted

NOTHING_TO_COMPARE = "its hash and size are unknown, so nothing could be compared"


class Fate(StrEnum):
    """What an archive gives now for a dataset that was read. The first two give the same bytes."""

    SAME = "same"
    NEWER = "newer default"
    CHANGED = "changed"
    UNKNOWN = "unknown"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Finding:
    """The fate of one entry. `note` says more, in one line; `now` is what was found in its place, if anything."""

    entry: Entry
    fate: Fate
    note: str
    now: Dataset | None

    @property
    def is_same(self) -> bool:
        """Whether the same bytes are to be had."""
        return self.fate in (Fate.SAME, Fate.NEWER)

    def facts(self) -> dict[str, Any]:
        """For programs."""
        now = self.now
        return {
            "id": str(self.entry.id),
            "path": self.entry.path,
            "fate": self.fate.value,
            "note": self.note,
            "recorded": {"hash": self.entry.hash, "size": self.entry.size},
            "now": now and {"id": str(now.id), "path": now.path, "hash": now.md5, "size": now.size_bytes},
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The fates of all entries, by the tables made at `created`. `warning` says why newer were not asked for, or ""."""

    findings: Sequence[Finding]
    created: str
    warning: str

    def counts(self) -> str:
        """How many have which fate, in one line."""
        found = Counter(finding.fate for finding in self.findings)
        return ", ".join(f"{found[fate]} {fate}" for fate in Fate if found[fate])


def findings(
    recorded: Recorded, catalogue: Catalogue, ask: Callable[[Sequence[Dataset]], dict[UUID, Dataset]]
) -> list[Finding]:
    """The fate of each entry. `ask` asks a database for datasets that the catalogue does not list, and may raise."""
    look = _Look(catalogue)
    found = [look.find(dataset) for dataset in recorded.datasets]
    unlisted = [dataset for dataset, now in zip(recorded.datasets, found, strict=True) if now is None]
    told: dict[UUID, Dataset] = {}
    silence = ""
    try:
        told = ask(unlisted) if unlisted else {}
    except OnefsError as error:
        silence = f"the tables do not list it, and the database cannot be asked: {error.reason}"
    return [
        Finding(entry, Fate.UNKNOWN, silence, None)
        if now is None and silence
        else _finding(entry, now or told.get(entry.id), look, is_listed=now is not None)
        for entry, now in zip(recorded.entries, found, strict=True)
    ]


def _finding(entry: Entry, now: Dataset | None, look: "_Look", *, is_listed: bool) -> Finding:
    if now is None:
        return Finding(entry, Fate.GONE, "the archive does not list it any more", None)
    if not now.exists:
        return Finding(entry, Fate.GONE, "the archive says that no server has it any more", now)
    notes = _moved(entry, now)
    if not is_listed:
        notes.append("the tables do not list it yet, the database does")
    difference = _difference(entry, now)
    if difference:
        return Finding(entry, Fate.CHANGED, "; ".join([difference, *notes]), now)
    if not (entry.hash and now.md5):
        if entry.size is None or now.size_bytes is None:
            return Finding(entry, Fate.UNKNOWN, "; ".join([NOTHING_TO_COMPARE, *notes]), now)
        notes.insert(0, f"told by its size alone: {'the archive' if entry.hash else 'the manifest'} has no hash")
    if now.qc is QC.CRITICAL:
        notes.append("its QC is CRITICAL now")
    default = look.default_of(now)
    if default is None or not _is_newer(default, now, entry) or _same(default, now):
        return Finding(entry, Fate.SAME, "; ".join(notes), now)
    return Finding(entry, Fate.NEWER, "; ".join([f"the default is {default.rel_path} now", *notes]), now)


def _moved(entry: Entry, now: Dataset) -> list[str]:
    notes = []
    if now.path != entry.path:
        notes.append(f"its path is {now.path} now")
    if now.id != entry.id:
        notes.append(f"its id is {now.id} now")
    return notes


def _difference(entry: Entry, now: Dataset) -> str:
    """What tells that the bytes are others; "" if nothing does."""
    if entry.hash and now.md5:
        return "" if entry.hash == now.md5.lower() else f"its hash is {now.md5} now, and was {entry.hash}"
    if entry.size is None or now.size_bytes is None or entry.size == now.size_bytes:
        return ""
    return f"its size is {counted(now.size_bytes or 0, 'byte')} now, and was {entry.size}"


def _is_newer(default: Dataset, now: Dataset, entry: Entry) -> bool:
    """Whether a default has taken the place of what was read, which was the default itself then."""
    if entry.default is None:  # an older manifest
        return edition_of(default.rel_path)[1] > edition_of(now.rel_path)[1]
    return entry.default and default.id != now.id


def _same(one: Dataset, other: Dataset) -> bool:
    return bool(one.md5) and one.md5 == other.md5


class _Look:
    """Looks datasets up in a catalogue. What is known of a session is kept, as entries come session by session."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._session: UUID | None = None
        self._rows: Rows | None = None
        self._defaults: dict[str, int] = {}

    def find(self, wanted: Dataset) -> Dataset | None:
        """What stands for a dataset now: that of its id, else that of its path; rather one that has its bytes."""
        by_id = self._catalogue.dataset_of_id(wanted.id)
        if by_id is not None and by_id.exists and (by_id.md5 == wanted.md5 or by_id.path == wanted.path):
            return by_id
        by_path = self._at_path(wanted)
        candidates = [one for one in (by_id, by_path) if one is not None]
        candidates.sort(key=lambda one: (not one.exists, bool(wanted.md5) and one.md5.lower() != wanted.md5))
        return candidates[0] if candidates else None

    def default_of(self, dataset: Dataset) -> Dataset | None:
        """The default edition of a dataset's file."""
        rows = self._rows_of(dataset.eid)
        at = self._defaults.get(edition_of(dataset.rel_path)[0])
        return None if rows is None or at is None else rows.dataset(at)

    def _at_path(self, wanted: Dataset) -> Dataset | None:
        rows = self._rows_of(wanted.eid)
        if rows is None:
            return None
        at = bisect_left(rows.rel_paths, wanted.rel_path.encode(), key=str.encode)
        found = rows.dataset(at) if rows.rel_paths[at : at + 1] == [wanted.rel_path] else None
        return found if found is not None and found.path == wanted.path else None

    def _rows_of(self, eid: UUID | None) -> Rows | None:
        key = eid or NO_EID
        if key != self._session:
            row = self._catalogue.aggregates if eid is None else self._catalogue.session_of_eid(eid)
            self._session = key
            self._rows = None if row is None else self._catalogue.datasets(row)
            names = shown(self._rows, Rule(default_only=True)) if self._rows is not None else []
            self._defaults = {name: at for at, name in enumerate(names) if name is not None}
        return self._rows
