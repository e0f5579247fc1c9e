"""Owns views that are entered by name, such as a date: which number each has, and the trees made of them."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from cachetools import LRUCache

from onefs.errors import BusyError, NotInCatalogueError, OnefsError
from onefs.vfs import inodes
from onefs.vfs.tree import Tree

TREES_KEPT = 32
LISTED_MOST = 400
TOLD_AT_ONCE = 16
_CROWDED = 0.75


@dataclass(frozen=True, slots=True)
class Group:
    """A folder of views that are made when they are first entered.

    `numbers` are for its views. `wanted` tells which of them a name has if it is free, counted on in a circle, or None
    if there is no such view. `make` makes a view's tree from its name and number; if `may_ask`, it may wait and raise.
    `listed` gives the names that a listing shows. With `own_catalogues`, each view is of another catalogue than the
    mount's, and shows the same one as long as it stands.
    """

    name: str
    numbers: range
    wanted: Callable[[str], int | None]
    make: Callable[[str, int], Tree]
    listed: Callable[[], list[str]]
    may_ask: bool = False
    own_catalogues: bool = False


@dataclass(slots=True)
class _Placed:
    """A view that has a number. `lookups`: how often the kernel was told of its root without forgetting it since.

    `looked_into` is that of its tree, which may be made anew while the kernel knows names in it.
    """

    group: str
    name: str
    lookups: int = 0
    stays: bool = False
    is_told: bool = False
    looked_into: set[int] = field(default_factory=set)


class Numbers:
    """Which number each entered view has. Outlives what the mount shows. Safe to use from several threads.

    The number is in the inode number of every folder of the view, so it is no other's as long as the kernel may know
    any of them. It forgets the view's root after all that is below.
    """

    def __init__(self, on_crowded: Callable[[list[tuple[str, str]]], None] = lambda names: None) -> None:  # noqa: ARG005
        """`on_crowded` is told the groups and names of views that the kernel had better forget. It may not wait."""
        self._on_crowded = on_crowded
        self._lock = threading.Lock()  # guards the three below
        self._placed: dict[int, _Placed] = {}  # the one that was taken first stands first
        self._of_name: dict[tuple[str, str], int] = {}
        self._of_root: dict[int, int] = {}

    def take(self, group: Group, name: str, wanted: int, *, for_kernel: bool = False) -> int:
        """The number of a view. The kernel is to be told of it if `for_kernel`; else it stays the view's for good.

        Raises `BusyError` if every number is another's.
        """
        with self._lock:
            number = self._of_name.get((group.name, name))
            crowd: list[tuple[str, str]] = []
            if number is None:
                number = self._free(group, wanted)
                self._placed[number] = _Placed(group.name, name)
                self._of_name[group.name, name] = number
                self._of_root[inodes.view_root(number)] = number
                crowd = self._crowd(group)
            placed = self._placed[number]
            placed.lookups += for_kernel
            placed.stays |= not for_kernel
            placed.is_told = False
        if crowd:
            self._on_crowded(crowd)
        return number

    def forgot(self, ino: int, times: int) -> None:
        """The kernel has forgotten a node so many times."""
        if ino not in self._of_root:
            return
        with self._lock:
            number = self._of_root.get(ino)
            if number is None:
                return
            placed = self._placed[number]
            placed.lookups -= times
            if placed.lookups <= 0 and not placed.stays:
                del self._placed[number], self._of_root[ino], self._of_name[placed.group, placed.name]

    def place(self, number: int) -> tuple[str, str] | None:
        """The group and the name of the view that has a number."""
        placed = self._placed.get(number)
        return (placed.group, placed.name) if placed else None

    def looked_into(self, number: int) -> set[int]:
        """Keys of the sessions of a view of which the kernel may know names."""
        placed = self._placed.get(number)
        return placed.looked_into if placed else set()

    def placed(self) -> list[int]:
        """All numbers that views have."""
        with self._lock:
            return list(self._placed)

    def _free(self, group: Group, wanted: int) -> int:
        for offset in range(len(group.numbers)):
            number = group.numbers[(wanted + offset) % len(group.numbers)]
            if number not in self._placed:
                return number
        raise BusyError(f"Too many views are in use in {group.name}.", "Leave some of them, or mount again.")

    def _crowd(self, group: Group) -> list[tuple[str, str]]:
        """The oldest views of a group that may go, if it has become crowded."""
        placed = [each for number, each in self._placed.items() if number in group.numbers]
        if len(placed) < len(group.numbers) * _CROWDED:
            return []
        may_go = [each for each in placed[:-1] if not each.stays and not each.is_told][:TOLD_AT_ONCE]
        for each in may_go:
            each.is_told = True
        return [(each.group, each.name) for each in may_go]


class EnteredViews:
    """The trees of entered views, of one edition of what the mount shows. Those used last are kept."""

    def __init__(self, groups: dict[str, Group], numbers: Numbers) -> None:
        self.groups = groups
        self.numbers = numbers
        self._lock = threading.Lock()  # guards _trees
        self._trees: LRUCache[int, tuple[str, Tree]] = LRUCache(TREES_KEPT)

    def enter(self, group: Group, name: str, *, for_kernel: bool) -> Tree:
        """The tree of a name in a group. Raises `NotInCatalogueError`, `BusyError`, or why it cannot be made."""
        wanted = group.wanted(name)
        if wanted is None:
            raise NotInCatalogueError(f"{group.name}/{name} does not exist.")
        number = self.numbers.take(group, name, wanted, for_kernel=for_kernel)
        try:
            return self._tree(group, name, number)
        except BaseException:
            if for_kernel:
                self.numbers.forgot(inodes.view_root(number), 1)
            raise

    def tree(self, number: int) -> Tree | None:
        """The tree of a number that a view has."""
        place = self.numbers.place(number)
        return None if place is None else self._tree(self.groups[place[0]], place[1], number)

    def made(self, number: int) -> Tree | None:
        """The same, if it is at hand."""
        place = self.numbers.place(number)
        with self._lock:
            found = self._trees.get(number)
        return found[1] if found and place and found[0] == place[1] else None

    def may_ask(self, number: int) -> bool:
        """Whether looking at a view may wait for a database."""
        tree = self.made(number)
        if tree is not None:
            return tree.may_ask
        place = self.numbers.place(number)
        return place is not None and self.groups[place[0]].may_ask

    @property
    def are_kept(self) -> bool:
        """Whether any trees are at hand."""
        return bool(self._trees)

    def kept(self) -> dict[int, Tree]:
        """The trees that are at hand, by their numbers."""
        with self._lock:
            if not self._trees:
                return {}  # the usual case, asked at each opening of a file
            trees = dict(self._trees)
        places = ((number, name, tree, self.numbers.place(number)) for number, (name, tree) in trees.items())
        return {number: tree for number, name, tree, place in places if place and place[1] == name}

    def with_own_catalogues(self) -> list[Tree]:
        """Trees of other catalogues than the mount's, but for those that cannot be made now."""
        trees = []
        for number in filter(self.has_own_catalogue, self.numbers.placed()):
            with contextlib.suppress(OnefsError):
                trees.append(self.tree(number))
        return [tree for tree in trees if tree]

    def has_own_catalogue(self, number: int) -> bool:
        """Whether a view is of another catalogue than the mount's."""
        place = self.numbers.place(number)
        return place is not None and self.groups[place[0]].own_catalogues

    def take_over(self, old: "EnteredViews") -> None:
        """Have the trees that an older edition had at hand."""
        for number, before in old.kept().items():
            place = self.numbers.place(number)
            with contextlib.suppress(OnefsError):  # a view that cannot be made now is made when it is looked at
                if place:
                    self._tree(self.groups[place[0]], place[1], number).take_over(before)

    def _tree(self, group: Group, name: str, number: int) -> Tree:
        with self._lock:
            found = self._trees.get(number)
        tree = found[1] if found and found[0] == name else group.make(name, number)
        with self._lock:
            known = self._trees.get(number)
            if known and known[0] == name:
                tree = known[1]
            tree.looked_into = self.numbers.looked_into(number)
            self._trees[number] = name, tree
        return tree
