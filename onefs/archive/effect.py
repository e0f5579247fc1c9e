"""`ModeInEffect`: the mode that was asked for, and that in effect while a server does not answer."""

import logging
from collections.abc import Callable

from onefs.errors import AccessRefusedError, OnefsError, UnreachableError
from onefs.forks import new_lock
from onefs.jitter import Jitter
from onefs.modes import ALLOWED, Mode, ModeState

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 15 * 60.0
_log = logging.getLogger(__name__)


class ModeInEffect:
    """The mode, and what became of it. Safe to use from several threads."""

    def __init__(
        self,
        mode: Mode,
        clock: Callable[[], float],
        on_recovery: Callable[[], None] = lambda: None,
        jitter: Jitter | None = None,
        *,
        renews_in_any_mode: bool = False,
    ) -> None:
        """`on_recovery` is called when a server that did not answer does. `jitter` makes pauses longer at random.

        `renews_in_any_mode`: no server is needed for newer tables, so that they are taken even in mode local.
        """
        self._renews_in_any_mode = renews_in_any_mode
        self._jitter = jitter or Jitter()
        self._clock = clock
        self._on_recovery = on_recovery
        self._lock = new_lock()  # guards the changes of `state` and `_pause_s`
        self._pause_s = FIRST_PAUSE_S
        self.state = ModeState(mode, mode)

    @property
    def renews(self) -> bool:
        """Whether newer tables are taken in the mode that was asked for."""
        return self._renews_in_any_mode or ALLOWED[self.state.requested].new_tables

    def switch(self, mode: Mode) -> None:
        """Be in another mode from now on."""
        with self._lock:
            _log.info("The mode is %s now, it was %s", mode, self.state.requested)
            self.state = self.state.switched(mode, self._clock())
            self._pause_s = FIRST_PAUSE_S

    def recovered(self) -> None:
        """Newer tables could be asked for."""
        with self._lock:
            self._pause_s = FIRST_PAUSE_S
            is_better = bool(self.state.reason) and self.renews
            self.state = self.state.recovered() if is_better else self.state
        if is_better:
            self._on_recovery()

    def failed(self, error: OnefsError) -> None:
        """Newer tables could not be had: they are asked for again after a pause, each longer than the last."""
        with self._lock:
            if self.renews:
                self._fall_back(error, self._jitter.longer_s(max(self._pause_s, error.retry_after_s)))
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def heard(self, error: OnefsError | None, pause_s: float) -> None:
        """A database that is asked as folders are entered answered, or why not; then it is asked after a pause."""
        with self._lock:
            if not ALLOWED[self.state.requested].live_catalogue:
                return
            is_better = False
            if isinstance(error, UnreachableError | AccessRefusedError):
                self._fall_back(error, pause_s)
            elif self.state.reason:  # what else is wrong is wrong with one question only
                is_better = True
                self.state = self.state.recovered()
        if is_better:
            self._on_recovery()

    def _fall_back(self, error: OnefsError, pause_s: float) -> None:
        now_s = self._clock()
        self.state = self.state.fell_back(error.reason, now_s, now_s + pause_s)
