"""`Cache`: the tables of a directory as frames, made when they are first touched. Importing this imports no pandas."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from onefs.alf_files.bunch import Bunch
from onefs.catalogue.interface import Learned
from onefs.catalogue.tables import is_dated, raw_metadata
from onefs.forks import new_rlock
from onefs.frames.catalogue import FrameCatalogue
from onefs.table_times import table_time, table_time_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


NAMES = ("sessions", "datasets")
"""The tables that are always there, if without rows."""

EXPIRY = timedelta(hours=24)


class Teacher(Protocol):
    """What was learned of sessions and datasets beyond the tables on disk, such as `LiveSnapshot`."""

    def learned(self) -> Learned: ...


@dataclass(frozen=True, slots=True)
class _Unread:
    """Stands for a table whose frame has not been made. `file` None: there is no such table."""

    file: Path | None


class Cache(Bunch):
    """`sessions`, `datasets`, `_meta` and other tables of a directory, such as `insertions`.

    A frame is made when it is first touched: its file is read, and what was learned until then is merged into it. From
    then on `is_touched`, and `catalogue` tells what the frames hold, edits included. Frames are made once, whichever
    threads ask; using them is the caller's affair, as with any frame.
    """

    __slots__ = ("_directory", "_lock", "_marks", "_teacher")

    def __init__(self, directory: Path | None = None, teacher: Teacher | None = None, pattern: str = "*.pqt") -> None:
        """Raises `TableError` if a table that is there cannot be used; the frames themselves are not read yet."""
        super().__init__()
        object.__setattr__(self, "_directory", directory)
        object.__setattr__(self, "_teacher", teacher)
        # Held while a frame is made or merged into: half merged, it would stay so in a process that is forked off.
        object.__setattr__(self, "_lock", new_rlock(held_at_forks=True))
        object.__setattr__(self, "_marks", {})  # by table: a number for each row that was read, sorted
        raw: dict[str, dict[str, Any]] = {}
        for name in NAMES:
            self[name] = _Unread(None)
        for file in sorted(directory.glob(pattern)) if directory else ():
            metadata = None if file.name.startswith(".") else _metadata(file)
            if metadata is not None:
                raw[file.stem] = metadata
                self[file.stem] = _Unread(file)
        self["_meta"] = {
            "expired": True,
            "created_time": min(filter(None, map(_created, raw.values())), default=None),
            "loaded_time": datetime.now() if raw else None,
            "modified_time": None,
            "saved_time": None,
            "raw": raw,
        }
        self.set_expired(EXPIRY)

    # -- a dict whose frames are made when touched ---------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return self._made(key) if isinstance(value, _Unread) else value

    def __iter__(self) -> Iterator[str]:
        """The keys. Being there, it keeps `dict(cache)` from copying what stands for frames that were not made."""
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, `default` if there is none."""
        return self[key] if key in self else default  # noqa: SIM401 - dict.get would not make the frame

    def values(self) -> Any:
        """All values; all frames are made."""
        return dict(self).values()

    def items(self) -> Any:
        """All keys and values; all frames are made."""
        return dict(self).items()

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value."""
        if key in self:
            value = self[key]
            del self[key]
            return value
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of a key, which is set to `default` if there is none."""
        return self[key] if key in self else super().setdefault(key, default)

    def __reduce__(self) -> tuple[Any, ...]:
        return Bunch, (dict(self),)

    def copy(self, deep: bool = False) -> Bunch:  # type: ignore[override]
        """A bunch of all tables; all frames are made."""
        return Bunch(dict(self)).copy(deep)

    # -- what was touched ----------------------------------------------------------------------------------------

    @property
    def is_touched(self) -> bool:
        """Whether the frame of sessions or of datasets was made or set."""
        return any(not isinstance(dict.get(self, name), _Unread) for name in NAMES)

    def catalogue(self) -> FrameCatalogue:
        """What the frames tell."""
        return FrameCatalogue(self)

    def set_expired(self, expiry: timedelta) -> bool:
        """Note in `_meta`, and return, whether there are no tables or they are older than `expiry`."""
        meta: dict[str, Any] = self["_meta"]
        created = meta["created_time"]
        meta["expired"] = created is None or datetime.now().astimezone() - created.astimezone() > expiry
        return bool(meta["expired"])

    def merge(
        self, *, origin: str | None = None, strict: bool = False, **records: "pd.DataFrame | pd.Series | None"
    ) -> datetime | None:
        """Merge records into the frames, as `merge_tables`; a table that is not there yet begins with them."""
        from onefs.frames.merging import indexed, merge_tables
        from onefs.frames.reading import INDEX

        with self._lock:  # lest of two threads that merge one takes away what the other has brought
            for name, rows in records.items():
                if rows is not None and len(rows) and name not in self and name in INDEX:
                    self[name] = indexed(rows, INDEX[name]).iloc[:0]
            return merge_tables(self, strict=strict, origin=origin, **records)

    def save(self, directory: Path | None = None, *, clobber: bool = False) -> None:  # type: ignore[override]
        """Save the tables to a directory, that which they are from unless given, merged into what is there.

        Without `clobber` nothing is saved if nothing was learned or edited since the tables were read or saved.
        """
        from onefs.frames.saving import Unsaved, save_frames

        target = directory or self._directory
        changed = {} if clobber else self.changed()
        if target is None or not (clobber or changed):
            return
        is_elsewhere = self._directory is None or target.resolve() != self._directory.resolve()
        unsaved = {}
        for name in [name for name in self if not name.startswith("_")]:
            if clobber or is_elsewhere or name in changed or not (target / f"{name}.pqt").exists():
                frame = self[name]
                rows = frame if clobber or is_elsewhere else changed.get(name, frame)
                unsaved[name] = Unsaved(rows, frame, self["_meta"]["raw"].get(name, {}))
        now = datetime.now()
        save_frames(target, unsaved, clobber=clobber, now=now)
        for name, table in unsaved.items():
            self._marks[name] = _marks(table.frame)
            self["_meta"]["raw"].setdefault(name, {})["date_modified"] = table_time_text(now)
        self["_meta"]["saved_time"] = now

    def changed(self) -> "dict[str, pd.DataFrame]":
        """By table the rows that were learned or edited since they were read or saved."""
        import numpy as np

        if self._teacher is not None and any(self._teacher.learned()):
            for name in NAMES:
                self[name]  # made, with what was learned in it
        changed = {}
        for name in [name for name in self if not name.startswith("_")]:
            frame: Any = dict.get(self, name)
            if not isinstance(frame, _Unread):
                rows = frame[~np.isin(_row_marks(frame), self._marks.get(name, np.empty(0, np.uint64)))]
                if len(rows):
                    changed[name] = rows
        return changed

    def _made(self, name: str) -> "pd.DataFrame":
        from onefs.frames.reading import empty_frame, read_frame

        with self._lock:
            held = dict.get(self, name)
            if not isinstance(held, _Unread):
                return held  # another thread has made it
            frame = read_frame(held.file, name) if held.file else empty_frame(name)
            self._marks[name] = _marks(frame)
            frame = self._with_learned(name, frame)
            self[name] = frame
            return frame

    def _with_learned(self, name: str, frame: "pd.DataFrame") -> "pd.DataFrame":
        from onefs.frames.merging import merged_frame
        from onefs.frames.reading import datasets_frame, sessions_frame

        if self._teacher is None or name not in NAMES:
            return frame
        learned = self._teacher.learned()
        if name == "sessions":
            return merged_frame(frame, sessions_frame(learned.sessions)) if learned.sessions else frame
        if not learned.datasets:
            return frame
        records = datasets_frame(learned.datasets)
        if "default_revision" in frame.columns and "default_revision" not in records.columns:
            records["default_revision"] = None
        return merged_frame(frame, records)


def _metadata(file: Path) -> dict[str, Any] | None:
    """A table's `one_metadata`; None, with a warning in the log, if the file is no cache table."""
    return raw_metadata(file) if is_dated(file) else None


def _created(raw: dict[str, Any]) -> datetime | None:
    """When a table was made, local and without a zone as all times in `_meta`; None if it tells no time."""
    created = table_time(raw["date_created"])
    return created and created.astimezone().replace(tzinfo=None)


def _marks(frame: "pd.DataFrame") -> "NDArray[np.uint64]":
    """The numbers of all rows, sorted."""
    import numpy as np

    return np.unique(_row_marks(frame))


def _row_marks(frame: "pd.DataFrame") -> "NDArray[np.uint64]":
    """A number for each row that changes with its id or any of its values."""
    import pandas as pd

    marks: NDArray[np.uint64] = pd.util.hash_pandas_object(frame, index=True, categorize=False).to_numpy()
    return marks
