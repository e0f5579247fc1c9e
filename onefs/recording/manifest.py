"""The manifest: what was read, and by whom, as one JSON object a line."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from onefs.alf import STATE_FOLDER, is_safe_part
from onefs.errors import UsageError

_MD5 = re.compile(r"[0-9a-f]{32}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One dataset that was read. The fields are the line's, in the order in which they stand there.

    `path` is that in the tree of a mount, with the revision's folder. `hash` is the MD5 of the bytes, "" if nobody
    knows it, as `size` is None. `default` is whether it was the default edition of its file in that mount; None in
    manifests that do not tell. `source` is what was mounted, as `onefs mount` takes it, without a login.
    """

    id: UUID
    eid: UUID | None
    path: str
    revision: str
    default: bool | None
    hash: str
    size: int | None
    first_read: datetime
    pid: int
    program: str
    user: str
    label: str
    source: str

    def line(self) -> str:
        """The entry as a line of a manifest, with its end."""
        first_read = self.first_read.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {
            **{name: getattr(self, name) for name in self.__slots__},
            "id": str(self.id),
            "eid": str(self.eid) if self.eid else None,
            "first_read": first_read,
        }
        return json.dumps(fields) + "\n"


def manifest_text(entries: Iterable[Entry]) -> str:
    """The entries as a whole manifest."""
    return "".join(entry.line() for entry in entries)


def read_manifest(path: Path) -> dict[int, Entry]:
    """The entries of a manifest by their lines' numbers. Raises `UsageError` at the first that is wrong."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"The manifest {path} cannot be read: {error.strerror}.", "Give another file.") from error
    return {number: parse(line, path, number) for number, line in enumerate(lines, 1) if line.strip()}


def parse(line: str | bytes, path: Path, number: int) -> Entry:
    """The entry of line `number` of the manifest at `path`. Raises `UsageError`; fields beyond ours are left alone."""
    place = f"{path}, line {number}"
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place} is no JSON: {error}.", "Take that line out, or record again.") from error
    if not isinstance(fields, dict):
        raise UsageError(f"{place} is no entry of a manifest.", "Give the manifest.jsonl of a recording.")
    values: dict[str, Any] = {}
    for name, take in _FIELDS.items():
        if name not in fields and name not in _MAY_LACK:
            raise UsageError(f"{place} has no field {name}.", "Put it in, or take that line out.")
        try:
            values[name] = take(fields.get(name))
        except ValueError as error:
            shown = json.dumps(fields[name])[:80]
            raise UsageError(f"{place}: {name} is {shown}, not {error}.", "Mend it, or take that line out.") from error
    return Entry(**values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")  # noqa: TRY004 - whatever is wrong with a value is told in one way
    return value


def _uuid(value: object) -> UUID:
    try:
        return UUID(_text(value))
    except ValueError:
        raise ValueError("a UUID") from None


def _path(value: object) -> str:
    """A path inside the tree: something may come to be written there."""
    parts = _text(value).split("/")
    if not all(map(is_safe_part, parts)) or STATE_FOLDER in parts or any("\n" in part for part in parts):
        raise ValueError("the path of a dataset in a mount")
    return "/".join(parts)


def _md5(value: object) -> str:
    text = _text(value).lower()
    if text and not _MD5.fullmatch(text):
        raise ValueError('an MD5 of 32 digits, or ""')
    return text


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a whole number")
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - whatever is wrong with a value is told in one way
    return value


def _moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError("a moment such as 2026-11-20T16:00:00.000Z") from None


def _or_none(take: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else take(value)


_FIELDS: dict[str, Callable[[object], object]] = {
    "id": _uuid,
    "eid": _or_none(_uuid),
    "path": _path,
    "revision": _text,
    "default": _or_none(_bool),
    "hash": _md5,
    "size": _or_none(_count),
    "first_read": _moment,
    "pid": _count,
    "program": _text,
    "user": _text,
    "label": _text,
    "source": _text,
}
_MAY_LACK = {"default"}
"""Manifests of before there was such a field."""
