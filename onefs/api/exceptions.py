"""Exceptions and warnings of the Python face, as `one.alf.exceptions`; the other errors of onefs too."""

from typing import Any

from onefs import one_errors
from onefs.one_errors import (
    AccessRefusedError,
    ALFError,
    ALFInvalid,
    ALFMultipleCollectionsFound,
    ALFMultipleObjectsFound,
    ALFMultipleRevisionsFound,
    ALFObjectNotFound,
    ALFWarning,
    AlyxSubjectNotFound,
    BrokenAnswerError,
    NoDatabaseError,
    OnefsError,
    TableError,
    TimedOutError,
    UnknownRecordError,
    UnreachableError,
    UsageError,
)

__all__ = [
    "ALFError",
    "ALFInvalid",
    "ALFMultipleCollectionsFound",
    "ALFMultipleObjectsFound",
    "ALFMultipleRevisionsFound",
    "ALFObjectNotFound",
    "ALFWarning",
    "AccessRefusedError",
    "AlyxSubjectNotFound",
    "BrokenAnswerError",
    "NoDatabaseError",
    "OnefsError",
    "TableError",
    "TimedOutError",
    "UnknownRecordError",
    "UnreachableError",
    "UsageError",
]


def __getattr__(name: str) -> Any:
    """The other errors of onefs, under the same names."""
    return getattr(one_errors, name)
