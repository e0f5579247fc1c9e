"""Owns the part of a tree that lies in one session: its folders and files, built from its rows."""

from dataclasses import replace

from onefs import alf
from onefs.catalogue.interface import Catalogue
from onefs.digests import digest64
from onefs.vfs import inodes
from onefs.vfs.nodes import DatasetFile, Directory, Node, joined, midnight_s
from onefs.vfs.views import View


class SessionTree:
    """The folders and files of one session."""

    __slots__ = ("nodes", "top")

    def __init__(self, top: Directory, nodes: dict[int, Node]) -> None:
        self.top = top
        self.nodes = nodes

    def __len__(self) -> int:
        return len(self.nodes) + 1


def built(view: View, catalogue: Catalogue, session: int, top: Directory) -> SessionTree:
    """The folders and files of a session's row, in its folder `top`. May ask for its datasets."""
    return _SessionBuilder(view, catalogue, session, top).build()


class _SessionBuilder:
    """Builds one session's subtree from its rows, which come sorted by path."""

    def __init__(self, view: View, catalogue: Catalogue, session: int, top: Directory) -> None:
        self._view = view
        self._catalogue = catalogue
        self._session = session
        self._key = catalogue.session_key(session)
        # What is kept of the folder is shared by all who build it.
        self._top = replace(top, children={})
        self._directories = {"": self._top}
        self._nodes: dict[int, Node] = {}
        self._fingerprints: dict[str, int] = {}

    def build(self) -> SessionTree:
        """Fingerprints count every row, shown or not, so that a number does not depend on what a view hides."""
        rows = self._catalogue.datasets(self._session)
        places = [path.rpartition("/") for path in rows.rel_paths]
        self._fingerprints = _folder_fingerprints({folder for folder, _, _ in places})
        base = inodes.file_ino(self._key, 0)
        numbers = inodes.file_fingerprints(rows.content)
        for row, is_shown in enumerate(self._view.shows(rows)):
            if not is_shown:
                continue
            folder, _, name = places[row]
            directory = self._directories.get(folder) or self._directory(folder)
            if name in directory.children:
                continue
            ino = base | numbers[row]
            directory.children[name] = self._nodes[ino] = DatasetFile(
                ino=ino,
                generation=inodes.generation(rows.content[row]),
                name=name,
                folder_path=directory.path,
                size_bytes=rows.sizes[row],
                time_s=directory.time_s,
                catalogue=self._catalogue,
                session=self._session,
                row=row,
            )
        return SessionTree(self._top, self._nodes)

    def _directory(self, rel_path: str) -> Directory:
        known = self._directories.get(rel_path)
        if known is not None:
            return known
        above, _, name = rel_path.rpartition("/")
        parent = self._directory(above)
        revision = alf.REVISION_FOLDER.fullmatch(name)
        day = alf.revision_date(revision["revision"]) if revision else None
        directory = Directory(
            ino=inodes.collection_ino(self._view.number, self._key, self._fingerprints[rel_path]),
            parent_ino=parent.ino,
            name=name,
            path=joined(parent.path, name),
            time_s=midnight_s(day) if day else parent.time_s,
        )
        parent.children[name] = self._nodes[directory.ino] = self._directories[rel_path] = directory
        return directory


def _folder_fingerprints(folders: set[str]) -> dict[str, int]:
    paths = set()
    for folder in folders:
        while folder and folder not in paths:
            paths.add(folder)
            folder = folder.rpartition("/")[0]
    ordered = sorted(paths)
    numbers = inodes.collection_fingerprints([digest64([path.encode(errors="surrogateescape")]) for path in ordered])
    return dict(zip(ordered, numbers, strict=True))
