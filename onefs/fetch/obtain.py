"""`Obtainer` gets a dataset's file: from the copy in the cache, or else from one location after the other."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import inf

from onefs.cache.atomic import cache_errors
from onefs.cache.layout import Copy
from onefs.cache.locks import HeldError, StoppedError
from onefs.cache.store import ContentStore
from onefs.cache.usage import footprint
from onefs.cache.verify import Verify, wanted
from onefs.catalogue.records import Dataset
from onefs.errors import AccessRefusedError, ContentError, MismatchError, NoRoomError, UnreachableError
from onefs.fetch.copies import KEPT_IN_PLACE, Copies, Look, Standing
from onefs.fetch.failures import are_final, ending, mismatch, offline
from onefs.fetch.fetch import Fetch, FetchEvents
from onefs.fetch.large import LargeFiles, Pause, WholePart
from onefs.fetch.locations import Locations, Ordered
from onefs.fetch.part_file import Gate
from onefs.fetch.ranges import Ranges
from onefs.fetch.retry import LocationHealth
from onefs.fetch.storage import DiskBlocks, NamedByOtherError
from onefs.fetch.whole import WholeFile
from onefs.transports.base import Location

WRITING_PAUSE_S = 0.5
WRITING_WAITS = 40
"""How often to look again at a file that another program is writing, and that has not grown since."""
SHARING_PAUSE_S = 0.1
"""How often to look whether a large file that another process has begun can be filled together with it."""
BEING_WRITTEN = "Another program may still be writing it: try again in a few seconds."
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
        ranges: Ranges,
        large: LargeFiles,
        locate: Callable[[Dataset], Iterable[Location]],
        health: LocationHealth,
        policy: Verify,
        stop: threading.Event,
        events: FetchEvents,
    ) -> None:
        self._store = store
        self._copies = copies
        self._ranges = ranges
        self._large = large
        self._locate = locate
        self._health = health
        self._policy = policy
        self._stop = stop
        self._events = events

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
        if fetch.part is not None and fetch.is_unused and fetch.abandon():
            return Pause.ABANDONED
        if not (fetch.may_fetch and self._store.is_cache):
            raise offline(dataset, self._store)
        with _stoppable(dataset), ExitStack() as stack:
            is_held = self._take_turn(fetch, stack)
            has_copy = fetch.has_copy or not self._store.lacks_copy(dataset)  # it may have come since it was looked for
            copy = self._settle(fetch, in_hand=False) if has_copy else None
            fetch.has_copy = True
            if copy is not None:
                self._large.replaced(fetch, copy.signature.inode)
                return Obtained(copy, fetched=False)
            locations = self._locations(fetch)
            with cache_errors(dataset.path, self._store.data_dir):
                if self._large.gate(dataset) is None:
                    return self._fetch_whole(fetch, locations, locations.ordered)
                return self._fetch_blocks(fetch, locations, stack, is_held=is_held)

    def _take_turn(self, fetch: Fetch, stack: ExitStack) -> bool:
        """Hold the dataset's lock, so that one process fetches it; whether it is held.

        A large file that another process of the user has begun is filled together with that.
        """
        dataset = fetch.dataset
        is_shared = self._large.gate(dataset) in (Gate.END, Gate.OPEN)
        longest_s = 0.0
        with cache_errors(dataset.path, self._store.state_dir):
            while True:
                try:
                    stack.enter_context(self._store.lock(dataset.id, self._stop, longest_s))
                except HeldError:
                    fetch.has_copy = True
                    if not is_shared:
                        longest_s = inf
                        continue
                    if self._is_begun(dataset):
                        return False
                    fetch.token.wait(SHARING_PAUSE_S)
                else:
                    return True

    def _locations(self, fetch: Fetch) -> Locations:
        return Locations(fetch, self._locate, self._health, self._events)

    def _is_begun(self, dataset: Dataset) -> bool:
        record = self._store.part_records.find(dataset.id)
        return record is not None and record.wanted == wanted(dataset)

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
                fetch.has_old_copy = True
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
            fetch.token.wait(WRITING_PAUSE_S)
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

    def _fetch_blocks(self, fetch: Fetch, locations: Locations, stack: ExitStack, *, is_held: bool) -> Obtained | Pause:
        dataset = fetch.dataset
        try:
            try:
                fetch.is_shared = not is_held
                result = self._large.fetch(fetch, locations)
            except NamedByOtherError:
                copy = self._settle(fetch, in_hand=False)
                if copy is not None:
                    self._large.replaced(fetch, copy.signature.inode)
                    return Obtained(copy, fetched=True)
                fetch.is_shared = False
                locations = self._locations(fetch)  # those before were gone through
                result = self._large.fetch(fetch, locations)
            if isinstance(result, WholePart):
                if not is_held:
                    stack.enter_context(self._store.lock(dataset.id, self._stop))
                copy = self._commit(fetch, result.file, result.md5)
                stamp = self._store.state.stamp(dataset.id)
                if stamp is None or stamp.md5 != result.md5:
                    self._large.replaced(fetch, copy.signature.inode)
                return Obtained(copy, fetched=True)
        except (OSError, NoRoomError) as error:
            self._large.withdraw(fetch, error)
            raise
        if isinstance(result, Pause):
            return result
        if fetch.part is not None:
            raise locations.summary()
        return self._fetch_whole(fetch, locations, result)

    def _fetch_whole(self, fetch: Fetch, locations: Locations, ordered: Ordered) -> Obtained:
        """The first location's bytes that are right; wrong ones are accepted only if no location has better."""
        reservation = self._store.quota.reserve(fetch.dataset.id, 0, evicts=fetch.is_demanded)
        file = WholeFile(fetch, self._store, reservation)
        try:
            reservation.reach(footprint(fetch.dataset.size_bytes or 0))
            first = Verify.STRICT if self._policy is Verify.WARN else self._policy
            md5 = self._download(file, locations, ordered, first)
            if not md5 and self._policy is Verify.WARN and locations.asked and are_final(locations.problems):
                md5 = self._download(file, locations, locations.once_more(), Verify.WARN)
            if not md5:
                raise locations.summary()
            return Obtained(self._commit(fetch, file, md5), fetched=True)
        finally:
            file.close()

    def _download(self, file: WholeFile, locations: Locations, ordered: Ordered, policy: Verify) -> str:
        """The MD5 of the file from the first location that gives it; "" if none does, and why among the problems."""
        for location in locations.each(ordered):
            try:
                return file.download(location, policy, self._ranges)
            except (UnreachableError, AccessRefusedError, ContentError) as error:
                locations.failed(location, error)
        return ""

    def _commit(self, fetch: Fetch, file: WholeFile | DiskBlocks, md5: str) -> Copy:
        may_replace = fetch.has_old_copy or isinstance(file, DiskBlocks) or file.may_replace
        copy = self._settle(fetch, in_hand=True) if may_replace and self._store.has_name(fetch.dataset) else None
        if copy is not None:
            if isinstance(file, DiskBlocks):
                with suppress(OSError):
                    file.drop()
            return copy
        try:
            copy = self._store.commit(fetch.dataset, file)
        except NamedByOtherError:
            return self._commit(fetch, file, md5)
        if fetch.part is not None:
            fetch.part.became(copy.signature)  # before anybody opens it as verified, and has its pages dropped
        self._copies.vouch(fetch.dataset, copy, md5, file.source)
        return copy


def _kept(dataset: Dataset, copy: Copy, md5: str, remedy: str) -> MismatchError:
    return mismatch(dataset, f"{copy.path} has", copy.signature.size_bytes, md5, remedy)


@contextmanager
def _stoppable(dataset: Dataset) -> Iterator[None]:
    """Tell those who wait when all ends."""
    try:
        yield
    except StoppedError:
        raise ending(dataset) from None
