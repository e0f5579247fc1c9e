"""`Prefetcher` decides which small files to fetch before a program asks for them. Pure: no I/O, no threads."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from cachetools import LRUCache

RUNS = 1000
"""Runs that are remembered, those followed last."""

LOOKED_AT = 100
"""Files to look at for one that can be prefetched: those at hand are passed by."""

LATE = 8
"""A prefetched file counts as not read once so many behind it were opened: several readers may share an order."""

UNREAD_AT_MOST = 2
"""So many prefetched files in a row that are not read close the window."""


class File(Protocol):
    """A dataset as it stands in a folder."""

    @property
    def id(self) -> Hashable:
        """Identifies the dataset and its edition."""

    @property
    def size_bytes(self) -> int:
        """Its size."""

    @property
    def is_missing(self) -> bool:
        """Whether it is small, neither in the cache nor being fetched, and may be fetched."""


F = TypeVar("F", bound=File)


class Order(Protocol[F]):
    """An order in which files may be read: the names of one folder, or one name in folder after folder."""

    @property
    def key(self) -> Hashable:
        """Identifies the order."""

    def after(self, file: F | None) -> Iterator[F]:
        """The files behind one, or all, nearest first."""

    def group(self, file: F) -> str:
        """The ALF object that a file belongs to; "" if files of one object are not beside one another."""

    def members(self, group: str) -> Iterator[F]:
        """The files of one object."""


class Counts(NamedTuple):
    """How many files were prefetched, how many of them were read, and how many were fetched in vain.

    A file that failed to come, or left the cache before it was read, counts as wasted. The rest may still be read.
    """

    prefetched: int
    used: int
    wasted: int


@dataclass(slots=True)
class _Ahead:
    size_bytes: int
    n_passed: int = 0
    """How many files behind it were opened since it was chosen."""


@dataclass(slots=True, eq=False)
class _Run(Generic[F]):
    """Files that one user reads in one order.

    `last` was opened last; `front` was chosen last. `window` is how many files to have ahead; 0 while no two files in
    a row show that the order is followed. Bytes are those of whole files. `n_unread` counts prefetched files that were
    passed by since one was read. `is_astray` says that what was opened last was not expected. `group` is the object of
    which all attributes were considered.
    """

    user: int
    order: Order[F]
    last: F
    front: F
    window: int = 0
    read_bytes: int = 0
    ahead_bytes: int = 0
    wasted_bytes: int = 0
    n_unread: int = 0
    is_astray: bool = False
    group: str = ""
    ahead: dict[Hashable, _Ahead] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, Hashable]:
        """Identifies the run."""
        return self.user, self.order.key

    @property
    def is_at_end(self) -> bool:
        """Whether nothing behind the last file is ahead, or could be."""
        behind = islice(self.order.after(self.last), LOOKED_AT)
        return not any(each.id in self.ahead or each.is_missing for each in behind)

    def expects(self, file: F) -> bool:
        """Whether a file is of the last one's object, or the next behind it that was not at hand."""
        group = self.order.group(file)
        is_of_object = bool(group) and group == self.order.group(self.last)
        return is_of_object or _is_next(file, self.order, self.last)

    def next_files(self) -> Iterator[F]:
        """What is likely next: the other attributes of the object, then what follows in the order."""
        group = self.order.group(self.last)
        if group != self.group:
            yield from self.order.members(group)
            self.group = group
        for each in islice(self.order.after(self.front), LOOKED_AT):
            yield each
            self.front = each

    def forget(self, file_id: Hashable) -> int:
        """Have a file ahead no longer; gives its size in bytes."""
        size_bytes = self.ahead.pop(file_id).size_bytes
        self.ahead_bytes -= size_bytes
        return size_bytes


