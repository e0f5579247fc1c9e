"""From datasets to verified files: `Files` gives their paths in the cache, and fetches what is not there yet."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, TypeVar

from onefs.api import mounted_files
from onefs.api.parallel import each_result
from onefs.api.warning import warn
from onefs.cache.verify import Verdict
from onefs.catalogue.records import Dataset
from onefs.errors import BusyError, MissingOnServerError, NoRoomError, OfflineError
from onefs.one_errors import ALFObjectNotFound, ALFWarning, in_python

if TYPE_CHECKING:
    from onefs.archive.archive import Archive
    from onefs.fetch.open_file import OpenFile

OPEN_AT_ONCE = 64
"""Files of one call that are open at once while they are fetched: a process may have few descriptors."""
TRIES = 5
"""How often a file is looked for that others, whose cache has little room too, evict before it is read."""
T = TypeVar("T")


class Files:
    """The files of datasets, for one call.

    With `may_fetch`, what is not in the cache is fetched. Without `check_hash`, a cached file of the right size is
    taken as it is; what is fetched is verified all the same.
    """

    def __init__(self, archive: "Archive", *, may_fetch: bool, check_hash: bool = True) -> None:
        self._archive = archive
        self._content = archive.content
        self._may_fetch = may_fetch
        self._check_hash = check_hash
        self._accepted: list[str] = []  # cached files that differ from the catalogue: to warn of

    def paths(self, datasets: Sequence[Dataset]) -> list[str | ALFObjectNotFound]:
        """Paths of verified files, in order; in place of one that is not to be had, the error that says why.

        They are fetched in parallel. Raises what else stands in the way of any of them: `MismatchError`,
        `UnreachableError`, `AccessRefusedError`, `NoRoomError`, `CacheDamagedError`. With `verify = warn`, wrong bytes
        are an `ALFWarning`.
        """
        found: list[str | ALFObjectNotFound | None] = [self._at_hand(dataset) for dataset in datasets]
        rest = [place for place, path in enumerate(found) if path is None]
        if rest:
            obtained = self._obtain([datasets[place] for place in rest])
            for place, path in zip(rest, obtained, strict=True):
                found[place] = path
        while self._accepted:
            warn(f"{self._accepted.pop()} differs from what the catalogue says of it.", ALFWarning)
        return [path for path in found if path is not None]

    def path(self, dataset: Dataset) -> str:
        """Path of one verified file. Raises as `paths`, and `ALFObjectNotFound` if it is not to be had."""
        path = self.paths([dataset])[0]
        if isinstance(path, ALFObjectNotFound):
            raise path
        return path

    def _at_hand(self, dataset: Dataset) -> str | None:
        """Path of a file that need not be looked into; None if there is none."""
        if not self._check_hash:
            return self._content.path_of_right_size(dataset)
        found = self._content.trusted_path(dataset)
        if found is None:
            return None
        path, verdict = found
        if verdict is Verdict.ACCEPTED:
            self._accepted.append(path)
        return path

    def _obtain(self, datasets: Sequence[Dataset]) -> list[str | ALFObjectNotFound]:
        root = self._archive.source.data_dir
        if mounted_files.is_mounted(root):
            return mounted_files.paths_of(root, datasets)
        found: list[str | ALFObjectNotFound] = []
        for begin in range(0, len(datasets), OPEN_AT_ONCE):
            found += self._obtain_few(datasets[begin : begin + OPEN_AT_ONCE])
        return found

    def _obtain_few(self, datasets: Sequence[Dataset]) -> list[str | ALFObjectNotFound]:
        """Open them all, which starts their fetches, then wait. If this thread is interrupted, nothing waits on."""
        with ExitStack() as files:
            opened = []
            for dataset in datasets:
                file = self._opened(dataset)
                if not isinstance(file, ALFObjectNotFound):
                    files.callback(file.close)  # which ends the wait of a thread
                opened.append(file)
            if len(datasets) == 1:
                return [self._when_whole(datasets[0], opened[0])]
            return each_result(self._when_whole, OPEN_AT_ONCE, datasets, opened)

    def _opened(self, dataset: Dataset) -> "OpenFile | ALFObjectNotFound":
        try:
            return self._content.open(dataset, may_fetch=self._may_fetch and dataset.exists)
        except (OfflineError, MissingOnServerError) as error:
            return self._not_to_be_had(dataset, error)

    def _when_whole(self, dataset: Dataset, file: "OpenFile | ALFObjectNotFound") -> str | ALFObjectNotFound:
        """The path of a file once it is whole. It may be changed, or evicted for others, just then: once more."""
        for _ in range(TRIES):
            if isinstance(file, ALFObjectNotFound):
                return file
            try:
                file.wait_whole()
            except (OfflineError, MissingOnServerError) as error:
                return self._not_to_be_had(dataset, error)
            finally:
                file.close()
            path = self._at_hand(dataset)
            if path is not None:
                return path
            file = self._opened(dataset)
        if not isinstance(file, ALFObjectNotFound):
            file.close()
        raise self._gone_again(dataset)

    def _gone_again(self, dataset: Dataset) -> NoRoomError | BusyError:
        if self._content.cached_path(dataset) is None:
            return NoRoomError(f"{dataset.path} was fetched, but there is no room to keep it in the cache.")
        return BusyError(
            f"{dataset.path}: another program keeps changing its cached copy.", "Try again once that has ended."
        )

    def _not_to_be_had(self, dataset: Dataset, error: OfflineError | MissingOnServerError) -> ALFObjectNotFound:
        """The same as an `ALFObjectNotFound`, with what a program can do about it."""
        source = self._archive.source
        reason, remedy = error.reason, in_python(error.remedy)
        if not dataset.exists:
            reason = f"{dataset.path} is not in the cache, and the tables say that no server has it (exists is False)."
            remedy = "Fetch newer tables (refresh_cache('refresh')), or ask the archive's maintainers."
        elif isinstance(error, OfflineError) and not self._may_fetch:
            remedy = "Let it be fetched: one.mode = 'auto'." if source.is_cache else "Put the file there."
        found = ALFObjectNotFound(f"{reason} {remedy}", terse=True)
        found.__cause__ = error
        return found


def read_again(read: Callable[[], T]) -> T:
    """What `read` returns; called again if a file was evicted after it was found and before it was read."""
    for _ in range(TRIES - 1):
        with suppress(FileNotFoundError):
            return read()
    try:
        return read()
    except FileNotFoundError as error:
        raise NoRoomError(
            f"{error.filename} was evicted while it was being loaded, to make room for others."
        ) from error
