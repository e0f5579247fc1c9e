"""Search terms: their names, the values that they take, and their text form `term=value`."""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

import numpy as np

from onefs.catalogue.matching import Expression
from onefs.catalogue.records import QC
from onefs.errors import UsageError

NAMES = (
    "dataset", "datasets", "date_range", "laboratory", "number", "projects", "subject", "task_protocol",
    "dataset_qc_lte",
)  # fmt: skip
"""The terms of a search in tables."""

_EXPRESSIONS = ("subject", "laboratory", "task_protocol", "projects", "dataset")
SHORT = MappingProxyType({"laboratory": "lab", "date_range": "date"})
"""The terms that the text form shows otherwise."""

_TEXTS = (*_EXPRESSIONS, "datasets")
_REPEATABLE = ("dataset", "datasets")
_DAY = re.compile(r"(\d{4})([-/]?)(\d{1,2})\2(\d{1,2})(?:[T ].*)?", re.ASCII | re.DOTALL)
_NUMBER = re.compile(r"\s*(\d{1,18})\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session must meet. None stands for a term that is not given.

    A text column must contain one of its texts, the number be one of `numbers`, the date lie between `first_day` and
    `last_day`. Of the session's datasets that exist with QC up to `qc_limit` (FAIL if None), each of `dataset` must
    be part of some path, each of `datasets` some file name. With `are_expressions` texts are regular expressions, but
    for `datasets`.
    """

    subject: tuple[str, ...] | None = None
    laboratory: tuple[str, ...] | None = None
    task_protocol: tuple[str, ...] | None = None
    projects: tuple[str, ...] | None = None
    numbers: tuple[int, ...] | None = None
    first_day: date | None = None
    last_day: date | None = None
    dataset: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    qc_limit: QC | None = None
    are_expressions: bool = True


def terms_of(given: Mapping[str, object], *, wildcards: bool) -> Terms:
    """The terms that these values stand for, by name or abbreviation. Raises `UsageError`."""
    values = {name: _unpacked(value) for name, value in completed(given, NAMES).items()}
    found: dict[str, Any] = {name: texts_of(name, values[name]) for name in _TEXTS if name in values}
    if wildcards:
        for name in found.keys() - {"datasets"}:
            for text in found[name]:
                check_expression(name, text)
    if "number" in values:
        found["numbers"] = numbers_of(values["number"])
    if "date_range" in values:
        found["first_day"], found["last_day"] = days_of(values["date_range"])
    if "dataset_qc_lte" in values:
        found["qc_limit"] = qc_of(values["dataset_qc_lte"])
    return Terms(**found, are_expressions=wildcards)


def terms_of_words(words: Iterable[str]) -> Terms:
    """The terms of the text form: `subject=KS0`, `date=2020-01-01..`, `number=1|2`. Raises `UsageError`.

    Texts are regular expressions; those whose search might not end are refused. `dataset` and `datasets` may be given
    several times.
    """
    terms = terms_of(values_of_words(words, NAMES), wildcards=True)
    for name in _EXPRESSIONS:
        for text in getattr(terms, name) or ():
            if Expression(text).may_hang:
                raise UsageError(
                    f"The search for the {name} {text!r} might not end.",
                    "Write it with fewer repetitions, or without look-ahead, look-behind and references.",
                )
    return terms


def values_of_words(words: Iterable[str], names: Sequence[str]) -> dict[str, object]:
    """The values of the text form by whole name, with dates and numbers taken apart. Raises `UsageError`."""
    values: dict[str, Any] = {}
    for word in words:
        short, sign, value = word.partition("=")
        if not sign or not value:
            raise UsageError(f"{word!r} is no search term.", "Write term=value, such as subject=KS014.")
        name = complete_word(short, names)
        if name in _REPEATABLE:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise _given_twice(name, [name, short])
        elif name == "date_range":
            values[name] = _range_of(value)
        else:
            values[name] = re.split("[|,]", value) if name == "number" else value
    return values


def _range_of(text: str) -> str | list[str | None]:
    first, dots, last = text.partition("..")
    return [first or None, last or None] if dots else first


# -- names ---------------------------------------------------------------------------------------------------------


def complete_word(name: str, names: Iterable[str]) -> str:
    """The same as `complete`, for the text form: errors name terms as they are written there. Raises `UsageError`."""
    return complete(name, names, SHORT)


def complete(name: str, names: Iterable[str], shown: Mapping[str, str] = MappingProxyType({})) -> str:
    """The one of `names` that a name means: itself in any case, or the only one that begins so. Raises `UsageError`.

    `shown` are other names that the error's sentence tells for some.
    """
    names = list(names)
    if name in names:
        return name
    lower = name.lower()
    found = [each for each in names if each.lower() == lower] or [
        each for each in names if each.lower().startswith(lower)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        meant = _listed([shown.get(each, each) for each in found], "or")
        raise UsageError(f"The search term {name!r} may mean {meant}.", "Write it out.")
    known = _listed([shown.get(each, each) for each in names], "or")
    raise UsageError(f"There is no search term {name!r}.", f"Use {known}.")


def completed(given: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    """Values by whole name; those that are None are left out. Raises `UsageError`, also for a term given twice."""
    meant: dict[str, list[str]] = {}
    for short, value in given.items():
        name = complete(short, names)
        if value is not None:
            meant.setdefault(name, []).append(short)
    for name, shorts in meant.items():
        if len(shorts) > 1:
            raise _given_twice(name, shorts)
    return {name: given[short] for name, (short,) in meant.items()}


def _given_twice(name: str, shorts: Iterable[str]) -> UsageError:
    as_what = " and ".join(repr(short) for short in dict.fromkeys(shorts))
    return UsageError(f"The search term {name!r} is given twice, as {as_what}.", "Give it once.")


def _listed(names: Sequence[str], conjunction: str) -> str:
    *first, last = names
    return f"{', '.join(first)} {conjunction} {last}" if first else last


# -- values --------------------------------------------------------------------------------------------------------


def texts_of(name: str, value: object) -> tuple[str, ...]:
    """The texts of a term: of one, or of a list of them. Raises `UsageError`."""
    texts = (value,) if isinstance(value, str) else _members(value)
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise UsageError(
            f"{name} is no text and no list of texts: {value!r}.", f"Write {name}='…' or {name}=['…', '…']."
        )
    return tuple(map(str, texts))


def check_expression(name: str, text: str) -> None:
    """Raise `UsageError` if a text is no regular expression."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(
            f"The value of {name}, {text!r}, is no regular expression: {error}.",
            "Put a backslash before a sign that stands for itself.",
        ) from error