class Prefetcher(Generic[F]):
    """Follows what users read, and chooses what is likely next. For one thread at a time.

    The second file in a row that has to be fetched begins it: the next name of a folder, another attribute of the same
    ALF object, or the same name in the next session. From then on `window` files are ahead, at first one, and twice as
    many after each that is read. Never more bytes are ahead in a run, or were wasted by it, than were read in it. A
    file counts with its whole size once any byte of it is read, as it was fetched whole.

    Who comes to the end of a folder and goes on with the first file of another one, goes on with the same run.
    """

    def __init__(self, most_files: int, most_bytes: int) -> None:
        """At most so many files, and bytes, are ahead in each run."""
        self._most_files = most_files
        self._most_bytes = most_bytes
        self._runs: LRUCache[tuple[int, Hashable], _Run[F]] = LRUCache(RUNS)
        self._newest: LRUCache[int, tuple[_Run[F], _Run[F]]] = LRUCache(RUNS)  # by user: by folder, and by name
        self._unread: LRUCache[tuple[int, Hashable], tuple[_Run[F], ...]] = LRUCache(RUNS)  # opened, and not read yet
        self._ahead: dict[Hashable, _Run[F]] = {}
        self._prefetched = self._used = self._wasted = 0

    @property
    def counts(self) -> Counts:
        """What became of the files chosen so far."""
        return Counts(self._prefetched, self._used, self._wasted)

    def is_ahead(self, file_id: Hashable) -> bool:
        """Whether a dataset was chosen and was not read since."""
        return file_id in self._ahead

    def opened(self, user: int, file: F, folder: Order[F], by_name: Order[F]) -> list[F]:
        """Choose what to fetch as a user opened a small file that is fetched for that, and stands in these orders."""
        loser = self._lose(file.id)
        in_folder = self._runs.get((user, folder.key)) or self._continued(user, folder, file)
        in_folder = in_folder or _Run(user, folder, file, file)
        in_name = self._runs.get((user, by_name.key)) or self._begun_by_name(user, by_name, file)
        self._newest[user] = in_folder, in_name
        self._unread[user, file.id] = in_folder, in_name
        self._keep(in_folder)
        chosen = [each for run in (in_folder, in_name) for each in self._follow(run, file, was_ahead=run is loser)]
        if in_name.window:
            self._keep(in_name)
        return chosen

    def read(self, user: int, file: F) -> list[F]:
        """Choose what to fetch as a user reads the first bytes of a file that was fetched for that, or ahead."""
        run = self._ahead.pop(file.id, None)
        if run is None:
            runs = self._unread.pop((user, file.id), ())
            for each in runs:
                each.read_bytes += file.size_bytes
            return [chosen for each in runs for chosen in self._choose(each)]
        self._used += 1
        earlier = _before(file.id, run.ahead)
        size_bytes = run.forget(file.id)
        if run.user != user:
            return []
        if user in self._newest and self._newest[user][0] is run:
            self._newest[user] = run, run  # other names came between, so that none is read from session to session
        run.read_bytes += size_bytes
        run.last, run.is_astray = file, False
        self._pass_by(run, earlier)
        run.n_unread = 0
        run.window = min(2 * run.window, self._most_files)
        return self._choose(run)

    def forget(self) -> None:
        """Forget all runs: what is ahead counts as wasted."""
        for file_id in list(self._ahead):
            self._lose(file_id)
        self._runs.clear()
        self._newest.clear()
        self._unread.clear()

    def _continued(self, user: int, folder: Order[F], file: F) -> _Run[F] | None:
        """The run that came to the end of its folder, and goes on with the first file of this one."""
        run = self._newest[user][0] if user in self._newest else None
        if run is None or not run.window or not _is_next(file, folder, None) or not run.is_at_end:
            return None
        self._runs.pop(run.key, None)
        run.order, run.last, run.front, run.group = folder, file, file, ""
        return run

    def _begun_by_name(self, user: int, by_name: Order[F], file: F) -> _Run[F]:
        """The run that the last opened file began if that has the same name, else a new one."""
        run = self._newest[user][1] if user in self._newest else None
        return run if run is not None and run.order.key == by_name.key else _Run(user, by_name, file, file)

    def _keep(self, run: _Run[F]) -> None:
        if run.key not in self._runs and len(self._runs) == RUNS:
            _, oldest = self._runs.popitem()
            oldest.window = 0
            for file_id in list(oldest.ahead):
                self._lose(file_id)
        self._runs[run.key] = run

    def _follow(self, run: _Run[F], file: F, *, was_ahead: bool) -> list[F]:
        """Note that the next file of a run had to be fetched."""
        if run.last is not file:
            run.is_astray = not run.expects(file)
            run.last = file
            self._pass_by(run, run.ahead)
            if run.is_astray:
                return []
            run.window = run.window or 1
            run.front = run.front if was_ahead else file
        return self._choose(run)

    def _choose(self, run: _Run[F]) -> list[F]:
        chosen: list[F] = []
        if run.is_astray or len(run.ahead) >= run.window:
            return chosen
        for each in run.next_files():
            if each.id in self._ahead or not each.is_missing:
                continue
            ahead_bytes = run.ahead_bytes + each.size_bytes
            if ahead_bytes + run.wasted_bytes > run.read_bytes or ahead_bytes > self._most_bytes:
                break
            run.ahead[each.id] = _Ahead(each.size_bytes)
            run.ahead_bytes = ahead_bytes
            self._ahead[each.id] = run
            chosen.append(each)
            if len(run.ahead) >= run.window:
                break
        self._prefetched += len(chosen)
        return chosen

    def _pass_by(self, run: _Run[F], ids: Iterable[Hashable]) -> None:
        """Note that a file behind these was opened."""
        for file_id in list(ids):
            run.ahead[file_id].n_passed += 1
            if run.ahead[file_id].n_passed >= LATE:
                self._lose(file_id)
                run.n_unread += 1
        if run.n_unread >= UNREAD_AT_MOST:
            run.window = run.n_unread = 0

    def _lose(self, file_id: Hashable) -> _Run[F] | None:
        """Count a file as wasted if it was ahead; gives the run that chose it."""
        run = self._ahead.pop(file_id, None)
        if run is not None:
            run.wasted_bytes += run.forget(file_id)
            self._wasted += 1
        return run


def _is_next(file: F, order: Order[F], last: F | None) -> bool:
    """Whether a file is the first in an order, behind the last one, that was not at hand."""
    for each in islice(order.after(last), LOOKED_AT):
        if each.id == file.id:
            return True
        if each.is_missing:
            return False
    return False


def _before(file_id: Hashable, ahead: dict[Hashable, _Ahead]) -> list[Hashable]:
    """The ids that were chosen before one."""
    found = []
    for each in ahead:
        if each == file_id:
            break
        found.append(each)
    return found
