"""The Python face and ONE-api's on the same folder, and what both answer to the same call, as values that compare."""

import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd
from one_of_tables import one_of

from onefs import One


class Failed(NamedTuple):
    """How a call failed: the names of its error's classes, and what it says."""

    kinds: tuple[str, ...]
    text: str


class Faces:
    """Both on one folder. ONE's tables stay as they were read, though it changes them when it misses a file."""

    def __init__(self, folder: Path) -> None:
        self.ours = One(folder)
        self.ones = one_of(folder)
        self.sessions = self.ones._cache["sessions"].copy()
        self.datasets = self.ones._cache["datasets"].copy()
        self.eids = [str(eid) for eid in self.sessions.index]
        self.rows_of: dict[str, list[Any]] = defaultdict(list)
        for row in self.datasets.itertuples():
            self.rows_of[str(row.Index[0])].append(row)

    def both(self, method: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """What both answer to a call. ONE does not hash files."""
        unhashed = {"check_hash": False} if method.startswith("load_") else {}
        ours = answer(getattr(self.ours, method), *args, **kwargs)
        ones = answer(getattr(self.ones, method), *args, **unhashed, **kwargs)
        if unhashed:
            self.ones._cache["datasets"]["exists"] = self.datasets["exists"]
        return ours, ones

    def close(self) -> None:
        """End the threads that wait for files to load."""
        if self.ours._opened is not None:
            self.ours._opened.close()

    def set_wildcards(self, *, on: bool) -> None:
        self.ours.wildcards = self.ones.wildcards = on


def answer(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call answers, in plain values; or how it failed."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - which one it is is compared
            return Failed(tuple(kind.__name__ for kind in type(error).__mro__), str(error))
        finally:
            logging.disable(logging.NOTSET)


def agree(ours: Any, ones: Any) -> bool:
    """Whether both answered the same, or failed so that a program for ONE catches it.

    Numbers may have another type: a column of a table has its own one in onefs, and in ONE one that suits all columns.
    """
    if isinstance(ours, Failed) or isinstance(ones, Failed):
        return isinstance(ours, Failed) and isinstance(ones, Failed) and ones.kinds[0] in ours.kinds
    if isinstance(ours, np.ndarray) and isinstance(ones, np.ndarray):
        return ours.shape == ones.shape and _same_numbers(ours, ones)
    if isinstance(ours, dict) and isinstance(ones, dict):
        return ours.keys() == ones.keys() and all(agree(ours[key], ones[key]) for key in ours)
    if isinstance(ours, list | tuple) and type(ours) is type(ones):
        return len(ours) == len(ones) and all(map(agree, ours, ones))
    return type(ours) is type(ones) and bool(ours == ones)


def _same_numbers(ours: np.ndarray, ones: np.ndarray) -> bool:
    if ones.dtype.kind in "OUT" or ours.dtype.kind in "OUT":
        return bool(ours.astype(str).tolist() == ones.astype(str).tolist())
    return np.array_equal(ours.astype(ones.dtype), ones, equal_nan=ones.dtype.kind in "fc")


def plain(value: Any) -> Any:
    """The same value for the same answer: ids and paths as text, frames as tuples of their rows; arrays stay."""
    match value:
        case UUID() | PurePath():
            return str(value)
        case pd.DataFrame():
            columns = sorted(value.columns, key=str)
            rows = [tuple(map(plain, row)) for row in value[columns].itertuples(index=False)]
            return "frame", list(map(str, columns)), sorted(zip(map(plain, value.index), rows, strict=True), key=repr)
        case pd.Series():
            return "series", plain(value.name), sorted((plain(key), plain(each)) for key, each in value.items())
        case np.ndarray():
            return value
        case Mapping():
            return {plain(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value] if isinstance(value, list) else tuple(plain(each) for each in value)
        case _:
            return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    return value.item() if isinstance(value, np.generic) else value
