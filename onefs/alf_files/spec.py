"""The ALF naming convention: its templates as regular expressions, checks of names and ids, and building of names."""

import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from onefs import alf
from onefs.catalogue.records import QC
from onefs.one_errors import ALFInvalid, UsageError

__all__ = [
    "COLLECTION_SPEC", "FILE_SPEC", "FULL_SPEC", "QC", "REL_PATH_SPEC", "SESSION_SPEC", "SPEC_DESCRIPTION",
    "describe", "is_session_path", "is_uuid", "is_uuid_string", "is_valid", "path_pattern", "readableALF", "regex",
    "to_alf",
]  # fmt: skip

SESSION_SPEC = alf.SESSION_SPEC
COLLECTION_SPEC = alf.COLLECTION_SPEC
FILE_SPEC = rf"{alf.FILE_SPEC}\Z"
REL_PATH_SPEC = f"{COLLECTION_SPEC}{FILE_SPEC}"
FULL_SPEC = f"{SESSION_SPEC}/{REL_PATH_SPEC}"

PARTS: Mapping[str, str] = {**alf.PARTS, "attribute": alf.OLD_ATTRIBUTE}
"""The regular expression of each part of a path."""

SPEC_DESCRIPTION = {
    "lab": "Name of the laboratory that recorded the session. Only stands before a folder Subjects.",
    "Subjects": "A folder of this name, if the archive is sorted by lab: it says that the folder above it is the lab.",
    "subject": "Name of the animal or person: letters, digits, underscores, dots and dashes.",
    "date": "The day on which the session began, as YYYY-MM-DD.",
    "number": "Which of the subject's sessions of that day it is: one to three digits, filled up with zeros to three "
    "when a path is built.",
    "collection": "Folders inside the session, several levels if need be, that keep files of one device, probe or step "
    "of processing together, such as alf/probe00 or raw_video_data. A session may hold the same file name in several.",
    "revision": "A folder whose name stands between two #, with a later edition of files of the collection above it, "
    "such as #2024-05-06#. Editions are ordered as text.",
    "namespace": "Letters and digits between two underscores before the object, for names that are not common to all: "
    "those of one project, device or program, such as _ibl_ or _spikeglx_.",
    "object": "What the file is about, usually a plural in camel case, such as spikes or wheelMoves. All files of one "
    "object have the same number of rows, and make up a table of which each holds a column.",
    "attribute": "Which property of the object the file holds, such as amps or clusters. It may end in _times or "
    "_intervals.\ntimes are moments in seconds, intervals pairs of begin and end, timestamps the times of regular or "
    "irregular samples, or two rows of (sample, time) between which times are interpolated.\nAn attribute with the "
    "name of another object holds row numbers of that object, counted from 0.",
    "timescale": "Which clock the times are of, where that is not the one that all files share, such as bpod.",
    "extra": "Any number of further parts, each after a dot. Files that differ in these only are pieces of one; in "
    "archives the dataset's UUID stands there.",
    "extension": "The format of the file, such as npy, pqt, csv or cbin.",
}
"""What each part of a path is."""

_FILE = re.compile(alf.expression(FILE_SPEC, PARTS))
_BRACKETS = re.compile(r"\(\?:|[{}\\?]|Z$")


def path_pattern() -> str:
    """How the parts follow each other in a path; optional ones in brackets."""
    return _BRACKETS.sub(lambda found: "(" if found[0] == "(?:" else "", FULL_SPEC)


def describe(part: str | None = None, width: int = 99) -> None:
    """Print what a part of a path is, or what all of them are, in lines of this width."""
    if part is not None and part not in SPEC_DESCRIPTION:
        raise UsageError(f"A path has no part {part!r}.", f"Name one of {', '.join(SPEC_DESCRIPTION)}.")
    lines = [path_pattern()]
    if part is not None:
        lines.append(" " * lines[0].index(part) + "^" * len(part))
    for name in SPEC_DESCRIPTION if part is None else (part,):
        lines += ["", name.upper()]
        lines += [textwrap.fill(paragraph, width) for paragraph in SPEC_DESCRIPTION[name].splitlines()]
    print("\n".join(lines))  # noqa: T201


