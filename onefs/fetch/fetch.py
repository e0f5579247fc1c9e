"""`Fetch`, one dataset on its way to a reader."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum

from onefs.cache.verify import Signature
from onefs.catalogue.records import Dataset
from onefs.errors import OnefsError, again
from onefs.fetch.descriptors import Descriptor
from onefs.fetch.growing import Growing
from onefs.meter import Meter


@dataclass(frozen=True, slots=True)
class Transfer:
    """A fetch under way. `rate_bytes_per_s` is that of the last seconds; `host` is "" before a server was asked.

    `left_s` is how long the rest takes at that rate, None as long as that cannot be told.
    """

    path: str
    done_bytes: int
    total_bytes: int | None
    rate_bytes_per_s: float
    left_s: float | None
    host: str


class Pause(StrEnum):
    """Why a worker leaves a fetch that has not ended: nothing is wanted of it just now, or nobody has it open."""

    RESTING = "resting"
    LEFT = "left"


class Fetch:
    """A dataset being verified or fetched, for however many wait. Safe to use from several threads.

    Those who wait attach, and take the result or detach; the descriptor closes when nobody is attached any more.
    The worker alone sets `done_bytes`, `total_bytes`, `host`, `wrong` (the MD5s of copies that were found wrong, so
    that each is hashed once) and `outdated` (the source and edition of blocks that another process has on disk, and
    that their server no longer has). A large file can be read while it is fetched: then it is `growing`, and the fetch
    may be without a worker while nobody wants more of it; `submit` gives it one.
    """

    def __init__(self, dataset: Dataset, *, may_fetch: bool, is_prefetch: bool = False) -> None:
        self.dataset = dataset
        self.may_fetch = may_fetch
        self.is_prefetch = is_prefetch
        """Whether nobody has asked for it yet."""
        self._is_unclaimed = is_prefetch  # guarded by _lock, as all below it
        self._meter = Meter()
        self.total_bytes = dataset.size_bytes
        self.host = ""
        self.wrong: dict[Signature, str] = {}
        self.outdated: tuple[str, str] | None = None
        self.submit: Callable[[], None] = lambda: None
        self._lock = threading.RLock()  # guards all below
        self._news = _pending()
        self._attached = 0
        self._growing: Growing | None = None
        self._result: Descriptor | None = None
        self._error: OnefsError | None = None
        self._is_left = False
        self._works = True
        self._asked_again = False

    @property
    def done_bytes(self) -> int:
        """How much of it is there, or was hashed."""
        return self._meter.done

    @done_bytes.setter
    def done_bytes(self, size_bytes: int) -> None:
        self._meter.reach(size_bytes)

    @property
    def news(self) -> "Future[None]":
        """What ends when it is worth asking for the result or the growing file again."""
        return self._news

    @property
    def growing(self) -> Growing | None:
        """The file as far as it is there, if it is one that can be read before it is whole."""
        return self._growing

    @property
    def is_finished(self) -> bool:
        """Whether it has a result, or never will."""
        return self._result is not None or self._error is not None or self._is_left

    @property
    def is_unused(self) -> bool:
        """Whether nobody waits for it or reads it."""
        return not self._attached

    @property
    def is_at_work(self) -> bool:
        """Whether a worker has it."""
        return self._works

    def attach(self) -> bool:
        """Join those who wait; False if it is finished already."""
        with self._lock:
            if self.is_finished:
                return False
            self._attached += 1
            self.is_prefetch = False
            return True

    def claim(self) -> bool:
        """Whether a prefetch is still to be begun, by the one who asks this first."""
        with self._lock:
            is_unclaimed, self._is_unclaimed = self._is_unclaimed, False
            return is_unclaimed

    def grow(self, growing: Growing | None) -> None:
        """Let those who wait read of a file that is not whole yet; one that was there before is let go of."""
        with self._lock:
            before, self._growing = self._growing, growing
            is_told = before is None and growing is None and self._news.done()
        if before is not None:
            before.close()
        if not is_told:
            self._tell()

    def begin(self) -> None:
        """Have a worker go on with it, if none does."""
        with self._lock:
            if self._works:
                self._asked_again = True
                return
            self._works = True
        self.submit()

    def rest(self) -> bool:
        """The worker leaves it for now; False if it was asked to go on meanwhile."""
        with self._lock:
            self._works, self._asked_again = self._asked_again, False
            return not self._works

    def give_up(self) -> bool:
        """End it as nobody has it open; False if somebody has by now."""
        with self._lock:
            self._is_left = not self._attached
            return self._is_left

    def take(self) -> Descriptor | None:
        """A share of the result, and detach; None while it is under way. Raises the failure, as a new object."""
        with self._lock:
            if self._error is not None:
                raise again(self._error)
            if self._result is None or not self._result.share():
                return None
        self.detach()
        return self._result

    def detach(self) -> None:
        """No longer wait for it. It goes on all the same."""
        with self._lock:
            self._attached -= 1
            is_last, result, growing = not self._attached, self._result, self._growing
        if is_last and result is not None:
            result.release()
        elif is_last and growing is not None:
            self.begin()  # to bring it to an end
            growing.wake()

    def succeed(self, result: Descriptor) -> bool:
        """Hand out the file; False (and the file is closed) if it was given up meanwhile."""
        with self._lock:
            late = self._error is not None
            if not late:
                if self._growing is not None:
                    self._growing.became(result.signature)
                self._result = result
            unused = late or not self._attached
        if unused:
            result.release()
        if not late:
            self.grow(None)
        return not late

    def fail(self, error: OnefsError) -> bool:
        """Tell the failure; False if it is finished already."""
        with self._lock:
            if self.is_finished:
                return False
            self._error = error
            growing = self._growing
        if growing is not None:
            growing.fail(error)  # who asks only now must not wait for somebody who has ended
            growing.wake()
        self._tell()
        return True

    def progress(self) -> Transfer:
        """How far it is."""
        done_bytes, total_bytes, meter = self.done_bytes, self.total_bytes, self._meter
        left_s = meter.left_s(max(total_bytes - done_bytes, 0)) if total_bytes is not None else None
        return Transfer(self.dataset.path, done_bytes, total_bytes, meter.rate_per_s, left_s, self.host)

    def _tell(self) -> None:
        with self._lock:
            # The worker and whoever closes may tell at once: each future is ended by the one that took it away.
            news, self._news = self._news, _pending()
            if self.is_finished:
                self._news.set_result(None)
        if not news.done():
            news.set_result(None)


def _pending() -> "Future[None]":
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # so that none of those who wait can cancel it for the rest
    return future
