"""The fetching of one small file of an archive, to see that a server gives it whole and right."""

from collections.abc import Callable, Iterable

from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Snapshot
from onefs.digests import new_md5
from onefs.errors import MismatchError, MissingOnServerError, OnefsError
from onefs.fetch.cancel import CancelToken
from onefs.fetch.failures import Problem, is_due, summary
from onefs.fetch.ranges import MemorySink, Ranges
from onefs.transports.addresses import server_name
from onefs.transports.base import Location

LARGEST_BYTES = 4 << 20
SESSIONS_LOOKED_AT = 2000


def download(locate: Callable[[Dataset], Iterable[Location]], snapshot: Snapshot, ranges: Ranges) -> str:
    """Fetch the first small file that has locations from the first of these that gives it. Raises why none does."""
    nowhere: Dataset | None = None
    for row in range(min(snapshot.n_sessions, SESSIONS_LOOKED_AT)):
        dataset = _small(snapshot, row)
        if dataset is None:
            continue
        problems: list[Problem] = []
        for location in locate(dataset):
            if not is_due(location, problems):
                continue
            try:
                _fetch(dataset, location, ranges)
            except OnefsError as error:
                problems.append(Problem(server_name(location.url), error, location.url))
            else:
                how = "whole and verified" if dataset.md5 else "whole (the catalogue has no hash of it)"
                return f"{dataset.path} came {how} from {server_name(location.url)}."
        if problems:
            raise summary(dataset, problems)
        nowhere = nowhere or dataset
    if nowhere is None:
        return "There is no small file to try."
    raise MissingOnServerError(
        f"There is no place where {nowhere.path} could be.", "Give the server of the files with --data-url."
    )


def _small(snapshot: Snapshot, session: int) -> Dataset | None:
    rows = snapshot.datasets(session)
    for number in range(len(rows)):
        if rows.exists[number] and 0 < rows.sizes[number] <= LARGEST_BYTES:
            return rows.dataset(number)
    return None


def _fetch(dataset: Dataset, location: Location, ranges: Ranges) -> None:
    sink = MemorySink(LARGEST_BYTES)
    try:
        ranges.fetch(location, sink, CancelToken())
    except MismatchError as error:
        raise MismatchError(
            f"{dataset.path} came with more bytes than the tables say.", "Tell the archive's maintainers."
        ) from error
    digest = new_md5()
    digest.update(sink.content)
    md5 = digest.hexdigest()
    if dataset.md5 and md5 != dataset.md5:
        raise MismatchError(
            f"{dataset.path} came with MD5 {md5}, the tables say {dataset.md5}.", "Tell the archive's maintainers."
        )
