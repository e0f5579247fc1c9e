"""`RecordingMixin`: records which datasets were loaded, for `save_loaded_ids` and for mounts of the same source."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onefs.api.warning import warn
from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.revisions import Rule
from onefs.forks import new_lock
from onefs.one_errors import api_errors

if TYPE_CHECKING:
    from onefs.archive.archive import Archive
    from onefs.catalogue.interface import Catalogue
    from onefs.frames.catalogue import FrameCatalogue
    from onefs.recording.manifest import Entry
    from onefs.recording.programs import ProgramRecording
    from onefs.sources.source import Source

_making = new_lock()  # held while a recording is made: several threads may load first
IDS = "_loaded_datasets"
"""The key of the frames under which ids of what was loaded stand."""


class RecordingMixin:
    """Records which datasets are loaded. The class that uses the mixin has the attributes declared here."""

    _default_revision: str | None
    _recording: "ProgramRecording | None" = None
    _recorded_source: "Source | None" = None
    _is_recording = False

    if TYPE_CHECKING:

        @property
        def _archive(self) -> Archive: ...
        @property
        def _tables_dir(self) -> Path: ...
        @property
        def _cache(self) -> Any: ...
        def _tables(self, query_type: str | None = None) -> Catalogue | FrameCatalogue: ...

    @property
    def record_loaded(self) -> bool:
        """Whether the datasets that `load_*` calls return are recorded. False at first."""
        return self._is_recording

    @record_loaded.setter
    def record_loaded(self, value: bool) -> None:
        self._is_recording = bool(value)

    @api_errors
    def save_loaded_ids(
        self, sessions_only: bool = False, clear_list: bool = True
    ) -> tuple[NDArray[np.str_] | list[str], Path | None]:
        """Save the ids of what was loaded while `record_loaded` is on; returns them, sorted, and the file.

        The file is a CSV of one column in the tables directory, as ONE writes it, with a manifest of the same datasets
        beside it, over no older file. With `sessions_only`, ids of sessions. With `clear_list`, they are forgotten.
        If nothing was recorded, or a mount has saved all of it already: a UserWarning, and `([], None)`.

        Raises `NotSavedError` or `NoRoomError` if they cannot be written, `BusyError` if another keeps them locked.
        """
        entries: list[Entry] = []
        if self._recording is not None:
            entries, saved = self._recording.save(self._tables_dir, sessions_only=sessions_only, keep=not clear_list)
        if not entries or saved is None:
            warn("Nothing was recorded. Set record_loaded to True before loading.", UserWarning)
            return [], None
        if clear_list:
            self._cache.pop(IDS, None)
        return _ids(entries, sessions_only=sessions_only), saved.ids

    def _note_loaded(self, datasets: Iterable[Dataset]) -> None:
        """Record these, if that is on."""
        if self._is_recording:
            recording = self._recording_here()
            recording.note(datasets)
            self._cache[IDS] = _ids(recording.entries())

    def _recording_here(self) -> "ProgramRecording":
        """What was loaded of the source in use."""
        from onefs.archive.defaults import Defaults
        from onefs.recording.programs import ProgramRecording

        source, content = self._archive.source, self._archive.content
        with _making:
            if self._recording is None or self._recorded_source != source:
                defaults = Defaults(lambda: self._tables("local"), self._rule)
                self._recording = ProgramRecording(source.state_dir, source.name, content.md5_of, defaults.has)
                self._recorded_source = source
            return self._recording

    def _rule(self) -> Rule:
        """Which editions are the default ones."""
        return Rule(QC.CRITICAL, as_of=self._default_revision or "")


def _ids(entries: "Iterable[Entry]", *, sessions_only: bool = False) -> NDArray[np.str_]:
    """The distinct ids of the datasets, or of their sessions, sorted."""
    ids = {entry.eid if sessions_only else entry.id for entry in entries}
    return np.array(sorted(str(each) for each in ids if each is not None), dtype=str)
