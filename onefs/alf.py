"""The path grammar of ALF archives: parsing, building, and the archive's file names with the UUID in them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

PARTS = {
    "lab": r"\w+",
    "subject": r"[\w.-]+",
    "date": r"\d{4}-\d{2}-\d{2}",
    "number": r"\d{1,3}",
    "collection": r"[\w.-]+(?:/[\w.-]+)*",
    "revision": r"[\w.-]+",
    "namespace": r"[a-zA-Z0-9]+",
    "object": r"\w+",
    "attribute": r"[a-zA-Z0-9]+(?:_times|_intervals)?",
    "timescale": r"\w+",
    "extra": r"[\w-]+(?:\.[\w-]+)*",
    "extension": r"\w+",
}
"""The regular expression of each part of a path."""

OLD_ATTRIBUTE = rf"(?:_[a-z]+_)?{PARTS['attribute']}"
"""An attribute that may have a namespace of its own (`_phy_ids`), as names once had. Such names are not indexed."""

LAB_SPEC = "{lab}/Subjects/"
SESSION_SPEC = f"(?:{LAB_SPEC})?{{subject}}/{{date}}/{{number}}"
REVISION_SPEC = "#{revision}#"
COLLECTION_SPEC = f"(?:{{collection}}/)?(?:{REVISION_SPEC}/)?"
FILE_SPEC = r"(?:_{namespace}_)?{object}\.{attribute}(?:_{timescale})?(?:\.{extra})?\.{extension}"


def expression(spec: str, parts: Mapping[str, str] = PARTS) -> str:
    """The regular expression of a template, with a named group for each part in it."""
    return spec.format_map({name: f"(?P<{name}>{pattern})" for name, pattern in parts.items()})


SESSION = re.compile(expression(SESSION_SPEC))
SESSION_IN_PATH = re.compile(rf"(?<![^/]){SESSION.pattern}(?![^/])")
LAB_IN_PATH = re.compile(rf"(?<![^/]){expression(LAB_SPEC)}")
REVISION_FOLDER = re.compile(expression(REVISION_SPEC))
FILE = re.compile(expression(FILE_SPEC))
REFERENCE = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)_(?P<number>\d{1,5})_(?P<subject>.+)", re.ASCII | re.DOTALL)
UUID_PART = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
CALENDAR_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
LONGEST_NAME_BYTES = 255
LONGEST_PATH_BYTES = 2048
"""Of a path in a session: what stands above it and the system's own limit of 4096 leave room for it."""

MOST_PARTS = 64
STATE_FOLDER = ".onefs"
"""The folder that onefs keeps its state in, and the control directory of a mount."""

TABLE_NAMES = ("sessions.pqt", "datasets.pqt")
INSERTIONS_NAME = "insertions.pqt"
"""A third table, of probe insertions, which few archives have."""


class RemoteNames(StrEnum):
    """The names that files have on servers: with the dataset's UUID before the extension, plain, or to be found out."""

    AUTO = "auto"
    UUID = "uuid"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class FileName:
    """The parts of an ALF file name; absent parts are ""."""

    namespace: str
    object: str
    attribute: str
    timescale: str
    extra: str
    extension: str

    @property
    def text(self) -> str:
        """The file name."""
        prefix = f"_{self.namespace}_" if self.namespace else ""
        clock = f"_{self.timescale}" if self.timescale else ""
        extra = f".{self.extra}" if self.extra else ""
        return f"{prefix}{self.object}.{self.attribute}{clock}{extra}.{self.extension}"


class Reference(NamedTuple):
    """What names a session, but for its lab."""

    day: date
    number: int
    subject: str


class RelativePath(NamedTuple):
    """A dataset's path inside its session, in its three parts; absent parts are ""."""

    collection: str
    revision: str
    name: str


def parse_file_name(name: str, expected: re.Pattern[str] = FILE) -> FileName | None:
    """The parts of an ALF file name, or None if the name is not one as `expected`."""
    match = expected.fullmatch(name)
    return FileName(**{key: value or "" for key, value in match.groupdict().items()}) if match else None


def split_relative(rel_path: str) -> RelativePath:
    """Split `collection/#revision#/name`. The revision folder, if there is one, is the last folder."""
    folder, _, name = rel_path.rpartition("/")
    above, _, last = folder.rpartition("/")
    match = REVISION_FOLDER.fullmatch(last)
    return RelativePath(above, match["revision"], name) if match else RelativePath(folder, "", name)


def find_session(path: str) -> re.Match[str] | None:
    """The first `[lab/Subjects/]subject/date/number` in a path, with a group for each part."""
    return SESSION_IN_PATH.search(path)


def calendar_date(text: str) -> date | None:
    """The date that a text is, written `YYYY-MM-DD`, or None."""
    try:
        return date.fromisoformat(text) if CALENDAR_DATE.fullmatch(text) else None
    except ValueError:
        return None


def revision_date(revision: str) -> date | None:
    """The date that a revision begins with (`2024-05-06`, `2024-05-06a`), or None."""
    return calendar_date(revision[:10])


def parse_reference(text: str) -> Reference | None:
    """The parts of a session's reference, `2020-07-01_1_KS014`; None if it is none."""
    match = REFERENCE.fullmatch(text)
    day = calendar_date(match["date"]) if match else None
    return Reference(day, int(match["number"]), match["subject"]) if match and day else None


def session_path(lab: str, subject: str, day: date, number: int) -> str:
    """`lab/Subjects/subject/YYYY-MM-DD/NNN`, without the first two parts if there is no lab."""
    place = f"{subject}/{day.isoformat()}/{number:03d}"
    return f"{lab}/Subjects/{place}" if lab else place


def archive_path(path: str, dataset_id: UUID) -> str:
    """The path of a file on the archive's servers: the dataset's UUID stands before the extension."""
    stem, dot, extension = path.rpartition(".")
    if not dot or "/" in extension:
        return f"{path}.{dataset_id}"
    return f"{stem}.{dataset_id}.{extension}"


def uuid_in(name: str) -> UUID | None:
    """The dataset UUID that archive servers put before the extension of a file name."""
    parts = name.split(".")
    return UUID(parts[-2]) if len(parts) > 2 and UUID_PART.fullmatch(parts[-2]) else None


def without_uuid(name: str) -> str:
    """A file name without the dataset UUID that archive servers put before the extension."""
    if uuid_in(name) is None:
        return name
    stem, _, extension = name.rpartition(".")
    return f"{stem.rpartition('.')[0]}.{extension}"


def path_without_uuid(path: str) -> str:
    """A path whose file name is without the dataset UUID that archive servers put before the extension."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + without_uuid(name)


def is_safe_part(part: str) -> bool:
    """Whether a name from a catalogue may stand as one part of a path."""
    return (
        part not in ("", ".", "..")
        and "/" not in part
        and "\0" not in part
        and len(part.encode(errors="surrogatepass")) <= LONGEST_NAME_BYTES
    )


@lru_cache(1 << 12)  # it is asked several times on the way to one file
def is_safe_relative(path: str) -> bool:
    """Whether a path from a catalogue stays inside the folder it is relative to, and is of a size that paths have."""
    size_bytes, inside = len(path.encode(errors="surrogatepass")), f"/{path}/"
    if size_bytes > LONGEST_PATH_BYTES or path.count("/") >= MOST_PARTS:
        return False
    if "//" in inside or "/./" in inside or "/../" in inside or "\0" in inside:
        return False
    return size_bytes <= LONGEST_NAME_BYTES or all(map(is_safe_part, path.split("/")))
