"""A kernel as the tests of kept listings model it: inodes, entries and listings, and programs that are in its midst."""

import stat
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from types import CoroutineType
from typing import Any, TypeVar

from onefs.fuse.callers import Answer, Request
from onefs.fuse.errnos import FuseError
from onefs.fuse.opened import Listing
from onefs.fuse.operations import Operations
from onefs.vfs import inodes
from onefs.vfs.forest import Wait
from onefs.vfs.nodes import Attributes

R = TypeVar("R")
PAGE_ENTRIES, REPLY_ENTRIES = 4, 3
NOBODY = Request(0, 0)


class At(Enum):
    """Where a program may have to wait."""

    LOCKED = "it reads the directory, or looks up a name in it: nobody can have the kernel forget a name there"
    FREE = "it holds nothing"


Steps = Generator[At, None, None]


class InlineOperations(Operations):
    """Operations that ask even a database at once, without an event loop."""

    async def _ask(self, wait: Wait, request: Request, question: Callable[..., R], *about: Any) -> R:
        return question(*about)


@dataclass(slots=True)
class Inode:
    """A node that the kernel knows. `kept` are the entries of a listing: cookie before and after, name and number."""

    is_directory: bool
    time: tuple[int, int] = -1, -1
    are_valid: bool = False
    changed: int = 0
    kept: list[tuple[int, int, str, int]] = field(default_factory=list)
    pages: set[int] = field(default_factory=set)
    time_begun: tuple[int, int] = -1, -1
    is_whole: bool = False

    def keep(self, before: int, after: int, name: str, ino: int) -> None:
        """Add an entry to the listing if it continues it, and the page that it belongs to is there or is begun."""
        page, offset = divmod(len(self.kept), PAGE_ENTRIES)
        end = self.kept[-1][1] if self.kept else 0
        if self.is_whole or before != end or (offset and page not in self.pages):
            return
        self.pages.add(page)
        self.kept.append((before, after, name, ino))

    def end(self, cookie: int) -> None:
        """The listing has ended; it is whole if what is kept goes so far."""
        self.is_whole = self.is_whole or (bool(self.kept) and self.kept[-1][1] == cookie)

    def whole(self) -> dict[str, int] | None:
        """The listing, if it is whole, and its directory is as it was when that was begun."""
        if self.is_whole:
            if self.time == self.time_begun and len(self.pages) == -(-len(self.kept) // PAGE_ENTRIES):
                return {name: ino for _, _, name, ino in self.kept}
            self.kept, self.pages, self.is_whole = [], set(), False
        if not self.kept:
            self.time_begun = self.time
        return None


@dataclass(slots=True, eq=False)
class Program:
    """A program that lists, or looks something up. `found` is what it listed, None before its end or if that failed."""

    directory: int
    steps: Steps
    is_locked: bool = True
    is_running: bool = False
    has_ended: bool = False
    found: dict[str, int] | None = None

    def step(self) -> None:
        """Let it go on to where it waits next."""
        if self.has_ended or self.is_running:
            return
        self.is_running = True
        try:
            self.is_locked = next(self.steps) is At.LOCKED
        except StopIteration:
            self.has_ended, self.is_locked = True, False
        except FuseError:
            self.has_ended, self.is_locked, self.found = True, False, None
        finally:
            self.is_running = False

    def end(self) -> None:
        """Let it go on to its end."""
        while not self.has_ended:
            self.step()


class ListingKernel:
    """Keeps what it is told to keep, as Linux does where OPENDIR is answered with ENOSYS.

    Nothing leaves its memory but what it is told to forget: any program may work in any directory. Programs go on
    whenever it is told something.
    """

    def __init__(self, operations: InlineOperations, random: Random) -> None:
        self._operations = operations
        self._random = random
        self._clock = 0
        self._listings: dict[tuple[int, int], Listing] = {}
        self.inodes: dict[int, Inode] = {inodes.ROOT: Inode(is_directory=True)}
        self.entries: dict[tuple[int, str], int] = {}
        self.programs: list[Program] = []
        self.may_go_on = True

    # -- what it is told ---------------------------------------------------------------------------------------

    def invalidate_inode(self, ino: int, *, attributes_only: bool) -> None:
        self.meanwhile()
        inode = self._known(ino)
        self._clock += 1
        inode.changed = self._clock
        inode.are_valid = False
        if not attributes_only:
            inode.pages.clear()

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        self.meanwhile()
        directory = self._known(parent)
        for program in self.programs:
            while program.directory == parent and program.is_locked and not program.is_running:
                program.step()
        if self._drop((parent, name.decode())):
            directory.are_valid = False

    def _known(self, ino: int) -> Inode:
        if ino not in self.inodes:
            raise FileNotFoundError
        return self.inodes[ino]

    def _drop(self, entry: tuple[int, str]) -> bool:
        ino = self.entries.pop(entry, None)
        if ino:
            for below in [each for each in self.entries if each[0] == ino]:
                self._drop(below)
        return ino is not None

    # -- programs ----------------------------------------------------------------------------------------------

    def meanwhile(self) -> None:
        """Let programs begin and go on, a few steps each."""
        if not self.may_go_on:
            return
        for _ in range(self._random.randrange(4)):
            if self._random.random() < 0.3:
                self.begin(self._random.choice(self.directories()))
            self.programs = [program for program in self.programs if not program.has_ended]
            if self.programs:
                self._random.choice(self.programs).step()

    def begin(self, ino: int) -> None:
        """Begin to list a directory, to look up a name in it, or to look at its attributes."""
        name = self._random.choice(["la", "lb", "s", "t", "Subjects", "2024-01-01", "001", "x", "a.npy", "b.npy"])
        program = Program(ino, iter(()))  # type: ignore[arg-type]
        program.steps = self._random.choice(
            [self._list(program), self._list(program), self._look_up(ino, name), self._look_at(ino)]
        )
        self.programs.append(program)

    def directories(self) -> list[int]:
        """Numbers of the directories that it knows."""
        return [ino for ino, inode in self.inodes.items() if inode.is_directory]

    def end_all(self) -> None:
        """Let all programs go on to their ends."""
        for program in self.programs:
            program.end()

    def answered_listing(self, ino: int) -> Program:
        """A program that lists a directory, and has got the first answer, which the kernel has not looked at yet."""
        program = Program(ino, iter(()))  # type: ignore[arg-type]
        program.steps = self._list(program)
        self.programs.append(program)
        n_steps = 2 if self.inodes[ino].are_valid else 4
        for _ in range(n_steps):
            program.step()
        return program

    def listed(self, ino: int) -> dict[str, int] | None:
        """What a program finds that lists a directory now; None if that fails."""
        program = Program(ino, iter(()))  # type: ignore[arg-type]
        program.steps = self._list(program)
        self._end_alone(program)
        return program.found

    def looked_up(self, parent: int, name: str) -> int:
        """The number of an entry that there is."""
        if not self.entries.get((parent, name)):
            self._end_alone(Program(parent, self._look_up(parent, name)))
        return self.entries[parent, name]

    def _end_alone(self, program: Program) -> None:
        may_go_on, self.may_go_on = self.may_go_on, False
        program.end()
        self.may_go_on = may_go_on

    def _list(self, program: Program) -> Steps:
        ino = program.directory
        inode = self.inodes[ino]
        if not inode.are_valid:
            yield from self._ask_for_attributes(ino, At.LOCKED)
        found = inode.whole()
        if found is None:
            found = yield from self._read(ino, inode)
        program.found = {name: number for name, number in found.items() if name not in (".", "..")}

    def _read(self, ino: int, inode: Inode) -> Generator[At, None, dict[str, int]]:
        """List a directory by asking for it, part by part."""
        found: dict[str, int] = {}
        cookie = 0
        while True:
            sent = self._clock
            yield At.LOCKED
            part = self._answer(ino, cookie)
            yield At.LOCKED
            if not part:
                inode.end(cookie)
                return found
            for before, after, name, attributes in part:
                inode.keep(before, after, name, attributes.ino)
                found[name] = attributes.ino
                if name not in (".", ".."):
                    self._enter(ino, name, attributes, sent)
                cookie = after
            yield At.FREE

    def _answer(self, ino: int, cookie: int) -> list[tuple[int, int, str, Attributes]]:
        """What a session answers READDIRPLUS."""
        listing = self._listings.get((ino, cookie >> 32)) if cookie else None
        if listing is None:
            listing = self._answered(self._operations.opendir(ino, NOBODY))
        at = cookie & 0xFFFFFFFF
        part = self._answered(self._operations.readdir(listing, at, NOBODY))[:REPLY_ENTRIES]
        begun = cookie
        if not cookie and part:
            self._listings[ino, part[0][1].version] = listing
            begun = part[0][1].version << 32
        before = [cookie, *(begun + i for i in range(1, len(part)))]
        return [(before[i], begun + i + 1, name.decode(), attributes) for i, (name, attributes) in enumerate(part)]

    def _look_up(self, parent: int, name: str) -> Steps:
        sent = self._clock
        yield At.LOCKED
        attributes = self._answered(self._operations.lookup(parent, name.encode(), NOBODY))
        yield At.LOCKED
        self._enter(parent, name, attributes, sent)

    def _look_at(self, ino: int) -> Steps:
        yield from self._ask_for_attributes(ino, At.FREE)

    def _ask_for_attributes(self, ino: int, at: At) -> Steps:
        sent = self._clock
        yield at
        attributes = self._answered(self._operations.getattr(ino, NOBODY))
        yield at
        self._take(attributes, sent)

    @staticmethod
    def _answered(answer: Answer[R]) -> R:
        assert not isinstance(answer, CoroutineType), "somebody waits, or tells of a failure that nobody foresaw"
        return answer

    def _enter(self, parent: int, name: str, attributes: Attributes, sent: int) -> None:
        """Know an entry, and its attributes."""
        self.entries.pop((parent, name), None)
        if attributes.kept_s is None:
            self.entries[parent, name] = attributes.ino
        if attributes.ino:
            self.inodes.setdefault(attributes.ino, Inode(stat.S_ISDIR(attributes.mode)))
            self._take(attributes, sent)

    def _take(self, attributes: Attributes, sent: int) -> None:
        """Take attributes, unless something changed since they were asked for."""
        inode = self.inodes[attributes.ino]
        if inode.changed > sent:
            return
        self._clock += 1
        inode.changed = self._clock
        inode.time = attributes.time_s, attributes.version
        inode.are_valid = attributes.kept_s is None and not attributes.is_live
