"""The columns that searches read, made from frames."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.catalogue.layout import EPOCH
from onefs.catalogue.search_columns import Texts
from onefs.catalogue.session_rows import refusal
from onefs.catalogue.snapshot import NO_EID
from onefs.forks import cached_property
from onefs.frames.values import day_of, is_null, qc_code, text_of, uuid_of

if TYPE_CHECKING:
    import pandas as pd

_NO_NUMBER = -1
_A_DAY = day_of("2000-01-01")


class FrameColumns:
    """The columns of the frames at one moment, each made when it is first looked at.

    Rows of sessions are those of `FrameCatalogue`. Sessions that it does not find have a nil eid here, and datasets
    of unsafe paths no session.
    """

    def __init__(self, tables: "Mapping[str, pd.DataFrame]") -> None:
        self._tables = tables

    @cached_property
    def eids(self) -> NDArray[np.uint8]:
        """Ids of shape (n, 16)."""
        frame = self._tables["sessions"]
        ids = _ids(*_factorized(frame, "id"))
        return np.where(self._usable[:, None], ids, np.uint8(0))

    @cached_property
    def labs(self) -> Texts:
        """The labs of sessions."""
        return _texts(self._tables["sessions"], "lab")

    @cached_property
    def subjects(self) -> Texts:
        """The subjects of sessions."""
        return _texts(self._tables["sessions"], "subject")

    @cached_property
    def protocols(self) -> Texts:
        """The task protocols of sessions."""
        return _texts(self._tables["sessions"], "task_protocol")

    @cached_property
    def projects(self) -> Texts:
        """The projects of sessions, comma-joined."""
        return _texts(self._tables["sessions"], "projects")

    @cached_property
    def days(self) -> NDArray[np.int64]:
        """Days since 1970."""
        codes, values = _factorized(self._tables["sessions"], "date")
        days = [day_of(value) for value in values]
        numbers = [np.iinfo(np.int32).min if day is None else day.toordinal() - EPOCH for day in days]
        return np.array([*numbers, np.iinfo(np.int32).min], np.int64)[codes]

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Session numbers, -1 where there is none."""
        codes, values = _factorized(self._tables["sessions"], "number")
        return np.array([*(int(value) for value in values), _NO_NUMBER], np.int64)[codes]

    @cached_property
    def _usable(self) -> NDArray[np.bool_]:
        """Which sessions could stand in the tree."""
        n_labs = len(self.labs.texts) + 1
        pairs, inverse = np.unique((self.subjects.codes + 1) * n_labs + self.labs.codes + 1, return_inverse=True)
        names = [
            (self.labs.texts[pair % n_labs - 1] if pair % n_labs else "",
             self.subjects.texts[pair // n_labs - 1] if pair // n_labs else "")
            for pair in pairs.tolist()
        ]  # fmt: skip
        safe = np.array([refusal(lab, subject, _A_DAY, 1) is None for lab, subject in names], bool)
        is_number = (self.numbers >= 0) & (self.numbers <= np.iinfo(np.uint16).max)
        usable: NDArray[np.bool_] = safe[inverse] & is_number & (self.days > np.iinfo(np.int32).min)
        return usable

    @cached_property
    def dataset_session(self) -> NDArray[np.int32]:
        """The row of each dataset's session, -1 for none."""
        row_of = {eid.tobytes(): row for row, eid in reversed(list(enumerate(self.eids))) if eid.any()}
        codes, values = _factorized(self._tables["datasets"], "eid")
        rows = np.array([*(row_of.get(uuid_of(value).bytes, -1) for value in values), -1], np.int32)
        paths = self.dataset_path
        safe = np.array([*(alf.is_safe_relative(paths.texts[code]) for code in range(len(paths.texts))), False])
        return np.where(safe[paths.codes], rows[codes], np.int32(-1))

    @cached_property
    def dataset_path(self) -> Texts:
        """The relative paths of datasets."""
        return _texts(self._tables["datasets"], "rel_path")

    @cached_property
    def dataset_exists(self) -> NDArray[np.bool_]:
        """Which datasets exist: all, if there is no such column."""
        frame = self._tables["datasets"]
        if "exists" not in frame.columns:
            return np.ones(len(frame), bool)
        codes, values = _factorized(frame, "exists")
        return np.array([*(bool(value) for value in values), False])[codes]

    @cached_property
    def dataset_qc(self) -> NDArray[np.uint8]:
        """QC codes 0 to 4."""
        codes, values = _factorized(self._tables["datasets"], "qc")
        return np.array([*map(qc_code, values), 0], np.uint8)[codes]

    @cached_property
    def dataset_id(self) -> NDArray[np.uint8]:
        """Ids of shape (n, 16)."""
        return _ids(*_factorized(self._tables["datasets"], "id"))


def _factorized(frame: "pd.DataFrame", name: str) -> tuple[NDArray[np.int64], list[Any]]:
    """Codes, -1 for null, and the distinct values of a column or of a level of the index."""
    import pandas as pd

    if name in frame.columns:
        codes, values = pd.factorize(frame[name])
    elif name in frame.index.names and frame.index.nlevels > 1:
        level = frame.index.names.index(name)
        codes, values = frame.index.codes[level], frame.index.levels[level]
    elif name in frame.index.names:
        codes, values = pd.factorize(frame.index)
    else:
        codes, values = np.full(len(frame), -1), []
    nulls = [code for code, value in enumerate(values) if is_null(value)] if name in frame.index.names else []
    codes = np.asarray(codes, np.int64)
    return np.where(np.isin(codes, nulls), -1, codes) if nulls else codes, list(values)


def _texts(frame: "pd.DataFrame", name: str) -> Texts:
    codes, values = _factorized(frame, name)
    return Texts(codes, [text_of(value) for value in values])


def _ids(codes: NDArray[np.int64], values: list[Any]) -> NDArray[np.uint8]:
    ids = np.frombuffer(b"".join(uuid_of(value).bytes for value in [*values, NO_EID]), np.uint8).reshape(-1, 16)
    found: NDArray[np.uint8] = ids[codes]
    return found
