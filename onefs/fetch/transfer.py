"""Obtaining a dataset's bytes: from the copy in the cache, or else from one location after the other."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import inf

from onefs.cache.atomic import cache_errors
from onefs.cache.layout import Copy
from onefs.cache.locks import HeldError, StoppedError
from onefs.cache.partial import Partial
from onefs.cache.sparse import SparseFile
from onefs.cache.store import ContentStore
from onefs.cache.verify import Verify
from onefs.catalogue.records import Dataset
from onefs.errors import (
    AccessRefusedError,
    ContentError,
    MismatchError,
    MissingOnServerError,
    NoRoomError,
    OfflineError,
    OnefsError,
    UnreachableError,
)
from onefs.fetch.blockwise import Blockwise, Ordered, Whole
from onefs.fetch.copies import Copies, Look, Standing
from onefs.fetch.download import Downloader, Found, mismatch, server_of
from onefs.fetch.failures import Problem, are_final, is_due, summary
from onefs.fetch.fetch import Fetch, Pause
from onefs.fetch.retry import LocationHealth
from onefs.transports.base import Location

WRITING_PAUSE_S = 0.5
WRITING_WAITS = 40
"""How often to look again at a file that another program is writing, and that has not grown since."""
STANDBY_AFTER_S = 2.0
"""Two who read a large file in turns wait for one another so long; who waits longer reads beside the other."""
BEING_WRITTEN = "Another program may still be writing it: try again in a few seconds."
KEPT_IN_PLACE = (
    "If its tables were made by indexing, run onefs refresh; else tell the archive's maintainers. verify = warn serves "
    "such files all the same."
)
NOT_OURS = "onefs leaves it, as another program put it there: move it away to have the right one fetched."
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Obtained:
    """A verified file, opened. `fetched` tells whether it came over the network now."""

    copy: Copy
    fetched: bool


class Obtainer:
    """Gets datasets, each call in a thread of its own. Safe to use from several threads."""

    def __init__(
        self,
        store: ContentStore,
        copies: Copies,
        downloader: Downloader,
        blockwise: Blockwise,
        locate: Callable[[Dataset], Iterable[Location]],
        health: LocationHealth,
        policy: Verify,
        stop: threading.Event,
        on_mismatch: Callable[[Dataset, Location], None],
    ) -> None:
        self._store = store
        self._copies = copies
        self._downloader = downloader
        self._blockwise = blockwise
        self._locate = locate
        self._health = health
        self._policy = policy
        self._stop = stop
        self._on_mismatch = on_mismatch

    def check(self, fetch: Fetch) -> Obtained | None:
        """The copy that is at hand, if it is right; None if `obtain` should be asked. Waits for nobody.

        Raises MismatchError if the copy is wrong and must stay.
        """
        with _stoppable(fetch.dataset):
            look = self._copies.look(fetch)
            if look.standing is Standing.RIGHT and look.copy is not None:
                return Obtained(look.copy, fetched=False)
            self._refuse_if_kept(fetch, look)
            return None

    def obtain(self, fetch: Fetch) -> Obtained | Pause:
        """The dataset's file, verified or accepted, or why it is left for now. Raises what stands in the way."""
        dataset = fetch.dataset
        if fetch.growing is not None and fetch.give_up():
            return Pause.LEFT
        if not (fetch.may_fetch and self._store.is_cache):
            raise offline(dataset, self._store)
        with _stoppable(dataset), ExitStack() as stack:
            pause = self._take_turn(fetch, stack)
            if pause is not None:
                return pause
            copy = self._settle(fetch, in_hand=False)
            if copy is None:
                return self._fetch(fetch)
            self._blockwise.replaced(fetch, copy.signature.inode)
            return Obtained(copy, fetched=False)

    def _take_turn(self, fetch: Fetch, stack: ExitStack) -> Pause | None:
        """Hold the dataset's lock. A large file that another process has is served meanwhile; why that ended, if so."""
        dataset, is_held = fetch.dataset, False

        def take(longest_s: float) -> bool:
            nonlocal is_held
            if not is_held:
                with suppress(HeldError), cache_errors(dataset.path, self._store.state_dir):
                    stack.enter_context(self._store.lock(dataset.id, self._stop, longest_s))
                    is_held = True
            return is_held

        stands_by = fetch.growing is not None and not fetch.growing.file.is_kept
        longest_s = 0.0 if stands_by else STANDBY_AFTER_S
        while not take(longest_s if self._blockwise.suits(dataset) else inf):
            located = self._located(dataset, [], [])
            pause = self._blockwise.standby.serve(fetch, located, lambda: take(0.0))
            if pause is not None:
                return pause
            longest_s = STANDBY_AFTER_S
        return None

    def _settle(self, fetch: Fetch, *, in_hand: bool) -> Copy | None:
        """The copy if it is right, else None once its name is free: wrong ones go, unfinished ones are waited for.

        What onefs fetched was right by some catalogue, perhaps by a newer one that another daemon has: it goes only
        once the bytes that shall take its place are `in_hand`.
        """
        dataset = fetch.dataset
        largest_bytes, waits = -1, 0
        while self._store.find_copy(dataset) is not None:
            look = self._copies.look(fetch)
            if look.copy is None:
                continue
            if look.standing is Standing.RIGHT:
                return look.copy
            self._refuse_if_kept(fetch, look)
            if look.is_ours and not in_hand:
                return None
            if look.standing is Standing.WRONG:
                self._clear_away(dataset, look.copy, was_right=look.was_right)
                continue
            size_bytes = look.copy.signature.size_bytes
            if largest_bytes < size_bytes <= (dataset.size_bytes or 0):
                largest_bytes, waits = size_bytes, 0
            waits += 1
            if waits > WRITING_WAITS:
                raise _kept(dataset, look.copy, look.md5, BEING_WRITTEN)
            if self._stop.wait(WRITING_PAUSE_S):
                raise StoppedError
        return None

    def _clear_away(self, dataset: Dataset, copy: Copy, *, was_right: bool) -> None:
        if was_right:
            if self._store.remove(dataset, copy):
                log.info("%s is of another edition; the catalogue's takes its place.", copy.path)
        elif self._store.put_away(dataset, copy):
            log.warning("%s differs from the catalogue; it was moved to quarantine.", copy.path)

    def _refuse_if_kept(self, fetch: Fetch, look: Look) -> None:
        """Raise what is wrong with a copy that must stay where it is."""
        if look.copy is None:
            return
        unsettled = look.standing is Standing.UNSETTLED
        if not (self._store.is_cache and fetch.may_fetch):
            raise _kept(fetch.dataset, look.copy, look.md5, BEING_WRITTEN if unsettled else KEPT_IN_PLACE)
        if not (unsettled or look.is_ours or self._store.may_displace):
            raise _kept(fetch.dataset, look.copy, look.md5, NOT_OURS)

    def _fetch(self, fetch: Fetch) -> Obtained | Pause:
        asked: list[Location] = []
        problems: list[Problem] = []
        ordered: Ordered = self._health.order(self._located(fetch.dataset, asked, problems))
        with cache_errors(fetch.dataset.path, self._store.data_dir):
            if self._blockwise.suits(fetch.dataset):
                result = self._fetch_blocks(fetch, ordered, problems)
                if isinstance(result, Obtained | Pause):
                    return result
                ordered = result
            return self._fetch_whole(fetch, ordered, asked, problems)

    def _fetch_blocks(self, fetch: Fetch, ordered: Ordered, problems: list[Problem]) -> Obtained | Pause | Ordered:
        """The file, or why it is left for now, or the locations that are left for it to be fetched from whole."""
        try:
            result = self._blockwise.fetch(fetch, ordered, problems)
            if isinstance(result, Whole):
                copy = self._commit(fetch, result.file, result.found)
                stamp = self._store.stamps.get(fetch.dataset.id)
                if stamp is None or stamp.md5 != result.found.md5:
                    self._blockwise.replaced(fetch, copy.signature.inode)
                return Obtained(copy, fetched=True)
        except (OSError, NoRoomError) as error:
            self._blockwise.withdraw(fetch, error)
            raise
        if not isinstance(result, Pause) and fetch.growing is not None:
            raise summary(fetch.dataset, problems) if problems else _nowhere(fetch.dataset)
        return result

    def _fetch_whole(self, fetch: Fetch, ordered: Ordered, asked: list[Location], problems: list[Problem]) -> Obtained:
        partial = self._store.begin(fetch.dataset, self._stop, evicts=not fetch.is_prefetch)
        try:
            found = self._download(fetch, partial, ordered, asked, problems)
            return Obtained(self._commit(fetch, partial, found), fetched=True)
        except (OSError, NoRoomError):
            with suppress(OSError):
                partial.drop()
            raise
        finally:
            partial.close()

    def _download(
        self, fetch: Fetch, partial: Partial, ordered: Ordered, asked: list[Location], problems: list[Problem]
    ) -> Found:
        """The first location's bytes that are right; wrong ones are accepted only if no location has better."""
        first = Verify.STRICT if self._policy is Verify.WARN else self._policy
        found = self._try_all(fetch, ordered, partial, first, problems)
        if found is None and self._policy is Verify.WARN and asked and are_final(problems):
            found = self._try_all(fetch, self._health.order(asked), partial, Verify.WARN, problems)
        if found is not None:
            return found
        if not fetch.dataset.md5 or not partial.size_bytes:
            partial.drop()
        raise summary(fetch.dataset, problems) if problems else _nowhere(fetch.dataset)

    def _located(self, dataset: Dataset, asked: list[Location], problems: list[Problem]) -> Iterator[Location]:
        """The locations, as they are needed; they end early, and why is told, if the rest cannot be found out."""
        try:
            for location in self._locate(dataset):
                asked.append(location)
                yield location
        except OnefsError as error:
            log.info("%s: %s", dataset.path, error.reason)
            problems.append(Problem("", error))

    def _try_all(
        self, fetch: Fetch, ordered: Ordered, partial: Partial, policy: Verify, problems: list[Problem]
    ) -> Found | None:
        """Ask each location once; None, and why in `problems`, if none gives the file."""
        for location, too_soon in ordered:
            if not is_due(location, problems):
                continue
            fetch.host = server = server_of(location)
            if too_soon is not None:
                problems.append(Problem(server, too_soon))
                continue
            try:
                return self._downloader.download(location, partial, fetch, policy)
            except (UnreachableError, AccessRefusedError, ContentError) as error:
                log.info("%s: %s", fetch.dataset.path, error.reason)
                problems.append(Problem(server, error, location.url, location.instead_of))
                if isinstance(error, MismatchError):
                    self._on_mismatch(fetch.dataset, location)
        return None

    def _commit(self, fetch: Fetch, partial: Partial | SparseFile, found: Found) -> Copy:
        copy = self._settle(fetch, in_hand=True)
        if copy is not None:
            partial.drop()
            return copy
        copy = self._store.commit(fetch.dataset, partial)
        if fetch.growing is not None:
            fetch.growing.became(copy.signature)  # before anybody opens it as verified, and has its pages dropped
        self._copies.vouch(fetch.dataset, copy, found.md5, found.source)
        return copy


