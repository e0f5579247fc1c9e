"""What searches and lists should answer, said as plainly as it can be: each session and each path on its own."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd
from one.alf.path import filename_parts

QC_NAMES = ("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")
TEXTS = {"subject": "subject", "laboratory": "lab", "task_protocol": "task_protocol", "projects": "projects"}


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def found(
    sessions: pd.DataFrame, rows_of: Mapping[str, Sequence[Any]], terms: Mapping[str, Any], *, wildcards: bool
) -> list[str]:
    """The eids of the sessions that meet all terms (by their whole names), in the order of answers.

    `rows_of` has the rows of each session's datasets, by eid.
    """
    meets = [
        (row.date, row.subject, row.number, str(row.Index))
        for row in sessions.itertuples()
        if _meets(row, rows_of.get(str(row.Index), ()), terms, wildcards=wildcards)
    ]
    meets.sort(key=lambda each: each[3])
    return [each[3] for each in sorted(meets, key=lambda each: each[:3], reverse=True)]


def _meets(session: Any, datasets: Sequence[Any], terms: Mapping[str, Any], *, wildcards: bool) -> bool:
    def contains(text: str, value: str) -> bool:
        return bool(re.search(value, text)) if wildcards else value in text

    limit = QC_NAMES.index(terms.get("dataset_qc_lte", "FAIL"))
    paths = [row.rel_path for row in datasets if row.exists and QC_NAMES.index(str(row.qc)) <= limit]
    names = {path.rpartition("/")[2] for path in paths}
    for term, value in terms.items():
        match term:
            case "date_range":
                first, last = value if isinstance(value, list) else (value, value)
                fits = date.fromisoformat(first or "0001-01-01") <= session.date
                fits &= session.date <= date.fromisoformat(last or "9999-12-31")
            case "number":
                fits = session.number in [int(each) for each in as_list(value)]
            case "dataset":
                fits = all(any(contains(path, each) for path in paths) for each in as_list(value))
            case "datasets":
                fits = names.issuperset(as_list(value))
            case "dataset_qc_lte":
                fits = bool(paths)
            case _:
                fits = any(contains(getattr(session, TEXTS[term]) or "", each) for each in as_list(value))
        if not fits:
            return False
    return True


def listed(rows: Iterable[Any], filters: Mapping[str, Any], *, wildcards: bool) -> list[str]:
    """The relative paths that `list_datasets` answers of some rows of the table of datasets."""
    limit = QC_NAMES.index(filters.get("qc", "FAIL"))
    lowest = 1 if filters.get("ignore_qc_not_set") else 0
    return sorted(
        {
            row.rel_path
            for row in rows
            if lowest <= QC_NAMES.index(str(row.qc)) <= limit
            and (not filters.get("default_revisions_only") or row.default_revision)
            and passes(row.rel_path, filters, wildcards=wildcards)
        }
    )


def parts_of(path: str) -> tuple[str, str, str]:
    """A path's collection, revision (without its #) and file name."""
    folder, _, name = path.rpartition("/")
    collection, _, last = folder.rpartition("/")
    if len(last) > 2 and last[0] == last[-1] == "#":
        return collection, last.strip("#"), name
    return folder, "", name


def passes(path: str, filters: Mapping[str, Any], *, wildcards: bool) -> bool:
    """Whether a path passes `filename`, `collection` and `revision`."""
    collection, revision, name = parts_of(path)
    if not _any_is(filters.get("collection"), collection, wildcards=wildcards):
        return False
    revisions = filters.get("revision")
    if revisions is not None:
        revisions = [each.strip("#") if wildcards else each for each in as_list(revisions)]
    if not _any_is(revisions, revision, wildcards=wildcards):
        return False
    asked = filters.get("filename")
    if isinstance(asked, dict):
        return _has_parts(name, asked, wildcards=wildcards)
    return asked is None or any(
        not each or _is_named(each, path, name, filters.get("collection"), wildcards=wildcards)
        for each in as_list(asked)
    )


def _has_parts(name: str, asked: Mapping[str, Any], *, wildcards: bool) -> bool:
    try:
        found = filename_parts(name, as_dict=True)
    except ValueError:
        return False
    return all(_any_is(value, found[part] or "", wildcards=wildcards) for part, value in asked.items())


def _is_named(pattern: str, path: str, name: str, collection: Any, *, wildcards: bool) -> bool:
    if not wildcards:
        return bool(re.fullmatch(pattern, name)) or (collection is None and bool(re.fullmatch(pattern, path)))
    if "/" not in pattern:
        return fnmatchcase(name, pattern)
    ours, asked = path.split("/"), pattern.split("/")
    return len(ours) == len(asked) and all(map(fnmatchcase, ours, asked))


def _any_is(values: Any, text: str, *, wildcards: bool) -> bool:
    if values is None:
        return True
    return any(
        text == each if not (each and text) else fnmatchcase(text, each) if wildcards else re.fullmatch(each, text)
        for each in as_list(values)
    )
