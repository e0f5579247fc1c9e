"""`Locations`: those of one dataset in the order to try, and why those that were tried did not give it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from onefs.catalogue.records import Dataset
from onefs.errors import MismatchError, MissingOnServerError, OnefsError
from onefs.fetch.failures import Problem, is_due, summary
from onefs.fetch.fetch import Fetch, FetchEvents
from onefs.fetch.ranges import server_of
from onefs.fetch.retry import LocationHealth
from onefs.transports.base import Location

Ordered = Iterable[tuple[Location, OnefsError | None]]
"""Locations in the order to try; with an error instead if the server must not be asked now."""
log = logging.getLogger(__name__)


class Locations:
    """Where one fetch can get its file from. For the fetch's worker."""

    def __init__(
        self,
        fetch: Fetch,
        locate: Callable[[Dataset], Iterable[Location]],
        health: LocationHealth,
        events: FetchEvents,
    ) -> None:
        self._fetch = fetch
        self._locate = locate
        self._health = health
        self._events = events
        self.problems: list[Problem] = []
        """Why each location that was tried did not give the file."""
        self.asked: list[Location] = []
        self.ordered: Ordered = health.order(self._located())

    def each(self, ordered: Ordered) -> Iterator[Location]:
        """Those to try now, one by one; why the others are not is among the problems."""
        for location, too_soon in ordered:
            if not self.is_due(location):
                continue
            if too_soon is None:
                self._fetch.host = server_of(location)
                yield location
            else:
                self.pass_over(location, too_soon)

    def once_more(self) -> Ordered:
        """All of them again."""
        return self._health.order(self.asked)

    def is_due(self, location: Location) -> bool:
        """Whether to try a location: one with a file's second name only if there is nothing under the first."""
        return is_due(location, self.problems)

    def pass_over(self, location: Location, error: OnefsError) -> None:
        """Note that a location must not be asked now."""
        self.problems.append(Problem(server_of(location), error))

    def failed(self, location: Location, error: OnefsError) -> None:
        """Note why a location did not give the file."""
        log.info("%s: %s", self._fetch.dataset.path, error.reason)
        self.problems.append(Problem(server_of(location), error, location.url, location.instead_of))
        if isinstance(error, MismatchError):
            self._events.mismatched(self._fetch.dataset, location)

    def summary(self) -> OnefsError:
        """One error for all that failed."""
        dataset = self._fetch.dataset
        if self.problems:
            return summary(dataset, self.problems)
        return MissingOnServerError(
            f"{dataset.path} is in the catalogue, but no server is known that holds it.",
            "Fetch newer tables (onefs refresh); if that does not help, tell the archive's maintainers.",
        )

    def _located(self) -> Iterator[Location]:
        """The locations, as they are needed; they end early, and why is noted, if the rest cannot be found out."""
        try:
            for location in self._locate(self._fetch.dataset):
                self.asked.append(location)
                yield location
        except OnefsError as error:
            log.info("%s: %s", self._fetch.dataset.path, error.reason)
            self.problems.append(Problem("", error))


def untried(locations: Sequence[Location]) -> Ordered:
    """Locations that can all be asked."""
    return [(location, None) for location in locations]
