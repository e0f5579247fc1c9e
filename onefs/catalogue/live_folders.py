"""The folders of a live catalogue: those of the tables at hand, overlaid with what the database told."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from onefs.catalogue.layout import FOLDER_BITS
from onefs.catalogue.snapshot import Folder, Snapshot
from onefs.digests import digest64

ROOT = 0


@dataclass(slots=True)
class FolderNews:
    """Folders that went; and those that came, or have another date or session. Both in the order of learning."""

    gone: dict[int, None] = field(default_factory=dict)
    new: dict[int, None] = field(default_factory=dict)


class LiveFolders:
    """Folder rows, which are only ever added. Rows of `base` mean what they mean there.

    Not for several threads: the catalogue locks.
    """

    def __init__(self, base: Snapshot | None) -> None:
        self._base = base
        self._n_base = len(base.index.arrays.folder_parent) if base else 0
        self._added: list[Folder] = []
        self._added_keys: list[int] = []
        self._row_of_key: dict[int, int] = {}
        self._row_of_name: dict[tuple[int, str], int] = {}
        self._children: dict[int, dict[str, int]] = {}  # of folders that have other children than in the base
        self._changed: dict[int, Folder] = {}  # rows of the base with another session or date than there
        self.news = FolderNews()
        if not base:
            self._add(ROOT, "", ())

    # -- what there is -------------------------------------------------------------------------------------------

    def folder(self, row: int) -> Folder:
        """A folder by its row, those that are gone included."""
        if self._base and row < self._n_base:
            return self._changed.get(row) or self._base.folder(row)
        return self._added[row - self._n_base]

    def is_in_base(self, row: int) -> bool:
        """Whether the tables at hand have this folder."""
        return row < self._n_base

    def base_folder(self, row: int) -> Folder | None:
        """A folder as the tables at hand have it."""
        return self._base.folder(row) if self._base and row < self._n_base else None

    def children(self, row: int) -> list[Folder]:
        """The folders in a folder, sorted by the bytes of their names."""
        known = self._children.get(row)
        if known is not None:
            return [self.folder(known[name]) for name in sorted(known, key=str.encode)]
        return [self._changed.get(child.row) or child for child in self._base_children(row)]

    def child(self, row: int, name: str) -> Folder | None:
        """The folder of this name in a folder."""
        known = self._children.get(row)
        if known is not None:
            return self.folder(known[name]) if name in known else None
        found = self._base.child(row, name) if self._base and row < self._n_base else None
        return found and self.folder(found.row)

    def parts(self, row: int) -> tuple[str, ...]:
        """The names on the way from the root to a folder."""
        names: list[str] = []
        while row:
            folder = self.folder(row)
            names.append(folder.name)
            row = folder.parent
        return tuple(reversed(names))

    def key(self, row: int) -> int:
        """A number below 2**48 computed from the folder's path."""
        if self._base and row < self._n_base:
            return self._base.folder_key(row)
        return self._added_keys[row - self._n_base]

    def of_key(self, key: int) -> Folder | None:
        """The folder that has this key, if it is in the tree."""
        row = self._row_of_key.get(key)
        if row is None:
            found = self._base.folder_of_key(key) if self._base else None
            row = found.row if found else None
        return self.folder(row) if row is not None and self.stands(row) else None

    def stands(self, row: int) -> bool:
        """Whether a folder is in the tree, not gone."""
        while row:
            folder = self.folder(row)
            known = self._children.get(folder.parent)
            if known is not None and known.get(folder.name) != row:
                return False
            row = folder.parent
        return True

    def lost_sessions(self) -> Iterator[int]:
        """Rows of the base's sessions whose folders are gone or are another session's. May repeat some."""
        for parent in [row for row in self._children if row < self._n_base]:
            for child in self._base_children(parent):
                if self._children[parent].get(child.name) != child.row:
                    yield from self._base_sessions(child)
        for row, folder in self._changed.items():
            before = self.base_folder(row)
            yield from set(before.sessions if before else ()).difference(folder.sessions)

    def sessions(self) -> Iterator[int]:
        """Rows of the sessions that stand in folders other than where the base has them."""
        for folder in (*self._added, *self._changed.values()):
            before = self.base_folder(folder.row)
            yield from set(folder.sessions).difference(before.sessions if before else ())

    def _base_children(self, row: int) -> Sequence[Folder]:
        return self._base.folders(row) if self._base and row < self._n_base else ()

    def _base_sessions(self, folder: Folder) -> Iterator[int]:
        yield from folder.sessions
        for child in self._base_children(folder.row):
            yield from self._base_sessions(child)

    # -- what is learned -----------------------------------------------------------------------------------------

    def place(self, parent: int, name: str) -> int:
        """The row of a folder that is, from now on, in the folder `parent`."""
        found = self.child(parent, name)
        if found:
            return found.row
        before = self._base.child(parent, name) if self._base and parent < self._n_base else None
        row = before.row if before else self._row_of_name.get((parent, name))
        if row is None:
            row = self._add(parent, name, self.parts(parent))
        self._children_to_change(parent)[name] = row
        self.news.gone.pop(row, None)
        self.news.new[row] = None
        return row

    def keep(self, parent: int, children: Mapping[str, int]) -> None:
        """Have these children, placed before, and no others in a folder."""
        for folder in self.children(parent):
            if children.get(folder.name) != folder.row:
                self.remove(folder.row)

    def remove(self, row: int) -> None:
        """Take a folder, and so all below it, out of the tree."""
        folder = self.folder(row)
        if self._children_to_change(folder.parent).pop(folder.name, None) is not None:
            self.news.new.pop(row, None)
            self.news.gone[row] = None

    def set_sessions(self, row: int, sessions: Sequence[int], day: date | None) -> None:
        """Have a folder be that of these sessions, the first by eid first."""
        first, *others = sessions
        self._set(replace(self.folder(row), session=first, date=day, others=tuple(others)))

    def redate(self, row: int) -> None:
        """Bring the date of a folder that is no session's, and of those above it, up to date."""
        while True:
            folder = self.folder(row)
            newest = max((child.date for child in self.children(row) if child.date), default=None)
            if newest == folder.date:
                return
            self._set(replace(folder, date=newest))
            if not row:
                return
            row = folder.parent

    def _set(self, folder: Folder) -> None:
        before = self.folder(folder.row)
        if before != folder:
            self.news.new[folder.row] = None
        if folder.row < self._n_base:
            self._changed[folder.row] = folder
        else:
            self._added[folder.row - self._n_base] = folder

    def _add(self, parent: int, name: str, above: tuple[str, ...]) -> int:
        """A new row. Its key is that of the index; one that is taken makes it take the next free one."""
        row = self._n_base + len(self._added)
        parts = (*above, name) if name else above
        mask = (1 << FOLDER_BITS) - 1
        key = digest64(part.encode() for part in parts) & mask
        while key in self._row_of_key or (self._base and self._base.folder_of_key(key)):
            key = (key + 1) & mask
        self._added.append(Folder(row, parent, name, None, None))
        self._added_keys.append(key)
        self._row_of_key[key] = row
        self._row_of_name[parent, name] = row
        return row

    def _children_to_change(self, row: int) -> dict[str, int]:
        if row not in self._children:
            self._children[row] = {folder.name: folder.row for folder in self._base_children(row)}
        return self._children[row]
