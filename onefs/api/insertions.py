"""Probe insertions in the table of them: searches, and the probes of a session."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from onefs.alf_files.bunch import Bunch
from onefs.catalogue.terms import NAMES, check_expression, completed, texts_of

if TYPE_CHECKING:
    import pandas as pd

TEXTS = ("name", "model", "serial")
TERMS = (*TEXTS, *NAMES)
"""The terms of a search for insertions in tables."""


def split_terms(terms: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """The terms of insertions themselves, and those of their sessions, by whole name. Raises `UsageError`."""
    whole = completed(terms, TERMS)
    return (
        {name: value for name, value in whole.items() if name in TEXTS},
        {name: value for name, value in whole.items() if name not in TEXTS},
    )


def matching(
    frame: "pd.DataFrame", terms: Mapping[str, object], eids: Iterable[str], *, wildcards: bool
) -> "pd.DataFrame":
    """The insertions that meet all terms and whose session is one of `eids`; in their order, then by name descending.

    Raises `UsageError`.
    """
    rank = {eid: place for place, eid in enumerate(eids)}
    frame = frame[frame.index.get_level_values("eid").isin(list(rank))]
    for name, value in terms.items():
        texts = texts_of(name, value)
        for text in texts if wildcards else ():
            check_expression(name, text)
        column = frame[name].fillna("").astype(str) if name in frame.columns else [""] * len(frame)
        frame = frame[[_contains(each, texts, wildcards=wildcards) for each in column]]
    by_name = frame.sort_values("name", ascending=False, kind="stable")
    places = by_name.index.get_level_values("eid").map(rank)
    return by_name.iloc[places.argsort(kind="stable")]


def records_of(frame: "pd.DataFrame") -> list[Bunch]:
    """The rows of a frame of insertions, with their ids."""
    return [Bunch(record) for record in frame.reset_index().to_dict("records")]


def equal(frame: "pd.DataFrame", filters: Mapping[str, Any]) -> "pd.DataFrame":
    """The rows that have these values in these columns; none where there is no such column."""
    for name, value in filters.items():
        frame = frame[frame[name] == value] if name in frame.columns else frame.iloc[:0]
    return frame


def _contains(text: str, parts: Iterable[str], *, wildcards: bool) -> bool:
    return any(re.search(part, text) if wildcards else part in text for part in parts)
