"""Helpers over frames of datasets: filters, editions, ranges of dates, abbreviations. pandas is loaded when needed."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import wraps
from numbers import Number
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.api.alyx_queries import LazyId
from onefs.catalogue.filters import FileName, Filter, Mask, Texts, editions, matching, qc_mask
from onefs.catalogue.records import QC, QC_CODES
from onefs.catalogue.revisions import NOT_SET
from onefs.catalogue.terms import complete, qc_of
from onefs.one_errors import (
    ALFError,
    ALFMultipleCollectionsFound,
    ALFMultipleObjectsFound,
    ALFMultipleRevisionsFound,
    ALFWarning,
    UsageError,
    api_errors,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "LazyId", "autocomplete", "ensure_list", "filter_datasets", "filter_revision_last_before", "index_last_before",
    "parse_id", "validate_date_range",
]  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T")


@api_errors
def filter_datasets(
    all_datasets: "pd.DataFrame",
    filename: FileName = None,
    collection: Texts = None,
    revision: Texts = None,
    revision_last_before: bool = True,
    qc: QC | int | str = QC.FAIL,
    ignore_qc_not_set: bool = False,
    assert_unique: bool = True,
    wildcards: bool = False,
) -> "pd.DataFrame":
    """The rows of a frame of datasets that pass, in their order.

    `filename`, `collection` and `wildcards` are those of `onefs.catalogue.filters.Filter`. `revision` is one too, or
    with `revision_last_before` one edition of each file is chosen as in `filter_revision_last_before`. With either
    that or `assert_unique` the answer has a column `revision`.

    With `assert_unique`, raises `ALFMultipleCollectionsFound`, then `ALFMultipleRevisionsFound`, then
    `ALFMultipleObjectsFound` if more than one is left.
    """
    asked = Filter(filename, collection, None if revision_last_before else revision, wildcards)
    passing = _matching(asked, all_datasets) & qc_mask(_qc_codes(all_datasets), qc_of(qc), ignore_qc_not_set)
    found = all_datasets[passing]
    if assert_unique:
        _check_single([alf.split_relative(path).collection for path in found["rel_path"]], ALFMultipleCollectionsFound)
    if revision_last_before:
        if revision is not None and not isinstance(revision, str):
            raise UsageError(f"{revision!r} is no revision.", "Give one text, or revision_last_before=False.")
        found = filter_revision_last_before(found, revision, assert_unique=assert_unique)
    elif assert_unique:
        found = _with_revisions(found)
        _check_single(found["revision"], ALFMultipleRevisionsFound)
    if assert_unique and len(found) > 1:
        raise ALFMultipleObjectsFound(*found["rel_path"])
    return found if revision_last_before or assert_unique else found.copy()


@api_errors
def filter_revision_last_before(
    datasets: "pd.DataFrame", revision: str | None = None, assert_unique: bool = True, assert_consistent: bool = False
) -> "pd.DataFrame":
    """One row of each file, with a column `revision`: the default edition, or the greatest at or before `revision`.

    Raises `ALFMultipleRevisionsFound` if several editions of a file are marked as the default (or, not
    `assert_unique`, warns and takes the greatest of these), and if the revisions are mixed and `assert_consistent`
    (else warns).
    """
    chosen = editions(datasets["rel_path"].tolist(), _defaults(datasets), revision, _sessions(datasets))
    if assert_unique and chosen.doubled:
        raise ALFMultipleRevisionsFound(f"Several editions are marked as the default: {', '.join(chosen.doubled)}.")
    if assert_consistent and chosen.mixed:
        raise ALFMultipleRevisionsFound(*chosen.revisions)
    for sentence in filter(None, (*chosen.warnings, chosen.mixed)):
        warnings.warn(sentence, ALFWarning, stacklevel=3)
    return _with_revisions(datasets.iloc[chosen.rows])


def index_last_before(revisions: Sequence[str], revision: str | None) -> int | None:
    """Place of the greatest revision at or before one, or of the greatest for None; None if there is none."""
    places = [place for place, each in enumerate(revisions) if revision is None or each <= revision]
    return max(places, key=lambda place: revisions[place], default=None)


def validate_date_range(
    date_range: "str | date | np.datetime64 | Iterable[Any] | None",
) -> "tuple[pd.Timestamp, pd.Timestamp] | None":
    """The first and last moment of a day, or of two dates either of which may be None for an open end.

    None for None. Raises `UsageError` for what is no date and no range.
    """
    import pandas as pd

    if date_range is None:
        return None
    if isinstance(date_range, str | date | np.datetime64) or not isinstance(date_range, Iterable):
        first = _moment(date_range)
        try:
            return first, first + pd.Timedelta(days=1) - pd.Timedelta(milliseconds=1)
        except pd.errors.OutOfBoundsDatetime:  # of the last day that there is, only a part is there
            return first, pd.Timestamp.max
    ends = list(date_range)
    if not 1 <= len(ends) <= 2:
        raise UsageError(f"{date_range!r} is no range of dates.", "Give one date, or two of which one may be None.")
    first, last = (*ends, None)[:2]
    return (
        pd.Timestamp.min if pd.isna(first) else _moment(first),
        pd.Timestamp.max if pd.isna(last) else _moment(last),
    )


@api_errors
def autocomplete(term: str, search_terms: Iterable[str]) -> str:
    """The one of the terms that a text is, or that alone begins with it, in any case. Raises `UsageError`."""
    return complete(term, search_terms)


def parse_id(method: Callable[Concatenate[Any, Any, P], T]) -> Callable[Concatenate[Any, Any, P], T]:
    """A method whose first argument is an eid, taking whatever its object's `to_eid` does.

    It raises `UsageError` for what leads to no eid.
    """

    @wraps(method)
    def call(self: Any, id: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:  # noqa: A002
        eid = self.to_eid(id)
        if eid is None or (isinstance(eid, list) and None in eid):
            raise UsageError(
                f"{id!r} leads to no session.", "Give an eid, or the path or reference of a known session."
            )
        return method(self, eid, *args, **kwargs)

    return call


def ensure_list(value: Any, exclude_type: type | tuple[type, ...] = (str, dict)) -> Any:
    """The value if it can be iterated over and is not of `exclude_type`, else a list of it."""
    return value if isinstance(value, Iterable) and not isinstance(value, exclude_type) else [value]


def _matching(asked: Filter, datasets: "pd.DataFrame") -> Mask:
    """Which rows pass, each distinct path looked at once; a null path does not."""
    import pandas as pd

    codes, distinct = pd.factorize(datasets["rel_path"])
    mask: Mask = np.append(matching(asked, distinct.tolist()), False)[codes]
    return mask


def _qc_codes(datasets: "pd.DataFrame") -> NDArray[np.uint8]:
    """QC codes 0 to 4; NOT_SET for null, and for all if there is no such column."""
    import pandas as pd

    if "qc" not in datasets:
        return np.zeros(len(datasets), np.uint8)
    codes, distinct = pd.factorize(datasets["qc"])
    of_distinct = np.array([*(QC_CODES.index(qc_of(value)) for value in distinct), NOT_SET], np.uint8)
    found: NDArray[np.uint8] = of_distinct[codes]
    return found


def _defaults(datasets: "pd.DataFrame") -> list[bool | None]:
    if "default_revision" not in datasets:
        return []
    marked: list[bool | None] = datasets["default_revision"].eq(True).fillna(False).tolist()
    return marked


def _sessions(datasets: "pd.DataFrame") -> list[Any] | None:
    """The session of each row, None if the frame does not say."""
    if "eid" in datasets.index.names:
        return list(datasets.index.get_level_values("eid"))
    return datasets["eid"].tolist() if "eid" in datasets else None


def _with_revisions(datasets: "pd.DataFrame") -> "pd.DataFrame":
    return datasets.assign(revision=[alf.split_relative(path).revision for path in datasets["rel_path"]])


def _check_single(values: Iterable[str], error: type[ALFError]) -> None:
    distinct = sorted(set(values))
    if len(distinct) > 1:
        raise error(*distinct)


def _moment(value: Any) -> "pd.Timestamp":
    import pandas as pd

    try:
        moment = pd.NaT if isinstance(value, Number) else pd.Timestamp(value).as_unit("ns")
    except (ValueError, TypeError) as error:
        raise _no_date(value) from error
    if moment is pd.NaT:
        raise _no_date(value)
    return moment


def _no_date(value: object) -> UsageError:
    return UsageError(f"{value!r} is no date.", "Write it as 2020-07-01.")
