"""The datasets of several sessions on one path, merged for the folder that they share."""

from collections.abc import Sequence
from uuid import UUID

from onefs.catalogue.interface import Catalogue, Rows
from onefs.catalogue.layout import Reason
from onefs.catalogue.records import Dataset

Source = tuple[Rows, int]
"""A session's datasets, and which of them."""


class SharedRows:
    """The datasets of several sessions on one path. Has what `Rows` has; `session` is that of the first ones.

    `sources` says where each comes from, `left_out` which are not shown: of two datasets of one path, one that exists
    wins over one that does not, then the first by id.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.session = parts[0].session
        self.left_out: list[tuple[Reason, Source]] = []
        standing = self._without_folders(self._of_each_path(parts))
        self.rel_paths = sorted(standing, key=lambda path: path.encode(errors="surrogateescape"))
        self.sources = [standing[path] for path in self.rel_paths]
        self.sizes = [rows.sizes[i] for rows, i in self.sources]
        self.exists = [rows.exists[i] for rows, i in self.sources]
        self.qc = [rows.qc[i] for rows, i in self.sources]
        self.content = [rows.content[i] for rows, i in self.sources]
        self.default_revision = [rows.default_revision[i] for rows, i in self.sources]

    def _of_each_path(self, parts: Sequence[Rows]) -> dict[str, Source]:
        found: dict[str, Source] = {}
        for rows in parts:
            for i, path in enumerate(rows.rel_paths):
                first, *others = sorted([(rows, i), *([found[path]] if path in found else [])], key=_precedence)
                found[path] = first
                self.left_out += [(Reason.DATASET_PATH_TAKEN, other) for other in others]
        return found

    def _without_folders(self, found: dict[str, Source]) -> dict[str, Source]:
        """All but the files that exist and whose path is a folder of others that do."""
        folders: set[str] = set()
        for path, (rows, i) in found.items():
            folder = path.rpartition("/")[0] if rows.exists[i] else ""
            while folder and folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
        unfit = {path: (rows, i) for path, (rows, i) in found.items() if path in folders and rows.exists[i]}
        self.left_out += [(Reason.DATASET_IS_FOLDER, source) for source in unfit.values()]
        return {path: source for path, source in found.items() if path not in unfit}

    def __len__(self) -> int:
        return len(self.rel_paths)

    def id(self, i: int) -> UUID:
        """The id of the i-th dataset."""
        rows, at = self.sources[i]
        return rows.id(at)

    def dataset(self, i: int) -> Dataset:
        """The i-th dataset in full."""
        rows, at = self.sources[i]
        return rows.dataset(at)


def _precedence(source: Source) -> tuple[bool, bytes]:
    rows, i = source
    return not rows.exists[i], rows.id(i).bytes


def sessions_sharing(catalogue: Catalogue, session: int) -> list[int]:
    """Rows of all sessions in the folder of a session; its own row is the one given."""
    there = catalogue.session_folder(session).sessions
    key = catalogue.session_key(session)
    keys = [catalogue.session_key(row) for row in there] if len(there) > 1 else []
    if key not in keys:
        return [session]
    return [session if its_key == key else row for row, its_key in zip(there, keys, strict=True)]


def datasets_shown(catalogue: Catalogue, session: int) -> Rows:
    """The datasets that the folder of a session's row shows: its own, and those of other sessions on its path.

    May ask for them.
    """
    return merged(catalogue, session, sessions_sharing(catalogue, session))


def merged(catalogue: Catalogue, session: int, sharing: Sequence[int]) -> Rows:
    """The same, if it is known already which sessions share its folder."""
    others = [row for row in sharing if row != session]
    own = catalogue.datasets(session)
    return SharedRows([own, *(catalogue.datasets(catalogue.newest(row)) for row in others)]) if others else own
