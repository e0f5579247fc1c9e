"""References to sessions, `2020-07-01_1_KS014`, and the same as dicts of subject, date and sequence."""

import os
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from onefs import alf
from onefs.alf_files.bunch import Bunch
from onefs.alf_files.spec import as_posix
from onefs.api.list_arguments import accepts_lists
from onefs.one_errors import UsageError

NUMBER_IN_PATH = re.compile(r"\d|[1-9]\d|\d{3}")
"""The number of a session in a path: as such, or filled up to three digits."""


@accepts_lists
def path2ref(path: str | os.PathLike[str] | None, as_dict: bool = True, parse: bool = True) -> Any:
    """The reference of the session that a path is in; None if it is in none. Lists member by member.

    A Bunch of subject, date and sequence, or with `as_dict` False a text; if not `parse`, the texts as in the path.
    """
    session = None if path is None else alf.find_session(as_posix(path))
    if session is None or alf.calendar_date(session["date"]) is None or not NUMBER_IN_PATH.fullmatch(session["number"]):
        return None
    return told(session["subject"], session["date"], session["number"], as_dict=as_dict, parse=parse)


@accepts_lists
def ref2dict(ref: str | Mapping[str, Any] | None, parse: bool = True) -> Any:
    """A reference as a Bunch of subject, date and sequence; if not `parse`, of texts. Lists member by member."""
    if ref is None:
        return None
    text = dict2ref(ref) if isinstance(ref, Mapping) else ref
    if text is None:
        return Bunch()
    if not isinstance(text, str) or alf.parse_reference(text) is None:
        raise not_a_reference(ref)
    day, number, subject = text.split("_", 2)
    return told(subject, day, number, as_dict=True, parse=parse)


@accepts_lists
def dict2ref(ref_dict: Mapping[str, Any] | None) -> Any:
    """The reference, as a text, of a dict: `number` will do for `sequence`, `start_time` for `date`.

    None of an empty dict. Lists member by member.
    """
    if not ref_dict:
        return None
    if not isinstance(ref_dict, Mapping):
        raise not_a_reference(ref_dict)
    subject = ref_dict.get("subject")
    day = _day_text(ref_dict.get("date", ref_dict.get("start_time")))
    number = str(ref_dict.get("sequence", ref_dict.get("number")))
    text = f"{day}_{number}_{subject}"
    if not subject or alf.parse_reference(text) is None:
        raise not_a_reference(dict(ref_dict))
    return text


@accepts_lists
def is_exp_ref(ref: object) -> Any:
    """Whether this is a reference, as a text or as a dict of subject, date and sequence. Lists member by member."""
    if isinstance(ref, Mapping):
        if not ref.keys() >= {"subject", "date", "sequence"}:
            return False
        try:
            return dict2ref(ref) is not None
        except UsageError:
            return False
    return isinstance(ref, str) and alf.parse_reference(ref) is not None


def told(subject: str, day: str, number: str, *, as_dict: bool, parse: bool) -> Any:
    """A reference in the form that was asked for."""
    if not as_dict:
        return f"{day}_{int(number) if parse else number}_{subject}"
    if not parse:
        return Bunch(subject=subject, date=day, sequence=number)
    return Bunch(subject=subject, date=date.fromisoformat(day), sequence=int(number))


def not_a_reference(value: object) -> UsageError:
    """The error for a value that should have been a reference."""
    remedy = "Write 2020-07-01_1_KS014, or give a dict of subject, date and sequence."
    return UsageError(f"{value!r} is no reference to a session.", remedy)


def _day_text(value: object) -> str:
    """The first ten letters of a date or time, of whatever type."""
    return (value.isoformat() if isinstance(value, date) else str(value))[:10]
