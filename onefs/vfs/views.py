"""Owns which datasets a tree shows: pure rules."""

from dataclasses import dataclass

from onefs.catalogue.interface import Rows
from onefs.catalogue.records import QC, QC_CODES


@dataclass(frozen=True, slots=True)
class View:
    """A rule that says which datasets are shown. `number` tells the folders of different views apart."""

    number: int = 0
    qc_limit: QC = QC.FAIL

    def shows(self, rows: Rows) -> list[bool]:
        """For each row of a session, whether it is shown."""
        limit = QC_CODES.index(self.qc_limit)
        return [exists and qc <= limit for exists, qc in zip(rows.exists, rows.qc, strict=True)]
