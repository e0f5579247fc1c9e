"""Exceptions and warnings of the Python face, as `one.alf.exceptions`; the other errors of onefs too."""

from typing import Any

from onefs import errors
from onefs.one_errors import (
    ALFError,
    ALFInvalid,
    ALFMultipleCollectionsFound,
    ALFMultipleObjectsFound,
    ALFMultipleRevisionsFound,
    ALFObjectNotFound,
    ALFWarning,
    AlyxSubjectNotFound,
    NoDatabaseError,
    OnefsError,
    SeveralTagsError,
    TableError,
    UsageError,
)
from onefs.request_errors import (
    AccessRefusedError,
    BadQuestionError,
    BrokenAnswerError,
    TimedOutError,
    UnknownRecordError,
    UnreachableError,
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
    "BadQuestionError",
    "BrokenAnswerError",
    "NoDatabaseError",
    "OnefsError",
    "SeveralTagsError",
    "TableError",
    "TimedOutError",
    "UnknownRecordError",
    "UnreachableError",
    "UsageError",
]


def __getattr__(name: str) -> Any:
    """The other errors of onefs, under the same names."""
    if name.endswith("Error") and hasattr(errors, name):
        return getattr(errors, name)
    raise AttributeError(f"onefs.api.exceptions has no {name!r}")
