"""Merging frames: new rows into a table, and what the metadata of the result says."""

from collections.abc import Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from onefs.catalogue.records import QC
from onefs.frames.reading import INDEX, QC_TYPE, TEXT, by_index
from onefs.frames.values import day_of
from onefs.one_errors import UsageError
from onefs.table_times import table_time, table_time_text


def merge_tables(
    cache: MutableMapping[str, Any],
    strict: bool = False,
    origin: str | None = None,
    **kwargs: pd.DataFrame | pd.Series | None,
) -> datetime | None:
    """Merge records into the frames of `cache`, by index: known rows are updated, new ones added. When; None if never.

    Columns that the records lack become null, `exists_…` what their `exists` says; those that the table lacks are
    dropped, unless `strict`, when both must have the same. Of records with one id the first counts.
    Raises `KeyError` if `cache` has no such table.
    """
    updated = None
    for table, records in kwargs.items():
        if records is None or records.empty:
            continue
        if table not in cache:
            raise KeyError(f"There is no table {table!r} to merge into.")
        frame, index = cache[table], INDEX.get(table)
        if index and list(frame.index.names) != index:  # a program has taken it away
            frame = indexed(frame, index)
        cache[table] = merged_frame(frame, records, strict=strict)
        updated = datetime.now()
        _note(cache["_meta"]["raw"].setdefault(table, {}), origin, updated)
    if updated is not None:
        cache["_meta"]["modified_time"] = updated
    return updated


def _note(raw: MutableMapping[str, Any], origin: str | None, now: datetime) -> None:
    raw.setdefault("date_created", table_time_text(now))
    if origin is not None:
        raw["origin"] = joined_origins(raw.get("origin"), origin)


def joined_origins(*origins: object) -> str | list[str]:
    """All of these origins, each a text or several, each once: one text, or a list of several."""
    every: list[str] = []
    for origin in origins:
        several = origin if isinstance(origin, list | tuple | set | frozenset) else [origin]
        every += [str(one) for one in several if one and str(one) not in every]
    return every[0] if len(every) == 1 else every


def joined_metadata(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a table made of two: the first's, with the earliest `date_created` and all origins."""
    joined = dict(second) | dict(first)
    created = {time: raw for raw in (first, second) if (time := table_time(raw.get("date_created")))}
    if created:
        joined["date_created"] = created[min(created)]["date_created"]
    origins = joined_origins(first.get("origin"), second.get("origin"))
    return joined | ({"origin": origins} if origins else {})


def merged_frame(frame: pd.DataFrame, records: pd.DataFrame | pd.Series, *, strict: bool = False) -> pd.DataFrame:
    """A new frame with the rows of both, sorted; of one id those of `records`, in the columns of `frame`."""
    frame = with_text_ids(frame)
    records = indexed(records, list(frame.index.names))
    records = records[~records.index.duplicated(keep="first")]
    if strict and list(records.columns) != list(frame.columns):
        raise UsageError(
            f"The records have the columns {', '.join(records.columns)}, and the table {', '.join(frame.columns)}.",
            "Merge records of the same columns, or without strict.",
        )
    stays = frame[~frame.index.isin(records.index)]
    made = {column: _appended(stays[column], _said(records, column), len(records)) for column in frame.columns}
    return by_index(pd.DataFrame(made, index=stays.index.append(records.index), columns=frame.columns))


def with_text_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with texts for ids, of which a program may have made UUIDs; itself if they are."""
    index = frame.index
    levels = index.levels if index.nlevels > 1 else [index]
    if all(pd.api.types.infer_dtype(level, skipna=True) in ("string", "empty") for level in levels):
        return frame
    return indexed(frame, list(index.names))


def indexed(records: pd.DataFrame | pd.Series, names: Sequence[str]) -> pd.DataFrame:
    """Records as a frame with this index, whose ids are texts."""
    if isinstance(records, pd.Series):
        key = records.name if isinstance(records.name, tuple) else (records.name,)
        values = {name: pd.Series([value], dtype=object) for name, value in records.items()}
        records = pd.DataFrame(values).infer_objects()
        records.index = _index([[one] for one in key], list(names))
        return records
    missing = [name for name in names if name not in records.index.names]
    if missing and all(name in records.columns for name in missing):
        shared = [name for name in records.index.names if name not in names]
        records = records.reset_index(level=shared, drop=True) if len(shared) < records.index.nlevels else records
        levels = [records[name] if name in missing else records.index.get_level_values(name) for name in names]
        records = records.drop(columns=missing)
    elif missing and records.index.nlevels != len(names):
        raise UsageError(
            f"The records have no {' and '.join(missing)}.", f"Give them the index or the columns {', '.join(names)}."
        )
    else:  # as it is named, else as it stands
        order = range(len(names)) if missing else names
        levels = [records.index.get_level_values(name) for name in order]
        records = records.copy(deep=False)
    records.index = _index([list(level) for level in levels], list(names))
    return records


def _index(levels: Sequence[Sequence[object]], names: list[str]) -> pd.Index:
    texts = [[None if pd.isna(one) else str(one) for one in level] for level in levels]
    if len(names) == 1:
        return pd.Index(texts[0], name=names[0], dtype=TEXT)
    return pd.MultiIndex.from_arrays(texts, names=names)


def _said(records: pd.DataFrame, column: str) -> pd.Series | None:
    """What the records say of a column, None if nothing."""
    if column in records.columns:
        return records[column]
    if column.startswith("exists_"):
        return records["exists"] if "exists" in records.columns else pd.Series(True, index=records.index)
    return None


def _appended(known: pd.Series, said: pd.Series | None, n_records: int) -> Any:
    """What is known and then what was said, null for each of the records if nothing; nullable only if need be."""
    if known.dtype == QC_TYPE and said is not None:
        said = pd.Series([_qc_name(value) for value in said], dtype=object)
    if known.name == "date" and said is not None:
        said = pd.Series([day_of(value) for value in said], dtype=object)
    if said is None:
        said = pd.Series([None] * n_records, dtype=object)
    kind = _nullable(known.dtype) if said.isna().any() else known.dtype
    try:
        if isinstance(kind, np.dtype) and kind.kind in "iu":  # numpy would cut off what is too large, and fractions
            said = said.astype(_nullable(kind))
        both = pd.concat([known.astype(kind), said.astype(kind)], ignore_index=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"What the records say of {known.name} is no {kind}: {error}.", "Correct the value."
        ) from error
    return both.array


def _nullable(kind: Any) -> Any:
    """The type that holds the same and nulls."""
    if not isinstance(kind, np.dtype) or kind.kind not in "biu":
        return kind
    return "boolean" if kind.kind == "b" else f"{'U' if kind.kind == 'u' else ''}Int{8 * kind.itemsize}"


def _qc_name(value: Any) -> str:
    """The name of a QC outcome; of the number that Alyx has for it, too. Raises `UsageError`."""
    return "NOT_SET" if pd.isna(value) else QC.validate(value).name
