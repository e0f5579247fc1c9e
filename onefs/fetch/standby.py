"""`Standby`: serves readers of a large file while another process fetches it, until this one may."""

import logging
from collections.abc import Callable, Iterable

from onefs.cache.atomic import cache_errors
from onefs.cache.beside import BesideFile, View
from onefs.cache.blocks import BlockFile
from onefs.cache.floating import Memory
from onefs.cache.store import ContentStore
from onefs.errors import AccessRefusedError, ContentError, NoRoomError, UnreachableError
from onefs.fetch.failures import Problem, summary
from onefs.fetch.fetch import Fetch, Pause
from onefs.fetch.filling import Filler, Outcome
from onefs.fetch.growing import Growing
from onefs.fetch.ranges import ChangedError, server_of
from onefs.transports.addresses import shown
from onefs.transports.base import Location

log = logging.getLogger(__name__)


class Standby:
    """Serves large files that others fetch: what is on disk from there, the rest through memory. Of one edition.

    `grow` lets a fetch's readers read of a file, `withdraw` ends that. Safe to use from several threads.
    """

    def __init__(
        self,
        store: ContentStore,
        filler: Filler,
        memory: Memory,
        grow: Callable[[Fetch, BesideFile], Growing],
        withdraw: Callable[[Fetch, Growing], None],
    ) -> None:
        self._store = store
        self._filler = filler
        self._memory = memory
        self._grow = grow
        self._withdraw = withdraw

    def serve(self, fetch: Fetch, located: Iterable[Location], is_turn: Callable[[], bool]) -> Pause | None:
        """Serve until `is_turn`, or until nobody reads it; None if there is nothing to do but to wait for the turn.

        Raises what keeps the other process's location from giving it here.
        """
        dataset = fetch.dataset
        growing = self._stand_by(fetch)
        if growing is None:
            return None

        def is_time() -> bool:
            growing.look()
            return is_turn()

        with cache_errors(dataset.path, self._store.state_dir):
            growing.look()
            location = next((each for each in located if shown(each.url) == growing.file.source), None)
            if location is None:
                return None
            fetch.host = server_of(location)
            try:
                outcome = self._filler.fill(location, growing, fetch, is_time)
            except ChangedError:
                fetch.outdated = _edition(growing.file)
                self._withdraw(fetch, growing)
                return None
            except NoRoomError:
                return None  # its server gives it only from its beginning on: to the other one
            except (UnreachableError, AccessRefusedError, ContentError) as error:
                raise summary(dataset, [Problem(fetch.host, error)]) from error
        if outcome is Outcome.RESTING:
            return Pause.RESTING
        return Pause.LEFT if outcome is Outcome.UNUSED and fetch.give_up() else None

    def _stand_by(self, fetch: Fetch) -> Growing | None:
        """The file beside the other process's; None if that has nothing yet, or no edition to go on with."""
        before, size_bytes = fetch.growing, fetch.dataset.size_bytes or 0
        if before is not None and isinstance(before.file, BesideFile):
            return before
        try:
            view = self._store.view_blocks(fetch.dataset)
        except OSError:
            return None
        try:
            is_same = before is None or not before.is_served or _edition(before.file) == _edition(view)
            if is_same and _edition(view) != fetch.outdated:
                return self._grow(fetch, BesideFile(self._memory, size_bytes, view))
        except (OSError, NoRoomError) as error:
            log.info("%s: it is waited for, as it cannot be read beside its fetch: %s", fetch.dataset.path, error)
        view.close()
        return None


def _edition(file: BlockFile | View) -> tuple[str, str]:
    return file.source, file.edition
