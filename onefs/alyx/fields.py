"""Fields of Alyx's JSON: each function turns one into a typed value, or raises `OddRecordError`."""

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import UUID

Record = Mapping[str, Any]

QC_NAMES = {0: "NOT_SET", 10: "PASS", 30: "WARNING", 40: "FAIL", 50: "CRITICAL"}
MD5 = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
LARGEST_SIZE_BYTES = (1 << 63) - 1
SAFE_IN_PATHS = "/:@!$&'()*+,;=~-._"


class OddRecordError(ValueError):
    """A record lacks what makes it one. It is skipped and counted; nobody sees this error."""


def parsed(body: bytes) -> Any:
    """What stands in JSON. Raises `ValueError` for anything else, and for what is nested beyond all sense."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def text(record: Record, key: str) -> str:
    """A text, "" if it is null or missing, or if it has halves of letters in it, which nobody could send or write."""
    value = record.get(key)
    return value if isinstance(value, str) and _is_whole(value) else ""


def needed_text(record: Record, key: str) -> str:
    """A text that must be there."""
    value = text(record, key)
    if not value:
        raise OddRecordError(f"no {key}")
    return value


def texts(record: Record, key: str) -> tuple[str, ...]:
    """A list of texts; a single text is a list of one."""
    value = record.get(key)
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str) and _is_whole(item))


def records(record: Record, key: str) -> tuple[Record, ...]:
    """A list of records; anything else in it is left out."""
    value = record.get(key)
    return tuple(item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def mapping(record: Record, key: str) -> Record:
    """A JSON object, empty if there is none."""
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def truth(record: Record, key: str) -> bool | None:
    """A truth value, however Alyx spells it (`true`, `"True"`, `1`); None if it does not say."""
    value = record.get(key)
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, bool | int) else None


def whole_number(record: Record, key: str) -> int | None:
    """A number from 0 on, None if it is null or no such number."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_SIZE_BYTES:
        return None
    return value


def md5(record: Record) -> str:
    """The hash in lower case, without the dashes of a UUID; "" if it is null or blank. No other text is changed."""
    value = text(record, "hash").strip()
    return value.lower().replace("-", "") if MD5.fullmatch(value.lower()) else value


def qc(record: Record) -> str:
    """Name of the quality control outcome, from a name or from a number (both occur)."""
    value = record.get("qc")
    if isinstance(value, str):
        return value if value in QC_NAMES.values() else "NOT_SET"
    return QC_NAMES.get(value, "NOT_SET") if isinstance(value, int) else "NOT_SET"


def uuid(value: object) -> UUID:
    """A UUID, alone or at the end of a record's URL."""
    try:
        return UUID(value[-36:] if isinstance(value, str) else "")
    except ValueError:
        raise OddRecordError(f"no UUID: {value!r:.80}") from None


def own_id(record: Record) -> UUID:
    """The record's id; some endpoints give it in the record's URL only."""
    return uuid(record.get("id") or record.get("url"))


def uuid_or_none(record: Record, key: str) -> UUID | None:
    """A UUID, None if it is null, missing or none."""
    try:
        return uuid(record.get(key))
    except OddRecordError:
        return None


def moment(record: Record, key: str) -> datetime:
    """A time, as the archive's clock showed it: any zone is dropped, not converted."""
    try:
        return datetime.fromisoformat(needed_text(record, key)).replace(tzinfo=None)
    except ValueError:
        raise OddRecordError(f"no time in {key}") from None


def day(record: Record, key: str) -> date | None:
    """A date, None if it is null or none."""
    try:
        return date.fromisoformat(text(record, key)[:10])
    except ValueError:
        return None


def web_address(record: Record, key: str) -> str:
    """A URL ready for a request, "" if it is null or cannot be asked.

    Alyx gives paths raw, with `#` in them. No login stays in the address.
    """
    try:
        parts = urlsplit(text(record, key).strip(), allow_fragments=False)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return ""
    except ValueError:
        return ""
    path = quote(unquote(parts.path), safe=SAFE_IN_PATHS)
    server = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, server, path, parts.query.replace("#", "%23"), ""))


def raw_path(record: Record, key: str) -> str:
    """The path of a URL as the file system has it, with `#` in it; "" if it is null."""
    try:
        return unquote(urlsplit(text(record, key), allow_fragments=False).path)
    except ValueError:
        return ""


def _is_whole(value: str) -> bool:
    return not LONE_SURROGATE.search(value)
