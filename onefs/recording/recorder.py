"""`Recorder`: what was read, and by whom; one recording of all of the mount, and one for each label."""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from onefs.catalogue.records import Dataset
from onefs.errors import BusyError, UsageError
from onefs.fetch.descriptors import Edition
from onefs.recording.labels import EVERYTHING
from onefs.recording.manifest import Entry
from onefs.recording.processes import Identity, Reader, process

_log = logging.getLogger(__name__)

Key = tuple[UUID, str, str, int | None]
"""What tells one edition of a dataset from another: id, path, hash, size."""


@dataclass(slots=True)
class Recording:
    """What was read under one label. With `roots`, only what those processes and their descendants read counts."""

    label: str
    is_on: bool = False
    is_listed: bool = False
    roots: set[Identity] = field(default_factory=set)
    entries: dict[Key, Entry] = field(default_factory=dict)
    unsure: dict[Key, tuple[Dataset, Edition | None]] = field(default_factory=dict)
    """Those whose hash nobody knew when they were read, with the copy that was read."""

    def wants(self, reader: Reader) -> bool:
        """Whether what this reader reads counts."""
        return self.is_on and (not self.roots or any(map(reader.descends_from, self.roots)))


class OtherEntries(Protocol):
    """What others recorded, to be shown and saved with what a recorder has."""

    def entries(self) -> list[Entry]: ...