def regex(spec: str = FULL_SPEC, **kwargs: str | None) -> re.Pattern[str]:
    """The regular expression of a template, with a group for each part. Keywords replace the expressions of parts."""
    unknown = kwargs.keys() - PARTS.keys()
    if unknown:
        raise KeyError(f"Paths have no part {', '.join(sorted(unknown))}; they have {', '.join(PARTS)}.")
    given = {part: pattern for part, pattern in kwargs.items() if pattern is not None}
    return re.compile(alf.expression(spec, {**PARTS, **given}))


def is_valid(filename: str | os.PathLike[str]) -> bool:
    """Whether this is a file name of ALF, without folders. An attribute may have a namespace of its own."""
    return _FILE.fullmatch(as_posix(filename)) is not None


def is_session_path(path_object: str | os.PathLike[str]) -> bool:
    """Whether a path ends in the folder of a session. It need not exist."""
    last_three = as_posix(path_object).strip("/").split("/")[-3:]
    return alf.SESSION.fullmatch("/".join(last_three)) is not None


def is_uuid(uuid: object, versions: Sequence[int | None] = (4, 3)) -> bool:
    """Whether this is a UUID, its text, bytes or number, of one of these versions."""
    try:
        match uuid:
            case UUID():
                found = uuid
            case str():
                found = UUID(uuid)
            case bytes():
                found = UUID(bytes=uuid)
            case int():
                found = UUID(int=uuid)
            case _:
                return False
    except ValueError:
        return False
    return found.version in versions


def is_uuid_string(string: object) -> bool:
    """Whether this is the text of a UUID as it is usually written: lower case, with dashes."""
    return isinstance(string, str) and is_uuid(string, (3, 4, 5)) and str(UUID(string)) == string


def to_alf(
    object: str,  # noqa: A002 - ONE's name
    attribute: str,
    extension: str,
    namespace: str | None = None,
    timescale: str | Iterable[str] | None = None,
    extra: str | Iterable[str] | None = None,
) -> str:
    """The file name with these parts. Object, attribute and timescale become camel case. Raises `ALFInvalid`."""
    if not extension:
        raise TypeError("A file name of ALF needs an extension.")
    clocks = [timescale] if isinstance(timescale, str) else [*(timescale or ())]
    extras = [extra] if isinstance(extra, str) else [*(extra or ())]
    extension = extension.removeprefix(".")
    whole = (object, attribute, extension, namespace or "", *clocks)
    if any("." in part for part in whole) or object.startswith("_") or "_" in (namespace or ""):
        raise ALFInvalid(f"{whole} are no parts of a file name: they hold a dot, or an underscore at the wrong place.")
    event = re.search("_(?:times|timestamps|intervals)$", attribute)
    stem = attribute[: event.start()] if event else attribute
    name = alf.FileName(
        namespace=namespace or "",
        object=_camel_case(object),
        attribute=_camel_case(stem) + attribute[len(stem) :],
        timescale="_".join(_camel_case(clock) for clock in clocks if clock),
        extra=".".join(part for part in extras if part),
        extension=extension,
    ).text
    if not is_valid(name):
        raise ALFInvalid(f"{name!r} is no file name of ALF.")
    return name


def readableALF(name: str, capitalize: bool = False) -> str:  # noqa: N802 - ONE's name
    """The words of a name in camel case, in lower case but for acronyms; `capitalize` makes the first letter large."""
    words = re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=.)(?=[A-Z][a-rt-z0-9])", name)
    shown = " ".join(word if _is_acronym(word) else word.lower() for word in words)
    return shown[:1].upper() + shown[1:] if capitalize else shown


def as_posix(path: str | os.PathLike[str]) -> str:
    """A path as text with slashes."""
    if isinstance(path, str):
        return path
    return path.as_posix() if hasattr(path, "as_posix") else os.fspath(path)


def _camel_case(text: str) -> str:
    """`wheel moves` and `wheel_moves` as `wheelMoves`. Acronyms stay."""
    first, *others = re.split(r"[_\s]", text)
    if not others:
        return first[:1].lower() + first[1:]
    start = first if _is_acronym(first) else first.lower()
    return start + "".join(word if _is_acronym(word) else word.capitalize() for word in others)


def _is_acronym(word: str) -> bool:
    return re.fullmatch("[A-Z]+s?", word) is not None
