"""A kernel as the tests of a mount's names model it: what it was told, and remembers until it is told to forget."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from onefs.errors import GoneError, NotInCatalogueError
from onefs.vfs import inodes
from onefs.vfs.forest import Forest
from onefs.vfs.nodes import Directory
from onefs.vfs.staleness import EVERY_FOLDER, ITSELF, Name

LABS, SUBJECTS, DAYS, FILES = ("la", "lb"), ("s", "t"), ("2024-01-01", "2024-02-02"), ("b.npy", "x/a.npy", "x/y/c.npy")
NAMES = {*LABS, *SUBJECTS, *DAYS, "Subjects", "001", "aggregates", "b.npy", "a.npy", "c.npy", "x", "y"}
CONTROL = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0)


@dataclass
class Kernel:
    """Remembers entries and absent names as the kernel does: until it is told to forget."""

    forest: Forest
    known: dict[Name, tuple[int, int] | None] = field(default_factory=dict)

    def look(self, ino: int) -> None:
        """List all below a directory, and look for every name there could be."""
        _, nodes = self.forest.listed(ino)
        self.known |= {Name(ino, node.name): (node.ino, self.time_of(node)) for node in nodes}
        for name in sorted(NAMES - {node.name for node in nodes}):
            if self.found(ino, name) is None and self.forest.keeps_absence(ino):
                self.known[Name(ino, name)] = None
        for node in nodes:
            if isinstance(node, Directory):
                self.look(node.ino)

    def found(self, ino: int, name: str) -> tuple[int, int] | None:
        try:
            node = self.forest.child(ino, name)
        except NotInCatalogueError:
            return None
        return node.ino, self.time_of(node)

    @staticmethod
    def time_of(node: object) -> int:
        return getattr(node, "time_s", 0)

    def forget(self, names: Iterator[Name] | list[Name]) -> None:
        for name in names:
            if name.name == EVERY_FOLDER:
                continue  # of listings, it keeps none
            if name.name == ITSELF:
                for entry in [entry for entry, is_ in self.known.items() if is_ and is_[0] == name.parent_ino]:
                    self.known[entry] = (name.parent_ino, self.time_of(self.forest.node(name.parent_ino)))
            else:
                self.drop(name)

    def drop(self, name: Name) -> None:
        gone = self.known.pop(name, None)
        if gone:
            for below in [entry for entry in self.known if entry.parent_ino == gone[0]]:
                self.drop(below)

    def check(self) -> None:
        """Looking may ask, and what is learned by that may have the kernel forget what was looked for."""
        for name in self.reachable():
            try:
                found = self.found(*name)
            except GoneError:
                assert name not in self.reachable(), name
            else:
                assert self.known.get(name, found) == found or name not in self.reachable(), name

    def reachable(self) -> set[Name]:
        """What is remembered on some way from the root. The rest is seen by who stands in it already, if by anybody."""
        below = [inodes.ROOT, CONTROL.ino]
        names: set[Name] = set()
        for ino in below:
            of_ino = [name for name in self.known if name.parent_ino == ino]
            names.update(of_ino)
            below += [found[0] for found in map(self.known.get, of_ino) if found]
        return names
