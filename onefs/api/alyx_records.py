"""Alyx's JSON records as rows of the tables, and as paths."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from onefs import alf
from onefs.alf_files.path import ensure_alf_path
from onefs.alyx import fields
from onefs.alyx.fields import OddRecordError, Record
from onefs.api.list_arguments import accepts_lists
from onefs.api.references import dict2ref
from onefs.catalogue.records import Session
from onefs.catalogue.session_rows import AGGREGATES
from onefs.one_errors import ALFObjectNotFound, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from onefs.alyx.records import AlyxDataset

Root = str | PurePath


def ses2records(ses: Record) -> "tuple[pd.Series, pd.DataFrame]":
    """A session's whole record as a row of the sessions table, and its datasets as rows of theirs.

    The number of a base session is None. Datasets that cannot be placed are left out.
    """
    from onefs.alyx import parsing
    from onefs.frames.reading import session_series

    with _refusing_others("session"):
        told = parsing.session(ses)
    row = Session(
        told.eid, told.lab, told.subject, told.date, told.number or 0, told.task_protocol, ",".join(told.projects)
    )
    series = session_series(row)
    series["number"] = told.number
    return series, _frame(_nested(fields.records(ses, "data_dataset_session_related"), told.eid))


def _nested(records: Iterable[Record], eid: UUID) -> "Iterable[AlyxDataset]":
    from onefs.alyx import parsing

    for record in records:
        try:
            yield parsing.nested_dataset(record, eid, {})
        except OddRecordError:
            continue


def datasets2records(datasets: Record | Sequence[Record], additional: Iterable[str] | None = None) -> "pd.DataFrame":
    """Records of datasets as rows of the datasets table, with these `additional` fields as further columns.

    Left out are those of which there is no copy to be had.
    """
    from onefs.alyx import parsing

    records = [datasets] if isinstance(datasets, Mapping) else list(datasets)
    told: dict[str, tuple[AlyxDataset, Record]] = {}
    for record in records:
        with _refusing_others("dataset"):
            found = parsing.dataset(record)
        if found.exists:
            told[str(found.id)] = found, record
    frame = _frame(dataset for dataset, _ in told.values())
    for name in additional or ():
        frame[name] = [told[id_][1].get(name) for id_ in frame.index.get_level_values("id")]
    return frame


def _frame(told: "Iterable[AlyxDataset]") -> "pd.DataFrame":
    from onefs.archive.questions import dataset_told
    from onefs.frames.reading import datasets_frame

    rows = (dataset_told(each, each.eid, "") for each in told)
    # In tables the paths of the datasets of no session begin with the folder of all of these.
    return datasets_frame(
        row if row.eid else replace(row, rel_path=f"{AGGREGATES}/{row.rel_path}") for row in rows
    ).sort_index()


def session_record2path(session: Any, root_dir: Root | None = None) -> Any:
    """The folder of a session, below `root_dir` if it is given: of a dict or Series, a list of a frame or list.

    A pure path without a root, or with a pure one.
    """
    if hasattr(session, "iterrows"):
        return [session_record2path(row, root_dir) for _, row in session.iterrows()]
    return _session_folder(session, root_dir)


@accepts_lists
def _session_folder(session: Any, root_dir: Root | None) -> Any:
    record = dict(session)
    reference = alf.parse_reference(dict2ref(record) or "")
    if reference is None:
        raise UsageError(f"{record!r} is no record of a session.", "It needs subject, date and number.")
    path = alf.session_path(record.get("lab") or "", reference.subject, reference.day, reference.number)
    if not alf.is_safe_relative(path):
        raise UsageError(f"{path!r} is no path of a session.", "Correct the record.")
    return _below(root_dir, path)


@accepts_lists
def path_from_dataset(dset: Record, root_path: Root = "/", repository: str | None = None, uuid: bool = False) -> Any:
    """The path of a dataset in a repository, below `root_path`; with its `uuid` in the name if asked for.

    Without `repository` it is the first on the web. Lists member by member.
    """
    records = fields.records(dset, "file_records")
    names = [fields.text(record, "data_repository") for record in records]
    if repository is not None and repository not in names:
        raise UsageError(f"The dataset has no file in {repository!r}.", f"Name one of {', '.join(names) or 'none'}.")
    fit = [each for each, name in zip(records, names, strict=True) if repository is None or name == repository]
    chosen = next((each for each in fit if repository is not None or each.get("data_url")), None) or next(
        iter(fit), None
    )
    if chosen is None:
        raise ALFObjectNotFound(f"The database knows no file of the dataset {dset.get('name')}.")
    with _refusing_others("dataset"):
        id_ = fields.own_id(dset) if uuid else None
    return path_from_filerecord(chosen, root_path, id_)


@accepts_lists
def path_from_filerecord(fr: Record, root_path: Root = "/", uuid: UUID | str | None = None) -> Any:
    """The path of a file in its repository, below `root_path`, with a `uuid` in the name if given.

    Lists member by member.
    """
    with _refusing_others("file"):
        told = f"{fields.text(fr, 'data_repository_path')}/{fields.needed_text(fr, 'relative_path')}"
    inside = "/".join(filter(None, told.split("/")))
    if not alf.is_safe_relative(inside):
        raise UsageError(f"{told!r} is no path in a repository.", "Report it to those who keep the database.")
    path = _below(root_path, inside)
    return path.with_uuid(uuid) if uuid else path


def one_path_from_dataset(dset: Any, one_cache: Root) -> Any:
    """The path of a dataset below the cache directory, without its UUID. Lists member by member."""
    return path_from_dataset(dset, root_path=one_cache)


@contextmanager
def _refusing_others(what: str) -> Iterator[None]:
    """Raise `UsageError` for what is no record of this kind."""
    try:
        yield
    except OddRecordError as error:
        raise UsageError(f"This is no record of a {what}: {error}.", "Give one that Alyx sent.") from error


def _below(root: Root | None, path: str) -> Any:
    return ensure_alf_path(root if root is not None else PurePath()) / path
