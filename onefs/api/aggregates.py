"""Datasets of no session, by the relation and the identifier in their paths."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from onefs import alf
from onefs.catalogue.filters import FileName, Filter, editions, matching
from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.session_rows import AGGREGATES
from onefs.errors import UsageError
from onefs.one_errors import ALFMultipleCollectionsFound, ALFMultipleObjectsFound

if TYPE_CHECKING:
    import pandas as pd


class Aggregate(NamedTuple):
    """A dataset of no session: `relation` in lower case, and `identifier`, the folders below that."""

    dataset: Dataset
    relation: str
    identifier: str


class AggregateRequest(NamedTuple):
    """A request for aggregates. `identifier` is a regular expression to find in theirs; None: any."""

    relation: str
    identifier: str | None = None
    dataset: FileName = None
    revision: str | None = None


def chosen(datasets: Iterable[Dataset], request: AggregateRequest) -> list[Aggregate]:
    """One edition of each aggregate that is requested, sorted by path; none of QC CRITICAL. Raises `UsageError`."""
    found = sorted(_of_relation(datasets, request), key=lambda each: each.dataset.rel_path)
    names = [f"{alf.split_relative(each.dataset.rel_path).name}" for each in found]
    passes = matching(Filter(request.dataset), names)
    found = [each for each, is_meant in zip(found, passes.tolist(), strict=True) if is_meant]
    one_each = editions(
        [each.dataset.rel_path for each in found], [each.dataset.default_revision for each in found], request.revision
    )
    return [found[row] for row in one_each.rows]


def check_one(found: Sequence[Aggregate]) -> None:
    """Raise `ALFMultipleCollectionsFound` or `ALFMultipleObjectsFound` if there are several."""
    folders = sorted({f"{each.relation}/{each.identifier}" for each in found})
    if len(folders) > 1:
        raise ALFMultipleCollectionsFound(*folders)
    names = sorted({alf.split_relative(each.dataset.rel_path).name for each in found})
    if len(names) > 1:
        raise ALFMultipleObjectsFound(*names)


def frame_of(found: Sequence[Aggregate], rows: "pd.DataFrame") -> "pd.DataFrame":
    """Aggregates as a frame with the index `id`, made of their rows; `rel_path` begins with `aggregates/`."""
    frame = rows.droplevel("eid")
    frame["rel_path"] = [f"{AGGREGATES}/{each.dataset.rel_path}" for each in found]
    frame["relation"] = [each.relation for each in found]
    frame["identifier"] = [each.identifier for each in found]
    return frame


def _of_relation(datasets: Iterable[Dataset], request: AggregateRequest) -> Iterable[Aggregate]:
    try:
        expression = re.compile(request.identifier or "")
    except re.error as error:
        raise UsageError(f"{request.identifier!r} is no regular expression: {error}.", "Correct it.") from error
    for dataset in datasets:
        relation, _, identifier = alf.split_relative(dataset.rel_path).collection.partition("/")
        is_meant = relation.lower() == request.relation.lower() and expression.search(identifier)
        if is_meant and dataset.qc <= QC.FAIL:
            yield Aggregate(dataset, relation.lower(), identifier)