def _nowhere(dataset: Dataset) -> MissingOnServerError:
    return MissingOnServerError(
        f"{dataset.path} is in the catalogue, but no server is known that holds it.",
        "Fetch newer tables (onefs refresh); if that does not help, tell the archive's maintainers.",
    )


def _kept(dataset: Dataset, copy: Copy, md5: str, remedy: str) -> MismatchError:
    return mismatch(dataset, f"{copy.path} has", copy.signature.size_bytes, md5, remedy)


@contextmanager
def _stoppable(dataset: Dataset) -> Iterator[None]:
    """Tell those who wait when all ends."""
    try:
        yield
    except StoppedError:
        raise ending(dataset) from None


def offline(dataset: Dataset, store: ContentStore) -> OfflineError:
    """The error for a file that is not at hand while nothing is fetched."""
    if not store.is_cache:
        return OfflineError(
            f"{dataset.path} is in the catalogue but not in the folder {store.data_dir}, which has no server.",
            "Put the file there, or mount the folder with --data-url URL of a server that has it. "
            "If its tables were made by indexing, run onefs refresh.",
        )
    return OfflineError(
        f"{dataset.path} is not in the cache, and mode local fetches nothing.",
        "Switch to a mode that fetches: onefs mode auto.",
    )


def ending(dataset: Dataset) -> OfflineError:
    """The error for those who wait when all ends."""
    return OfflineError(f"{dataset.path} was not fetched: onefs is ending.", "Mount again.")
