"""The commands about files and folders of a mount: fetch, pin, unpin, evict, verify, retry, and stop."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from onefs.catalogue.records import Dataset
from onefs.daemon.jobs import Jobs
from onefs.daemon.orders import Datasets, Orders
from onefs.daemon.work import Work
from onefs.errors import NotInCatalogueError, UsageError
from onefs.fetch.access import Content
from onefs.vfs.control import Command
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.nodes import DatasetFile, Directory
from onefs.vfs.patterns import datasets_of, is_pattern

MOST_PATHS = 100_000
SETTLING_S = 2.0
"""How long a command about one file waits for what becomes of it."""
ALL = "all"
MINE = "mine"


class FileCommands:
    """The commands about files. Their paths are relative to the mount's root, or begin with the mountpoint."""

    def __init__(
        self,
        file_system: Callable[[], FileSystem],
        content: Content,
        jobs: Jobs,
        orders: Orders,
        mountpoint: Path,
        begin_anew: Callable[[], object],
    ) -> None:
        """`begin_anew` has the database asked again as folders are listed, and files fetched for every program."""
        self._file_system = file_system
        self._content = content
        self._jobs = jobs
        self._orders = orders
        self._mountpoint = os.fspath(mountpoint)
        self._begin_anew = begin_anew

    def table(self) -> Mapping[str, Command]:
        """Each by its word."""
        return {
            "fetch": Command("fetch PATH…", "have files in the cache, whole and verified", self._fetch, 1, MOST_PATHS),
            "pin": Command("pin PATH…", "fetch files, and keep them in the cache", self._pin, 1, MOST_PATHS),
            "unpin": Command("unpin PATH…", "let files leave the cache again", self._unpin, 1, MOST_PATHS),
            "evict": Command("evict PATH…|all", "remove files from the cache", self._evict, 1, MOST_PATHS),
            "verify": Command("verify [PATH…]", "hash what is in the cache anew", self._verify, 0, MOST_PATHS),
            "stop": Command(
                "stop JOB [mine]",
                "end a fetch, pin, evict or verify by its number in status, or once all who asked for it say mine",
                self._stop,
                1,
                2,
            ),
            "retry": Command(
                "retry [PATH]", "forget that a file, those of a folder, or any could not be had", self._retry, 0, 1
            ),
        }

    def pinned_text(self) -> str:
        """What is pinned, one path a line; what the catalogue does not know any more by its id."""
        catalogue = self._file_system().catalogue
        paths = []
        for dataset_id in self._content.keeping.pinned():
            dataset = catalogue.dataset_of_id(UUID(dataset_id))
            paths.append(dataset.path if dataset is not None else dataset_id)
        return "".join(f"{path}\n" for path in sorted(paths))

    def _fetch(self, words: list[str]) -> None:
        self._start(self._orders.fetch(words, self._named(words)), words)

    def _pin(self, words: list[str]) -> None:
        self._start(self._orders.pin(words, self._named(words)), words)

    def _unpin(self, words: list[str]) -> None:
        self._orders.unpin(self._named(words))

    def _evict(self, words: list[str]) -> None:
        if words == [ALL]:
            self._start(self._orders.evict(words, self._cached([""], with_parts=True), skips=True), words)
        else:
            self._start(self._orders.evict(words, self._named(words), skips=False), words)

    def _verify(self, words: list[str]) -> None:
        self._named(words)
        self._start(self._orders.verify(words, self._cached(words or [""])), words)

    def _stop(self, words: list[str]) -> None:
        number, *rest = words
        if not number.isdecimal():
            raise UsageError(f"{number!r} is no number of a job.", "Look up the number of the job: onefs status.")
        if rest not in ([], [MINE]):
            raise UsageError(f"{rest[0]!r} is not {MINE}.", "Write: stop JOB [mine]")
        end = self._jobs.leave if rest else self._jobs.stop
        end(int(number))

    def _retry(self, words: list[str]) -> None:
        self._begin_anew()
        if not words:
            self._content.retry(None)
            return
        for dataset in self._named(words)():
            self._content.retry(dataset)

    def _start(self, work: Work, words: Sequence[str]) -> None:
        """Begin a job; one about a single file is waited for, and fails as that does."""
        is_short = self._is_file(words)
        job = self._jobs.start(work)
        if is_short and job.wait(SETTLING_S):
            error = job.error or next((failure.error for failure in job.failures), None)
            if error is not None:
                raise error

    def _is_file(self, words: Sequence[str]) -> bool:
        if len(words) != 1 or words[0] == ALL or is_pattern(words[0]):
            return False
        return isinstance(self._file_system().forest.find(self._inside(words[0])), DatasetFile)

    def _named(self, words: Sequence[str]) -> Datasets:
        """The datasets of several paths or patterns. Raises `NotInCatalogueError` if there are none of one."""
        forest = self._file_system().forest
        patterns = [self._inside(word) for word in words]
        for pattern, word in zip(patterns, words, strict=True):
            if next(datasets_of(forest, pattern), None) is None:
                raise nothing_at(word)
        return lambda: each_once([datasets_of(forest, pattern) for pattern in patterns])

    def _cached(self, words: Sequence[str], *, with_parts: bool = False) -> Datasets:
        """Those of them that may be in the cache: folders that are not there are passed over."""
        file_system, keeping = self._file_system(), self._content.keeping
        forest, patterns = file_system.forest, [self._inside(word) for word in words]

        def may_hold(folder: Directory) -> bool:
            return keeping.holds(folder.path)

        def parts() -> Iterator[Dataset]:
            found = (file_system.catalogue.dataset_of_id(each) for each in keeping.unfinished())
            return (dataset for dataset in found if dataset is not None)

        def found() -> Iterator[Dataset]:
            whole = [datasets_of(forest, pattern, may_hold) for pattern in patterns]
            return each_once([*whole, parts()] if with_parts else whole)

        return found

    def _inside(self, word: str) -> str:
        """A path as it is from the mount's root on."""
        is_whole = word == self._mountpoint or word.startswith(f"{self._mountpoint}/")
        return word.removeprefix(self._mountpoint) if is_whole else word


def nothing_at(word: str) -> NotInCatalogueError:
    """The error for a path or a pattern that no file belongs to."""
    if is_pattern(word):
        return NotInCatalogueError(
            f"No file in the catalogue matches {word}.",
            "Quote it, so that the shell does not expand it, and write ** to match across a /.",
        )
    return NotInCatalogueError(
        f"There is no file in {word or 'the archive'}.", "List the folder above it to see what is there."
    )


def each_once(several: Sequence[Iterator[Dataset]]) -> Iterator[Dataset]:
    """What several iterators give, without repeating; of a single one nothing is remembered, however long it is."""
    if len(several) == 1:
        yield from several[0]
        return
    seen: set[UUID] = set()
    for datasets in several:
        for dataset in datasets:
            if dataset.id not in seen:
                seen.add(dataset.id)
                yield dataset