def numbers_of(value: object) -> tuple[int, ...]:
    """The session numbers of a term: of one, or of a list of them. Raises `UsageError`."""
    members = _members(value)
    return tuple(_number(each) for each in ((value,) if members is None else members))


def _number(value: object) -> int:
    match value:
        case bool() | np.bool_():
            pass
        case int() | np.integer():
            return int(value)
        case str() if found := _NUMBER.fullmatch(value):
            return int(found[1])
        case float() | np.floating() if value.is_integer():
            return int(value)
    raise UsageError(f"{value!r} is no session number.", "Give a whole number, or a list of them.")


def qc_of(value: Any) -> QC:
    """The QC that a member, a number, digits or a name in any case stand for. Raises `QCError`, a `UsageError`."""
    return QC.validate(value)


def days_of(value: object) -> tuple[date | None, date | None]:
    """The first and the last day of a range, None where it is open: a day, a list of two, or of one to begin with.

    Raises `UsageError`.
    """
    members = None if _is_day(value) else _members(value)
    if members is None:
        day = day_of(value)
        return day, day
    days = [None if each is None else day_of(each) for each in members]
    if isinstance(value, Set) or not 1 <= len(days) <= 2:
        raise UsageError(f"{value!r} is no range of dates.", "Give one day, or a list of the first and the last.")
    return days[0], days[1] if len(days) == 2 else None


def _is_day(value: object) -> bool:
    return isinstance(value, str | date | np.datetime64)


def day_of(value: object) -> date:
    """The day of a text, date, time or one of numpy's or pandas'. Raises `UsageError`."""
    if isinstance(value, str):
        return _day_of_text(value)
    found: object = value
    try:
        if isinstance(value, np.datetime64):
            found = value.astype("datetime64[D]").item()
        elif isinstance(value, datetime):
            found = value.date()
    except ValueError:  # of pandas' NaT, which is a datetime
        found = None
    if isinstance(found, date) and not isinstance(found, datetime):
        return found
    raise _no_date(repr(value))


def _day_of_text(text: str) -> date:
    found = _DAY.fullmatch(text.strip())
    if not found or (not found[2] and len(found[3] + found[4]) != 4):
        raise _no_date(repr(text))
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError as error:
        raise _no_date(repr(text), f": {error}") from error


def _no_date(value: str, why: str = "") -> UsageError:
    return UsageError(f"{value} is no date{why}.", "Write it as 2020-07-01.")


def _unpacked(value: object) -> object:
    """The value in a numpy array without dimensions; any other value as it is."""
    return value[()] if isinstance(value, np.ndarray) and not value.ndim else value


def _members(value: object) -> list[Any] | None:
    """The members of a list, tuple, set, array, pandas column or iterator; None for what is none of these."""
    if isinstance(value, str | bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        return None
    return list(value)
