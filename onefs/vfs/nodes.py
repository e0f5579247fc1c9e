"""The nodes of the tree: directories, datasets, and the few files that are neither."""

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple, Protocol
from uuid import UUID

from onefs.catalogue.interface import Catalogue
from onefs.catalogue.layout import EPOCH
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Folder
from onefs.errors import NotADirectoryInTreeError
from onefs.vfs.handles import ReadableFile

READABLE_MODE = stat.S_IFREG | 0o444
WRITABLE_MODE = stat.S_IFREG | 0o644
LINK_MODE = stat.S_IFLNK | 0o777


class NodeModes(NamedTuple):
    """Types and permissions that directories and the archive's files show. They permit no writing."""

    directory: int = stat.S_IFDIR | 0o755
    file: int = stat.S_IFREG | 0o644


DAY_S = 24 * 60 * 60
MOMENT_S = 1.0
"""How long the kernel keeps what may change without anybody telling it: what a link leads to, a saved search."""


class Attributes(NamedTuple):
    """What `stat` tells. `generation` changes when a number comes to stand for other bytes.

    `kept_s` is the time-out for the kernel: None lets it keep them until they are invalidated. `version` is that of a
    folder's listing, and the nanoseconds of its time: each change gives it a new one. The listing of a folder that
    `is_live` changes without a notification: its attributes have no time-out, and a new version each time, so that the
    kernel keeps no listing of it.
    """

    ino: int
    generation: int
    mode: int
    size_bytes: int
    blocks: int
    time_s: int
    kept_s: float | None = None
    version: int = 0
    is_live: bool = False


@dataclass(slots=True, eq=False)
class Directory:
    """A folder. `folder` is set from the root down to a session's own, `children` inside a session."""

    ino: int
    parent_ino: int
    name: str
    path: str
    time_s: int
    session: int | None = None
    folder: Folder | None = None
    children: Mapping[str, "Node"] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class DatasetFile:
    """A dataset. `session` and `row` find it in its catalogue; `size_bytes` is -1 if the catalogue does not know."""

    ino: int
    generation: int
    name: str
    folder_path: str
    size_bytes: int
    time_s: int
    catalogue: Catalogue
    session: int
    row: int
    _dataset: Dataset | None = None

    @property
    def dataset(self) -> Dataset:
        """All that the catalogue says of it."""
        if self._dataset is None:
            self._dataset = self.catalogue.dataset_in(self.session, self.row)
        return self._dataset

    def ids_from_here(self, count: int) -> list[UUID]:
        """The ids of its dataset and of some that follow it in its session, `count` at most."""
        return self.catalogue.ids_from(self.session, self.row, count)

    @property
    def path(self) -> str:
        """Path from the mount's root."""
        return f"{self.folder_path}/{self.name}"

    def bare_attributes(self, mode: int) -> Attributes:
        """Its attributes as far as they come from the catalogue alone."""
        return Attributes(self.ino, self.generation, mode, max(self.size_bytes, 0), 0, self.time_s)


class Text(Protocol):
    """The text of a file that changes."""

    @property
    def changed_s(self) -> float:
        """When it was seen to become what it is; after `size_now`, of the same text."""

    def size_now(self) -> int:
        """Its length now. May take long."""

    def open(self) -> ReadableFile:
        """An open file of it."""


@dataclass(slots=True, eq=False)
class SpecialFile:
    """A file that is no dataset. `text` tells the size and time of one that changes, which `open` opens.

    `writer` gives what obeys the words that are written from one opening to its end.
    """

    ino: int
    name: str
    path: str
    open: Callable[[], ReadableFile]
    size_bytes: int = 0
    time_s: int = 0
    writer: Callable[[], Callable[[str], None]] | None = None
    text: Text | None = None


@dataclass(slots=True, eq=False)
class LinkFolder(Directory):
    """A folder of symbolic links, made as they are looked up by name; it lists none.

    `resolve` gives the path that a name leads to, from the mount's root, or None. If `may_ask`, it may wait for a
    database, and raise what that raises.
    """

    resolve: Callable[[str], str | None] = lambda name: None  # noqa: ARG005
    may_ask: bool = False


@dataclass(slots=True, eq=False)
class LiveFolder(Directory):
    """A folder to which entries come, and from which they go, while it is shown.

    `nodes` has all that is or was below it by number.
    """

    nodes: dict[int, "Node"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link. `target` is relative to the folder that it stands in."""

    ino: int
    name: str
    path: str
    target: str


Node = Directory | DatasetFile | SpecialFile | Link
Children = Mapping[str, Node]


def as_directory(node: Node) -> Directory:
    """A node that must be a directory. Raises `NotADirectoryInTreeError`."""
    if not isinstance(node, Directory):
        raise NotADirectoryInTreeError(f"{node.path} is a file, not a directory.")
    return node


def joined(folder: str, name: str) -> str:
    """The path of what is called `name` in a folder."""
    return f"{folder}/{name}" if folder else name


def midnight_s(day: date) -> int:
    """Seconds since the epoch at a date's midnight, UTC: archives record days, not hours."""
    return (day.toordinal() - EPOCH) * DAY_S
