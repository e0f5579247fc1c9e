"""Filters of datasets by file name, collection, revision and QC. `editions` then picks one edition of each file."""

import glob
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.catalogue.globs import is_path_match, is_pattern, name_expression, path_rules
from onefs.catalogue.interface import Rows
from onefs.catalogue.records import QC
from onefs.catalogue.revisions import Chosen, editions, qc_range
from onefs.errors import UnknownPartError, UsageError

__all__ = ["Chosen", "DatasetFilter", "Filter", "dataset_filter", "editions", "matching", "matching_rows", "qc_mask"]

Mask = NDArray[np.bool_]
Texts = str | Iterable[str] | None
FileName = Texts | Mapping[str, Texts]

NAME_PARTS = tuple(field.name for field in fields(alf.FileName))
PARTS = (*NAME_PARTS, "collection")
"""The keys of a dict of ALF parts."""

_REGULAR = re.compile(r"[\\^$*+?()\[\]{}|]")
_KEPT = 1 << 10
_parsed = lru_cache(1 << 16)(alf.FILE.fullmatch)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of datasets. None lets all pass; a list, what matches any of its members; an empty list is like "".

    `filename`: a whole file name; one with a `/` is the whole relative path; "" is any. Or a dict of ALF parts and
    `collection`, which matches valid names only. In a dict, in `collection` and in `revision` "" means absent, and
    nothing else matches what is absent. A revision may have its `#`.

    With `wildcards` texts are shell patterns: `*` does not cross `/` in file names, and does in collections. Without
    they are regular expressions that match the whole; a file name's may match the relative path if no collection is
    given.
    """

    filename: FileName = None
    collection: Texts = None
    revision: Texts = None
    wildcards: bool = True

    def __post_init__(self) -> None:
        """Keep what an iterator gives: a filter is used many times."""
        parts = self.filename
        kept = {part: _kept(parts[part]) for part in parts} if isinstance(parts, Mapping) else _kept(parts)
        object.__setattr__(self, "filename", kept)
        object.__setattr__(self, "collection", _kept(self.collection))
        object.__setattr__(self, "revision", _kept(self.revision))


def matching(filter: Filter, rel_paths: Sequence[str]) -> Mask:  # noqa: A002
    """Which of the relative paths pass, of shape (n,).

    Raises `UnknownPartError` for an unknown part in a dict, `UsageError` for what is no filter.
    """
    return np.fromiter(map(_test_of(filter), rel_paths), bool, len(rel_paths))


def qc_mask(codes: Sequence[int] | NDArray[np.integer], limit: QC = QC.FAIL, ignore_not_set: bool = False) -> Mask:
    """Which QC codes (0 to 4) pass a limit, of shape (n,)."""
    values = np.frombuffer(codes, np.uint8) if isinstance(codes, bytes) else np.asarray(codes)
    passing = qc_range(limit, ignore_not_set)
    mask: Mask = (values >= passing.start) & (values < passing.stop)
    return mask


def matching_rows(
    rows: Rows,
    filter: Filter,  # noqa: A002
    limit: QC = QC.FAIL,
    ignore_not_set: bool = False,
) -> list[int]:
    """Places of the datasets of a session that pass, those that do not exist included."""
    test, passing = _test_of(filter), qc_range(limit, ignore_not_set)
    return [
        row for row, (path, qc) in enumerate(zip(rows.rel_paths, rows.qc, strict=True)) if qc in passing and test(path)
    ]


class DatasetFilter(NamedTuple):
    """The filter for a dataset that a call loads. `is_path`: it was named by its path; `is_pattern`: with wildcards."""

    filter: Filter
    is_path: bool
    is_pattern: bool


def dataset_filter(
    dataset: str | Mapping[str, Texts], collection: Texts = None, *, wildcards: bool = True, as_path: bool = False
) -> DatasetFilter:
    """The filter for a dataset that a call loads, from its name, path or ALF parts.

    A text of two parts (`object.attribute`) stands for any extension if wildcards are on. A text with a `/` is an
    exact place: without a revision folder that of the edition that has none. `as_path` takes a bare name as a path,
    too: one in the session's root. Raises `UsageError` for a place beside a collection.
    """
    has_place = "collection" in dataset if isinstance(dataset, Mapping) else as_path or "/" in dataset
    if has_place and collection is not None:
        raise UsageError(
            f"{dataset!r} says where the dataset is, and the collection {collection!r} is given, too.",
            "Leave the collection out.",
        )
    if isinstance(dataset, Mapping):
        return DatasetFilter(Filter(dataset, collection, None, wildcards), False, False)
    if not has_place:
        return DatasetFilter(Filter(_spellings(dataset, wildcards), collection, None, wildcards), False, False)
    has_wildcards = is_pattern(dataset) if wildcards else _REGULAR.search(dataset) is not None
    names = _spellings((glob.escape if wildcards else re.escape)(dataset), wildcards)
    if has_wildcards:
        names += _spellings(dataset, wildcards)
    at_root = None if "/" in dataset else ""
    return DatasetFilter(Filter(names, at_root, at_root, wildcards), True, has_wildcards)


def _spellings(dataset: str, wildcards: bool) -> list[str]:
    is_short = wildcards and dataset.rpartition("/")[2].count(".") == 1
    return [dataset, f"{dataset}.*"] if is_short else [dataset]


class _Texts(NamedTuple):
    """A test of one text: passes if any of the expressions matches the whole text."""

    takes_absent: bool
    expressions: tuple[re.Pattern[str], ...]

    def passes(self, text: str) -> bool:
        if not text:
            return self.takes_absent
        return any(expression.fullmatch(text) for expression in self.expressions)


class _Memo(dict[str, bool]):
    """Results of a test by text. Each text is tested once."""

    def __init__(self, passes: Callable[[str], bool]) -> None:
        super().__init__()
        self._passes = passes

    def __missing__(self, text: str) -> bool:
        passes = self[text] = self._passes(text)
        return passes


def _test_of(filter: Filter) -> Callable[[str], bool]:  # noqa: A002
    """A test of relative paths. Each distinct folder and file name is tested once."""
    names, paths = _name_tests(filter)
    folders = _folder_test(filter)

    def passes(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return folders[folder] and (names is None or names[name] or (paths is not None and paths(path)))

    return passes


def _folder_test(filter: Filter) -> _Memo:  # noqa: A002
    in_folder = filter.filename.get("collection") if isinstance(filter.filename, Mapping) else None
    collections = [_compiled(each, filter.wildcards, "collection") for each in (filter.collection, in_folder)]
    revision = _values(filter.revision, "revision")
    bare = None if revision is None else tuple(each.removeprefix("#").removesuffix("#") for each in revision)
    revisions = _compiled(bare, filter.wildcards, "revision")
    given = [texts for texts in collections if texts is not None]

    def passes(folder: str) -> bool:
        collection, revision, _ = alf.split_relative(f"{folder}/")
        if revisions is not None and not revisions.passes(revision):
            return False
        return all(texts.passes(collection) for texts in given)

    return _Memo(passes)


def _parts_test(parts: Mapping[str, Texts], wildcards: bool) -> _Memo:
    unknown = [str(part) for part in parts if part not in PARTS]
    if unknown:
        raise UnknownPartError(
            f"A dataset's name has no part {', '.join(map(repr, unknown))}.", f"Use some of: {', '.join(PARTS)}."
        )
    compiled = [(part, _compiled(parts.get(part), wildcards, part)) for part in NAME_PARTS]
    given = [(part, texts) for part, texts in compiled if texts is not None]

    def passes(name: str) -> bool:
        parsed = _parsed(name)
        return parsed is not None and all(texts.passes(parsed[part] or "") for part, texts in given)

    return _Memo(passes)


def _name_tests(filter: Filter) -> tuple[_Memo | None, Callable[[str], bool] | None]:  # noqa: A002
    """A test of file names (None: all pass), and one of whole paths for those whose name fails (None: they fail)."""
    if isinstance(filter.filename, Mapping):
        return _parts_test(filter.filename, filter.wildcards), None
    values = _values(filter.filename, "filename")
    if values is None or "" in values:
        return None, None
    if not filter.wildcards:
        names = _expressions(values, False)
        return _Memo(names.passes), names.passes if filter.collection is None else None
    names = _expressions(tuple(value for value in values if "/" not in value), True)
    rules = [path_rules(value) for value in values if "/" in value]

    def passes(path: str) -> bool:
        parts = path.split("/")
        return any(is_path_match(each, parts) for each in rules)

    return _Memo(names.passes), passes if rules else None


def _compiled(value: Texts, wildcards: bool, what: str) -> _Texts | None:
    values = _values(value, what)
    return None if values is None else _expressions(values, wildcards)


def _kept(value: Texts) -> Texts:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else value


def _values(value: Texts, what: str) -> tuple[str, ...] | None:
    """The texts of a filter, None for any."""
    if value is None or isinstance(value, str):
        return None if value is None else (value,)
    values = list(value) if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes) else [value]
    texts = tuple(each for each in values if isinstance(each, str))
    if len(texts) == len(values):
        return texts or ("",)
    if None in values:
        return None
    raise UsageError(f"{value!r} is no {what} to filter by.", "Give a text, a list of texts, or None for any.")


@lru_cache(_KEPT)
def _expressions(values: tuple[str, ...], wildcards: bool) -> _Texts:
    compile_one = name_expression if wildcards else _regular
    return _Texts("" in values, tuple(compile_one(value) for value in values if value))


def _regular(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(
            f"{text!r} is no regular expression: {error}.", "Correct it, or turn wildcards on to use * and ?."
        ) from error