class Recorder:
    """The recordings of one mount. Off at first. Safe to use from several threads.

    `md5_of` gives the MD5 of a dataset's copy, "" if nobody knows it; `is_default` whether a dataset is the default
    edition of its file, and is asked by one thread at a time. `others` are entries without a label of other programs.
    `on_added` is told of each entry as it comes, `on_taken_away` that some have gone or become another.
    """

    def __init__(
        self,
        source: str,
        md5_of: Callable[[Dataset, Edition | None], str],
        *,
        is_default: Callable[[Dataset], bool] = lambda dataset: bool(dataset.default_revision),
        others: OtherEntries | None = None,
        on_added: Callable[[Entry], None] = lambda entry: None,  # noqa: ARG005
        on_taken_away: Callable[[], None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._md5_of = md5_of
        self._is_default = is_default
        self._others = others
        self._on_added = on_added
        self._on_taken_away = on_taken_away
        self._now = now
        self._on_label: Callable[[str, bool], None] = lambda label, is_listed: None  # noqa: ARG005
        self._lock = threading.RLock()  # guards the three below, and all recordings
        self._recordings: dict[str, Recording] = {}
        self._turns = 0
        self.turn = 0
        """0 while nothing is recorded; else another number whenever what was counted already may count again."""

    def show_labels(self, show: Callable[[str, bool], None]) -> None:
        """Tell of each label that it is to be listed, of those to come as they come; and that it is not, as they go."""
        with self._lock:
            self._on_label = show
            for label, recording in self._recordings.items():
                if label and recording.is_listed:
                    show(label, True)

    def restore(self, entries: Iterable[Entry]) -> int:
        """Put back what was recorded before the mount ended, and give how many there are."""
        with self._lock:
            for entry in entries:
                self._recording(entry.label).entries[_key(entry)] = entry
            return sum(len(each.entries) for each in self._recordings.values())

    # -- switching -----------------------------------------------------------------------------------------------

    def turn_on(self, label: str = EVERYTHING, pid: int | None = None) -> None:
        """Count reads under a label; with `pid`, those of that process and its descendants, as long as it runs.

        Raises `UsageError`, or `BusyError` if the label counts what others read.
        """
        root = None if pid is None else process(pid)
        if pid is not None and root is None:
            raise UsageError(f"There is no process {pid}.", "Give the PID of one that runs.")
        with self._lock:
            self._end_finished()
            recording = self._recording(label)
            if recording.is_on and bool(recording.roots) != (root is not None):
                whom = "some programs alone" if recording.roots else "every program"
                raise BusyError(
                    f"{label or 'The recording without a label'} is on for {whom}.",
                    "Turn it off first (onefs record off), or take another label.",
                )
            if root is not None:
                recording.roots.add(root.identity)
            recording.is_on = True
            self._turned()

    def is_run(self, reader: Reader) -> bool:
        """Whether a recording is on for this process, or one above it, alone: as `onefs record run` does."""
        with self._lock:
            return any(each.roots and each.wants(reader) for each in self._recordings.values())

    def turn_off(self, label: str | None = None, pid: int | None = None) -> None:
        """Count no more under a label, or under any; with `pid`, only what that process reads no more.

        Raises `UsageError` if there is no such label.
        """
        with self._lock:
            for recording in self._chosen(label):
                if pid is None:
                    recording.roots, recording.is_on = set(), False
                elif recording.roots:
                    recording.roots = {root for root in recording.roots if root.pid != pid}
                    recording.is_on = bool(recording.roots)
            self._turned()

    def clear(self, label: str | None = None, entries: Iterable[Entry] | None = None) -> None:
        """Forget what was counted under a label, or under any; or only these entries. What is on stays on.

        Labels that are off and have nothing are listed no more. Raises `UsageError` if there is no such label.
        """
        with self._lock:
            for recording in self._chosen(label):
                if entries is None:
                    recording.entries.clear()
                    recording.unsure.clear()
            for entry in entries or ():
                recording = self._recording(entry.label)
                recording.entries.pop(_key(entry), None)
                recording.unsure.pop(_key(entry), None)
            for recording in self._chosen(label):
                if recording.label and not recording.is_on and not recording.entries:
                    recording.is_listed = False
                    self._on_label(recording.label, False)
            self._turned()
        self._on_taken_away()

    # -- counting ------------------------------------------------------------------------------------------------

    def count(self, dataset: Dataset, edition: Edition | None, reader: Reader) -> None:
        """Bytes of a dataset were read, from this copy of it."""
        with self._lock:
            self._end_finished()
            wanting = [recording for recording in self._recordings.values() if recording.wants(reader)]
            if wanting:
                entry = self._entry(dataset, edition, reader)
                for recording in wanting:
                    self._add(recording, replace(entry, label=recording.label), dataset, edition)

    def _entry(self, dataset: Dataset, edition: Edition | None, reader: Reader) -> Entry:
        return Entry(
            id=dataset.id,
            eid=dataset.eid,
            path=dataset.path,
            revision=dataset.revision,
            default=self._is_default(dataset),
            hash=self._md5_of(dataset, edition),
            size=dataset.size_bytes if edition is None else edition[0],
            first_read=self._now(),
            pid=reader.pid,
            program=reader.program,
            user=reader.user,
            label=EVERYTHING,
            source=self._source,
        )

    def _add(self, recording: Recording, entry: Entry, dataset: Dataset, edition: Edition | None) -> None:
        key = _key(entry)
        unsure = (entry.id, entry.path, "", entry.size)
        if unsure in recording.unsure and entry.hash:
            self._make_sure(recording, unsure)
        if key in recording.entries:
            return
        recording.entries[key] = entry
        if not entry.hash:
            recording.unsure[key] = (dataset, edition)
        self._on_added(entry)

    def _make_sure(self, recording: Recording, key: Key) -> None:
        """Fill in a hash that has become known."""
        md5 = self._md5_of(*recording.unsure[key])
        if md5:
            del recording.unsure[key]
            entry = replace(recording.entries.pop(key), hash=md5)
            recording.entries.setdefault(_key(entry), entry)
            self._on_taken_away()

    # -- telling -------------------------------------------------------------------------------------------------

    def entries(self, label: str | None = None) -> list[Entry]:
        """What was counted under a label; or under any, that of others included. In the order of the first reads.

        Of what several read, the first read counts. Raises `UsageError` if there is no such label.
        """
        others = self._others.entries() if self._others is not None and label is None else []
        once: dict[tuple[str, Key], Entry] = {}
        for entry in sorted([*self.own_entries(label), *others], key=lambda entry: entry.first_read):
            once.setdefault((entry.label, _key(entry)), entry)
        return list(once.values())

    def own_entries(self, label: str | None = None) -> list[Entry]:
        """The same without that of others, in no order."""
        with self._lock:
            chosen = self._chosen(label)
            for recording in chosen:
                for key in list(recording.unsure):
                    self._make_sure(recording, key)
            return [entry for recording in chosen for entry in recording.entries.values()]

    def facts(self) -> dict[str, dict[str, object]]:
        """By label: whether it is on, for which processes (none stands for all), how many datasets were counted."""
        with self._lock:
            self._end_finished()
            listed = {label: each for label, each in self._recordings.items() if each.is_listed}
            keys = {label: list(each.entries) for label, each in listed.items()}
            facts: dict[str, dict[str, object]] = {
                label: {"on": each.is_on, "pids": sorted(root.pid for root in each.roots)}
                for label, each in listed.items()
            }
        for label, each in keys.items():
            facts[label]["datasets"] = len({id_ for id_, *_ in each})
        return facts

    # -- inside --------------------------------------------------------------------------------------------------

    def _recording(self, label: str) -> Recording:
        """The recording under a label, new if need be. It stays until the mount ends: the kernel knows its folder."""
        if label not in self._recordings:
            self._recordings[label] = Recording(label)
        recording = self._recordings[label]
        if not recording.is_listed:
            recording.is_listed = True
            if label:
                self._on_label(label, True)
        return recording

    def _chosen(self, label: str | None) -> list[Recording]:
        if label is None:
            return list(self._recordings.values())
        if label not in self._recordings:
            raise UsageError(
                f"Nothing was recorded under the label {label!r}.", "List the labels: onefs record status."
            )
        return [self._recordings[label]]

    def _turned(self) -> None:
        self._turns += 1
        self.turn = self._turns if any(each.is_on for each in self._recordings.values()) else 0

    def _end_finished(self) -> None:
        """Turn off what is on for processes that are over, however they ended."""
        over = False
        for recording in self._recordings.values():
            gone = {root for root in recording.roots if not _runs(root)}
            recording.roots -= gone
            if gone and not recording.roots:
                recording.is_on = False
                over = True
                _log.info("The programs recorded under the label %s have ended", recording.label)
        if over:
            self._turned()


def _runs(root: Identity) -> bool:
    found = process(root.pid)
    return found is not None and found.identity == root


def _key(entry: Entry) -> Key:
    return entry.id, entry.path, entry.hash, entry.size
